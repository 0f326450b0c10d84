//! Nested address prefixes, flattened to disjoint ranges.
//!
//! A lookup says which value holds for an address and the *scope*: the shortest prefix around the address that lies
//! wholly inside ranges of that same value (RFC 7871, section 7.2.1). Neighbours of equal value are merged, so that
//! scope is the widest sound one. Knows nothing of what the values mean.

use std::{fmt::Debug, net::IpAddr};

/// An address as a number.
pub trait Address: Copy + Ord + Debug {
    /// How many bits it has.
    const BITS: u8;
    /// The highest address.
    const MAX: Self;
    /// The address of all zero bits.
    const MIN: Self;

    /// The next address, none after the last.
    fn next(self) -> Option<Self>;
    /// The address before, none before the first.
    fn previous(self) -> Option<Self>;
    /// How many leading bits are the same.
    fn common_bits(self, other: Self) -> u8;
    /// The address with all bits after the first `len` set.
    fn last_of(self, len: u8) -> Self;
    /// The address with all bits after the first `len` cleared.
    fn first_of(self, len: u8) -> Self;
    /// Its sixteen highest bits.
    fn top(self) -> u16;
}

macro_rules! address {
    ($number:ty) => {
        impl Address for $number {
            const BITS: u8 = <$number>::BITS as u8;
            const MAX: Self = <$number>::MAX;
            const MIN: Self = 0;

            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }
            fn previous(self) -> Option<Self> {
                self.checked_sub(1)
            }
            fn common_bits(self, other: Self) -> u8 {
                (self ^ other).leading_zeros() as u8
            }
            fn last_of(self, len: u8) -> Self {
                self | <$number>::MAX.checked_shr(u32::from(len)).unwrap_or(0)
            }
            fn first_of(self, len: u8) -> Self {
                self & !<$number>::MAX.checked_shr(u32::from(len)).unwrap_or(0)
            }
            fn top(self) -> u16 {
                (self >> (<$number>::BITS - 16)) as u16
            }
        }
    };
}

address!(u32);
address!(u128);

/// A value for every address of one family.
#[derive(Clone, Debug)]
pub struct RangeMap<A, V> {
    /// First addresses of the ranges, ascending; the first is zero.
    starts: Box<[A]>,
    values: Box<[V]>,
    /// For each value of the top sixteen bits, the range that holds the first such address. Empty for small maps,
    /// which are searched as they are: six PoPs' worth of client networks should not cost 256 KiB.
    index: Box<[u32]>,
}

/// From this many ranges on, a map has an index.
const INDEX_FROM: usize = 2048;

impl<A: Address, V: Copy + Eq> RangeMap<A, V> {
    /// Flattens `prefixes` (first address, length in bits, value) over `default`. Of nested prefixes the longest holds;
    /// of the same prefix given twice, the later. Bits after the prefix are ignored, lengths are capped at the family's.
    pub fn build(prefixes: impl IntoIterator<Item = (A, u8, V)>, default: V) -> Self {
        let mut sorted: Vec<(A, u8, V)> = prefixes
            .into_iter()
            .map(|(address, len, value)| {
                let len = len.min(A::BITS);
                (address.first_of(len), len, value)
            })
            .collect();
        sorted.sort_by_key(|&(start, len, _)| (start, len));
        Self::of_sorted(sorted.into_iter(), default)
    }

    /// The same of prefixes that are sorted by address and length, without bits after the prefix.
    pub(crate) fn of_sorted(prefixes: impl ExactSizeIterator<Item = (A, u8, V)>, default: V) -> Self {
        // Each prefix begins a range, and after it another one may go on. What is not needed is given back at the end.
        let mut flat = Flattener::with_capacity(2 * prefixes.len() + 1);
        let mut open: Vec<(A, V)> = vec![(A::MAX, default)];
        flat.change(A::MIN, default);
        for (start, len, value) in prefixes {
            flat.close_before(&mut open, Some(start));
            flat.change(start, value);
            open.push((start.last_of(len), value));
        }
        flat.close_before(&mut open, None);
        flat.finish()
    }

    /// The value at `address`, and the scope: the shortest prefix around it in which every address has that value.
    pub fn find(&self, address: A) -> (V, u8) {
        let at = self.position(address);
        // A prefix of p bits around the address stays inside the range if it reaches neither neighbour, that is if p
        // exceeds the number of leading bits shared with the address just outside.
        let below = self.starts[at].previous().map_or(0, |outside| address.common_bits(outside) + 1);
        let above = self.starts.get(at + 1).map_or(0, |&outside| address.common_bits(outside) + 1);
        (self.values[at], below.max(above))
    }

