//! Scenario files that are read, and those that are refused.

use cdn_core::NodeId;
use expect_test::{Expect, expect};
use world::scenario::{Area, From, HealTarget, Paths, What};

use super::*;

/// Story 3 of the design card.
const STORY: &str = r#"
seed   = 42
preset = "world-18"
at = [
  { t = "20s", kill = "fra" },
  { t = "25s", fault = "primary", status = 503, rate = 0.3, for = "20s" },
  { t = "60s", heal = "all" },
]
expect = [
  { what = "availability", min = 0.999 },
  { what = "p95", from = "europe", after = "40s", max = "120ms" },
  { what = "reroute", pop = "fra", max = "15s" },
  { what = "origin_rps", max = 60 },
]
[load]
from = "world"
rps = 200
paths = "zipf:1.1:500"
[routing]
ttl = "5s"
health = "2s x 2"
answers = 2
"#;

fn staged(text: &str) -> Result<Staged, VerbError> {
    stage(Source { name: "lose-frankfurt.toml".into(), text: text.into() }, Path::new(""), None, None)
}

fn scenario(text: &str) -> Scenario {
    staged(text).map_err(|error| panic!("{error}")).map(|staged| staged.scenario).unwrap()
}

fn refuse(text: &str, expected: Expect) {
    let Err(error) = staged(text) else { panic!("{text:?} was accepted") };
    expected.assert_eq(&format!("{error}\n"));
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn the_story_of_the_design_card_is_read_as_it_is_written() {
    let staged = staged(STORY).map_err(|error| panic!("{error}")).unwrap();
    let scenario = &staged.scenario;
    assert_eq!((scenario.seed, scenario.length, scenario.warmup), (42, secs(75), secs(2)));
    let steps: Vec<(u64, &str, u32)> =
        scenario.steps.iter().map(|step| (step.at.as_secs(), step.text.as_str(), step.line)).collect();
    assert_eq!(steps, [(20, "kill fra", 5), (25, "fault primary 30 % 503 for 20s", 6), (60, "heal all", 7)]);
    let Action::Kill { nodes, span: None } = &scenario.steps[0].action else { panic!("{:?}", scenario.steps[0]) };
    assert_eq!(nodes, &["edge.fra".parse::<NodeId>().unwrap()]);
    assert_eq!(scenario.steps[2].action, Action::Heal(HealTarget::All));
    let said: Vec<String> = scenario.expectations.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        ["availability ≥ 99.9 %", "p95 Europe ≤ 120 ms after 0:40", "reroute fra ≤ 15 s", "origin_rps ≤ 60"]
    );
    let [load] = scenario.loads.as_slice() else { panic!("{:?}", scenario.loads) };
    assert_eq!((&load.from, load.rps, &load.paths), (&From::World, 200.0, &Paths::Zipf { s: 1.1, n: 500 }));
    let router = &staged.plan.file.router;
    assert_eq!((router.ttl, router.probe_interval), (Some(Span(secs(5))), Some(Span(secs(2)))));
    assert_eq!((router.down_after, router.answers), (Some(2), Some(2)));
    assert_eq!(staged.plan.cluster.seed, 42);
}

#[test]
fn a_step_may_say_what_one_types() {
    let scenario = scenario("at = [{ t = \"5s\", do = \"link fra iad --loss 5% --one-way --for 3s\" }]\n");
    let Action::Link { a, b, one_way: true, changes, span } = &scenario.steps[0].action else { panic!() };
    assert_eq!((a.as_str(), b.as_str(), *span), ("fra", "iad", Some(secs(3))));
    assert_eq!(changes, &[world::LinkChange::Loss(0.05)]);
    assert_eq!(scenario.steps[0].text, "link fra iad 5 % loss one way for 3s");
}

#[test]
fn words_between_quotes_are_one_in_what_one_types() {
    let scenario = scenario("at = [{ t = \"5s\", do = \"link 'sao paulo' \\\"new york\\\" --loss 5%\" }]\n");
    let Action::Link { a, b, .. } = &scenario.steps[0].action else { panic!("{:?}", scenario.steps[0]) };
    assert_eq!((a.as_str(), b.as_str()), ("sao-paulo", "new-york"));
}

