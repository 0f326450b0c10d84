//! `iso study run`: a study over all combinations of ranges.
//!
//! A run is what `iso study NAME FLAGS` would be, so a plan knows no parameter of its own. Rows are written in the order of
//! runs, each with its number, the commit, and all flags; a run's rows do not depend on what ran beside it; so a shard, a
//! sweep that was stopped, and one on many cores come to the same bytes.
//!
//! Rows are CSV while there are more to come, since a Parquet file cannot be added to: where Parquet is asked for, they stand
//! beside it until the last run has ended, and that is also what a stopped sweep goes on from.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File, OpenOptions},
    hash::Hasher as _,
    io::{self, BufReader, IsTerminal as _, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, anyhow};
use csv::StringRecord;
use serde::{Deserialize, Serialize};

use super::{
    Prepared, anycast::Catchments, balance::Balance, cache::Caches, collapse::Collapse, columns, estimates::Estimates,
    failover::Failover, ground::each_in_order, inputs::Inputs, mapping::Mapping, plot::PlotTable, retries::Retries,
    routing::BakeOff, rows::Rows, sites::Sites, subnets::Subnets,
};
use crate::{
    args::{Cli, StudyVerb, SweepArgs, study_matches, study_of},
    diagnose::{Complaint, KeyError, Source, nearest_or_all, read_source, refused},
    talk::VerbError,
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
const NOT_IN_PLANS: [&str; 5] = ["csv", "parquet", "html", "threads", "json"];

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
    study: String,
    /// Of what was written: files of one plan go together.
    digest: String,
    /// What it names, beside it.
    inputs: Inputs,
    runs: Vec<Run>,
}

/// One combination.
struct Run {
    flags: Vec<String>,
    verb: StudyVerb,
}

/// The commit that this program was built from.
const COMMIT: &str = env!("ISO_COMMIT");

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    runs: usize,
    done_before: usize,
    rows: usize,
    out: String,
}

/// Whether rows are to be Parquet, by the file's name.
pub(super) fn is_parquet(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "parquet")
}

/// Where rows stand until a file is whole.
pub(super) fn part_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(".part");
    path.with_file_name(name)
}

pub(super) fn run(cli: &Cli, args: &SweepArgs) -> Result<(), VerbError> {
    let source = read_source(&args.plan).map_err(|complaint| {
        let hint = Some("`iso study run --help` shows a plan".to_owned());
        VerbError::Config(Box::new(Complaint { hint, ..complaint }))
    })?;
    let plan = plan_of(&source, args.max_runs)?;
    let (nth, of) = args.shard.as_deref().map_or(Ok((1, 1)), shard_of)?;
    let mine: Vec<usize> = (0..plan.runs.len()).skip(nth - 1).step_by(of).collect();
    let mut report = Report { runs: mine.len(), done_before: 0, rows: 0, out: args.out.display().to_string() };
    // Those that are whole as Parquet are not begun again.
    if is_parquet(&args.out) && !part_of(&args.out).exists() && args.out.exists() {
        report.done_before = done_as_parquet(args, &plan, &mine)?;
    } else {
        (report.done_before, report.rows) = play(args, &plan, &mine)?;
    }
    print(cli, &report, |report| {
        let before =
            if report.done_before > 0 { format!(", {} of them before", report.done_before) } else { String::new() };
        format!("{} runs{before}; {} rows to {}", report.runs, report.rows, report.out)
    })
}

