//! What an import says of a configuration: what is simulated, approximated, ignored and risky, each with its line.

use std::{collections::BTreeSet, fmt::Write as _, ops::Range};

use serde::Serialize;

use super::read::At;

/// Subjects that are named where many share one remark.
const SUBJECTS_SHOWN: usize = 3;

/// How faithful the world is to a part of a configuration, or what is wrong with that part itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// It does something else here than at AWS, and close to it.
    Approximated,
    /// It does nothing here.
    Ignored,
    /// It does what it says, which is known to bite.
    Risky,
}

/// A remark about a place in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Remark {
    /// What kind.
    pub(crate) kind: Kind,
    /// Whom it concerns, such as `/api/*` or `origin api`; empty for the distribution.
    pub(crate) subject: String,
    /// What there is to say.
    pub(crate) message: String,
    /// The place, such as `Origins.Items[0].DomainName`.
    pub(crate) path: String,
    /// Its line, from 1.
    pub(crate) line: usize,
}

/// Everything that an import says.
#[derive(Debug)]
pub(crate) struct Report {
    lines: Lines,
    remarks: Vec<Remark>,
    simulated: BTreeSet<&'static str>,
}

impl Report {
    pub(super) fn new(text: &str) -> Self {
        Self { lines: Lines::of(text), remarks: Vec::new(), simulated: BTreeSet::new() }
    }

    pub(super) fn remark(&mut self, kind: Kind, subject: &str, at: &At<'_>, message: impl Into<String>) {
        let line = self.lines.line_at(at.node.at.start);
        let (subject, message, path) = (subject.to_owned(), message.into(), at.path.clone());
        self.remarks.push(Remark { kind, subject, message, path, line });
    }

    pub(super) fn simulated(&mut self, what: &'static str) {
        self.simulated.insert(what);
    }

    /// The line of a byte, from 1.
    pub(crate) fn line_of(&self, at: &Range<usize>) -> usize {
        self.lines.line_at(at.start)
    }

    /// All remarks: by kind, then in the order of the text.
    pub(crate) fn remarks(&self) -> Vec<&Remark> {
        let mut sorted: Vec<&Remark> = self.remarks.iter().collect();
        sorted.sort_by_key(|remark| (remark.kind, remark.line));
        sorted
    }

    /// What the world does as AWS does it.
    pub(crate) fn simulates(&self) -> impl Iterator<Item = &'static str> {
        self.simulated.iter().copied()
    }

    /// The remarks in words, each with its line. What several places share is said once, with the first of their lines.
    pub(crate) fn said(&self, file: &str) -> Vec<(Kind, String)> {
        let mut said: Vec<(Kind, &str, Vec<&Remark>)> = Vec::new();
        for remark in self.remarks() {
            let same = said.iter_mut().find(|(kind, message, _)| (*kind, *message) == (remark.kind, &remark.message));
            match same {
                Some((_, _, remarks)) => remarks.push(remark),
                None => said.push((remark.kind, &remark.message, vec![remark])),
            }
        }
        let words = |(kind, message, remarks): (Kind, &str, Vec<&Remark>)| {
            let mut subjects: Vec<&str> = remarks.iter().map(|remark| remark.subject.as_str()).collect();
            subjects.dedup();
            subjects.retain(|subject| !subject.is_empty());
            let more = subjects.len().saturating_sub(SUBJECTS_SHOWN);
            subjects.truncate(SUBJECTS_SHOWN);
            let mut text = subjects.join(", ");
            if more > 0 {
                let _ = write!(text, " and {more} more");
            }
            if !text.is_empty() {
                text.push_str(": ");
            }
            let line = remarks.first().map_or(1, |remark| remark.line);
            let _ = write!(text, "{message}   {file}:{line}");
            (kind, text)
        };
        said.into_iter().map(words).collect()
    }

    /// Everything for people.
    pub(crate) fn text(&self, file: &str) -> String {
        let simulated: Vec<&str> = self.simulates().collect();
        let mut text = format!("  ✓ simulated     {}", simulated.join(", "));
        for (kind, words) in self.said(file) {
            let mark = match kind {
                Kind::Approximated => "≈ approximated",
                Kind::Ignored => "– ignored     ",
                Kind::Risky => "! risky       ",
            };
            let _ = write!(text, "\n  {mark}  {words}");
        }
        text
    }
}

/// Where lines begin.
#[derive(Debug)]
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect())
    }

    /// The line of a byte, from 1.
    fn line_at(&self, byte: usize) -> usize {
        self.0.partition_point(|newline| *newline < byte) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_one() {
        let lines = Lines::of("a\nbc\n\nd");
        assert_eq!([0, 1, 2, 5, 6].map(|at| lines.line_at(at)), [1, 1, 2, 3, 4]);
    }
}
