//! A scripted run as data: load, a timeline of faults, expectations.
//!
//! Whoever makes a [`Scenario`] has checked it against its world: every node, PoP, site and origin is there, steps lie
//! within the length, and units are right. Plays the same live and in virtual time; refuses to know files, TOML,
//! processes and the world's own settings. Time zero is the moment when the world is warm and the timeline begins; in
//! the run's own time that is [`Scenario::zero`].

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use cdn_core::{Counter, Instant, NodeId, PopCode, Reason, routing::PolicyKind};

use crate::{Continent, CountryCode, Effect, LinkChange, Signature, SiteId, invariant};

/// A scripted run.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// One line: what is shown.
    pub title: String,
    /// The mechanism, in a paragraph; empty where nobody wrote one.
    pub about: String,
    /// Seed of everything random: the world's, the workload's and the faults' streams are named ones of it.
    pub seed: u64,
    /// Load before time zero, so that caches and estimates are those of a world that has run. It is not judged.
    pub warmup: Duration,
    /// From time zero to the end; no request is begun later.
    pub length: Duration,
    /// Who asks for what; nobody where it is empty.
    pub loads: Vec<Load>,
    /// By time; those of one time in the order in which they were written.
    pub steps: Vec<Step>,
    /// What must hold.
    pub expectations: Vec<Expectation>,
    /// Counters that the verdict tells of, whatever is expected of them.
    pub told: Vec<Counter>,
}

impl Scenario {
    /// The counters that whoever plays it has to look at.
    pub fn counters(&self) -> BTreeSet<Counter> {
        let expected = self.expectations.iter().filter_map(|expectation| match expectation.what {
            What::Counter(counter) => Some(counter),
            _ => None,
        });
        let law = self.asks_for_laws().then_some(invariant::COUNTERS);
        expected.chain(self.told.iter().copied()).chain(law.into_iter().flatten()).collect()
    }

    /// Whether it expects something of the laws of every run.
    pub fn asks_for_laws(&self) -> bool {
        self.expectations.iter().any(|expectation| expectation.what == What::LawsBroken)
    }

    /// Time zero in the run's own time, which begins with the warm-up: what [`Observation`](crate::Observation)s and
    /// [`Event`](crate::Event)s are dated in.
    pub fn zero(&self) -> Instant {
        Instant::ZERO + self.warmup
    }

    /// The end of the timeline in the run's own time.
    pub fn end(&self) -> Instant {
        self.zero() + self.length
    }
}

/// Something that happens at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// When, from time zero.
    pub at: Duration,
    /// What.
    pub action: Action,
    /// As it was written, in one line: `kill fra`.
    pub text: String,
    /// Where it was written, from 1.
    pub line: u32,
}

/// What a step does. A `span` is the time after which it undoes itself; `None` holds until healed.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Ends nodes at once (SIGKILL): what was in memory is gone.
    Kill {
        /// Which.
        nodes: Vec<NodeId>,
        /// Started again by itself after this time.
        span: Option<Duration>,
    },
    /// Starts nodes that were killed.
    Start {
        /// Which.
        nodes: Vec<NodeId>,
    },
    /// Freezes nodes (SIGSTOP): connections stay open and nothing is answered.
    Pause {
        /// Which.
        nodes: Vec<NodeId>,
        /// Goes on by itself after this time.
        span: Option<Duration>,
    },
    /// Lets frozen nodes go on (SIGCONT).
    Resume {
        /// Which.
        nodes: Vec<NodeId>,
    },
    /// Nodes or origins misbehave.
    Fault {
        /// Which.
        nodes: Vec<NodeId>,
        /// How; all of them at once.
        effects: Vec<Effect>,
        /// The share of requests (of connections, below HTTP) that it meets, above 0 and up to 1.
        rate: f64,
        /// Only requests for paths that match this glob.
        path: Option<String>,
        /// Only connections from this site.
        from: Option<SiteId>,
        /// Ends by itself after this time.
        span: Option<Duration>,
    },
    /// A link is changed.
    Link {
        /// One end; the sender where only one direction is meant.
        a: SiteId,
        /// The other end.
        b: SiteId,
        /// Only from `a` to `b`.
        one_way: bool,
        /// How; all of them at once.
        changes: Vec<LinkChange>,
        /// Ends by itself after this time.
        span: Option<Duration>,
    },
    /// Undoes faults, link changes, kills and pauses.
    Heal(HealTarget),
    /// Takes a PoP out of answers.
    Drain(PopCode),
    /// Puts it back.
    Undrain(PopCode),
    /// Removes objects from every cache, as it spreads.
    Invalidate {
        /// Of one distribution, by id; of all where there is none.
        distribution: Option<String>,
        /// CloudFront's patterns.
        patterns: Vec<String>,
    },
    /// Routes by another policy.
    Policy {
        /// One distribution, by id; all without a policy of their own where there is none.
        distribution: Option<String>,
        /// Which.
        policy: PolicyKind,
    },
    /// Nodes go over to another configuration.
    Config(ConfigChange),
    /// Load changes. What it does is already in [`Load::ramp`]; players only tell of it.
    Load(LoadChange),
}

