//! Zones that people write, asked with dig over real sockets.

use std::process::Command;

use cdn_core::{Counter, zone::Name};
use router::zone_file;

use crate::world::{World, world_with};

const ZONE: &str = r#"
$ORIGIN example.
$TTL 300
@           SOA   ns1 hostmaster 1 7200 900 1209600 60
            NS    ns1
            MX    10 mail
            CAA   0 issue "ca.example.net"
ns1         A     192.0.2.53
mail        A     192.0.2.25
            AAAA  2001:db8::25
            LOC   52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m
            SSHFP 4 2 123456789ABCDEF67890123456789ABCDEF67890123456789ABCDEF123456789
txt         TXT   "two" "strings; and a \"quote\""
www         CNAME www.demo.test.
chain       CNAME link
link        CNAME mail
a           CNAME b
b           CNAME a
*.wild      TXT   "wild"
x.ent.wild  A     192.0.2.1
sub         NS    ns.sub
            NS    ns.elsewhere.test.
            DS    60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118
ns.sub      A     192.0.2.54
            AAAA  2001:db8::54
below.sub   TXT   "occluded"
old         DNAME mail
moved       DNAME new
host.new    A     192.0.2.77
any         TYPE65280 \# 4 0A000001
"#;

/// As [`world_with`], with the zone and a delegation of so many name servers.
fn world() -> World {
    let mut text = ZONE.to_owned();
    for at in 0..30 {
        text += &format!("many NS ns{at}.many\nns{at}.many AAAA 2001:db8::{at}\n");
        text += &format!("far NS f{at}.mail\n");
        text += &format!("f{at}.mail AAAA 2001:db8::{at}\n");
    }
    let records = zone_file::parse(&text, &Name::root()).unwrap_or_else(|error| panic!("{error}")).records;
    world_with(|config| {
        config.records = records;
        config.https_records = Some(4443);
    })
    .healthy()
}

/// Status, flags and records of each section, as dig prints them, one line each and in order of the text.
fn dig(world: &World, args: &[&str]) -> (String, String, Vec<String>) {
    let (ip, port) = (format!("@{}", world.dns.ip()), world.dns.port().to_string());
    let output = Command::new("dig")
        .args([&ip, "-p", &port, "+tries=1", "+nocookie", "+norecurse", "+noquestion"])
        .args(args)
        .output()
        .expect("dig is installed");
    let text = String::from_utf8(output.stdout).unwrap();
    let after = |word: &str| {
        let rest = text.split_once(word).unwrap_or_else(|| panic!("no {word:?} in:\n{text}")).1;
        rest.split([',', ';']).next().unwrap().trim().to_owned()
    };
    let mut section = "";
    let mut records = vec![];
    for line in text.lines() {
        match line {
            _ if line.ends_with(" SECTION:") => section = line.trim_start_matches(";; ").split(' ').next().unwrap(),
            _ if line.starts_with(';') || line.is_empty() => {}
            _ => {
                let words: Vec<&str> = line.split_whitespace().collect();
                records.push(format!("{} {}", section.to_lowercase(), words.join(" ")));
            }
        }
    }
    records.retain(|record| !record.starts_with("opt "));
    records.sort();
    (after("status: "), after("flags: "), records)
}

fn check(world: &World, args: &[&str], status: &str, flags: &str, expected: &[&str]) {
    let (got_status, got_flags, records) = dig(world, args);
    assert_eq!(
        (got_status.as_str(), got_flags.as_str(), records),
        (status, flags, expected.iter().map(ToString::to_string).collect()),
        "{args:?}"
    );
}

