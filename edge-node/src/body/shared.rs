//! A body that arrives once and is read many times, each reader at its own speed.
//!
//! While everything is kept, readers lag as they like and late ones start at the first byte. Once the body turns out to
//! be too large to keep it becomes a window: what every reader has passed is dropped, and the producer waits for the
//! slowest reader. Whoever wants the body says so, so that a producer whom nobody wants can stop. Knows bytes; does not
//! know where they come from or who stores them.
//!
//! There is one for each stored object, so what matters only while it arrives is let go at its end.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use cdn_core::{Counters, store::ALLOCATION_BYTES};

use super::counted::{COUNTED_BYTES, counted};

/// Pieces smaller than this are joined, so that a body sent byte by byte costs no more than one sent at once.
const SMALL_BYTES: usize = 2 * 1024;
const JOINED_BYTES_MAX: usize = 16 * 1024;

/// How a body ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Truncated;

impl From<Truncated> for io::Error {
    fn from(Truncated: Truncated) -> Self {
        Self::new(io::ErrorKind::UnexpectedEof, "the body ended early")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    Complete,
    Truncated,
}

#[derive(Debug)]
struct Piece {
    at: u64,
    bytes: Bytes,
}

#[derive(Debug)]
struct Reading {
    at: u64,
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Inner {
    pieces: VecDeque<Piece>,
    len: u64,
    end: End,
    /// Everything since the first byte is still here.
    kept: bool,
    readings: Vec<Option<Reading>>,
    producer: Option<Waker>,
    /// How many want it.
    wanted: usize,
    /// Whom to wake once nobody does.
    unwanted: Option<Waker>,
    counters: Arc<Counters>,
}

impl Inner {
    const fn new(counters: Arc<Counters>) -> Self {
        Self {
            pieces: VecDeque::new(),
            len: 0,
            end: End::Open,
            kept: true,
            readings: Vec::new(),
            producer: None,
            wanted: 0,
            unwanted: None,
            counters,
        }
    }

    fn slowest(&self) -> Option<u64> {
        self.readings.iter().flatten().map(|reading| reading.at).min()
    }

    /// Drops what every reader has passed.
    fn trim(&mut self) {
        if self.kept {
            return;
        }
        let slowest = self.slowest().unwrap_or(self.len);
        while self.pieces.front().is_some_and(|piece| piece.at + piece.bytes.len() as u64 <= slowest) {
            self.pieces.pop_front();
        }
    }

    /// All bytes in memory of their own, in blocks of a bounded size.
    fn blocks(&self) -> Vec<Bytes> {
        const BLOCK_BYTES: u64 = 256 * 1024;
        let mut blocks = Vec::new();
        let mut left = self.len;
        let mut block = Vec::new();
        for piece in &self.pieces {
            let mut bytes: &[u8] = &piece.bytes;
            while !bytes.is_empty() {
                if block.capacity() == 0 {
                    block = Vec::with_capacity(usize::try_from(left.min(BLOCK_BYTES)).unwrap_or(usize::MAX));
                }
                let take = bytes.len().min(block.capacity() - block.len());
                let (head, rest) = bytes.split_at(take);
                block.extend_from_slice(head);
                left -= take as u64;
                bytes = rest;
                if block.len() == block.capacity() {
                    blocks.push(counted(std::mem::take(&mut block).into_boxed_slice(), &self.counters));
                }
            }
        }
        if !block.is_empty() {
            blocks.push(counted(block.into_boxed_slice(), &self.counters));
        }
        blocks
    }

    fn wake_readers(&mut self) {
        for reading in self.readings.iter_mut().flatten() {
            if let Some(waker) = reading.waker.take() {
                waker.wake();
            }
        }
    }

    fn wake_producer(&mut self) {
        if let Some(waker) = self.producer.take() {
            waker.wake();
        }
    }
}

/// See the module. The producer's side.
#[derive(Clone, Debug)]
pub(crate) struct SharedBody(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Everything that matters while the body arrives; `None` once it is sealed.
    arriving: Mutex<Option<Box<Inner>>>,
    /// The complete body: set once, then read without a lock.
    sealed: OnceLock<Blocks>,
}

/// Bytes in bounded pieces. Most bodies are one.
#[derive(Debug)]
enum Blocks {
    One(Bytes),
    Many(Box<[Bytes]>),
}

impl From<Vec<Bytes>> for Blocks {
    fn from(mut blocks: Vec<Bytes>) -> Self {
        match (blocks.pop(), blocks.is_empty()) {
            (Some(only), true) => Self::One(only),
            (last, _) => Self::Many(blocks.into_iter().chain(last).collect()),
        }
    }
}

impl SharedBody {
    /// Bytes that a sealed body of one block takes beside that block: what is shared of it, behind two counts of
    /// references, and the owner of the block, behind one count and a way to drop it. Further blocks are large.
    pub(crate) const OVERHEAD_BYTES: u64 =
        (2 * size_of::<usize>() + size_of::<Shared>() + 2 * size_of::<usize>() + COUNTED_BYTES) as u64
            + 3 * ALLOCATION_BYTES;

