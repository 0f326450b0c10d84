//! Where the routers stand: at least one, by default two on different continents, so that names outlive a router.

use std::collections::BTreeSet;

use world::{Atlas, Place};

use super::{no_pops, place};
use crate::{cluster_file::ClusterFile, diagnose::KeyError};

/// Routers at most: every one of them probes every edge.
const ROUTERS_MAX: usize = 8;

/// The places of the routers, the control plane's own first.
///
/// By default the first stands with the shield, else in the first PoP; the second in the first PoP of another continent,
/// else in any other PoP; a world of one PoP has one router.
pub(super) fn routers_of(
    file: &ClusterFile,
    atlas: &Atlas,
    pops: &[Place],
    shield: Option<&Place>,
) -> Result<Vec<Place>, KeyError> {
    let Some(names) = &file.router.sites else {
        let first = shield.or_else(|| pops.first()).ok_or_else(no_pops)?;
        let others = || pops.iter().filter(|pop| pop.id != first.id);
        let second = others().find(|pop| pop.continent != first.continent).or_else(|| others().next());
        return Ok([first].into_iter().chain(second).cloned().collect());
    };
    if names.is_empty() || names.len() > ROUTERS_MAX {
        return Err(KeyError::new("router.sites", format!("1 to {ROUTERS_MAX} routers"))
            .hint("a PoP, region or city each, such as [\"IAD\", \"FRA\"]"));
    }
    let mut seen = BTreeSet::new();
    let mut sites = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let key = format!("router.sites.{at}");
        let site = place(atlas, &key, name)?;
        if !seen.insert(site.id.clone()) {
            return Err(KeyError::new(&key, format!("{name} stands there twice")));
        }
        sites.push(site);
    }
    Ok(sites)
}

#[cfg(test)]
mod tests {
    use cdn_core::Role;

    use super::*;
    use crate::cluster::{Cluster, Inputs};

    fn routers(text: &str) -> Result<Vec<String>, String> {
        let file: ClusterFile = toml::from_str(text).unwrap();
        let cluster = Cluster::check(&file, &Inputs::default()).map_err(|error| error.to_string())?;
        let routers = cluster.nodes_with(Role::Router);
        Ok(routers.map(|plan| format!("{} {}", plan.id, plan.addresses.dns.unwrap())).collect())
    }

    #[test]
    fn two_routers_stand_on_different_continents_and_the_first_on_localhost() {
        assert_eq!(routers("").unwrap(), ["router.iad 127.0.0.1:4453", "router.fra 127.77.3.1:4453"]);
        // Both on one continent: with the shield, which is the nearer to the origin, and in the other PoP.
        let two = routers("pops = [\"FRA\", \"LHR\"]").unwrap();
        assert_eq!(two, ["router.lhr 127.0.0.1:4453", "router.fra 127.77.3.1:4453"]);
        assert_eq!(routers("pops = [\"NRT\"]").unwrap(), ["router.nrt 127.0.0.1:4453"]);
    }

    #[test]
    fn sites_are_taken_as_written_and_no_site_has_two() {
        let written = routers("[router]\nsites = [\"NRT\", \"eu-west-1\", \"IAD\"]").unwrap();
        assert_eq!(written[2], "router.iad 127.77.3.2:4453");
        assert!(written[1].starts_with("router.eu-west-1 "), "{written:?}");
        assert!(routers("[router]\nsites = [\"IAD\", \"iad\"]").unwrap_err().contains("twice"));
        assert!(routers("[router]\nsites = []").unwrap_err().contains("1 to 8"));
    }
}
