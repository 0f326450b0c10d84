//! One path: the mean and deviation of its round trips, with little weight for a packet that was slow, and a new beginning
//! for a path that has become slower.

use crate::Instant;

/// Exponentially weighted mean and deviation, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Track {
    pub(super) mean_ns: f64,
    pub(super) deviation_ns: f64,
    pub(super) samples: u32,
    /// Samples that the mean rests on: those since it was started anew.
    settled: u32,
    /// Samples, each halved per half-life, as of `at`.
    pub(super) weight: f64,
    pub(super) at: Instant,
    slower: Drift,
    faster: Drift,
    /// The last samples in microseconds, the latest in front.
    recent_us: [u32; RECENT],
}

/// Evidence that the path has changed to one side: how far samples were off, in deviations, less what chance explains.
#[derive(Clone, Copy, Debug, Default)]
struct Drift {
    sum: f64,
    samples: u32,
}

/// Samples of which the median is taken where the mean is started anew.
const RECENT: usize = 5;

/// Once the mean has settled a sample counts so much: with deviation σ of the samples, that of the mean is 0.18 σ.
const GAIN_MIN: f64 = 1.0 / 16.0;
/// Gain of the deviation at first, as in RFC 6298, and after so many samples. It is taken from the steps between samples
/// (√2 times as large as their deviations from the mean, where they are independent), and not from the mean: a change of
/// the path is one step and must not pass for noise.
const DEVIATION_GAIN: [f64; 2] = [0.25, 1.0 / 16.0];
const SETTLED: u32 = 16;
/// Supposed of the first sample.
const DEVIATION_SHARE_FIRST: f64 = 1.0 / 8.0;
/// A sample counts as no further off than so many mean deviations.
const OFF_MAX: f64 = 4.0;
/// What chance explains of a sample's being off, in mean deviations: so half of a change of one is noticed.
const SLACK: f64 = 0.5;
/// The path has changed when evidence exceeds this: four samples far off without one between that is not, or some more
/// that are less so. Where one packet in twenty is late for itself, four in a row are once in 160,000.
const CHANGED: f64 = 13.0;
/// Deviations below these are taken for these, so that a quiet path does not see changes everywhere.
const DEVIATION_MIN_NS: f64 = 1e6;
const DEVIATION_SHARE_MIN: f64 = 0.01;
/// More than so many samples are no better evidence against the prior.
const WEIGHT_MAX: f64 = 128.0;

impl Track {
    pub(super) fn new(now: Instant, rtt_ns: f64) -> Self {
        Self {
            mean_ns: rtt_ns,
            deviation_ns: rtt_ns * DEVIATION_SHARE_FIRST,
            samples: 1,
            settled: 1,
            weight: 1.0,
            at: now,
            slower: Drift::default(),
            faster: Drift::default(),
            recent_us: [(rtt_ns / 1e3) as u32; RECENT],
        }
    }

    pub(super) fn handle_sample(&mut self, now: Instant, rtt_ns: f64, decay: f64) {
        let deviation = self.deviation_ns.max(DEVIATION_MIN_NS).max(DEVIATION_SHARE_MIN * self.mean_ns);
        let off = ((rtt_ns - self.mean_ns) / deviation).clamp(-OFF_MAX, OFF_MAX);
        let step = (rtt_ns - f64::from(self.recent_us[0]) * 1e3).abs() / std::f64::consts::SQRT_2;
        self.slower.handle(off);
        // A packet can be late on any path, so that one which is says nothing against the path's having become faster.
        if !(self.faster.sum > 0.0 && off >= OFF_MAX) {
            self.faster.handle(-off);
        }
        self.recent_us.rotate_right(1);
        self.recent_us[0] = (rtt_ns / 1e3) as u32;
        let gain = DEVIATION_GAIN[usize::from(self.samples >= SETTLED)];
        self.deviation_ns += gain * (step.min(OFF_MAX * deviation) - self.deviation_ns);
        let changed = [self.slower, self.faster].into_iter().find(|drift| drift.sum > CHANGED);
        if let Some(drift) = changed {
            let mut recent = self.recent_us;
            let recent = &mut recent[..RECENT.min(drift.samples as usize)];
            recent.sort_unstable();
            self.mean_ns = f64::from(recent[recent.len() / 2]) * 1e3;
            self.settled = drift.samples;
            (self.slower, self.faster) = (Drift::default(), Drift::default());
        } else {
            self.settled = self.settled.saturating_add(1);
            self.mean_ns += (1.0 / f64::from(self.settled)).max(GAIN_MIN) * off * deviation;
        }
        self.samples = self.samples.saturating_add(1);
        self.weight = (self.weight * decay + 1.0).min(WEIGHT_MAX);
        self.at = now;
    }
}

impl Drift {
    fn handle(&mut self, off: f64) {
        self.sum += off - SLACK;
        self.samples += 1;
        // A path that has changed does not go back for one packet.
        if off <= 0.0 || self.sum <= 0.0 {
            *self = Self::default();
        }
    }
}
