//! The stream between a client's socket and hyper: lets only requests through that are beyond doubt, and only in time.
//!
//! What may pass is [`Screen`]'s to say: it follows the framing of HTTP/1.1 requests byte by byte. A head that is malformed,
//! too large or too slow is replaced by a harmless one; the service sees in [`Wire`] which request that was and answers it
//! with the proper page. HTTP/2 (by its preface) and tunnels pass unread. Idle time, slow heads and readers that do not
//! read end here too.
//!
//! While hyper has nothing to do, a [`ShortWay`] is asked about each head without a body first; what it answers is written
//! from here, and hyper does not hear of that request. The guard itself knows neither hosts nor methods.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use cdn_core::{
    Counter, Counters, Reason,
    framing::{HeadLimits, Next, Requests, Screen, Stage},
};
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use super::{outgoing::Outgoing, wire::Wire};

/// Answers what needs no waiting.
pub(crate) trait ShortWay {
    /// The answer to a request without a body, by its judged head. `None` leaves it to hyper, as if nobody had asked.
    fn answer(&self, head: &[u8]) -> Option<Outgoing>;
}

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1 or 1.0.
    Http1,
    /// HTTP/2, by its preface.
    Http2,
}

/// The patience of a [`Guard`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct GuardLimits {
    pub(crate) head: HeadLimits,
    /// Whether a client may begin with HTTP/2.
    pub(crate) http2: bool,
    /// From the first byte of a head to its last.
    pub(crate) head_timeout: Duration,
    /// Without any request.
    pub(crate) idle_timeout: Duration,
    /// While the client accepts no byte of what it asked for.
    pub(crate) write_timeout: Duration,
}

/// After the last byte was written, a client may still be sending; closing at once would reset the connection and take
/// the answer with it (RFC 9112 section 9.6). This long, and for this many bytes, we listen and forget.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 1 << 20;

const SCRATCH_BYTES: usize = 16 * 1024;

thread_local! {
    /// Bytes between the socket and hyper's buffer. One per thread, because nothing stays in it: an idle connection
    /// holds no buffer here.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Guard<T, S> {
    io: T,
    short_way: S,
    wire: Arc<Wire>,
    limits: GuardLimits,
    counters: Arc<Counters>,
    screen: Screen,
    /// Which head has begun but not ended, and since when.
    head_since: Option<(u64, Instant)>,
    /// What the short way answers; the head that asked for it is gone.
    outgoing: Option<Box<Outgoing>>,
    /// Hyper has written since it last flushed, so it may have more to write.
    hyper_writes: bool,
    timer: Option<Pin<Box<Sleep>>>,
    write_blocked_since: Option<Instant>,
    lingering: bool,
    /// Bytes that are still read only to be forgotten.
    forget_left: usize,
    eof: bool,
}

impl<T, S: ShortWay> Guard<T, S> {
    pub(crate) fn new(io: T, short_way: S, wire: Arc<Wire>, limits: GuardLimits, counters: Arc<Counters>) -> Self {
        let requests = if limits.http2 { Requests::or_http2(limits.head) } else { Requests::new(limits.head) };
        let screen = Screen::new(requests, Arc::clone(wire.stand_in()));
        Self {
            io,
            short_way,
            wire,
            limits,
            counters,
            screen,
            head_since: None,
            outgoing: None,
            hyper_writes: false,
            timer: None,
            write_blocked_since: None,
            lingering: false,
            forget_left: LINGER_BYTES_MAX,
            eof: false,
        }
    }

    /// An idle client is taken for one that has left, a slow one is refused.
    fn on_deadline(&mut self) {
        if self.screen.is_empty() {
            self.counters.bump(Counter::EdgeIdleTimeouts);
            self.eof = true;
        } else {
            self.screen.refuse(Reason::HeaderTimeout);
        }
    }

    /// Since when the head that is coming has been, if one is.
    fn head_since(&mut self) -> Option<Instant> {
        let head = self.screen.unfinished_head()?;
        match self.head_since {
            Some((of, since)) if of == head => Some(since),
            _ => Some(self.head_since.insert((head, Instant::now())).1),
        }
    }