/// What a heal undoes.
#[derive(Clone, Debug, PartialEq)]
pub enum HealTarget {
    /// Everything.
    All,
    /// Whatever was done to these nodes, and changes of links that end at one of these sites.
    At {
        /// The nodes.
        nodes: Vec<NodeId>,
        /// The sites.
        sites: Vec<SiteId>,
    },
    /// Changes of the link between two sites, in both directions.
    Link {
        /// One end.
        a: SiteId,
        /// The other end.
        b: SiteId,
    },
}

/// Nodes go over to another configuration of the same world. The player was given all configurations beside the
/// scenario, number 0 being the one that it starts with: a scenario knows none of their settings.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigChange {
    /// Which; every node that reads configuration where it is empty.
    pub nodes: Vec<NodeId>,
    /// The number of the configuration.
    pub revision: usize,
}

/// Load is multiplied.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadChange {
    /// Which load, by its index; all where there is none.
    pub load: Option<usize>,
    /// By how much.
    pub factor: f64,
    /// How long it takes to get there, in a straight line.
    pub over: Duration,
    /// How long it stays there; `None` for good.
    pub span: Option<Duration>,
}

/// A stream of requests. Open loop: when they are made does not depend on answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// Where users are.
    pub from: From,
    /// Requests per second over all places, before ramp and diurnal curve.
    pub rps: f64,
    /// When it starts, from time zero; load that starts at zero also warms up.
    pub start: Duration,
    /// How long it lasts; `None` until the end.
    pub span: Option<Duration>,
    /// What is asked for.
    pub paths: Paths,
    /// How large bodies are.
    pub sizes: Sizes,
    /// Multipliers of `rps` by time from time zero, linear between points, constant before the first and after the last;
    /// 1 throughout where it is empty.
    pub ramp: Vec<(Duration, f64)>,
    /// How users of a place come and go over the day; constant where there is none.
    pub diurnal: Option<Diurnal>,
    /// How users keep and use connections.
    pub connections: Connections,
    /// How users find an edge.
    pub resolvers: Resolvers,
    /// What users do about failures.
    pub retry: Retry,
    /// The distribution that is asked, by id.
    pub distribution: String,
    /// The method of all requests.
    pub method: String,
    /// Users that requests are spread over; each has connections of its own.
    pub users: u32,
    /// What they show to be let in; nothing where it is absent.
    pub signing: Option<Signing>,
}

/// How users prove that they may see what they ask for: most of them well, some of them badly.
#[derive(Clone, Debug, PartialEq)]
pub struct Signing {
    /// The id of the key that signs (`Key-Pair-Id`).
    pub key_id: String,
    /// Its private half.
    pub private_key: PrivatePem,
    /// Whether it stands in cookies, rather than in the URL.
    pub in_cookies: bool,
    /// How long a signature is good for. One that has expired ended so long ago.
    pub lifetime: Duration,
    /// The share of requests with a signature that has expired.
    pub expired: f64,
    /// The share of requests with a signature that the key has not made for what it says.
    pub forged: f64,
    /// The share of requests with none.
    pub unsigned: f64,
}

impl Signing {
    /// When what a request shows at `now` ends, as it says itself; both in Unix seconds. `None` where it shows nothing.
    /// A good signature is made anew at the beginning of each half of a life; one that has expired ended a life before that,
    /// and a forged one claims two.
    pub fn ends_at(&self, now: i64, signature: Signature) -> Option<i64> {
        let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX / 4).max(1);
        let (life, half) = (seconds(self.lifetime), seconds(self.lifetime / 2));
        let made_at = now - now.rem_euclid(half);
        match signature {
            Signature::Good => Some(made_at + life),
            Signature::Expired => Some(made_at - life),
            Signature::Forged => Some(made_at + 2 * life),
            Signature::Unasked | Signature::Missing => None,
        }
    }
}

/// A private key in PEM, which no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivatePem(pub String);

impl fmt::Debug for PrivatePem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivatePem(..)")
    }
}

/// Where users are.
#[derive(Clone, Debug, PartialEq)]
pub enum From {
    /// In the cities of the atlas, by their users.
    World,
    /// In these places with these weights, which need not add up to 1.
    Places(Vec<(SiteId, f64)>),
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Paths {
    /// One of `n` objects; the k-th most popular in proportion to `1 / k^s`.
    Zipf {
        /// The exponent, 0 for all alike.
        s: f64,
        /// Objects.
        n: u64,
    },
    /// What a trace says, at the times that it says, over and over. `rps` 0 keeps its own pace.
    Trace(Arc<[TraceRequest]>),
    /// Always this path, with its query string.
    One(String),
}

/// One request of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceRequest {
    /// From the trace's first request on.
    pub at: Duration,
    /// The object, by number.
    pub object: u64,
    /// Bytes of its body.
    pub bytes: u64,
}

