//! Settings of the router, of edges and of the outside, with their defaults and bounds.

use std::{collections::BTreeMap, ops::RangeInclusive, path::PathBuf, sync::Arc, time::Duration};

use cdn_core::{
    distribution::Distribution,
    eviction::EvictionPolicy,
    health::quorum::QuorumOptions,
    realtime_log::{self, RealtimeLog, RealtimeLogError},
    routing::{KeptOptions, ProgramOptions},
    store::admission::AdmissionPolicy,
};
use edge_node::{Compression, FunctionLimits};
use ipnet::Ipv6Net;
use router::PrefixFile;
use world::{Access, Atlas, Matrix, World, WorldOptions};

use super::{Inputs, functions::function_limits_of};
use crate::{
    authority::LEAF_SPAN,
    cluster_file::{ClusterFile, DecisionLogFile, EdgeFile, RealtimeLogFile},
    diagnose::{KeyError, nearest_or_all},
    ipv6::{self, Ipv6Setting},
    quantity::{ByteCount, Span},
};

/// So that its segments are long and its label is small beside them.
const DISK_BYTES_MIN: u64 = 16 << 20;

/// Settings of the router, with defaults.
#[derive(Clone, Debug)]
pub(crate) struct RouterPlan {
    /// How long resolvers may keep an answer.
    pub(crate) ttl: Duration,
    /// Addresses per answer.
    pub(crate) answers: usize,
    /// Time between probes.
    pub(crate) probe_interval: Duration,
    /// Time after which a probe has failed.
    pub(crate) probe_timeout: Duration,
    /// Failures in a row that make an edge down.
    pub(crate) down_after: u32,
    /// Successes in a row that bring it back.
    pub(crate) up_after: u32,
    /// How long a PoP that was down takes until all its clients are back.
    pub(crate) ramp: Duration,
    /// How opinions of several routers become one verdict.
    pub(crate) quorum: QuorumOptions,
    /// Share of answers that try the runner-up.
    pub(crate) explore: f64,
    /// How long HTTP routing keeps clients where they are.
    pub(crate) sticky: Option<Duration>,
    /// What is kept of snapshots that were replaced.
    pub(crate) kept: KeptOptions,
    /// A routing policy of the user's own.
    pub(crate) program: Option<ProgramPlan>,
    /// Where client networks come from, beside the world's own.
    pub(crate) prefixes: Option<PrefixFile>,
}

/// A routing policy that is a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProgramPlan {
    /// A command line for the shell, or `wasm:FILE`.
    pub(crate) line: String,
    /// Where it is started; where we are if that is not said.
    pub(crate) dir: Option<PathBuf>,
    /// How it is asked.
    pub(crate) options: ProgramOptions,
    /// What it may use where it is WebAssembly.
    pub(crate) wasm: WasmRations,
}

/// What a module of WebAssembly may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WasmRations {
    /// Instructions of a call, about.
    pub(crate) fuel: u64,
    /// Memory.
    pub(crate) memory_bytes: u64,
}

impl Default for WasmRations {
    fn default() -> Self {
        Self { fuel: 10_000_000, memory_bytes: 64 << 20 }
    }
}

/// Settings of edges, with defaults.
#[derive(Clone, Debug)]
pub(crate) struct EdgePlan {
    /// Bytes in the store.
    pub(crate) cache_bytes: u64,
    /// Largest stored response.
    pub(crate) object_bytes: u64,
    /// Bytes of bodies in memory beside the store.
    pub(crate) inflight_bytes: u64,
    /// Who goes when the store is full.
    pub(crate) eviction: EvictionPolicy,
    /// Which responses stay once they have arrived.
    pub(crate) admission: AdmissionPolicy,
    /// Bytes of the disk tier, where there is one.
    pub(crate) disk: Option<u64>,
    /// Open client connections.
    pub(crate) connections: usize,
    /// Whether edges speak HTTPS.
    pub(crate) https: bool,
    /// Whether edges speak HTTP/2 without it.
    pub(crate) plain_http2: bool,
    /// How long their certificates are good.
    pub(crate) certificate_span: Duration,
    /// Time for a request head.
    pub(crate) header_timeout: Duration,
    /// Longest pause in a request body.
    pub(crate) body_timeout: Duration,
    /// Time to finish when stopping.
    pub(crate) drain_grace: Duration,
    /// Levels of compression, and how much of it at once.
    pub(crate) compression: Compression,
    /// What a call of a viewer function may take.
    pub(crate) functions: FunctionLimits,
    /// Where there is a decision log, its limits.
    pub(crate) decision_log: Option<DecisionLogPlan>,
}

