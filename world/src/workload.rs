//! What viewers ask for, and when: an open loop, so that arrivals wait for no answer.
//!
//! A [`Workload`] turns loads and a seed into a sequence of [`Intended`] requests in order of time. It is the same
//! sequence for the live generator and for the simulator, whatever happens to the requests. Refuses to know who answers,
//! from where, and whether anybody does.

mod alias;
mod arrivals;
mod crowd;
mod diurnal;
mod inversion;
mod objects;
mod retry;
mod session;
mod traffic;
mod zipf;

use std::time::Duration;

use cdn_core::Instant;
use rand::{Rng as _, RngExt as _};
use rand_chacha::ChaCha8Rng;

use self::{
    arrivals::{Cursor, Rate},
    crowd::{Crowd, Member},
    objects::Objects,
    session::Sessions,
};
pub use self::{
    diurnal::Day,
    objects::{InvalidZipf, path_of},
    retry::RetryBudget,
    traffic::{SizeQuantiles, Traffic},
    zipf::Zipf,
};
use crate::{
    Atlas, Signature, UnknownPlace,
    chance::Exp1,
    scenario::{Load, Paths, Resolvers, Scenario, TraceRequest},
    stream::stream,
};

/// A request that somebody means to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intended {
    /// When it is meant to start, counted from the start of the warm-up. Never earlier than that of the one before.
    pub at: Instant,
    /// Which load it belongs to: an index into the loads that the workload was made of.
    pub load: u16,
    /// Where the viewer stands: an index for [`Atlas::at_index`].
    pub place: u32,
    /// Who asks, among the users of its load. A user stands in one place, and keeps connections from one request to the
    /// next.
    pub user: u32,
    /// What is asked for: the rank of the object from 1 where popularity is drawn, its id where a trace says it, 0 of a
    /// load with a single path.
    pub object: u64,
    /// Bytes of the object, where the load says how long it is.
    pub size: Option<u64>,
}

/// How a user finds an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Habits {
    /// The resolver sends the user's network.
    pub client_subnet: bool,
    /// The resolver keeps answers at least so long, where it keeps them longer than they are valid.
    pub stretch: Option<Duration>,
}

