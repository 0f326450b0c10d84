//! What viewers ask the caches of a study for: objects by popularity alone, or what somebody has recorded.

use std::sync::Arc;

use cdn_core::{eviction::Index, math, store::admission::by_size::Demand};
use rand::{Rng, RngExt as _};
use world::{
    stream,
    trace::Record,
    workload::{SizeQuantiles, Zipf},
};

use super::CacheStudy;

/// How large objects are that are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// One byte each.
    One,
    /// From one byte on over so many decades, as many in each; nothing to do with popularity.
    Decades(u32),
    /// Those of a class of traffic; nothing to do with popularity either.
    Traffic(SizeQuantiles),
}

impl Sizes {
    /// The bytes of each object, the most popular first.
    fn draw(self, objects: u32, seed: u64) -> Vec<u64> {
        let mut rng = stream(seed, &["cache study", "sizes"]);
        let shares = (0..objects).map(|_| rng.random::<f64>());
        match self {
            Self::One => vec![1; objects as usize],
            Self::Decades(decades) => {
                shares.map(|share| math::powf(10.0, share * f64::from(decades)).round() as u64).collect()
            }
            Self::Traffic(sizes) => shares.map(|share| sizes.bytes_at(share)).collect(),
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub enum Asked {
    /// Objects by popularity alone (the independent reference model), for as long as anybody wants to know. Time is counted
    /// in requests.
    Drawn {
        /// How popular they are.
        zipf: Zipf,
        /// How large they are.
        sizes: Sizes,
    },
    /// What a trace says, once. Time is the trace's own, counted in microseconds.
    Recorded(Arc<Trace>),
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) now: u64,
    /// The object, counted from zero.
    pub(super) object: u32,
    /// What it is known by.
    pub(super) id: u64,
    pub(super) bytes: u64,
}

impl Asked {
    /// The bytes of each object.
    pub(super) fn sizes(&self, seed: u64) -> Vec<u64> {
        match self {
            Self::Drawn { zipf, sizes } => sizes.draw(zipf.objects(), seed),
            Self::Recorded(trace) => trace.objects.iter().map(|object| object.bytes).collect(),
        }
    }

    /// How often each object is asked for, with its bytes, as [`sizes`](Self::sizes) has them.
    pub(super) fn demand(&self, sizes: &[u64]) -> Vec<Demand> {
        let of = |(rate, &bytes): (f64, &u64)| Demand { rate, bytes };
        match self {
            Self::Drawn { zipf, .. } => zipf.shares().zip(sizes).map(of).collect(),
            Self::Recorded(trace) => {
                let all = trace.records.len() as f64;
                trace.objects.iter().map(|object| f64::from(object.requests) / all).zip(sizes).map(of).collect()
            }
        }
    }

    /// The nth request, counted from zero; none where the trace has ended.
    pub(super) fn request(&self, nth: u64, sizes: &[u64], rng: &mut impl Rng) -> Option<Request> {
        match self {
            Self::Drawn { zipf, .. } => {
                let object = zipf.draw(rng);
                let bytes = sizes.get(object as usize).copied().unwrap_or(1);
                Some(Request { now: nth, object, id: object.into(), bytes })
            }
            Self::Recorded(trace) => {
                let nth = usize::try_from(nth).ok()?;
                let (Record { at, id, bytes }, object) = (*trace.records.get(nth)?, *trace.objects_of.get(nth)?);
                Some(Request { now: at.as_micros() as u64, object, id, bytes })
            }
        }
    }
}

/// A trace, in the order in which it stands.
#[derive(Debug)]
pub struct Trace {
    records: Vec<Record>,
    /// The object of each record.
    objects_of: Vec<u32>,
    objects: Vec<Recorded>,
}

/// An object of a trace.
#[derive(Clone, Copy, Debug)]
struct Recorded {
    /// When it is asked for first.
    bytes: u64,
    /// In the whole trace.
    requests: u32,
}

impl Trace {
    /// Of its records.
    pub fn new(records: Vec<Record>) -> Self {
        let (mut index, mut objects) = (Index::default(), Vec::<Recorded>::new());
        let objects_of = records.iter().map(|record| {
            let object = index.find(record.id).unwrap_or_else(|| {
                let object = objects.len() as u32;
                index.insert(record.id, object);
                objects.push(Recorded { bytes: record.bytes, requests: 0 });
                object
            });
            if let Some(recorded) = objects.get_mut(object as usize) {
                recorded.requests += 1;
            }
            object
        });
        let objects_of = objects_of.collect();
        Self { records, objects_of, objects }
    }

    /// How many requests there are in it.
    pub const fn requests(&self) -> u64 {
        self.records.len() as u64
    }

    /// For how many objects.
    pub const fn objects(&self) -> u32 {
        self.objects.len() as u32
    }

    /// Of each object how many of the counted requests reach an edge that has seen it before, in the mean where there are
    /// several edges; and how many requests are counted.
    pub(super) fn repeats(&self, study: &CacheStudy) -> (Vec<f64>, f64) {
        let from = usize::try_from(study.warmup).unwrap_or(usize::MAX).min(self.records.len());
        let count = usize::try_from(study.requests).unwrap_or(usize::MAX).min(self.records.len() - from);
        let mut requests = vec![[0_u32; 2]; self.objects.len()];
        for (nth, object) in self.objects_of.iter().enumerate().take(from + count) {
            if let Some(requests) = requests.get_mut(*object as usize) {
                requests[usize::from(nth >= from)] += 1;
            }
        }
        // Edges that one of so many requests reaches.
        let edges = f64::from(study.edges.max(1));
        let reached = |requests: u32| edges * (1.0 - math::powf(1.0 - 1.0 / edges, requests.into()));
        let repeats = |[before, counted]: &[u32; 2]| f64::from(*counted) + reached(*before) - reached(before + counted);
        (requests.iter().map(repeats).collect(), count as f64)
    }
}
