//! Edges: how many stand in each PoP, and what they are called.
//!
//! The first edge of a PoP is called as the PoP is, the others have a number behind that: `edge.iad`, `edge.iad-2`.

use cdn_core::{NodeId, Role};
use world::Place;

use super::{NodePlan, routing::by_pop};
use crate::{cluster_file::ClusterFile, diagnose::KeyError};

/// Edges of one PoP at most.
const PER_POP_MAX: u32 = 16;

/// How many edges each of `pops` has, in their order.
///
/// # Errors
/// A count out of bounds, or one for a PoP that the world has not.
pub(super) fn edges_of(file: &ClusterFile, pops: &[Place]) -> Result<Vec<usize>, KeyError> {
    let checked = |count: u32| match count {
        1..=PER_POP_MAX => Ok(count as usize),
        _ => Err(format!("a PoP has 1 to {PER_POP_MAX} edges")),
    };
    let usual = checked(file.edge.per_pop.unwrap_or(1)).map_err(|why| KeyError::new("edge.per_pop", why))?;
    let in_pop = by_pop("edge.in_pop", &file.edge.in_pop, pops, checked)?;
    Ok(pops.iter().map(|pop| pop.pop_code().and_then(|code| in_pop.get(&code).copied()).unwrap_or(usual)).collect())
}

/// The name of the edge number `at` of a PoP, counted from 0.
pub(super) fn name_of(pop: &Place, at: usize) -> String {
    match at {
        0 => pop.id.to_string(),
        _ => format!("{}-{}", pop.id, at + 1),
    }
}

/// The PoPs that edges of `nodes` stand in, each once, in the order written.
pub(super) fn pops(nodes: &[NodePlan]) -> impl Iterator<Item = &Place> {
    let edges = nodes.iter().filter(|node| node.id.role() == Role::Edge);
    edges.filter(|edge| edge.id == NodeId::new(Role::Edge, edge.place.id.as_str())).map(|edge| &edge.place)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cluster::{Cluster, Inputs};

    fn check(text: &str) -> Result<Cluster, String> {
        let file: ClusterFile = toml::from_str(text).unwrap();
        let inputs = Inputs { ipv6: Some(crate::ipv6::NETWORK), ..Inputs::default() };
        Cluster::check(&file, &inputs).map_err(|error| format!("{}: {error}", error.key.join(".")))
    }

    #[test]
    fn a_pop_has_as_many_edges_as_written_each_with_addresses_of_its_own() {
        let text = "pops = [\"IAD\", \"FRA\", \"NRT\"]\n[edge]\nper_pop = 2\n[edge.in_pop]\nfra = 3\nNRT = 1\n";
        let cluster = check(text).unwrap();
        let edges: Vec<&NodePlan> = cluster.nodes_with(Role::Edge).collect();
        let ids: Vec<String> = edges.iter().map(|edge| edge.id.to_string()).collect();
        assert_eq!(ids, ["edge.iad", "edge.iad-2", "edge.fra", "edge.fra-2", "edge.fra-3", "edge.nrt"]);
        let addresses: BTreeSet<_> = cluster.nodes.iter().flat_map(|node| node.addresses.all()).collect();
        assert_eq!(addresses.len(), cluster.nodes.iter().flat_map(|node| node.addresses.all()).count());
        assert!(edges.iter().all(|edge| edge.addresses.http6.is_some() && edge.addresses.admin.is_some()));
        let pops: Vec<String> = cluster.pops().map(|pop| pop.id.to_string()).collect();
        assert_eq!(pops, ["iad", "fra", "nrt"]);
        assert_eq!(cluster.candidates("demo").len(), 3);
        let config = cluster.router_config(&NodeId::new(Role::Router, "iad"), std::net::Ipv4Addr::LOCALHOST).unwrap();
        let of_pops: Vec<usize> = config.pops.iter().map(|pop| pop.edges.len()).collect();
        assert_eq!(of_pops, [2, 3, 1]);
    }

    #[test]
    fn counts_out_of_bounds_and_of_other_pops_are_refused() {
        for (text, expected) in [
            ("[edge]\nper_pop = 0\n", "edge.per_pop: a PoP has 1 to 16 edges"),
            ("[edge.in_pop]\nIAD = 17\n", "edge.in_pop.IAD: a PoP has 1 to 16 edges"),
            ("[edge.in_pop]\nIAE = 2\n", "edge.in_pop.IAE: this world has no PoP \"IAE\""),
            ("[edge]\nper_pop = 16\n", "edge.per_pop: 102 nodes; a world has at most 80"),
        ] {
            let error = check(text).expect_err(text);
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
