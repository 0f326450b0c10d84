//! Scenarios of tests, and who looks on.

use std::time::Duration;

use simulator::{Ledger, Plan, Witness, run};
use world::{
    Event, EventKind, Observation, Scenario, SiteId,
    scenario::{Action, Connections, From, Load, Paths, Resolvers, Retry, Sizes, Step},
};

/// Writes everything down.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) seen: Vec<Observation>,
    pub(crate) events: Vec<Event>,
}

impl Witness for Recorder {
    fn observe(&mut self, observation: &Observation) {
        self.seen.push(*observation);
    }

    fn note(&mut self, event: &Event) {
        self.events.push(event.clone());
    }
}

impl Recorder {
    /// The share of requests that were served, of those meant from `after` to `before` seconds.
    pub(crate) fn availability(&self, after: u64, before: u64) -> f64 {
        let at = |observation: &&Observation| {
            (after * 1_000_000_000..before * 1_000_000_000).contains(&observation.intended.as_nanos())
        };
        let all: Vec<_> = self.seen.iter().filter(at).collect();
        assert!(!all.is_empty(), "nobody asked between {after} and {before} s");
        all.iter().filter(|observation| observation.is_served()).count() as f64 / all.len() as f64
    }

    /// The value that a counter has come to, over all nodes.
    pub(crate) fn counter(&self, wanted: cdn_core::Counter) -> u64 {
        let mut last = std::collections::BTreeMap::new();
        for event in &self.events {
            if let EventKind::Counter { node, counter, value } = event.kind
                && counter == wanted
            {
                last.insert(node, value);
            }
        }
        last.values().sum()
    }
}

/// A load from these cities, one path per rank of `paths`.
pub(crate) fn load(cities: &[&str], rps: f64, paths: Paths) -> Load {
    let from = match cities {
        [] => From::World,
        cities => From::Places(cities.iter().map(|city| (SiteId::new(city), 1.0)).collect()),
    };
    Load {
        from,
        rps,
        start: Duration::ZERO,
        span: None,
        paths,
        sizes: Sizes::Fixed(2000),
        ramp: Vec::new(),
        diurnal: None,
        connections: Connections::default(),
        resolvers: Resolvers::default(),
        retry: Retry::default(),
        distribution: "demo".into(),
        method: "GET".into(),
        users: 200,
        signing: None,
    }
}

/// A scenario of so many seconds, after 5 s of warm-up.
pub(crate) fn scenario(seconds: u64, load: Load, steps: Vec<(u64, Action)>) -> Scenario {
    let step = |(at, action)| Step { at: Duration::from_secs(at), action, text: String::new(), line: 1 };
    Scenario {
        title: "test".into(),
        about: String::new(),
        seed: 7,
        warmup: Duration::from_secs(5),
        length: Duration::from_secs(seconds),
        loads: vec![load],
        steps: steps.into_iter().map(step).collect(),
        expectations: Vec::new(),
        told: Vec::new(),
    }
}

/// Plays it; what came of it adds up, as it does in every run (oracle 18: Little's law and the balance of flows).
pub(crate) fn play(plan: &Plan, scenario: &Scenario) -> (Recorder, Ledger) {
    let mut recorder = Recorder::default();
    let (_, ledger) = run(plan, scenario, &mut recorder).unwrap();
    assert_eq!(ledger.check(), Ok(()), "{ledger:?}");
    assert_eq!(ledger.over, recorder.seen.len() as u64);
    (recorder, ledger)
}
