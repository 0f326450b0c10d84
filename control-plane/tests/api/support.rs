//! A control plane of a small world, a client of it, and its fake hands.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use cdn_core::{NodeId, PopCode};
use control_plane::{
    Config, ControlPlane, DescribedPolicy, DistributionInfo, Handle, Hands, HandsError, HandsFuture, KeyGroups, Limits,
    LinkFault, LogsWanted, NodeFault, NodeInfo, Policies, PolicyFamily, SiteInfo,
    ask::{DigAsk, RequestAsk, RouteAsk},
    desired::Fault,
    wire::{Addresses, Health, LinkMeasure, LinksReport, LogLine, StoreStats},
};
use futures_util::{StreamExt as _, stream, stream::BoxStream};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};
use world::SiteId;

/// A public key.
pub(crate) const KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE+g4BAVc3kFhjwpPdo3E6rfRso5eO
WVmk8Wj2Zwt2BVkLfw4xtCcVYazbQVdU9jx6JwaVIsPJGkcXDGG+w0jO3Q==
-----END PUBLIC KEY-----
";

pub(crate) const TOKEN: &str = "0123456789abcdef";
const DEADLINE: Duration = Duration::from_secs(10);

/// Remembers what it was asked, and does nothing.
#[derive(Default)]
pub(crate) struct Fake {
    did: Mutex<Vec<String>>,
    fails: Mutex<Vec<(String, HandsError)>>,
    hangs: Mutex<Option<String>>,
}

impl Fake {
    pub(crate) fn did(&self) -> Vec<String> {
        self.did.lock().unwrap().clone()
    }

    /// From now on, what begins with `what` fails.
    pub(crate) fn fail(&self, what: &str, error: HandsError) {
        self.fails.lock().unwrap().push((what.into(), error));
    }

    /// From now on, what begins with `what` is asked and never done.
    pub(crate) fn hang(&self, what: &str) {
        *self.hangs.lock().unwrap() = Some(what.into());
    }

    pub(crate) fn recover(&self) {
        self.fails.lock().unwrap().clear();
    }

    fn answer<T: Send + 'static>(&self, what: String, value: T) -> HandsFuture<'_, T> {
        let failure =
            self.fails.lock().unwrap().iter().find(|(prefix, _)| what.starts_with(prefix)).map(|(_, e)| e.clone());
        let hangs = self.hangs.lock().unwrap().as_ref().is_some_and(|prefix| what.starts_with(prefix));
        self.did.lock().unwrap().push(what);
        Box::pin(async move {
            if hangs {
                return std::future::pending().await;
            }
            failure.map_or(Ok(value), Err)
        })
    }
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

impl Hands for Fake {
    fn kill<'a>(&'a self, node: &'a NodeId) -> HandsFuture<'a, ()> {
        self.answer(format!("kill {node}"), ())
    }

    fn start<'a>(&'a self, node: &'a NodeId) -> HandsFuture<'a, ()> {
        self.answer(format!("start {node}"), ())
    }

    fn pause<'a>(&'a self, node: &'a NodeId) -> HandsFuture<'a, ()> {
        self.answer(format!("pause {node}"), ())
    }

    fn resume<'a>(&'a self, node: &'a NodeId) -> HandsFuture<'a, ()> {
        self.answer(format!("resume {node}"), ())
    }

    fn apply_link_faults<'a>(&'a self, faults: &'a [LinkFault]) -> HandsFuture<'a, ()> {
        self.answer(format!("links [{}]", list(faults.iter().cloned().map(Fault::Link))), ())
    }

    fn apply_node_faults<'a>(&'a self, faults: &'a [NodeFault]) -> HandsFuture<'a, ()> {
        self.answer(format!("faults [{}]", list(faults.iter().cloned().map(Fault::Node))), ())
    }

    fn set_drained<'a>(&'a self, pops: &'a [PopCode]) -> HandsFuture<'a, ()> {
        self.answer(format!("drained [{}]", list(pops)), ())
    }

