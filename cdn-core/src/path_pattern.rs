//! Path patterns of cache behaviors, and the path they are held against.
//!
//! Decides whether a behavior's pattern covers a request path. Knows nothing of query strings (they take no part) and
//! never changes the path that is keyed or sent to the origin: normalization is for this lookup alone.

use std::borrow::Cow;

/// Longest pattern, in bytes (CloudFront's quota).
pub const PATTERN_LENGTH_MAX: usize = 255;

/// A checked pattern: `*` is any run of bytes, also across `/`; `?` is exactly one. Anchored, case-sensitive; the
/// leading slash is optional and makes no difference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathPattern {
    /// As written.
    text: Box<str>,
    /// Bytes before the first wildcard, a leading slash not among them.
    prefix: usize,
    /// Bytes behind the last wildcard.
    suffix: usize,
    middle: Middle,
    /// The first eight bytes before a wildcard, and the last eight behind one: most paths fail there.
    head: Eight,
    tail: Eight,
}

/// Up to eight bytes in one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Eight {
    bytes: u64,
    /// Where there are any.
    mask: u64,
}

impl Eight {
    /// The first of `bytes`, in their order.
    fn first_of(bytes: &[u8]) -> Self {
        match bytes.first_chunk() {
            Some(eight) => Self { bytes: u64::from_le_bytes(*eight), mask: u64::MAX },
            None => Self::few(bytes.iter()),
        }
    }

    /// The last of `bytes`, from the last one back.
    fn last_of(bytes: &[u8]) -> Self {
        match bytes.last_chunk() {
            Some(eight) => Self { bytes: u64::from_be_bytes(*eight), mask: u64::MAX },
            None => Self::few(bytes.iter().rev()),
        }
    }

    fn few<'a>(bytes: impl Iterator<Item = &'a u8>) -> Self {
        let (mut eight, mut mask) = ([0; 8], [0; 8]);
        for ((into, there), byte) in eight.iter_mut().zip(&mut mask).zip(bytes) {
            (*into, *there) = (*byte, u8::MAX);
        }
        Self { bytes: u64::from_le_bytes(eight), mask: u64::from_le_bytes(mask) }
    }

    /// Whether `other` begins with these. No byte of a pattern is zero, so that a shorter one does not.
    const fn begins(self, other: Self) -> bool {
        other.bytes & self.mask == self.bytes
    }
}

/// A path that has been through [`normalize_for_lookup`], ready to be held against many patterns.
#[derive(Clone, Copy, Debug)]
pub struct LookupPath<'a> {
    bare: &'a [u8],
    head: Eight,
    tail: Eight,
}

impl<'a> LookupPath<'a> {
    /// Makes it ready.
    pub fn of(normalized: &'a str) -> Self {
        let bare = without_slash(normalized).as_bytes();
        Self { bare, head: Eight::first_of(bare), tail: Eight::last_of(bare) }
    }
}

/// What lies between the literal ends of a pattern. Most patterns are decided by their ends, and there may be a hundred of
/// them before the one that a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Middle {
    /// Nothing: there is no wildcard.
    Nothing,
    /// One star.
    Star,
    /// More than that.
    Wildcards,
}

/// Why a text is no path pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathPatternError {
    /// It has no characters.
    #[error("a path pattern may not be empty")]
    Empty,
    /// It exceeds [`PATTERN_LENGTH_MAX`].
    #[error("a path pattern has at most {PATTERN_LENGTH_MAX} characters, this one has {0}")]
    TooLong(usize),
    /// It has a character that CloudFront does not allow.
    #[error("{0:?} is not allowed in a path pattern; A-Z a-z 0-9 _ - . * ? $ / ~ \" ' @ : + & are")]
    Character(char),
}

