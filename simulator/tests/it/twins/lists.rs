//! Twins on plain lists.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::Twin;

/// An object and what a policy notes of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) id: u64,
    pub(super) bytes: u64,
    /// Hits since it came, or a bit.
    hits: u64,
}

impl Item {
    pub(super) const fn new(id: u64, bytes: u64) -> Self {
        Self { id, bytes, hits: 0 }
    }
}

pub(super) fn sum(items: &[Item]) -> u64 {
    items.iter().map(|item| item.bytes).sum()
}

pub(super) fn position(items: &[Item], id: u64) -> Option<usize> {
    items.iter().position(|item| item.id == id)
}

/// Moves an item to the end of its list. False where it is not there.
pub(super) fn refresh(items: &mut Vec<Item>, id: u64) -> bool {
    let Some(at) = position(items, id) else { return false };
    let item = items.remove(at);
    items.push(item);
    true
}

/// Twins that are one list: what a hit does, and who goes.
macro_rules! one_list {
    ($($(#[$doc:meta])+ $name:ident hit $hit:expr, evict $evict:expr;)*) => {$(
        $(#[$doc])+
        #[derive(Debug)]
        pub(super) struct $name {
            items: Vec<Item>,
            bytes_max: u64,
        }

        impl $name {
            pub(super) fn new(bytes_max: u64) -> Self {
                Self { items: Vec::new(), bytes_max }
            }
        }

        impl Twin for $name {
            fn hit(&mut self, id: u64) -> bool {
                let hit: fn(&mut Vec<Item>, u64) -> bool = $hit;
                hit(&mut self.items, id)
            }

            fn store(&mut self, id: u64, bytes: u64) {
                let evict: fn(&mut Vec<Item>) = $evict;
                while sum(&self.items) + bytes > self.bytes_max {
                    evict(&mut self.items);
                }
                self.items.push(Item::new(id, bytes));
            }

            fn bytes(&self) -> u64 {
                sum(&self.items)
            }
        }
    )*};
}

one_list! {
    /// Least recent first.
    Lru hit refresh, evict |items| drop_oldest(items);

    /// Oldest first.
    Fifo hit |items, id| position(items, id).is_some(), evict |items| drop_oldest(items);

    /// Oldest first; hits are the bit.
    Clock hit |items, id| mark(items, id), evict |items| {
        let item = items.remove(0);
        if item.hits == 1 {
            items.push(Item { hits: 0, ..item });
        }
    };

    /// Least recent first.
    Lfu hit |items, id| {
        let found = refresh(items, id);
        items.last_mut().filter(|_| found).map(|item| item.hits += 1).is_some()
    }, evict |items| {
        // The first of those with the fewest.
        let fewest = items.iter().map(|item| item.hits).min().unwrap();
        items.remove(items.iter().position(|item| item.hits == fewest).unwrap());
    };
}

fn drop_oldest(items: &mut Vec<Item>) {
    items.remove(0);
}

/// Sets the bit.
fn mark(items: &mut [Item], id: u64) -> bool {
    let at = position(items, id);
    at.map(|at| items[at].hits = 1).is_some()
}

/// Oldest first; the hand is a place.
#[derive(Debug)]
pub(super) struct Sieve {
    items: Vec<Item>,
    hand: usize,
    bytes_max: u64,
}

impl Sieve {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { items: Vec::new(), hand: 0, bytes_max }
    }
}

impl Twin for Sieve {
    fn hit(&mut self, id: u64) -> bool {
        mark(&mut self.items, id)
    }

    fn store(&mut self, id: u64, bytes: u64) {
        while sum(&self.items) + bytes > self.bytes_max {
            if self.items[self.hand].hits == 1 {
                self.items[self.hand].hits = 0;
                self.hand += 1;
            } else {
                self.items.remove(self.hand);
            }
            // Past the newest it begins at the oldest again.
            if self.hand == self.items.len() {
                self.hand = 0;
            }
        }
        self.items.push(Item::new(id, bytes));
    }

    fn bytes(&self) -> u64 {
        sum(&self.items)
    }
}

/// Oldest first.
#[derive(Debug)]
pub(super) struct S3Fifo {
    small: Vec<Item>,
    main: Vec<Item>,
    ghosts: Vec<Item>,
    bytes_max: u64,
    /// Objects that were there at once, at most.
    most: usize,
}

impl S3Fifo {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { small: Vec::new(), main: Vec::new(), ghosts: Vec::new(), bytes_max, most: 0 }
    }

    fn evict_one(&mut self) {
        if sum(&self.main) <= self.bytes_max - self.bytes_max / 10 {
            while !self.small.is_empty() {
                let item = self.small.remove(0);
                if item.hits >= 2 {
                    self.main.push(Item { hits: 0, ..item });
                    continue;
                }
                if item.bytes <= self.bytes_max * 9 / 10 {
                    self.ghosts.push(item);
                    while sum(&self.ghosts) > self.bytes_max * 9 / 10 || self.ghosts.len() > self.most {
                        self.ghosts.remove(0);
                    }
                }
                return;
            }
        }
        while !self.main.is_empty() {
            let item = self.main.remove(0);
            if item.hits == 0 {
                return;
            }
            self.main.push(Item { hits: item.hits - 1, ..item });
        }
        self.small.remove(0);
    }
}

