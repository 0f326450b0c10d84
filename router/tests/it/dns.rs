//! What is asked and what is answered.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use cdn_core::{Counter, routing::ExplainOptions};
use hickory_proto::{
    op::{Message, MessageType, OpCode, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType, rdata::A},
};
use router::Asker;

use crate::world::{ip, question, subnet_of, wait_until, with_edns, with_subnet, world, world_with};

#[test]
fn every_kind_of_question_gets_its_kind_of_answer() {
    let world = world().healthy();
    for (name, wanted, code, answers, authorities) in [
        ("www.demo.test", RecordType::A, ResponseCode::NoError, 2, 0),
        ("demo.cdn.test", RecordType::A, ResponseCode::NoError, 2, 0),
        ("any.shop.demo.test", RecordType::A, ResponseCode::NoError, 2, 0),
        ("www.demo.test", RecordType::AAAA, ResponseCode::NoError, 0, 1),
        ("www.demo.test", RecordType::HTTPS, ResponseCode::NoError, 0, 1),
        ("www.demo.test", RecordType::ANY, ResponseCode::NoError, 2, 0),
        ("demo.test", RecordType::SOA, ResponseCode::NoError, 1, 0),
        ("demo.test", RecordType::NS, ResponseCode::NoError, 1, 0),
        ("ns1.cdn.test", RecordType::A, ResponseCode::NoError, 1, 0),
        ("edge.fra.cdn.test", RecordType::A, ResponseCode::NoError, 1, 0),
        ("fra.demo.cdn.test", RecordType::A, ResponseCode::NoError, 1, 0),
        ("fra.cdn.test", RecordType::A, ResponseCode::NoError, 1, 0),
        ("nope.demo.test", RecordType::A, ResponseCode::NXDomain, 0, 1),
        ("example.com", RecordType::A, ResponseCode::Refused, 0, 0),
        ("demo.test", RecordType::AXFR, ResponseCode::Refused, 0, 0),
    ] {
        for message in [question(name, wanted), with_edns(question(name, wanted))] {
            let (udp, tcp) = (world.ask(&message), world.ask_tcp(std::slice::from_ref(&message)).remove(0));
            for answer in [udp, tcp] {
                assert_eq!(answer.metadata.response_code, code, "{name} {wanted}");
                assert_eq!(answer.answers.len(), answers, "{name} {wanted}");
                assert_eq!(answer.authorities.len(), authorities, "{name} {wanted}");
                assert_eq!(answer.metadata.authoritative, code != ResponseCode::Refused, "{name} {wanted}");
                assert_eq!(answer.edns.is_some(), message.edns.is_some());
                assert_eq!((answer.metadata.id, answer.queries), (message.metadata.id, message.queries.clone()));
                assert!(answer.metadata.recursion_desired && !answer.metadata.recursion_available);
                assert!(
                    answer.authorities.iter().all(|record| matches!(record.data, RData::SOA(_)) && record.ttl == 60)
                );
            }
        }
    }
    let counters = world.handle.counters();
    assert_eq!(counters.value(Counter::RouterDnsQueriesUdp), counters.value(Counter::RouterDnsQueriesTcp));
    assert_eq!(counters.value(Counter::RouterDnsSlow), 0, "these are all usual questions");
}

#[test]
fn the_slow_path_answers_as_the_fast_one_does() {
    let world = world().healthy();
    for (name, wanted) in [
        ("www.demo.test", RecordType::A),
        ("www.demo.test", RecordType::TXT),
        ("demo.test", RecordType::SOA),
        ("cdn.test", RecordType::NS),
        ("no.demo.test", RecordType::A),
        ("example.com", RecordType::A),
    ] {
        for plain in [question(name, wanted), with_subnet(question(name, wanted), "198.18.3.0/24")] {
            let fast = world.ask(&plain);
            // A record where none is expected makes the message unusual, and no less a question.
            let mut unusual = plain.clone();
            unusual.add_answer(Record::from_rdata(Name::root(), 0, RData::A(A(Ipv4Addr::LOCALHOST))));
            let slow_before = world.handle.counters().value(Counter::RouterDnsSlow);
            let slow = world.ask(&unusual);
            assert_eq!(world.handle.counters().value(Counter::RouterDnsSlow), slow_before + 1);
            assert_eq!(fast, slow, "{name} {wanted}");
        }
    }
}

