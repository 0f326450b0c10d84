//! Ranges in the store, one fact per test.

use http::HeaderValue;

use super::*;
use crate::range::{ByteRange, ContentRange, Extent};

const fn range(first: u64, last: u64) -> ByteRange {
    ByteRange { first, last }
}

fn bytes(spec: &str) -> HeaderMap {
    HeaderMap::from_iter([(header::RANGE, HeaderValue::from_str(&format!("bytes={spec}")).unwrap())])
}

impl World {
    fn bring(&mut self, id: FetchId, (first, last): (u64, u64), etag: &str) -> Growth {
        let growth = self.begin_part(id, (first, last), etag);
        self.check();
        if growth != Growth::Kept {
            self.shard.released(id);
            return growth;
        }
        let growth = self.shard.part_completed(id);
        self.check();
        growth
    }

    /// The head of a part is there.
    pub(super) fn begin_part(&mut self, id: FetchId, (first, last): (u64, u64), etag: &str) -> Growth {
        let headers = HeaderMap::new();
        let part = StorablePart {
            head: head(etag),
            range: ContentRange { part: range(first, last), total: 100.max(last + 1) },
            body: "part",
            lifetime: lifetime(60, 0, 0),
            since: self.now,
            vary: Vary::default(),
            request: &headers,
        };
        self.shard.part_begun(self.now, id, part)
    }

    /// Asks for a range, and stores what comes.
    fn fill_part(&mut self, first: u64, last: u64) {
        let id = begun(self.ask("/a", &bytes(&format!("{first}-{last}")))).id;
        assert_eq!(self.bring(id, (first, last), "\"a\""), Growth::Kept);
    }
}

fn parts(found: Lookup<&'static str>) -> ServedParts<&'static str> {
    match found {
        Lookup::Parts(parts) => parts,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_part_has_its_room_until_its_fetch_is_resolved() {
    let mut world = World::new(StoreSettings::default());
    let id = begun(world.ask("/a", &bytes("0-29"))).id;
    assert_eq!(world.begin_part(id, (0, 29), "\"a\""), Growth::Kept);
    assert_eq!((world.shard.grew(id, 30), world.shard.bytes() > 30), (Growth::Kept, true));
    world.invalidate("/*");
    assert_eq!(world.shard.grew(id, 30), Growth::Kept);
    world.shard.released(id);
    assert_eq!((world.shard.grew(id, 30), world.shard.bytes()), (Growth::Dropped(NotStored::Unknown), 0));
}

#[test]
fn what_lies_in_stored_parts_is_served_from_them() {
    let mut world = World::new(StoreSettings::default());
    world.fill_part(10, 49);
    let served = parts(world.ask("/a", &bytes("20-29")));
    assert_eq!((served.total, served.wanted), (100, Extent::Part(range(20, 29))));
    assert_eq!(served.runs, [Run::Stored { body: "part", within: range(10, 19) }]);
    world.fill_part(50, 99);
    assert_eq!(parts(world.ask("/a", &bytes("40-"))).runs.len(), 2);
    assert_eq!(parts(world.ask("/a", &bytes("-60"))).wanted, Extent::Part(range(40, 99)));
    assert_eq!(parts(world.ask("/a", &bytes("12-13,90-91"))).runs.len(), 2);
    assert_eq!(parts(world.ask("/a", &bytes("100-"))).wanted, Extent::Unsatisfiable);
    assert!(parts(world.ask_with(&Method::HEAD, "/a", &HeaderMap::new())).runs.is_empty());
    world.advance(60);
    assert!(matches!(begun(world.ask("/a", &bytes("20-29"))).conditions(), Conditions::Viewer));
}

#[test]
fn only_what_lacks_is_asked_for_and_the_whole_grows_from_its_parts() {
    let mut world = World::new(StoreSettings::default());
    world.fill_part(0, 39);
    let asked = |begun: &Begun<&'static str>| match begun.conditions() {
        Conditions::Lacking { range, to_end, .. } => (range.first, range.last, to_end),
        other => panic!("{other:?}"),
    };
    let begun_part = begun(world.ask("/a", &bytes("30-59")));
    assert_eq!((asked(&begun_part), begun_part.reason), ((40, 59, false), Reason::MissPart));
    world.bring(begun_part.id, (40, 59), "\"a\"");
    let begun_rest = begun(world.get("/a"));
    assert_eq!(asked(&begun_rest), (60, 99, true));
    world.bring(begun_rest.id, (60, 99), "\"a\"");
    assert_eq!(parts(world.get("/a")).wanted, Extent::Whole);
    let not_modified = HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_static("\"a\""))]);
    assert!(parts(world.ask("/a", &not_modified)).runs.is_empty());
}

