//! To one of several addresses, as a client does it (RFC 8305 section 5).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cdn_core::Instant;

/// How patient a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaceOptions {
    /// How long one attempt may take. Default 3 s.
    pub timeout: Duration,
    /// How long an attempt may be silent before the next address is tried beside it. Default 1 s: more than three round
    /// trips to the other end of the world, so that distance alone never starts a second connection.
    pub attempt_delay: Duration,
}

impl Default for RaceOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(3), attempt_delay: Duration::from_secs(1) }
    }
}

/// Attempts to connect to one of several addresses, in the order given: one that fails starts the next at once, one that
/// is silent gets the next one beside it, and the first to connect wins.
///
/// Calling order: [`poll_attempt`](Self::poll_attempt) until it yields nothing; then whatever comes first of an outcome
/// ([`handle_failure`](Self::handle_failure); a connection ends the race) and [`poll_timeout`](Self::poll_timeout), at
/// which [`handle_timeout`](Self::handle_timeout) is called; and again.
#[derive(Clone, Debug)]
pub struct Race<A> {
    options: RaceOptions,
    addresses: Arc<[A]>,
    /// Of each attempt begun: when, and whether it still may succeed.
    attempts: Vec<(Instant, bool)>,
    next_due: Instant,
}

impl<A: Copy> Race<A> {
    /// A race to `addresses`, of which the first attempt is due at once.
    pub fn new(now: Instant, addresses: impl Into<Arc<[A]>>, options: RaceOptions) -> Self {
        Self { options, addresses: addresses.into(), attempts: Vec::new(), next_due: now }
    }

    /// An attempt to begin now, by its number, if one is due.
    pub fn poll_attempt(&mut self, now: Instant) -> Option<(usize, A)> {
        let at = self.attempts.len();
        let address = self.addresses.get(at).copied().filter(|_| now >= self.next_due)?;
        self.attempts.push((now, true));
        self.next_due = now + self.options.attempt_delay;
        Some((at, address))
    }

    /// The attempt failed.
    pub fn handle_failure(&mut self, now: Instant, at: usize) {
        if let Some((_, alive)) = self.attempts.get_mut(at) {
            *alive = false;
            self.next_due = now;
        }
    }

    /// Those attempts whose time is over, which have failed.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<usize> {
        let timeout = self.options.timeout;
        let over = |(at, &(began, alive)): (usize, &(Instant, bool))| (alive && now >= began + timeout).then_some(at);
        let over: Vec<usize> = self.attempts.iter().enumerate().filter_map(over).collect();
        over.iter().for_each(|&at| self.handle_failure(now, at));
        over
    }

    /// When the next attempt is due, or the time of one is over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let next = (self.attempts.len() < self.addresses.len()).then_some(self.next_due);
        let alive = self.attempts.iter().filter(|(_, alive)| *alive);
        let over = alive.map(|&(began, _)| began + self.options.timeout).min();
        next.into_iter().chain(over).min()
    }

    /// Whether every address was tried and has failed.
    pub fn is_lost(&self) -> bool {
        self.attempts.len() == self.addresses.len() && self.attempts.iter().all(|(_, alive)| !alive)
    }

    /// The addresses that are silent so far; when another has won, they are remembered as failed.
    pub fn silent(&self) -> impl Iterator<Item = (usize, A)> + '_ {
        let attempts = self.attempts.iter().zip(&*self.addresses).enumerate();
        attempts.filter(|(_, ((_, alive), _))| *alive).map(|(at, (_, &address))| (at, address))
    }

    /// The addresses, in the order in which they are tried.
    pub fn addresses(&self) -> &[A] {
        &self.addresses
    }
}

/// Addresses that failed lately, which are tried last for a while.
#[derive(Clone, Debug)]
pub struct DeadAddresses<K> {
    until: BTreeMap<K, Instant>,
    dead_for: Duration,
    most: usize,
}

impl<K: Ord + Clone> DeadAddresses<K> {
    /// Nobody has failed. An address counts as failed for `dead_for`; beyond `most` of them the one that is forgiven first
    /// is forgotten.
    pub const fn new(dead_for: Duration, most: usize) -> Self {
        Self { until: BTreeMap::new(), dead_for, most }
    }

    /// It failed.
    pub fn handle_failure(&mut self, now: Instant, key: K) {
        if self.until.len() >= self.most {
            self.until.retain(|_, until| *until > now);
        }
        if self.until.len() >= self.most
            && let Some(first) = self.until.iter().min_by_key(|(_, until)| **until).map(|(key, _)| key.clone())
        {
            self.until.remove(&first);
        }
        self.until.insert(key, now + self.dead_for);
    }

    /// It connected.
    pub fn handle_success(&mut self, key: &K) {
        self.until.remove(key);
    }

    /// Whether it failed lately.
    pub fn is_dead(&self, now: Instant, key: &K) -> bool {
        !self.until.is_empty() && self.until.get(key).is_some_and(|until| *until > now)
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.until.clear();
    }

    /// Puts addresses in the order in which they are tried: those that failed lately last, the order kept otherwise.
    pub fn order<A: Copy>(&self, now: Instant, addresses: &[A], key: impl Fn(A) -> K) -> Vec<A> {
        let (last, first): (Vec<A>, Vec<A>) = addresses.iter().partition(|address| self.is_dead(now, &key(**address)));
        first.into_iter().chain(last).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn a_failure_starts_the_next_at_once_and_silence_starts_it_beside() {
        let mut race = Race::new(at(0), vec!['a', 'b', 'c'], RaceOptions::default());
        assert_eq!((race.poll_attempt(at(0)), race.poll_attempt(at(0))), (Some((0, 'a')), None));
        assert_eq!(race.poll_timeout(), Some(at(1000)));
        race.handle_failure(at(100), 0);
        assert_eq!((race.poll_attempt(at(100)), race.poll_attempt(at(100))), (Some((1, 'b')), None));
        assert_eq!((race.poll_timeout(), race.poll_attempt(at(1100))), (Some(at(1100)), Some((2, 'c'))));
        assert_eq!(race.silent().collect::<Vec<_>>(), [(1, 'b'), (2, 'c')]);
        assert_eq!((race.poll_timeout(), race.handle_timeout(at(3100))), (Some(at(3100)), vec![1]));
        assert!(!race.is_lost());
        assert_eq!((race.handle_timeout(at(4100)), race.is_lost()), (vec![2], true));
        assert_eq!(race.poll_timeout(), None);
    }

    #[test]
    fn the_dead_are_tried_last_for_a_while() {
        let mut dead = DeadAddresses::new(Duration::from_secs(5), 2);
        dead.handle_failure(at(0), 'a');
        assert_eq!(dead.order(at(4999), &['a', 'b'], |address| address), ['b', 'a']);
        assert_eq!(dead.order(at(5000), &['a', 'b'], |address| address), ['a', 'b']);
        dead.handle_failure(at(6000), 'b');
        dead.handle_failure(at(7000), 'c');
        dead.handle_failure(at(8000), 'd');
        assert_eq!(['b', 'c', 'd'].map(|key| dead.is_dead(at(8000), &key)), [false, true, true]);
        dead.handle_success(&'d');
        assert!(!dead.is_dead(at(8000), &'d'));
    }
}
