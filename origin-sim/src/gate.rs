//! Faults laid over somebody's own app: a stream that behaves like the app's, except where a rule says otherwise.
//!
//! [`gate`] stands between a client and an app's connection and passes bytes on as they are, in both directions and at
//! the pace of the slower side. It reads along to know where messages begin and end ([`crate::framing`]), and changes
//! nothing that no rule asks for. After an upgrade (WebSocket, CONNECT), or when the bytes stop being HTTP/1.1, it only
//! passes on. Knows no addresses but the peer's it is told; links and distances are laid over it by others.

use std::{
    future::pending,
    io,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, Bytes, BytesMut};
use cdn_core::Counter;
use http::StatusCode;
use tokio::{
    io::{
        AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf, ReadHalf, WriteHalf,
        duplex, split,
    },
    sync::{mpsc, oneshot},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    faults::{Ending, How, Opened, SharedFaults},
    framing::{self, Asked, BodyScanner, Framing, Parsed, RequestHead, ResponseKind},
    pace::Pace,
    serve::GARBAGE,
};

/// Bytes that wait between the client and the gate, in each direction.
const PIPE_BYTES: usize = 64 << 10;
/// Bytes that are read at once.
const READ_BYTES: usize = 16 << 10;
/// Requests of one connection that may be under way at once; more wait.
const PIPELINED_MAX: usize = 16;
/// How long the last bytes of a client that has gone may take to reach the app.
const LINGER: Duration = Duration::from_secs(1);

/// The client's end of a [`gate`].
#[derive(Debug)]
pub struct GateStream {
    stream: DuplexStream,
    /// The other end was reset rather than closed.
    reset: Arc<AtomicBool>,
    _gone: DropGuard,
}

/// Lays `faults` over `upstream`, a connection to an app that was made for a client at `peer`.
///
/// The gate works until both sides are done, or until the returned stream is dropped. Must be called within a tokio
/// runtime. Faults that end a connection show on the returned stream as they would on a socket: a reset is
/// [`io::ErrorKind::ConnectionReset`], a refusal the same at the first read or write.
pub fn gate<S>(upstream: S, faults: &SharedFaults, peer: IpAddr) -> GateStream
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (near, far) = duplex(PIPE_BYTES);
    let reset = Arc::new(AtomicBool::new(false));
    let gone = CancellationToken::new();
    faults.counters().bump(Counter::OriginGateConnections);
    match faults.handle_open(peer) {
        None => reset.store(true, Ordering::Release),
        Some(opened) => {
            let gate = Gate { faults: faults.clone(), peer, opened, reset: Arc::clone(&reset) };
            tokio::spawn(gate.run(upstream, far, gone.clone()));
        }
    }
    GateStream { stream: near, reset, _gone: gone.drop_guard() }
}

struct Gate {
    faults: SharedFaults,
    peer: IpAddr,
    opened: Opened,
    reset: Arc<AtomicBool>,
}

/// What the client is to see next, in the order of its requests.
enum Exchange {
    /// The app's response.
    Forwarded {
        asked: Asked,
        bits_per_s: Option<u64>,
        /// Truncate or stall.
        ending: Option<Ending>,
        /// Told whether the connection stopped being HTTP; dropped if not.
        switched: Option<oneshot::Sender<()>>,
    },
    /// A response of the gate's own.
    Own { response: Bytes, close: bool },
    /// No response: reset, garbage or black hole.
    Ended(Ending),
}

impl Gate {
    async fn run<S: AsyncRead + AsyncWrite>(self, upstream: S, client: DuplexStream, gone: CancellationToken) {
        let (from_upstream, to_upstream) = split(upstream);
        let (from_client, to_client) = split(client);
        let (exchanges, exchanges_out) = mpsc::channel(PIPELINED_MAX);
        tokio::select! {
            () = self.pass_responses(from_upstream, to_client, exchanges_out) => {}
            // A client that only said that it will send no more may still wait for its answer.
            () = async { self.pass_requests(from_client, to_upstream, exchanges).await; gone.cancelled().await } => {}
            () = async { gone.cancelled().await; sleep(LINGER).await } => {}
        }
    }

    /// The way from the client to the app. Ends when the client will send no more.
    async fn pass_requests<S: AsyncWrite>(
        &self,
        mut client: ReadHalf<DuplexStream>,
        mut upstream: WriteHalf<S>,
        exchanges: mpsc::Sender<Exchange>,
    ) {
        let mut buffer = BytesMut::new();
        let outcome = self.pass_each_request(&mut client, &mut upstream, &mut buffer, &exchanges).await;
        drop(exchanges);
        match outcome {
            Ok(Next::Nothing) => {}
            Ok(Next::Tunnel) => {
                self.faults.counters().bump(Counter::OriginGateOpaque);
                if tunnel(&mut buffer, &mut client, &mut upstream).await.is_err() {
                    discard(&mut client).await;
                }
            }
            Ok(Next::Discard) => discard(&mut client).await,
            Err(error) => {
                // A socket tells of its reset once: to whoever asks first. Reading, it now looks closed.
                if error.kind() == io::ErrorKind::ConnectionReset {
                    self.reset.store(true, Ordering::Release);
                }
                // The app takes no more; what it has already said decides what the client sees.
                discard(&mut client).await;
            }
        }
        let _ = upstream.shutdown().await;
    }

