//! Datagrams over links: delayed, reordered by jitter, and really lost.
//!
//! A task owns the socket, as with connections, so that what was sent travels while its sender does something else and
//! what arrives is timed when it arrives.

use std::{
    collections::BTreeMap,
    fmt,
    future::{Future, poll_fn},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use cdn_core::{Counter, Instant};
use tokio::{io::ReadBuf, net::UdpSocket};
use world::{DropReason, SiteId, Verdict};

use crate::{
    queue::with_scratch,
    route::Core,
    timer::{Alarm, lock},
};

/// What IP and UDP add to a datagram.
const HEADER_BYTES: u64 = 28;
/// The largest datagram.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// A datagram socket at a site.
///
/// One task may receive at a time. Dropping it lets what was sent arrive.
pub struct WanUdp {
    shared: Arc<Shared>,
    local: SocketAddr,
}

struct Shared {
    core: Arc<Core>,
    from: SiteId,
    /// The socket's own seed of chance, for faults with a rate.
    id: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// In the order of arrival; the number tells equal moments apart.
    outgoing: BTreeMap<(Instant, u64), (Bytes, SocketAddr)>,
    incoming: BTreeMap<(Instant, u64), (Bytes, SocketAddr)>,
    next: u64,
    reader: Option<Waker>,
    pump: Option<Waker>,
    alarm: Option<Alarm>,
    is_gone: bool,
    broken: Option<io::ErrorKind>,
}

impl WanUdp {
    pub(crate) fn bind(core: Arc<Core>, from: SiteId, source: Option<IpAddr>) -> io::Result<Self> {
        let source = source.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let socket = std::net::UdpSocket::bind((source, 0))?;
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket)?;
        let local = socket.local_addr()?;
        let id = core.connection_id();
        let shared = Arc::new(Shared { core, from, id, state: Mutex::default() });
        tokio::spawn(Pump { shared: Arc::clone(&shared), socket });
        Ok(Self { shared, local })
    }

    /// Where the socket is bound on this machine.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Sends a datagram on its way. Nobody says whether it arrives.
    ///
    /// # Errors
    ///
    /// `NotFound` for an address that no site owns, `InvalidInput` for a datagram that no socket would take.
    pub fn send_to(&self, bytes: &[u8], target: SocketAddr) -> io::Result<usize> {
        let Shared { core, from, id, .. } = &*self.shared;
        if bytes.len() > DATAGRAM_BYTES_MAX - HEADER_BYTES as usize {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let route = core.route(from, target).ok_or(io::ErrorKind::NotFound)?;
        let faults = core.target(from, target, *id);
        let mut state = lock(&self.shared.state);
        if let Some(kind) = state.broken {
            return Err(kind.into());
        }
        core.counters.bump(Counter::WanDatagramsUp);
        let verdict = if faults.blackhole || faults.refuse {
            Verdict::Drop(DropReason::Blackhole)
        } else if state.outgoing.len() >= core.options.datagrams_max {
            Verdict::Drop(DropReason::QueueFull)
        } else {
            lock(&route.up).send(core.timer.now(), bytes.len() as u64 + HEADER_BYTES)
        };
        match verdict {
            Verdict::Deliver(at) => {
                let key = (at, state.number());
                state.outgoing.insert(key, (Bytes::copy_from_slice(bytes), target));
                state.arm(core, at);
            }
            Verdict::Drop(reason) => core.count_drop(reason),
        }
        Ok(bytes.len())
    }

    /// Receives the next datagram that has arrived; what does not fit is cut off, as sockets do.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub async fn recv_from(&self, target: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        poll_fn(|context| self.poll_recv_from(context, target)).await
    }

    /// The same for who polls.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn poll_recv_from(&self, context: &Context<'_>, target: &mut [u8]) -> Poll<io::Result<(usize, SocketAddr)>> {
        let core = &self.shared.core;
        let mut state = lock(&self.shared.state);
        let now = core.timer.now();
        if let Some(first) = state.incoming.first_entry()
            && first.key().0 <= now
        {
            let (bytes, from) = first.remove();
            core.counters.bump(Counter::WanDatagramsDown);
            let count = bytes.len().min(target.len());
            if let (Some(target), Some(bytes)) = (target.get_mut(..count), bytes.get(..count)) {
                target.copy_from_slice(bytes);
            }
            return Poll::Ready(Ok((count, from)));
        }
        if let Some(kind) = state.broken {
            return Poll::Ready(Err(kind.into()));
        }
        state.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for WanUdp {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        state.is_gone = true;
        state.incoming.clear();
        if let Some(pump) = &state.pump {
            pump.wake_by_ref();
        }
    }
}

