//! A scenario file as typed: every key, and nothing checked beyond its type.
//!
//! The world's part has the keys of `cluster.toml`; what it says is laid over the file that `cluster` names. `[routing]`
//! is a short form of `[router]`.

use std::{fmt, path::PathBuf};

use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    cluster_file::{
        AwsFile, CachePolicyFile, ClusterFile, DistributionFile, EdgeFile, FunctionFile, GroupFile, LogFile,
        OriginFile, OriginRequestPolicyFile, ResponseHeadersPolicyFile, RouterFile, ViewerFile, WorldFile,
    },
    diagnose::KeyError,
    quantity::{Share, Span},
};

/// A scenario as written. How one is laid out is [`write`](super::write)'s.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ScenarioFile {
    /// One line: what is shown. Default: the file's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) title: Option<String>,
    /// The mechanism, in a paragraph.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) about: Option<String>,
    /// Seed of everything random. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<u64>,
    /// A cluster file, relative to this one, that the keys below are laid over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cluster: Option<PathBuf>,
    /// As in a cluster file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) preset: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pops: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shield: Option<String>,
    #[serde(skip_serializing_if = "is_silent")]
    pub(crate) regional: Vec<String>,
    #[serde(skip_serializing_if = "is_silent")]
    pub(crate) origins: IndexMap<String, OriginFile>,
    #[serde(skip_serializing_if = "is_silent")]
    pub(crate) groups: IndexMap<String, GroupFile>,
    #[serde(skip_serializing_if = "is_silent")]
    pub(crate) key_groups: IndexMap<String, IndexMap<String, PathBuf>>,
    #[serde(skip_serializing_if = "is_silent")]
    pub(crate) cache_policies: IndexMap<String, CachePolicyFile>,
    #[serde(skip_serializing_if = "is_silent")]
    pub(crate) origin_request_policies: IndexMap<String, OriginRequestPolicyFile>,
    #[serde(skip_serializing_if = "is_silent")]
    pub(crate) response_headers_policies: IndexMap<String, ResponseHeadersPolicyFile>,
    #[serde(skip_serializing_if = "is_silent")]
    pub(crate) functions: IndexMap<String, FunctionFile>,
    #[serde(skip_serializing_if = "is_silent")]
    pub(crate) distributions: IndexMap<String, DistributionFile>,
    #[serde(skip_serializing_if = "is_silent")]
    pub(crate) router: RouterFile,
    #[serde(skip_serializing_if = "is_silent")]
    pub(crate) routing: RoutingFile,
    #[serde(skip_serializing_if = "is_silent")]
    pub(crate) edge: EdgeFile,
    #[serde(skip_serializing_if = "is_silent")]
    pub(crate) viewer: ViewerFile,
    #[serde(skip_serializing_if = "is_silent")]
    pub(crate) world: WorldFile,
    #[serde(skip_serializing_if = "is_silent")]
    pub(crate) log: LogFile,
    /// From time zero to the end. Default: ten seconds after the last step, at least 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) length: Option<Span>,
    /// Load before time zero, so that caches are warm. Default 2s, or none without load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) warmup: Option<Span>,
    /// One load, or several.
    #[serde(skip_serializing_if = "is_silent")]
    pub(crate) load: Many<LoadFile>,
    /// The timeline.
    #[serde(skip_serializing)]
    pub(crate) at: Vec<StepFile>,
    /// What must hold.
    #[serde(skip_serializing)]
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
            // Nobody in a scenario uses CloudFront's own API.
            aws: AwsFile::default(),
        }
    }
}

/// `[routing]`: what a scenario most often says of routers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RoutingFile {
    /// `[router] ttl`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl: Option<Span>,
    /// `2s x 2`: time between probes, and failures in a row that make an edge down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health: Option<String>,
    /// `[router] answers`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) answers: Option<usize>,
    /// `[router] policy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) policy: Option<String>,
}

/// One of something, or a list of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Many<T>(pub(crate) Vec<T>);

impl<T> Default for Many<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Serialize> Serialize for Many<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            all => all.serialize(serializer),
        }
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
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StepFile {
    /// When, from time zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) t: Option<Span>,
    /// What one types after `iso`, instead of the keys below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) r#do: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kill: Option<Many<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) start: Option<Many<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pause: Option<Many<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resume: Option<Many<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fault: Option<Many<String>>,
    /// Two sites.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) link: Option<Many<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) heal: Option<Many<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) drain: Option<Many<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) undrain: Option<Many<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) invalidate: Option<Many<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) policy: Option<String>,
    /// Settings of a cluster file, laid over the world's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) config: Option<toml::Table>,
    /// A factor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) load: Option<Figure>,
    /// Nodes whose clock goes wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) clock: Option<Many<String>>,

    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rate: Option<Figure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency: Option<Span>,
    #[serde(skip_serializing_if = "is_silent")]
    pub(crate) refuse: bool,
    #[serde(skip_serializing_if = "is_silent")]
    pub(crate) reset: bool,
    #[serde(skip_serializing_if = "is_silent")]
    pub(crate) blackhole: bool,
    #[serde(skip_serializing_if = "is_silent")]
    pub(crate) truncate: bool,
    #[serde(skip_serializing_if = "is_silent")]
    pub(crate) stall: bool,
    #[serde(skip_serializing_if = "is_silent")]
    pub(crate) garbage: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) throttle: Option<Bps>,
    #[serde(skip_serializing_if = "is_silent")]
    pub(crate) logs_full: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delay: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) loss: Option<Figure>,
    #[serde(skip_serializing_if = "is_silent", deserialize_with = "partition")]
    pub(crate) partition: bool,
    #[serde(skip_serializing_if = "is_silent")]
    pub(crate) one_way: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) distribution: Option<String>,
    /// Of `load`: how long it takes to get there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) over: Option<Span>,
    /// Of `load`: which one, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) which: Option<usize>,
    /// Of `config`: which nodes; all by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) on: Option<Many<String>>,
    /// Of `clock`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ahead: Option<Span>,
    /// Of `clock`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) behind: Option<Span>,

    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) r#for: Option<Span>,
}

