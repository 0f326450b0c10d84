//! Many runs at once: spread over threads, and handed on in their order, so that what is printed does not depend on how
//! many threads there are. Knows nothing of what runs.

use std::{
    collections::BTreeMap,
    num::NonZero,
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, Scope},
};

/// Memory that runs may take together, in bytes, where nobody says how much.
pub(crate) const MEMORY: u64 = 4 << 30;

/// As many threads as this machine runs at once.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Threads that have found nothing more to do, while others of their kind are still at work: they help with what is parallel
/// within that work. Whoever comes last and has most to do would otherwise do it alone.
static IDLE: AtomicI64 = AtomicI64::new(0);

/// Takes one of the idle threads, if there is one.
fn take_idle() -> bool {
    IDLE.try_update(Ordering::Relaxed, Ordering::Relaxed, |idle| (idle > 0).then(|| idle - 1)).is_ok()
}

/// What is to be done, and what of it is begun.
struct Crew<W> {
    count: u64,
    next: AtomicU64,
    /// Of its threads, those that have become idle.
    idle: AtomicI64,
    work: W,
}

impl<W> Crew<W> {
    /// Works until there is nothing more to begin, or nobody listens any more; where others are idle, they are called.
    fn labour<'scope, 'env, T: Send + 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        sender: &mpsc::Sender<(u64, T)>,
    ) where
        W: Fn(u64) -> T + Sync,
    {
        loop {
            let nth = self.next.fetch_add(1, Ordering::Relaxed);
            if nth >= self.count {
                return;
            }
            if nth + 1 < self.count && take_idle() {
                let sender = sender.clone();
                scope.spawn(move || {
                    self.labour(scope, &sender);
                    IDLE.fetch_add(1, Ordering::Relaxed);
                });
            }
            if sender.send((nth, (self.work)(nth))).is_err() {
                return;
            }
        }
    }
}

/// Does `work` for each number below `count` on `threads` threads, and hands what comes out to `take`, in the order of
/// the numbers, as soon as everything before it is there. Within such work there may be more of it: that begins with the
/// threads that it asks for, and gets those that have become idle around it.
///
/// # Errors
/// That of `take`; then no more work is begun.
pub(crate) fn in_order<T: Send, E>(
    count: u64,
    threads: usize,
    work: impl Fn(u64) -> T + Sync,
    mut take: impl FnMut(u64, T) -> Result<(), E>,
) -> Result<(), E> {
    let threads = u64::try_from(threads).unwrap_or(u64::MAX).clamp(1, count.max(1));
    let crew = Crew { count, next: AtomicU64::new(0), idle: AtomicI64::new(0), work };
    let outcome = thread::scope(|scope| {
        let (sender, done) = mpsc::channel();
        for _ in 0..threads {
            let (sender, crew) = (sender.clone(), &crew);
            scope.spawn(move || {
                crew.labour(scope, &sender);
                crew.idle.fetch_add(1, Ordering::Relaxed);
                IDLE.fetch_add(1, Ordering::Relaxed);
            });
        }
        drop(sender);
        let (mut early, mut due) = (BTreeMap::new(), 0);
        for (nth, outcome) in done {
            early.insert(nth, outcome);
            while let Some(outcome) = early.remove(&due) {
                take(due, outcome)?;
                due += 1;
            }
        }
        Ok(())
    });
    // They are gone.
    IDLE.fetch_sub(crew.idle.into_inner(), Ordering::Relaxed);
    outcome
}

/// Memory that runs share: one that finds too little waits until another has ended.
#[derive(Debug)]
pub(crate) struct Room {
    all: u64,
    left: Mutex<u64>,
    freed: Condvar,
}

/// A part of it, until it is dropped.
pub(crate) struct Taken<'a> {
    room: &'a Room,
    bytes: u64,
}

impl Room {
    /// So many bytes.
    pub(crate) const fn new(all: u64) -> Self {
        Self { all, left: Mutex::new(all), freed: Condvar::new() }
    }

    /// How many there are, taken or not.
    pub(crate) const fn all(&self) -> u64 {
        self.all
    }

    /// Takes `bytes`, or all where there never are so many, as soon as they are there.
    pub(crate) fn take(&self, bytes: u64) -> Taken<'_> {
        let bytes = bytes.min(self.all);
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let enough = self.freed.wait_while(left, |left| *left < bytes);
        *enough.unwrap_or_else(PoisonError::into_inner) -= bytes;
        Taken { room: self, bytes }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.room.left.lock().unwrap_or_else(PoisonError::into_inner) += self.bytes;
        self.room.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn what_comes_out_is_in_order_with_any_number_of_threads() {
        let all = |threads| {
            let mut seen = Vec::new();
            // The first takes longest, so that others are early.
            let work = |nth| (0..(40 - nth) * 1000).fold(nth, |sum, n| std::hint::black_box(sum ^ n) ^ n);
            let outcome: Result<(), ()> = in_order(40, threads, work, |nth, outcome| {
                seen.push((nth, outcome));
                Ok(())
            });
            outcome.map(|()| seen)
        };
        let expected: Vec<(u64, u64)> = (0..40).map(|nth| (nth, nth)).collect();
        for threads in [0, 1, 3, 100] {
            assert_eq!(all(threads), Ok(expected.clone()), "{threads}");
        }
    }

    #[test]
    fn nothing_is_begun_after_what_could_not_be_taken() {
        let begun = AtomicUsize::new(0);
        let work = |nth: u64| {
            begun.fetch_add(1, Ordering::Relaxed);
            nth
        };
        let outcome = in_order(1_000_000, 1, work, |nth, _| if nth == 3 { Err("full") } else { Ok(()) });
        assert_eq!(outcome, Err("full"));
        assert!(begun.load(Ordering::Relaxed) < 1_000_000);
    }

    #[test]
    fn whoever_has_nothing_to_do_helps_with_what_is_left() {
        let (now, most) = (AtomicU64::new(0), AtomicU64::new(0));
        let inner = |_| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // Until somebody is idle, who is called by the next, or has come.
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(2);
            while IDLE.load(Ordering::Relaxed) <= 0
                && most.load(Ordering::SeqCst) < 2
                && std::time::Instant::now() < deadline
            {
                thread::yield_now();
            }
            now.fetch_sub(1, Ordering::SeqCst);
        };
        // The first is done at once; the second has much to do, and begins alone.
        let outer = |nth| {
            if nth == 1 {
                let mut order = Vec::new();
                let Ok(()) = in_order(8, 1, inner, |nth, ()| {
                    order.push(nth);
                    Ok::<(), std::convert::Infallible>(())
                });
                assert_eq!(order, (0..8).collect::<Vec<u64>>());
            }
        };
        assert_eq!(in_order(2, 2, outer, |_, ()| Ok::<(), ()>(())), Ok(()));
        assert_eq!(most.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn no_more_is_taken_at_once_than_there_is() {
        let (room, now, most) = (Room::new(100), AtomicU64::new(0), AtomicU64::new(0));
        let work = |_| {
            let taken = room.take(60);
            most.fetch_max(now.fetch_add(taken.bytes, Ordering::SeqCst) + taken.bytes, Ordering::SeqCst);
            thread::yield_now();
            now.fetch_sub(taken.bytes, Ordering::SeqCst);
        };
        assert_eq!(in_order(50, 4, work, |_, ()| Ok::<(), ()>(())), Ok(()));
        assert_eq!(most.load(Ordering::SeqCst), 60);
        // Who wants more than there is gets all.
        assert_eq!(room.take(1000).bytes, 100);
    }
}
