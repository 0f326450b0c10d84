//! Several observers of the same edges in virtual time: what they find out together, and how soon.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use cdn_core::{
    Instant, NodeId, Role,
    geo::{GeoMap, Place, Point},
    health::{Change, HealthState, ProbeError},
    routing::{EdgeSite, Host, Planner, Pop, Probe, RoutingOptions},
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn at(ms_after: u64) -> Instant {
    Instant::ZERO + ms(ms_after)
}

/// The way of a message between two observers.
const BETWEEN: Duration = ms(45);

/// What becomes of a probe of `edge` by `observer` sent at a moment: how long it takes, and its outcome.
type Fate<'a> = dyn FnMut(usize, &str, Instant) -> (Duration, Result<(), ProbeError>) + 'a;

#[derive(Debug)]
enum Event {
    Outcome { observer: usize, probe: Probe, took: Duration, outcome: Result<(), ProbeError> },
    Opinions { from: usize, to: usize, states: Vec<(NodeId, HealthState)> },
    Repeat { from: usize },
}

/// Observers that probe, and tell one another as the shell does: at once what has changed, and all now and then.
struct World {
    observers: Vec<Planner>,
    alive: Vec<bool>,
    events: BTreeMap<(Instant, u64), Event>,
    serial: u64,
    now: Instant,
    /// Steps of verdicts: when, at which observer, which edge.
    changes: Vec<(Instant, usize, NodeId, Change)>,
}

impl World {
    fn new(observers: usize, edges: &[&str]) -> Self {
        let place = Place { point: Point::new(0.0, 0.0).unwrap(), country: "".into(), label: "".into() };
        let pops: Vec<Pop> = (1..)
            .zip(edges)
            .map(|(last, code)| Pop {
                code: code.parse().unwrap(),
                place: place.clone(),
                edges: vec![EdgeSite {
                    id: NodeId::new(Role::Edge, code),
                    address: SocketAddrV4::new(Ipv4Addr::new(127, 77, 0, last), 80),
                    address6: None,
                }],
            })
            .collect();
        let planner = || {
            let options = RoutingOptions::default();
            Planner::new(Instant::ZERO, options, GeoMap::build([]), pops.clone(), vec![Host::new("demo")])
        };
        let mut world = Self {
            observers: (0..observers).map(|_| planner()).collect(),
            alive: vec![true; observers],
            events: BTreeMap::new(),
            serial: 0,
            now: Instant::ZERO,
            changes: vec![],
        };
        for from in 0..observers {
            // Each at a phase of its own.
            world.schedule(at(77 * from as u64), Event::Repeat { from });
        }
        world
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        self.serial += 1;
        self.events.insert((at, self.serial), event);
    }

    fn run(&mut self, until: Instant, fate: &mut Fate<'_>) {
        loop {
            let probes = self.observers.iter().zip(&self.alive).filter(|&(_, alive)| *alive);
            let probes = probes.map(|(planner, _)| planner.poll_timeout()).min().unwrap_or(Instant::MAX);
            let event = self.events.keys().next().map_or(Instant::MAX, |&(at, _)| at);
            let next = self.now.max(probes.min(event));
            if next >= until {
                self.now = until;
                return;
            }
            self.now = next;
            if let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let event = entry.remove();
                self.handle(event);
            }
            for observer in 0..self.observers.len() {
                if self.alive[observer] {
                    self.poll(observer, fate);
                }
            }
        }
    }

    fn handle(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Outcome { observer, probe, took, outcome }
                if self.alive[observer]
                    && self.observers[observer].handle_probe(now, probe, outcome.map(|()| took)).is_some() =>
            {
                self.tell(observer);
            }
            Event::Opinions { from, to, states } if self.alive[to] => {
                let observer = NodeId::new(Role::Router, &format!("r{from}"));
                self.observers[to].handle_opinions(now, observer, states);
            }
            Event::Repeat { from } if self.alive[from] => {
                self.tell(from);
                let again = now + self.observers[from].options().quorum.repeat_interval();
                self.schedule(again, Event::Repeat { from });
            }
            _ => {}
        }
    }

    fn tell(&mut self, from: usize) {
        let states: Vec<_> = self.observers[from].opinions().map(|(edge, state)| (edge.clone(), state)).collect();
        for to in (0..self.observers.len()).filter(|&to| to != from) {
            let event = Event::Opinions { from, to, states: states.clone() };
            self.schedule(self.now + BETWEEN, event);
        }
    }

    fn poll(&mut self, observer: usize, fate: &mut Fate<'_>) {
        let now = self.now;
        while let Some(probe) = self.observers[observer].poll_probe(now) {
            let health = self.observers[observer].health();
            let edge = health.iter().find(|edge| edge.address == probe.address).unwrap();
            let (took, outcome) = fate(observer, edge.pop.as_str(), now);
            self.schedule(now + took, Event::Outcome { observer, probe, took, outcome });
        }
        let _ = self.observers[observer].poll_snapshot(now);
        let changes = self.observers[observer].poll_changes();
        self.changes.extend(changes.into_iter().map(|(edge, change)| (now, observer, edge, change)));
    }

    fn state(&self, observer: usize, edge: &str) -> HealthState {
        self.observers[observer].health().iter().find(|health| health.pop.as_str() == edge).unwrap().state
    }

    /// When `observer` found that an edge is down, after `since`.
    fn down_at(&self, observer: usize, since: Instant) -> Option<Instant> {
        let steps = self
            .changes
            .iter()
            .filter(|(at, by, _, change)| *at >= since && *by == observer && change.to == HealthState::Down);
        steps.map(|(at, ..)| *at).next()
    }
}

