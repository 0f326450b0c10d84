//! Which URLs a policy covers.
//!
//! A pattern has `*` for any run and `?` for exactly one character, section by section: scheme, host, path, query. A
//! wildcard stays within its section, but a `*` at the end of the path covers any query too, and one at the end of the
//! host any path and query. `*host` alone means `*://*host/`. Path and query are compared with case, hosts without. A `?`
//! before the query may be written `\?` (as older guides had it) or plain, which is then the delimiter or a wildcard,
//! whichever fits. Source: CloudFront developer guide, "Values that you specify in the policy statement".

use std::{borrow::Cow, fmt};

/// What of all URLs a policy covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// The one that was signed: a canned policy's, of which the signature is the proof.
    Exact,
    /// Any: a policy without `Resource`.
    Any,
    /// Those that a pattern covers.
    Pattern(ResourcePattern),
}

impl Resource {
    /// Whether it covers `url`.
    pub fn covers(&self, url: &UrlParts<'_>) -> bool {
        match self {
            Self::Exact | Self::Any => true,
            Self::Pattern(pattern) => pattern.covers(url),
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => f.write_str("the URL that was signed"),
            Self::Any => f.write_str("every URL"),
            Self::Pattern(pattern) => f.write_str(&pattern.text),
        }
    }
}

/// A URL in its sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UrlParts<'a> {
    scheme: &'a str,
    /// With a port where there is one.
    host: &'a str,
    /// Path and query.
    target: &'a str,
}

impl<'a> UrlParts<'a> {
    /// `target` is path and query, without CloudFront's parameters.
    pub const fn new(scheme: &'a str, host: &'a str, target: &'a str) -> Self {
        Self { scheme, host, target }
    }

    /// Splits an absolute URL; `None` where there is no `://`.
    pub fn parse(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (host, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        Some(Self { scheme, host, target: if target.is_empty() { "/" } else { target } })
    }
}

impl fmt::Display for UrlParts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.host, self.target)
    }
}

/// A host without its port.
pub fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// A checked pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourcePattern {
    /// As written.
    text: String,
    scheme: Box<[Token]>,
    host: Box<[Token]>,
    /// Path and query together; `None` covers any.
    target: Option<Box<[Token]>>,
}

/// One piece of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Run,
    One,
    Byte(u8),
}

impl ResourcePattern {
    /// Reads a pattern; `None` where it begins otherwise than with `http://`, `https://`, a scheme with a wildcard, or `*`.
    pub fn parse(text: &str) -> Option<Self> {
        let whole = |scheme: &str, host: &str, target: Option<&str>| Self {
            text: text.to_owned(),
            scheme: tokens(scheme),
            host: tokens(&host.to_ascii_lowercase()),
            target: target.map(tokens),
        };
        if text == "*" {
            return Some(whole("*", "*", None));
        }
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) if is_scheme(scheme) => (scheme, rest),
            Some(_) => return None,
            None if text.starts_with('*') => ("*", text),
            None => return None,
        };
        Some(match rest.split_once('/') {
            Some((host, _)) => whole(scheme, host, Some(&rest[host.len()..])),
            None if rest.ends_with('*') => whole(scheme, rest, None),
            None => whole(scheme, rest, Some("/")),
        })
    }

    /// Whether it covers `url`.
    pub fn covers(&self, url: &UrlParts<'_>) -> bool {
        let host = |host: &str| {
            let lower: Cow<'_, str> = match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
                true => Cow::Owned(host.to_ascii_lowercase()),
                false => Cow::Borrowed(host),
            };
            fits(&self.host, lower.as_bytes(), None)
        };
        let covers_target = |target: &[Token]| {
            let delimiter = url.target.bytes().position(|byte| byte == b'?');
            fits(target, url.target.as_bytes(), delimiter)
        };
        fits(&self.scheme, url.scheme.as_bytes(), None)
            && (host(url.host) || host(without_port(url.host)))
            && self.target.as_deref().is_none_or(covers_target)
    }
}

/// Letters and wildcards, such that `http` or `https` may fit.
fn is_scheme(scheme: &str) -> bool {
    let tokens = tokens(scheme);
    fits(&tokens, b"http", None) || fits(&tokens, b"https", None)
}

fn tokens(pattern: &str) -> Box<[Token]> {
    let mut tokens: Vec<Token> = Vec::with_capacity(pattern.len());
    let mut bytes = pattern.bytes().peekable();
    while let Some(byte) = bytes.next() {
        tokens.push(match byte {
            // Two runs are one.
            b'*' if tokens.last() == Some(&Token::Run) => continue,
            b'*' => Token::Run,
            b'?' => Token::One,
            b'\\' => match bytes.next_if_eq(&b'?') {
                Some(byte) => Token::Byte(byte),
                None => Token::Byte(byte),
            },
            byte => Token::Byte(byte),
        });
    }
    tokens.into()
}

