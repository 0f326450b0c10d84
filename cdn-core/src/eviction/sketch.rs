//! How often an identity was asked for lately, roughly: a count-min sketch (Cormode, Muthukrishnan 2005) with minimal
//! increment, whose counters are halved again and again (Einziger, Friedman, Manes: "TinyLFU", 2017).

use super::index::mix;

/// Counters per identity.
const ROWS: u64 = 4;
/// Counters stop here: four bits, as in the paper.
const COUNT_MAX: u8 = 15;
/// Requests per counter of a row after which all are halved: the paper's sample of ten times the cache.
const SAMPLE: u64 = 10;
/// So that a small cache tells its entries apart too.
const WIDTH_MIN: usize = 1024;

/// The sketch.
#[derive(Debug)]
pub(super) struct Sketch {
    /// Row after row; the width of a row is a power of two.
    counters: Vec<u8>,
    width: usize,
    requests: u64,
}

impl Default for Sketch {
    fn default() -> Self {
        Self { counters: vec![0; WIDTH_MIN * ROWS as usize], width: WIDTH_MIN, requests: 0 }
    }
}

impl Sketch {
    /// Counts a request.
    pub(super) fn add(&mut self, identity: u64) {
        let count = self.estimate(identity);
        if count < COUNT_MAX {
            for place in places(identity, self.width) {
                if let Some(counter) = self.counters.get_mut(place).filter(|counter| **counter == count) {
                    *counter += 1;
                }
            }
        }
        self.requests += 1;
        if self.requests >= SAMPLE * self.width as u64 {
            self.counters.iter_mut().for_each(|counter| *counter /= 2);
            self.requests /= 2;
        }
    }

    /// How often it was asked for: at least as often as it was, up to 15 and as far as halving left it.
    pub(super) fn estimate(&self, identity: u64) -> u8 {
        places(identity, self.width).filter_map(|place| self.counters.get(place).copied()).min().unwrap_or(0)
    }

    /// Makes the rows at least as wide as there are entries to tell apart. What was counted stays: each half of a wider
    /// row begins as the row was.
    pub(super) fn make_room_for(&mut self, entries: usize) {
        while self.width < entries {
            self.counters = self.counters.chunks(self.width).flat_map(|row| [row, row]).flatten().copied().collect();
            self.width *= 2;
        }
    }
}

/// One place in each row, by double hashing (Kirsch, Mitzenmacher 2006).
fn places(identity: u64, width: usize) -> impl Iterator<Item = usize> {
    let hash = mix(identity ^ 0x9e37_79b9_7f4a_7c15);
    let (first, step) = (hash as u32, (hash >> 32) as u32 | 1);
    (0..ROWS as usize)
        .map(move |row| row * width + (first.wrapping_add(step.wrapping_mul(row as u32)) as usize & (width - 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_never_too_low_until_they_are_halved() {
        let mut sketch = Sketch::default();
        sketch.make_room_for(2_000);
        for round in 1..=5 {
            (0..200).for_each(|identity| sketch.add(identity));
            assert!((0..200).all(|identity| sketch.estimate(identity) >= round));
        }
        let exact = (0..200).filter(|identity| sketch.estimate(*identity) == 5).count();
        assert!(exact >= 180, "{exact} of 200 are exact");
        let before: Vec<u8> = (0..200).map(|identity| sketch.estimate(identity)).collect();
        sketch.make_room_for(5_000);
        assert!((0..200).zip(before).all(|(identity, before)| sketch.estimate(identity) == before));
    }

    #[test]
    fn what_was_asked_for_long_ago_is_halved_and_forgotten() {
        let mut sketch = Sketch::default();
        (0..100).for_each(|_| sketch.add(7));
        assert_eq!(sketch.estimate(7), COUNT_MAX);
        (0..SAMPLE * WIDTH_MIN as u64 * 4).for_each(|_| sketch.add(8));
        assert_eq!((sketch.estimate(7), sketch.estimate(8)), (0, COUNT_MAX));
    }
}
