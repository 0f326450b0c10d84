//! What may change in a world that runs: how its caches serve. Names, origins and nodes stay, because routers, links and
//! certificates know no others.

use std::{collections::BTreeSet, path::PathBuf};

use control_plane::KeyGroups;

use super::{Cluster, Inputs};
use crate::cluster_file::ClusterFile;

impl Cluster {
    /// What this world is once its caches serve as `file` says.
    ///
    /// # Errors
    /// In words: it is no world, or another one.
    pub(crate) fn reconfigured(&self, file: &ClusterFile, inputs: &Inputs) -> Result<Self, String> {
        let changed = Self::check(file, inputs).map_err(|error| error.to_string())?;
        let names = |cluster: &Self| -> BTreeSet<String> {
            cluster.distributions.iter().flat_map(|distribution| distribution.names()).collect()
        };
        if names(&changed) != names(self) {
            return Err("the names of distributions stay while a world runs".into());
        }
        if changed.origins.keys().ne(self.origins.keys()) {
            return Err("origins stay while a world runs".into());
        }
        Ok(changed)
    }
}

/// Gives a file the key groups that its world has now, in the place of those that it was started with.
pub(crate) fn with_key_groups(file: &mut ClusterFile, inputs: &mut Inputs, groups: &KeyGroups) {
    let written = groups.iter().map(|(group, keys)| {
        // Their texts are among the inputs; of which file they came is nobody's business any more.
        let keys = keys.keys().map(|id| (id.clone(), PathBuf::new())).collect();
        (group.clone(), keys)
    });
    file.key_groups = written.collect();
    inputs.keys.clone_from(groups);
}