impl PathPattern {
    /// Checks a pattern.
    pub fn parse(text: &str) -> Result<Self, PathPatternError> {
        if text.is_empty() {
            return Err(PathPatternError::Empty);
        }
        if text.len() > PATTERN_LENGTH_MAX {
            return Err(PathPatternError::TooLong(text.chars().count()));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.*?$/~\"'@:+&".contains(c);
        match text.chars().find(|&c| !allowed(c)) {
            Some(c) => Err(PathPatternError::Character(c)),
            None => Ok(Self::of(text)),
        }
    }

    fn of(text: &str) -> Self {
        let bare = without_slash(text);
        let is_wildcard = |c: char| matches!(c, '*' | '?');
        let (prefix, suffix, middle) = match (bare.find(is_wildcard), bare.rfind(is_wildcard)) {
            (Some(first), Some(last)) => {
                let middle =
                    if first == last && bare[first..].starts_with('*') { Middle::Star } else { Middle::Wildcards };
                (first, bare.len() - last - 1, middle)
            }
            _ => (bare.len(), 0, Middle::Nothing),
        };
        let bytes = bare.as_bytes();
        let head = Eight::first_of(bytes.split_at(prefix).0);
        let tail = Eight::last_of(bytes.split_at(bytes.len() - suffix).1);
        Self { text: text.into(), prefix, suffix, middle, head, tail }
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the pattern covers `path`, which has been through [`normalize_for_lookup`].
    pub fn matches(&self, path: &str) -> bool {
        self.covers(LookupPath::of(path))
    }

    /// The same for a path that is held against many.
    pub fn covers(&self, path: LookupPath<'_>) -> bool {
        if !self.head.begins(path.head) || !self.tail.begins(path.tail) {
            return false;
        }
        let pattern = without_slash(&self.text).as_bytes();
        let (prefix, rest) = pattern.split_at(self.prefix);
        let (middle, suffix) = rest.split_at(rest.len() - self.suffix);
        let Some(between) = path.bare.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix)) else {
            return false;
        };
        match self.middle {
            Middle::Nothing => between.is_empty(),
            Middle::Star => true,
            Middle::Wildcards => glob(middle, between),
        }
    }
}

fn without_slash(path: &str) -> &str {
    path.strip_prefix('/').unwrap_or(path)
}

/// The path for the behavior lookup: query cut off, unreserved characters decoded (RFC 3986 section 6.2.2.2), repeated
/// slashes collapsed, dot segments removed (section 5.2.4). Borrows where nothing changes.
pub fn normalize_for_lookup(path: &str) -> Cow<'_, str> {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    if !path.starts_with('/') || !(path.contains('%') || path.contains("//") || path.contains("/.")) {
        return Cow::Borrowed(path);
    }
    let decoded = decode_unreserved(path);
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_with_slash = false;
    for segment in decoded.split('/') {
        ends_with_slash = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    let mut normalized = String::with_capacity(decoded.len());
    for segment in &kept {
        normalized.push('/');
        normalized.push_str(segment);
    }
    if ends_with_slash || normalized.is_empty() {
        normalized.push('/');
    }
    Cow::Owned(normalized)
}

