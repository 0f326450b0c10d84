//! The tier against files in memory: what must be found, what must not, and that no history of damage and restarts makes
//! it tell a lie.

mod parts;

use std::{convert::Infallible, time::Duration};

use http::{HeaderName, HeaderValue, StatusCode};
use proptest::prelude::*;

use super::{record::DEAD, *};
use crate::{WallTime, distribution::Distribution, freshness::Lifetime, store::StoredHead, test_data};

const SEED: KeySeed = KeySeed::new(7);
const NOW: WallTime = WallTime::from_unix_secs(1);

/// A tier and its files, which do what they are told at once.
struct Sim {
    tier: DiskTier,
    settings: DiskSettings,
    files: BTreeMap<SegmentId, Vec<u8>>,
    /// The label as it was last written down.
    label: Vec<u8>,
    distribution: Distribution,
    counters: Arc<Counters>,
}

impl Sim {
    fn new(settings: DiskSettings) -> Self {
        let counters = Arc::<Counters>::default();
        let label = DiskTier::blank_label(Generation::of(""), SEED);
        let bytes = label.to_bytes();
        let mut tier = DiskTier::new(settings, label, Arc::clone(&counters));
        tier.recovered();
        let distribution = Distribution::new(test_data::distribution_spec()).unwrap();
        Self { tier, settings, files: BTreeMap::new(), label: bytes, distribution, counters }
    }

    fn work(&mut self) {
        while let Some(work) = self.tier.poll_work() {
            match work {
                Work::Remove(segment) => drop(self.files.remove(&segment)),
                Work::Kill(place) => {
                    let at = place.offset as usize;
                    if let Some(state) =
                        self.files.get_mut(&place.segment).and_then(|file| file.get_mut(at..at + DEAD.len()))
                    {
                        state.copy_from_slice(&DEAD);
                    }
                }
            }
        }
        let on_disk: usize = self.files.values().map(Vec::len).sum();
        assert!(on_disk as u64 <= self.settings.bytes_max, "{on_disk} bytes in {} files", self.files.len());
    }

    /// The process dies; whatever it had not been able to do yet is not done.
    fn restart(&mut self) {
        let label = Label::parse(&self.label).unwrap();
        self.tier = DiskTier::new(self.settings, label, Arc::clone(&self.counters));
        for (&segment, file) in &mut self.files {
            let read = |offset: u64, n: usize| {
                let rest = &file[(offset as usize).min(file.len())..];
                Ok::<_, Infallible>(rest[..n.min(rest.len())].to_vec())
            };
            let Ok(whole) = self.tier.recover(segment, file.len() as u64, read);
            file.truncate(whole as usize);
        }
        self.tier.recovered();
        self.work();
    }

