//! What public EDNS compliance checks ask, byte by byte; cookies, keepalive and padding.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

use cdn_core::{
    Counter,
    dns_cookie::{CookieSecret, CookieSecrets},
};
use router::Cookies;

use crate::world::{World, wait_until, world, world_with};

const WWW: &[u8] = b"\x03www\x04demo\x04test\x00\x00\x01\x00\x01";
const HOME: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// A client of the world, whom nobody trusts.
const BERLIN: Ipv4Addr = Ipv4Addr::new(127, 18, 1, 9);

const NSID: u16 = 3;
const COOKIE: u16 = 10;
const KEEPALIVE: u16 = 11;
const PADDING: u16 = 12;

/// A record that makes a message unusual, so that the complete parser reads it.
const EXTRA: &[u8] = &[0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1];

/// An OPT record with this version, flags and options.
fn opt(version: u8, flags: u16, options: &[(u16, &[u8])]) -> Vec<u8> {
    let mut data = vec![];
    for (code, value) in options {
        data.extend_from_slice(&code.to_be_bytes());
        data.extend_from_slice(&(value.len() as u16).to_be_bytes());
        data.extend_from_slice(value);
    }
    let mut record = vec![0, 0, 41, 4, 208, 0, version];
    record.extend_from_slice(&flags.to_be_bytes());
    record.extend_from_slice(&(data.len() as u16).to_be_bytes());
    record.extend_from_slice(&data);
    record
}

/// A message of these flags, questions and additional records.
fn message(flags: u16, questions: &[&[u8]], additionals: &[&[u8]]) -> Vec<u8> {
    let [high, low] = flags.to_be_bytes();
    let mut message = vec![0, 7, high, low, 0, questions.len() as u8, 0, 0, 0, 0, 0, additionals.len() as u8];
    message.extend(questions.concat());
    message.extend(additionals.concat());
    message
}

fn asks(options: &[(u16, &[u8])]) -> Vec<u8> {
    message(0, &[WWW], &[&opt(0, 0, options)])
}

/// What matters of an answer.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    rcode: u16,
    answers: u16,
    is_truncated: bool,
    /// Version and flags of the OPT record.
    opt: Option<(u8, u16)>,
}

fn seen(answer: &[u8]) -> Seen {
    let opt = opt_of(answer);
    let extended = opt.map_or(0, |opt| u16::from(opt[5]) << 4);
    Seen {
        rcode: extended | u16::from(answer[3] & 0xf),
        answers: u16::from_be_bytes([answer[6], answer[7]]),
        is_truncated: answer[2] & 0b10 != 0,
        opt: opt.map(|opt| (opt[6], u16::from_be_bytes([opt[7], opt[8]]))),
    }
}

/// The OPT record, from its owner on: the last of an answer of ours, where its counts say that there is one.
fn opt_of(answer: &[u8]) -> Option<&[u8]> {
    if answer[11] == 0 {
        return None;
    }
    let at = answer.windows(3).rposition(|window| window == [0, 0, 41]).expect("an OPT record");
    Some(&answer[at..])
}

/// The value of an option of an answer.
fn option_of(answer: &[u8], wanted: u16) -> Option<Vec<u8>> {
    let mut rest = opt_of(answer)?.get(11..)?;
    while let [a, b, c, d, after @ ..] = rest {
        let (value, next) = after.split_at(usize::from(u16::from_be_bytes([*c, *d])));
        if u16::from_be_bytes([*a, *b]) == wanted {
            return Some(value.to_vec());
        }
        rest = next;
    }
    None
}

fn ask(world: &World, message: &[u8]) -> Vec<u8> {
    world.udp(HOME, message).expect("an answer")
}

fn ask_tcp(world: &World, message: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(world.dns).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(&[&(message.len() as u16).to_be_bytes(), message].concat()).unwrap();
    let mut len = [0; 2];
    stream.read_exact(&mut len).unwrap();
    let mut answer = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut answer).unwrap();
    answer
}

