//! What routes do: to the world, through the hands, and to wrong requests.

use std::time::Duration;

use control_plane::{HandsError, wire::Health};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{KEY, World, id, links, wait_until};

#[tokio::test]
async fn status_is_the_object_of_the_command_line() {
    let world = World::up().await;
    assert_eq!(world.get("/v1/status").await["ready"], false, "links are not measured yet");
    world.handle.links_measured(links());
    let status = world.get("/v1/status").await;
    for (field, value) in [
        ("world", json!("test")),
        ("seed", json!(7)),
        ("ready", json!(true)),
        ("faults", json!([])),
        ("links", json!({ "count": 1, "worst_error_ms": 0.5 })),
        ("proxy", json!("127.0.0.1:4488")),
        ("dashboard", json!(format!("{}/", world.base))),
    ] {
        assert_eq!(status[field], value, "{field}");
    }
    let node = &status["nodes"][0];
    let expected = json!({ "http": "127.77.0.1:4480" });
    assert_eq!((&node["id"], &node["role"], &node["pop"]), (&json!("edge.fra"), &json!("edge"), &json!("FRA")));
    assert_eq!((&node["pid"], &node["health"], &node["addresses"]), (&json!(1000), &json!("up"), &expected));
}

#[tokio::test]
async fn a_killed_node_is_stopped_and_starts_again_by_itself_when_its_time_is_over() {
    let world = World::up().await;
    let acted = world.post("/v1/nodes/fra/kill", json!({ "for_ms": 150 })).await;
    assert_eq!(acted, json!({ "nodes": [{ "node": "edge.fra", "error": null }], "ends_in_ms": 150 }));
    world.handle.node_exited(&id("edge.fra"), "signal 9");
    assert_eq!(world.health("edge.fra").await, "stopped");
    assert_eq!(world.faults().await, ["edge.fra kill"]);
    wait_until("the start", async || world.hands.did().contains(&"start edge.fra".into())).await;
    world.start("edge.fra", 2000);
    let node = world.get("/v1/nodes/edge.fra").await;
    assert_eq!((&node["health"], &node["pid"], &node["restarts"]), (&json!("up"), &json!(2000), &json!(0)));
    assert_eq!(world.faults().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_start_by_hand_forgets_the_planned_one() {
    let world = World::up().await;
    world.post("/v1/nodes/edge.fra/kill", json!({ "for_ms": 3_600_000 })).await;
    world.handle.node_exited(&id("edge.fra"), "signal 9");
    world.post("/v1/nodes/edge.fra/kill", json!({})).await;
    world.post("/v1/nodes/edge.fra/start", json!({})).await;
    assert_eq!(world.faults().await, Vec::<String>::new());
    let kills = world.hands.did().iter().filter(|what| *what == "kill edge.fra").count();
    assert_eq!(kills, 1, "a second kill changes the end and kills nobody");
}

#[tokio::test]
async fn pausing_and_resuming_are_not_killing_and_starting() {
    let world = World::up().await;
    world.post("/v1/nodes/edge.fra/pause", json!({})).await;
    assert_eq!(world.faults().await, ["edge.fra pause"]);
    assert_eq!(world.refused(Method::POST, "/v1/nodes/edge.fra/start", None).await.0, 409);
    world.post("/v1/nodes/edge.fra/resume", json!({})).await;
    world.post("/v1/nodes/edge.fra/kill", json!({})).await;
    for verb in ["pause", "resume"] {
        assert_eq!(world.refused(Method::POST, &format!("/v1/nodes/edge.fra/{verb}"), None).await.0, 409, "{verb}");
    }
    assert_eq!(world.faults().await, ["edge.fra kill"]);
}

#[tokio::test]
async fn what_could_not_be_done_is_not_shown_as_done() {
    let world = World::up().await;
    world.hands.fail("kill", HandsError::NotRunning("edge.fra".into()));
    world.hands.fail("faults [origin", HandsError::Failed("admin port closed".into()));
    world.hands.fail("drained [FRA]", HandsError::TimedOut);
    let fault = json!({ "target": "primary", "reset": true });
    assert_eq!(world.refused(Method::POST, "/v1/nodes/edge.fra/kill", None).await.1, "not_running");
    assert_eq!(world.refused(Method::POST, "/v1/faults", Some(fault)).await.1, "failed");
    assert_eq!(world.refused(Method::POST, "/v1/drain", Some(json!({ "pop": "FRA" }))).await.1, "timed_out");
    let status = world.get("/v1/status").await;
    assert_eq!((&status["faults"], &status["drained"]), (&json!([]), &json!([])));
    assert_eq!(world.hands.did().last().map(String::as_str), Some("drained []"), "taken back");
}

#[tokio::test]
async fn a_crash_is_down_and_the_restart_is_counted_and_gets_the_faults_again() {
    let world = World::up().await;
    world.post("/v1/faults", json!({ "target": "primary", "status": 503 })).await;
    world.post("/v1/drain", json!({ "pop": "iad" })).await;
    world.handle.node_exited(&id("origin.primary"), "signal 11");
    let node = world.get("/v1/nodes/primary").await;
    assert_eq!((&node["health"], &node["pid"], &node["exit"]), (&json!("down"), &Value::Null, &json!("signal 11")));
    let before = world.hands.did().len();
    world.start("origin.primary", 2000);
    wait_until("faults applied again", async || world.hands.did().len() >= before + 5).await;
    let faults = "faults [origin.primary status (503)]";
    // What caches serve by has an order of its own.
    let (keys, others): (Vec<_>, Vec<_>) =
        world.hands.did()[before..].iter().cloned().partition(|did| did.starts_with("keys"));
    assert_eq!(others, ["links []", faults, "drained [IAD]", "policies [latency]"]);
    assert_eq!(keys, ["keys [team: K1]"]);
    assert_eq!(world.get("/v1/nodes/primary").await["restarts"], 1);
}

#[tokio::test]
async fn what_could_not_be_applied_to_a_new_node_is_tried_again() {
    let world = World::up().await;
    world.post("/v1/links", json!({ "a": "fra", "b": "iad", "partition": true })).await;
    world.hands.fail("links", HandsError::Failed("not yet".into()));
    world.start("edge.fra", 2000);
    wait_until("the failure", async || {
        let events = world.request(Method::GET, "/v1/events?since=0&follow=false").send().await.unwrap();
        events.text().await.unwrap().contains("to be tried again: not yet")
    })
    .await;
    world.hands.recover();
    let before = world.hands.did().len();
    wait_until("the next try", async || world.hands.did()[before..].contains(&"links [fra<->iad partition]".into()))
        .await;
}

#[tokio::test]
async fn faults_replace_each_other_end_by_themselves_and_heal() {
    let world = World::up().await;
    world.post("/v1/faults", json!({ "target": "primary", "refuse": true })).await;
    world.post("/v1/faults", json!({ "target": "primary", "blackhole": true, "rate": 0.5 })).await;
    world.post("/v1/faults", json!({ "target": "fra", "latency_ms": 80, "for_ms": 60_000 })).await;
    world.post("/v1/links", json!({ "a": "edge.fra", "b": "Tokyo", "loss": 0.05, "one_way": true })).await;
    let faults = world.get("/v1/faults").await["faults"].clone();
    assert_eq!(world.faults().await, ["origin.primary blackhole", "edge.fra latency", "fra->tokyo loss"]);
    assert_eq!(faults[0]["detail"], "50 % of requests");
    let left = faults[1]["ends_in_ms"].as_u64().unwrap();
    assert!((50_000..=60_000).contains(&left), "{left}");

    let healed = world.ok(Method::DELETE, "/v1/faults?target=fra", None).await;
    assert_eq!(healed["faults"].as_array().unwrap().len(), 2, "the PoP's edge and its links");
    assert_eq!(
        world.hands.did().iter().rev().take(2).collect::<Vec<_>>(),
        ["faults [origin.primary blackhole (50 % of requests)]", "links []"]
    );
    let id = faults[0]["id"].as_u64().unwrap();
    world.ok(Method::DELETE, &format!("/v1/faults?id={id}"), None).await;
    assert_eq!(world.refused(Method::DELETE, &format!("/v1/faults?id={id}"), None).await.0, 404);
    assert_eq!(world.ok(Method::DELETE, "/v1/faults?target=all", None).await, json!({ "faults": [] }));

    world.post("/v1/links", json!({ "a": "fra", "b": "iad", "partition": true, "for_ms": 100 })).await;
    wait_until("the end", async || world.faults().await.is_empty()).await;
    assert_eq!(world.hands.did().last().map(String::as_str), Some("links []"));
}

#[tokio::test]
async fn long_faults_end_at_their_time_and_not_a_second_before() {
    let world = World::up().await;
    world.post("/v1/faults", json!({ "target": "primary", "status": 503, "for_ms": 7_200_000 })).await;
    world.post("/v1/faults", json!({ "target": "primary", "stall": true })).await;
    let kinds = || world.handle.status().faults.iter().map(|fault| fault.kind.clone()).collect::<Vec<_>>();
    tokio::time::pause();
    // No socket is used from here on: time moves only when it is told to.
    tokio::time::advance(Duration::from_secs(7_190)).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(kinds(), ["status", "stall"]);
    // Timers tick in milliseconds and round up.
    tokio::time::advance(Duration::from_millis(10_002)).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(kinds(), ["stall"]);
    assert_eq!(world.hands.did().last().map(String::as_str), Some("faults [origin.primary stall]"));
}

#[tokio::test]
async fn healing_starts_and_resumes() {
    let world = World::up().await;
    world.post("/v1/nodes/fra/kill", json!({})).await;
    world.post("/v1/nodes/iad/pause", json!({})).await;
    world.ok(Method::DELETE, "/v1/faults?target=all", None).await;
    let did = world.hands.did();
    assert!(did.contains(&"start edge.fra".into()) && did.contains(&"resume edge.iad".into()), "{did:?}");
}

#[tokio::test]
async fn a_cache_that_cannot_be_told_what_to_serve_holds_nobody_else_up() {
    let world = World::up().await;
    world.hands.hang("configure edge.fra");
    let ask =
        world.request(Method::POST, "/v1/config").json(&json!({ "nodes": ["edge.fra"], "config": { "seed": 1 } }));
    let configuring = tokio::spawn(ask.send());
    wait_until("the cache is asked", async || {
        world.hands.did().iter().any(|did| did.starts_with("configure edge.fra"))
    })
    .await;
    assert_eq!(world.post("/v1/drain", json!({ "pop": "iad" })).await, json!({ "drained": ["IAD"] }));
    assert!(!configuring.is_finished());
}

#[tokio::test]
async fn drained_pops_show_and_come_back() {
    let world = World::up().await;
    assert_eq!(world.post("/v1/drain", json!({ "pop": "fra" })).await, json!({ "drained": ["FRA"] }));
    assert_eq!(world.health("edge.fra").await, "draining");
    assert_eq!(world.post("/v1/undrain", json!({ "pop": "edge.fra" })).await, json!({ "drained": [] }));
    assert_eq!(world.health("edge.fra").await, "up");
}

#[tokio::test]
async fn invalidations_reach_every_cache_and_are_tried_again() {
    let world = World::up().await;
    world.hands.fail("invalidate edge.fra", HandsError::Failed("partition".into()));
    world.hands.fail("invalidate shield.iad", HandsError::NotRunning("shield.iad".into()));
    let asked = json!({ "distribution": "www.demo.test", "patterns": ["/a.js", "/b/*"] });
    let accepted = world.post("/v1/invalidations", asked).await;
    assert_eq!((&accepted["status"], &accepted["distribution"]), (&json!("InProgress"), &json!("E2DEMO")));
    let path = format!("/v1/invalidations/{}", accepted["id"].as_str().unwrap());
    wait_until("a second try", async || world.get(&path).await["nodes"][0]["attempts"].as_u64() >= Some(2)).await;
    let row = world.get(&path).await;
    assert_eq!((&row["nodes"][0]["state"], &row["nodes"][0]["error"]), (&json!("pending"), &json!("partition")));
    world.hands.recover();
    wait_until("completion", async || world.get(&path).await["status"] == "Completed").await;
    let row = world.get(&path).await;
    let states: Vec<_> = row["nodes"].as_array().unwrap().iter().map(|node| node["state"].clone()).collect();
    assert_eq!(states, ["done", "done", "skipped"]);
    // Once with all, and once more after the shield behind it: what it had by then was from before.
    assert_eq!(row["nodes"][0]["removed"], 6);
    assert!(world.hands.did().contains(&"invalidate edge.iad E2DEMO /a.js /b/*".into()));
}

#[tokio::test]
async fn questions_reach_the_hands_and_their_refusals_come_back() {
    let world = World::up().await;
    let asked = world.get("/v1/explain/route?from=sao%20paulo&resolver=lima&ecs=0").await;
    assert_eq!(asked, json!({ "from": "sao paulo", "name": null, "resolver": "lima", "ecs": false, "drain": null }));
    let supposed = world.get("/v1/explain/route?from=lima&drain=fra,edge.iad").await;
    assert_eq!(supposed["drain"], "FRA,IAD");
    assert_eq!(world.get("/v1/explain/route/iad-4-1").await, json!({ "decision": "iad-4-1" }));
    assert_eq!(world.get("/v1/ledger/last").await, json!({ "id": "last" }));
    let cache = world.get("/v1/cache?path=/a.js").await;
    assert_eq!(cache["nodes"].as_array().unwrap().len(), 3);
    assert_eq!(
        cache["nodes"][0],
        json!({
            "node": "edge.fra", "pop": "FRA", "entries": [{ "state": "fresh" }], "error": null
        })
    );
    let shown = world.get("/v1/cache/show?path=/a.js&at=fra").await;
    assert_eq!((shown["nodes"].as_array().unwrap().len(), &shown["nodes"][0]["node"]), (1, &json!("edge.fra")));
    assert!(world.hands.did().contains(&"show edge.fra /a.js".into()));
    world.hands.fail("stats edge.fra", HandsError::NotRunning("edge.fra".into()));
    let stats = world.get("/v1/cache/stats").await;
    assert_eq!(
        stats["nodes"][0],
        json!({ "node": "edge.fra", "pop": "FRA", "stats": null, "error": "edge.fra is not running" })
    );
    assert_eq!((&stats["nodes"][1]["stats"]["hit_ratio"], stats["nodes"].as_array().unwrap().len()), (&json!(0.75), 3));
    let unknown =
        HandsError::NotFound { what: "there is no place \"tokio\"".into(), did_you_mean: vec!["tokyo".into()] };
    world.hands.fail("dig", unknown);
    let refused = world.refused(Method::GET, "/v1/dig?from=tokio&name=a.test", None).await;
    assert_eq!(refused, (404, "not_found".into(), vec!["tokyo".into()]));
}

#[tokio::test]
async fn policies_are_switched_for_the_world_and_for_one_distribution() {
    let world = World::up().await;
    let policies = |routing: &Value| (routing["policy"].clone(), routing["distributions"][0].clone());
    let row = |policy: &str, is_own: bool| json!({ "id": "E2DEMO", "policy": policy, "is_own": is_own, "pops": [] });
    assert_eq!(policies(&world.get("/v1/routing").await), (json!("latency"), row("latency", false)));
    let one = json!({ "policy": "anycast", "distribution": "www.demo.test" });
    assert_eq!(policies(&world.post("/v1/routing", one).await), (json!("latency"), row("anycast", true)));
    world.post("/v1/routing", json!({ "policy": "geo" })).await;
    assert_eq!(world.hands.did().last().unwrap(), "policies [geo, E2DEMO anycast]");
    let back = json!({ "policy": "default", "distribution": "E2DEMO" });
    assert_eq!(policies(&world.post("/v1/routing", back).await), (json!("geo"), row("geo", false)));
    // What cannot be made so is taken back.
    world.hands.fail("policies [random", HandsError::TimedOut);
    assert_eq!(world.refused(Method::POST, "/v1/routing", Some(json!({ "policy": "random" }))).await.1, "timed_out");
    assert_eq!(world.get("/v1/status").await["routing"]["policy"], "geo");
    assert_eq!(world.refused(Method::POST, "/v1/routing", Some(json!({ "policy": "default" }))).await.0, 404);
}

#[tokio::test]
async fn keys_come_and_go_while_the_world_runs() {
    let world = World::up().await;
    let ids = |report: &Value| -> Vec<String> {
        let keys = report["groups"][0]["keys"].as_array().unwrap().iter();
        keys.map(|key| key["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&world.get("/v1/key-groups").await), ["K1"]);
    let ask = |id: &str| json!({ "group": "team", "id": id, "pem": KEY });
    assert_eq!(ids(&world.post("/v1/key-groups", ask("K2")).await), ["K1", "K2"]);
    assert_eq!(world.hands.did().last().unwrap(), "keys [team: K1, K2]");
    // What cannot be made so is taken back.
    world.hands.fail("keys [team: K1, K2, K3", HandsError::TimedOut);
    assert_eq!(world.refused(Method::POST, "/v1/key-groups", Some(ask("K3"))).await.1, "timed_out");
    assert_eq!(ids(&world.get("/v1/key-groups").await), ["K1", "K2"]);
    assert_eq!(ids(&world.post("/v1/key-groups", json!({ "group": "team", "id": "K1" })).await), ["K2"]);
    for (wrong, status) in [
        (json!({ "group": "nobody", "id": "K2", "pem": KEY }), 404),
        (json!({ "group": "team", "id": "K9" }), 404),
        (json!({ "group": "team", "id": "K2" }), 400),
        (json!({ "group": "team", "id": "K 3", "pem": KEY }), 400),
        (json!({ "group": "team", "id": "K3", "pem": "nonsense" }), 400),
    ] {
        assert_eq!(world.refused(Method::POST, "/v1/key-groups", Some(wrong.clone())).await.0, status, "{wrong}");
    }
}

#[tokio::test]
async fn unknown_targets_come_with_suggestions() {
    let world = World::up().await;
    let check = async |method: Method, path: &str, body: Value, nearest: &[&str]| {
        let (status, code, did_you_mean) = world.refused(method, path, Some(body)).await;
        assert_eq!((status, code.as_str()), (404, "unknown_target"), "{path}");
        assert_eq!(did_you_mean.first().map(String::as_str), nearest.first().copied(), "{path}: {did_you_mean:?}");
    };
    check(Method::POST, "/v1/nodes/edge.fta/kill", json!({}), &["edge.fra"]).await;
    check(Method::GET, "/v1/nodes/qqqqqqqq", json!({}), &[]).await;
    check(Method::POST, "/v1/faults", json!({ "target": "primray", "stall": true }), &["primary"]).await;
    check(Method::POST, "/v1/links", json!({ "a": "fra", "b": "tokio", "partition": true }), &["tokyo"]).await;
    check(Method::POST, "/v1/drain", json!({ "pop": "ida" }), &["IAD"]).await;
    check(Method::POST, "/v1/routing", json!({ "policy": "latncy" }), &["latency"]).await;
    check(Method::POST, "/v1/routing", json!({ "policy": "geo", "distribution": "E2DEM" }), &["e2demo"]).await;
    check(Method::GET, "/v1/explain/route?from=tokyo&drain=fra,ida", json!({}), &["IAD"]).await;
    check(Method::DELETE, "/v1/faults?target=primari", json!({}), &["primary"]).await;
    check(Method::DELETE, "/v1/faults?target=fra%3C-%3Etokio", json!({}), &["tokyo"]).await;
    check(Method::GET, "/v1/logs?node=edge.iat", json!({}), &["edge.iad"]).await;
    check(Method::GET, "/v1/cache/show?path=/a&at=edge.fta", json!({}), &["edge.fra"]).await;
    check(Method::GET, "/v1/cache?path=/a&distribution=www.demo.tst", json!({}), &["www.demo.test"]).await;
}

#[tokio::test]
async fn wrong_requests_are_refused_and_change_nothing() {
    let world = World::up().await;
    let check = async |method: Method, path: &str, body: &str| {
        let response = world.request(method, path).body(body.to_owned()).send().await.unwrap();
        assert_eq!(response.status(), 400, "{path} {body}");
        let document: Value = response.json().await.unwrap();
        assert_eq!(document["error"]["code"], "invalid", "{path} {body}");
    };
    for body in ["", "{", "[]", "null", "{}", "{\"target\":\"primary\"}", "{\"target\":\"primary\",\"stal\":true}"] {
        check(Method::POST, "/v1/faults", body).await;
    }
    check(Method::POST, "/v1/faults", "{\"target\":\"primary\",\"stall\":true,\"for_ms\":0}").await;
    check(Method::POST, "/v1/nodes/fra/kill", "{\"for\":1}").await;
    check(Method::POST, "/v1/invalidations", "{\"patterns\":[]}").await;
    check(Method::POST, "/v1/invalidations", "{\"patterns\":[\"a.js\"]}").await;
    for path in [
        "/v1/cache",
        "/v1/cache?path=a",
        "/v1/cache/show?path=/a&at=router.iad",
        "/v1/dig?from=tokyo",
        "/v1/explain/route?from=x&ecs=perhaps",
    ] {
        check(Method::GET, path, "").await;
    }
    check(Method::GET, "/v1/logs?tail=1000000", "").await;
    check(Method::GET, "/v1/logs?tial=1", "").await;
    check(Method::DELETE, "/v1/faults", "").await;
    check(Method::DELETE, "/v1/faults?target=all&id=1", "").await;
    assert_eq!(world.faults().await, Vec::<String>::new());
    assert_eq!(world.handle.counters().value(cdn_core::Counter::ControlRejected), 20);
}

#[tokio::test]
async fn what_is_no_http_is_refused_and_counted() {
    let world = World::up().await;
    for (raw, status) in [("garbage\r\n\r\n".to_owned(), "400"), (format!("GET /{} ", "a".repeat(100_000)), "4")] {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", world.port)).await.unwrap();
        stream.write_all(raw.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert!(answer.starts_with(format!("HTTP/1.1 {status}").as_bytes()), "{raw:.20}");
    }
    wait_until("both to count", async || world.handle.counters().value(cdn_core::Counter::ControlRejected) == 2).await;
}

#[tokio::test]
async fn limits_have_names() {
    let world = World::with(|config| {
        config.limits.body_bytes_max = 100;
        config.limits.faults_max = 1;
        config.limits.streams_max = 0;
        config.limits.invalidation_wildcards_max = 1;
    })
    .await;
    let large = json!({ "pop": "x".repeat(100) });
    assert_eq!(world.refused(Method::POST, "/v1/drain", Some(large)).await.1, "body_too_large");
    let both = json!({ "target": "primary", "stall": true, "status": 500 });
    assert_eq!(world.refused(Method::POST, "/v1/faults", Some(both)).await.1, "faults_full");
    assert_eq!(world.faults().await, Vec::<String>::new(), "all or none");
    assert_eq!(world.refused(Method::GET, "/v1/events", None).await.1, "streams_full");
    let wild = json!({ "patterns": ["/a*", "/b*"] });
    let refused = world.refused(Method::POST, "/v1/invalidations", Some(wild)).await;
    assert_eq!((refused.0, refused.1.as_str()), (400, "too_many_invalidations_in_progress"));
    let metrics = world.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    for counter in ["body_too_large", "faults_full", "streams_full", "invalidations_full"] {
        assert!(metrics.contains(&format!("iso_control_{counter}_total{{}} 1\n")), "{counter}: {metrics}");
    }
}

#[tokio::test]
async fn slow_heads_are_cut_off_and_surplus_connections_closed() {
    let world = World::with(|config| {
        config.limits.header_timeout = Duration::from_millis(50);
        config.limits.connections_max = 1;
    })
    .await;
    let address = ("127.0.0.1", world.port);
    let mut slow = tokio::net::TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: ").await.unwrap();
    wait_until("the connection to count", async || {
        world.handle.counters().value(cdn_core::Counter::ControlConnections) == 1
            || world.handle.counters().value(cdn_core::Counter::ControlConnectionsRefused) > 0
    })
    .await;
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest).await;
    wait_until("the connection to be forgotten", async || {
        world.handle.counters().value(cdn_core::Counter::ControlConnections) == 0
    })
    .await;
    assert_eq!(world.client.get(format!("{}/healthz", world.base)).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn the_dashboard_is_handed_the_token_on_this_machine_only() {
    let world = World::up().await;
    let slot = format!("content=\"{}\"", crate::support::TOKEN);
    let page = async |host: String, more: Option<(&'static str, &'static str)>| {
        let mut request = world.client.get(format!("{}/", world.base)).header("host", host);
        if let Some((name, value)) = more {
            request = request.header(name, value);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(response.headers()["cache-control"], "no-store");
        response.text().await.unwrap()
    };
    let port = world.port;
    for host in [format!("127.0.0.1:{port}"), format!("LOCALHOST:{port}")] {
        assert!(page(host, None).await.contains(&slot));
    }
    let wrong = ["rebound.example".into(), format!("rebound.example:{port}"), "localhost:1".into(), "localhost".into()];
    for host in wrong {
        assert!(!page(host.clone(), None).await.contains(&slot), "{host}");
    }
    let ours = format!("127.0.0.1:{port}");
    assert!(page(ours.clone(), Some(("sec-fetch-dest", "document"))).await.contains(&slot));
    assert!(!page(ours.clone(), Some(("sec-fetch-dest", "iframe"))).await.contains(&slot));
    // A viewer or edge of the world dials from its own loopback address.
    let viewer = reqwest::Client::builder().local_address("127.18.0.7".parse().ok()).no_proxy().build().unwrap();
    let text = viewer.get(format!("{}/", world.base)).send().await.unwrap().text().await.unwrap();
    assert!(text.contains("iso-token") && !text.contains(&slot));
}

#[tokio::test]
async fn metrics_of_all_nodes_become_one_text() {
    let world = World::up().await;
    world.hands.fail("metrics router", HandsError::Failed("closed".into()));
    world.handle.node_exited(&id("edge.iad"), "signal 9");
    let text = world.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    assert_eq!(text.matches("# TYPE iso_edge_requests_total counter\n").count(), 1);
    for line in [
        "iso_edge_requests_total{node=\"edge.fra\",role=\"edge\",pop=\"FRA\"} 3\n",
        "iso_node_up{node=\"edge.fra\",role=\"edge\",pop=\"FRA\"} 1\n",
        "iso_node_up{node=\"edge.iad\",role=\"edge\",pop=\"IAD\"} 0\n",
        "iso_node_up{node=\"origin.primary\",role=\"origin\"} 1\n",
        "iso_control_metrics_failed_total{} 1\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(!text.contains("iso_edge_requests_total{node=\"edge.iad\""), "it does not run");
}

#[tokio::test]
async fn health_is_told_while_a_process_runs() {
    let world = World::up().await;
    world.handle.node_health(&id("edge.fra"), Health::Down);
    assert_eq!(world.health("edge.fra").await, "down");
    world.handle.node_exited(&id("edge.fra"), "exit code 1");
    world.handle.node_health(&id("edge.fra"), Health::Up);
    assert_eq!(world.health("edge.fra").await, "down", "a late probe does not raise the dead");
    world.handle.node_started(&id("edge.nowhere"), 1, control_plane::wire::Addresses::default());
}
