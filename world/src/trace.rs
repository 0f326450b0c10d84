//! Traces of requests, as others have recorded and published them: from bytes to records.
//!
//! Two formats: oracleGeneral of libCacheSim, records of 24 bytes in little endian (u32 time in seconds, u64 id, u32 size
//! in bytes, i64 number of the next request for the same id), and text of one `time,id,size` per line, with or without a
//! first line that names the columns. Refuses to know files: whoever has one hands over its bytes as they come.

use std::{fmt, time::Duration};

use siphasher::sip::SipHasher24;

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// When, since the origin of the trace's own clock.
    pub at: Duration,
    /// For what. Where the trace names it by something else than a number, a hash of that.
    pub id: u64,
    /// Its size in bytes.
    pub bytes: u64,
}

/// The formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TraceFormat {
    /// libCacheSim's binary format.
    OracleGeneral,
    /// `time,id,size`, one per line.
    Csv,
}

impl TraceFormat {
    /// All formats.
    pub const ALL: [Self; 2] = [Self::OracleGeneral, Self::Csv];

    /// Its name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OracleGeneral => "oracleGeneral",
            Self::Csv => "csv",
        }
    }

    /// The format that a file's name says: `.csv` and `.txt` are text, `.bin` and everything with `oracleGeneral` in it
    /// is binary.
    pub fn of_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let ends = |extensions: &[&str]| extensions.iter().any(|extension| name.ends_with(extension));
        match () {
            () if name.contains("oraclegeneral") || ends(&[".bin"]) => Some(Self::OracleGeneral),
            () if ends(&[".csv", ".txt"]) => Some(Self::Csv),
            () => None,
        }
    }
}

/// What is wrong with a trace, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {what}")]
pub struct TraceError {
    at: Position,
    what: String,
}

/// Where something stands in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// Counted from one, and from zero.
    Record { number: u64, byte: u64 },
    /// Counted from one.
    Line(u64),
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record { number, byte } => write!(f, "record {number} (byte {byte})"),
            Self::Line(line) => write!(f, "line {line}"),
        }
    }
}

/// Bytes of a record of oracleGeneral.
const RECORD_BYTES: usize = 24;
/// The longest line that is read: a limit so that a file that is no text is found out before it fills memory.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Turns the bytes of a trace into records. Call [`feed`](Self::feed) with each piece, and [`finish`](Self::finish) after
/// the last.
#[derive(Debug)]
pub struct TraceReader {
    format: TraceFormat,
    /// What is not a whole record yet.
    rest: Vec<u8>,
    /// Records, or lines, that have been read.
    read: u64,
    columns: Columns,
}

/// Which fields of a line hold what.
#[derive(Clone, Copy, Debug)]
struct Columns {
    time: usize,
    id: usize,
    size: usize,
}

impl TraceReader {
    /// A reader at the beginning of a trace.
    pub const fn new(format: TraceFormat) -> Self {
        Self { format, rest: Vec::new(), read: 0, columns: Columns { time: 0, id: 1, size: 2 } }
    }

