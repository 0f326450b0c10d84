//! The job files of `examples/jobs`: that they parse, and that their shards are a plan, each run once. The Slurm ones run on a
//! real controller in `tests/slurm`.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::harness::{ISO, World, root, text};

/// A plan of nine runs.
const PLAN: &str = "study = \"cache\"\n[set]\nworkload = \"zipf:0.9:1000\"\nrequests = 1000\n[sweep]\n\
                    size = [\"1%\", \"5%\", \"20%\"]\npolicy = [\"lru\", \"fifo\", \"sieve\"]\n\
                    [plot]\nx = \"size\"\ny = \"edge_miss_ratio\"\nby = \"policy\"\n";

fn job(name: &str) -> PathBuf {
    root().join("examples/jobs").join(name)
}

/// A world without nodes whose home holds the plan, and what a sweep in one piece comes to.
fn planned() -> (World, Vec<u8>) {
    let world = World::none();
    let path = |name: &str| world.home().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("plan.toml"), PLAN).unwrap();
    world.ok(&["study", "run", &path("plan.toml"), "--out", &path("whole.csv")]);
    let whole = std::fs::read(path("whole.csv")).unwrap();
    (world, whole)
}

/// Runs a shell with `iso` on its path, in the world's home.
fn run(world: &World, shell: &[&str], variables: &[(&str, &str)]) {
    let programs = Path::new(ISO).parent().unwrap();
    let path = std::env::join_paths(
        std::iter::once(programs.to_owned())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    let mut command = Command::new(shell[0]);
    command
        .args(&shell[1..])
        .current_dir(world.home())
        .env("ISO_HOME", world.home())
        .env("PATH", path.unwrap())
        .envs(variables.iter().copied());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{shell:?} {variables:?}: {}", text(&output.stderr));
}

#[test]
fn an_array_of_slurm_jobs_is_the_plan() {
    let (world, whole) = planned();
    let (array, merge) = (job("slurm-array.sh"), job("slurm-merge.sh"));
    for script in [&array, &merge] {
        let written = std::fs::read_to_string(script).unwrap();
        assert!(written.starts_with("#!/bin/bash\n") && written.contains("\n#SBATCH --"), "{written}");
    }
    for task in ["1", "2", "3", "4"] {
        // A job that is requeued runs its script again.
        for _ in 0..2 {
            let variables = [("PLAN", "plan.toml"), ("SLURM_ARRAY_TASK_ID", task), ("SLURM_ARRAY_TASK_COUNT", "4")];
            run(&world, &["bash", array.to_str().unwrap()], &variables);
        }
    }
    run(&world, &["bash", merge.to_str().unwrap()], &[("PLAN", "plan.toml"), ("OUT", "rows.csv")]);
    assert_eq!(std::fs::read(world.home().join("rows.csv")).unwrap(), whole);
    assert!(std::fs::read_to_string(world.home().join("rows.svg")).unwrap().starts_with("<svg "));
}

#[test]
fn the_pods_of_a_kubernetes_job_are_the_plan() {
    let (world, whole) = planned();
    let written = std::fs::read_to_string(job("kubernetes-indexed.yaml")).unwrap();
    let job: serde_json::Value = serde_saphyr::from_str(&written).unwrap();
    let spec = &job["spec"];
    let shards = spec["completions"].as_u64().unwrap();
    let container = &spec["template"]["spec"]["containers"][0];
    let variable = |name: &str| {
        let variables = container["env"].as_array().unwrap();
        variables.iter().find(|variable| variable["name"] == name).unwrap()["value"].as_str().unwrap()
    };
    assert_eq!((job["kind"].as_str(), spec["completionMode"].as_str()), (Some("Job"), Some("Indexed")));
    assert_eq!((spec["parallelism"].as_u64(), variable("SHARDS")), (Some(shards), shards.to_string().as_str()));
    let words = |key: &str| container[key].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
    let shell: Vec<&str> = words("command").chain(words("args")).collect();
    let mut parts = Vec::new();
    for index in 0..shards {
        let index = index.to_string();
        let variables = [
            ("PLAN", "plan.toml"),
            ("OUT", "."),
            ("SHARDS", variable("SHARDS")),
            ("JOB_COMPLETION_INDEX", index.as_str()),
        ];
        run(&world, &shell, &variables);
        parts.push(world.home().join(format!("{}.csv", parts.len() + 1)).to_str().unwrap().to_owned());
    }
    let merged = world.home().join("rows.csv");
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    world.ok(&[&["study", "merge", "--out", merged.to_str().unwrap()], &parts[..]].concat());
    assert_eq!(std::fs::read(merged).unwrap(), whole);
}
