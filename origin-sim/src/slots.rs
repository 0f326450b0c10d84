//! How many requests are served at once: slots, and a bounded queue before them.
//!
//! A request holds its slot until the last byte of its answer is handed over, delays included, so an origin that is slow
//! runs out of slots and overload is real. Who finds the queue full is turned away at once. First come, first served.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use cdn_core::{Counter, Counters};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

#[derive(Debug)]
pub(crate) struct Slots {
    semaphore: Arc<Semaphore>,
    queue_max: usize,
    queued: AtomicUsize,
    counters: Arc<Counters>,
}

/// A place among the requests being served; given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    _permit: OwnedSemaphorePermit,
    counters: Arc<Counters>,
}

impl Slots {
    pub(crate) fn new(concurrency_max: usize, queue_max: usize, counters: Arc<Counters>) -> Self {
        let permits = concurrency_max.clamp(1, Semaphore::MAX_PERMITS);
        Self { semaphore: Arc::new(Semaphore::new(permits)), queue_max, queued: AtomicUsize::new(0), counters }
    }

    /// Waits for a slot; `None` if the queue is full.
    pub(crate) async fn take(&self) -> Option<Slot> {
        if let Ok(permit) = Arc::clone(&self.semaphore).try_acquire_owned() {
            return Some(self.slot(permit));
        }
        let queued = Queued::join(self)?;
        // The semaphore is never closed.
        let permit = Arc::clone(&self.semaphore).acquire_owned().await.ok()?;
        drop(queued);
        Some(self.slot(permit))
    }

    fn slot(&self, permit: OwnedSemaphorePermit) -> Slot {
        self.counters.add(Counter::OriginActive, 1);
        Slot { _permit: permit, counters: Arc::clone(&self.counters) }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.counters.sub(Counter::OriginActive, 1);
    }
}

/// A place in the queue, given back also when the client goes away while it waits.
struct Queued<'a>(&'a Slots);

impl<'a> Queued<'a> {
    fn join(slots: &'a Slots) -> Option<Self> {
        let joined = slots.queued.fetch_update(Ordering::AcqRel, Ordering::Acquire, |queued| {
            (queued < slots.queue_max).then_some(queued + 1)
        });
        joined.ok()?;
        slots.counters.add(Counter::OriginQueued, 1);
        Some(Self(slots))
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.queued.fetch_sub(1, Ordering::AcqRel);
        self.0.counters.sub(Counter::OriginQueued, 1);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn the_queue_is_bounded_ordered_and_forgets_who_left() {
        let counters = Arc::new(Counters::default());
        let slots = Slots::new(1, 2, Arc::clone(&counters));
        let first = slots.take().await.unwrap();
        let mut second = Box::pin(slots.take());
        let mut third = Box::pin(slots.take());
        assert!(poll!(second.as_mut()).is_pending());
        assert!(poll!(third.as_mut()).is_pending());
        assert_eq!(counters.value(Counter::OriginQueued), 2);
        assert!(slots.take().await.is_none(), "the queue holds two");

        drop(second);
        assert_eq!(counters.value(Counter::OriginQueued), 1);
        drop(first);
        assert!(third.await.is_some());
        assert_eq!((counters.value(Counter::OriginQueued), counters.value(Counter::OriginActive)), (0, 0));
    }
}
