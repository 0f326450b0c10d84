//! Where the rows of a study go.

use std::path::PathBuf;

use clap::Args;

/// See the module.
#[derive(Debug, Args)]
pub(crate) struct RowsArgs {
    /// Write the rows of every seed to a file.
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// Write them as Parquet: columns with types, for tools that read tables.
    #[arg(long, value_name = "FILE")]
    pub(crate) parquet: Option<PathBuf>,
}
