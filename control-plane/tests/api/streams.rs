//! Events and logs as they happen.

use control_plane::wire::{Event, LogLine};
use futures_util::StreamExt as _;
use reqwest::{Method, Response};
use serde_json::json;

use crate::support::World;

/// Reads a stream until it has `n` documents; of SSE, holds the ids against the documents.
async fn documents<T: serde::de::DeserializeOwned>(response: Response, n: usize) -> Vec<T> {
    let mut chunks = response.bytes_stream();
    let mut text = String::new();
    loop {
        let found: Vec<T> = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| line.trim_end().trim_start_matches("data: "))
            .filter(|line| line.starts_with('{'))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        if found.len() >= n {
            return found;
        }
        match chunks.next().await {
            Some(chunk) => text.push_str(str::from_utf8(&chunk.unwrap()).unwrap()),
            None => panic!("the stream ended after {} of {n}: {text}", found.len()),
        }
    }
}

#[tokio::test]
async fn events_arrive_as_they_happen() {
    let world = World::with(|_| {}).await;
    let response = world.request(Method::GET, "/v1/events").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    world.start("edge.fra", 7);
    world.post("/v1/faults", json!({ "target": "primary", "status": 503, "for_ms": 50 })).await;
    let events: Vec<Event> = documents(response, 5).await;
    let lines: Vec<_> = events.iter().map(|event| format!("{} {}", event.kind, event.text)).collect();
    assert_eq!(
        lines,
        [
            "started edge.fra runs, pid 7",
            "health edge.fra suspect (was down)",
            "health edge.fra up (was suspect)",
            "fault origin.primary status (503)",
            "heal ended: origin.primary status (503)",
        ]
    );
    assert_eq!(events[0].node.as_deref(), Some("edge.fra"));
    assert!(events.is_sorted_by_key(|event| event.seq) && events.is_sorted_by_key(|event| event.t_ms));
}

#[tokio::test]
async fn a_reader_that_comes_back_misses_nothing() {
    let world = World::with(|_| {}).await;
    for text in ["a", "b", "c"] {
        world.handle.event("test", None, text);
    }
    let resumed = world.request(Method::GET, "/v1/events").header("last-event-id", "1").send().await.unwrap();
    let events: Vec<Event> = documents(resumed, 2).await;
    assert_eq!(events.iter().map(|event| (event.seq, event.text.as_str())).collect::<Vec<_>>(), [(2, "b"), (3, "c")]);
    let since = world.request(Method::GET, "/v1/events?since=0&follow=false").send().await.unwrap();
    let text = since.text().await.unwrap();
    assert!(text.starts_with("id: 1\ndata: {\"seq\":1,"), "{text}");
    assert_eq!(text.matches("\n\n").count(), 3);
}

#[tokio::test]
async fn a_reader_that_was_away_too_long_is_told_what_it_missed() {
    let world = World::with(|config| config.limits.events_kept = 2).await;
    for text in ["a", "b", "c", "d"] {
        world.handle.event("test", None, text);
    }
    let request =
        world.request(Method::GET, "/v1/events?since=1&follow=false").header("accept", "application/x-ndjson");
    let events: Vec<Event> = documents(request.send().await.unwrap(), 3).await;
    assert_eq!(events.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(), ["gap", "test", "test"]);
    assert_eq!((events[0].seq, events[0].text.as_str()), (2, "1 earlier events are no longer known"));
}

#[tokio::test]
async fn streams_end_when_the_control_plane_stops_and_the_last_event_is_still_sent() {
    let world = World::with(|_| {}).await;
    let response = world.request(Method::GET, "/v1/events").send().await.unwrap();
    let logs = world.request(Method::GET, "/v1/logs?follow=1").send().await.unwrap();
    world.handle.event("test", None, "last");
    world.stop.cancel();
    assert!(response.text().await.unwrap().contains("\"last\""));
    assert!(logs.text().await.unwrap().contains("two"));
}

#[tokio::test]
async fn logs_are_lines_and_may_be_followed() {
    let world = World::with(|_| {}).await;
    let response = world.request(Method::GET, "/v1/logs?node=edge.fra&tail=2").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    assert_eq!(
        response.text().await.unwrap(),
        "{\"node\":\"edge.fra\",\"text\":\"one\"}\n{\"node\":\"edge.fra\",\"text\":\"two\"}\n"
    );
    let follow = world.request(Method::GET, "/v1/logs?node=fra&follow").header("accept", "text/event-stream");
    let lines: Vec<LogLine> = documents(follow.send().await.unwrap(), 2).await;
    assert_eq!(lines[1].text, "two");
    assert_eq!(world.hands.did(), ["logs edge.fra tail 2 follow false", "logs edge.fra tail 100 follow true"]);
}
