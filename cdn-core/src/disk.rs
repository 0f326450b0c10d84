//! The disk tier of a node's store: what is kept there, where, and what has to go.
//!
//! A log of records ([`record`]) in segments: files that only grow, and go as a whole. The oldest segment goes when room
//! is needed, so that a disk is written in long pieces and no record is ever moved; what is asked for often lies in memory
//! anyway. A record holds a whole response, or a part of one. A segment goes before its time once nothing in it is alive. A
//! record that is replaced, forgotten or invalidated is killed in place. That an invalidated one stays dead is written down
//! first, in the [`Label`]; a process that dies in the moment between a replacement and the kill finds the former response again, and uses it as long as
//! that one itself allows. Decides where the next record stands, which records may be used and what is to be done
//! to files ([`Work`]); does none of it. Knows neither files nor threads, and no clock.

mod aged;
mod invalidations;
mod label;
mod parts;
pub mod record;
mod report;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    ops::RangeInclusive,
    sync::Arc,
};

use http::{HeaderMap, Method};

pub use self::{
    aged::aged,
    label::{FORMAT, Generation, Label},
    parts::{FoundParts, FoundStretch},
    report::detail,
};
use self::{
    invalidations::{Invalidation, Invalidations},
    parts::Part,
    record::{RecordHead, RecordHeader, record_bytes},
};
use crate::{
    Counter, Counters, WallTime,
    cache_key::{CacheKey, KeySeed, RequestHead},
    invalidation::InvalidationPattern,
    range::ByteRange,
    vary::Vary,
};

/// The limits of a tier. Each has a counter that moves when it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSettings {
    /// Bytes of all files. When full, the oldest segment goes (`edge_disk_evictions_total`). Default 2 GiB.
    pub bytes_max: u64,
    /// The largest body that is written, within a quarter of all bytes (`edge_disk_too_large_total`). Default 64 MiB.
    pub object_bytes_max: u64,
    /// Bytes that may wait to be written; at least one response always may (`edge_disk_queue_full_total`). Default
    /// 64 MiB.
    pub queue_bytes_max: u64,
    /// Responses under one key that differ by `Vary`; the oldest goes (`edge_variants_full_total`). Default 64.
    pub variants_max: usize,
    /// Parts of one response; the oldest goes (`edge_parts_full_total`). Default 1,024.
    pub parts_max: usize,
    /// Invalidations that are remembered. One more, while the oldest is still being carried out, empties the tier
    /// (`edge_disk_forgotten_total`). Default 128.
    pub invalidations_max: usize,
    /// Each record takes some 300 bytes of memory, so there is at most one for so many bytes of the tier; more evict the
    /// oldest segment (`edge_disk_evictions_total`). Default 4 KiB.
    pub bytes_per_record_min: u64,
}

impl Default for DiskSettings {
    fn default() -> Self {
        Self {
            bytes_max: 2 << 30,
            object_bytes_max: 64 << 20,
            queue_bytes_max: 64 << 20,
            variants_max: 64,
            parts_max: 1_024,
            invalidations_max: 128,
            bytes_per_record_min: 4 << 10,
        }
    }
}

/// Names a segment; those that were begun later have higher numbers.
pub type SegmentId = u64;

/// Names one response: its key, and the hash of the request's values of what its `Vary` names.
type CopyId = (CacheKey, u128);

/// Names one record: its response, and which part of that it holds, by first and last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RecordId {
    copy: CopyId,
    part: Option<(u64, u64)>,
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The segment.
    pub segment: SegmentId,
    /// Bytes before it there.
    pub offset: u64,
    /// Its own bytes.
    pub bytes: u64,
}

/// A record that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    id: RecordId,
    /// Its place in the order of everything that happened; the record says the same of itself.
    pub sequence: u64,
    /// Where it stands.
    pub place: Place,
}

