//! Distributions in CloudFront's own format: what an import says, what an export writes, and what differs.

use std::{fs, io::Write as _, path::Path, sync::Arc};

use anyhow::Context as _;
use cdn_core::distribution::Distribution;
use serde_json::{Value as Json, json};

use crate::{
    args::{Cli, DiffArgs, ExportArgs, ImportArgs, ImportOptions, ImportVerb},
    cloudfront::{Change, Export, Import, changes, export, read},
    cluster::Cluster,
    cluster_file::ClusterFile,
    diagnose::{Source, nearest_or_all},
    talk::{VerbError, tell},
    up::{check_file, read_beside, read_import},
    verbs::{block_on, print, say, served::served},
};

/// Characters of a value in a line of a comparison.
const SHOWN_MAX: usize = 60;

/// Reads a distribution and says what becomes of it.
pub(super) fn import(cli: &Cli, verb: &ImportVerb) -> Result<(), VerbError> {
    let ImportVerb::Cloudfront(ImportArgs { file, out, force, options }) = verb;
    let (source, imported) = read_import(file, options)?;
    // What the world would not start with is better known now.
    checked(&source, &imported)?;
    if let Some(out) = out {
        write_cluster(&source, &imported, out, *force)?;
    }
    let document = json!({
        "file": source.name,
        "distribution": imported.id,
        "etag": imported.etag,
        "origins": imported.origins,
        "simulated": imported.report.simulates().collect::<Vec<_>>(),
        "remarks": imported.report.remarks(),
        "written": out,
    });
    print(cli, &document, |_| text(&source, &imported, options, out.as_deref()))
}

fn text(source: &Source, imported: &Import, options: &ImportOptions, out: Option<&Path>) -> String {
    let file = &imported.file;
    let count = |n: usize, what: &str| match n {
        0 => None,
        1 => Some(format!("1 {what}")),
        n => Some(format!("{n} {what}s")),
    };
    let behaviors = file.distributions.values().map(|distribution| distribution.behaviors.len() + 1).sum();
    let policies =
        file.cache_policies.len() + file.origin_request_policies.len() + file.response_headers_policies.len();
    // Names end in "y" here, and plurals in "ies".
    let policies = match policies {
        0 => None,
        1 => Some("1 policy".to_owned()),
        n => Some(format!("{n} policies")),
    };
    let read = [
        count(file.origins.len(), "origin"),
        count(file.groups.len(), "origin group"),
        count(behaviors, "behavior"),
        policies,
        count(file.key_groups.len(), "key group"),
    ];
    let read: Vec<String> = read.into_iter().flatten().collect();
    let mut lines = vec![format!("{}: {}", imported.id, read.join(", ")), imported.report.text(&source.name)];
    let unmapped: Vec<_> = imported.origins.iter().filter(|origin| !origin.mapped).collect();
    let more = options.policies.iter().map(|path| format!(" --policies {}", path.display()));
    let said = [("map", &options.maps), ("function", &options.functions), ("public-key", &options.public_keys)];
    let said = said.into_iter().flat_map(|(name, all)| all.iter().map(move |text| format!(" --{name} {text}")));
    let more: String = more.chain(said).collect();
    match out {
        Some(out) => lines.push(format!("wrote {0}; start it with `iso up --config {0}`", out.display())),
        None => {
            let maps =
                unmapped.iter().map(|origin| format!(" --map {}=http://localhost:PORT@{}", origin.id, origin.site));
            if !unmapped.is_empty() {
                let names: Vec<&str> = unmapped.iter().map(|origin| origin.id.as_str()).collect();
                lines.push(format!(
                    "simulated origins: {}. Name what answers instead, or leave them:",
                    names.join(", ")
                ));
            }
            let maps: String = maps.collect();
            lines.push(format!("  iso up --import {}{more}{maps}", source.name));
        }
    }
    lines.join("\n")
}

fn checked(source: &Source, imported: &Import) -> Result<Cluster, VerbError> {
    // Apps are looked for when the world starts.
    let mut file = imported.file.clone();
    for origin in file.origins.values_mut() {
        (origin.url, origin.dir, origin.protocol, origin.https_port) = (None, None, None, None);
    }
    let nowhere = Source { name: source.name.clone(), text: String::new() };
    let checked = read_beside(&file).and_then(|inputs| Cluster::check(&file, &inputs));
    checked.map_err(|error| VerbError::Config(Box::new(nowhere.complaint(error))))
}

