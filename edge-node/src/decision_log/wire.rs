//! Lines of the decision log. Times are nanoseconds since the node began, bytes of header values are characters of Latin-1.

use std::{sync::Arc, time::Duration};

use cdn_core::{
    Instant, WallTime,
    cache_key::{CacheKey, KeySeed, RequestHead},
    distribution::Distribution,
    eviction::EvictionPolicy,
    freshness::{self, Arrival, Lifetime, Said},
    store::{StoreSettings, StoredHead, admission::AdmissionPolicy},
    vary::Vary,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::{DecisionLog, call::Call, origin::ToldLine};

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// A process of the node begins.
    Began(Began),
    /// Under this number lines speak of the distribution with this digest.
    Distribution { number: usize, digest: String },
    /// A shard of the store was told something. `turn` counts what the shard was told.
    Store { shard: usize, turn: u64, at: u64, call: Call, said: String },
    /// A response from behind was judged.
    Arrival { arrival: ArrivalLine, said: String },
    /// A request's way through an origin or an origin group: what came of each step, and the steps.
    Way(WayLine),
    /// Something about a cache between. `turn` counts what is known of it.
    Parent { parent: usize, turn: u64, at: u64, call: ParentCall, said: Option<bool> },
}

/// Why a line says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineError {
    /// It is not whole, or none of this version's.
    Unreadable,
    /// Lines before it are missing.
    Gap,
    /// It is about a distribution that is not known here.
    UnknownDistribution,
}

/// What a node's store is made of.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Began {
    seed: String,
    pub(super) shards: usize,
    pub(super) parents: usize,
    bytes_max: u64,
    body_overhead_bytes: u64,
    object_bytes_max: u64,
    waiters_max: u32,
    variants_max: usize,
    parts_max: usize,
    wait_max: u64,
    unshared_for: u64,
    eviction: String,
    admission: String,
    admission_keys_max: usize,
}

impl Began {
    pub(super) fn new(seed: KeySeed, shards: usize, each: &StoreSettings, parents: usize) -> Self {
        Self {
            seed: hex(seed.bits()),
            shards,
            parents,
            bytes_max: each.bytes_max,
            body_overhead_bytes: each.body_overhead_bytes,
            object_bytes_max: each.object_bytes_max,
            waiters_max: each.waiters_max,
            variants_max: each.variants_max,
            parts_max: each.parts_max,
            wait_max: nanos(each.wait_max),
            unshared_for: nanos(each.unshared_for),
            eviction: each.eviction.as_str().into(),
            admission: each.admission.as_str().into(),
            admission_keys_max: each.admission_keys_max,
        }
    }

    pub(super) fn seed(&self) -> Option<KeySeed> {
        unhex(&self.seed).map(KeySeed::new)
    }

    pub(super) fn settings(&self) -> Option<StoreSettings> {
        Some(StoreSettings {
            bytes_max: self.bytes_max,
            body_overhead_bytes: self.body_overhead_bytes,
            object_bytes_max: self.object_bytes_max,
            waiters_max: self.waiters_max,
            variants_max: self.variants_max,
            parts_max: self.parts_max,
            wait_max: Duration::from_nanos(self.wait_max),
            unshared_for: Duration::from_nanos(self.unshared_for),
            eviction: EvictionPolicy::ALL.into_iter().find(|policy| policy.as_str() == self.eviction)?,
            admission: AdmissionPolicy::ALL.into_iter().find(|policy| policy.as_str() == self.admission)?,
            admission_keys_max: self.admission_keys_max,
        })
    }
}

/// A behavior of a distribution that was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(super) distribution: usize,
    pub(super) behavior: usize,
}

/// Distributions by their numbers, those that are known.
pub(super) type Served = [Option<Arc<Distribution>>];

impl Place {
    /// The distribution that is meant.
    pub(super) fn distribution<'s>(
        place: Option<&Self>,
        served: &'s Served,
    ) -> Result<&'s Arc<Distribution>, LineError> {
        let found = place.and_then(|place| served.get(place.distribution)?.as_ref());
        found.ok_or(LineError::UnknownDistribution)
    }
}

