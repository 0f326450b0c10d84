//! Cluster files: check, write, describe.

use std::{io::Write as _, path::Path};

use anyhow::Context as _;
use control_plane::{
    ask::ConfigAsk,
    wire::{Acted, NodeOutcome},
};
use serde_json::json;

use crate::{
    args::{Cli, ConfigVerb},
    cluster_file::ClusterFile,
    talk::{VerbError, tell},
    up::check_file,
    verbs::{api, block_on, print, say},
};

/// The built-in world, commented line by line; the file `cluster.toml` at the root of the repository.
const COMMENTED: &str = include_str!("../../cluster.toml");

pub(super) fn run(cli: &Cli, verb: &ConfigVerb) -> Result<(), VerbError> {
    match verb {
        ConfigVerb::Check { file } => check(cli, file),
        ConfigVerb::Init { file, force } => init(cli, file, *force),
        ConfigVerb::Apply { file, on } => block_on(apply(cli, file.as_deref(), on)),
        ConfigVerb::Diff(args) => super::cloudfront::diff(cli, args),
        ConfigVerb::Schema => {
            let schema = schemars::schema_for!(ClusterFile);
            say(&serde_json::to_string_pretty(&schema)?)
        }
    }
}

async fn apply(cli: &Cli, file: Option<&Path>, on: &[String]) -> Result<(), VerbError> {
    let config = match file {
        Some(file) => {
            let plan = check_file(file)?;
            plan.warnings.iter().for_each(|warning| tell(&format!("warning: {warning}")));
            Some(serde_json::to_value(&plan.file)?)
        }
        None => None,
    };
    let acted: Acted = api(cli)?.post("/v1/config", &ConfigAsk { nodes: on.to_vec(), config }).await?;
    let refused = acted.nodes.iter().any(|outcome| outcome.error.is_some());
    print(cli, &acted, |acted| {
        let line = |outcome: &NodeOutcome| match &outcome.error {
            Some(error) => format!("{}: {error}\n", outcome.node),
            None => format!("{}: done\n", outcome.node),
        };
        acted.nodes.iter().map(line).collect()
    })?;
    if refused { Err(VerbError::Exit(1)) } else { Ok(()) }
}

fn check(cli: &Cli, file: &Path) -> Result<(), VerbError> {
    let plan = match check_file(file) {
        Ok(plan) => plan,
        Err(VerbError::Config(complaint)) if cli.json => {
            tell(&format!("error: {complaint}"));
            let (line, column) = complaint.position().unzip();
            let (message, hint) = (&complaint.message, &complaint.hint);
            let document = json!({
                "file": file.display().to_string(),
                "valid": false,
                "diagnostics": [{ "line": line, "column": column, "message": message, "hint": hint }],
                "nodes": [],
                "warnings": [],
            });
            say(&serde_json::to_string_pretty(&document)?)?;
            return Err(VerbError::Exit(2));
        }
        Err(error) => return Err(error),
    };
    let cluster = &plan.cluster;
    for warning in &plan.warnings {
        tell(&format!("warning: {warning}"));
    }
    let document = json!({
        "file": file.display().to_string(),
        "valid": true,
        "diagnostics": [],
        "nodes": cluster.nodes.iter().map(|plan| plan.id.to_string()).collect::<Vec<_>>(),
        "warnings": plan.warnings,
    });
    print(cli, &document, |_| {
        let (nodes, origins) = (cluster.nodes.len(), cluster.origins.len());
        format!(
            "{}: ok ({nodes} nodes, {origins} origins, {} distributions)",
            file.display(),
            cluster.distributions.len()
        )
    })
}

fn init(cli: &Cli, file: &Path, force: bool) -> Result<(), VerbError> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let mut written = match options.open(file) {
        Ok(written) => written,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(VerbError::Usage(format!("{} is there already; --force overwrites it", file.display())));
        }
        Err(error) => return Err(anyhow::Error::new(error).context(format!("cannot write {}", file.display())).into()),
    };
    written.write_all(COMMENTED.as_bytes()).with_context(|| format!("cannot write {}", file.display()))?;
    let document = json!({ "file": file.display().to_string() });
    print(cli, &document, |_| format!("wrote {0}; start it with `iso up --config {0}`", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::{Source, read_cluster};

    #[test]
    fn the_commented_file_is_the_built_in_world() {
        let source = Source { name: "cluster.toml".into(), text: COMMENTED.into() };
        let file = read_cluster(&source).unwrap_or_else(|error| panic!("{error}"));
        let built_in = crate::cluster::Cluster::check(&ClusterFile::default(), &Default::default()).unwrap();
        let written = crate::cluster::Cluster::check(&file, &Default::default())
            .unwrap_or_else(|error| panic!("{}", source.complaint(error)));
        let facts = |cluster: &crate::cluster::Cluster| {
            let nodes: Vec<_> = cluster.nodes.iter().map(|plan| (plan.id.clone(), plan.addresses)).collect();
            let origins: Vec<_> = cluster.origins.values().map(|plan| plan.origin.clone()).collect();
            let behaviors: Vec<_> =
                cluster.distributions.iter().map(|distribution| distribution.behaviors().to_vec()).collect();
            (cluster.seed, nodes, origins, format!("{:?}{:?}{behaviors:?}", cluster.router, cluster.edge))
        };
        assert_eq!(facts(&written), facts(&built_in));
    }
}
