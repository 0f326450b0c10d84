//! Where the rows of a study go.

use std::path::{Path, PathBuf};

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

/// How a study is played, and where what comes out goes.
#[derive(Debug)]
pub(crate) struct Outputs<'a> {
    pub(crate) threads: Option<usize>,
    pub(crate) rows: &'a RowsArgs,
    pub(crate) html: Option<&'a Path>,
}