/// How large bodies are. An object has one size in all requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sizes {
    /// What the origin makes of a path, or what the trace says.
    Origin,
    /// All of so many bytes.
    Fixed(u64),
    /// Lognormal over objects.
    LogNormal {
        /// Half of the objects are smaller.
        median: u64,
        /// Standard deviation of the natural logarithm.
        sigma: f64,
        /// None is larger.
        max: u64,
    },
}

/// How users of a place come and go over the day, by the place's own time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Diurnal {
    /// Time of day in UTC at time zero.
    pub utc: Duration,
    /// Seconds of the day that pass in one second of the run.
    pub pace: f64,
    /// The least of the day as a share of the most, 0 to 1.
    pub trough: f64,
}

/// How users keep and use connections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Connections {
    /// How long an idle connection is kept; zero for one connection per request.
    pub idle: Duration,
    /// Connections that one user opens to one edge at most.
    pub per_user: u16,
    /// The mean pause of a user between two requests, where users have pauses: then a user stays who he is for a
    /// session, and requests of one user lie that far apart.
    pub think: Option<Duration>,
    /// What carries requests.
    pub transport: Transport,
}

impl Default for Connections {
    /// Browsers': six per host, kept for a minute and more; no pauses, and no TLS.
    fn default() -> Self {
        Self { idle: Duration::from_secs(90), per_user: 6, think: None, transport: Transport::Tcp }
    }
}

/// What carries a user's requests to an edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// TCP, and nobody's certificate is asked for.
    #[default]
    Tcp,
    /// TLS over TCP: a handshake more, which holds the edge's certificate against the viewer's date.
    Tls,
    /// QUIC, of whose handshake TLS is a part (RFC 9001 section 4), as HTTP/3 wants it.
    Quic,
}

impl Transport {
    /// Whether it wants a certificate.
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Quic)
    }
}

/// How users find an edge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resolvers {
    /// The share of users whose resolver sends their network.
    pub client_subnet: f64,
    /// The share of users whose resolver keeps answers longer than they are valid.
    pub stretchers: f64,
    /// How long those keep them at least.
    pub stretch: Duration,
}

impl Default for Resolvers {
    /// All send the network, none stretches.
    fn default() -> Self {
        Self { client_subnet: 1.0, stretchers: 0.0, stretch: Duration::from_secs(900) }
    }
}

/// What users do about failures: statuses of 500 and above, and requests without an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    /// How often a request is made at most; 1 is no retry. The second address of an answer is no retry.
    pub attempts: u8,
    /// How long a user waits before the second; twice as long before each further one.
    pub backoff: Duration,
    /// Retries at most, as a share of first requests (a retry budget); none where absent.
    pub budget: Option<f64>,
    /// How long a user waits for an answer.
    pub timeout: Duration,
}

impl Default for Retry {
    /// None; patient for half a minute.
    fn default() -> Self {
        Self { attempts: 1, backoff: Duration::from_millis(100), budget: None, timeout: Duration::from_secs(30) }
    }
}

/// What must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// What is looked at.
    pub what: What,
    /// Only what users in this area saw.
    pub from: Area,
    /// Only what concerns this PoP.
    pub pop: Option<PopCode>,
    /// Only what concerns this node (an origin, say).
    pub node: Option<NodeId>,
    /// Only requests meant for this time or later, from time zero.
    pub after: Duration,
    /// Only requests meant for before this time; `None` for the end.
    pub before: Option<Duration>,
    /// At least this, in the unit of [`What::unit`].
    pub min: Option<f64>,
    /// At most this.
    pub max: Option<f64>,
    /// Exactly this.
    pub equals: Option<f64>,
    /// Where it was written, from 1; 0 for what is always expected.
    pub line: u32,
}

impl Expectation {
    /// Whether a figure is as expected.
    pub fn is_met_by(&self, value: f64) -> bool {
        self.min.is_none_or(|min| value >= min)
            && self.max.is_none_or(|max| value <= max)
            && self.equals.is_none_or(|equals| (value - equals).abs() <= equals.abs() * 1e-9)
    }
}

