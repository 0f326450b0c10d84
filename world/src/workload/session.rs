//! Users with pauses: one stays for a session, and thinks between its requests.
//!
//! Arrivals are given, so that the rate of a load is what was asked for. Decides whose request an arrival is: that of the
//! user of the place who has been ready for longest, or else of one who begins a session. Pauses are exponential;
//! a session has [`REQUESTS`] requests on average, geometrically spread.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use crate::chance::Exp1;

/// Requests of a session on average.
const REQUESTS: f64 = 10.0;

/// The sessions of a load.
#[derive(Debug)]
pub(super) struct Sessions {
    think_s: f64,
    places: BTreeMap<u32, Place>,
    chance: ChaCha8Rng,
}

#[derive(Debug, Default)]
struct Place {
    /// Who is in a session, by when the pause is over.
    thinking: BinaryHeap<Reverse<Thinker>>,
    /// Who begins the next session.
    next_user: u32,
}

#[derive(Debug, PartialEq)]
struct Thinker {
    ready_s: f64,
    user: u32,
}

impl Eq for Thinker {}

impl PartialOrd for Thinker {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Thinker {
    fn cmp(&self, other: &Self) -> Ordering {
        self.ready_s.total_cmp(&other.ready_s).then(self.user.cmp(&other.user))
    }
}

impl Sessions {
    pub(super) const fn new(think: Duration, chance: ChaCha8Rng) -> Self {
        Self { think_s: think.as_secs_f64(), places: BTreeMap::new(), chance }
    }

    /// Which of the `users` of `place` makes the request that arrives at `at_s`.
    pub(super) fn draw(&mut self, at_s: f64, place: u32, users: u32) -> u32 {
        let place = self.places.entry(place).or_default();
        let ready = place.thinking.peek().is_some_and(|Reverse(thinker)| thinker.ready_s <= at_s);
        // Where everybody is in a session already, whoever is ready first hurries.
        let crowded = place.thinking.len() >= users as usize;
        let user = match if ready || crowded { place.thinking.pop() } else { None } {
            Some(Reverse(thinker)) => thinker.user,
            None => {
                let user = place.next_user % users;
                place.next_user = (user + 1) % users;
                user
            }
        };
        if self.chance.random::<f64>() >= 1.0 / REQUESTS {
            let pause: f64 = self.chance.sample(Exp1);
            place.thinking.push(Reverse(Thinker { ready_s: at_s + pause * self.think_s, user }));
        }
        user
    }
}
