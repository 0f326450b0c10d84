//! What all connections of a node share.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use cdn_core::{
    Counter, Counters, Instant,
    cache_key::KeySeed,
    distribution::{CheckedBehavior, Distribution, Distributions},
    forward::{self, Facts, Purge, Viewer},
    geo_restriction::{Country, GeoRestriction},
    http_version,
    invalidation::InvalidationPattern,
    parent_debts::ParentDebts,
    realtime_log::RealtimeLog,
    source_nat::SourceNat,
    standard_log::LogStyle,
    store::StoreSettings,
};
use http::{HeaderMap, HeaderValue, uri::Authority};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    BuildError,
    asked::Asked,
    clock::{Clock, WallClock},
    config::{Config, Limits, Parent, Places, Tier},
    decision_log::{DecisionLog, ParentRecord},
    dial::BoxConnect,
    disk::Disk,
    encode::Encoders,
    functions::{self, Functions},
    origin_tls::OriginTls,
    pool::Pool,
    service::Secure,
    signatures::Signatures,
    store::Store,
    tls::Tls,
};

/// What viewers are told of HTTP/3, ready.
#[derive(Debug)]
pub(crate) struct AltSvc {
    https_port: u16,
    /// For those that something leads here.
    usual: HeaderValue,
    /// For those that wrote our port.
    own: HeaderValue,
}

impl AltSvc {
    fn new(https_port: u16) -> Self {
        let value =
            |port| HeaderValue::try_from(http_version::alt_svc(port)).unwrap_or(HeaderValue::from_static("clear"));
        Self { https_port, usual: value(443), own: value(https_port) }
    }

