//! What the functions of a behavior do to one exchange.

use std::sync::Arc;

use cdn_core::{
    Counter, Reason,
    distribution::Diagnostics,
    forward::XCache,
    functions::{self, Event, Function, FunctionInvalid, Returned, Trigger},
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use super::{FunctionError, OriginChanges, events};
use crate::{
    asked::Asked,
    body::ResponseBody,
    extras::Extras,
    node::Node,
    respond::{self, Occasion, Refusal, Story},
    service::{Answer, Case},
};

/// Runs the viewer-request function of a behavior that has one. Where that makes no response, `serve` goes on with what
/// it made of the request.
pub(crate) async fn before(
    case: Case,
    mut asked: Asked,
    function: Arc<Function>,
    serve: impl FnOnce(Case, Asked) -> Answer + Send,
) -> Response<ResponseBody> {
    let node = Arc::clone(&case.node);
    let fields = fields_of(&asked);
    let event = event_of(Trigger::ViewerRequest, &asked, &case, &fields);
    let returned = call(&node, &function, &event).await;
    let decided = returned.and_then(|(returned, origins)| match returned {
        Returned::Request(request) => {
            let rewrite = functions::rewrite(&fields, &event.request, &request)?;
            asked.rewrite(rewrite).map_err(FunctionInvalid::Uri)?;
            asked.choose(&origins)?;
            Ok(None)
        }
        Returned::Response(response) => Ok(Some(functions::answer(response)?)),
    });
    match decided {
        Ok(None) => serve(case, asked).await.unwrap_or_else(|never| match never {}),
        Ok(Some(answered)) => {
            let lookup = node.clock.now() - case.began;
            let mut response = Response::new(ResponseBody::whole(answered.body.unwrap_or_default()));
            *response.status_mut() = answered.status;
            *response.headers_mut() = answered.headers;
            response.headers_mut().entry(header::SERVER).or_insert(HeaderValue::from_static("CloudFront"));
            case.answer(response, Story::new(XCache::FunctionGenerated, Reason::FunctionGenerated, lookup))
        }
        Err(error) => case.refuse(refusal(&node, &function, &event, &error)),
    }
}

/// What is kept of a request until its response is there, for the viewer-response function.
#[derive(Debug)]
pub(crate) struct After {
    node: Arc<Node>,
    function: Arc<Function>,
    event: Event,
    is_head: bool,
    began: cdn_core::Instant,
    request_id: HeaderValue,
    diagnostics: Diagnostics,
    extras: Option<Box<Extras>>,
}

impl After {
    /// `None` where no function runs.
    pub(crate) fn of(case: &Case, asked: &Asked) -> Option<Self> {
        let function = asked.behavior().viewer_response()?;
        Some(Self {
            node: Arc::clone(&case.node),
            function: Arc::clone(function),
            event: event_of(Trigger::ViewerResponse, asked, case, &fields_of(asked)),
            is_head: asked.method == Method::HEAD,
            began: case.began,
            request_id: case.request_id.clone(),
            diagnostics: case.diagnostics,
            extras: case.extras.clone(),
        })
    }

    /// Runs the function on a response that has all its headers.
    pub(crate) async fn revise(mut self, response: Response<ResponseBody>) -> Response<ResponseBody> {
        if !functions::runs_after(response.status()) {
            return response;
        }
        self.event.response = Some(functions::response_of(response.status(), response.headers()));
        let returned = call(&self.node, &self.function, &self.event).await;
        let decided = returned.and_then(|(returned, _)| match returned {
            Returned::Response(returned) => Ok(functions::revise(response.headers(), returned)?),
            Returned::Request(_) => Err(FunctionInvalid::NotAResponse.into()),
        });
        let (mut parts, mut body) = response.into_parts();
        match decided {
            Ok(answered) => {
                (parts.status, parts.headers) = (answered.status, answered.headers);
                if let Some(own) = answered.body.filter(|_| !self.is_head && parts.status != StatusCode::NOT_MODIFIED) {
                    body.replace(ResponseBody::whole(own));
                }
                body.on_revised(parts.status, &parts.headers);
                Response::from_parts(parts, body)
            }
            Err(error) => {
                let refusal = refusal(&self.node, &self.function, &self.event, &error);
                let Self { node, began, request_id, diagnostics, extras, .. } = &self;
                let extras = extras.as_deref();
                let occasion = Occasion { node, began: *began, request_id, diagnostics: *diagnostics, extras };
                let (mut parts, page) = respond::error_page(occasion, refusal).into_parts();
                let story = Story::new(refusal.x_cache(), refusal.reason, node.clock.now() - *began);
                respond::finish(occasion, story, parts.status, &mut parts.headers);
                body.replace(page);
                if self.is_head {
                    body.clear();
                }
                body.on_refused(refusal, &parts.headers);
                Response::from_parts(parts, body)
            }
        }
    }
}

/// What a function returned, and what it said of origins.
async fn call(
    node: &Node,
    function: &Arc<Function>,
    event: &Event,
) -> Result<(Returned, OriginChanges), FunctionError> {
    let now = (node.wall.now().unix_nanos() / 1_000_000) as f64;
    let run = node.functions.call(function, events::write(event), now).await;
    for line in run.log.iter().chain(run.origins.notes()) {
        tracing::info!(
            target: "function",
            node = &*node.name,
            function = &*function.name,
            id = event.request_id.to_str().unwrap_or_default(),
            "{}", line.escape_debug()
        );
    }
    Ok((events::read(&run.returned?)?, run.origins))
}

/// How a function that gave nothing to go on with is answered, once that has been counted and logged.
fn refusal(node: &Node, function: &Function, event: &Event, error: &FunctionError) -> Refusal {
    let (counter, reason) = match error {
        FunctionError::Invalid(_) => (Counter::EdgeFunctionValidationErrors, Reason::FunctionInvalid),
        FunctionError::Failed(_) => (Counter::EdgeFunctionExecutionErrors, Reason::FunctionFailed),
        FunctionError::OutOfTime => (Counter::EdgeFunctionExecutionErrors, Reason::FunctionTimeout),
        FunctionError::OutOfMemory => (Counter::EdgeFunctionExecutionErrors, Reason::FunctionMemory),
        FunctionError::Throttled => (Counter::EdgeFunctionThrottles, Reason::FunctionThrottled),
    };
    node.counters.bump(counter);
    tracing::warn!(
        target: "function",
        node = &*node.name,
        function = &*function.name,
        trigger = event.trigger.as_str(),
        uri = &*event.request.uri,
        reason = reason.as_str(),
        id = event.request_id.to_str().unwrap_or_default(),
        "{}", error.to_string().escape_debug()
    );
    Refusal::new(reason)
}

fn event_of(trigger: Trigger, asked: &Asked, case: &Case, fields: &HeaderMap) -> Event {
    // `IAD50-C1`: the airport comes first.
    let edge = case.node.pop_header.to_str().unwrap_or_default().chars().take(3).collect();
    Event {
        trigger,
        distribution: Arc::clone(asked.distribution.id()),
        domain: asked.distribution.own_name(),
        request_id: case.request_id.clone(),
        edge,
        viewer: asked.viewer.address.ip(),
        request: functions::request_of(&asked.method, asked.path(), asked.uri.query(), fields),
        response: None,
    }
}

/// The headers of a request, with the host that it named as HTTP/2 does.
fn fields_of(asked: &Asked) -> HeaderMap {
    let mut fields = asked.headers.clone();
    fields.entry(header::HOST).or_insert_with(|| asked.host.clone());
    fields
}
