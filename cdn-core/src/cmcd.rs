//! What a media player says of itself with its requests: Common Media Client Data (CTA-5004), as headers or as the query
//! parameter `CMCD`.
//!
//! Reads single keys, for logs. Knows no meanings.

use http::HeaderMap;

use crate::selection::parameters;

/// The headers, in the order in which they are looked at; each has keys of its own.
const HEADERS: [&str; 4] = ["cmcd-object", "cmcd-request", "cmcd-session", "cmcd-status"];

/// What is said for `key`, without the quotes of a text; `true` for a key that stands alone. A header goes before the query.
pub fn value(key: &str, headers: &HeaderMap, query: Option<&str>) -> Option<String> {
    let lines = HEADERS.iter().flat_map(|name| headers.get_all(*name)).filter_map(|value| value.to_str().ok());
    lines.into_iter().find_map(|line| find(key, line).map(str::to_owned)).or_else(|| {
        let parameter = parameters(query?).find(|(name, _)| *name == "CMCD").map(|(_, parameter)| parameter)?;
        let (_, encoded) = parameter.split_once('=')?;
        find(key, &percent_decoded(encoded)).map(str::to_owned)
    })
}

fn find<'a>(key: &str, line: &'a str) -> Option<&'a str> {
    let mut rest = line;
    while !rest.is_empty() {
        let mut quoted = false;
        let end = rest.bytes().position(|byte| {
            quoted ^= byte == b'"';
            byte == b',' && !quoted
        });
        let (entry, after) = end.and_then(|end| rest.split_at_checked(end)).unwrap_or((rest, ""));
        rest = after.strip_prefix(',').unwrap_or_default();
        let entry = entry.trim();
        let (name, value) = entry.split_once('=').unwrap_or((entry, "true"));
        if name == key {
            return Some(value.trim_matches('"'));
        }
    }
    None
}

/// What is no encoding stays as it is (RFC 3986 section 2.1).
fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 3).filter(|_| byte == b'%').and_then(|digits| str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(encoded) => {
                decoded.push(encoded);
                at += 3;
            }
            None => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_headers_and_in_the_query() {
        let mut headers = HeaderMap::new();
        headers.insert("cmcd-request", "bl=21300,nor=\"..%2F300kbps,x\",su".parse().unwrap());
        headers.insert("cmcd-session", "sid=\"6e2fb550\"".parse().unwrap());
        let query = Some("a=1&CMCD=br%3D3200%2Csid%3D%22other%22%2Cbs");
        for (key, expected) in [
            ("bl", Some("21300")),
            ("nor", Some("..%2F300kbps,x")),
            ("su", Some("true")),
            ("sid", Some("6e2fb550")),
            ("br", Some("3200")),
            ("bs", Some("true")),
            ("x", None),
        ] {
            assert_eq!(value(key, &headers, query).as_deref(), expected, "{key}");
        }
        assert_eq!(value("br", &HeaderMap::new(), Some("CMCD=br%3")), None);
        assert_eq!(value("br", &HeaderMap::new(), None), None);
    }
}
