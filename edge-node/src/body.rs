//! Bodies on their way through the node: from viewers to origins, and back.
//!
//! Each piece is handed on as it comes and only when the other side has room; a piece that does not come in time ends
//! the body with an error.

mod counted;
mod incoming;
mod shared;

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use cdn_core::{Counter, Counters, Reason, standard_log::Ending};
use http::{HeaderMap, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

pub(crate) use self::{
    counted::counted,
    incoming::{Http3Body, RequestBody},
    shared::{Reader, SharedBody, Subscription},
};
use crate::{
    access_log::Entry,
    connection::{InFlight, Wire},
    encode::Encoding,
    object::Following,
    pool::{Lease, Pool},
    respond::Refusal,
};

/// What became of a viewer's body, for whoever sent it on.
#[derive(Debug)]
pub(crate) struct BodyWatch {
    begun: AtomicBool,
    failure: OnceLock<Reason>,
    started: Instant,
    /// Nanoseconds after `started` at which the last piece went on.
    moved: AtomicU64,
    /// The viewer has sent no more yet.
    waiting: AtomicBool,
}

impl BodyWatch {
    fn new() -> Self {
        Self {
            begun: AtomicBool::new(false),
            failure: OnceLock::new(),
            started: Instant::now(),
            moved: AtomicU64::new(0),
            waiting: AtomicBool::new(false),
        }
    }

    /// Time since it last moved on; none while it waits for the viewer.
    pub(crate) fn still_for(&self) -> Duration {
        if self.waiting.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        self.started.elapsed().saturating_sub(Duration::from_nanos(self.moved.load(Ordering::Relaxed)))
    }

    fn on_moved(&self) {
        let nanos = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.moved.store(nanos, Ordering::Relaxed);
        self.waiting.store(false, Ordering::Relaxed);
    }

    /// Whether some of it has left for an origin, so that it cannot be sent again.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// Why the viewer's side of it failed.
    pub(crate) fn failure(&self) -> Option<Reason> {
        self.failure.get().copied()
    }
}

/// A viewer's body on its way to an origin.
#[derive(Debug)]
pub(crate) struct ViewerBody {
    incoming: RequestBody,
    idle: IdleTimer,
    watch: Arc<BodyWatch>,
    wire: Arc<Wire>,
}

impl ViewerBody {
    pub(crate) fn new(incoming: RequestBody, idle_timeout: Duration, wire: Arc<Wire>) -> Self {
        Self { incoming, idle: IdleTimer::new(idle_timeout), watch: Arc::new(BodyWatch::new()), wire }
    }

    pub(crate) fn watch(&self) -> Arc<BodyWatch> {
        Arc::clone(&self.watch)
    }
}

/// The body of a request to an origin or a cache between.
#[derive(Debug)]
pub(crate) enum OriginRequestBody {
    /// None.
    Empty,
    /// The viewer's.
    Viewer(Box<ViewerBody>),
}

impl Body for OriginRequestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Self::Viewer(body) = self.get_mut() else { return Poll::Ready(None) };
        let failure = match Pin::new(&mut body.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                body.idle.stop();
                body.watch.begun.store(true, Ordering::Relaxed);
                body.watch.on_moved();
                return Poll::Ready(Some(Ok(frame)));
            }
            Poll::Ready(None) => {
                body.watch.on_moved();
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Err(error))) if error.kind() == io::ErrorKind::InvalidData => Reason::BadRequest,
            Poll::Ready(Some(Err(_))) => body.wire.refusal().unwrap_or(Reason::ClientGone),
            Poll::Pending => {
                body.watch.waiting.store(true, Ordering::Relaxed);
                ready!(body.idle.poll(cx));
                Reason::BodyTimeout
            }
        };
        let _ = body.watch.failure.set(failure);
        Poll::Ready(Some(Err(io::Error::other(failure.as_str()))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Viewer(body) => body.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Viewer(body) => body.incoming.size_hint(),
        }
    }
}