/// Whether a link is cut. Who names its two ends here is told where they belong.
fn partition<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    struct Visitor;
    impl de::Visitor<'_> for Visitor {
        type Value = bool;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("true or false; its two ends are the link's: link = [\"fra\", \"iad\"], partition = true")
        }

        fn visit_bool<E: de::Error>(self, is_cut: bool) -> Result<bool, E> {
            Ok(is_cut)
        }
    }
    deserializer.deserialize_any(Visitor)
}

/// Bits per second, as a number or as `10M`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExpectFile {
    /// What is looked at: `availability`, `p95`, `origin_rps`, `counter.NAME`, ...
    pub(crate) what: String,
    /// A continent, a country, a city, a PoP or a region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pop: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) min: Option<Figure>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max: Option<Figure>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) equals: Option<Figure>,
}

/// A load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LoadFile {
    /// `world`, or places. Default `world`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<Many<String>>,
    /// Requests per second. Default 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rps: Option<f64>,
    /// When it starts. Default with the warm-up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) start: Option<Span>,
    /// How long it lasts. Default until the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) r#for: Option<Span>,
    /// `zipf:S:N`, `trace:FILE`, or a path. Default `zipf:1.0:1000`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) paths: Option<String>,
    /// `10k`, or `lognormal:MEDIAN:SIGMA`. Default: what the origin makes of a path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sizes: Option<String>,
    /// Multipliers by time: `[["0s", 1.0], ["30s", 5.0]]`.
    #[serde(skip_serializing_if = "is_silent")]
    pub(crate) ramp: Vec<(Span, f64)>,
    /// Time of day in UTC at time zero, as `14h`; without it load does not change over the day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) utc: Option<Span>,
    /// Seconds of the day that pass in a second. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pace: Option<f64>,
    /// The least of the day as a share of the most. Default 0.3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trough: Option<f64>,
    /// How long an idle connection is kept. Default 90s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) idle: Option<Span>,
    /// Connections of one user to one edge. Default 6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connections: Option<u16>,
    /// Whether they speak TLS. Default false.
    #[serde(skip_serializing_if = "is_silent")]
    pub(crate) https: bool,
    /// Whether they speak HTTP/3, in which TLS is. Default false.
    #[serde(skip_serializing_if = "is_silent")]
    pub(crate) http3: bool,
    /// The mean pause of a user between requests. Default: users have no sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) think: Option<Span>,
    /// Share of users whose resolver sends the client subnet. Default: all, or none as `[viewer] client_subnet` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_subnet: Option<f64>,
    /// Share of users whose resolver keeps answers too long. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stretchers: Option<f64>,
    /// How long those keep them. Default 15m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stretch: Option<Span>,
    /// How often a request is made at most. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) attempts: Option<u8>,
    /// Before the second attempt, doubled each time. Default 100ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) backoff: Option<Span>,
    /// Retries at most, as a share of first attempts. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) budget: Option<f64>,
    /// How long a user waits for an answer. Default 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout: Option<Span>,
    /// A distribution's id. Default: the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) distribution: Option<String>,
    /// Default GET.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method: Option<String>,
    /// Users. Default: ten for each request per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) users: Option<u32>,
    /// `KEY_GROUP/KEY`: the key that signs what users show to be let in. Default: they show nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sign: Option<String>,
    /// `url` or `cookies`. Default `url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sign_by: Option<String>,
    /// The private key's file, or the key itself. Default: `KEY.private.pem` beside the public one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sign_key: Option<PathBuf>,
    /// How long a signature is good for. Default 1h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<Span>,
    /// Share of requests with a signature that has expired. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expired: Option<f64>,
    /// Share of requests with a signature that the key has not made for what it says. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) forged: Option<f64>,
    /// Share of requests without one. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unsigned: Option<f64>,
}

/// Whether nothing is written there.
fn is_silent<T: Default + PartialEq>(written: &T) -> bool {
    *written == T::default()
}

/// Lays `over` over `base`, table by table; lists and values replace.
///
/// # Errors
/// What comes of it is no cluster file; the key is one of `over`.
pub(crate) fn lay_over(base: &ClusterFile, over: &(impl Serialize + ?Sized)) -> Result<ClusterFile, KeyError> {
    let plain = |error: serde_json::Error| KeyError { key: Vec::new(), ..KeyError::new("", error.to_string()) };
    let mut value = serde_json::to_value(base).map_err(plain)?;
    merge(&mut value, serde_json::to_value(over).map_err(plain)?);
    serde_path_to_error::deserialize(value).map_err(|error| KeyError::refused(&error))
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
