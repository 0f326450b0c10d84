//! What a request that changed something makes invalid (RFC 9111 section 4.4).
//!
//! Decides which targets' stored responses go after an unsafe method succeeded: its own, and those that `Location` and
//! `Content-Location` name on the same host. Knows no store.

use http::{HeaderMap, Method, StatusCode, header};
use url::Url;

use crate::{cache_control::CacheControl, distribution::CachingRules};

/// The target of a request, for reading references relative to it.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// `Host` as sent.
    pub host: &'a str,
    /// The raw path.
    pub path: &'a str,
    /// The raw query string without the question mark.
    pub query: Option<&'a str>,
}

impl Target<'_> {
    /// Path and query as a request line has them.
    pub fn path_and_query(&self) -> String {
        match self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.to_owned(),
        }
    }

    /// The path and query that a URI reference of a response means, where it stays on this host.
    pub fn resolve(&self, reference: &str) -> Option<String> {
        let base = Url::parse(&format!("http://{}{}", self.host, self.path_and_query())).ok()?;
        let url = base.join(reference).ok()?;
        let same_port = url.port_or_known_default() == base.port_or_known_default() || url.scheme() == "https";
        let same = matches!(url.scheme(), "http" | "https") && url.host_str() == base.host_str() && same_port;
        same.then(|| url[url::Position::BeforePath..url::Position::AfterQuery].to_owned())
    }
}

/// Whether a method may change something: all that RFC 9110 section 9.2.1 does not call safe, unknown ones too.
pub fn is_unsafe(method: &Method) -> bool {
    !method.is_safe()
}

/// Paths and queries whose stored responses go after a response to `method`: none where it is safe or failed.
pub fn invalidates(method: &Method, target: Target<'_>, status: StatusCode, response: &HeaderMap) -> Vec<String> {
    if !is_unsafe(method) || !(status.is_success() || status.is_redirection()) {
        return Vec::new();
    }
    let mut targets = vec![target.path_and_query()];
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        let named = response.get(name).and_then(|value| target.resolve(value.to_str().ok()?));
        targets.extend(named.filter(|named| !targets.contains(named)).into_iter().collect::<Vec<_>>());
    }
    targets
}

/// Whether the response to a POST is its target's own, so that it may answer a later GET (RFC 9110 section 9.3.3): it
/// says so by `Content-Location`, and says itself for how long it is fresh.
pub fn answers_get(
    method: &Method,
    target: Target<'_>,
    status: StatusCode,
    response: &HeaderMap,
    rules: CachingRules,
) -> bool {
    let named = response.get(header::CONTENT_LOCATION).and_then(|value| target.resolve(value.to_str().ok()?));
    let is_own = named.is_some_and(|named| named == target.path_and_query());
    let directives = CacheControl::applying(response, rules);
    let explicit = directives.shared_max_age().is_some() || response.contains_key(header::EXPIRES);
    *method == Method::POST && status.is_success() && is_own && explicit
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Target<'_> = Target { host: "www.demo.test:4480", path: "/a/b", query: Some("x=1") };

    #[test]
    fn success_of_an_unsafe_method_invalidates_what_it_names_on_the_same_host() {
        let after = |method: &str, status: u16, lines: &[(&'static str, &'static str)]| {
            let lines = lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            let status = StatusCode::from_u16(status).unwrap();
            invalidates(&method.parse().unwrap(), TARGET, status, &lines.collect())
        };
        for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH"] {
            assert_eq!(after(method, 200, &[]), ["/a/b?x=1"], "{method}");
            assert_eq!(after(method, 303, &[]), ["/a/b?x=1"], "{method}");
            assert_eq!(after(method, 500, &[]), [""; 0], "{method}");
            assert_eq!(after(method, 404, &[]), [""; 0], "{method}");
        }
        for method in ["GET", "HEAD", "OPTIONS", "TRACE"] {
            assert_eq!(after(method, 200, &[("location", "/c")]), [""; 0], "{method}");
        }
        let both = [("location", "/c?y"), ("content-location", "d")];
        assert_eq!(after("POST", 201, &both), ["/a/b?x=1", "/c?y", "/a/d"]);
        assert_eq!(after("POST", 201, &[("location", "http://other.test/c")]), ["/a/b?x=1"]);
        assert_eq!(after("POST", 201, &[("content-location", "")]), ["/a/b?x=1"]);
    }

    #[test]
    fn a_post_answers_a_get_only_where_it_says_so_and_for_how_long() {
        let answers = |method: Method, lines: &[(&'static str, &'static str)]| {
            let lines = lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            answers_get(&method, TARGET, StatusCode::OK, &lines.collect(), CachingRules::Origin)
        };
        let (own, fresh) = (("content-location", ""), ("cache-control", "max-age=5"));
        assert!(answers(Method::POST, &[own, fresh]));
        assert!(answers(Method::POST, &[("content-location", "/a/b?x=1"), ("expires", "0")]));
        assert!(answers(Method::POST, &[own, ("cdn-cache-control", "max-age=5")]));
        assert!(!answers(Method::POST, &[own]) && !answers(Method::POST, &[fresh]));
        assert!(!answers(Method::POST, &[("content-location", "/other"), fresh]));
        assert!(!answers(Method::PUT, &[own, fresh]));
    }

    #[test]
    fn references_are_read_relative_to_the_target() {
        for (reference, expected) in [
            ("http://www.demo.test:4480/x", Some("/x")),
            ("http://WWW.demo.test:4480/x", Some("/x")),
            ("//www.demo.test:4480/x?y#z", Some("/x?y")),
            ("/x", Some("/x")),
            ("../x", Some("/x")),
            ("?z", Some("/a/b?z")),
            ("", Some("/a/b?x=1")),
            ("http://www.demo.test/x", None),
            ("http://evil.test/x", None),
            ("mailto:fred", None),
            ("http://[", None),
        ] {
            assert_eq!(TARGET.resolve(reference).as_deref(), expected, "{reference}");
        }
    }
}
