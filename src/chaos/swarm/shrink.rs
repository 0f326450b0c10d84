//! From a scenario that breaks a law to the shortest one found that still does.
//!
//! Delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002) over the steps of the
//! timeline, then one thing of load and world after the other left out, then durations halved; all over again until
//! nothing more can go. Pure, and the same for the same answers; refuses to know what is broken and how that is found out.

use std::time::Duration;

use crate::{
    quantity::Span,
    scenario::{LoadFile, Many, ScenarioFile, StepFile},
};

/// A shorter scenario.
pub(super) struct Shrunk {
    pub(super) file: ScenarioFile,
    /// Runs that it took.
    pub(super) runs: u32,
}

/// The shortest scenario found within `runs_max` runs for which `breaks` still says yes, as it does for `file`.
pub(super) fn shrink(file: ScenarioFile, runs_max: u32, breaks: impl FnMut(&ScenarioFile) -> bool) -> Shrunk {
    let mut search = Search { file, runs: 0, runs_max, breaks };
    loop {
        let before = search.file.clone();
        search.leave_out_steps();
        search.leave_out_things();
        search.halve_times();
        if search.file == before || search.runs >= runs_max {
            return Shrunk { file: search.file, runs: search.runs };
        }
    }
}

/// The shortest so far.
struct Search<F> {
    file: ScenarioFile,
    runs: u32,
    runs_max: u32,
    breaks: F,
}

impl<F: FnMut(&ScenarioFile) -> bool> Search<F> {
    /// Goes on with `candidate` if it breaks as well.
    fn goes_on_with(&mut self, candidate: ScenarioFile) -> bool {
        if candidate == self.file || self.runs >= self.runs_max {
            return false;
        }
        self.runs += 1;
        let does = (self.breaks)(&candidate);
        if does {
            self.file = candidate;
        }
        does
    }

    fn tries(&mut self, change: impl FnOnce(&mut ScenarioFile)) -> bool {
        let mut candidate = self.file.clone();
        change(&mut candidate);
        self.goes_on_with(candidate)
    }

    /// The algorithm ddmin, over what is left when a part is taken away: first halves, at last single steps.
    fn leave_out_steps(&mut self) {
        let mut parts = 2;
        while !self.file.at.is_empty() && self.runs < self.runs_max {
            let size = self.file.at.len().div_ceil(parts);
            let starts = (0..self.file.at.len()).step_by(size.max(1));
            let shorter = starts
                .into_iter()
                .any(|start| self.tries(|file| drop(file.at.drain(start..(start + size).min(file.at.len())))));
            if shorter {
                parts = (parts - 1).max(2);
            } else if size <= 1 {
                return;
            } else {
                parts = (parts * 2).min(self.file.at.len());
            }
        }
    }

    /// Back to the defaults, one thing after the other, what stands first being what makes runs shorter.
    fn leave_out_things(&mut self) {
        for nth in (0..self.file.load.0.len()).rev() {
            self.tries(|file| drop(file.load.0.remove(nth)));
        }
        for nth in 0..self.file.load.0.len() {
            while self.changes_load(nth, |load| load.rps = load.rps.map(|rps| (rps / 2.0).max(1.0))) {}
            for forget in LOAD {
                self.changes_load(nth, forget);
            }
        }
        for pop in self.file.pops.clone().unwrap_or_default() {
            self.tries(|file| file.pops.iter_mut().for_each(|pops| pops.retain(|one| *one != pop)));
        }
        for forget in WORLD {
            self.tries(forget);
        }
        for id in self.file.distributions.keys().cloned().collect::<Vec<_>>() {
            self.tries(|file| drop(file.distributions.shift_remove(&id)));
            self.tries(|file| {
                if let Some(distribution) = file.distributions.get_mut(&id) {
                    *distribution = Default::default();
                }
            });
        }
        for id in self.file.origins.keys().cloned().collect::<Vec<_>>() {
            self.tries(|file| drop(file.origins.shift_remove(&id)));
            self.tries(|file| {
                if let Some(origin) = file.origins.get_mut(&id) {
                    *origin = Default::default();
                }
            });
        }
        for nth in 0..self.file.at.len() {
            for forget in STEP {
                self.tries(|file| file.at.get_mut(nth).into_iter().for_each(forget));
            }
        }
    }

    fn changes_load(&mut self, nth: usize, change: impl FnOnce(&mut LoadFile)) -> bool {
        self.tries(|file| {
            if let Some(load) = file.load.0.get_mut(nth) {
                change(load);
            }
        })
    }

