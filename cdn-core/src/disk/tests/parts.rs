//! Parts of objects: against a plain map of bytes, and by what takes the place of what.

use http::header::{ETAG, RANGE};

use super::*;
use crate::range::ContentRange;

const TOTAL: u64 = 200_000;

/// Byte `at` of a version of the object.
fn byte(version: u8, at: u64) -> u8 {
    (at as u8).wrapping_mul(31) ^ (at >> 9) as u8 ^ version.wrapping_mul(83)
}

fn bytes(version: u8, range: ByteRange) -> Vec<u8> {
    (range.first..=range.last).map(|at| byte(version, at)).collect()
}

const fn range(first: u64, last: u64) -> ByteRange {
    ByteRange { first, last }
}

fn settings() -> DiskSettings {
    DiskSettings { bytes_max: 64 << 20, bytes_per_record_min: 64, object_bytes_max: 1 << 20, ..DiskSettings::default() }
}

impl Sim {
    /// What is written of a version of the object, whose number is its entity tag.
    fn draft_of(&self, ticket: Ticket, version: u8, part: Option<ByteRange>) -> Draft {
        let headers = HeaderMap::from_iter([(ETAG, format!("\"{version}\"").parse().unwrap())]);
        let part = part.map(|part| ContentRange { part, total: TOTAL });
        let head = RecordHead { part, ..self.head("/", StoredHead::new(StatusCode::OK, headers)) };
        Draft::new(SEED, ticket, &self.request("/", &HeaderMap::new()), head).unwrap()
    }

    fn put_version(&mut self, version: u8, part: Option<ByteRange>, bytes_max: usize) {
        let draft = self.draft_of(self.tier.ticket(), version, part);
        self.tier.make_way(&draft);
        let body = bytes(version, part.unwrap_or(range(0, TOTAL - 1)));
        let admitted = self.tier.admit(draft, body.len() as u64).unwrap();
        self.write(admitted, &body, bytes_max);
    }

    fn found(&self, wanted: ByteRange, lacking: Option<ByteRange>) -> Option<Found> {
        let line = format!("bytes={}-{}", wanted.first, wanted.last).parse().unwrap();
        let headers = HeaderMap::from_iter([(RANGE, line)]);
        let request = self.request("/", &headers);
        self.tier.find(NOW, request.key(SEED), &request, lacking)
    }

    /// Runs of bytes that lie there of a range, by position; none where it is not worth reading.
    fn read_range(&mut self, wanted: ByteRange) -> Vec<(u64, Vec<u8>)> {
        let mut there = Vec::new();
        match self.found(wanted, None) {
            None => {}
            Some(Found::Whole(located)) => {
                let read =
                    self.record(&located).and_then(|(header, bytes)| Some(&bytes[header.body(SEED, bytes).ok()?]));
                match read.map(<[u8]>::to_vec) {
                    Some(body) => there.push((0, body)),
                    None => self.tier.damaged(&located),
                }
            }
            Some(Found::Parts(found)) => {
                if self.record(&found.newest).is_none() {
                    self.tier.damaged(&found.newest);
                    self.work();
                    return there;
                }
                for stretch in found.stretches {
                    assert!(stretch.range.length() <= wanted.length() + 2 * (64 << 10), "{stretch:?} for {wanted:?}");
                    let read = self.record(&stretch.located).and_then(|(header, bytes)| {
                        let (start, body) = bytes.split_at(header.body_start() as usize);
                        assert_eq!(start.len() as u64, stretch.body_start);
                        let chunks = &body[stretch.within.first as usize..=stretch.within.last as usize];
                        header.check(SEED, start, stretch.within.first, chunks).ok()?;
                        Some(chunks.to_vec())
                    });
                    match read {
                        Some(chunks) => there.push((stretch.range.first, chunks)),
                        None => self.tier.damaged(&stretch.located),
                    }
                }
            }
        }
        self.work();
        // Chunks begin before what is wanted, and end behind it.
        let mut next = wanted.first;
        for (first, bytes) in &mut there {
            let skip = next.saturating_sub(*first).min(bytes.len() as u64);
            bytes.drain(..skip as usize);
            *first += skip;
            bytes.truncate((wanted.last + 1).saturating_sub(*first) as usize);
            next = next.max(*first + bytes.len() as u64);
        }
        there
    }
}

