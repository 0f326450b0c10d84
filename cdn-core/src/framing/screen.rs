//! What stands between a client's bytes and the HTTP library that reads them: holds them until they are judged.
//!
//! The shell does for each read of the library what [`Screen::next`] says, and [`offers`](Screen::offer) what came from
//! the socket. In place of a refused head the library reads [`StandIn::HEAD`]. Knows no socket, no time and no service.

use std::sync::Arc;

use bytes::{Buf as _, BytesMut};

use super::{
    head::Framing,
    requests::{Part, Requests, Stage},
    stand_in::StandIn,
};
use crate::Reason;

/// See the module.
#[derive(Debug)]
pub struct Screen {
    requests: Requests,
    stand_in: Arc<StandIn>,
    /// Bytes that have come; the first `passed` of them may be read.
    held: BytesMut,
    passed: usize,
    ending: Option<Ending>,
}

/// What the library's next read is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// These bytes; say with [`Screen::advance`] how many there was room for.
    Bytes(&'a [u8]),
    /// What the socket has, once it was offered.
    Socket,
    /// Nothing, until the service has answered: only then is it known what the bytes that came are.
    Answer,
    /// Nothing any more, until the answer to the stand-in is out. An end of the stream might take the library's mind off
    /// that. What the socket has may be read and forgotten.
    Silence,
    /// An error, so that no body is taken for whole.
    Error,
}

/// What comes behind what was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The stand-in.
    StandIn,
    Error,
}

/// A verdict on some bytes: the first `answered` of them are done with, the next `on` may be read.
struct Verdict {
    answered: usize,
    on: usize,
}

impl Screen {
    /// For a new connection, whose service asks `stand_in`.
    pub fn new(requests: Requests, stand_in: Arc<StandIn>) -> Self {
        Self { requests, stand_in, held: BytesMut::new(), passed: 0, ending: None }
    }

