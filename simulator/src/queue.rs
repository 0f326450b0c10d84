//! The events to come, earliest first; of those at the same moment, the one that was put in first.
//!
//! A calendar queue (Brown 1988): events of the near future lie unsorted in buckets of 262 µs, and a bucket is sorted when
//! its time comes, so that putting in and taking out cost a few nanoseconds each however many events there are. Buckets
//! share their memory (`queue/sheets.rs`). What lies further than half a second ahead waits in a heap. The order is total,
//! so a run does not depend on how either is laid out. Knows nothing of what the events mean.

mod sheets;

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use cdn_core::Instant;

use self::sheets::{Jot, Sheets, Stack};

/// A bucket is 2^18 ns: at 400,000 events a second 105 share one, few enough to be sorted in no time.
const BUCKET_BITS: u32 = 18;
/// Buckets ahead: 0.54 s, further than most round trips; their heads stay in the processor's second cache.
const BUCKETS: u64 = 1 << 11;

/// The events to come.
#[derive(Debug)]
pub struct EventQueue<E> {
    /// Those of the bucket whose time it is, latest first.
    current: Vec<Entry<E>>,
    /// Its number, counted from the beginning of time.
    at: u64,
    /// Those of each bucket, in the order in which they were put in.
    near: Box<[Stack; BUCKETS as usize]>,
    sheets: Sheets<E>,
    /// One bit for each bucket that is not empty.
    occupied: Box<[u64; (BUCKETS / 64) as usize]>,
    in_near: usize,
    far: BinaryHeap<Reverse<Far<E>>>,
    /// Of the next event in `far`.
    serial: u64,
    /// Room to sort in.
    page: Vec<Jot<E>>,
    order: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Entry<E> {
    at: u64,
    event: E,
}

/// An entry far ahead; a heap forgets the order in which things were put in.
#[derive(Clone, Copy, Debug)]
struct Far<E> {
    entry: Entry<E>,
    serial: u64,
}

impl<E: Copy> EventQueue<E> {
    /// Nothing is to come.
    pub fn new() -> Self {
        Self {
            current: Vec::new(),
            at: 0,
            near: Box::new([Stack::default(); BUCKETS as usize]),
            sheets: Sheets::default(),
            occupied: Box::new([0; (BUCKETS / 64) as usize]),
            in_near: 0,
            far: BinaryHeap::new(),
            serial: 0,
            page: Vec::new(),
            order: Vec::new(),
        }
    }

    /// How many events are to come.
    pub fn len(&self) -> usize {
        self.current.len() + self.in_near + self.far.len()
    }

    /// Whether nothing is to come.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `event` will happen at `at`; what lies in the past happens next.
    ///
    /// Inlined, so that an event is written where it stays: one that is put together on the stack and copied from there
    /// waits until all of its parts have come to rest.
    #[inline(always)]
    pub fn push(&mut self, at: Instant, event: E) {
        let bucket = at.as_nanos() >> BUCKET_BITS;
        if bucket.wrapping_sub(self.at + 1) < BUCKETS - 1 {
            self.put_near(at.as_nanos(), event);
        } else {
            self.put_elsewhere(Entry { at: at.as_nanos(), event });
        }
    }

    /// Puts in what happens in the bucket whose time it is, or beyond all buckets.
    #[inline(never)]
    fn put_elsewhere(&mut self, entry: Entry<E>) {
        if entry.at >> BUCKET_BITS <= self.at {
            // Latest first, so most of what is put in now goes near the front of few; behind those of the same moment.
            let place = self.current.partition_point(|other| other.at > entry.at);
            self.current.insert(place, entry);
        } else {
            self.far.push(Reverse(Far { entry, serial: self.serial }));
            self.serial += 1;
        }
    }

    /// When the next event happens.
    pub fn next_at(&mut self) -> Option<Instant> {
        self.turn();
        self.current.last().map(|entry| Instant::from_nanos(entry.at))
    }

    /// The next event.
    pub fn pop(&mut self) -> Option<(Instant, E)> {
        self.turn();
        self.current.pop().map(|entry| (Instant::from_nanos(entry.at), entry.event))
    }

    /// The number of the bucket whose time it is.
    pub const fn page_number(&self) -> u64 {
        self.at
    }

    /// The events that are left of the bucket whose time it is, latest first.
    pub fn page(&self) -> impl Iterator<Item = &E> {
        self.current.iter().map(|entry| &entry.event)
    }

    /// Goes on to the next bucket that has anything, if the current one is empty.
    fn turn(&mut self) {
        if self.current.is_empty() {
            self.turn_page();
        }
    }

