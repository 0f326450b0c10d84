//! Resolvers: one per place, each with a cache of its own, shared by all who resolve there.
//!
//! Decides when a question goes out: once for all who ask the same at the same time, and not at all while an answer is
//! kept. A lookup runs to its end even when whoever asked has left, because the cache wants the answer.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    str::FromStr as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use cdn_core::{Counter, Counters};
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RecordType},
};
use ipnet::Ipv4Net;
use tokio::sync::watch;
use world::{SiteId, client::Servers};

use super::{
    cache::Cache,
    exchange::{Manner, Upstream},
    reply::{ALIASES_MAX, Chain, Question, Reply},
};
use crate::{config::Limits, net::Net, place::Standing};

/// Why a name has no addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ResolveError {
    /// The text is not a domain name.
    #[error("{0:?} is not a domain name")]
    NotAName(String),
    /// No router gave an answer; the story of each try.
    #[error("no router answered for {name} ({story})")]
    Silence {
        /// The name.
        name: String,
        /// What happened at each try.
        story: String,
    },
    /// The routers answered, but with an error.
    #[error("{server} answered {rcode} for {name}")]
    Failed {
        /// The name.
        name: String,
        /// Who said so.
        server: SocketAddr,
        /// The response code, as dig writes it.
        rcode: String,
    },
    /// The name exists without an address.
    #[error("{0} has no address")]
    NoAddress(String),
    /// The resolver has as many lookups under way as its limit allows.
    #[error("the resolver has too many lookups under way")]
    Busy,
}

/// A name's addresses.
#[derive(Clone, Debug)]
pub(crate) struct Located {
    /// In the order in which the router gave them.
    pub(crate) addresses: Vec<IpAddr>,
    /// How they came, for people: who answered, or how old the answer was.
    pub(crate) how: String,
}

/// An answer, and whether it was kept from before.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    pub(crate) reply: Arc<Reply>,
    /// `Some` when it came from the cache.
    pub(crate) age: Option<Duration>,
}

/// All resolvers of a viewer node.
pub(crate) struct Resolvers {
    /// By site, and by how long at least answers are kept.
    by_site: Mutex<HashMap<(SiteId, Duration), Arc<Resolver>>>,
    net: Arc<dyn Net>,
    routers: Vec<SocketAddr>,
    limits: Arc<Limits>,
    counters: Arc<Counters>,
}

impl Resolvers {
    pub(crate) fn new(
        net: Arc<dyn Net>,
        routers: Vec<SocketAddr>,
        limits: Arc<Limits>,
        counters: Arc<Counters>,
    ) -> Self {
        Self { by_site: Mutex::default(), net, routers, limits, counters }
    }

    /// The resolver that stands at `standing`.
    pub(crate) fn at(&self, standing: &Standing) -> Arc<Resolver> {
        self.stretching_at(standing, Duration::ZERO)
    }

    /// The resolver there that keeps every answer for `ttl_min` at least, whatever its TTL.
    pub(crate) fn stretching_at(&self, standing: &Standing, ttl_min: Duration) -> Arc<Resolver> {
        let mut by_site = lock(&self.by_site);
        let resolver = by_site.entry((standing.site.clone(), ttl_min)).or_insert_with(|| {
            let upstream = Upstream {
                net: Arc::clone(&self.net),
                from: standing.resolver_source(),
                servers: Mutex::new(Servers::new(&self.routers)),
                limits: Arc::clone(&self.limits),
                counters: Arc::clone(&self.counters),
            };
            Arc::new(Resolver {
                standing: standing.clone(),
                ttl_min,
                upstream,
                state: Mutex::new(State {
                    cache: Cache::new(self.limits.dns_cache_entries_max),
                    under_way: HashMap::new(),
                }),
            })
        });
        Arc::clone(resolver)
    }

    /// Forgets every answer of every resolver and says how many those were.
    pub(crate) fn flush(&self) -> usize {
        let resolvers: Vec<_> = lock(&self.by_site).values().cloned().collect();
        resolvers.iter().map(|resolver| lock(&resolver.state).cache.flush()).sum()
    }
}

/// A resolver in a place.
pub(crate) struct Resolver {
    pub(crate) standing: Standing,
    ttl_min: Duration,
    upstream: Upstream,
    state: Mutex<State>,
}

type Outcome = Result<Arc<Reply>, ResolveError>;

struct State {
    cache: Cache,
    under_way: HashMap<Question, watch::Receiver<Option<Outcome>>>,
}

impl Resolver {
    /// The addresses of `host` for a client in `viewer`'s place, who pays the way to this resolver and back.
    pub(crate) async fn locate(
        self: &Arc<Self>,
        viewer: &Standing,
        host: &str,
        subnet: Option<Ipv4Net>,
    ) -> Result<Located, ResolveError> {
        self.cross_from(viewer).await;
        let located = self.locate_here(host, subnet).await;
        self.cross_to(viewer).await;
        located
    }

    /// Waits as long as a question takes from `viewer` to here.
    pub(crate) async fn cross_from(&self, viewer: &Standing) {
        self.upstream.net.cross(&viewer.site, &self.standing.site).await;
    }

    /// Waits as long as an answer takes from here to `viewer`.
    pub(crate) async fn cross_to(&self, viewer: &Standing) {
        self.upstream.net.cross(&self.standing.site, &viewer.site).await;
    }

