//! One clear error for bad input: file, line, caret, nearest valid name.
//!
//! Two sources: what TOML or its types refuse ([`read_cluster`]), and what the checks in [`crate::cluster`] refuse by
//! naming a key; both end as a [`Complaint`] that shows the line it is about.

use std::{fmt, ops::Range, path::Path};

use serde::{Deserialize, Serialize};
use serde_path_to_error::Segment;

use crate::cluster_file::ClusterFile;

/// Something in a file is wrong, with the place and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// Shown before the line number: a file name, or `command line`.
    pub(crate) file: String,
    /// The text of the file and the bytes the caret points at.
    pub(crate) source: Option<(String, Range<usize>)>,
    /// What is wrong, without a full stop.
    pub(crate) message: String,
    /// What would be right.
    pub(crate) hint: Option<String>,
}

/// Characters of a line that are shown.
const LINE_CHARS_MAX: usize = 160;

impl Complaint {
    /// Line and column of what it is about, both from 1; `None` where that stands in no file.
    pub(crate) fn position(&self) -> Option<(usize, usize)> {
        let (text, span) = self.source.as_ref()?;
        let before = text.get(..span.start.min(text.len())).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count();
        Some((before.matches('\n').count() + 1, column + 1))
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some((text, span)) => {
                let at = span.start.min(text.len());
                let before = text.get(..at).unwrap_or_default();
                let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
                let (line_number, column) = self.position().unwrap_or((1, 1));
                let line = text.get(line_start..).unwrap_or_default().lines().next().unwrap_or_default();
                let width = text
                    .get(at..span.end.min(line_start + line.len()))
                    .map_or(1, |marked| marked.chars().count().max(1));
                let gutter = line_number.to_string().len();
                writeln!(f, "{}:{line_number}:{column}: {}", self.file, self.message)?;
                writeln!(f, "{:gutter$} |", "")?;
                let (shown, before) = window(line, column - 1);
                let width = width.min(shown.chars().count().saturating_sub(before)).max(1);
                writeln!(f, "{line_number} | {shown}")?;
                write!(f, "{:gutter$} | {}{}", "", " ".repeat(before), "^".repeat(width))?;
            }
            None => write!(f, "{}: {}", self.file, self.message)?,
        }
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Complaint {}

/// As much of a long line as says something about the character at `at`, and where that is in it: a file may be one line.
fn window(line: &str, at: usize) -> (String, usize) {
    if line.chars().count() <= LINE_CHARS_MAX {
        return (line.to_owned(), at);
    }
    let skipped = at.saturating_sub(LINE_CHARS_MAX / 2);
    let shown: String = line.chars().skip(skipped).take(LINE_CHARS_MAX).collect();
    let end = if skipped + LINE_CHARS_MAX < line.chars().count() { "…" } else { "" };
    if skipped == 0 { (shown + end, at) } else { (format!("…{shown}{end}"), at - skipped + 1) }
}

/// A checked-for fault in a cluster file: the key it is about, and what is wrong with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyError {
    /// The key, from the root: `["origins", "app", "site"]`; a number is an index into an array.
    pub(crate) key: Vec<String>,
    /// What is wrong.
    pub(crate) message: String,
    /// What would be right.
    pub(crate) hint: Option<String>,
    /// Whether there is no such key, so that the fault is its name and not its value.
    pub(crate) is_unknown: bool,
    /// Where the fault stands, if that is in another file which the key names.
    pub(crate) elsewhere: Option<Box<(Source, Range<usize>)>>,
}

impl KeyError {
    /// An error about `key`, written with dots.
    pub(crate) fn new(key: &str, message: impl Into<String>) -> Self {
        Self {
            key: key.split('.').map(str::to_owned).collect(),
            message: message.into(),
            hint: None,
            is_unknown: false,
            elsewhere: None,
        }
    }

    /// What types refuse of a value that was put together of several, at its key in that.
    pub(crate) fn refused(error: &serde_path_to_error::Error<serde_json::Error>) -> Self {
        let message = error.inner().to_string();
        let named = error.path().iter().filter(|segment| !matches!(segment, Segment::Unknown));
        Self {
            key: named.map(ToString::to_string).collect(),
            hint: nearest_in_message(&message),
            is_unknown: message.starts_with("unknown field"),
            ..Self::new("", message)
        }
    }

    /// The same of a value that stands at `key`, written with dots.
    pub(crate) fn under(self, key: &str) -> Self {
        Self { key: key.split('.').map(str::to_owned).chain(self.key).collect(), ..self }
    }

    /// The same with a hint.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

/// Where a cluster file came from, or a zone file beside it, kept to point at its lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Source {
    /// As the user named it.
    pub(crate) name: String,
    /// Its text.
    pub(crate) text: String,
}

