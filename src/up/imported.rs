//! A world around a distribution that was imported.

use std::path::{Path, PathBuf};

use crate::{
    args::ImportOptions,
    cloudfront::{Foreign, Import, Options, Refusal, id_for, import, read_policies},
    cluster_file::{ClusterFile, FunctionFile},
    diagnose::{Complaint, KeyError, Source, nearest_or_all, read_source},
    talk::VerbError,
};

/// Reads a distribution from a file, with what the command line says of it.
///
/// # Errors
/// [`VerbError::Config`]: AWS would refuse it, or a `--map` names none of its origins.
pub(crate) fn read_import(path: &Path, written: &ImportOptions) -> Result<(Source, Import), VerbError> {
    let source = read_source(path).map_err(complain)?;
    let mut options = Options { id: stem(path), foreign: foreign(&written.policies)?, ..Options::default() };
    for text in &written.maps {
        let (id, origin) = super::plan::origin_of("--map", text).map_err(of_command_line)?;
        options.maps.insert(id, origin);
    }
    for text in &written.functions {
        let (name, file) = named_file("function", text).map_err(of_command_line)?;
        let function = FunctionFile { file, key_values: None };
        options.file.functions.insert(id_for(name, |_| false), function);
    }
    for text in &written.public_keys {
        let (name, file) = named_file("public-key", text).map_err(of_command_line)?;
        let keys = match name.split_once('/') {
            Some((group, id)) => {
                options.file.key_groups.entry(group.to_owned()).or_default().insert(id.to_owned(), file)
            }
            None => options.public_keys.insert(name.to_owned(), file),
        };
        if keys.is_some() {
            return Err(of_command_line(KeyError::new("public-key", format!("--public-key {text:?}: named twice"))));
        }
    }
    let imported = import(&source.text, &options).map_err(|refusal| complain(refused(&source, refusal)))?;
    for id in options.maps.keys() {
        if !imported.origins.iter().any(|origin| origin.id == *id) {
            let hint = nearest_or_all(id, imported.origins.iter().map(|origin| origin.id.as_str()));
            let error = KeyError::new("map", format!("--map: {} has no origin {id:?}", source.name));
            return Err(of_command_line(KeyError { hint, ..error }));
        }
    }
    let trusted: Vec<&String> = imported
        .file
        .distributions
        .values()
        .flat_map(|distribution| distribution.behaviors.iter().chain([&distribution.default]))
        .flat_map(|behavior| &behavior.trusted_key_groups)
        .collect();
    if let Some(group) = options.file.key_groups.keys().find(|group| !trusted.contains(group)) {
        let hint = nearest_or_all(group, trusted.iter().map(|group| group.as_str()));
        let error = KeyError::new("public-key", format!("--public-key: no behavior trusts a key group {group:?}"));
        return Err(of_command_line(KeyError { hint, ..error }));
    }
    Ok((source, imported))
}

/// Reads `NAME=FILE` of an option; the file as this directory has it.
fn named_file<'a>(option: &str, text: &'a str) -> Result<(&'a str, PathBuf), KeyError> {
    let wrong = |why: &str| KeyError::new(option, format!("--{option} {text:?}: {why}"));
    let (name, file) = text
        .split_once('=')
        .filter(|(name, file)| !name.is_empty() && !file.is_empty())
        .ok_or_else(|| wrong("something is missing").hint(format!("--{option} NAME=FILE")))?;
    let here = std::env::current_dir().map_err(|error| wrong(&error.to_string()))?;
    Ok((name, here.join(file)))
}

/// Reads files of policies.
///
/// # Errors
/// [`VerbError::Config`]: one is none.
fn foreign(paths: &[PathBuf]) -> Result<Foreign, VerbError> {
    let mut foreign = Foreign::default();
    for path in paths {
        let source = read_source(path).map_err(complain)?;
        read_policies(&source.text, &mut foreign).map_err(|refusal| complain(refused(&source, refusal)))?;
    }
    Ok(foreign)
}

/// Lays a distribution that was imported, and what belongs to it, into a world. Keys that the world names stay.
///
/// # Errors
/// Something of the same id is there already.
pub(super) fn lay_in(file: &mut ClusterFile, imported: ClusterFile) -> Result<(), KeyError> {
    let twice = |table: &str, id: &str| {
        KeyError::new(table, format!("the cluster file has {table}.{id} already, as the imported distribution does"))
    };
    macro_rules! lay {
        ($($table:ident),*) => {$(
            for (id, written) in imported.$table {
                if file.$table.contains_key(&id) {
                    return Err(twice(stringify!($table), &id));
                }
                file.$table.insert(id, written);
            }
        )*};
    }
    lay!(origins, groups, cache_policies, origin_request_policies, response_headers_policies, functions, distributions);
    for (id, keys) in imported.key_groups {
        file.key_groups.entry(id).or_insert(keys);
    }
    if file.shield.is_none() {
        file.shield = imported.shield;
    }
    Ok(())
}

fn refused(source: &Source, refusal: Refusal) -> Complaint {
    let Refusal { code, message, path, at } = refusal;
    let place = if path.is_empty() { String::new() } else { format!(" ({path})") };
    source.complaint_at(at, format!("{code}: {message}{place}"))
}

/// An id of a distribution where its file says none.
fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

fn complain(complaint: Complaint) -> VerbError {
    VerbError::Config(Box::new(complaint))
}

fn of_command_line(error: KeyError) -> VerbError {
    complain(super::plan::command_line().complaint(error))
}
