//! A viewer's request before and after its function.

use http::{HeaderMap, HeaderValue, Method, header};

use super::{Entries, EventRequest, FunctionInvalid, Trigger, headers};
use crate::selection::{cookies, parameters};

/// The request that the exchange goes on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// Path and query, where the function changed either.
    pub target: Option<String>,
    /// All headers.
    pub headers: HeaderMap,
}

/// What a function is shown of a request. `path` and `query` are as sent.
pub fn request_of(method: &Method, path: &str, query: Option<&str>, headers: &HeaderMap) -> EventRequest {
    let mut shown_cookies = Entries::new();
    for (name, pair) in cookies(headers) {
        let value = pair.split_once('=').map_or("", |(_, value)| value);
        push(&mut shown_cookies, name, value);
    }
    let mut querystring = Entries::new();
    for (name, parameter) in parameters(query.unwrap_or_default()) {
        let value = parameter.split_once('=').map_or("", |(_, value)| value);
        push(&mut querystring, name, value);
    }
    EventRequest {
        method: method.as_str().to_owned(),
        uri: path.to_owned(),
        raw_query: query.map(str::to_owned),
        querystring,
        headers: headers::shown(headers, Trigger::ViewerRequest, &header::COOKIE),
        cookies: shown_cookies,
    }
}

/// What becomes of a request for which `shown` was shown and `returned` came back.
///
/// # Errors
/// [`FunctionInvalid`] where a function may not do that.
pub fn rewrite(before: &HeaderMap, shown: &EventRequest, returned: &EventRequest) -> Result<Rewrite, FunctionInvalid> {
    if returned.method != shown.method {
        return Err(FunctionInvalid::Method(returned.method.clone()));
    }
    if !returned.uri.starts_with('/') {
        return Err(FunctionInvalid::Uri(returned.uri.clone()));
    }
    let mut after = headers::merged(before, &returned.headers, Trigger::ViewerRequest, &header::COOKIE)?;
    if returned.cookies == shown.cookies {
        for line in before.get_all(header::COOKIE) {
            after.append(header::COOKIE, line.clone());
        }
    } else if !returned.cookies.is_empty() {
        let line = pairs(&returned.cookies, "; ", str::to_owned);
        let invalid = |_| FunctionInvalid::HeaderValue("cookie".to_owned());
        after.insert(header::COOKIE, HeaderValue::try_from(line).map_err(invalid)?);
    }
    let changed = returned.uri != shown.uri || returned.querystring != shown.querystring;
    let target = changed.then(|| {
        let mut target = encoded(&returned.uri, |byte| matches!(byte, b'?' | b'#'));
        if !returned.querystring.is_empty() {
            target.push('?');
            target
                .push_str(&pairs(&returned.querystring, "&", |text| encoded(text, |byte| matches!(byte, b'&' | b'#'))));
        }
        target
    });
    Ok(Rewrite { target, headers: after })
}

fn push(entries: &mut Entries, name: &str, value: &str) {
    match entries.iter_mut().find(|(known, _)| known == name) {
        Some((_, values)) => values.push(value.to_owned()),
        None => entries.push((name.to_owned(), vec![value.to_owned()])),
    }
}

fn pairs(entries: &Entries, separator: &str, encode: impl Fn(&str) -> String) -> String {
    let pair = |(name, values): &(String, Vec<String>)| {
        let name = encode(name);
        values.iter().map(|value| format!("{name}={}", encode(value))).collect::<Vec<_>>()
    };
    entries.iter().flat_map(pair).collect::<Vec<_>>().join(separator)
}

