//! Questions and their answers, as tables. The zone of RFC 4592, section 2.2.1, is `example`.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

const ZONES: &str = "
demo.test                  SOA
demo.test                  NS    ns1.cdn.test
demo.test                  MX    mail.demo.test
demo.test                  TXT   apex
mail.demo.test             A     192.0.2.25
mail.demo.test             AAAA  2001:db8::25
other.demo.test            MX    host.elsewhere.test
alias.demo.test            CNAME www.demo.test
chain.demo.test            CNAME link.demo.test
link.demo.test             CNAME mail.demo.test
away.demo.test             CNAME host.elsewhere.test
dangling.demo.test         CNAME nothing.demo.test
across.demo.test           CNAME ns1.cdn.test
to-sub.demo.test           CNAME x.sub.demo.test
loop-a.demo.test           CNAME loop-b.demo.test
loop-b.demo.test           CNAME loop-a.demo.test
self.demo.test             CNAME self.demo.test
a.b.c.demo.test            TXT   deep
sub.demo.test              NS    ns1.sub.demo.test
sub.demo.test              NS    ns.elsewhere.test
sub.demo.test              NS    ns.sibling.demo.test
sub.demo.test              NS    mail.demo.test
sub.demo.test              DS    key
sub.demo.test              TXT   occluded
ns1.sub.demo.test          A     192.0.2.53
ns1.sub.demo.test          AAAA  2001:db8::53
deeper.sub.demo.test       NS    ns.deeper.sub.demo.test
ns.deeper.sub.demo.test    A     192.0.2.99
below.sub.demo.test        TXT   occluded
*.sub.demo.test            TXT   occluded
sibling.demo.test          NS    ns.sibling.demo.test
ns.sibling.demo.test       A     192.0.2.54
nodes.demo.test            NS    ns.elsewhere.test
old.demo.test              DNAME new.demo.test
old.demo.test              TXT   at the owner
below.old.demo.test        TXT   occluded
mail.new.demo.test         A     192.0.2.26
alias.new.demo.test        CNAME mail.demo.test
out.demo.test              DNAME elsewhere.test
grow.demo.test             DNAME grow.grow.demo.test
swing.demo.test            DNAME swung.demo.test
swung.demo.test            DNAME swing.demo.test
*.wild.demo.test           TXT   wild
*.wild.demo.test           MX    mail.demo.test
host.wild.demo.test        A     192.0.2.1
x.ent.wild.demo.test       A     192.0.2.2
*.cname.demo.test          CNAME mail.demo.test
*.into.demo.test           CNAME x.into.demo.test
*.ns.demo.test             NS    ns.elsewhere.test
a.*.star.demo.test         TXT   below the star
_sip._tcp.demo.test        SRV   mail.demo.test
_none._tcp.demo.test       SRV   .
*.ent2.demo.test           TXT   wild
y.x.ent2.demo.test         TXT   below ent
example                    SOA
example                    NS    ns.example.com
example                    NS    ns.example.net
*.example                  TXT   this is a wildcard
*.example                  MX    host1.example
sub.*.example              TXT   this is not a wildcard
host1.example              A     192.0.2.1
_ssh._tcp.host1.example    SRV   host1.example
_ssh._tcp.host2.example    SRV   host2.example
subdel.example             NS    ns.example.com
subdel.example             NS    ns.example.net
cdn.test                   SOA
cdn.test                   NS    ns1.cdn.test
moved.test                 SOA
moved.test                 NS    ns1.cdn.test
moved.test                 DNAME demo.test
ns2.nested.demo.test       SOA
ns2.nested.demo.test       NS    ns1.cdn.test
ns2.nested.demo.test       DS    key
";

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn data(record_type: &str, text: &str) -> Data {
    match record_type {
        "A" => Data::A(text.parse().unwrap()),
        "AAAA" => Data::Aaaa(text.parse().unwrap()),
        "NS" => Data::Ns(name(text)),
        "CNAME" => Data::Cname(name(text)),
        "DNAME" => Data::Dname(name(text)),
        "MX" => Data::Mx { preference: 10, exchange: name(text) },
        "SRV" => Data::Srv { priority: 0, weight: 0, port: 80, target: name(text) },
        "TXT" => Data::text(text.as_bytes()),
        "SOA" => Data::Soa(Soa {
            primary: name("ns1.cdn.test"),
            contact: name("hostmaster.cdn.test"),
            serial: 1,
            refresh_s: 7200,
            retry_s: 900,
            expire_s: 1_209_600,
            minimum_s: 60,
        }),
        other => Data::Other(other.parse().unwrap(), text.as_bytes().into()),
    }
}