#[test]
fn parts_of_one_representation_lie_side_by_side_and_come_back_after_a_restart() {
    let mut sim = Sim::new(settings());
    sim.put_version(1, Some(range(0, 99_999)), usize::MAX);
    sim.put_version(1, Some(range(150_000, 160_000)), usize::MAX);
    sim.put_version(1, Some(range(90_000, 149_999)), usize::MAX);
    for _ in 0..2 {
        let there: Vec<u8> = sim.read_range(range(95_000, 155_000)).into_iter().flat_map(|(_, bytes)| bytes).collect();
        assert_eq!(there, bytes(1, range(95_000, 155_000)));
        let [(first, there)] = sim.read_range(range(150_000, 170_000)).try_into().unwrap();
        assert_eq!((first, there.len()), (150_000, 10_001), "one stretch lacks");
        assert!(sim.found(range(161_000, 170_000), None).is_none());
        sim.restart();
    }
    // Of one byte no more than its chunk is read.
    let Some(Found::Parts(found)) = sim.found(range(70_000, 70_000), None) else { panic!("it is there") };
    let [stretch] = found.stretches.try_into().unwrap();
    assert_eq!((stretch.range, sim.tier.len()), (range(65_536, 99_999), 3));
    // What memory has is not read again.
    let Some(Found::Parts(found)) = sim.found(range(0, 120_000), Some(range(100_000, 120_000))) else {
        panic!("it is there")
    };
    assert_eq!(found.stretches.iter().map(|stretch| stretch.range).collect::<Vec<_>>(), [range(90_000, 149_999)]);
    assert_eq!(sim.invalidate("/*"), 1, "the parts of one response count as one");
    assert!(sim.tier.is_empty());
}

#[test]
fn another_representation_and_a_whole_response_take_the_place_of_parts() {
    let mut sim = Sim::new(settings());
    sim.put_version(1, Some(range(0, 9)), usize::MAX);
    sim.put_version(2, Some(range(20, 29)), usize::MAX);
    assert!(sim.found(range(0, 9), None).is_none());
    sim.put_version(2, Some(range(15, 40)), usize::MAX);
    assert_eq!(sim.tier.len(), 1, "what lies within a newer part goes");
    sim.put_version(2, None, usize::MAX);
    assert!(matches!(sim.found(range(15, 40), None), Some(Found::Whole(_))) && sim.tier.len() == 1);
    let draft = sim.draft_of(sim.tier.ticket(), 3, Some(range(0, 1)));
    sim.tier.make_way(&draft);
    assert!(sim.tier.is_empty(), "already when the head of a part says so");
}

#[test]
fn what_waits_to_be_written_gives_way_and_is_overtaken_like_what_lies_there() {
    let mut sim = Sim::new(settings());
    let ticket = sim.tier.ticket();
    let admitted = [(1, range(0, 9)), (1, range(20, 29)), (2, range(40, 49))]
        .map(|(version, part)| sim.tier.admit(sim.draft_of(ticket, version, Some(part)), 10).unwrap());
    let [first, second, third] = &admitted;
    assert_eq!([sim.tier.place(first), sim.tier.place(second)], [None, None], "the third is of another version");
    assert!(sim.tier.place(third).is_some());
    sim.invalidate("/");
    let late = sim.tier.admit(sim.draft_of(ticket, 2, Some(range(0, 9))), 10);
    assert_eq!(late.unwrap_err(), NotWritten::Invalidated);
    let [.., third] = admitted;
    assert!(!sim.tier.is_wanted(&third));
}

#[test]
fn stale_parts_are_not_read_until_a_newer_one_says_that_they_hold() {
    let mut sim = Sim::new(settings());
    sim.put_version(1, Some(range(0, 99)), usize::MAX);
    let later = NOW + Duration::from_secs(61);
    let headers = HeaderMap::from_iter([(RANGE, HeaderValue::from_static("bytes=0-99"))]);
    let find = |sim: &Sim| {
        let request = sim.request("/", &headers);
        sim.tier.find(later, request.key(SEED), &request, None).is_some()
    };
    assert!(!find(&sim));
    let mut draft = sim.draft_of(sim.tier.ticket(), 1, Some(range(50, 59)));
    draft.head.stored_at = later;
    let admitted = sim.tier.admit(draft, 10).unwrap();
    sim.write(admitted, &bytes(1, range(50, 59)), usize::MAX);
    assert!(find(&sim), "RFC 9111 section 3.4: the newer head is that of all");
}

#[test]
fn the_oldest_part_goes_where_there_are_too_many() {
    let mut sim = Sim::new(DiskSettings { parts_max: 2, ..settings() });
    for first in [0, 20, 40] {
        sim.put_version(1, Some(range(first, first + 9)), usize::MAX);
    }
    assert_eq!((sim.tier.len(), sim.counters.value(Counter::EdgePartsFull)), (2, 1));
    assert!(sim.found(range(0, 9), None).is_none() && sim.found(range(20, 29), None).is_some());
}

#[derive(Clone, Debug)]
enum Step {
    Part {
        version: u8,
        part: ByteRange,
    },
    /// As `Part`, and the process dies while it writes.
    Torn {
        version: u8,
        part: ByteRange,
        written: u16,
    },
    Whole {
        version: u8,
    },
    Invalidate {
        dies: bool,
    },
    Restart,
    Flip {
        segment: proptest::sample::Index,
        at: proptest::sample::Index,
        bit: u8,
    },
    Read(ByteRange),
}

