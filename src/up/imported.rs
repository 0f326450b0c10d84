//! A world around a distribution that was imported.

use std::path::{Path, PathBuf};

use crate::{
    args::ImportOptions,
    cloudfront::{Foreign, Import, Options, Refusal, import, read_policies},
    cluster_file::ClusterFile,
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
    let imported = import(&source.text, &options).map_err(|refusal| complain(refused(&source, refusal)))?;
    for id in options.maps.keys() {
        if !imported.origins.iter().any(|origin| origin.id == *id) {
            let hint = nearest_or_all(id, imported.origins.iter().map(|origin| origin.id.as_str()));
            let error = KeyError::new("map", format!("--map: {} has no origin {id:?}", source.name));
            return Err(of_command_line(KeyError { hint, ..error }));
        }
    }
    Ok((source, imported))
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
    lay!(origins, groups, cache_policies, origin_request_policies, response_headers_policies, distributions);
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
