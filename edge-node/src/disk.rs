//! The disk tier of a node's store, on real files: what `cdn_core::disk` decides is carried out here.
//!
//! Looking is a matter of memory. Writing, killing and removing are done by one thread of the tier's own, so that no
//! request waits for a disk; reading is done on the runtime's blocking threads. An invalidation has replaced the label
//! file when it returns, and the rest of it follows. Nothing is synced: what was written survives the process, and what a
//! loss of power tears is found by its checksums.

mod files;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    fs::File,
    io,
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use bytes::Bytes;
use cdn_core::{
    Counter, Counters, Reason,
    cache_key::{CacheKey, KeySeed, RequestHead},
    disk::{
        self, Admitted, DiskSettings, DiskTier, Draft, Found, FoundStretch, Generation, Located, SegmentId, Ticket,
        record::{Damaged, RecordHead, RecordHeader},
    },
    invalidation::InvalidationPattern,
    range::ByteRange,
    store::{EntryDetail, EntryReport},
    vary::Vary,
};

use self::files::Directory;
use crate::{
    body::counted,
    clock::WallClock,
    config::{DiskConfig, Limits},
    object::Object,
};

/// See the module.
pub(crate) struct Disk {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
    wall: WallClock,
}

/// What was found and not yet read.
#[derive(Debug)]
pub(crate) struct OnDisk {
    found: Found,
    files: BTreeMap<SegmentId, Arc<File>>,
    _room: ReadRoom,
}

/// What was read.
#[derive(Debug)]
pub(crate) enum Restored {
    /// A response.
    Whole(RecordHead, Object),
    /// What the whole is like, and which of its bytes there are.
    Parts(RecordHead, Vec<(ByteRange, Object)>),
}

struct Shared {
    state: Mutex<State>,
    /// There is something for the writer.
    wake: Condvar,
    /// The writer has nothing to do.
    idle: Condvar,
    directory: Directory,
    counters: Arc<Counters>,
    seed: KeySeed,
    read_bytes_max: u64,
    reading: Arc<AtomicU64>,
}

struct State {
    tier: DiskTier,
    files: BTreeMap<SegmentId, Arc<File>>,
    jobs: VecDeque<Job>,
    /// The writer is at it.
    writing: bool,
    closing: bool,
    /// What is on the disk is not used any more, and nothing is written.
    given_up: bool,
}

/// A response to be written.
#[derive(Debug)]
struct Job {
    admitted: Admitted,
    body: Vec<Bytes>,
}

/// Bytes under way from the disk; they are given back when it is dropped.
#[derive(Debug)]
struct ReadRoom {
    reading: Arc<AtomicU64>,
    bytes: u64,
}

