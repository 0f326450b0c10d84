//! Parameters of SVCB and HTTPS records as words (RFC 9460, section 2.1 and appendix A).

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use data_encoding::BASE64;

use super::{
    ZoneFileError,
    data::not,
    lexer::{Word, Words, unescaped},
};

/// Keys by number (IANA's registry of service parameter keys).
const KEYS: [&str; 9] =
    ["mandatory", "alpn", "no-default-alpn", "port", "ipv4hint", "ech", "ipv6hint", "dohpath", "ohttp"];

/// Reads all words that are left and writes the parameters, ordered by key.
pub(super) fn read(words: &mut Words<'_, '_>, out: &mut Vec<u8>) -> Result<(), ZoneFileError> {
    let mut params: BTreeMap<u16, Vec<u8>> = BTreeMap::new();
    while words.peek().is_some() {
        let word = words.next("a parameter")?;
        let (key, value) = word.raw.split_once('=').map_or((word.raw, None), |(key, value)| (key, Some(value)));
        let number = key_number(key).ok_or_else(|| {
            not(&Word { raw: key, span: word.span.clone() }, "a key of service parameters")
                .hint("mandatory, alpn, no-default-alpn, port, ipv4hint, ech, ipv6hint, dohpath, ohttp, or key65280")
        })?;
        let value = value.unwrap_or_default();
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        let bytes = unescaped(value.as_bytes()).and_then(|value| encoded(number, &value));
        let bytes = bytes.ok_or_else(|| not(&word, &format!("a value of {key}")))?;
        if params.insert(number, bytes).is_some() {
            return Err(ZoneFileError::new(word.span, format!("{key} stands there twice")));
        }
    }
    for (key, value) in params {
        out.extend_from_slice(&key.to_be_bytes());
        out.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.extend(value);
    }
    Ok(())
}

fn key_number(key: &str) -> Option<u16> {
    if let Some(number) = KEYS.iter().position(|known| *known == key) {
        return u16::try_from(number).ok();
    }
    let digits = key.strip_prefix("key")?;
    let is_plain = digits == "0" || !digits.starts_with(['0', '+']);
    digits.parse().ok().filter(|_| is_plain)
}

fn encoded(key: u16, value: &[u8]) -> Option<Vec<u8>> {
    let text = || str::from_utf8(value).ok();
    match KEYS.get(usize::from(key)).copied() {
        Some("mandatory") => {
            let mut keys = text()?.split(',').map(key_number).collect::<Option<Vec<u16>>>()?;
            keys.sort_unstable();
            Some(keys.iter().flat_map(|key| key.to_be_bytes()).collect())
        }
        Some("alpn") => {
            let mut bytes = vec![];
            for id in list(value)? {
                bytes.push(u8::try_from(id.len()).ok()?);
                bytes.extend(id);
            }
            Some(bytes)
        }
        Some("port") => Some(text()?.parse::<u16>().ok()?.to_be_bytes().into()),
        Some("ipv4hint") => addresses(text()?, |address: Ipv4Addr| address.octets()),
        Some("ipv6hint") => addresses(text()?, |address: Ipv6Addr| address.octets()),
        Some("ech") => BASE64.decode(value).ok(),
        Some("no-default-alpn" | "ohttp") => value.is_empty().then(Vec::new),
        _ => Some(value.to_vec()),
    }
}

fn addresses<T: FromStr, const N: usize>(text: &str, octets: fn(T) -> [u8; N]) -> Option<Vec<u8>> {
    let all = text.split(',').map(|address| address.parse().ok().map(octets)).collect::<Option<Vec<_>>>()?;
    Some(all.concat())
}

/// Values between commas; a backslash takes a comma or backslash as it is.
fn list(value: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut all = vec![vec![]];
    let mut bytes = value.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b',' => all.push(vec![]),
            b'\\' => all.last_mut()?.push(*bytes.next()?),
            _ => all.last_mut()?.push(byte),
        }
    }
    Some(all)
}
