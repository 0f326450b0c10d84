//! A response that a function makes, and one before and after its function.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{BODY_BYTES_MAX, EventResponse, FunctionInvalid, ReturnedResponse, SetCookie, Trigger, headers};

/// A response after a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Its status.
    pub status: StatusCode,
    /// All headers.
    pub headers: HeaderMap,
    /// The body that takes the place of what there was; `None` leaves that.
    pub body: Option<Bytes>,
}

/// Whether a viewer-response function runs for a response of this status: not for errors (AWS page "Restrictions on all
/// edge functions", "HTTP status codes"), and not for what is no response to a request.
pub fn runs_after(status: StatusCode) -> bool {
    status.as_u16() >= 200 && status.as_u16() < 400
}

/// What a function is shown of a response.
pub fn response_of(status: StatusCode, fields: &HeaderMap) -> EventResponse {
    let mut cookies: Vec<(String, Vec<SetCookie>)> = Vec::new();
    for line in fields.get_all(header::SET_COOKIE) {
        let line = String::from_utf8_lossy(line.as_bytes());
        let (pair, attributes) = line.split_once(';').unwrap_or((&line, ""));
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (name.trim(), value.trim().to_owned());
        let cookie = SetCookie { value, attributes: attributes.trim().to_owned() };
        match cookies.iter_mut().find(|(known, _)| known == name) {
            Some((_, all)) => all.push(cookie),
            None => cookies.push((name.to_owned(), vec![cookie])),
        }
    }
    EventResponse {
        status: status.as_u16(),
        description: status.canonical_reason().unwrap_or_default().to_owned(),
        headers: headers::shown(fields, Trigger::ViewerResponse, &header::SET_COOKIE),
        cookies,
    }
}

/// The response that a viewer-request function answers with itself.
///
/// # Errors
/// [`FunctionInvalid`] where a function may not do that.
pub fn answer(returned: ReturnedResponse) -> Result<Answered, FunctionInvalid> {
    let mut answered = revise(&HeaderMap::new(), returned)?;
    answered.body.get_or_insert_default();
    Ok(answered)
}

/// What becomes of a response with the headers `before` for which `returned` came back.
///
/// # Errors
/// [`FunctionInvalid`] where a function may not do that.
pub fn revise(before: &HeaderMap, returned: ReturnedResponse) -> Result<Answered, FunctionInvalid> {
    let ReturnedResponse { response, body } = returned;
    let status = StatusCode::from_u16(response.status)
        .ok()
        .filter(|_| (200..600).contains(&response.status))
        .ok_or(FunctionInvalid::Status(response.status))?;
    let mut headers = headers::merged(before, &response.headers, Trigger::ViewerResponse, &header::SET_COOKIE)?;
    for (name, all) in &response.cookies {
        for SetCookie { value, attributes } in all {
            let separator = if attributes.is_empty() { "" } else { "; " };
            let line = format!("{name}={value}{separator}{attributes}");
            let line =
                HeaderValue::try_from(line).map_err(|_| FunctionInvalid::HeaderValue("set-cookie".to_owned()))?;
            headers.append(header::SET_COOKIE, line);
        }
    }
    if let Some(body) = &body {
        if body.len() > BODY_BYTES_MAX {
            return Err(FunctionInvalid::BodyTooLarge(body.len()));
        }
        headers.remove(header::CONTENT_LENGTH);
    }
    Ok(Answered { status, headers, body: body.map(Bytes::from) })
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

    fn before() -> HeaderMap {
        headers(&[
            ("content-length", "3"),
            ("set-cookie", "a=1; Path=/; Secure"),
            ("set-cookie", "a=2"),
            ("via", "1.1 x"),
            ("x-a", "1"),
            ("x-cache", "Hit from cloudfront"),
            ("x-iso-reason", "hit"),
        ])
    }

    #[test]
    fn a_response_that_comes_back_as_it_was_shown_is_the_same() {
        let shown = response_of(StatusCode::OK, &before());
        let cookie = |value: &str, attributes: &str| SetCookie { value: value.into(), attributes: attributes.into() };
        assert_eq!(shown.cookies, [("a".to_owned(), vec![cookie("1", "Path=/; Secure"), cookie("2", "")])]);
        assert!(!shown.headers.iter().any(|(name, _)| name.starts_with("x-iso") || name == "x-cache"));
        let answered = revise(&before(), ReturnedResponse { response: shown, body: None }).unwrap();
        assert_eq!(answered, Answered { status: StatusCode::OK, headers: before(), body: None });
    }

    #[test]
    fn a_function_changes_status_headers_cookies_and_body() {
        let response = EventResponse {
            status: 203,
            headers: vec![("X-B".into(), vec!["2".into()]), ("content-length".into(), vec!["9".into()])],
            cookies: vec![("b".into(), vec![SetCookie { value: "3".into(), attributes: String::new() }])],
            ..Default::default()
        };
        let body = Some(b"abcd".to_vec());
        let answered = revise(&before(), ReturnedResponse { response, body }).unwrap();
        let after = [
            ("via", "1.1 x"),
            ("x-cache", "Hit from cloudfront"),
            ("x-iso-reason", "hit"),
            ("x-b", "2"),
            ("set-cookie", "b=3"),
        ];
        let expected = Answered {
            status: StatusCode::NON_AUTHORITATIVE_INFORMATION,
            headers: headers(&after),
            body: Some(Bytes::from_static(b"abcd")),
        };
        assert_eq!(answered, expected);
    }

    #[test]
    fn what_is_no_response_is_invalid() {
        let check = |status, header: Option<&str>, body_bytes| {
            let headers = header.map(|name| (name.to_owned(), vec!["1".to_owned()])).into_iter().collect();
            let response = EventResponse { status, headers, ..Default::default() };
            answer(ReturnedResponse { response, body: Some(vec![0; body_bytes]) }).map(|answered| answered.status)
        };
        assert_eq!(check(302, Some("location"), 0), Ok(StatusCode::FOUND));
        assert_eq!(check(101, None, 0), Err(FunctionInvalid::Status(101)));
        assert_eq!(check(700, None, 0), Err(FunctionInvalid::Status(700)));
        assert_eq!(check(200, Some("x-edge-a"), 0), Err(FunctionInvalid::Disallowed("x-edge-a".into())));
        assert_eq!(check(200, None, BODY_BYTES_MAX + 1), Err(FunctionInvalid::BodyTooLarge(BODY_BYTES_MAX + 1)));
    }

    #[test]
    fn errors_and_upgrades_have_no_function_after_them() {
        for (status, runs) in [(101, false), (200, true), (304, true), (399, true), (400, false), (503, false)] {
            assert_eq!(runs_after(StatusCode::from_u16(status).unwrap()), runs, "{status}");
        }
    }
}