/// A load that nobody can make requests of.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WorkloadError {
    /// Nobody can stand there.
    #[error(transparent)]
    UnknownPlace(#[from] UnknownPlace),
    /// No place has any weight.
    #[error("a load from nowhere: no place of it has users")]
    Nowhere,
    /// No popularity.
    #[error(transparent)]
    Zipf(#[from] InvalidZipf),
    /// No rate, or too many requests for the clock.
    #[error("{rps} requests per second: expected 0 or more, and at most {RPS_MAX}")]
    Rate {
        /// What was asked for.
        rps: f64,
    },
    /// Nothing in it.
    #[error("the trace is empty")]
    EmptyTrace,
    /// More loads than there are numbers for.
    #[error("more than {LOADS_MAX} loads")]
    Loads,
}

/// The highest rate of one load, in requests per second: a mean gap of 100 ns, as finely as the clock can tell apart.
pub const RPS_MAX: f64 = 1e7;
/// Loads of one workload.
pub const LOADS_MAX: usize = u16::MAX as usize;

/// Requests in order of time.
#[derive(Debug)]
pub struct Workload {
    streams: Vec<Stream>,
    /// Of each stream the request that comes next.
    heads: Vec<Option<Intended>>,
}

impl Workload {
    /// What is asked for in a run of `scenario`, warm-up first.
    ///
    /// # Errors
    /// A load cannot be played; a checked scenario has none such.
    pub fn of_scenario(scenario: &Scenario, atlas: &Atlas) -> Result<Self, WorkloadError> {
        Self::new(&scenario.loads, scenario.warmup, scenario.warmup + scenario.length, atlas, scenario.seed)
    }

    /// What `loads` ask for. A load's own times count from the end of the warm-up; one that starts there starts with the
    /// warm-up already. Nothing is meant to start at `end` or later.
    ///
    /// # Errors
    /// A load cannot be played.
    pub fn new(
        loads: &[Load],
        warmup: Duration,
        end: Duration,
        atlas: &Atlas,
        seed: u64,
    ) -> Result<Self, WorkloadError> {
        if loads.len() > LOADS_MAX {
            return Err(WorkloadError::Loads);
        }
        let streams = loads.iter().zip(0..).map(|(load, index)| Stream::new(load, index, warmup, end, atlas, seed));
        let mut streams = streams.collect::<Result<Vec<_>, _>>()?;
        let heads = streams.iter_mut().map(Stream::advance).collect();
        Ok(Self { streams, heads })
    }

    /// Bytes that a load gives an object; `None` where that is the origin's to say, or the trace's.
    pub fn size_of(&self, load: u16, object: u64) -> Option<u64> {
        self.streams.get(usize::from(load))?.objects.size_of(object)
    }

    /// What a request shows to be let in.
    pub fn signature(&self, request: &Intended) -> Signature {
        let signing = self.streams.get(usize::from(request.load)).and_then(|stream| Some((stream, stream.signs?)));
        let Some((stream, [expired, forged, unsigned])) = signing else { return Signature::Unasked };
        let drawn = share(stream.seed ^ request.at.as_nanos() ^ u64::from(request.user).rotate_left(32), 3);
        match drawn {
            drawn if drawn < expired => Signature::Expired,
            drawn if drawn < expired + forged => Signature::Forged,
            drawn if drawn < expired + forged + unsigned => Signature::Missing,
            _ => Signature::Good,
        }
    }

    /// How whoever makes a request finds an edge: the same for all requests of one user.
    pub fn habits(&self, request: &Intended) -> Habits {
        let Some(stream) = self.streams.get(usize::from(request.load)) else {
            return Habits { client_subnet: true, stretch: None };
        };
        let Resolvers { client_subnet, stretchers, stretch } = stream.resolvers;
        let [sends, stretches] = [1, 2].map(|question| share(stream.seed ^ u64::from(request.user), question));
        Habits { client_subnet: sends < client_subnet, stretch: (stretches < stretchers).then_some(stretch) }
    }
}

impl Iterator for Workload {
    type Item = Intended;

    #[inline]
    fn next(&mut self) -> Option<Intended> {
        // Nearly always there is but one.
        if let ([stream], [head]) = (&mut *self.streams, &mut *self.heads) {
            let first = head.take()?;
            *head = stream.advance();
            return Some(first);
        }
        // Loads are few, so that looking at each is quicker than a heap. Of equally early ones the first goes first.
        let heads = self.heads.iter().enumerate();
        let first = heads.filter_map(|(at, head)| Some((head.as_ref()?.at, at))).min()?.1;
        let next = self.streams.get_mut(first)?.advance();
        std::mem::replace(self.heads.get_mut(first)?, next)
    }
}

/// The requests of one load.
#[derive(Debug)]
struct Stream {
    index: u16,
    pace: Pace,
    crowd: Crowd,
    objects: Objects,
    sessions: Option<Sessions>,
    day: Option<Clock>,
    resolvers: Resolvers,
    /// Shares of what is shown badly: expired, forged, not at all. `None` where nothing is shown.
    signs: Option<[f64; 3]>,
    /// Of what is decided per user, without a stream of its own.
    seed: u64,
    /// When the last request may start, in seconds.
    end_s: f64,
    arrivals: ChaCha8Rng,
    people: ChaCha8Rng,
}

/// What says when the next request comes.
#[derive(Debug)]
enum Pace {
    Poisson { rate: Rate, cursor: Cursor },
    Trace { start_s: f64, period_s: f64, requests: std::sync::Arc<[TraceRequest]>, next: usize },
    Over,
}

/// The hour of the day in UTC.
#[derive(Debug)]
struct Clock {
    day: Day,
    hour_at_zero: f64,
    hours_per_s: f64,
}

impl Stream {
    fn new(
        load: &Load,
        index: u16,
        warmup: Duration,
        end: Duration,
        atlas: &Atlas,
        seed: u64,
    ) -> Result<Self, WorkloadError> {
        if !(0.0..=RPS_MAX).contains(&load.rps) {
            return Err(WorkloadError::Rate { rps: load.rps });
        }
        let number = index.to_string();
        let chance = |what: &str| stream(seed, &["load", &number, what]);
        let begin = if load.start.is_zero() { Duration::ZERO } else { warmup + load.start };
        let over = load.span.map_or(end, |span| (warmup + load.start + span).min(end));
        let zero_s = warmup.as_secs_f64();
        let day = load.diurnal.map(|diurnal| {
            let hours_per_s = diurnal.pace / 3600.0;
            let hour_at_zero = diurnal.utc.as_secs_f64() / 3600.0 - hours_per_s * zero_s;
            Clock { day: Day::with_trough(diurnal.trough), hour_at_zero, hours_per_s }
        });
        let pace = match &load.paths {
            Paths::Trace(requests) if requests.is_empty() => return Err(WorkloadError::EmptyTrace),
            Paths::Trace(requests) if load.rps <= 0.0 => {
                let last_s = requests.last().map_or(0.0, |request| request.at.as_secs_f64());
                // From the last request to the first of the next round, as long as the others are apart on average.
                let gap_s = if last_s > 0.0 { last_s / (requests.len() as f64 - 1.0).max(1.0) } else { 1.0 };
                let requests = std::sync::Arc::clone(requests);
                Pace::Trace { start_s: begin.as_secs_f64(), period_s: last_s + gap_s, requests, next: 0 }
            }
            _ => {
                // Candidates come as often as at the highest hour of every place; the others are thinned out below.
                let base = load.rps * day.as_ref().map_or(1.0, |clock| clock.day.factor_max());
                let ramp: Vec<_> = load.ramp.iter().map(|&(at, factor)| (warmup + at, factor)).collect();
                let rate = Rate::new(base, &ramp);
                let cursor = rate.cursor(begin.as_secs_f64());
                Pace::Poisson { rate, cursor }
            }
        };
        let mut people = chance("people");
        Ok(Self {
            index,
            pace,
            crowd: Crowd::new(&load.from, load.users, atlas)?,
            objects: Objects::new(load, chance("objects"))?,
            sessions: load.connections.think.map(|think| Sessions::new(think, chance("sessions"))),
            day,
            resolvers: load.resolvers,
            signs: load.signing.as_ref().map(|signing| [signing.expired, signing.forged, signing.unsigned]),
            seed: people.next_u64(),
            end_s: over.as_secs_f64(),
            arrivals: chance("arrivals"),
            people,
        })
    }

    fn advance(&mut self) -> Option<Intended> {
        loop {
            let Some(at_s) = self.pace.advance(&mut self.arrivals).filter(|at_s| *at_s < self.end_s) else {
                self.pace = Pace::Over;
                return None;
            };
            let member = self.crowd.draw(&mut self.people);
            if let (Some(clock), Pace::Poisson { .. }) = (&self.day, &self.pace) {
                let hour = clock.hour_at_zero + clock.hours_per_s * at_s + member.utc_offset_h;
                if self.people.random::<f64>() * clock.day.factor_max() >= clock.day.factor(hour) {
                    continue;
                }
            }
            let &Member { place, users, first_user, .. } = member;
            let user = match &mut self.sessions {
                Some(sessions) => sessions.draw(at_s, place, users),
                None => self.people.random_range(0..users),
            };
            let from_trace = match &self.pace {
                Pace::Trace { requests, next, .. } => Some((requests, (*next + requests.len() - 1) % requests.len())),
                _ => None,
            };
            let (object, size) = match from_trace {
                Some((requests, at)) => self.objects.sized(requests.get(at)?),
                None => self.objects.draw(),
            };
            let at = Instant::from_nanos((at_s * 1e9) as u64);
            return Some(Intended { at, load: self.index, place, user: first_user + user, object, size });
        }
    }
}

impl Pace {
    /// The next moment, in seconds.
    fn advance(&mut self, chance: &mut ChaCha8Rng) -> Option<f64> {
        match self {
            Self::Poisson { rate, cursor } => {
                *cursor = rate.advance(*cursor, chance.sample(Exp1))?;
                Some(cursor.at_s)
            }
            Self::Trace { start_s, period_s, requests, next } => {
                let at_s = *start_s + requests.get(*next)?.at.as_secs_f64();
                *next += 1;
                if *next == requests.len() {
                    *next = 0;
                    *start_s += *period_s;
                }
                Some(at_s)
            }
            Self::Over => None,
        }
    }
}

/// A number from 0 to 1 that `key` and `question` decide: SplitMix64.
fn share(key: u64, question: u64) -> f64 {
    let mut x = key.wrapping_add(question.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests;