    /// The value at `address`.
    pub fn value(&self, address: A) -> V {
        self.values[self.position(address)]
    }

    /// The same ranges with two other values each, merged anew for either.
    pub fn map_both<W: Copy + Eq, X: Copy + Eq>(
        &self,
        mut values: impl FnMut(V) -> (W, X),
    ) -> (RangeMap<A, W>, RangeMap<A, X>) {
        let ranges = self.starts.len();
        let (mut first, mut second) = (Flattener::with_capacity(ranges), Flattener::with_capacity(ranges));
        for (&start, &old) in self.starts.iter().zip(&self.values) {
            let (one, other) = values(old);
            first.change(start, one);
            second.change(start, other);
        }
        (first.finish(), second.finish())
    }

    /// How many ranges there are; at least one.
    pub const fn ranges(&self) -> usize {
        self.starts.len()
    }

    /// How many bytes it takes.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.starts) + size_of_val(&*self.values) + size_of_val(&*self.index)
    }

    fn position(&self, address: A) -> usize {
        let (low, high) = if self.index.is_empty() {
            (0, self.starts.len())
        } else {
            let top = usize::from(address.top());
            let next = self.index.get(top + 1).map_or(self.starts.len(), |&at| at as usize + 1);
            (self.index[top] as usize, next)
        };
        // The first range starts at zero, so at least one start is not above the address.
        low + self.starts[low..high].partition_point(|&start| start <= address).saturating_sub(1)
    }
}

struct Flattener<A, V> {
    starts: Vec<A>,
    values: Vec<V>,
}

impl<A: Address, V: Copy + Eq> Flattener<A, V> {
    fn with_capacity(ranges: usize) -> Self {
        Self { starts: Vec::with_capacity(ranges), values: Vec::with_capacity(ranges) }
    }

    /// From `start` on, `value` holds.
    fn change(&mut self, start: A, value: V) {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.values.pop();
        }
        if self.values.last() != Some(&value) {
            self.starts.push(start);
            self.values.push(value);
        }
    }

    /// Closes the open prefixes that end before `start`: after each, the one around it holds again.
    fn close_before(&mut self, open: &mut Vec<(A, V)>, start: Option<A>) {
        while let Some(&(end, _)) = open.last()
            && start.is_none_or(|start| end < start)
        {
            open.pop();
            if let (Some(after), Some(&(_, around))) = (end.next(), open.last()) {
                self.change(after, around);
            }
        }
    }

    fn finish(self) -> RangeMap<A, V> {
        let mut index = vec![];
        if self.starts.len() >= INDEX_FROM {
            let mut at = 0;
            for top in 0..=u16::MAX {
                while self.starts.get(at + 1).is_some_and(|start| start.top() < top || is_first_of_top(*start, top)) {
                    at += 1;
                }
                index.push(u32::try_from(at).unwrap_or(u32::MAX));
            }
        }
        RangeMap { starts: self.starts.into(), values: self.values.into(), index: index.into() }
    }
}

fn is_first_of_top<A: Address>(start: A, top: u16) -> bool {
    start.top() == top && start.first_of(16) == start
}

/// A value for every address of both families.
#[derive(Clone, Debug)]
pub struct IpRangeMap<V> {
    /// IPv4.
    pub v4: RangeMap<u32, V>,
    /// IPv6.
    pub v6: RangeMap<u128, V>,
}

impl<V: Copy + Eq> IpRangeMap<V> {
    /// The value and scope at `address`; IPv4 written as IPv6 counts as IPv4.
    pub fn find(&self, address: IpAddr) -> (V, u8) {
        match address.to_canonical() {
            IpAddr::V4(v4) => self.v4.find(v4.to_bits()),
            IpAddr::V6(v6) => self.v6.find(v6.to_bits()),
        }
    }

    /// The value at `address`.
    pub fn value(&self, address: IpAddr) -> V {
        match address.to_canonical() {
            IpAddr::V4(v4) => self.v4.value(v4.to_bits()),
            IpAddr::V6(v6) => self.v6.value(v6.to_bits()),
        }
    }

    /// How many bytes it takes.
    pub fn bytes(&self) -> usize {
        self.v4.bytes() + self.v6.bytes()
    }

    /// `value` for every address.
    pub(crate) fn of(value: V) -> Self {
        Self { v4: RangeMap::of_sorted([].into_iter(), value), v6: RangeMap::of_sorted([].into_iter(), value) }
    }

