//! Zone files: RFC 1035's master format with `$TTL` (RFC 2308), times with units as BIND has them, and the data of any
//! type in the form of RFC 3597.
//!
//! Reads one text and refers to no other: `$INCLUDE` is refused. hickory-proto's parser will not do; see
//! `docs/notes/2026-11-26-a-zone-file-parser-of-our-own.md`. Knows where in the text everything stands, so that what
//! is wrong can be shown there; does not know whether the records can stand together.

mod data;
mod fields;
mod lexer;
mod loc;
mod svc_params;

use std::ops::Range;

use cdn_core::zone::{Data, Name, Record, RecordType};

use self::{
    data::read_data,
    lexer::{Entry, Lexer, Word, Words},
};

/// The longest TTL, in seconds: it has 31 bits (RFC 2181, section 8).
pub const TTL_S_MAX: u32 = i32::MAX as u32;

/// What a zone file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneFile {
    /// Its records, in their order. Where the file has a SOA they all are said by its zone.
    pub records: Vec<Record>,
    /// For each record where it stands: bytes of the text.
    pub spans: Vec<Range<usize>>,
}

/// Something in a zone file is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ZoneFileError {
    /// Where: bytes of the text.
    pub span: Range<usize>,
    /// What is wrong, without a full stop.
    pub message: String,
    /// What would be right.
    pub hint: Option<&'static str>,
    /// The word that should have been a type and is none.
    pub unknown_type: Option<String>,
}

impl ZoneFileError {
    fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), hint: None, unknown_type: None }
    }

    fn hint(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }
}

/// Reads the text of a zone file whose relative names stand below `origin` until it says otherwise.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse(text: &str, origin: &Name) -> Result<ZoneFile, ZoneFileError> {
    let mut reader =
        Reader { origin: origin.clone(), owner: None, ttl_default: None, ttl_last: None, file: ZoneFile::default() };
    let mut lexer = Lexer::new(text);
    while let Some(entry) = lexer.next_entry()? {
        reader.handle_entry(&entry)?;
    }
    let mut file = reader.file;
    let apex = file.records.iter().find(|record| matches!(record.data, Data::Soa(_))).map(|soa| soa.name.clone());
    for record in &mut file.records {
        record.zone.clone_from(&apex);
    }
    Ok(file)
}

/// Reads the data of one record as a zone file has it. Names are below `origin` unless they end in a dot.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse_data(record_type: RecordType, text: &str, origin: &Name) -> Result<Data, ZoneFileError> {
    let mut lexer = Lexer::new(text);
    let nothing = Entry { is_indented: true, words: vec![], span: 0..text.len() };
    let entry = lexer.next_entry()?.unwrap_or(nothing);
    if let Some(more) = lexer.next_entry()? {
        return Err(ZoneFileError::new(more.span, "this is a line too many: one record has one"));
    }
    let mut words = Words::new(&entry);
    read_data(record_type, &mut words, origin)
}

/// Reads a time as a zone file has it: seconds, or with units as in `1h30m`.
pub fn parse_ttl(text: &str) -> Option<u32> {
    let mut total = 0u32;
    let mut number: Option<u32> = None;
    for byte in text.bytes() {
        if byte.is_ascii_digit() {
            number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(u32::from(byte - b'0'))?);
            continue;
        }
        let unit_s = match byte.to_ascii_lowercase() {
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.take()?.checked_mul(unit_s)?)?;
    }
    if text.is_empty() { None } else { total.checked_add(number.unwrap_or(0)) }
}

struct Reader {
    origin: Name,
    /// Of the record before: an indented line has the same.
    owner: Option<Name>,
    /// `$TTL`, or the SOA's minimum where there is none.
    ttl_default: Option<u32>,
    /// What was stated last (RFC 1035, section 5.1), which counts where there is no `$TTL`.
    ttl_last: Option<u32>,
    file: ZoneFile,
}

