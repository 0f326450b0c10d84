//! A routing policy that is a program of somebody else: what it is asked, what it says, and what becomes of it when it dies.
//!
//! Programs are asked ahead and per client network, never by whoever waits for an answer: a snapshot holds what they said.
//! Where a program says nothing that can be used, clients go by the lowest estimate, and the reason says why. Knows no
//! process and no wire; the shell asks, and hands over [`Told`].

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ipnet::IpNet;

use super::{PopIndex, Snapshot};
use crate::{Instant, PopCode, Reason, geo::BlockId};

/// How a program is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramOptions {
    /// An answer that takes longer is late, and not used. Default 5 ms.
    pub deadline: Duration,
    /// A program that keeps silent for longer hangs, and is killed. Default 1 s.
    pub patience: Duration,
    /// How often it is asked about every client network. Default 1 s.
    pub interval: Duration,
    /// Client networks that it is asked about; others go by the lowest estimate. Default 4096.
    pub networks_max: usize,
    /// How long after its first end a program is started again; doubled after each further one. Default 250 ms.
    pub restart_first: Duration,
    /// The longest that this becomes, and how long a program must run for it to begin anew. Default 10 s.
    pub restart_max: Duration,
    /// The longest line that is read, in bytes. Default 64 KiB.
    pub line_bytes_max: usize,
    /// Whether late answers are used all the same. They are counted either way. Default not; virtual time stands still
    /// while a program thinks, and what comes out must not depend on how fast the machine is.
    pub uses_late: bool,
}

impl Default for ProgramOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_millis(5),
            patience: Duration::from_secs(1),
            interval: Duration::from_secs(1),
            networks_max: 4096,
            restart_first: Duration::from_millis(250),
            restart_max: Duration::from_secs(10),
            line_bytes_max: 64 << 10,
            uses_late: false,
        }
    }
}

impl ProgramOptions {
    /// How long after a router's start its program is asked first: not before probes have come back, since whoever asks
    /// about health sooner learns that nobody is known to live.
    pub fn first(&self) -> Duration {
        self.interval.min(Duration::from_secs(1))
    }
}

/// What a program is asked: who of these should serve the clients of one network?
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The client network.
    pub client: IpNet,
    /// Where it is.
    pub city: Arc<str>,
    /// All candidates, as listed.
    pub pops: Vec<Asked>,
}

/// A candidate of a question.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Asked {
    /// The PoP.
    pub pop: PopCode,
    /// What it serves over what it can bear, both in requests per second; `None` where either is unknown.
    pub load: Option<f64>,
    /// At least one edge serves, and it is not being drained.
    pub is_healthy: bool,
    /// The round trip that is believed.
    pub rtt: Duration,
}

/// What a program said of one client network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// PoPs, best first. Who is not named comes after, by the lowest estimate.
    Order(Vec<PopCode>),
    /// Nothing that can be used, and why.
    Fault(Reason),
}

/// Everything that a program said in one round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// By client network.
    pub by_network: BTreeMap<IpNet, Word>,
    /// Why there is nothing of the other networks.
    pub otherwise: Reason,
}

impl Default for Told {
    /// Nothing yet.
    fn default() -> Self {
        Self { by_network: BTreeMap::new(), otherwise: Reason::RouteProgramSilent }
    }
}

/// What came of a program, as tables know it.
#[derive(Clone, Debug)]
pub(super) struct ToldOrders {
    /// The whole order, or why there is none.
    pub(super) by_block: BTreeMap<BlockId, Result<Box<[PopIndex]>, Reason>>,
    pub(super) otherwise: Reason,
}

impl Default for ToldOrders {
    fn default() -> Self {
        Self { by_block: BTreeMap::new(), otherwise: Reason::RouteProgramSilent }
    }
}

/// When a program that ended is started again.
#[derive(Clone, Debug)]
pub struct Restarts {
    wait: Duration,
    due: Instant,
    started: Instant,
}

impl Restarts {
    /// Of a program that has not been started yet: at once.
    pub const fn new(options: &ProgramOptions) -> Self {
        Self { wait: options.restart_first, due: Instant::ZERO, started: Instant::ZERO }
    }

    /// Whether it may be started.
    pub fn is_due(&self, now: Instant) -> bool {
        now >= self.due
    }

    /// It was started.
    pub const fn handle_start(&mut self, now: Instant) {
        self.started = now;
    }

    /// It ended, or could not be started. Returns for how long it is left alone.
    pub fn handle_end(&mut self, now: Instant, options: &ProgramOptions) -> Duration {
        if now.saturating_since(self.started) >= options.restart_max {
            self.wait = options.restart_first;
        }
        let wait = self.wait;
        self.due = now + wait;
        self.wait = (wait * 2).min(options.restart_max);
        wait
    }
}

impl Snapshot {
    /// Whether some host is routed by a program.
    pub fn asks_program(&self) -> bool {
        self.facts.tables.iter().any(|table| table.table.kind == super::PolicyKind::Program)
    }

    /// How many client networks there are to ask about.
    pub fn networks(&self) -> usize {
        self.facts.geo.block_ids().len()
    }

    /// What there is to ask, network by network.
    pub fn questions(&self) -> impl Iterator<Item = Question> + '_ {
        let facts = &self.facts;
        facts.geo.block_ids().map(|block| {
            let estimates = facts.estimates(Some(block));
            let pops = facts.pops.iter().zip(&facts.fitness).zip(&facts.loads).zip(&estimates);
            let pops = pops.map(|(((pop, fitness), load), estimate)| Asked {
                pop: pop.code,
                load: load.load_rps.zip(load.capacity_rps).map(|(rps, capacity)| rps / capacity),
                is_healthy: fitness.is_healthy(),
                rtt: estimate.rtt,
            });
            let (client, city) = (facts.geo.block(block).net, facts.geo.place_of(block).label);
            Question { client, city, pops: pops.collect() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_ends_again_and_again_is_left_alone_for_longer_each_time() {
        let options = ProgramOptions::default();
        let mut restarts = Restarts::new(&options);
        let mut now = Instant::ZERO;
        let mut waits = vec![];
        for _ in 0..8 {
            assert!(restarts.is_due(now));
            restarts.handle_start(now);
            let wait = restarts.handle_end(now, &options);
            assert!(!restarts.is_due(now + wait - Duration::from_nanos(1)));
            now += wait;
            waits.push(wait.as_millis());
        }
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
        restarts.handle_start(now);
        assert_eq!(restarts.handle_end(now + options.restart_max, &options), options.restart_first);
    }
}
