//! What was typed about distributions in CloudFront's own format.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::manifest::{COMPOSE_EXAMPLES, KUBERNETES_EXAMPLES, ManifestArgs};

pub(super) const IMPORT_EXAMPLES: &str = "\
Examples:
  aws cloudfront get-distribution-config --id E2EXAMPLE > dist.json
  iso import cloudfront dist.json
  aws cloudfront list-cache-policies --type custom > policies.json
  iso import cloudfront dist.json --policies policies.json --map api=http://localhost:8081 --out cluster.toml
  iso up --import dist.json --map api=http://localhost:8081@eu-central-1 --map assets=./public
  iso up --import dist.json --function rewrite=rewrite.js --public-key K2JCJMDEHXQW5F=public.pem

Exit codes: 0 it can be run, 2 AWS would refuse it too, or it cannot be read.";

const EXPORT_CLOUDFRONT_EXAMPLES: &str = "\
Examples:
  iso export cloudfront > dist.json                        as the running world serves it now
  iso export cloudfront --config cluster.toml --distribution demo --policies-out policies.json";

pub(super) const DIFF_EXAMPLES: &str = "\
Examples:
  aws cloudfront get-distribution-config --id E2EXAMPLE > dist.json
  iso config diff dist.json                                what the running world has that the cloud does not
  iso config diff dist.json --config cluster.toml --json

Exit codes: 0 nothing differs, 1 something does.";

#[derive(Debug, Subcommand)]
pub(crate) enum ImportVerb {
    /// Read a distribution, and say what of it is simulated, approximated, ignored and risky.
    #[command(after_help = IMPORT_EXAMPLES)]
    Cloudfront(ImportArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// What `aws cloudfront get-distribution-config` or `get-distribution` printed, or the configuration alone; or either as
    /// the XML of CloudFront's API.
    pub(crate) file: PathBuf,
    /// Write the cluster file here.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Overwrite a file that is there.
    #[arg(long, requires = "out")]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) options: ImportOptions,
}

/// What an import is told beside the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct ImportOptions {
    /// Policies that are not CloudFront's own: what `get-cache-policy`, `list-cache-policies` and the like printed, for
    /// cache, origin request and response headers policies.
    #[arg(long, value_name = "FILE")]
    pub(crate) policies: Vec<PathBuf>,
    /// What answers in the place of an imported origin: ID=URL@SITE for an app, ID=./DIR@SITE for a directory,
    /// ID=sim@SITE for a simulated one. Without @SITE it stands in the region that its address tells, or in us-east-1.
    #[arg(long = "map", value_name = "ID=WHAT@SITE")]
    pub(crate) maps: Vec<String>,
    /// The code of a function that behaviors name, which then runs as a viewer function.
    #[arg(long = "function", value_name = "NAME=FILE")]
    pub(crate) functions: Vec<String>,
    /// A public key, in PEM, of a key group that behaviors trust; without GROUP of all of them, as the file does not say
    /// which keys a group has.
    #[arg(long = "public-key", value_name = "[GROUP/]ID=FILE")]
    pub(crate) public_keys: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ExportVerb {
    /// Write a distribution as `aws cloudfront get-distribution-config` would: the DistributionConfig alone.
    #[command(after_help = EXPORT_CLOUDFRONT_EXAMPLES)]
    Cloudfront(ExportArgs),
    /// Write what runs a world in a container: a file for Docker Compose, and with --out all that its image is built from.
    #[command(after_help = COMPOSE_EXAMPLES)]
    Compose(ManifestArgs),
    /// Write what runs a world in a pod: a Deployment and a Service, and with --out all that its image is built from.
    #[command(after_help = KUBERNETES_EXAMPLES)]
    Kubernetes(ManifestArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Of this cluster file; the running world's without it.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Which distribution; the only one, or the first, without it.
    #[arg(long, value_name = "ID")]
    pub(crate) distribution: Option<String>,
    /// Write the policies that it names and CloudFront does not have here, as `--policies` reads them.
    #[arg(long, value_name = "FILE")]
    pub(crate) policies_out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// What `aws cloudfront get-distribution-config` or `get-distribution` printed, or the configuration alone; or either as
    /// the XML of CloudFront's API.
    pub(crate) file: PathBuf,
    /// Compare with this cluster file; with the running world without it.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Compare with this distribution; with the one of the same id, or the only one, without it.
    #[arg(long, value_name = "ID")]
    pub(crate) distribution: Option<String>,
    /// Policies that are not CloudFront's own.
    #[arg(long, value_name = "FILE")]
    pub(crate) policies: Vec<PathBuf>,
}
