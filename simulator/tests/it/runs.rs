//! Runs of whole worlds: they add up, repeat to the byte, and do under faults what the live world does.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use cdn_core::{
    Counter, Counters, Instant, NodeId, Role,
    routing::{PolicyKind, Snapshot, Told, Word},
};
use simulator::{PlainAnswers, Program, ProgramSpec, Programs, RunError, default_world, run};
use world::{
    CacheOutcome, Effect, EventKind, Judge, LinkChange, SiteId,
    scenario::{Action, Area, Expectation, Paths, What},
};

use crate::support::{Recorder, load, play, scenario};

const POPS: [&str; 3] = ["iad", "fra", "nrt"];

fn zipf() -> Paths {
    Paths::Zipf { s: 1.0, n: 500 }
}

fn fault(node: NodeId, effect: Effect) -> Action {
    Action::Fault { nodes: vec![node], effects: vec![effect], rate: 1.0, path: None, from: None, span: None }
}

#[test]
fn a_quiet_world_serves_everybody_from_the_nearest_store() {
    let plan = default_world(&POPS, &PlainAnswers::default());
    let (seen, _) = play(&plan, &scenario(60, load(&["berlin", "tokyo", "chicago"], 200.0, zipf()), vec![]));
    assert_eq!(seen.availability(0, 65), 1.0);
    let late: Vec<_> = seen.seen.iter().filter(|seen| seen.intended.as_nanos() > 30_000_000_000).collect();
    let hits = late.iter().filter(|seen| seen.cache == CacheOutcome::Hit).count();
    assert!(hits as f64 > 0.8 * late.len() as f64, "{hits} of {}", late.len());
    // On a connection that stands a hit takes a round trip, which is the least that anybody ever sees.
    let fastest = late.iter().map(|seen| seen.latency()).min().unwrap();
    assert!(fastest > Duration::from_millis(2) && fastest < Duration::from_millis(40), "{fastest:?}");
}

#[test]
fn a_run_repeats_to_the_byte() {
    let plan = default_world(&POPS, &PlainAnswers::default());
    let edge = NodeId::new(Role::Edge, "fra");
    let steps = vec![(5, Action::Kill { nodes: vec![edge], span: Some(Duration::from_secs(8)) })];
    let scenario = scenario(20, load(&[], 300.0, zipf()), steps);
    let [first, second] = [(); 2].map(|()| play(&plan, &scenario));
    assert_eq!(first.0.seen, second.0.seen);
    assert_eq!(first.0.events, second.0.events);
    assert_eq!(first.1, second.1);
}

#[test]
fn an_edge_dies_is_found_out_gone_around_and_taken_back() {
    let plan = default_world(&POPS, &PlainAnswers::default());
    let edge = NodeId::new(Role::Edge, "fra");
    let steps = vec![(10, Action::Kill { nodes: vec![edge], span: Some(Duration::from_secs(30)) })];
    let mut one = load(&["berlin"], 20.0, zipf());
    // Whoever keeps a connection stays where it leads; these ask for the way each time.
    (one.connections.idle, one.connections.per_user) = (Duration::ZERO, 100);
    let (seen, _) = play(&plan, &scenario(130, one, steps));
    // Its clients go on to the second address.
    assert!(seen.availability(15, 45) > 0.99, "{}", seen.availability(15, 45));
    let detected = seen.events.iter().find(|event| matches!(event.kind, EventKind::Detected { .. })).unwrap();
    let took = detected.at.as_nanos() as f64 / 1e9 - 15.0;
    assert!((0.0..3.0).contains(&took), "detected after {took} s");
    assert!(seen.events.iter().any(|event| matches!(event.kind, EventKind::Recovered { .. })));
    let pop = |from: u64, to: u64, code: &str| {
        let at = |seen: &&world::Observation| (from..to).contains(&(seen.intended.as_nanos() / 1_000_000_000));
        let all: Vec<_> = seen.seen.iter().filter(at).collect();
        let there = all.iter().filter(|seen| seen.pop.is_some_and(|pop| pop.as_str() == code)).count();
        there as f64 / all.len() as f64
    };
    // A few explore the second best.
    assert!(pop(6, 15, "FRA") > 0.9 && pop(115, 135, "FRA") > 0.9);
    assert_eq!(pop(18, 44, "FRA"), 0.0);
}