/// What answers a request.
#[derive(Clone, Debug)]
pub enum Found {
    /// A whole response.
    Whole(Located),
    /// Parts of one.
    Parts(FoundParts),
}

/// A moment in the order of invalidations: draw it before the origin is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

/// A complete response, or a part of one, that might be written.
#[derive(Clone, Debug)]
pub struct Draft {
    id: RecordId,
    ticket: Ticket,
    head: RecordHead,
}

/// Why a response is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotWritten {
    /// It was invalidated after it was asked for.
    Invalidated,
    /// It is larger than [`DiskSettings::object_bytes_max`], or than a quarter of the tier.
    TooLarge,
    /// Too many bytes wait.
    QueueFull,
}

/// A response that waits to be written.
#[derive(Debug)]
#[must_use = "it counts in the queue until `landed` or `failed` is told"]
pub struct Admitted {
    id: RecordId,
    number: u64,
    bytes: u64,
    head: RecordHead,
}

/// Where a response is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Where.
    pub place: Place,
    /// The number that it gets.
    pub sequence: u64,
}

/// Something to be done to files, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Overwrite the state of the record at this place with [`record::DEAD`].
    Kill(Place),
    /// Remove this segment.
    Remove(SegmentId),
}

/// What is known of a record without reading it.
#[derive(Debug)]
struct Kept {
    sequence: u64,
    place: Place,
    about: About,
}

#[derive(Debug)]
struct Queued {
    number: u64,
    about: About,
}

/// What decides about a record.
#[derive(Debug)]
struct About {
    distribution: Arc<str>,
    uri: Box<str>,
    vary: Vary,
    /// `None` for a whole response.
    part: Option<Box<Part>>,
}

#[derive(Debug, Default)]
struct Segment {
    bytes: u64,
    /// How many of its records may be used.
    live: usize,
    /// What was ever written into it.
    ids: Vec<RecordId>,
}

/// See the module.
///
/// Calling order: [`new`](Self::new) with the label that was found; [`recover`](Self::recover) for each segment that was
/// found, in any order; then [`recovered`](Self::recovered). To write: [`ticket`](Self::ticket), [`admit`](Self::admit), [`place`](Self::place), and
/// exactly one of [`landed`](Self::landed) and [`failed`](Self::failed). After every call
/// [`poll_work`](Self::poll_work) says what is to be done to files. After [`invalidate`](Self::invalidate) the
/// [`label`](Self::label) is to be replaced before anybody is told that it was carried out.
#[derive(Debug)]
pub struct DiskTier {
    settings: DiskSettings,
    counters: Arc<Counters>,
    label: Label,
    label_bytes: u64,
    /// The next number.
    next: u64,
    /// Not everything that was found was told yet.
    recovering: bool,
    records: BTreeMap<RecordId, Kept>,
    segments: BTreeMap<SegmentId, Segment>,
    /// The segment that grows.
    active: Option<SegmentId>,
    /// Bytes of all segments.
    bytes: u64,
    queued: BTreeMap<RecordId, Queued>,
    queued_bytes: u64,
    /// Records that have a place and have not landed.
    under_way: usize,
    work: VecDeque<Work>,
}

impl Draft {
    /// `None` for what is not worth a place: errors, which live for seconds, and responses to HEAD, which have no body.
    pub fn new(seed: KeySeed, ticket: Ticket, request: &RequestHead<'_>, head: RecordHead) -> Option<Self> {
        let status = head.head.status();
        if status.is_client_error() || status.is_server_error() || *request.method == Method::HEAD {
            return None;
        }
        let variant = head.vary.variant(seed, request.headers)?;
        Some(Self { id: RecordId::new((request.key(seed), variant), &head), ticket, head })
    }
}

impl RecordId {
    fn new(copy: CopyId, head: &RecordHead) -> Self {
        Self { copy, part: head.part.map(|part| (part.part.first, part.part.last)) }
    }

