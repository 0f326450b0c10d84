//! The frame of a study: it says what it plays, what a row is and how its columns are shown, and this makes files, a page and
//! a table of that.

use csv::StringRecord;
use serde::Serialize;

use super::{
    Prepared,
    ground::Figure,
    page::{self, Part},
    repeat::{RowFiles, write_lines},
    routing::create,
};
use crate::{
    args::{Cli, Outputs},
    talk::VerbError,
    verbs::{paint::table, print},
};

/// A column of a table: its head, and what a row has there.
pub(super) type Column<R> = (&'static str, fn(&R) -> String);

/// What there is, or a dash.
pub(super) fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "–".to_owned())
}

/// A figure to a digit after the point, or a dash.
pub(super) fn figure_or_dash(figure: Option<Figure>) -> String {
    or_dash(figure.map(|figure| figure.text(1)))
}

/// A study that is checked and can begin.
pub(super) trait Study: Sync {
    /// What comes out.
    type Played;
    /// What is printed, over seeds.
    type Report: Serialize;
    /// One of its rows.
    type Row;

    /// Plays it. What comes out does not depend on the number of threads.
    fn play(&self, threads: Option<usize>) -> Result<Self::Played, VerbError>;

    /// The rows of files: each run with every parameter. What columns there are, an empty one says.
    fn lines<'a>(&'a self, played: &'a Self::Played) -> Vec<impl Serialize + Default + 'a>;

    /// Figures over seeds; none where there is nothing that they could be of.
    fn report(&self, played: &Self::Played) -> Option<Self::Report>;

    /// The rows of the table.
    fn rows(report: &Self::Report) -> &[Self::Row];

    /// What stands above it.
    fn title(&self, report: &Self::Report) -> String;

    /// How it is shown.
    fn columns(&self, report: &Self::Report) -> Vec<Column<Self::Row>>;

    /// What stands below it.
    fn foot(&self, _report: &Self::Report) -> String {
        String::new()
    }

    /// What follows it on a page.
    fn parts<'a>(&'a self, _played: &'a Self::Played, _report: &Self::Report) -> Vec<Part<'a>> {
        Vec::new()
    }
}

impl<S: Study> Prepared for S {
    fn write_rows(&self, out: &mut dyn std::io::Write) -> Result<(), VerbError> {
        write_lines(out, &self.lines(&self.play(Some(1))?))
    }

    fn columns(&self) -> Result<StringRecord, VerbError> {
        /// An empty row of those that a function would make.
        fn empty<P, L: Default>(_lines: impl FnOnce(P) -> Vec<L>) -> L {
            L::default()
        }
        let mut bytes = Vec::new();
        write_lines(&mut bytes, &[empty(|played: &S::Played| self.lines(played))])?;
        let mut reader = csv::Reader::from_reader(&*bytes);
        Ok(reader.headers().map_err(anyhow::Error::from)?.clone())
    }
}

/// Plays a study, and writes and prints what comes out. Files that cannot be written are refused before that.
pub(super) fn run<S: Study>(cli: &Cli, study: &S, outputs: &Outputs<'_>) -> Result<(), VerbError> {
    let files = RowFiles::open(outputs.rows)?;
    let html = outputs.html.map(create).transpose()?;
    let played = study.play(outputs.threads)?;
    files.write(|out| write_lines(out, &study.lines(&played)))?;
    let nothing = || VerbError::Usage("there is nothing to study".into());
    let report = study.report(&played).ok_or_else(nothing)?;
    let (title, columns) = (study.title(&report), study.columns(&report));
    let head: Vec<&str> = columns.iter().map(|(head, _)| *head).collect();
    let cells_of = |row| columns.iter().map(|(_, cell)| cell(row)).collect();
    let cells: Vec<Vec<String>> = S::rows(&report).iter().map(cells_of).collect();
    if let Some(file) = html {
        let head: Vec<String> = head.iter().map(ToString::to_string).collect();
        page::write(file, &title, &head, &cells, &study.parts(&played, &report))?;
    }
    print(cli, &report, |report| format!("{title}\n{}{}", table(&head, cells), study.foot(report)))
}
