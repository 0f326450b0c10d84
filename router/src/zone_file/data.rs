//! The data of a record, from words to bytes.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use cdn_core::{
    WallTime,
    zone::{Data, Name, RecordType},
};
use data_encoding::{BASE32HEX_NOPAD, BASE64, HEXUPPER_PERMISSIVE};

use super::{
    ZoneFileError,
    fields::{Field, fields},
    lexer::{Word, Words},
    loc, parse_ttl, svc_params,
};

/// Reads all words that are left as the data of a record of `record_type`.
pub(super) fn read_data(
    record_type: RecordType,
    words: &mut Words<'_, '_>,
    origin: &Name,
) -> Result<Data, ZoneFileError> {
    let span = words.rest_span();
    let bytes = if words.peek().is_some_and(|word| word.raw == "\\#") {
        generic(words)?
    } else {
        let fields = fields(record_type).ok_or_else(|| {
            ZoneFileError::new(span.clone(), format!("data of type {record_type} have no words of their own here"))
                .hint(r"write them as \# LENGTH HEX (RFC 3597)")
        })?;
        let mut bytes = vec![];
        for &field in fields {
            read_field(field, words, origin, &mut bytes)?;
        }
        words.end()?;
        bytes
    };
    Data::from_wire(record_type, &bytes)
        .map_err(|_| ZoneFileError::new(span, format!("this is no data of a record of type {record_type}")))
}

/// RFC 3597, section 5.
fn generic(words: &mut Words<'_, '_>) -> Result<Vec<u8>, ZoneFileError> {
    words.next("\\#")?;
    let len_word = words.next("a length")?;
    let len: u16 = number(&len_word, "a length")?;
    let (bytes, span) = if words.peek().is_some() { hex(words)? } else { (vec![], len_word.span) };
    if bytes.len() == usize::from(len) {
        Ok(bytes)
    } else {
        Err(ZoneFileError::new(span, format!("{} bytes, where {len} were announced", bytes.len())))
    }
}

fn read_field(field: Field, words: &mut Words<'_, '_>, origin: &Name, out: &mut Vec<u8>) -> Result<(), ZoneFileError> {
    match field {
        Field::Ipv4 => {
            let address: Ipv4Addr = number(&words.next("an IPv4 address")?, "an IPv4 address")?;
            out.extend_from_slice(&address.octets());
        }
        Field::Ipv6 => {
            let address: Ipv6Addr = number(&words.next("an IPv6 address")?, "an IPv6 address")?;
            out.extend_from_slice(&address.octets());
        }
        Field::Name => {
            out.extend_from_slice(words.next("a name")?.name(origin)?.as_bytes());
            out.push(0);
        }
        Field::U8 => out.push(number(&words.next("a number")?, "a number from 0 to 255")?),
        Field::U16 => {
            let value: u16 = number(&words.next("a number")?, "a number from 0 to 65535")?;
            out.extend_from_slice(&value.to_be_bytes());
        }
        Field::U32 => {
            let value: u32 = number(&words.next("a number")?, "a number from 0 to 4294967295")?;
            out.extend_from_slice(&value.to_be_bytes());
        }
        Field::Period => {
            let word = words.next("a time in seconds")?;
            let value = parse_ttl(word.raw).ok_or_else(|| not(&word, "a time in seconds, or as 1h30m"))?;
            out.extend_from_slice(&value.to_be_bytes());
        }
        Field::Moment => {
            let word = words.next("a moment")?;
            let value = moment(word.raw).ok_or_else(|| not(&word, "a moment, as YYYYMMDDHHmmSS"))?;
            out.extend_from_slice(&value.to_be_bytes());
        }
        Field::Type => {
            let word = words.next("a type")?;
            let value: RecordType = number(&word, "a type of records")?;
            out.extend_from_slice(&value.0.to_be_bytes());
        }
        Field::Text => text(&words.next("a text")?, out)?,
        Field::Texts => {
            text(&words.next("a text")?, out)?;
            while words.peek().is_some() {
                text(&words.next("a text")?, out)?;
            }
        }
        Field::Bytes => out.extend(words.next("a text")?.bytes()?),
        Field::Hex => out.extend(hex(words)?.0),
        Field::Salt => {
            let word = words.next("a salt")?;
            let salt =
                if word.raw == "-" { Some(vec![]) } else { HEXUPPER_PERMISSIVE.decode(word.raw.as_bytes()).ok() };
            with_length(salt.ok_or_else(|| not(&word, "hexadecimal digits, or -"))?, &word, out)?;
        }
        Field::Groups(groups, bytes, joint) => {
            let word = words.next("hexadecimal digits")?;
            let read = read_groups(word.raw, usize::from(groups), usize::from(bytes), joint);
            let what = format!("{groups} bytes in hexadecimal, joined by {joint:?}");
            out.extend(read.ok_or_else(|| not(&word, &what))?);
        }
        Field::Base64 => {
            let (joined, span) = joined(words, "base 64")?;
            let decoded = BASE64.decode(joined.as_bytes());
            out.extend(decoded.map_err(|_| ZoneFileError::new(span, "this is not base 64"))?);
        }
        Field::Base32 => {
            let word = words.next("base 32")?;
            let decoded = BASE32HEX_NOPAD.decode(word.raw.to_ascii_uppercase().as_bytes());
            with_length(decoded.map_err(|_| not(&word, "base 32 with the hexadecimal alphabet"))?, &word, out)?;
        }
        Field::Types => types(words, out)?,
        Field::SvcParams => svc_params::read(words, out)?,
        Field::Loc => loc::read(words, out)?,
    }
    Ok(())
}

