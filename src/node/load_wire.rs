//! What is said of a load between whoever wants it and the viewer node that makes it: one document, then lines; and of a port
//! that passes a browser's datagrams on.
//!
//! Both ends are this same binary, so these types are no contract with anybody else.

use std::time::Duration;

use cdn_core::{Instant, PopCode, Reason};
use serde::{Deserialize, Serialize};
use world::{
    CacheOutcome, Integrity, Observation, Outcome, Signature, SiteId,
    scenario::{
        Connections, Diurnal, From as Origin, Load, Paths, PrivatePem, Resolvers, Retry, Signing, Sizes, TraceRequest,
        Transport,
    },
};

/// `POST /load`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LoadAsk {
    /// The loads.
    pub(crate) loads: Vec<LoadWire>,
    /// Before time zero.
    pub(crate) warmup: Duration,
    /// From time zero on.
    pub(crate) length: Duration,
    /// Seed of the workload.
    pub(crate) seed: u64,
}

/// `POST /relay`: a port that passes datagrams on, for as long as the answer lasts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RelayAsk {
    /// From where.
    pub(crate) place: String,
    /// To whom.
    pub(crate) host: String,
}

/// The one line of its answer.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct RelayLine {
    /// A port of 127.0.0.1.
    pub(crate) port: u16,
}

/// One line of the answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LoadLine {
    /// The first one: when the run's own time begins.
    Begin {
        /// Nanoseconds since 1970.
        unix_nanos: u64,
    },
    /// Requests that are over.
    Seen(Vec<ObservationWire>),
    /// The last one.
    End(LoadEnd),
}

/// What the generator says of itself.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct LoadEnd {
    /// Requests that were meant to be made.
    pub(crate) intended: u64,
    /// Observations that were dropped because nobody read them.
    pub(crate) dropped: u64,
    /// Processor time of the viewer node, over the load.
    pub(crate) cpu: Duration,
    /// How long the load was played, the last answers included.
    pub(crate) took: Duration,
}

/// A load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LoadWire {
    /// Places with their weights; the world's cities where absent.
    from: Option<Vec<(String, f64)>>,
    rps: f64,
    start: Duration,
    span: Option<Duration>,
    paths: PathsWire,
    sizes: SizesWire,
    ramp: Vec<(Duration, f64)>,
    /// Time of day, pace and trough.
    diurnal: Option<(Duration, f64, f64)>,
    /// Idle timeout, connections per user, pause, what carries them.
    connections: (Duration, u16, Option<Duration>, TransportWire),
    /// Share with client subnet, share of stretchers, how long those stretch.
    resolvers: (f64, f64, Duration),
    /// Attempts, backoff, budget, timeout.
    retry: (u8, Duration, Option<f64>, Duration),
    pub(crate) distribution: String,
    method: String,
    users: u32,
    signing: Option<SigningWire>,
}

/// Key, its private half in PEM, whether in cookies, lifetime, shares of expired, forged and missing ones.
type SigningWire = (String, String, bool, Duration, [f64; 3]);

