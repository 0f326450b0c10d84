//! The table of `iso chaos agree` in a page of Markdown, between two marks, with how it was got.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::super::write_file;
use crate::talk::VerbError;

/// What stands before the table, and after it.
const MARKS: [&str; 2] = ["<!-- table of iso chaos agree -->", "<!-- end of the table -->"];

/// A page with a place for the table.
#[derive(Debug)]
pub(super) struct Document {
    path: PathBuf,
    before: String,
    after: String,
}

impl Document {
    /// Reads a page, before anything is played for it.
    ///
    /// # Errors
    /// It cannot be read, or the marks are not in it.
    pub(super) fn open(path: &Path) -> Result<Self, VerbError> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let (before, after) = parted(&text).ok_or_else(|| {
            let [begin, end] = MARKS;
            VerbError::Usage(format!(
                "{} has no place for the table: a line {begin:?}, and below it {end:?}",
                path.display()
            ))
        })?;
        Ok(Self { path: path.to_owned(), before, after })
    }

    /// Puts a table there, in the place of the one before.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write(&self, heads: &[&str], rows: &[Vec<String>]) -> Result<(), VerbError> {
        let [begin, end] = MARKS;
        let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
        let how = format!("`iso {command}`, iso {}, {}.", env!("CARGO_PKG_VERSION"), machine());
        let table = markdown(heads, rows);
        write_file(&self.path, &format!("{}{begin}\n\n{how}\n\n{table}\n{end}{}", self.before, self.after))
    }
}

/// A page without the marks and what is between them.
fn parted(text: &str) -> Option<(String, String)> {
    let [begin, end] = MARKS;
    let (before, rest) = text.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some((before.to_owned(), after.to_owned()))
}

fn markdown(heads: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &mut dyn Iterator<Item = &str>| format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "));
    let mut text =
        line(&mut heads.iter().map(|head| head.to_lowercase()).collect::<Vec<_>>().iter().map(String::as_str));
    text.push_str(&line(&mut heads.iter().map(|_| "---")));
    rows.iter().for_each(|row| text.push_str(&line(&mut row.iter().map(String::as_str))));
    text
}

/// The processor and how many of it there are, and the kernel.
fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} processors ({}), Linux {}", model.unwrap_or("of an unknown model").trim(), kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_before_gives_way_and_the_rest_stays() {
        let [begin, end] = MARKS;
        let (before, after) = parted(&format!("# A\n{begin}\nold\n{end}\nrest\n")).unwrap();
        assert_eq!((before.as_str(), after.as_str()), ("# A\n", "\nrest\n"));
        assert!(parted(&format!("{end}{begin}")).is_none() && parted("# A\n").is_none());
        let table = markdown(&["A", ""], &[vec!["1".into(), "agrees".into()]]);
        assert_eq!(table, "| a |  |\n| --- | --- |\n| 1 | agrees |\n");
    }
}
