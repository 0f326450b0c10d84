//! Names and what stands under them: found, no such data, no such name, or not ours.
//!
//! Follows RFC 1034 (section 4.3.2), RFC 2308 for negative answers, RFC 4592 for wildcards and RFC 8020 for empty
//! non-terminals. Knows no wire format of messages, and does not choose among edges: a name that is routed says so.

use std::{borrow::Borrow, collections::BTreeMap, fmt, net::Ipv4Addr, str::FromStr};

/// A domain name in canonical form (RFC 4034, section 6.2): lower case, each label preceded by its length, without the
/// root's empty label. Ordered by these bytes, which is not DNSSEC's order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

/// Text that is no domain name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a domain name: labels of 1 to 63 printable characters, 253 in all")]
pub struct InvalidDomainName(String);

/// The longest canonical form: 255 octets (RFC 1035, section 2.3.4) less the root's.
pub const NAME_BYTES_MAX: usize = 254;

impl Name {
    /// A name from its canonical bytes, as a parser of messages has them.
    ///
    /// The caller answers for the form; a malformed one is found nowhere.
    pub fn from_canonical(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The canonical bytes.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The labels, the left-most first.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        suffixes(&self.0).filter_map(|suffix| label(suffix))
    }

    /// The name without its left-most label; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        suffixes(&self.0).nth(1).map(Self::from_canonical)
    }

    /// Whether this is `apex` or stands below it.
    pub fn is_within(&self, apex: &Self) -> bool {
        suffixes(&self.0).any(|suffix| suffix == apex.as_bytes())
    }

    /// The name with `labels` (dotted) put before it.
    ///
    /// # Errors
    /// [`InvalidDomainName`] where that is no name.
    pub fn child(&self, labels: &str) -> Result<Self, InvalidDomainName> {
        format!("{labels}.{self}").parse()
    }
}

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for Name {
    type Err = InvalidDomainName;

    /// Reads `www.demo.test`, with or without a dot at the end. Knows no escapes: our names need none.
    fn from_str(text: &str) -> Result<Self, InvalidDomainName> {
        let invalid = || InvalidDomainName(text.into());
        let dotless = text.strip_suffix('.').unwrap_or(text);
        let mut bytes = Vec::with_capacity(text.len() + 1);
        for label in dotless.split('.').filter(|_| !dotless.is_empty()) {
            let len = u8::try_from(label.len()).ok().filter(|len| (1..=63).contains(len)).ok_or_else(invalid)?;
            if !label.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
                return Err(invalid());
            }
            bytes.push(len);
            bytes.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        if bytes.len() > NAME_BYTES_MAX || (dotless.is_empty() && text != ".") {
            return Err(invalid());
        }
        Ok(Self(bytes.into()))
    }
}