/// Plays what is not done yet: how many runs were done before, and how many rows came to them.
fn play(args: &SweepArgs, plan: &Plan, mine: &[usize]) -> Result<(usize, usize), VerbError> {
    let path = if is_parquet(&args.out) { part_of(&args.out) } else { args.out.clone() };
    let Begun { mut file, done, head } = begin(&path, args.resume, plan, mine)?;
    let left = mine.get(done..).unwrap_or_default();
    let progress = Progress { began: Instant::now(), all: left.len(), shown: io::stderr().is_terminal() };
    let (mut finished, mut rows, mut head) = (0, 0, head);
    let played = each_in_order(
        args.threads,
        left,
        |&at| plan.rows_of(at),
        |result| {
            let bytes = result?;
            let mut lines = csv::ReaderBuilder::new().has_headers(false).from_reader(&*bytes).into_records();
            // The rows of a run go to the file at once, so that a stopped sweep ends between two runs, but for a power cut.
            let mut writer = csv::Writer::from_writer(Vec::new());
            let failed = |error: csv::Error| VerbError::Failed(error.into());
            if let Some(own) = lines.next().transpose().map_err(failed)? {
                match &head {
                    None => writer.write_record(&own).map_err(failed)?,
                    Some(head) if *head != own => {
                        let name = path.display();
                        return Err(VerbError::Usage(format!(
                            "{name}: its columns are those of another iso; remove it"
                        )));
                    }
                    Some(_) => {}
                }
                head = Some(own);
            }
            for line in lines {
                writer.write_record(&line.map_err(failed)?).map_err(failed)?;
                rows += 1;
            }
            let bytes = writer.into_inner().map_err(|error| VerbError::Failed(anyhow!("{error}")))?;
            file.write_all(&bytes).with_context(|| format!("writing {}", path.display()))?;
            finished += 1;
            progress.show(finished);
            Ok::<(), VerbError>(())
        },
    );
    progress.end();
    played?;
    file.sync_all()?;
    if path != args.out {
        columns::write(&path, &args.out)
            .map_err(|why| VerbError::Failed(anyhow!("writing {}: {why}", args.out.display())))?;
        fs::remove_file(&path)?;
    }
    Ok((done, rows))
}

impl Plan {
    /// Plays a run: its rows as CSV, behind which plan, which run, which commit, and with which flags.
    fn rows_of(&self, at: usize) -> Result<Vec<u8>, VerbError> {
        let failed = |error: csv::Error| VerbError::Failed(error.into());
        let Run { flags, verb } =
            self.runs.get(at).ok_or_else(|| VerbError::Failed(anyhow!("there is no run {at}")))?;
        let mut bytes = Vec::new();
        prepared(verb, &self.inputs)?.write_rows(&mut bytes)?;
        let mut lines = csv::ReaderBuilder::new().has_headers(false).from_reader(&*bytes).into_records();
        let Some(head) = lines.next().transpose().map_err(failed)? else { return Ok(Vec::new()) };
        let flags = said_by_flags(&self.study, flags, &head)?;
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(&head_of(&flags, &head)).map_err(failed)?;
        let (total, at) = (self.runs.len().to_string(), at.to_string());
        for line in lines {
            let line = line.map_err(failed)?;
            let own = [self.digest.as_str(), &total, &at, COMMIT];
            let values = own.into_iter().chain(flags.iter().map(|(_, value)| value.as_str()));
            writer.write_record(values.chain(&line)).map_err(failed)?;
        }
        writer.into_inner().map_err(|error| VerbError::Failed(anyhow!("{error}")))
    }
}

/// The columns of a sweep's rows: which run of which plan it is, what flags say, and what the study says.
fn head_of(flags: &[(String, String)], head: &StringRecord) -> StringRecord {
    let own = ["plan", "runs", "run", "commit"];
    own.into_iter().chain(flags.iter().map(|(name, _)| name.as_str())).chain(head).collect()
}

/// The flags of a run that its rows, with this `head`, do not say. What the study says itself there, it knows better.
fn said_by_flags(study: &str, flags: &[String], head: &StringRecord) -> Result<Vec<(String, String)>, VerbError> {
    let mut flags = parameters(study, flags).map_err(|error| VerbError::Failed(error.into()))?;
    flags.retain(|(name, _)| head.iter().all(|column| column != name));
    Ok(flags)
}

