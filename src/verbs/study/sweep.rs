//! `iso study run` and `iso study merge`: a study over all combinations of ranges.
//!
//! A run is what `iso study NAME FLAGS` would be, so a plan knows no parameter of its own. Rows are written in the order of
//! runs, each with its number and what the plan says, and a run's rows do not depend on what ran beside it; so a shard, a
//! sweep that was stopped, and one on many cores come to the same bytes.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    hash::Hasher as _,
    io::{self, IsTerminal as _, Write},
    path::Path,
    time::Instant,
};

use anyhow::{Context as _, anyhow};
use serde::{Deserialize, Serialize};

use super::{
    Prepared, anycast::Catchments, balance::Balance, cache::Caches, collapse::Collapse, estimates::Estimates,
    failover::Failover, ground::each_in_order, mapping::Mapping, plot::PlotTable, retries::Retries, routing::BakeOff,
    sites::Sites, subnets::Subnets,
};
use crate::{
    args::{Cli, MergeArgs, StudyVerb, SweepArgs, study_of},
    diagnose::{KeyError, Source, nearest_or_all, read_source, refused},
    talk::{VerbError, tell},
    verbs::print,
};

/// Studies that a plan may run.
const STUDIES: [&str; 11] = [
    "routing",
    "sites",
    "failover",
    "cache",
    "mapping",
    "subnets",
    "anycast",
    "estimates",
    "collapse",
    "balance",
    "retries",
];
/// Flags that are the sweep's own business.
const NOT_IN_PLANS: [&str; 4] = ["csv", "html", "threads", "json"];

/// A plan as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanFile {
    study: String,
    #[serde(default)]
    set: toml::Table,
    #[serde(default)]
    sweep: toml::Table,
    /// How `iso study plot` draws the rows.
    pub(super) plot: Option<PlotTable>,
}

/// A plan that is checked.
struct Plan {
    /// Of what was written: files of one plan go together.
    digest: String,
    runs: Vec<StudyVerb>,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    runs: usize,
    done_before: usize,
    rows: usize,
    out: String,
}

pub(super) fn run(cli: &Cli, args: &SweepArgs) -> Result<(), VerbError> {
    let source = read_source(&args.plan).map_err(|complaint| VerbError::Config(Box::new(complaint)))?;
    let plan = plan_of(&source, args.max_runs)?;
    let (nth, of) = args.shard.as_deref().map_or(Ok((1, 1)), shard_of)?;
    let mine: Vec<usize> = (0..plan.runs.len()).skip(nth - 1).step_by(of).collect();
    let (mut file, done) = begin(args, &plan, &mine)?;
    let left = mine.get(done..).unwrap_or_default();
    let progress = Progress { began: Instant::now(), all: left.len(), shown: io::stderr().is_terminal() };
    let (mut finished, mut rows, mut has_head) = (0, 0, done > 0);
    let total = plan.runs.len();
    let played = each_in_order(
        args.threads,
        left,
        |&at| -> Result<(usize, Vec<u8>), VerbError> {
            let mut bytes = Vec::new();
            let verb = plan.runs.get(at).ok_or_else(|| VerbError::Failed(anyhow!("there is no run {at}")))?;
            prepared(verb)?.write_rows(&mut bytes)?;
            Ok((at, bytes))
        },
        |result| {
            let (at, bytes) = result?;
            let mut lines = csv::ReaderBuilder::new().has_headers(false).from_reader(&*bytes);
            // The rows of a run go to the file at once, so that a stopped sweep ends between two runs, but for a power cut.
            let mut writer = csv::Writer::from_writer(Vec::new());
            for (number, line) in lines.records().enumerate() {
                let line = line.map_err(|error| VerbError::Failed(error.into()))?;
                let own = if number == 0 {
                    if std::mem::replace(&mut has_head, true) {
                        continue;
                    }
                    ["plan".to_owned(), "runs".to_owned(), "run".to_owned()]
                } else {
                    rows += 1;
                    [plan.digest.clone(), total.to_string(), at.to_string()]
                };
                let line = own.iter().map(String::as_str).chain(line.iter());
                writer.write_record(line).map_err(|error| VerbError::Failed(error.into()))?;
            }
            let bytes = writer.into_inner().map_err(|error| VerbError::Failed(anyhow!("{error}")))?;
            file.write_all(&bytes).with_context(|| format!("writing {}", args.out.display()))?;
            finished += 1;
            progress.show(finished);
            Ok::<(), VerbError>(())
        },
    );
    progress.end();
    played?;
    file.sync_all()?;
    let report = Report { runs: mine.len(), done_before: done, rows, out: args.out.display().to_string() };
    print(cli, &report, |report| {
        let before =
            if report.done_before > 0 { format!(", {} of them before", report.done_before) } else { String::new() };
        format!("{} runs{before}; {} rows to {}", report.runs, report.rows, report.out)
    })
}

