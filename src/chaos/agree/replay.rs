//! The decisions of a live run, made again from what they were made of.
//!
//! Routers: every answer that a router gives is in its query log, with an id that says from which snapshot and for whom it was
//! made. Whoever follows the log has the router make each of them once more by that id ([`cdn_core::routing`] explains
//! them without the tables that answers are looked up in), and holds what comes out against what was answered.
//!
//! Edges and the caches behind them: each writes down all that its machines were told and what they said. When the run is
//! over the same is told to fresh machines here ([`edge_node::Replay`]).

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use cdn_core::{NodeId, Role, distribution::Distribution};
use edge_node::{Replay, Tally};
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::Cluster,
    cluster_file::{ClusterFile, DecisionLogFile, QueryLogFile},
    hands::Admin,
    quantity::ByteCount,
    state::WorldDir,
};

/// How often logs are looked at: decisions of a router that is killed are asked for before most of them are gone.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// What routers write last is in the file by then.
const FLUSHED_WITHIN: Duration = Duration::from_millis(400);
/// Decisions that a router is asked for at the same time.
const ASKED_AT_ONCE: usize = 4;
/// A log is not begun anew while it is followed, and has room for every line.
const LOG_BYTES: u64 = 8 << 30;
const LOG_LINES: usize = 1 << 16;
/// Lines of a decision log that may wait: those of a second, and of many when the machine is slow.
const DECISIONS_WAITING: usize = 1 << 16;

/// What came of making decisions again, by whose they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replayed {
    /// Of routers; lost are those of one that had ended.
    pub(crate) routes: Tally,
    /// Of the stores of edges and caches behind them.
    pub(crate) cache: Tally,
    /// Of those on the way to origins.
    pub(crate) origin: Tally,
    /// The first that came out otherwise, or a log that could not be read.
    pub(crate) first: Option<String>,
}

impl Replayed {
    /// Decisions that came out otherwise.
    pub(crate) fn differing(&self) -> u64 {
        self.routes.differing + self.cache.differing + self.origin.differing
    }
}

/// Has the routers and caches of a world write down every decision.
pub(super) fn record_all(file: &mut ClusterFile) {
    let bytes = Some(ByteCount(LOG_BYTES));
    file.router.dns.query_log = Some(QueryLogFile { share: 1.0, bytes, queue: Some(LOG_LINES) });
    file.edge.decision_log = Some(DecisionLogFile { bytes, queue: Some(DECISIONS_WAITING) });
}

/// A decision as it was written down.
#[derive(Debug, Deserialize)]
struct Recorded {
    decision: String,
    #[serde(flatten)]
    made: Made,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Made {
    /// Best first.
    pops: Vec<String>,
    reason: String,
}

/// The part of an explanation that says what was decided.
#[derive(Debug, Deserialize)]
struct Explained {
    chosen: Vec<Chosen>,
}

#[derive(Debug, Deserialize)]
struct Chosen {
    pop: String,
    reason: String,
}

impl Explained {
    fn made(self) -> Made {
        let reason = self.chosen.first().map(|first| first.reason.clone()).unwrap_or_default();
        Made { pops: self.chosen.into_iter().map(|chosen| chosen.pop).collect(), reason }
    }
}

/// Where a run writes down what it decides, and what its caches may serve meanwhile.
#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) logs: PathBuf,
    pub(crate) served: Vec<Arc<Distribution>>,
}

/// Follows the query logs until `over`, and a last time then. Decision logs are read in the end: they need nobody who runs.
pub(crate) async fn follow(cluster: Arc<Cluster>, admin: Admin, records: Records, over: CancellationToken) -> Replayed {
    let Records { logs, served } = records;
    let routers = cluster.nodes_with(Role::Router).map(|plan| plan.id.clone());
    let mut tails: Vec<Tail> = routers.map(|router| Tail::new(router, &logs)).collect();
    let (mut replayed, mut known) = (Replayed::default(), BTreeMap::new());
    loop {
        let is_over = over.run_until_cancelled(tokio::time::sleep(LOOK_INTERVAL)).await.is_none();
        if is_over {
            tokio::time::sleep(FLUSHED_WITHIN).await;
        }
        for tail in &mut tails {
            let recorded = tail.read().unwrap_or_else(|error| {
                replayed.first.get_or_insert_with(|| format!("{}: {error}", tail.path.display()));
                Vec::new()
            });
            make_again(&cluster, &admin, &tail.router, &recorded, &mut known).await;
            recorded.iter().for_each(|recorded| replayed.take(recorded, known.get(&recorded.decision)));
        }
        if is_over {
            break;
        }
    }
    let caches = [Role::Edge, Role::Regional, Role::Shield].into_iter().flat_map(|role| cluster.nodes_with(role));
    let paths: Vec<PathBuf> = caches.map(|plan| WorldDir::decision_log(&logs, &plan.id)).collect();
    // It takes a while, and hardly waits for anything.
    let caches = tokio::task::spawn_blocking(move || {
        paths.iter().for_each(|path| replayed.take_caches(path, &served));
        replayed
    });
    caches.await.unwrap_or_else(|error| Replayed {
        first: Some(format!("decisions of caches were not made again: {error}")),
        ..Replayed::default()
    })
}

