//! Each eviction policy against a twin: the same policy written down on plain lists, searched from end to end, with
//! whole objects in the place of slots. Over any trace, both say hit or miss alike, request by request.

mod lists;
mod sketched;

use cdn_core::eviction::{Eviction, EvictionPolicy, WithEviction};
use proptest::prelude::*;
use simulator::replay::Cache;

/// A cache, as a twin has it. The suite does what all have in common: an object that is too large changes nothing.
trait Twin {
    /// Whether an object is there; counts as a request for it.
    fn hit(&mut self, id: u64) -> bool;
    /// Stores an object that was not there, after making room.
    fn store(&mut self, id: u64, bytes: u64);
    /// Bytes of what is there.
    fn bytes(&self) -> u64;
}

/// Requests as (id, bytes). Ids that are hot, warm and asked for once; an id's size differs now and then.
fn requests() -> impl Strategy<Value = Vec<(u64, u64)>> {
    let id = prop_oneof![0..4_u64, 0..16_u64, 0..64_u64];
    proptest::collection::vec((id, prop_oneof![Just(1_u64), 0..12_u64]), 0..400)
}

/// Requests for objects of one byte.
fn units() -> impl Strategy<Value = Vec<(u64, u64)>> {
    let id = prop_oneof![0..8_u64, 0..32_u64, 0..128_u64];
    proptest::collection::vec((id, Just(1)), 0..600)
}

struct Play<'a> {
    requests: &'a [(u64, u64)],
    bytes_max: u64,
}

impl WithEviction for Play<'_> {
    /// Hit or miss, and the bytes that are there then.
    type Output = Vec<(bool, u64)>;
    fn run<E: Eviction + 'static>(self, policy: E) -> Self::Output {
        let mut cache = Cache::new(policy, self.bytes_max);
        self.requests.iter().map(|&(id, bytes)| (cache.request(id, bytes), cache.bytes())).collect()
    }
}

fn check(policy: EvictionPolicy, mut twin: impl Twin, requests: &[(u64, u64)], bytes_max: u64) {
    let fast = policy.with(bytes_max, Play { requests, bytes_max });
    for (at, (&(id, bytes), fast)) in requests.iter().zip(fast).enumerate() {
        let hit = twin.hit(id);
        if !hit && bytes <= bytes_max {
            twin.store(id, bytes);
        }
        let slow = (hit, twin.bytes());
        assert_eq!(fast, slow, "request {at}, for {id} of {bytes} bytes, of {requests:?} in {bytes_max} bytes");
        assert!(twin.bytes() <= bytes_max);
    }
}

macro_rules! suite {
    ($($module:ident: $policy:ident is $twin:expr;)*) => {$(
        mod $module {
            use super::*;

            proptest! {
                #![proptest_config(ProptestConfig::with_cases(60))]

                #[test]
                fn hits_and_misses_as_its_twin_with_any_sizes(requests in requests(), bytes_max in 0..80_u64) {
                    check(EvictionPolicy::$policy, $twin(bytes_max), &requests, bytes_max);
                }

                #[test]
                fn hits_and_misses_as_its_twin_with_one_size(requests in units(), bytes_max in 0..80_u64) {
                    check(EvictionPolicy::$policy, $twin(bytes_max), &requests, bytes_max);
                }
            }
        }
    )*};
}

suite! {
    lru: Lru is lists::Lru::new;
    fifo: Fifo is lists::Fifo::new;
    clock: Clock is lists::Clock::new;
    lfu: Lfu is lists::Lfu::new;
    sieve: Sieve is lists::Sieve::new;
    s3_fifo: S3Fifo is lists::S3Fifo::new;
    slru: Slru is lists::Slru::new;
    arc: Arc is lists::Arc::new;
    gdsf: Gdsf is lists::Gdsf::new;
    random: Random is lists::Random::new;
    w_tiny_lfu: WTinyLfu is sketched::WTinyLfu::new;
}