/// How far a sweep is, on a terminal.
struct Progress {
    began: Instant,
    all: usize,
    shown: bool,
}

impl Progress {
    fn show(&self, done: usize) {
        if self.shown {
            let left = self.began.elapsed().as_secs_f64() / done.max(1) as f64 * (self.all - done) as f64;
            eprint!("\r{done} of {} runs, {left:.0} s left \x1b[K", self.all);
        }
    }

    fn end(&self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}

/// The study that a run is.
fn prepared(verb: &StudyVerb) -> Result<Box<dyn Prepared + '_>, VerbError> {
    Ok(match verb {
        StudyVerb::Routing(args) => Box::new(BakeOff::of(args)?),
        StudyVerb::Sites(args) => Box::new(Sites::of(args)?),
        StudyVerb::Failover(args) => Box::new(Failover::of(args)?),
        StudyVerb::Cache(args) => Box::new(Caches::of(args)?),
        StudyVerb::Collapse(args) => Box::new(Collapse::of(args)?),
        StudyVerb::Balance(args) => Box::new(Balance::of(args)?),
        StudyVerb::Retries(args) => Box::new(Retries::of(args)?),
        StudyVerb::Mapping(args) => Box::new(Mapping::of(args)?),
        StudyVerb::Subnets(args) => Box::new(Subnets::of(args)?),
        StudyVerb::Anycast(args) => Box::new(Catchments::of(args)?),
        StudyVerb::Estimates(args) => Box::new(Estimates::of(args)?),
        StudyVerb::Run(_) | StudyVerb::Merge(_) | StudyVerb::Plot(_) | StudyVerb::Replay(_) => {
            return Err(VerbError::Usage(format!("a plan's study is one of {}", STUDIES.join(", "))));
        }
    })
}

/// Reads and checks a plan, each of its runs too.
fn plan_of(source: &Source, runs_max: usize) -> Result<Plan, VerbError> {
    let complain = |error: KeyError| VerbError::Config(Box::new(source.complaint(error)));
    let file: PlanFile =
        toml::from_str(&source.text).map_err(|error| VerbError::Config(Box::new(refused(source, &error))))?;
    if !STUDIES.contains(&file.study.as_str()) {
        let hint = nearest_or_all(&file.study, STUDIES);
        return Err(complain(KeyError { hint, ..KeyError::new("study", format!("no study {:?}", file.study)) }));
    }
    let mut flags = Vec::new();
    for (key, value) in &file.set {
        flags.extend(flag(&file.study, "set", key, value).map_err(complain)?);
    }
    // Each run's own flags, and the last key that it got, for complaints.
    let mut runs: Vec<(Vec<String>, String)> = vec![(flags, "set".to_owned())];
    for (key, values) in &file.sweep {
        let at = format!("sweep.{key}");
        let Some(values) = values.as_array() else {
            return Err(complain(KeyError::new(&at, "a sweep is over a list").hint(format!("{key} = [{values}]"))));
        };
        if values.is_empty() {
            return Err(complain(KeyError::new(&at, "an empty range; nothing would run")));
        }
        if file.set.contains_key(key) {
            return Err(complain(KeyError::new(&at, "is set in [set] too")));
        }
        if runs.len().saturating_mul(values.len()) > runs_max {
            let more = format!("the plan has {} runs or more, and --max-runs is {runs_max}", runs.len() * values.len());
            return Err(complain(KeyError::new(&at, more)));
        }
        let each = values.iter().enumerate().map(|(nth, value)| {
            let at = format!("{at}.{nth}");
            flag(&file.study, "sweep", key, value).map(|flags| (flags, at))
        });
        let each = each.collect::<Result<Vec<_>, KeyError>>().map_err(complain)?;
        let with = |(before, _): &(Vec<String>, String)| -> Vec<(Vec<String>, String)> {
            each.iter().map(|(more, at)| ([&before[..], more].concat(), at.clone())).collect()
        };
        runs = runs.iter().flat_map(with).collect();
    }
    let checked = runs.iter().map(|(flags, at)| {
        let verb = study_of(&file.study, flags).map_err(|error| complain(KeyError::new(at, first_line(&error))))?;
        match prepared(&verb).map(|_| ()) {
            Err(VerbError::Usage(why)) => Err(complain(KeyError::new(at, why))),
            other => other.map(|()| verb),
        }
    });
    let mut hasher = siphasher::sip::SipHasher13::new();
    hasher.write(file.study.as_bytes());
    hasher.write(format!("{:?}{:?}", file.set, file.sweep).as_bytes());
    Ok(Plan { digest: format!("{:016x}", hasher.finish()), runs: checked.collect::<Result<_, _>>()? })
}

