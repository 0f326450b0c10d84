//! One connection: the bytes of both directions, and what its user, its socket and its faults have said so far.
//!
//! The user ([`crate::WanStream`]) and the pump ([`crate::pump`]) meet here under one short lock. Flows decide what
//! travels when; this file keeps the bytes in step with their counts and knows whom to wake.

use std::{
    io,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use cdn_core::{Counter, Instant};
use tokio::io::ReadBuf;
use world::{DropReason, Lane, Link, Return, TargetDisturbance, TcpFlow, TcpOptions, Verdict};

use crate::{
    queue::ByteQueue,
    route::{Core, Route},
    timer::{Alarm, lock},
};

/// Bytes of a packet without data.
const BARE_PACKET_BYTES: u64 = 40;

/// What user and pump share.
pub(crate) struct Conn {
    pub(crate) core: Arc<Core>,
    pub(crate) id: u64,
    route: Route,
    pub(crate) state: Mutex<State>,
}

/// See [`Conn`].
pub(crate) struct State {
    /// From the user to the target, and back.
    pub(crate) up: Pipe,
    pub(crate) down: Pipe,
    pub(crate) target: TargetDisturbance,
    /// Bytes from the target since faults count them.
    pub(crate) target_bytes: u64,
    pub(crate) user: User,
    /// A reset from the target is on its way to the user.
    pub(crate) reset: Option<Reset>,
    /// Why the user can do nothing more.
    pub(crate) broken: Option<io::ErrorKind>,
    /// The pump waits for room before it reads on.
    pub(crate) is_read_paused: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    pump: Option<Waker>,
    alarm: Option<Alarm>,
}

/// What the user has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    /// Reads and writes.
    Open,
    /// Has written its last byte.
    Shut,
    /// Has dropped the stream. What is left is delivered until then.
    Gone(Instant),
}

/// A reset on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reset {
    pub(crate) kind: io::ErrorKind,
    /// [`Instant::MAX`] while it cannot get through.
    pub(crate) at: Instant,
}

/// One direction: counts, bytes, and the link they cross.
pub(crate) struct Pipe {
    pub(crate) flow: TcpFlow,
    pub(crate) bytes: ByteQueue,
    link: Arc<Mutex<Link>>,
    back: Return,
    is_silent: bool,
}

impl Conn {
    /// A connection whose handshake is over; it hears of changed faults from now on. [`crate::pump::Pump`] must be
    /// spawned for it.
    pub(crate) fn build(core: Arc<Core>, route: Route, id: u64) -> Arc<Self> {
        let tcp = core.options.tcp;
        let state = State {
            up: Pipe::new(tcp, Arc::clone(&route.up)),
            down: Pipe::new(tcp, Arc::clone(&route.down)),
            target: TargetDisturbance::default(),
            target_bytes: 0,
            user: User::Open,
            reset: None,
            broken: None,
            is_read_paused: false,
            reader: None,
            writer: None,
            pump: None,
            alarm: None,
        };
        let conn = Arc::new(Self { core, id, route, state: Mutex::new(state) });
        conn.core.register(id, &conn);
        conn.core.counters.bump(Counter::WanConnections);
        // After registering, so that no change of faults falls between.
        conn.handle_overlay();
        conn
    }

    /// Faults may have changed.
    pub(crate) fn handle_overlay(&self) {
        let route = &self.route;
        let target = self.core.target(&route.from, route.target, self.id);
        let mut state = lock(&self.state);
        let state = &mut *state;
        let now = self.core.timer.now();
        state.up.catch_up(now);
        state.down.catch_up(now);

        let counted = |target: &TargetDisturbance| (target.truncate_after, target.stall_after, target.garbage_after);
        if counted(&target) != counted(&state.target) {
            state.target_bytes = 0;
        }
        state.target = target;
        let silent = Lane { is_blackhole: target.blackhole, ..Lane::default() };
        state.up.flow.set_lane(silent);
        state.down.flow.set_lane(Lane { latency: target.latency, throttle_bps: target.throttle_bps, ..silent });

        let ways = [&state.up, &state.down].map(|pipe| {
            let link = lock(&pipe.link);
            Return { one_way: link.one_way(), is_silent: link.is_partitioned() || target.blackhole }
        });
        let [up, down] = ways;
        let rtt = up.one_way + down.one_way;
        for (pipe, way, back) in [(&mut state.up, up, down), (&mut state.down, down, up)] {
            pipe.back = back;
            if way.is_silent && !pipe.is_silent {
                pipe.flow.handle_silence(now, rtt);
            }
            pipe.is_silent = way.is_silent;
        }
        if let Some(reset) = state.reset
            && (reset.at > now)
            && (down.is_silent || reset.at == Instant::MAX)
        {
            state.reset = None;
            state.send_reset(now, reset.kind);
        }
        state.wake_pump();
    }

