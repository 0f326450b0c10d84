//! The demo site: a few pages for people who try the CDN before they have an app of their own.
//!
//! `/`, `/app.js`, `/style.css`, `/big.bin`, `/api/time` and `/echo`. All but `/echo` take the same parameters as any
//! other path.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header, request};
use hyper::body::Incoming;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::{
    answer::Answer,
    parameters::byte_count,
    simulated::{BodyFailure, next_data},
};

/// Length of `/big.bin`: 16 MiB.
const BIG_BYTES: u64 = 16 << 20;

const INDEX: &str = include_str!("demo/index.html");
const SCRIPT: &str = include_str!("demo/app.js");
const STYLE: &str = include_str!("demo/style.css");

/// A page of the demo site.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) content_type: HeaderValue,
    pub(crate) cache_control: HeaderValue,
    /// The body, unless it is deterministic content of `size` bytes.
    pub(crate) body: Option<Bytes>,
    pub(crate) size: u64,
}

/// The address of the client, put into a request's extensions by `serve`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// The page at `path`, if the demo site has one.
pub(crate) fn page(id: &str, path: &str) -> Option<Page> {
    let page = |content_type, cache_control, body: Bytes| Page {
        content_type: HeaderValue::from_static(content_type),
        cache_control: HeaderValue::from_static(cache_control),
        size: body.len() as u64,
        body: Some(body),
    };
    Some(match path {
        "/" | "/index.html" => {
            page("text/html; charset=utf-8", "max-age=60", INDEX.replace("ORIGIN_ID", &escaped(id)).into())
        }
        "/app.js" => page("text/javascript; charset=utf-8", "max-age=3600", Bytes::from_static(SCRIPT.as_bytes())),
        "/style.css" => page("text/css; charset=utf-8", "max-age=3600", Bytes::from_static(STYLE.as_bytes())),
        "/big.bin" => Page {
            content_type: HeaderValue::from_static("application/octet-stream"),
            cache_control: HeaderValue::from_static("max-age=3600"),
            body: None,
            size: BIG_BYTES,
        },
        "/api/time" => {
            let now = SystemTime::now();
            let unix_ms = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
            let time = json!({ "origin": id, "now": httpdate::fmt_http_date(now), "unix_ms": unix_ms });
            page("application/json; charset=utf-8", "no-store", format!("{time}\n").into())
        }
        _ => return None,
    })
}

/// The size that a path of `/bytes` names: `/bytes/10k/anything` is 10 KiB long.
pub(crate) fn size_in(path: &str) -> Option<u64> {
    let rest = path.strip_prefix("/bytes/")?;
    byte_count(rest.split('/').next()?)
}

/// The request as JSON: what reached the origin, after everything on the way had its say.
///
/// # Errors
/// The request's body did not arrive whole.
pub(crate) async fn echo(
    id: &str,
    request: &request::Parts,
    body: &mut Incoming,
    timeout: Duration,
) -> Result<Answer, BodyFailure> {
    let (mut body_bytes, mut digest) = (0_u64, Sha256::new());
    while let Some(data) = next_data(body, timeout).await? {
        body_bytes += data.len() as u64;
        digest.update(&data);
    }
    let body_sha256: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let headers: Vec<_> = request
        .headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    let document = json!({
        "origin": id,
        "peer": request.extensions.get::<Peer>().map(|peer| peer.0.to_string()),
        "method": request.method.as_str(),
        "target": request.uri.to_string(),
        "version": format!("{:?}", request.version),
        "headers": headers,
        "body_bytes": body_bytes,
        "body_sha256": body_sha256,
    });
    let mut answer = Answer::text(StatusCode::OK, format!("{document:#}\n"));
    answer.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    answer.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_that_the_index_links_exists() {
        let links: Vec<_> = INDEX.split(['"', '\'']).filter(|text| text.starts_with('/')).collect();
        assert!(links.len() > 3, "{links:?}");
        for link in links {
            let path = link.split('?').next().unwrap();
            assert!(path == "/echo" || path == "/anything" || page("x", path).is_some(), "{link}");
        }
    }

    #[test]
    fn the_name_of_the_origin_cannot_break_the_page() {
        let body = page("<b>", "/").unwrap().body.unwrap();
        let text = str::from_utf8(&body).unwrap();
        assert!(text.contains("&lt;b&gt;") && !text.contains("<b>"));
    }
}