    fn request<'a>(&'a self, path: &'a str, headers: &'a HeaderMap) -> RequestHead<'a> {
        let behavior = self.distribution.behavior_for(path);
        let (distribution, method) = (&self.distribution, &Method::GET);
        RequestHead { distribution, behavior, method, host: "h", path, query: None, headers }
    }

    fn draft(&self, ticket: Ticket, path: &str, language: &str, status: StatusCode) -> Option<Draft> {
        let vary = if language.is_empty() { Vary::default() } else { Vary::Names([LANGUAGE].into()) };
        let head = RecordHead { vary, ..self.head(path, StoredHead::new(status, HeaderMap::new())) };
        Draft::new(SEED, ticket, &self.request(path, &headers(language)), head)
    }

    fn head(&self, path: &str, head: StoredHead) -> RecordHead {
        RecordHead {
            distribution: Arc::clone(self.distribution.id()),
            uri: path.into(),
            vary: Vary::default(),
            head: Arc::new(head),
            part: None,
            lifetime: Lifetime { fresh_for: Duration::from_secs(60), ..Lifetime::default() },
            stored_at: NOW,
        }
    }

    /// A response was fetched, and is written at once.
    fn put(&mut self, path: &str, language: &str, body: &[u8]) -> Result<(), NotWritten> {
        let draft = self.draft(self.tier.ticket(), path, language, StatusCode::OK).unwrap();
        let admitted = self.tier.admit(draft, body.len() as u64);
        self.work();
        self.write(admitted?, body, usize::MAX);
        Ok(())
    }

    /// Writes a record, or only its first bytes.
    fn write(&mut self, admitted: Admitted, body: &[u8], bytes_max: usize) {
        self.work();
        let Some(placement) = self.tier.place(&admitted) else { return self.tier.failed(admitted, None) };
        self.work();
        let mut record = admitted.preamble(SEED, &placement, &[body]);
        record.extend_from_slice(body);
        assert_eq!(record.len() as u64, placement.place.bytes);
        let file = self.files.entry(placement.place.segment).or_default();
        assert_eq!(file.len() as u64, placement.place.offset, "segments only grow");
        file.extend_from_slice(&record[..record.len().min(bytes_max)]);
        if bytes_max < record.len() {
            return; // the process dies here
        }
        self.tier.landed(admitted, &placement);
        self.work();
    }

    /// What a request gets, and whether that was found by reading something damaged.
    fn read(&mut self, path: &str, language: &str) -> Option<Vec<u8>> {
        let headers = headers(language);
        let request = self.request(path, &headers);
        let Found::Whole(located) = self.tier.find(NOW, request.key(SEED), &request, None)? else { return None };
        let body =
            self.record(&located).and_then(|(header, bytes)| Some(bytes[header.body(SEED, bytes).ok()?].to_vec()));
        if body.is_none() {
            self.tier.damaged(&located);
            self.work();
        }
        body
    }

    /// The record that was meant, if its head is whole.
    fn record(&self, located: &Located) -> Option<(RecordHeader, &[u8])> {
        let file = self.files.get(&located.place.segment)?;
        let at = located.place.offset as usize;
        let bytes = file.get(at..at + located.place.bytes as usize)?;
        let header = RecordHeader::parse(SEED, bytes).ok().filter(|header| located.is(header) && header.live)?;
        header.head(SEED, bytes).ok()?;
        Some((header, bytes))
    }

    fn invalidate(&mut self, pattern: &str) -> u64 {
        let removed = self.tier.invalidate(&"demo".into(), &InvalidationPattern::parse(pattern).unwrap());
        self.label = self.tier.label().to_bytes();
        removed
    }
}

const LANGUAGE: HeaderName = http::header::ACCEPT_LANGUAGE;

fn headers(language: &str) -> HeaderMap {
    HeaderMap::from_iter([(LANGUAGE, HeaderValue::from_str(language).unwrap())])
}

fn small() -> DiskSettings {
    DiskSettings { bytes_max: 64 << 10, object_bytes_max: 8 << 10, bytes_per_record_min: 64, ..DiskSettings::default() }
}

#[test]
fn what_was_written_is_found_after_a_restart() {
    let mut sim = Sim::new(small());
    sim.put("/a", "", b"one").unwrap();
    sim.put("/b", "de", b"zwei").unwrap();
    sim.put("/b", "en", b"two").unwrap();
    for _ in 0..3 {
        let found = [("/a", "fr"), ("/b", "de"), ("/b", "en"), ("/b", "fr")].map(|(path, of)| sim.read(path, of));
        assert_eq!(found, [Some(b"one".to_vec()), Some(b"zwei".to_vec()), Some(b"two".to_vec()), None]);
        sim.restart();
    }
    assert_eq!((sim.files.len(), sim.tier.len()), (1, 3), "a restart goes on in the same segment");
}

#[test]
fn errors_and_heads_have_no_place() {
    let sim = Sim::new(small());
    assert!(sim.draft(sim.tier.ticket(), "/a", "", StatusCode::NOT_FOUND).is_none());
    assert!(sim.draft(sim.tier.ticket(), "/a", "", StatusCode::OK).is_some());
}