/// Limits of a decision log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DecisionLogPlan {
    /// Largest size of the file.
    pub(crate) bytes: u64,
    /// Lines that may wait.
    pub(crate) queue: usize,
}

/// Seed of the world.
pub(crate) fn seed_of(file: &ClusterFile) -> u64 {
    file.seed.unwrap_or(1)
}

/// The outside of a file: seed, access network, matrix.
///
/// # Errors
/// An unknown access network, or a matrix with a wrong line.
pub(crate) fn world_of(file: &ClusterFile, inputs: &Inputs) -> Result<World, KeyError> {
    let atlas = Atlas::embedded();
    let access = match &file.world.access {
        Some(name) => name.parse::<Access>().map_err(|error| {
            let hint = nearest_or_all(name, Access::ALL.iter().map(|access| access.as_str()));
            KeyError { hint, ..KeyError::new("world.access", error.to_string()) }
        })?,
        None => Access::Fiber,
    };
    let matrix = match &inputs.matrix {
        Some(text) => {
            Some(Matrix::parse(atlas, text).map_err(|error| KeyError::new("world.matrix", error.to_string()))?)
        }
        None => None,
    };
    let options = WorldOptions {
        seed: seed_of(file),
        access,
        matrix,
        jitter: file.world.jitter.unwrap_or(false),
        loss: file.world.loss.unwrap_or(false),
        ..WorldOptions::default()
    };
    Ok(World::new(atlas, options))
}

