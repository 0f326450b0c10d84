//! AAAA, and where else IPv6 addresses of edges stand.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cdn_core::{Counter, Reason, http_version::HttpVersion};
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{
        RData, RecordType,
        rdata::svcb::{SvcParamKey, SvcParamValue},
    },
};
use router::Config;

use crate::world::{World, ip, question, subnet_of, wait_until, with_edns, with_subnet, world_with};

const OSAKA: Ipv4Addr = Ipv4Addr::new(127, 18, 3, 9);

/// What the edge at this position has.
fn address6(edge: usize) -> Ipv6Addr {
    Ipv6Addr::new(0xfd77, 0x1505, 0, 0, 0, 0, 0, edge as u16 + 1)
}

fn give_all(config: &mut Config) {
    for (at, pop) in config.pops.iter_mut().enumerate() {
        pop.edges[0].address6 = Some(address6(at));
    }
}

fn dual_stack() -> World {
    world_with(give_all).healthy()
}

/// The edges of an answer, by their position.
fn edges_in(world: &World, answer: &Message) -> Vec<usize> {
    let edge = |record: &hickory_proto::rr::Record| {
        world.edges.iter().enumerate().position(|(at, edge)| match &record.data {
            RData::A(address) => address.0 == *edge.address.ip(),
            RData::AAAA(address) => address.0 == address6(at),
            _ => false,
        })
    };
    answer.answers.iter().filter_map(edge).collect()
}

#[test]
fn both_families_lead_to_the_same_edges_with_the_same_scope_and_ttl() {
    let mut world = dual_stack();
    let same_for = |world: &World, name: &str, subnet: Option<&str>| {
        let [v4, v6] = [RecordType::A, RecordType::AAAA].map(|wanted| {
            let message = question(name, wanted);
            let answer = world.ask(&subnet.map_or_else(|| message.clone(), |net| with_subnet(message.clone(), net)));
            assert!(answer.answers.iter().all(|record| record.record_type() == wanted), "{name} {wanted}");
            let ttls: Vec<u32> = answer.answers.iter().map(|record| record.ttl).collect();
            let scope = subnet_of(&answer).map(|subnet| subnet.scope_prefix());
            (answer.metadata.response_code, edges_in(world, &answer), ttls, scope)
        });
        assert_eq!(v4, v6, "{name} {subnet:?}");
        v4
    };
    for name in ["www.demo.test", "demo.cdn.test", "x.shop.demo.test"] {
        for (subnet, edges) in
            [("198.18.1.0/24", [0, 1]), ("198.18.3.0/24", [1, 0]), ("2001:db8:3::/48", [1, 0]), ("0.0.0.0/0", [0, 1])]
        {
            let (code, found, ttls, scope) = same_for(&world, name, Some(subnet));
            assert_eq!((code, ttls), (ResponseCode::NoError, vec![60, 60]));
            assert!(scope.is_some());
            if subnet != "0.0.0.0/0" {
                assert_eq!(found, edges, "{name} {subnet}");
            }
        }
        same_for(&world, name, None);
    }
    let slow = world.handle.counters().value(Counter::RouterDnsSlow);
    assert_eq!(slow, 0, "these are all usual questions");
    world.edges[1].kill();
    wait_until("the second edge is down", || world.edges_for("198.18.3.0/24") == [0]);
    let (_, found, ttls, _) = same_for(&world, "www.demo.test", Some("198.18.3.0/24"));
    assert_eq!((found, ttls), (vec![0], vec![30]), "degraded");
}

#[test]
fn names_of_edges_and_pops_have_both_addresses() {
    let world = dual_stack();
    for (name, edge) in [("edge.fra.cdn.test", 0), ("fra.cdn.test", 0), ("edge.nrt.cdn.test", 1)] {
        for wanted in [RecordType::A, RecordType::AAAA] {
            assert_eq!(edges_in(&world, &world.ask(&question(name, wanted))), [edge], "{name} {wanted}");
        }
    }
    let none = world.ask(&question("ns1.cdn.test", RecordType::AAAA));
    assert_eq!(
        (none.metadata.response_code, none.answers.len(), none.authorities.len()),
        (ResponseCode::NoError, 0, 1)
    );
}

