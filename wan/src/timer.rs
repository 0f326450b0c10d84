//! One clock and one alarm for everything that is on its way.
//!
//! tokio's timer ticks in milliseconds; the error of a link must stay well below one. A thread of its own sleeps until
//! the earliest deadline and wakes whose time has come, so it serves every runtime of the process alike and spins
//! never. Knows wakers and moments, nothing else. (`docs/notes/2026-11-22-one-timer-thread.md` has what was
//! measured against it.)

use std::{
    collections::BTreeMap,
    future::Future,
    io, iter,
    num::NonZeroU64,
    pin::Pin,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use cdn_core::Instant;

/// Locks, and ignores that a holder panicked: everything behind our locks is valid between statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The machine's monotonic clock as [`Instant`]s, and the alarm.
#[derive(Debug)]
pub(crate) struct Timer {
    epoch: std::time::Instant,
    shared: Arc<Shared>,
}

/// An alarm that was set; see [`Timer::set`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Alarm {
    pub(crate) at: Instant,
    id: u64,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    alarms: BTreeMap<Alarm, Waker>,
    next_id: u64,
    /// When the thread wakes by itself.
    sleeps_until: Instant,
    is_over: bool,
}

impl Timer {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub(crate) fn build() -> io::Result<Self> {
        let epoch = std::time::Instant::now();
        let state = State { alarms: BTreeMap::new(), next_id: 0, sleeps_until: Instant::ZERO, is_over: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let run = Arc::clone(&shared);
        thread::Builder::new().name("wan-timer".into()).stack_size(64 << 10).spawn(move || run.run(epoch))?;
        Ok(Self { epoch, shared })
    }

    /// Now.
    pub(crate) fn now(&self) -> Instant {
        since(self.epoch)
    }

    /// Wakes `waker` at `at`, or a little later. The alarm goes off once and is then gone.
    pub(crate) fn set(&self, at: Instant, waker: Waker) -> Alarm {
        let mut state = lock(&self.shared.state);
        state.next_id += 1;
        let alarm = Alarm { at, id: state.next_id };
        state.alarms.insert(alarm, waker);
        if at < state.sleeps_until {
            // Said once: until the thread is up, further alarms need not disturb it.
            state.sleeps_until = Instant::ZERO;
            drop(state);
            self.shared.changed.notify_one();
        }
        alarm
    }

    /// Takes an alarm back, if it has not gone off yet.
    pub(crate) fn cancel(&self, alarm: Alarm) {
        let waker = lock(&self.shared.state).alarms.remove(&alarm);
        // Dropping a waker may run foreign code, which must not happen under the lock.
        drop(waker);
    }

    /// Ends at `at`.
    pub(crate) fn sleep_until(&self, at: Instant) -> Sleep<'_> {
        Sleep { timer: self, at, alarm: None }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        lock(&self.shared.state).is_over = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn run(&self, epoch: std::time::Instant) {
        // By default the kernel may be 50 µs late to save power.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let mut due = Vec::new();
        let mut state = lock(&self.state);
        while !state.is_over {
            let now = since(epoch);
            due.extend(iter::from_fn(|| {
                let first = state.alarms.first_entry()?;
                (first.key().at <= now).then(|| first.remove())
            }));
            if !due.is_empty() {
                // Alarms set meanwhile are seen on the way back to sleep.
                state.sleeps_until = Instant::ZERO;
                drop(state);
                due.drain(..).for_each(Waker::wake);
                state = lock(&self.state);
                continue;
            }
            let next = state.alarms.first_key_value().map(|(alarm, _)| alarm.at);
            state.sleeps_until = next.unwrap_or(Instant::MAX);
            state = match next {
                Some(at) => self.wait(state, at.saturating_since(now)),
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, span: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, span).unwrap_or_else(PoisonError::into_inner).0
    }
}

fn since(epoch: std::time::Instant) -> Instant {
    Instant::ZERO + epoch.elapsed()
}

/// See [`Timer::sleep_until`].
#[derive(Debug)]
pub(crate) struct Sleep<'a> {
    timer: &'a Timer,
    at: Instant,
    alarm: Option<Alarm>,
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if let Some(alarm) = self.alarm.take() {
            self.timer.cancel(alarm);
        }
        if self.timer.now() >= self.at {
            return Poll::Ready(());
        }
        self.alarm = Some(self.timer.set(self.at, context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        if let Some(alarm) = self.alarm {
            self.timer.cancel(alarm);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sleeps_end_in_the_order_of_their_deadlines_and_never_early() {
        let timer = Arc::new(Timer::build().unwrap());
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut sleepers = Vec::new();
        for ms in [9_u64, 3, 6, 3] {
            let (timer, order) = (Arc::clone(&timer), Arc::clone(&order));
            let at = timer.now() + Duration::from_millis(ms);
            sleepers.push(tokio::spawn(async move {
                timer.sleep_until(at).await;
                assert!(timer.now() >= at);
                lock(&order).push(ms);
            }));
        }
        for sleeper in sleepers {
            sleeper.await.unwrap();
        }
        assert_eq!(*lock(&order), [3, 3, 6, 9]);
    }

    #[test]
    fn a_cancelled_alarm_is_forgotten() {
        let timer = Timer::build().unwrap();
        let alarm = timer.set(timer.now() + Duration::from_secs(60), Waker::noop().clone());
        timer.cancel(alarm);
        assert!(lock(&timer.shared.state).alarms.is_empty());
    }

    #[tokio::test]
    async fn an_earlier_alarm_is_not_kept_waiting_by_a_later_one() {
        let timer = Timer::build().unwrap();
        let later = timer.set(timer.now() + Duration::from_secs(60), Waker::noop().clone());
        let at = timer.now() + Duration::from_millis(2);
        timer.sleep_until(at).await;
        assert!(timer.now().saturating_since(at) < Duration::from_secs(10));
        timer.cancel(later);
    }
}
