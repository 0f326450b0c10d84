//! `iso study`: what happens in virtual time, without a world that runs.

mod anycast;
mod balance;
mod cache;
mod collapse;
mod columns;
mod contestant;
mod estimates;
mod evictor;
mod failover;
mod frame;
mod ground;
mod inputs;
mod mapping;
mod merge;
mod page;
mod plot;
mod repeat;
mod retries;
mod routing;
mod rows;
mod sites;
mod subnets;
mod sweep;
mod workload;

pub(super) use self::{
    ground::{each, named, place_of, world_of},
    routing::kill_of,
};

use std::{
    collections::BTreeSet,
    io::{self, Read, Write},
    path::Path,
    sync::{Arc, mpsc},
    thread,
};

use anyhow::anyhow;
use cdn_core::eviction::EvictionPolicy;
use serde::Serialize;
use simulator::replay::{Replay, Tally};
use world::trace::{Record, TraceFormat};

use self::{
    evictor::Evictor,
    repeat::{RowFiles, write_lines},
};
use crate::{
    args::{Cli, ReplayArgs, StudyVerb},
    diagnose::nearest_or_all,
    policy_program::WASM,
    quantity::ByteCount,
    talk::VerbError,
    trace_file,
    verbs::{paint::table, print},
};

pub(super) fn run(cli: &Cli, verb: &StudyVerb) -> Result<(), VerbError> {
    match verb {
        StudyVerb::Routing(args) => routing::run(cli, args),
        StudyVerb::Sites(args) => sites::run(cli, args),
        StudyVerb::Failover(args) => failover::run(cli, args),
        StudyVerb::Cache(args) => cache::run(cli, args),
        StudyVerb::Mapping(args) => mapping::run(cli, args),
        StudyVerb::Subnets(args) => subnets::run(cli, args),
        StudyVerb::Anycast(args) => anycast::run(cli, args),
        StudyVerb::Estimates(args) => estimates::run(cli, args),
        StudyVerb::Collapse(args) => collapse::run(cli, args),
        StudyVerb::Balance(args) => balance::run(cli, args),
        StudyVerb::Retries(args) => retries::run(cli, args),
        StudyVerb::Run(args) => sweep::run(cli, args),
        StudyVerb::Merge(args) => merge::merge(cli, args),
        StudyVerb::Plot(args) => plot::run(cli, args),
        StudyVerb::Replay(args) => replay_trace(cli, args),
    }
}

/// A study that is checked and can begin.
trait Prepared: Sync {
    /// Plays it on one thread and writes its rows as CSV, with a head.
    fn write_rows(&self, out: &mut dyn Write) -> Result<(), VerbError>;

    /// The head of them, which is known before.
    fn columns(&self) -> Result<csv::StringRecord, VerbError>;
}

/// What a replay prints.
#[derive(Debug, Serialize)]
struct Report {
    rows: Vec<Row>,
}

/// One cache.
#[derive(Debug, Serialize)]
struct Row {
    policy: String,
    bytes: u64,
    requests: u64,
    misses: u64,
    miss_bytes: u64,
    #[serde(skip)]
    tally: Tally,
}

fn replay_trace(cli: &Cli, args: &ReplayArgs) -> Result<(), VerbError> {
    let policies = policies_of(&args.policies, Path::new("")).map_err(VerbError::Usage)?;
    let sizes: BTreeSet<u64> = args.sizes.iter().map(|size| size.0).collect();
    let caches: Vec<(Evictor, u64)> =
        sizes.iter().flat_map(|&bytes| policies.iter().map(move |policy| (policy.clone(), bytes))).collect();
    let format = format_of(args).map_err(VerbError::Usage)?;
    let trace = open(&args.trace)?;
    // A file that cannot be written is found out before the work, not after.
    let files = RowFiles::open(&args.rows)?;
    let tallies = replay_all(&caches, trace, format)
        .map_err(|error| VerbError::Usage(format!("{}: {error:#}", args.trace.display())))?;
    sound(&policies)?;
    let rows = caches.iter().zip(tallies).map(|((policy, bytes), tally)| {
        let Tally { requests, misses, miss_bytes, .. } = tally;
        Row { policy: policy.as_str().to_owned(), bytes: *bytes, requests, misses, miss_bytes, tally }
    });
    let report = Report { rows: rows.collect() };
    files.write(|out| write_lines(out, &report.rows))?;
    print(cli, &report, |report| {
        let ratio = |ratio: f64| format!("{ratio:.4}");
        let lines = report.rows.iter().map(|row| {
            vec![
                row.policy.clone(),
                ByteCount(row.bytes).to_string(),
                row.requests.to_string(),
                row.misses.to_string(),
                ratio(row.tally.miss_ratio()),
                row.miss_bytes.to_string(),
                ratio(row.tally.byte_miss_ratio()),
            ]
        });
        table(&["POLICY", "SIZE", "REQUESTS", "MISSES", "RATIO", "MISS BYTES", "BYTE RATIO"], lines)
    })
}

/// Fails where a policy of somebody else did.
fn sound(policies: &[Evictor]) -> Result<(), VerbError> {
    match policies.iter().find_map(Evictor::fault) {
        Some(why) => Err(VerbError::Failed(anyhow!(why))),
        None => Ok(()),
    }
}