#[test]
fn several_gaps_or_a_weak_validator_are_asked_for_as_the_viewer_did() {
    let mut world = World::new(StoreSettings::default());
    world.fill_part(10, 19);
    world.fill_part(40, 49);
    let whole = begun(world.get("/a"));
    assert!(matches!(whole.conditions(), Conditions::None));
    assert_eq!(joined(world.get("/a")), whole.id, "a fetch of the whole is shared");
    world.shard.released(whole.id);
    let part = begun(world.ask("/a", &bytes("0-99")));
    assert!(matches!(part.conditions(), Conditions::Viewer));
    world.shard.released(part.id);
    let weak = begun(world.ask("/b", &bytes("0-9"))).id;
    world.bring(weak, (0, 9), "W/\"a\"");
    assert_eq!(parts(world.ask("/b", &bytes("2-3"))).runs.len(), 1);
    assert!(matches!(begun(world.get("/b")).conditions(), Conditions::None));
}

#[test]
fn parts_of_two_representations_are_never_mixed() {
    let mut world = World::new(StoreSettings::default());
    world.fill_part(0, 9);
    let id = begun(world.ask("/a", &bytes("50-59"))).id;
    world.bring(id, (50, 59), "\"b\"");
    assert_eq!(parts(world.ask("/a", &bytes("50-59"))).head.validators().etag.unwrap(), "\"b\"");
    let begun_old = begun(world.ask("/a", &bytes("0-9")));
    let Some(lacking) = &begun_old.lacking else { panic!("{begun_old:?}") };
    let completed = |range: &'static str, etag: &'static str| {
        lacking.is_completed_by(&HeaderMap::from_iter([
            (header::CONTENT_RANGE, HeaderValue::from_static(range)),
            (header::ETAG, HeaderValue::from_static(etag)),
        ]))
    };
    assert!(completed("bytes 0-9/100", "\"b\""));
    assert!(!completed("bytes 0-9/100", "\"a\"") && !completed("bytes 0-9/100", "W/\"b\""));
    assert!(!completed("bytes 0-9/101", "\"b\"") && !completed("bytes 0-8/100", "\"b\""));
}

#[test]
fn parts_go_with_invalidations_with_the_whole_and_when_there_is_no_room() {
    let mut world = World::new(StoreSettings::default());
    let late = begun(world.ask("/a", &bytes("0-9"))).id;
    assert_eq!(world.invalidate("/a"), 0);
    assert_eq!(world.bring(late, (0, 9), "\"a\""), Growth::Dropped(NotStored::Invalidated));
    world.fill_part(0, 9);
    assert_eq!(world.invalidate("/*"), 1);
    world.fill_part(0, 9);
    let whole = begun(world.get("/a"));
    world.store(whole.id, "whole", lifetime(60, 0, 0));
    hit(world.ask("/a", &bytes("0-1")));
    let mut small = World::new(StoreSettings { object_bytes_max: 20, ..StoreSettings::default() });
    let id = begun(small.ask("/a", &bytes("0-29"))).id;
    assert_eq!(small.bring(id, (0, 29), "\"a\""), Growth::Dropped(NotStored::TooLarge));
    small.fill_part(0, 9);
    small.fill_part(20, 39);
    assert_eq!(parts(small.ask("/a", &bytes("20-39"))).runs.len(), 1);
    assert!(matches!(begun(small.ask("/a", &bytes("0-9"))).conditions(), Conditions::Lacking { .. }));
    assert_eq!(small.counters.value(Counter::EdgePartsFull), 1);
}

#[test]
fn a_part_that_is_asked_for_once_is_not_kept_and_what_completes_stored_parts_is() {
    let mut world = World::new(StoreSettings { admission: AdmissionPolicy::SecondRequest, ..StoreSettings::default() });
    let id = begun(world.ask("/a", &bytes("10-49"))).id;
    assert_eq!(world.bring(id, (10, 49), "\"a\""), Growth::Dropped(NotStored::NotAdmitted));
    assert_eq!((world.shard.len(), world.counters.value(Counter::EdgeAdmissionsRefused)), (0, 1));
    world.fill_part(10, 49);
    let detail = world.shard.details(world.now, "demo", "/a").remove(0);
    assert_eq!(detail.response.unwrap().lacking, [range(0, 9), range(50, 99)]);
    let id = begun(world.ask("/a", &bytes("10-59"))).id;
    assert_eq!(world.bring(id, (50, 59), "\"a\""), Growth::Kept);
    assert_eq!(parts(world.ask("/a", &bytes("10-59"))).runs.len(), 2);
}

