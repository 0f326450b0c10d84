//! Distributions that chance is drawn from: exponential, normal, lognormal, Student's t.
//!
//! One seed gives the same bits on every platform, so logarithms and powers are [`cdn_core::math`]'s. Exponential and normal
//! draws go by the ziggurat of Marsaglia and Tsang in the form of Doornik ("An Improved Ziggurat Method to Generate Normal
//! Random Samples", 2005): boxes of equal area are piled up under the density, and nearly every draw lies inside its box at
//! first sight. Refuses to know what the draws are for.

use std::sync::LazyLock;

use cdn_core::math;
use rand::{
    Rng, RngExt as _,
    distr::{Distribution, Open01},
};

/// Boxes of a ziggurat: as many as a byte of chance can choose among.
const BOXES: usize = 256;

/// Where the lowest box of the exponential ziggurat ends and the tail begins.
const EXPONENTIAL_TAIL: f64 = 7.697_117_470_131_049;
/// The same of the normal one.
const NORMAL_TAIL: f64 = 3.654_152_885_361_009;

/// Exponential with a mean of 1: how long until something happens that happens once a unit of time.
#[derive(Clone, Copy, Debug)]
pub struct Exp1;

/// Normal with a mean of 0 and a standard deviation of 1.
#[derive(Clone, Copy, Debug)]
pub struct StandardNormal;

/// What has a normal logarithm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogNormal {
    /// Mean of the logarithm.
    pub mean_ln: f64,
    /// Standard deviation of the logarithm.
    pub sigma_ln: f64,
}

/// Student's t: a normal draw over the deviation that so many others happened to have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StudentT {
    /// Degrees of freedom, at least 2.
    pub degrees: f64,
}

impl Distribution<f64> for Exp1 {
    fn sample<R: Rng + ?Sized>(&self, chance: &mut R) -> f64 {
        static ZIGGURAT: LazyLock<Ziggurat> =
            LazyLock::new(|| Ziggurat::new(EXPONENTIAL_TAIL, math::exp(-EXPONENTIAL_TAIL), density, |y| -math::ln(y)));
        fn density(x: f64) -> f64 {
            math::exp(-x)
        }
        let ziggurat = &*ZIGGURAT;
        loop {
            let bits = chance.next_u64();
            // The upper 52 bits as a number between 1 and 2, less so much that neither end is met.
            let part = f64::from_bits(bits >> 12 | 0x3FF << 52) - (1.0 - f64::EPSILON / 2.0);
            match ziggurat.look(bits, part) {
                Look::Inside(x) => return x,
                // The tail has the shape of the whole.
                Look::Tail => return EXPONENTIAL_TAIL - math::ln(chance.random::<f64>()),
                Look::Edge { x, top, bottom } if top + (bottom - top) * chance.random::<f64>() < density(x) => {
                    return x;
                }
                Look::Edge { .. } => {}
            }
        }
    }
}

impl Distribution<f64> for StandardNormal {
    fn sample<R: Rng + ?Sized>(&self, chance: &mut R) -> f64 {
        static ZIGGURAT: LazyLock<Ziggurat> = LazyLock::new(|| {
            let tail = (std::f64::consts::PI / 2.0).sqrt() * math::erfc(NORMAL_TAIL / std::f64::consts::SQRT_2);
            Ziggurat::new(NORMAL_TAIL, tail, density, |y| (-2.0 * math::ln(y)).sqrt())
        });
        fn density(x: f64) -> f64 {
            math::exp(-x * x / 2.0)
        }
        let ziggurat = &*ZIGGURAT;
        loop {
            let bits = chance.next_u64();
            // The upper 52 bits as a number from 2 up to 4, and so from -1 up to 1.
            let part = f64::from_bits(bits >> 12 | 0x400 << 52) - 3.0;
            match ziggurat.look(bits, part) {
                Look::Inside(x) => return x,
                Look::Tail => return normal_tail(chance).copysign(part),
                Look::Edge { x, top, bottom } if top + (bottom - top) * chance.random::<f64>() < density(x) => {
                    return x;
                }
                Look::Edge { .. } => {}
            }
        }
    }
}

impl Distribution<f64> for LogNormal {
    fn sample<R: Rng + ?Sized>(&self, chance: &mut R) -> f64 {
        math::exp(self.mean_ln + self.sigma_ln * StandardNormal.sample(chance))
    }
}

