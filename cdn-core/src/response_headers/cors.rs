//! CORS headers of a response headers policy: who may read a response, and what a preflight is told.
//!
//! Decides by CloudFront's rules; what the headers mean is the Fetch standard's. A preflight is answered by the origin (or
//! the store) like any other OPTIONS; the policy adds its headers to that answer.

use std::time::Duration;

use http::{HeaderName, HeaderValue, header};

use crate::fields::Fields;

/// The response headers of CORS.
pub const HEADERS: [HeaderName; 6] = [
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
];

/// The methods that a policy may allow, in the order in which they are sent; `ALL` stands for all of them.
pub const METHODS: [&str; 7] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];

/// The CORS part of a policy. Empty lists are not sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cors {
    /// Who may read responses.
    pub allow_origins: Vec<OriginPattern>,
    /// Methods that other origins may use: of [`METHODS`].
    pub allow_methods: Vec<String>,
    /// Request headers that they may send; `*` for any.
    pub allow_headers: Vec<String>,
    /// Response headers that their scripts may read; `*` for all.
    pub expose_headers: Vec<String>,
    /// Whether requests may carry cookies.
    pub allow_credentials: bool,
    /// For how long browsers may keep the answer to a preflight; whole seconds are sent.
    pub max_age: Option<Duration>,
    /// Whether the policy's headers take the place of the origin's. Else an origin that sends any keeps all of its own.
    pub overrides: bool,
}

impl Cors {
    /// Adds what a request from `origin` may know.
    pub(super) fn apply(&self, origin: &HeaderValue, is_preflight: bool, fields: &mut impl Fields) {
        if !self.overrides && HEADERS.iter().any(|name| fields.has(name)) {
            return;
        }
        let Some(allowed) = self.allowed(origin) else { return };
        if allowed != "*" {
            add_to_vary(fields);
        }
        fields.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if self.allow_credentials {
            fields.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if is_preflight {
            insert_list(fields, header::ACCESS_CONTROL_ALLOW_METHODS, &self.allow_methods);
            insert_list(fields, header::ACCESS_CONTROL_ALLOW_HEADERS, &self.allow_headers);
            if let Some(max_age) = self.max_age {
                fields.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(max_age.as_secs()));
            }
        } else {
            insert_list(fields, header::ACCESS_CONTROL_EXPOSE_HEADERS, &self.expose_headers);
        }
    }

    /// `*` where anybody may read, the origin itself where it is among those listed.
    fn allowed(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        if self.allow_origins.contains(&OriginPattern::Any) {
            return Some(HeaderValue::from_static("*"));
        }
        let text = origin.to_str().ok()?;
        self.allow_origins.iter().any(|pattern| pattern.matches(text)).then(|| origin.clone())
    }
}

/// Who is named changes with who asks, so that caches behind must tell askers apart (Fetch standard, "CORS protocol and
/// HTTP caches").
fn add_to_vary(fields: &mut impl Fields) {
    let named = fields.joined(&header::VARY, ", ", b"");
    let says = |word: &str| word.trim().eq_ignore_ascii_case("origin") || word.trim() == "*";
    if !named.to_str().unwrap_or_default().split(',').any(says) {
        let all = fields.joined(&header::VARY, ", ", b"Origin");
        fields.insert(header::VARY, all);
    }
}

fn insert_list(fields: &mut impl Fields, name: HeaderName, members: &[String]) {
    if let (false, Ok(value)) = (members.is_empty(), HeaderValue::try_from(members.join(", "))) {
        fields.insert(name, value);
    }
}

/// Origins that may read responses: `https://app.test`, `*.app.test:*`, `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginPattern {
    /// Every origin, `null` too.
    Any,
    /// Those of some hosts.
    Hosts {
        /// `http` or `https`; `None` for both.
        scheme: Option<&'static str>,
        /// The host, or what follows the star of `*.`, with its dot.
        host: Box<str>,
        /// The first label is a star.
        is_wildcard: bool,
        /// Digits and stars; `None` for the scheme's own port.
        port: Option<Box<str>>,
    },
}

/// A text is no pattern of origins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is not an origin: `https://app.test`, with or without scheme and port; a star may be the first label, or in the port"
)]
pub struct InvalidOriginPattern;

impl OriginPattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, InvalidOriginPattern> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Some("http"), rest),
            Some(("https", rest)) => (Some("https"), rest),
            Some(_) => return Err(InvalidOriginPattern),
            None => (None, text),
        };
        let (host, port) = match rest.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        };
        let is_wildcard = host.starts_with("*.");
        let host = if is_wildcard { &host[1..] } else { host };
        let label = |label: &str| {
            !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        let is_host = host.strip_prefix('.').filter(|_| is_wildcard).unwrap_or(host).split('.').all(label);
        let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit() || byte == b'*');
        if !is_host || !port.is_none_or(is_port) {
            return Err(InvalidOriginPattern);
        }
        let host = host.to_ascii_lowercase().into_boxed_str();
        Ok(Self::Hosts { scheme, host, is_wildcard, port: port.map(Into::into) })
    }

    /// Whether it covers `origin`, the value of a request's header (RFC 6454 section 7).
    pub fn matches(&self, origin: &str) -> bool {
        let Self::Hosts { scheme, host, is_wildcard, port } = self else { return true };
        let Some((asked_scheme, rest)) = origin.split_once("://") else { return false };
        let own_port = match asked_scheme {
            "http" => "80",
            "https" => "443",
            _ => return false,
        };
        let (asked_host, asked_port) = rest.split_once(':').unwrap_or((rest, own_port));
        let asked_host = asked_host.to_ascii_lowercase();
        let is_host = match is_wildcard {
            true => asked_host.strip_suffix(&**host).is_some_and(|first| !first.is_empty()),
            false => *asked_host == **host,
        };
        is_host
            && scheme.is_none_or(|scheme| scheme == asked_scheme)
            && port.as_ref().map_or(asked_port == own_port, |port| covers(port.as_bytes(), asked_port.as_bytes()))
    }
}

