//! Policies that are switched, decisions that are told again, and why, asked by DNS.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::atomic::Ordering, time::Duration};

use cdn_core::{
    PopCode, Reason,
    http_version::HttpVersion,
    routing::{ExplainOptions, Host, KeptOptions, PolicyKind, SpillOptions},
};
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{RData, RecordType, rdata::opt::EdnsOption},
};
use router::{Asker, DistributionNames, ReplayError};

use crate::world::{ip, question, subnet_of, wait_until, with_subnet, world, world_with};

fn pop(code: &str) -> PopCode {
    code.parse().unwrap()
}

fn osaka() -> Asker {
    Asker { peer: ip("127.0.0.1"), subnet: Some("198.18.3.0/24".parse().unwrap()) }
}

fn texts(answer: &Message) -> Vec<String> {
    let text = |record: &hickory_proto::rr::Record| match &record.data {
        RData::TXT(text) => text.txt_data.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect(),
        other => panic!("{other:?}"),
    };
    answer.answers.iter().map(text).collect()
}

#[test]
fn a_switched_policy_answers_at_once_for_every_distribution_that_has_none_of_its_own() {
    let world = world_with(|config| {
        config.distributions.push(DistributionNames {
            id: "own".into(),
            aliases: vec!["own.demo.test".into()],
            http_version: HttpVersion::Http2,
        });
        config.routes = vec![Host { policy: Some(PolicyKind::Nearest), ..Host::new("own") }];
        config.routing.order = vec![pop("FRA")];
    })
    .healthy();
    assert_eq!(world.edges_for("198.18.3.0/24"), [1, 0]);
    let of_own = BTreeMap::from([("own".to_owned(), PolicyKind::Nearest)]);
    world.handle.set_policies(PolicyKind::Static, &of_own);
    assert_eq!(world.edges_for("198.18.3.0/24"), [0, 1]);
    let policy = |name| world.handle.explain(osaka(), name, &ExplainOptions::default()).unwrap().explanation.policy;
    assert_eq!((policy("www.demo.test"), policy("own.demo.test")), ("static", "geo"));
    world.handle.set_policies(PolicyKind::Latency, &of_own);
    assert_eq!(world.edges_for("198.18.3.0/24"), [1, 0]);
}

#[test]
fn a_decision_is_told_again_as_it_was_whatever_has_happened_since() {
    let world = world().healthy();
    let first = world.handle.explain(osaka(), "www.demo.test", &ExplainOptions::default()).unwrap();
    assert_eq!(first.explanation.chosen[0].pop, pop("NRT"));
    world.handle.set_drained(vec![pop("NRT")]);
    let supposed = ExplainOptions { assume_drained: vec![pop("FRA")], turn: 0 };
    let second = world.handle.explain(osaka(), "www.demo.test", &supposed).unwrap();
    assert_ne!(first.explanation.snapshot_version, second.explanation.snapshot_version);
    for told in [&first, &second] {
        assert_eq!(world.handle.replay(&told.id).as_ref(), Ok(told));
    }
    for nothing in ["main-1-999", "", "main-0-1-0-c6120300s24", &first.id.replacen("main", "other", 1)] {
        assert!(world.handle.replay(nothing).is_err(), "{nothing:?}");
    }
}

#[test]
fn a_decision_whose_snapshot_is_gone_says_so() {
    let kept = KeptOptions { snapshots_max: 2, ..KeptOptions::default() };
    let world = world_with(|config| config.limits.kept = kept).healthy();
    let explained = |drained: &[&str]| {
        world.handle.set_drained(drained.iter().map(|code| pop(code)).collect());
        world.handle.explain(osaka(), "www.demo.test", &ExplainOptions::default()).unwrap()
    };
    let first = explained(&["FRA"]);
    let (_, last) = (explained(&[]), explained(&["NRT"]));
    assert_eq!(world.handle.replay(&last.id).unwrap(), last);
    let error = world.handle.replay(&first.id).unwrap_err();
    let version = first.explanation.snapshot_version;
    assert!(matches!(&error, ReplayError::Gone { version: gone, .. } if *gone == version), "{error:?}");
    assert!(error.to_string().contains(&format!("snapshot {version}, from which decision")), "{error}");
    // Of another run of the router.
    let parts: Vec<&str> = last.id.split('-').collect();
    let other = last.id.replacen(parts[1], "1", 1);
    assert_eq!(world.handle.replay(&other), Err(ReplayError::OtherRun(other.clone())));
}

