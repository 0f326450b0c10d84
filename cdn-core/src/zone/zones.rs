//! All records of a server, checked: what stands where, and where a zone ends.

use std::collections::BTreeMap;

use super::{Data, Name, RecordType, name::suffixes};

/// A record, and who says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose it is.
    pub name: Name,
    /// How long it may be kept, in seconds.
    pub ttl_s: u32,
    /// What it says.
    pub data: Data,
    /// The apex of the zone that says it; `None` for whichever zone holds the name. What a zone says below the apex of
    /// another of ours is not answered, but for the DS there.
    pub zone: Option<Name>,
}

/// All records of one name and type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordSet {
    /// Their type.
    pub record_type: RecordType,
    /// How long they may be kept, in seconds; the least of what their records say (RFC 2181, section 5.2).
    pub ttl_s: u32,
    /// What the records say; never empty.
    pub data: Vec<Data>,
}

/// What a name that is routed has besides IPv4 addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoutedTypes {
    /// IPv6 addresses.
    pub ipv6: bool,
    /// HTTPS records with hints, for this port.
    pub https: Option<u16>,
}

/// Records that cannot stand beside the others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {kind}")]
pub struct Conflict {
    /// Where.
    pub name: Name,
    /// The record that is one too many, by the order in which they were added; `None` where the fault is no record's.
    pub record: Option<usize>,
    /// Why.
    pub kind: ConflictKind,
}

/// Why records cannot stand beside others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConflictKind {
    /// The name lies in no zone, or not in the one that says it.
    #[error("lies in none of the zones")]
    Outside,
    /// RFC 2181, section 10.1.
    #[error("a CNAME stands alone: there is a record of type {0} already")]
    AliasBeside(RecordType),
    /// RFC 2181, section 10.1.
    #[error("there is a CNAME already, which stands alone")]
    BesideAlias,
    /// RFC 2181, section 10.1, RFC 6672, section 2.4, and RFC 1035, section 5.2.
    #[error("there is a record of type {0} already, and there can be one only")]
    Second(RecordType),
    /// RFC 6672, section 2.3.
    #[error("NS and DNAME cannot stand together below a zone's apex")]
    DnameBesideNs,
    /// The addresses of a routed name are those of edges.
    #[error("a distribution answers to this name, so that it has no {0} record of its own")]
    Routed(RecordType),
    /// Two hosts for one name.
    #[error("is routed already")]
    RoutedTwice,
    /// RFC 1035, section 5.2.
    #[error("a zone needs an NS record at its apex")]
    NoNameServer,
}

/// Records that are being gathered; [`build`](Self::build) checks them.
#[derive(Clone, Debug)]
pub struct ZonesBuilder {
    records: Vec<Record>,
    routed: Vec<(Name, usize)>,
    /// What routed names have.
    pub routed_types: RoutedTypes,
    /// How many aliases (CNAME, DNAME) one answer follows. Default 16.
    pub aliases_max: usize,
}

impl Default for ZonesBuilder {
    fn default() -> Self {
        Self { records: vec![], routed: vec![], routed_types: RoutedTypes::default(), aliases_max: 16 }
    }
}

/// All zones of a server. A zone is where a SOA record stands.
#[derive(Clone, Debug)]
pub struct Zones {
    pub(super) zones: Vec<Zone>,
    /// Every name that exists, empty non-terminals too, and what stands below a zone's end.
    pub(super) nodes: BTreeMap<Name, Node>,
    pub(super) routed_types: RoutedTypes,
    pub(super) aliases_max: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Zone {
    pub(super) apex: Name,
    /// The SOA as negative answers show it (RFC 2308, section 3): with the lesser of its TTL and its minimum.
    pub(super) denial: RecordSet,
    /// The zone above, where that is ours too and says who serves this one.
    pub(super) parent: Option<usize>,
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) zone: usize,
    /// By type.
    pub(super) sets: Vec<RecordSet>,
    /// The host whose addresses this name has.
    pub(super) routed: Option<u32>,
    /// What ends the zone's data above this name or at it; the nearest to the apex.
    pub(super) cut: Option<Cut>,
    /// What the zone above says of this apex.
    pub(super) ds_at_parent: Option<RecordSet>,
}

/// Where data of a zone end.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    pub(super) at: Name,
    pub(super) kind: CutKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CutKind {
    /// Others serve this name and what is below (RFC 1034, section 4.2).
    Delegation,
    /// What is below is an alias (RFC 6672).
    Dname,
}

impl Node {
    const fn empty(zone: usize) -> Self {
        Self { zone, sets: vec![], routed: None, cut: None, ds_at_parent: None }
    }

    pub(super) fn set(&self, wanted: RecordType) -> Option<&RecordSet> {
        self.sets.iter().find(|set| set.record_type == wanted)
    }
}

