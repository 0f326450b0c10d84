//! Bytes that count as long as anybody holds them: the store, a client that reads slowly, a buffer on its way out.
//!
//! What a body costs does not end where the store lets it go, so it is the bytes themselves that keep the account.

use std::sync::Arc;

use bytes::Bytes;
use cdn_core::{Counter, Counters};

/// The same bytes; `edge_body_bytes` has them until the last clone and the last slice are gone.
pub(crate) fn counted(bytes: impl AsRef<[u8]> + Send + 'static, counters: &Arc<Counters>) -> Bytes {
    counters.add(Counter::EdgeBodyBytes, bytes.as_ref().len() as u64);
    Bytes::from_owner(Counted { bytes, counters: Arc::clone(counters) })
}

/// Bytes of what keeps the account of a block.
pub(super) const COUNTED_BYTES: usize = size_of::<Counted<Box<[u8]>>>();

struct Counted<T: AsRef<[u8]>> {
    bytes: T,
    counters: Arc<Counters>,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Counted<T> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

impl<T: AsRef<[u8]>> Drop for Counted<T> {
    fn drop(&mut self) {
        self.counters.sub(Counter::EdgeBodyBytes, self.bytes.as_ref().len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_until_the_last_slice_of_them_is_gone() {
        let counters = Arc::<Counters>::default();
        let count = || counters.value(Counter::EdgeBodyBytes);
        let (one, two) = (counted(vec![1; 100], &counters), counted(Bytes::from_static(b"two"), &counters));
        assert_eq!((count(), &two[..]), (103, &b"two"[..]));
        let slice = one.slice(99..);
        drop((one, two));
        assert_eq!((count(), &slice[..]), (100, &[1][..]));
        drop(slice);
        assert_eq!(count(), 0);
    }
}