/// Policies by their names, each once; `all` is all of ours, `wasm:FILE` one of somebody else, looked for from `dir` on.
fn policies_of(names: &[String], dir: &Path) -> Result<Vec<Evictor>, String> {
    let mut policies = Vec::new();
    for name in names {
        if let Some(file) = name.trim().strip_prefix(WASM) {
            policies.push(Evictor::wasm(file, dir)?);
            continue;
        }
        let name = name.trim().to_ascii_lowercase();
        let named =
            EvictionPolicy::ALL.into_iter().filter(|policy| name == "all" || plain(policy.as_str()) == plain(&name));
        let before = policies.len();
        policies.extend(named.map(Evictor::Own));
        if policies.len() == before {
            let hint = nearest_or_all(&name, EvictionPolicy::ALL.iter().map(|policy| policy.as_str()).chain(["all"]));
            return Err(with_hint(format!("no policy {name:?}"), hint));
        }
    }
    let mut seen = BTreeSet::new();
    policies.retain(|policy| seen.insert(policy.as_str().to_owned()));
    Ok(policies)
}

/// `S3-FIFO`, `s3fifo` and `s3-fifo` are one.
fn plain(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_')).collect()
}

fn format_of(args: &ReplayArgs) -> Result<TraceFormat, String> {
    let names = TraceFormat::ALL.map(TraceFormat::as_str);
    if let Some(written) = &args.format {
        let named = TraceFormat::ALL.into_iter().find(|format| format.as_str().eq_ignore_ascii_case(written));
        return named.ok_or_else(|| with_hint(format!("no format {written:?}"), nearest_or_all(written, names)));
    }
    trace_file::format_of(&args.trace).ok_or_else(|| {
        let name = args.trace.to_string_lossy();
        format!("the name {name:?} does not say the trace's format; add --format {}", names.join(" or --format "))
    })
}

fn with_hint(what: String, hint: Option<String>) -> String {
    hint.map_or_else(|| what.clone(), |hint| format!("{what}; {hint}"))
}

/// The bytes of a trace.
fn open(path: &Path) -> Result<Box<dyn Read>, VerbError> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(io::stdin().lock()));
    }
    trace_file::open(path).map_err(VerbError::Usage)
}

/// Pieces that wait for a thread that is behind: memory does not grow with the trace.
const PIECES_AHEAD: usize = 4;

/// Reads the trace once and plays it through all caches, spread over the cores. What they miss, in their order.
fn replay_all(caches: &[(Evictor, u64)], trace: Box<dyn Read>, format: TraceFormat) -> anyhow::Result<Vec<Tally>> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(caches.len());
    thread::scope(|scope| {
        let (mut senders, mut players) = (Vec::new(), Vec::new());
        for nth in 0..threads {
            let (sender, pieces) = mpsc::sync_channel::<Arc<Vec<Record>>>(PIECES_AHEAD);
            senders.push(sender);
            players.push(scope.spawn(move || {
                let mine = caches.iter().skip(nth).step_by(threads);
                let mut runs: Vec<Box<dyn Replay>> = mine.map(|(policy, bytes)| policy.begin(*bytes)).collect();
                for piece in pieces {
                    runs.iter_mut().for_each(|run| run.feed(&piece));
                }
                runs.iter().map(|run| run.tally()).collect::<Vec<_>>()
            }));
        }
        trace_file::each_piece(trace, format, |records| {
            let records = Arc::new(records);
            let sent = senders.iter().try_for_each(|sender| sender.send(Arc::clone(&records)));
            sent.map_err(|_| anyhow!("a thread of the replay has ended early"))
        })?;
        drop(senders);
        let by_thread: Vec<Vec<Tally>> = players
            .into_iter()
            .map(|player| player.join().map_err(|_| anyhow!("a thread of the replay has failed")))
            .collect::<Result<_, _>>()?;
        let tally = |nth: usize| by_thread.get(nth % threads).and_then(|tallies| tallies.get(nth / threads)).copied();
        Ok((0..caches.len()).filter_map(tally).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_go_by_name_however_they_are_written_and_each_counts_once() {
        let named =
            |names: &[&str]| policies_of(&names.iter().map(ToString::to_string).collect::<Vec<_>>(), Path::new(""));
        assert_eq!(
            named(&["LRU", "s3fifo", "lru"]),
            Ok([EvictionPolicy::Lru, EvictionPolicy::S3Fifo].map(Evictor::Own).to_vec())
        );
        assert_eq!(named(&["all", "lru"]).unwrap().len(), EvictionPolicy::ALL.len());
        assert_eq!(named(&["sive"]).unwrap_err(), "no policy \"sive\"; did you mean `sieve`?");
    }

    #[test]
    fn every_cache_gets_its_own_tally_whatever_the_number_of_threads() {
        let trace: String = (0..2_000_u64).map(|n| format!("{n},{},{}\n", n * n % 97, n % 97 % 5 + 1)).collect();
        let both = |policy| [(Evictor::Own(policy), 20), (Evictor::Own(policy), 60)];
        let caches: Vec<_> = EvictionPolicy::ALL.into_iter().flat_map(both).collect();
        let got = replay_all(&caches, Box::new(io::Cursor::new(trace.clone())), TraceFormat::Csv).unwrap();
        let mut records = Vec::new();
        world::trace::TraceReader::new(TraceFormat::Csv).feed(trace.as_bytes(), &mut records).unwrap();
        let alone = caches.iter().map(|(policy, bytes)| {
            let mut run = policy.begin(*bytes);
            run.feed(&records);
            run.tally()
        });
        assert_eq!(got, alone.collect::<Vec<_>>());
        assert!(got.iter().all(|tally| tally.requests == 2_000 && tally.misses >= 49));
    }
}