impl fmt::Debug for WanUdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WanUdp").field("from", &self.shared.from).field("local", &self.local).finish_non_exhaustive()
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Sees to it that the pump looks again at `at`, if that is sooner than it would.
    fn arm(&mut self, core: &Core, at: Instant) {
        let Some(pump) = &self.pump else { return };
        if let Some(alarm) = self.alarm {
            if alarm.at <= at {
                return;
            }
            core.timer.cancel(alarm);
        }
        self.alarm = Some(core.timer.set(at, pump.clone()));
    }

    /// The first arrival after `now`. What has arrived waits for the socket or for its reader, not for the clock.
    fn next_arrival(&self, now: Instant) -> Option<Instant> {
        let after = (now, u64::MAX)..;
        let incoming = self.incoming.range(after.clone()).next();
        let outgoing = self.outgoing.range(after).next();
        [incoming, outgoing].into_iter().flatten().map(|((at, _), _)| *at).min()
    }
}

struct Pump {
    shared: Arc<Shared>,
    socket: UdpSocket,
}

impl Pump {
    /// Takes everything that the socket holds.
    fn receive(&self, state: &mut State, context: &mut Context<'_>) -> io::Result<()> {
        let Shared { core, from, id, .. } = &*self.shared;
        loop {
            let poll = with_scratch(|scratch| {
                let mut target = ReadBuf::new(scratch);
                let sender = ready!(self.socket.poll_recv_from(context, &mut target))?;
                Poll::Ready(io::Result::Ok((Bytes::copy_from_slice(target.filled()), sender)))
            });
            let (bytes, sender) = match poll {
                Poll::Ready(Ok(received)) => received,
                // A word from an earlier datagram's target, not about this one.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(()),
            };
            let Some(route) = core.route(from, sender) else { continue };
            let faults = core.target(from, sender, *id);
            let verdict = if faults.blackhole {
                Verdict::Drop(DropReason::Blackhole)
            } else if state.incoming.len() >= core.options.datagrams_max {
                Verdict::Drop(DropReason::QueueFull)
            } else {
                lock(&route.down).send(core.timer.now(), bytes.len() as u64 + HEADER_BYTES)
            };
            match verdict {
                Verdict::Deliver(at) => {
                    let key = (at + faults.latency, state.number());
                    state.incoming.insert(key, (bytes, sender));
                }
                Verdict::Drop(reason) => core.count_drop(reason),
            }
        }
    }
}

impl Future for Pump {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let shared = Arc::clone(&this.shared);
        let mut state = lock(&shared.state);
        state.pump = Some(context.waker().clone());
        let now = shared.core.timer.now();
        while let Some(first) = state.outgoing.first_entry()
            && first.key().0 <= now
        {
            let (bytes, target) = first.get();
            // An error is about this datagram or an earlier one: on a real machine, too, it would be lost.
            if this.socket.poll_send_to(context, bytes, *target).is_pending() {
                break;
            }
            first.remove();
        }
        if state.is_gone {
            if state.outgoing.is_empty() {
                return Poll::Ready(());
            }
        } else if let Err(error) = this.receive(&mut state, context) {
            state.broken = Some(error.kind());
        }
        let has_arrived = state.incoming.first_key_value().is_some_and(|((at, _), _)| *at <= now);
        if has_arrived || state.broken.is_some() {
            state.reader.take().into_iter().for_each(Waker::wake);
        }
        if state.broken.is_some() {
            return Poll::Ready(());
        }
        if let Some(alarm) = state.alarm.take() {
            shared.core.timer.cancel(alarm);
        }
        if let Some(at) = state.next_arrival(now) {
            state.arm(&shared.core, at);
        }
        Poll::Pending
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        state.pump = None;
        state.broken.get_or_insert(io::ErrorKind::ConnectionAborted);
        if let Some(alarm) = state.alarm.take() {
            self.shared.core.timer.cancel(alarm);
        }
        state.reader.take().into_iter().for_each(Waker::wake);
    }
}
