//! What was typed after `iso man`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Whose page, as `chaos run`; that of iso itself without one.
    #[arg(value_name = "VERB", conflicts_with = "out")]
    pub(crate) verb: Vec<String>,
    /// Write the pages of iso and of every verb into this directory, which is made if it is not there.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}
