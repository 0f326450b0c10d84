//! What becomes of what a program says.

use super::*;

const BERLIN_NET: &str = "198.18.1.0/24";

fn told(words: &[(&str, Word)]) -> Told {
    let by_network = words.iter().map(|(net, word)| (net.parse().unwrap(), word.clone())).collect();
    Told { by_network, ..Told::default() }
}

fn order(codes: &[&str]) -> Word {
    Word::Order(codes.iter().map(|pop| code(pop)).collect())
}

fn reason(snapshot: &Snapshot, client: &str) -> Reason {
    snapshot.reason(0, client.parse().unwrap(), 0)
}

#[test]
fn a_program_has_the_last_word_on_the_networks_that_it_names() {
    let mut planner = planner(options(PolicyKind::Program), berlin_and_tokyo());
    let now = Instant::ZERO + ms(20_000);
    let before = planner.build_snapshot(now);
    assert_eq!(codes(&before, "198.18.1.7"), ["FRA", "AMS"]);
    assert_eq!(reason(&before, "198.18.1.7"), Reason::RouteProgramSilent);
    planner.set_told(now, told(&[(BERLIN_NET, order(&["SYD", "SYD", "GRU"])), ("198.18.9.0/24", order(&["SYD"]))]));
    let snapshot = planner.poll_snapshot(now).expect("its word is news");
    assert_eq!(codes(&snapshot, "198.18.1.7"), ["SYD", "GRU"]);
    assert_eq!(reason(&snapshot, "198.18.1.7"), Reason::RouteProgram);
    assert_eq!(codes(&snapshot, "198.18.2.7"), ["NRT", "SYD"], "it said nothing of Tokyo");
    let why = snapshot.explain(0, "x", "198.18.1.7".parse().unwrap(), AskedBy::Peer, &ExplainOptions::default());
    assert_eq!((why.policy, why.chosen[0].reason), ("program", Reason::RouteProgram));
    let by_rank: Vec<_> = why.candidates.iter().map(|candidate| candidate.pop.to_string()).collect();
    assert_eq!(by_rank, ["SYD", "GRU", "FRA", "AMS", "IAD", "NRT"], "the others by the lowest estimate");
    // Said again it is no news.
    planner.set_told(now, told(&[(BERLIN_NET, order(&["SYD", "SYD", "GRU"])), ("198.18.9.0/24", order(&["SYD"]))]));
    assert!(planner.poll_snapshot(now).is_none());
    // What is no longer said counts no longer.
    planner.set_told(now, Told { otherwise: Reason::RouteProgramDied, ..Told::default() });
    let snapshot = planner.poll_snapshot(now).unwrap();
    assert_eq!(codes(&snapshot, "198.18.1.7"), ["FRA", "AMS"]);
    assert_eq!(reason(&snapshot, "198.18.1.7"), Reason::RouteProgramDied);
}

#[test]
fn a_fault_is_told_to_the_network_that_it_concerns() {
    let mut planner = planner(options(PolicyKind::Program), berlin_and_tokyo());
    let now = Instant::ZERO + ms(20_000);
    let late = Word::Fault(Reason::RouteProgramLate);
    planner.set_told(now, told(&[(BERLIN_NET, late), ("198.18.2.0/24", order(&["IAD"]))]));
    let snapshot = planner.build_snapshot(now);
    assert_eq!(reason(&snapshot, "198.18.1.7"), Reason::RouteProgramLate);
    assert_eq!(codes(&snapshot, "198.18.1.7"), ["FRA", "AMS"]);
    assert_eq!(codes(&snapshot, "198.18.2.7"), ["IAD", "NRT"]);
}

#[test]
fn a_dead_pop_is_skipped_whoever_names_it_and_a_full_one_is_not() {
    let capacity = [(code("SYD"), 100.0)].into();
    let spill = SpillOptions { capacity, ..SpillOptions::default() };
    let mut planner = planner(RoutingOptions { spill, ..options(PolicyKind::Program) }, many());
    let now = settle(&mut planner, Instant::ZERO + ms(20_000), &["GRU"]);
    let words: Vec<(String, Word)> = (0..512u32)
        .map(|b| (format!("{}/24", Ipv4Addr::from_bits(0xc612_0000 + (b << 8))), order(&["GRU", "SYD"])))
        .collect();
    let words: Vec<(&str, Word)> = words.iter().map(|(net, word)| (net.as_str(), word.clone())).collect();
    planner.set_told(now, told(&words));
    report(&mut planner, now, "SYD", 1000.0);
    report(&mut planner, now + ms(1000), "SYD", 1000.0);
    let snapshot = planner.build_snapshot(now + ms(1000));
    assert_eq!(snapshot.spilling_pops(), 1);
    let first = |b: u32| names(&snapshot, 0, &Ipv4Addr::from_bits(0xc612_0001 + (b << 8)).to_string())[0].clone();
    assert!((0..512).all(|b| first(b) == "SYD"), "it was told of the load, and wants it so");
    let question = snapshot.questions().next().unwrap();
    let asked = |pop: &str| *question.pops.iter().find(|asked| asked.pop == code(pop)).unwrap();
    assert_eq!((asked("SYD").load, asked("SYD").is_healthy), (Some(10.0), true));
    assert_eq!((asked("GRU").load, asked("GRU").is_healthy), (None, false));
    assert_eq!((snapshot.networks(), snapshot.asks_program()), (512, true));
}

#[test]
fn its_word_outlives_other_networks_and_is_lost_on_another_policy() {
    let mut planner = planner(options(PolicyKind::Program), berlin_and_tokyo());
    let now = Instant::ZERO + ms(20_000);
    planner.set_told(now, told(&[(BERLIN_NET, order(&["SYD"]))]));
    planner.set_geo(now, geo(&[("198.18.0.0/24".parse().unwrap(), BERLIN), (BERLIN_NET.parse().unwrap(), BERLIN)]));
    let snapshot = planner.build_snapshot(now);
    assert_eq!(codes(&snapshot, "198.18.1.7")[0], "SYD");
    assert_eq!(codes(&snapshot, "198.18.0.7")[0], "FRA");
    planner.set_policies(PolicyKind::Latency, &BTreeMap::new());
    let snapshot = planner.build_snapshot(now);
    assert_eq!(codes(&snapshot, "198.18.1.7")[0], "FRA");
    assert!(!snapshot.asks_program());
}