/// A set of places.
#[derive(Clone, Debug, PartialEq)]
pub enum Area {
    /// All.
    World,
    /// A continent.
    Continent(Continent),
    /// A country.
    Country(CountryCode),
    /// One place: a city, a PoP or a region.
    Place(SiteId),
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    /// The share of requests that were served: answered with a status below 500.
    Availability,
    /// A quantile of the time from when a request was meant to be made to its last byte, 0 to 1; 1 is the longest. Only
    /// requests that were served.
    Latency(f64),
    /// The share of requests that were answered from the store of the edge, of those that a cache may answer.
    HitRatio,
    /// Requests to origins in the busiest second.
    OriginRps,
    /// Requests to origins.
    OriginRequests,
    /// Requests that went to the second origin of a group.
    Failovers,
    /// From a fault until a router judges a node that it hit to be down.
    Detect,
    /// From a fault until the last viewer has turned away from the PoPs that it hit.
    Reroute,
    /// From the first fault until the end of the last second in which availability is below 99.9 %.
    Recover,
    /// Answers with other bytes than the origin's. Always expected to be none.
    WrongBytes,
    /// Answers that predate an invalidation which was complete when they were asked for.
    StaleAfterInvalidation,
    /// Breaches of the laws of every run ([`invariant`]), whatever is broken in it.
    LawsBroken,
    /// Requests that were not served.
    Errors,
    /// Requests.
    Requests,
    /// Answers with this status.
    Status(u16),
    /// Requests with this reason, whether it is an answer's or that of a failure.
    Reason(Reason),
    /// How much a counter grew, over nodes; of a gauge the highest value of any node.
    Counter(Counter),
}

/// What a figure is given in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// 0 to 1, shown as percent.
    Share,
    /// Seconds, shown as fits.
    Seconds,
    /// A number of things.
    Count,
    /// Things per second.
    PerSecond,
}

impl What {
    /// The unit of its figure.
    pub const fn unit(self) -> Unit {
        match self {
            Self::Availability | Self::HitRatio => Unit::Share,
            Self::Latency(_) | Self::Detect | Self::Reroute | Self::Recover => Unit::Seconds,
            Self::OriginRps => Unit::PerSecond,
            Self::OriginRequests
            | Self::Failovers
            | Self::WrongBytes
            | Self::StaleAfterInvalidation
            | Self::LawsBroken
            | Self::Errors
            | Self::Requests
            | Self::Status(_)
            | Self::Reason(_)
            | Self::Counter(_) => Unit::Count,
        }
    }
}

impl fmt::Display for What {
    /// As a scenario file writes it: `p99.9`, `counter.edge_waiters_full_total`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Availability => f.write_str("availability"),
            Self::Latency(1.0) => f.write_str("max"),
            // Rounded, because 0.999 * 100 is not 99.9 in binary.
            Self::Latency(quantile) => write!(f, "p{}", (quantile * 1e6).round() / 1e4),
            Self::HitRatio => f.write_str("hit_ratio"),
            Self::OriginRps => f.write_str("origin_rps"),
            Self::OriginRequests => f.write_str("origin_requests"),
            Self::Failovers => f.write_str("failovers"),
            Self::Detect => f.write_str("detect"),
            Self::Reroute => f.write_str("reroute"),
            Self::Recover => f.write_str("recover"),
            Self::WrongBytes => f.write_str("wrong_bytes"),
            Self::StaleAfterInvalidation => f.write_str("stale_after_invalidation"),
            Self::LawsBroken => f.write_str("laws_broken"),
            Self::Errors => f.write_str("errors"),
            Self::Requests => f.write_str("requests"),
            Self::Status(status) => write!(f, "status.{status}"),
            Self::Reason(reason) => write!(f, "reason.{reason}"),
            Self::Counter(counter) => write!(f, "counter.{}", counter.row().name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_signature_has_half_of_its_life_before_it_at_least_and_an_expired_one_none() {
        let signing = |secs| Signing {
            key_id: "K1".into(),
            private_key: PrivatePem(String::new()),
            in_cookies: false,
            lifetime: Duration::from_secs(secs),
            expired: 0.1,
            forged: 0.1,
            unsigned: 0.1,
        };
        for (life, now) in [(2, 0), (3, 1_800_000_000), (600, 1_800_000_299), (3600, 17), (10, -3)] {
            let ends_at = |signature| signing(life).ends_at(now, signature);
            let left = ends_at(Signature::Good).unwrap() - now;
            assert!(left * 2 >= life as i64 && left <= life as i64, "{left} s left of {life}");
            assert!(ends_at(Signature::Expired).unwrap() <= now - life as i64);
            assert!(ends_at(Signature::Forged) > ends_at(Signature::Good));
            assert_eq!(ends_at(Signature::Missing), None);
        }
    }

    #[test]
    fn quantiles_are_called_as_people_write_them() {
        for (quantile, name) in [(0.5, "p50"), (0.95, "p95"), (0.99, "p99"), (0.999, "p99.9"), (1.0, "max")] {
            assert_eq!(What::Latency(quantile).to_string(), name);
        }
        assert_eq!(What::Counter(Counter::EdgeFailovers).to_string(), "counter.edge_failovers_total");
    }
}