#[test]
fn compliance_checks_get_what_they_expect() {
    let world = world().healthy();
    let (plain, dnssec_ok) = (opt(0, 0, &[]), 0x8000);
    let good = |opt| Seen { rcode: 0, answers: 2, is_truncated: false, opt };
    let error = |rcode, opt| Seen { rcode, answers: 0, is_truncated: false, opt };
    let chaos = |name: &[u8]| [name, b"\x00\x10\x00\x03"].concat();
    let class = |class: u8| [&WWW[..WWW.len() - 1], &[class]].concat();
    for (what, asked, expected) in [
        ("plain DNS", message(0, &[WWW], &[]), good(None)),
        ("EDNS 0", message(0, &[WWW], &[&plain]), good(Some((0, 0)))),
        ("EDNS 1", message(0, &[WWW], &[&opt(1, 0, &[])]), error(16, Some((0, 0)))),
        ("EDNS 1 and an unknown option", message(0, &[WWW], &[&opt(1, 0, &[(100, b"x")])]), error(16, Some((0, 0)))),
        ("EDNS 1 and DO", message(0, &[WWW], &[&opt(1, dnssec_ok, &[])]), error(16, Some((0, dnssec_ok)))),
        ("an unknown option", asks(&[(100, b"what")]), good(Some((0, 0)))),
        ("an unknown flag", message(0, &[WWW], &[&opt(0, 0x40, &[])]), good(Some((0, 0)))),
        ("every flag", message(0, &[WWW], &[&opt(0, 0xffff, &[])]), good(Some((0, dnssec_ok)))),
        ("DO", message(0, &[WWW], &[&opt(0, dnssec_ok, &[])]), good(Some((0, dnssec_ok)))),
        ("AD and CD", message(0x30, &[WWW], &[&plain]), good(Some((0, 0)))),
        ("the reserved bit", message(0x40, &[WWW], &[&plain]), good(Some((0, 0)))),
        ("an unknown operation", message(15 << 11, &[WWW], &[]), error(4, None)),
        ("an unknown operation with EDNS", message(15 << 11, &[WWW], &[&plain]), error(4, Some((0, 0)))),
        ("an unknown operation and no question", message(15 << 11, &[], &[&plain]), error(4, Some((0, 0)))),
        ("two questions", message(0, &[WWW, WWW], &[&plain]), error(1, Some((0, 0)))),
        ("no question", message(0, &[], &[&plain]), error(1, Some((0, 0)))),
        ("two OPT records", message(0, &[WWW], &[&plain, &plain]), error(1, None)),
        ("bytes after the message", [&message(0, &[WWW], &[&plain])[..], b"?"].concat(), error(1, Some((0, 0)))),
        ("bytes after plain DNS", [&message(0, &[WWW], &[])[..], b"?"].concat(), error(1, None)),
        (
            "an option that is cut",
            message(0, &[WWW], &[&[&opt(0, 0, &[])[..9], &[0, 3, 0, 3, 0]].concat()]),
            error(1, Some((0, 0))),
        ),
        ("class CH", message(0, &[&class(3)], &[&plain]), error(5, Some((0, 0)))),
        ("class HS", message(0, &[&class(4)], &[]), error(5, None)),
        ("an unknown class", message(0, &[&class(77)], &[&plain]), error(5, Some((0, 0)))),
        ("id.server", message(0, &[&chaos(b"\x02id\x06server\x00")], &[]), Seen { answers: 1, ..error(0, None) }),
        ("version.bind, which is not set", message(0, &[&chaos(b"\x07version\x04bind\x00")], &[]), error(5, None)),
    ] {
        assert_eq!(seen(&ask(&world, &asked)), expected, "{what}");
        assert_eq!(seen(&ask_tcp(&world, &asked)), expected, "{what} by TCP");
    }
    let answer = ask(&world, &message(0x30, &[WWW], &[&plain]));
    assert_eq!(answer[3] & 0x70, 0, "AD, CD and the reserved bit are not for us to set");
    let named = ask(&world, &asks(&[(NSID, b"")]));
    assert_eq!(option_of(&named, NSID).as_deref(), Some(&b"router.main"[..]));
}