    fn set_policies<'a>(&'a self, policies: &'a Policies) -> HandsFuture<'a, ()> {
        let own = policies.of_distributions.iter().map(|(id, policy)| format!("{id} {}", policy.as_str()));
        let all = std::iter::once(policies.world.as_str().to_owned()).chain(own);
        self.answer(format!("policies [{}]", list(all)), ())
    }

    fn set_key_groups<'a>(&'a self, groups: &'a KeyGroups) -> HandsFuture<'a, ()> {
        let groups = groups.iter().map(|(id, keys)| format!("{id}: {}", list(keys.keys())));
        self.answer(format!("keys [{}]", list(groups)), ())
    }

    fn configure<'a>(&'a self, node: &'a NodeId, config: Option<&'a Value>) -> HandsFuture<'a, ()> {
        let config = config.map_or_else(|| "as it began".to_owned(), ToString::to_string);
        self.answer(format!("configure {node}: {config}"), ())
    }

    fn distributions<'a>(&'a self, config: Option<&'a Value>) -> HandsFuture<'a, BTreeMap<String, Value>> {
        let config = config.map_or_else(distribution_config, |config| config["E2DEMO"].clone());
        self.answer("describe".into(), BTreeMap::from([("E2DEMO".to_owned(), config)]))
    }

    fn policies<'a>(&'a self, _: Option<&'a Value>) -> HandsFuture<'a, Vec<DescribedPolicy>> {
        let policy = |family: PolicyFamily, id: &str, is_managed, config| {
            let id = id.to_owned();
            DescribedPolicy { family, id, is_managed, config }
        };
        let names = json!({ "Quantity": 1, "Items": ["X-A"] });
        let headers = json!({ "HeaderBehavior": "whitelist", "Headers": names });
        let lines = json!({ "Quantity": 1, "Items": [{ "Header": "X-B", "Value": "1", "Override": true }] });
        let cors = json!({ "AccessControlAllowOrigins": names, "AccessControlAllowHeaders": names,
            "AccessControlAllowMethods": names, "AccessControlExposeHeaders": names });
        self.answer(
            "policies".into(),
            vec![
                policy(PolicyFamily::Cache, "c1", true, json!({ "Name": "Managed-One", "MinTTL": 1 })),
                policy(
                    PolicyFamily::Cache,
                    "658327ea-f89d-4fab-a63d-7e88639e58f6",
                    true,
                    json!({ "Name": "Managed-Named" }),
                ),
                policy(PolicyFamily::Cache, "c2", false, json!({ "Name": "two", "MinTTL": 2 })),
                policy(PolicyFamily::OriginRequest, "o1", false, json!({ "Name": "three", "HeadersConfig": headers })),
                policy(
                    PolicyFamily::ResponseHeaders,
                    "r1",
                    false,
                    json!({ "Name": "four", "CorsConfig": cors, "CustomHeadersConfig": lines }),
                ),
            ],
        )
    }

    /// Knows of comments alone.
    fn update_distribution<'a>(&'a self, _: Option<&'a Value>, id: &'a str, wanted: &'a str) -> HandsFuture<'a, Value> {
        let comment =
            wanted.split_once("<Comment>").and_then(|(_, rest)| rest.split_once('<')).map(|(comment, _)| comment);
        let mut config = distribution_config();
        config["Comment"] = comment.into();
        self.answer(format!("update {id}: {}", comment.unwrap_or_default()), json!({ "E2DEMO": config }))
    }

    fn invalidate<'a>(
        &'a self,
        node: &'a NodeId,
        distribution: Option<&'a str>,
        patterns: &'a [String],
    ) -> HandsFuture<'a, u64> {
        self.answer(format!("invalidate {node} {} {}", distribution.unwrap_or("*"), patterns.join(" ")), 3)
    }

    fn metrics<'a>(&'a self, node: &'a NodeId) -> HandsFuture<'a, String> {
        let text = "# HELP iso_edge_requests_total requests received\n# TYPE iso_edge_requests_total counter\n\
                    iso_edge_requests_total{} 3\n";
        self.answer(format!("metrics {node}"), text.to_owned())
    }

    fn explain_route<'a>(&'a self, ask: &'a RouteAsk) -> HandsFuture<'a, Value> {
        self.answer(format!("explain {}", ask.from), serde_json::to_value(ask).unwrap())
    }

    fn explain_request<'a>(&'a self, ask: &'a RequestAsk) -> HandsFuture<'a, Value> {
        self.answer(format!("explain {} from {}", ask.url, ask.from), serde_json::to_value(ask).unwrap())
    }

    fn replay_route<'a>(&'a self, decision: &'a str) -> HandsFuture<'a, Value> {
        self.answer(format!("replay {decision}"), json!({ "decision": decision }))
    }

    fn cache_where<'a>(&'a self, node: &'a NodeId, _: Option<&'a str>, path: &'a str) -> HandsFuture<'a, Value> {
        self.answer(format!("cache {node} {path}"), json!([{ "state": "fresh" }]))
    }

    fn cache_show<'a>(&'a self, node: &'a NodeId, _: Option<&'a str>, path: &'a str) -> HandsFuture<'a, Value> {
        self.answer(format!("show {node} {path}"), json!([{ "state": "fresh", "headers": [] }]))
    }

    fn cache_stats<'a>(&'a self, node: &'a NodeId) -> HandsFuture<'a, StoreStats> {
        let stats = StoreStats { hits: 3, misses: 1, hit_ratio: Some(0.75), ..StoreStats::default() };
        self.answer(format!("stats {node}"), stats)
    }

    fn ledger<'a>(&'a self, id: &'a str) -> HandsFuture<'a, Value> {
        self.answer(format!("ledger {id}"), json!({ "id": id }))
    }

    fn dig<'a>(&'a self, ask: &'a DigAsk) -> HandsFuture<'a, Value> {
        self.answer(format!("dig {}", ask.name), serde_json::to_value(ask).unwrap())
    }

    fn logs(&self, wanted: LogsWanted) -> HandsFuture<'_, BoxStream<'static, LogLine>> {
        let node = wanted.nodes[0].to_string();
        let lines = stream::iter(["one", "two"]).map(move |text| LogLine { node: node.clone(), text: text.into() });
        let lines = if wanted.follow { lines.chain(stream::pending()).boxed() } else { lines.boxed() };
        self.answer(format!("logs {} tail {} follow {}", list(&wanted.nodes), wanted.tail, wanted.follow), lines)
    }

    fn measure_links(&self) -> HandsFuture<'_, LinksReport> {
        self.answer("measure".into(), links())
    }

    fn shutdown(&self) -> HandsFuture<'_, ()> {
        self.answer("shutdown".into(), ())
    }
}