pub(super) fn router_of(file: &ClusterFile) -> Result<RouterPlan, KeyError> {
    let written = &file.router;
    let span = |key: &str, written: Option<Span>, default: Duration, least: Duration, most: Duration| match written {
        Some(Span(span)) if span < least || span > most => Err(KeyError::new(
            &format!("router.{key}"),
            format!("{} is not between {} and {}", Span(span), Span(least), Span(most)),
        )),
        Some(Span(span)) => Ok(span),
        None => Ok(default),
    };
    let (ms, s) = (Duration::from_millis, Duration::from_secs);
    let count = |key: &str, written: Option<u32>, default: u32| match written {
        Some(0) => Err(KeyError::new(&format!("router.{key}"), "it is at least 1")),
        Some(n) => Ok(n),
        None => Ok(default),
    };
    let explore = written.explore.unwrap_or(0.02);
    if !(0.0..=1.0).contains(&explore) {
        return Err(KeyError::new("router.explore", "a share is between 0 and 1"));
    }
    let answers = written.answers.unwrap_or(2);
    if !(1..=8).contains(&answers) {
        return Err(KeyError::new("router.answers", "1 to 8 addresses per answer"));
    }
    let probe_interval = span("probe_interval", written.probe_interval, s(1), ms(50), s(600))?;
    let quorum = match written.quorum {
        Some(0) => return Err(KeyError::new("router.quorum", "it is at least 1")),
        quorum => quorum,
    };
    // An opinion is old after two probe intervals, but not before its repetition had time to cross the world, and not so
    // late that the last word of a dead router holds up the others.
    let quorum = QuorumOptions { quorum, fresh_for: (probe_interval * 2).clamp(s(1), s(2)) };
    let prefixes = match (&written.geoip, &written.prefixes) {
        (Some(_), Some(_)) => {
            return Err(KeyError::new(
                "router.prefixes",
                "client networks come from one file, and geoip names another",
            ));
        }
        (Some(path), None) => Some(PrefixFile::MaxMind(path.clone())),
        (None, Some(path)) => Some(PrefixFile::Csv(path.clone())),
        (None, None) => None,
    };
    let asked = ProgramOptions::default();
    let program_options = ProgramOptions {
        deadline: span("program_deadline", written.program_deadline, asked.deadline, ms(1), s(10))?,
        patience: span("program_patience", written.program_patience, asked.patience, ms(10), s(60))?,
        interval: span("program_interval", written.program_interval, asked.interval, ms(50), s(3600))?,
        networks_max: written.program_networks.unwrap_or(asked.networks_max),
        ..asked
    };
    let program = match &written.program {
        Some(line) if line.trim().is_empty() => {
            return Err(KeyError::new("router.program", "it is empty").hint("program = \"python3 router.py\""));
        }
        line => {
            let defaults = WasmRations::default();
            let wasm = WasmRations {
                fuel: written.program_fuel.unwrap_or(defaults.fuel),
                memory_bytes: written.program_memory.map_or(defaults.memory_bytes, |bytes| bytes.0),
            };
            let dir = written.program_dir.clone();
            line.clone().map(|line| ProgramPlan { line, dir, options: program_options, wasm })
        }
    };
    let mut kept = KeptOptions::default();
    kept.snapshots_max = written.replay_snapshots.unwrap_or(kept.snapshots_max);
    if kept.snapshots_max == 0 {
        return Err(KeyError::new("router.replay_snapshots", "it is at least 1: the one that answers come from"));
    }
    if let Some(bytes) = written.replay_bytes {
        kept.bytes_max = usize::try_from(bytes.0).unwrap_or(usize::MAX);
    }
    Ok(RouterPlan {
        ttl: span("ttl", written.ttl, s(60), s(0), s(86_400))?,
        answers,
        probe_interval,
        probe_timeout: span("probe_timeout", written.probe_timeout, ms(800), ms(10), s(600))?,
        down_after: count("down_after", written.down_after, 14)?,
        up_after: count("up_after", written.up_after, 2)?,
        ramp: span("ramp", written.ramp, s(10), s(0), s(3600))?,
        quorum,
        explore,
        sticky: match written.sticky {
            Some(_) => Some(span("sticky", written.sticky, s(300), s(1), s(86_400))?),
            None => None,
        },
        kept,
        program,
        prefixes,
    })
}