#[test]
fn a_black_hole_costs_three_connects_and_a_refusal_nearly_nothing() {
    // No shield, so that the edge itself asks; every request is a miss of its own.
    let slowest = |effect| {
        let mut plan =
            default_world(&POPS, &PlainAnswers { cache_control: "no-store".into(), ..PlainAnswers::default() });
        plan.nodes.iter_mut().for_each(|node| node.parents.clear());
        let mut one = load(&["berlin"], 2.0, Paths::Zipf { s: 0.0, n: 1_000_000 });
        one.retry.timeout = Duration::from_secs(60);
        let steps = vec![(5, fault(NodeId::new(Role::Origin, "primary"), effect))];
        let (seen, _) = play(&plan, &scenario(20, one, steps));
        assert_eq!(seen.availability(0, 25), 1.0, "the secondary answers");
        // What was under way when it happened waits for its answer first, and then as long again.
        let later = seen.seen.iter().filter(|seen| seen.intended.as_nanos() > 10_500_000_000);
        later.map(|seen| seen.latency()).max().unwrap()
    };
    let (silent, refused) = (slowest(Effect::Blackhole), slowest(Effect::Refuse));
    assert!((30.0..32.0).contains(&silent.as_secs_f64()), "{silent:?}");
    assert!(refused < Duration::from_secs(2), "{refused:?}");
}

#[test]
fn a_partition_between_shield_and_origin_is_gone_around_and_forgotten() {
    let plan = default_world(&POPS, &PlainAnswers { cache_control: "max-age=2".into(), ..PlainAnswers::default() });
    let partition = Action::Link {
        a: SiteId::new("iad"),
        b: SiteId::new("us-east-1"),
        one_way: false,
        changes: vec![LinkChange::Partition],
        span: Some(Duration::from_secs(40)),
    };
    let (seen, _) = play(&plan, &scenario(120, load(&["berlin"], 20.0, zipf()), vec![(10, partition)]));
    assert_eq!(seen.availability(0, 14), 1.0);
    assert_eq!(seen.availability(80, 125), 1.0, "what has healed is forgotten");
}

#[test]
fn nothing_older_than_an_invalidation_is_served_once_it_is_done() {
    let plan = default_world(&POPS, &PlainAnswers { cache_control: "max-age=3600".into(), ..PlainAnswers::default() });
    let invalidate = Action::Invalidate { distribution: None, patterns: vec!["/*".into()] };
    let (seen, _) = play(&plan, &scenario(40, load(&["berlin", "tokyo"], 100.0, zipf()), vec![(20, invalidate)]));
    let at = |wanted: fn(&EventKind) -> bool| seen.events.iter().find(|event| wanted(&event.kind)).unwrap().at;
    let accepted = at(|kind| matches!(kind, EventKind::InvalidationAccepted { .. }));
    let done = at(|kind| matches!(kind, EventKind::InvalidationDone { .. }));
    assert!(done > accepted && done - accepted < Duration::from_secs(1));
    let after: Vec<_> = seen.seen.iter().filter(|seen| seen.started > done).collect();
    assert!(after.len() > 1000 && after.iter().all(|seen| seen.made.unwrap() >= accepted));
    assert!(after.iter().any(|seen| seen.cache == CacheOutcome::Hit), "and it is stored again");
}

#[test]
fn a_run_that_needs_more_memory_than_allowed_says_so_before_it_starts() {
    let mut plan = default_world(&POPS, &PlainAnswers::default());
    plan.memory_max = 1 << 20;
    let refused = run(&plan, &scenario(5, load(&[], 10.0, zipf()), vec![]), &mut Recorder::default());
    let Err(error @ RunError::Memory { .. }) = refused else { panic!("it was played") };
    assert!(error.to_string().contains("may have 1 MiB"), "{error}");
}

/// Programs that send everybody to one PoP, and write down which router asked when.
#[derive(Clone, Debug)]
struct Everybody {
    to: &'static str,
    asked: Arc<Mutex<Vec<(NodeId, u64, Instant)>>>,
    begun: Arc<Mutex<u64>>,
}

