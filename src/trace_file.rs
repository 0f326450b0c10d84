//! Traces of requests as files, for whoever replays or asks for what they say: plain or as .gz, read piece by piece.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    path::Path,
};

use anyhow::anyhow;
use world::trace::{Record, TraceFormat, TraceReader};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 768 << 10;

/// The format that a file's name says, packed or not.
pub(crate) fn format_of(path: &Path) -> Option<TraceFormat> {
    let name = path.to_string_lossy();
    TraceFormat::of_name(name.strip_suffix(".gz").unwrap_or(&name))
}

/// The bytes of a trace, unpacked.
///
/// # Errors
/// In words.
pub(crate) fn open(path: &Path) -> Result<Box<dyn Read>, String> {
    let name = path.display();
    let file = File::open(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => Ok(Box::new(flate2::read::MultiGzDecoder::new(file))),
        Some("zst") => Err(format!(
            "{name} is compressed with zstd, which is not read here; unpack it, or write zstd -dc {name} | iso study \
             replay --trace - ..."
        )),
        _ => Ok(Box::new(file)),
    }
}

/// Reads a trace to its end and hands on what each piece of it holds.
///
/// # Errors
/// It cannot be read, or is no trace; or what `sink` fails with.
pub(crate) fn each_piece(
    mut trace: impl Read,
    format: TraceFormat,
    mut sink: impl FnMut(Vec<Record>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (mut reader, mut piece) = (TraceReader::new(format), vec![0; PIECE_BYTES]);
    loop {
        let length = match trace.read(&mut piece) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read?,
        };
        let mut records = Vec::new();
        match piece.get(..length) {
            Some([]) | None => {
                reader.finish(&mut records)?;
                return sink(records);
            }
            Some(bytes) => reader.feed(bytes, &mut records)?,
        }
        sink(records)?;
    }
}

/// All of a trace, which has one request at least and `most` at most.
///
/// # Errors
/// In words.
pub(crate) fn read(path: &Path, most: usize) -> Result<Vec<Record>, String> {
    let name = path.display();
    let format = format_of(path)
        .ok_or_else(|| format!("{name}: the name says no format; call it .csv, or .bin for oracleGeneral"))?;
    let mut all = Vec::new();
    let take = |records: Vec<Record>| {
        all.extend(records);
        if all.len() > most { Err(anyhow!("more than {most} requests, which is as many as are kept")) } else { Ok(()) }
    };
    each_piece(open(path)?, format, take).map_err(|error| format!("{name}: {error:#}"))?;
    if all.is_empty() { Err(format!("{name}: no requests in it")) } else { Ok(all) }
}
