//! Which names the router answers for: distributions, edges, PoPs and its own.

use std::net::Ipv4Addr;

use cdn_core::{
    routing::Pop,
    zone::{Data, Name, Soa, Zone, Zones},
};

use crate::config::{BuildError, Config};

/// How long the names of servers and edges may be kept, in seconds. They move only when a world is changed by hand.
const INFRASTRUCTURE_TTL_S: u32 = 60;

/// How long a negative answer may be kept, in seconds.
const NEGATIVE_TTL_S: u32 = 60;

/// All names, and for each routed one the position of its distribution in the config.
pub(crate) fn build(config: &Config, pops: &[Pop], serial: u32) -> Result<Zones, BuildError> {
    let (primary, _) = config.name_servers.first().ok_or(BuildError::NoNameServer)?;
    let servers: Vec<Name> = config.name_servers.iter().map(|(name, _)| name.clone()).collect();
    let zone = |apex: &Name| -> Result<Zone, BuildError> {
        let soa = Soa {
            primary: primary.clone(),
            contact: config.zone.child("hostmaster")?,
            serial,
            refresh_s: 7200,
            retry_s: 900,
            expire_s: 1_209_600,
            minimum_s: NEGATIVE_TTL_S,
        };
        Ok(Zone { apex: apex.clone(), soa, ttl_s: INFRASTRUCTURE_TTL_S })
    };

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

    let mut apexes = vec![config.zone.clone()];
    for apex in routed.iter().map(|(name, _)| apex_of(name, &config.zone)) {
        if !apexes.contains(&apex) {
            apexes.push(apex);
        }
    }
    apexes.sort_by_key(|apex| apex.labels().count());
    let mut zones = Zones::default();
    for apex in &apexes {
        zones.add_zone(zone(apex)?, &servers);
    }
    for (name, address) in &config.name_servers {
        if name.is_within(&config.zone) {
            zones.add_record(name, INFRASTRUCTURE_TTL_S, Data::A(*address))?;
        }
    }
    for pop in pops {
        let addresses = || pop.edges.iter().map(|edge| (edge, *edge.address.ip()));
        for (edge, address) in addresses() {
            add_address(&mut zones, &config.zone.child(&edge.id.to_string())?, address)?;
        }
        for (_, address) in addresses() {
            add_address(&mut zones, &config.zone.child(&pop.code.lower())?, address)?;
        }
    }
    for (name, host) in routed {
        zones.add_routed(&name, host)?;
    }
    Ok(zones)
}

fn add_address(zones: &mut Zones, name: &Name, address: Ipv4Addr) -> Result<(), BuildError> {
    Ok(zones.add_record(name, INFRASTRUCTURE_TTL_S, Data::A(address))?)
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
    use cdn_core::{
        Role,
        zone::{Found, RecordType},
    };

    use super::*;
    use crate::config::DistributionNames;

    fn config(distributions: &[(&str, &[&str])]) -> Config {
        let id = cdn_core::NodeId::new(Role::Router, "main");
        let mut config = Config::new(id, "cdn.test".parse().unwrap(), Ipv4Addr::LOCALHOST);
        config.distributions = distributions
            .iter()
            .map(|(id, aliases)| DistributionNames {
                id: (*id).into(),
                aliases: aliases.iter().map(|&alias| alias.into()).collect(),
            })
            .collect();
        config
    }

    #[test]
    fn every_alias_has_a_zone_and_every_distribution_a_name_of_its_own() {
        let config = config(&[("demo", &["www.demo.test", "*.img.demo.test"]), ("shop", &["my.test"])]);
        let zones = build(&config, &[], 1).unwrap();
        let apexes: Vec<_> = zones.zones().iter().map(|zone| zone.apex.to_string()).collect();
        assert_eq!(apexes, ["cdn.test", "demo.test", "my.test"]);
        for (name, host) in
            [("demo.cdn.test", 0), ("www.demo.test", 0), ("a.img.demo.test", 0), ("my.test", 1), ("shop.cdn.test", 1)]
        {
            let name: Name = name.parse().unwrap();
            assert_eq!(zones.host(name.as_bytes()), Some(host), "{name}");
        }
        let ns: Name = "ns1.cdn.test".parse().unwrap();
        assert!(matches!(zones.find(ns.as_bytes(), RecordType::A), Found::Records(_)));
    }

    #[test]
    fn one_name_for_two_distributions_is_refused() {
        let config = config(&[("a", &["www.demo.test"]), ("b", &["WWW.demo.test"])]);
        assert!(matches!(build(&config, &[], 1), Err(BuildError::NameTaken(_))));
        let bad = self::config(&[("a", &["not a name"])]);
        assert!(matches!(build(&bad, &[], 1), Err(BuildError::Name(_))));
    }
}