#[derive(Clone, Debug, Serialize, Deserialize)]
enum PathsWire {
    Zipf(f64, u64),
    /// Nanoseconds, object, bytes.
    Trace(Vec<(u64, u64, u64)>),
    One(String),
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum SizesWire {
    Origin,
    Fixed(u64),
    LogNormal(u64, f64, u64),
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum TransportWire {
    Tcp,
    Tls,
    Quic,
}

impl TransportWire {
    const fn of(transport: Transport) -> Self {
        match transport {
            Transport::Tcp => Self::Tcp,
            Transport::Tls => Self::Tls,
            Transport::Quic => Self::Quic,
        }
    }
}

impl From<TransportWire> for Transport {
    fn from(wire: TransportWire) -> Self {
        match wire {
            TransportWire::Tcp => Self::Tcp,
            TransportWire::Tls => Self::Tls,
            TransportWire::Quic => Self::Quic,
        }
    }
}

impl From<&Load> for LoadWire {
    fn from(load: &Load) -> Self {
        let Connections { idle, per_user, think, transport } = load.connections;
        let Resolvers { client_subnet, stretchers, stretch } = load.resolvers;
        let Retry { attempts, backoff, budget, timeout } = load.retry;
        Self {
            from: match &load.from {
                Origin::World => None,
                Origin::Places(places) => {
                    Some(places.iter().map(|(site, weight)| (site.to_string(), *weight)).collect())
                }
            },
            rps: load.rps,
            start: load.start,
            span: load.span,
            paths: match &load.paths {
                Paths::Zipf { s, n } => PathsWire::Zipf(*s, *n),
                Paths::Trace(requests) => PathsWire::Trace(
                    requests.iter().map(|request| (nanos(request.at), request.object, request.bytes)).collect(),
                ),
                Paths::One(path) => PathsWire::One(path.clone()),
            },
            sizes: match load.sizes {
                Sizes::Origin => SizesWire::Origin,
                Sizes::Fixed(bytes) => SizesWire::Fixed(bytes),
                Sizes::LogNormal { median, sigma, max } => SizesWire::LogNormal(median, sigma, max),
            },
            ramp: load.ramp.clone(),
            diurnal: load.diurnal.map(|Diurnal { utc, pace, trough }| (utc, pace, trough)),
            connections: (idle, per_user, think, TransportWire::of(transport)),
            resolvers: (client_subnet, stretchers, stretch),
            retry: (attempts, backoff, budget, timeout),
            distribution: load.distribution.clone(),
            method: load.method.clone(),
            users: load.users,
            signing: load.signing.as_ref().map(|signing| {
                let Signing { key_id, private_key, in_cookies, lifetime, expired, forged, unsigned } = signing.clone();
                (key_id, private_key.0, in_cookies, lifetime, [expired, forged, unsigned])
            }),
        }
    }
}

impl From<LoadWire> for Load {
    fn from(wire: LoadWire) -> Self {
        let (idle, per_user, think, transport) = wire.connections;
        let (client_subnet, stretchers, stretch) = wire.resolvers;
        let (attempts, backoff, budget, timeout) = wire.retry;
        let place = |(name, weight): (String, f64)| (SiteId::new(&name), weight);
        let request = |(at, object, bytes)| TraceRequest { at: Duration::from_nanos(at), object, bytes };
        Self {
            from: wire.from.map_or(Origin::World, |places| Origin::Places(places.into_iter().map(place).collect())),
            rps: wire.rps,
            start: wire.start,
            span: wire.span,
            paths: match wire.paths {
                PathsWire::Zipf(s, n) => Paths::Zipf { s, n },
                PathsWire::Trace(requests) => Paths::Trace(requests.into_iter().map(request).collect()),
                PathsWire::One(path) => Paths::One(path),
            },
            sizes: match wire.sizes {
                SizesWire::Origin => Sizes::Origin,
                SizesWire::Fixed(bytes) => Sizes::Fixed(bytes),
                SizesWire::LogNormal(median, sigma, max) => Sizes::LogNormal { median, sigma, max },
            },
            ramp: wire.ramp,
            diurnal: wire.diurnal.map(|(utc, pace, trough)| Diurnal { utc, pace, trough }),
            connections: Connections { idle, per_user, think, transport: transport.into() },
            resolvers: Resolvers { client_subnet, stretchers, stretch },
            retry: Retry { attempts, backoff, budget, timeout },
            distribution: wire.distribution,
            method: wire.method,
            users: wire.users,
            signing: wire.signing.map(|(key_id, private_key, in_cookies, lifetime, [expired, forged, unsigned])| {
                let private_key = PrivatePem(private_key);
                Signing { key_id, private_key, in_cookies, lifetime, expired, forged, unsigned }
            }),
        }
    }
}

/// An observation as a list, in the order of its fields: thousands of them pass each second.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ObservationWire(
    u64,
    u64,
    u64,
    u32,
    Option<String>,
    u64,
    Option<String>,
    /// The status; 0 where there is none.
    u16,
    /// Index into [`CacheOutcome::ALL`].
    u8,
    String,
    u64,
    Option<bool>,
    u8,
    bool,
    u16,
    u64,
    Option<u64>,
    /// Index into [`Signature::ALL`].
    u8,
);

impl From<&Observation> for ObservationWire {
    fn from(seen: &Observation) -> Self {
        let status = match seen.outcome {
            Outcome::Status(status) => status,
            Outcome::Failed(_) => 0,
        };
        let cache = CacheOutcome::ALL.iter().position(|outcome| *outcome == seen.cache);
        let integrity = match seen.integrity {
            Integrity::Unchecked => None,
            Integrity::Right => Some(true),
            Integrity::Wrong => Some(false),
        };
        Self(
            seen.intended.as_nanos(),
            seen.started.as_nanos(),
            seen.finished.as_nanos(),
            seen.place,
            seen.asked.map(|pop| pop.to_string()),
            seen.asked_at.as_nanos(),
            seen.pop.map(|pop| pop.to_string()),
            status,
            cache.and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX),
            seen.reason.to_string(),
            seen.bytes,
            integrity,
            seen.attempts,
            seen.fell_back,
            seen.load,
            seen.object,
            seen.made.map(Instant::as_nanos),
            Signature::ALL.iter().position(|kind| *kind == seen.signature).map_or(u8::MAX, |at| at as u8),
        )
    }
}

