//! Records that people write, in zone files and one by one: read, and held against those that DNS has by itself.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::Range,
    sync::Arc,
};

use cdn_core::{
    NodeId, Role,
    distribution::Distributions,
    geo,
    routing::{EdgeSite, Pop},
    zone::{Name, Record, RecordType},
};
use router::{
    BuildError, Config, DistributionNames, RedirectTo,
    zone_file::{self, ZoneFileError},
};

use super::{Cluster, Inputs};
use crate::{
    cluster_file::{ClusterFile, RecordFile},
    diagnose::{KeyError, Source, nearest_or_all},
};

/// How long a record may be kept that does not say it, in seconds.
const TTL_S: u32 = 60;

/// What is written, and where.
#[derive(Debug, Default)]
pub(super) struct Written(Vec<(Record, WrittenAt)>);

/// Where a record stands.
#[derive(Debug)]
enum WrittenAt {
    /// In the zone file of this position, there.
    ZoneFile(usize, Range<usize>),
    /// Under `router.records`, at this position.
    Key(usize),
}

/// Reads zone files and records.
///
/// # Errors
/// The first thing that is wrong, where it stands.
pub(super) fn records_of(file: &ClusterFile, inputs: &Inputs) -> Result<Written, KeyError> {
    let mut written = Written::default();
    for (at, source) in inputs.zones.iter().enumerate() {
        let read = zone_file::parse(&source.text, &origin_of(&source.name));
        let read = read.map_err(|error| in_zone_file(at, source, error))?;
        written
            .0
            .extend(read.records.into_iter().zip(read.spans.into_iter().map(|span| WrittenAt::ZoneFile(at, span))));
    }
    for (at, record) in file.router.records.iter().enumerate() {
        written.0.push((record_of(&format!("router.records.{at}"), record)?, WrittenAt::Key(at)));
    }
    Ok(written)
}

/// `zones/demo.test.zone` holds names below `demo.test`.
fn origin_of(file: &str) -> Name {
    let name = file.rsplit(['/', '\\']).next().unwrap_or(file);
    name.strip_suffix(".zone").and_then(|name| name.parse().ok()).unwrap_or_else(Name::root)
}

fn record_of(key: &str, written: &RecordFile) -> Result<Record, KeyError> {
    let at = |field: &str| format!("{key}.{field}");
    let name = written.name.parse::<Name>().map_err(|error| KeyError::new(&at("name"), error.to_string()))?;
    let record_type: RecordType = written.record_type.parse().map_err(|_| {
        let hint = nearest_type(&written.record_type);
        KeyError { hint, ..KeyError::new(&at("type"), format!("no type of records {:?}", written.record_type)) }
    })?;
    let data = zone_file::parse_data(record_type, &written.data, &Name::root()).map_err(|error| {
        let hint = error.hint.map(str::to_owned);
        KeyError { hint, ..KeyError::new(&at("data"), error.message) }
    })?;
    let ttl_s = match written.ttl {
        Some(ttl) => u32::try_from(ttl.0.as_secs())
            .ok()
            .filter(|&ttl_s| ttl_s <= zone_file::TTL_S_MAX)
            .ok_or_else(|| KeyError::new(&at("ttl"), format!("it is at most {} s", zone_file::TTL_S_MAX)))?,
        None => TTL_S,
    };
    Ok(Record { name, ttl_s, data, zone: None })
}

fn nearest_type(word: &str) -> Option<String> {
    let of_records = RecordType::MNEMONICS.iter().filter(|(_, known)| !known.is_meta());
    nearest_or_all(word, of_records.map(|(mnemonic, _)| *mnemonic))
}

fn in_zone_file(at: usize, source: &Source, error: ZoneFileError) -> KeyError {
    let hint = match &error.unknown_type {
        Some(word) => nearest_type(word),
        None => error.hint.map(str::to_owned),
    };
    let elsewhere = Some(Box::new((source.clone(), error.span)));
    KeyError { hint, elsewhere, ..KeyError::new(&format!("router.zones.{at}"), error.message) }
}

impl Written {
    /// The records alone.
    pub(super) fn records(&self) -> impl Iterator<Item = Record> {
        self.0.iter().map(|(record, _)| record.clone())
    }

