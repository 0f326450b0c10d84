//! What names in a scenario stand for in its world: nodes, sites, PoPs, areas, with the nearest valid name for a
//! misspelt one.

use cdn_core::{NodeId, PopCode, Role};
use world::{
    Atlas, Continent, Place, SiteId,
    scenario::{Area, From, Load},
};

use crate::{
    cluster::{Cluster, NodePlan},
    diagnose::{KeyError, did_you_mean, nearest_or_all},
};

/// The names of one world.
pub(super) struct Names<'a> {
    pub(super) cluster: &'a Cluster,
}

/// What a node, or a group of nodes, is called: `edge.fra`, `fra` (its edges), `primary` (an origin), `edge.*` (all of a
/// role).
impl Names<'_> {
    pub(super) fn nodes(&self, key: &str, name: &str) -> Result<Vec<NodeId>, KeyError> {
        let folded = name.trim().to_ascii_lowercase();
        if let Some(role) = folded.strip_suffix(".*").and_then(|role| role.parse::<Role>().ok()) {
            let all: Vec<NodeId> = self.cluster.nodes_with(role).map(|plan| plan.id.clone()).collect();
            if !all.is_empty() {
                return Ok(all);
            }
        }
        if let Some(plan) = folded.parse().ok().and_then(|id| self.cluster.node(&id)) {
            return Ok(vec![plan.id.clone()]);
        }
        if let Some(plan) = self.cluster.node(&NodeId::new(Role::Origin, &folded)) {
            return Ok(vec![plan.id.clone()]);
        }
        if let Ok(pop) = folded.parse::<PopCode>() {
            let edges = self.cluster.nodes_with(Role::Edge).filter(|plan| plan.pop == Some(pop));
            let edges: Vec<NodeId> = edges.map(|plan| plan.id.clone()).collect();
            if !edges.is_empty() {
                return Ok(edges);
            }
        }
        let known = self.node_names();
        let hint = nearest_or_all(name, known.iter().map(String::as_str))
            .or_else(|| Some("nodes are called edge.fra, PoPs fra, origins by their id".to_owned()));
        Err(KeyError { hint, ..KeyError::new(key, format!("this world has no node, PoP or origin {name:?}")) })
    }

    /// Nodes that have a process of ours.
    pub(super) fn processes(&self, key: &str, name: &str) -> Result<Vec<NodeId>, KeyError> {
        let nodes = self.nodes(key, name)?;
        let app = nodes.iter().find(|id| self.cluster.node(id).is_some_and(|plan| plan.is_app));
        match app {
            Some(id) => Err(KeyError::new(key, format!("{id} is your own app: not a process of ours"))
                .hint("make it misbehave instead: fault, with refuse = true")),
            None => Ok(nodes),
        }
    }

    pub(super) fn site(&self, key: &str, name: &str) -> Result<SiteId, KeyError> {
        if let Ok(place) = self.cluster.world.atlas().place(name) {
            return Ok(place.id.clone());
        }
        let folded = name.trim().to_ascii_lowercase();
        let id = folded.parse().unwrap_or_else(|_| NodeId::new(Role::Origin, &folded));
        if let Some(plan) = self.cluster.node(&id) {
            return Ok(plan.place.id.clone());
        }
        let known: Vec<String> = self.cluster.nodes.iter().map(|plan| plan.place.id.to_string()).collect();
        let hint = did_you_mean(name, self.node_names().iter().chain(&known).map(String::as_str));
        Err(KeyError { hint, ..KeyError::new(key, format!("there is no site {name:?}")) })
    }

    pub(super) fn place(&self, key: &str, name: &str) -> Result<&'static Place, KeyError> {
        let atlas: &'static Atlas = self.cluster.world.atlas();
        atlas.place(name).map_err(|unknown| KeyError::new(key, unknown.to_string()))
    }

    pub(super) fn pop(&self, key: &str, name: &str) -> Result<PopCode, KeyError> {
        let code = name.trim().parse::<PopCode>().ok();
        let ours = || self.cluster.pops().filter_map(Place::pop_code);
        code.filter(|code| ours().any(|ours| ours == *code)).ok_or_else(|| {
            let known: Vec<String> = ours().map(|pop| pop.lower()).collect();
            let hint = nearest_or_all(&name.to_ascii_lowercase(), known.iter().map(String::as_str));
            KeyError { hint, ..KeyError::new(key, format!("this world has no PoP {name:?}")) }
        })
    }

    pub(super) fn distribution(&self, key: &str, name: &str) -> Result<String, KeyError> {
        let all = &self.cluster.distributions;
        let named = all.iter().find(|one| **one.id() == *name || one.aliases().iter().any(|alias| alias == name));
        named.map(|one| one.id().to_string()).ok_or_else(|| {
            let hint = nearest_or_all(name, all.iter().map(|one| one.id().as_ref()));
            KeyError { hint, ..KeyError::new(key, format!("this world has no distribution {name:?}")) }
        })
    }

    /// A continent, a country or a place. Of a PoP, those whom it serves are meant: then the second is the PoP.
    pub(super) fn area(&self, key: &str, name: &str) -> Result<(Area, Option<PopCode>), KeyError> {
        let folded = fold(name);
        if folded == "world" {
            return Ok((Area::World, None));
        }
        if let Some(continent) = Continent::ALL.iter().find(|continent| fold(continent.name()) == folded) {
            return Ok((Area::Continent(*continent), None));
        }
        if let Ok(pop) = self.pop(key, name) {
            return Ok((Area::World, Some(pop)));
        }
        let atlas = self.cluster.world.atlas();
        if let Ok(place) = atlas.place(name) {
            return Ok((Area::Place(place.id.clone()), None));
        }
        let country = atlas
            .countries()
            .iter()
            .find(|country| fold(&country.name) == folded || country.code.as_str().eq_ignore_ascii_case(name.trim()));
        if let Some(country) = country {
            return Ok((Area::Country(country.code), None));
        }
        let continents = Continent::ALL.iter().map(|continent| continent.name());
        let countries = atlas.countries().iter().map(|country| country.name.as_ref());
        let cities = atlas.cities().iter().map(|city| city.place.name.as_ref());
        let hint = did_you_mean(name, continents.chain(countries).chain(cities));
        Err(KeyError { hint, ..KeyError::new(key, format!("there is no continent, country or place {name:?}")) })
    }

    /// The cities of an area by their users, or the place itself.
    pub(super) fn cities(&self, key: &str, name: &str) -> Result<Vec<(SiteId, f64)>, KeyError> {
        let atlas = self.cluster.world.atlas();
        let cities = |lies_in: &dyn Fn(&Place) -> bool| {
            let cities = atlas.cities().iter().map(|city| &city.place).filter(|place| lies_in(place));
            let weighed: Vec<(SiteId, f64)> = cities.map(|place| (place.id.clone(), place.users as f64)).collect();
            let all: f64 = weighed.iter().map(|(_, users)| users).sum();
            weighed.into_iter().map(|(id, users)| (id, users / all.max(1.0))).collect::<Vec<_>>()
        };
        let found = match self.area(key, name)? {
            (Area::Continent(continent), _) => cities(&|place| place.continent == continent),
            (Area::Country(country), _) => cities(&|place| place.country == country),
            (Area::Place(site), _) => vec![(site, 1.0)],
            (Area::World, Some(_)) => vec![(self.place(key, name)?.id.clone(), 1.0)],
            (Area::World, None) => cities(&|_| true),
        };
        if found.is_empty() {
            return Err(KeyError::new(key, format!("no city of the world lies in {name}")));
        }
        Ok(found)
    }

    /// Whether somebody who makes requests is in the area.
    pub(super) fn lives_in(&self, area: &Area, loads: &[Load]) -> bool {
        let atlas = self.cluster.world.atlas();
        let lies_in = |place: &Place| match area {
            Area::World => true,
            Area::Continent(continent) => place.continent == *continent,
            Area::Country(country) => place.country == *country,
            Area::Place(site) => place.id == *site,
        };
        loads.iter().any(|load| match &load.from {
            From::World => atlas.cities().iter().any(|city| lies_in(&city.place)),
            From::Places(places) => places.iter().filter_map(|(id, _)| atlas.site(id.as_str())).any(lies_in),
        })
    }

    fn node_names(&self) -> Vec<String> {
        let ids = self.cluster.nodes.iter().map(|plan| plan.id.to_string());
        let is_origin = |plan: &&NodePlan| plan.id.role() == Role::Origin;
        let origins = self.cluster.nodes.iter().filter(is_origin).map(|plan| plan.id.name().to_owned());
        let pops = self.cluster.pops().filter_map(|pop| Some(pop.pop_code()?.lower()));
        origins.chain(pops).chain(ids).collect()
    }
}

fn fold(name: &str) -> String {
    name.trim().to_lowercase().replace(['-', '_'], " ")
}