    /// IPv4 addresses, and where a name has none the others: a viewer tries no two families beside one another.
    async fn locate_here(self: &Arc<Self>, host: &str, subnet: Option<Ipv4Net>) -> Result<Located, ResolveError> {
        match self.locate_in(host, RecordType::A, subnet).await {
            Err(ResolveError::NoAddress(_)) => self.locate_in(host, RecordType::AAAA, subnet).await,
            located => located,
        }
    }

    async fn locate_in(
        self: &Arc<Self>,
        host: &str,
        kind: RecordType,
        subnet: Option<Ipv4Net>,
    ) -> Result<Located, ResolveError> {
        let mut name = parse_name(host)?;
        for _ in 0..ALIASES_MAX {
            let question = Question { name, kind, subnet };
            let resolved = self.resolve(&question).await?;
            let reply = &resolved.reply;
            if reply.rcode != ResponseCode::NoError {
                let (server, rcode) = (reply.server, mnemonic(reply.rcode));
                return Err(ResolveError::Failed { name: host.into(), server, rcode });
            }
            match reply.chain(&question.name) {
                Chain::Addresses(addresses) => return Ok(Located { addresses, how: resolved.how() }),
                Chain::Alias(target) => name = target,
                Chain::Nothing => break,
            }
        }
        Err(ResolveError::NoAddress(host.into()))
    }

    /// The answer to `question`, from the cache if it is kept there.
    pub(crate) async fn resolve(self: &Arc<Self>, question: &Question) -> Result<Resolved, ResolveError> {
        let mut waiting = {
            let mut state = lock(&self.state);
            if let Some((reply, age)) = state.cache.lookup(Instant::now(), question) {
                self.upstream.counters.bump(Counter::ViewerDnsCacheHits);
                return Ok(Resolved { reply, age: Some(age) });
            }
            match state.under_way.get(question) {
                Some(waiting) => waiting.clone(),
                None if state.under_way.len() >= self.upstream.limits.dns_lookups_max => {
                    self.upstream.counters.bump(Counter::ViewerDnsBusy);
                    return Err(ResolveError::Busy);
                }
                None => {
                    let (told, waiting) = watch::channel(None);
                    state.under_way.insert(question.clone(), waiting.clone());
                    let (resolver, question) = (Arc::clone(self), question.clone());
                    tokio::spawn(async move {
                        let outcome = resolver.look_up(&question).await;
                        told.send_replace(Some(outcome));
                    });
                    waiting
                }
            }
        };
        let heard = waiting.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        let reply = heard.unwrap_or(Err(ResolveError::Busy))?;
        Ok(Resolved { reply, age: None })
    }

    /// Asks a router now, past the cache, and keeps nothing.
    pub(crate) async fn ask(&self, question: &Question, manner: Manner) -> Result<Resolved, ResolveError> {
        match self.upstream.ask(question, manner).await {
            Ok(reply) => Ok(Resolved { reply: Arc::new(reply), age: None }),
            Err(story) => Err(ResolveError::Silence { name: question.name.to_string(), story }),
        }
    }

    async fn look_up(&self, question: &Question) -> Outcome {
        // Whatever happens to the lookup, the question must become askable again.
        let _done = Done { resolver: self, question };
        let outcome = self.ask(question, Manner::default()).await.map(|resolved| resolved.reply);
        if let Ok(reply) = &outcome
            && let Some(ttl) = reply.ttl(self.upstream.limits.dns_ttl_max)
            && lock(&self.state).cache.store(Instant::now(), question, Arc::clone(reply), ttl.max(self.ttl_min))
        {
            self.upstream.counters.bump(Counter::ViewerDnsCacheEvictions);
        }
        outcome
    }
}

struct Done<'a> {
    resolver: &'a Resolver,
    question: &'a Question,
}

impl Drop for Done<'_> {
    fn drop(&mut self) {
        lock(&self.resolver.state).under_way.remove(self.question);
    }
}

impl Resolved {
    fn how(&self) -> String {
        let server = self.reply.server;
        match self.age {
            Some(age) => format!("cached {} s ago", age.as_secs()),
            None => match (self.reply.tries, self.reply.tcp) {
                (1, false) => format!("from router {server}"),
                (1, true) => format!("from router {server}, over TCP"),
                (tries, _) => format!("from router {server}, {tries} tries"),
            },
        }
    }
}

/// A domain name from what a user typed, absolute whether or not it ends in a dot.
pub(crate) fn parse_name(text: &str) -> Result<Name, ResolveError> {
    let wrong = || ResolveError::NotAName(text.chars().take(100).collect());
    let mut name = Name::from_str(text).map_err(|_| wrong())?;
    name.set_fqdn(true);
    if name.is_root() && text != "." { Err(wrong()) } else { Ok(name) }
}

/// A response code as dig writes it.
pub(crate) fn mnemonic(rcode: ResponseCode) -> String {
    match rcode {
        ResponseCode::NoError => "NOERROR".into(),
        ResponseCode::FormErr => "FORMERR".into(),
        ResponseCode::ServFail => "SERVFAIL".into(),
        ResponseCode::NXDomain => "NXDOMAIN".into(),
        ResponseCode::NotImp => "NOTIMP".into(),
        ResponseCode::Refused => "REFUSED".into(),
        ResponseCode::BADVERS => "BADVERS".into(),
        other => format!("RCODE{}", u16::from(other)),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
