//! Ranges in the store, one fact per test.

use http::HeaderValue;

use super::*;
use crate::{
    forward::Conditions,
    range::{ByteRange, ContentRange, Extent},
};

const fn range(first: u64, last: u64) -> ByteRange {
    ByteRange { first, last }
}

fn bytes(spec: &str) -> HeaderMap {
    HeaderMap::from_iter([(header::RANGE, HeaderValue::from_str(&format!("bytes={spec}")).unwrap())])
}

impl World {
    fn bring(&mut self, id: FetchId, (first, last): (u64, u64), etag: &str) -> Growth {
        let headers = HeaderMap::new();
        assert_eq!(self.shard.reserve(id, last - first + 1), Growth::Kept);
        let part = StorablePart {
            head: head(etag),
            range: ContentRange { part: range(first, last), total: 100 },
            body: "part",
            lifetime: lifetime(60, 0, 0),
            since: self.now,
            vary: Vary::default(),
            request: &headers,
        };
        let growth = self.shard.part_completed(self.now, id, part);
        self.check();
        growth
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
    assert_eq!(world.shard.reserve(id, 30), Growth::Kept);
    assert_eq!((world.shard.grew(id, 30), world.shard.bytes()), (Growth::Kept, 30));
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
    assert_eq!(small.shard.reserve(id, 30), Growth::Dropped(NotStored::TooLarge));
    small.shard.released(id);
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
