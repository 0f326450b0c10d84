//! Invalidations: accepted at once, told to every cache, each tried until it confirms.

use std::sync::Arc;

use axum::{Json as Reply, extract::State};
use cdn_core::{Counter, NodeId};
use http::StatusCode;

use crate::{
    ask::InvalidationAsk,
    check,
    extract::{Json, Segment},
    hands::HandsError,
    plane::Plane,
    propagation::{Attempt, Next},
    respond::Refusal,
    wire::Invalidation,
};

type Shared = State<Arc<Plane>>;

pub(super) async fn handle_invalidate(
    State(plane): Shared,
    Json(ask): Json<InvalidationAsk>,
) -> Result<(StatusCode, Reply<Invalidation>), Refusal> {
    let (row, _) = begin_invalidation(&plane, ask.distribution.as_deref(), ask.patterns, None)?;
    Ok((StatusCode::ACCEPTED, Reply(row)))
}

/// Accepts an invalidation and begins to tell every cache; whether it is a new one. One of the same distribution with the
/// same `reference` is found again.
pub(crate) fn begin_invalidation(
    plane: &Arc<Plane>,
    distribution: Option<&str>,
    patterns: Vec<String>,
    reference: Option<&str>,
) -> Result<(Invalidation, bool), Refusal> {
    check::patterns(&patterns)?;
    let (id, nodes, distribution, row) = {
        let now = plane.now();
        let mut state = plane.state();
        let distribution = distribution.map(|name| state.registry.distribution_called(name)).transpose()?;
        if let Some(known) = reference.and_then(|word| state.propagation.referred(distribution.as_deref(), word)) {
            return Ok((known, false));
        }
        let nodes = state.registry.caches();
        let accepted = state.propagation.accept(now, distribution.clone(), patterns.clone(), nodes.clone());
        let id = accepted.inspect_err(|_| plane.counters.bump(Counter::ControlInvalidationsFull))?;
        if let Some(word) = reference {
            state.propagation.refer(&id, word);
        }
        let row = state.propagation.row(&id).ok_or(Refusal::Internal)?;
        (id, nodes, distribution, row)
    };
    plane.counters.bump(Counter::ControlInvalidations);
    let shown: String = patterns.iter().take(3).map(|pattern| format!(" {pattern}")).collect();
    let more = if patterns.len() > 3 { " …" } else { "" };
    plane.tell("invalidation", None, format!("{id} accepted:{shown}{more}"));
    let ask = Ask { id, distribution, patterns: patterns.into() };
    tell_all(plane, &ask, nodes, Round::First);
    Ok((row, true))
}

pub(super) async fn handle_invalidation(
    State(plane): Shared,
    Segment(id): Segment,
) -> Result<Reply<Invalidation>, Refusal> {
    let row = plane.state().propagation.row(&id);
    match row {
        Some(row) => Ok(Reply(row)),
        None => Err(Refusal::NoSuch { what: "invalidation", id: id.chars().take(80).collect() }),
    }
}

/// An invalidation, as nodes are told of it.
#[derive(Clone)]
struct Ask {
    id: String,
    distribution: Option<String>,
    patterns: Arc<[String]>,
}

/// Whether nodes hear of an invalidation for the first time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    First,
    Again,
}

/// Tells nodes, all at once.
fn tell_all(plane: &Arc<Plane>, ask: &Ask, nodes: Vec<NodeId>, round: Round) {
    for node in nodes {
        let (plane, ask) = (Arc::clone(plane), ask.clone());
        tokio::spawn(async move {
            let stopping = plane.stopping.clone();
            tokio::select! {
                () = deliver(plane, ask, node, round) => {}
                () = stopping.cancelled() => {}
            }
        });
    }
}

async fn deliver(plane: Arc<Plane>, ask: Ask, node: NodeId, round: Round) {
    let Ask { id, distribution, patterns } = &ask;
    loop {
        let told = plane.hands.invalidate(&node, distribution.as_deref(), patterns);
        let told = plane.within(plane.config.limits.invalidation_attempt_timeout, told).await;
        let attempt = match told {
            Ok(removed) => Attempt::Done(removed),
            Err(HandsError::NotRunning(_) | HandsError::NotFound { .. }) => Attempt::NotRunning,
            Err(error) => Attempt::Failed(error.to_string()),
        };
        // That there was nothing to forget the second time is no news.
        let line = match &attempt {
            Attempt::Done(0) if round == Round::Again => None,
            Attempt::Done(removed) => Some(format!("{id} reached {node}: {removed} removed")),
            Attempt::NotRunning => Some(format!("{id} skipped {node}: it does not run")),
            Attempt::Failed(why) => Some(format!("{id} gave up on {node}: {why}")),
        };
        let next = plane.state().propagation.handle_attempt(plane.now(), id, &node, attempt);
        if let Next::RetryAfter(pause) = next {
            plane.counters.bump(Counter::ControlInvalidationRetries);
            tokio::time::sleep(pause).await;
            continue;
        }
        if let Some(line) = line {
            plane.tell("invalidation", Some(&node), line);
        }
        match next {
            Next::TellAgain(nodes) => tell_all(&plane, &ask, nodes, Round::Again),
            Next::Finished(status) => plane.tell("invalidation", None, format!("{id} {status:?}")),
            Next::Over | Next::RetryAfter(_) => {}
        }
        return;
    }
}