impl Drop for ReadRoom {
    fn drop(&mut self) {
        self.reading.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// Has a node that does not run begin with an empty disk tier: what happened meanwhile may have to be forgotten there.
///
/// # Errors
/// The file system refuses, or a process uses the directory: then ask that one.
pub fn empty_disk(dir: &Path) -> io::Result<()> {
    Directory::at_rest(dir)?.map_or(Ok(()), |directory| directory.remove_label())
}

impl Disk {
    /// Opens the tier and reads the heads of what is there, which takes a moment per gigabyte.
    ///
    /// # Errors
    /// The file system refuses, or another process uses the directory.
    pub(crate) fn open(
        config: &DiskConfig,
        limits: &Limits,
        object_bytes_max: u64,
        counters: &Arc<Counters>,
        wall: &WallClock,
    ) -> io::Result<Self> {
        let settings = DiskSettings {
            bytes_max: config.bytes_max,
            object_bytes_max,
            queue_bytes_max: limits.disk_queue_bytes_max,
            ..DiskSettings::default()
        };
        let directory = Directory::open(&config.dir)?;
        let label = directory.label(Generation::of(&config.generation))?;
        let seed = label.seed;
        let mut tier = DiskTier::new(settings, label, Arc::clone(counters));
        let files = directory.recover(&mut tier)?;
        tracing::info!(responses = tier.len(), bytes = tier.bytes(), "the disk tier is open");
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                tier,
                files,
                jobs: VecDeque::new(),
                writing: false,
                closing: false,
                given_up: false,
            }),
            wake: Condvar::new(),
            idle: Condvar::new(),
            directory,
            counters: Arc::clone(counters),
            seed,
            read_bytes_max: limits.disk_read_bytes_max,
            reading: Arc::default(),
        });
        let writer = std::thread::Builder::new().name("disk".into()).stack_size(256 << 10).spawn({
            let shared = Arc::clone(&shared);
            move || writer::run(&shared)
        })?;
        Ok(Self { shared, writer: Mutex::new(Some(writer)), wall: wall.clone() })
    }

    /// What keys on this tier are hashed with.
    pub(crate) fn seed(&self) -> KeySeed {
        self.shared.seed
    }

    /// The moment before a fetch.
    pub(crate) fn ticket(&self) -> Ticket {
        self.shared.lock().tier.ticket()
    }

    /// What answers a request, or all of it but a stretch. `lacking` is what memory lacks of the answer, where it has the
    /// rest. `Err` where it may not be read now.
    pub(crate) fn find(
        &self,
        key: CacheKey,
        request: &RequestHead<'_>,
        lacking: Option<ByteRange>,
    ) -> Option<Result<OnDisk, Reason>> {
        let state = self.shared.lock();
        let found = state.tier.find(self.wall.now(), key, request, lacking)?;
        let segments: Vec<_> = records_of(&found).map(|located| located.place.segment).collect();
        let file = |segment| Some((segment, Arc::clone(state.files.get(&segment)?)));
        let files = segments.into_iter().map(file).collect::<Option<_>>()?;
        drop(state);
        let bytes = match &found {
            Found::Whole(located) => located.place.bytes,
            Found::Parts(parts) => parts.stretches.iter().map(|stretch| stretch.range.length()).sum(),
        };
        Some(match self.shared.room_to_read(bytes) {
            Some(room) => Ok(OnDisk { found, files, _room: room }),
            None => {
                self.shared.counters.bump(Counter::EdgeDiskBusy);
                Err(Reason::MissDiskBusy)
            }
        })
    }

    /// Whether there is something that answers a request.
    pub(crate) fn has(&self, key: CacheKey, request: &RequestHead<'_>) -> bool {
        self.shared.lock().tier.find(self.wall.now(), key, request, None).is_some()
    }

    /// What selects the record that answers a request.
    pub(crate) fn vary(&self, request: &RequestHead<'_>) -> Option<Vary> {
        self.shared.lock().tier.vary(request.key(self.shared.seed), request.headers)
    }

    /// Reads what was found. What is damaged or cannot be read is removed; `None` where nothing is left.
    pub(crate) async fn read(&self, found: OnDisk) -> Option<Restored> {
        let shared = Arc::clone(&self.shared);
        // The task ends with the runtime at the latest, which no request survives.
        tokio::task::spawn_blocking(move || shared.read(&found)).await.ok().flatten()
    }

    /// What the request would select is replaced by a response that has just arrived.
    pub(crate) fn forget(&self, request: &RequestHead<'_>) {
        let key = request.key(self.shared.seed);
        let mut state = self.shared.lock();
        state.tier.forget(key, request.headers);
        self.shared.wake_if_needed(state);
    }

    /// The head of a response, or a part, has arrived: what that contradicts is gone.
    pub(crate) fn make_way(&self, draft: &Draft) {
        let mut state = self.shared.lock();
        state.tier.make_way(draft);
        self.shared.wake_if_needed(state);
    }

    /// All variants of an object are gone.
    pub(crate) fn forget_object(&self, key: CacheKey) {
        let mut state = self.shared.lock();
        state.tier.forget_object(key);
        self.shared.wake_if_needed(state);
    }

    /// Has a complete response, or part, written, soon and where there is room.
    pub(crate) fn write(&self, draft: Draft, body: &[Bytes]) {
        let mut state = self.shared.lock();
        if state.given_up {
            return;
        }
        // Counted where it is refused.
        if let Ok(admitted) = state.tier.admit(draft, body.iter().map(|block| block.len() as u64).sum()) {
            state.jobs.push_back(Job { admitted, body: body.to_vec() });
        }
        self.shared.wake_if_needed(state);
    }

    /// Removes what a pattern covers; how many records that were. Call it before memory is invalidated: what was read
    /// from here before is in flight or in memory then, and found there.
    pub(crate) fn invalidate(&self, distribution: &Arc<str>, pattern: &InvalidationPattern) -> u64 {
        let mut state = self.shared.lock();
        let removed = state.tier.invalidate(distribution, pattern);
        let written = match state.given_up {
            true => Ok(()),
            false => self.shared.directory.write_label(state.tier.label()),
        };
        if let Err(error) = written {
            tracing::error!(%error, "an invalidation cannot be written down: the disk tier is given up");
            self.shared.counters.bump(Counter::EdgeDiskErrors);
            self.shared.give_up(&mut state);
        }
        self.shared.wake_if_needed(state);
        removed
    }

    /// From now on nothing is kept here, and the next process finds nothing.
    pub(crate) fn give_up(&self) {
        let mut state = self.shared.lock();
        self.shared.give_up(&mut state);
        self.shared.wake_if_needed(state);
    }

    /// What lies under a path of a distribution, with any query string.
    pub(crate) fn reports(&self, distribution: &str, path: &str) -> Vec<EntryReport> {
        self.details(distribution, path).into_iter().map(|detail| detail.report).collect()
    }

    /// The same with every detail.
    pub(crate) fn details(&self, distribution: &str, path: &str) -> Vec<EntryDetail> {
        let state = self.shared.lock();
        let located = state.tier.find_path(distribution, path);
        let found: Vec<_> = located
            .into_iter()
            .filter_map(|located| Some((located, Arc::clone(state.files.get(&located.place.segment)?))))
            .collect();
        drop(state);
        let now = self.wall.now();
        let head = |(located, file): (Located, Arc<File>)| {
            let (header, record) = files::read_head(&file, self.shared.seed, located.place).ok()?;
            located.is(&header).then(|| disk::detail(now, &header, &record))
        };
        found.into_iter().filter_map(head).collect()
    }

    /// Waits until everything was carried out that was asked for.
    pub(crate) fn flush(&self) {
        let mut state = self.shared.lock();
        while state.writing || !state.jobs.is_empty() || state.tier.has_work() {
            state = self.shared.idle.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Carries out what was asked for, and ends the writer.
    pub(crate) fn close(&self) {
        self.shared.lock().closing = true;
        self.shared.wake.notify_all();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // A panic of the writer was printed where it happened.
            let _ = writer.join();
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("directory", &self.shared.directory).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock is a defect of the machine, but its tables are never half changed across calls.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_if_needed(&self, state: MutexGuard<'_, State>) {
        let needed = state.tier.has_work() || !state.jobs.is_empty();
        drop(state);
        if needed {
            self.wake.notify_one();
        }
    }

    fn give_up(&self, state: &mut State) {
        state.given_up = true;
        state.tier.clear();
        // Without a label nothing there is ever read again, whatever else can be removed.
        if let Err(error) = self.directory.remove_label() {
            tracing::error!(%error, "the label of the disk tier cannot be removed");
        }
    }

    /// One record may always be read, however large.
    fn room_to_read(&self, bytes: u64) -> Option<ReadRoom> {
        let fits = |now: u64| (now == 0 || now.saturating_add(bytes) <= self.read_bytes_max).then(|| now + bytes);
        self.reading.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).ok()?;
        Some(ReadRoom { reading: Arc::clone(&self.reading), bytes })
    }

    fn read(&self, OnDisk { found, files, .. }: &OnDisk) -> Option<Restored> {
        match found {
            Found::Whole(located) => {
                let (head, object) = self.read_from(files, located, |file| self.read_whole(file, located))?;
                Some(Restored::Whole(head, object))
            }
            Found::Parts(parts) => {
                let newest = &parts.newest;
                let head = self.read_from(files, newest, |file| {
                    let (header, head) = files::read_head(file, self.seed, newest.place)?;
                    if newest.is(&header) { Ok(head) } else { Err(Unread::Damaged) }
                })?;
                let read = |stretch: &FoundStretch| {
                    let object = self.read_from(files, &stretch.located, |file| self.read_stretch(file, stretch))?;
                    Some((stretch.range, object))
                };
                let pieces: Vec<_> = parts.stretches.iter().filter_map(read).collect();
                (!pieces.is_empty()).then_some(Restored::Parts(head, pieces))
            }
        }
    }

    /// Carries a read out. A record that is damaged, or cannot be read, is removed.
    fn read_from<T>(
        &self,
        files: &BTreeMap<SegmentId, Arc<File>>,
        located: &Located,
        read: impl FnOnce(&File) -> Result<T, Unread>,
    ) -> Option<T> {
        match read(files.get(&located.place.segment)?) {
            Ok(read) => return Some(read),
            Err(Unread::Damaged) => {}
            Err(Unread::Refused(error)) => {
                tracing::warn!(%error, segment = located.place.segment, "a record cannot be read");
                self.counters.bump(Counter::EdgeDiskErrors);
            }
        }
        self.on_damaged(located);
        None
    }

    /// Checks every byte of a record and takes it apart. The body is not copied.
    fn read_whole(&self, file: &File, located: &Located) -> Result<(RecordHead, Object), Unread> {
        let record = files::read_at(file, located.place.offset, located.place.bytes)?;
        let header = self.header(located, &record)?;
        let head = header.head(self.seed, &record)?;
        let body = header.body(self.seed, &record)?;
        let blocks = if body.is_empty() { Vec::new() } else { vec![counted(record, &self.counters).slice(body)] };
        Ok((head, Object::whole(blocks)))
    }

    /// Reads some of a record's body, and what that is checked by.
    fn read_stretch(&self, file: &File, stretch: &FoundStretch) -> Result<Object, Unread> {
        let FoundStretch { located, body_start, within, .. } = stretch;
        let start = files::read_at(file, located.place.offset, *body_start)?;
        let header = self.header(located, &start)?;
        let chunks = files::read_at(file, located.place.offset + body_start + within.first, within.length())?;
        header.check(self.seed, &start, within.first, &chunks)?;
        Ok(Object::whole(vec![counted(chunks, &self.counters)]))
    }

    /// The header of a record, if it is the one that was meant.
    fn header(&self, located: &Located, record: &[u8]) -> Result<RecordHeader, Damaged> {
        let header = RecordHeader::parse(self.seed, record)?;
        if header.live && located.is(&header) { Ok(header) } else { Err(Damaged) }
    }

    fn on_damaged(&self, located: &Located) {
        let mut state = self.lock();
        state.tier.damaged(located);
        self.wake_if_needed(state);
    }
}

/// The records that are to be read.
fn records_of(found: &Found) -> impl Iterator<Item = Located> {
    let (first, stretches) = match found {
        Found::Whole(located) => (*located, [].as_slice()),
        Found::Parts(parts) => (parts.newest, parts.stretches.as_slice()),
    };
    std::iter::once(first).chain(stretches.iter().map(|stretch| stretch.located))
}

/// Why a record was not read.
enum Unread {
    Damaged,
    Refused(io::Error),
}

impl From<Damaged> for Unread {
    fn from(Damaged: Damaged) -> Self {
        Self::Damaged
    }
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::Refused(error)
    }
}
