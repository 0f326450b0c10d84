//! Scenario files: from TOML to a checked world and a checked [`Scenario`], or to one complaint with line and caret; and
//! back to TOML.
//!
//! The whole file is checked before anything starts. What a scenario does when it is played is not known here.

mod expect;
mod file;
mod load;
mod names;
mod sign;
mod steps;
mod write;

use std::{path::Path, time::Duration};

use world::scenario::{Action, Scenario, Step, What};

pub(crate) use self::{
    file::{Bps, ExpectFile, Figure, LoadFile, Many, ScenarioFile, StepFile},
    write::write,
};
use self::{
    file::{RoutingFile, lay_over},
    names::Names,
};
use crate::{
    args::UpArgs,
    cluster::{Cluster, Inputs},
    cluster_file::{ClusterFile, RouterFile},
    diagnose::{Complaint, KeyError, Source, read_cluster, read_source, refused},
    policy_program::Outcomes,
    quantity::Span,
    state::WorldRecord,
    talk::VerbError,
    up::{Plan, plan_of},
};

/// A scenario is at least so long where it does not say how long.
const LENGTH_MIN: Duration = Duration::from_secs(30);
/// And goes on for so long after its last step.
const LENGTH_AFTER: Duration = Duration::from_secs(15);
/// No scenario is longer: ten years.
const LENGTH_MAX: Duration = Duration::from_secs(10 * 366 * 86_400);
/// Load before time zero where nothing is written.
const WARMUP: Duration = Duration::from_secs(2);

/// A checked scenario, with the world that it is played in.
pub(crate) struct Staged {
    /// What is played.
    pub(crate) scenario: Scenario,
    /// Its world.
    pub(crate) plan: Plan,
    /// The configurations that steps go over to, from revision 1 on.
    pub(crate) revisions: Vec<ClusterFile>,
    /// Why it cannot be judged in virtual time, if it cannot.
    only_live: Option<Complaint>,
}

impl Staged {
    /// Whether it can be judged in virtual time.
    ///
    /// # Errors
    /// What it looks at and virtual time does not, with line and caret.
    pub(crate) fn may_be_virtual(&self) -> Result<(), VerbError> {
        self.only_live.as_ref().map_or(Ok(()), |complaint| Err(config(complaint.clone())))
    }
}

/// Reads and checks the scenario at `path`. `seed` is laid over the file's.
///
/// # Errors
/// One complaint, with line and caret.
pub(crate) fn read(path: &Path, seed: Option<u64>, running: Option<&WorldRecord>) -> Result<Staged, VerbError> {
    let source = read_source(path).map_err(|mut complaint| {
        if complaint.source.is_none() {
            complaint.hint = Some("`iso chaos list` shows the scenarios that `iso` brings".into());
        }
        config(complaint)
    })?;
    let dir = path.parent().map(Path::to_owned).unwrap_or_default();
    stage(source, &dir, seed, running)
}