fn step(damage: bool) -> impl Strategy<Value = Step> {
    use proptest::sample::Index;
    let version = 0_u8..2;
    // Lengths of a chunk and of a few bytes, which meet one another.
    let part = || (0..TOTAL, prop_oneof![1_u64..3_000, 1_u64..100_000]);
    let part = move || part().prop_map(|(first, length)| range(first, (first + length - 1).min(TOTAL - 1)));
    prop_oneof![
        8 => (prop_oneof![9 => Just(1_u8), 1 => version.clone()], part())
            .prop_map(|(version, part)| Step::Part { version, part }),
        u32::from(damage) => (version.clone(), part(), any::<u16>())
            .prop_map(|(version, part, written)| Step::Torn { version, part, written }),
        1 => version.prop_map(|version| Step::Whole { version }),
        1 => any::<bool>().prop_map(|dies| Step::Invalidate { dies }),
        2 => Just(Step::Restart),
        u32::from(damage) => (any::<Index>(), any::<Index>(), 0_u8..8)
            .prop_map(|(segment, at, bit)| Step::Flip { segment, at, bit }),
        8 => part().prop_map(Step::Read),
    ]
}

/// What was put and not taken back: of which version, and which bytes.
struct Model {
    version: u8,
    whole: bool,
    there: Vec<bool>,
    /// All that there are, by version.
    bytes: [Vec<u8>; 2],
}

impl Model {
    fn new() -> Self {
        let bytes = [0, 1].map(|version| bytes(version, range(0, TOTAL - 1)));
        Self { version: 0, whole: false, there: vec![false; TOTAL as usize], bytes }
    }

    fn clear(&mut self) {
        (self.whole, self.there) = (false, vec![false; TOTAL as usize]);
    }

    fn put(&mut self, version: u8, part: ByteRange, whole: bool) {
        if version != self.version || self.whole || whole {
            self.clear();
        }
        (self.version, self.whole) = (version, whole);
        self.there[part.first as usize..=part.last as usize].fill(true);
    }
}

fn play(steps: &[Step], damage: bool) -> Result<(), TestCaseError> {
    let mut sim = Sim::new(settings());
    let mut model = Model::new();
    for step in steps {
        match step {
            Step::Part { version, part } => {
                sim.put_version(*version, Some(*part), usize::MAX);
                model.put(*version, *part, false);
            }
            Step::Torn { version, part, written } => {
                // The record that is not whole has no effect but by the head of its response.
                sim.put_version(*version, Some(*part), usize::from(*written).min(part.length() as usize));
                if *version != model.version || model.whole {
                    model.clear();
                    model.version = *version;
                }
                sim.restart();
            }
            Step::Whole { version } => {
                sim.put_version(*version, None, usize::MAX);
                model.put(*version, range(0, TOTAL - 1), true);
            }
            Step::Invalidate { dies } => {
                sim.invalidate("/*");
                if *dies {
                    sim.restart()
                } else {
                    sim.work()
                }
                model.clear();
            }
            Step::Restart => sim.restart(),
            Step::Flip { segment, at, bit } => {
                let nth = segment.index(sim.files.len().max(1));
                if let Some(file) = sim.files.values_mut().nth(nth).filter(|file| !file.is_empty()) {
                    let at = at.index(file.len());
                    file[at] ^= 1 << bit;
                }
            }
            Step::Read(wanted) => {
                let there = sim.read_range(*wanted);
                for (first, found) in &there {
                    let at = *first as usize..*first as usize + found.len();
                    prop_assert!(model.there[at.clone()].iter().all(|&there| there), "{:?} was taken back", at);
                    prop_assert!(model.bytes[usize::from(model.version)][at.clone()] == *found, "{:?} is wrong", at);
                }
                if !damage {
                    let known = &model.there[wanted.first as usize..=wanted.last as usize];
                    let gaps = known.chunk_by(|one, next| one == next).filter(|run| !run[0]).count();
                    let count = known.iter().filter(|&&there| there).count();
                    let found: usize = there.iter().map(|(_, bytes)| bytes.len()).sum();
                    prop_assert_eq!(found, if gaps <= 1 { count } else { 0 }, "of {:?}", wanted);
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// No history of parts, whole responses, invalidations, damage and restarts yields a byte that is not the last version's.
    #[test]
    fn every_byte_is_that_of_the_last_version(steps in proptest::collection::vec(step(true), 1..40)) {
        play(&steps, true)?;
    }

    /// Without damage every byte that was put is found again, and what lacks is named exactly.
    #[test]
    fn no_part_is_lost_without_damage(steps in proptest::collection::vec(step(false), 1..40)) {
        play(&steps, false)?;
    }
}