    /// All that there may be from one variant to another.
    const fn between(first: CopyId, last: CopyId) -> RangeInclusive<Self> {
        Self { copy: first, part: None }..=Self { copy: last, part: Some((u64::MAX, u64::MAX)) }
    }

    /// All that there may be under a key.
    const fn under(key: CacheKey) -> RangeInclusive<Self> {
        Self::between((key, 0), (key, u128::MAX))
    }
}

impl About {
    fn new(head: RecordHead) -> Self {
        let part = Part::of(&head);
        Self { distribution: head.distribution, uri: head.uri, vary: head.vary, part }
    }
}

impl Admitted {
    /// What its record says beside the body.
    pub const fn head(&self) -> &RecordHead {
        &self.head
    }

    /// What its record begins with; `blocks` is the body.
    pub fn preamble(&self, seed: KeySeed, placement: &Placement, blocks: &[&[u8]]) -> Vec<u8> {
        record::preamble(seed, self.id.copy, placement.sequence, &self.head, blocks)
    }
}

impl Located {
    /// Whether this is the header of the record that was meant.
    pub fn is(&self, header: &RecordHeader) -> bool {
        header.sequence == self.sequence
            && (header.key, header.variant) == self.id.copy
            && header.record_bytes() == self.place.bytes
    }
}

impl DiskTier {
    /// A tier with this label, about which nothing else is known yet.
    pub fn new(settings: DiskSettings, label: Label, counters: Arc<Counters>) -> Self {
        let next = label.invalidations.last().max(label.invalidations.dead_up_to()) + 1;
        let label_bytes = label.to_bytes().len() as u64;
        Self {
            settings,
            counters,
            label,
            label_bytes,
            next,
            recovering: true,
            records: BTreeMap::new(),
            segments: BTreeMap::new(),
            active: None,
            bytes: 0,
            queued: BTreeMap::new(),
            queued_bytes: 0,
            under_way: 0,
            work: VecDeque::new(),
        }
    }

    /// What a new tier is labelled with.
    pub fn blank_label(generation: Generation, seed: KeySeed) -> Label {
        Label { generation, seed, invalidations: Invalidations::default() }
    }

    /// The label as it is now.
    pub const fn label(&self) -> &Label {
        &self.label
    }

    /// Bytes of label and segments.
    pub const fn bytes(&self) -> u64 {
        self.bytes + self.label_bytes
    }

    /// How many records may be used.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether none may be used.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// A segment of `bytes` bytes was found, of which `read` hands out so many from an offset on, or as many as there
    /// are. Returns where its whole records end: cut the rest off, it is torn or damaged.
    ///
    /// # Errors
    /// Those of `read`; the segment is not taken in then.
    pub fn recover<E>(
        &mut self,
        segment: SegmentId,
        bytes: u64,
        mut read: impl FnMut(u64, usize) -> Result<Vec<u8>, E>,
    ) -> Result<u64, E> {
        /// Enough for header and head of nearly every record.
        const GULP_BYTES: usize = 4 << 10;
        let seed = self.label.seed;
        let mut found = Vec::new();
        let mut offset = 0;
        while offset < bytes {
            let mut start = read(offset, GULP_BYTES)?;
            let Ok(header) = RecordHeader::parse(seed, &start) else { break };
            let place = Place { segment, offset, bytes: header.record_bytes() };
            if place.bytes > bytes - offset {
                break;
            }
            if header.live && start.len() < header.head_end() {
                start = read(offset, header.head_end())?;
            }
            found.push((place, header, header.live.then(|| header.head(seed, &start))));
            offset += place.bytes;
        }
        if offset < bytes {
            self.counters.bump(Counter::EdgeDiskDamaged);
        }
        self.segments.entry(segment).or_default().bytes = offset;
        self.bytes += offset;
        for (place, header, head) in found {
            self.next = self.next.max(header.sequence + 1);
            match head {
                Some(Ok(head)) => self.recover_record(place, &header, head),
                Some(Err(_)) => self.counters.bump(Counter::EdgeDiskDamaged),
                None => {}
            }
        }
        Ok(offset)
    }