impl Twin for S3Fifo {
    fn hit(&mut self, id: u64) -> bool {
        let found = self.small.iter_mut().chain(&mut self.main).find(|item| item.id == id);
        found.map(|item| item.hits = (item.hits + 1).min(3)).is_some()
    }

    fn store(&mut self, id: u64, bytes: u64) {
        let ghost = position(&self.ghosts, id).map(|at| self.ghosts.remove(at));
        while self.bytes() + bytes > self.bytes_max {
            self.evict_one();
        }
        let list = if ghost.is_some() { &mut self.main } else { &mut self.small };
        list.push(Item::new(id, bytes));
        self.most = self.most.max(self.small.len() + self.main.len());
    }

    fn bytes(&self) -> u64 {
        sum(&self.small) + sum(&self.main)
    }
}

/// Least recent first, in segments.
#[derive(Debug)]
pub(super) struct Slru {
    pub(super) segments: Vec<Vec<Item>>,
    segment_bytes_max: Vec<u64>,
    bytes_max: u64,
}

impl Slru {
    pub(super) fn new(bytes_max: u64) -> Self {
        let quarter = bytes_max / 4;
        Self::with_segments(vec![bytes_max - 3 * quarter, quarter, quarter, quarter])
    }

    pub(super) fn with_segments(segment_bytes_max: Vec<u64>) -> Self {
        Self {
            segments: vec![Vec::new(); segment_bytes_max.len()],
            bytes_max: segment_bytes_max.iter().sum(),
            segment_bytes_max,
        }
    }

    /// Who would go.
    pub(super) fn last(&self) -> Option<Item> {
        self.segments.iter().find_map(|segment| segment.first().copied())
    }

    pub(super) fn evict_one(&mut self) {
        self.segments.iter_mut().find(|segment| !segment.is_empty()).unwrap().remove(0);
    }
}

impl Twin for Slru {
    fn hit(&mut self, id: u64) -> bool {
        let top = self.segments.len() - 1;
        for from in 0..=top {
            let Some(at) = position(&self.segments[from], id) else { continue };
            let item = self.segments[from].remove(at);
            self.segments[(from + 1).min(top)].push(item);
            for segment in (1..=top).rev() {
                while sum(&self.segments[segment]) > self.segment_bytes_max[segment] {
                    let falls = self.segments[segment].remove(0);
                    self.segments[segment - 1].push(falls);
                }
            }
            return true;
        }
        false
    }

    fn store(&mut self, id: u64, bytes: u64) {
        while self.bytes() + bytes > self.bytes_max {
            self.evict_one();
        }
        let room = |segment: &usize| sum(&self.segments[*segment]) + bytes <= self.segment_bytes_max[*segment];
        let segment = (0..self.segments.len()).find(room).unwrap_or(0);
        self.segments[segment].push(Item::new(id, bytes));
    }

    fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| sum(segment)).sum()
    }
}

/// The paper's figure 4, case by case, with bytes for pages. Least recent first.
#[derive(Debug)]
pub(super) struct Arc {
    t1: Vec<Item>,
    t2: Vec<Item>,
    b1: Vec<Item>,
    b2: Vec<Item>,
    p: f64,
    bytes_max: u64,
}