/// Whether `pattern`, in which a star is any run of digits, covers `digits`.
fn covers(pattern: &[u8], digits: &[u8]) -> bool {
    match pattern {
        [] => digits.is_empty(),
        [b'*', rest @ ..] => (0..=digits.len()).any(|at| digits.get(at..).is_some_and(|left| covers(rest, left))),
        [first, rest @ ..] => digits.split_first().is_some_and(|(digit, left)| digit == first && covers(rest, left)),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn cors(origins: &[&str]) -> Cors {
        Cors {
            allow_origins: origins.iter().map(|text| OriginPattern::parse(text).unwrap()).collect(),
            allow_methods: vec!["GET".into(), "PUT".into()],
            allow_headers: vec!["X-One".into()],
            expose_headers: vec!["ETag".into()],
            max_age: Some(Duration::from_secs(600)),
            ..Cors::default()
        }
    }

    fn says(cors: &Cors, origin: &'static str, is_preflight: bool, sent: &[(HeaderName, &'static str)]) -> String {
        let mut fields: HeaderMap =
            sent.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
        cors.apply(&HeaderValue::from_static(origin), is_preflight, &mut fields);
        let mut lines: Vec<_> =
            fields.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort_unstable();
        lines.join("\n").replace("access-control-", "")
    }

    #[test]
    fn patterns_cover_what_the_documentation_says() {
        let rows = [
            ("*", "null", true),
            ("https://app.test", "https://app.test", true),
            ("https://app.test", "http://app.test", false),
            ("https://app.test", "https://app.test:8443", false),
            ("app.test", "http://app.test", true),
            ("app.test", "https://app.test", true),
            ("app.test", "https://app.test:443", true),
            ("app.test", "https://app.test:80", false),
            ("app.test", "https://x.app.test", false),
            ("*.app.test", "https://x.app.test", true),
            ("*.app.test", "https://a.b.app.test", true),
            ("*.app.test", "https://app.test", false),
            ("*.app.test", "https://.app.test", false),
            ("*.app.test", "https://evilapp.test", false),
            ("http://app.test:80*", "http://app.test:8080", true),
            ("http://app.test:80*", "http://app.test", true),
            ("http://app.test:*", "http://app.test:1", true),
            ("app.test", "null", false),
            ("app.test", "ftp://app.test", false),
        ];
        for (pattern, origin, expected) in rows {
            assert_eq!(OriginPattern::parse(pattern).unwrap().matches(origin), expected, "{pattern} {origin}");
        }
        for text in ["", "https://", "a.*.test", "ftp://a", "a:", "a:x", "a/b", "**.a", "https://*"] {
            assert_eq!(OriginPattern::parse(text), Err(InvalidOriginPattern), "{text}");
        }
    }

    #[test]
    fn anybody_is_a_star_and_somebody_is_named() {
        assert_eq!(says(&cors(&["*"]), "https://a.test", false, &[]), "allow-origin: *\nexpose-headers: ETag");
        let named = cors(&["b.test", "a.test"]);
        let expected = "allow-origin: https://a.test\nexpose-headers: ETag\nvary: Accept-Encoding, Origin";
        assert_eq!(says(&named, "https://a.test", false, &[(header::VARY, "Accept-Encoding")]), expected);
        assert_eq!(says(&named, "https://c.test", false, &[]), "");
    }

    #[test]
    fn preflights_are_told_what_may_be_sent() {
        let cors = Cors { allow_credentials: true, ..cors(&["a.test"]) };
        let expected = "allow-credentials: true\nallow-headers: X-One\nallow-methods: GET, PUT\n\
                        allow-origin: https://a.test\nmax-age: 600\nvary: Origin";
        assert_eq!(says(&cors, "https://a.test", true, &[]), expected);
    }

    #[test]
    fn an_origin_that_sends_any_keeps_all_of_its_own_unless_overridden() {
        let sent = [(header::ACCESS_CONTROL_MAX_AGE, "5")];
        assert_eq!(says(&cors(&["*"]), "https://a.test", true, &sent), "max-age: 5");
        let overriding = Cors { overrides: true, ..cors(&["*"]) };
        let expected = "allow-headers: X-One\nallow-methods: GET, PUT\nallow-origin: *\nmax-age: 600";
        assert_eq!(says(&overriding, "https://a.test", true, &sent), expected);
    }
}
