//! What is asked for: which object, how large it is, and the path that stands for it.

use std::{borrow::Cow, f64::consts::TAU, sync::Arc};

use cdn_core::math;
use rand_chacha::ChaCha8Rng;

use super::{WorkloadError, inversion::Inversion, share, zipf::Zipf};
use crate::scenario::{Load, Paths, Sizes, TraceRequest};

/// As many objects have a table, of 8 MiB at most.
const TABLE_MAX: u32 = 1 << 20;

/// `s` or `n` make no distribution.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("zipf:{s}:{n} is no distribution: expected an exponent from 0 to 20 and 1 to 2^52 objects")]
pub struct InvalidZipf {
    s: f64,
    n: u64,
}

/// The path that a request of `load` for `object` asks for: `/objects/17`; `/bytes/4096/17`, to which the simulated origin
/// answers 4096 bytes, where the size is the load's to say; or the load's only path.
pub fn path_of(load: &Load, object: u64, size: Option<u64>) -> Cow<'_, str> {
    match (&load.paths, size) {
        (Paths::One(path), _) => Cow::Borrowed(path),
        (_, Some(size)) => Cow::Owned(format!("/bytes/{size}/{object}")),
        (_, None) => Cow::Owned(format!("/objects/{object}")),
    }
}

/// Draws objects.
#[derive(Debug)]
pub(super) struct Objects {
    popularity: Popularity,
    sizes: Sizes,
    chance: ChaCha8Rng,
    /// Of sizes, which an object keeps.
    seed: u64,
}

#[derive(Debug)]
enum Popularity {
    Zipf(Zipf),
    /// Of too many objects for a table.
    Large(Inversion),
    /// In the order of the trace, over and over.
    Trace(Arc<[TraceRequest]>, usize),
    One,
}

impl Objects {
    pub(super) fn new(load: &Load, mut chance: ChaCha8Rng) -> Result<Self, WorkloadError> {
        let popularity = match &load.paths {
            Paths::Zipf { s, n } if !(0.0..=20.0).contains(s) || !(1..=1 << 52).contains(n) => {
                return Err(InvalidZipf { s: *s, n: *n }.into());
            }
            Paths::Zipf { s, n } => match u32::try_from(*n) {
                Ok(objects) if objects <= TABLE_MAX => Popularity::Zipf(Zipf::new(objects, *s)),
                _ => Popularity::Large(Inversion::new(*s, *n)),
            },
            Paths::Trace(requests) => Popularity::Trace(Arc::clone(requests), 0),
            Paths::One(_) => Popularity::One,
        };
        let seed = rand::Rng::next_u64(&mut chance);
        Ok(Self { popularity, sizes: load.sizes, chance, seed })
    }

    /// The next object, and its size if the load says one.
    pub(super) fn draw(&mut self) -> (u64, Option<u64>) {
        match &mut self.popularity {
            Popularity::Zipf(zipf) => {
                let object = u64::from(zipf.draw(&mut self.chance)) + 1;
                (object, self.size_of(object))
            }
            Popularity::Large(inversion) => {
                let object = inversion.draw(&mut self.chance);
                (object, self.size_of(object))
            }
            Popularity::Trace(requests, next) => {
                let Some(&request) = requests.get(*next) else { return (0, None) };
                *next = (*next + 1) % requests.len();
                self.sized(&request)
            }
            // What a single path holds is nobody's to say but the origin's.
            Popularity::One => (0, None),
        }
    }

    /// The object of a trace's request, in the size of the trace unless the load says another.
    pub(super) fn sized(&self, request: &TraceRequest) -> (u64, Option<u64>) {
        (request.object, Some(self.size_of(request.object).unwrap_or(request.bytes)))
    }

    pub(super) fn size_of(&self, object: u64) -> Option<u64> {
        match self.sizes {
            Sizes::Origin => None,
            Sizes::Fixed(bytes) => Some(bytes),
            Sizes::LogNormal { median, sigma, max } => {
                // Box and Muller (1958), from two numbers that the object decides.
                let (radius, angle) = (1.0 - share(self.seed ^ object, 1), share(self.seed ^ object, 2));
                let normal = (-2.0 * math::ln(radius)).sqrt() * math::cos(TAU * angle);
                let bytes = (median as f64 * math::exp(sigma * normal)).round() as u64;
                Some(bytes.clamp(1, max.max(1)))
            }
        }
    }
}
