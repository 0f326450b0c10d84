//! Where a signature stands: parameters of the URL, or else cookies.
//!
//! Any of CloudFront's parameters makes a signed URL, and cookies are not looked at then. Names are case-sensitive,
//! values are taken as they stand on the wire. A name that is there twice with the same value is there once.

use http::HeaderMap;

use super::{Hash, Refusal};
use crate::selection::{self, cookies, parameters};

/// CloudFront's own parameters of a URL; they are neither in the cache key nor seen by the origin.
pub const PARAMETERS: [&str; 5] = ["Expires", "Policy", "Signature", "Key-Pair-Id", "Hash-Algorithm"];

/// CloudFront's own cookies, in the order of [`PARAMETERS`]; they are treated likewise.
pub const COOKIES: [&str; 5] = [
    "CloudFront-Expires",
    "CloudFront-Policy",
    "CloudFront-Signature",
    "CloudFront-Key-Pair-Id",
    "CloudFront-Hash-Algorithm",
];

/// Where a signature stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// In the URL's query.
    Url,
    /// In cookies.
    Cookies,
}

/// The policy as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyText<'a> {
    /// Its time of expiry alone; the rest follows from the request.
    Canned(&'a str),
    /// All of it, encoded.
    Custom(&'a str),
}

/// A signature and what belongs to it, not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// Where it stands.
    pub source: Source,
    /// `Key-Pair-Id`.
    pub key_id: &'a str,
    /// `Policy`, or `Expires`. Where both are there, `Policy`.
    pub policy: PolicyText<'a>,
    /// `Signature`, encoded.
    pub signature: &'a str,
    /// `Hash-Algorithm`; SHA-1 where nothing is said.
    pub hash: Hash,
}

impl<'a> Credentials<'a> {
    /// Finds them in the target (path and query) or the headers of a request.
    ///
    /// # Errors
    /// Something is missing, is there twice, or names no hash.
    pub fn of(target: &'a str, headers: &'a HeaderMap) -> Result<Self, Refusal> {
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let (source, found) = match Found::among(&PARAMETERS, parameters(query)) {
            found if found.is_any() => (Source::Url, found),
            _ => (Source::Cookies, Found::among(&COOKIES, cookies(headers))),
        };
        let [expires, policy, signature, key_id, hash] = found.values;
        let key_id = key_id.filter(|id| !id.is_empty()).ok_or(Refusal::MissingKey)?;
        if let Some(name) = found.repeated {
            return Err(Refusal::Repeated(name));
        }
        let policy = policy.map(PolicyText::Custom).or_else(|| expires.map(PolicyText::Canned));
        let policy = policy.ok_or(Refusal::MissingPolicy)?;
        let signature = signature.ok_or(Refusal::MissingSignature)?;
        let hash = match hash {
            None => Hash::Sha1,
            Some(name) => Hash::named(name).ok_or_else(|| Refusal::UnknownHash(name.to_owned()))?,
        };
        Ok(Self { source, key_id, policy, signature, hash })
    }
}

/// Values by name, in the order of the names.
#[derive(Default)]
struct Found<'a> {
    values: [Option<&'a str>; 5],
    /// The first name that has two values.
    repeated: Option<&'static str>,
}

