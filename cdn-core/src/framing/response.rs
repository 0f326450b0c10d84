//! Whether the head of an HTTP/1.1 response leaves no doubt what follows it (RFC 9112 section 6.3).
//!
//! An HTTP library that reads what it can is right to do so for a client. A cache hands on what it read to others, who may
//! read it differently: both `Content-Length` and `Transfer-Encoding`, a coding that nobody has undone, a list of lengths.
//! And it must not make a tunnel of a connection on which nobody asked for one.

use http::{HeaderMap, HeaderValue, StatusCode, header};

/// The response must not be used, nor its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is in doubt what follows the head of the response")]
pub struct Doubtful;

/// Judges the fields of a response to a request that asked for `upgrade`, and leaves one `Content-Length` of several that
/// agree and none where none may be.
///
/// # Errors
/// [`Doubtful`].
pub fn judge(status: StatusCode, headers: &mut HeaderMap, upgrade: Option<&HeaderValue>) -> Result<(), Doubtful> {
    if status == StatusCode::SWITCHING_PROTOCOLS {
        // Only to what was asked for (RFC 9110 section 7.8).
        let switched = headers.get(header::UPGRADE).ok_or(Doubtful)?;
        let asked = upgrade.is_some_and(|asked| asked.as_bytes().eq_ignore_ascii_case(switched.as_bytes()));
        return if asked { Ok(()) } else { Err(Doubtful) };
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let chunked = match (codings.next(), codings.next()) {
        (None, _) => false,
        (Some(coding), None) if is(coding, "chunked") => true,
        // What is no coding changes no byte: the body ends with the connection (RFC 9112 section 6.3). No request of ours
        // asks for one that is (section 7.4), and nobody here would undo it.
        (Some(coding), None) if is_no_coding(coding) && !headers.contains_key(header::CONTENT_LENGTH) => false,
        _ => return Err(Doubtful),
    };
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else { return Ok(()) };
    if chunked {
        // "ought to be handled as an error" (RFC 9112 section 6.3).
        return Err(Doubtful);
    }
    let parsed = parse(length).ok_or(Doubtful)?;
    let mut more = 0;
    for other in lengths {
        more += 1;
        if parse(other) != Some(parsed) {
            return Err(Doubtful);
        }
    }
    if status == StatusCode::NO_CONTENT {
        // It may not be there (RFC 9110 section 8.6), and there is no body to disagree with.
        headers.remove(header::CONTENT_LENGTH);
    } else if more > 0 {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(parsed));
    }
    Ok(())
}

/// Whether a `Transfer-Encoding` is one word that no registry knows (RFC 9112 section 7.3), or the retired `identity`. A
/// word with `chunked` in it is taken for chunked by some.
fn is_no_coding(value: &HeaderValue) -> bool {
    const KNOWN: [&str; 5] = ["compress", "deflate", "gzip", "x-compress", "x-gzip"];
    const CHUNKED: &[u8] = b"chunked";
    let word = value.as_bytes().trim_ascii();
    let is_token = word.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
    let is_like_chunked = word.windows(CHUNKED.len()).any(|part| part.eq_ignore_ascii_case(CHUNKED));
    !word.is_empty() && is_token && !is_like_chunked && !KNOWN.iter().any(|known| is(value, known))
}

fn is(value: &HeaderValue, word: &str) -> bool {
    value.as_bytes().trim_ascii().eq_ignore_ascii_case(word.as_bytes())
}

fn parse(value: &HeaderValue) -> Option<u64> {
    super::head::parse_length(value.as_bytes().trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, lines: &[(&'static str, &'static str)]) -> Result<Vec<String>, Doubtful> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        judge(StatusCode::from_u16(status).expect("a status"), &mut headers, None)?;
        Ok(headers.get_all("content-length").iter().map(|value| value.to_str().expect("text").to_owned()).collect())
    }

    #[test]
    fn one_framing_is_kept() {
        assert_eq!(check(200, &[]), Ok(vec![]));
        assert_eq!(check(200, &[("content-length", "5")]), Ok(vec!["5".to_owned()]));
        assert_eq!(check(200, &[("content-length", "5"), ("content-length", "5")]), Ok(vec!["5".to_owned()]));
        assert_eq!(check(200, &[("transfer-encoding", "Chunked")]), Ok(vec![]));
        assert_eq!(check(200, &[("transfer-encoding", "identity")]), Ok(vec![]));
        assert_eq!(check(200, &[("transfer-encoding", "unheard-of")]), Ok(vec![]));
        assert_eq!(check(304, &[("content-length", "5")]), Ok(vec!["5".to_owned()]));
        assert_eq!(check(204, &[("content-length", "5")]), Ok(vec![]));
    }

    #[test]
    fn only_what_was_asked_for_is_switched_to() {
        let websocket = HeaderValue::from_static("websocket");
        let switch = |to: Option<&'static str>, asked| {
            let mut headers = HeaderMap::new();
            headers.extend(to.map(|to| (header::UPGRADE, HeaderValue::from_static(to))));
            judge(StatusCode::SWITCHING_PROTOCOLS, &mut headers, asked)
        };
        assert_eq!(switch(Some("WebSocket"), Some(&websocket)), Ok(()));
        assert_eq!(switch(Some("h2c"), Some(&websocket)), Err(Doubtful));
        assert_eq!(switch(None, Some(&websocket)), Err(Doubtful));
        assert_eq!(switch(Some("websocket"), None), Err(Doubtful));
    }

    #[test]
    fn two_framings_are_refused() {
        for lines in [
            &[("transfer-encoding", "chunked"), ("content-length", "5")][..],
            &[("content-length", "5"), ("transfer-encoding", "chunked")],
            &[("content-length", "5"), ("content-length", "6")],
            &[("content-length", "5, 5")],
            &[("content-length", "5,6")],
            &[("content-length", "+5")],
            &[("content-length", "-1")],
            &[("content-length", "0x5")],
            &[("content-length", "5 5")],
            &[("content-length", "")],
            &[("content-length", "18446744073709551616")],
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "chunked, gzip")],
            &[("transfer-encoding", "chunked, chunked")],
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "identity"), ("content-length", "5")],
            &[("transfer-encoding", "unheard-of"), ("content-length", "5")],
            &[("transfer-encoding", "unheard-of, chunked")],
            &[("transfer-encoding", "gzip")],
            &[("transfer-encoding", "x-gzip")],
            &[("transfer-encoding", "xchunked")],
            &[("transfer-encoding", "")],
        ] {
            for status in [200, 204, 206, 304, 404] {
                assert_eq!(check(status, lines), Err(Doubtful), "{status} {lines:?}");
            }
        }
    }
}
