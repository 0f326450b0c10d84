//! What studies that are repeated with seeds have in common: the files that they write, and how they print.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::anyhow;
use serde::Serialize;

use super::{columns, page, routing::create};
use crate::{
    args::{Cli, RowsArgs},
    talk::VerbError,
    verbs::{paint::table, print},
};

/// The files that were asked for, opened before the study begins: one that cannot be written is refused at once.
pub(super) struct Files {
    rows: RowFiles,
    html: Option<File>,
}

/// Those of them that hold rows.
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

impl Files {
    pub(super) fn open(rows: &RowsArgs, html: Option<&Path>) -> Result<Self, VerbError> {
        Ok(Self { rows: RowFiles::open(rows)?, html: html.map(create).transpose()? })
    }

    /// Writes the rows, where that was asked for, and the page likewise, and prints the table.
    pub(super) fn write<L: Serialize, R: Serialize>(
        self,
        cli: &Cli,
        lines: &[L],
        report: &R,
        shown: &Shown<'_>,
    ) -> Result<(), VerbError> {
        self.rows.write(|out| write_lines(out, lines))?;
        if let Some(file) = self.html {
            let head: Vec<String> = shown.head.iter().map(ToString::to_string).collect();
            page::write(file, &shown.title, &head, &shown.cells, &[])?;
        }
        print(cli, report, |_| format!("{}\n{}", shown.title, table(shown.head, shown.cells.iter().cloned())))
    }
}

/// A report for people.
pub(super) struct Shown<'a> {
    pub(super) title: String,
    pub(super) head: &'a [&'a str],
    pub(super) cells: Vec<Vec<String>>,
}

/// Rows as CSV, with a head.
pub(super) fn write_lines<L: Serialize>(out: impl Write, lines: &[L]) -> Result<(), VerbError> {
    let mut writer = csv::Writer::from_writer(out);
    for line in lines {
        writer.serialize(line).map_err(|error| VerbError::Failed(error.into()))?;
    }
    Ok(writer.flush()?)
}