    async fn pass_each_request<S: AsyncWrite>(
        &self,
        client: &mut ReadHalf<DuplexStream>,
        upstream: &mut WriteHalf<S>,
        buffer: &mut BytesMut,
        exchanges: &mpsc::Sender<Exchange>,
    ) -> io::Result<Next> {
        loop {
            let head = match read_head(client, buffer, framing::request).await? {
                Read::Head(head) => head,
                Read::Opaque => return Ok(Next::Tunnel),
                Read::End => {
                    upstream.write_all(buffer).await?;
                    return Ok(Next::Nothing);
                }
            };
            self.faults.counters().bump(Counter::OriginGateRequests);
            let plan = self.faults.handle_request(self.opened, self.peer, &head.path);
            if !plan.delay.is_zero() {
                sleep(plan.delay).await;
            }
            let RequestHead { length, asked, framing, may_switch, expects_continue, .. } = head;
            match plan.ending {
                Some(ending) if matches!(ending.how, How::Reset | How::Garbage | How::Blackhole) => {
                    let _ = exchanges.send(Exchange::Ended(ending)).await;
                    return Ok(Next::Discard);
                }
                Some(Ending { how: How::Status(status), .. }) => {
                    buffer.advance(length.min(buffer.len()));
                    // Whether the body still comes is open when the client asked first, so the connection ends.
                    let close = expects_continue;
                    if !close {
                        let scanner = BodyScanner::new(framing);
                        pass_body(scanner, buffer, client, &mut tokio::io::sink()).await?;
                    }
                    let _ = exchanges.send(Exchange::Own { response: own_response(status, asked, close), close }).await;
                    if close {
                        return Ok(Next::Discard);
                    }
                }
                ending => {
                    let (switched, has_switched) = may_switch.then(oneshot::channel).unzip();
                    let exchange = Exchange::Forwarded { asked, bits_per_s: plan.bits_per_s, ending, switched };
                    // Announced first: the app may be quick.
                    let _ = exchanges.send(exchange).await;
                    upstream.write_all_buf(&mut buffer.split_to(length.min(buffer.len()))).await?;
                    upstream.flush().await?;
                    match pass_body(BodyScanner::new(framing), buffer, client, upstream).await? {
                        Passed::Whole => {}
                        Passed::Opaque => return Ok(Next::Tunnel),
                        Passed::Cut => return Ok(Next::Nothing),
                    }
                    if let Some(has_switched) = has_switched
                        && has_switched.await.is_ok()
                    {
                        return Ok(Next::Tunnel);
                    }
                }
            }
        }
    }

    /// The way from the app to the client. Returning ends the gate: both sides are closed.
    async fn pass_responses<S: AsyncRead>(
        &self,
        mut upstream: ReadHalf<S>,
        mut client: WriteHalf<DuplexStream>,
        mut exchanges: mpsc::Receiver<Exchange>,
    ) {
        match self.pass_each_response(&mut upstream, &mut client, &mut exchanges).await {
            Ok(Last::Closed) => {}
            Ok(Last::UpstreamEnded) if self.reset.load(Ordering::Acquire) => {}
            // The app will send no more, and may still listen.
            Ok(Last::UpstreamEnded) => {
                let _ = client.shutdown().await;
                pending::<()>().await;
            }
            Ok(Last::Reset) | Err(Failed::Upstream) => self.reset.store(true, Ordering::Release),
            // The client is gone; its last bytes may still be on their way to the app.
            Err(Failed::Client) => pending::<()>().await,
        }
    }

