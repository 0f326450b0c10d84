//! The users of a live run: the load generator of the world's viewers, heard request by request.

use tokio::time::Instant;
use world::{
    Covered, Observation,
    scenario::{Paths, Scenario},
    workload::path_of,
};

use cdn_core::invalidation::InvalidationPattern;

use crate::{
    load::{LoadRun, LoadSpan},
    scenario::Staged,
    talk::{Api, VerbError},
};

/// Objects whose paths are held against the patterns of an invalidation; those of larger catalogues count as not covered
/// unless everything is.
const OBJECTS_MAX: u64 = 2_000_000;

/// Requests that are over, as they come.
pub(super) struct Observed {
    /// When the warm-up begins.
    pub(super) begin: Instant,
    run: Option<LoadRun>,
}

impl Observed {
    /// The next ones; `None` after the last.
    pub(super) async fn recv(&mut self) -> Option<Result<Vec<Observation>, VerbError>> {
        let run = self.run.as_mut()?;
        match run.next().await {
            Ok(Some(observation)) => Some(Ok(vec![observation])),
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

/// Has the users of a scenario begin.
///
/// # Errors
/// The world's viewers refuse.
pub(super) async fn begin(api: &Api, staged: &Staged) -> Result<Observed, VerbError> {
    let scenario = &staged.scenario;
    if scenario.loads.is_empty() {
        return Ok(Observed { begin: Instant::now(), run: None });
    }
    let span = LoadSpan { warmup: scenario.warmup, length: scenario.length };
    let run = LoadRun::start(api, &scenario.loads, span, scenario.seed).await?;
    Ok(Observed { begin: Instant::from_std(run.began()), run: Some(run) })
}

/// The objects that patterns cover, of those that the loads of a scenario ask for.
pub(super) fn covered(scenario: &Scenario, patterns: &[String]) -> Covered {
    let patterns: Vec<InvalidationPattern> =
        patterns.iter().filter_map(|pattern| InvalidationPattern::parse(pattern).ok()).collect();
    if patterns.iter().any(|pattern| pattern.matches("/") && pattern.matches("/anything/at/all")) {
        return Covered::All;
    }
    let mut objects = Vec::new();
    for load in &scenario.loads {
        let of: Vec<u64> = match &load.paths {
            Paths::Zipf { n, .. } => (1..=(*n).min(OBJECTS_MAX)).collect(),
            Paths::One(_) => vec![0],
            Paths::Trace(requests) => requests.iter().map(|request| request.object).collect(),
        };
        let is_covered = |object: &u64| {
            let path = path_of(load, *object, None);
            patterns.iter().any(|pattern| pattern.matches(&path))
        };
        objects.extend(of.into_iter().filter(is_covered));
    }
    objects.sort_unstable();
    objects.dedup();
    Covered::Objects(objects)
}