/// All flags of a run with their values, those it did not name among them, by the names of columns.
fn parameters(study: &str, flags: &[String]) -> Result<Vec<(String, String)>, clap::Error> {
    let (command, matches) = study_matches(study, flags)?;
    let known = command.get_arguments().filter_map(|argument| Some((argument.get_long()?, argument.get_id())));
    let known = known.filter(|(flag, _)| !NOT_IN_PLANS.contains(flag));
    let value = |id: &str| {
        let words = matches.try_get_raw(id).ok().flatten().into_iter().flatten();
        words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(",")
    };
    Ok(known.map(|(flag, id)| (flag.replace('-', "_"), value(id.as_str()))).collect())
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
fn prepared<'a>(verb: &'a StudyVerb, inputs: &Inputs) -> Result<Box<dyn Prepared + 'a>, VerbError> {
    Ok(match verb {
        StudyVerb::Routing(args) => Box::new(BakeOff::of(args, inputs)?),
        StudyVerb::Sites(args) => Box::new(Sites::of(args)?),
        StudyVerb::Failover(args) => Box::new(Failover::of(args)?),
        StudyVerb::Cache(args) => Box::new(Caches::of(args, inputs)?),
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
    let mut set: Vec<Part> = Vec::new();
    for (key, value) in &file.set {
        set.push((format!("set.{key}"), flag(&file.study, "set", key, value).map_err(complain)?));
    }
    let mut runs = vec![set];
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
            flag(&file.study, "sweep", key, value).map(|flags| (at, flags))
        });
        let each = each.collect::<Result<Vec<Part>, KeyError>>().map_err(complain)?;
        let with = |before: &Vec<Part>| -> Vec<Vec<Part>> {
            each.iter().map(|part| [&before[..], std::slice::from_ref(part)].concat()).collect()
        };
        runs = runs.iter().flat_map(with).collect();
    }
    let inputs = Inputs::from(Path::new(&source.name).parent().unwrap_or_else(|| Path::new("")));
    let checked = runs.into_iter().map(|parts| match run_of(&file.study, &parts, &inputs) {
        Err(VerbError::Usage(why)) => Err(complain(KeyError::new(blamed(&file.study, &parts, &why, &inputs), why))),
        run => run,
    });
    let mut hasher = siphasher::sip::SipHasher13::new();
    hasher.write(file.study.as_bytes());
    hasher.write(format!("{:?}{:?}", file.set, file.sweep).as_bytes());
    let digest = format!("{:016x}", hasher.finish());
    let runs = checked.collect::<Result<Vec<Run>, _>>()?;
    // All runs have the same columns.
    if let (Some(plot), Some(Run { flags, verb })) = (&file.plot, runs.first()) {
        let head = prepared(verb, &inputs)?.columns()?;
        let head = head_of(&said_by_flags(&file.study, flags, &head)?, &head);
        plot.check(&head).map_err(complain)?;
    }
    Ok(Plan { study: file.study, digest, inputs, runs })
}

/// A key of a plan, and the flags that it stands for.
type Part = (String, Vec<String>);

/// A run with these flags, checked as those of the command line are.
fn run_of(study: &str, parts: &[Part], inputs: &Inputs) -> Result<Run, VerbError> {
    let flags: Vec<String> = parts.iter().flat_map(|(_, flags)| flags.iter().cloned()).collect();
    let verb = study_of(study, &flags).map_err(|error| VerbError::Usage(first_line(&error)))?;
    prepared(&verb, inputs)?;
    Ok(Run { flags, verb })
}

/// The key that is to blame for `why`: the last one without which nobody says so.
fn blamed<'a>(study: &str, parts: &'a [Part], why: &str, inputs: &Inputs) -> &'a str {
    let is_silent_without = |nth: usize| {
        let others = parts.iter().enumerate().filter(|(at, _)| *at != nth).map(|(_, part)| part.clone());
        !matches!(run_of(study, &others.collect::<Vec<_>>(), inputs), Err(VerbError::Usage(said)) if said == why)
    };
    let found = (0..parts.len()).rev().find(|nth| is_silent_without(*nth)).and_then(|nth| parts.get(nth));
    found.or_else(|| parts.last()).map_or("set", |(key, _)| key)
}