    /// The user writes.
    pub(crate) fn poll_write(&self, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut state = lock(&self.state);
        if let Some(kind) = state.broken {
            return Poll::Ready(Err(kind.into()));
        }
        if state.user != User::Open {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let now = self.core.timer.now();
        state.up.catch_up(now);
        let mut room = usize::try_from(state.up.flow.room()).unwrap_or(usize::MAX);
        if room == 0 {
            remember(&mut state.writer, context.waker());
            return Poll::Pending;
        }
        let mut written = 0;
        for slice in slices {
            let part = slice.get(..room.min(slice.len())).unwrap_or_default();
            state.up.write(now, Bytes::copy_from_slice(part));
            written += part.len();
            room -= part.len();
        }
        self.core.counters.add(Counter::WanBytesUp, written as u64);
        state.arm(&self.core, now);
        Poll::Ready(Ok(written))
    }

    /// The user reads.
    pub(crate) fn poll_read(&self, context: &mut Context<'_>, target: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = lock(&self.state);
        let now = self.core.timer.now();
        state.down.catch_up(now);
        let count = state.down.read(now, target);
        if count > 0 {
            self.core.counters.add(Counter::WanBytesDown, count as u64);
            if state.is_read_paused && state.down.flow.room() > 0 {
                state.wake_pump();
            } else {
                state.arm(&self.core, now);
            }
            return Poll::Ready(Ok(()));
        }
        if target.remaining() == 0 || state.down.flow.is_ended() {
            return Poll::Ready(Ok(()));
        }
        if let Some(kind) = state.broken {
            return Poll::Ready(Err(kind.into()));
        }
        remember(&mut state.reader, context.waker());
        Poll::Pending
    }

    /// The user has written its last byte.
    pub(crate) fn shut(&self) {
        let mut state = lock(&self.state);
        if state.user == User::Open {
            state.user = User::Shut;
            let now = self.core.timer.now();
            state.up.end(now);
            state.arm(&self.core, now);
        }
    }

    /// The user has dropped the stream: what it wrote still travels, what travels to it is nobody's.
    pub(crate) fn leave(&self) {
        let mut state = lock(&self.state);
        let now = self.core.timer.now();
        state.user = User::Gone(now + self.core.options.linger_max);
        state.up.end(now);
        state.down.bytes.clear();
        state.reader = None;
        state.writer = None;
        state.wake_pump();
    }
}

impl State {
    /// The pump is being polled; from now on this wakes it.
    pub(crate) fn on_pump(&mut self, context: &Context<'_>, now: Instant) {
        remember(&mut self.pump, context.waker());
        // A due alarm has done its duty, even if it has yet to go off.
        self.alarm = self.alarm.filter(|alarm| alarm.at > now);
    }

    /// The pump has ended.
    pub(crate) fn on_pump_end(&mut self, core: &Core) {
        self.pump = None;
        if let Some(alarm) = self.alarm.take() {
            core.timer.cancel(alarm);
        }
        self.wake_user();
    }

