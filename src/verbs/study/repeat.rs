//! What studies that are repeated with seeds have in common: the files that they write, and how they print.

use std::{fs::File, io::Write, path::Path};

use serde::Serialize;

use super::{page, routing::create};
use crate::{
    args::Cli,
    talk::VerbError,
    verbs::{paint::table, print},
};

/// The files that were asked for, opened before the study begins: one that cannot be written is refused at once.
pub(super) struct Files {
    csv: Option<File>,
    html: Option<File>,
}

impl Files {
    pub(super) fn open(csv: Option<&Path>, html: Option<&Path>) -> Result<Self, VerbError> {
        Ok(Self { csv: csv.map(create).transpose()?, html: html.map(create).transpose()? })
    }

    /// Writes the rows, where that was asked for, and the page likewise, and prints the table.
    pub(super) fn write<L: Serialize, R: Serialize>(
        self,
        cli: &Cli,
        lines: &[L],
        report: &R,
        shown: &Shown<'_>,
    ) -> Result<(), VerbError> {
        if let Some(file) = self.csv {
            write_lines(file, lines)?;
        }
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