#[test]
fn a_version_is_told_where_one_is_set() {
    let world = world_with(|config| config.version = Some("isochrone 1".into()));
    for name in [&b"\x07version\x04bind\x00"[..], b"\x07VERSION\x06server\x00"] {
        let answer = ask(&world, &message(0, &[&[name, b"\x00\x10\x00\x03"].concat()], &[]));
        assert!(answer.ends_with(b"\x0bisochrone 1"), "{answer:?}");
    }
}

fn cookies(is_required: bool) -> Option<Cookies> {
    let secrets = CookieSecrets::rolling(CookieSecret::new([7; 16]), Duration::from_secs(86_400));
    Some(Cookies { secrets, is_required })
}

fn with_cookies(is_required: bool) -> World {
    world_with(|config| config.cookies = cookies(is_required)).healthy()
}

#[test]
fn whoever_asks_for_a_cookie_gets_one_that_is_known_at_every_router() {
    let (one, other) = (with_cookies(false), with_cookies(false));
    let first = one.udp(BERLIN, &asks(&[(COOKIE, b"12345678")])).unwrap();
    assert_eq!(seen(&first).answers, 2);
    let cookie = option_of(&first, COOKIE).unwrap();
    assert_eq!((cookie.len(), &cookie[..8]), (24, &b"12345678"[..]));
    let again = other.udp(BERLIN, &asks(&[(COOKIE, &cookie)])).unwrap();
    assert_eq!(option_of(&again, COOKIE).unwrap(), cookie, "a young one is kept");
    let counters = other.handle.counters();
    assert_eq!(counters.value(Counter::RouterDnsCookiesValid), 1);
    other.udp(Ipv4Addr::new(127, 18, 3, 9), &asks(&[(COOKIE, &cookie)])).unwrap();
    assert_eq!(counters.value(Counter::RouterDnsCookiesInvalid), 1, "it is another client's");
    // A cookie may be asked for without a question.
    let alone = ask(&one, &message(0, &[], &[&opt(0, 0, &[(COOKIE, b"12345678")])]));
    assert_eq!((seen(&alone).rcode, option_of(&alone, COOKIE).unwrap().len()), (0, 24));
    // The complete parser agrees.
    let unusual = message(0, &[WWW], &[EXTRA, &opt(0, 0, &[(COOKIE, b"12345678")])]);
    assert_eq!(option_of(&ask(&one, &unusual), COOKIE).unwrap().len(), 24);
}

#[test]
fn a_cookie_of_a_wrong_length_is_a_format_error() {
    let world = with_cookies(false);
    for len in [0, 7, 9, 15, 41] {
        let answer = ask(&world, &asks(&[(COOKIE, &vec![1; len])]));
        assert_eq!((seen(&answer).rcode, option_of(&answer, COOKIE)), (1, None), "{len}");
    }
    assert_eq!(world.handle.counters().value(Counter::RouterDnsCookiesMalformed), 5);
}

#[test]
fn where_cookies_are_required_those_without_are_told_how_to_come() {
    let world = with_cookies(true);
    let first = world.udp(BERLIN, &asks(&[(COOKIE, b"12345678")])).unwrap();
    assert_eq!((seen(&first).rcode, seen(&first).answers), (23, 0), "BADCOOKIE");
    let unusual = message(0, &[WWW], &[EXTRA, &opt(0, 0, &[(COOKIE, b"12345678")])]);
    assert_eq!(seen(&world.udp(BERLIN, &unusual).unwrap()).rcode, 23, "by the complete parser too");
    let cookie = option_of(&first, COOKIE).unwrap();
    assert_eq!(seen(&world.udp(BERLIN, &asks(&[(COOKIE, &cookie)])).unwrap()).answers, 2);
    for without in [message(0, &[WWW], &[]), asks(&[])] {
        let answer = seen(&world.udp(BERLIN, &without).unwrap());
        assert_eq!((answer.rcode, answer.answers, answer.is_truncated), (0, 0, true));
        assert_eq!(seen(&ask(&world, &without)).answers, 2, "from a trusted network");
    }
    assert_eq!(seen(&ask_tcp(&world, &asks(&[(COOKIE, b"12345678")]))).answers, 2, "a connection shows the address");
    let counters = world.handle.counters();
    assert_eq!(counters.value(Counter::RouterDnsBadCookie), 2);
    assert_eq!(counters.value(Counter::RouterDnsCookiesMissing), 2);
}

