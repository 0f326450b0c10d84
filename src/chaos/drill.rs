//! `iso drill`: a random failure for a world that runs, and a grade.
//!
//! The failure is drawn from a seed and written down as a scenario, which is played and judged as any other; so a drill
//! can be played again, and kept.

use std::path::Path;

use cdn_core::{NodeId, Role};
use rand::{RngExt as _, SeedableRng as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use world::Judgement;

use super::{Kind, MISSED, Played, live::Where, play, report, text::Screen};
use crate::{
    args::{Cli, DrillArgs},
    cluster::Cluster,
    diagnose::Source,
    parallel::{MEMORY, Room},
    scenario,
    talk::{Api, VerbError, tell},
    verbs::{paint::Paint, say},
};

/// When the failure comes.
const FAILS_AT_S: u64 = 5;
/// How long the world is watched after it has ended.
const AFTER_S: u64 = 15;

/// Runs `iso drill`.
///
/// # Errors
/// No world runs, or the grade is not an A: exit code 10.
pub(crate) fn drill(cli: &Cli, args: &DrillArgs) -> Result<(), VerbError> {
    let api = Api::of_world(&cli.world)?;
    let cluster = Cluster::check(&api.record.file, &api.record.inputs)
        .map_err(|error| VerbError::Failed(anyhow::anyhow!("the world's own settings do not check: {error}")))?;
    let seed = args.seed.unwrap_or_else(|| rand::rng().random_range(1..1_000_000));
    let text = written(&cluster, seed, args);
    let source = Source { name: format!("drill-{seed}.toml"), text: text.clone() };
    let here = Where::Running(Box::new(api.clone()));
    let staged = scenario::stage(source, Path::new(""), Some(seed), Some(&api.record))?;
    let screen = Screen { paint: Paint::of(cli), quiet: cli.json, compares: false };
    let replay = format!("iso drill --seed {seed} --for {} --rps {} --world {}", args.span, args.rps, cli.world);
    screen.begins(&staged.scenario, Kind::Live, &replay);
    let began = std::time::Instant::now();
    let judgement = play(Kind::Live, &staged, &here, &screen, &Room::new(MEMORY))??.judgement;
    let took_s = began.elapsed().as_secs_f64();
    let grade = grade(&judgement);
    let played = Played { name: format!("drill-{seed}"), kind: Kind::Live, replay, judgement, took_s };
    if cli.json {
        let mut document = report::document(std::slice::from_ref(&played));
        document["grade"] = grade.to_string().into();
        document["scenario"] = text.into();
        say(&serde_json::to_string_pretty(&document)?)?;
    } else {
        screen.verdict(&played)?;
        say(&format!("grade: {grade}"))?;
        tell(&format!("keep it as a scenario:\n{}", text.trim_end()));
    }
    if played.judgement.held() { Ok(()) } else { Err(VerbError::Exit(MISSED)) }
}

/// A where everything held, a letter less for each expectation that did not, F where users saw wrong bytes.
fn grade(judgement: &Judgement) -> char {
    let missed = judgement.rows.iter().filter(|row| !row.held).count();
    if judgement.totals.wrong_bytes > 0 { 'F' } else { *['A', 'B', 'C', 'D'].get(missed).unwrap_or(&'F') }
}

/// The failure that a seed draws for a world, as a scenario.
fn written(cluster: &Cluster, seed: u64, args: &DrillArgs) -> String {
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    // What is watched around it begins and ends with whole seconds.
    let span = args.span.0.as_secs_f64().ceil() as u64;
    let nodes = |role: Role| -> Vec<NodeId> {
        let plans = cluster.nodes_with(role).filter(|plan| !plan.is_app);
        plans.map(|plan| plan.id.clone()).collect()
    };
    let edges = nodes(Role::Edge);
    let behind: Vec<NodeId> = nodes(Role::Shield).into_iter().chain(nodes(Role::Regional)).collect();
    let mut failures: Vec<String> = Vec::new();
    if let Some(edge) = edges.choose(&mut chance) {
        failures.push(format!("kill = \"{edge}\""));
        failures.push(format!("pause = \"{edge}\""));
        failures.push(format!("fault = \"{edge}\", blackhole = true"));
        failures.push(format!("fault = \"{edge}\", latency = \"400ms\""));
        failures.push(format!("fault = \"{edge}\", reset = true, rate = 0.5"));
    }
    if let Some(cache) = behind.choose(&mut chance) {
        failures.push(format!("kill = \"{cache}\""));
        failures.push(format!("fault = \"{cache}\", latency = \"800ms\""));
    }
    if let Some(origin) = nodes(Role::Origin).choose(&mut chance) {
        failures.push(format!("fault = \"{origin}\", status = 503, rate = 0.5"));
        failures.push(format!("fault = \"{origin}\", refuse = true"));
        failures.push(format!("fault = \"{origin}\", latency = \"2s\""));
    }
    let routers = nodes(Role::Router);
    if routers.len() > 1
        && let Some(router) = routers.choose(&mut chance)
    {
        failures.push(format!("kill = \"{router}\""));
    }
    if let (Some(edge), Some(cache)) = (edges.choose(&mut chance), behind.first()) {
        let site = |id: &NodeId| cluster.node(id).map(|plan| plan.place.id.to_string()).unwrap_or_default();
        let (a, b) = (site(edge), site(cache));
        if a != b {
            failures.push(format!("link = [\"{a}\", \"{b}\"], loss = 0.2"));
            failures.push(format!("link = [\"{a}\", \"{b}\"], delay = \"300ms\""));
        }
    }
    let failure = failures.choose(&mut chance).cloned().unwrap_or_else(|| "heal = \"all\"".to_owned());
    let length = FAILS_AT_S + span + AFTER_S;
    format!(
        "title = \"Drill {seed}: {}\"\nseed = {seed}\nlength = \"{length}s\"\nwarmup = \"3s\"\n\
         at = [\n  {{ t = \"{FAILS_AT_S}s\", {failure}, for = \"{}\" }},\n]\n\
         expect = [\n  {{ what = \"availability\", min = 0.999 }},\n  {{ what = \"recover\", max = \"15s\" }},\n  \
         {{ what = \"p99\", after = \"{}s\", max = \"2s\" }},\n  {{ what = \"availability\", after = \"{}s\", min = 1 }},\n]\n\
         [load]\nrps = {}\n",
        failure.replace(['"', '[', ']', '='], "").replace(" true", "").replace("  ", " "),
        args.span,
        FAILS_AT_S + span + 5,
        FAILS_AT_S + span + 5,
        args.rps,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cluster::Inputs, cluster_file::ClusterFile, quantity::Span};

    #[test]
    fn a_failure_lasts_as_long_as_it_was_asked_for() {
        let cluster = Cluster::check(&ClusterFile::default(), &Inputs::default()).unwrap();
        let args = DrillArgs { seed: None, span: Span(std::time::Duration::from_millis(1500)), rps: 20.0 };
        let text = written(&cluster, 3, &args);
        assert!(text.contains("for = \"1500ms\"") && text.contains("after = \"12s\""), "{text}");
        assert!(text.starts_with("title = \"Drill 3: "), "{text}");
    }

    #[test]
    fn a_seed_draws_one_failure_and_every_draw_is_a_scenario() {
        let cluster = Cluster::check(&ClusterFile::default(), &Inputs::default()).unwrap();
        let args = DrillArgs { seed: None, span: Span(std::time::Duration::from_secs(10)), rps: 20.0 };
        assert_eq!(written(&cluster, 7, &args), written(&cluster, 7, &args));
        let mut drawn = std::collections::BTreeSet::new();
        for seed in 0..60 {
            let text = written(&cluster, seed, &args);
            let source = Source { name: "drill.toml".into(), text: text.clone() };
            let staged = scenario::stage(source, Path::new(""), None, None);
            drawn.insert(staged.map_err(|error| panic!("{error}\n{text}")).unwrap().scenario.steps[0].text.clone());
        }
        assert!(drawn.len() >= 15, "only {} different failures: {drawn:?}", drawn.len());
    }
}
