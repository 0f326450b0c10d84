//! Which bytes of a client's stream may go on to an HTTP library, and where its requests begin and end.
//!
//! Follows the framing byte by byte, through any division into reads. Holds no bytes: who reads them keeps what may not go
//! on yet. Knows no time; [`Requests::stage`] says what a stream that stops is waiting for.

use super::{
    chunks::Chunks,
    head::{self, Framing, HeadLimits},
};
use crate::Reason;

/// How an HTTP/2 client begins (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Follows the requests of one connection. Give [`next`](Self::next) what has come and did not go on yet, until it says
/// that it needs more; after [`Part::Refused`] nothing else goes on.
#[derive(Clone, Debug)]
pub struct Requests {
    limits: HeadLimits,
    state: State,
    heads: u64,
}

/// The next bytes of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A complete head of `len` bytes.
    Head {
        /// Its bytes, empty line included.
        len: usize,
        /// What follows it.
        framing: Framing,
    },
    /// This many bytes that are no head, and are not in doubt.
    Rest(usize),
    /// More must come before more can be said.
    Incomplete,
    /// What comes after the next `fine` bytes is not to be read by anybody.
    Refused {
        /// Bytes of a body that were right; none in a head.
        fine: usize,
        /// Why.
        reason: Reason,
    },
}

/// Where a stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing has come that says which protocol it is.
    Start,
    /// Between requests, or in a head.
    Head,
    /// In a body.
    Body,
    /// Behind a `CONNECT` of which nobody knows yet whether it makes a tunnel.
    Connect,
    /// In a tunnel.
    Tunnel,
    /// HTTP/2, from the first byte on.
    Http2,
    /// Nothing goes on any more.
    Refused,
}

#[derive(Clone, Debug)]
enum State {
    /// The first bytes of the connection: which protocol?
    Sniff,
    /// Between requests, or in a head of which the first `searched` bytes were seen.
    Head {
        searched: usize,
    },
    /// This many bytes of a body are still to come.
    Length(u64),
    Chunked(Chunks),
    Connect,
    Tunnel,
    Http2,
    Refused,
}

impl Requests {
    /// A connection that speaks HTTP/1.1 or 1.0.
    pub const fn new(limits: HeadLimits) -> Self {
        Self { limits, state: State::Head { searched: 0 }, heads: 0 }
    }

    /// A connection that may speak HTTP/2 as well, in which case nothing of it is judged here.
    pub const fn or_http2(limits: HeadLimits) -> Self {
        Self { limits, state: State::Sniff, heads: 0 }
    }

    /// What `bytes` begin with: all that have come and that no earlier [`Part`] was about.
    pub fn next(&mut self, bytes: &[u8]) -> Part {
        if matches!(self.state, State::Sniff) && !bytes.is_empty() {
            if bytes.len() < PREFACE.len() && PREFACE.starts_with(bytes) {
                return Part::Incomplete;
            }
            self.state = if bytes.starts_with(PREFACE) { State::Http2 } else { State::Head { searched: 0 } };
        }
        match &mut self.state {
            _ if bytes.is_empty() => Part::Incomplete,
            State::Sniff | State::Connect | State::Refused => Part::Incomplete,
            State::Tunnel | State::Http2 => Part::Rest(bytes.len()),
            // Empty lines before a request are to be ignored (RFC 9112 section 2.2).
            State::Head { searched: 0 } if bytes.starts_with(b"\r\n") => Part::Rest(2),
            State::Head { searched } => match judge_head(bytes, *searched, &self.limits) {
                Ok(Some((len, framing))) => {
                    self.state = match framing {
                        Framing::Length(0) => State::Head { searched: 0 },
                        Framing::Length(len) => State::Length(len),
                        Framing::Chunked => State::Chunked(Chunks::new()),
                        Framing::Connect => State::Connect,
                    };
                    self.heads += 1;
                    Part::Head { len, framing }
                }
                Ok(None) => {
                    *searched = head::searched(bytes);
                    Part::Incomplete
                }
                Err(reason) => self.refuse(0, reason),
            },
            State::Length(left) => {
                let take = (*left).min(bytes.len() as u64);
                *left -= take;
                if *left == 0 {
                    self.state = State::Head { searched: 0 };
                }
                Part::Rest(usize::try_from(take).unwrap_or(usize::MAX))
            }
            State::Chunked(chunks) => match chunks.advance(bytes) {
                Ok((len, ended)) => {
                    if ended {
                        self.state = State::Head { searched: 0 };
                    }
                    Part::Rest(len)
                }
                Err(bad) => self.refuse(bad.fine, Reason::BadRequest),
            },
        }
    }

    /// Whoever answers has made a tunnel of the connection, so that its bytes belong to no HTTP. What was refused before
    /// stays so.
    pub fn on_tunnel(&mut self) {
        if !matches!(self.state, State::Refused) {
            self.state = State::Tunnel;
        }
    }

    /// Nothing more goes on: the client was too slow, for instance.
    pub fn on_refused(&mut self) {
        self.state = State::Refused;
    }