impl Source {
    /// Where its keys stand.
    pub(crate) fn lines(&self) -> Lines<'_> {
        let ends = self.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
        Lines { table: toml::de::DeTable::parse(&self.text).ok(), ends }
    }

    /// A complaint about these bytes of it.
    pub(crate) fn complaint_at(&self, span: Range<usize>, message: String) -> Complaint {
        Complaint { file: self.name.clone(), source: Some((self.text.clone(), span)), message, hint: None }
    }

    /// The complaint for `error`, with the line of its key where the key is in the file.
    pub(crate) fn complaint(&self, error: KeyError) -> Complaint {
        if let Some(elsewhere) = error.elsewhere {
            let (Self { name: file, text }, span) = *elsewhere;
            return Complaint { file, source: Some((text, span)), message: error.message, hint: error.hint };
        }
        let span =
            toml::de::DeTable::parse(&self.text).ok().and_then(|table| span_of(&table, &error.key, error.is_unknown));
        Complaint {
            file: self.name.clone(),
            source: span.map(|span| (self.text.clone(), span)),
            message: match self.text.is_empty() {
                true => error.message,
                false => format!("{}: {}", error.key.join("."), error.message),
            },
            hint: error.hint,
        }
    }
}

/// The lines of a file's keys: parsed once, however many are asked for.
pub(crate) struct Lines<'a> {
    table: Option<toml::Spanned<toml::de::DeTable<'a>>>,
    /// Where each line ends.
    ends: Vec<usize>,
}

impl Lines<'_> {
    /// The line, from 1, of the value at `key`, written with dots.
    pub(crate) fn of(&self, key: &str) -> Option<usize> {
        let key: Vec<String> = key.split('.').map(str::to_owned).collect();
        let span = span_of(self.table.as_ref()?, &key, false)?;
        Some(self.ends.partition_point(|end| *end < span.start) + 1)
    }
}

/// The span of the value at `key`, or of its name; or of the nearest table above it that is there.
fn span_of(table: &toml::Spanned<toml::de::DeTable<'_>>, key: &[String], is_of_name: bool) -> Option<Range<usize>> {
    use toml::de::DeValue;
    let (first, rest) = key.split_first()?;
    let (name, mut value) = table.get_ref().iter().find(|(name, _)| name.get_ref().as_ref() == first.as_str())?;
    let of = |name: &toml::Spanned<_>, value: &toml::Spanned<DeValue<'_>>, is_last: bool| match value.get_ref() {
        DeValue::Table(_) => name.span(),
        _ if is_of_name && is_last => name.span(),
        _ => value.span(),
    };
    let mut best = of(name, value, rest.is_empty());
    for (at, part) in rest.iter().enumerate() {
        let next = match value.get_ref() {
            DeValue::Table(inner) => inner.iter().find(|(name, _)| name.get_ref().as_ref() == part.as_str()),
            DeValue::Array(items) => match part.parse::<usize>().ok().and_then(|at| items.get(at)) {
                Some(item) => {
                    value = item;
                    best = item.span();
                    continue;
                }
                None => None,
            },
            _ => None,
        };
        let Some((name, inner)) = next else { break };
        best = of(name, inner, at + 1 == rest.len());
        value = inner;
    }
    Some(best)
}

/// Parses the text of a cluster file.
///
/// # Errors
/// One complaint with line and caret; for a misspelt key or value it names the nearest valid one.
pub(crate) fn read_cluster(source: &Source) -> Result<ClusterFile, Complaint> {
    toml::from_str(&source.text).map_err(|error| refused(source, &error))
}

/// What TOML or its types refuse in `source`.
pub(crate) fn refused(source: &Source, error: &toml::de::Error) -> Complaint {
    let message = error.message().trim().to_owned();
    Complaint {
        file: source.name.clone(),
        source: error.span().map(|span| (source.text.clone(), span)),
        hint: nearest_in_message(&message),
        message,
    }
}

/// Reads the file at `path`.
///
/// # Errors
/// A complaint that names the file.
pub(crate) fn read_source(path: &Path) -> Result<Source, Complaint> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| Complaint {
        file: name.clone(),
        source: None,
        message: format!("cannot read this file: {error}"),
        hint: Some("`iso config init` writes a commented cluster.toml".into()),
    })?;
    // Some editors and shells put a mark of the byte order first, which is no part of what they wrote.
    let bare = |text: String| text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    String::from_utf8(bytes).map(|text| Source { name: name.clone(), text: bare(text) }).map_err(|error| {
        // What stands for the bytes that are none is as long as the first of them in a line on the screen.
        let (start, text) = (error.utf8_error().valid_up_to(), String::from_utf8_lossy(error.as_bytes()).into_owned());
        let end =
            text.get(start..).and_then(|rest| rest.chars().next()).map_or(start, |first| start + first.len_utf8());
        Complaint {
            file: name,
            source: Some((text, start..end)),
            message: "not UTF-8, which TOML is written in".into(),
            hint: None,
        }
    })
}