#[test]
fn those_who_want_one_range_ask_once_and_follow_it_from_its_head_on() {
    let mut world = World::new(StoreSettings::default());
    let id = begun(world.ask("/a", &bytes("10-49"))).id;
    assert_eq!(joined(world.ask("/a", &bytes("10-49"))), id);
    let others = [("10-48", None), ("10-49", Some("\"a\"")), ("10-49,60-69", None)];
    for (spec, if_range) in others {
        let mut headers = bytes(spec);
        headers.extend(if_range.map(|tag| (header::IF_RANGE, HeaderValue::from_static(tag))));
        let alone = begun(world.ask("/a", &headers)).id;
        world.shard.released(alone);
    }
    let mut conditional = bytes("10-49");
    conditional.insert(header::IF_NONE_MATCH, HeaderValue::from_static("\"a\""));
    for _ in 0..2 {
        let own = begun(world.ask("/a", &conditional)).id;
        world.shard.released(own);
    }
    assert_eq!(world.begin_part(id, (10, 49), "\"a\""), Growth::Kept);
    world.check();
    for (spec, within) in [("10-49", range(0, 39)), ("20-29", range(10, 19))] {
        assert_eq!(parts(world.ask("/a", &bytes(spec))).runs, [Run::Arriving { body: "part", within }]);
    }
    let detail = world.shard.details(world.now, "demo", "/a").remove(0);
    assert_eq!((detail.report.state, detail.report.body_bytes), (EntryState::Arriving, 0));
    assert_eq!(world.shard.part_completed(id), Growth::Kept);
    world.check();
    assert!(matches!(parts(world.ask("/a", &bytes("10-49"))).runs[..], [Run::Stored { .. }]));
}

#[test]
fn those_who_lack_one_stretch_ask_for_it_once_and_follow_it_too() {
    let mut world = World::new(StoreSettings::default());
    world.fill_part(0, 9);
    let id = begun(world.ask("/a", &bytes("5-19"))).id;
    assert_eq!(joined(world.ask("/a", &bytes("0-19"))), id, "it lacks the same");
    let other = begun(world.ask("/a", &bytes("5-29"))).id;
    assert_eq!(world.begin_part(id, (10, 19), "\"a\""), Growth::Kept);
    let runs = parts(world.ask("/a", &bytes("5-19"))).runs;
    let expected =
        [Run::Stored { body: "part", within: range(5, 9) }, Run::Arriving { body: "part", within: range(0, 9) }];
    assert_eq!(runs, expected);
    assert_eq!(world.bring(other, (10, 29), "\"a\""), Growth::Kept);
    assert_eq!(world.shard.part_completed(id), Growth::Dropped(NotStored::Gone), "the other has it");
    assert_eq!(parts(world.ask("/a", &bytes("0-29"))).runs.len(), 2);
    world.check();
}

#[test]
fn a_range_waits_for_the_whole_that_is_on_its_way_and_not_the_other_way_round() {
    let mut world = World::new(StoreSettings::default());
    let part = begun(world.ask("/a", &bytes("10-49"))).id;
    let whole = begun(world.get("/a"));
    assert_eq!(joined(world.ask("/a", &bytes("60-69"))), whole.id);
    assert_eq!(joined(world.ask("/a", &bytes("10-49"))), whole.id);
    world.store(whole.id, "whole", lifetime(60, 0, 0));
    hit(world.ask("/a", &bytes("60-69")));
    assert_eq!(world.begin_part(part, (10, 49), "\"a\""), Growth::Dropped(NotStored::Gone));
    world.shard.released(part);
    world.check();
}

#[test]
fn what_breaks_off_goes_and_leaves_what_was_complete() {
    let mut world = World::new(StoreSettings::default());
    let lone = begun(world.ask("/a", &bytes("0-9"))).id;
    world.begin_part(lone, (0, 9), "\"a\"");
    world.shard.aborted(lone);
    world.check();
    assert!(world.shard.is_empty());
    world.fill_part(0, 9);
    let (broken, longer) = (begun(world.ask("/a", &bytes("20-29"))).id, begun(world.ask("/a", &bytes("40-49"))).id);
    for (id, extent) in [(broken, (20, 29)), (longer, (40, 49))] {
        world.begin_part(id, extent, "\"a\"");
    }
    world.shard.aborted(broken);
    // More came than its head said.
    assert_eq!(world.shard.grew(longer, 11), Growth::Dropped(NotStored::TooLarge));
    world.shard.released(longer);
    world.check();
    assert_eq!(world.shard.details(world.now, "demo", "/a").remove(0).response.unwrap().lacking, [range(10, 99)]);
}