#[test]
fn who_names_two_ends_of_a_partition_is_told_how_it_is_written() {
    refuse(
        "at = [\n  { t = \"5s\", partition = [\"fra\", \"iad\"] },\n]\n",
        expect![[r#"
            lose-frankfurt.toml:2:27: invalid type: sequence, expected true or false; its two ends are the link's: link = ["fra", "iad"], partition = true
              |
            2 |   { t = "5s", partition = ["fra", "iad"] },
              |                           ^^^^^^^^^^^^^^
        "#]],
    );
    let written = scenario("at = [{ t = \"5s\", link = [\"fra\", \"iad\"], partition = true }]\n");
    let Action::Link { changes, .. } = &written.steps[0].action else { panic!("{:?}", written.steps[0]) };
    assert_eq!(changes, &[world::LinkChange::Partition]);
}

#[test]
fn a_scenario_in_which_nothing_happens_or_that_never_ends_is_refused() {
    for (text, says) in [
        ("", "lose-frankfurt.toml: nothing happens in this scenario"),
        ("seed = 3\n", "lose-frankfurt.toml: nothing happens in this scenario"),
        ("load = { rps = 1 }\nlength = \"9000000000h\"\n", "lose-frankfurt.toml:2:10: length: "),
        ("load = { rps = 1 }\nwarmup = \"9000000000h\"\n", "lose-frankfurt.toml:2:10: warmup: "),
        ("at = [{ t = \"9000000000h\", kill = \"fra\" }]\n", "lose-frankfurt.toml:1:7: at.0: it ends later than"),
        (
            "load = { rps = 1 }\nat = [{ t = \"1s\", load = 2, over = \"4000000000000h\", for = \"4000000000000h\" }]\n",
            "lose-frankfurt.toml:2:7: at.0: it ends later than",
        ),
    ] {
        let Err(error) = staged(text) else { panic!("{text:?} was accepted") };
        assert!(error.to_string().starts_with(says), "{text:?}: {error}");
    }
}

#[test]
fn what_does_not_tell_a_figure_apart_is_refused() {
    for (expect, says) in [
        (
            "what = \"availability\", min = 0.9, node = \"edge.fra\"",
            "expect.0.node: availability is not told apart by node",
        ),
        ("what = \"p95\", max = \"1s\", node = \"router.fra\"", "expect.0.node: p95 is not told apart by node"),
        ("what = \"origin_rps\", max = 9, pop = \"fra\"", "expect.0.pop: origin_rps is not told apart by pop"),
        ("what = \"origin_rps\", max = 9, from = \"fra\"", "expect.0.from: origin_rps is not told apart by pop"),
        ("what = \"detect\", max = \"9s\", from = \"Europe\"", "expect.0.from: detect is not told apart by from"),
        ("what = \"failovers\", max = 9, from = \"Europe\"", "expect.0.from: failovers is not told apart by from"),
    ] {
        let Err(error) = staged(&format!("load = {{ rps = 1 }}\nexpect = [{{ {expect} }}]\n")) else {
            panic!("{expect} was accepted")
        };
        assert!(error.to_string().contains(says), "{expect}: {error}");
    }
    scenario("load = { rps = 1 }\nexpect = [{ what = \"reroute\", pop = \"fra\", from = \"Europe\", max = \"9s\" }]\n");
}

#[test]
fn http_3_is_refused_of_a_distribution_that_does_not_speak_it() {
    refuse(
        "load = { rps = 1, http3 = true }\n",
        expect![[r#"
            lose-frankfurt.toml:1:27: load.http3: demo does not speak HTTP/3
              |
            1 | load = { rps = 1, http3 = true }
              |                           ^^^^
            hint: [distributions.demo] http_version = "http2and3"
        "#]],
    );
}

#[test]
fn areas_are_continents_countries_cities_and_pops() {
    let scenario = scenario(
        "load = { rps = 1 }\nexpect = [\n{ what = \"p50\", from = \"Germany\", max = \"1s\" },\n\
         { what = \"p99.9\", from = \"tokyo\", max = \"1s\" },\n{ what = \"max\", from = \"fra\", max = \"1s\" },\n\
         { what = \"counter.edge_failovers_total\", equals = 0 },\n]\n",
    );
    let said: Vec<String> = scenario.expectations.iter().map(ToString::to_string).collect();
    assert_eq!(said, ["p50 DE ≤ 1 s", "p99.9 tokyo ≤ 1 s", "max fra ≤ 1 s", "counter.edge_failovers_total = 0"]);
    assert_eq!((&scenario.expectations[2].from, scenario.expectations[2].what), (&Area::World, What::Latency(1.0)));
}

#[test]
fn a_misspelt_node_is_refused_with_line_caret_and_the_nearest() {
    refuse(
        "at = [\n  { t = \"2s\", kill = \"frb\" },\n]\n",
        expect![[r#"
            lose-frankfurt.toml:2:22: at.0.kill: this world has no node, PoP or origin "frb"
              |
            2 |   { t = "2s", kill = "frb" },
              |                      ^^^^^
            hint: did you mean `fra`?
        "#]],
    );
    refuse(
        "at = [\n  { t = \"2s\", fault = \"origin-a\", refuse = true },\n]\n",
        expect![[r#"
            lose-frankfurt.toml:2:23: at.0.fault: this world has no node, PoP or origin "origin-a"
              |
            2 |   { t = "2s", fault = "origin-a", refuse = true },
              |                       ^^^^^^^^^^
            hint: did you mean `origin.primary`?
        "#]],
    );
}

#[test]
fn what_cannot_be_looked_at_is_refused() {
    refuse(
        "load = { rps = 1 }\nexpect = [{ what = \"availabilty\", min = 0.9 }]\n",
        expect![[r#"
            lose-frankfurt.toml:2:20: expect.0.what: nothing is called "availabilty"
              |
            2 | expect = [{ what = "availabilty", min = 0.9 }]
              |                    ^^^^^^^^^^^^^
            hint: did you mean `availability`?
        "#]],
    );
    refuse(
        "expect = [{ what = \"counter.edge_hit_total\", min = 1 }]\n",
        expect![[r#"
            lose-frankfurt.toml:1:20: expect.0.what: no node has a counter "edge_hit_total"
              |
            1 | expect = [{ what = "counter.edge_hit_total", min = 1 }]
              |                    ^^^^^^^^^^^^^^^^^^^^^^^^
            hint: did you mean `counter.edge_hits_total`?
        "#]],
    );
    refuse(
        "expect = [{ what = \"edge_hits_total\", min = 1 }]\n",
        expect![[r#"
            lose-frankfurt.toml:1:20: expect.0.what: nothing is called "edge_hits_total"
              |
            1 | expect = [{ what = "edge_hits_total", min = 1 }]
              |                    ^^^^^^^^^^^^^^^^^
            hint: did you mean `counter.edge_hits_total`?
        "#]],
    );
    refuse(
        "load = { rps = 1 }\nexpect = [{ what = \"p95\", max = 120 }]\n",
        expect![[r#"
            lose-frankfurt.toml:2:33: expect.0.max: p95: 120 has no unit; write 250ms, 2s or 1m
              |
            2 | expect = [{ what = "p95", max = 120 }]
              |                                 ^^^
        "#]],
    );
    refuse(
        "load = { rps = 1 }\nexpect = [{ what = \"p95\", from = \"berln\", max = \"1s\" }]\n",
        expect![[r#"
            lose-frankfurt.toml:2:34: expect.0.from: there is no continent, country or place "berln"
              |
            2 | expect = [{ what = "p95", from = "berln", max = "1s" }]
              |                                  ^^^^^^^
            hint: did you mean `Berlin`?
        "#]],
    );
}

#[test]
fn an_impossible_timeline_is_refused_before_it_starts() {
    for (text, says) in [
        ("{ t = \"40s\", kill = \"fra\" }", "at.0.t: the scenario ends at 30s, before this step"),
        ("{ t = \"1s\", kill = \"fra\" }, { t = \"2s\", kill = \"fra\" }", "at.1: edge.fra is killed already at 2s"),
        ("{ t = \"1s\", start = \"fra\" }", "at.0: edge.fra is not killed at 1s"),
        (
            "{ t = \"1s\", kill = \"primary\" }, { t = \"2s\", fault = \"primary\", refuse = true }",
            "at.1: origin.primary is killed",
        ),
        (
            "{ t = \"1s\", fault = \"primary\", refuse = true }, { t = \"2s\", fault = \"primary\", blackhole = true }",
            "at.1: at 2s origin.primary has a refuse already",
        ),
        (
            "{ t = \"1s\", fault = \"primary\", refuse = true, reset = true }",
            "at.0.fault: a connection is refused, reset or black-holed",
        ),
        ("{ t = \"1s\", clock = \"fra\" }", "at.0.clock: it is not said by how much"),
        ("{ t = \"1s\", clock = \"fra\", ahead = \"1h\", behind = \"1h\" }", "at.0.behind: a clock is ahead or behind"),
        ("{ t = \"1s\", clock = \"fra\", behind = \"0s\" }", "at.0.behind: 0s is not above 0 and at most 36600d"),
        ("{ t = \"1s\", fault = \"fra\", ahead = \"1h\" }", "at.0.ahead: ahead or behind does not go with fault"),
        (
            "{ t = \"1s\", fault = \"primary\", logs_full = true, path = \"/a\" }",
            "at.0.logs_full: logs are of a whole node",
        ),
        ("{ t = \"1s\", fault = \"fra\", status = 503 }", "at.0.status: edge.fra is no origin"),
        ("{ t = \"1s\", link = \"fra fra\", loss = 0.1 }", "at.0.link: both ends are at fra"),
        ("{ t = \"1s\", kill = \"fra\", status = 503 }", "at.0.status: status does not go with kill"),
        ("{ t = \"1s\", kill = \"fra\", heal = \"all\" }", "at.0.heal: a step does one thing"),
        ("{ t = \"1s\", undrain = \"fra\" }", "at.0: FRA is not drained"),
        ("{ t = \"1s\", load = 3 }", "at.0.load: there is no load"),
        ("{ t = \"1s\", do = \"kil fra\" }", "at.0.do: unrecognized subcommand 'kil'"),
        (
            "{ t = \"1s\", do = \"kill fra\", kill = \"iad\" }",
            "at.0.kill: do says all of a step, this one has kill too",
        ),
        ("{ t = \"1s\", do = \"kill fra\", for = \"2s\" }", "at.0.for: do says all of a step, this one has for too"),
        ("{ t = \"1s\", do = \" \" }", "at.0.do: this step does nothing"),
        ("{ t = \"1s\", do = \"kill 'fra\" }", "at.0.do: a quote is not closed"),
        (
            "{ t = \"1s\", config = { router = { ttl = \"soon\" } } }",
            ":2:47: at.0.config.router.ttl: \"soon\" is not a duration",
        ),
        (
            "{ t = \"1s\", config = { router = { polizy = 1 } } }",
            ":2:41: at.0.config.router.polizy: unknown field `polizy`",
        ),
        ("{ t = \"1s\", config = { origins = { app = { sit = \"iad\" } } } }", "at.0.config.origins.app"),
        ("{ t = \"1s\", config = { pops = [\"IAD\"] } }", "at.0.config: a running world keeps its nodes"),
    ] {
        let Err(error) = staged(&format!("length = \"30s\"\nat = [{text}]\n")) else { panic!("{text} was accepted") };
        let error = error.to_string();
        assert!(error.starts_with("lose-frankfurt.toml:2:") && error.contains(says), "{text}: {error}");
    }
    // What ended by itself can begin anew.
    staged("at = [{ t = \"1s\", kill = \"fra\", for = \"2s\" }, { t = \"4s\", kill = \"fra\" }]\n")
        .map_err(|e| panic!("{e}"))
        .unwrap();
}

#[test]
fn a_clock_is_a_fault_however_it_is_written() {
    let action = |text: &str| {
        let staged = staged(&format!("at = [{text}]\n")).map_err(|error| panic!("{error}")).unwrap();
        staged.scenario.steps[0].action.clone()
    };
    let written = action("{ t = \"1s\", clock = \"fra\", behind = \"90m\", for = \"5s\" }");
    let Action::Fault { effects, span, .. } = &written else { panic!("{written:?}") };
    assert_eq!(effects, &[world::Effect::Clock { ahead_ns: -5_400_000_000_000 }]);
    assert_eq!(*span, Some(Duration::from_secs(5)));
    assert_eq!(action("{ t = \"1s\", do = \"fault edge.fra --clock-behind 90m --for 5s\" }"), written);
}

#[test]
fn what_is_wrong_with_routing_stands_where_it_is_written() {
    refuse(
        "[routing]\npolicy = \"latncy\"\n",
        expect![[r#"
            lose-frankfurt.toml:2:10: routing.policy: no policy "latncy"
              |
            2 | policy = "latncy"
              |          ^^^^^^^^
            hint: did you mean `latency`?
        "#]],
    );
    refuse(
        "[routing]\nhealth = \"often\"\n",
        expect![[r#"
            lose-frankfurt.toml:2:10: routing.health: "often" is no health check
              |
            2 | health = "often"
              |          ^^^^^^^
            hint: time between probes and failures in a row: health = "2s x 2"
        "#]],
    );
}

#[test]
fn configurations_of_steps_are_checked_and_numbered() {
    let staged = staged(
        "at = [\n{ t = \"1s\", config = { distributions = { demo = { default = { cache_policy = \"CachingDisabled\" } } } }, on = \"fra\" },\n\
         { t = \"5s\", config = {}, on = \"fra\" },\n]\n",
    )
    .map_err(|error| panic!("{error}"))
    .unwrap();
    let numbers: Vec<usize> = staged
        .scenario
        .steps
        .iter()
        .map(|step| match &step.action {
            Action::Config(change) => change.revision,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(numbers, [1, 0]);
    let policy = staged.revisions[0].distributions["demo"].default.cache_policy.as_deref();
    assert_eq!(policy, Some("CachingDisabled"));
}

#[test]
fn what_could_only_hold_because_nobody_asks_is_refused() {
    refuse(
        "expect = [{ what = \"errors\", from = \"japan\", max = 0 }]\n[load]\nfrom = [\"berlin\", \"lima\"]\n",
        expect![[r#"
            lose-frankfurt.toml:1:37: expect.0.from: nobody in japan makes a request in this scenario
              |
            1 | expect = [{ what = "errors", from = "japan", max = 0 }]
              |                                     ^^^^^^^
            hint: [load] from says who does
        "#]],
    );
    for (from, load) in [("europe", "berlin"), ("PE", "lima"), ("tokyo", "world"), ("fra", "tokyo")] {
        let text =
            format!("expect = [{{ what = \"errors\", from = \"{from}\", max = 0 }}]\nload = {{ from = \"{load}\" }}\n");
        assert_eq!(scenario(&text).expectations.len(), 1);
    }
    for (text, says) in [
        (
            "length = \"20s\"\nload = { start = \"20s\" }\n",
            ":2:18: load.start: the scenario ends at 20s, before this load",
        ),
        ("load = { for = \"0s\" }\n", ":1:16: load.for: it would end at once"),
        ("load = { method = \"GE T\" }\n", ":1:19: load.method: \"GE T\" is no method"),
        (
            "load = {}\nexpect = [{ what = \"errors\", min = 10, equals = 1 }]\n",
            ":2:49: expect.0.equals: it cannot be that and hold min and max too",
        ),
        ("title = \"a\\u001b[31m\"\nload = {}\n", ":1:9: title: a title is one line of text"),
        ("at = [{ t = \"1s\", do = \"kill fra --world other\" }]\n", ":1:24: at.0.do: a scenario plays in one world"),
    ] {
        let Err(error) = staged(text) else { panic!("{text:?} was accepted") };
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn thousands_of_steps_are_read_at_once() {
    let step = "  { t = \"1s\", heal = \"all\" },\n";
    let began = std::time::Instant::now();
    let scenario = scenario(&format!("at = [\n{}]\n", step.repeat(5_000)));
    assert_eq!(scenario.steps.last().map(|step| step.line), Some(5_001));
    // Looking each line up anew took minutes.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn what_virtual_time_does_not_count_is_not_looked_at_there() {
    let read = |counter: &str| {
        let text = format!("load = {{ rps = 1 }}\nexpect = [{{ what = \"counter.{counter}\", max = 0 }}]\n");
        staged(&text).unwrap_or_else(|error| panic!("{error}"))
    };
    assert!(read("edge_hits_total").may_be_virtual().is_ok());
    let Err(VerbError::Config(refused)) = read("edge_disk_writes_total").may_be_virtual() else { panic!("it may be") };
    expect![[r#"
        lose-frankfurt.toml:2:20: expect.0.what: virtual time does not count this, so it would be 0 whatever happened
          |
        2 | expect = [{ what = "counter.edge_disk_writes_total", max = 0 }]
          |                    ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
        hint: without --sim it is counted
    "#]]
    .assert_eq(&format!("{refused}\n"));
}
