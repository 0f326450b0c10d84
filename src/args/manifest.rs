//! What was typed after `iso export compose` and `iso export kubernetes`.

use std::path::PathBuf;

use clap::Args;

pub(super) const EXPORT_EXAMPLES: &str = "\
Examples:
  iso export cloudfront > dist.json
  iso export compose --config cluster.toml --out container
  iso export kubernetes --config cluster.toml --out pod";

pub(super) const COMPOSE_EXAMPLES: &str = "\
Examples:
  iso export compose                                      the manifest alone
  iso export compose --config cluster.toml --out container
  docker compose --project-directory container up --build --wait

The container has the network of its host, which must be Linux: nodes are at the same addresses there as without it.";

pub(super) const KUBERNETES_EXAMPLES: &str = "\
Examples:
  iso export kubernetes                                   the manifest alone
  iso export kubernetes --config cluster.toml --out pod --image registry.test/world:1
  docker build --tag registry.test/world:1 --push pod
  kubectl apply --filename pod/kubernetes.yaml
  kubectl port-forward service/isochrone-default 4400 4488

Nodes listen on the loopback of their pod, so a world is reached by port-forward, and by containers of the same pod.";

#[derive(Debug, Args)]
pub(crate) struct ManifestArgs {
    /// Of this cluster file; without it of the running world, or of the built-in one where none runs.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Write everything into this directory: the manifest, a Dockerfile, this binary, the cluster file and what it names.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Write into a directory that is not empty.
    #[arg(long, requires = "out")]
    pub(crate) force: bool,
    /// What the image is called.
    #[arg(long, value_name = "NAME", default_value = concat!("isochrone-world:", env!("CARGO_PKG_VERSION")))]
    pub(crate) image: String,
}