/// Checks a scenario whose relative paths begin at `dir`. Where it is played in a `running` world, what the scenario
/// says of its own world does not count.
///
/// # Errors
/// One complaint, with line and caret.
pub(crate) fn stage(
    source: Source,
    dir: &Path,
    seed: Option<u64>,
    running: Option<&WorldRecord>,
) -> Result<Staged, VerbError> {
    let complain = |error: KeyError| config(source.complaint(error));
    let file: ScenarioFile = toml::from_str(&source.text).map_err(|error| config(refused(&source, &error)))?;
    let mut over = file.world();
    over.router = router_of(&file).map_err(complain)?;
    let base = match &file.cluster {
        Some(path) => {
            let source = read_source(&dir.join(path)).map_err(config)?;
            read_cluster(&source).map_err(config)?
        }
        None => ClusterFile::default(),
    };
    let mut written = over_base(&base, &over).map_err(complain)?;
    written.seed = seed.or(written.seed);
    let seed_used = written.seed.unwrap_or(1);
    if let Some(error) = routing_fault(&written, &file) {
        return Err(complain(error));
    }
    let plan = match running {
        None => plan_of(written.clone(), &source, dir, &UpArgs::default())?,
        Some(WorldRecord { file, inputs, .. }) => Plan {
            cluster: Cluster::check(file, inputs).map_err(|error| VerbError::Failed(anyhow::anyhow!("{error}")))?,
            file: file.clone(),
            inputs: inputs.clone(),
            warnings: Vec::new(),
        },
    };
    let names = Names { cluster: &plan.cluster };
    if file.title.as_ref().is_some_and(|title| title.contains(char::is_control)) {
        return Err(complain(
            KeyError::new("title", "a title is one line of text").hint("what is longer goes into about"),
        ));
    }

    let lines = source.lines();
    let line_of = |key: &str| u32::try_from(lines.of(key).unwrap_or(0)).unwrap_or(0);
    let is_one = !source.text.contains("[[load]]");
    let mut loads = Vec::new();
    for (at, load) in file.load.0.iter().enumerate() {
        let key = if is_one && file.load.0.len() == 1 { "load".to_owned() } else { format!("load.{at}") };
        let mut checked = load::load_of(&key, load, &names, dir).map_err(complain)?;
        checked.signing = sign::signing_of(&key, load, &checked, &plan, dir).map_err(complain)?;
        loads.push(checked);
    }
    let mut tables = Vec::new();
    let mut steps: Vec<(usize, Step)> = Vec::new();
    for (index, step) in file.at.iter().enumerate() {
        let line = line_of(&format!("at.{index}"));
        let step = steps::step_of(index, step, line, &names, loads.len(), &mut tables).map_err(complain)?;
        steps.push((index, step));
    }
    // Stable: those of one time stay in the order in which they were written.
    steps.sort_by_key(|(_, step)| step.at);
    steps::check_order(&steps).map_err(complain)?;
    let length = length_of(&file, &steps).map_err(complain)?;
    if let Some(at) = loads.iter().position(|load| load.start >= length) {
        let key = if is_one { "load.start".to_owned() } else { format!("load.{at}.start") };
        return Err(complain(KeyError::new(&key, format!("the scenario ends at {}, before this load", Span(length)))));
    }
    let mut expectations = Vec::new();
    for (index, expect) in file.expect.iter().enumerate() {
        let line = line_of(&format!("expect.{index}"));
        let checked = expect::expectation_of(index, expect, line, Span(length), &names).map_err(complain)?;
        if !loads.is_empty() && !names.lives_in(&checked.from, &loads) {
            let area = expect.from.as_deref().unwrap_or_default();
            let what = format!("nobody in {area} makes a request in this scenario");
            return Err(complain(
                KeyError::new(&format!("expect.{index}.from"), what).hint("[load] from says who does"),
            ));
        }
        expectations.push(checked);
    }
    if loads.is_empty() && expectations.iter().any(|expectation| needs_load(expectation.what)) {
        let index = expectations.iter().position(|expectation| needs_load(expectation.what)).unwrap_or(0);
        let what = "nobody makes a request in this scenario, so this cannot be looked at";
        return Err(complain(
            KeyError::new(&format!("expect.{index}.what"), what).hint("write [load], with rps = 100"),
        ));
    }
    if loads.is_empty() && steps.is_empty() && expectations.is_empty() {
        return Err(config(Complaint {
            file: source.name,
            source: None,
            message: "nothing happens in this scenario".into(),
            hint: Some("write at, expect or [load]; `iso chaos list` shows the scenarios that `iso` brings".into()),
        }));
    }
    let mut revisions = Vec::new();
    for (at, table) in tables.iter().enumerate() {
        revisions.push(revision_of(at, table, &written, &plan, &steps).map_err(complain)?);
    }
    for (_, step) in &steps {
        let Action::Load(change) = &step.action else { continue };
        for (index, load) in loads.iter_mut().enumerate() {
            if change.load.is_none_or(|wanted| wanted == index) {
                load::lay_in(load, step.at, change);
            }
        }
    }
    let warmup = match file.warmup {
        Some(span) if span.0 > LENGTH_MAX => {
            return Err(complain(KeyError::new("warmup", format!("{span} is more than {}", Span(LENGTH_MAX)))));
        }
        Some(span) => span.0,
        None if loads.is_empty() => Duration::ZERO,
        None => WARMUP,
    };
    let stem = Path::new(&source.name).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let scenario = Scenario {
        title: file.title.clone().or(stem).unwrap_or_default(),
        about: file.about.clone().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" "),
        seed: seed_used,
        warmup,
        length,
        loads,
        steps: steps.into_iter().map(|(_, step)| step).collect(),
        expectations,
        told: if plan.cluster.router.program.is_some() { Outcomes::COUNTERS.to_vec() } else { Vec::new() },
    };
    let only_live =
        file.expect.iter().zip(&scenario.expectations).position(
            |(_, expectation)| matches!(expectation.what, What::Counter(counter) if !simulator::counts(counter)),
        );
    let only_live = only_live.map(|index| {
        let what = "virtual time does not count this, so it would be 0 whatever happened";
        source.complaint(KeyError::new(&format!("expect.{index}.what"), what).hint("without --sim it is counted"))
    });
    Ok(Staged { scenario, plan, revisions, only_live })
}

fn config(complaint: Complaint) -> VerbError {
    VerbError::Config(Box::new(complaint))
}

/// Whether an expectation looks at requests of users.
const fn needs_load(what: What) -> bool {
    !matches!(
        what,
        What::Detect
            | What::Counter(_)
            | What::WrongBytes
            | What::LawsBroken
            | What::OriginRequests
            | What::OriginRps
            | What::Failovers
    )
}

/// What is written here over the file that `cluster` names. A preset replaces PoPs and the other way round.
fn over_base(base: &ClusterFile, over: &ClusterFile) -> Result<ClusterFile, KeyError> {
    let mut base = base.clone();
    if over.preset.is_some() || over.pops.is_some() {
        (base.preset, base.pops) = (None, None);
    }
    lay_over(&base, over)
}