/// serde names what it got and what it expected in backticks; from these the nearest valid name.
fn nearest_in_message(message: &str) -> Option<String> {
    let mut names = message.split('`').skip(1).step_by(2);
    let got = names.next()?;
    let expected: Vec<&str> = names.collect();
    did_you_mean(got, expected.iter().copied())
}

/// `did you mean ...?` for the candidate nearest to `got`, where one is near enough.
pub(crate) fn did_you_mean<'a>(got: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let folded = got.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&folded, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness > 0.72)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| format!("did you mean `{candidate}`?"))
}

/// Names that are listed where none is near; more would hide what was said.
const LISTED_MAX: usize = 16;

/// A hint for a name that is none of `candidates`: the nearest, else all where they are few.
pub(crate) fn nearest_or_all<'a>(got: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    did_you_mean(got, candidates.iter().copied()).or_else(|| {
        let few = (1..=LISTED_MAX).contains(&candidates.len());
        few.then(|| format!("there are {}", candidates.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(text: &str, expected: Expect) {
        let source = Source { name: "cluster.toml".into(), text: text.into() };
        let Err(complaint) = read_cluster(&source) else { panic!("{text:?} was accepted") };
        expected.assert_eq(&format!("{complaint}\n"));
    }

    #[test]
    fn a_misspelt_key_names_file_line_and_the_nearest_key() {
        check(
            "seed = 1\n[router]\nanswer = 2\n",
            expect![[r#"
                cluster.toml:3:1: unknown field `answer`, expected one of `sites`, `policy`, `program`, `program_dir`, `program_deadline`, `program_patience`, `program_interval`, `program_networks`, `program_fuel`, `program_memory`, `ttl`, `answers`, `probe_interval`, `probe_timeout`, `down_after`, `up_after`, `ramp`, `quorum`, `explore`, `bias`, `weights`, `capacity`, `headroom`, `dispersion`, `load_bound`, `sticky`, `replay_snapshots`, `replay_bytes`, `geoip`, `prefixes`, `anycast`, `dns`, `zones`, `records`
                  |
                3 | answer = 2
                  | ^^^^^^
                hint: did you mean `answers`?
            "#]],
        );
    }

    #[test]
    fn of_a_long_line_the_part_around_the_fault_is_shown() {
        let text = format!("{}fault{}", "a".repeat(100_000), "b".repeat(1_000));
        let complaint = |at: usize| Complaint {
            file: "one.json".into(),
            source: Some((text.clone(), at..at + 5)),
            message: "wrong".into(),
            hint: None,
        };
        let said = complaint(100_000).to_string();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[0], "one.json:1:100001: wrong");
        assert_eq!(lines[2], format!("1 | …{}fault{}…", "a".repeat(80), "b".repeat(75)));
        assert_eq!(lines[3], format!("  | {}^^^^^", " ".repeat(81)));
        assert!(complaint(0).to_string().contains(&format!("1 | {}…", "a".repeat(160))));
        assert!(complaint(100_999).to_string().lines().nth(2).unwrap().ends_with('b'));
    }

    #[test]
    fn a_wrong_value_is_shown_in_its_line() {
        check(
            "[router]\nttl = \"soon\"\n",
            expect![[r#"
                cluster.toml:2:7: "soon" is not a duration; write 250ms, 2s or 1m
                  |
                2 | ttl = "soon"
                  |       ^^^^^^
            "#]],
        );
    }

    #[test]
    fn what_is_not_utf_8_is_shown_in_its_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"seed = 1\ntitle = \"\xfffra\"\n").unwrap();
        let complaint = read_source(file.path()).unwrap_err().to_string();
        let (_, said) = complaint.split_once(":2:10: ").unwrap();
        assert_eq!(said, "not UTF-8, which TOML is written in\n  |\n2 | title = \"\u{fffd}fra\"\n  |          ^");
    }

    #[test]
    fn a_key_error_finds_its_line_through_tables_and_arrays() {
        let source = Source {
            name: "c.toml".into(),
            text: "pops = [\"IAD\", \"QQQ\"]\n[origins.app]\nsite = \"nowhere\"\n".into(),
        };
        let at = source.complaint(KeyError::new("pops.1", "no such PoP").hint("try IAD"));
        expect![[r#"
            c.toml:1:16: pops.1: no such PoP
              |
            1 | pops = ["IAD", "QQQ"]
              |                ^^^^^
            hint: try IAD"#]]
        .assert_eq(&at.to_string());
        let at = source.complaint(KeyError::new("origins.app.site", "no such place"));
        assert!(at.to_string().starts_with("c.toml:3:8: origins.app.site"), "{at}");
        let at = source.complaint(KeyError::new("origins.app.url", "missing"));
        assert!(at.to_string().starts_with("c.toml:2:10:"), "{at}");
    }
}