/// Settings of edges, with defaults.
///
/// # Errors
/// A bound that makes no sense.
pub(crate) fn edge_of(file: &ClusterFile) -> Result<EdgePlan, KeyError> {
    let written = &file.edge;
    let plan = EdgePlan {
        cache_bytes: written.cache_bytes.map_or(256 << 20, |bytes| bytes.0),
        object_bytes: written.object_bytes.map_or(64 << 20, |bytes| bytes.0),
        inflight_bytes: written.inflight_bytes.map_or(256 << 20, |bytes| bytes.0),
        eviction: choice(
            "edge.eviction",
            written.eviction.as_deref(),
            EvictionPolicy::OF_STORES,
            EvictionPolicy::as_str,
        )?,
        admission: choice(
            "edge.admission",
            written.admission.as_deref(),
            AdmissionPolicy::ALL,
            AdmissionPolicy::as_str,
        )?,
        disk: written.disk.map(|bytes| bytes.0),
        connections: written.connections.unwrap_or(20_000),
        https: written.https.unwrap_or(true),
        plain_http2: written.plain_http2.unwrap_or(true),
        certificate_span: written.certificate_span.map_or(LEAF_SPAN, |span| span.0),
        header_timeout: written.header_timeout.map_or(Duration::from_secs(10), |span| span.0),
        body_timeout: written.body_timeout.map_or(Duration::from_secs(30), |span| span.0),
        drain_grace: written.drain_grace.map_or(Duration::from_secs(5), |span| span.0),
        compression: compression_of(written)?,
        functions: function_limits_of(file)?,
        decision_log: written.decision_log.as_ref().map(decision_log_of).transpose()?,
    };
    if plan.certificate_span < Duration::from_secs(1) {
        return Err(KeyError::new("edge.certificate_span", "a certificate must be good for a second at least"));
    }
    if plan.connections == 0 {
        return Err(KeyError::new("edge.connections", "an edge needs at least one connection"));
    }
    if let Some(bytes) = plan.disk.filter(|&bytes| bytes < DISK_BYTES_MIN) {
        let (asked, least) = (ByteCount(bytes), ByteCount(DISK_BYTES_MIN));
        return Err(KeyError::new("edge.disk", format!("{asked} is less than the {least} that a disk tier needs"))
            .hint("without the key there is no disk tier"));
    }
    if plan.inflight_bytes == 0 {
        return Err(KeyError::new("edge.inflight_bytes", "without any, no miss could be answered"));
    }
    if plan.object_bytes > plan.cache_bytes {
        return Err(KeyError::new("edge.object_bytes", "one object cannot be larger than the whole store"));
    }
    Ok(plan)
}

/// Where edges listen for IPv6.
///
/// # Errors
/// A word, or a network that machines may be reached by from afar, or one without room for clients.
pub(crate) fn ipv6_of(file: &ClusterFile) -> Result<Ipv6Setting, KeyError> {
    let refuse = |what: String| {
        Err(KeyError::new("edge.ipv6", what).hint(format!("`auto`, `off`, or a network such as {}", ipv6::NETWORK)))
    };
    match file.edge.ipv6.as_deref() {
        None | Some("auto") => Ok(Ipv6Setting::Auto),
        Some("off") => Ok(Ipv6Setting::Off),
        Some(text) => match text.parse::<Ipv6Net>() {
            Err(_) => refuse(format!("{text:?} is no network")),
            Ok(net) if !net.addr().is_unique_local() => {
                refuse(format!("{net} is not within fc00::/7, where addresses are of this machine alone"))
            }
            Ok(net) if net.prefix_len() > ipv6::PREFIX_LEN_MAX => {
                refuse(format!("{net} leaves no room for clients: at most {} bits", ipv6::PREFIX_LEN_MAX))
            }
            Ok(net) => Ok(Ipv6Setting::In(net.trunc())),
        },
    }
}

fn decision_log_of(written: &DecisionLogFile) -> Result<DecisionLogPlan, KeyError> {
    let bytes = written.bytes.map_or(64 << 20, |bytes| bytes.0);
    if bytes < 4096 {
        return Err(KeyError::new("edge.decision_log.bytes", "it is at least 4KiB"));
    }
    let queue = written.queue.unwrap_or(16_384);
    if !(1..=1 << 20).contains(&queue) {
        return Err(KeyError::new("edge.decision_log.queue", "1 to 1048576 lines may wait"));
    }
    Ok(DecisionLogPlan { bytes, queue })
}

fn compression_of(written: &EdgeFile) -> Result<Compression, KeyError> {
    let level = |key: &str, written: Option<u8>, default: u8, levels: RangeInclusive<u8>| match written {
        Some(level) if !levels.contains(&level) => Err(KeyError::new(
            &format!("edge.{key}"),
            format!("{level} is not between {} and {}", levels.start(), levels.end()),
        )),
        Some(level) => Ok(level),
        None => Ok(default),
    };
    let Compression { gzip_level, brotli_level, zstd_level, at_once_max } = Compression::default();
    Ok(Compression {
        gzip_level: level("gzip_level", written.gzip_level, gzip_level, Compression::GZIP_LEVELS)?,
        brotli_level: level("brotli_level", written.brotli_level, brotli_level, Compression::BROTLI_LEVELS)?,
        zstd_level: level("zstd_level", written.zstd_level, zstd_level, Compression::ZSTD_LEVELS)?,
        at_once_max: written.compressions.unwrap_or(at_once_max),
    })
}