/// A key of a plan as flags of the command line.
fn flag(study: &str, table: &str, key: &str, value: &toml::Value) -> Result<Vec<String>, KeyError> {
    let at = format!("{table}.{key}");
    let known: Vec<String> =
        study_flags(study).into_iter().filter(|flag| !NOT_IN_PLANS.contains(&flag.as_str())).collect();
    if !known.iter().any(|flag| flag == key) {
        let hint = nearest_or_all(key, known.iter().map(String::as_str));
        return Err(KeyError { hint, ..KeyError::new(&at, format!("`iso study {study}` has no --{key}")) });
    }
    let word = |value: &toml::Value| match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(_) | toml::Value::Float(_) => Ok(value.to_string()),
        _ => {
            Err(KeyError::new(&at, format!("{value} is no value of a flag")).hint("write a text, a number, or a list"))
        }
    };
    let words = match value {
        toml::Value::Array(values) => values.iter().map(word).collect::<Result<Vec<String>, _>>()?.join(","),
        value => word(value)?,
    };
    Ok(vec![format!("--{key}={words}")])
}

/// The long flags of a study.
fn study_flags(study: &str) -> Vec<String> {
    use clap::CommandFactory as _;
    let command = Cli::command();
    let found = command.find_subcommand("study").and_then(|studies| studies.find_subcommand(study));
    let arguments = found.into_iter().flat_map(clap::Command::get_arguments);
    arguments.filter_map(|argument| argument.get_long().map(str::to_owned)).collect()
}

/// What clap says, without its usage.
fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// `2/8`.
fn shard_of(text: &str) -> Result<(usize, usize), VerbError> {
    let parsed = text.split_once('/').and_then(|(nth, of)| Some((nth.parse().ok()?, of.parse().ok()?)));
    match parsed {
        Some((nth, of)) if (1..=of).contains(&nth) => Ok((nth, of)),
        _ => Err(VerbError::Usage(format!(
            "--shard {text:?}: write the number of the part and of parts, from 1/8 to 8/8"
        ))),
    }
}

/// Opens the file of rows: how many runs are in it already.
fn begin(args: &SweepArgs, plan: &Plan, mine: &[usize]) -> Result<(File, usize), VerbError> {
    let path = &args.out;
    let cannot = |error: io::Error| VerbError::Usage(format!("cannot write {}: {error}", path.display()));
    if !path.exists() {
        return Ok((File::create(path).map_err(cannot)?, 0));
    }
    if !args.resume {
        let name = path.display();
        return Err(VerbError::Usage(format!("{name} is there already; go on with --resume, or remove it")));
    }
    let bytes = fs::read(path).map_err(|error| VerbError::Usage(format!("cannot read {}: {error}", path.display())))?;
    let (done, keep) =
        done_in(&bytes, plan, mine).map_err(|why| VerbError::Usage(format!("{}: {why}", path.display())))?;
    let file = OpenOptions::new().append(true).open(path).map_err(cannot)?;
    file.set_len(keep).map_err(cannot)?;
    Ok((file, done))
}