impl Distribution<f64> for StudentT {
    fn sample<R: Rng + ?Sized>(&self, chance: &mut R) -> f64 {
        let normal = StandardNormal.sample(chance);
        normal * (self.degrees / (2.0 * gamma(self.degrees / 2.0, chance))).sqrt()
    }
}

/// Gamma of a shape of at least 1 and scale 1 (Marsaglia and Tsang, "A Simple Method for Generating Gamma Variables", 2000).
fn gamma<R: Rng + ?Sized>(shape: f64, chance: &mut R) -> f64 {
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x: f64 = StandardNormal.sample(chance);
        let root = 1.0 + c * x;
        if root <= 0.0 {
            continue;
        }
        let (v, square) = (root * root * root, x * x);
        let part: f64 = chance.sample(Open01);
        if part < 1.0 - 0.0331 * square * square || math::ln(part) < 0.5 * square + d * (1.0 - v + math::ln(v)) {
            return d * v;
        }
    }
}

/// Beyond where the boxes end (Marsaglia, "Generating a Variable from the Tail of the Normal Distribution", 1964).
fn normal_tail<R: Rng + ?Sized>(chance: &mut R) -> f64 {
    loop {
        let (across, down): (f64, f64) = (chance.sample(Open01), chance.sample(Open01));
        let beyond = -math::ln(across) / NORMAL_TAIL;
        if -2.0 * math::ln(down) >= beyond * beyond {
            return NORMAL_TAIL + beyond;
        }
    }
}

/// Boxes of equal area under a falling density, from the widest and lowest to the top.
struct Ziggurat {
    /// Where each box ends. The lowest is as wide as it would be if the tail beyond it were part of it.
    ends: [f64; BOXES + 1],
    /// The density there.
    heights: [f64; BOXES + 1],
}

/// Where a draw falls.
enum Look {
    Inside(f64),
    /// Into the lowest box, beyond where the density's own area ends.
    Tail,
    /// Where the box sticks out of the density, which is between `bottom` and `top` there.
    Edge {
        x: f64,
        top: f64,
        bottom: f64,
    },
}

impl Ziggurat {
    /// Boxes under `density`, which is 1 at 0; `tail_area` lies beyond `tail`.
    fn new(tail: f64, tail_area: f64, density: fn(f64) -> f64, inverse: fn(f64) -> f64) -> Self {
        let area = tail * density(tail) + tail_area;
        let (mut ends, mut heights) = ([0.0; BOXES + 1], [1.0; BOXES + 1]);
        let (mut end, mut height) = (area / density(tail), 0.0);
        for (at, (kept, high)) in ends.iter_mut().zip(&mut heights).take(BOXES).enumerate() {
            (*kept, *high) = (end, density(end));
            // The second box stands on the first, whose own width is that of the tail's beginning.
            end = if at == 0 { tail } else { inverse(height + area / end) };
            height = density(end);
        }
        Self { ends, heights }
    }