/// Percent-encodes what a URI cannot have (RFC 3986 section 2.1), and what `also` says.
fn encoded(text: &str, also: impl Fn(u8) -> bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for &byte in text.as_bytes() {
        let fine = byte.is_ascii_graphic()
            && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
            && !also(byte);
        if fine {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn shown(before: &HeaderMap) -> EventRequest {
        request_of(&Method::GET, "/a", Some("b=1&c&b=2"), before)
    }

    fn entry(name: &str, values: &[&str]) -> (String, Vec<String>) {
        (name.to_owned(), values.iter().map(|&value| value.to_owned()).collect())
    }

    #[test]
    fn a_function_is_shown_cookies_apart_and_no_header_of_the_connection() {
        let before = headers(&[
            ("host", "www.demo.test"),
            ("cookie", "a=1; b=2"),
            ("cookie", "a=3"),
            ("x-a", "1"),
            ("x-a", "2"),
            ("x-amz-cf-id", "x"),
            ("x-edge-thing", "x"),
            ("x-real-ip", "x"),
        ]);
        let shown = shown(&before);
        assert_eq!(shown.headers, [entry("host", &["www.demo.test"]), entry("x-a", &["1", "2"])]);
        assert_eq!(shown.cookies, [entry("a", &["1", "3"]), entry("b", &["2"])]);
        assert_eq!(shown.querystring, [entry("b", &["1", "2"]), entry("c", &[""])]);
    }

    #[test]
    fn what_comes_back_as_it_was_shown_changes_nothing() {
        let mut before = headers(&[("host", "a"), ("cookie", "a=1;b=2"), ("x-real-ip", "x"), ("x-a", "1")]);
        before.append("x-b", HeaderValue::from_bytes(b"\xff").unwrap());
        let shown = shown(&before);
        assert_eq!(rewrite(&before, &shown, &shown), Ok(Rewrite { target: None, headers: before }));
    }

    #[test]
    fn target_headers_and_cookies_are_what_the_function_says() {
        let before = headers(&[("host", "a"), ("cookie", "a=1"), ("x-a", "1"), ("x-real-ip", "x")]);
        let shown = shown(&before);
        let returned = EventRequest {
            uri: "/b c?".into(),
            querystring: vec![entry("d", &["1&2", "3"])],
            headers: vec![entry("X-B", &["1", "2"])],
            cookies: vec![entry("e", &["5"]), entry("f", &["6"])],
            ..shown.clone()
        };
        let rewrite = rewrite(&before, &shown, &returned).unwrap();
        assert_eq!(rewrite.target.as_deref(), Some("/b%20c%3F?d=1%262&d=3"));
        let after = [("host", "a"), ("x-real-ip", "x"), ("x-b", "1"), ("x-b", "2"), ("cookie", "e=5; f=6")];
        assert_eq!(rewrite.headers, headers(&after));
    }

    #[test]
    fn what_a_function_may_not_do_is_invalid() {
        let before = headers(&[("host", "a")]);
        let shown = shown(&before);
        let check = |change: fn(&mut EventRequest)| {
            let mut returned = shown.clone();
            change(&mut returned);
            rewrite(&before, &shown, &returned).unwrap_err()
        };
        assert_eq!(check(|it| it.method = "PUT".into()), FunctionInvalid::Method("PUT".into()));
        assert_eq!(check(|it| it.uri = "b".into()), FunctionInvalid::Uri("b".into()));
        let header = |name: &str| FunctionInvalid::Disallowed(name.to_owned());
        assert_eq!(check(|it| it.headers.push(entry("X-Cache", &["1"]))), header("x-cache"));
        assert_eq!(check(|it| it.headers.push(entry("Cookie", &["1"]))), header("cookie"));
        assert_eq!(check(|it| it.headers.push(entry("via", &["1"]))), FunctionInvalid::ReadOnly("via".into()));
        assert_eq!(check(|it| it.headers = vec![entry("host", &["b"])]), FunctionInvalid::ReadOnly("host".into()));
        assert_eq!(check(|it| it.headers.push(entry("a b", &["1"]))), FunctionInvalid::HeaderName("a b".into()));
        assert_eq!(check(|it| it.headers.push(entry("b", &["\n"]))), FunctionInvalid::HeaderValue("b".into()));
        assert_eq!(check(|it| it.cookies.push(entry("b", &["\n"]))), FunctionInvalid::HeaderValue("cookie".into()));
    }

    proptest::proptest! {
        /// Whatever a function returns for a path, what goes on is a target that a request can have.
        #[test]
        fn every_target_can_be_sent(uri in "/.{0,40}", name in ".{0,9}", value in ".{0,9}") {
            let before = HeaderMap::new();
            let shown = shown(&before);
            let returned = EventRequest { uri, querystring: vec![(name, vec![value])], ..shown.clone() };
            let target = rewrite(&before, &shown, &returned).unwrap().target.unwrap();
            proptest::prop_assert!(target.parse::<http::uri::PathAndQuery>().is_ok(), "{}", target);
        }
    }
}