fn write_cluster(source: &Source, imported: &Import, out: &Path, force: bool) -> Result<(), VerbError> {
    let written = toml::to_string(&imported.file).context("this distribution cannot be written as TOML")?;
    let mut options = fs::OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let mut file = match options.open(out) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(VerbError::Usage(format!("{} is there already; --force overwrites it", out.display())));
        }
        Err(error) => return Err(anyhow::Error::new(error).context(format!("cannot write {}", out.display())).into()),
    };
    let head = format!("# Imported from {}. `iso config schema` describes every key.\n", source.name);
    let cannot = || format!("cannot write {}", out.display());
    file.write_all(head.as_bytes()).and_then(|()| file.write_all(written.as_bytes())).with_context(cannot)?;
    Ok(())
}

/// The world of a file, or the one that runs.
pub(super) fn world(cli: &Cli, config: Option<&Path>) -> Result<(ClusterFile, Cluster), VerbError> {
    if let Some(path) = config {
        let plan = check_file(path)?;
        return Ok((plan.file, plan.cluster));
    }
    block_on(served(cli))
}

fn distribution<'a>(cluster: &'a Cluster, id: Option<&str>) -> Result<&'a Arc<Distribution>, VerbError> {
    let all = &cluster.distributions;
    let found = match id {
        Some(id) => all.iter().find(|distribution| distribution.id().as_ref() == id),
        None => all.first(),
    };
    found.ok_or_else(|| {
        let id = id.unwrap_or_default();
        let hint = nearest_or_all(id, all.iter().map(|distribution| distribution.id().as_ref())).unwrap_or_default();
        VerbError::Usage(format!("there is no distribution {id:?}; {hint}"))
    })
}

/// Writes a distribution in CloudFront's words.
pub(super) fn export_verb(cli: &Cli, args: &ExportArgs) -> Result<(), VerbError> {
    let ExportArgs { config, distribution: id, policies_out } = args;
    let (file, cluster) = world(cli, config.as_deref())?;
    let Export { config, policies, notes } = export(&file, &cluster, distribution(&cluster, id.as_deref())?);
    for note in notes {
        tell(&format!("note: {note}"));
    }
    if let Some(path) = policies_out {
        let text = serde_json::to_string_pretty(&policies)?;
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    say(&serde_json::to_string_pretty(&config)?)
}

/// Says what would have to change in the cloud for it to be as the world is.
pub(super) fn diff(cli: &Cli, args: &DiffArgs) -> Result<(), VerbError> {
    let options = ImportOptions { policies: args.policies.clone(), ..ImportOptions::default() };
    let (source, imported) = read_import(&args.file, &options)?;
    let theirs = checked(&source, &imported)?;
    let theirs = export(&imported.file, &theirs, distribution(&theirs, Some(&imported.id))?);
    let (file, cluster) = world(cli, args.config.as_deref())?;
    let same = cluster.distributions.iter().any(|distribution| distribution.id().as_ref() == imported.id);
    let id = args.distribution.as_deref().or_else(|| same.then_some(imported.id.as_str()));
    let ours = distribution(&cluster, id)?;
    let changes = changes(&theirs.config, &export(&file, &cluster, ours).config);
    let lines = lines_of(&source, &imported, &changes);
    let document = json!({
        "file": source.name,
        "distribution": ours.id().as_ref(),
        "changes": changes.iter().zip(&lines).map(|(change, line)| {
            json!({ "path": change.path, "name": change.name, "from": change.from, "to": change.to, "line": line })
        }).collect::<Vec<_>>(),
    });
    print(cli, &document, |_| match changes.is_empty() {
        true => format!("{} and distribution {} say the same", source.name, ours.id()),
        false => {
            let shown = changes.iter().zip(&lines).map(|(change, line)| shown(change, &source.name, *line));
            shown.collect::<Vec<_>>().join("\n")
        }
    })?;
    if changes.is_empty() { Ok(()) } else { Err(VerbError::Exit(1)) }
}

/// The line of each change in their file, or of what stands right above it.
fn lines_of(source: &Source, imported: &Import, changes: &[Change]) -> Vec<usize> {
    let Ok(node) = read(&source.text) else { return vec![1; changes.len()] };
    let config = node.nearest(&imported.root);
    changes.iter().map(|change| imported.report.line_of(&config.nearest(&change.path).at)).collect()
}

fn shown(change: &Change, file: &str, line: usize) -> String {
    let value = |value: &Option<Json>| match value {
        None => "nothing".to_owned(),
        Some(Json::String(text)) => text.clone(),
        Some(value) => {
            let text = value.to_string();
            let cut = text.char_indices().nth(SHOWN_MAX).map(|(at, _)| at);
            cut.map_or_else(|| text.clone(), |at| format!("{}…", text.get(..at).unwrap_or_default()))
        }
    };
    let mark = match (&change.from, &change.to) {
        (None, _) => '+',
        (_, None) => '-',
        _ => '~',
    };
    format!("{mark} {}  {} → {}   {file}:{line}", change.name, value(&change.from), value(&change.to))
}