/// A distribution as `get-distribution-config` prints it.
pub(crate) fn distribution_config() -> Value {
    let printed = include_str!("../../../examples/cloudfront/get-distribution-config.json");
    serde_json::from_str::<Value>(printed).unwrap()["DistributionConfig"].take()
}

pub(crate) fn links() -> LinksReport {
    let link = LinkMeasure { from: "fra".into(), to: "iad".into(), asked_ms: 90.0, measured_ms: 90.5, error_ms: 0.5 };
    LinksReport { links: vec![link], unmeasured: Vec::new() }
}

/// A running control plane; stops when dropped.
pub(crate) struct World {
    pub(crate) base: String,
    pub(crate) port: u16,
    pub(crate) handle: Handle,
    pub(crate) hands: Arc<Fake>,
    pub(crate) client: reqwest::Client,
    pub(crate) stop: CancellationToken,
    _stop: DropGuard,
}

impl World {
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let hands = Arc::new(Fake::default());
        let mut config = config();
        change(&mut config);
        let (plane, handle) = ControlPlane::build(config, listener, hands.clone()).unwrap();
        let (base, port) = (format!("http://{}", plane.address()), plane.address().port());
        let stop = CancellationToken::new();
        tokio::spawn(plane.serve(stop.clone()));
        let client = reqwest::Client::builder().timeout(DEADLINE).no_proxy().build().unwrap();
        Self { base, port, handle, hands, client, _stop: stop.clone().drop_guard(), stop }
    }

    /// Every node runs and is up.
    pub(crate) async fn up() -> Self {
        Self::up_with(|_| {}).await
    }

    /// The same in a world that is another one.
    pub(crate) async fn up_with(change: impl FnOnce(&mut Config)) -> Self {
        let world = Self::with(change).await;
        for (pid, info) in (1000..).zip(config().nodes) {
            world.start(&info.id.to_string(), pid);
        }
        world
    }

    pub(crate) fn start(&self, node: &str, pid: u32) {
        let addresses = Addresses { http: Some("127.77.0.1:4480".into()), ..Addresses::default() };
        self.handle.node_started(&id(node), pid, addresses);
        self.handle.node_health(&id(node), Health::Up);
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base)).bearer_auth(TOKEN)
    }

    /// Sends and answers status and document.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let request = self.request(method, path);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let response = request.send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: not JSON: {text}")))
    }

    /// A document of a request that succeeds.
    pub(crate) async fn get(&self, path: &str) -> Value {
        self.ok(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        self.ok(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn ok(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let (status, document) = self.send(method, path, body).await;
        assert!(status.is_success(), "{path}: {status} {document}");
        document
    }

    /// `status`, then the error's code and suggestions, of a request that is refused.
    pub(crate) async fn refused(&self, method: Method, path: &str, body: Option<Value>) -> (u16, String, Vec<String>) {
        let (status, document) = self.send(method, path, body).await;
        assert!(!status.is_success(), "{path}: {document}");
        let error: control_plane::wire::ErrorDocument = serde_json::from_value(document).unwrap();
        (status.as_u16(), error.error.code, error.error.did_you_mean)
    }

    /// What is active, as `target kind`.
    pub(crate) async fn faults(&self) -> Vec<String> {
        let faults = self.get("/v1/faults").await;
        let row = |fault: &Value| format!("{} {}", fault["target"].as_str().unwrap(), fault["kind"].as_str().unwrap());
        faults["faults"].as_array().unwrap().iter().map(row).collect()
    }

    pub(crate) async fn health(&self, node: &str) -> String {
        self.get(&format!("/v1/nodes/{node}")).await["health"].as_str().unwrap().to_owned()
    }
}

/// Waits until `holds`, but not for ever.
pub(crate) async fn wait_until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = tokio::time::Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < DEADLINE, "waited too long: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn id(node: &str) -> NodeId {
    node.parse().unwrap()
}

fn config() -> Config {
    let node = |id: &str, pop: Option<&str>, site: &str| NodeInfo {
        id: id.parse().unwrap(),
        pop: pop.map(|pop| pop.parse().unwrap()),
        site: SiteId::new(site),
        place: site.to_uppercase(),
        lat: 50.0,
        lon: 8.6,
        app: None,
        is_sealed: false,
    };
    Config {
        world: "test".into(),
        seed: 7,
        version: "1.2.3".into(),
        token: TOKEN.into(),
        dashboard_signs_in: true,
        nodes: vec![
            node("edge.fra", Some("FRA"), "fra"),
            node("edge.iad", Some("IAD"), "iad"),
            node("shield.iad", Some("IAD"), "iad"),
            node("router.iad", Some("IAD"), "iad"),
            node("origin.primary", None, "us-east-1"),
        ],
        sites: vec![SiteInfo { id: SiteId::new("tokyo"), names: vec!["Tokyo".into()] }],
        distributions: vec![DistributionInfo {
            id: "E2DEMO".into(),
            hosts: vec!["www.demo.test".into()],
            pops: vec![],
        }],
        has_program: false,
        policies: Policies::default(),
        key_groups: KeyGroups::from([("team".to_owned(), BTreeMap::from([("K1".to_owned(), KEY.to_owned())]))]),
        proxy: Some("127.0.0.1:4488".into()),
        aws_keys: BTreeMap::new(),
        limits: Limits::default(),
    }
}