    /// Checks that they can stand beside each other, and beside what `cluster` has by itself.
    ///
    /// # Errors
    /// The first that cannot, where it stands.
    pub(super) fn check(&self, cluster: &Cluster, inputs: &Inputs) -> Result<(), KeyError> {
        let Some(router) = cluster.nodes_with(Role::Router).next() else { return Ok(()) };
        let config = cluster.router_config(&router.id, Ipv4Addr::LOCALHOST);
        let config = config.map_err(|error| KeyError::new("distributions", error.to_string()))?;
        let conflict = match config.check() {
            Ok(()) => return Ok(()),
            Err(BuildError::Conflict(conflict)) => conflict,
            Err(error) => return Err(KeyError::new("distributions", error.to_string())),
        };
        let message = conflict.to_string();
        Err(match conflict.record.and_then(|at| self.0.get(at)) {
            Some((_, WrittenAt::Key(at))) => KeyError::new(&format!("router.records.{at}"), message),
            Some((_, WrittenAt::ZoneFile(at, span))) => {
                let elsewhere = inputs.zones.get(*at).map(|source| Box::new((source.clone(), span.clone())));
                KeyError { elsewhere, ..KeyError::new(&format!("router.zones.{at}"), message) }
            }
            None => KeyError::new("router.zones", message),
        })
    }
}

impl Cluster {
    /// What the router `id`, which listens at `own`, is told of names: zones, name servers, distributions, edges and
    /// records.
    ///
    /// # Errors
    /// A place or name that cannot be.
    pub(crate) fn router_config(&self, id: &NodeId, own: Ipv4Addr) -> anyhow::Result<Config> {
        let mut config = Config::new(id.clone(), "cdn.test".parse()?, own);
        // Every router says the same of all: zones have one set of name servers, whoever is asked.
        config.name_servers.clear();
        for (at, plan) in self.nodes_with(Role::Router).enumerate() {
            let Some(IpAddr::V4(address)) = plan.addresses.dns.map(|dns| dns.ip()) else { continue };
            config.name_servers.push((config.zone.child(&format!("ns{}", at + 1))?, address));
        }
        let names = self.distributions.iter().map(|distribution| DistributionNames {
            id: distribution.id().to_string(),
            aliases: distribution.aliases().to_vec(),
            http_version: distribution.http_version(),
        });
        config.distributions = names.collect();
        // An address leads to a distribution only where edges serve one to whoever asks by address.
        if Distributions::new(self.distributions.clone())?.by_host("localhost").is_none() {
            config.redirect_to = RedirectTo::Name;
        }
        config.records.clone_from(&self.records);
        config.https_records = self.dns.https_records.then(|| self.ports.edge_https());
        for plan in self.nodes_with(Role::Edge) {
            let (Some(code), Some(SocketAddr::V4(address))) = (plan.pop, plan.addresses.http) else { continue };
            let address6 = plan.addresses.http6.map(|address| *address.ip());
            let edge = EdgeSite { id: plan.id.clone(), address, address6 };
            match config.pops.iter_mut().find(|pop| pop.code == code) {
                Some(pop) => pop.edges.push(edge),
                None => config.pops.push(Pop { code, place: geo_place(&plan.place)?, edges: vec![edge] }),
            }
        }
        Ok(config)
    }
}