#[test]
fn the_oldest_segment_goes_and_the_bytes_stay_bounded() {
    let mut sim = Sim::new(small());
    for at in 0..200 {
        sim.put(&format!("/{at}"), "", &[7; 1_000]).unwrap();
    }
    assert_eq!(sim.read("/199", ""), Some(vec![7; 1_000]));
    assert_eq!(sim.read("/0", ""), None);
    let [bytes, objects, evictions] =
        [Counter::EdgeDiskBytes, Counter::EdgeDiskObjects, Counter::EdgeDiskEvictions].map(|of| sim.counters.value(of));
    assert!(bytes <= 64 << 10 && bytes > 48 << 10, "{bytes}");
    assert_eq!((objects, evictions), (sim.tier.len() as u64, 200 - sim.tier.len() as u64));
}

#[test]
fn limits_are_reached_by_name() {
    let mut sim = Sim::new(DiskSettings { queue_bytes_max: 3_000, variants_max: 2, ..small() });
    assert_eq!(sim.put("/large", "", &[0; 8_193]), Err(NotWritten::TooLarge));
    let admit = |sim: &mut Sim, path: &str| {
        let draft = sim.draft(sim.tier.ticket(), path, "", StatusCode::OK).unwrap();
        sim.tier.admit(draft, 2_000)
    };
    let first = admit(&mut sim, "/a").unwrap();
    assert_eq!(admit(&mut sim, "/b").unwrap_err(), NotWritten::QueueFull);
    sim.tier.failed(first, None);
    let again = admit(&mut sim, "/b").unwrap();
    sim.tier.failed(again, None);
    for language in ["a", "b", "c"] {
        sim.put("/v", language, b"x").unwrap();
    }
    assert_eq!(["a", "b", "c"].map(|language| sim.read("/v", language).is_some()), [false, true, true]);
    let few = DiskSettings { bytes_per_record_min: 8 << 10, ..small() };
    let mut sim = Sim::new(few);
    for at in 0..50 {
        sim.put(&format!("/{at}"), "", b"").unwrap();
        assert!(sim.tier.len() <= 8);
    }
}

#[test]
fn an_invalidation_holds_against_writes_under_way_and_restarts() {
    let mut sim = Sim::new(small());
    let before = sim.tier.ticket();
    sim.put("/a1", "", b"old").unwrap();
    sim.put("/b", "", b"stays").unwrap();
    let draft = sim.draft(before, "/a2", "", StatusCode::OK).unwrap();
    let under_way = sim.tier.admit(draft, 3).unwrap();
    let placement = sim.tier.place(&under_way).unwrap();
    assert_eq!(sim.invalidate("/a*"), 1);
    let late = sim.draft(before, "/a3", "", StatusCode::OK).unwrap();
    assert_eq!(sim.tier.admit(late, 3).unwrap_err(), NotWritten::Invalidated);
    // The process dies before a single record was killed, with the write under way just done.
    let mut record = under_way.preamble(SEED, &placement, &[b"old"]);
    record.extend_from_slice(b"old");
    sim.files.get_mut(&placement.place.segment).unwrap().extend(record);
    let mut dead = Sim { files: sim.files.clone(), label: sim.label.clone(), ..Sim::new(small()) };
    dead.restart();
    assert_eq!(["/a1", "/a2", "/b"].map(|path| dead.read(path, "").is_some()), [false, false, true]);
    // It lives on.
    sim.tier.landed(under_way, &placement);
    sim.work();
    assert_eq!(["/a1", "/a2", "/b"].map(|path| sim.read(path, "").is_some()), [false, false, true]);
    sim.put("/a1", "", b"new").unwrap();
    sim.restart();
    assert_eq!(sim.read("/a1", ""), Some(b"new".to_vec()), "what was fetched later is not covered");
}