/// A key of a plan as flags of the command line.
fn flag(study: &str, table: &str, key: &str, value: &toml::Value) -> Result<Vec<String>, KeyError> {
    let at = format!("{table}.{key}");
    let known: Vec<String> =
        study_flags(study).into_iter().filter(|flag| !NOT_IN_PLANS.contains(&flag.as_str())).collect();
    if !known.iter().any(|flag| flag == key) {
        let hint = nearest_or_all(key, known.iter().map(String::as_str));
        let what = format!("`iso study {study}` has no --{key}");
        return Err(KeyError { hint, is_unknown: true, ..KeyError::new(&at, what) });
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

/// A file that rows can be added to.
struct Begun {
    file: File,
    /// Runs that are in it whole.
    done: usize,
    /// Its columns, where it has any.
    head: Option<StringRecord>,
}

/// Opens the file of rows.
fn begin(path: &Path, resumes: bool, plan: &Plan, mine: &[usize]) -> Result<Begun, VerbError> {
    let name = path.display();
    let cannot = |error: io::Error| VerbError::Usage(format!("cannot write {name}: {error}"));
    if !path.exists() {
        return Ok(Begun { file: File::create(path).map_err(cannot)?, done: 0, head: None });
    }
    if !resumes {
        return Err(VerbError::Usage(format!("{name} is there already; go on with --resume, or remove it")));
    }
    let rows = File::open(path).map_err(|error| VerbError::Usage(format!("cannot read {name}: {error}")))?;
    let Done { runs, keep, head } =
        done_in(rows, plan, mine).map_err(|why| VerbError::Usage(format!("{name}: {why}")))?;
    let file = OpenOptions::new().append(true).open(path).map_err(cannot)?;
    file.set_len(keep).map_err(cannot)?;
    Ok(Begun { file, done: runs, head: head.filter(|_| runs > 0) })
}

/// What of a sweep is there.
#[derive(Debug, PartialEq)]
struct Done {
    runs: usize,
    /// The bytes of them.
    keep: u64,
    head: Option<StringRecord>,
}

/// How many of the runs are in a file whole, and how many of its bytes they are. The last one there may lack rows, and is
/// done again.
fn done_in(mut rows: impl Read + Seek, plan: &Plan, mine: &[usize]) -> Result<Done, String> {
    let failed = |error: io::Error| error.to_string();
    // A row without its end says nothing.
    let whole_rows = end_of_rows(BufReader::new(&mut rows)).map_err(failed)?;
    rows.seek(SeekFrom::Start(0)).map_err(failed)?;
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(BufReader::new(rows.take(whole_rows)));
    let head = reader.headers().ok().filter(|head| !head.is_empty()).cloned();
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
        None | Some((_, [])) => Ok(Done { runs: 0, keep: 0, head }),
        Some((&(_, keep), whole)) if whole.iter().map(|(run, _)| run).eq(mine.iter().take(whole.len())) => {
            Ok(Done { runs: whole.len(), keep, head })
        }
        Some(_) => Err("its rows are of another shard".into()),
    }
}

/// Behind the last end of a line.
fn end_of_rows(mut rows: impl io::BufRead) -> io::Result<u64> {
    let (mut at, mut end) = (0, 0);
    loop {
        let bytes = rows.fill_buf()?;
        if bytes.is_empty() {
            return Ok(end);
        }
        if let Some(newline) = bytes.iter().rposition(|byte| *byte == b'\n') {
            end = at + newline as u64 + 1;
        }
        let read = bytes.len();
        at += read as u64;
        rows.consume(read);
    }
}

/// That a Parquet file, which is whole, holds all of the runs.
fn done_as_parquet(args: &SweepArgs, plan: &Plan, mine: &[usize]) -> Result<usize, VerbError> {
    let name = args.out.display();
    let refuse = |why: &str| VerbError::Usage(format!("{name}: {why}"));
    if !args.resume {
        return Err(VerbError::Usage(format!("{name} is there already; go on with --resume, or remove it")));
    }
    let mut runs = BTreeSet::new();
    for record in Rows::open(&args.out).map_err(|why| refuse(&why))? {
        let record = record.map_err(|why| refuse(&why))?;
        if record.get(0) != Some(plan.digest.as_str()) {
            return Err(refuse("its rows are of another plan"));
        }
        runs.extend(record.get(2).and_then(|run| run.parse::<usize>().ok()));
    }
    if !runs.iter().eq(mine) {
        return Err(refuse("its rows are of another shard"));
    }
    Ok(mine.len())
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
        let policies = plan.runs.iter().map(|run| match &run.verb {
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
            ("study = \"cache\"\n[set]\nsizes = 1\n", 3, "1: set.sizes: `iso study cache` has no --sizes"),
            ("study = \"cache\"\n[set]\ncsv = \"a\"\n", 3, "has no --csv"),
            ("study = \"cache\"\n[sweep]\nsize = []\n", 3, "empty range"),
            ("study = \"cache\"\n[sweep]\nsize = 3\n", 3, "over a list"),
            ("study = \"cache\"\n[sweep]\nseed = [1,\n\"x\"]\n", 4, "invalid value"),
            ("study = \"routing\"\n[sweep]\npops = [\"IAD\",\n\"QQX\"]\n", 4, "QQX"),
            ("study = \"cache\"\n[set]\nseed = \"x\"\n[sweep]\nsize = [3]\n", 3, "set.seed: invalid value"),
            ("study = \"routing\"\n[set]\npops = \"QQX\"\n[sweep]\nseed = [1, 2]\n", 3, "set.pops: no PoP \"QQX\""),
            ("study = \"cache\"\nstudies = 1\n", 2, "unknown field"),
            ("study = \"cache\"\n[plot]\nx = \"siz\"\ny = \"origin_ratio\"\n", 3, "plot.x: no column \"siz\""),
            ("study = \"cache\"\n[plot]\nx = \"siz\"\ny = \"origin_ratio\"\n", 3, "did you mean `size`?"),
            (
                "study = \"cache\"\n[plot]\nx = \"size\"\ny = [\n\"requests\",\n\"requests/all\"]\n",
                6,
                "plot.y.1: no column \"all\"",
            ),
            (
                "study = \"cache\"\n[plot]\nx = \"size\"\ny = \"requests\"\nby = \"polcy\"\n",
                5,
                "did you mean `policy`?",
            ),
            (
                "study = \"cache\"\n[plot]\nx = \"size\"\ny = \"requests\"\nlog = \"z\"\n",
                5,
                "plot.log.0: no axis \"z\"",
            ),
            (
                "study = \"cache\"\n[plot]\nx = \"size\"\ny = \"requests\"\n[plot.where]\nsed = 1\n",
                6,
                "did you mean `seed`?",
            ),
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
        let done = |text: &[u8], mine: &[usize]| {
            done_in(io::Cursor::new(text), &plan, mine).map(|done| (done.runs, done.keep))
        };
        assert_eq!(done(text.as_bytes(), &[0, 2, 4]), Ok((2, keep as u64)));
        assert!(done(text.as_bytes(), &[1, 3, 5]).is_err());
        // A row that was cut is none, so the last run is the one before.
        let before = keep - 2 * row(2).len();
        for cut in 1..row(4).len() {
            let cut = &text.as_bytes()[..text.len() - cut];
            assert_eq!(done(cut, &[0, 2, 4]), Ok((1, before as u64)));
        }
        assert_eq!(done(b"", &[0]), Ok((0, 0)));
        assert!(done(text.replace(&plan.digest, "0123").as_bytes(), &[0, 2, 4]).is_err());
    }

    #[test]
    fn columns_of_every_study_are_known_before_it_is_played() {
        for study in STUDIES {
            let verb = study_of(study, &[]).unwrap();
            let head = prepared(&verb, &Inputs::default()).and_then(|study| study.columns()).unwrap();
            assert!(head.iter().any(|column| column == "seed") && head.len() > 8, "{study}: {head:?}");
        }
        let plan = plan(PLAN).unwrap();
        let rows = plan.rows_of(0).unwrap();
        let written = csv::Reader::from_reader(&*rows).headers().unwrap().clone();
        let Run { flags, verb } = &plan.runs[0];
        let head = prepared(verb, &plan.inputs).and_then(|study| study.columns()).unwrap();
        let flags = said_by_flags(&plan.study, flags, &head).unwrap();
        assert_eq!(head_of(&flags, &head), written);
    }

    #[test]
    fn a_row_says_every_flag_of_its_run_and_the_commit() {
        let plan = plan(PLAN).unwrap();
        let rows = String::from_utf8(plan.rows_of(2).unwrap()).unwrap();
        let mut reader = csv::Reader::from_reader(rows.as_bytes());
        let head = reader.headers().unwrap().clone();
        let row = reader.records().next().unwrap().unwrap();
        let cell = |name: &str| row.get(head.iter().position(|column| column == name).unwrap()).unwrap();
        let expected =
            [("run", "2"), ("commit", COMMIT), ("workload", "zipf:1.0:1000"), ("warmup", ""), ("size", "50")];
        assert_eq!(expected.map(|(name, _)| (name, cell(name))), expected);
        // None twice: what the study says of its size is the number of objects.
        let names: BTreeSet<&str> = head.iter().collect();
        assert_eq!((names.len(), names.contains("csv")), (head.len(), false));
    }
}