/// A request as the store is asked with it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RequestLine {
    place: Option<Place>,
    method: String,
    host: String,
    path: String,
    query: Option<String>,
    headers: Headers,
}

impl RequestLine {
    pub(super) fn new(log: &DecisionLog, request: &RequestHead<'_>) -> Self {
        Self {
            place: log.place(request.distribution, request.behavior),
            method: request.method.as_str().into(),
            host: request.host.into(),
            path: request.path.into(),
            query: request.query.map(Into::into),
            headers: request.headers.into(),
        }
    }

    /// Does something with the request.
    pub(super) fn with<T>(&self, served: &Served, act: impl FnOnce(&RequestHead<'_>) -> T) -> Result<T, LineError> {
        let distribution = Place::distribution(self.place.as_ref(), served)?;
        let headers = self.headers.read()?;
        let method = Method::from_bytes(self.method.as_bytes()).map_err(|_| LineError::Unreadable)?;
        Ok(act(&RequestHead {
            distribution,
            behavior: distribution.behavior_at(self.place.map_or(0, |place| place.behavior)),
            method: &method,
            host: &self.host,
            path: &self.path,
            query: self.query.as_deref(),
            headers: &headers,
        }))
    }
}

/// See [`Arrived`](super::Arrived).
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ArrivalLine {
    pub(super) place: Option<Place>,
    pub(super) status: u16,
    pub(super) headers: Headers,
    pub(super) requested_at: u64,
    pub(super) responded_at: u64,
    /// Nanoseconds since 1970, which JSON's numbers are too short for.
    pub(super) date: String,
    pub(super) authorized: bool,
}

impl ArrivalLine {
    /// Judges it again.
    pub(super) fn judge(&self, served: &Served) -> Result<String, LineError> {
        let distribution = Place::distribution(self.place.as_ref(), served)?;
        let behavior = distribution.behavior_at(self.place.map_or(0, |place| place.behavior));
        let status = StatusCode::from_u16(self.status).map_err(|_| LineError::Unreadable)?;
        let (headers, policy) = (self.headers.read()?, behavior.cache_policy());
        let storing = freshness::assess(&Arrival {
            status,
            said: &Said::of(&headers, policy.rules),
            vary: &Vary::of(&headers, behavior),
            requested_at: Instant::from_nanos(self.requested_at),
            responded_at: Instant::from_nanos(self.responded_at),
            date: WallTime::from_unix_nanos(self.date.parse().map_err(|_| LineError::Unreadable)?),
            policy,
            error_ttl_min: distribution.error_pages().ttl(status),
            authorized: self.authorized,
        });
        Ok(format!("{storing:?}"))
    }
}

/// See [`Way`](super::Way).
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WayLine {
    pub(super) place: Option<Place>,
    /// What a function said of the origins, where it said something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) origins: Option<String>,
    pub(super) method: String,
    pub(super) began: u64,
    pub(super) told: Vec<ToldLine>,
    /// The first, and what came after each that was told.
    pub(super) steps: Vec<String>,
}

/// What is done with what is known of a cache between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ParentCall {
    /// Whether to ask it.
    WorthAsking,
    Answered,
    /// See [`Useless`](cdn_core::parent_health::Useless).
    Useless {
        began: u64,
        patience: u64,
        retry: u64,
    },
}

/// Header lines in order.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Headers(Vec<(String, String)>);

impl From<&HeaderMap> for Headers {
    fn from(headers: &HeaderMap) -> Self {
        let text = |value: &HeaderValue| value.as_bytes().iter().map(|&byte| char::from(byte)).collect();
        Self(headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect())
    }
}

impl Headers {
    pub(super) fn read(&self) -> Result<HeaderMap, LineError> {
        let mut headers = HeaderMap::with_capacity(self.0.len());
        for (name, text) in &self.0 {
            let bytes = text.chars().map(u8::try_from).collect::<Result<Vec<u8>, _>>();
            let value = bytes.ok().and_then(|bytes| HeaderValue::from_bytes(&bytes).ok());
            let name = HeaderName::from_bytes(name.as_bytes()).ok();
            let (Some(name), Some(value)) = (name, value) else { return Err(LineError::Unreadable) };
            headers.append(name, value);
        }
        Ok(headers)
    }
}