impl ZonesBuilder {
    /// Adds a record.
    pub fn add_record(&mut self, record: Record) {
        self.records.push(record);
    }

    /// Makes `name` answer with the addresses of the host at position `host`. The left-most label may be `*`.
    pub fn add_routed(&mut self, name: Name, host: usize) {
        self.routed.push((name, host));
    }

    /// Checks all.
    ///
    /// # Errors
    /// The first [`Conflict`].
    pub fn build(self) -> Result<Zones, Conflict> {
        let Self { records, routed, routed_types, aliases_max } = self;
        let mut zones = Zones { zones: vec![], nodes: BTreeMap::new(), routed_types, aliases_max };
        zones.add_apexes(&records)?;
        for (name, host) in routed {
            let conflict = |kind| Conflict { name: name.clone(), record: None, kind };
            let node = zones.node(&name, None).ok_or_else(|| conflict(ConflictKind::Outside))?;
            let host = u32::try_from(host).unwrap_or(u32::MAX);
            if node.routed.is_some_and(|other| other != host) {
                return Err(conflict(ConflictKind::RoutedTwice));
            }
            node.routed = Some(host);
        }
        for (at, record) in records.into_iter().enumerate() {
            let name = record.name.clone();
            zones.add(record).map_err(|kind| Conflict { name, record: Some(at), kind })?;
        }
        zones.find_cuts();
        for zone in &zones.zones {
            if zones.nodes.get(&zone.apex).is_some_and(|node| node.set(RecordType::NS).is_none()) {
                let (name, kind) = (zone.apex.clone(), ConflictKind::NoNameServer);
                return Err(Conflict { name, record: None, kind });
            }
        }
        Ok(zones)
    }
}

impl Zones {
    /// What names that are routed have besides IPv4 addresses.
    pub const fn routed_types(&self) -> RoutedTypes {
        self.routed_types
    }

    /// The apexes of all zones, outer ones first.
    pub fn apexes(&self) -> impl Iterator<Item = &Name> {
        self.zones.iter().map(|zone| &zone.apex)
    }

    fn add_apexes(&mut self, records: &[Record]) -> Result<(), Conflict> {
        let mut starts: Vec<(&Name, u32, &Data, u32)> = vec![];
        for (at, record) in records.iter().enumerate() {
            let Data::Soa(soa) = &record.data else { continue };
            let conflict = |kind| Conflict { name: record.name.clone(), record: Some(at), kind };
            if record.zone.as_ref().is_some_and(|zone| *zone != record.name) {
                return Err(conflict(ConflictKind::Outside));
            }
            if starts.iter().any(|(name, ..)| **name == record.name) {
                return Err(conflict(ConflictKind::Second(RecordType::SOA)));
            }
            starts.push((&record.name, record.ttl_s, &record.data, soa.minimum_s));
        }
        starts.sort_by_key(|(name, ..)| name.labels().count());
        for (apex, ttl_s, data, minimum_s) in starts {
            let parent = self.zone_of(apex.as_bytes());
            let denial =
                RecordSet { record_type: RecordType::SOA, ttl_s: ttl_s.min(minimum_s), data: vec![data.clone()] };
            let zone = self.zones.len();
            if parent.is_some() {
                // The names between the two zones exist.
                self.node(apex, None);
            }
            self.zones.push(Zone { apex: apex.clone(), denial, parent });
            self.nodes.insert(apex.clone(), Node::empty(zone));
        }
        Ok(())
    }

    fn add(&mut self, record: Record) -> Result<(), ConflictKind> {
        let Record { name, ttl_s, data, zone } = record;
        let record_type = data.record_type();
        let nearest = self.zone_of(name.as_bytes()).ok_or(ConflictKind::Outside)?;
        let is_apex = self.zones.get(nearest).is_some_and(|nearest| nearest.apex == name);
        if let Some(zone) = &zone {
            if !name.is_within(zone) {
                return Err(ConflictKind::Outside);
            }
            let is_own = self.zones.get(nearest).is_some_and(|nearest| nearest.apex == *zone);
            if !(is_own || is_apex && record_type == RecordType::DS) {
                return Ok(());
            }
        }
        let node = self.node(&name, Some(nearest)).ok_or(ConflictKind::Outside)?;
        if is_apex && record_type == RecordType::DS {
            add_to(node.ds_at_parent.get_or_insert_with(|| empty_set(record_type, ttl_s)), ttl_s, data);
            return Ok(());
        }
        check_beside(node, is_apex, &data)?;
        let at = node.sets.partition_point(|set| set.record_type < record_type);
        if node.sets.get(at).is_none_or(|set| set.record_type != record_type) {
            node.sets.insert(at, empty_set(record_type, ttl_s));
        }
        if let Some(set) = node.sets.get_mut(at) {
            add_to(set, ttl_s, data);
        }
        Ok(())
    }