    /// Appends the records that are complete with these bytes. After an error the trace is of no use any more.
    pub fn feed(&mut self, bytes: &[u8], records: &mut Vec<Record>) -> Result<(), TraceError> {
        let mut bytes = bytes;
        if !self.rest.is_empty() {
            // The record that began in the piece before ends in this one, or this one is all of its middle.
            let lacks = match self.format {
                TraceFormat::OracleGeneral => RECORD_BYTES - self.rest.len(),
                TraceFormat::Csv => bytes.iter().position(|&byte| byte == b'\n').map_or(usize::MAX, |at| at + 1),
            };
            let (end, after) = bytes.split_at(lacks.min(bytes.len()));
            self.rest.extend_from_slice(end);
            bytes = after;
            let whole = lacks <= end.len();
            if !whole {
                return self.check_rest();
            }
            let rest = std::mem::take(&mut self.rest);
            self.whole(&rest, records)?;
        }
        let whole = match self.format {
            TraceFormat::OracleGeneral => bytes.len() / RECORD_BYTES * RECORD_BYTES,
            TraceFormat::Csv => bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1),
        };
        let (whole, rest) = bytes.split_at(whole);
        self.rest.extend_from_slice(rest);
        self.whole(whole, records)?;
        self.check_rest()
    }

    /// The trace has ended. The last line may lack its end; a record must be whole.
    pub fn finish(&mut self, records: &mut Vec<Record>) -> Result<(), TraceError> {
        let rest = std::mem::take(&mut self.rest);
        match self.format {
            _ if rest.is_empty() => Ok(()),
            TraceFormat::OracleGeneral => {
                Err(self.error(format!("the trace ends after {} of its {RECORD_BYTES} bytes", rest.len())))
            }
            TraceFormat::Csv => self.whole(&rest, records),
        }
    }

    /// Reads whole records.
    fn whole(&mut self, bytes: &[u8], records: &mut Vec<Record>) -> Result<(), TraceError> {
        match self.format {
            TraceFormat::OracleGeneral => {
                let (whole, _) = bytes.as_chunks::<RECORD_BYTES>();
                records.extend(whole.iter().map(oracle_general));
                self.read += whole.len() as u64;
            }
            TraceFormat::Csv => {
                for line in bytes.split_inclusive(|&byte| byte == b'\n') {
                    if let Some(record) = self.line(line)? {
                        records.push(record);
                    }
                    self.read += 1;
                }
            }
        }
        Ok(())
    }

    fn check_rest(&self) -> Result<(), TraceError> {
        if self.rest.len() > LINE_BYTES_MAX {
            return Err(self.error(format!("longer than {LINE_BYTES_MAX} bytes: is this text?")));
        }
        Ok(())
    }

    /// The request of a line; `None` for the names of columns and for a line that is empty.
    fn line(&mut self, line: &[u8]) -> Result<Option<Record>, TraceError> {
        let Ok(line) = std::str::from_utf8(line) else { return Err(self.error("not text".into())) };
        // Spreadsheets begin a file with the mark of UTF-8.
        let line = if self.read == 0 { line.trim_start_matches('\u{feff}') } else { line };
        let line = line.trim_end_matches(['\n', '\r']);
        if line.trim().is_empty() {
            return Ok(None);
        }
        let fields = fields(line).ok_or_else(|| self.error("a quote is not closed".into()))?;
        if self.read == 0 && fields.first().is_some_and(|field| field.parse::<f64>().is_err()) {
            self.columns = self.named(&fields)?;
            return Ok(None);
        }
        let Columns { time, id, size } = self.columns;
        let (Some(time), Some(id), Some(size)) = (fields.get(time), fields.get(id), fields.get(size)) else {
            let many = fields.len();
            return Err(
                self.error(format!("{many} {} where time,id,size are", if many == 1 { "field" } else { "fields" }))
            );
        };
        let at = time.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let at = at.ok_or_else(|| self.error(format!("time {time:?} is not a number of seconds")))?;
        let bytes = size.parse().map_err(|_| self.error(format!("size {size:?} is not a number of bytes")))?;
        if id.is_empty() {
            return Err(self.error("id is empty".into()));
        }
        // Numbers stand for themselves, so that the formats agree on a trace.
        let id = id.parse().unwrap_or_else(|_| SipHasher24::new().hash(id.as_bytes()));
        Ok(Some(Record { at, id, bytes }))
    }

    /// Columns by the names in the first line.
    fn named(&self, names: &[String]) -> Result<Columns, TraceError> {
        let find =
            |known: &[&str]| names.iter().position(|name| known.iter().any(|one| one.eq_ignore_ascii_case(name)));
        let columns = (
            find(&["time", "timestamp"]),
            find(&["id", "obj_id", "object", "key"]),
            find(&["size", "bytes", "obj_size"]),
        );
        match columns {
            (Some(time), Some(id), Some(size)) => Ok(Columns { time, id, size }),
            _ => Err(self.error(format!(
                "time {:?} is not a number of seconds, and the line does not name the columns time, id and size",
                names.first().map_or("", |name| name)
            ))),
        }
    }

    /// An error in the record that is next.
    fn error(&self, what: String) -> TraceError {
        let number = self.read + 1;
        let at = match self.format {
            TraceFormat::OracleGeneral => Position::Record { number, byte: self.read * RECORD_BYTES as u64 },
            TraceFormat::Csv => Position::Line(number),
        };
        TraceError { at, what }
    }
}

fn oracle_general(record: &[u8; RECORD_BYTES]) -> Record {
    let &[t0, t1, t2, t3, i0, i1, i2, i3, i4, i5, i6, i7, s0, s1, s2, s3, ..] = record;
    Record {
        at: Duration::from_secs(u32::from_le_bytes([t0, t1, t2, t3]).into()),
        id: u64::from_le_bytes([i0, i1, i2, i3, i4, i5, i6, i7]),
        bytes: u32::from_le_bytes([s0, s1, s2, s3]).into(),
    }
}