/// How many of the runs are in a file whole, and how many of its bytes they are. The last one there may lack rows, and is
/// done again.
fn done_in(bytes: &[u8], plan: &Plan, mine: &[usize]) -> Result<(usize, u64), String> {
    // A row without its end says nothing.
    let whole_rows = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(bytes.get(..whole_rows).unwrap_or_default());
    let mut starts: Vec<(usize, u64)> = Vec::new();
    for record in reader.records() {
        let Ok(record) = record else { break };
        if record.get(0) != Some(plan.digest.as_str()) {
            return Err("its rows are of another plan".into());
        }
        let Some(run) = record.get(2).and_then(|run| run.parse().ok()) else { break };
        if starts.last().is_none_or(|(last, _)| *last != run) {
            starts.push((run, record.position().map_or(0, csv::Position::byte)));
        }
    }
    match starts.split_last() {
        None => Ok((0, 0)),
        Some((_, [])) => Ok((0, 0)),
        Some((&(_, keep), whole)) if whole.iter().map(|(run, _)| run).eq(mine.iter().take(whole.len())) => {
            Ok((whole.len(), keep))
        }
        Some(_) => Err("its rows are of another shard".into()),
    }
}

pub(super) fn merge(cli: &Cli, args: &MergeArgs) -> Result<(), VerbError> {
    let mut merged = Merged::default();
    let mut left_out = Vec::new();
    for path in &args.files {
        let name = path.display().to_string();
        match read_shard(path).and_then(|shard| merged.take(shard)) {
            Ok(()) => {}
            Err(why) if args.allow_missing => {
                tell(&format!("left out {name}: {why}"));
                left_out.push(name);
            }
            Err(why) => return Err(VerbError::Usage(format!("{name}: {why}; leave it out with --allow-missing"))),
        }
    }
    let missing = (0..merged.total).filter(|run| !merged.rows.contains_key(run)).collect::<Vec<_>>();
    if let (Some(first), false) = (missing.first(), args.allow_missing) {
        let (count, total) = (missing.len(), merged.total);
        return Err(VerbError::Usage(format!(
            "{count} of {total} runs are missing, the first is {first}; take what is there with --allow-missing"
        )));
    }
    let mut writer = csv::Writer::from_writer(super::routing::create(&args.out)?);
    let failed = |error: csv::Error| VerbError::Failed(error.into());
    writer.write_record(&merged.head).map_err(failed)?;
    let mut rows = 0;
    for record in merged.rows.values().flatten() {
        writer.write_record(record).map_err(failed)?;
        rows += 1;
    }
    writer.flush()?;
    let report = MergeReport {
        runs: merged.rows.len(),
        missing: missing.len(),
        left_out,
        rows,
        out: args.out.display().to_string(),
    };
    print(cli, &report, |report| {
        format!("{} runs, {} missing; {} rows to {}", report.runs, report.missing, report.rows, report.out)
    })
}

/// What merging prints.
#[derive(Debug, Serialize)]
struct MergeReport {
    runs: usize,
    missing: usize,
    left_out: Vec<String>,
    rows: usize,
    out: String,
}

/// The rows of one file.
struct Shard {
    head: csv::StringRecord,
    plan: String,
    total: usize,
    rows: BTreeMap<usize, Vec<csv::StringRecord>>,
}

#[derive(Default)]
struct Merged {
    head: csv::StringRecord,
    plan: Option<String>,
    total: usize,
    rows: BTreeMap<usize, Vec<csv::StringRecord>>,
}

impl Merged {
    fn take(&mut self, shard: Shard) -> Result<(), String> {
        if self.plan.as_ref().is_some_and(|plan| *plan != shard.plan)
            || !self.head.is_empty() && self.head != shard.head
        {
            return Err("its rows are of another plan".into());
        }
        if let Some(run) = shard.rows.keys().find(|run| self.rows.contains_key(run)) {
            return Err(format!("run {run} is in another file too"));
        }
        (self.head, self.plan, self.total) = (shard.head, Some(shard.plan), shard.total);
        self.rows.extend(shard.rows);
        Ok(())
    }
}