#[test]
fn more_invalidations_than_are_remembered_empty_the_tier_rather_than_be_lost() {
    let mut sim = Sim::new(DiskSettings { invalidations_max: 2, ..small() });
    sim.put("/a", "", b"a").unwrap();
    for at in 0..3 {
        sim.invalidate(&format!("/x{at}"));
    }
    assert_eq!((sim.read("/a", ""), sim.counters.value(Counter::EdgeDiskForgotten)), (None, 1));
    sim.work();
    sim.put("/a", "", b"a").unwrap();
    for at in 0..9 {
        sim.invalidate(&format!("/x{at}"));
        sim.work();
    }
    assert_eq!(sim.read("/a", ""), Some(b"a".to_vec()), "each was carried out before it was forgotten");
}

#[test]
fn what_is_replaced_while_it_waits_is_not_written() {
    let mut sim = Sim::new(small());
    let draft = sim.draft(sim.tier.ticket(), "/a", "", StatusCode::OK).unwrap();
    let admitted = sim.tier.admit(draft, 3).unwrap();
    let headers = headers("");
    let key = sim.request("/a", &headers).key(SEED);
    sim.tier.forget(key, &headers);
    assert_eq!(sim.tier.place(&admitted), None);
    sim.tier.failed(admitted, None);
    assert!(sim.tier.is_empty());
}

/// One step of a history. Paths and bodies are few, so that histories meet themselves.
#[derive(Clone, Debug)]
enum Step {
    Put {
        path: u8,
        language: u8,
        bytes: u16,
    },
    /// As `Put`, and the process dies while it writes.
    Torn {
        path: u8,
        bytes: u16,
        written: u16,
    },
    Forget {
        path: u8,
    },
    Invalidate {
        path: u8,
        wildcard: bool,
    },
    Restart,
    /// The process dies before it has killed what an invalidation covers.
    InvalidateAndRestart {
        path: u8,
    },
    Flip {
        segment: proptest::sample::Index,
        at: proptest::sample::Index,
        bit: u8,
    },
    Truncate {
        segment: proptest::sample::Index,
        at: proptest::sample::Index,
    },
    Read {
        path: u8,
        language: u8,
    },
}