    /// The target resets the connection.
    pub(crate) fn send_reset(&mut self, now: Instant, kind: io::ErrorKind) {
        if self.reset.is_some() {
            return;
        }
        let mut link = lock(&self.down.link);
        let verdict = if self.target.blackhole {
            Verdict::Drop(DropReason::Blackhole)
        } else {
            link.send(now, BARE_PACKET_BYTES)
        };
        let at = match verdict {
            Verdict::Deliver(at) => at,
            Verdict::Drop(reason) if reason.is_silence() => Instant::MAX,
            // What the user sends next provokes another one.
            Verdict::Drop(_) => now + self.down.back.one_way + link.one_way() * 2,
        };
        drop(link);
        self.reset = Some(Reset { kind, at });
    }

    /// Wakes the user for whatever it can do now.
    pub(crate) fn wake_user(&mut self) {
        let is_broken = self.broken.is_some();
        if is_broken || self.down.flow.unread() > 0 || self.down.flow.is_ended() {
            self.reader.take().into_iter().for_each(Waker::wake);
        }
        if is_broken || self.up.flow.room() > 0 {
            self.writer.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Sets the alarm for what happens next.
    pub(crate) fn arm(&mut self, core: &Core, now: Instant) {
        let Some(pump) = &self.pump else { return };
        let next = self.poll_timeout().filter(|at| *at < Instant::MAX);
        if let Some(alarm) = self.alarm {
            // A due alarm is about to wake the pump, which may have to act on what the caller has just caught up with.
            if next == Some(alarm.at) || alarm.at <= now {
                return;
            }
            core.timer.cancel(alarm);
        }
        self.alarm = match next {
            Some(at) if at <= now => {
                pump.wake_by_ref();
                None
            }
            Some(at) => Some(core.timer.set(at, pump.clone())),
            None => None,
        };
    }

    /// When the pump must look again.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let reset = self.reset.map(|reset| reset.at);
        let linger = match self.user {
            User::Gone(until) => Some(until),
            User::Open | User::Shut => None,
        };
        let down = if linger.is_some() { None } else { self.down.flow.poll_timeout() };
        [self.up.flow.poll_timeout(), down, reset, linger].into_iter().flatten().min()
    }

    fn wake_pump(&self) {
        if let Some(pump) = &self.pump {
            pump.wake_by_ref();
        }
    }
}

impl Pipe {
    fn new(options: TcpOptions, link: Arc<Mutex<Link>>) -> Self {
        Self {
            flow: TcpFlow::new(options),
            bytes: ByteQueue::default(),
            link,
            back: Return::default(),
            is_silent: false,
        }
    }

    /// Lets everything happen that is due.
    pub(crate) fn catch_up(&mut self, now: Instant) {
        if self.flow.poll_timeout().is_some_and(|at| at <= now) {
            self.flow.handle_timeout(now, &mut lock(&self.link), self.back);
        }
    }

    /// The writing end hands over bytes.
    pub(crate) fn write(&mut self, now: Instant, bytes: Bytes) {
        if !bytes.is_empty() {
            self.flow.handle_write(now, bytes.len() as u64, &mut lock(&self.link), self.back);
            self.bytes.push(bytes);
        }
    }

    /// The writing end has written its last byte.
    pub(crate) fn end(&mut self, now: Instant) {
        self.flow.handle_end(now, &mut lock(&self.link), self.back);
    }

    /// Bytes that the reading end may take.
    pub(crate) fn readable(&self) -> usize {
        usize::try_from(self.flow.unread()).unwrap_or(usize::MAX)
    }

    /// The reading end takes what is there and fits; how much that was.
    fn read(&mut self, now: Instant, target: &mut ReadBuf<'_>) -> usize {
        let count = self.bytes.copy_to(target, self.readable());
        self.took(now, count);
        count
    }

    /// The reading end has taken `count` bytes off the flow, if not already off the queue.
    pub(crate) fn took(&mut self, now: Instant, count: usize) {
        if count > 0 {
            self.flow.handle_read(now, count as u64, &mut lock(&self.link), self.back);
        }
    }
}

/// Keeps a waker, without cloning the one that is kept already.
fn remember(kept: &mut Option<Waker>, waker: &Waker) {
    match kept {
        Some(kept) => kept.clone_from(waker),
        None => *kept = Some(waker.clone()),
    }
}
