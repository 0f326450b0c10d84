//! Key groups, checked.

use std::collections::BTreeMap;

use cdn_core::signing::{PublicKey, TrustedKeys};
use control_plane::KeyGroups;

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

/// The keys that a running world trusts.
///
/// # Errors
/// One of them is none, in words.
pub(crate) fn trusted_keys_of(groups: &KeyGroups) -> Result<BTreeMap<String, TrustedKeys>, String> {
    let keys_of = |(group, keys): (&String, &BTreeMap<String, String>)| {
        let keys = keys.iter().map(|(id, pem)| {
            let key = PublicKey::from_pem(pem).map_err(|error| format!("key {id} of {group}: {error}"))?;
            Ok((id.clone(), key))
        });
        Ok((group.clone(), keys.collect::<Result<_, String>>()?))
    };
    groups.iter().map(keys_of).collect()
}