#[test]
fn the_client_subnet_decides_and_comes_back_with_its_scope() {
    let world = world().healthy();
    assert_eq!(world.edges_for("198.18.1.0/24"), [0, 1]);
    assert_eq!(world.edges_for("198.18.3.0/24"), [1, 0]);
    assert_eq!(world.edges_for("2001:db8:3::/48"), [1, 0]);
    for (subnet, scope) in [
        // 198.18.0.0/24 is on no map and gets the same answer as Berlin's networks, 198.18.3.0/24 another.
        ("198.18.1.0/24", 23),
        ("198.18.2.0/24", 24),
        // A longer source says no more than the block does.
        ("198.18.2.77/32", 24),
        // A shorter one is not enough to know.
        ("198.18.0.0/16", 23),
        ("2001:db8:3::/56", 48),
        ("198.18.1.0/0", 0),
        ("::/0", 0),
    ] {
        let subnet: ipnet::IpNet = subnet.parse().unwrap();
        let answer = world.ask(&with_subnet(question("www.demo.test", RecordType::A), &subnet.trunc().to_string()));
        let echoed = subnet_of(&answer).unwrap();
        assert_eq!((echoed.addr(), echoed.source_prefix()), (subnet.network(), subnet.prefix_len()));
        assert_eq!(echoed.scope_prefix(), scope, "{subnet}");
        assert_eq!(answer.answers.len(), 2);
    }
    for untailored in
        [("demo.test", RecordType::SOA), ("www.demo.test", RecordType::AAAA), ("no.cdn.test", RecordType::A)]
    {
        let answer = world.ask(&with_subnet(question(untailored.0, untailored.1), "198.18.1.0/24"));
        assert_eq!(subnet_of(&answer).unwrap().scope_prefix(), 0, "{untailored:?}");
    }
}

#[test]
fn without_a_subnet_or_with_an_opt_out_the_peer_decides_by_its_translated_address() {
    let world = world().healthy();
    for opt_out in
        [question("www.demo.test", RecordType::A), with_subnet(question("www.demo.test", RecordType::A), "0.0.0.0/0")]
    {
        for (from, edge) in [([127, 18, 1, 9], 0), ([127, 18, 3, 9], 1)] {
            let bytes = world.udp(Ipv4Addr::from(from), &opt_out.to_vec().unwrap()).unwrap();
            let answer = Message::from_vec(&bytes).unwrap();
            let RData::A(first) = &answer.answers[0].data else { panic!("{answer}") };
            assert_eq!(first.0, *world.edges[edge].address.ip());
        }
    }
}

#[test]
fn the_case_of_a_question_is_kept() {
    let world = world().healthy();
    let answer = world.ask(&question("WwW.dEmO.tEsT", RecordType::A));
    assert_eq!(answer.queries[0].name().to_ascii(), "WwW.dEmO.tEsT.");
    assert_eq!(answer.answers[0].name.to_ascii(), "WwW.dEmO.tEsT.");
    let denial = world.ask(&question("nO.dEmO.tEsT", RecordType::A));
    assert_eq!(denial.authorities[0].name.to_ascii(), "dEmO.tEsT.");
}

#[test]
fn unknown_operations_versions_and_classes_are_told_so() {
    let world = world().healthy();
    let mut notify = question("demo.test", RecordType::SOA);
    notify.metadata.op_code = OpCode::Notify;
    let mut version = with_edns(question("www.demo.test", RecordType::A));
    version.edns.as_mut().unwrap().set_version(1);
    let mut chaos = question("www.demo.test", RecordType::A);
    chaos.queries[0].set_query_class(DNSClass::CH);
    let mut two = question("www.demo.test", RecordType::A);
    two.add_query(two.queries[0].clone());
    let mut none = question("www.demo.test", RecordType::A);
    none.queries.clear();
    for (message, code) in [
        (notify, ResponseCode::NotImp),
        (version, ResponseCode::BADVERS),
        (chaos, ResponseCode::Refused),
        (two, ResponseCode::FormErr),
        (none, ResponseCode::FormErr),
    ] {
        let answer = world.ask(&message);
        // Sixteen is BADSIG too, and hickory reads it so.
        assert_eq!(u16::from(answer.metadata.response_code), u16::from(code));
        assert_eq!((answer.answers.len(), answer.authorities.len()), (0, 0));
        if let Some(edns) = &answer.edns {
            assert_eq!(edns.version(), 0);
        }
    }
    let mut id = question("id.server", RecordType::TXT);
    id.queries[0].set_query_class(DNSClass::CH);
    let answer = world.ask(&id);
    assert_eq!(answer.answers[0].dns_class, DNSClass::CH);
    assert_eq!(answer.answers[0].data.to_string(), "router.main");
}

