//! What would become of a request, and why. Nothing is asked, stored or counted.
//!
//! The words are those of the functions by which requests are served: the cache key, the store's judgement, what travels to
//! an origin. What comes before them (signatures, countries, viewer functions) is named and not carried out.

use std::{net::SocketAddr, time::Duration};

use cdn_core::{
    Reason,
    cache_key::KeyParts,
    distribution::{CachePolicy, OriginGroup},
    forward::{Conditions, Viewer},
    origin_group::RequestKind,
    parents::ParentWay,
    store::Prospect,
};
use http::{HeaderMap, HeaderValue, Method, Uri, Version};

use crate::{
    asked::Asked,
    config::Tier,
    fetch::{Want, outgoing, peer_of},
    node::Node,
};

/// A request that nobody makes.
#[derive(Clone, Debug)]
pub struct Supposed {
    /// Id or host of the distribution.
    pub distribution: String,
    /// `Host` as the viewer sends it.
    pub host: String,
    /// Its method.
    pub method: Method,
    /// Path and query string.
    pub target: Uri,
    /// The viewer's headers.
    pub headers: HeaderMap,
    /// Where the viewer is, in the world's own addresses.
    pub viewer: SocketAddr,
    /// Whether it comes by HTTPS.
    pub https: bool,
}

/// What would become of it.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Id of the distribution.
    pub distribution: String,
    /// Pattern of the behavior that serves the path.
    pub behavior: String,
    /// The path that is looked for: the default root object stands for `/`.
    pub path: String,
    /// Whether the method is allowed at all.
    pub allowed: bool,
    /// Whether the behavior wants a signature, which is not looked at here.
    pub wants_signature: bool,
    /// The function that would run before all this, and is not run here.
    pub viewer_request: Option<String>,
    /// The cache policy.
    pub cache_policy: CachePolicy,
    /// What the cache key is made of; `None` where the store is not asked.
    pub key: Option<KeyParts>,
    /// What the store would say; `None` where it is not asked.
    pub prospect: Option<Prospect>,
    /// The disk tier has it, should memory lack it.
    pub on_disk: bool,
    /// Why the answer would be what it is, as far as this node knows: a miss may still be another cache's hit.
    pub reason: Reason,
    /// Id of the origin or origin group behind the behavior.
    pub target: String,
    /// That group, where it is one.
    pub group: Option<OriginGroup>,
    /// Whether a group's second origin may be asked after the first: its method says.
    pub fails_over: bool,
    /// Caches between, in the order in which they are asked.
    pub parents: Vec<ParentProspect>,
    /// Origins, in the order in which they would be asked by this node.
    pub origins: Vec<OriginProspect>,
}

/// A cache between, seen from a node in front of it.
#[derive(Clone, Debug)]
pub struct ParentProspect {
    /// Which layer it is.
    pub tier: Tier,
    /// `ip:port`.
    pub address: String,
    /// Why it would be passed by; `None` where it would be asked.
    pub passed_by: Option<&'static str>,
}

/// An origin, and what it would be sent.
#[derive(Clone, Debug)]
pub struct OriginProspect {
    /// Its id.
    pub id: String,
    /// `ip:port`; `None` where the node knows no way to it.
    pub address: Option<String>,
    /// Whether it is spoken to by HTTPS.
    pub https: bool,
    /// `Host`, path and query, and the other headers, but for the request's id.
    pub host: String,
    /// See above.
    pub target: String,
    /// See above.
    pub headers: HeaderMap,
    /// Tries to connect.
    pub connection_attempts: u8,
    /// How long each try may take.
    pub connection_timeout: Duration,
    /// Time to the first byte, and between two packets.
    pub response_timeout: Duration,
}

