//! A scenario file as typed: every key, and nothing checked beyond its type.
//!
//! The world's part has the keys of `cluster.toml`; what it says is laid over the file that `cluster` names. `[routing]`
//! is a short form of `[router]`.

use std::{fmt, path::PathBuf};

use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{
    cluster_file::{
        CachePolicyFile, ClusterFile, DistributionFile, EdgeFile, FunctionFile, GroupFile, LogFile, OriginFile,
        OriginRequestPolicyFile, ResponseHeadersPolicyFile, RouterFile, ViewerFile, WorldFile,
    },
    quantity::{Share, Span},
};

/// A scenario as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ScenarioFile {
    /// One line: what is shown. Default: the file's name.
    pub(crate) title: Option<String>,
    /// The mechanism, in a paragraph.
    pub(crate) about: Option<String>,
    /// Seed of everything random. Default 1.
    pub(crate) seed: Option<u64>,
    /// A cluster file, relative to this one, that the keys below are laid over.
    pub(crate) cluster: Option<PathBuf>,
    /// As in a cluster file.
    pub(crate) preset: Option<String>,
    pub(crate) pops: Option<Vec<String>>,
    pub(crate) shield: Option<String>,
    pub(crate) regional: Vec<String>,
    pub(crate) origins: IndexMap<String, OriginFile>,
    pub(crate) groups: IndexMap<String, GroupFile>,
    pub(crate) key_groups: IndexMap<String, IndexMap<String, PathBuf>>,
    pub(crate) cache_policies: IndexMap<String, CachePolicyFile>,
    pub(crate) origin_request_policies: IndexMap<String, OriginRequestPolicyFile>,
    pub(crate) response_headers_policies: IndexMap<String, ResponseHeadersPolicyFile>,
    pub(crate) functions: IndexMap<String, FunctionFile>,
    pub(crate) distributions: IndexMap<String, DistributionFile>,
    pub(crate) router: RouterFile,
    pub(crate) routing: RoutingFile,
    pub(crate) edge: EdgeFile,
    pub(crate) viewer: ViewerFile,
    pub(crate) world: WorldFile,
    pub(crate) log: LogFile,
    /// From time zero to the end. Default: ten seconds after the last step, at least 30s.
    pub(crate) length: Option<Span>,
    /// Load before time zero, so that caches are warm. Default 2s, or none without load.
    pub(crate) warmup: Option<Span>,
    /// One load, or several.
    pub(crate) load: Many<LoadFile>,
    /// The timeline.
    pub(crate) at: Vec<StepFile>,
    /// What must hold.
    pub(crate) expect: Vec<ExpectFile>,
}

impl ScenarioFile {
    /// The part that describes the world.
    pub(crate) fn world(&self) -> ClusterFile {
        ClusterFile {
            seed: self.seed,
            preset: self.preset.clone(),
            pops: self.pops.clone(),
            shield: self.shield.clone(),
            regional: self.regional.clone(),
            base_port: None,
            origins: self.origins.clone(),
            groups: self.groups.clone(),
            key_groups: self.key_groups.clone(),
            cache_policies: self.cache_policies.clone(),
            origin_request_policies: self.origin_request_policies.clone(),
            response_headers_policies: self.response_headers_policies.clone(),
            functions: self.functions.clone(),
            distributions: self.distributions.clone(),
            router: self.router.clone(),
            edge: self.edge.clone(),
            viewer: self.viewer.clone(),
            world: self.world.clone(),
            log: self.log.clone(),
        }
    }
}

/// `[routing]`: what a scenario most often says of routers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RoutingFile {
    /// `[router] ttl`.
    pub(crate) ttl: Option<Span>,
    /// `2s x 2`: time between probes, and failures in a row that make an edge down.
    pub(crate) health: Option<String>,
    /// `[router] answers`.
    pub(crate) answers: Option<usize>,
    /// `[router] policy`.
    pub(crate) policy: Option<String>,
}

/// One of something, or a list of it.
#[derive(Clone, Debug)]
pub(crate) struct Many<T>(pub(crate) Vec<T>);

impl<T> Default for Many<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Many<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
            type Value = Many<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one of it, or a list")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Many<T>, E> {
                T::deserialize(de::value::StrDeserializer::new(text)).map(|one| Many(vec![one]))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Many<T>, A::Error> {
                let mut all = Vec::new();
                while let Some(one) = seq.next_element()? {
                    all.push(one);
                }
                Ok(Many(all))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Many<T>, A::Error> {
                T::deserialize(de::value::MapAccessDeserializer::new(map)).map(|one| Many(vec![one]))
            }
        }
        deserializer.deserialize_any(Visitor(std::marker::PhantomData))
    }
}

