//! The short way of a hit: a plain HTTP/1.1 request whose answer is stored, complete and fresh, is answered before hyper
//! hears of it.
//!
//! It decides nothing by itself. It reads what the guard has judged into the parts that hyper would make of it, asks the
//! service's own `admit` and the store, and lets [`crate::miss`] make the response. Whatever is not that simple (a miss,
//! a refusal, an upgrade, a function, an end of the connection) it leaves alone, and hyper reads the same bytes as if nobody had
//! looked.

use bytes::Bytes;
use cdn_core::framing::HeadLines;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header, request::Parts};

use crate::{
    connection::{Outgoing, ShortWay},
    miss,
    service::{Admitted, Case, HEALTH_PATH, ViewerService, Way},
};

impl ShortWay for ViewerService {
    fn answer(&self, head: &[u8]) -> Option<Outgoing> {
        let mut parts = read(head)?;
        let began = self.node.clock.now();
        let mut case = Case::new(self, began, self.wire.begin(), &parts);
        let admitted = self.admit(&mut case, &mut parts, false, Way::Short).ok()?;
        let Admitted { asked, upgrade: None, purge: None } = admitted else { return None };
        if asked.behavior().has_functions() {
            return None;
        }
        asked.behavior().method_class(&asked.method).ok()?;
        miss::look_for_hit(case, &asked)
    }
}

/// The parts of a request whose head the guard has judged. `None` where it is not a plain question on a connection that
/// stays.
fn read(head: &[u8]) -> Option<Parts> {
    let head = Bytes::copy_from_slice(head);
    let mut lines = HeadLines::of(&head);
    let mut words = lines.next()?.split(|&byte| byte == b' ');
    let method = match words.next()? {
        b"GET" => Method::GET,
        b"HEAD" => Method::HEAD,
        _ => return None,
    };
    let uri = Uri::from_maybe_shared(head.slice_ref(words.next()?)).ok()?;
    if words.next()? != b"HTTP/1.1" || uri.path() == HEALTH_PATH {
        return None;
    }
    let mut headers = HeaderMap::with_capacity(lines.clone().count());
    for line in lines {
        let colon = memchr::memchr(b':', line)?;
        let (name, value) = line.split_at_checked(colon)?;
        let name = HeaderName::from_bytes(name).ok()?;
        let value = value.get(1..)?.trim_ascii();
        if name == header::UPGRADE || name == header::CONNECTION && !value.eq_ignore_ascii_case(b"keep-alive") {
            return None;
        }
        headers.append(name, HeaderValue::from_maybe_shared(head.slice_ref(value)).ok()?);
    }
    let (mut parts, ()) = Request::new(()).into_parts();
    (parts.method, parts.uri, parts.version, parts.headers) = (method, uri, Version::HTTP_11, headers);
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_questions_are_read() {
        let parts =
            read(b"GET /a?b HTTP/1.1\r\nHost: a\r\nX-Y:\t1 \r\nx-y: 2\r\nConnection: Keep-Alive\r\n\r\n").unwrap();
        assert_eq!((parts.method, parts.uri.to_string()), (Method::GET, "/a?b".to_owned()));
        assert_eq!(parts.headers.get_all("x-y").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(parts.headers.len(), 4);
        assert_eq!(read(b"HEAD http://a/ HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().uri.path(), "/");
    }

    #[test]
    fn what_is_not_plain_is_left_to_hyper() {
        for head in [
            "POST / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
            "GET /.iso/health HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        ] {
            assert!(read(head.as_bytes()).is_none(), "{head}");
        }
    }
}