/// The choice that is written at `key` by its name, else the default.
pub(super) fn choice<T: Copy + Default, const N: usize>(
    key: &str,
    written: Option<&str>,
    all: [T; N],
    name_of: fn(T) -> &'static str,
) -> Result<T, KeyError> {
    let Some(written) = written else { return Ok(T::default()) };
    all.into_iter().find(|one| name_of(*one) == written).ok_or_else(|| {
        let hint = nearest_or_all(written, all.map(name_of));
        KeyError { hint, ..KeyError::new(key, format!("no {written:?} here")) }
    })
}

/// What a log line may come from: the access log, viewer functions, and the crates that log.
const LOG_TARGETS: [&str; 13] = [
    "access",
    "cdn_core",
    "control_plane",
    "edge_node",
    "function",
    "h2",
    "hyper",
    "hyper_util",
    "isochrone",
    "origin_sim",
    "router",
    "viewer",
    "wan",
];
const LOG_LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// What nodes log: a level, or levels by target, as `info,access=debug`. A bare word that is no level would be taken for
/// a target by the filter, and switch everything else off.
pub(super) fn log_level_of(file: &ClusterFile) -> Result<String, KeyError> {
    let level = file.log.level.clone().unwrap_or_else(|| "info".into());
    // The filter would take white space for a part of the name.
    let level: String = level.chars().filter(|c| !c.is_whitespace()).collect();
    for part in level.split(',') {
        let (target, word) = part.split_once('=').map_or((None, part), |(target, word)| (Some(target), word));
        let refuse = |what: String, hint| Err(KeyError { hint, ..KeyError::new("log.level", what) });
        if !LOG_LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word)) {
            return refuse(format!("no level {word:?}"), nearest_or_all(word, LOG_LEVELS));
        }
        let Some(target) = target else { continue };
        let root = target.split("::").next().unwrap_or(target);
        if !LOG_TARGETS.contains(&root) {
            return refuse(format!("nothing logs as {target:?}"), nearest_or_all(root, LOG_TARGETS));
        }
    }
    match level.parse::<tracing_subscriber::filter::Targets>() {
        Ok(_) => Ok(level),
        Err(error) => Err(KeyError::new("log.level", format!("{level:?} is no filter: {error}"))
            .hint("a level (error, warn, info, debug, trace), or levels by target: info,access=debug")),
    }
}

/// Secrets by access key id.
pub(super) fn aws_keys_of(file: &ClusterFile) -> Result<BTreeMap<String, String>, KeyError> {
    for (id, secret) in &file.aws.keys {
        let key = format!("aws.keys.{id}");
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)) {
            return Err(KeyError::new("aws.keys", format!("{id:?} is no access key id: letters, digits, - and _")));
        }
        if secret.is_empty() {
            return Err(KeyError::new(&key, "a secret that is empty keeps nobody out"));
        }
    }
    Ok(file.aws.keys.iter().map(|(id, secret)| (id.clone(), secret.clone())).collect())
}