#[test]
fn an_answer_that_does_not_fit_asks_for_tcp() {
    // Sixty addresses under one name: 960 bytes and more.
    let world = world_with(|config| {
        let pop = config.pops[0].clone();
        let edges = (0..60u8).map(|at| {
            let mut edge = pop.edges[0].clone();
            edge.id = cdn_core::NodeId::new(cdn_core::Role::Edge, &format!("fra-{at}"));
            edge.address.set_ip(Ipv4Addr::new(127, 79, 0, at));
            edge
        });
        config.pops[0].edges.extend(edges);
    });
    let message = question("fra.cdn.test", RecordType::A);
    let bytes = world.udp(Ipv4Addr::LOCALHOST, &message.to_vec().unwrap()).unwrap();
    assert!(bytes.len() <= 512);
    let short = Message::from_vec(&bytes).unwrap();
    assert!(short.metadata.truncation && short.answers.is_empty());
    assert_eq!(world.ask_tcp(std::slice::from_ref(&message))[0].answers.len(), 61);
    assert_eq!(world.ask(&with_edns(message)).answers.len(), 61, "fits into 1232 bytes");
    assert_eq!(world.handle.counters().value(Counter::RouterDnsTruncated), 1);
}

#[test]
fn tcp_takes_many_questions_on_one_connection() {
    let world = world().healthy();
    let messages: Vec<_> = (0..50)
        .map(|id| {
            let mut message = question("www.demo.test", RecordType::A);
            message.metadata.id = id;
            message
        })
        .collect();
    let answers = world.ask_tcp(&messages);
    let ids: Vec<_> = answers.iter().map(|answer| answer.metadata.id).collect();
    assert_eq!(ids, (0..50).collect::<Vec<_>>());
}

#[test]
fn idle_tcp_connections_are_closed_and_too_many_refused() {
    let world = world_with(|config| {
        config.limits.tcp_timeout = Duration::from_millis(50);
        config.limits.tcp_connections_max = 1;
    });
    let _idle = std::net::TcpStream::connect(world.dns).unwrap();
    let counters = world.handle.counters();
    wait_until("the first is open", || counters.value(Counter::RouterTcpConnections) == 1);
    let _refused = std::net::TcpStream::connect(world.dns).unwrap();
    wait_until("the second is refused", || counters.value(Counter::RouterTcpConnectionsRefused) == 1);
    wait_until("the first is closed", || counters.value(Counter::RouterTcpTimeouts) == 1);
    wait_until("its place is free", || counters.value(Counter::RouterTcpConnections) == 0);
}

#[test]
fn answers_of_others_are_left_alone() {
    let world = world().healthy();
    let mut answer = question("www.demo.test", RecordType::A);
    answer.metadata.message_type = MessageType::Response;
    let mut out = vec![];
    let peer = SocketAddr::from(([127, 0, 0, 1], 53));
    assert!(!world.handle.answer(&answer.to_vec().unwrap(), peer, &mut out));
    assert!(!world.handle.answer(&[1, 2, 3], peer, &mut out));
    assert_eq!(world.handle.counters().value(Counter::RouterDnsDropped), 2);
}

#[test]
fn an_explanation_tells_what_dns_answers() {
    let world = world().healthy();
    let asker = Asker { peer: ip("127.0.0.1"), subnet: Some("198.18.3.0/24".parse().unwrap()) };
    let explained = world.handle.explain(asker, "WWW.demo.test.", &ExplainOptions::default()).unwrap();
    let explanation = &explained.explanation;
    assert_eq!(explanation.chosen[0].address, world.edges[1].address);
    assert_eq!((explanation.scope_len, explanation.ttl), (24, Duration::from_secs(60)));
    let json = serde_json::to_value(router::json::ExplanationJson::from(&explained)).unwrap();
    assert_eq!(json["client"]["place"], "Osaka");
    assert_eq!(json["chosen"][0]["pop"], "NRT");
    assert_eq!(json["chosen"][0]["reason"], "route_lowest_estimate");
    assert_eq!(json["candidates"][0]["source"], "distance");
    assert!(world.handle.explain(asker, "example.com", &ExplainOptions::default()).is_err());
}

#[test]
fn nsid_names_the_router() {
    let world = world().healthy();
    let mut message = with_edns(question("www.demo.test", RecordType::A));
    let nsid = hickory_proto::rr::rdata::opt::EdnsOption::Unknown(3, vec![]);
    message.edns.as_mut().unwrap().options_mut().options.push((3.into(), nsid));
    let bytes = world.udp(Ipv4Addr::LOCALHOST, &message.to_vec().unwrap()).unwrap();
    assert!(bytes.windows(11).any(|window| window == b"router.main"));
}
