//! Domain names in canonical form.

use std::{borrow::Borrow, fmt, str::FromStr};

/// A domain name in canonical form (RFC 4034, section 6.2): lower case, each label preceded by its length, without the
/// root's empty label. Ordered by these bytes, which is not DNSSEC's order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

/// Text that is no domain name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a domain name: labels of 1 to 63 printable characters, 253 in all")]
pub struct InvalidDomainName(String);

/// The longest canonical form: 255 octets (RFC 1035, section 2.3.4) less the root's.
pub const NAME_BYTES_MAX: usize = 254;

impl Name {
    /// A name from its canonical bytes, as a parser of messages has them.
    ///
    /// The caller answers for the form; a malformed one is found nowhere.
    pub fn from_canonical(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The root.
    pub fn root() -> Self {
        Self(Box::default())
    }

    /// The canonical bytes.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The labels, the left-most first.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        suffixes(&self.0).filter_map(|suffix| label(suffix))
    }

    /// Whether this is the root.
    pub const fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the left-most label is `*` (RFC 4592, section 2.1.1).
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(b"\x01*")
    }

    /// The name without its left-most label; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        suffixes(&self.0).nth(1).map(Self::from_canonical)
    }

    /// Whether this is `apex` or stands below it.
    pub fn is_within(&self, apex: &Self) -> bool {
        suffixes(&self.0).any(|suffix| suffix == apex.as_bytes())
    }

    /// The name with `labels` (dotted) put before it.
    ///
    /// # Errors
    /// [`InvalidDomainName`] where that is no name.
    pub fn child(&self, labels: &str) -> Result<Self, InvalidDomainName> {
        Self::parse_within(labels.strip_suffix('.').unwrap_or(labels), self)
    }

    /// Reads `text` as a zone file has it (RFC 1035, section 5.1): relative to `origin` unless it ends in a dot; `@` is
    /// the origin itself.
    ///
    /// # Errors
    /// [`InvalidDomainName`].
    pub fn parse_within(text: &str, origin: &Self) -> Result<Self, InvalidDomainName> {
        if text == "@" {
            return Ok(origin.clone());
        }
        let invalid = || InvalidDomainName(text.into());
        let (mut bytes, is_absolute) = read(text).ok_or_else(invalid)?;
        if !is_absolute {
            bytes.extend_from_slice(&origin.0);
        }
        if bytes.len() > NAME_BYTES_MAX { Err(invalid()) } else { Ok(Self(bytes.into())) }
    }

    /// Takes a name from the front of uncompressed data (RFC 1035, section 3.1), and says what follows.
    pub fn split_wire(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let mut rest = bytes;
        loop {
            let (&len, after) = rest.split_first()?;
            if len == 0 {
                let name = bytes.get(..bytes.len() - after.len() - 1)?;
                return (name.len() <= NAME_BYTES_MAX).then(|| (lowered(name), after));
            }
            rest = if len > 63 { None } else { after.get(usize::from(len)..) }?;
        }
    }

    /// `name`, which stands below `from`, with that suffix replaced by `to` (RFC 6672, section 2.2); `None` where the
    /// result would be too long, or `name` does not stand there.
    pub fn rebased(name: &[u8], from: &Self, to: &Self) -> Option<Self> {
        let above = name.strip_suffix(from.as_bytes())?;
        let bytes = [above, to.as_bytes()].concat();
        (bytes.len() <= NAME_BYTES_MAX).then(|| Self(bytes.into()))
    }
}

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for Name {
    type Err = InvalidDomainName;

    /// Reads `www.demo.test`, with or without a dot at the end, with the escapes of RFC 1035, section 5.1.
    fn from_str(text: &str) -> Result<Self, InvalidDomainName> {
        match read(text) {
            Some((bytes, _)) if bytes.len() <= NAME_BYTES_MAX => Ok(Self(bytes.into())),
            _ => Err(InvalidDomainName(text.into())),
        }
    }
}

