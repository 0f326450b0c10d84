//! The laws that every policy obeys, over worlds that are drawn: maps, beacons, loads, deaths, drains and limits.
//!
//! A new policy is in `PolicyKind::ALL`, and so in here.

use proptest::prelude::*;

use super::*;

/// A list of candidates that leaves one whichever PoPs are dead and drained.
const LISTED: [&str; 4] = ["IAD", "FRA", "NRT", "SYD"];

#[derive(Clone, Debug)]
struct World {
    policy: PolicyKind,
    host: Host,
    nets: Vec<(Ipv4Net, (f64, f64))>,
    beacons: Vec<(u8, u8, u64)>,
    dead: Vec<usize>,
    drained: Vec<usize>,
    /// Requests per second at each PoP that has a capacity, which is 100.
    loads: Vec<(usize, f64)>,
}

fn any_world() -> impl Strategy<Value = World> {
    let net = (0u32..64, 18u8..=26, 0usize..POPS.len(), -3.0..3.0f64);
    let hosts = vec![
        Host::new("demo"),
        Host { pops: Some(LISTED.map(code).to_vec()), ..Host::new("demo") },
        Host { price_class: PriceClass::Class200, ..Host::new("demo") },
    ];
    (
        prop::sample::select(PolicyKind::ALL.to_vec()),
        prop::sample::select(hosts),
        prop::collection::vec(net, 0..12),
        prop::collection::vec((0u8..64, 1u8..=6, 1u64..300), 0..20),
        prop::collection::vec(0usize..POPS.len(), 0..3),
        prop::collection::vec(0usize..POPS.len(), 0..2),
        prop::collection::vec((0usize..POPS.len(), 0.0..400.0f64), 0..4),
    )
        .prop_map(|(policy, host, nets, beacons, dead, drained, loads)| {
            let nets = nets.into_iter().map(|(b, len, near, off)| {
                let net = Ipv4Net::new(Ipv4Addr::from_bits(0xc612_0000 + (b << 8)), len).unwrap().trunc();
                (net, (POPS[near].1 + off, POPS[near].2 + off))
            });
            World { policy, host, nets: nets.collect(), beacons, dead, drained, loads }
        })
}

fn snapshot_of(world: &World) -> Snapshot {
    let capacity = world.loads.iter().map(|&(at, _)| (code(POPS[at].0), 100.0)).collect();
    let options = RoutingOptions {
        explore_share: 0.3,
        order: vec![code("GRU")],
        bias: BTreeMap::from([(code("AMS"), 60), (code("NRT"), -40)]),
        weights: BTreeMap::from([(code("AMS"), 3.0), (code("SYD"), 0.0)]),
        spill: SpillOptions { capacity, ..SpillOptions::default() },
        ..options(world.policy)
    };
    let mut planner = Planner::new(Instant::ZERO, options, geo(&world.nets), pops(), vec![world.host.clone()]);
    let now = settle(&mut planner, Instant::ZERO, &[]);
    planner.poll_snapshot(now);
    let dead: Vec<&str> = world.dead.iter().map(|&at| POPS[at].0).collect();
    let now = settle(&mut planner, now, &dead);
    for &(b, edge, rtt_ms) in &world.beacons {
        let _ = planner.handle_beacon(now, [198, 18, b, 1].into(), [127, 77, 0, edge].into(), ms(rtt_ms));
    }
    planner.set_drained(world.drained.iter().map(|&at| code(POPS[at].0)));
    planner.poll_snapshot(now);
    // All networks have heard of the dead and the drained.
    let now = now + Duration::from_secs(60);
    for &(at, rps) in &world.loads {
        report(&mut planner, now, POPS[at].0, rps);
    }
    planner.build_snapshot(now)
}

fn client(low: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0xc612_0000 + low))
}