#[test]
fn what_was_invalidated_or_replaced_while_it_arrived_is_not_kept() {
    let mut world = World::new(StoreSettings::default());
    let (one, two) = (begun(world.ask("/a", &bytes("0-9"))).id, begun(world.ask("/a", &bytes("20-29"))).id);
    world.begin_part(one, (0, 9), "\"a\"");
    world.begin_part(two, (20, 29), "\"b\"");
    assert_eq!(world.shard.part_completed(one), Growth::Dropped(NotStored::Gone));
    assert_eq!(world.invalidate("/a"), 1);
    assert_eq!(world.shard.part_completed(two), Growth::Dropped(NotStored::Invalidated));
    world.check();
    assert!(world.shard.is_empty());
}

#[test]
fn an_object_keeps_its_standing_when_a_part_is_added() {
    let settings = StoreSettings {
        bytes_max: 20_000,
        object_bytes_max: 1_000,
        eviction: EvictionPolicy::S3Fifo,
        ..StoreSettings::default()
    };
    let mut world = World::new(settings);
    world.fill_part(0, 9);
    for _ in 0..3 {
        parts(world.ask("/a", &bytes("0-9")));
    }
    world.fill_part(10, 19);
    for number in 0..200 {
        world.fill(&format!("/{number}"), "once", lifetime(60, 0, 0));
    }
    assert!(world.counters.value(Counter::EdgeEvictions) > 50);
    assert_eq!(parts(world.ask("/a", &bytes("0-19"))).runs.len(), 2);
}

/// The disk tier has these parts of what `id` was to fetch.
fn restore(world: &mut World, id: FetchId, pieces: &[(u64, u64)], etag: &str, fresh_secs: u64) -> Growth {
    let restored = RestoredParts {
        head: head(etag),
        total: 100,
        pieces: pieces.iter().map(|&(first, last)| (range(first, last), "disk")).collect(),
        lifetime: lifetime(fresh_secs, 0, 0),
        since: world.now,
        vary: Vary::default(),
        request: &HeaderMap::new(),
    };
    let growth = world.shard.parts_restored(world.now, id, restored);
    world.check();
    assert!(world.shard.fetches.iter().next().is_none(), "the fetch is resolved");
    growth
}

#[test]
fn parts_from_the_disk_join_what_is_here_and_do_not_make_it_older() {
    let mut world = World::new(StoreSettings::default());
    let absent = begun(world.ask("/a", &bytes("10-29")));
    assert_eq!(restore(&mut world, absent.id, &[(0, 19), (20, 39)], "\"a\"", 60), Growth::Kept);
    assert_eq!(parts(world.ask("/a", &bytes("10-29"))).runs.len(), 2);
    let lacking = begun(world.ask("/a", &bytes("30-59")));
    // One is here already.
    assert_eq!(restore(&mut world, lacking.id, &[(20, 29), (40, 59)], "\"a\"", 5), Growth::Kept);
    let served = parts(world.ask("/a", &bytes("0-59")));
    assert_eq!((served.runs.len(), served.fresh_for.as_secs()), (3, 60));
    let other = begun(world.ask("/a", &bytes("60-69")));
    assert_eq!(restore(&mut world, other.id, &[(60, 69)], "\"b\"", 60), Growth::Kept);
    assert_eq!(parts(world.ask("/a", &bytes("60-69"))).head.validators().etag.unwrap(), "\"b\"");
    assert!(begun(world.ask("/a", &bytes("0-59"))).lacking.is_some(), "of another representation nothing is left");
}

#[test]
fn parts_from_the_disk_that_were_invalidated_or_have_no_room_are_not_kept() {
    let mut world = World::new(StoreSettings { bytes_max: 1_200, ..StoreSettings::default() });
    let id = begun(world.ask("/a", &bytes("0-9"))).id;
    world.invalidate("/a");
    assert_eq!(restore(&mut world, id, &[(0, 9)], "\"a\"", 60), Growth::Dropped(NotStored::Invalidated));
    world.shard.settings.object_bytes_max = 20;
    let id = begun(world.ask("/a", &bytes("0-29"))).id;
    assert_eq!(restore(&mut world, id, &[(0, 29)], "\"a\"", 60), Growth::Dropped(NotStored::Gone));
    assert_eq!(world.shard.bytes(), 0);
}
