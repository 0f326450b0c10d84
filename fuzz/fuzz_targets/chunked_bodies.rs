//! Chunked bodies: their end does not depend on how bytes were divided into reads, and what is framed well passes whole.
#![no_main]

use cdn_core::framing::Chunks;
use isochrone_fuzz::pieces;
use libfuzzer_sys::fuzz_target;

// The first byte says how many cuts follow; the rest is a body as it stands, and a body to be framed.
fuzz_target!(|data: &[u8]| {
    let Some((count, data)) = data.split_first() else { return };
    let (cuts, data) = data.split_at(usize::from(*count % 8).min(data.len()));
    let whole = chunked(&[data]);
    assert_eq!(chunked(&pieces(cuts, data)), whole);
    if let Ok((fine, ended)) = whole {
        assert!(if ended { fine <= data.len() } else { fine == data.len() }, "{fine} of {}", data.len());
    }
    let mut framed = Vec::new();
    for piece in pieces(cuts, data) {
        framed.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        framed.extend_from_slice(piece);
        framed.extend_from_slice(b"\r\n");
    }
    framed.extend_from_slice(b"0\r\n\r\n");
    let length = framed.len();
    framed.extend_from_slice(b"GET / HTTP/1.1\r\n");
    assert_eq!(chunked(&pieces(cuts, &framed)), Ok((length, true)));
});

/// Follows a chunked body through these reads: how many bytes of it were fine, and whether it has ended; how many came
/// before the wrong one where it is framed wrongly.
fn chunked(pieces: &[&[u8]]) -> Result<(usize, bool), usize> {
    let mut chunks = Chunks::new();
    let mut fine = 0;
    for piece in pieces {
        let (len, ended) = chunks.advance(piece).map_err(|bad| fine + bad.fine)?;
        fine += len;
        if ended {
            return Ok((fine, true));
        }
    }
    Ok((fine, false))
}