#[test]
fn every_answer_has_an_id_by_which_it_is_told_again() {
    let policies = [PolicyKind::Latency, PolicyKind::RoundRobin, PolicyKind::Random, PolicyKind::Anycast];
    let world = world_with(|config| config.sticky = Some(Duration::from_secs(60))).healthy();
    let mut told: Vec<(String, Vec<String>)> = vec![];
    for policy in policies {
        world.handle.set_policies(policy, &BTreeMap::new());
        for subnet in ["198.18.1.0/24", "198.18.3.0/24", "2001:db8:3::/48", "203.0.113.0/24"] {
            let mut message = with_subnet(question("www.demo.test", RecordType::A), subnet);
            message.edns.as_mut().unwrap().options_mut().insert(EdnsOption::Unknown(65_053, vec![]));
            let answer = world.ask(&message);
            let id = answer.edns.as_ref().unwrap().options().options.iter().find_map(|(_, option)| match option {
                EdnsOption::Unknown(65_053, id) => Some(String::from_utf8(id.clone()).unwrap()),
                _ => None,
            });
            told.push((id.expect("an id"), addresses(&answer)));

            let why = texts(&world.ask(&with_subnet(question("_why.www.demo.test", RecordType::TXT), subnet)));
            let id = why.last().unwrap().strip_prefix("decision=").expect("an id").to_owned();
            let chosen = why[0].split("; ").find_map(|pair| pair.strip_prefix("chosen=")).unwrap();
            let again = world.handle.replay(&id).unwrap().explanation;
            assert_eq!(again.chosen.iter().map(|edge| edge.pop.to_string()).collect::<Vec<_>>().join(","), chosen);
        }
        for head in ["/x HTTP/1.1", "/x HTTP/1.1\r\nCookie: iso-edge=edge.nrt", "/.iso/route HTTP/1.1"] {
            let request = format!("GET {head}\r\nHost: www.demo.test\r\nConnection: close\r\n\r\n");
            let answer = world.http(Ipv4Addr::new(127, 18, 1, 9), &request);
            let header = |name: &str| answer.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            let id = header("x-iso-decision: ").expect("an id");
            let first = match header("location: http://") {
                Some(location) => location.strip_suffix("/x").unwrap().to_owned(),
                None => answer.split("\"address\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned(),
            };
            let again = world.handle.replay(&id).unwrap().explanation;
            assert_eq!(again.chosen[0].address.to_string(), first, "{answer}");
            assert_eq!(header("x-iso-reason: ").unwrap(), again.chosen[0].reason.as_str());
        }
    }
    world.handle.set_drained(vec![pop("NRT")]);
    for (id, addresses) in told {
        let again = world.handle.replay(&id).unwrap();
        let chosen: Vec<String> = again.explanation.chosen.iter().map(|edge| edge.address.ip().to_string()).collect();
        assert_eq!(chosen, addresses, "{id}");
    }
    // Nobody gets one unasked, and what is not routed has none.
    for name in ["www.demo.test", "demo.test"] {
        let answer = world.ask(&with_subnet(question(name, RecordType::SOA), "198.18.1.0/24"));
        assert_eq!(answer.edns.unwrap().options().options.len(), 1, "{name}");
    }
}

fn addresses(answer: &Message) -> Vec<String> {
    let addresses = answer.answers.iter().filter_map(|record| match &record.data {
        RData::A(address) => Some(address.0.to_string()),
        _ => None,
    });
    addresses.collect()
}

#[test]
fn why_is_asked_by_dns_and_hangs_on_the_client_as_the_answer_does() {
    let world = world().healthy();
    let answer = world.ask(&with_subnet(question("_why.WWW.demo.test", RecordType::TXT), "198.18.3.0/24"));
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    assert!(answer.metadata.authoritative && answer.answers.iter().all(|record| record.ttl == 0));
    assert_eq!(subnet_of(&answer).unwrap().scope_prefix(), 24);
    let texts = texts(&answer);
    assert!(texts[0].starts_with("policy=latency; chosen=NRT,FRA; client=198.18.3.0/24; place=Osaka"), "{}", texts[0]);
    assert!(texts[1].starts_with("candidate=1; pop=NRT; reason=route_lowest_estimate; estimate="), "{}", texts[1]);
    assert_eq!(texts.len(), 4);
    assert!(texts[3].starts_with("decision=main-"), "{}", texts[3]);
    assert!(texts.iter().all(|text| text.len() <= 255));

    let other = world.ask(&with_subnet(question("_why.www.demo.test", RecordType::A), "198.18.3.0/24"));
    assert_eq!(
        (other.metadata.response_code, other.authorities.len()),
        (ResponseCode::NoError, 1),
        "it has text alone"
    );
    for name in ["_why.no.demo.test", "_why.demo.test", "_why.edge.fra.cdn.test"] {
        let answer = world.ask(&question(name, RecordType::TXT));
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain, "{name}");
    }
}

