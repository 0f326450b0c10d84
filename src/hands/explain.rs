//! What would become of a request: which edge it is sent to, what each cache on its way would say, and who is asked then.

use std::net::{IpAddr, SocketAddr};

use cdn_core::{NodeId, Role};
use control_plane::{
    Hands as _, HandsError,
    ask::{RequestAsk, RouteAsk},
};
use http::Uri;
use serde_json::{Value, json};

use super::RootHands;
use crate::cluster::NodePlan;

/// Caches on the way of one request: an edge, a regional cache, a shield.
const TIERS_MAX: usize = 3;

impl RootHands {
    /// Asks the router, and cache by cache what it would do, until one would answer or ask an origin.
    pub(super) async fn explain(&self, ask: &RequestAsk) -> Result<Value, HandsError> {
        let asked = Supposed::of(ask, self.cluster.first_name().as_deref()).map_err(HandsError::Invalid)?;
        let viewer = self.viewer_address(&ask.from)?;
        let route = RouteAsk { from: ask.from.clone(), name: Some(asked.host.clone()), ..RouteAsk::default() };
        let route = self.explain_route(&route).await?;
        let chosen = &route["chosen"][0];
        let edge = chosen["edge"].as_str().and_then(|edge| edge.parse::<NodeId>().ok());
        let edge =
            edge.ok_or_else(|| HandsError::Failed("no edge is chosen; `iso explain route` says why".to_owned()))?;
        let mut caches: Vec<Value> = Vec::new();
        let mut next = Some(edge.clone());
        let mut distribution = asked.host.clone();
        while let Some(node) = next.filter(|_| caches.len() < TIERS_MAX) {
            let mut said = self.ask_about(&node, &distribution, &asked, ask, viewer).await?;
            distribution = said["distribution"].as_str().unwrap_or_default().to_owned();
            self.name_neighbours(&node, &mut said);
            let goes_on = said["is_hit"] != Value::Bool(true) && said["allowed"] == Value::Bool(true);
            let parents = said["parents"].as_array().into_iter().flatten();
            let parent =
                parents.filter(|parent| parent["passed_by"].is_null()).find_map(|parent| parent["node"].as_str());
            next = parent.filter(|_| goes_on).and_then(|parent| parent.parse().ok());
            caches.push(said);
        }
        Ok(json!({
            "from": ask.from,
            "url": asked.url(),
            "method": asked.method,
            "edge": edge.to_string(),
            "route": { "pop": chosen["pop"], "reason": chosen["reason"], "policy": route["policy"] },
            "caches": caches,
        }))
    }

    async fn ask_about(
        &self,
        node: &NodeId,
        distribution: &str,
        asked: &Supposed,
        ask: &RequestAsk,
        viewer: IpAddr,
    ) -> Result<Value, HandsError> {
        if !self.supervisor.is_running(node) {
            return Err(HandsError::NotRunning(node.to_string()));
        }
        let query = [
            ("distribution", Some(distribution.to_owned())),
            ("host", Some(asked.host.clone())),
            ("method", Some(asked.method.clone())),
            ("target", Some(asked.target.clone())),
            ("headers", Some(ask.headers.clone().unwrap_or_default())),
            ("viewer", Some(viewer.to_string())),
            ("https", Some(asked.https.to_string())),
        ];
        self.admin.question(&self.cluster, node, "/explain", &query).await
    }

    /// Says of whom a cache would ask what they are called, and how far they are.
    fn name_neighbours(&self, node: &NodeId, said: &mut Value) {
        said["node"] = node.to_string().into();
        let Some(plan) = self.cluster.nodes.iter().find(|plan| plan.id == *node) else { return };
        said["place"] = plan.place.name.to_string().into();
        for list in ["parents", "origins"] {
            for one in said[list].as_array_mut().into_iter().flatten() {
                let address = one["address"].as_str().and_then(|address| address.parse::<SocketAddr>().ok());
                let place = address.and_then(|address| self.cluster.place_at(address));
                let rtt = place
                    .filter(|place| place.id != plan.place.id)
                    .map(|place| self.cluster.world.path(&plan.place, place).rtt);
                one["rtt_ms"] = json!(rtt.map(|rtt| rtt.as_secs_f64() * 1e3));
                one["place"] = json!(place.map(|place| place.name.to_string()));
                let called = |plan: &&NodePlan| address.is_some_and(|address| plan.addresses.http == Some(address));
                let caches = [Role::Regional, Role::Shield].into_iter().flat_map(|role| self.cluster.nodes_with(role));
                if list == "parents" {
                    one["node"] = json!(caches.into_iter().find(called).map(|plan| plan.id.to_string()));
                }
            }
        }
    }

    fn viewer_address(&self, place: &str) -> Result<IpAddr, HandsError> {
        let atlas = self.cluster.world.atlas();
        let place = atlas.place(place).map_err(|unknown| HandsError::Invalid(unknown.to_string()))?;
        let network = atlas.client_network(place);
        Ok(network.ok_or_else(|| HandsError::Invalid(format!("{place} has no client network")))?.viewer.into())
    }
}

/// The request, in its parts.
struct Supposed {
    method: String,
    https: bool,
    host: String,
    target: String,
}

impl Supposed {
    fn of(ask: &RequestAsk, first_name: Option<&str>) -> Result<Self, String> {
        let url = match ask.url.starts_with('/') {
            true => format!("http://{}{}", first_name.unwrap_or_default(), ask.url),
            false if ask.url.contains("://") => ask.url.clone(),
            false => format!("http://{}", ask.url),
        };
        let uri: Uri = url.parse().map_err(|error| format!("{:?} is no URL: {error}", ask.url))?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| format!("{:?} names no host", ask.url))?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") | None => false,
            Some(other) => return Err(format!("{other}:// is not spoken here; http:// and https:// are")),
        };
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let method = ask.method.clone().unwrap_or_else(|| "GET".to_owned());
        Ok(Self { method, https, host: host.to_owned(), target: target.to_owned() })
    }

    fn url(&self) -> String {
        format!("{}://{}{}", if self.https { "https" } else { "http" }, self.host, self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_may_be_a_path_or_lack_its_scheme() {
        let of = |url: &str| {
            Supposed::of(&RequestAsk { url: url.to_owned(), ..RequestAsk::default() }, Some("www.demo.test"))
        };
        for (url, whole) in [
            ("/a?b", "http://www.demo.test/a?b"),
            ("shop.test/x", "http://shop.test/x"),
            ("https://shop.test:4443", "https://shop.test/"),
        ] {
            assert_eq!(of(url).unwrap().url(), whole);
        }
        for wrong in ["ftp://shop.test/", "http:///a", "http://a b/"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