    /// Everything that was found was told.
    pub fn recovered(&mut self) {
        let growing = self.segments.last_key_value().filter(|(_, last)| last.bytes < self.segment_bytes());
        self.active = growing.map(|(&segment, _)| segment);
        self.recovering = false;
        let idle: Vec<_> = self.segments.keys().copied().collect();
        for segment in idle {
            self.remove_if_idle(segment);
        }
        self.make_room(0);
        self.count();
    }

    /// The moment before a fetch.
    pub fn ticket(&self) -> Ticket {
        Ticket(self.label.invalidations.last())
    }

    /// What answers a request with this key, or nearly: the latest, where several do. `lacking` is the one stretch that
    /// memory lacks of the answer, where it has the rest.
    pub fn find(
        &self,
        now: WallTime,
        key: CacheKey,
        request: &RequestHead<'_>,
        lacking: Option<ByteRange>,
    ) -> Option<Found> {
        let (id, latest) = self.select(key, request.headers)?;
        if latest.about.part.is_none() {
            return Some(Found::Whole(located(id, latest)));
        }
        if *request.method != Method::GET {
            return None;
        }
        let records = self.records.range(RecordId::between(id.copy, id.copy));
        let parts = records.filter_map(|(id, kept)| Some((located(id, kept), kept.about.part.as_deref()?)));
        parts::find(now, request.headers, lacking, self.settings.object_bytes_max, parts).map(Found::Parts)
    }

    /// What selects the record that answers such a request.
    pub fn vary(&self, key: CacheKey, headers: &HeaderMap) -> Option<Vary> {
        self.select(key, headers).map(|(_, kept)| kept.about.vary.clone())
    }