/// Explains; `None` where nothing answers to the distribution.
pub(crate) fn explain(node: &Node, supposed: Supposed) -> Option<Explanation> {
    let distributions = node.distributions.load();
    let named = &supposed.distribution;
    let distribution = distributions.by_id(named).or_else(|| distributions.by_host(named))?;
    let root_object = distribution.root_object_for(supposed.target.path());
    let place = distribution.place_for(root_object.as_deref().unwrap_or_else(|| supposed.target.path()));
    let behavior = distribution.behavior_at(place);
    let request_id = HeaderValue::from_static("");
    let viewer = Viewer { address: supposed.viewer, https: supposed.https, version: Version::HTTP_11, request_id };
    let mut headers = supposed.headers;
    node.receive_viewer_headers(&mut headers, behavior, &viewer, None);
    let asked = Asked {
        distribution: distribution.clone(),
        method: supposed.method,
        host: HeaderValue::from_str(&supposed.host).ok()?,
        uri: supposed.target,
        root_object,
        behavior: place,
        headers,
        viewer,
        chosen: None,
    };
    let head = asked.head();
    let class = behavior.method_class(&asked.method);
    let store = class.is_ok().then(|| {
        let (now, key) = (node.clock.now(), head.key(node.store.seed()));
        (node.store.prospect(now, key, &head), node.disk.as_ref().is_some_and(|disk| disk.has(key, &head)))
    });
    let (prospect, on_disk) = store.map_or((None, false), |(prospect, on_disk)| (Some(prospect), on_disk));
    let reason = match (&prospect, class) {
        _ if !distribution.is_enabled() => Reason::DistributionDisabled,
        _ if !behavior.allows(&asked.method) => Reason::MethodNotAllowed,
        (_, Err(reason)) => reason,
        (Some(found), _) if on_disk && matches!(found.reason, Reason::MissAbsent | Reason::OnlyIfCached) => {
            Reason::HitDisk
        }
        (Some(found), _) => found.reason,
        (None, Ok(_)) => Reason::Internal,
    };
    let conditions = if class.is_ok() { Conditions::None } else { Conditions::Viewer };
    let want = Want { conditions, way: ParentWay::of(class), upgrade: None, interims: None };
    Some(Explanation {
        distribution: distribution.id().to_string(),
        behavior: behavior.pattern().as_str().to_owned(),
        path: asked.path().to_owned(),
        allowed: behavior.allows(&asked.method),
        wants_signature: behavior.trusted_keys().is_some(),
        viewer_request: behavior.spec().viewer_request.clone(),
        cache_policy: behavior.cache_policy().clone(),
        key: class.is_ok().then(|| head.key_parts()),
        prospect,
        on_disk,
        reason,
        target: behavior.target().to_owned(),
        group: distribution.group(behavior.target()).cloned(),
        fails_over: RequestKind::of(&asked.method, asked.behavior()).fails_over(),
        parents: if class.is_ok() { parents(node, &asked) } else { Vec::new() },
        origins: origins(node, &asked, want),
    })
}

fn parents(node: &Node, asked: &Asked) -> Vec<ParentProspect> {
    let (origin, now) = (asked.origins().next(), node.clock.now());
    let all = node.parents.iter().enumerate().map(|(place, parent)| {
        let passed_by = if !origin.is_some_and(|origin| parent.tier.may_be_asked_for(origin)) {
            Some("the origin is not shielded")
        } else if !node.is_worth_asking(place, now) {
            Some("it was silent a moment ago and is left alone")
        } else {
            None
        };
        ParentProspect { tier: parent.tier, address: parent.address.to_string(), passed_by }
    });
    all.collect()
}

fn origins(node: &Node, asked: &Asked, want: Want<'_>) -> Vec<OriginProspect> {
    let all = asked.origins().enumerate().map(|(member, origin)| {
        let sent = outgoing(node, asked, want, origin);
        let mut headers = sent.headers;
        headers.remove("x-amz-cf-id");
        let host = headers.remove(http::header::HOST);
        OriginProspect {
            id: asked.origin_id(member).unwrap_or_default().to_owned(),
            address: peer_of(node, asked, member).map(|peer| peer.address.to_string()),
            https: origin.protocol.wants_https(asked.viewer.https),
            host: host.and_then(|host| host.to_str().map(str::to_owned).ok()).unwrap_or_default(),
            target: sent.target.to_string(),
            headers,
            connection_attempts: origin.connection_attempts,
            connection_timeout: origin.connection_timeout,
            response_timeout: origin.response_timeout,
        }
    });
    all.collect()
}
