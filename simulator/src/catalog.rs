//! What is asked for: each object of a load under a configuration, with its cache key worked out once.
//!
//! A key is the live one, made from the same canonical form; only that it is made once per object, and not once per
//! request, is the simulator's.

use std::{collections::HashMap, hash::BuildHasherDefault, net::SocketAddr, sync::Arc};

use cdn_core::{
    Reason,
    cache_key::{CacheKey, KeySeed, RequestHead},
    distribution::{CheckedBehavior, Distribution, MethodClass},
    forward::{self, Facts, Viewer},
    prefetch::prefetch_at,
    store::StoredHead,
};
use http::{HeaderMap, HeaderValue, Method, Version};
use world::{scenario::Load, workload::path_of};

use crate::{bodies::Print, fetches::Reading, hash::Mixer};

/// An object as it is asked for, in one cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Entry {
    pub(crate) load: u16,
    pub(crate) object: u64,
    distribution: u16,
    behavior: u16,
    path: Box<str>,
    /// Where in `path` the query begins, behind the question mark.
    query: Option<u32>,
    /// What is in place of the bytes of its body.
    pub(crate) print: Print,
    pub(crate) key: CacheKey,
    /// How the method is served, or why it passes the store.
    pub(crate) class: Result<MethodClass, Reason>,
    pub(crate) is_allowed: bool,
}

const _: () = assert!(size_of::<Entry>() == 64);

/// One configuration's objects.
#[derive(Debug)]
pub(crate) struct Catalog {
    distributions: Vec<Arc<Distribution>>,
    loads: Vec<Asks>,
    entries: Vec<Entry>,
    /// Of the heads of entries that caches passed on to others, what was read of each last.
    readings: HashMap<u32, Reading, BuildHasherDefault<Mixer>>,
    seed: KeySeed,
    nothing: HeaderMap,
}

/// What all requests of a load have in common.
#[derive(Debug)]
struct Asks {
    load: Load,
    method: Method,
    distribution: Option<u16>,
    host: String,
    /// By behavior: the headers as the store sees them.
    headers: Vec<HeaderMap>,
    known: Known,
}

/// The entries of objects that were asked for. Ranks are small numbers, which need no hash; ids of traces are any.
#[derive(Debug, Default)]
struct Known {
    /// By object; [`UNKNOWN`] where there is none.
    ranks: Vec<u32>,
    others: HashMap<u64, u32, BuildHasherDefault<Mixer>>,
}

/// Objects below have a place of their own: 4 MiB of them at most.
const RANKS: u64 = 1 << 20;
const UNKNOWN: u32 = u32::MAX;

impl Known {
    fn entry(&self, object: u64) -> Option<u32> {
        if object < RANKS {
            return self.ranks.get(object as usize).copied().filter(|entry| *entry != UNKNOWN);
        }
        self.others.get(&object).copied()
    }

    fn insert(&mut self, object: u64, entry: u32) {
        if object >= RANKS {
            self.others.insert(object, entry);
            return;
        }
        let at = object as usize;
        if self.ranks.len() <= at {
            self.ranks.resize(at + 1, UNKNOWN);
        }
        self.ranks[at] = entry;
    }
}

impl Catalog {
    pub(crate) fn new(distributions: &[Arc<Distribution>], loads: &[Load], seed: KeySeed) -> Self {
        let asks = |load: &Load| {
            let at = distributions.iter().position(|distribution| **distribution.id() == *load.distribution);
            let distribution = at.and_then(|at| distributions.get(at));
            let host = distribution.map(|distribution| {
                let written = distribution.aliases().iter().find(|alias| !alias.starts_with('*'));
                written.map_or_else(|| distribution.own_name(), ToString::to_string)
            });
            let headers = distribution.into_iter().flat_map(|distribution| distribution.behaviors());
            Asks {
                method: load.method.parse().unwrap_or(Method::GET),
                distribution: at.and_then(|at| u16::try_from(at).ok()),
                host: host.unwrap_or_default(),
                headers: headers.map(received).collect(),
                known: Known::default(),
                load: load.clone(),
            }
        };
        Self {
            distributions: distributions.to_vec(),
            loads: loads.iter().map(asks).collect(),
            entries: Vec::new(),
            readings: HashMap::default(),
            seed,
            nothing: HeaderMap::new(),
        }
    }