/// Whether `pattern` fits the whole of `text`. A run does not cross `delimiter`, unless it is the pattern's end.
fn fits(pattern: &[Token], text: &[u8], delimiter: Option<usize>) -> bool {
    // Most patterns are plain up to their last character.
    let plain = pattern.iter().zip(text).take_while(|(token, byte)| **token == Token::Byte(**byte)).count();
    let (pattern, rest) = (&pattern[plain..], &text[plain..]);
    match pattern {
        [] => return rest.is_empty(),
        [Token::Run] => return true,
        [Token::Byte(_), ..] => return false,
        _ => {}
    }
    // `reached[at]` says whether the pattern so far fits the first `at` bytes.
    let delimiter = delimiter.and_then(|at| at.checked_sub(plain));
    let mut reached = vec![false; rest.len() + 1];
    reached[0] = true;
    for (position, token) in pattern.iter().enumerate() {
        match token {
            Token::Run if position + 1 == pattern.len() => return reached.contains(&true),
            Token::Run => {
                for at in 0..rest.len() {
                    reached[at + 1] |= reached[at] && delimiter != Some(at);
                }
            }
            Token::One | Token::Byte(_) => {
                for at in (0..rest.len()).rev() {
                    reached[at + 1] = reached[at] && (*token == Token::One || *token == Token::Byte(rest[at]));
                }
                reached[0] = false;
            }
        }
    }
    reached[rest.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn covers(pattern: &str, url: &str) -> bool {
        ResourcePattern::parse(pattern).unwrap().covers(&UrlParts::parse(url).unwrap())
    }

    #[test]
    fn the_vectors_hold() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/vectors/policy_resource.json")).unwrap();
        let cases = vectors["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 22);
        for case in cases {
            let (resource, url) = (case["resource"].as_str().unwrap(), case["url"].as_str().unwrap());
            assert_eq!(covers(resource, url), case["match"].as_bool().unwrap(), "{case}");
        }
    }

    #[test]
    fn hosts_compare_without_case_and_paths_with() {
        assert!(covers("https://CDN.demo.test/a", "https://cdn.DEMO.test/a"));
        assert!(!covers("https://cdn.demo.test/A", "https://cdn.demo.test/a"));
        assert!(covers("https://cdn.demo.test/a", "https://cdn.demo.test:4443/a"), "the port may be left out");
        assert!(covers("https://cdn.demo.test:4443/a", "https://cdn.demo.test:4443/a"));
        assert!(!covers("https://cdn.demo.test:4443/a", "https://cdn.demo.test/a"));
    }

    #[test]
    fn wildcards_stay_in_their_section() {
        assert!(!covers("https://cdn.demo.test/a*b", "https://cdn.demo.test/a?x=b"));
        assert!(covers("https://cdn.demo.test/a*?x=*", "https://cdn.demo.test/a/b?x=1&y=2"));
        assert!(!covers("https://*/x", "https://cdn.demo.test/a/x"));
        assert!(covers("https://cdn.demo.test/*/x?*", "https://cdn.demo.test/a/x?y"));
        assert!(!covers("https://cdn.demo.test/*/x?*", "https://cdn.demo.test/a/x"));
    }

    #[test]
    fn only_urls_of_the_web_are_patterns() {
        for text in ["", "/a", "cdn.demo.test/a", "ftp://a/", "://a/", "httpx://a/", "file:///a"] {
            assert_eq!(ResourcePattern::parse(text), None, "{text}");
        }
        for text in ["*", "*a", "http://a", "https://a", "http*://a", "*://a", "h?tp://a", "http?://a"] {
            assert!(ResourcePattern::parse(text).is_some(), "{text}");
        }
    }

    /// The rule as it is written, one choice after the other.
    fn fits_slowly(pattern: &[Token], text: &[u8], delimiter: Option<usize>) -> bool {
        match pattern {
            [] => text.is_empty(),
            [Token::Run] => true,
            [Token::Run, rest @ ..] => {
                let end = delimiter.unwrap_or(text.len());
                (0..=end).any(|at| fits_slowly(rest, &text[at..], delimiter.and_then(|d| d.checked_sub(at))))
            }
            [token, rest @ ..] => text.split_first().is_some_and(|(byte, after)| {
                (*token == Token::One || *token == Token::Byte(*byte))
                    && fits_slowly(rest, after, delimiter.and_then(|d| d.checked_sub(1)))
            }),
        }
    }

    proptest! {
        #[test]
        fn the_fast_way_is_the_slow_one(pattern in "[ab?*]{0,8}", text in "[ab?]{0,10}") {
            let (pattern, delimiter) = (tokens(&pattern), text.find('?'));
            prop_assert_eq!(
                fits(&pattern, text.as_bytes(), delimiter),
                fits_slowly(&pattern, text.as_bytes(), delimiter)
            );
        }
    }
}