pub(super) fn not(word: &Word<'_>, what: &str) -> ZoneFileError {
    ZoneFileError::new(word.span.clone(), format!("{:?} is not {what}", word.raw))
}

/// Anything that std or we read from a word as it is.
pub(super) fn number<T: FromStr>(word: &Word<'_>, what: &str) -> Result<T, ZoneFileError> {
    // Not a sign: `+1` is a number to Rust alone.
    let parsed = if word.raw.starts_with('+') { None } else { word.raw.parse().ok() };
    parsed.ok_or_else(|| not(word, what))
}

fn text(word: &Word<'_>, out: &mut Vec<u8>) -> Result<(), ZoneFileError> {
    with_length(word.bytes()?, word, out)
}

fn with_length(bytes: Vec<u8>, word: &Word<'_>, out: &mut Vec<u8>) -> Result<(), ZoneFileError> {
    let len = u8::try_from(bytes.len()).map_err(|_| {
        ZoneFileError::new(word.span.clone(), format!("{} bytes: one string has at most 255", bytes.len()))
            .hint("several strings after one another are one record's text")
    })?;
    out.push(len);
    out.extend(bytes);
    Ok(())
}

/// All words that are left as one, and where they stand.
fn joined(words: &mut Words<'_, '_>, what: &str) -> Result<(String, std::ops::Range<usize>), ZoneFileError> {
    let span = words.rest_span();
    let mut all = words.next(what)?.raw.to_owned();
    while words.peek().is_some() {
        all.push_str(words.next(what)?.raw);
    }
    Ok((all, span))
}

fn hex(words: &mut Words<'_, '_>) -> Result<(Vec<u8>, std::ops::Range<usize>), ZoneFileError> {
    let (joined, span) = joined(words, "hexadecimal digits")?;
    match HEXUPPER_PERMISSIVE.decode(joined.as_bytes()) {
        Ok(bytes) => Ok((bytes, span)),
        Err(_) => Err(ZoneFileError::new(span, "this is not an even number of hexadecimal digits")),
    }
}

fn read_groups(text: &str, len: usize, per_group: usize, joint: char) -> Option<Vec<u8>> {
    let mut bytes = vec![];
    for group in text.split(joint) {
        let padded = format!("{group:0>width$}", width = 2 * per_group);
        let is_short = group.is_empty() || per_group == 1 && group.len() != 2;
        bytes.extend(
            HEXUPPER_PERMISSIVE.decode(padded.as_bytes()).ok().filter(|read| read.len() == per_group && !is_short)?,
        );
    }
    (bytes.len() == len).then_some(bytes)
}

fn types(words: &mut Words<'_, '_>, out: &mut Vec<u8>) -> Result<(), ZoneFileError> {
    let mut numbers: Vec<u16> = vec![];
    while words.peek().is_some() {
        let word = words.next("a type")?;
        numbers.push(number::<RecordType>(&word, "a type of records")?.0);
    }
    numbers.sort_unstable();
    for window in numbers.chunk_by(|a, b| a >> 8 == b >> 8) {
        let mut bits = [0u8; 32];
        let mut len = 0;
        for number in window {
            let [_, low] = number.to_be_bytes();
            let at = usize::from(low >> 3);
            if let Some(byte) = bits.get_mut(at) {
                *byte |= 0x80 >> (low & 7);
            }
            len = at + 1;
        }
        let window = window.first().map_or(0, |number| (number >> 8) as u8);
        out.extend_from_slice(&[window, len as u8]);
        out.extend_from_slice(bits.get(..len).unwrap_or_default());
    }
    Ok(())
}

/// Seconds since 1970 modulo 2^32, in the calendar of RFC 4034, section 3.2, or as a number.
fn moment(text: &str) -> Option<u32> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if text.len() != 14 {
        return text.parse().ok();
    }
    WallTime::from_basic(text).map(|moment| moment.unix_secs() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_seconds_since_1970() {
        for (text, expected) in [
            ("19700101000000", Some(0)),
            ("20000229120000", Some(951_825_600)),
            ("20381231235959", Some(2_177_452_799)),
            ("1700000000", Some(1_700_000_000)),
            ("20261301000000", None),
            ("2026-01-01", None),
        ] {
            assert_eq!(moment(text), expected, "{text}");
        }
    }
}