/// The fields of a line, trimmed; in quotes a comma is part of a field, and two quotes are one (RFC 4180). `None` where a
/// quote is not closed.
fn fields(line: &str) -> Option<Vec<String>> {
    if !line.contains('"') {
        return Some(line.split(',').map(|field| field.trim().to_owned()).collect());
    }
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' if quoted && rest.peek() == Some(&'"') => {
                rest.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field).trim().to_owned()),
            c => field.push(c),
        }
    }
    fields.push(field.trim().to_owned());
    (!quoted).then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(secs: u64, id: u64, bytes: u64) -> Record {
        Record { at: Duration::from_secs(secs), id, bytes }
    }

    /// Reads a trace in pieces of this many bytes.
    fn read(format: TraceFormat, bytes: &[u8], piece: usize) -> Result<Vec<Record>, String> {
        let (mut reader, mut records) = (TraceReader::new(format), Vec::new());
        let all = bytes.chunks(piece).try_for_each(|piece| reader.feed(piece, &mut records));
        all.and_then(|()| reader.finish(&mut records)).map_err(|error| error.to_string())?;
        Ok(records)
    }

    fn binary(records: &[Record]) -> Vec<u8> {
        let bytes = |record: &Record| {
            let mut bytes = (record.at.as_secs() as u32).to_le_bytes().to_vec();
            bytes.extend(record.id.to_le_bytes());
            bytes.extend((record.bytes as u32).to_le_bytes());
            bytes.extend((-1_i64).to_le_bytes());
            bytes
        };
        records.iter().flat_map(bytes).collect()
    }

    #[test]
    fn both_formats_say_the_same_however_they_are_cut() {
        let records = [record(0, 1, 100), record(1, u64::MAX, 4_294_967_295), record(5, 1, 100)];
        let text = format!("time,id,size\n0,1,100\r\n1,{},4294967295\n\n5, 1 ,100", u64::MAX);
        for piece in [1, 7, 24, 25, 1_000] {
            assert_eq!(read(TraceFormat::OracleGeneral, &binary(&records), piece).unwrap(), records);
            assert_eq!(read(TraceFormat::Csv, text.as_bytes(), piece).unwrap(), records, "{piece}");
            let marked = format!("\u{feff}{text}");
            assert_eq!(read(TraceFormat::Csv, marked.as_bytes(), piece).unwrap(), records, "{piece}");
        }
        for format in TraceFormat::ALL {
            assert_eq!(read(format, b"", 1), Ok(vec![]));
        }
    }

    #[test]
    fn columns_go_by_their_names_and_ids_may_be_any_text() {
        let read = |text: &str| read(TraceFormat::Csv, text.as_bytes(), 64);
        let records = read("size,op,key,timestamp\n7,get,\"a,\"\"b\",1.5\n8,get,7,2\n").unwrap();
        let id = SipHasher24::new().hash(b"a,\"b");
        assert_eq!(records, [Record { at: Duration::from_millis(1_500), id, bytes: 7 }, record(2, 7, 8)]);
        assert_eq!(read("3,x,1\n4,x,1\n").unwrap().iter().filter(|record| record.bytes == 1).count(), 2);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let cut = &binary(&[record(0, 1, 1), record(0, 2, 1)])[..40];
        let error = read(TraceFormat::OracleGeneral, cut, 16).unwrap_err();
        assert_eq!(error, "record 2 (byte 24): the trace ends after 16 of its 24 bytes");
        for (text, expected) in [
            ("time,id,size\n0,1,100\n1,2\n", "line 3: 2 fields where time,id,size are"),
            ("0,1,100\n1,2,-5\n", "line 2: size \"-5\" is not a number of bytes"),
            ("0,1,100\nsoon,2,5\n", "line 2: time \"soon\" is not a number of seconds"),
            ("0,,100\n", "line 1: id is empty"),
            ("0,\"a,100\n", "line 1: a quote is not closed"),
            ("0,1,1\n\u{7f}\n", "line 2: 1 field where time,id,size are"),
            (
                "when,what,much\n",
                "line 1: time \"when\" is not a number of seconds, and the line does not name the columns time, id and size",
            ),
        ] {
            assert_eq!(read(TraceFormat::Csv, text.as_bytes(), 9).unwrap_err(), expected);
        }
        assert_eq!(read(TraceFormat::Csv, b"0,1,1\n\xff,1,1\n", 9).unwrap_err(), "line 2: not text");
        let endless = vec![b'x'; LINE_BYTES_MAX + 10];
        assert!(read(TraceFormat::Csv, &endless, 1_000).unwrap_err().contains("is this text?"));
    }

    #[test]
    fn names_of_files_say_the_format() {
        for (name, format) in [
            ("w92.oracleGeneral.bin", Some(TraceFormat::OracleGeneral)),
            ("w92.oracleGeneral", Some(TraceFormat::OracleGeneral)),
            ("TRACE.CSV", Some(TraceFormat::Csv)),
            ("trace.log", None),
        ] {
            assert_eq!(TraceFormat::of_name(name), format, "{name}");
        }
    }
}