impl Replayed {
    fn take(&mut self, recorded: &Recorded, again: Option<&Made>) {
        let Some(again) = again else {
            self.routes.lost += 1;
            return;
        };
        self.routes.decisions += 1;
        if *again != recorded.made {
            self.routes.differing += 1;
            let Recorded { decision, made } = recorded;
            self.first.get_or_insert_with(|| format!("{decision}: answered {made:?}, made again {again:?}"));
        }
    }

    /// Makes the decisions of one cache again.
    fn take_caches(&mut self, path: &Path, served: &[Arc<Distribution>]) {
        let mut replay = Replay::new(served.iter().cloned());
        if let Err(error) = read_into(&mut replay, path) {
            self.first.get_or_insert_with(|| format!("{}: {error}", path.display()));
        }
        let edge_node::Replayed { cache, origin, first } = replay.replayed();
        (self.cache, self.origin) = (self.cache.and(*cache), self.origin.and(*origin));
        if let Some(first) = first {
            self.first.get_or_insert_with(|| format!("{}: {first}", path.display()));
        }
    }
}

fn read_into(replay: &mut Replay, path: &Path) -> io::Result<()> {
    for line in BufReader::new(File::open(path)?).split(b'\n') {
        replay.line(&line?);
    }
    Ok(())
}

/// Has a router make those decisions again that it was not asked for yet. The same question is asked once, since ids say
/// all that a decision depends on.
async fn make_again(
    cluster: &Cluster,
    admin: &Admin,
    router: &NodeId,
    recorded: &[Recorded],
    known: &mut BTreeMap<String, Made>,
) {
    let mut new: Vec<&str> = recorded.iter().map(|recorded| recorded.decision.as_str()).collect();
    new.retain(|id| !known.contains_key(*id));
    new.sort_unstable();
    new.dedup();
    let ask = async |id: String| {
        let text = admin.text(cluster, router, "/replay", &[("id", Some(id.clone()))]).await.ok()?;
        Some((id, serde_json::from_str::<Explained>(&text).ok()?.made()))
    };
    let asked = stream::iter(new.into_iter().map(str::to_owned)).map(ask).buffer_unordered(ASKED_AT_ONCE);
    known.extend(asked.filter_map(async |made| made).collect::<Vec<_>>().await);
}

/// A log that grows.
#[derive(Debug)]
struct Tail {
    router: NodeId,
    path: PathBuf,
    read: u64,
    /// The beginning of a line that is not whole yet.
    rest: Vec<u8>,
}

impl Tail {
    fn new(router: NodeId, logs: &Path) -> Self {
        let path = logs.join(format!("{router}.queries.jsonl"));
        Self { router, path, read: 0, rest: Vec::new() }
    }

    /// The decisions that were written since the last look.
    fn read(&mut self) -> io::Result<Vec<Recorded>> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            opened => opened?,
        };
        file.seek(SeekFrom::Start(self.read))?;
        self.read += file.read_to_end(&mut self.rest)? as u64;
        let whole = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines: Vec<u8> = self.rest.drain(..whole).collect();
        // Lines without a decision are of questions that nobody was routed for.
        Ok(lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn recorded(decision: &str, pops: &[&str]) -> Recorded {
        let pops = pops.iter().map(|&pop| pop.to_owned()).collect();
        Recorded { decision: decision.to_owned(), made: Made { pops, reason: "route_latency".to_owned() } }
    }

    #[test]
    fn a_log_is_read_line_by_line_as_it_grows() {
        let dir = tempfile::tempdir().unwrap();
        let mut tail = Tail::new(NodeId::new(Role::Router, "iad"), dir.path());
        assert!(tail.read().unwrap().is_empty(), "nothing is written yet");
        let mut file = File::create(&tail.path).unwrap();
        let line = r#"{"time_s":1.5,"decision":"iad-1-2-0-c6120300s24","pops":["FRA"],"reason":"route_latency"}"#;
        write!(file, "{{\"rcode\":3}}\n{line}\n{}", &line[..20]).unwrap();
        let read = tail.read().unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].made, recorded("", &["FRA"]).made);
        assert!(tail.read().unwrap().is_empty());
        writeln!(file, "{}", &line[20..]).unwrap();
        assert_eq!(tail.read().unwrap()[0].decision, "iad-1-2-0-c6120300s24");
    }

    #[test]
    fn what_comes_out_otherwise_is_counted_apart_from_what_is_lost() {
        let explained =
            r#"{"chosen":[{"pop":"FRA","reason":"route_latency"},{"pop":"AMS","reason":"route_runner_up"}]}"#;
        let again = serde_json::from_str::<Explained>(explained).unwrap().made();
        let mut replayed = Replayed::default();
        replayed.take(&recorded("a", &["FRA", "AMS"]), Some(&again));
        replayed.take(&recorded("b", &["AMS", "FRA"]), Some(&again));
        replayed.take(&recorded("c", &["FRA"]), None);
        assert_eq!(replayed.routes, Tally { decisions: 2, differing: 1, lost: 1 });
        assert!(replayed.first.unwrap().starts_with("b: answered"));
    }
}