#[derive(Debug)]
struct Asked {
    of: Everybody,
    router: NodeId,
    number: u64,
    counters: Arc<Counters>,
}

impl Programs for Everybody {
    fn begin(&self, router: &NodeId, counters: Arc<Counters>) -> Box<dyn Program> {
        let mut begun = self.begun.lock().unwrap();
        *begun += 1;
        Box::new(Asked { of: self.clone(), router: router.clone(), number: *begun, counters })
    }
}

impl Program for Asked {
    fn round(&mut self, now: Instant, snapshot: &Snapshot) -> Told {
        self.of.asked.lock().unwrap().push((self.router.clone(), self.number, now));
        let to = Word::Order(vec![self.of.to.parse().unwrap()]);
        let by_network = snapshot.questions().map(|question| (question.client, to.clone())).collect();
        self.counters.bump(Counter::RouterProgramAnswers);
        Told { by_network, ..Told::default() }
    }
}

#[test]
fn each_router_asks_a_program_of_its_own_once_a_second_and_another_one_when_it_was_started_anew() {
    let mut plan = default_world(&POPS, &PlainAnswers::default());
    let programs = Everybody { to: "NRT", asked: Arc::default(), begun: Arc::default() };
    let (first, interval) = (Duration::from_secs(1), Duration::from_secs(1));
    plan.program = Some(ProgramSpec { first, interval, programs: Arc::new(programs.clone()) });
    (plan.routing.policy, plan.routing.ttl) = (PolicyKind::Program, Duration::from_secs(2));
    let routers: Vec<NodeId> = plan.nodes_with(Role::Router).map(|(_, spec)| spec.id.clone()).collect();
    let killed = routers[0].clone();
    let kill = Action::Kill { nodes: vec![killed.clone()], span: Some(Duration::from_millis(3500)) };
    let mut one = load(&["berlin", "chicago"], 20.0, zipf());
    (one.connections.idle, one.connections.per_user) = (Duration::ZERO, 100);
    let mut scenario = scenario(30, one, vec![(5, kill)]);
    scenario.told = vec![Counter::RouterProgramAnswers];
    let (seen, _) = play(&plan, &scenario);
    let asked = programs.asked.lock().unwrap().split_off(0);
    let times = |number: u64| {
        let of_it = asked.iter().filter(|(_, program, _)| *program == number);
        of_it.map(|(_, _, at)| at.as_nanos() / 1_000_000).collect::<Vec<_>>()
    };
    // It is killed 10 s after the run began, and started 3.5 s later.
    let number = 1 + routers.len() as u64;
    assert_eq!(*programs.begun.lock().unwrap(), number);
    assert_eq!(times(1), (1..10).map(|s| s * 1000).collect::<Vec<_>>());
    assert_eq!(times(number), (0..21).map(|s| 14_500 + s * 1000).collect::<Vec<_>>());
    assert!(asked.iter().all(|(router, program, _)| (*router == killed) == (*program == 1 || *program == number)));
    // Its word is there as soon as answers from before are too old.
    let late: Vec<_> = seen.seen.iter().filter(|seen| seen.intended.as_nanos() > 20_000_000_000).collect();
    assert!(late.len() > 100 && late.iter().all(|seen| seen.pop.is_some_and(|pop| pop.as_str() == "NRT")));
    // An expectation counts from time zero, and the verdict tells of the whole run.
    let what = What::Counter(Counter::RouterProgramAnswers);
    scenario.expectations = vec![Expectation {
        what,
        from: Area::World,
        pop: None,
        node: None,
        after: Duration::ZERO,
        before: None,
        min: Some(1.0),
        max: None,
        equals: None,
        line: 1,
    }];
    let mut judge = Judge::new(&scenario, &plan.directory());
    let (end, _) = run(&plan, &scenario, &mut judge).unwrap();
    let asked = programs.asked.lock().unwrap();
    let since_zero = asked.iter().filter(|(.., at)| *at >= scenario.zero()).count();
    let judgement = judge.finish(end);
    assert_eq!(judgement.told[&Counter::RouterProgramAnswers], asked.len() as u64);
    assert_eq!(judgement.rows[0].got, Some(since_zero as f64));
}