/// Real-time logs, by the id of their distribution.
pub(super) fn realtime_logs_of(
    file: &ClusterFile,
    distributions: &[Arc<Distribution>],
) -> Result<BTreeMap<String, Arc<RealtimeLog>>, KeyError> {
    let log_of = |(id, written): (&String, &RealtimeLogFile)| {
        let key = format!("log.realtime.{id}");
        if !distributions.iter().any(|one| **one.id() == **id) {
            let hint = nearest_or_all(id, distributions.iter().map(|one| one.id().as_ref()));
            return Err(KeyError { hint, ..KeyError::new(&key, format!("this world has no distribution {id:?}")) });
        }
        let names = written.fields.iter().flatten().map(String::as_str);
        let all = realtime_log::FIELDS.iter().copied().filter(|_| written.fields.is_none());
        let log = RealtimeLog::new(names.chain(all), written.sampling_percent.unwrap_or(100)).map_err(|error| {
            let field = match &error {
                RealtimeLogError::SamplingPercent(_) => "sampling_percent".to_owned(),
                RealtimeLogError::NoField => "fields".to_owned(),
                RealtimeLogError::UnknownField { at, .. } | RealtimeLogError::Twice { at, .. } => {
                    format!("fields.{at}")
                }
            };
            let hint = match &error {
                RealtimeLogError::UnknownField { name, .. } => nearest_or_all(name, realtime_log::FIELDS),
                _ => None,
            };
            KeyError { hint, ..KeyError::new(&format!("{key}.{field}"), error.to_string()) }
        })?;
        Ok((id.clone(), Arc::new(log)))
    };
    file.log.realtime.iter().map(log_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_compression_have_defaults_and_bounds() {
        let checked = |change: fn(&mut EdgeFile)| {
            let mut file = EdgeFile::default();
            change(&mut file);
            compression_of(&file).map_err(|error| format!("{}: {error}", error.key.join(".")))
        };
        assert_eq!(checked(|_| {}), Ok(Compression::default()));
        let changed = checked(|file| (file.gzip_level, file.compressions) = (Some(1), Some(0))).unwrap();
        assert_eq!((changed.gzip_level, changed.at_once_max), (1, 0));
        for (refused, expected) in [
            (checked(|file| file.gzip_level = Some(10)), "edge.gzip_level: 10 is not between 1 and 9"),
            (checked(|file| file.brotli_level = Some(7)), "edge.brotli_level: 7 is not between 0 and 6"),
            (checked(|file| file.zstd_level = Some(0)), "edge.zstd_level: 0 is not between 1 and 9"),
        ] {
            assert_eq!(refused.unwrap_err(), expected);
        }
    }

    #[test]
    fn a_decision_log_is_asked_for_and_bounded() {
        let checked = |toml: &str| {
            let file: ClusterFile = toml::from_str(&format!("[edge]\n{toml}")).unwrap();
            edge_of(&file).map(|plan| plan.decision_log).map_err(|error| error.key.join("."))
        };
        assert_eq!(checked(""), Ok(None));
        let expected = DecisionLogPlan { bytes: 64 << 20, queue: 16_384 };
        assert_eq!(checked("decision_log = {}"), Ok(Some(expected)));
        let refused = |toml| checked(toml).unwrap_err();
        assert_eq!(refused("decision_log = { bytes = \"1\" }"), "edge.decision_log.bytes");
        assert_eq!(refused("decision_log = { queue = 0 }"), "edge.decision_log.queue");
    }

    fn log_level(level: &str) -> Result<String, String> {
        let mut file = ClusterFile::default();
        file.log.level = Some(level.into());
        log_level_of(&file).map_err(|error| error.to_string())
    }

    #[test]
    fn log_levels_are_words_that_exist() {
        for level in ["info", "WARN", "info,access=debug", "off,edge_node::store=trace"] {
            assert_eq!(log_level(level).as_deref(), Ok(level));
        }
        assert_eq!(log_level(" off, access = info").as_deref(), Ok("off,access=info"));
        for (level, says) in [
            ("noisy", "no level \"noisy\"; there are off, error, warn, info, debug, trace"),
            ("inf", "no level \"inf\"; did you mean `info`?"),
            ("info,acess=debug", "nothing logs as \"acess\"; did you mean `access`?"),
            ("info,access=loud", "no level \"loud\""),
            ("", "no level \"\""),
        ] {
            let error = log_level(level).unwrap_err();
            assert!(error.starts_with(says), "{level}: {error}");
        }
    }
}