    /// Where the draw of `bits` falls: their lowest byte chooses the box, `part` the place across it.
    #[inline]
    fn look(&self, bits: u64, part: f64) -> Look {
        let at = (bits & 0xFF) as usize;
        let x = part * self.ends[at];
        match at {
            _ if x.abs() < self.ends[at + 1] => Look::Inside(x),
            0 => Look::Tail,
            _ => Look::Edge { x, top: self.heights[at + 1], bottom: self.heights[at] },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream;

    const DRAWS: usize = 400_000;

    /// The largest distance between the law and what is drawn. By chance it is above 1.95 over the root of their number once
    /// in a thousand times (Kolmogorov), and the seed is always the same.
    fn distance(distribution: &impl Distribution<f64>, law: impl Fn(f64) -> f64) -> f64 {
        let mut drawn: Vec<f64> = distribution.sample_iter(&mut stream(7, &["chance"])).take(DRAWS).collect();
        drawn.sort_unstable_by(f64::total_cmp);
        let steps = drawn.iter().enumerate().map(|(at, x)| (law(*x) - (at as f64 + 0.5) / DRAWS as f64).abs());
        steps.fold(0.0, f64::max)
    }

    fn normal_law(x: f64) -> f64 {
        math::erfc(-x / std::f64::consts::SQRT_2) / 2.0
    }

    #[test]
    fn draws_follow_their_laws() {
        let most = 1.95 / (DRAWS as f64).sqrt();
        let exponential = distance(&Exp1, |x| -math::exp_m1(-x));
        assert!(exponential < most, "{exponential}");
        let normal = distance(&StandardNormal, normal_law);
        assert!(normal < most, "{normal}");
        let log_normal = LogNormal { mean_ln: 1.5, sigma_ln: 0.4 };
        let log_normal = distance(&log_normal, |x| normal_law((math::ln(x) - 1.5) / 0.4));
        assert!(log_normal < most, "{log_normal}");
        // With four degrees of freedom the law has a closed form (Johnson, Kotz, Balakrishnan, chapter 28).
        let law = |x: f64| {
            let within = x / (x * x + 4.0).sqrt();
            0.5 + 0.75 * (within - within * within * within / 3.0)
        };
        let student = distance(&StudentT { degrees: 4.0 }, law);
        assert!(student < most, "{student}");
    }

    #[test]
    fn tails_are_as_heavy_as_their_laws_say() {
        let beyond = |distribution: &dyn Fn(&mut rand_chacha::ChaCha8Rng) -> f64, tail: f64| {
            let mut chance = stream(7, &["tails"]);
            let excess = (0..4 * DRAWS).map(|_| distribution(&mut chance).abs() - tail).filter(|excess| *excess > 0.0);
            let excess: Vec<f64> = excess.collect();
            (excess.len() as f64, excess.iter().sum::<f64>() / excess.len() as f64)
        };
        // The tail of the exponential is the exponential itself.
        let (count, mean) = beyond(&|chance| Exp1.sample(chance), EXPONENTIAL_TAIL);
        let expected = 4.0 * DRAWS as f64 * math::exp(-EXPONENTIAL_TAIL);
        assert!((count - expected).abs() < 4.0 * expected.sqrt(), "{count} for {expected}");
        assert!((mean - 1.0).abs() < 4.0 / count.sqrt(), "{mean}");
        // Mills: the mean excess of the normal tail is density over tail probability, less its beginning.
        let (count, mean) = beyond(&|chance| StandardNormal.sample(chance), NORMAL_TAIL);
        let outside = math::erfc(NORMAL_TAIL / std::f64::consts::SQRT_2);
        let expected = 4.0 * DRAWS as f64 * outside;
        assert!((count - expected).abs() < 4.0 * expected.sqrt(), "{count} for {expected}");
        let density = math::exp(-NORMAL_TAIL * NORMAL_TAIL / 2.0) / (std::f64::consts::PI / 2.0).sqrt();
        let excess = density / outside - NORMAL_TAIL;
        assert!((mean - excess).abs() < 4.0 * excess / count.sqrt(), "{mean} for {excess}");
    }

    #[test]
    fn the_boxes_end_where_the_density_does() {
        let exponential =
            Ziggurat::new(EXPONENTIAL_TAIL, math::exp(-EXPONENTIAL_TAIL), |x| math::exp(-x), |y| -math::ln(y));
        // The topmost box has the area of the others, so that nothing is left above it.
        let (end, below) = (exponential.ends[BOXES - 1], exponential.heights[BOXES - 1]);
        let area = EXPONENTIAL_TAIL * math::exp(-EXPONENTIAL_TAIL) + math::exp(-EXPONENTIAL_TAIL);
        assert!((end * (1.0 - below) / area - 1.0).abs() < 1e-9, "{}", end * (1.0 - below) / area);
    }

    /// What these seeds have always drawn: a change here changes every seeded world.
    #[test]
    fn draws_are_these_bits_everywhere() {
        let sum = |distribution: &dyn Fn(&mut rand_chacha::ChaCha8Rng) -> f64| {
            let mut chance = stream(7, &["bits"]);
            let bits = (0..100_000).map(|_| distribution(&mut chance).to_bits());
            bits.fold(0_u64, |sum, bits| sum.rotate_left(1) ^ bits)
        };
        let student = StudentT { degrees: 4.0 };
        let log_normal = LogNormal { mean_ln: 1.5, sigma_ln: 0.4 };
        let sums = [
            sum(&|chance| Exp1.sample(chance)),
            sum(&|chance| StandardNormal.sample(chance)),
            sum(&|chance| log_normal.sample(chance)),
            sum(&|chance| student.sample(chance)),
        ];
        assert_eq!(
            sums.map(|sum| format!("{sum:016x}")),
            ["c847dd375c55822a", "7a615756f5239ecd", "cb233f56a2858e83", "63349583448ca35b"]
        );
    }
}