/// A place as routing sees it.
pub(crate) fn geo_place(place: &world::Place) -> anyhow::Result<geo::Place> {
    Ok(geo::Place {
        point: geo::Point::new(place.coordinates.lat(), place.coordinates.lon())?,
        country: place.country.as_str().into(),
        label: Arc::clone(&place.name),
    })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::diagnose::read_cluster;

    /// The records of a cluster file and of the zone file `extra.demo.test.zone` beside it, or what is wrong.
    fn check(cluster: &str, zone: &str) -> Result<usize, String> {
        let source = Source { name: "cluster.toml".into(), text: format!("[router]\n{cluster}") };
        let file = read_cluster(&source).map_err(|complaint| complaint.to_string())?;
        let zones = vec![Source { name: "zones/extra.demo.test.zone".into(), text: zone.into() }];
        let inputs = Inputs { zones, ..Inputs::default() };
        let cluster = Cluster::check(&file, &inputs).map_err(|error| source.complaint(error).to_string())?;
        Ok(cluster.records.len())
    }

    fn refused(cluster: &str, zone: &str, expected: Expect) {
        expected.assert_eq(&check(cluster, zone).unwrap_err());
    }

    fn record(name: &str, record_type: &str, data: &str) -> String {
        format!("[[router.records]]\nname = {name:?}\ntype = {record_type:?}\ndata = {data:?}\n")
    }

    #[test]
    fn redirects_name_the_distribution_where_an_address_does_not() {
        let redirect_to = |distributions: &[&str]| {
            let section =
                |id: &&str| format!("[distributions.{id}]\n[distributions.{id}.default]\ntarget = \"primary\"\n");
            let text: String = distributions.iter().map(section).collect();
            let file = read_cluster(&Source { name: "cluster.toml".into(), text }).unwrap();
            let cluster = Cluster::check(&file, &Inputs::default()).unwrap();
            let router = cluster.nodes_with(Role::Router).next().unwrap();
            cluster.router_config(&router.id, Ipv4Addr::LOCALHOST).unwrap().redirect_to
        };
        assert_eq!(redirect_to(&["shop"]), RedirectTo::Address);
        assert_eq!(redirect_to(&["shop", "blog"]), RedirectTo::Name);
    }

    #[test]
    fn records_may_stand_in_the_zones_that_are_there_and_in_others() {
        let mx = record("demo.test", "MX", "10 mail.demo.test");
        assert_eq!(check(&mx, "mail 60 A 192.0.2.25\n@ TXT x\n"), Ok(3));
        let zone = "$ORIGIN 2.0.192.in-addr.arpa.\n@ 60 SOA ns1.cdn.test. host 1 2 3 4 5\n NS ns1.cdn.test.\n25 PTR mail.demo.test.\n";
        assert_eq!(check("", zone), Ok(3));
        assert_eq!(check(&record("_x.cdn.test", "TYPE65280", r"\# 2 abcd"), ""), Ok(1));
    }

    #[test]
    fn what_is_wrong_is_shown_where_it_stands() {
        refused(
            "",
            "www2 60 A 192.0.2.1\nwww2 60 AAAAA ::1\n",
            expect![[r#"
                zones/extra.demo.test.zone:2:9: "AAAAA" is not a type of records
                  |
                2 | www2 60 AAAAA ::1
                  |         ^^^^^
                hint: did you mean `AAAA`?"#]],
        );
        refused(
            "",
            "$ORIGIN demo.test.\nalias 60 CNAME www\nalias 60 TXT x\n",
            expect![[r#"
                zones/extra.demo.test.zone:3:1: alias.demo.test: there is a CNAME already, which stands alone
                  |
                3 | alias 60 TXT x
                  | ^^^^^^^^^^^^^^"#]],
        );
        refused(
            &record("www.demo.test", "A", "192.0.2.1"),
            "",
            expect![[r#"
                cluster.toml:2:1: router.records.0: www.demo.test: a distribution answers to this name, so that it has no A record of its own
                  |
                2 | [[router.records]]
                  | ^^^^^^^^^^^^^^^^^^"#]],
        );
        refused(
            &record("mail.demo.test", "MX", "mail.demo.test"),
            "",
            expect![[r#"
                cluster.toml:5:8: router.records.0.data: "mail.demo.test" is not a number from 0 to 65535
                  |
                5 | data = "mail.demo.test"
                  |        ^^^^^^^^^^^^^^^^"#]],
        );
        refused(
            &record("www.example.com", "A", "192.0.2.1"),
            "",
            expect![[r#"
                cluster.toml:2:1: router.records.0: www.example.com: lies in none of the zones
                  |
                2 | [[router.records]]
                  | ^^^^^^^^^^^^^^^^^^"#]],
        );
        refused(
            &record("a.demo.test", "AX", "192.0.2.1"),
            "",
            expect![[r#"
                cluster.toml:4:8: router.records.0.type: no type of records "AX"
                  |
                4 | type = "AX"
                  |        ^^^^
                hint: did you mean `A`?"#]],
        );
    }
}
