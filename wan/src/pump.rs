//! The task that keeps one connection's bytes moving while its user does something else, or is gone.
//!
//! It owns the socket: bytes that have crossed the link go into it, bytes that come out of it enter the link at the
//! moment they are seen. It is woken by the socket, by the alarm and by changed faults; while a connection is idle it
//! holds no buffer. A task per connection, because arrival must be timed whether or not the user is listening, and
//! because a response that was written before its connection was dropped still has to arrive.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use cdn_core::{Counter, Instant};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use crate::{
    conn::{Conn, State, User},
    queue::{READ_BYTES, with_scratch},
    raw::BoxRaw,
    timer::lock,
};

/// Pieces written at once.
const SLICES: usize = 16;

/// See the module.
pub(crate) struct Pump {
    conn: Arc<Conn>,
    socket: Socket,
    is_over: bool,
    drops_counted: u64,
}

struct Socket {
    raw: BoxRaw,
    /// The target has written its last byte.
    is_read_ended: bool,
    /// The user's end has been passed on.
    is_shut: bool,
    needs_flush: bool,
}

impl Pump {
    pub(crate) fn new(conn: Arc<Conn>, raw: BoxRaw) -> Self {
        let socket = Socket { raw, is_read_ended: false, is_shut: false, needs_flush: false };
        Self { conn, socket, is_over: false, drops_counted: 0 }
    }
}

impl Future for Pump {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self { conn, socket, is_over, drops_counted } = self.get_mut();
        let mut state = lock(&conn.state);
        let core = &conn.core;
        state.on_pump(context, core.timer.now());
        loop {
            let now = core.timer.now();
            *is_over = socket.turn(&mut state, context, now);
            if matches!(state.user, User::Gone(until) if until <= now) && !*is_over {
                core.counters.bump(Counter::WanLingersExpired);
                *is_over = true;
            }
            state.wake_user();
            let drops = state.up.flow.drops() + state.down.flow.drops();
            core.counters.add(Counter::WanRetransmissions, drops - *drops_counted);
            *drops_counted = drops;
            if *is_over {
                return Poll::Ready(());
            }
            // What became due during this turn is not worth a round through the scheduler.
            let now = core.timer.now();
            if state.poll_timeout().is_none_or(|at| at > now) {
                state.arm(core, now);
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        let core = &self.conn.core;
        let mut state = lock(&self.conn.state);
        if !self.is_over {
            // The runtime is going away.
            state.broken.get_or_insert(io::ErrorKind::ConnectionAborted);
        }
        state.on_pump_end(core);
        drop(state);
        core.forget(self.conn.id);
        core.counters.sub(Counter::WanConnections, 1);
    }
}

impl Socket {
    /// Does everything that can be done at `now`; whether there will never be more.
    fn turn(&mut self, state: &mut State, context: &mut Context<'_>, now: Instant) -> bool {
        state.up.catch_up(now);
        state.down.catch_up(now);
        if state.up.flow.has_given_up() || state.down.flow.has_given_up() {
            state.broken = Some(io::ErrorKind::TimedOut);
            return true;
        }
        let is_gone = matches!(state.user, User::Gone(_));
        if state.reset.is_none()
            && let Err(error) = self.exchange(state, context, now, is_gone)
        {
            let kind = match error.kind() {
                // The target had closed: what it sees of our bytes it answers with a reset.
                io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected => io::ErrorKind::ConnectionReset,
                kind => kind,
            };
            state.send_reset(now, kind);
        }
        if let Some(reset) = state.reset {
            if reset.at <= now {
                state.broken = Some(reset.kind);
            }
            return is_gone || reset.at <= now;
        }
        self.is_shut && (is_gone || state.down.flow.is_ended())
    }