/// A response's body as it comes from the origin, with its deadlines. Gives the connection back at its end.
#[derive(Debug)]
pub(crate) struct OriginBody {
    /// `None` once somebody else has it.
    incoming: Option<Incoming>,
    /// Through which it is compressed.
    encoding: Option<Box<Encoding>>,
    idle: IdleTimer,
    completion: Option<Pin<Box<Sleep>>>,
    home: Option<(Pool, Lease, Duration)>,
}

impl OriginBody {
    /// `home` is where the connection goes at the end, and for how long it is kept there.
    pub(crate) fn new(
        incoming: Incoming,
        idle_timeout: Duration,
        completion: Option<Instant>,
        home: (Pool, Lease, Duration),
    ) -> Self {
        let completion = completion.map(|deadline| Box::pin(tokio::time::sleep_until(deadline)));
        let ended = incoming.is_end_stream();
        let idle = IdleTimer::new(idle_timeout);
        let mut body = Self { incoming: Some(incoming), encoding: None, idle, completion, home: Some(home) };
        if ended {
            body.go_home();
        }
        body
    }

    /// A body without bytes, under which a tunnel goes on.
    pub(crate) const fn without_home(incoming: Incoming, idle_timeout: Duration) -> Self {
        let idle = IdleTimer::new(idle_timeout);
        Self { incoming: Some(incoming), encoding: None, idle, completion: None, home: None }
    }

    /// What stays where a body was taken.
    pub(crate) const fn none() -> Self {
        let idle = IdleTimer::new(Duration::ZERO);
        Self { incoming: None, encoding: None, idle, completion: None, home: None }
    }

    /// The length that the origin announced.
    pub(crate) fn announced(&self) -> Option<u64> {
        self.incoming.as_ref().map_or(Some(0), |incoming| incoming.size_hint().exact())
    }

    /// Whether its last byte has been read.
    fn is_at_end(&self) -> bool {
        self.encoding.is_none() && self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    /// From now on its bytes come compressed.
    pub(crate) fn encode(&mut self, encoding: Encoding) {
        self.encoding = Some(Box::new(encoding));
    }

    /// The next bytes; `None` at the end.
    pub(crate) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let Some(mut encoding) = self.encoding.take() else { return self.poll_incoming(cx) };
        let polled = encoding.poll_bytes(cx, |cx| self.poll_incoming(cx));
        self.encoding = Some(encoding);
        polled
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
            match Pin::new(&mut *incoming).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.idle.stop();
                    // Trailers end here: nobody behind a cache expects them.
                    if let Ok(bytes) = frame.into_data() {
                        // A reader that knows the length does not ask again after the last byte.
                        if incoming.is_end_stream() {
                            self.go_home();
                        }
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(io::Error::other(error)))),
                Poll::Ready(None) => {
                    self.go_home();
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    if let Some(completion) = &mut self.completion
                        && completion.as_mut().poll(cx).is_ready()
                    {
                        return Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())));
                    }
                    ready!(self.idle.poll(cx));
                    return Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())));
                }
            }
        }
    }

    fn go_home(&mut self) {
        if let Some((pool, lease, keep)) = self.home.take() {
            pool.put(lease, keep);
        }
    }
}

/// What a response to a viewer (or an edge) is read from.
#[derive(Debug)]
pub(crate) enum Source {
    Empty,
    Whole(Bytes),
    /// Pieces that are at hand, `left` bytes in all.
    Pieces {
        pieces: VecDeque<Bytes>,
        left: u64,
    },
    /// What somebody is fetching; `length` where the origin announced it.
    Shared {
        following: Following,
        length: Option<u64>,
        done: bool,
    },
    /// What somebody is fetching and pieces that are at hand, in order; `left` bytes in all.
    Spliced {
        stretches: VecDeque<Stretch>,
        left: u64,
    },
    /// Nothing but an early end.
    Truncated,
    /// Straight from the origin.
    Origin {
        body: Box<OriginBody>,
        done: bool,
    },
}

/// See [`Source::Spliced`].
#[derive(Debug)]
pub(crate) enum Stretch {
    /// It is at hand.
    Here(Bytes),
    /// It is arriving: what its reader is limited to, of which `left` bytes are to come.
    Arriving { following: Following, left: u64 },
}