impl fmt::Display for Name {
    /// Dotted, without the last dot; what a zone file would take for something else is escaped (RFC 1035, section 5.1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str(".");
        }
        for (at, label) in self.labels().enumerate() {
            if at > 0 {
                f.write_str(".")?;
            }
            for &byte in label {
                match byte {
                    b'.' | b'\\' | b'"' | b'(' | b')' | b';' | b'@' | b'$' => write!(f, "\\{}", char::from(byte))?,
                    _ if byte.is_ascii_graphic() => write!(f, "{}", char::from(byte))?,
                    _ => write!(f, "\\{byte:03}")?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The canonical bytes of dotted text, and whether it ended in a dot. Their length is not checked.
fn read(text: &str) -> Option<(Vec<u8>, bool)> {
    if text == "." {
        return Some((vec![], true));
    }
    let mut bytes = Vec::with_capacity(text.len() + 1);
    let mut rest = text.as_bytes();
    loop {
        let start = bytes.len();
        bytes.push(0);
        let mut ended_by_dot = false;
        while let Some((&first, after)) = rest.split_first() {
            rest = after;
            let byte = match first {
                b'.' => {
                    ended_by_dot = true;
                    break;
                }
                b'\\' => {
                    let (byte, after) = unescape(rest)?;
                    rest = after;
                    byte
                }
                _ if first.is_ascii_graphic() => first,
                _ => return None,
            };
            bytes.push(byte.to_ascii_lowercase());
        }
        let len = u8::try_from(bytes.len() - start - 1).ok().filter(|len| (1..=63).contains(len))?;
        *bytes.get_mut(start)? = len;
        if rest.is_empty() {
            return Some((bytes, ended_by_dot));
        }
    }
}

/// What follows a backslash: three digits, or any one character that is no digit.
fn unescape(rest: &[u8]) -> Option<(u8, &[u8])> {
    match rest {
        &[a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', ref after @ ..] => {
            let number = [a, b, c].iter().fold(0u16, |number, digit| number * 10 + u16::from(digit - b'0'));
            Some((u8::try_from(number).ok()?, after))
        }
        &[b'0'..=b'9', ..] | [] => None,
        &[byte, ref after @ ..] => byte.is_ascii_graphic().then_some((byte, after)),
    }
}

fn lowered(name: &[u8]) -> Name {
    // Lengths are below 64 and so no letters.
    Name(name.to_ascii_lowercase().into())
}

/// The name itself, then without its first label, and so on to the root.
pub(super) fn suffixes(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(name), |name| name.get(1 + usize::from(*name.first()?)..))
}

fn label(name: &[u8]) -> Option<&[u8]> {
    name.get(1..1 + usize::from(*name.first()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_checked_and_read_back() {
        for good in ["www.demo.test", ".", "*.demo.test", "_dmarc.demo.test", "a", r"a\.b.test", r"a\000\@\;\255.test"]
        {
            assert_eq!(name(good).to_string(), good);
        }
        let long = format!("{}.test", "a".repeat(64));
        for bad in ["", "..", "a..b", ".a", "a b", &long, "é.test", &"abcdefg.".repeat(32), r"a\", r"a\25.b", r"\256"]
        {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
        assert_eq!(name("a.b.c").parent(), Some(name("b.c")));
        assert_eq!(name(".").parent(), None);
        assert!(name("a.b").is_within(&name("b")) && !name("ab").is_within(&name("b")));
        assert_eq!(name(r"a\.b.test").labels().next(), Some(&b"a.b"[..]));
    }

    #[test]
    fn relative_names_stand_below_the_origin() {
        let origin = name("demo.test");
        for (text, expected) in
            [("www", "www.demo.test"), ("www.", "www"), ("@", "demo.test"), (".", "."), ("a.b", "a.b.demo.test")]
        {
            assert_eq!(Name::parse_within(text, &origin), Ok(name(expected)), "{text}");
        }
        assert_eq!(Name::parse_within("www", &Name::root()), Ok(name("www")));
        assert!(Name::parse_within("abcdefg.".repeat(31).strip_suffix('.').unwrap(), &origin).is_err());
    }

    #[test]
    fn a_suffix_is_replaced_where_there_is_room() {
        let (from, to) = (name("old.test"), name("new.example"));
        assert_eq!(Name::rebased(name("a.b.old.test").as_bytes(), &from, &to), Some(name("a.b.new.example")));
        assert_eq!(Name::rebased(name("a.test").as_bytes(), &from, &to), None);
        let long = name(&format!("{}old.test", "abcdefg.".repeat(30)));
        assert_eq!(Name::rebased(long.as_bytes(), &from, &name("a.much.longer.test")), None);
        assert!(Name::rebased(long.as_bytes(), &from, &Name::root()).is_some());
    }

    proptest! {
        #[test]
        fn every_name_is_read_back_from_text_and_wire(labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..8)) {
            let mut bytes = vec![];
            for label in &labels {
                bytes.push(label.len() as u8);
                bytes.extend(label.to_ascii_lowercase());
            }
            let name = Name::from_canonical(&bytes);
            prop_assert_eq!(&name.to_string().parse::<Name>().unwrap(), &name);
            let wire = [&bytes[..], b"\0rest"].concat();
            prop_assert_eq!(Name::split_wire(&wire), Some((name, &b"rest"[..])));
        }

        #[test]
        fn any_bytes_are_shown_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Name::from_canonical(&bytes).to_string();
            let _ = Name::split_wire(&bytes);
        }
    }
}
