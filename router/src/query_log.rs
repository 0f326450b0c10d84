//! The query log: a sample of questions with their answers, as JSON lines in a file.
//!
//! Workers hand over the bytes of a message and go on; a thread of its own reads and writes them. Where its queue is full,
//! lines are left out and counted: no question waits for a file.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write as _},
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, SystemTime},
};

use cdn_core::{
    Counter, Counters, PopCode,
    routing::{Snapshot, Subject},
};
use serde::Serialize;

use crate::{config::QueryLogOptions, decisions::Namer, ecs, exchange::Transport, respond::Sent, walk::Walk, wire};

/// How long a line may stay in memory when nothing follows it.
const FLUSH_INTERVAL: Duration = Duration::from_millis(200);

/// What is known when an answer has been written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'e> {
    pub(crate) peer: IpAddr,
    pub(crate) transport: Transport,
    /// What the answer was made from.
    pub(crate) snapshot: &'e Snapshot,
    pub(crate) message: &'e [u8],
    pub(crate) answer: Option<(Sent, &'e [u8])>,
    /// Time from reading the message to having written the answer.
    pub(crate) took: Duration,
}

/// The workers' end. The thread ends with the last of it.
#[derive(Debug)]
pub(crate) struct QueryLog {
    /// Of 2^64 turns, how many are written.
    threshold: u64,
    queue: SyncSender<Owned>,
    counters: Arc<Counters>,
}

impl QueryLog {
    /// Opens the file and starts the thread.
    pub(crate) fn start(
        options: QueryLogOptions,
        node: String,
        namer: Namer,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        // A float that is too large becomes the largest integer.
        let threshold = (options.share * 2f64.powi(64)) as u64;
        let (queue, entries) = sync_channel(options.queue_max.max(1));
        let log = LogFile::open(options.path, options.bytes_max)?;
        let counted = Arc::clone(&counters);
        thread::Builder::new().name("query-log".into()).spawn(move || run(log, &node, &namer, &entries, &counted))?;
        Ok(Self { threshold, queue, counters })
    }

    /// Whether the message of this turn is in the sample.
    pub(crate) const fn is_wanted(&self, turn: u64) -> bool {
        self.threshold == u64::MAX || mixed(turn) < self.threshold
    }

    /// Hands an entry over, or leaves it out.
    pub(crate) fn write(&self, entry: Entry<'_>) {
        let owned = Owned {
            at: SystemTime::now(),
            peer: entry.peer,
            transport: entry.transport,
            version: entry.snapshot.version(),
            message: entry.message.into(),
            code: entry.answer.map(|(sent, _)| sent.code.number()),
            decision: entry.answer.and_then(|(sent, _)| Decision::of(entry.snapshot, sent)),
            answer: entry.answer.map(|(_, answer)| answer.into()),
            took: entry.took,
        };
        if self.queue.try_send(owned).is_err() {
            self.counters.bump(Counter::RouterQueryLogDropped);
        }
    }
}

/// The finalizer of SplitMix64: spreads neighbouring numbers over all 64 bits, so that a sample has no period.
const fn mixed(turn: u64) -> u64 {
    let mut bits = turn.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[derive(Debug)]
struct Owned {
    at: SystemTime,
    peer: IpAddr,
    transport: Transport,
    version: u64,
    message: Box<[u8]>,
    code: Option<u16>,
    answer: Option<Box<[u8]>>,
    decision: Option<Decision>,
    took: Duration,
}

/// Which edges were chosen, and why.
#[derive(Debug)]
struct Decision {
    subject: Subject,
    policy: &'static str,
    pops: Vec<PopCode>,
    reason: &'static str,
}

impl Decision {
    fn of(snapshot: &Snapshot, sent: Sent) -> Option<Self> {
        let (subject, answer) = sent.decided?;
        let Subject { host, client, turn, .. } = subject;
        let turn = snapshot.turn(host, turn);
        let pops = snapshot.answers().get(answer.index())?.iter();
        Some(Self {
            subject: Subject { turn, ..subject },
            policy: snapshot.policy(host).as_str(),
            pops: pops.filter_map(|pop| Some(snapshot.pops().get(pop.index())?.code)).collect(),
            reason: snapshot.reason(host, client, turn).as_str(),
        })
    }
}

fn run(mut log: LogFile, node: &str, namer: &Namer, entries: &Receiver<Owned>, counters: &Counters) {
    loop {
        match entries.recv_timeout(FLUSH_INTERVAL) {
            Ok(entry) => {
                let line = Line::new(node, namer, &entry);
                let written = serde_json::to_vec(&line).map_err(io::Error::other).and_then(|line| log.write(&line));
                counters.bump(match written {
                    Ok(()) => Counter::RouterQueryLogLines,
                    Err(_) => Counter::RouterQueryLogDropped,
                });
            }
            // What cannot be flushed is tried again with the next line.
            Err(RecvTimeoutError::Timeout) => drop(log.file.flush()),
            Err(RecvTimeoutError::Disconnected) => return drop(log.file.flush()),
        }
    }
}

/// A file that begins anew when it is large enough, keeping the one before.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: BufWriter<File>,
    bytes: u64,
    bytes_max: u64,
}