    async fn pass_each_response<S: AsyncRead>(
        &self,
        upstream: &mut ReadHalf<S>,
        client: &mut WriteHalf<DuplexStream>,
        exchanges: &mut mpsc::Receiver<Exchange>,
    ) -> Result<Last, Failed> {
        let mut buffer = BytesMut::new();
        let mut open = true;
        loop {
            buffer.reserve(READ_BYTES);
            let exchange = tokio::select! {
                biased;
                exchange = exchanges.recv(), if open => exchange,
                // Bytes that answer no request: the app hangs up, or speaks without being asked.
                () = std::future::ready(()), if !buffer.is_empty() => return pass_rest(buffer, upstream, client).await,
                read = upstream.read_buf(&mut buffer) => match read.map_err(|_| Failed::Upstream)? {
                    0 => return Ok(Last::UpstreamEnded),
                    _ => continue,
                },
            };
            match exchange {
                None => open = false,
                Some(Exchange::Own { response, close }) => {
                    client.write_all(&response).await.map_err(|_| Failed::Client)?;
                    if close {
                        return self.close(client).await;
                    }
                }
                Some(Exchange::Ended(ending)) => match ending.how {
                    How::Reset => return Ok(Last::Reset),
                    How::Garbage => {
                        client.write_all(GARBAGE).await.map_err(|_| Failed::Client)?;
                        return self.close(client).await;
                    }
                    _ => {
                        self.faults.lifted(&ending.armed).await;
                        return self.close(client).await;
                    }
                },
                Some(Exchange::Forwarded { asked, bits_per_s, ending, switched }) => {
                    let framing = match pass_interim(asked, &mut buffer, upstream, client).await? {
                        Interim::Final { length, framing } => (length, framing),
                        Interim::Switched => {
                            if let Some(switched) = switched {
                                let _ = switched.send(());
                            }
                            return pass_rest(buffer, upstream, client).await;
                        }
                        Interim::Opaque => return pass_rest(buffer, upstream, client).await,
                    };
                    drop(switched);
                    let (length, framing) = framing;
                    if let Some(ending) = ending {
                        pass_half(length, framing, &mut buffer, upstream, client).await?;
                        if ending.how == How::Stall {
                            self.faults.lifted(&ending.armed).await;
                        }
                        return self.close(client).await;
                    }
                    let head = buffer.split_to(length.min(buffer.len()));
                    client.write_all(&head).await.map_err(|_| Failed::Client)?;
                    let mut scanner = BodyScanner::new(framing);
                    let mut pace = bits_per_s.map(|bits_per_s| Pace::starting(bits_per_s, Instant::now()));
                    while !scanner.is_done() {
                        if buffer.is_empty() && fill(upstream, &mut buffer).await? == 0 {
                            return Ok(Last::UpstreamEnded);
                        }
                        let Ok(length) = scanner.scan(&buffer) else {
                            return pass_rest(buffer, upstream, client).await;
                        };
                        write_paced(buffer.split_to(length), &mut pace, client).await?;
                    }
                }
            }
        }
    }

    async fn close(&self, client: &mut WriteHalf<DuplexStream>) -> Result<Last, Failed> {
        let _ = client.shutdown().await;
        Ok(Last::Closed)
    }
}

/// What is to be done with the client's bytes after its last request.
enum Next {
    Nothing,
    Tunnel,
    Discard,
}

/// Why there are no more responses.
enum Last {
    UpstreamEnded,
    Closed,
    Reset,
}

/// Which side failed.
enum Failed {
    Upstream,
    Client,
}

enum Read<T> {
    Head(T),
    Opaque,
    End,
}

enum Passed {
    Whole,
    /// The body is not framed as its head says.
    Opaque,
    /// The stream ended within the body.
    Cut,
}

enum Interim {
    Final { length: usize, framing: Framing },
    Switched,
    Opaque,
}

/// Reads until a head stands at the start of `buffer`.
async fn read_head<T>(
    from: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    parse: impl Fn(&[u8]) -> Parsed<T>,
) -> io::Result<Read<T>> {
    loop {
        if !buffer.is_empty() {
            match parse(buffer) {
                Parsed::Head(head) => return Ok(Read::Head(head)),
                Parsed::Opaque => return Ok(Read::Opaque),
                Parsed::Incomplete => {}
            }
        }
        buffer.reserve(READ_BYTES);
        if from.read_buf(buffer).await? == 0 {
            return Ok(Read::End);
        }
    }
}