#[test]
fn where_one_edge_has_none_nobody_is_sent_by_ipv6() {
    let world = world_with(|config| config.pops[0].edges[0].address6 = Some(address6(0))).healthy();
    let denied = world.ask(&with_subnet(question("www.demo.test", RecordType::AAAA), "198.18.1.0/24"));
    assert_eq!((denied.metadata.response_code, denied.answers.len()), (ResponseCode::NoError, 0));
    assert!(matches!(denied.authorities[0].data, RData::SOA(_)));
    // A denial holds for everybody (RFC 7871, section 7.4).
    assert_eq!(subnet_of(&denied).unwrap().scope_prefix(), 0);
    assert_eq!(world.edges_for("198.18.1.0/24"), [0, 1]);
    let own = world.ask(&question("edge.fra.cdn.test", RecordType::AAAA));
    assert_eq!(edges_in(&world, &own), [0], "that it has one is still true");
}

#[test]
fn https_records_hint_at_both_families() {
    let world = world_with(|config| {
        give_all(config);
        config.https_records = Some(4443);
    })
    .healthy();
    let answer = world.ask(&with_edns(question("www.demo.test", RecordType::HTTPS)));
    let RData::HTTPS(https) = &answer.answers[0].data else { panic!("{answer:?}") };
    let value = |key| https.svc_params.iter().find(|(known, _)| *known == key).map(|(_, value)| value);
    let Some(SvcParamValue::Ipv4Hint(v4)) = value(SvcParamKey::Ipv4Hint) else { panic!("{https:?}") };
    let Some(SvcParamValue::Ipv6Hint(v6)) = value(SvcParamKey::Ipv6Hint) else { panic!("{https:?}") };
    assert_eq!(value(SvcParamKey::Port), Some(&SvcParamValue::Port(4443)));
    assert_eq!((v4.0.len(), v6.0.len()), (2, 2));
    for (v4, v6) in v4.0.iter().zip(&v6.0) {
        let at = world.edges.iter().position(|edge| *edge.address.ip() == v4.0).unwrap();
        assert_eq!(v6.0, address6(at));
    }
}

#[test]
fn an_https_record_offers_what_the_distribution_speaks() {
    for (http_version, expected) in [
        (HttpVersion::Http11, &["http/1.1"][..]),
        (HttpVersion::Http2, &["h2", "http/1.1"]),
        (HttpVersion::Http2And3, &["h3", "h2", "http/1.1"]),
    ] {
        let world = world_with(|config| {
            config.https_records = Some(4443);
            config.distributions.iter_mut().for_each(|distribution| distribution.http_version = http_version);
        })
        .healthy();
        let answer = world.ask(&with_edns(question("www.demo.test", RecordType::HTTPS)));
        let RData::HTTPS(https) = &answer.answers[0].data else { panic!("{answer:?}") };
        let alpn = https.svc_params.iter().find(|(key, _)| *key == SvcParamKey::Alpn).map(|(_, value)| value);
        let Some(SvcParamValue::Alpn(alpn)) = alpn else { panic!("{https:?}") };
        assert_eq!(alpn.0, expected);
    }
}

#[test]
fn the_list_and_the_explanation_name_both_addresses_and_a_beacon_may_name_either() {
    let world = dual_stack();
    let get = "GET /.iso/route HTTP/1.1\r\nHost: www.demo.test\r\nConnection: close\r\n\r\n";
    let answer = world.http(OSAKA, get);
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let list: serde_json::Value = serde_json::from_str(body).unwrap();
    let port = world.edges[1].address.port();
    assert_eq!(list["edges"][0]["address6"], format!("[fd77:1505::2]:{port}"), "{list}");
    let asker = router::Asker { peer: OSAKA.into(), subnet: None };
    let explained = world.handle.explain(asker, "www.demo.test", &Default::default()).unwrap();
    let chosen = &explained.explanation.chosen[0];
    assert_eq!((chosen.address6, chosen.reason), (Some(address6(1)), Reason::RouteLowestEstimate));
    for edge in [IpAddr::from(address6(0)), ip("fd77:1505::9")] {
        let body = format!("{{\"client\":\"198.18.3.0/24\",\"edge\":\"{edge}\",\"rtt_ms\":240.0}}");
        let len = body.len();
        let post =
            format!("POST /beacon HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len}\r\n\r\n{body}");
        let status = if edge == IpAddr::from(address6(0)) { "204" } else { "404" };
        let answer = world.http(OSAKA, &post);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{edge}: {answer}");
    }
}