    /// Where the stream stands.
    pub const fn stage(&self) -> Stage {
        match self.state {
            State::Sniff => Stage::Start,
            State::Head { .. } => Stage::Head,
            State::Length(_) | State::Chunked(_) => Stage::Body,
            State::Connect => Stage::Connect,
            State::Tunnel => Stage::Tunnel,
            State::Http2 => Stage::Http2,
            State::Refused => Stage::Refused,
        }
    }

    /// Complete heads so far.
    pub const fn heads(&self) -> u64 {
        self.heads
    }

    fn refuse(&mut self, fine: usize, reason: Reason) -> Part {
        self.state = State::Refused;
        Part::Refused { fine, reason }
    }
}

/// Judges the head that `bytes` begin with, of which the first `searched` were seen before; `None` where it is incomplete.
fn judge_head(bytes: &[u8], searched: usize, limits: &HeadLimits) -> Result<Option<(usize, Framing)>, Reason> {
    match head::end_of_head(bytes, searched)? {
        Some(len) => {
            let framing = head::judge(bytes.get(..len).unwrap_or_default(), limits)?;
            Ok(Some((len, framing)))
        }
        None => head::judge_oversized(bytes, limits).map_or(Ok(None), Err),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 1_000, target_bytes_max: 100, headers_max: 10 };
    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    /// What goes on of a stream that comes in these pieces, how many heads, why it ends and where it stands.
    fn follow<'a>(
        mut requests: Requests,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> (Vec<u8>, u64, Option<Reason>, Stage) {
        let (mut passed, mut held, mut refused) = (Vec::new(), Vec::new(), None);
        for piece in pieces {
            held.extend_from_slice(piece);
            loop {
                match requests.next(&held) {
                    Part::Head { len, .. } | Part::Rest(len) => passed.extend(held.drain(..len)),
                    Part::Incomplete => break,
                    Part::Refused { fine, reason } => {
                        passed.extend(held.drain(..fine));
                        refused = Some(reason);
                    }
                }
            }
        }
        (passed, requests.heads(), refused, requests.stage())
    }

    #[test]
    fn requests_pass_in_a_row_and_nothing_passes_behind_a_refused_one() {
        let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nT: u\r\n\r\n";
        let sized = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /";
        let good = ["\r\n", GET, chunked, sized, GET].concat();
        let followed = follow(Requests::new(LIMITS), [good.as_bytes()]);
        assert_eq!(followed, (good.clone().into_bytes(), 4, None, Stage::Head));
        let both = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        let followed = follow(Requests::new(LIMITS), [good.as_bytes(), both.as_bytes(), GET.as_bytes()]);
        assert_eq!(followed, (good.into_bytes(), 4, Some(Reason::BadRequest), Stage::Refused));
    }

    #[test]
    fn bytes_behind_a_connect_wait_until_it_is_a_tunnel() {
        let mut requests = Requests::new(LIMITS);
        let connect = "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n";
        let (early, bytes) = ("\u{16}\u{3}\u{1}\n", [connect, "\u{16}\u{3}\u{1}\n"].concat());
        assert_eq!(requests.next(bytes.as_bytes()), Part::Head { len: connect.len(), framing: Framing::Connect });
        assert_eq!((requests.next(early.as_bytes()), requests.stage()), (Part::Incomplete, Stage::Connect));
        requests.on_tunnel();
        assert_eq!(requests.next(early.as_bytes()), Part::Rest(early.len()));
    }

    #[test]
    fn what_was_refused_does_not_become_a_tunnel() {
        let mut requests = Requests::new(LIMITS);
        assert_eq!(requests.next(b"\n"), Part::Refused { fine: 0, reason: Reason::BadRequest });
        requests.on_tunnel();
        assert_eq!((requests.next(b"x"), requests.stage()), (Part::Incomplete, Stage::Refused));
    }

    #[test]
    fn http2_is_known_by_its_preface_where_it_is_spoken() {
        let stream = [PREFACE, b"\0\n\r"].concat();
        assert_eq!(follow(Requests::or_http2(LIMITS), [stream.as_slice()]), (stream.clone(), 0, None, Stage::Http2));
        assert_eq!(
            follow(Requests::new(LIMITS), [stream.as_slice()]),
            (Vec::new(), 0, Some(Reason::BadRequest), Stage::Refused)
        );
    }

    proptest! {
        /// How a stream is divided into reads says nothing about what it means.
        #[test]
        fn division_into_reads_does_not_matter(
            parts in proptest::collection::vec(prop_oneof![
                Just(GET.as_bytes().to_vec()),
                Just(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec()),
                Just(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n".to_vec()),
                Just(b"5\r\nhello\r\n".to_vec()),
                Just(b"0\r\n\r\n".to_vec()),
                Just(PREFACE.to_vec()),
                proptest::collection::vec(any::<u8>(), 0..6),
            ], 0..8),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
            http2 in any::<bool>(),
        ) {
            let start = if http2 { Requests::or_http2(LIMITS) } else { Requests::new(LIMITS) };
            let stream = parts.concat();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]);
            let divided = follow(start.clone(), pieces);
            prop_assert!(stream.starts_with(&divided.0));
            prop_assert_eq!(divided, follow(start, [stream.as_slice()]));
        }
    }
}