/// `[router]` with `[routing]` laid over it.
fn router_of(file: &ScenarioFile) -> Result<RouterFile, KeyError> {
    let RoutingFile { ttl, health, answers, policy } = &file.routing;
    let mut router = file.router.clone();
    for (key, short, long) in [
        ("ttl", ttl.is_some(), router.ttl.is_some()),
        ("answers", answers.is_some(), router.answers.is_some()),
        ("policy", policy.is_some(), router.policy.is_some()),
        ("health", health.is_some(), router.probe_interval.is_some() || router.down_after.is_some()),
    ] {
        if short && long {
            return Err(KeyError::new(&format!("routing.{key}"), "[router] says it too").hint("write one of both"));
        }
    }
    router.ttl = router.ttl.or(*ttl);
    router.answers = router.answers.or(*answers);
    router.policy = router.policy.or_else(|| policy.clone());
    if let Some(text) = health {
        let refuse = || {
            KeyError::new("routing.health", format!("{text:?} is no health check"))
                .hint("time between probes and failures in a row: health = \"2s x 2\"")
        };
        let (interval, times) = text.split_once(['x', '×']).ok_or_else(refuse)?;
        router.probe_interval = Some(interval.trim().parse().map_err(|_| refuse())?);
        router.down_after = Some(times.trim().parse().map_err(|_| refuse())?);
    }
    Ok(router)
}

/// What is wrong with a router's setting that `[routing]` writes, under the name that it has there.
fn routing_fault(written: &ClusterFile, file: &ScenarioFile) -> Option<KeyError> {
    let error = Cluster::check(written, &Inputs::default()).err()?;
    let [section, key] = error.key.as_slice() else { return None };
    let RoutingFile { ttl, health, answers, policy } = &file.routing;
    let short = match key.as_str() {
        "ttl" if ttl.is_some() => "ttl",
        "answers" if answers.is_some() => "answers",
        "policy" if policy.is_some() => "policy",
        "probe_interval" | "probe_timeout" | "down_after" if health.is_some() => "health",
        _ => return None,
    };
    (section == "router").then(|| KeyError { key: vec!["routing".into(), short.into()], ..error.clone() })
}

/// How long the scenario is; a step or its end may not lie behind it.
fn length_of(file: &ScenarioFile, steps: &[(usize, Step)]) -> Result<Duration, KeyError> {
    let span = |action: &Action| match action {
        Action::Kill { span, .. }
        | Action::Pause { span, .. }
        | Action::Fault { span, .. }
        | Action::Link { span, .. } => span.unwrap_or_default(),
        Action::Load(change) => change.over.saturating_add(change.span.unwrap_or_default()),
        _ => Duration::ZERO,
    };
    let Some(length) = file.length else {
        let end = |step: &Step| step.at.saturating_add(span(&step.action));
        let Some((index, last)) = steps.iter().max_by_key(|(_, step)| end(step)) else { return Ok(LENGTH_MIN) };
        if end(last) > LENGTH_MAX {
            return Err(KeyError::new(&format!("at.{index}"), format!("it ends later than {}", Span(LENGTH_MAX))));
        }
        return Ok((end(last) + LENGTH_AFTER).max(LENGTH_MIN));
    };
    if length.0.is_zero() {
        return Err(KeyError::new("length", "it ends before it begins"));
    }
    if length.0 > LENGTH_MAX {
        return Err(KeyError::new("length", format!("{length} is more than {}", Span(LENGTH_MAX))));
    }
    match steps.last() {
        Some((index, step)) if step.at >= length.0 => {
            Err(KeyError::new(&format!("at.{index}.t"), format!("the scenario ends at {length}, before this step"))
                .hint("let it be longer: length"))
        }
        _ => Ok(length.0),
    }
}

/// The world after the step that goes over to `table`, which must have the same nodes.
fn revision_of(
    at: usize,
    table: &toml::Table,
    written: &ClusterFile,
    plan: &Plan,
    steps: &[(usize, Step)],
) -> Result<ClusterFile, KeyError> {
    let is_it = |step: &Step| matches!(&step.action, Action::Config(change) if change.revision == at + 1);
    let index = steps.iter().find(|(_, step)| is_it(step)).map_or(0, |(index, _)| *index);
    let key = format!("at.{index}.config");
    let file = lay_over(written, table).map_err(|error| error.under(&key))?;
    let cluster = Cluster::check(&file, &plan.inputs).map_err(|error| error.under(&key))?;
    let ids = |cluster: &Cluster| cluster.nodes.iter().map(|plan| plan.id.clone()).collect::<Vec<_>>();
    if ids(&cluster) != ids(&plan.cluster) {
        return Err(KeyError::new(&key, "a running world keeps its nodes: PoPs, shield, routers and origins stay"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests;