    /// The entry of an object; `None` where the load's distribution is not part of the configuration.
    pub(crate) fn find(&mut self, load: u16, object: u64, size: Option<u64>) -> Option<u32> {
        let asks = self.loads.get_mut(usize::from(load))?;
        if let Some(known) = asks.known.entry(object) {
            return Some(known);
        }
        let at = asks.distribution?;
        let distribution = self.distributions.get(usize::from(at))?;
        let target = path_of(&asks.load, object, size);
        let (plain, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (&*target, None),
        };
        let path = distribution.root_object_for(plain).unwrap_or_else(|| plain.to_owned());
        let behavior = distribution.behavior_for(&path);
        let place = distribution.behaviors().iter().position(|one| std::ptr::eq(one, behavior))?;
        let head = RequestHead {
            distribution,
            behavior,
            method: &asks.method,
            host: &asks.host,
            path: &path,
            query,
            headers: asks.headers.get(place)?,
        };
        let whole: Box<str> = query.map_or_else(|| path.clone(), |query| format!("{path}?{query}")).into();
        let entry = Entry {
            load,
            object,
            distribution: at,
            behavior: u16::try_from(place).ok()?,
            key: head.key(self.seed),
            class: behavior.method_class(&asks.method),
            is_allowed: behavior.allows(&asks.method),
            query: query.and_then(|_| u32::try_from(path.len() + 1).ok()),
            print: Print::of_path(&whole),
            path: whole,
        };
        let number = u32::try_from(self.entries.len()).ok()?;
        self.entries.push(entry);
        asks.known.insert(object, number);
        Some(number)
    }

    /// Reads the head under which an entry is stored, for [`reading`](Self::reading), unless it was the last that was read.
    pub(crate) fn read(&mut self, entry: u32, head: &Arc<StoredHead>) -> Option<()> {
        let known = self.entries.get(entry as usize)?;
        let behavior = self.distributions.get(usize::from(known.distribution))?.behaviors();
        let behavior = behavior.get(usize::from(known.behavior))?;
        let reading = self.readings.entry(entry).or_insert_with(|| Reading::of(head, behavior));
        if !Arc::ptr_eq(&reading.head, head) {
            *reading = Reading::of(head, behavior);
        }
        Some(())
    }

    /// What the head of an entry that was read last says in the eyes of the next cache.
    pub(crate) fn reading(&self, entry: u32) -> Option<&Reading> {
        self.readings.get(&entry)
    }

    /// The entry of an object that was asked for before.
    pub(crate) fn known(&self, load: u16, object: u64) -> Option<u32> {
        self.loads.get(usize::from(load))?.known.entry(object)
    }

    /// Asks memory for an entry.
    pub(crate) fn prefetch(&self, entry: u32) {
        prefetch_at(&self.entries, entry as usize);
    }

    pub(crate) fn entry(&self, entry: u32) -> Option<&Entry> {
        self.entries.get(entry as usize)
    }

    /// The request for an entry, with headers of its own where there are any.
    pub(crate) fn head<'a>(&'a self, entry: u32, headers: Option<&'a HeaderMap>) -> Option<RequestHead<'a>> {
        let entry = self.entries.get(entry as usize)?;
        let distribution = self.distributions.get(usize::from(entry.distribution))?;
        let asks = self.loads.get(usize::from(entry.load))?;
        let (path, query) = match entry.query {
            None => (&*entry.path, None),
            Some(at) => (entry.path.get(..at as usize - 1)?, entry.path.get(at as usize..)),
        };
        Some(RequestHead {
            distribution,
            behavior: distribution.behaviors().get(usize::from(entry.behavior))?,
            method: &asks.method,
            host: &asks.host,
            path,
            query,
            headers: headers.or_else(|| asks.headers.get(usize::from(entry.behavior))).unwrap_or(&self.nothing),
        })
    }

    pub(crate) fn distributions(&self) -> &[Arc<Distribution>] {
        &self.distributions
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

/// The headers of a viewer who says nothing, as an edge makes them fit to be looked at.
fn received(behavior: &CheckedBehavior) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let viewer = Viewer {
        address: SocketAddr::from(([198, 18, 0, 1], 1)),
        https: false,
        version: Version::HTTP_11,
        request_id: HeaderValue::from_static("-"),
    };
    forward::receive_viewer_headers(&mut headers, behavior, &viewer, Facts::default());
    headers
}
