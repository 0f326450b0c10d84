//! Chunked bodies as they come through the pool, beside a decoder that is slow and obvious. Compiled for tests and fuzz
//! targets.

use std::{future::poll_fn, sync::Arc, time::Duration};

use cdn_core::Counters;
use http::{Request, header, uri::Authority};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    sync::mpsc,
};

use super::{Peer, Pool};
use crate::{
    body::{OriginBody, OriginRequestBody},
    dial,
};

/// Reads a chunked body that comes in these pieces, then the end of the stream, as a node reads an origin's. The bytes of
/// the body, and whether it was whole; nothing where it was refused by its head.
pub(crate) fn read(pieces: &[&[u8]]) -> Option<(Vec<u8>, bool)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().ok()?;
    runtime.block_on(async {
        let (give, mut take) = mpsc::unbounded_channel();
        let connect = dial::boxed(tower::service_fn(move |_| {
            let (near, far) = tokio::io::duplex(16 * 1024);
            let _ = give.send(far);
            async { Ok(TokioIo::new(near)) }
        }));
        let pool = Pool::new(connect, Arc::new(Counters::default()), 16 * 1024, 1);
        let peer = Peer::plain(&Authority::from_static("origin.test"));
        let mut lease = pool.connect(&peer, || {}).await.ok()?;
        let origin = take.recv().await?;
        let ask = async {
            let request = Request::get("/").header(header::HOST, "origin.test").body(OriginRequestBody::Empty).ok()?;
            let response = lease.send(request).await.ok()?;
            let idle = Duration::from_secs(60);
            let mut body = OriginBody::new(response.into_body(), idle, None, (pool.clone(), lease, idle));
            let mut bytes = Vec::new();
            loop {
                match poll_fn(|cx| body.poll_bytes(cx)).await {
                    Some(Ok(more)) => bytes.extend_from_slice(&more),
                    Some(Err(_)) => return Some((bytes, false)),
                    None => return Some((bytes, true)),
                }
            }
        };
        tokio::join!(ask, answer(origin, pieces)).0
    })
}

/// Plays the origin: one response, piece by piece, then the end.
async fn answer(mut origin: DuplexStream, pieces: &[&[u8]]) {
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") && origin.read_buf(&mut asked).await.is_ok_and(|len| len > 0) {}
    let head: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for piece in std::iter::once(&head).chain(pieces) {
        // The reader leaves where it has seen enough.
        if origin.write_all(piece).await.is_err() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// The same bytes after RFC 9112 section 7.1.3, with whatever anybody might forgive: the bytes of the chunks as far as
/// there are any, and whether they have ended.
pub(crate) fn decode(mut bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some((line, rest)) = line(bytes) else { return (body, false) };
        let digits: Vec<u8> = line.iter().copied().take_while(u8::is_ascii_hexdigit).collect();
        let size = str::from_utf8(&digits).ok().and_then(|digits| usize::from_str_radix(digits, 16).ok());
        let is_clean = line.get(digits.len()).is_none_or(|byte| matches!(byte, b';' | b' ' | b'\t'));
        let Some(size) = size.filter(|_| is_clean) else { return (body, false) };
        bytes = rest;
        if size == 0 {
            break;
        }
        let Some((chunk, rest)) = bytes.split_at_checked(size) else {
            body.extend_from_slice(bytes);
            return (body, false);
        };
        body.extend_from_slice(chunk);
        let Some(rest) = rest.strip_prefix(b"\r\n") else { return (body, false) };
        bytes = rest;
    }
    // Trailers, up to an empty line.
    while let Some((line, rest)) = line(bytes) {
        if line.is_empty() {
            return (body, true);
        }
        bytes = rest;
    }
    (body, false)
}

fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    Some((bytes.get(..end)?, bytes.get(end + 2..)?))
}

/// What must hold between the two, and `strict`, which takes only what is beyond doubt.
pub(crate) fn check(pieces: &[&[u8]]) {
    let stream = pieces.concat();
    let (expected, has_ended) = decode(&stream);
    let (bytes, whole) = read(pieces).expect("its head is good");
    assert!(expected.starts_with(&bytes), "other bytes than those that were sent: {stream:?}");
    if whole {
        assert!(has_ended && bytes == expected, "taken for whole: {stream:?}");
    }
    if matches!(cdn_core::framing::Chunks::new().advance(&stream), Ok((_, true))) {
        assert!(whole, "refused, and nothing is wrong with it: {stream:?}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_body_is_whole_at_its_last_chunk_and_not_before() {
        let body = b"5;x=y\r\nhello\r\n6 \r\n world\r\n0\r\nT: u\r\n\r\n";
        assert_eq!(
            (decode(body), read(&[body])),
            ((b"hello world".to_vec(), true), Some((b"hello world".to_vec(), true)))
        );
        for cut in 0..body.len() {
            let (front, _) = body.split_at(cut);
            assert!(!decode(front).1 && read(&[front]).is_some_and(|(_, whole)| !whole), "{cut}");
            check(&[front]);
        }
    }

    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let chunk = |data: Vec<u8>| [format!("{:x}\r\n", data.len()).as_bytes(), &data, b"\r\n"].concat();
        let data = || proptest::collection::vec(any::<u8>(), 1..40);
        prop_oneof![
            6 => data().prop_map(chunk),
            1 => data().prop_map(move |data| [b"00", chunk(data).as_slice()].concat()),
            1 => data(),
            1 => proptest::sample::select(vec![
                &b"0\r\n\r\n"[..], b"0\r\n", b"0", b"5;a=\"\r\n\"\r\nhello\r\n", b"5 ;a\r\nhello\r\n", b"5\nhello\r\n",
                b"5\r\nhello\n", b"5\rhello\r\n", b"0x5\r\nhello\r\n", b"+5\r\nhello\r\n", b"-1\r\n", b" 5\r\nhello\r\n",
                b"ffffffffffffffff\r\n", b"10000000000000000\r\n", b"10000000000000005\r\nhello\r\n", b"\r\n", b"\n", b"\0",
                b"0\r\nX: y\r\n\r\n", b"0\r\nX y\r\n\r\n", b"0\r\n X: y\r\n\r\n", b"0\r\nContent-Length: 3\r\n\r\n",
                b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", b"5;\xff\r\nhello\r\n", b"5_\r\nhello\r\n",
            ]).prop_map(<[u8]>::to_vec),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

        /// It may refuse more than the obvious decoder, but never gives other bytes, and never takes for whole what is not.
        #[test]
        fn what_is_read_is_what_was_sent(
            pieces in proptest::collection::vec(piece(), 0..6),
            ends in any::<bool>(),
            flipped in proptest::option::weighted(0.3, (any::<proptest::sample::Index>(), any::<u8>())),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
        ) {
            let mut stream = pieces.concat();
            if ends {
                stream.extend_from_slice(b"0\r\n\r\n");
            }
            if let Some((at, byte)) = flipped && !stream.is_empty() {
                let at = at.index(stream.len());
                stream[at] = byte;
            }
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
            check(&pieces);
        }
    }
}