/// Matches with one point to go back to: after a mismatch the last `*` swallows one more byte.
pub(crate) fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((after_star, from)) => {
                    (p, t) = (after_star, from + 1);
                    retry = Some((after_star, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

fn decode_unreserved(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        decoded.push_str(&rest[..at]);
        let escape = &rest.as_bytes()[at..];
        let byte = match escape {
            [_, high, low, ..] => hex(*high).zip(hex(*low)).map(|(high, low)| high * 16 + low),
            _ => None,
        };
        match byte {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                decoded.push(char::from(byte));
                rest = &rest[at + 3..];
            }
            _ => {
                decoded.push('%');
                rest = &rest[at + 1..];
            }
        }
    }
    decoded.push_str(rest);
    Cow::Owned(decoded)
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_the_published_vectors_say() {
        let rows: &[(&str, &str, bool)] = &[
            ("/images/*", "/images/a.jpg", true),
            ("images/*", "/images/a.jpg", true),
            ("/images/*", "/images/", true),
            ("/images/*", "/images", false),
            ("/images/*", "/Images/a.jpg", false),
            ("*.jpg", "/a/b/c.jpg", true),
            ("*.jpg", "/a.JPG", false),
            ("/a/*/c", "/a/b/d/c", true),
            ("/v?/x", "/v1/x", true),
            ("/v?/x", "/v12/x", false),
            ("/v?/x", "/v/x", false),
            ("/api/*", "/api/x?y=/images/z", true),
            ("/x", "/x?y=1", true),
            ("/x?y=1", "/x", false),
            ("/a??.html", "/ab1.html", true),
            ("*", "/anything/at/all", true),
            ("/docs/*.pdf", "/docs/a.pdf/extra", false),
            ("/~user/*", "/~user/x", true),
            ("/price$list", "/price$list", true),
            ("index.html", "/index.html", true),
            ("index.html", "/sub/index.html", false),
        ];
        for &(pattern, uri, expected) in rows {
            if pattern.contains('=') {
                // `=` is no legal character; the vector only tells that `?` is a wildcard.
                assert_eq!(PathPattern::parse(pattern), Err(PathPatternError::Character('=')));
                continue;
            }
            let matches = PathPattern::parse(pattern).unwrap().matches(&normalize_for_lookup(uri));
            assert_eq!(matches, expected, "{pattern} on {uri}");
        }
    }

    #[test]
    fn lookup_path_has_no_dots_double_slashes_or_needless_escapes() {
        let rows = [
            ("/a/b/../x", "/a/x"),
            ("/a//b", "/a/b"),
            ("/a/b/..?c=1", "/a/"),
            ("/a/%2e%2E/b", "/b"),
            ("/%7euser/%41", "/~user/A"),
            ("/a%2Fb", "/a%2Fb"),
            ("/a%2", "/a%2"),
            ("/%zz/%", "/%zz/%"),
            ("/../..", "/"),
            ("/.", "/"),
            ("/", "/"),
            ("*", "*"),
            ("/%C3%A9/é%2e", "/%C3%A9/é."),
        ];
        for (raw, expected) in rows {
            assert_eq!(normalize_for_lookup(raw), expected, "{raw}");
        }
    }

    #[test]
    fn illegal_patterns_are_named() {
        assert_eq!(PathPattern::parse(""), Err(PathPatternError::Empty));
        assert_eq!(PathPattern::parse("/a b"), Err(PathPatternError::Character(' ')));
        assert_eq!(PathPattern::parse(&"a".repeat(256)), Err(PathPatternError::TooLong(256)));
    }

    /// The obvious recursive matcher.
    fn oracle(pattern: &[u8], text: &[u8]) -> bool {
        match pattern {
            [] => text.is_empty(),
            [b'*', rest @ ..] => (0..=text.len()).any(|at| oracle(rest, &text[at..])),
            [b'?', rest @ ..] => !text.is_empty() && oracle(rest, &text[1..]),
            [byte, rest @ ..] => text.first() == Some(byte) && oracle(rest, &text[1..]),
        }
    }

    proptest::proptest! {
        #[test]
        fn glob_agrees_with_the_recursive_matcher(pattern in "[ab*?/]{0,8}", text in "[ab/]{0,10}") {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), oracle(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn patterns_agree_with_the_recursive_matcher(pattern in "/?[ab*?/]{1,12}", path in "/[ab/]{0,16}") {
            let expected = oracle(without_slash(&pattern).as_bytes(), without_slash(&path).as_bytes());
            assert_eq!(PathPattern::parse(&pattern).unwrap().matches(&path), expected, "{pattern} on {path}");
        }

        #[test]
        fn normalization_is_idempotent_where_nothing_is_escaped(path in "/[ab./]{0,12}") {
            let once = normalize_for_lookup(&path).into_owned();
            assert_eq!(normalize_for_lookup(&once), once.as_str());
            assert!(once.starts_with('/') && !once.contains("//"));
        }
    }
}