    /// Whether a deadline of the current state has passed; arms the timer for the next one otherwise.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let deadline = match (self.screen.stage(), self.head_since()) {
                (Stage::Head, Some(since)) => since + self.limits.head_timeout,
                (Stage::Start, _) if !self.screen.is_empty() => self.wire.started() + self.limits.head_timeout,
                (Stage::Start | Stage::Head | Stage::Http2, _) => match self.wire.idle_since() {
                    Some(since) => since + self.limits.idle_timeout,
                    // Looked at again when the timer rings.
                    None => Instant::now() + self.limits.idle_timeout,
                },
                (Stage::Body | Stage::Connect | Stage::Tunnel | Stage::Refused, _) => return Poll::Pending,
            };
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            if deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}

impl<T: AsyncRead + Unpin, S: ShortWay> Guard<T, S> {
    /// Takes what the socket has: to be held, or straight on to `cursor` where all of it may pass.
    fn poll_fill(&mut self, cx: &mut Context<'_>, cursor: &mut ReadBufCursor<'_>) -> Poll<io::Result<bool>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let room = cursor.remaining().clamp(1, scratch.len());
            // In a head more may be read than hyper has room for: it is held until it is judged.
            let room = if matches!(self.screen.stage(), Stage::Start | Stage::Head) { scratch.len() } else { room };
            let (buffer, _) = scratch.split_at_mut(room);
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
            let bytes = buffer.filled();
            if bytes.is_empty() {
                return Poll::Ready(Ok(false));
            }
            let Self { screen, short_way, outgoing, wire, hyper_writes, .. } = self;
            let passed = screen.offer(bytes, cursor.remaining(), |head| {
                answer(head, short_way, outgoing, !*hyper_writes && wire.is_quiet())
            });
            cursor.put_slice(passed);
            Poll::Ready(Ok(true))
        })
    }

    /// Reads and forgets; ready at the end of the stream, or when it was enough.
    fn poll_forget(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        SCRATCH.with_borrow_mut(|scratch| {
            while self.forget_left > 0 {
                let mut buffer = ReadBuf::new(scratch);
                match ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer)) {
                    Ok(()) if !buffer.filled().is_empty() => {
                        self.forget_left = self.forget_left.saturating_sub(buffer.filled().len());
                    }
                    _ => break,
                }
            }
            Poll::Ready(())
        })
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin, S: ShortWay + Unpin> Guard<T, S> {
    /// Reads the first bytes of the connection, until they say what the client speaks.
    pub(crate) fn poll_protocol(&mut self, cx: &mut Context<'_>) -> Poll<Protocol> {
        let mut nowhere = hyper::rt::ReadBuf::new(&mut []);
        while self.screen.stage() == Stage::Start && !self.eof {
            match self.poll_fill(cx, &mut nowhere.unfilled()) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false) | Err(_)) => self.eof = true,
                Poll::Pending => {
                    ready!(self.poll_deadline(cx));
                    self.on_deadline();
                }
            }
        }
        Poll::Ready(if self.screen.stage() == Stage::Http2 { Protocol::Http2 } else { Protocol::Http1 })
    }

    /// Writes what the short way has answered, then looks at what came behind it.
    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(outgoing) = &mut self.outgoing {
            let outcome = outgoing.poll_write(&mut self.io, cx);
            if ready!(self.watch_write(cx, outcome))? {
                self.outgoing = None;
                let Self { screen, short_way, outgoing, wire, hyper_writes, .. } = self;
                screen.look_again(|head| answer(head, short_way, outgoing, !*hyper_writes && wire.is_quiet()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin, S: ShortWay + Unpin> Read for Guard<T, S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, mut cursor: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.wire.is_tunnel() && this.screen.stage() != Stage::Tunnel {
            this.screen.on_tunnel();
        }
        loop {
            ready!(this.poll_outgoing(cx))?;
            match this.screen.next() {
                Next::Bytes(bytes) => {
                    let len = bytes.len().min(cursor.remaining());
                    cursor.put_slice(bytes.get(..len).unwrap_or_default());
                    this.screen.advance(len);
                    return Poll::Ready(Ok(()));
                }
                Next::Socket if this.eof => return Poll::Ready(Ok(())),
                Next::Socket => {}
                Next::Answer => return Poll::Pending,
                Next::Silence => {
                    let _ = this.poll_forget(cx);
                    return Poll::Pending;
                }
                Next::Error => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            }
            let before = cursor.remaining();
            match this.poll_fill(cx, &mut cursor) {
                Poll::Ready(Ok(true)) if cursor.remaining() < before => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => {
                    this.eof = true;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    ready!(this.poll_deadline(cx));
                    this.on_deadline();
                }
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin, S> Guard<T, S> {
    /// Lets a write that was accepted clear the clock, and one that is not wait no longer than the limit.
    fn watch_write<R>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if outcome.is_ready() {
            self.write_blocked_since = None;
            return outcome;
        }
        let deadline = *self.write_blocked_since.get_or_insert_with(Instant::now) + self.limits.write_timeout;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if deadline < timer.deadline() || timer.is_elapsed() {
            timer.as_mut().reset(deadline);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                self.counters.bump(Counter::EdgeWriteTimeouts);
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin, S: ShortWay + Unpin> Write for Guard<T, S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.hyper_writes = true;
        let outcome = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.watch_write(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.hyper_writes = true;
        let outcome = Pin::new(&mut this.io).poll_write_vectored(cx, slices);
        this.watch_write(cx, outcome)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Hyper flushes once it has written all that it had, so everything before an interim response has left.
        let this = self.get_mut();
        let outcome = this.wire.interims.poll_write(cx, |cx, bytes| Pin::new(&mut this.io).poll_write(cx, bytes));
        ready!(this.watch_write(cx, outcome))?;
        ready!(Pin::new(&mut this.io).poll_flush(cx))?;
        this.hyper_writes = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_outgoing(cx))?;
        if !this.lingering {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
            if this.eof {
                return Poll::Ready(Ok(()));
            }
            let until = Instant::now() + LINGER;
            this.lingering = true;
            this.timer = Some(Box::pin(tokio::time::sleep_until(until)));
        }
        if this.poll_forget(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        match &mut this.timer {
            Some(timer) => timer.as_mut().poll(cx).map(Ok),
            None => Poll::Ready(Ok(())),
        }
    }
}

/// Asks the short way, where hyper has nothing left to do: answers leave in the order of their questions.
fn answer(head: &[u8], short_way: &impl ShortWay, outgoing: &mut Option<Box<Outgoing>>, is_quiet: bool) -> bool {
    if outgoing.is_none() && is_quiet {
        *outgoing = short_way.answer(head).map(Box::new);
    }
    outgoing.is_some()
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, task::Waker};

    use cdn_core::framing::StandIn;
    use http::{Method, StatusCode};
    use hyper::rt::ReadBuf as HyperBuf;
    use proptest::prelude::*;

    use super::*;
    use crate::body::ResponseBody;

    /// Gives its pieces one by one, then the end, and keeps what is written.
    #[derive(Default)]
    struct Pieces {
        pieces: VecDeque<Vec<u8>>,
        written: Vec<u8>,
    }

    impl AsyncRead for Pieces {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            let this = self.get_mut();
            if let Some(mut piece) = this.pieces.pop_front() {
                let rest = piece.split_off(piece.len().min(buffer.remaining()));
                buffer.put_slice(&piece);
                if !rest.is_empty() {
                    this.pieces.push_front(rest);
                }
            }
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Pieces {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.get_mut().written.extend_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Answers paths that begin with this by the head that asked for it.
    struct Answers(&'static str);

    impl ShortWay for Answers {
        fn answer(&self, head: &[u8]) -> Option<Outgoing> {
            let asked = head.starts_with(format!("GET {}", self.0).as_bytes());
            let (status, body) = (StatusCode::OK, ResponseBody::whole(head.to_vec()));
            asked.then(|| Outgoing::new(&Method::GET, status, Outgoing::begin(status, 0), body))
        }
    }

    /// What hyper would read, in reads of `room` bytes, and why it was refused.
    fn read(pieces: impl IntoIterator<Item = Vec<u8>>, room: usize) -> (Vec<u8>, Option<Reason>) {
        let (passed, _, refused) = serve(Answers("nothing"), pieces, room);
        (passed, refused)
    }

    /// The same, and what was written beside hyper, which itself answers nothing.
    fn serve(
        short_way: Answers,
        pieces: impl IntoIterator<Item = Vec<u8>>,
        room: usize,
    ) -> (Vec<u8>, String, Option<Reason>) {
        let pieces = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        let limits = GuardLimits {
            http2: true,
            head: HeadLimits { head_bytes_max: 1_000, target_bytes_max: 100, headers_max: 10 },
            head_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(1),
            write_timeout: Duration::from_secs(1),
        };
        let wire = Arc::new(Wire::new());
        let socket = Pieces { pieces, ..Pieces::default() };
        let mut guard = Guard::new(socket, short_way, Arc::clone(&wire), limits, Arc::default());
        let (mut all, mut buffer) = (Vec::new(), vec![0; room]);
        loop {
            let mut into = HyperBuf::new(&mut buffer);
            match Pin::new(&mut guard).poll_read(&mut Context::from_waker(Waker::noop()), into.unfilled()) {
                Poll::Ready(Ok(())) if !into.filled().is_empty() => all.extend_from_slice(into.filled()),
                _ => break,
            }
        }
        let written = String::from_utf8(guard.io.written).expect("text");
        (all, written, wire.refusal())
    }

    const REQUESTS: [&str; 9] = [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\nGET /b HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\nGET / HTTP/9\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\n\r\n\r\n0\r\n0\r\nT: u\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nwhatever",
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    ];

    proptest! {
        /// How a stream is divided into reads says nothing about what it means.
        #[test]
        fn division_into_reads_does_not_matter(
            order in proptest::collection::vec(0..REQUESTS.len(), 1..6),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
            room in 1_usize..200,
        ) {
            let stream: Vec<u8> = order.iter().flat_map(|at| REQUESTS[*at].bytes()).collect();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|pair| stream[pair[0]..pair[1]].to_vec());
            prop_assert_eq!(read(pieces, room), read([stream.clone()], 64 * 1024));
        }

        /// What passes is what came, up to the stand-in for what was refused.
        #[test]
        fn nothing_is_changed_that_passes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let (passed, refused) = read([bytes.clone()], 128);
            let passed = match refused {
                Some(_) => passed.strip_suffix(StandIn::HEAD).unwrap_or(&passed),
                None => &passed,
            };
            prop_assert!(bytes.starts_with(passed));
        }
    }

    #[test]
    fn what_came_before_a_bad_chunk_passes_however_it_was_divided() {
        let [head, body] = ["POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "5\nhello"];
        let expected = (format!("{head}5").into_bytes(), Some(Reason::BadRequest));
        let whole = [head, body].concat();
        for cut in 1..whole.len() {
            let (first, second) = whole.as_bytes().split_at(cut);
            assert_eq!(read([first.to_vec(), second.to_vec()], 4096), expected, "cut at {cut}");
        }
    }

    #[test]
    fn the_short_way_answers_in_order_until_hyper_has_something_to_do() {
        let head = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = |head: String| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len());
        let post = "POST /s HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
        for (stream, passed, written) in [
            ([head("/s1"), head("/s2")].concat(), String::new(), [head("/s1"), head("/s2")].map(answer).concat()),
            ([head("/s1"), head("/h")].concat(), head("/h"), answer(head("/s1"))),
            // Hyper has not answered the first, so the second waits behind it.
            ([head("/h"), head("/s")].concat(), [head("/h"), head("/s")].concat(), String::new()),
            (post.to_owned() + &head("/s"), post.to_owned() + &head("/s"), String::new()),
        ] {
            for cut in 0..stream.len() {
                let (first, second) = stream.as_bytes().split_at(cut);
                let served = serve(Answers("/s"), [first.to_vec(), second.to_vec()], 4096);
                assert_eq!(served, (passed.clone().into_bytes(), written.clone(), None), "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_refused_head_is_replaced_and_what_follows_is_forgotten() {
        let stream = [REQUESTS[0], REQUESTS[4], REQUESTS[0]].concat();
        let expected = [REQUESTS[0].as_bytes(), StandIn::HEAD].concat();
        assert_eq!(read([stream.into_bytes()], 4096), (expected, Some(Reason::BadRequest)));
    }
}
