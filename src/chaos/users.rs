//! The users of a live run: the load generator of the world's viewers, heard request by request.

use cdn_core::{cache_key::RequestHead, distribution::Distribution, invalidation::InvalidationPattern};
use http::{HeaderMap, Method};
use tokio::time::Instant;
use world::{
    Covered, Observation, Workload,
    scenario::{Paths, Scenario},
    workload::path_of,
};

use crate::{
    cluster::Cluster,
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

/// The objects that the patterns of an invalidation cover, of those that the loads of a scenario ask for.
pub(super) fn covered(
    scenario: &Scenario,
    cluster: &Cluster,
    distribution: Option<&str>,
    patterns: &[String],
) -> Covered {
    if distribution.is_none() && patterns.iter().any(|pattern| pattern == "/*") {
        return Covered::All;
    }
    // Whoever plays the scenario has made this workload already.
    let Ok(workload) = Workload::of_scenario(scenario, cluster.world.atlas()) else { return Covered::All };
    let mut objects = Vec::new();
    for (load, index) in scenario.loads.iter().zip(0_u16..) {
        let served = cluster.distributions.iter().find(|served| **served.id() == *load.distribution);
        let Some(served) = served.filter(|served| distribution.is_none_or(|id| id == &**served.id())) else { continue };
        let patterns: Vec<InvalidationPattern> =
            patterns.iter().filter_map(|pattern| served.invalidation(pattern).ok()).collect();
        let of: Box<dyn Iterator<Item = (u64, Option<u64>)>> = match &load.paths {
            Paths::Zipf { n, .. } => Box::new((1..=(*n).min(OBJECTS_MAX)).map(|object| (object, None))),
            Paths::One(_) => Box::new(std::iter::once((0, None))),
            Paths::Trace(requests) => Box::new(requests.iter().map(|request| (request.object, Some(request.bytes)))),
        };
        let is_covered = |&(object, traced): &(u64, Option<u64>)| {
            let uri = uri_of(served, &path_of(load, object, workload.size_of(index, object).or(traced)));
            patterns.iter().any(|pattern| pattern.matches(&uri))
        };
        objects.extend(of.filter(is_covered).map(|(object, _)| (index, object)));
    }
    objects.sort_unstable();
    objects.dedup();
    Covered::Objects(objects)
}

/// What a path is cached under: with its query string as far as that is keyed.
fn uri_of(distribution: &Distribution, target: &str) -> String {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let path = distribution.root_object_for(path).unwrap_or_else(|| path.to_owned());
    let (behavior, headers) = (distribution.behavior_for(&path), &HeaderMap::new());
    RequestHead { distribution, behavior, method: &Method::GET, host: "", path: &path, query, headers }.uri()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::diagnose::Source;

    #[test]
    fn an_invalidation_covers_objects_of_the_loads_whose_paths_it_names_and_no_others() {
        let text = r#"
            title = "Three loads"
            load = [
              { rps = 1, paths = "zipf:1:3" },
              { rps = 1, paths = "zipf:1:3", sizes = "4KiB" },
              { rps = 1, paths = "/" },
            ]
            expect = [{ what = "availability", min = 0 }]
        "#;
        let source = Source { name: "t.toml".into(), text: text.into() };
        let staged = crate::scenario::stage(source, Path::new(""), None, None).unwrap_or_else(|e| panic!("{e}"));
        let of = |distribution: Option<&str>, pattern: &str| {
            covered(&staged.scenario, &staged.plan.cluster, distribution, &[pattern.to_owned()])
        };
        assert_eq!(of(None, "/objects/*"), Covered::Objects(vec![(0, 1), (0, 2), (0, 3)]));
        assert_eq!(of(None, "/bytes/4096/2"), Covered::Objects(vec![(1, 2)]));
        assert_eq!(of(None, "/"), Covered::Objects(vec![(2, 0)]));
        assert_eq!(of(None, "/*"), Covered::All);
        assert_eq!(of(Some("another"), "/*"), Covered::Objects(Vec::new()));
    }
}
