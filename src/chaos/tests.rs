//! Reports of one made-up run.

use std::time::Duration;

use cdn_core::{Instant, Reason};
use expect_test::expect;
use world::{CacheOutcome, Event, EventKind, Integrity, Judge, Observation, Outcome, verdict::Second};

use super::*;
use crate::diagnose::Source;

/// A run of two hundred requests from Berlin, four of which fail while Frankfurt is down.
fn played() -> Played {
    let text = "title = \"Kill <fra> & see\"\nseed = 9\nlength = \"20s\"\nwarmup = \"0s\"\npops = [\"FRA\", \"IAD\"]\n\
                at = [{ t = \"5s\", kill = \"fra\", for = \"5s\" }]\n\
                expect = [\n{ what = \"availability\", min = 0.99 },\n{ what = \"p95\", max = \"100ms\" },\n]\nload = { rps = 10 }\n";
    let source = Source { name: "kill.toml".into(), text: text.into() };
    let staged = scenario::stage(source, Path::new(""), None, None).map_err(|error| panic!("{error}")).unwrap();
    let directory = gather::directory(&staged.plan.cluster);
    let atlas = staged.plan.cluster.world.atlas();
    let berlin = atlas.places().position(|place| place.id.as_str() == "berlin").unwrap() as u32;
    let at = |ms: u64| Instant::ZERO + Duration::from_millis(ms);
    let mut judge = Judge::new(&staged.scenario, &directory);
    judge.note(&Event { at: at(5000), kind: EventKind::Step { step: 0 } });
    for n in 0..200 {
        let failed = (50..54).contains(&n);
        let reason = if failed { Reason::ViewerConnectFailed } else { Reason::Hit };
        judge.observe(&Observation {
            intended: at(n * 100),
            started: at(n * 100),
            finished: at(n * 100 + 20),
            place: berlin,
            asked: "FRA".parse().ok(),
            asked_at: at(n * 100),
            pop: if failed { None } else { "FRA".parse().ok() },
            outcome: if failed { Outcome::Failed(reason) } else { Outcome::Status(200) },
            cache: if failed { CacheOutcome::Error } else { CacheOutcome::Hit },
            reason,
            bytes: 1024,
            integrity: Integrity::Right,
            attempts: 1,
            fell_back: false,
            load: 0,
            object: 1,
            made: None,
            signature: world::Signature::Unasked,
        });
    }
    Played {
        name: "kill.toml".into(),
        kind: Kind::Live,
        replay: "iso chaos run kill.toml --seed 9".into(),
        judgement: judge.finish(staged.scenario.end()),
        took_s: 21.5,
    }
}

#[test]
fn the_table_says_what_was_expected_what_was_got_and_where() {
    expect![[r#"
        EXPECT                                GOT
         ✗ availability ≥ 99 %                98 %      4 of 200 not served, at 0:05, all in Berlin; viewer → fra: viewer_connect_failed (4)
         ✓ p95 ≤ 100 ms                       20 ms     of 196
         ✓ wrong_bytes = 0                    0
        FAIL  1 of 3   200 requests · 4 not served · hit 100.0 % · p50 20 ms, p95 20 ms, p99 20 ms · 0 to origins
        replay: iso chaos run kill.toml --seed 9"#]]
    .assert_eq(&text::verdict(Paint::plain(), &played()));
}

#[test]
fn junit_has_a_case_per_expectation_and_escapes_titles() {
    let xml = report::junit(&[played()]);
    assert!(xml.contains("<testsuites name=\"iso chaos\" tests=\"3\" failures=\"1\""), "{xml}");
    assert!(xml.contains("name=\"Kill &lt;fra&gt; &amp; see\" tests=\"3\" failures=\"1\""), "{xml}");
    assert_eq!(xml.matches("<testcase ").count(), 3);
    let failure =
        "<failure type=\"missed\" message=\"got 98 %, expected availability ≥ 99 %\">kill.toml:8: got 98 %; 4 of 200";
    assert!(xml.contains(failure), "{xml}");
    assert_eq!(xml.matches("<testsuite ").count(), xml.matches("</testsuite>").count());
    assert!(xml.contains(" file=\"kill.toml\">") && !xml.contains(" line="), "{xml}");
    assert_eq!(escaped("a\u{0}\u{1b}\u{85}\u{fffe}\u{ffff}☃\t\n"), "a\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}☃\t\n");
}

#[test]
fn the_document_has_rows_totals_and_the_series() {
    let document = report::document(&[played()]);
    assert_eq!(document["held"], false);
    let one = &document["scenarios"][0];
    assert_eq!((&one["seed"], &one["kind"], &one["length_s"]), (&9.into(), &"live".into(), &20.0.into()));
    assert_eq!(one["expectations"][0]["what"], "availability");
    assert_eq!(one["expectations"][0]["got"], 0.98);
    assert_eq!(
        (&one["totals"]["requests"], &one["totals"]["reasons"]["viewer_connect_failed"]),
        (&200.into(), &4.into())
    );
    assert_eq!(one["series"].as_array().map(Vec::len), Some(20));
    assert_eq!(one["series"][5]["errors"], 4);
    assert_eq!(one["faults"][0]["to_s"], 10.0);
}

#[test]
fn the_page_needs_nothing_else() {
    let page = html::page(&[played()]);
    assert_eq!(page.matches("<svg ").count(), 6);
    assert!(page.contains("Kill &lt;fra&gt; &amp; see") && page.contains("✗ missed, 1 of 3"), "{page}");
    for foreign in ["http:", "https:", "<script", "<link", "@import", "url("] {
        assert!(!page.contains(foreign), "the page has {foreign}");
    }
}

#[test]
fn curves_end_with_the_timeline() {
    let mut late = played();
    let seconds = &mut late.judgement.seconds;
    let last = Second { origin_requests: 40_000, ..seconds[19].clone() };
    seconds.push(last);
    assert_eq!(html::page(&[late]), html::page(&[played()]));
}
