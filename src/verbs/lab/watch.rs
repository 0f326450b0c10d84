//! Looks over a router's shoulder: whom it sends to a dead PoP, and who stays on a full one for how long.

use std::{collections::BTreeMap, time::Duration};

use cdn_core::{
    Instant, PopCode,
    routing::{Asked, Snapshot, Told, Word},
};
use ipnet::IpNet;
use simulator::Program;

use crate::policy_program::Consulted;

/// From which load on a PoP is too full to send anybody there.
const FULL: f64 = 1.0;
/// Up to which load another one could have been chosen.
const ROOM: f64 = 0.9;

/// A city that goes on to a PoP which is full, while others have room.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stay {
    pub(super) city: String,
    pub(super) pop: PopCode,
    /// The highest load that was told of.
    pub(super) load: f64,
    pub(super) span: Duration,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) consulted: Consulted,
    /// Nothing counts before.
    zero: Instant,
    /// Answers that put a PoP first which was said to be dead, while another was alive.
    pub(super) dead_picks: u64,
    stays: BTreeMap<IpNet, (Instant, Stay)>,
    /// The longest.
    pub(super) longest: Option<Stay>,
}

impl Watched {
    pub(super) const fn new(consulted: Consulted, zero: Instant) -> Self {
        Self { consulted, zero, dead_picks: 0, stays: BTreeMap::new(), longest: None }
    }

    fn see(&mut self, now: Instant, client: IpNet, city: &str, pops: &[Asked], first: PopCode) {
        let Some(picked) = pops.iter().find(|asked| asked.pop == first) else { return };
        let mut others = pops.iter().filter(|asked| asked.is_healthy && asked.pop != first);
        self.dead_picks += u64::from(!picked.is_healthy && others.clone().next().is_some());
        let load = picked.load.unwrap_or(0.0);
        if load < FULL || !others.any(|asked| asked.load.unwrap_or(0.0) < ROOM) {
            self.stays.remove(&client);
            return;
        }
        let begin = || (now, Stay { city: city.to_lowercase(), pop: first, load, span: Duration::ZERO });
        let (since, stay) = self.stays.entry(client).or_insert_with(begin);
        if stay.pop != first {
            (*since, *stay) = begin();
        }
        stay.load = stay.load.max(load);
        stay.span = now.saturating_since(*since);
        if self.longest.as_ref().is_none_or(|longest| stay.span > longest.span) {
            self.longest = Some(stay.clone());
        }
    }
}

impl Program for Watched {
    fn round(&mut self, now: Instant, snapshot: &Snapshot) -> Told {
        let told = self.consulted.round(now, snapshot);
        if now >= self.zero {
            for question in snapshot.questions() {
                if let Some(Word::Order(order)) = told.by_network.get(&question.client)
                    && let Some(&first) = order.first()
                {
                    self.see(now, question.client, &question.city, &question.pops, first);
                }
            }
        }
        told
    }
}
