//! Bytes in order, in the pieces in which they came; and what they are read into.

use std::{array, cell::Cell, collections::VecDeque, io::IoSlice};

use bytes::{Buf as _, Bytes};
use tokio::io::ReadBuf;

/// Bytes read from a socket at once: the largest datagram fits.
pub(crate) const READ_BYTES: usize = 64 << 10;

/// Lends `read` a buffer of [`READ_BYTES`]: one per thread instead of one per connection, so that idle connections hold
/// none.
pub(crate) fn with_scratch<T>(read: impl FnOnce(&mut [u8]) -> T) -> T {
    thread_local! {
        static SCRATCH: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
    }
    let mut scratch = SCRATCH.take().unwrap_or_else(|| vec![0; READ_BYTES].into());
    let result = read(&mut scratch);
    SCRATCH.set(Some(scratch));
    result
}

/// A queue of bytes that holds no memory while it is empty.
#[derive(Debug, Default)]
pub(crate) struct ByteQueue {
    pieces: VecDeque<Bytes>,
}

impl ByteQueue {
    pub(crate) fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.pieces.push_back(piece);
        }
    }

    /// Takes `count` bytes off the front, or what there is.
    pub(crate) fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let Some(front) = self.pieces.front_mut() else { break };
            if front.len() > count {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.pieces.pop_front();
        }
        if self.pieces.is_empty() {
            self.pieces = VecDeque::new();
        }
    }

    /// Moves up to `count` bytes to `target`, as many as fit; how many that were.
    pub(crate) fn copy_to(&mut self, target: &mut ReadBuf<'_>, count: usize) -> usize {
        let mut left = count.min(target.remaining());
        let mut copied = 0;
        for piece in &self.pieces {
            let part = piece.get(..left.min(piece.len())).unwrap_or_default();
            if part.is_empty() {
                break;
            }
            target.put_slice(part);
            copied += part.len();
            left -= part.len();
        }
        self.advance(copied);
        copied
    }

    /// The first `count` bytes, in at most `N` pieces.
    pub(crate) fn slices<const N: usize>(&self, mut count: usize) -> ([IoSlice<'_>; N], usize) {
        let mut slices = array::from_fn(|_| IoSlice::new(&[]));
        let mut used = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            let part = piece.get(..count.min(piece.len())).unwrap_or_default();
            if part.is_empty() {
                break;
            }
            *slice = IoSlice::new(part);
            count -= part.len();
            used += 1;
        }
        (slices, used)
    }

    pub(crate) fn clear(&mut self) {
        self.pieces = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_order_across_pieces() {
        let mut queue = ByteQueue::default();
        for piece in ["abc", "", "defg", "h"] {
            queue.push(Bytes::from_static(piece.as_bytes()));
        }
        let (slices, used) = queue.slices::<4>(5);
        assert_eq!(slices[..used].iter().map(|slice| &**slice).collect::<Vec<_>>(), [b"abc".as_slice(), b"de"]);
        let mut storage = [0; 4];
        let mut target = ReadBuf::new(&mut storage);
        assert_eq!(queue.copy_to(&mut target, 6), 4);
        assert_eq!(target.filled(), b"abcd");
        queue.advance(2);
        let mut target = ReadBuf::new(&mut storage);
        assert_eq!(queue.copy_to(&mut target, 100), 2);
        assert_eq!(target.filled(), b"gh");
        assert_eq!(queue.pieces.capacity(), 0);
    }
}
