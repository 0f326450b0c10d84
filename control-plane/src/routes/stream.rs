//! Streams: events and log lines, as Server-Sent Events or as NDJSON, whichever `Accept` asks for.
//!
//! An idle stream carries a comment (SSE) or an empty line (NDJSON) every fifteen seconds, so that both ends notice
//! when the other is gone. Streams end when the control plane stops.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use cdn_core::Counter;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, header};
use serde::Serialize;
use tokio::sync::watch;

use crate::{
    ask::{EventsAsk, LogsAsk},
    events::Batch,
    extract::Asked,
    hands::LogsWanted,
    plane::{OpenStream, Plane},
    respond::Refusal,
    wire::Event,
};

type Shared = State<Arc<Plane>>;

/// How long a stream may be silent.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How many log lines are sent at once.
const LINES_AT_ONCE: usize = 256;
/// The most lines that a log stream may begin with.
const TAIL_MAX: u32 = 10_000;
/// The lines that it begins with if nothing is said.
const TAIL: u32 = 100;

/// How one item is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// `text/event-stream` (WHATWG HTML, section 9.2).
    ServerSentEvents,
    /// One JSON document per line.
    Ndjson,
}

impl Framing {
    /// What `Accept` names first, or `default` if it names neither.
    fn accepted(headers: &HeaderMap, default: Self) -> Self {
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let named = accept.split(',').find_map(|range| match range.split(';').next().unwrap_or_default().trim() {
            "text/event-stream" => Some(Self::ServerSentEvents),
            "application/x-ndjson" | "application/jsonl" => Some(Self::Ndjson),
            _ => None,
        });
        named.unwrap_or(default)
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::ServerSentEvents => "text/event-stream",
            Self::Ndjson => "application/x-ndjson",
        }
    }

    fn keep_alive(self) -> Bytes {
        match self {
            Self::ServerSentEvents => Bytes::from_static(b":\n\n"),
            Self::Ndjson => Bytes::from_static(b"\n"),
        }
    }

    fn write(self, chunk: &mut Vec<u8>, id: Option<u64>, item: &impl Serialize) {
        if self == Self::ServerSentEvents {
            if let Some(id) = id {
                chunk.extend_from_slice(format!("id: {id}\n").as_bytes());
            }
            chunk.extend_from_slice(b"data: ");
        }
        // JSON on one line: serde_json escapes every line break.
        if let Err(error) = serde_json::to_writer(&mut *chunk, item) {
            tracing::error!(%error, "an item of a stream could not be written");
        }
        chunk.extend_from_slice(if self == Self::ServerSentEvents { b"\n\n" } else { b"\n" });
    }

    fn respond(self, chunks: impl stream::Stream<Item = Bytes> + Send + 'static) -> Response {
        let headers = [(header::CONTENT_TYPE, self.content_type()), (header::CACHE_CONTROL, "no-store")];
        (headers, Body::from_stream(chunks.map(Ok::<_, std::convert::Infallible>))).into_response()
    }
}

pub(super) async fn handle_events(
    State(plane): Shared,
    headers: HeaderMap,
    Asked(ask): Asked<EventsAsk>,
) -> Result<Response, Refusal> {
    let framing = Framing::accepted(&headers, Framing::ServerSentEvents);
    let last_event_id =
        headers.get("last-event-id").and_then(|value| value.to_str().ok()).and_then(|value| value.trim().parse().ok());
    let seen = last_event_id.or(ask.since).unwrap_or_else(|| plane.events.last());
    let open = plane.open_stream()?;
    let news = plane.events.watch();
    let reader = Reader { plane, _open: open, seen, news, framing, follow: ask.follow.unwrap_or(true) };
    Ok(framing.respond(stream::unfold(reader, Reader::next)))
}

/// Somebody who reads events.
struct Reader {
    plane: Arc<Plane>,
    _open: OpenStream,
    seen: u64,
    news: watch::Receiver<u64>,
    framing: Framing,
    follow: bool,
}

impl Reader {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            self.news.borrow_and_update();
            let batch = self.plane.events.after(self.seen);
            if let Some(chunk) = self.write(&batch) {
                return Some((chunk, self));
            }
            if !self.follow {
                return None;
            }
            tokio::select! {
                changed = self.news.changed() => self.follow = changed.is_ok(),
                () = tokio::time::sleep(KEEP_ALIVE) => return Some((self.framing.keep_alive(), self)),
                // What was told last is still sent.
                () = self.plane.stopping.cancelled() => self.follow = false,
            }
        }
    }

    fn write(&mut self, batch: &Batch) -> Option<Bytes> {
        let mut chunk = Vec::new();
        let first = batch.events.first()?;
        if batch.lost > 0 {
            self.plane.counters.add(Counter::ControlEventsLost, batch.lost);
            let gap = Event {
                seq: first.seq.saturating_sub(1),
                t_ms: first.t_ms,
                kind: "gap".into(),
                node: None,
                text: format!("{} earlier events are no longer known", batch.lost),
            };
            self.framing.write(&mut chunk, Some(gap.seq), &gap);
        }
        for event in &batch.events {
            self.framing.write(&mut chunk, Some(event.seq), event);
            self.seen = event.seq;
        }
        Some(chunk.into())
    }
}

pub(super) async fn handle_logs(
    State(plane): Shared,
    headers: HeaderMap,
    Asked(ask): Asked<LogsAsk>,
) -> Result<Response, Refusal> {
    let tail = ask.tail.unwrap_or(TAIL);
    if tail > TAIL_MAX {
        return Err(Refusal::invalid(format!("tail must be at most {TAIL_MAX}")));
    }
    let nodes = {
        let state = plane.state();
        match &ask.node {
            Some(name) => state.registry.nodes_called(name)?,
            None => state.registry.ids().cloned().collect(),
        }
    };
    let framing = Framing::accepted(&headers, Framing::Ndjson);
    let open = plane.open_stream()?;
    let lines =
        plane.act(plane.hands.logs(LogsWanted { nodes, tail, follow: ask.follow, realtime: ask.realtime })).await?;
    let lines = lines.ready_chunks(LINES_AT_ONCE);
    let chunks = stream::unfold((plane, open, lines), move |(plane, open, mut lines)| async move {
        let chunk = tokio::select! {
            biased;
            lines = lines.next() => {
                let mut chunk = Vec::new();
                lines?.iter().for_each(|line| framing.write(&mut chunk, None, line));
                Some(chunk.into())
            }
            () = tokio::time::sleep(KEEP_ALIVE) => Some(framing.keep_alive()),
            () = plane.stopping.cancelled() => None,
        };
        chunk.map(|chunk| (chunk, (plane, open, lines)))
    });
    Ok(framing.respond(chunks))
}
