//! `iso study merge`: the parts of a plan as one file.
//!
//! Every file is read twice: once to see that it is whole and which runs are in it, and once to write its rows in the order
//! of runs. So what is refused is refused before anything is written, and nobody holds more than a row of each file.

use std::{
    collections::BTreeSet,
    fs,
    iter::Peekable,
    path::{Path, PathBuf},
};

use csv::StringRecord;
use serde::Serialize;

use super::{
    columns,
    rows::{Rows, is_whole},
    sweep::{is_parquet, part_of},
};
use crate::{
    args::{Cli, MergeArgs},
    talk::{VerbError, tell},
    verbs::print,
};

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    runs: usize,
    missing: usize,
    left_out: Vec<String>,
    rows: usize,
    out: String,
}

pub(super) fn merge(cli: &Cli, args: &MergeArgs) -> Result<(), VerbError> {
    let mut merged = Merged::default();
    let mut left_out = Vec::new();
    for path in &args.files {
        let name = path.display().to_string();
        match survey(path).and_then(|shard| shard.map_or(Ok(()), |shard| merged.take(shard))) {
            Ok(()) => {}
            Err(why) if args.allow_missing => {
                tell(&format!("left out {name}: {why}"));
                left_out.push(name);
            }
            Err(why) => return Err(VerbError::Usage(format!("{name}: {why}; leave it out with --allow-missing"))),
        }
    }
    if merged.shards.is_empty() {
        return Err(VerbError::Usage("there are no rows in any of the files".into()));
    }
    let mut missing = (0..merged.total).filter(|run| !merged.runs.contains(run)).peekable();
    if let (Some(&first), false) = (missing.peek(), args.allow_missing) {
        let (count, total) = (missing.count(), merged.total);
        return Err(VerbError::Usage(format!(
            "{count} of {total} runs are missing, the first is {first}; take what is there with --allow-missing"
        )));
    }
    let missing = missing.count();
    // Beside the file, which may be one of those that are read.
    let part = part_of(&args.out);
    let rows = write(&merged, &part)?;
    let cannot = |why: String| VerbError::Failed(anyhow::anyhow!("writing {}: {why}", args.out.display()));
    if is_parquet(&args.out) {
        columns::write(&part, &args.out).map_err(cannot)?;
        fs::remove_file(&part)?;
    } else {
        fs::rename(&part, &args.out)?;
    }
    let report = Report { runs: merged.runs.len(), missing, left_out, rows, out: args.out.display().to_string() };
    print(cli, &report, |report| {
        format!("{} runs, {} missing; {} rows to {}", report.runs, report.missing, report.rows, report.out)
    })
}

/// One file, as far as it is known before its rows are taken.
struct Shard {
    path: PathBuf,
    head: StringRecord,
    plan: String,
    total: usize,
    runs: BTreeSet<usize>,
}

/// Of which plan a row is, how many runs that has, and of which of them the row is.
fn of_run(record: &StringRecord) -> Option<(&str, usize, usize)> {
    let number = |at: usize| record.get(at).and_then(|text| text.parse::<usize>().ok());
    Some((record.get(0)?, number(1)?, number(2)?))
}

/// Reads a file to its end; none where it is empty, as that of a shard without runs.
fn survey(path: &Path) -> Result<Option<Shard>, String> {
    if fs::metadata(path).map_err(|error| error.to_string())?.len() == 0 {
        return Ok(None);
    }
    let rows = Rows::open(path)?;
    if rows.head.iter().take(3).ne(["plan", "runs", "run"]) {
        return Err("`iso study run` did not write it".into());
    }
    if !is_whole(path).map_err(|error| error.to_string())? {
        return Err("it ends within a row".into());
    }
    let head = rows.head.clone();
    let mut shard = Shard { path: path.to_owned(), head, plan: String::new(), total: 0, runs: BTreeSet::new() };
    for (record, number) in rows.zip(1..) {
        let record = record?;
        // No cell of a study has one: a quote too many has made one row of several.
        if record.iter().any(|cell| cell.contains(['\n', '\r'])) {
            return Err(format!("row {number}: the end of a line inside a cell"));
        }
        let (plan, total, run) = of_run(&record).ok_or_else(|| format!("row {number} has no number of its run"))?;
        if shard.runs.is_empty() {
            (shard.plan, shard.total) = (plan.to_owned(), total);
        }
        if shard.plan != plan || run >= shard.total {
            return Err("it holds rows of several plans".into());
        }
        if shard.runs.last().is_some_and(|last| *last > run) {
            return Err(format!("row {number}: its runs are not in their order"));
        }
        shard.runs.insert(run);
    }
    if shard.runs.is_empty() { Err("there are no rows in it".into()) } else { Ok(Some(shard)) }
}

/// Files that go together.
#[derive(Default)]
struct Merged {
    shards: Vec<Shard>,
    total: usize,
    runs: BTreeSet<usize>,
}

impl Merged {
    fn take(&mut self, shard: Shard) -> Result<(), String> {
        if self.shards.first().is_some_and(|first| first.plan != shard.plan || first.head != shard.head) {
            return Err("its rows are of another plan".into());
        }
        if let Some(run) = shard.runs.iter().find(|run| self.runs.contains(run)) {
            return Err(format!("run {run} is in another file too"));
        }
        self.total = shard.total;
        self.runs.extend(&shard.runs);
        self.shards.push(shard);
        Ok(())
    }
}

/// Writes all rows as CSV, in the order of runs: how many.
fn write(merged: &Merged, out: &Path) -> Result<usize, VerbError> {
    let mut writer = csv::Writer::from_writer(super::routing::create(out)?);
    let failed = |error: csv::Error| VerbError::Failed(error.into());
    let mut sources = Vec::new();
    for shard in &merged.shards {
        let changed = |why: String| VerbError::Usage(format!("{}: {why}", shard.path.display()));
        if sources.is_empty() {
            writer.write_record(&shard.head).map_err(failed)?;
        }
        sources.push((Rows::open(&shard.path).map_err(changed)?.peekable(), &shard.path));
    }
    let mut rows = 0;
    // Each run is in one file, whose next row is of it when all before it are written.
    for run in &merged.runs {
        for (source, path) in &mut sources {
            while let Some(record) = next_of(source, *run) {
                let record = record.map_err(|why| VerbError::Usage(format!("{}: {why}", path.display())))?;
                writer.write_record(&record).map_err(failed)?;
                rows += 1;
            }
        }
    }
    writer.flush()?;
    Ok(rows)
}

/// The next row, if it is of this run, or cannot be read.
fn next_of(source: &mut Peekable<Rows>, run: usize) -> Option<Result<StringRecord, String>> {
    source.next_if(|record| match record {
        Ok(record) => of_run(record).is_some_and(|(_, _, of)| of == run),
        Err(_) => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_a_quote_has_joined_are_damage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.csv");
        let rows = "plan,runs,run,policy,p50_ms\nab,2,0,lru,1\nab,2,0,fifo,2\nab,2,1,lru,3\n";
        fs::write(&path, rows).unwrap();
        let shard = survey(&path).unwrap().unwrap();
        assert_eq!((shard.total, shard.runs.len()), (2, 2));
        fs::write(&path, rows.replacen("lru", "\"lru", 1).replacen("fifo", "fifo\"", 1)).unwrap();
        let why = survey(&path).map(|shard| shard.map(|shard| shard.total)).unwrap_err();
        assert_eq!(why, "row 1: the end of a line inside a cell");
    }
}
