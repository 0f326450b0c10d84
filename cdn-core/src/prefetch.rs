//! Asking memory for what will be needed soon, without waiting for it.
//!
//! For whoever has more in memory than a processor's caches hold, and knows which of it comes next: what is asked for in
//! one go is waited for together. Changes nothing but how long things take; where a processor has no such instruction,
//! nothing happens.

use std::slice;

/// Asks for the cache line in which a thing begins.
#[inline(always)]
pub fn prefetch<T>(thing: &T) {
    prefetch_at(slice::from_ref(thing), 0);
}

/// Asks for the cache line in which one of many things begins. A position behind the last is of no consequence.
#[inline(always)]
pub fn prefetch_at<T>(things: &[T], at: usize) {
    prefetch_index::prefetch_index(things, at);
}
