//! Where a value is between two ends, and which values are written beside.

/// Ticks of an even scale, about.
const TICKS: f64 = 6.0;

/// From a lowest value to a highest.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    is_log: bool,
    ticks: Vec<f64>,
}

impl Scale {
    /// That all of the values are on. One by logarithms takes only those above nothing.
    pub(super) fn of(values: impl Iterator<Item = f64>, is_log: bool) -> Self {
        let usable = values.filter(|value| value.is_finite() && (!is_log || *value > 0.0));
        let (low, high) =
            usable.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        match (low <= high, is_log) {
            (false, _) => Self::even(0.0, 1.0),
            (true, true) => Self::log(low, high),
            (true, false) => Self::even(low, high),
        }
    }

    /// For so many names, each in the middle of its part.
    pub(super) fn names(count: usize) -> Self {
        let ticks: Vec<f64> = (0..count).map(|nth| nth as f64).collect();
        Self { low: -0.5, high: (count as f64 - 0.5).max(0.5), is_log: false, ticks }
    }

    fn even(low: f64, high: f64) -> Self {
        // Nothing is the foot of what is counted, unless all values are far above it.
        let low = if low >= 0.0 && low < 0.6 * high { 0.0 } else { low };
        let span = if high > low { high - low } else { high.abs().max(1.0) };
        let rough = span / TICKS;
        let decade = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * decade).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let (first, last) = ((low / step).floor(), (high / step).ceil());
        let last = if last > first { last } else { first + 1.0 };
        let count = (last - first).clamp(1.0, 100.0) as u32;
        let ticks: Vec<f64> = (0..=count).map(|nth| (first + f64::from(nth)) * step).collect();
        Self { low: first * step, high: last * step, is_log: false, ticks }
    }

    fn log(low: f64, high: f64) -> Self {
        let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        let parts: &[f64] = if last - first <= 3 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let all: Vec<f64> =
            (first..=last).flat_map(|decade| parts.iter().map(move |part| part * 10f64.powi(decade))).collect();
        // A little room, for what a power of ten rounds to.
        let from = all.iter().rposition(|tick| *tick <= low * 1.000_001).unwrap_or(0);
        let to = all.iter().position(|tick| *tick >= high * 0.999_999).unwrap_or_else(|| all.len().saturating_sub(1));
        let mut ticks = all.get(from..=to.max(from)).unwrap_or_default().to_vec();
        let (low, mut high) = (ticks.first().copied().unwrap_or(low), ticks.last().copied().unwrap_or(high));
        if high <= low {
            high = low * 10.0;
            ticks.push(high);
        }
        // No more than can be read.
        let every = ticks.len().div_ceil(10);
        let ticks = ticks.into_iter().step_by(every).collect();
        Self { low, high, is_log: true, ticks }
    }

    /// From 0 at the lowest to 1 at the highest; beyond them what is nearest.
    pub(super) fn share(&self, value: f64) -> f64 {
        let share = if self.is_log {
            (value.max(self.low).log10() - self.low.log10()) / (self.high.log10() - self.low.log10())
        } else {
            (value - self.low) / (self.high - self.low)
        };
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// What is written beside it.
    pub(super) fn ticks(&self) -> impl Iterator<Item = f64> {
        self.ticks.iter().copied()
    }
}

/// A number as short as it reads well: `0.25`, `12`, `250k`, `1.5M`.
pub(super) fn number(value: f64) -> String {
    let (value, unit) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    if value != 0.0 && value.abs() < 1e-4 {
        return format!("{value:.0e}");
    }
    // Four digits that say something, whatever the size.
    let digits = if value == 0.0 { 0 } else { (3 - value.abs().log10().floor() as i32).clamp(0, 8) };
    let text = format!("{value:.*}", usize::try_from(digits).unwrap_or(0));
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{}{unit}", if text == "-0" { "0" } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(values: &[f64], is_log: bool) -> Vec<String> {
        Scale::of(values.iter().copied(), is_log).ticks().map(number).collect()
    }

    #[test]
    fn ticks_are_round_and_all_values_are_between_them() {
        assert_eq!(ticks(&[3.0, 47.0], false), ["0", "10", "20", "30", "40", "50"]);
        assert_eq!(ticks(&[0.91, 0.947], false), ["0.91", "0.92", "0.93", "0.94", "0.95"]);
        assert_eq!(ticks(&[-3.0, 4.0], false), ["-4", "-2", "0", "2", "4"]);
        assert_eq!(ticks(&[20.0, 300.0], true), ["20", "50", "100", "200", "500"]);
        assert_eq!(ticks(&[1.0, 1e6], true), ["1", "10", "100", "1000", "10k", "100k", "1M"]);
        for (values, is_log) in [(&[5.0, 5.0][..], false), (&[5.0], true), (&[], false), (&[], true), (&[0.0], false)] {
            assert!(ticks(values, is_log).len() >= 2, "{values:?}");
        }
    }

    #[test]
    fn a_value_is_where_its_share_says() {
        let log = Scale::of([1.0, 100.0].into_iter(), true);
        assert!((log.share(10.0) - 0.5).abs() < 1e-9 && log.share(0.0) == 0.0 && log.share(1e9) == 1.0);
        let even = Scale::of([0.0, 10.0].into_iter(), false);
        assert!((even.share(2.5) - 0.25).abs() < 1e-9);
        assert!((Scale::names(4).share(0.0) - 0.125).abs() < 1e-9);
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (12.0, "12"),
            (1234.5, "1234"),
            (250_000.0, "250k"),
            (1.5e6, "1.5M"),
            (1e-6, "1e-6"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