/// Passes on a body and leaves what follows it in `buffer`.
async fn pass_body(
    mut scanner: BodyScanner,
    buffer: &mut BytesMut,
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<Passed> {
    while !scanner.is_done() {
        if buffer.is_empty() {
            buffer.reserve(READ_BYTES);
            if from.read_buf(buffer).await? == 0 {
                return Ok(Passed::Cut);
            }
        }
        let Ok(length) = scanner.scan(buffer) else { return Ok(Passed::Opaque) };
        to.write_all_buf(&mut buffer.split_to(length)).await?;
        to.flush().await?;
    }
    Ok(Passed::Whole)
}

/// Passes on informational responses up to the head of the final one, which is left in `buffer`.
async fn pass_interim(
    asked: Asked,
    buffer: &mut BytesMut,
    upstream: &mut (impl AsyncRead + Unpin),
    client: &mut WriteHalf<DuplexStream>,
) -> Result<Interim, Failed> {
    loop {
        let read = read_head(upstream, buffer, |bytes| framing::response(bytes, asked)).await;
        let head = match read.map_err(|_| Failed::Upstream)? {
            Read::Head(head) => head,
            Read::Opaque | Read::End => return Ok(Interim::Opaque),
        };
        match head.kind {
            ResponseKind::Final(framing) => return Ok(Interim::Final { length: head.length, framing }),
            ResponseKind::Switched => return Ok(Interim::Switched),
            ResponseKind::Interim => {
                let interim = buffer.split_to(head.length.min(buffer.len()));
                client.write_all(&interim).await.map_err(|_| Failed::Client)?;
            }
        }
    }
}

/// Passes on a head and half of its body, or half of the first bytes where the length is not known. What has no body has
/// no half of it: then not even the head is passed on.
async fn pass_half(
    head_length: usize,
    framing: Framing,
    buffer: &mut BytesMut,
    upstream: &mut (impl AsyncRead + Unpin),
    client: &mut WriteHalf<DuplexStream>,
) -> Result<(), Failed> {
    if framing == Framing::Length(0) {
        return Ok(());
    }
    let head = buffer.split_to(head_length.min(buffer.len()));
    client.write_all(&head).await.map_err(|_| Failed::Client)?;
    if buffer.is_empty() {
        fill(upstream, buffer).await?;
    }
    let mut left = match framing {
        Framing::Length(length) => length / 2,
        Framing::Chunked | Framing::UntilClose => buffer.len() as u64 / 2,
    };
    while left > 0 {
        if buffer.is_empty() && fill(upstream, buffer).await? == 0 {
            break;
        }
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        left -= length as u64;
        client.write_all(&buffer.split_to(length)).await.map_err(|_| Failed::Client)?;
    }
    Ok(())
}

/// Passes on everything that still comes from the app.
async fn pass_rest(
    mut buffer: BytesMut,
    upstream: &mut (impl AsyncRead + Unpin),
    client: &mut WriteHalf<DuplexStream>,
) -> Result<Last, Failed> {
    loop {
        client.write_all_buf(&mut buffer).await.map_err(|_| Failed::Client)?;
        if fill(upstream, &mut buffer).await? == 0 {
            return Ok(Last::UpstreamEnded);
        }
    }
}

async fn fill(upstream: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) -> Result<usize, Failed> {
    buffer.reserve(READ_BYTES);
    upstream.read_buf(buffer).await.map_err(|_| Failed::Upstream)
}

async fn write_paced(
    mut bytes: BytesMut,
    pace: &mut Option<Pace>,
    client: &mut WriteHalf<DuplexStream>,
) -> Result<(), Failed> {
    while let Some(pace) = pace
        && !bytes.is_empty()
    {
        let step = bytes.split_to(pace.step_bytes().min(bytes.len()));
        sleep_until(pace.handle_step(step.len())).await;
        client.write_all(&step).await.map_err(|_| Failed::Client)?;
    }
    client.write_all(&bytes).await.map_err(|_| Failed::Client)
}

async fn tunnel(
    buffer: &mut BytesMut,
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    loop {
        to.write_all_buf(buffer).await?;
        to.flush().await?;
        buffer.reserve(READ_BYTES);
        if from.read_buf(buffer).await? == 0 {
            return Ok(());
        }
    }
}

/// Reads and forgets, until the other side will send no more.
async fn discard(from: &mut (impl AsyncRead + Unpin)) {
    let _ = tokio::io::copy(from, &mut tokio::io::sink()).await;
}

/// The answer to a request that never reaches the app.
fn own_response(status: StatusCode, asked: Asked, close: bool) -> Bytes {
    let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED);
    let text = if bodiless { String::new() } else { format!("{status}, because a fault was asked for\n") };
    let length = match status {
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => String::new(),
        _ => format!("content-length: {}\r\n", text.len()),
    };
    let connection = if close { "connection: close\r\n" } else { "" };
    let body = if asked == Asked::Head { "" } else { text.as_str() };
    let (code, phrase) = (status.as_str(), status.canonical_reason().unwrap_or(""));
    let date = httpdate::fmt_http_date(std::time::SystemTime::now());
    Bytes::from(format!(
        "HTTP/1.1 {code} {phrase}\r\ndate: {date}\r\ncontent-type: text/plain; charset=utf-8\r\n{length}{connection}\
         x-origin-fault: status\r\n\r\n{body}"
    ))
}

impl GateStream {
    fn is_reset(&self) -> bool {
        self.reset.load(Ordering::Acquire)
    }
}

impl AsyncRead for GateStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() == before && buf.remaining() > 0 && self.is_reset() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for GateStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match ready!(Pin::new(&mut self.stream).poll_write(cx, buf)) {
            Err(_) if self.is_reset() => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            written => Poll::Ready(written),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
