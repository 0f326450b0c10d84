//! Requests that the store has no part in: methods that change things, and behaviors that disable caching.
//!
//! Bodies stream both ways at the pace of the slower side. A viewer who leaves ends the exchange with the origin.

use cdn_core::{
    Counter, Reason,
    forward::{self, Conditions, Purge, XCache},
    parents::ParentWay,
    unsafe_method,
};
use http::{Response, StatusCode};
use http_body::Body as _;

use crate::{
    asked::Asked,
    body::{RequestBody, ResponseBody, Source, ViewerBody},
    fetch::{FetchFailure, Fetched, Want, fetch},
    lead, miss,
    purge::purge,
    respond::{Refusal, Story},
    service::Case,
};

/// Sends the request to the origin as it is, and its response to the viewer.
pub(crate) async fn pass(
    case: Case,
    asked: Asked,
    body: Option<RequestBody>,
    reason: Reason,
) -> Response<ResponseBody> {
    let node = std::sync::Arc::clone(&case.node);
    node.counters.bump(Counter::EdgePasses);
    let mut story = Story::new(XCache::Miss, reason, node.clock.now() - case.began);
    story.passed = Some(reason);
    let body = body
        .filter(|body| !body.is_end_stream())
        .map(|body| ViewerBody::new(body, node.limits.body_idle_timeout, std::sync::Arc::clone(case.wire())));
    let interims = case.interims();
    let want =
        Want { conditions: Conditions::Viewer, way: ParentWay::straight(), upgrade: None, interims: interims.as_ref() };
    match fetch(&node, &asked, want, body).await {
        Ok(fetched) if asked.behavior().follows_origin() => changed(case, asked, fetched, story).await,
        Ok(fetched) => relay(case, &asked, fetched, story),
        Err(failure) => fail(case, failure, story),
    }
}

/// What an unsafe method did to what is stored (RFC 9111 section 4.4), before its response goes on.
async fn changed(case: Case, asked: Asked, fetched: Fetched, mut story: Story) -> Response<ResponseBody> {
    let node = std::sync::Arc::clone(&case.node);
    let target = asked.target_of_references();
    let changed = unsafe_method::invalidates(&asked.method, target, fetched.status, &fetched.headers);
    purge(&node, Purge::Target, changed.iter().map(|target| asked.as_get_of(target)).collect()).await;
    let rules = asked.behavior().cache_policy().rules;
    if !unsafe_method::answers_get(&asked.method, target, fetched.status, &fetched.headers, rules) {
        return relay(case, &asked, fetched, story);
    }
    let get = std::sync::Arc::new(asked.as_get_of(&target.path_and_query()));
    let key = get.head().key(node.store.seed());
    let lead = node.store.begin_for(node.clock.now(), key, &get.head(), Reason::PassMethod);
    story.x_cache = XCache::Miss;
    let flown = lead::deliver(std::sync::Arc::clone(&node), std::sync::Arc::clone(&get), lead, fetched).await;
    miss::land(case, &get, flown, story)
}

/// Hands a response from behind on to one viewer.
pub(crate) fn relay(case: Case, asked: &Asked, fetched: Fetched, mut story: Story) -> Response<ResponseBody> {
    let Fetched { status, mut headers, body, ledger, parent, .. } = fetched;
    forward::receive_response_headers(&mut headers, asked.behavior(), case.node.wall.now());
    story.ledger.append(&ledger);
    story.forwarded_status = Some(status);
    if let Some(parent) = parent {
        story.behind = parent.cache_status;
    }
    if is_error(status) {
        story.x_cache = XCache::Error;
        story.reason = Reason::OriginError;
    }
    let mut response = Response::new(ResponseBody::new(Source::Origin { body: Box::new(body), done: false }));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    case.answer(response, story)
}

/// The error page for a fetch that failed.
pub(crate) fn fail(case: Case, failure: FetchFailure, mut story: Story) -> Response<ResponseBody> {
    let counter = match failure.reason {
        Reason::BodyTimeout => Some(Counter::EdgeBodyTimeouts),
        // The viewer's body could not be understood.
        Reason::BadRequest => Some(Counter::EdgeRejected),
        _ => None,
    };
    counter.into_iter().for_each(|counter| case.node.counters.bump(counter));
    story.ledger.append(&failure.ledger);
    case.fail(Refusal { status: failure.status, reason: failure.reason }, story.lookup, story.ledger)
}

pub(crate) fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}