    fn turn_page(&mut self) {
        let next = match self.next_near() {
            Some(bucket) => bucket,
            None => match self.far.peek() {
                Some(Reverse(first)) => first.entry.at >> BUCKET_BITS,
                None => return,
            },
        };
        self.at = next;
        // What comes near now was put in before anything else of its bucket, which was far until now.
        while let Some(Reverse(first)) = self.far.peek() {
            let bucket = first.entry.at >> BUCKET_BITS;
            if bucket >= next + BUCKETS {
                break;
            }
            let Some(Reverse(first)) = self.far.pop() else { break };
            self.put_near(first.entry.at, first.entry.event);
        }
        let place = (next % BUCKETS) as usize;
        self.page.clear();
        self.sheets.take(&mut self.near[place], &mut self.page);
        self.in_near -= self.page.len();
        self.occupied[place / 64] &= !(1 << (place % 64));
        // The moment within the bucket above the place in it: numbers are sorted faster than entries, and what was put in
        // first comes first.
        self.order.clear();
        self.order.extend(self.page.iter().zip(0_u64..).map(|(jot, place)| u64::from(jot.within) << 32 | place));
        self.order.sort_unstable();
        let begin = next << BUCKET_BITS;
        let entry = |jot: &Jot<E>| Entry { at: begin + u64::from(jot.within), event: jot.event };
        let page = &self.page;
        self.current.extend(self.order.iter().rev().map(|order| entry(&page[(order & u64::from(u32::MAX)) as usize])));
    }

    /// Puts in what happens at `at` nanoseconds, in one of the buckets ahead.
    #[inline(always)]
    fn put_near(&mut self, at: u64, event: E) {
        let place = (at >> BUCKET_BITS) as usize % BUCKETS as usize;
        self.sheets.put(&mut self.near[place], (at % (1 << BUCKET_BITS)) as u32, event);
        self.occupied[place / 64] |= 1 << (place % 64);
        self.in_near += 1;
    }

    /// The number of the first bucket after the current one that has anything.
    fn next_near(&self) -> Option<u64> {
        if self.in_near == 0 {
            return None;
        }
        let words = self.occupied.len();
        let from = ((self.at + 1) % BUCKETS) as usize;
        let (first, bit) = (from / 64, from % 64);
        for step in 0..=words {
            let at = (first + step) % words;
            let mut word = self.occupied[at];
            if step == 0 {
                word &= u64::MAX << bit;
            }
            if word != 0 {
                let place = (at * 64) as u64 + u64::from(word.trailing_zeros());
                // A bucket's number is the only one in the window that falls on its place.
                let ahead = (place + BUCKETS - from as u64) % BUCKETS;
                return Some(self.at + 1 + ahead);
            }
        }
        None
    }
}

impl<E: Copy> Default for EventQueue<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E> Far<E> {
    const fn order(&self) -> (u64, u64) {
        (self.entry.at, self.serial)
    }
}

impl<E> PartialEq for Far<E> {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl<E> Eq for Far<E> {}

impl<E> PartialOrd for Far<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Far<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equal_times_come_out_as_they_went_in() {
        let mut queue = EventQueue::new();
        for (at, event) in [(5, 'a'), (5, 'b'), (3, 'c'), (5, 'd'), (3_000_000_000, 'e'), (3, 'f')] {
            queue.push(Instant::from_nanos(at), event);
        }
        let mut out = String::new();
        while let Some((_, event)) = queue.pop() {
            out.push(event);
        }
        assert_eq!(out, "cfabde");
    }

    proptest! {
        /// The obvious twin is a list that is searched for its least entry.
        #[test]
        fn comes_out_in_the_order_of_time_whatever_is_put_in_meanwhile(
            steps in prop::collection::vec(
                (prop_oneof![0_u64..200_000, 0_u64..2_000_000_000, 0_u64..10_000_000_000], 0_u8..3), 1..300),
        ) {
            let (mut queue, mut twin) = (EventQueue::new(), Vec::new());
            let mut now = 0;
            for (serial, (ahead, pops)) in steps.into_iter().enumerate() {
                queue.push(Instant::from_nanos(now + ahead), serial);
                twin.push((now + ahead, serial));
                for _ in 0..pops {
                    let least = twin.iter().copied().min();
                    twin.retain(|entry| Some(*entry) != least);
                    let popped = queue.pop().map(|(at, event)| (at.as_nanos(), event));
                    prop_assert_eq!(popped, least);
                    now = least.map_or(now, |(at, _)| at);
                }
                prop_assert_eq!(queue.len(), twin.len());
            }
            twin.sort_unstable();
            for entry in twin {
                prop_assert_eq!(queue.next_at(), Some(Instant::from_nanos(entry.0)));
                prop_assert_eq!(queue.pop().map(|(at, event)| (at.as_nanos(), event)), Some(entry));
            }
            prop_assert!(queue.is_empty() && queue.pop().is_none());
        }
    }
}
