//! Caches between edges and origins: where they stand, and who asks whom.
//!
//! An edge asks the regional cache that is nearest by the world's links, that one asks the shield, and the shield asks
//! the origins. Whoever finds its first parent of no use asks the next.

use std::{collections::BTreeSet, time::Duration};

use cdn_core::Role;
use indexmap::IndexMap;
use world::{Atlas, Place};

use super::{Cluster, NodePlan, OriginPlan, pop};
use crate::{cluster_file::ClusterFile, diagnose::KeyError};

impl Cluster {
    /// The caches that `node` may ask instead of an origin, the one to ask first in front.
    pub(crate) fn parents_of(&self, node: &NodePlan) -> Vec<&NodePlan> {
        let regional = (node.id.role() == Role::Edge).then(|| self.nearest_regional(node)).flatten();
        let shields = self.nodes_with(Role::Shield).filter(|_| matches!(node.id.role(), Role::Edge | Role::Regional));
        regional.into_iter().chain(shields).collect()
    }

    fn nearest_regional(&self, edge: &NodePlan) -> Option<&NodePlan> {
        let rtt = |regional: &NodePlan| match regional.place.id == edge.place.id {
            true => Duration::ZERO,
            false => self.world.path(&edge.place, &regional.place).rtt,
        };
        self.nodes_with(Role::Regional).min_by_key(|regional| rtt(regional))
    }
}

/// Where the shield stands, if there is one.
pub(super) fn shield_of(
    file: &ClusterFile,
    atlas: &Atlas,
    pops: &[Place],
    origins: &IndexMap<String, OriginPlan>,
) -> Result<Option<Place>, KeyError> {
    match file.shield.as_deref() {
        Some("none" | "") => Ok(None),
        Some(code) => pop(atlas, "shield", code).map(Some),
        None => {
            let iad = pops.iter().find(|pop| pop.id.as_str() == "iad");
            let near = || {
                let (_, origin) = origins.first()?;
                pops.iter().min_by(|a, b| {
                    let km = |pop: &Place| pop.coordinates.distance_km(origin.place.coordinates);
                    km(a).total_cmp(&km(b))
                })
            };
            Ok(iad.or_else(near).cloned())
        }
    }
}

/// Where regional caches stand, in the order written.
pub(super) fn regional_of(file: &ClusterFile, atlas: &Atlas) -> Result<Vec<Place>, KeyError> {
    let mut seen = BTreeSet::new();
    let mut places = Vec::new();
    for (at, code) in file.regional.iter().enumerate() {
        let key = format!("regional.{at}");
        let place = pop(atlas, &key, code)?;
        if !seen.insert(place.id.clone()) {
            return Err(KeyError::new(&key, format!("{code} stands there twice")));
        }
        places.push(place);
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Inputs;

    fn cluster(text: &str) -> Cluster {
        let file: ClusterFile = toml::from_str(text).unwrap();
        Cluster::check(&file, &Inputs { base_port: Some(5400), ..Inputs::default() }).unwrap()
    }

    /// Who asks whom, in one line per node that asks.
    fn ways(cluster: &Cluster) -> Vec<String> {
        let parents = |node: &NodePlan| {
            let ids: Vec<String> = cluster.parents_of(node).iter().map(|parent| parent.id.to_string()).collect();
            ids.join(", ")
        };
        let asking = cluster.nodes.iter().filter(|node| !cluster.parents_of(node).is_empty());
        asking.map(|node| format!("{} → {}", node.id, parents(node))).collect()
    }

    #[test]
    fn each_edge_asks_the_nearest_regional_cache_and_that_asks_the_shield() {
        let text = "pops = [\"IAD\", \"CDG\", \"KIX\", \"FRA\"]\nregional = [\"NRT\", \"FRA\"]\nshield = \"IAD\"\n";
        assert_eq!(
            ways(&cluster(text)),
            [
                "edge.iad → regional.fra, shield.iad",
                "edge.cdg → regional.fra, shield.iad",
                "edge.kix → regional.nrt, shield.iad",
                "edge.fra → regional.fra, shield.iad",
                "regional.nrt → shield.iad",
                "regional.fra → shield.iad",
            ]
        );
        let unshielded = cluster("pops = [\"CDG\"]\nregional = [\"FRA\"]\nshield = \"none\"\n");
        assert_eq!(ways(&unshielded), ["edge.cdg → regional.fra"]);
        assert_eq!(ways(&cluster("pops = [\"CDG\"]\nshield = \"IAD\"\n")), ["edge.cdg → shield.iad"]);
    }

    #[test]
    fn a_pop_has_one_regional_cache_at_most() {
        let file: ClusterFile = toml::from_str("regional = [\"FRA\", \"fra\"]\n").unwrap();
        let error = Cluster::check(&file, &Inputs::default()).unwrap_err();
        assert_eq!((error.key.join("."), error.message.as_str()), ("regional.1".into(), "fra stands there twice"));
    }
}