/// The head of a stored response.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HeadLine {
    status: u16,
    headers: Headers,
}

impl From<&StoredHead> for HeadLine {
    fn from(head: &StoredHead) -> Self {
        Self { status: head.status().as_u16(), headers: (&head.headers()).into() }
    }
}

impl HeadLine {
    pub(super) fn read(&self) -> Result<Arc<StoredHead>, LineError> {
        let status = StatusCode::from_u16(self.status).map_err(|_| LineError::Unreadable)?;
        Ok(Arc::new(StoredHead::new(status, self.headers.read()?)))
    }
}

/// The names of a `Vary`; `None` for `*`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct VaryLine(Option<Vec<String>>);

impl From<&Vary> for VaryLine {
    fn from(vary: &Vary) -> Self {
        Self(match vary {
            Vary::Any => None,
            Vary::Names(names) => Some(names.iter().map(|name| name.as_str().to_owned()).collect()),
        })
    }
}

impl VaryLine {
    pub(super) fn read(&self) -> Result<Vary, LineError> {
        let Some(names) = &self.0 else { return Ok(Vary::Any) };
        let names = names.iter().map(|name| HeaderName::from_bytes(name.as_bytes()).map_err(|_| LineError::Unreadable));
        Ok(Vary::Names(names.collect::<Result<_, _>>()?))
    }
}

/// A lifetime, in the order of its fields.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct LifetimeLine([u64; 6]);

impl From<Lifetime> for LifetimeLine {
    fn from(lifetime: Lifetime) -> Self {
        let Lifetime { initial_age, fresh_for, while_revalidate, if_error, if_gone, retry_after } = lifetime;
        Self([initial_age, fresh_for, while_revalidate, if_error, if_gone, retry_after].map(nanos))
    }
}

impl From<LifetimeLine> for Lifetime {
    fn from(LifetimeLine(spans): LifetimeLine) -> Self {
        let [initial_age, fresh_for, while_revalidate, if_error, if_gone, retry_after] =
            spans.map(Duration::from_nanos);
        Self { initial_age, fresh_for, while_revalidate, if_error, if_gone, retry_after }
    }
}

/// A cache key, whose 128 bits JSON's numbers are too short for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct KeyLine(String);

impl From<CacheKey> for KeyLine {
    fn from(key: CacheKey) -> Self {
        Self(hex(key.bits()))
    }
}

impl KeyLine {
    pub(super) fn read(&self) -> Result<CacheKey, LineError> {
        unhex(&self.0).map(CacheKey::from_bits).ok_or(LineError::Unreadable)
    }
}

fn hex(bits: u128) -> String {
    format!("{bits:x}")
}

fn unhex(text: &str) -> Option<u128> {
    u128::from_str_radix(text, 16).ok()
}

/// Nanoseconds reach 584 years, further than any span that decides anything.
pub(super) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_byte_by_byte() {
        let mut headers = HeaderMap::new();
        headers.append("etag", HeaderValue::from_bytes(b"\"\xe9\xff\"").unwrap());
        headers.append("vary", HeaderValue::from_static("a"));
        headers.append("vary", HeaderValue::from_static("b"));
        let text = serde_json::to_string(&Headers::from(&headers)).unwrap();
        assert_eq!(serde_json::from_str::<Headers>(&text).unwrap().read().unwrap(), headers);
        assert!(Headers(vec![("a".into(), "\u{100}".into())]).read().is_err());
    }

    #[test]
    fn settings_come_back() {
        let settings = StoreSettings { eviction: EvictionPolicy::S3Fifo, parts_max: 3, ..StoreSettings::default() };
        let seed = KeySeed::new(u128::MAX - 5);
        let text = serde_json::to_string(&Began::new(seed, 2, &settings, 1)).unwrap();
        let began: Began = serde_json::from_str(&text).unwrap();
        assert_eq!((began.settings(), began.seed().unwrap().bits()), (Some(settings), u128::MAX - 5));
    }
}