fn explain(snapshot: &Snapshot, client: IpAddr, turn: u64) -> Explanation {
    let options = ExplainOptions { turn, ..ExplainOptions::default() };
    snapshot.explain(0, "www.demo.test", client, AskedBy::Peer, &options)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn all_clients_within_a_scope_get_the_same_answer(
        world in any_world(),
        clients in prop::collection::vec((0u32..0x4000, any::<u32>()), 40),
    ) {
        let snapshot = snapshot_of(&world);
        for (low, other) in clients {
            let (answer, scope) = snapshot.answer(0, client(low), 3);
            let bits = 0xc612_0000 + low;
            let host_bits = u32::MAX.checked_shr(u32::from(scope)).unwrap_or(0);
            let neighbour = (bits & !host_bits) | (other & host_bits);
            prop_assert_eq!(snapshot.answer(0, IpAddr::V4(Ipv4Addr::from_bits(neighbour)), 3).0, answer);
        }
    }

    #[test]
    fn a_snapshot_made_again_from_what_is_kept_of_it_is_the_same(
        world in any_world(),
        clients in prop::collection::vec((0u32..0x4000, 0u64..50), 20),
    ) {
        let snapshot = snapshot_of(&world);
        let mut kept = KeptSnapshots::new(KeptOptions::default());
        kept.keep(&snapshot);
        let again = kept.find(snapshot.version()).unwrap().snapshot();
        for (low, turn) in clients {
            let client = client(low);
            prop_assert_eq!(explain(&again, client, turn), explain(&snapshot, client, turn));
            prop_assert_eq!(again.answer(0, client, turn), snapshot.answer(0, client, turn));
            let first = snapshot.turn(0, turn);
            prop_assert_eq!(again.answer(0, client, first), snapshot.answer(0, client, turn));
            prop_assert_eq!(again.reason(0, client, first), snapshot.reason(0, client, turn));
        }
    }

    #[test]
    fn an_explanation_tells_the_answer_and_names_every_pop_once(
        world in any_world(),
        low in 0u32..0x4000,
        turn in 0u64..50,
    ) {
        let snapshot = snapshot_of(&world);
        let (id, scope) = snapshot.answer(0, client(low), turn);
        let explanation = explain(&snapshot, client(low), turn);
        let chosen: Vec<_> = explanation.chosen.iter().map(|edge| edge.address).collect();
        prop_assert_eq!(&chosen, &snapshot.addresses(0, id).collect::<Vec<_>>());
        prop_assert_eq!(explanation.scope_len, scope);
        prop_assert_eq!(explanation.chosen[0].reason, snapshot.reason(0, client(low), turn));
        prop_assert_eq!(explanation.policy, world.policy.as_str());
        prop_assert_eq!(explanation.ttl, snapshot.ttl(0));
        let mut named: Vec<_> = explanation.candidates.iter().map(|candidate| candidate.pop).collect();
        named.sort_unstable();
        named.dedup();
        prop_assert_eq!(named.len(), POPS.len());
        prop_assert_eq!(explanation.candidates.iter().filter(|candidate| candidate.chosen.is_some()).count(), chosen.len());
    }

    #[test]
    fn answers_name_different_candidates_and_none_that_is_drained_or_down(
        world in any_world(),
        low in 0u32..0x4000,
        turn in 0u64..50,
    ) {
        let snapshot = snapshot_of(&world);
        let (id, _) = snapshot.answer(0, client(low), turn);
        let answer = &snapshot.answers()[id.index()];
        let candidates = pops().into_iter().filter(|pop| world.host.rejects(pop.code, &pop.place.country).is_none()).count();
        let most = if world.policy == PolicyKind::Anycast { 1 } else { 2 };
        prop_assert!((1..=most).contains(&answer.len()), "{} of {candidates}", answer.len());
        prop_assert!(answer.len() < 2 || answer[0] != answer[1]);
        for pop in answer.iter() {
            let site = &snapshot.pops()[pop.index()];
            prop_assert!(world.host.rejects(site.code, &site.place.country).is_none());
            prop_assert!(!world.drained.contains(&pop.index()));
            prop_assert!(snapshot.is_fail_open() || !world.dead.contains(&pop.index()));
        }
    }

    #[test]
    fn the_same_world_gives_the_same_answers(world in any_world(), low in 0u32..0x4000, turn in 0u64..50) {
        let (one, other) = (snapshot_of(&world), snapshot_of(&world));
        prop_assert_eq!(explain(&one, client(low), turn), explain(&other, client(low), turn));
    }

    #[test]
    fn only_full_pops_send_clients_on_and_only_past_full_pops_are_they_sent(
        world in any_world(),
        low in 0u32..0x4000,
        turn in 0u64..50,
    ) {
        let explanation = explain(&snapshot_of(&world), client(low), turn);
        for candidate in &explanation.candidates {
            prop_assert!(candidate.reason != Reason::RejectedFull || candidate.acceptance < 1.0);
        }
        let first = explanation.candidates.iter().position(|candidate| candidate.chosen == Some(0)).unwrap();
        if explanation.candidates[first].reason == Reason::RouteSpilled {
            let passed_over = explanation.candidates[..first].iter().filter(|candidate| {
                candidate.chosen.is_some() || [Reason::RejectedFull, Reason::RejectedSlower].contains(&candidate.reason)
            });
            prop_assert!(passed_over.clone().count() > 0);
            prop_assert!(passed_over.clone().all(|candidate| candidate.acceptance < 1.0));
        }
    }

    #[test]
    fn supposing_a_drain_answers_what_the_drain_would(world in any_world(), low in 0u32..0x4000, turn in 0u64..50) {
        let supposed = snapshot_of(&world).explain(
            0,
            "www.demo.test",
            client(low),
            AskedBy::Peer,
            &ExplainOptions { assume_drained: vec![code("FRA")], turn },
        );
        let drained = World { drained: [world.drained.clone(), vec![1]].concat(), ..world };
        // A drain moves clients, and so in the end loads; those that are reported are the same in both worlds here.
        let real = explain(&snapshot_of(&drained), client(low), turn);
        let edges = |explanation: &Explanation| explanation.chosen.iter().map(|edge| edge.edge.clone()).collect::<Vec<_>>();
        prop_assert_eq!(edges(&supposed), edges(&real));
        prop_assert_eq!(supposed.ttl, real.ttl);
    }
}