fn record(line: &str) -> Record {
    let mut words = line.splitn(2, char::is_whitespace);
    let owner = words.next().unwrap();
    let rest = words.next().unwrap().trim();
    let (record_type, text) = rest.split_once(' ').unwrap_or((rest, ""));
    Record { name: name(owner), ttl_s: 300, data: data(record_type, text.trim()), zone: None }
}

fn builder(lines: &str) -> ZonesBuilder {
    let mut builder = ZonesBuilder::default();
    lines.lines().filter(|line| !line.is_empty()).for_each(|line| builder.add_record(record(line)));
    builder
}

fn zones() -> Zones {
    let mut builder = builder(ZONES);
    builder.add_record(Record {
        name: name("ns1.cdn.test"),
        ttl_s: 300,
        data: Data::A(Ipv4Addr::LOCALHOST),
        zone: None,
    });
    builder.add_routed(name("www.demo.test"), 0);
    builder.add_routed(name("*.shop.demo.test"), 1);
    builder.add_record(record("shop.demo.test  CNAME www.demo.test"));
    builder.add_record(record("b.shop.demo.test TXT x"));
    builder.build().unwrap()
}

/// An answer as one line: code, AA, then the sections.
fn shown(zones: &Zones, question: &str, wanted: &str) -> String {
    let question = name(question);
    let answer = zones.answer(question.as_bytes(), wanted.parse().unwrap());
    let mut line = format!("{:?}{}", answer.code, if answer.is_authoritative { " aa" } else { "" });
    let sections: [(char, Vec<&Set<'_>>); 3] = [
        ('>', answer.answer.iter().collect()),
        ('|', answer.authority.iter().collect()),
        ('+', answer.additional.iter().collect()),
    ];
    for (letter, section) in sections {
        for set in section {
            let owner = Name::from_canonical(set.owner.bytes(question.as_bytes()));
            let says = match &set.records {
                Records::Fixed(set) => format!("{} {}", set.record_type, set.data.len()),
                Records::Alias(alias) => format!("CNAME {}", alias.target),
                Records::Routed { host, wanted } => format!("{wanted} host {host}"),
            };
            line += &format!(" {letter} {owner} {says}");
        }
    }
    if answer.glue_required > 0 {
        line += &format!(" ({} required)", answer.glue_required);
    }
    if answer.is_cut_short { line + " cut short" } else { line }
}

fn check(questions: &[(&str, &str, &str)]) {
    let zones = zones();
    for (question, wanted, expected) in questions {
        assert_eq!(shown(&zones, question, wanted), *expected, "{question} {wanted}");
    }
}

#[test]
fn names_have_data_no_data_or_are_not_there() {
    check(&[
        ("www.demo.test", "A", "NoError aa > www.demo.test A host 0"),
        ("WWW.Demo.TEST.", "A", "NoError aa > www.demo.test A host 0"),
        ("www.demo.test", "AAAA", "NoError aa | demo.test SOA 1"),
        ("www.demo.test", "ANY", "NoError aa > www.demo.test A host 0"),
        ("demo.test", "SOA", "NoError aa > demo.test SOA 1"),
        ("demo.test", "NS", "NoError aa > demo.test NS 1 + ns1.cdn.test A 1"),
        ("demo.test", "A", "NoError aa | demo.test SOA 1"),
        ("demo.test", "DS", "NoError aa | demo.test SOA 1"),
        ("demo.test", "ANY", "NoError aa > demo.test NS 1 + ns1.cdn.test A 1"),
        ("nope.demo.test", "A", "NxDomain aa | demo.test SOA 1"),
        ("below.www.demo.test", "A", "NxDomain aa | demo.test SOA 1"),
        // Empty non-terminals exist (RFC 8020).
        ("b.c.demo.test", "TXT", "NoError aa | demo.test SOA 1"),
        ("c.demo.test", "ANY", "NoError aa | demo.test SOA 1"),
        ("x.b.c.demo.test", "TXT", "NxDomain aa | demo.test SOA 1"),
        ("_tcp.demo.test", "SRV", "NoError aa | demo.test SOA 1"),
        ("test", "A", "Refused"),
        (".", "NS", "Refused"),
        ("example.com", "A", "Refused"),
        ("notdemo.test", "A", "Refused"),
    ]);
}

#[test]
fn addresses_of_what_is_named_come_along() {
    check(&[
        ("demo.test", "MX", "NoError aa > demo.test MX 1 + mail.demo.test A 1 + mail.demo.test AAAA 1"),
        ("other.demo.test", "MX", "NoError aa > other.demo.test MX 1"),
        (
            "_sip._tcp.demo.test",
            "SRV",
            "NoError aa > _sip._tcp.demo.test SRV 1 + mail.demo.test A 1 + mail.demo.test AAAA 1",
        ),
        ("_none._tcp.demo.test", "SRV", "NoError aa > _none._tcp.demo.test SRV 1"),
    ]);
}

#[test]
fn aliases_are_followed_within_all_zones() {
    check(&[
        ("alias.demo.test", "A", "NoError aa > alias.demo.test CNAME 1 > www.demo.test A host 0"),
        ("alias.demo.test", "CNAME", "NoError aa > alias.demo.test CNAME 1"),
        ("alias.demo.test", "ANY", "NoError aa > alias.demo.test CNAME 1"),
        ("alias.demo.test", "TXT", "NoError aa > alias.demo.test CNAME 1 | demo.test SOA 1"),
        ("chain.demo.test", "A", "NoError aa > chain.demo.test CNAME 1 > link.demo.test CNAME 1 > mail.demo.test A 1"),
        ("away.demo.test", "A", "NoError aa > away.demo.test CNAME 1"),
        // The code speaks of the last name (RFC 6604, section 3).
        ("dangling.demo.test", "A", "NxDomain aa > dangling.demo.test CNAME 1 | demo.test SOA 1"),
        ("loop-a.demo.test", "A", "NoError aa > loop-a.demo.test CNAME 1 > loop-b.demo.test CNAME 1"),
        ("self.demo.test", "A", "NoError aa > self.demo.test CNAME 1"),
        ("across.demo.test", "A", "NoError aa > across.demo.test CNAME 1 > ns1.cdn.test A 1"),
        (
            "to-sub.demo.test",
            "A",
            "NoError aa > to-sub.demo.test CNAME 1 | sub.demo.test NS 4 + ns1.sub.demo.test A 1 \
             + ns1.sub.demo.test AAAA 1 + ns.sibling.demo.test A 1 + mail.demo.test A 1 + mail.demo.test AAAA 1 \
             (2 required)",
        ),
    ]);
}

#[test]
fn wildcards_cover_what_has_no_name_of_its_own() {
    let mail = "+ mail.demo.test A 1 + mail.demo.test AAAA 1";
    check(&[
        ("any.shop.demo.test", "A", "NoError aa > any.shop.demo.test A host 1"),
        ("any.thing.shop.demo.test", "A", "NoError aa > any.thing.shop.demo.test A host 1"),
        ("any.shop.demo.test", "TXT", "NoError aa | demo.test SOA 1"),
        ("*.shop.demo.test", "A", "NoError aa > *.shop.demo.test A host 1"),
        ("b.shop.demo.test", "A", "NoError aa | demo.test SOA 1"),
        ("c.b.shop.demo.test", "A", "NxDomain aa | demo.test SOA 1"),
        ("x.wild.demo.test", "TXT", "NoError aa > x.wild.demo.test TXT 1"),
        ("y.x.wild.demo.test", "TXT", "NoError aa > y.x.wild.demo.test TXT 1"),
        ("x.wild.demo.test", "MX", &format!("NoError aa > x.wild.demo.test MX 1 {mail}")),
        ("x.wild.demo.test", "A", "NoError aa | demo.test SOA 1"),
        ("wild.demo.test", "TXT", "NoError aa | demo.test SOA 1"),
        ("host.wild.demo.test", "TXT", "NoError aa | demo.test SOA 1"),
        ("x.host.wild.demo.test", "TXT", "NxDomain aa | demo.test SOA 1"),
        // An empty non-terminal blocks the wildcard beside it, for itself and what is below.
        ("ent.wild.demo.test", "TXT", "NoError aa | demo.test SOA 1"),
        ("z.ent.wild.demo.test", "TXT", "NxDomain aa | demo.test SOA 1"),
        ("x.ent2.demo.test", "TXT", "NoError aa | demo.test SOA 1"),
        ("z.x.ent2.demo.test", "TXT", "NxDomain aa | demo.test SOA 1"),
        ("x.cname.demo.test", "A", "NoError aa > x.cname.demo.test CNAME 1 > mail.demo.test A 1"),
        ("x.cname.demo.test", "CNAME", "NoError aa > x.cname.demo.test CNAME 1"),
        ("y.into.demo.test", "A", "NoError aa > y.into.demo.test CNAME 1 > x.into.demo.test CNAME 1"),
        // RFC 4592, section 4.2: NS at a wildcard are data; the wildcard itself is delegated.
        ("x.ns.demo.test", "NS", "NoError aa > x.ns.demo.test NS 1"),
        ("x.ns.demo.test", "A", "NoError aa | demo.test SOA 1"),
        ("*.ns.demo.test", "A", "NoError | *.ns.demo.test NS 1"),
        // An asterisk that exists only because something is below it has no data to give.
        ("x.star.demo.test", "TXT", "NoError aa | demo.test SOA 1"),
        ("a.*.star.demo.test", "TXT", "NoError aa > a.*.star.demo.test TXT 1"),
    ]);
}

#[test]
fn the_examples_of_rfc_4592_are_answered_as_it_says() {
    check(&[
        ("host3.example", "MX", "NoError aa > host3.example MX 1 + host1.example A 1"),
        ("host3.example", "A", "NoError aa | example SOA 1"),
        ("foo.bar.example", "TXT", "NoError aa > foo.bar.example TXT 1"),
        ("host1.example", "MX", "NoError aa | example SOA 1"),
        ("sub.*.example", "MX", "NoError aa | example SOA 1"),
        ("_telnet._tcp.host1.example", "SRV", "NxDomain aa | example SOA 1"),
        ("host.subdel.example", "A", "NoError | subdel.example NS 2"),
        ("ghost.*.example", "MX", "NxDomain aa | example SOA 1"),
    ]);
}

#[test]
fn below_a_delegation_others_answer() {
    let glue = "| sub.demo.test NS 4 + ns1.sub.demo.test A 1 + ns1.sub.demo.test AAAA 1 + ns.sibling.demo.test A 1 \
                + mail.demo.test A 1 + mail.demo.test AAAA 1 (2 required)";
    let referral = format!("NoError {glue}");
    check(&[
        ("sub.demo.test", "A", &referral),
        ("sub.demo.test", "NS", &referral),
        ("sub.demo.test", "SOA", &referral),
        ("sub.demo.test", "ANY", &referral),
        // What stands there in our zone is not ours to answer.
        ("sub.demo.test", "TXT", &referral),
        ("below.sub.demo.test", "TXT", &referral),
        ("nothing.sub.demo.test", "TXT", &referral),
        ("ns1.sub.demo.test", "A", &referral),
        // The highest delegation counts.
        ("x.deeper.sub.demo.test", "A", &referral),
        ("deeper.sub.demo.test", "DS", &referral),
        // RFC 4035, section 3.1.4.1: the key is asked for above.
        ("sub.demo.test", "DS", "NoError aa > sub.demo.test DS 1"),
        ("nodes.demo.test", "DS", "NoError aa | demo.test SOA 1"),
        ("nodes.demo.test", "A", "NoError | nodes.demo.test NS 1"),
        ("ns.sibling.demo.test", "A", "NoError | sibling.demo.test NS 1 + ns.sibling.demo.test A 1 (1 required)"),
    ]);
}

#[test]
fn what_is_below_a_dname_stands_elsewhere() {
    check(&[
        (
            "mail.old.demo.test",
            "A",
            "NoError aa > old.demo.test DNAME 1 > mail.old.demo.test CNAME mail.new.demo.test > mail.new.demo.test A 1",
        ),
        (
            "alias.old.demo.test",
            "A",
            "NoError aa > old.demo.test DNAME 1 > alias.old.demo.test CNAME alias.new.demo.test \
             > alias.new.demo.test CNAME 1 > mail.demo.test A 1",
        ),
        (
            "below.old.demo.test",
            "TXT",
            "NxDomain aa > old.demo.test DNAME 1 > below.old.demo.test CNAME below.new.demo.test | demo.test SOA 1",
        ),
        (
            "mail.old.demo.test",
            "CNAME",
            "NoError aa > old.demo.test DNAME 1 > mail.old.demo.test CNAME mail.new.demo.test",
        ),
        ("old.demo.test", "TXT", "NoError aa > old.demo.test TXT 1"),
        ("old.demo.test", "DNAME", "NoError aa > old.demo.test DNAME 1"),
        ("old.demo.test", "A", "NoError aa | demo.test SOA 1"),
        ("x.out.demo.test", "A", "NoError aa > out.demo.test DNAME 1 > x.out.demo.test CNAME x.elsewhere.test"),
        // A DNAME at an apex leaves the apex itself alone.
        ("moved.test", "NS", "NoError aa > moved.test NS 1 + ns1.cdn.test A 1"),
        (
            "ns1.moved.test",
            "A",
            "NxDomain aa > moved.test DNAME 1 > ns1.moved.test CNAME ns1.demo.test | demo.test SOA 1",
        ),
        (
            "www.moved.test",
            "A",
            "NoError aa > moved.test DNAME 1 > www.moved.test CNAME www.demo.test > www.demo.test A host 0",
        ),
        (
            "x.swing.demo.test",
            "A",
            "NoError aa > swing.demo.test DNAME 1 > x.swing.demo.test CNAME x.swung.demo.test \
             > swung.demo.test DNAME 1 > x.swung.demo.test CNAME x.swing.demo.test",
        ),
    ]);
    let zones = zones();
    let grown = shown(&zones, "x.grow.demo.test", "A");
    assert!(grown.starts_with("NoError aa > grow.demo.test DNAME 1") && grown.ends_with(" cut short"), "{grown}");
    assert_eq!(grown.matches("DNAME").count(), 1, "{grown}");
    let long = format!("{}grow.demo.test", "abcdefg.".repeat(29));
    let too_long = shown(&zones, &long, "A");
    assert!(too_long.starts_with("YxDomain aa > grow.demo.test DNAME 1 > abcdefg."), "{too_long}");
}

#[test]
fn a_zone_within_a_zone_is_its_own_but_for_its_key() {
    check(&[
        ("ns2.nested.demo.test", "SOA", "NoError aa > ns2.nested.demo.test SOA 1"),
        ("nothing.ns2.nested.demo.test", "A", "NxDomain aa | ns2.nested.demo.test SOA 1"),
        ("ns2.nested.demo.test", "DS", "NoError aa > ns2.nested.demo.test DS 1"),
        // What is between the two zones exists.
        ("nested.demo.test", "A", "NoError aa | demo.test SOA 1"),
    ]);
}

#[test]
fn what_a_zone_says_of_a_zone_below_it_is_not_answered() {
    let mut builder = builder("t SOA\nt NS ns.t\nsub.t SOA\nsub.t NS ns.t\n");
    let outer = |line: &str| Record { zone: Some(name("t")), ..record(line) };
    for line in ["sub.t NS ns.elsewhere", "ns.sub.t A 192.0.2.1", "sub.t DS key", "a.t A 192.0.2.2"] {
        builder.add_record(outer(line));
    }
    let zones = builder.build().unwrap();
    assert_eq!(shown(&zones, "sub.t", "NS"), "NoError aa > sub.t NS 1");
    assert_eq!(shown(&zones, "ns.sub.t", "A"), "NxDomain aa | sub.t SOA 1");
    assert_eq!(shown(&zones, "sub.t", "DS"), "NoError aa > sub.t DS 1");
    assert_eq!(shown(&zones, "a.t", "A"), "NoError aa > a.t A 1");
    assert_eq!(zones.apexes().map(ToString::to_string).collect::<Vec<_>>(), ["t", "sub.t"]);
}

#[test]
fn routed_names_have_what_edges_have() {
    let mut builder = builder("t SOA\nt NS ns.t\nt TXT x\nalias.t CNAME t\nmine.t HTTPS x\n");
    builder.routed_types = RoutedTypes { ipv6: true, https: Some(4443) };
    builder.add_routed(name("t"), 3);
    builder.add_routed(name("mine.t"), 4);
    let zones = builder.build().unwrap();
    for (question, wanted, expected) in [
        ("t", "A", "NoError aa > t A host 3"),
        ("t", "AAAA", "NoError aa > t AAAA host 3"),
        ("t", "HTTPS", "NoError aa > t HTTPS host 3"),
        ("t", "SVCB", "NoError aa | t SOA 1"),
        ("t", "TXT", "NoError aa > t TXT 1"),
        ("alias.t", "AAAA", "NoError aa > alias.t CNAME 1 > t AAAA host 3"),
        // What was written wins over what would be made.
        ("mine.t", "HTTPS", "NoError aa > mine.t HTTPS 1"),
    ] {
        assert_eq!(shown(&zones, question, wanted), expected, "{question} {wanted}");
    }
    assert_eq!((zones.host(name("alias.t").as_bytes()), zones.host(name("x.t").as_bytes())), (Some(3), None));
}

#[test]
fn bindings_bring_what_their_target_has() {
    let svcb = |priority: u8, target: &str| {
        let bytes = [&[0, priority], name(target).as_bytes(), b"\0"].concat();
        Data::from_wire(RecordType::HTTPS, &bytes).unwrap()
    };
    let mut builder = builder("t SOA\nt NS ns.elsewhere\nt A 192.0.2.1\nsvc.t A 192.0.2.2\n");
    for (owner, data) in [("t", svcb(0, "svc.t")), ("svc.t", svcb(1, "."))] {
        builder.add_record(Record { name: name(owner), ttl_s: 60, data, zone: None });
    }
    let zones = builder.build().unwrap();
    assert_eq!(shown(&zones, "t", "HTTPS"), "NoError aa > t HTTPS 1 + svc.t HTTPS 1 + svc.t A 1");
    assert_eq!(shown(&zones, "svc.t", "HTTPS"), "NoError aa > svc.t HTTPS 1 + svc.t A 1");
}

#[test]
fn records_that_cannot_stand_together_are_refused() {
    let zone = "t SOA\nt NS ns.t\n";
    for (lines, at, expected) in [
        ("www.example.com A 192.0.2.1", Some(2), "lies in none of the zones"),
        ("a.t A 192.0.2.1\na.t CNAME b.t", Some(3), "a CNAME stands alone: there is a record of type A already"),
        ("a.t CNAME b.t\na.t TXT x", Some(3), "there is a CNAME already, which stands alone"),
        ("a.t CNAME b.t\na.t CNAME c.t", Some(3), "there is a record of type CNAME already, and there can be one only"),
        ("a.t DNAME b.t\na.t DNAME c.t", Some(3), "there is a record of type DNAME already, and there can be one only"),
        ("t CNAME b.t", Some(2), "a CNAME stands alone: there is a record of type SOA already"),
        ("a.t NS ns.t\na.t DNAME b.t", Some(3), "NS and DNAME cannot stand together below a zone's apex"),
        ("t SOA", Some(2), "there is a record of type SOA already, and there can be one only"),
        ("u SOA", None, "a zone needs an NS record at its apex"),
        ("routed.t A 192.0.2.1", Some(2), "a distribution answers to this name, so that it has no A record of its own"),
        (
            "routed.t CNAME a.t",
            Some(2),
            "a distribution answers to this name, so that it has no CNAME record of its own",
        ),
    ] {
        let mut builder = builder(&format!("{zone}{lines}\n"));
        builder.add_routed(name("routed.t"), 0);
        let conflict = builder.build().unwrap_err();
        assert_eq!((conflict.record, conflict.kind.to_string().as_str()), (at, expected), "{lines}");
    }
    let mut twice = builder(zone);
    twice.add_routed(name("a.t"), 0);
    twice.add_routed(name("a.t"), 1);
    assert_eq!(twice.build().unwrap_err().kind, ConflictKind::RoutedTwice);
    let fine = "a.t CNAME b.t\na.t RRSIG sig\na.t CNAME b.t\nt DNAME u\nrouted.t TXT x\n";
    let mut fine = builder(&format!("{zone}{fine}"));
    fine.add_routed(name("routed.t"), 0);
    assert!(fine.build().is_ok());
}

#[test]
fn a_set_is_kept_for_the_least_of_its_times() {
    let mut builder = builder("t SOA\nt NS ns.t\n");
    for (ttl_s, last) in [(300, 1), (60, 2), (600, 3)] {
        let data = Data::A(Ipv4Addr::new(192, 0, 2, last));
        builder.add_record(Record { name: name("a.t"), ttl_s, data, zone: None });
    }
    let zones = builder.build().unwrap();
    let a = name("a.t");
    let answer = zones.answer(a.as_bytes(), RecordType::A);
    let Some(Set { records: Records::Fixed(set), .. }) = answer.answer.iter().next() else { panic!("{answer:?}") };
    assert_eq!((set.ttl_s, set.data.len()), (60, 3));
    let denied = zones.answer(a.as_bytes(), RecordType::TXT);
    let Some(Set { records: Records::Fixed(soa), .. }) = denied.authority.iter().next() else { panic!("{denied:?}") };
    assert_eq!(soa.ttl_s, 60, "the SOA's minimum, not its TTL of 300");
}

#[test]
fn a_zone_may_be_the_root() {
    let zones = builder(". SOA\n. NS ns.test\ntest NS ns.test\nns.test A 192.0.2.1\n").build().unwrap();
    assert_eq!(shown(&zones, ".", "SOA"), "NoError aa > . SOA 1");
    assert_eq!(shown(&zones, "nothing", "A"), "NxDomain aa | . SOA 1");
    assert_eq!(shown(&zones, "a.test", "A"), "NoError | test NS 1 + ns.test A 1 (1 required)");
}

proptest! {
    #[test]
    fn any_bytes_are_looked_up_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..300), wanted: u16) {
        let zones = zones();
        let _ = zones.answer(&bytes, RecordType(wanted));
    }

    /// Over small random zones: no data from below a delegation or a DNAME, SOA in every denial, and an end to aliases.
    #[test]
    fn answers_hold_what_they_must(
        lines in prop::collection::vec(("([a-c*]\\.){0,4}", 0usize..6, "([a-c]\\.){0,3}"), 0..20),
        question in "([a-d*]\\.){0,5}",
        wanted in prop::sample::select(vec!["A", "TXT", "CNAME", "NS", "DS", "ANY", "AAAA", "DNAME"]),
    ) {
        let mut builder = builder("t SOA\nt NS ns.t\n");
        let mut added = builder.clone();
        for (owner, kind, target) in &lines {
            let target = name(&format!("{target}t"));
            let data = match kind {
                0 => Data::A(Ipv4Addr::LOCALHOST),
                1 => Data::text(b"x"),
                2 => Data::Cname(target),
                3 => Data::Dname(target),
                4 => Data::Ns(target),
                _ => Data::Aaaa(Ipv6Addr::LOCALHOST),
            };
            added.add_record(Record { name: name(&format!("{owner}t")), ttl_s: 60, data, zone: None });
            match added.clone().build() {
                Ok(_) => builder = added.clone(),
                Err(_) => added = builder.clone(),
            }
        }
        let zones = builder.build().unwrap();
        let question = name(&format!("{question}t"));
        let answer = zones.answer(question.as_bytes(), wanted.parse().unwrap());
        prop_assert!(answer.answer.len() <= 2 * zones.aliases_max + 3);
        for set in answer.answer.iter() {
            let Records::Fixed(fixed) = &set.records else { continue };
            let owner = Name::from_canonical(set.owner.bytes(question.as_bytes()));
            let cut = zones.nodes.get(&owner).and_then(|node| node.cut.as_ref());
            let is_key = fixed.record_type == RecordType::DS && cut.is_some_and(|cut| cut.at == owner);
            prop_assert!(cut.is_none() || is_key, "{owner} is beyond the zone's end");
        }
        let soa = answer.authority.iter().any(|set| {
            matches!(set.records, Records::Fixed(set) if set.record_type == RecordType::SOA)
        });
        if answer.code == AnswerCode::NxDomain {
            prop_assert!(soa);
        }
        if answer.is_referral() {
            prop_assert!(answer.answer.is_empty() && !soa);
        }
        if answer.answer.is_empty() && answer.is_authoritative {
            prop_assert!(soa, "a denial without SOA");
        }
    }
}
