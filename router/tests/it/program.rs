//! Routing by a program of somebody else: what clients get while it answers, and while it does not.

use std::{ffi::OsString, time::Duration};

use cdn_core::{
    Counter, Reason,
    routing::{ExplainOptions, PolicyKind, ProgramOptions},
};
use router::{Asker, Program};

use crate::world::{World, wait_until, world_with};

const BERLIN: &str = "198.18.1.0/24";

/// Sends everybody to Tokyo, after `how` has been done at each line.
fn tokyo(how: &str) -> String {
    format!(
        "import sys, time, os, json\nfor n, line in enumerate(sys.stdin):\n    {how}\n    print('\"nrt\"', flush=True)\n"
    )
}

/// A world that is routed by a Python program.
fn routed_by(source: &str, change: impl FnOnce(&mut ProgramOptions)) -> World {
    let command = ["python3", "-c", source].map(OsString::from).into();
    // Python on a busy machine is not the point here, unless a test makes it so.
    let mut options = ProgramOptions {
        deadline: Duration::from_secs(5),
        interval: Duration::from_millis(50),
        patience: Duration::from_secs(10),
        restart_first: Duration::from_millis(20),
        ..ProgramOptions::default()
    };
    change(&mut options);
    world_with(|config| {
        config.routing.policy = PolicyKind::Program;
        config.program = Some(Program { command, options });
    })
    .healthy()
}

fn why(world: &World) -> Reason {
    let asker = Asker { peer: [127, 0, 0, 1].into(), subnet: Some(BERLIN.parse().unwrap()) };
    let explained = world.handle.explain(asker, "www.demo.test", &ExplainOptions::default()).unwrap();
    explained.explanation.chosen[0].reason
}

fn count(world: &World, counter: Counter) -> u64 {
    world.handle.counters().value(counter)
}

#[test]
fn answers_over_dns_are_the_program_s_and_one_for_another_policy_are_not() {
    let mut world = routed_by(&tokyo("pass"), |_| {});
    wait_until("Berlin is sent to Tokyo", || world.edges_for(BERLIN) == [1, 0]);
    assert_eq!(why(&world), Reason::RouteProgram);
    assert_eq!((count(&world, Counter::RouterProgramRunning), count(&world, Counter::RouterProgramStarts)), (1, 1));
    world.handle.set_policies(PolicyKind::Latency, &Default::default());
    assert_eq!(world.edges_for(BERLIN), [0, 1]);
    world.handle.set_policies(PolicyKind::Program, &Default::default());
    assert_eq!(world.edges_for(BERLIN), [1, 0], "what it said last still stands");
    // A dead edge is left out, whatever the program says.
    world.edges[1].kill();
    wait_until("Berlin is served at home", || world.edges_for(BERLIN) == [0]);
    assert!(world.stop() < Duration::from_secs(5));
}

#[test]
fn one_that_dies_is_started_again_and_clients_go_by_the_estimate_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("was-here");
    let how = format!(
        "if n > 20 and not os.path.exists({mark:?}): open({mark:?}, 'w'); os._exit(3)",
        mark = mark.to_str().unwrap()
    );
    let world = routed_by(&tokyo(&how), |options| options.restart_first = Duration::from_secs(1));
    wait_until("it has died", || count(&world, Counter::RouterProgramDied) == 1);
    wait_until("everybody knows", || why(&world) == Reason::RouteProgramDied);
    assert_eq!(world.edges_for(BERLIN), [0, 1]);
    wait_until("it is back", || world.edges_for(BERLIN) == [1, 0]);
    assert_eq!(count(&world, Counter::RouterProgramStarts), 2);
}

#[test]
fn one_that_hangs_is_killed_and_nobody_waits_for_it() {
    let world = routed_by(&tokyo("n > 20 and time.sleep(3600)"), |options| {
        options.patience = Duration::from_millis(300);
        options.restart_first = Duration::from_secs(3600);
    });
    wait_until("it answers", || count(&world, Counter::RouterProgramQuestions) > 21);
    let began = std::time::Instant::now();
    assert_eq!(world.edges_for(BERLIN).len(), 2, "a question is answered while the program hangs");
    assert!(began.elapsed() < Duration::from_secs(3));
    wait_until("it was killed", || why(&world) == Reason::RouteProgramHung);
    assert_eq!(world.edges_for(BERLIN), [0, 1]);
    assert_eq!((count(&world, Counter::RouterProgramHung), count(&world, Counter::RouterProgramRunning)), (1, 0));
}

#[test]
fn every_other_fault_has_a_name_and_the_network_goes_by_the_estimate() {
    let talk = "print('debug', flush=True)";
    let faults = [
        (tokyo("time.sleep(0.05)"), Reason::RouteProgramLate, Counter::RouterProgramLate),
        (tokyo(talk), Reason::RouteProgramNonsense, Counter::RouterProgramNonsense),
        (tokyo("pass").replace("nrt", "lhr"), Reason::RouteProgramUnknownPop, Counter::RouterProgramUnknownPop),
        (
            "print('x' * 100000, flush=True)\nwhile True: pass".into(),
            Reason::RouteProgramNonsense,
            Counter::RouterProgramNonsense,
        ),
        ("import nothing_like_this".into(), Reason::RouteProgramDied, Counter::RouterProgramDied),
    ];
    for (source, reason, counter) in faults {
        let world = routed_by(&source, |options| {
            if reason == Reason::RouteProgramLate {
                options.deadline = Duration::from_millis(5);
            }
        });
        wait_until(reason.as_str(), || why(&world) == reason);
        assert_eq!(world.edges_for(BERLIN), [0, 1], "{reason}");
        assert!(count(&world, counter) > 0, "{reason}");
    }
}

#[test]
fn one_that_cannot_be_started_is_named_too() {
    let command = vec![OsString::from("/nonexistent/router")];
    let world = world_with(|config| {
        config.routing.policy = PolicyKind::Program;
        config.program = Some(Program { command, options: ProgramOptions::default() });
    })
    .healthy();
    wait_until("it is named", || why(&world) == Reason::RouteProgramNotStarted);
    assert!(count(&world, Counter::RouterProgramNotStarted) > 0);
}