#[test]
fn when_nothing_is_known_and_when_all_is_drained_everyone_is_still_answered() {
    for policy in PolicyKind::ALL {
        let mut planner =
            Planner::new(Instant::ZERO, options(policy), berlin_and_tokyo(), pops(), vec![Host::new("demo")]);
        let snapshot = planner.poll_snapshot(Instant::ZERO).unwrap();
        assert!(snapshot.is_fail_open());
        assert!(!codes(&snapshot, "198.18.1.7").is_empty(), "{policy:?}");
        let now = settle(&mut planner, Instant::ZERO, &[]);
        planner.set_drained(POPS.map(|(pop, ..)| code(pop)));
        assert!(!codes(&planner.poll_snapshot(now).unwrap(), "198.18.1.7").is_empty(), "{policy:?}");
    }
}

#[test]
fn every_policy_spills_a_share_and_no_more() {
    for policy in PolicyKind::ALL {
        // Half of what comes to each PoP of Europe must go on; the others have room.
        let capacity = ["FRA", "AMS"].map(|pop| (code(pop), 100.0)).into();
        let spill = SpillOptions { capacity, ..SpillOptions::default() };
        let mut planner = planner(RoutingOptions { spill, ..options(policy) }, many());
        let now = Instant::ZERO + ms(10_000);
        let share = |snapshot: &Snapshot| {
            let europe = |turn: u64, b: u32| {
                let client = IpAddr::V4(Ipv4Addr::from_bits(0xc612_0001 + (b << 8)));
                let first = snapshot.answers()[snapshot.answer(0, client, turn).0.index()][0];
                [1, 2].contains(&first.index())
            };
            (0..512).filter(|&b| europe(u64::from(b), b)).count() as f64 / 512.0
        };
        let before = share(&planner.build_snapshot(now));
        for pop in ["FRA", "AMS"] {
            report(&mut planner, now, pop, 190.0);
        }
        let snapshot = planner.build_snapshot(now + ms(1000));
        let after = share(&snapshot);
        let expected = if policy == PolicyKind::Static { 0.0 } else { before * 0.5 };
        // What one of both does not take the other may, so more than half of those at home in either stays.
        assert!(after >= expected - 0.08 && after <= before * 0.85 + 0.02, "{policy:?}: {before} then {after}");
        assert_eq!(planner.build_snapshot(now + ms(1000)).spilling_pops(), 2);
    }
}
