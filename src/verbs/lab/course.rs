//! Labs that come along, the file that describes one, and scenarios that nobody has seen.

use std::{path::Path, time::Duration};

use cdn_core::PopCode;
use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use simulator::studies::routing::Surge;
use world::Atlas;

use super::play;
use crate::{
    diagnose::{Source, refused},
    quantity::Span,
    talk::VerbError,
    verbs::study::{kill_of, place_of},
};

/// A lab that comes along.
#[derive(Debug, Serialize)]
pub(super) struct Lab {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// What a student begins with.
    #[serde(skip)]
    pub(super) files: &'static [(&'static str, &'static str)],
}

/// All of them.
pub(super) const LABS: [Lab; 1] = [Lab {
    name: "cdn-routing",
    title: "send the clients of the world to twelve PoPs: near, alive, and not too full",
    files: &[
        ("router.py", include_str!("../../../examples/labs/cdn-routing/router.py")),
        ("README.md", include_str!("../../../examples/labs/cdn-routing/README.md")),
        ("lab.toml", include_str!("../../../examples/labs/cdn-routing/lab.toml")),
    ],
}];

/// `lab.toml`, checked.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) lab: String,
    pub(super) router: String,
    pub(super) files: Vec<String>,
    pub(super) seed: u64,
    pub(super) scenarios: Vec<Scenario>,
}

/// What is played.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scenario {
    pub(super) title: String,
    pub(super) kill: Option<(PopCode, Duration)>,
    pub(super) surge: Option<Surge>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CourseFile {
    lab: String,
    router: String,
    files: Vec<String>,
    seed: u64,
    scenarios: Vec<ScenarioFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScenarioFile {
    title: String,
    kill: Option<String>,
    surge: Option<SurgeFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SurgeFile {
    times: f64,
    around: String,
    radius_km: f64,
    from: Span,
    until: Span,
}

impl Course {
    /// Reads `lab.toml` of a directory.
    pub(super) fn read(dir: &Path) -> Result<Self, VerbError> {
        let path = dir.join("lab.toml");
        let text = std::fs::read_to_string(&path).map_err(|error| {
            VerbError::Usage(format!("cannot read {}: {error}; `iso lab start cdn-routing` writes one", path.display()))
        })?;
        let source = Source { name: path.display().to_string(), text };
        let file: CourseFile =
            toml::from_str(&source.text).map_err(|error| VerbError::Config(Box::new(refused(&source, &error))))?;
        if file.scenarios.is_empty() {
            return Err(VerbError::Usage(format!("{} has no scenarios", source.name)));
        }
        let scenarios: Result<_, _> = file.scenarios.iter().map(ScenarioFile::check).collect();
        let CourseFile { lab, router, files, seed, .. } = file;
        Ok(Self { lab, router, files, seed, scenarios: scenarios? })
    }
}

impl ScenarioFile {
    fn check(&self) -> Result<Scenario, VerbError> {
        let kill = self.kill.as_deref().map(|kill| kill_of(kill, &play::pops(), play::SPAN)).transpose()?;
        let surge = self.surge.as_ref().map(|surge| {
            let SurgeFile { times, radius_km, from: Span(from), until: Span(until), .. } = *surge;
            let holds = times > 1.0 && times <= 10.0 && radius_km > 0.0 && from < until && until <= play::SPAN;
            if !holds {
                return Err(VerbError::Usage(format!(
                    "{:?}: a surge is more than 1 and up to 10 times the usual, from some radius_km, and within {}",
                    self.title,
                    Span(play::SPAN)
                )));
            }
            Ok(Surge { times, around: place_of(&surge.around)?, radius_km, from, until })
        });
        Ok(Scenario { title: self.title.clone(), kill, surge: surge.transpose()? })
    }
}

/// The scenarios of a seed: of the kinds that students know, and of places and times that they do not.
pub(super) fn drawn(seed: u64) -> Vec<Scenario> {
    let mut rng = world::stream(seed, &["lab"]);
    let s = Duration::from_secs;
    let quiet = Scenario { title: "a quiet day".into(), kill: None, surge: None };
    let codes: Vec<PopCode> = play::pops().iter().filter_map(world::Place::pop_code).collect();
    let dead = codes.get(rng.random_range(0..codes.len().max(1))).copied();
    let death = Scenario {
        title: "a PoP dies".into(),
        kill: dead.map(|code| (code, s(rng.random_range(15..40)))),
        surge: None,
    };
    let mut crowd = || {
        let cities = Atlas::embedded().cities();
        let around = cities.get(rng.random_range(0..play::CITIES / 2)).map(|city| city.place.clone());
        let from = rng.random_range(10..30);
        let surge = around.map(|around| Surge {
            times: rng.random_range(1.25..1.4),
            around,
            radius_km: rng.random_range(1500.0..3000.0),
            from: s(from),
            until: s(from + rng.random_range(30..50)),
        });
        Scenario { title: "a crowd".into(), kill: None, surge }
    };
    let crowds = [crowd(), crowd()];
    [quiet, death].into_iter().chain(crowds).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_student_begins_with_can_be_read_and_its_router_is_short() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in LABS[0].files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let course = Course::read(dir.path()).unwrap();
        assert_eq!((course.lab.as_str(), course.scenarios.len()), ("cdn-routing", 4));
        let router = LABS[0].files.iter().find(|(name, _)| *name == "router.py").unwrap().1;
        assert!(router.lines().count() <= 35);
        assert!(course.files.iter().all(|name| dir.path().join(name).exists()));
        let lab = dir.path().join("lab.toml");
        for (from, to, why) in
            [("FRA@30s", "QQQ@30s", "QQQ"), ("times = 1.3", "times = 0.3", "surge"), ("\nseed = ", "\nsed = ", "sed")]
        {
            std::fs::write(&lab, LABS[0].files[2].1.replacen(from, to, 1)).unwrap();
            let said = Course::read(dir.path()).expect_err(to).to_string();
            assert!(said.contains(why), "{to}: {said}");
        }
    }

    #[test]
    fn scenarios_of_a_seed_are_the_same_and_of_another_others() {
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        assert!(drawn(7).iter().all(|scenario| scenario.surge.as_ref().is_none_or(|surge| surge.until <= play::SPAN)));
    }
}
