//! What studies without a map have in common: seeds, threads, and where results go.

use std::path::PathBuf;

use clap::Args;

use super::{Outputs, RowsArgs};

/// How often a study is played, and where its results go.
#[derive(Debug, Args)]
pub(crate) struct RunsArgs {
    /// Seed of everything random.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Repeat with so many seeds, from --seed on, for means with 95 % intervals.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seeds: u32,
    /// Threads; by default one per core. The result does not depend on it.
    #[arg(long, value_name = "N", value_parser = thread_count)]
    pub(crate) threads: Option<usize>,
    #[command(flatten)]
    pub(crate) rows: RowsArgs,
    /// Write the table as one page.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

impl RunsArgs {
    pub(crate) fn outputs(&self) -> Outputs<'_> {
        Outputs { threads: self.threads, rows: &self.rows, html: self.html.as_deref() }
    }
}

/// How many threads: one at least, and no more than anybody means.
pub(crate) fn thread_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=1024) => Ok(count),
        Ok(_) => Err("write a number from 1 to 1024".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