    /// A body that is yet to arrive. What is held of it is counted.
    pub(crate) fn new(counters: &Arc<Counters>) -> Self {
        let arriving = Box::new(Inner::new(Arc::clone(counters)));
        Self(Arc::new(Shared { arriving: Mutex::new(Some(arriving)), sealed: OnceLock::new() }))
    }

    /// A body that is complete already.
    pub(crate) fn whole(blocks: Vec<Bytes>) -> Self {
        let shared = Shared { arriving: Mutex::new(None), sealed: OnceLock::from(Blocks::from(blocks)) };
        Self(Arc::new(shared))
    }

    /// Adds bytes at the end.
    pub(crate) fn push(&self, bytes: Bytes) {
        let mut guard = self.lock();
        let Some(inner) = guard.as_mut().filter(|_| !bytes.is_empty()) else { return };
        let at = inner.len;
        inner.len += bytes.len() as u64;
        match inner.pieces.back_mut() {
            Some(last) if bytes.len() < SMALL_BYTES && last.bytes.len() + bytes.len() <= JOINED_BYTES_MAX => {
                let mut joined = BytesMut::with_capacity(last.bytes.len() + bytes.len());
                joined.extend_from_slice(&last.bytes);
                joined.extend_from_slice(&bytes);
                last.bytes = counted(joined, &inner.counters);
            }
            _ => inner.pieces.push_back(Piece { at, bytes: counted(bytes, &inner.counters) }),
        }
        inner.trim();
        inner.wake_readers();
    }

    /// Says that nothing follows. What is kept is moved into its own memory: what a socket's buffer held is let go.
    pub(crate) fn finish(&self) {
        let mut guard = self.lock();
        let Some(inner) = guard.as_mut().filter(|inner| inner.end == End::Open) else { return };
        inner.end = End::Complete;
        inner.wake_readers();
        if inner.kept {
            let _ = self.0.sealed.set(inner.blocks().into());
            *guard = None;
        }
    }

    /// The complete body, in order; `None` while it arrives, or where it was not kept.
    pub(crate) fn sealed(&self) -> Option<&[Bytes]> {
        Some(match self.0.sealed.get()? {
            Blocks::One(only) => std::slice::from_ref(only),
            Blocks::Many(blocks) => blocks,
        })
    }

    /// Says that the rest will not come.
    pub(crate) fn truncate(&self) {
        if let Some(inner) = self.lock().as_mut() {
            if inner.end == End::Open {
                inner.end = End::Truncated;
            }
            inner.wake_readers();
        }
    }