    /// For whoever asks for `host`.
    pub(crate) fn at(&self, host: &str) -> HeaderValue {
        let own = http_version::port_of_viewer(host, self.https_port) == self.https_port;
        if own { self.own.clone() } else { self.usual.clone() }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Node {
    /// `edge.iad`.
    pub(crate) name: Arc<str>,
    pub(crate) tier: Tier,
    /// Whether HTTP/2 is spoken without TLS.
    pub(crate) plain_http2: bool,
    /// How lines of the access log are written.
    pub(crate) log_style: LogStyle,
    pub(crate) realtime_logs: BTreeMap<String, Arc<RealtimeLog>>,
    pub(crate) limits: Limits,
    pub(crate) counters: Arc<Counters>,
    pub(crate) clock: Clock,
    /// What this node takes for the date.
    pub(crate) wall: WallClock,
    pub(crate) distributions: ArcSwap<Distributions>,
    pub(crate) origins: BTreeMap<String, Authority>,
    pub(crate) https_origins: BTreeMap<String, OriginTls>,
    pub(crate) parents: Vec<Parent>,
    /// What is known of each of them, in their order.
    pub(crate) parent_health: Vec<Mutex<ParentRecord>>,
    /// What each of them has yet to be told to forget, in their order.
    pub(crate) parent_debts: Vec<Mutex<ParentDebts>>,
    pub(crate) source_nat: Option<SourceNat>,
    places: Option<Places>,
    pub(crate) store: Store,
    /// Where decisions are written down, if they are.
    pub(crate) decisions: Option<DecisionLog>,
    /// What is kept of the store beyond this process, where anything is.
    pub(crate) disk: Option<Disk>,
    pub(crate) signatures: Signatures,
    pub(crate) functions: Functions,
    /// Where viewers are spoken to by HTTPS.
    pub(crate) tls: Option<Tls>,
    /// The port that redirects to HTTPS name.
    pub(crate) https_port: u16,
    pub(crate) alt_svc: AltSvc,
    pub(crate) pool: Pool,
    pub(crate) encoders: Encoders,
    pub(crate) pop_header: HeaderValue,
    /// This node's entry for `Via`.
    pub(crate) via: HeaderValue,
    pub(crate) draining: AtomicBool,
    /// Connections and tunnels.
    pub(crate) tasks: TaskTracker,
    /// The node stops: nothing new is begun, and what runs may finish.
    pub(crate) stopping: CancellationToken,
    /// The grace is over.
    pub(crate) closing: CancellationToken,
    request_ids: RequestIds,
}

impl Node {
    pub(crate) fn new(config: Config, connect: BoxConnect) -> Result<Self, BuildError> {
        let counters = Arc::<Counters>::default();
        // One stream of randomness per node: its name is mixed into the seed of the run.
        let name: Arc<str> = config.id.to_string().into();
        let mut random = ChaCha8Rng::seed_from_u64(config.seed ^ fold(&name));
        let pool = Pool::new(
            connect,
            Arc::clone(&counters),
            config.limits.origin_header_bytes_max,
            config.limits.origin_idle_max,
        );
        let settings = StoreSettings {
            bytes_max: config.cache_bytes_max,
            object_bytes_max: config.object_bytes_max,
            eviction: config.eviction,
            admission: config.admission,
            admission_keys_max: config.limits.admission_keys_max,
            waiters_max: config.limits.waiters_max,
            wait_max: config.limits.wait_max,
            ..StoreSettings::default()
        };
        counters.set(Counter::EdgeStoreBytesMax, settings.bytes_max);
        let limits = &config.limits;
        let wall = WallClock::default();
        let disk = config.disk.as_ref().map(|disk| Disk::open(disk, limits, config.object_bytes_max, &counters, &wall));
        let disk = disk.transpose().map_err(BuildError::Disk)?;
        let distributions = Distributions::new(config.distributions).map_err(BuildError::Distributions)?;
        let decisions = config.decision_log.as_ref().map(|log| DecisionLog::start(log, Arc::clone(&counters)));
        let decisions = decisions.transpose().map_err(BuildError::DecisionLog)?;
        let debts = config.parents.iter().map(|_| Mutex::new(ParentDebts::new(config.limits.purges_owed_max)));
        let https = config.https.as_ref();
        let tls = https.map(|https| Tls::new(&https.certificates, config.limits.tls_handshake_timeout)).transpose();
        let mut https_origins = BTreeMap::new();
        for (id, origin) in config.https_origins {
            let tls = OriginTls::new(&origin, &wall, config.limits.origin_tls_max, Arc::clone(&counters));
            https_origins.insert(id.clone(), tls.map_err(|why| BuildError::OriginAuthorities(id, why))?);
        }
        let functions = functions::Settings {
            limits: config.limits.functions,
            waiting_max: config.limits.function_calls_waiting_max,
            wait_max: config.limits.function_wait_max,
        };
        let drawn = KeySeed::new(random.random());
        // Keys of what is kept beyond a process have to mean the same in the next.
        let store = Store::new(settings, disk.as_ref().map_or(drawn, Disk::seed), &counters, decisions.as_ref());
        if let Some(log) = &decisions {
            store.begin_record(log, config.parents.len());
            log.serves(distributions.iter());
        }
        let health = |place| Mutex::new(ParentRecord::new(place, decisions.as_ref()));
        let parent_health: Vec<_> = (0..config.parents.len()).map(health).collect();
        Ok(Self {
            tier: config.tier,
            log_style: config.log_style,
            realtime_logs: config.realtime_logs,
            clock: Clock::new(),
            wall: wall.clone(),
            distributions: ArcSwap::from_pointee(distributions),
            plain_http2: config.plain_http2,
            origins: config.origins,
            https_origins,
            parent_health,
            parent_debts: debts.collect(),
            parents: config.parents,
            source_nat: config.source_nat,
            places: config.places,
            store,
            decisions,
            disk,
            tls: tls.map_err(BuildError::Certificate)?,
            https_port: https.map_or(443, |https| https.port),
            alt_svc: AltSvc::new(https.map_or(443, |https| https.port)),
            signatures: Signatures::new(KeySeed::new(random.random()), config.limits.verified_policies_max, wall),
            functions: Functions::new(functions, Arc::clone(&counters)),
            pool,
            encoders: Encoders::new(config.compression),
            pop_header: forward::pop_header(config.pop),
            via: forward::via(random.random()),
            draining: AtomicBool::new(false),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            closing: CancellationToken::new(),
            request_ids: RequestIds { seed: random.random(), next: AtomicU64::new(0) },
            limits: config.limits,
            counters,
            name,
        })
    }

    /// Whether a viewer at `address` is served, as far as its country says.
    pub(crate) fn may_be_served(&self, restriction: &GeoRestriction, address: IpAddr) -> bool {
        if restriction.is_none() {
            return true;
        }
        restriction.serves(self.country_of(address).and_then(Country::parse))
    }

    /// Where a viewer is, ISO 3166-1 alpha-2.
    pub(crate) fn country_of(&self, address: IpAddr) -> Option<&str> {
        self.places.as_ref().and_then(|places| places.map.country_of(address))
    }

    /// Makes a viewer's headers fit to be looked at. What another node of ours sends has been made so by the edge.
    pub(crate) fn receive_viewer_headers(
        &self,
        headers: &mut HeaderMap,
        behavior: &CheckedBehavior,
        viewer: &Viewer,
        secure: Option<&Secure>,
    ) {
        if self.tier != Tier::Edge {
            return forward::strip_hop_by_hop(headers);
        }
        let places = self.places.as_ref().filter(|_| behavior.wants_place());
        let place = places.and_then(|places| places.map.locate(viewer.address.ip()));
        let country = place.as_ref().and_then(|place| Country::parse(&place.country));
        let country_name = country.and_then(|country| places?.country_names.get(&country)).map(String::as_str);
        let wants_tls = behavior.cloudfront_headers().contains(&forward::CLOUDFRONT_VIEWER_TLS);
        let tls = secure.filter(|_| wants_tls).map(|secure| secure.session.to_string());
        let facts = Facts { place: place.as_ref(), country_name, tls: tls.as_deref() };
        forward::receive_viewer_headers(headers, behavior, viewer, facts);
    }

    /// Removes what `pattern` covers from memory and disk; how many responses that were. Fetches that are under way will
    /// not be stored.
    pub(crate) fn invalidate(&self, distribution: &Distribution, pattern: &InvalidationPattern) -> u64 {
        // The disk first: what comes back from there after this is in flight, and does not outlive the other.
        let on_disk = self.disk.as_ref().map_or(0, |disk| disk.invalidate(distribution.id(), pattern));
        on_disk + self.store.invalidate(distribution.id(), pattern)
    }

    /// The same for everything that a target, or its distribution, has in memory and on disk.
    pub(crate) fn forget(&self, purge: Purge, asked: &Asked) {
        match purge {
            Purge::Target => {
                let key = asked.head().key(self.store.seed());
                if let Some(disk) = &self.disk {
                    disk.forget_object(key);
                }
                self.store.forget(key);
            }
            Purge::Distribution => {
                if let Ok(all) = asked.distribution.invalidation("/*") {
                    self.invalidate(&asked.distribution, &all);
                }
            }
        }
    }

    /// Which layer the parent at a place is; `None` beyond the last.
    pub(crate) fn tier_of_parent(&self, place: usize) -> Option<Tier> {
        self.parents.get(place).map(|parent| parent.tier)
    }

    /// Whether the parent at a place is asked now, or left alone for a while.
    pub(crate) fn is_worth_asking(&self, place: usize, now: Instant) -> bool {
        let health = self.parent_health.get(place).map(|health| health.lock().unwrap_or_else(PoisonError::into_inner));
        health.is_some_and(|mut health| health.is_worth_asking(now))
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whether bodies have as much memory beside the store as they may.
    ///
    /// The store counts heads and bookkeeping too, and what is announced before it arrives. So this errs on the generous
    /// side by that, and bodies in all never have more than the two limits together.
    pub(crate) fn is_full_of_bodies(&self) -> bool {
        let stored = self.counters.value(Counter::EdgeStoreBytes);
        let beside = self.counters.value(Counter::EdgeBodyBytes).saturating_sub(stored);
        beside >= self.limits.inflight_bytes_max
    }

    pub(crate) fn request_id(&self) -> HeaderValue {
        forward::request_id(self.request_ids.draw())
    }
}

/// Request ids: a counter through a mixing function, because they must differ and need not be secret.
#[derive(Debug)]
struct RequestIds {
    seed: u64,
    next: AtomicU64,
}

impl RequestIds {
    fn draw(&self) -> [u8; 40] {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut state = self.seed ^ number.wrapping_mul(0xd134_2543_de82_ef95);
        let mut bytes = [0; 40];
        for eight in bytes.chunks_exact_mut(8) {
            // SplitMix64 (Steele, Lea, Flood 2014).
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            eight.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
        }
        bytes
    }
}

/// FNV-1a, which spreads names well enough to keep their streams apart.
fn fold(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