/// Reads a file of rows whole.
fn read_shard(path: &Path) -> Result<Shard, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    if !bytes.ends_with(b"\n") {
        return Err("it ends within a row".into());
    }
    let mut reader = csv::Reader::from_reader(&*bytes);
    let head = reader.headers().map_err(|error| error.to_string())?.clone();
    if head.iter().take(3).ne(["plan", "runs", "run"]) {
        return Err("`iso study run` did not write it".into());
    }
    let mut shard = Shard { head, plan: String::new(), total: 0, rows: BTreeMap::new() };
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        let number = |at: usize| record.get(at).and_then(|text| text.parse::<usize>().ok());
        let (Some(plan), Some(total), Some(run)) = (record.get(0), number(1), number(2)) else {
            return Err(format!("row {} has no number of its run", record.position().map_or(0, csv::Position::line)));
        };
        if shard.plan.is_empty() {
            (shard.plan, shard.total) = (plan.to_owned(), total);
        }
        if shard.plan != plan || run >= shard.total {
            return Err("it holds rows of several plans".into());
        }
        shard.rows.entry(run).or_default().push(record);
    }
    if shard.rows.is_empty() { Err("there are no rows in it".into()) } else { Ok(shard) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Result<Plan, String> {
        let source = Source { name: "plan.toml".into(), text: text.into() };
        plan_of(&source, 100).map_err(|error| error.to_string())
    }

    const PLAN: &str = "study = \"cache\"\n[set]\nworkload = \"zipf:1.0:1000\"\nrequests = 1000\n[sweep]\nsize = [10, 20, \"5%\"]\npolicy = [\"lru\", [\"fifo\", \"sieve\"]]\n";

    #[test]
    fn a_plan_is_all_combinations_in_the_order_of_its_keys() {
        let plan = plan(PLAN).unwrap();
        let policies = plan.runs.iter().map(|run| match run {
            StudyVerb::Cache(args) => (args.sizes.concat(), args.policies.len()),
            other => panic!("{other:?}"),
        });
        let expected = [("10", 1), ("20", 1), ("5%", 1), ("10", 2), ("20", 2), ("5%", 2)];
        assert_eq!(policies.collect::<Vec<_>>(), expected.map(|(size, policies)| (size.to_owned(), policies)));
    }

    #[test]
    fn a_plan_that_cannot_be_is_refused_with_its_line() {
        for (text, line, says) in [
            ("study = \"cach\"\n", 1, "did you mean `cache`"),
            ("study = \"cache\"\n[set]\nsizes = 1\n", 3, "has no --sizes"),
            ("study = \"cache\"\n[set]\ncsv = \"a\"\n", 3, "has no --csv"),
            ("study = \"cache\"\n[sweep]\nsize = []\n", 3, "empty range"),
            ("study = \"cache\"\n[sweep]\nsize = 3\n", 3, "over a list"),
            ("study = \"cache\"\n[sweep]\nseed = [1,\n\"x\"]\n", 4, "invalid value"),
            ("study = \"routing\"\n[sweep]\npops = [\"IAD\",\n\"QQX\"]\n", 4, "QQX"),
            ("study = \"cache\"\nstudies = 1\n", 2, "unknown field"),
        ] {
            let why = plan(text).map(|_| ()).unwrap_err();
            assert!(why.contains(&format!("plan.toml:{line}:")) && why.contains(says), "{text}\n{why}");
        }
        let many: Vec<String> = (1..=11).map(|seed| seed.to_string()).collect();
        let many = many.join(", ");
        let why =
            plan(&format!("study = \"cache\"\n[sweep]\nseed = [{many}]\nedges = [{many}]\n")).map(|_| ()).unwrap_err();
        assert!(why.contains("--max-runs"), "{why}");
    }

    #[test]
    fn a_stopped_sweep_goes_on_with_the_run_that_may_lack_rows() {
        let plan = plan(PLAN).unwrap();
        let row = |run: usize| format!("{},6,{run},x\n", plan.digest);
        let text = format!("plan,runs,run,value\n{}{}{}{}", row(0), row(2), row(2), row(4));
        let keep = text.len() - row(4).len();
        assert_eq!(done_in(text.as_bytes(), &plan, &[0, 2, 4]), Ok((2, keep as u64)));
        assert!(done_in(text.as_bytes(), &plan, &[1, 3, 5]).is_err());
        // A row that was cut is none, so the last run is the one before.
        let before = keep - 2 * row(2).len();
        for cut in 1..row(4).len() {
            let cut = &text.as_bytes()[..text.len() - cut];
            assert_eq!(done_in(cut, &plan, &[0, 2, 4]), Ok((1, before as u64)));
        }
        assert_eq!(done_in(b"", &plan, &[0]), Ok((0, 0)));
        assert!(done_in(text.replace(&plan.digest, "0123").as_bytes(), &plan, &[0, 2, 4]).is_err());
    }
}