fn step() -> impl Strategy<Value = Step> {
    use proptest::sample::Index;
    let (path, language) = (0_u8..6, 0_u8..3);
    prop_oneof![
        6 => (path.clone(), language.clone(), 0_u16..9_000)
            .prop_map(|(path, language, bytes)| Step::Put { path, language, bytes }),
        1 => (path.clone(), 0_u16..3_000, 0_u16..3_000)
            .prop_map(|(path, bytes, written)| Step::Torn { path, bytes, written }),
        1 => path.clone().prop_map(|path| Step::Forget { path }),
        1 => (path.clone(), any::<bool>()).prop_map(|(path, wildcard)| Step::Invalidate { path, wildcard }),
        1 => Just(Step::Restart),
        1 => path.clone().prop_map(|path| Step::InvalidateAndRestart { path }),
        1 => (any::<Index>(), any::<Index>(), 0_u8..8).prop_map(|(segment, at, bit)| Step::Flip { segment, at, bit }),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(segment, at)| Step::Truncate { segment, at }),
        4 => (path, language).prop_map(|(path, language)| Step::Read { path, language }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// The obvious model knows for each variant the last response that was put and not taken back. The tier may have
    /// lost it. It may have nothing else.
    #[test]
    fn no_history_of_damage_and_restarts_yields_wrong_bytes(steps in proptest::collection::vec(step(), 1..80)) {
        let mut sim = Sim::new(small());
        let mut model: BTreeMap<(String, String), Vec<u8>> = BTreeMap::new();
        let language = |number: u8| ["", "de", "en"][usize::from(number)];
        for (at, step) in steps.iter().enumerate() {
            match step {
                Step::Put { path, language: of, bytes } => {
                    let (path, of) = (format!("/{path}"), language(*of));
                    let body: Vec<u8> = (0..*bytes).map(|byte| byte as u8 ^ at as u8).collect();
                    // As memory does, a new response takes the place of all that its request would select.
                    let headers = headers(of);
                    let key = sim.request(&path, &headers).key(SEED);
                    sim.tier.forget(key, &headers);
                    model.retain(|(one, variant), _| *one != path || !(variant.is_empty() || variant == of));
                    if sim.put(&path, of, &body).is_ok() {
                        model.insert((path, of.to_owned()), body);
                    }
                }
                Step::Torn { path, bytes, written } => {
                    let path = format!("/{path}");
                    let draft = sim.draft(sim.tier.ticket(), &path, "", StatusCode::OK).unwrap();
                    model.remove(&(path, String::new()));
                    if let Ok(admitted) = sim.tier.admit(draft, u64::from(*bytes)) {
                        // Two bytes short at least: a record that is whole was written.
                        let record = record_bytes(admitted.head(), u64::from(*bytes)) as usize;
                        sim.write(admitted, &vec![at as u8; usize::from(*bytes)], usize::from(*written).min(record - 2));
                        sim.restart();
                    }
                }
                Step::Forget { path } => {
                    let path = format!("/{path}");
                    let headers = headers("de");
                    let key = sim.request(&path, &headers).key(SEED);
                    sim.tier.forget(key, &headers);
                    sim.work();
                    model.retain(|(one, variant), _| *one != path || variant == "en");
                }
                Step::Invalidate { path, wildcard } => {
                    sim.invalidate(&format!("/{path}{}", if *wildcard { "*" } else { "" }));
                    sim.work();
                    model.retain(|(one, _), _| *one != format!("/{path}"));
                }
                Step::InvalidateAndRestart { path } => {
                    sim.invalidate(&format!("/{path}"));
                    sim.restart();
                    model.retain(|(one, _), _| *one != format!("/{path}"));
                }
                Step::Restart => sim.restart(),
                Step::Flip { segment, at, bit } if !sim.files.is_empty() => {
                    let nth = segment.index(sim.files.len());
                    let file = sim.files.values_mut().nth(nth).unwrap();
                    if !file.is_empty() {
                        let at = at.index(file.len());
                        file[at] ^= 1 << bit;
                    }
                }
                Step::Truncate { segment, at } if !sim.files.is_empty() => {
                    let nth = segment.index(sim.files.len());
                    let file = sim.files.values_mut().nth(nth).unwrap();
                    file.truncate(at.index(file.len() + 1));
                    // Nobody cuts a file under a process that has it open.
                    sim.restart();
                }
                Step::Flip { .. } | Step::Truncate { .. } => {}
                Step::Read { path, language: of } => {
                    let (path, of) = (format!("/{path}"), language(*of));
                    if let Some(body) = sim.read(&path, of) {
                        let known = |variant: &str| model.get(&(path.clone(), variant.to_owned()));
                        let right = [known(of), known("")].into_iter().flatten().any(|expected| *expected == body);
                        prop_assert!(right, "step {at}: wrong bytes for {path} {of:?}");
                    }
                }
            }
        }
    }

    /// Without damage nothing is lost but what had to go.
    #[test]
    fn nothing_is_lost_without_damage(steps in proptest::collection::vec(step(), 1..60)) {
        let mut sim = Sim::new(DiskSettings { bytes_max: 4 << 20, ..small() });
        let mut model: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for (at, step) in steps.iter().enumerate() {
            match step {
                Step::Put { path, bytes, .. } if *bytes <= 8 << 10 => {
                    let body = vec![at as u8; usize::from(*bytes)];
                    sim.put(&format!("/{path}"), "", &body).unwrap();
                    model.insert(format!("/{path}"), body);
                }
                Step::Invalidate { path, .. } => {
                    let removed = sim.invalidate(&format!("/{path}"));
                    sim.work();
                    prop_assert_eq!(removed, u64::from(model.remove(&format!("/{path}")).is_some()));
                }
                Step::Restart => sim.restart(),
                _ => {}
            }
            for (path, body) in &model {
                prop_assert_eq!(sim.read(path, ""), Some(body.clone()));
            }
        }
    }
}
