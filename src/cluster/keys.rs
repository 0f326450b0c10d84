//! Key groups, checked.

use std::collections::BTreeMap;

use cdn_core::signing::{PublicKey, TrustedKeys};

use super::{Inputs, check_id};
use crate::{cluster_file::ClusterFile, diagnose::KeyError};

/// Reads the public keys of every group.
///
/// # Errors
/// The first that is none.
pub(super) fn key_groups_of(file: &ClusterFile, inputs: &Inputs) -> Result<BTreeMap<String, TrustedKeys>, KeyError> {
    let mut groups = BTreeMap::new();
    for (group, ids) in &file.key_groups {
        check_id(&format!("key_groups.{group}"), group)?;
        let texts = inputs.keys.get(group);
        let mut keys = TrustedKeys::new();
        for id in ids.keys() {
            let key = format!("key_groups.{group}.{id}");
            let text = texts.and_then(|texts| texts.get(id)).map_or("", String::as_str);
            let public = PublicKey::from_pem(text).map_err(|error| {
                let hint = match text.contains("PRIVATE KEY") {
                    true => "this is the private half, which edges never see: name the file with the public one",
                    false => "iso keys new GROUP makes one",
                };
                KeyError::new(&key, format!("the file is no public key: {error}")).hint(hint)
            })?;
            keys.insert(id.clone(), public);
        }
        groups.insert(group.clone(), keys);
    }
    Ok(groups)
}
