//! The rows of studies that are repeated with seeds, and the files that they go to.

use std::{
    fs::{self, File},
    io::Write,
    path::PathBuf,
};

use anyhow::anyhow;
use serde::Serialize;

use super::{columns, routing::create};
use crate::{args::RowsArgs, talk::VerbError};

/// The files that rows go to, opened before the study begins: one that cannot be written is refused at once.
pub(super) struct RowFiles {
    csv: Option<File>,
    parquet: Option<PathBuf>,
}

impl RowFiles {
    pub(super) fn open(args: &RowsArgs) -> Result<Self, VerbError> {
        args.parquet.as_deref().map(create).transpose()?;
        Ok(Self { csv: args.csv.as_deref().map(create).transpose()?, parquet: args.parquet.clone() })
    }

    /// Writes the rows that `rows` writes as CSV, where they were asked for.
    pub(super) fn write(self, rows: impl FnOnce(&mut Vec<u8>) -> Result<(), VerbError>) -> Result<(), VerbError> {
        if self.csv.is_none() && self.parquet.is_none() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        rows(&mut bytes)?;
        if let Some(mut file) = self.csv {
            file.write_all(&bytes)?;
        }
        let Some(path) = self.parquet else { return Ok(()) };
        let part = path.with_extension("csv.part");
        fs::write(&part, &bytes)?;
        let written = columns::write(&part, &path);
        fs::remove_file(&part)?;
        written.map_err(|why| VerbError::Failed(anyhow!("{}: {why}", path.display())))
    }
}

/// Rows as CSV, with a head.
pub(super) fn write_lines<L: Serialize>(out: impl Write, lines: &[L]) -> Result<(), VerbError> {
    let mut writer = csv::Writer::from_writer(out);
    for line in lines {
        writer.serialize(line).map_err(|error| VerbError::Failed(error.into()))?;
    }
    Ok(writer.flush()?)
}