impl Arc {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { t1: Vec::new(), t2: Vec::new(), b1: Vec::new(), b2: Vec::new(), p: 0.0, bytes_max }
    }

    fn replace(&mut self, in_b2: bool) {
        let t1 = sum(&self.t1) as f64;
        let wants_t1 = t1 > self.p || (t1 == self.p && in_b2);
        let from_t1 = if wants_t1 { !self.t1.is_empty() } else { self.t2.is_empty() };
        let (from, to) = if from_t1 { (&mut self.t1, &mut self.b1) } else { (&mut self.t2, &mut self.b2) };
        to.push(from.remove(0));
    }

    fn l1(&self) -> u64 {
        sum(&self.t1) + sum(&self.b1)
    }

    /// Case IV: a miss in all four lists.
    fn evict_for_stranger(&mut self, bytes: u64) {
        if self.l1() + bytes > self.bytes_max {
            if self.b1.is_empty() {
                // T1 has it all: who goes is not remembered.
                self.t1.remove(0);
                return;
            }
            while self.l1() + bytes > self.bytes_max && !self.b1.is_empty() {
                self.b1.remove(0);
            }
        } else {
            while self.l1() + sum(&self.t2) + sum(&self.b2) >= 2 * self.bytes_max && !self.b2.is_empty() {
                self.b2.remove(0);
            }
        }
        self.replace(false);
    }
}

impl Twin for Arc {
    fn hit(&mut self, id: u64) -> bool {
        if let Some(at) = position(&self.t1, id) {
            let item = self.t1.remove(at);
            self.t2.push(item);
            return true;
        }
        refresh(&mut self.t2, id)
    }

    fn store(&mut self, id: u64, bytes: u64) {
        let (b1, b2) = (sum(&self.b1).max(1) as f64, sum(&self.b2).max(1) as f64);
        let (in_b1, in_b2) = (position(&self.b1, id), position(&self.b2, id));
        if let Some(at) = in_b1 {
            let size = self.b1.remove(at).bytes as f64;
            self.p = (self.p + size * (b2 / b1).max(1.0)).min(self.bytes_max as f64);
        }
        if let Some(at) = in_b2 {
            let size = self.b2.remove(at).bytes as f64;
            self.p = (self.p - size * (b1 / b2).max(1.0)).max(0.0);
        }
        let found = in_b1.or(in_b2).is_some();
        while self.bytes() + bytes > self.bytes_max {
            if found { self.replace(in_b2.is_some()) } else { self.evict_for_stranger(bytes) }
        }
        if found { &mut self.t2 } else { &mut self.t1 }.push(Item::new(id, bytes));
    }

    fn bytes(&self) -> u64 {
        sum(&self.t1) + sum(&self.t2)
    }
}

/// Least recent first, with priorities beside.
#[derive(Debug)]
pub(super) struct Gdsf {
    items: Vec<(Item, f64)>,
    clock: f64,
    bytes_max: u64,
}

impl Gdsf {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { items: Vec::new(), clock: 0.0, bytes_max }
    }

    fn push(&mut self, item: Item) {
        let frequency = item.hits + 1;
        self.items.push((item, self.clock + frequency as f64 / item.bytes.max(1) as f64));
    }
}

impl Twin for Gdsf {
    fn hit(&mut self, id: u64) -> bool {
        let Some(at) = self.items.iter().position(|(item, _)| item.id == id) else { return false };
        let (item, _) = self.items.remove(at);
        self.push(Item { hits: item.hits + 1, ..item });
        true
    }

    fn store(&mut self, id: u64, bytes: u64) {
        while self.bytes() + bytes > self.bytes_max {
            let lowest = self.items.iter().map(|&(_, priority)| priority).fold(f64::INFINITY, f64::min);
            self.items.remove(self.items.iter().position(|&(_, priority)| priority == lowest).unwrap());
            self.clock = lowest;
        }
        self.push(Item::new(id, bytes));
    }

    fn bytes(&self) -> u64 {
        self.items.iter().map(|(item, _)| item.bytes).sum()
    }
}

/// In no order; the draws are those of the policy.
#[derive(Debug)]
pub(super) struct Random {
    items: Vec<Item>,
    rng: ChaCha8Rng,
    bytes_max: u64,
}

impl Random {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { items: Vec::new(), rng: ChaCha8Rng::seed_from_u64(0), bytes_max }
    }
}

impl Twin for Random {
    fn hit(&mut self, id: u64) -> bool {
        position(&self.items, id).is_some()
    }

    fn store(&mut self, id: u64, bytes: u64) {
        while sum(&self.items) + bytes > self.bytes_max {
            let gone = self.rng.random_range(0..self.items.len());
            self.items.swap_remove(gone);
        }
        self.items.push(Item::new(id, bytes));
    }

    fn bytes(&self) -> u64 {
        sum(&self.items)
    }
}