impl fmt::Display for Name {
    /// Dotted, without the last dot; what is not printable is escaped as in RFC 1035, section 5.1.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str(".");
        }
        for (at, label) in self.labels().enumerate() {
            if at > 0 {
                f.write_str(".")?;
            }
            for &byte in label {
                match byte {
                    b'.' | b'\\' => write!(f, "\\{}", char::from(byte))?,
                    _ if byte.is_ascii_graphic() => write!(f, "{}", char::from(byte))?,
                    _ => write!(f, "\\{byte:03}")?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The name itself, then without its first label, and so on to the root.
fn suffixes(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(name), |name| name.get(1 + usize::from(*name.first()?)..))
}

fn label(name: &[u8]) -> Option<&[u8]> {
    name.get(1..1 + usize::from(*name.first()?))
}

/// The type of a record or a question, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordType(pub u16);

impl RecordType {
    /// An IPv4 address (RFC 1035).
    pub const A: Self = Self(1);
    /// A name server (RFC 1035).
    pub const NS: Self = Self(2);
    /// Start of authority (RFC 1035).
    pub const SOA: Self = Self(6);
    /// Text (RFC 1035).
    pub const TXT: Self = Self(16);
    /// An IPv6 address (RFC 3596).
    pub const AAAA: Self = Self(28);
    /// EDNS (RFC 6891); never a question.
    pub const OPT: Self = Self(41);
    /// Incremental zone transfer (RFC 1995).
    pub const IXFR: Self = Self(251);
    /// Zone transfer (RFC 5936).
    pub const AXFR: Self = Self(252);
    /// Everything (RFC 8482).
    pub const ANY: Self = Self(255);
}

/// Start of authority. Times in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Soa {
    /// The primary name server.
    pub primary: Name,
    /// The mailbox of who answers for the zone, its `@` written as a dot.
    pub contact: Name,
    /// The zone's version.
    pub serial: u32,
    /// How often secondaries look.
    pub refresh_s: u32,
    /// How soon they look again after a failure.
    pub retry_s: u32,
    /// When they give up.
    pub expire_s: u32,
    /// How long a negative answer may be kept (RFC 2308, section 5).
    pub minimum_s: u32,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// A name server.
    Ns(Name),
    /// Start of authority.
    Soa(Soa),
    /// One string of at most 255 bytes.
    Txt(Box<[u8]>),
}

impl Data {
    /// The type of a record that says this.
    pub const fn record_type(&self) -> RecordType {
        match self {
            Self::A(_) => RecordType::A,
            Self::Ns(_) => RecordType::NS,
            Self::Soa(_) => RecordType::SOA,
            Self::Txt(_) => RecordType::TXT,
        }
    }
}

/// All records of one name and type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordSet {
    /// How long it may be kept.
    pub ttl_s: u32,
    /// What the records say; never empty in a [`Found::Records`].
    pub data: Vec<Data>,
}

/// A zone's apex and SOA, as negative answers need them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Where it begins.
    pub apex: Name,
    /// Its start of authority.
    pub soa: Soa,
    /// How long the SOA may be kept; negative answers for the lesser of this and the SOA's minimum.
    pub ttl_s: u32,
}