#[test]
fn dig_reads_what_the_zone_file_says() {
    let world = world();
    let soa = "authority example. 60 IN SOA ns1.example. hostmaster.example. 1 7200 900 1209600 60";
    let referral = [
        "additional ns.sub.example. 300 IN A 192.0.2.54",
        "additional ns.sub.example. 300 IN AAAA 2001:db8::54",
        "authority sub.example. 300 IN NS ns.elsewhere.test.",
        "authority sub.example. 300 IN NS ns.sub.example.",
    ];
    let aa = "qr aa";
    for (question, status, flags, records) in [
        (["example.", "CAA"], "NOERROR", aa, vec![r#"answer example. 300 IN CAA 0 issue "ca.example.net""#]),
        (
            ["example.", "MX"],
            "NOERROR",
            aa,
            vec![
                "additional mail.example. 300 IN A 192.0.2.25",
                "additional mail.example. 300 IN AAAA 2001:db8::25",
                "answer example. 300 IN MX 10 mail.example.",
            ],
        ),
        (
            ["mail.example.", "LOC"],
            "NOERROR",
            aa,
            vec!["answer mail.example. 300 IN LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m"],
        ),
        (
            ["mail.example.", "SSHFP"],
            "NOERROR",
            aa,
            vec![
                "answer mail.example. 300 IN SSHFP 4 2 123456789ABCDEF67890123456789ABCDEF67890123456789ABCDEF1 23456789",
            ],
        ),
        (
            ["txt.example.", "TXT"],
            "NOERROR",
            aa,
            vec![r#"answer txt.example. 300 IN TXT "two" "strings; and a \"quote\"""#],
        ),
        (["any.example.", "TYPE65280"], "NOERROR", aa, vec![r"answer any.example. 300 IN TYPE65280 \# 4 0A000001"]),
        (
            ["chain.example.", "A"],
            "NOERROR",
            aa,
            vec![
                "answer chain.example. 300 IN CNAME link.example.",
                "answer link.example. 300 IN CNAME mail.example.",
                "answer mail.example. 300 IN A 192.0.2.25",
            ],
        ),
        (
            ["a.example.", "A"],
            "NOERROR",
            aa,
            vec!["answer a.example. 300 IN CNAME b.example.", "answer b.example. 300 IN CNAME a.example."],
        ),
        (["x.wild.example.", "TXT"], "NOERROR", aa, vec![r#"answer x.wild.example. 300 IN TXT "wild""#]),
        (["ent.wild.example.", "TXT"], "NOERROR", aa, vec![soa]),
        (["y.ent.wild.example.", "TXT"], "NXDOMAIN", aa, vec![soa]),
        (
            ["sub.example.", "DS"],
            "NOERROR",
            aa,
            vec!["answer sub.example. 300 IN DS 60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118"],
        ),
        (["sub.example.", "NS"], "NOERROR", "qr", referral.to_vec()),
        (["below.sub.example.", "TXT"], "NOERROR", "qr", referral.to_vec()),
        (
            ["HOST.moved.example.", "A"],
            "NOERROR",
            aa,
            vec![
                "answer HOST.moved.example. 300 IN CNAME host.new.example.",
                "answer host.new.example. 300 IN A 192.0.2.77",
                "answer moved.example. 300 IN DNAME new.example.",
            ],
        ),
        (
            ["host.old.example.", "A"],
            "NXDOMAIN",
            aa,
            vec![
                "answer host.old.example. 300 IN CNAME host.mail.example.",
                "answer old.example. 300 IN DNAME mail.example.",
                soa,
            ],
        ),
        (["elsewhere.test.", "A"], "REFUSED", "qr", vec![]),
    ] {
        let mut records = records;
        records.sort_unstable();
        for transport in ["+notcp", "+tcp"] {
            check(&world, &[&question[..], &[transport]].concat(), status, flags, &records);
        }
    }
}

#[test]
fn a_name_that_a_dname_makes_too_long_is_yxdomain() {
    let world = world_with(|config| {
        let text = "@ 60 SOA ns host 1 2 3 4 5\n@ 60 NS ns\nd 60 DNAME a-target-that-is-much-longer-than-its-owner";
        config.records = zone_file::parse(text, &"example".parse().unwrap()).unwrap().records;
    });
    let long = format!("{}d.example.", "abcdefg.".repeat(29));
    let (status, flags, records) = dig(&world, &[&long, "A"]);
    assert_eq!((status.as_str(), flags.as_str()), ("YXDOMAIN", "qr aa"));
    assert_eq!(records, ["answer d.example. 60 IN DNAME a-target-that-is-much-longer-than-its-owner.example."]);
}

#[test]
fn an_alias_of_a_routed_name_answers_with_both() {
    let world = world();
    let (status, _, records) = dig(&world, &["www.example.", "A", "+subnet=198.18.3.0/24"]);
    assert_eq!(status, "NOERROR");
    assert_eq!(records.len(), 3, "{records:?}");
    let nearest = format!("answer www.demo.test. 60 IN A {}", world.edges[1].address.ip());
    assert!(records.contains(&"answer www.example. 300 IN CNAME www.demo.test.".into()), "{records:?}");
    assert!(records.contains(&nearest), "{records:?}");
    let (_, _, https) = dig(&world, &["www.demo.test.", "HTTPS", "+subnet=198.18.3.0/24"]);
    let [a, b] = [1, 0].map(|at: usize| world.edges[at].address);
    let hints = format!("{},{}", a.ip(), b.ip());
    let expected = format!("answer www.demo.test. 60 IN HTTPS 1 . alpn=\"h2,http/1.1\" port=4443 ipv4hint={hints}");
    assert_eq!(https, [expected]);
}

#[test]
fn a_referral_without_room_for_its_glue_is_truncated_and_one_without_room_for_other_addresses_is_not() {
    let world = world();
    let counters = world.handle.counters();
    let (status, flags, records) = dig(&world, &["x.many.example.", "A", "+ignore", "+bufsize=1232"]);
    assert_eq!((status.as_str(), flags.as_str(), records.len()), ("NOERROR", "qr tc", 0));
    assert_eq!(counters.value(Counter::RouterDnsTruncated), 1);
    let (_, flags, records) = dig(&world, &["x.many.example.", "A", "+tcp"]);
    assert_eq!((flags.as_str(), records.len()), ("qr", 60));
    // The addresses of servers that lie elsewhere others can tell, too.
    let (_, flags, records) = dig(&world, &["x.far.example.", "A", "+ignore", "+bufsize=1232"]);
    let of = |section: &str| records.iter().filter(|record| record.starts_with(section)).count();
    assert_eq!((flags.as_str(), of("authority")), ("qr", 30));
    assert!((20..30).contains(&of("additional")), "{}", of("additional"));
    assert_eq!(counters.value(Counter::RouterDnsTruncated), 1);
    assert_eq!(counters.value(Counter::RouterDnsReferrals), 3);
}