/// A number, or a text with its unit: `0.3`, `"30%"`, `"120ms"`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Figure {
    /// Bare.
    Number(f64),
    /// With a unit.
    Text(String),
}

impl Figure {
    /// A share from 0 to 1.
    pub(crate) fn share(&self) -> Result<f64, String> {
        match self {
            Self::Number(number) if (0.0..=1.0).contains(number) => Ok(*number),
            Self::Number(number) => Err(format!("{number} is not a share; write 30% or 0.3")),
            Self::Text(text) => text.parse::<Share>().map(|share| share.0).map_err(|error| error.to_string()),
        }
    }

    /// Seconds.
    pub(crate) fn seconds(&self) -> Result<f64, String> {
        match self {
            Self::Number(number) => Err(format!("{number} has no unit; write 250ms, 2s or 1m")),
            Self::Text(text) => {
                text.parse::<Span>().map(|span| span.0.as_secs_f64()).map_err(|error| error.to_string())
            }
        }
    }

    /// A number that counts something.
    pub(crate) fn count(&self) -> Result<f64, String> {
        match self {
            Self::Number(number) if *number >= 0.0 && number.is_finite() => Ok(*number),
            Self::Number(number) => Err(format!("{number} counts nothing")),
            Self::Text(text) => {
                let bare = text.trim().trim_end_matches("/s").trim_end_matches("rps").trim();
                let number = bare.parse::<f64>().ok().filter(|number| *number >= 0.0 && number.is_finite());
                number.ok_or_else(|| format!("{text:?} is not a count"))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Figure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Figure;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or a text with its unit such as \"120ms\" or \"99.9%\"")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Figure, E> {
                Ok(Figure::Number(number as f64))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Figure, E> {
                Ok(Figure::Number(number as f64))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Figure, E> {
                Ok(Figure::Number(number))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Figure, E> {
                Ok(Figure::Text(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// One step: a time, one verb, and the verb's flags.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StepFile {
    /// When, from time zero.
    pub(crate) t: Option<Span>,
    /// What one types after `iso`, instead of the keys below.
    pub(crate) r#do: Option<String>,
    pub(crate) kill: Option<Many<String>>,
    pub(crate) start: Option<Many<String>>,
    pub(crate) pause: Option<Many<String>>,
    pub(crate) resume: Option<Many<String>>,
    pub(crate) fault: Option<Many<String>>,
    /// Two sites.
    pub(crate) link: Option<Many<String>>,
    pub(crate) heal: Option<Many<String>>,
    pub(crate) drain: Option<Many<String>>,
    pub(crate) undrain: Option<Many<String>>,
    pub(crate) invalidate: Option<Many<String>>,
    pub(crate) policy: Option<String>,
    /// Settings of a cluster file, laid over the world's.
    pub(crate) config: Option<toml::Table>,
    /// A factor.
    pub(crate) load: Option<Figure>,
    /// Nodes whose clock goes wrong.
    pub(crate) clock: Option<Many<String>>,

    pub(crate) r#for: Option<Span>,
    pub(crate) status: Option<u16>,
    pub(crate) rate: Option<Figure>,
    pub(crate) latency: Option<Span>,
    pub(crate) refuse: bool,
    pub(crate) reset: bool,
    pub(crate) blackhole: bool,
    pub(crate) truncate: bool,
    pub(crate) stall: bool,
    pub(crate) garbage: bool,
    pub(crate) throttle: Option<Bps>,
    pub(crate) path: Option<String>,
    pub(crate) from: Option<String>,
    pub(crate) delay: Option<Span>,
    pub(crate) loss: Option<Figure>,
    pub(crate) partition: bool,
    pub(crate) one_way: bool,
    pub(crate) distribution: Option<String>,
    /// Of `load`: how long it takes to get there.
    pub(crate) over: Option<Span>,
    /// Of `load`: which one, counted from 1.
    pub(crate) which: Option<usize>,
    /// Of `config`: which nodes; all by default.
    pub(crate) on: Option<Many<String>>,
    /// Of `clock`.
    pub(crate) ahead: Option<Span>,
    /// Of `clock`.
    pub(crate) behind: Option<Span>,
}

/// Bits per second, as a number or as `10M`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bps(pub(crate) u64);

impl<'de> Deserialize<'de> for Bps {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match Figure::deserialize(deserializer)? {
            Figure::Number(number) => format!("{number}"),
            Figure::Text(text) => text,
        };
        crate::args::parse_bps(&text).map(Self).map_err(de::Error::custom)
    }
}

/// One expectation.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExpectFile {
    /// What is looked at: `availability`, `p95`, `origin_rps`, `counter.NAME`, ...
    pub(crate) what: String,
    /// A continent, a country, a city, a PoP or a region.
    #[serde(default)]
    pub(crate) from: Option<String>,
    #[serde(default)]
    pub(crate) pop: Option<String>,
    #[serde(default)]
    pub(crate) node: Option<String>,
    #[serde(default)]
    pub(crate) after: Option<Span>,
    #[serde(default)]
    pub(crate) before: Option<Span>,
    #[serde(default)]
    pub(crate) min: Option<Figure>,
    #[serde(default)]
    pub(crate) max: Option<Figure>,
    #[serde(default)]
    pub(crate) equals: Option<Figure>,
}

/// A load.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LoadFile {
    /// `world`, or places. Default `world`.
    pub(crate) from: Option<Many<String>>,
    /// Requests per second. Default 100.
    pub(crate) rps: Option<f64>,
    /// When it starts. Default with the warm-up.
    pub(crate) start: Option<Span>,
    /// How long it lasts. Default until the end.
    pub(crate) r#for: Option<Span>,
    /// `zipf:S:N`, `trace:FILE`, or a path. Default `zipf:1.0:1000`.
    pub(crate) paths: Option<String>,
    /// `10k`, or `lognormal:MEDIAN:SIGMA`. Default: what the origin makes of a path.
    pub(crate) sizes: Option<String>,
    /// Multipliers by time: `[["0s", 1.0], ["30s", 5.0]]`.
    pub(crate) ramp: Vec<(Span, f64)>,
    /// Time of day in UTC at time zero, as `14h`; without it load does not change over the day.
    pub(crate) utc: Option<Span>,
    /// Seconds of the day that pass in a second. Default 1.
    pub(crate) pace: Option<f64>,
    /// The least of the day as a share of the most. Default 0.3.
    pub(crate) trough: Option<f64>,
    /// How long an idle connection is kept. Default 90s.
    pub(crate) idle: Option<Span>,
    /// Connections of one user to one edge. Default 6.
    pub(crate) connections: Option<u16>,
    /// The mean pause of a user between requests. Default: users have no sessions.
    pub(crate) think: Option<Span>,
    /// Share of users whose resolver sends the client subnet. Default: all, or none as `[viewer] client_subnet` says.
    pub(crate) client_subnet: Option<f64>,
    /// Share of users whose resolver keeps answers too long. Default 0.
    pub(crate) stretchers: Option<f64>,
    /// How long those keep them. Default 15m.
    pub(crate) stretch: Option<Span>,
    /// How often a request is made at most. Default 1.
    pub(crate) attempts: Option<u8>,
    /// Before the second attempt, doubled each time. Default 100ms.
    pub(crate) backoff: Option<Span>,
    /// Retries at most, as a share of first attempts. Default: no limit.
    pub(crate) budget: Option<f64>,
    /// How long a user waits for an answer. Default 30s.
    pub(crate) timeout: Option<Span>,
    /// A distribution's id. Default: the first.
    pub(crate) distribution: Option<String>,
    /// Default GET.
    pub(crate) method: Option<String>,
    /// Users. Default: ten for each request per second.
    pub(crate) users: Option<u32>,
}

/// Lays `over` over `base`, table by table; lists and values replace.
pub(crate) fn lay_over(base: &ClusterFile, over: &(impl Serialize + ?Sized)) -> Result<ClusterFile, serde_json::Error> {
    let mut value = serde_json::to_value(base)?;
    merge(&mut value, serde_json::to_value(over)?);
    serde_json::from_value(value)
}

fn merge(base: &mut serde_json::Value, over: serde_json::Value) {
    match (base, over) {
        (serde_json::Value::Object(base), serde_json::Value::Object(over)) => {
            for (key, value) in over {
                match base.get_mut(&key) {
                    Some(there) => merge(there, value),
                    None => {
                        base.insert(key, value);
                    }
                }
            }
        }
        (base, over) => *base = over,
    }
}
