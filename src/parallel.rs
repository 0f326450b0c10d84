//! Many runs at once: spread over threads, and handed on in their order, so that what is printed does not depend on how
//! many threads there are. Knows nothing of what runs.

use std::{
    collections::BTreeMap,
    num::NonZero,
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

/// Memory that runs may take together, in bytes, where nobody says how much.
pub(crate) const MEMORY: u64 = 4 << 30;

/// As many threads as this machine runs at once.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Does `work` for each number below `count` on `threads` threads, and hands what comes out to `take`, in the order of
/// the numbers, as soon as everything before it is there.
///
/// # Errors
/// That of `take`; then no more work is begun.
pub(crate) fn in_order<T: Send, E>(
    count: u64,
    threads: usize,
    work: impl Fn(u64) -> T + Sync,
    mut take: impl FnMut(u64, T) -> Result<(), E>,
) -> Result<(), E> {
    let next = AtomicU64::new(0);
    let threads = u64::try_from(threads).unwrap_or(u64::MAX).clamp(1, count.max(1));
    thread::scope(|scope| {
        let (sender, done) = mpsc::channel();
        for _ in 0..threads {
            let (sender, next, work) = (sender.clone(), &next, &work);
            scope.spawn(move || {
                loop {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    // Nobody listens any more where one could not be taken.
                    if nth >= count || sender.send((nth, work(nth))).is_err() {
                        return;
                    }
                }
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
    })
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
