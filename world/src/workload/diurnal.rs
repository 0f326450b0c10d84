//! How much is asked for at which hour of the day.
//!
//! Decides the factor on a place's rate from its local hour: the measured day of `world/data/diurnal.csv`, with straight
//! lines between the hours, scaled so that a whole day has the mean 1 and its low is as deep as somebody wants it.

use std::sync::LazyLock;

use crate::atlas::{DIURNAL, TableError, each_row};

const HOURS: usize = 24;

/// The course of a day.
#[derive(Clone, Debug, PartialEq)]
pub struct Day {
    /// The factor at each full hour of local time.
    hours: [f64; HOURS],
    max: f64,
}

impl Day {
    /// The day of web traffic as it was measured.
    pub fn measured() -> &'static Self {
        static MEASURED: LazyLock<Day> = LazyLock::new(|| match read() {
            Ok(hours) => Day::new(hours),
            Err(error) => panic!("the embedded tables are broken: {error}"),
        });
        &MEASURED
    }

    /// The measured day stretched so that its lowest factor is `trough` of its highest, 0 to 1.
    pub fn with_trough(trough: f64) -> Self {
        let Self { hours, max } = Self::measured();
        let min = hours.iter().copied().fold(f64::INFINITY, f64::min);
        // 1 + b (hour - 1) keeps the mean; b is such that (1 + b (min - 1)) / (1 + b (max - 1)) is the trough.
        let trough = trough.clamp(0.0, 1.0);
        let stretch = (1.0 - trough) / ((1.0 - min) + trough * (max - 1.0));
        Self::new(hours.map(|factor| (1.0 + stretch * (factor - 1.0)).max(0.0)))
    }

    fn new(hours: [f64; HOURS]) -> Self {
        let mean = hours.iter().sum::<f64>() / HOURS as f64;
        let hours = hours.map(|factor| factor / mean);
        Self { hours, max: hours.into_iter().fold(0.0, f64::max) }
    }

    /// The factor at `local_hour`, which may lie outside 0 to 24.
    pub fn factor(&self, local_hour: f64) -> f64 {
        let hour = local_hour.rem_euclid(HOURS as f64);
        let (begin, part) = (hour as usize % HOURS, hour.fract());
        self.hours[begin] * (1.0 - part) + self.hours[(begin + 1) % HOURS] * part
    }

    /// The highest factor of the day.
    pub const fn factor_max(&self) -> f64 {
        self.max
    }
}

fn read() -> Result<[f64; HOURS], TableError> {
    let mut day = [0.0; HOURS];
    each_row(DIURNAL, ["local_hour", "web", "video", "download"], |row| {
        let hour: usize = row.parse(0)?;
        *day.get_mut(hour).ok_or_else(|| row.wrong("a day has 24 hours"))? = row.parse(1)?;
        Ok(())
    })?;
    Ok(day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_the_mean_one_and_its_low_before_dawn() {
        for day in [Day::measured(), &Day::with_trough(0.0), &Day::with_trough(0.5), &Day::with_trough(1.0)] {
            let steps = 24 * 60;
            let mean = (0..steps).map(|minute| day.factor(f64::from(minute) / 60.0)).sum::<f64>() / f64::from(steps);
            assert!((mean - 1.0).abs() < 1e-9, "{mean}");
            assert!((0..24).all(|hour| (0.0..=day.factor_max()).contains(&day.factor(f64::from(hour)))));
        }
        let day = Day::measured();
        assert!(day.factor(5.0) < 0.4 && day.factor(21.0) > 1.4);
    }

    #[test]
    fn the_low_of_a_day_is_as_deep_as_it_is_wanted() {
        for trough in [0.0, 0.2, 0.9, 1.0] {
            let day = Day::with_trough(trough);
            let min = (0..24).map(|hour| day.factor(f64::from(hour))).fold(f64::INFINITY, f64::min);
            assert!((min / day.factor_max() - trough).abs() < 1e-9, "{trough}: {min}");
        }
    }

    #[test]
    fn hours_go_round_the_clock_and_are_joined_by_lines() {
        let day = Day::measured();
        assert!((day.factor(-1.0) - day.factor(23.0)).abs() < 1e-12);
        assert!((day.factor(47.5) - (day.factor(23.0) + day.factor(0.0)) / 2.0).abs() < 1e-12);
    }
}
