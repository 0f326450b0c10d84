//! Policies that are switched, decisions that are told again, and why, asked by DNS.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::atomic::Ordering, time::Duration};

use cdn_core::{
    PopCode, Reason,
    routing::{ExplainOptions, Host, PolicyKind, SpillOptions},
};
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{RData, RecordType},
};
use router::{Asker, DistributionNames};

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
        config.distributions.push(DistributionNames { id: "own".into(), aliases: vec!["own.demo.test".into()] });
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
    let world = world_with(|config| config.limits.decisions_kept = 2).healthy();
    let first = world.handle.explain(osaka(), "www.demo.test", &ExplainOptions::default()).unwrap();
    assert_eq!(first.explanation.chosen[0].pop, pop("NRT"));
    world.handle.set_drained(vec![pop("NRT")]);
    let supposed = ExplainOptions { assume_drained: vec![pop("FRA")], turn: 0 };
    let second = world.handle.explain(osaka(), "www.demo.test", &supposed).unwrap();
    assert_ne!(first.explanation.snapshot_version, second.explanation.snapshot_version);
    for told in [&first, &second] {
        assert_eq!(world.handle.replay(&told.id).as_ref(), Ok(told));
    }
    world.handle.explain(osaka(), "www.demo.test", &ExplainOptions::default()).unwrap();
    let error = world.handle.replay(&first.id).unwrap_err().to_string();
    assert!(error.contains(&first.id) && error.contains("the last 2"), "{error}");
    assert!(world.handle.replay("main-1-999").is_err());
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
    assert_eq!(texts.len(), 3);
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
