//! The world that `iso up` starts when nothing is said, for tests and benchmarks that read no files.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use cdn_core::{
    NodeId, Role,
    distribution::{Behavior, Distribution, DistributionSpec, Origin, OriginGroup, TransportFailover},
    policies,
    routing::Host,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use world::{Atlas, Place, World, WorldOptions};

use crate::plan::{Answers, NodeSpec, OriginAnswer, OriginSpec, Plan};

/// What a plain origin answers: so many bytes, or as many as a path `/bytes/N/...` says.
#[derive(Clone, Debug)]
pub struct PlainAnswers {
    /// `Cache-Control`.
    pub cache_control: String,
    /// Bytes of a body of which the path says nothing.
    pub bytes: u64,
    /// How long an answer takes.
    pub delay: Duration,
}

impl Answers for PlainAnswers {
    fn answer(&self, path: &str, _query: Option<&str>) -> OriginAnswer {
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_str(&self.cache_control) {
            headers.insert(header::CACHE_CONTROL, value);
        }
        let tag = path.bytes().fold(7_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
        if let Ok(tag) = HeaderValue::try_from(format!("\"{tag:x}\"")) {
            headers.insert(header::ETAG, tag);
        }
        let said = path.strip_prefix("/bytes/").and_then(|rest| rest.split('/').next()?.parse().ok());
        let bytes = said.unwrap_or(self.bytes);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
        OriginAnswer { status: StatusCode::OK, headers, bytes, delay: self.delay }
    }
}

impl Default for PlainAnswers {
    /// 1 KiB, fresh for a minute, at once.
    fn default() -> Self {
        Self { cache_control: "max-age=60".to_owned(), bytes: 1024, delay: Duration::ZERO }
    }
}

/// A world with edges in these PoPs, a shield, two routers, and the origin group of the demo.
///
/// # Panics
/// Where a code is no PoP.
pub fn default_world(pops: &[&str], answers: &PlainAnswers) -> Plan {
    let atlas = Atlas::embedded();
    let place = |name: &str| atlas.place(name).unwrap_or_else(|unknown| panic!("{unknown}")).clone();
    let shield = place("iad");
    let mut plan = Plan::new(World::new(atlas, WorldOptions::default()), shield.clone());
    let node = |role: Role, name: &str, at: &Place, address: [u8; 4], parents: Vec<usize>| NodeSpec {
        id: NodeId::new(role, name),
        pop: at.pop_code(),
        place: at.clone(),
        address: SocketAddr::from((address, 4480)),
        parents,
    };
    for (at, pop) in pops.iter().enumerate() {
        let [high, low] = u16::try_from(at + 1).unwrap_or(u16::MAX).to_be_bytes();
        let pop = place(pop);
        plan.nodes.push(node(Role::Edge, pop.id.as_str(), &pop, [127, 77, high, low], vec![pops.len()]));
    }
    plan.nodes.push(node(Role::Shield, "iad", &shield, [127, 78, 1, 1], Vec::new()));
    for (at, name) in [(1, "iad"), (2, "fra")] {
        plan.nodes.push(node(Role::Router, name, &place(name), [127, 78, 3, at], Vec::new()));
    }
    for (at, (id, site)) in (1..).zip([("primary", "us-east-1"), ("secondary", "eu-west-1")]) {
        plan.nodes.push(node(Role::Origin, id, &place(site), [127, 78, 4, at], Vec::new()));
        let answers = Arc::new(answers.clone());
        let spec = OriginSpec { concurrency: 256, queue: 1024, finishes_abandoned: false, answers };
        plan.origins.insert(id.to_owned(), spec);
    }
    plan.revisions = vec![vec![Arc::new(distribution())]];
    plan.hosts = vec![Host::new("demo")];
    plan
}

/// The distribution `demo` over the group of both origins.
pub fn distribution() -> Distribution {
    let origin = |id: &str| {
        let mut origin = Origin::new(format!("{id}.origin.test"));
        origin.shield = true;
        (id.to_owned(), origin)
    };
    let group = OriginGroup {
        members: ["primary".to_owned(), "secondary".to_owned()],
        failover_codes: [500, 502, 503, 504].iter().filter_map(|code| StatusCode::from_u16(*code).ok()).collect(),
        on_transport_error: TransportFailover::Documented,
    };
    let policy = policies::cache_policy("CachingOptimized").unwrap_or_else(|| unreachable!("a policy of AWS"));
    let behavior = Behavior { compress: false, ..Behavior::new("group", policy) };
    let origins = ["primary", "secondary"].map(origin).into_iter().collect();
    let spec = DistributionSpec {
        aliases: vec!["www.demo.test".to_owned()],
        groups: [("group".to_owned(), group)].into_iter().collect(),
        ..DistributionSpec::new("demo", origins, behavior)
    };
    Distribution::new(spec).unwrap_or_else(|error| panic!("{error:?}"))
}