impl<'a> Found<'a> {
    fn among(names: &[&'static str; 5], pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut found = Self::default();
        for (name, pair) in pairs {
            let Some(at) = names.iter().position(|known| *known == name) else { continue };
            let value = pair.split_once('=').map_or("", |(_, value)| value);
            match found.values[at] {
                None => found.values[at] = Some(value),
                Some(first) if first == value => {}
                Some(_) => found.repeated = found.repeated.or(Some(names[at])),
            }
        }
        found
    }

    fn is_any(&self) -> bool {
        self.values.iter().any(Option::is_some)
    }
}

/// A target without CloudFront's parameters: what a URL was before it was signed. Everything else stays as it is on the
/// wire, in its order.
pub fn own_target(target: &str) -> String {
    let Some((path, query)) = target.split_once('?') else { return target.to_owned() };
    let is_own = |pair: &&str| {
        let name = pair.split_once('=').map_or(*pair, |(name, _)| name);
        !PARAMETERS.contains(&name)
    };
    let mut own = path.to_owned();
    let mut delimiter = '?';
    for pair in query.split('&').filter(is_own) {
        own.push(delimiter);
        own.push_str(pair);
        delimiter = '&';
    }
    own
}

/// Takes CloudFront's cookies off a request; the others stay as they are.
pub fn remove_cookies(headers: &mut HeaderMap) {
    selection::remove_cookies(headers, |name| COOKIES.contains(&name));
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    fn with_cookies(line: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::COOKIE, line.parse().unwrap())])
    }

    #[test]
    fn own_parameters_keep_their_order_and_form() {
        for (target, own) in [
            ("/a", "/a"),
            ("/a?Expires=1&Signature=x&Key-Pair-Id=K", "/a"),
            ("/a?b=1&Expires=1&c=%41&Signature=x&d&Key-Pair-Id=K", "/a?b=1&c=%41&d"),
            ("/a?expires=1&Policyx=2", "/a?expires=1&Policyx=2"),
            ("/a?", "/a?"),
            ("/a??b&Policy=x", "/a??b"),
        ] {
            assert_eq!(own_target(target), own, "{target}");
        }
    }

    #[test]
    fn any_parameter_makes_a_signed_url_and_cookies_count_no_more() {
        let cookies = with_cookies(
            "a=1; CloudFront-Policy=p; CloudFront-Signature=s; CloudFront-Key-Pair-Id=K; CloudFront-Hash-Algorithm=SHA256",
        );
        let found = Credentials::of("/a?b=1", &cookies).unwrap();
        let expected = Credentials {
            source: Source::Cookies,
            key_id: "K",
            policy: PolicyText::Custom("p"),
            signature: "s",
            hash: Hash::Sha256,
        };
        assert_eq!(found, expected);
        assert_eq!(Credentials::of("/a?Expires=1", &cookies), Err(Refusal::MissingKey));
        let both = Credentials::of("/a?Expires=1&Policy=p&Signature=s&Key-Pair-Id=K", &cookies).unwrap();
        assert_eq!((both.policy, both.hash), (PolicyText::Custom("p"), Hash::Sha1));
    }

    #[test]
    fn what_lacks_is_named() {
        let none = HeaderMap::new();
        for (target, refusal) in [
            ("/a", Refusal::MissingKey),
            ("/a?Key-Pair-Id=", Refusal::MissingKey),
            ("/a?Key-Pair-Id", Refusal::MissingKey),
            ("/a?Key-Pair-Id=K", Refusal::MissingPolicy),
            ("/a?Key-Pair-Id=K&Expires=1", Refusal::MissingSignature),
            ("/a?Key-Pair-Id=K&Key-Pair-Id=L&Expires=1&Signature=s", Refusal::Repeated("Key-Pair-Id")),
            ("/a?Key-Pair-Id=K&Expires=1&Signature=s&Hash-Algorithm=MD5", Refusal::UnknownHash("MD5".into())),
            ("/a?Key-Pair-Id=K&Expires=1&Signature=s&Hash-Algorithm=", Refusal::UnknownHash("".into())),
        ] {
            assert_eq!(Credentials::of(target, &none), Err(refusal), "{target}");
        }
        assert!(Credentials::of("/a?Key-Pair-Id=K&Key-Pair-Id=K&Expires=1&Signature=s", &none).is_ok());
    }

    #[test]
    fn only_our_cookies_are_taken_off() {
        for (line, left) in [
            ("a=1; CloudFront-Policy=p; b=2; CloudFront-Signature=s", Some("a=1; b=2")),
            ("CloudFront-Key-Pair-Id=K", None),
            ("a=1;b=2", Some("a=1;b=2")),
        ] {
            let mut headers = with_cookies(line);
            remove_cookies(&mut headers);
            assert_eq!(headers.get(header::COOKIE).map(|line| line.to_str().unwrap()), left, "{line}");
        }
    }
}
