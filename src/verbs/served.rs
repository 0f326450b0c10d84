//! The running world as its caches serve it: what was changed since it was started counts, by `iso config apply`, by keys,
//! or through CloudFront's API.

use control_plane::wire::ConfigReport;

use crate::{
    args::Cli,
    cluster::{Cluster, with_key_groups},
    cluster_file::ClusterFile,
    state::WorldRecord,
    talk::VerbError,
    verbs::{api, keys},
};

/// What the world that `--world` names serves.
///
/// # Errors
/// It does not run, or cannot be read again.
pub(super) async fn served(cli: &Cli) -> Result<(ClusterFile, Cluster), VerbError> {
    let api = api(cli)?;
    let ConfigReport { config } = api.read("/v1/config", &()).await?;
    let groups = keys::of_world(cli).await?;
    let WorldRecord { mut file, mut inputs, .. } = api.record;
    if let Some(config) = config {
        file = serde_json::from_value(config)?;
    }
    with_key_groups(&mut file, &mut inputs, &groups);
    let cluster = Cluster::check(&file, &inputs)
        .map_err(|error| VerbError::Failed(anyhow::anyhow!("the running world cannot be read again: {error}")))?;
    Ok((file, cluster))
}