    /// Everything under a path of a distribution, with any query string.
    pub fn find_path(&self, distribution: &str, path: &str) -> Vec<Located> {
        let under = |uri: &str| uri.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('?'));
        let covered = |about: &About| *about.distribution == *distribution && under(&about.uri);
        self.records.iter().filter(|(_, kept)| covered(&kept.about)).map(|(id, kept)| located(id, kept)).collect()
    }

    /// A response to a request with this key and these headers replaces what the request would select, also what waits to
    /// be written.
    pub fn forget(&mut self, key: CacheKey, headers: &HeaderMap) {
        let seed = self.label.seed;
        self.remove_where(RecordId::under(key), |id, about| about.vary.variant(seed, headers) == Some(id.copy.1));
    }

    /// Removes all variants of an object, because an unsafe method changed what it stands for (RFC 9111 section 4.4); also
    /// what waits to be written.
    pub fn forget_object(&mut self, key: CacheKey) {
        self.remove_where(RecordId::under(key), |_, _| true);
    }

    /// The head of a response has arrived, or of a part: what that contradicts is gone at once.
    pub fn make_way(&mut self, draft: &Draft) {
        let (copy, part) = (draft.id.copy, Part::of(&draft.head));
        self.remove_where(RecordId::between(copy, copy), |_, about| {
            parts::contradicts(part.as_deref(), about.part.as_deref())
        });
    }

    /// Takes a complete response, or part, with a body of `body_bytes` into the queue. What it replaces is gone at once, whether
    /// it is taken or not.
    ///
    /// # Errors
    /// Why it is not written.
    pub fn admit(&mut self, draft: Draft, body_bytes: u64) -> Result<Admitted, NotWritten> {
        let Draft { id, ticket, head } = draft;
        let about = About::new(head.clone());
        self.remove_where(RecordId::between(id.copy, id.copy), |_, earlier| {
            parts::supersedes(about.part.as_deref(), earlier.part.as_deref())
        });
        let bytes = record_bytes(&head, body_bytes);
        if self.label.invalidations.overtook(ticket.0, &head.distribution, &head.uri) {
            return Err(NotWritten::Invalidated);
        }
        if body_bytes > self.settings.object_bytes_max || bytes > self.settings.bytes_max / 4 {
            self.counters.bump(Counter::EdgeDiskTooLarge);
            return Err(NotWritten::TooLarge);
        }
        if self.queued_bytes > 0 && self.queued_bytes.saturating_add(bytes) > self.settings.queue_bytes_max {
            self.counters.bump(Counter::EdgeDiskQueueFull);
            return Err(NotWritten::QueueFull);
        }
        let number = self.number();
        self.queued.insert(id, Queued { number, about });
        self.queued_bytes += bytes;
        Ok(Admitted { id, number, bytes, head })
    }

    /// Where an admitted response is to be written; `None` where it was replaced, forgotten or invalidated while it
    /// waited: then say [`failed`](Self::failed).
    pub fn place(&mut self, admitted: &Admitted) -> Option<Placement> {
        if !self.is_wanted(admitted) {
            return None;
        }
        self.make_room(admitted.bytes);
        let segment_bytes = self.segment_bytes();
        let fits = |segment: &Segment| segment.bytes == 0 || segment.bytes + admitted.bytes <= segment_bytes;
        let full = self.active.filter(|active| !self.segments.get(active).is_some_and(fits));
        if let Some(full) = full {
            self.active = None;
            self.remove_if_idle(full);
        }
        let after_last = self.segments.last_key_value().map_or(0, |(last, _)| last + 1);
        // A number is not used again while work on its last bearer may still be under way.
        let sequence = self.number();
        let segment = *self.active.get_or_insert_with(|| after_last.max(sequence));
        let entry = self.segments.entry(segment).or_default();
        let place = Place { segment, offset: entry.bytes, bytes: admitted.bytes };
        entry.bytes += admitted.bytes;
        self.bytes += admitted.bytes;
        self.under_way += 1;
        self.count();
        Some(Placement { place, sequence })
    }

    /// The record stands where it was placed. Where it was overtaken meanwhile, it is killed.
    pub fn landed(&mut self, admitted: Admitted, placement: &Placement) {
        self.counters.bump(Counter::EdgeDiskWrites);
        self.counters.add(Counter::EdgeDiskBytesWritten, admitted.bytes);
        self.queued_bytes -= admitted.bytes;
        self.under_way -= 1;
        if !self.is_wanted(&admitted) {
            self.work.push_back(Work::Kill(placement.place));
            return;
        }
        let Admitted { id, head, .. } = admitted;
        self.queued.remove(&id);
        if !self.segments.contains_key(&placement.place.segment) {
            return; // it went while this was being written
        }
        self.keep_variants_few(id.copy);
        self.keep_parts_few(id.copy);
        self.insert(id, Kept { sequence: placement.sequence, place: placement.place, about: About::new(head) });
        self.count();
    }

    /// An admitted response was not written. Where it had a place, nothing is written behind what may stand there in
    /// part.
    pub fn failed(&mut self, admitted: Admitted, placement: Option<&Placement>) {
        self.queued_bytes -= admitted.bytes;
        if self.is_wanted(&admitted) {
            self.queued.remove(&admitted.id);
        }
        if let Some(placement) = placement {
            self.under_way -= 1;
            let segment = placement.place.segment;
            if self.active == Some(segment) {
                self.active = None;
                self.remove_if_idle(segment);
            }
        }
        self.count();
    }

    /// A record turned out to be damaged.
    pub fn damaged(&mut self, located: &Located) {
        self.counters.bump(Counter::EdgeDiskDamaged);
        if self.records.get(&located.id).is_some_and(|kept| kept.sequence == located.sequence) {
            self.remove(located.id);
        }
        self.count();
    }

    /// Removes what the pattern covers, also what waits to be written, and returns how many responses that were: the
    /// parts of one count as one.
    pub fn invalidate(&mut self, distribution: &Arc<str>, pattern: &InvalidationPattern) -> u64 {
        let sequence = self.number();
        let one = Invalidation { sequence, distribution: Arc::clone(distribution), pattern: pattern.clone() };
        let forgotten = self.label.invalidations.push(one, self.settings.invalidations_max);
        if forgotten {
            self.counters.bump(Counter::EdgeDiskForgotten);
        }
        let invalidations = &self.label.invalidations;
        let covered = |sequence, about: &About| {
            (*about.distribution == **distribution && pattern.matches(&about.uri))
                || sequence <= invalidations.dead_up_to()
        };
        let records = self.records.iter().filter(|(_, kept)| covered(kept.sequence, &kept.about));
        let ids: Vec<_> = records.map(|(id, _)| *id).collect();
        self.queued.retain(|_, queued| !covered(queued.number, &queued.about));
        for id in &ids {
            self.remove(*id);
        }
        self.label_bytes = self.label.to_bytes().len() as u64;
        self.make_room(0);
        let responses = ids.chunk_by(|one, next| one.copy == next.copy).count() as u64;
        self.counters.add(Counter::EdgeDiskInvalidated, responses);
        self.count();
        responses
    }

    /// What is to be done next. Asking says that what was handed out before is done.
    pub fn poll_work(&mut self) -> Option<Work> {
        let next = self.work.pop_front();
        // A record that is under way may still have to be killed once it has landed.
        if next.is_none() && self.under_way == 0 {
            self.label.invalidations.on_carried_out();
        }
        next
    }

    /// Whether there is something to do.
    pub fn has_work(&self) -> bool {
        !self.work.is_empty()
    }

    /// Nothing there may be used any more, and everything is to be removed.
    pub fn clear(&mut self) {
        self.queued.clear();
        self.active = None;
        while self.remove_oldest() {}
        self.count();
    }

    fn recover_record(&mut self, place: Place, header: &RecordHeader, head: RecordHead) {
        let sequence = header.sequence;
        let id = RecordId::new((header.key, header.variant), &head);
        let about = About::new(head);
        let others = || self.records.range(RecordId::between(id.copy, id.copy));
        let overtaken = self.label.invalidations.kills(sequence, &about.distribution, &about.uri);
        let superseded = others().any(|(_, other)| {
            other.sequence > sequence && parts::supersedes(other.about.part.as_deref(), about.part.as_deref())
        });
        if overtaken || superseded || header.body_bytes > self.settings.object_bytes_max {
            self.work.push_back(Work::Kill(place));
            return;
        }
        let earlier = others().filter(|(_, other)| {
            other.sequence < sequence && parts::supersedes(about.part.as_deref(), other.about.part.as_deref())
        });
        for id in earlier.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.remove(id);
        }
        self.insert(id, Kept { sequence, place, about });
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// Long enough that removing one is rare, and short enough that not much goes with it.
    const fn segment_bytes(&self) -> u64 {
        let share = self.settings.bytes_max / 32;
        if share < 64 << 20 { share } else { 64 << 20 }
    }

    fn select(&self, key: CacheKey, headers: &HeaderMap) -> Option<(&RecordId, &Kept)> {
        let seed = self.label.seed;
        let all = self.records.range(RecordId::under(key));
        let selected = all.filter(|(id, kept)| kept.about.vary.variant(seed, headers) == Some(id.copy.1));
        selected.max_by_key(|(_, kept)| kept.sequence)
    }

    fn is_wanted(&self, admitted: &Admitted) -> bool {
        self.queued.get(&admitted.id).is_some_and(|queued| queued.number == admitted.number)
    }

    fn insert(&mut self, id: RecordId, kept: Kept) {
        let Some(segment) = self.segments.get_mut(&kept.place.segment) else { return };
        segment.live += 1;
        segment.ids.push(id);
        self.records.insert(id, kept);
    }

    /// Removes those among some records that go, also what waits to be written.
    fn remove_where(&mut self, range: RangeInclusive<RecordId>, goes: impl Fn(&RecordId, &About) -> bool) {
        let records = self.records.range(range.clone()).filter(|(id, kept)| goes(id, &kept.about));
        for id in records.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.remove(id);
        }
        let queued = self.queued.range(range).filter(|(id, queued)| goes(id, &queued.about));
        for id in queued.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.queued.remove(&id);
        }
        self.count();
    }

    /// Takes a record out and has it killed.
    fn remove(&mut self, id: RecordId) {
        let Some(Kept { place, .. }) = self.records.remove(&id) else { return };
        self.work.push_back(Work::Kill(place));
        if let Some(segment) = self.segments.get_mut(&place.segment) {
            segment.live -= 1;
            self.remove_if_idle(place.segment);
        }
    }

    /// Makes room for one more variant beside the others.
    fn keep_variants_few(&mut self, newcomer: CopyId) {
        let mut latest: BTreeMap<CopyId, u64> = BTreeMap::new();
        for (id, kept) in self.records.range(RecordId::under(newcomer.0)).filter(|(id, _)| id.copy != newcomer) {
            let sequence = latest.entry(id.copy).or_default();
            *sequence = kept.sequence.max(*sequence);
        }
        if latest.len() < self.settings.variants_max.max(1) {
            return;
        }
        if let Some((&oldest, _)) = latest.iter().min_by_key(|&(_, sequence)| sequence) {
            self.counters.bump(Counter::EdgeVariantsFull);
            self.remove_where(RecordId::between(oldest, oldest), |_, _| true);
        }
    }

    /// Makes room for one more part of a response.
    fn keep_parts_few(&mut self, copy: CopyId) {
        let parts = || self.records.range(RecordId::between(copy, copy));
        if parts().count() < self.settings.parts_max.max(1) {
            return;
        }
        if let Some(oldest) = parts().min_by_key(|(_, kept)| kept.sequence).map(|(id, _)| *id) {
            self.counters.bump(Counter::EdgePartsFull);
            self.remove(oldest);
        }
    }

    fn remove_if_idle(&mut self, segment: SegmentId) {
        let idle = self.segments.get(&segment).is_some_and(|found| found.live == 0) && self.active != Some(segment);
        if idle
            && !self.recovering
            && let Some(gone) = self.segments.remove(&segment)
        {
            self.bytes -= gone.bytes;
            self.work.push_back(Work::Remove(segment));
        }
    }

    /// Lets segments go until `needed` more bytes, and one more record, fit.
    fn make_room(&mut self, needed: u64) {
        let DiskSettings { bytes_max, bytes_per_record_min, .. } = self.settings;
        let records_max = bytes_max / bytes_per_record_min.max(1);
        while self.bytes().saturating_add(needed) > bytes_max || self.records.len() as u64 >= records_max.max(1) {
            if !self.remove_oldest() {
                return;
            }
        }
    }

    fn remove_oldest(&mut self) -> bool {
        let Some((id, segment)) = self.segments.pop_first() else { return false };
        self.bytes -= segment.bytes;
        for record in segment.ids {
            if self.records.get(&record).is_some_and(|found| found.place.segment == id) {
                self.records.remove(&record);
                self.counters.bump(Counter::EdgeDiskEvictions);
            }
        }
        self.active = self.active.filter(|&active| active != id);
        self.work.push_back(Work::Remove(id));
        true
    }

    fn count(&self) {
        self.counters.set(Counter::EdgeDiskBytes, self.bytes());
        self.counters.set(Counter::EdgeDiskObjects, self.records.len() as u64);
    }
}

const fn located(id: &RecordId, kept: &Kept) -> Located {
    Located { id: *id, sequence: kept.sequence, place: kept.place }
}