impl Reader {
    fn handle_entry(&mut self, entry: &Entry<'_>) -> Result<(), ZoneFileError> {
        let mut words = Words::new(entry);
        let Some(first) = words.peek() else { return Ok(()) };
        if !entry.is_indented && first.raw.starts_with('$') {
            words.next("a directive")?;
            return self.handle_directive(first, &mut words);
        }
        if !entry.is_indented {
            let word = words.next("a name")?;
            self.owner = Some(word.name(&self.origin)?);
        }
        let Some(owner) = self.owner.clone() else {
            let error = ZoneFileError::new(first.span, "this line has no name, and there is none before it");
            return Err(error.hint("a name begins at the start of its line; an indented line has the name before"));
        };
        let (ttl_stated, record_type) = ttl_and_type(&mut words)?;
        let data = read_data(record_type, &mut words, &self.origin)?;
        if let Some(ttl_s) = ttl_stated {
            self.ttl_last = Some(ttl_s);
        }
        let of_soa = match &data {
            Data::Soa(soa) => Some(soa.minimum_s),
            _ => None,
        };
        let ttl_s = ttl_stated.or(self.ttl_default).or(self.ttl_last).or(of_soa).ok_or_else(|| {
            ZoneFileError::new(entry.span.clone(), "this record has no TTL, and there is none before it")
                .hint("$TTL 60 at the start of the file is one for all")
        })?;
        self.ttl_last = self.ttl_last.or(Some(ttl_s));
        self.file.records.push(Record { name: owner, ttl_s, data, zone: None });
        self.file.spans.push(entry.span.clone());
        Ok(())
    }

    fn handle_directive(&mut self, directive: Word<'_>, words: &mut Words<'_, '_>) -> Result<(), ZoneFileError> {
        match directive.raw.to_ascii_uppercase().as_str() {
            "$ORIGIN" => self.origin = words.next("a name")?.name(&self.origin)?,
            "$TTL" => self.ttl_default = Some(ttl_of(&words.next("a TTL")?)?),
            "$INCLUDE" => {
                let error = ZoneFileError::new(directive.span, "$INCLUDE is not read here");
                return Err(error.hint("list both files under [router] zones"));
            }
            "$GENERATE" => {
                let error = ZoneFileError::new(directive.span, "$GENERATE is BIND's own and not read here");
                return Err(error.hint("a wildcard, or the records themselves"));
            }
            _ => {
                let error = ZoneFileError::new(directive.span, format!("no directive {:?}", directive.raw));
                return Err(error.hint("there are $ORIGIN and $TTL"));
            }
        }
        words.end()
    }
}

/// TTL and class in any order, each at most once, then the type.
fn ttl_and_type(words: &mut Words<'_, '_>) -> Result<(Option<u32>, RecordType), ZoneFileError> {
    let (mut ttl_s, mut has_class) = (None, false);
    loop {
        let word = words.next("a type")?;
        if ttl_s.is_none() && word.raw.starts_with(|first: char| first.is_ascii_digit()) {
            ttl_s = Some(ttl_of(&word)?);
        } else if !has_class && ["IN", "CLASS1"].iter().any(|class| class.eq_ignore_ascii_case(word.raw)) {
            has_class = true;
        } else if ["CH", "HS", "CS"].iter().any(|class| class.eq_ignore_ascii_case(word.raw)) {
            return Err(ZoneFileError::new(word.span, format!("class {} is not served: only IN is", word.raw)));
        } else {
            return match word.raw.parse::<RecordType>() {
                Ok(record_type) if record_type.is_meta() => {
                    Err(ZoneFileError::new(word.span, format!("no record can have type {record_type}")))
                }
                Ok(record_type) => Ok((ttl_s, record_type)),
                Err(error) => Err(ZoneFileError {
                    unknown_type: Some(word.raw.to_owned()),
                    ..ZoneFileError::new(word.span, error.to_string())
                }),
            };
        }
    }
}

fn ttl_of(word: &Word<'_>) -> Result<u32, ZoneFileError> {
    parse_ttl(word.raw).filter(|&ttl_s| ttl_s <= TTL_S_MAX).ok_or_else(|| {
        let message = format!("{:?} is not a TTL: seconds, at most {TTL_S_MAX}, or as 1h30m", word.raw);
        ZoneFileError::new(word.span.clone(), message)
    })
}

#[cfg(test)]
mod tests;