#[test]
fn load_that_edges_report_makes_a_full_pop_send_networks_on() {
    let world = world_with(|config| {
        config.routing.policy = PolicyKind::Nearest;
        config.routing.ttl = Duration::from_secs(1);
        let capacity = BTreeMap::from([(pop("FRA"), 10.0)]);
        config.routing.spill =
            SpillOptions { capacity, interval: Duration::from_millis(100), ..SpillOptions::default() };
    })
    .healthy();
    assert_eq!(world.edges_for("198.18.1.0/24"), [0, 1]);
    world.edges[0].requests_per_probe.store(100_000, Ordering::Relaxed);
    let berlin = |net: &str| Asker { peer: Ipv4Addr::LOCALHOST.into(), subnet: Some(net.parse().unwrap()) };
    let reason = |net: &str| {
        let explained = world.handle.explain(berlin(net), "www.demo.test", &ExplainOptions::default()).unwrap();
        explained.explanation.chosen[0].reason
    };
    let nets = ["198.18.1.0/24", "198.18.2.0/24"];
    wait_until("a network was sent on", || nets.iter().any(|net| reason(net) == Reason::RouteSpilled));
    let spilled = nets.into_iter().find(|net| reason(net) == Reason::RouteSpilled).unwrap();
    assert_eq!(world.edges_for(spilled), [1, 0]);
}

#[test]
fn answers_are_counted_by_carrier_policy_pop_and_reason() {
    let world = world_with(|config| config.sticky = Some(Duration::from_secs(60))).healthy();
    assert_eq!(world.edges_for("198.18.1.0/24"), [0, 1]);
    assert_eq!(world.edges_for("198.18.3.0/24"), [1, 0]);
    world.ask(&question("www.demo.test", RecordType::AAAA));
    world.ask(&question("no.demo.test", RecordType::TXT));
    world.handle.set_policies(PolicyKind::Static, &BTreeMap::new());
    world.edges_for("198.18.3.0/24");
    world.handle.set_policies(PolicyKind::RoundRobin, &BTreeMap::new());
    (0..4).for_each(|_| drop(world.edges_for("198.18.3.0/24")));
    let get = "GET / HTTP/1.1\r\nHost: www.demo.test\r\nCookie: iso-edge=edge.nrt\r\nConnection: close\r\n\r\n";
    world.http(Ipv4Addr::new(127, 18, 1, 9), get);

    let count = |labels: [&str; 4]| {
        let [carrier, policy, pop, reason] = labels;
        let wanted = format!("carrier=\"{carrier}\",policy=\"{policy}\",edge_pop=\"{pop}\",reason=\"{reason}\"}} ");
        let text = world.handle.prometheus("node=\"router.main\"");
        let value = text.lines().find_map(|line| line.split_once(&wanted)).map(|(_, value)| value.parse().unwrap());
        value.unwrap_or(0u64)
    };
    assert_eq!(count(["dns", "latency", "FRA", "route_lowest_estimate"]), 1);
    assert_eq!(count(["dns", "latency", "NRT", "route_lowest_estimate"]), 1);
    assert_eq!(count(["dns", "static", "FRA", "route_static"]), 1);
    let turns = ["FRA", "NRT"].map(|pop| count(["dns", "round-robin", pop, "route_turn"]));
    assert_eq!(turns.iter().sum::<u64>(), 4);
    assert_eq!(count(["http", "round-robin", "NRT", "route_sticky"]), 1);
    assert_eq!(world.value("router_answers_total", "dns"), 7);
    let types = ["A", "AAAA", "TXT"].map(|word| world.value("router_dns_answers_total", word));
    assert_eq!(types, [7, 1, 1]);
}