    /// Steps earlier, faults shorter, and the end sooner.
    fn halve_times(&mut self) {
        // All at once keeps what lies between them in proportion.
        while self.tries(|file| file.at.iter_mut().for_each(|step| halve(&mut step.t))) {}
        for nth in 0..self.file.at.len() {
            while self.tries(|file| file.at.get_mut(nth).into_iter().for_each(|step| halve(&mut step.t))) {}
            while self.tries(|file| file.at.get_mut(nth).into_iter().for_each(|step| halve(&mut step.r#for))) {}
        }
        while self.tries(|file| halve(&mut file.length)) {}
        // What is left of the length goes in small steps: a law may be asked only late.
        while self.tries(|file| file.length = file.length.map(|length| whole(length.0 * 9 / 10))) {}
        self.tries(|file| file.warmup = Some(Span(Duration::ZERO)));
    }
}

/// Half of it, in whole seconds, or tenths below ten seconds.
fn halve(span: &mut Option<Span>) {
    *span = span.map(|span| whole(span.0 / 2));
}

/// What a person would write.
fn whole(span: Duration) -> Span {
    let unit = if span >= Duration::from_secs(10) { 1000 } else { 100 };
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    Span(Duration::from_millis((millis / unit).max(1) * unit))
}

/// Settings of a load that it may do without.
const LOAD: [fn(&mut LoadFile); 8] = [
    |load| *load = LoadFile { rps: load.rps, ..LoadFile::default() },
    |load| load.from = Some(Many(vec!["berlin".to_owned()])),
    |load| load.paths = Some("/objects/1".to_owned()),
    |load| load.paths = Some("zipf:1:10".to_owned()),
    |load| load.sizes = None,
    |load| (load.idle, load.connections, load.think) = (None, None, None),
    |load| (load.stretchers, load.stretch, load.distribution, load.method) = (None, None, None, None),
    |load| (load.attempts, load.budget, load.timeout) = (None, None, None),
];

/// Settings of a world that it may do without.
const WORLD: [fn(&mut ScenarioFile); 17] = [
    |file| file.regional.clear(),
    |file| file.shield = Some("none".to_owned()),
    |file| file.shield = None,
    |file| file.edge = Default::default(),
    |file| file.viewer = Default::default(),
    |file| file.world = Default::default(),
    |file| (file.world.jitter, file.world.access) = (None, None),
    |file| file.world.loss = None,
    |file| file.router = Default::default(),
    |file| (file.router.policy, file.router.sites) = (None, None),
    |file| (file.router.answers, file.router.explore) = (None, None),
    |file| file.router.ttl = None,
    |file| (file.router.probe_interval, file.router.down_after, file.router.up_after) = (None, None, None),
    |file| (file.router.ramp, file.router.capacity) = (None, Default::default()),
    |file| file.groups.clear(),
    |file| file.distributions.clear(),
    |file| (file.origins, file.groups) = Default::default(),
];

/// Flags of a step that it may do without.
const STEP: [fn(&mut StepFile); 4] = [
    |step| step.rate = None,
    |step| (step.path, step.from) = (None, None),
    |step| step.one_way = false,
    |step| (step.distribution, step.over) = (None, None),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::{Kind, swarm::draw::draw};

    /// The texts of steps, as verb and target.
    fn verbs(file: &ScenarioFile) -> Vec<String> {
        let named = |step: &StepFile| {
            let all =
                [("kill", &step.kill), ("fault", &step.fault), ("heal", &step.heal), ("invalidate", &step.invalidate)];
            let found =
                all.into_iter().find_map(|(verb, names)| Some(format!("{verb} {}", names.as_ref()?.0.join(" "))));
            found.unwrap_or_else(|| "other".to_owned())
        };
        file.at.iter().map(named).collect()
    }

    fn step(secs: u64, kill: &str) -> StepFile {
        let kill = Some(Many(vec![kill.to_owned()]));
        StepFile {
            t: Some(Span(Duration::from_secs(secs))),
            kill,
            r#for: Some(Span(Duration::from_secs(8))),
            ..StepFile::default()
        }
    }

    #[test]
    fn two_steps_that_break_it_together_are_found_among_many() {
        let mut file = draw(11, Kind::Virtual).unwrap();
        file.at = (0..40).map(|nth| step(nth, &format!("edge.{nth}"))).collect();
        let names = |file: &ScenarioFile| verbs(file);
        let breaks = |file: &ScenarioFile| {
            let names = names(file);
            ["kill edge.7", "kill edge.31"].iter().all(|wanted| names.iter().any(|name| name == wanted))
        };
        let shrunk = shrink(file, 1000, breaks);
        assert_eq!(verbs(&shrunk.file), ["kill edge.7", "kill edge.31"]);
        // Nothing else is needed for it, and as little time as can be written.
        assert_eq!(shrunk.file.load.0.len(), 0);
        assert_eq!((&shrunk.file.pops, shrunk.file.router.ttl), (&Some(Vec::new()), None));
        assert!(shrunk.file.at.iter().all(|step| step.r#for.is_none_or(|span| span.0 <= Duration::from_millis(100))));
        assert!(
            shrunk.file.length.is_some_and(|length| length.0 <= Duration::from_millis(100)),
            "{:?}",
            shrunk.file.length
        );
        assert!(shrunk.runs < 200, "{}", shrunk.runs);
    }

    #[test]
    fn no_more_runs_are_spent_than_allowed_and_what_is_left_still_breaks() {
        let mut file = draw(11, Kind::Virtual).unwrap();
        file.at = (0..40).map(|nth| step(nth, &format!("edge.{nth}"))).collect();
        let mut asked = 0;
        let shrunk = shrink(file, 7, |file| {
            asked += 1;
            verbs(file).iter().any(|name| name == "kill edge.20")
        });
        assert_eq!((asked, shrunk.runs), (7, 7));
        assert!(verbs(&shrunk.file).iter().any(|name| name == "kill edge.20"));
        assert!(shrunk.file.at.len() < 40);
    }
}