/// All answer, after a round trip that depends on who asks whom.
fn well(observer: usize, edge: &str) -> (Duration, Result<(), ProbeError>) {
    (ms(20 + 60 * observer as u64 + u64::from(edge.as_bytes()[0] % 8) * 10), Ok(()))
}

#[test]
fn a_dead_edge_is_out_at_every_observer_within_three_intervals() {
    for silent in [true, false] {
        for died in (20_000..21_000).step_by(83).map(at) {
            let mut world = World::new(3, &["FRA", "NRT"]);
            world.run(at(30_000), &mut |observer, edge, now| match edge {
                "FRA" if now >= died && silent => (ms(800), Err(ProbeError::TimedOut)),
                "FRA" if now >= died => (well(observer, edge).0, Err(ProbeError::Refused)),
                _ => well(observer, edge),
            });
            for observer in 0..3 {
                let took = world.down_at(observer, died).expect("down") - died;
                assert!(took <= ms(3000), "observer {observer}, silent {silent}: {took:?}");
                assert_eq!(world.state(observer, "NRT"), HealthState::Up);
            }
        }
    }
}

#[test]
fn an_edge_that_dies_with_an_observer_is_out_in_time_too() {
    for died in (20_000..21_000).step_by(83).map(at) {
        let mut world = World::new(2, &["FRA", "NRT"]);
        world.run(died, &mut |observer, edge, _| well(observer, edge));
        // The last word of the dead observer is that the edge is up.
        world.alive[1] = false;
        world.run(at(30_000), &mut |observer, edge, _| match edge {
            "FRA" => (ms(800), Err(ProbeError::TimedOut)),
            _ => well(observer, edge),
        });
        let took = world.down_at(0, died).expect("down") - died;
        assert!(took <= ms(3000), "{took:?}");
    }
}

#[test]
fn who_is_cut_off_from_an_edge_takes_it_from_nobody() {
    let mut world = World::new(3, &["FRA", "NRT"]);
    let (cut, healed) = (at(10_000), at(40_000));
    world.run(at(60_000), &mut |observer, edge, now| match (observer, edge) {
        (0, "FRA") if (cut..healed).contains(&now) => (ms(800), Err(ProbeError::TimedOut)),
        _ => well(observer, edge),
    });
    let down: Vec<_> = world.changes.iter().filter(|(.., change)| change.to == HealthState::Down).collect();
    assert!(down.is_empty(), "{down:?}");
    // Everybody saw that somebody doubted, and that the doubt ended.
    for observer in 0..3 {
        let doubted =
            world.changes.iter().any(|(.., by, _, change)| *by == observer && change.to == HealthState::Suspect);
        assert!(doubted && world.state(observer, "FRA") == HealthState::Up);
    }
}

#[test]
fn who_is_cut_off_from_everybody_judges_alone() {
    let mut world = World::new(2, &["FRA", "NRT"]);
    world.run(at(10_000), &mut |observer, edge, _| well(observer, edge));
    // Nothing reaches observer 0 any more, and nothing of it arrives: as good as dead for the other.
    world.events.retain(|_, event| !matches!(event, Event::Repeat { .. } | Event::Opinions { .. }));
    world.run(at(20_000), &mut |observer, edge, _| match observer {
        0 => (ms(800), Err(ProbeError::TimedOut)),
        _ => well(observer, edge),
    });
    // What it says when it finds them down is the only word that was sent since; it has lost its weight.
    assert_eq!((world.state(0, "FRA"), world.state(1, "FRA")), (HealthState::Down, HealthState::Up));
}

#[test]
fn thirty_percent_loss_at_every_observer_is_no_flap_in_a_day() {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut world = World::new(2, &["FRA"]);
    world.run(at(5000), &mut |observer, edge, _| well(observer, edge));
    world.run(at(86_400_000), &mut |observer, edge, _| match random.random_bool(0.3) {
        true => (ms(800), Err(ProbeError::TimedOut)),
        false => well(observer, edge),
    });
    assert!(world.changes.iter().all(|(.., change)| change.to.is_healthy()));
}
