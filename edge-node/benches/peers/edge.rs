//! The edge as a process: this program again, with other arguments.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use cdn_core::{
    Counter, NodeId, Role,
    distribution::{Behavior, Diagnostics, Distribution, DistributionSpec, Origin},
    eviction::EvictionPolicy,
    policies,
    security_policy::SecurityPolicy,
    store::admission::AdmissionPolicy,
};
use edge_node::{Certificate, Compression, Config, Edge, HttpsConfig, Limits, Listeners, LogFormat, LogWriter, Tier};
use tokio_util::sync::CancellationToken;

use crate::{load::HOST, signed};

/// The word that makes this program an edge.
pub(crate) const ROLE: &str = "serve-edge";

/// How the edge is to serve.
pub(crate) struct Options {
    address: SocketAddr,
    origin: SocketAddr,
    diagnostics: bool,
    log: bool,
    two: bool,
    signed: bool,
    tls: bool,
}

/// Reads `serve-edge ADDRESS ORIGIN [diagnostics] [log] [two] [signed] [tls]`; with the last it speaks HTTPS alone, as `leaf.pem` in its directory.
pub(crate) fn options(args: &[String]) -> Option<Options> {
    match args {
        [role, address, origin, words @ ..] if role == ROLE => Some(Options {
            address: address.parse().ok()?,
            origin: origin.parse().ok()?,
            diagnostics: words.iter().any(|word| word == "diagnostics"),
            log: words.iter().any(|word| word == "log"),
            two: words.iter().any(|word| word == "two"),
            signed: words.iter().any(|word| word == "signed"),
            tls: words.iter().any(|word| word == "tls"),
        }),
        _ => None,
    }
}

/// Serves on one thread, or on `two`, until stdin ends. For each line there it says how many bytes its store counts.
pub(crate) fn serve(options: Options) {
    let log = LogWriter::stderr();
    if options.log {
        log_as_nodes_do(&log);
    }
    let config = config(&options);
    let stop = CancellationToken::new();
    let mut runtime = match options.two {
        true => tokio::runtime::Builder::new_multi_thread(),
        false => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = runtime.worker_threads(2);
    let runtime = runtime.enable_all().on_thread_park(move || log.flush()).build().expect("a runtime");
    runtime.block_on(async {
        let listener = std::net::TcpListener::bind(options.address).expect("the port is free");
        let listeners = match options.tls {
            true => Listeners { https: vec![listener], ..Listeners::default() },
            false => Listeners::from(vec![listener]),
        };
        let (edge, handle) = Edge::build(config, listeners, edge_node::tcp()).expect("a node");
        let stopped = stop.clone();
        std::thread::spawn(move || {
            for _ in std::io::stdin().lines().map_while(Result::ok) {
                println!("{}", handle.counters().value(Counter::EdgeStoreBytes));
            }
            stopped.cancel();
        });
        edge.serve(stop).await.expect("it serves");
    });
}

/// Lines on stderr, which is a file here, filtered by target: what `iso node` does.
fn log_as_nodes_do(writer: &LogWriter) {
    use tracing_subscriber::{filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _};
    let filter: Targets = "info".parse().expect("a filter");
    let lines = tracing_subscriber::fmt::layer().with_writer(writer.clone()).with_ansi(false);
    let lines = lines.event_format(LogFormat::default());
    tracing_subscriber::registry().with(lines).with(filter).init();
}

fn config(options: &Options) -> Config {
    let &Options { origin, diagnostics, signed, tls, .. } = options;
    let all = Diagnostics::default();
    let none = Diagnostics { cache_status: false, proxy_status: false, server_timing: false, reason: false };
    let policy = policies::cache_policy("CachingOptimized").expect("a managed policy");
    let origins = BTreeMap::from([("app".to_owned(), Origin { shield: false, ..Origin::new("app.test") })]);
    // What is measured is the same bytes for all.
    let behavior = Behavior { compress: false, ..Behavior::new("app", policy) };
    let trusted_key_groups = if signed { vec!["team".to_owned()] } else { vec![] };
    let behavior = Behavior { trusted_key_groups, ..behavior };
    let spec = DistributionSpec {
        aliases: vec![HOST.into()],
        key_groups: BTreeMap::from([("team".to_owned(), signed::keys())]),
        diagnostics: if diagnostics { all } else { none },
        ..DistributionSpec::new("bench", origins, behavior)
    };
    Config {
        id: NodeId::new(Role::Edge, "iad"),
        pop: "IAD".parse().expect("a code"),
        tier: Tier::Edge,
        distributions: vec![Arc::new(Distribution::new(spec).expect("a distribution"))],
        origins: BTreeMap::from([("app".to_owned(), origin.to_string().parse().expect("an authority"))]),
        https_origins: BTreeMap::new(),
        parents: vec![],
        cache_bytes_max: 1 << 30,
        object_bytes_max: 8 << 20,
        compression: Compression::default(),
        eviction: EvictionPolicy::default(),
        admission: AdmissionPolicy::default(),
        disk: None,
        https: tls.then(https),
        plain_http2: true,
        limits: Limits::default(),
        source_nat: None,
        decision_log: None,
        places: None,
        log_style: cdn_core::standard_log::LogStyle::Text,
        realtime_logs: Default::default(),
        seed: 1,
    }
}

/// With the certificate that lies in the process's directory.
fn https() -> HttpsConfig {
    let read = |name: &str| std::fs::read_to_string(name).expect("a certificate");
    let certificate = Certificate {
        names: vec![HOST.to_owned()],
        chain_pem: read("leaf.pem"),
        key_pem: read("leaf.key"),
        security_policy: SecurityPolicy::default(),
        http2: true,
        http3: false,
    };
    HttpsConfig { certificates: vec![certificate], port: 443 }
}
