//! The proxy user: which place, and how to behave there.
//!
//! `tokyo`, or `tokyo+resolver=frankfurt+no-ecs+ledger=abc+warm+look-inside+http3` (`;` separates as well); the password means nothing.
//! Knows no map: whether the place exists is somebody else's question.

use data_encoding::BASE64;

/// The longest ledger id.
const LEDGER_ID_CHARS_MAX: usize = 64;

/// What the proxy user says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct User {
    /// The place; `None` is the configured one.
    pub(crate) place: Option<String>,
    /// The place of the resolver, when it is another.
    pub(crate) resolver: Option<String>,
    /// Leave the client subnet out.
    pub(crate) no_ecs: bool,
    /// Write a ledger under this name.
    pub(crate) ledger: Option<String>,
    /// Make DNS and connection before the clock starts.
    pub(crate) warm: bool,
    /// Speak TLS for the client, so that the ledger knows what is inside a tunnel to HTTPS.
    pub(crate) look_inside: bool,
    /// Speak HTTP/3 for the client, which looks inside too.
    pub(crate) http3: bool,
}

impl User {
    /// Reads a `Proxy-Authorization` value (RFC 7617 section 2). The error is a sentence for people.
    pub(crate) fn of_authorization(value: &[u8]) -> Result<Self, String> {
        let text = str::from_utf8(value).map_err(|_| "Proxy-Authorization is not text".to_owned())?;
        let (scheme, credentials) = text.trim().split_once(' ').unwrap_or((text, ""));
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err("Proxy-Authorization must be Basic, with the place as user name".into());
        }
        let decoded = BASE64
            .decode(credentials.trim().as_bytes())
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or("Proxy-Authorization is not base64 of a user name and a password")?;
        Self::of_name(decoded.split_once(':').map_or(decoded.as_str(), |(user, _)| user))
    }

    /// Reads a user name.
    pub(crate) fn of_name(name: &str) -> Result<Self, String> {
        let mut parts = name.split(['+', ';']).map(str::trim);
        let place = parts.next().filter(|place| !place.is_empty()).map(str::to_owned);
        let mut user = Self { place, ..Self::default() };
        for option in parts {
            match option.split_once('=').unwrap_or((option, "")) {
                ("resolver", place) if !place.is_empty() => user.resolver = Some(place.to_owned()),
                ("no-ecs", "") => user.no_ecs = true,
                ("warm", "") => user.warm = true,
                ("look-inside", "") => user.look_inside = true,
                ("http3", "") => user.http3 = true,
                ("ledger", id) if is_ledger_id(id) => user.ledger = Some(id.to_owned()),
                ("ledger", _) => {
                    return Err(format!(
                        "a ledger's name is 1 to {LEDGER_ID_CHARS_MAX} letters, digits, dots, dashes or underscores"
                    ));
                }
                _ => {
                    return Err(format!(
                        "{option:?} is not an option of the proxy user; resolver=PLACE, no-ecs, warm, ledger=ID, \
                         look-inside and http3 are"
                    ));
                }
            }
        }
        Ok(user)
    }
}

fn is_ledger_id(id: &str) -> bool {
    (1..=LEDGER_ID_CHARS_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_name_is_the_place_and_the_password_means_nothing() {
        let header = format!("Basic {}", BASE64.encode(b"sao paulo:secret:more"));
        assert_eq!(User::of_authorization(header.as_bytes()).unwrap().place.as_deref(), Some("sao paulo"));
        let header = format!("basic {}", BASE64.encode(b"tokyo"));
        assert_eq!(User::of_authorization(header.as_bytes()).unwrap().place.as_deref(), Some("tokyo"));
    }

    #[test]
    fn options_follow_a_plus_or_a_semicolon() {
        let user = User::of_name("tokyo+resolver=frankfurt;no-ecs+ledger=a-1+warm+look-inside+http3").unwrap();
        let expected = User {
            place: Some("tokyo".into()),
            resolver: Some("frankfurt".into()),
            no_ecs: true,
            ledger: Some("a-1".into()),
            warm: true,
            look_inside: true,
            http3: true,
        };
        assert_eq!(user, expected);
        assert_eq!(User::of_name("+warm").unwrap().place, None);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for wrong in ["tokyo+fast", "tokyo+ledger=", "tokyo+ledger=a b", "tokyo+resolver", "tokyo+"] {
            assert!(User::of_name(wrong).is_err(), "{wrong}");
        }
        for wrong in [&b"Bearer x"[..], b"Basic !!!", b"Basic /w==", b"\xff"] {
            assert!(User::of_authorization(wrong).is_err(), "{wrong:?}");
        }
    }
}
