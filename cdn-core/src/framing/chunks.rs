//! Where a chunked body ends, read as strictly as RFC 9112 section 7.1 is written.
//!
//! Knows framing only: what is in the chunks passes unseen.

use super::head::TOKEN;

/// Most bytes of chunk extensions and trailers of one body; nobody needs them, attackers like them.
const OVERHEAD_BYTES_MAX: u32 = 16 * 1024;

/// Follows a chunked body through any division into reads.
#[derive(Clone, Debug)]
pub struct Chunks {
    state: State,
    overhead: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size { size: u64, digits: u8 },
    Extension { size: u64 },
    SizeLf { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
}

/// The body is not framed as the RFC says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadChunk {
    /// How many bytes before the wrong one were fine.
    pub fine: usize,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { state: State::Size { size: 0, digits: 0 }, overhead: 0 }
    }
}

impl Chunks {
    /// At the first byte of a body.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads on; how many bytes belong to the body, and whether it has ended.
    ///
    /// # Errors
    /// [`BadChunk`] where the framing is wrong.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<(usize, bool), BadChunk> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if let State::Data { left } = self.state {
                let skip = left.min((bytes.len() - at) as u64);
                at += usize::try_from(skip).unwrap_or(usize::MAX);
                self.state = if skip == left { State::DataCr } else { State::Data { left: left - skip } };
                continue;
            }
            let bad = BadChunk { fine: at };
            at += 1;
            self.state = match (self.state, byte) {
                (State::Size { size, digits }, _) if byte.is_ascii_hexdigit() && digits < 16 => {
                    let digit = (byte as char).to_digit(16).unwrap_or(0);
                    State::Size { size: size << 4 | u64::from(digit), digits: digits + 1 }
                }
                (State::Size { size, digits: 1.. }, b';') => State::Extension { size },
                (State::Size { size, digits: 1.. } | State::Extension { size }, b'\r') => State::SizeLf { size },
                (State::Extension { size }, b'\t' | b' '..=b'~' | 0x80..) => {
                    self.count_overhead().ok_or(bad)?;
                    State::Extension { size }
                }
                (State::SizeLf { size: 0 }, b'\n') => State::TrailerStart,
                (State::SizeLf { size }, b'\n') => State::Data { left: size },
                (State::DataCr, b'\r') => State::DataLf,
                (State::DataLf, b'\n') => State::Size { size: 0, digits: 0 },
                (State::TrailerStart, b'\r') => State::EndLf,
                (State::TrailerValue, b'\r') => State::TrailerLf,
                (State::TrailerLf, b'\n') => State::TrailerStart,
                // A field line like any other (RFC 9112 section 5), so that no line passes for a trailer here and for a
                // request line elsewhere.
                (State::TrailerStart | State::TrailerName, _) if TOKEN[usize::from(byte)] => {
                    self.count_overhead().ok_or(bad)?;
                    State::TrailerName
                }
                (State::TrailerName, b':') | (State::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => {
                    self.count_overhead().ok_or(bad)?;
                    State::TrailerValue
                }
                (State::EndLf, b'\n') => return Ok((at, true)),
                _ => return Err(bad),
            };
        }
        Ok((at, false))
    }

    /// Nothing when there was too much of it.
    const fn count_overhead(&mut self) -> Option<()> {
        self.overhead += 1;
        if self.overhead > OVERHEAD_BYTES_MAX { None } else { Some(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(body: &[u8]) -> Result<(usize, bool), BadChunk> {
        Chunks::new().advance(body)
    }

    #[test]
    fn bodies_end_after_the_trailers_and_not_before() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "A;x=y\r\n0123456789\r\n000\r\n\r\n",
            "1\r\na\r\n0\r\nX: y\r\n\r\n",
        ] {
            let next = [body.as_bytes(), b"GET /"].concat();
            assert_eq!(whole(&next), Ok((body.len(), true)), "{body:?}");
            let mut chunks = Chunks::new();
            for (at, byte) in body.as_bytes().iter().enumerate() {
                assert_eq!(chunks.advance(&[*byte]), Ok((1, at + 1 == body.len())), "{body:?} at {at}");
            }
        }
    }

    #[test]
    fn wrong_framing_is_refused() {
        for body in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            " 5\r\nhello",
            "5 \r\nhello",
            "0x5\r\nhello",
            "5\nhello",
            "5\rhello",
            "5\r\nhello!\r\n",
            "5\r\nhello\n",
            "5;\nhello",
            "11112222333344445\r\n",
            "0\r\n\n",
            "0\r\n folded\r\n\r\n",
            "0\r\n0\r\n\r\n",
            "0\r\n: x\r\n\r\n",
            "0\r\nX : y\r\n\r\n",
            "0\r\nX: y\r\n folded\r\n\r\n",
            "0\r\nGET / HTTP/1.1\r\n\r\n",
        ] {
            let bad = whole(body.as_bytes()).expect_err(body);
            let (fine, wrong) = body.as_bytes().split_at(bad.fine);
            let mut chunks = Chunks::new();
            assert_eq!(chunks.advance(fine), Ok((fine.len(), false)), "{body:?}");
            assert_eq!(chunks.advance(&wrong[..1]), Err(BadChunk { fine: 0 }), "{body:?}");
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let long = [b"5;".to_vec(), vec![b'x'; 20_000]].concat();
        assert_eq!(whole(&long), Err(BadChunk { fine: 2 + OVERHEAD_BYTES_MAX as usize }));
    }
}