    /// Moves bytes between the socket and the connection, both ways.
    fn exchange(
        &mut self,
        state: &mut State,
        context: &mut Context<'_>,
        now: Instant,
        is_gone: bool,
    ) -> io::Result<()> {
        if let Poll::Ready(Err(error)) = self.poll_up(state, context, now) {
            return Err(error);
        }
        if !is_gone && let Poll::Ready(Err(error)) = self.poll_down(state, context, now) {
            return Err(error);
        }
        Ok(())
    }

    /// What has crossed the link goes into the socket.
    fn poll_up(&mut self, state: &mut State, context: &mut Context<'_>, now: Instant) -> Poll<io::Result<()>> {
        while state.up.readable() > 0 {
            if state.target.reset {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            let (slices, used) = state.up.bytes.slices::<SLICES>(state.up.readable());
            let slices = slices.get(..used).unwrap_or_default();
            let count = ready!(Pin::new(&mut self.raw).poll_write_vectored(context, slices))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.needs_flush = true;
            state.up.bytes.advance(count);
            state.up.took(now, count);
        }
        if self.needs_flush {
            ready!(Pin::new(&mut self.raw).poll_flush(context))?;
            self.needs_flush = false;
        }
        if state.up.flow.is_ended() && !self.is_shut {
            // Who has already closed does not mind.
            let _ = ready!(Pin::new(&mut self.raw).poll_shutdown(context));
            self.is_shut = true;
        }
        Poll::Ready(Ok(()))
    }

    /// What the socket yields enters the link.
    fn poll_down(&mut self, state: &mut State, context: &mut Context<'_>, now: Instant) -> Poll<io::Result<()>> {
        state.is_read_paused = false;
        while !self.is_read_ended {
            if state.down.flow.room() == 0 {
                state.is_read_paused = true;
                break;
            }
            let left = |after: Option<u64>| {
                after.map_or(READ_BYTES, |after| {
                    usize::try_from(after.saturating_sub(state.target_bytes)).unwrap_or(usize::MAX).min(READ_BYTES)
                })
            };
            let limit = left(state.target.truncate_after).min(left(state.target.stall_after));
            if limit == 0 {
                if left(state.target.truncate_after) == 0 {
                    self.is_read_ended = true;
                    state.down.end(now);
                }
                break;
            }
            let bytes = ready!(self.poll_read(context, limit))?;
            if bytes.is_empty() {
                self.is_read_ended = true;
                state.down.end(now);
                break;
            }
            let offset = state.target_bytes;
            state.target_bytes += bytes.len() as u64;
            let bytes = match state.target.garbage_after {
                Some(after) if after < state.target_bytes => garble(&bytes, offset, after),
                _ => bytes,
            };
            state.down.write(now, bytes);
        }
        Poll::Ready(Ok(()))
    }

    /// At most `limit` bytes; none at the end.
    fn poll_read(&mut self, context: &mut Context<'_>, limit: usize) -> Poll<io::Result<Bytes>> {
        with_scratch(|scratch| {
            let mut target = ReadBuf::new(scratch.get_mut(..limit).unwrap_or_default());
            ready!(Pin::new(&mut self.raw).poll_read(context, &mut target))?;
            Poll::Ready(Ok(Bytes::copy_from_slice(target.filled())))
        })
    }
}

/// Nonsense in place of every byte from the `after`-th on; `bytes` begin at `offset`.
fn garble(bytes: &[u8], offset: u64, after: u64) -> Bytes {
    let nonsense = |at: u64| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8 | 1;
    let garbled = bytes.iter().zip(offset..).map(|(byte, at)| if at < after { *byte } else { byte ^ nonsense(at) });
    garbled.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_begins_where_it_was_asked_for_and_changes_every_byte() {
        let bytes = [7; 300];
        let garbled = garble(&bytes, 100, 150);
        assert_eq!(garbled[..50], bytes[..50]);
        assert!(garbled[50..].iter().all(|byte| *byte != 7));
        assert_eq!(garble(&bytes[20..], 120, 150), garbled[20..], "however the bytes were cut");
    }
}