impl TryFrom<ObservationWire> for Observation {
    type Error = String;

    fn try_from(wire: ObservationWire) -> Result<Self, String> {
        let ObservationWire(
            intended,
            started,
            finished,
            place,
            asked,
            asked_at,
            pop,
            status,
            cache,
            reason,
            bytes,
            integrity,
            attempts,
            fell_back,
            load,
            object,
            made,
            signature,
        ) = wire;
        let pop_of = |code: Option<String>| -> Result<Option<PopCode>, String> {
            code.map(|code| code.parse()).transpose().map_err(|_| "a PoP that is none".to_owned())
        };
        let reason: Reason = reason.parse().map_err(|_| format!("reason {reason:?}"))?;
        Ok(Self {
            intended: Instant::from_nanos(intended),
            started: Instant::from_nanos(started),
            finished: Instant::from_nanos(finished),
            place,
            asked: pop_of(asked)?,
            asked_at: Instant::from_nanos(asked_at),
            pop: pop_of(pop)?,
            outcome: if status == 0 { Outcome::Failed(reason) } else { Outcome::Status(status) },
            cache: *CacheOutcome::ALL.get(usize::from(cache)).ok_or("what a cache did")?,
            reason,
            bytes,
            integrity: match integrity {
                None => Integrity::Unchecked,
                Some(true) => Integrity::Right,
                Some(false) => Integrity::Wrong,
            },
            attempts,
            fell_back,
            load,
            object,
            made: made.map(Instant::from_nanos),
            signature: *Signature::ALL.get(usize::from(signature)).ok_or("what a request showed")?,
        })
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_load_is_what_is_heard() {
        let load = Load {
            from: Origin::Places(vec![(SiteId::new("tokyo"), 2.0), (SiteId::new("iad"), 1.0)]),
            rps: 12.5,
            start: Duration::from_secs(3),
            span: Some(Duration::from_millis(7500)),
            paths: Paths::Trace([TraceRequest { at: Duration::from_nanos(5), object: u64::MAX, bytes: 3 }].into()),
            sizes: Sizes::LogNormal { median: 5, sigma: 0.5, max: 900 },
            ramp: vec![(Duration::ZERO, 0.1), (Duration::from_secs(9), 3.0)],
            diurnal: Some(Diurnal { utc: Duration::from_secs(60), pace: 60.0, trough: 0.3 }),
            connections: Connections {
                idle: Duration::ZERO,
                per_user: 3,
                think: Some(Duration::from_secs(1)),
                transport: Transport::Quic,
            },
            resolvers: Resolvers { client_subnet: 0.5, stretchers: 0.1, ..Resolvers::default() },
            retry: Retry { attempts: 3, budget: Some(0.1), ..Retry::default() },
            distribution: "demo".into(),
            method: "HEAD".into(),
            users: 77,
            signing: Some(Signing {
                key_id: "K1".into(),
                private_key: PrivatePem("pem".into()),
                in_cookies: true,
                lifetime: Duration::from_secs(9),
                expired: 0.1,
                forged: 0.2,
                unsigned: 0.3,
            }),
        };
        let said = serde_json::to_string(&LoadWire::from(&load)).unwrap();
        assert_eq!(Load::from(serde_json::from_str::<LoadWire>(&said).unwrap()), load);
    }

    #[test]
    fn what_is_said_of_a_request_is_what_is_heard() {
        let served = Observation {
            intended: Instant::from_nanos(1),
            started: Instant::from_nanos(2),
            finished: Instant::from_nanos(3),
            place: 17,
            asked: "FRA".parse().ok(),
            asked_at: Instant::from_nanos(5),
            pop: "AMS".parse().ok(),
            outcome: Outcome::Status(200),
            cache: CacheOutcome::Stale,
            reason: Reason::HitStaleOnError,
            bytes: 1024,
            integrity: Integrity::Wrong,
            attempts: 2,
            fell_back: true,
            load: 3,
            object: 9,
            made: Some(Instant::from_nanos(4)),
            signature: Signature::Forged,
        };
        let failed = Observation {
            outcome: Outcome::Failed(Reason::ViewerGaveUp),
            reason: Reason::ViewerGaveUp,
            pop: None,
            made: None,
            integrity: Integrity::Unchecked,
            ..served
        };
        for seen in [served, failed] {
            let said = serde_json::to_string(&ObservationWire::from(&seen)).unwrap();
            assert_eq!(Observation::try_from(serde_json::from_str::<ObservationWire>(&said).unwrap()), Ok(seen));
        }
    }
}
