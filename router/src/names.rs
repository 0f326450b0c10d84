//! Which names the router answers for: distributions, edges, PoPs and its own, and edges as places of a distribution.

use cdn_core::{
    NodeId,
    routing::Pop,
    zone::{Data, InvalidDomainName, Name, Record, RecordType, Soa, Zones, ZonesBuilder},
};

use crate::config::{BuildError, Config};

/// How long the names of servers and edges may be kept, in seconds. They move only when a world is changed by hand.
const INFRASTRUCTURE_TTL_S: u32 = 60;

/// How long a negative answer may be kept, in seconds.
const NEGATIVE_TTL_S: u32 = 60;

/// All names, and for each routed one the position of its distribution in the config.
pub(crate) fn build(config: &Config, pops: &[Pop], serial: u32) -> Result<Zones, BuildError> {
    let mut routed: Vec<(Name, usize)> = vec![];
    for (host, distribution) in config.distributions.iter().enumerate() {
        let aliases = distribution.aliases.iter().map(|alias| alias.parse::<Name>());
        for name in std::iter::once(config.zone.child(&distribution.id)).chain(aliases) {
            let name = name?;
            match routed.iter().find(|(taken, _)| *taken == name) {
                Some(&(_, by)) if by != host => return Err(BuildError::NameTaken(name)),
                Some(_) => {}
                None => routed.push((name, host)),
            }
        }
    }
    let mut zones = ZonesBuilder::default();
    zones.aliases_max = config.limits.aliases_max;
    zones.routed_types.https = config.https_records;
    // Whoever asks for either family is led to the same edges, so that both are answered or one of them is.
    let mut edges = pops.iter().flat_map(|pop| &pop.edges).peekable();
    zones.routed_types.ipv6 = edges.peek().is_some() && edges.all(|edge| edge.address6.is_some());
    // Those of the config come first, so that a conflict names them by their position there.
    for record in &config.records {
        zones.add_record(record.clone());
    }
    let is_written = |name: &Name, record_type: RecordType| {
        config.records.iter().any(|record| record.name == *name && record.data.record_type() == record_type)
    };
    for record in automatic(config, pops, &routed, serial)? {
        let record_type = record.data.record_type();
        // Written SOA and NS replace ours; a distribution that is called as a PoP has its name.
        let is_replaced = matches!(record_type, RecordType::SOA | RecordType::NS)
            && is_written(&record.name, record_type)
            || matches!(record_type, RecordType::A | RecordType::AAAA)
                && routed.iter().any(|(name, _)| *name == record.name);
        if !is_replaced {
            zones.add_record(record);
        }
    }
    for (name, host) in routed {
        zones.add_routed(name, host);
    }
    Ok(zones.build()?)
}

/// The records that nobody has to write: zones with their servers, servers, edges and PoPs.
fn automatic(config: &Config, pops: &[Pop], routed: &[(Name, usize)], serial: u32) -> Result<Vec<Record>, BuildError> {
    let (primary, _) = config.name_servers.first().ok_or(BuildError::NoNameServer)?;
    let soa = Soa {
        primary: primary.clone(),
        contact: config.zone.child("hostmaster")?,
        serial,
        refresh_s: 7200,
        retry_s: 900,
        expire_s: 1_209_600,
        minimum_s: NEGATIVE_TTL_S,
    };
    let mut apexes = vec![config.zone.clone()];
    for apex in routed.iter().map(|(name, _)| apex_of(name, &config.zone)) {
        if !apexes.contains(&apex) {
            apexes.push(apex);
        }
    }
    let mut records = vec![];
    let mut add = |name: &Name, data: Data| {
        records.push(Record { name: name.clone(), ttl_s: INFRASTRUCTURE_TTL_S, data, zone: None });
    };
    for apex in &apexes {
        add(apex, Data::Soa(soa.clone()));
        for (server, _) in &config.name_servers {
            add(apex, Data::Ns(server.clone()));
        }
    }
    for (name, address) in &config.name_servers {
        if name.is_within(&config.zone) {
            add(name, Data::A(*address));
        }
    }
    for pop in pops {
        for edge in &pop.edges {
            let mut names = vec![config.zone.child(&edge.id.to_string())?, config.zone.child(&pop.code.lower())?];
            for distribution in &config.distributions {
                names.push(at_edge(&config.zone, &distribution.id, &edge.id)?);
            }
            for name in names {
                add(&name, Data::A(*edge.address.ip()));
                if let Some(address) = edge.address6 {
                    add(&name, Data::Aaaa(address));
                }
            }
        }
    }
    Ok(records)
}

/// The name of an edge as the place of one distribution: `iad.shop.cdn.test` is `shop` at `edge.iad`. Whoever asks an edge
/// by it need not say besides what for.
pub(crate) fn at_edge(zone: &Name, distribution: &str, edge: &NodeId) -> Result<Name, InvalidDomainName> {
    zone.child(distribution)?.child(edge.name())
}

/// The zone that holds `name`: the CDN's own, or the last two labels of it (`my.test`, `demo.test`).
fn apex_of(name: &Name, cdn: &Name) -> Name {
    if name.is_within(cdn) {
        return cdn.clone();
    }
    let mut apex = name.clone();
    while apex.labels().count() > 2 {
        match apex.parent() {
            Some(parent) => apex = parent,
            None => break,
        }
    }
    apex
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use cdn_core::{Role, http_version::HttpVersion};

    use super::*;
    use crate::config::DistributionNames;

    fn config(distributions: &[(&str, &[&str])]) -> Config {
        let id = NodeId::new(Role::Router, "main");
        let mut config = Config::new(id, "cdn.test".parse().unwrap(), Ipv4Addr::LOCALHOST);
        config.distributions = distributions
            .iter()
            .map(|(id, aliases)| DistributionNames {
                id: (*id).into(),
                aliases: aliases.iter().map(|&alias| alias.into()).collect(),
                http_version: HttpVersion::Http2,
            })
            .collect();
        config
    }

    #[test]
    fn every_alias_has_a_zone_and_every_distribution_a_name_of_its_own() {
        let config = config(&[("demo", &["www.demo.test", "*.img.demo.test"]), ("shop", &["my.test"])]);
        let zones = build(&config, &[], 1).unwrap();
        let apexes: Vec<_> = zones.apexes().map(ToString::to_string).collect();
        assert_eq!(apexes, ["cdn.test", "demo.test", "my.test"]);
        for (name, host) in
            [("demo.cdn.test", 0), ("www.demo.test", 0), ("a.img.demo.test", 0), ("my.test", 1), ("shop.cdn.test", 1)]
        {
            let name: Name = name.parse().unwrap();
            assert_eq!(zones.host(name.as_bytes()), Some(host), "{name}");
        }
        let ns: Name = "ns1.cdn.test".parse().unwrap();
        assert_eq!(zones.answer(ns.as_bytes(), RecordType::A).answer.len(), 1);
    }

    #[test]
    fn one_name_for_two_distributions_is_refused() {
        let config = config(&[("a", &["www.demo.test"]), ("b", &["WWW.demo.test"])]);
        assert!(matches!(build(&config, &[], 1), Err(BuildError::NameTaken(_))));
        let bad = self::config(&[("a", &["not a name"])]);
        assert!(matches!(build(&bad, &[], 1), Err(BuildError::Name(_))));
    }
}