    /// Takes bytes that have come. Those that come back may be read at once, without being held: all of them or none, and
    /// no more than `room`.
    ///
    /// `answers` is asked about each head without a body before which nothing is left to read; where it says yes, the head
    /// is gone, and [`look_again`](Self::look_again) goes on from there.
    pub fn offer<'b>(&mut self, bytes: &'b [u8], room: usize, answers: impl FnMut(&[u8]) -> bool) -> &'b [u8] {
        if self.ending.is_some() {
            return &[];
        }
        if !self.held.is_empty() {
            self.held.extend_from_slice(bytes);
            self.look_again(answers);
            return &[];
        }
        let verdict = self.judge(bytes, answers);
        let rest = bytes.get(verdict.answered..).unwrap_or_default();
        if verdict.on == rest.len() && verdict.on <= room {
            return rest;
        }
        self.held.extend_from_slice(rest);
        self.settle(verdict.on);
        &[]
    }

    /// Judges what is held once more, after bytes or knowledge were added.
    pub fn look_again(&mut self, answers: impl FnMut(&[u8]) -> bool) {
        if self.ending.is_some() {
            return;
        }
        let mut held = std::mem::take(&mut self.held);
        let verdict = self.judge(held.get(self.passed..).unwrap_or_default(), answers);
        // Only what nothing stands before is answered.
        held.advance(verdict.answered);
        self.held = held;
        self.settle(verdict.on);
    }

    /// What to do for the library's next read.
    pub fn next(&self) -> Next<'_> {
        match (self.held.get(..self.passed), self.ending) {
            (Some(readable), _) if !readable.is_empty() => Next::Bytes(readable),
            (_, Some(Ending::StandIn)) => Next::Silence,
            (_, Some(Ending::Error)) => Next::Error,
            // Or it would pile up here.
            (_, None) if self.requests.stage() == Stage::Connect && !self.held.is_empty() => Next::Answer,
            (_, None) => Next::Socket,
        }
    }

    /// The first `len` bytes of what may be read were.
    pub fn advance(&mut self, len: usize) {
        let len = len.min(self.passed);
        self.held.advance(len);
        self.passed -= len;
        if self.held.is_empty() {
            // An idle connection holds no buffer.
            self.held = BytesMut::new();
        }
    }

    /// Whether nothing is held, neither to be read nor to be judged.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The place of the head of which a part has come, among all heads of the connection.
    pub fn unfinished_head(&self) -> Option<u64> {
        let unfinished = self.requests.stage() == Stage::Head && self.held.len() > self.passed;
        unfinished.then_some(self.requests.heads())
    }

    /// Where the stream stands.
    pub const fn stage(&self) -> Stage {
        self.requests.stage()
    }

    /// The service makes a tunnel of the connection: whatever came or comes may be read.
    pub fn on_tunnel(&mut self) {
        if self.ending.is_none() {
            self.requests.on_tunnel();
            self.passed = self.held.len();
        }
    }

    /// What has come of a head is refused: it was too slow, for instance.
    pub fn refuse(&mut self, reason: Reason) {
        if self.ending.is_some() {
            return;
        }
        self.requests.on_refused();
        self.stand_in.refuse_head(self.held.get(self.passed..).unwrap_or_default(), reason);
        self.ending = Some(Ending::StandIn);
        self.settle(0);
    }

    fn judge(&mut self, bytes: &[u8], mut answers: impl FnMut(&[u8]) -> bool) -> Verdict {
        let mut on = 0;
        loop {
            let rest = bytes.get(on..).unwrap_or_default();
            let in_body = self.requests.stage() == Stage::Body;
            match self.requests.next(rest) {
                Part::Head { len, framing } => {
                    if self.passed + on == 0
                        && framing == Framing::Length(0)
                        && answers(rest.get(..len).unwrap_or_default())
                    {
                        return Verdict { answered: len, on: 0 };
                    }
                    self.stand_in.on_head();
                    on += len;
                }
                Part::Rest(len) => on += len,
                Part::Incomplete => return Verdict { answered: 0, on },
                Part::Refused { fine, reason } => {
                    self.ending = Some(if in_body { Ending::Error } else { Ending::StandIn });
                    if in_body {
                        self.stand_in.refuse_body(reason);
                    } else {
                        self.stand_in.refuse_head(rest, reason);
                    }
                    return Verdict { answered: 0, on: on + fine };
                }
            }
        }
    }

    /// More of what is held may be read. Where the rest was refused, it is forgotten.
    fn settle(&mut self, on: usize) {
        self.passed += on;
        if let Some(ending) = self.ending {
            self.held.truncate(self.passed);
            if ending == Ending::StandIn {
                self.held.extend_from_slice(StandIn::HEAD);
                self.passed = self.held.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::HeadLimits;

    const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 1_000, target_bytes_max: 100, headers_max: 10 };
    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const BOTH: &[u8] =
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";

    fn screen() -> (Screen, Arc<StandIn>) {
        let stand_in = Arc::new(StandIn::default());
        (Screen::new(Requests::new(LIMITS), Arc::clone(&stand_in)), stand_in)
    }

    #[test]
    fn what_is_beyond_doubt_is_not_held() {
        let (mut screen, _) = screen();
        assert_eq!(screen.offer(GET, 1_000, |_| false), GET);
        assert!(screen.is_empty() && screen.next() == Next::Socket);
        assert_eq!(screen.offer(GET, 5, |_| false), b"", "there is room for five");
        assert_eq!(screen.next(), Next::Bytes(GET));
    }

    #[test]
    fn a_refused_head_is_replaced_behind_what_came_before_it() {
        let (mut screen, stand_in) = screen();
        let stream = [GET, BOTH, GET].concat();
        assert_eq!(screen.offer(&stream, 1_000, |_| false), b"");
        assert_eq!(screen.next(), Next::Bytes(&[GET, StandIn::HEAD].concat()));
        assert_eq!([stand_in.on_request(), stand_in.on_request()], [None, Some(Reason::BadRequest)]);
        screen.advance(usize::MAX);
        assert_eq!(screen.next(), Next::Silence);
        screen.offer(GET, 1_000, |_| false);
        assert_eq!(screen.next(), Next::Silence, "nothing comes behind it");
    }

    #[test]
    fn a_bad_body_ends_in_an_error_and_not_in_a_request() {
        let (mut screen, stand_in) = screen();
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        screen.offer(&[head, &b"3\r\nabcd"[..]].concat(), 1_000, |_| false);
        assert_eq!(screen.next(), Next::Bytes(&[head, &b"3\r\nabc"[..]].concat()));
        assert_eq!((stand_in.on_request(), stand_in.reason()), (None, Some(Reason::BadRequest)));
        screen.advance(usize::MAX);
        assert_eq!(screen.next(), Next::Error);
    }

    #[test]
    fn heads_that_are_answered_are_gone_and_the_next_waits() {
        let (mut screen, stand_in) = screen();
        let two = [GET, GET].concat();
        assert_eq!(screen.offer(&two, 1_000, |head| head == GET), b"");
        assert_eq!((screen.next(), screen.is_empty()), (Next::Socket, false));
        screen.look_again(|_| false);
        assert_eq!(screen.next(), Next::Bytes(GET));
        assert!(!stand_in.is_served());
    }

    #[test]
    fn bytes_behind_a_connect_wait_for_the_answer() {
        let (mut screen, _) = screen();
        let connect = b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n";
        screen.offer(&[&connect[..], b"\x16\x03\n"].concat(), 1_000, |_| false);
        assert_eq!(screen.next(), Next::Bytes(connect));
        screen.advance(connect.len());
        assert_eq!(screen.next(), Next::Answer);
        screen.on_tunnel();
        assert_eq!(screen.next(), Next::Bytes(b"\x16\x03\n"));
    }

    #[test]
    fn a_slow_head_is_refused_like_a_wrong_one() {
        let (mut screen, stand_in) = screen();
        screen.offer(b"GET / HT", 1_000, |_| false);
        assert_eq!((screen.unfinished_head(), screen.next()), (Some(0), Next::Socket));
        screen.refuse(Reason::HeaderTimeout);
        assert_eq!(screen.next(), Next::Bytes(StandIn::HEAD));
        assert_eq!(stand_in.on_request(), Some(Reason::HeaderTimeout));
    }
}