impl Stretch {
    const fn left(&self) -> u64 {
        match self {
            Self::Here(bytes) => bytes.len() as u64,
            Self::Arriving { left, .. } => *left,
        }
    }
}

/// The body of a response, and everything that lasts as long as it.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    source: Source,
    sent: u64,
    accounts: Option<Accounts>,
}

/// What is settled when the last byte is out, or nobody wants it any more.
#[derive(Debug)]
pub(crate) struct Accounts {
    pub(crate) _in_flight: InFlight,
    pub(crate) counters: Arc<Counters>,
    /// The store had it.
    pub(crate) from_store: bool,
    /// The body ended before all of it was there.
    pub(crate) failed: bool,
    pub(crate) log: Option<Box<Entry>>,
}

impl ResponseBody {
    pub(crate) const fn new(source: Source) -> Self {
        Self { source, sent: 0, accounts: None }
    }

    pub(crate) fn empty() -> Self {
        Self::new(Source::Empty)
    }

    pub(crate) const fn truncated() -> Self {
        Self::new(Source::Truncated)
    }

    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::new(Source::Whole(bytes.into()))
    }

    /// Pieces that are at hand.
    pub(crate) fn pieces(mut pieces: VecDeque<Bytes>) -> Self {
        match (pieces.pop_front(), pieces.len()) {
            (None, _) => Self::empty(),
            (Some(only), 0) => Self::whole(only),
            (Some(first), _) => {
                pieces.push_front(first);
                let left = pieces.iter().map(|piece| piece.len() as u64).sum();
                Self::new(Source::Pieces { pieces, left })
            }
        }
    }

    /// What is at hand and what is arriving, in order.
    pub(crate) fn spliced(stretches: VecDeque<Stretch>) -> Self {
        let here = |stretch: &Stretch| if let Stretch::Here(bytes) = stretch { Some(bytes.clone()) } else { None };
        if let Some(pieces) = stretches.iter().map(here).collect() {
            return Self::pieces(pieces);
        }
        let left = stretches.iter().map(Stretch::left).sum();
        Self::new(Source::Spliced { stretches, left })
    }

    pub(crate) fn account(&mut self, accounts: Accounts) {
        self.accounts = Some(accounts);
    }

    /// Takes the bytes of another body in the place of its own, and keeps the accounts.
    pub(crate) fn replace(&mut self, mut other: Self) {
        self.source = std::mem::replace(&mut other.source, Source::Empty);
    }

    /// The response has another status and other headers by now.
    pub(crate) fn on_revised(&mut self, status: StatusCode, headers: &HeaderMap) {
        let length = self.size_hint().exact();
        if let Some(log) = self.accounts.as_mut().and_then(|accounts| accounts.log.as_mut()) {
            log.status = Some(status);
            if let Some(answered) = log.standard.as_mut().and_then(|standard| standard.answered.as_mut()) {
                let kind =
                    headers.get(header::CONTENT_TYPE).map(|kind| String::from_utf8_lossy(kind.as_bytes()).into());
                let length = length.filter(|length| *length > 0).map(|length| length.to_string());
                (answered.status, answered.content_type) = (Some(status), kind);
                answered.content_length = length.or_else(|| answered.content_length.take());
            }
        }
    }

    /// The response is an error page by now.
    pub(crate) fn on_refused(&mut self, refusal: Refusal, headers: &HeaderMap) {
        self.on_revised(refusal.status, headers);
        let Some(accounts) = &mut self.accounts else { return };
        accounts.from_store = false;
        if let Some(log) = &mut accounts.log {
            log.x_cache = refusal.x_cache().as_str();
            log.reason = refusal.reason.as_str();
            if let Some(answered) = log.standard.as_mut().and_then(|standard| standard.answered.as_mut()) {
                (answered.x_cache, answered.reason) = (refusal.x_cache(), refusal.reason);
            }
        }
    }

    /// Drops the bytes but keeps the accounts: the answer to HEAD.
    pub(crate) fn clear(&mut self) {
        self.source = Source::Empty;
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        match &mut self.source {
            Source::Empty => Poll::Ready(None),
            Source::Truncated => {
                self.source = Source::Empty;
                Poll::Ready(Some(Err(shared::Truncated.into())))
            }
            Source::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Source::Whole(bytes) => Poll::Ready(Some(Ok(std::mem::take(bytes)))),
            Source::Pieces { pieces, left } => {
                let piece = pieces.pop_front();
                *left -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
                Poll::Ready(piece.map(Ok))
            }
            Source::Shared { following, done, .. } => {
                let bytes = ready!(following.reader.poll_bytes(cx));
                *done |= bytes.is_none();
                Poll::Ready(bytes.map(|bytes| bytes.map_err(io::Error::from)))
            }
            Source::Spliced { stretches, left } => loop {
                let bytes = match stretches.front_mut() {
                    None => return Poll::Ready(None),
                    Some(Stretch::Here(bytes)) => std::mem::take(bytes),
                    Some(Stretch::Arriving { following, left }) => match ready!(following.reader.poll_bytes(cx)) {
                        Some(Ok(bytes)) => {
                            *left = left.saturating_sub(bytes.len() as u64);
                            bytes
                        }
                        Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                        // What follows belongs behind bytes that did not come.
                        None if *left > 0 => return Poll::Ready(Some(Err(shared::Truncated.into()))),
                        None => Bytes::new(),
                    },
                };
                if stretches.front().is_none_or(|stretch| stretch.left() == 0) {
                    stretches.pop_front();
                }
                if !bytes.is_empty() {
                    *left = left.saturating_sub(bytes.len() as u64);
                    return Poll::Ready(Some(Ok(bytes)));
                }
            },
            Source::Origin { body, done } => {
                let bytes = ready!(body.poll_bytes(cx));
                *done |= bytes.is_none();
                Poll::Ready(bytes)
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        let bytes = ready!(this.poll_source(cx));
        match (&bytes, &mut this.accounts) {
            (Some(Ok(bytes)), _) => this.sent += bytes.len() as u64,
            (Some(Err(_)), Some(accounts)) => accounts.failed = true,
            (Some(Err(_)), None) | (None, _) => {}
        }
        Poll::Ready(bytes.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Empty => true,
            Source::Truncated => false,
            Source::Whole(bytes) => bytes.is_empty(),
            Source::Pieces { left, .. } => *left == 0,
            Source::Spliced { left, .. } => *left == 0,
            // Nobody asks for more once the announced length is there.
            Source::Shared { done, length, .. } => *done || *length == Some(self.sent),
            Source::Origin { body, done } => *done || body.is_at_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Truncated => SizeHint::default(),
            Source::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Pieces { left, .. } => SizeHint::with_exact(*left),
            Source::Spliced { left, .. } => SizeHint::with_exact(*left),
            Source::Shared { length, .. } => {
                length.map_or_else(SizeHint::default, |length| SizeHint::with_exact(length.saturating_sub(self.sent)))
            }
            Source::Origin { body, .. } => {
                body.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
            }
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        let is_whole = self.is_end_stream();
        if let Some(accounts) = self.accounts.take() {
            accounts.counters.add(Counter::EdgeBytesSent, self.sent);
            if accounts.from_store {
                accounts.counters.add(Counter::EdgeBytesFromStore, self.sent);
            }
            if let Some(log) = accounts.log {
                let ending = match (is_whole, accounts.failed) {
                    (_, true) => Ending::CutShort,
                    (true, false) => Ending::Whole,
                    (false, false) => Ending::ViewerLeft,
                };
                log.write(self.sent, ending);
            }
        }
    }
}

/// Rings when nothing came for a while. Runs only while somebody waits.
#[derive(Debug)]
pub(crate) struct IdleTimer {
    limit: Duration,
    waiting: bool,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl IdleTimer {
    pub(crate) const fn new(limit: Duration) -> Self {
        Self { limit, waiting: false, sleep: None }
    }

    pub(crate) const fn stop(&mut self) {
        self.waiting = false;
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if !self.waiting {
            self.waiting = true;
            sleep.as_mut().reset(Instant::now() + limit);
        }
        sleep.as_mut().poll(cx)
    }
}
