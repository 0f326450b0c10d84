//! The origin of everybody: `/1k`, `/32k`, `/1m`, and anything below them, with the same fields. A range of anything is
//! one of an object of a gibibyte.

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Serves from a thread of its own for as long as the process lives.
pub(crate) fn start() -> SocketAddr {
    let (ready, started) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            ready.send(listener.local_addr().expect("an address")).expect("somebody waits");
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let _ = stream.set_nodelay(true);
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(TokioIo::new(stream), service_fn(answer)));
            }
        });
    });
    started.recv().expect("the origin starts")
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    static BODY: [u8; 1 << 20] = [b'x'; 1 << 20];
    let length = match request.uri().path().split('/').nth(1) {
        Some("32k") => 32 << 10,
        Some("1m") => 1 << 20,
        _ => 1 << 10,
    };
    let response = Response::builder()
        .header("content-type", "text/plain")
        .header("cache-control", "max-age=3600")
        .header("etag", "\"0123456789abcdef\"")
        .header("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
    if let Some((first, last)) = range(&request) {
        let response = response.status(206).header("content-range", format!("bytes {first}-{last}/{}", 1 << 30));
        let body = Bytes::from_static(&BODY).slice(..last + 1 - first);
        return Ok(response.body(Full::new(body)).expect("a response"));
    }
    Ok(response.body(Full::new(Bytes::from_static(&BODY).slice(..length))).expect("a response"))
}

/// First and last byte.
fn range(request: &Request<Incoming>) -> Option<(usize, usize)> {
    let range = request.headers().get("range")?.to_str().ok()?;
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}