    /// The same ranges with two other values each, merged anew for either.
    pub fn map_both<W: Copy + Eq, X: Copy + Eq>(
        &self,
        mut values: impl FnMut(V) -> (W, X),
    ) -> (IpRangeMap<W>, IpRangeMap<X>) {
        let (v4, other_v4) = self.v4.map_both(&mut values);
        let (v6, other_v6) = self.v6.map_both(&mut values);
        (IpRangeMap { v4, v6 }, IpRangeMap { v4: other_v4, v6: other_v6 })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str, value: u8) -> (u32, u8, u8) {
        let net: ipnet::Ipv4Net = text.parse().unwrap();
        (net.network().to_bits(), net.prefix_len(), value)
    }

    fn find(map: &RangeMap<u32, u8>, address: &str) -> (u8, u8) {
        map.find(address.parse::<std::net::Ipv4Addr>().unwrap().to_bits())
    }

    #[test]
    fn the_longest_prefix_holds_and_scopes_stop_at_its_neighbours() {
        let map = RangeMap::build([net("10.0.0.0/8", 1), net("10.1.0.0/16", 2), net("10.1.2.0/24", 3)], 0);
        for (address, expected) in [
            ("9.255.255.255", (0, 7)),
            ("10.0.0.1", (1, 16)),
            ("10.1.0.1", (2, 23)),
            ("10.1.2.255", (3, 24)),
            ("10.1.3.0", (2, 24)),
            ("10.128.0.0", (1, 9)),
            ("11.0.0.0", (0, 8)),
            ("255.255.255.255", (0, 1)),
        ] {
            assert_eq!(find(&map, address), expected, "{address}");
        }
    }

    #[test]
    fn equal_neighbours_are_one_scope() {
        let map = RangeMap::build([net("10.0.0.0/24", 1), net("10.0.1.0/24", 1), net("10.0.2.0/24", 2)], 0);
        assert_eq!(find(&map, "10.0.1.9"), (1, 23));
        assert_eq!(RangeMap::<u32, u8>::build([], 7).find(5), (7, 0));
    }

    #[test]
    fn the_whole_space_and_single_addresses_are_prefixes_too() {
        let map = RangeMap::build([net("0.0.0.0/0", 1), net("255.255.255.255/32", 2), net("0.0.0.0/32", 3)], 0);
        assert_eq!(find(&map, "255.255.255.255"), (2, 32));
        assert_eq!(find(&map, "0.0.0.0"), (3, 32));
        assert_eq!(find(&map, "128.0.0.0"), (1, 2));
    }

    fn prefixes() -> impl Strategy<Value = Vec<(u32, u8, u8)>> {
        // Few bits and few values, so that prefixes nest, touch and repeat.
        let prefix = (any::<u8>(), 0u8..=12, 0u8..4).prop_map(|(bits, len, value)| {
            let address = (u32::from(bits) << 24) | (u32::from(bits) << 20);
            (address, len, value)
        });
        prop::collection::vec(prefix, 0..24)
    }

    proptest! {
        #[test]
        fn values_are_those_of_a_slow_longest_match(prefixes in prefixes(), address: u32) {
            let map = RangeMap::build(prefixes.clone(), 9);
            let slow = prefixes
                .iter()
                .filter(|(net, len, _)| net.first_of(*len) == address.first_of(*len))
                .max_by_key(|(_, len, _)| *len)
                .map_or(9, |(_, _, value)| *value);
            prop_assert_eq!(map.value(address), slow);
        }

        #[test]
        fn scopes_are_sound_and_the_widest(prefixes in prefixes(), address: u32, others in prop::collection::vec(any::<u32>(), 32)) {
            let map = RangeMap::build(prefixes, 9);
            let (value, scope) = map.find(address);
            let (first, last) = (address.first_of(scope), address.last_of(scope));
            for other in others.into_iter().map(|bits| first | (bits & (last ^ first))).chain([first, last]) {
                prop_assert_eq!(map.value(other), value);
            }
            if scope > 0 {
                let (first, last) = (address.first_of(scope - 1), address.last_of(scope - 1));
                let (low, high) = (map.position(first), map.position(last));
                prop_assert!(low != high, "a wider scope would have been sound");
            }
        }
    }

    #[test]
    fn an_indexed_map_finds_what_a_search_finds() {
        let prefixes: Vec<_> =
            (0..5000u32).map(|at| (at.wrapping_mul(0x9e37_79b9), 8 + (at % 25) as u8, at as u16)).collect();
        let map = RangeMap::build(prefixes, u16::MAX);
        assert!(!map.index.is_empty());
        let plain = RangeMap { starts: map.starts.clone(), values: map.values.clone(), index: Box::default() };
        for at in 0..200_000u32 {
            let address = at.wrapping_mul(0x85eb_ca6b);
            assert_eq!(map.find(address), plain.find(address), "{address:#x}");
        }
        for &start in &map.starts {
            assert_eq!(map.find(start), plain.find(start), "{start:#x}");
        }
    }
}