/// What stands under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<'z> {
    /// These records.
    Records(&'z RecordSet),
    /// Addresses of edges, chosen per client: the host at this position of the router's list.
    Routed(usize),
    /// The name exists, but has no such data.
    NoData {
        /// Whose SOA to show.
        zone: &'z Zone,
        /// Whether other data of the name is routed, so that a client subnet is echoed.
        is_routed: bool,
    },
    /// No such name, nor anything below it.
    NoName(&'z Zone),
    /// In none of our zones.
    NotOurs,
}

/// All zones of a server.
#[derive(Clone, Debug, Default)]
pub struct Zones {
    zones: Vec<Zone>,
    /// Every name that exists, empty non-terminals too.
    nodes: BTreeMap<Name, Node>,
}

#[derive(Clone, Debug)]
struct Node {
    zone: usize,
    records: BTreeMap<RecordType, RecordSet>,
    /// The host whose addresses this name has.
    routed: Option<usize>,
}

/// A name that lies in no zone that was added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} lies in none of the zones")]
pub struct OutsideZones(Name);

impl Zones {
    /// Adds a zone with its SOA and name servers. Add zones before the names in them, and outer ones first.
    pub fn add_zone(&mut self, zone: Zone, name_servers: &[Name]) {
        let at = self.zones.len();
        let node = Node { zone: at, records: BTreeMap::new(), routed: None };
        let node = self.nodes.entry(zone.apex.clone()).or_insert(node);
        node.zone = at;
        let soa = RecordSet { ttl_s: zone.ttl_s, data: vec![Data::Soa(zone.soa.clone())] };
        let ns = name_servers.iter().cloned().map(Data::Ns).collect();
        node.records.insert(RecordType::SOA, soa);
        node.records.insert(RecordType::NS, RecordSet { ttl_s: zone.ttl_s, data: ns });
        self.zones.push(zone);
    }

    /// Adds a record. The set's TTL is that of the record added last.
    ///
    /// # Errors
    /// [`OutsideZones`].
    pub fn add_record(&mut self, name: &Name, ttl_s: u32, data: Data) -> Result<(), OutsideZones> {
        let set = self.node(name)?.records.entry(data.record_type()).or_default();
        set.ttl_s = ttl_s;
        if !set.data.contains(&data) {
            set.data.push(data);
        }
        Ok(())
    }

    /// Makes `name` answer with the addresses of the host at position `host`. The left-most label may be `*`.
    ///
    /// # Errors
    /// [`OutsideZones`].
    pub fn add_routed(&mut self, name: &Name, host: usize) -> Result<(), OutsideZones> {
        let node = self.node(name)?;
        node.routed = Some(host);
        node.records.remove(&RecordType::A);
        Ok(())
    }

    /// Whether `name` itself is there.
    pub fn contains(&self, name: &Name) -> bool {
        self.nodes.contains_key(name)
    }

    /// The zones.
    pub fn zones(&self) -> &[Zone] {
        &self.zones
    }

    /// What stands under `name` (canonical bytes) for questions of type `wanted`.
    pub fn find(&self, name: &[u8], wanted: RecordType) -> Found<'_> {
        if let Some(node) = self.nodes.get(name) {
            return self.found(node, wanted);
        }
        // RFC 4592, section 3.3.1: the wildcard that counts is the one right below the closest encloser.
        let Some((encloser, node)) = suffixes(name).skip(1).find_map(|suffix| Some((suffix, self.nodes.get(suffix)?)))
        else {
            return Found::NotOurs;
        };
        let mut wildcard = Vec::with_capacity(2 + encloser.len());
        wildcard.extend_from_slice(b"\x01*");
        wildcard.extend_from_slice(encloser);
        match self.nodes.get(wildcard.as_slice()) {
            Some(node) => self.found(node, wanted),
            None => Found::NoName(&self.zones[node.zone]),
        }
    }

    /// The host that `name` is routed to, whatever is asked about it.
    pub fn host(&self, name: &[u8]) -> Option<usize> {
        match self.find(name, RecordType::A) {
            Found::Routed(host) => Some(host),
            _ => None,
        }
    }

    fn found<'z>(&'z self, node: &'z Node, wanted: RecordType) -> Found<'z> {
        // Who wants everything gets one set of it (RFC 8482, section 4.1).
        let everything = wanted == RecordType::ANY;
        match node.routed {
            Some(host) if wanted == RecordType::A || everything => return Found::Routed(host),
            _ => {}
        }
        let records = if everything { node.records.values().next() } else { node.records.get(&wanted) };
        match records {
            Some(records) if !records.data.is_empty() => Found::Records(records),
            _ => Found::NoData { zone: &self.zones[node.zone], is_routed: node.routed.is_some() },
        }
    }

    /// The node of `name`, made if need be together with the empty ones above it.
    fn node(&mut self, name: &Name) -> Result<&mut Node, OutsideZones> {
        let zone = suffixes(name.as_bytes()).find_map(|suffix| self.nodes.get(suffix)).map(|node| node.zone);
        let zone = zone.ok_or_else(|| OutsideZones(name.clone()))?;
        let empty = || Node { zone, records: BTreeMap::new(), routed: None };
        for above in
            suffixes(name.as_bytes()).skip(1).take_while(|suffix| suffix.len() >= self.zones[zone].apex.0.len())
        {
            self.nodes.entry(Name::from_canonical(above)).or_insert_with(empty);
        }
        Ok(self.nodes.entry(name.clone()).or_insert_with(empty))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn zone(apex: &str) -> Zone {
        let soa = Soa {
            primary: name("ns1.cdn.test"),
            contact: name("hostmaster.cdn.test"),
            serial: 1,
            refresh_s: 7200,
            retry_s: 900,
            expire_s: 1_209_600,
            minimum_s: 60,
        };
        Zone { apex: name(apex), soa, ttl_s: 900 }
    }

    fn zones() -> Zones {
        let mut zones = Zones::default();
        for apex in ["cdn.test", "demo.test"] {
            zones.add_zone(zone(apex), &[name("ns1.cdn.test")]);
        }
        zones.add_record(&name("ns1.cdn.test"), 900, Data::A(Ipv4Addr::LOCALHOST)).unwrap();
        zones.add_record(&name("edge.iad.cdn.test"), 60, Data::A(Ipv4Addr::new(127, 77, 0, 1))).unwrap();
        zones.add_routed(&name("www.demo.test"), 0).unwrap();
        zones.add_routed(&name("*.shop.demo.test"), 1).unwrap();
        zones.add_record(&name("a.b.shop.demo.test"), 60, Data::Txt(b"x"[..].into())).unwrap();
        zones
    }

    fn check(question: &str, wanted: RecordType, expected: &str) {
        let zones = zones();
        let found = match zones.find(name(question).as_bytes(), wanted) {
            Found::Records(set) => format!("{} records", set.data.len()),
            Found::Routed(host) => format!("host {host}"),
            Found::NoData { zone, is_routed } => {
                format!("no data in {}{}", zone.apex, if is_routed { ", routed" } else { "" })
            }
            Found::NoName(zone) => format!("no name in {}", zone.apex),
            Found::NotOurs => "not ours".into(),
        };
        assert_eq!(found, expected, "{question} {wanted:?}");
    }

    #[test]
    fn questions_find_what_the_rfcs_say() {
        check("www.demo.test", RecordType::A, "host 0");
        check("WWW.Demo.TEST.", RecordType::A, "host 0");
        check("www.demo.test", RecordType::AAAA, "no data in demo.test, routed");
        check("demo.test", RecordType::SOA, "1 records");
        check("demo.test", RecordType::NS, "1 records");
        check("demo.test", RecordType::A, "no data in demo.test");
        check("www.demo.test", RecordType::ANY, "host 0");
        check("demo.test", RecordType::ANY, "1 records");
        check("iad.cdn.test", RecordType::ANY, "no data in cdn.test");
        check("nope.demo.test", RecordType::A, "no name in demo.test");
        check("below.www.demo.test", RecordType::A, "no name in demo.test");
        check("ns1.cdn.test", RecordType::A, "1 records");
        // Empty non-terminals exist (RFC 8020).
        check("iad.cdn.test", RecordType::A, "no data in cdn.test");
        check("test", RecordType::A, "not ours");
        check(".", RecordType::NS, "not ours");
        check("example.com", RecordType::A, "not ours");
        check("notdemo.test", RecordType::A, "not ours");
    }

    #[test]
    fn wildcards_cover_what_has_no_name_of_its_own() {
        check("any.shop.demo.test", RecordType::A, "host 1");
        check("any.thing.shop.demo.test", RecordType::A, "host 1");
        check("any.shop.demo.test", RecordType::TXT, "no data in demo.test, routed");
        check("shop.demo.test", RecordType::A, "no data in demo.test");
        // b.shop.demo.test exists, so the wildcard is not for it nor for what is below it.
        check("b.shop.demo.test", RecordType::A, "no data in demo.test");
        check("c.b.shop.demo.test", RecordType::A, "no name in demo.test");
        check("*.shop.demo.test", RecordType::A, "host 1");
    }

    #[test]
    fn names_outside_all_zones_are_refused() {
        assert_eq!(zones().add_routed(&name("www.example.com"), 0), Err(OutsideZones(name("www.example.com"))));
    }

    #[test]
    fn names_are_checked_and_read_back() {
        for good in ["www.demo.test", ".", "*.demo.test", "_dmarc.demo.test", "a"] {
            assert_eq!(name(good).to_string(), good);
        }
        let long = format!("{}.test", "a".repeat(64));
        for bad in ["", "..", "a..b", ".a", "a b", long.as_str(), "é.test", &"abcdefg.".repeat(32)] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
        assert_eq!(name("a.b.c").parent(), Some(name("b.c")));
        assert_eq!(name(".").parent(), None);
        assert!(name("a.b").is_within(&name("b")) && !name("ab").is_within(&name("b")));
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_up_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let zones = zones();
            let _ = zones.find(&bytes, RecordType::A);
            let _ = Name::from_canonical(&bytes).to_string();
        }
    }
}