impl LogFile {
    fn open(path: PathBuf, bytes_max: u64) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path, file: BufWriter::new(file), bytes, bytes_max })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.bytes > 0 && self.bytes + line.len() as u64 >= self.bytes_max {
            self.file.flush()?;
            let mut kept = self.path.clone().into_os_string();
            kept.push(".1");
            std::fs::rename(&self.path, kept)?;
            *self = Self::open(std::mem::take(&mut self.path), self.bytes_max)?;
        }
        self.file.write_all(line)?;
        self.file.write_all(b"\n")?;
        self.bytes += line.len() as u64 + 1;
        Ok(())
    }
}

/// A line. What a malformed message does not have is left out.
#[derive(Debug, Serialize)]
struct Line<'l> {
    /// Seconds since 1970.
    time_s: f64,
    node: &'l str,
    transport: &'static str,
    client: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    subnet: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope_len: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    wanted: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rcode: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    truncated: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answers: Option<u16>,
    bytes_in: usize,
    bytes_out: usize,
    took_us: f64,
    snapshot_version: u64,
    #[serde(flatten)]
    decision: Option<DecisionPart>,
}

/// What a line has where edges were chosen.
#[derive(Debug, Serialize)]
struct DecisionPart {
    /// By which it can be told again.
    decision: String,
    policy: &'static str,
    /// Best first.
    pops: Vec<String>,
    reason: &'static str,
}

impl<'l> Line<'l> {
    fn new(node: &'l str, namer: &Namer, entry: &Owned) -> Self {
        let since = entry.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let question = wire::first_question(&entry.message);
        let answer = entry.answer.as_deref().and_then(|answer| answer.first_chunk::<{ wire::HEADER }>());
        let echoed = entry.answer.as_deref().and_then(|answer| ecs::echoed(Walk::through(answer)?.opt?));
        Self {
            time_s: (since.as_secs_f64() * 1e6).round() / 1e6,
            node,
            transport: entry.transport.as_str(),
            client: entry.peer,
            subnet: echoed.map(|(net, _)| net.to_string()),
            scope_len: echoed.map(|(_, scope_len)| scope_len),
            name: question.as_ref().map(|question| question.name.clone()),
            wanted: question.as_ref().map(|question| question.wanted),
            class: question.as_ref().map(|question| question.class),
            rcode: entry.code,
            truncated: answer.map(|header| header[2] & 0b10 != 0),
            answers: answer.map(|header| u16::from_be_bytes([header[6], header[7]])),
            bytes_in: entry.message.len(),
            bytes_out: entry.answer.as_deref().map_or(0, <[u8]>::len),
            took_us: (entry.took.as_secs_f64() * 1e9).round() / 1e3,
            snapshot_version: entry.version,
            decision: entry.decision.as_ref().map(|decision| DecisionPart {
                decision: namer.id(entry.version, decision.subject).to_string(),
                policy: decision.policy,
                pops: decision.pops.iter().map(ToString::to_string).collect(),
                reason: decision.reason,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use cdn_core::{
        Instant,
        geo::GeoMap,
        routing::{Planner, RoutingOptions},
    };

    use super::*;

    #[test]
    fn the_sample_has_its_share() {
        for share in [0.0, 0.01, 0.25, 1.0] {
            let threshold = (share * 2f64.powi(64)) as u64;
            let (queue, _entries) = sync_channel(1);
            let log = QueryLog { threshold, queue, counters: Arc::default() };
            let wanted = (0..100_000).filter(|turn| log.is_wanted(*turn)).count();
            assert!((wanted as f64 - share * 1e5).abs() < 400.0, "{wanted} for {share}");
        }
    }

    #[test]
    fn a_full_queue_leaves_lines_out_and_counts_them() {
        let (queue, entries) = sync_channel(1);
        let log = QueryLog { threshold: u64::MAX, queue, counters: Arc::default() };
        let mut planner = Planner::new(Instant::ZERO, RoutingOptions::default(), GeoMap::build([]), vec![], vec![]);
        let entry = Entry {
            peer: [198, 18, 1, 9].into(),
            transport: Transport::Udp,
            snapshot: &planner.build_snapshot(Instant::ZERO),
            message: &[0; 12],
            answer: None,
            took: Duration::ZERO,
        };
        for _ in 0..3 {
            log.write(entry);
        }
        assert_eq!(log.counters.value(Counter::RouterQueryLogDropped), 2);
        assert_eq!(entries.try_iter().count(), 1);
    }
}
