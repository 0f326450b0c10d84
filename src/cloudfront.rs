//! Distributions in CloudFront's own format: read into a cluster file, written from one, compared with one.
//!
//! One file per part of a distribution holds both directions. What the world does not act on is carried along word for
//! word (`cloudfront` keys in a cluster file), so that an export says it again. What AWS would refuse is refused, with
//! AWS's code and the place; what the world does otherwise, or not at all, is said with its line.

mod all_policies;
mod behavior;
mod diff;
mod distribution;
mod forwarded_values;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod names;
mod origin;
mod policy;
mod read;
mod report;
mod response_headers;
mod risk;
#[cfg(test)]
mod tests;
mod tree;
mod update;
mod xml;

use std::{collections::BTreeMap, path::PathBuf};

use indexmap::IndexMap;
use serde_json::Value as Json;

pub(crate) use self::{
    all_policies::all_policies,
    diff::{Change, changes},
    distribution::{Export, export},
    names::id_for,
    origin::ImportedOrigin,
    policy::Foreign,
    read::Refusal,
    report::{Kind, Report},
    tree::Node,
    update::{described, update},
};
use self::{
    origin::Target,
    read::{At, Object, without_nulls},
    tree::Unreadable,
};
use crate::cluster_file::{ClusterFile, OriginFile};

/// What the world does not act on, in CloudFront's words.
pub(crate) type Carried = IndexMap<String, Json>;

/// A member that the world does not act on: its name, what that means, and what to say of it.
#[derive(Clone, Copy)]
struct Known(&'static str, Kind, &'static str);

/// What an import is told beside the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// The id of the distribution where the file says none.
    pub(crate) id: String,
    /// What answers in the place of origins, by CloudFront's ids.
    pub(crate) maps: BTreeMap<String, OriginFile>,
    /// Policies that are not CloudFront's own.
    pub(crate) foreign: Foreign,
    /// What there is already that behaviors may name: policies, key groups and functions.
    pub(crate) file: ClusterFile,
    /// Public keys, in files, of every key group of which no keys are known.
    pub(crate) public_keys: IndexMap<String, PathBuf>,
    /// Ids of origins and groups that are there already, by CloudFront's.
    pub(crate) ids: BTreeMap<String, String>,
}

/// A distribution that was read.
#[derive(Debug)]
pub(crate) struct Import {
    /// Its origins, groups, policies, shield and itself.
    pub(crate) file: ClusterFile,
    /// Its id there.
    pub(crate) id: String,
    /// The `ETag` that the file came with.
    pub(crate) etag: Option<String>,
    /// Its origins, in the order written.
    pub(crate) origins: Vec<ImportedOrigin>,
    /// What there is to say of it.
    pub(crate) report: Report,
    /// The way from the file's root to the configuration, which places are told from.
    pub(crate) root: String,
}

/// An import under way.
struct Importer<'a> {
    options: &'a Options,
    file: ClusterFile,
    report: Report,
    /// By CloudFront's ids.
    targets: BTreeMap<String, Target>,
    imported: Vec<ImportedOrigin>,
    /// Of the behaviors so far: without the leading slash, and as written.
    patterns: Vec<(String, String)>,
}

/// Reads a distribution: what `get-distribution-config` or `get-distribution` prints, the configuration alone, or either as
/// the API's own XML.
///
/// # Errors
/// AWS would refuse it; or it is no distribution.
pub(crate) fn import(text: &str, options: &Options) -> Result<Import, Refusal> {
    let node = read(text)?;
    let whole = At { node: &node, path: String::new() };
    let mut envelope = whole.object()?;
    let etag = envelope.text("ETag")?.map(str::to_owned);
    let (config, id) = if let Some(mut distribution) = envelope.object("Distribution")? {
        let id = distribution.text("Id")?.map(str::to_owned);
        (distribution.required("DistributionConfig")?, id)
    } else if let Some(config) = envelope.take("DistributionConfig") {
        (config, None)
    } else if node.member("Origins").is_some() || node.member("DefaultCacheBehavior").is_some() {
        (At { node: &node, path: String::new() }, None)
    } else {
        let message = "this is no distribution: it has neither Distribution nor DistributionConfig, nor Origins";
        return Err(whole.refuse(read::PARAM_VALIDATION, message));
    };
    let mut importer = Importer {
        options,
        file: options.file.clone(),
        report: Report::new(text),
        targets: BTreeMap::new(),
        imported: Vec::new(),
        patterns: Vec::new(),
    };
    let distribution = importer.distribution(&config)?;
    let Importer { mut file, report, imported: origins, .. } = importer;
    file.shield.get_or_insert_with(|| "none".to_owned());
    let id = id_for(&id.unwrap_or_else(|| options.id.clone()), |_| false);
    file.distributions.insert(id.clone(), distribution);
    Ok(Import { file, id, etag, origins, report, root: config.path })
}

/// Reads policies from what `get-cache-policy`, `list-origin-request-policies` and their kin print.
///
/// # Errors
/// It is no JSON, or CloudFront would refuse a policy.
pub(crate) fn read_policies(text: &str, into: &mut Foreign) -> Result<(), Refusal> {
    let node = read(text)?;
    into.read(&At { node: &node, path: String::new() })
}

/// Reads a document of CloudFront's, in JSON or XML.
///
/// # Errors
/// It is neither.
pub(crate) fn read(text: &str) -> Result<Node, Refusal> {
    let is_xml = text.trim_start().starts_with('<');
    let (node, code) = match is_xml {
        true => (xml::parse(text), "MalformedXML"),
        false => (Node::parse(text), "InvalidJson"),
    };
    node.map_err(|Unreadable { message, at }| Refusal { code, message, path: String::new(), at: at..at + 1 })
}

impl Importer<'_> {
    /// Carries along what was not taken, and says so: `known` has the words.
    fn carry(&mut self, object: &Object<'_>, carried: &mut Carried, subject: &str, known: &[Known]) {
        for (name, at) in object.rest() {
            let row = known.iter().find(|Known(own, ..)| *own == name);
            match row {
                Some(Known(_, kind, message)) => self.report.remark(*kind, subject, &at, *message),
                None => {
                    let message = format!("{name} is not known here; an export keeps it");
                    self.report.remark(Kind::Ignored, subject, &at, message);
                }
            }
            carried.insert(name.to_owned(), without_nulls(&at.node.to_json()));
        }
    }
}