    /// From now on this is a window: only what some reader has not read is kept.
    pub(crate) fn keep_no_longer(&self) {
        if let Some(inner) = self.lock().as_mut() {
            inner.kept = false;
            inner.trim();
        }
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> u64 {
        match (self.lock().as_ref(), self.sealed()) {
            (Some(inner), _) => inner.len,
            (None, blocks) => blocks.unwrap_or_default().iter().map(|block| block.len() as u64).sum(),
        }
    }

    /// Ready when the slowest reader is less than `window` bytes behind, or everything is kept anyway.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>, window: u64) -> Poll<()> {
        let mut guard = self.lock();
        let Some(inner) = guard.as_mut().filter(|inner| !inner.kept) else { return Poll::Ready(()) };
        let behind = inner.slowest().map_or(0, |at| inner.len.saturating_sub(at));
        if behind < window {
            return Poll::Ready(());
        }
        inner.producer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// A reader of everything; `None` where the first byte is gone.
    pub(crate) fn reader(&self) -> Option<Reader> {
        let mut reader = Reader { body: self.clone(), place: 0, at: 0, left: u64::MAX };
        if let Some(inner) = self.lock().as_mut() {
            let whole = inner.kept || inner.pieces.front().is_some_and(|piece| piece.at == 0) || inner.len == 0;
            if !whole {
                return None;
            }
            let reading = Some(Reading { at: 0, waker: None });
            let free = inner.readings.iter().position(Option::is_none);
            reader.place = free.unwrap_or(inner.readings.len());
            match inner.readings.get_mut(reader.place) {
                Some(slot) => *slot = reading,
                None => inner.readings.push(reading),
            }
        }
        Some(reader)
    }

    /// Says that one more wants it.
    pub(crate) fn subscribe(&self) -> Subscription {
        if let Some(inner) = self.lock().as_mut() {
            inner.wanted += 1;
        }
        Subscription(self.clone())
    }

    /// Whether anybody wants it; what is sealed has nothing to be given up.
    pub(crate) fn is_wanted(&self) -> bool {
        self.lock().as_ref().is_none_or(|inner| inner.wanted > 0)
    }

    /// Ready once nobody wants it.
    pub(crate) fn poll_unwanted(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.lock().as_mut() {
            Some(inner) if inner.wanted == 0 => Poll::Ready(()),
            Some(inner) => {
                inner.unwanted = Some(cx.waker().clone());
                Poll::Pending
            }
            None => Poll::Pending,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Inner>>> {
        // A panic elsewhere cannot leave the list half changed: each change is complete before anything may panic.
        self.0.arriving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody wants the body as long as this lives.
#[derive(Debug)]
pub(crate) struct Subscription(SharedBody);

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(inner) = self.0.lock().as_mut() {
            inner.wanted -= 1;
            if inner.wanted == 0
                && let Some(waker) = inner.unwanted.take()
            {
                waker.wake();
            }
        }
    }
}

/// One reader of a [`SharedBody`].
#[derive(Debug)]
pub(crate) struct Reader {
    body: SharedBody,
    /// Its place among the readings, while the body arrives.
    place: usize,
    /// The next byte that it reads.
    at: u64,
    /// Bytes that it still wants.
    left: u64,
}

impl Reader {
    /// From now on it reads `length` bytes from `first` on.
    pub(crate) fn limit(&mut self, first: u64, length: u64) {
        (self.at, self.left) = (first, length);
        if let Some(inner) = self.body.lock().as_mut()
            && let Some(reading) = inner.readings.get_mut(self.place).and_then(Option::as_mut)
        {
            reading.at = first;
        }
    }

    /// The next bytes, `None` at the end.
    ///
    /// # Errors
    /// [`Truncated`] where the rest will not come.
    pub(crate) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Truncated>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let body = self.body.clone();
        let mut guard = body.lock();
        let Some(inner) = guard.as_mut() else {
            return Poll::Ready(self.read_sealed(body.sealed().unwrap_or_default()).map(Ok));
        };
        let Some(reading) = inner.readings.get_mut(self.place).and_then(Option::as_mut) else {
            return Poll::Ready(None);
        };
        if self.at < inner.len {
            let index = inner.pieces.partition_point(|piece| piece.at <= self.at).saturating_sub(1);
            let Some(piece) = inner.pieces.get(index) else { return Poll::Ready(Some(Err(Truncated))) };
            let bytes = self.cut(&piece.bytes, piece.at);
            reading.at = self.at;
            inner.trim();
            if !inner.kept {
                inner.wake_producer();
            }
            return Poll::Ready(Some(Ok(bytes)));
        }
        match inner.end {
            End::Complete => Poll::Ready(None),
            End::Truncated => Poll::Ready(Some(Err(Truncated))),
            End::Open => {
                if !reading.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    reading.waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    /// The next bytes of a complete body.
    fn read_sealed(&mut self, blocks: &[Bytes]) -> Option<Bytes> {
        let mut start = 0;
        for block in blocks {
            if self.at < start + block.len() as u64 {
                return Some(self.cut(block, start));
            }
            start += block.len() as u64;
        }
        None
    }

    /// What it wants of a piece that begins at `start`, not behind where it is.
    fn cut(&mut self, piece: &Bytes, start: u64) -> Bytes {
        let skip = usize::try_from(self.at - start).unwrap_or(usize::MAX);
        let mut bytes = piece.slice(skip.min(piece.len())..);
        bytes.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= bytes.len() as u64;
        self.at += bytes.len() as u64;
        bytes
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(inner) = self.body.lock().as_mut() {
            if let Some(slot) = inner.readings.get_mut(self.place) {
                *slot = None;
            }
            inner.trim();
            inner.wake_producer();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arriving() -> SharedBody {
        SharedBody::new(&Arc::default())
    }

    fn read(reader: &mut Reader) -> Poll<Option<Result<Bytes, Truncated>>> {
        reader.poll_bytes(&mut Context::from_waker(Waker::noop()))
    }

    fn room(body: &SharedBody, window: u64) -> bool {
        body.poll_room(&mut Context::from_waker(Waker::noop()), window).is_ready()
    }

    fn drained(reader: &mut Reader) -> Vec<u8> {
        let mut all = Vec::new();
        while let Poll::Ready(Some(Ok(bytes))) = read(reader) {
            all.extend_from_slice(&bytes);
        }
        all
    }

    #[test]
    fn late_readers_get_every_byte_and_early_ones_do_not_wait() {
        let body = arriving();
        let mut early = body.reader().unwrap();
        assert_eq!(read(&mut early), Poll::Pending);
        body.push(Bytes::from_static(b"one "));
        assert_eq!(read(&mut early), Poll::Ready(Some(Ok(Bytes::from_static(b"one ")))));
        body.push(Bytes::from_static(b"two"));
        let mut late = body.reader().unwrap();
        body.finish();
        assert_eq!((drained(&mut early), drained(&mut late)), (b"two".to_vec(), b"one two".to_vec()));
        assert_eq!(read(&mut late), Poll::Ready(None));
    }

    #[test]
    fn a_body_cut_short_ends_in_an_error_after_what_came() {
        let body = arriving();
        let mut reader = body.reader().unwrap();
        body.push(Bytes::from_static(b"half"));
        body.truncate();
        body.finish();
        assert_eq!(drained(&mut reader), b"half");
        assert_eq!(read(&mut reader), Poll::Ready(Some(Err(Truncated))));
        assert_eq!(body.sealed(), None);
    }

    #[test]
    fn a_window_drops_what_all_have_read_and_holds_the_producer_back() {
        let body = arriving();
        let (mut fast, mut slow) = (body.reader().unwrap(), body.reader().unwrap());
        body.keep_no_longer();
        let piece = Bytes::from(vec![7; 4096]);
        body.push(piece.clone());
        body.push(piece.clone());
        assert!(!room(&body, 8192) && room(&body, 8193));
        assert_eq!(drained(&mut fast).len(), 8192);
        assert!(!room(&body, 8192), "the slowest reader counts");
        assert!(matches!(read(&mut slow), Poll::Ready(Some(Ok(_)))));
        assert!(room(&body, 8192));
        assert!(body.reader().is_none(), "the first byte is gone");
        drop(slow);
        assert!(room(&body, 1));
        assert_eq!(body.lock().as_ref().unwrap().pieces.len(), 0);
    }

    #[test]
    fn a_whole_body_is_read_like_one_that_arrived() {
        let body = SharedBody::whole(vec![Bytes::from_static(b"one "), Bytes::from_static(b"two")]);
        assert_eq!(drained(&mut body.reader().unwrap()), b"one two");
        assert_eq!((body.sealed().unwrap().concat(), body.len()), (b"one two".to_vec(), 7));
        assert_eq!(SharedBody::whole(Vec::new()).sealed(), Some(&[][..]));
    }

    #[test]
    fn a_body_is_unwanted_when_the_last_one_leaves() {
        let body = arriving();
        let unwanted = || body.poll_unwanted(&mut Context::from_waker(Waker::noop())).is_ready();
        assert!(unwanted() && !body.is_wanted());
        let (one, two) = (body.subscribe(), body.subscribe());
        drop(one);
        assert!(!unwanted() && body.is_wanted());
        drop(two);
        assert!(unwanted() && !body.is_wanted());
        let early = body.subscribe();
        body.finish();
        let late = body.subscribe();
        drop((early, late));
        assert!(!unwanted() && body.is_wanted(), "a sealed body is not given up");
    }

    #[test]
    fn tiny_pieces_are_joined() {
        let body = arriving();
        let mut reader = body.reader().unwrap();
        for byte in 0..10_000_u32 {
            body.push(Bytes::from(vec![byte as u8]));
        }
        assert_eq!(body.lock().as_ref().unwrap().pieces.len(), 1);
        body.finish();
        assert_eq!(drained(&mut reader), (0..10_000_u32).map(|byte| byte as u8).collect::<Vec<_>>());
    }

    #[test]
    fn blocks_are_the_same_bytes_in_bounded_pieces() {
        let body = arriving();
        let all: Vec<u8> = (0..700_000_u32).map(|at| (at % 251) as u8).collect();
        for piece in all.chunks(10_007) {
            body.push(Bytes::copy_from_slice(piece));
        }
        body.finish();
        let blocks = body.sealed().unwrap();
        assert_eq!(blocks.len(), 3);
        assert_eq!(blocks.concat(), all);
    }
}