    /// The zone that holds `name`: the one with the longest apex.
    fn zone_of(&self, name: &[u8]) -> Option<usize> {
        suffixes(name).find_map(|suffix| self.nodes.get(suffix)).map(|node| node.zone)
    }

    /// The node of `name`, made if need be together with the empty ones above it.
    fn node(&mut self, name: &Name, zone: Option<usize>) -> Option<&mut Node> {
        let zone = zone.or_else(|| self.zone_of(name.as_bytes()))?;
        let apex_len = self.zones.get(zone)?.apex.as_bytes().len();
        for above in suffixes(name.as_bytes()).skip(1).take_while(|suffix| suffix.len() >= apex_len) {
            if self.nodes.contains_key(above) {
                break;
            }
            self.nodes.insert(Name::from_canonical(above), Node::empty(zone));
        }
        Some(self.nodes.entry(name.clone()).or_insert_with(|| Node::empty(zone)))
    }

    /// Notes for every node where its zone's data end above it.
    fn find_cuts(&mut self) {
        let cuts: Vec<(Name, Cut)> =
            self.nodes.iter().filter_map(|(name, node)| Some((name.clone(), self.cut_of(name, node)?))).collect();
        for (name, cut) in cuts {
            if let Some(node) = self.nodes.get_mut(&name) {
                node.cut = Some(cut);
            }
        }
        // A zone below such an end is not what the outer zone would say who serves.
        for at in 0..self.zones.len() {
            let Some(zone) = self.zones.get(at) else { continue };
            let above = zone.apex.parent().and_then(|above| self.nodes.get(&above));
            let is_cut = above.is_some_and(|above| above.cut.is_some() || above.set(RecordType::DNAME).is_some());
            if let Some(zone) = self.zones.get_mut(at).filter(|_| is_cut) {
                zone.parent = None;
            }
        }
    }

    fn cut_of(&self, name: &Name, node: &Node) -> Option<Cut> {
        let apex_len = self.zones.get(node.zone)?.apex.as_bytes().len();
        let path = suffixes(name.as_bytes()).take_while(|suffix| suffix.len() >= apex_len);
        let cut_at = |suffix: &[u8]| {
            let at = self.nodes.get(suffix)?;
            let is_delegation = suffix.len() > apex_len && at.set(RecordType::NS).is_some();
            let is_dname = suffix.len() < name.as_bytes().len() && at.set(RecordType::DNAME).is_some();
            let kind = match (is_delegation, is_dname) {
                (true, _) => CutKind::Delegation,
                (_, true) => CutKind::Dname,
                _ => return None,
            };
            Some(Cut { at: Name::from_canonical(suffix), kind })
        };
        path.filter_map(cut_at).last()
    }
}

fn empty_set(record_type: RecordType, ttl_s: u32) -> RecordSet {
    RecordSet { record_type, ttl_s, data: vec![] }
}

fn add_to(set: &mut RecordSet, ttl_s: u32, data: Data) {
    set.ttl_s = set.ttl_s.min(ttl_s);
    if !set.data.contains(&data) {
        set.data.push(data);
    }
}

/// Whether a record may be added to what its name has.
fn check_beside(node: &Node, is_apex: bool, data: &Data) -> Result<(), ConflictKind> {
    let record_type = data.record_type();
    // RFC 2181, section 10.1, and RFC 4034, section 2.5, let these stand beside a CNAME.
    let may_stand_beside = |other: RecordType| matches!(other, RecordType::RRSIG | RecordType::NSEC | RecordType::KEY);
    if node.routed.is_some()
        && matches!(record_type, RecordType::A | RecordType::AAAA | RecordType::CNAME | RecordType::NS)
        && !(is_apex && record_type == RecordType::NS)
    {
        return Err(ConflictKind::Routed(record_type));
    }
    if record_type == RecordType::CNAME {
        if is_apex {
            return Err(ConflictKind::AliasBeside(RecordType::SOA));
        }
        if let Some(set) =
            node.sets.iter().find(|set| set.record_type != record_type && !may_stand_beside(set.record_type))
        {
            return Err(ConflictKind::AliasBeside(set.record_type));
        }
    } else if node.set(RecordType::CNAME).is_some() && !may_stand_beside(record_type) {
        return Err(ConflictKind::BesideAlias);
    }
    let is_single = matches!(record_type, RecordType::CNAME | RecordType::DNAME | RecordType::SOA);
    if is_single && node.set(record_type).is_some_and(|set| !set.data.contains(data)) {
        return Err(ConflictKind::Second(record_type));
    }
    let beside = match record_type {
        RecordType::NS => Some(RecordType::DNAME),
        RecordType::DNAME => Some(RecordType::NS),
        _ => None,
    };
    if !is_apex && beside.is_some_and(|other| node.set(other).is_some()) {
        return Err(ConflictKind::DnameBesideNs);
    }
    Ok(())
}