#[test]
fn without_a_cookie_there_is_no_large_answer() {
    // Sixty addresses under one name: 960 bytes and more.
    let world = world_with(|config| {
        config.cookies = cookies(false);
        // Nobody is there, and must not be found out before the question is asked.
        config.routing.probe.down_after = u32::MAX;
        let pop = config.pops[0].clone();
        config.pops[0].edges.extend((0..60u8).map(|at| {
            let mut edge = pop.edges[0].clone();
            edge.id = cdn_core::NodeId::new(cdn_core::Role::Edge, &format!("fra-{at}"));
            edge.address.set_ip(Ipv4Addr::new(127, 79, 0, at));
            edge
        }));
    });
    let asks = |cookie: &[u8]| {
        message(0, &[b"\x03fra\x03cdn\x04test\x00\x00\x01\x00\x01"], &[&opt(0, 0, &[(COOKIE, cookie)])])
    };
    let short = world.udp(BERLIN, &asks(b"12345678")).unwrap();
    assert!(seen(&short).is_truncated && short.len() <= 512);
    let cookie = option_of(&short, COOKIE).unwrap();
    assert_eq!(seen(&world.udp(BERLIN, &asks(&cookie)).unwrap()).answers, 61);
    assert_eq!(seen(&ask(&world, &asks(b"12345678"))).answers, 61, "from a trusted network");
}

#[test]
fn a_connection_is_told_how_long_it_may_be_idle_and_padded_where_asked() {
    let world = world_with(|config| config.limits.tcp_timeout = Duration::from_secs(7)).healthy();
    let asked = asks(&[(KEEPALIVE, b""), (PADDING, &[0; 9])]);
    let answer = ask_tcp(&world, &asked);
    assert_eq!(option_of(&answer, KEEPALIVE).as_deref(), Some(&70u16.to_be_bytes()[..]));
    assert_eq!(answer.len(), 468, "padded to the block of RFC 8467");
    let unusual = message(0, &[WWW], &[EXTRA, &opt(0, 0, &[(PADDING, b"")])]);
    assert_eq!(ask_tcp(&world, &unusual).len(), 468, "by the complete parser too");
    let by_udp = ask(&world, &asked);
    assert_eq!((option_of(&by_udp, KEEPALIVE), option_of(&by_udp, PADDING)), (None, None));
    assert_eq!(seen(&ask_tcp(&world, &asks(&[(KEEPALIVE, &[0, 1])]))).rcode, 1, "only servers state a time");
}

#[test]
fn a_client_has_its_share_of_connections_and_a_connection_its_share_of_questions() {
    let world = world_with(|config| {
        config.limits.tcp_connections_per_client_max = 1;
        config.limits.tcp_queries_max = 2;
    })
    .healthy();
    let counters = world.handle.counters();
    let mut first = TcpStream::connect(world.dns).unwrap();
    wait_until("the first is open", || counters.value(Counter::RouterTcpConnections) == 1);
    let _second = TcpStream::connect(world.dns).unwrap();
    wait_until("the second is refused", || counters.value(Counter::RouterTcpConnectionsRefusedClient) == 1);
    let asked = message(0, &[WWW], &[]);
    let framed = [&(asked.len() as u16).to_be_bytes(), &asked[..]].concat();
    first.write_all(&framed.repeat(3)).unwrap();
    let mut answers = vec![];
    // The third question is still unread when the connection closes, so it may end with a reset.
    let _ = first.read_to_end(&mut answers);
    wait_until("the connection is full", || counters.value(Counter::RouterTcpQueriesFull) == 1);
    assert_eq!(counters.value(Counter::RouterDnsQueriesTcp), 2);
    wait_until("its place is free", || counters.value(Counter::RouterTcpConnections) == 0);
    assert_eq!(seen(&ask_tcp(&world, &asked)).answers, 2);
}
