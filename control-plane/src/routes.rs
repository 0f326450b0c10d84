//! Every route of our own, in one table: the router and the OpenAPI document are both made from it.
//!
//! A route that is not in [`ROUTES`] does not exist, and one that is cannot go undocumented. CloudFront's own API, which
//! AWS describes, stands beside it ([`crate::aws`]).

mod act;
mod read;
mod spread;
mod stream;

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
    routing::{MethodRouter, delete, get, post},
};
use cdn_core::Counter;
use http::StatusCode;
use utoipa::{
    IntoParams, ToSchema,
    openapi::{
        RefOr, Schema,
        path::{Parameter, ParameterIn},
    },
};

use crate::{access, ask, aws, dashboard, plane::Plane, respond::Refusal, wire};

pub(crate) use self::spread::begin_invalidation;

/// A method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
    Delete,
}

impl Verb {
    /// As OpenAPI writes it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Delete => "delete",
        }
    }
}

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody who reaches the port.
    Public,
    /// Whoever has the cluster's token.
    Token,
}

/// A schema and those that it refers to.
pub(crate) struct Schemas {
    pub(crate) name: String,
    pub(crate) schema: RefOr<Schema>,
    pub(crate) referred: Vec<(String, RefOr<Schema>)>,
}

fn schemas<T: ToSchema>() -> Schemas {
    let mut referred = Vec::new();
    T::schemas(&mut referred);
    Schemas { name: T::name().into_owned(), schema: T::schema(), referred }
}

/// What a route answers when all is well.
#[derive(Clone, Copy)]
pub(crate) enum Gives {
    /// One JSON document.
    Json(fn() -> Schemas),
    /// One JSON document that a node makes up.
    Value,
    /// Items as Server-Sent Events or NDJSON.
    Stream(fn() -> Schemas),
    /// Something of this media type.
    Text(&'static str),
}

/// What a route wants in its body.
#[derive(Clone, Copy)]
pub(crate) enum Takes {
    Nothing,
    Json(fn() -> Schemas),
    JsonIfAny(fn() -> Schemas),
}

/// One row of the table.
pub(crate) struct Route {
    pub(crate) verb: Verb,
    pub(crate) path: &'static str,
    /// The operation's name.
    pub(crate) name: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) access: Access,
    pub(crate) query: fn() -> Vec<Parameter>,
    pub(crate) takes: Takes,
    pub(crate) status: u16,
    pub(crate) gives: Gives,
    handler: fn() -> MethodRouter<Arc<Plane>>,
}

impl Route {
    const fn new(
        verb: Verb,
        path: &'static str,
        name: &'static str,
        summary: &'static str,
        handler: fn() -> MethodRouter<Arc<Plane>>,
    ) -> Self {
        Self {
            verb,
            path,
            name,
            summary,
            access: Access::Token,
            query: Vec::new,
            takes: Takes::Nothing,
            status: 200,
            gives: Gives::Value,
            handler,
        }
    }

    const fn get(
        path: &'static str,
        name: &'static str,
        summary: &'static str,
        handler: fn() -> MethodRouter<Arc<Plane>>,
    ) -> Self {
        Self::new(Verb::Get, path, name, summary, handler)
    }

    const fn post(
        path: &'static str,
        name: &'static str,
        summary: &'static str,
        handler: fn() -> MethodRouter<Arc<Plane>>,
    ) -> Self {
        Self::new(Verb::Post, path, name, summary, handler)
    }

    const fn public(mut self) -> Self {
        self.access = Access::Public;
        self
    }

    const fn query<T: IntoParams>(mut self) -> Self {
        self.query = || T::into_params(|| Some(ParameterIn::Query));
        self
    }

    const fn takes<T: ToSchema>(mut self) -> Self {
        self.takes = Takes::Json(schemas::<T>);
        self
    }

    const fn may_take<T: ToSchema>(mut self) -> Self {
        self.takes = Takes::JsonIfAny(schemas::<T>);
        self
    }

    const fn gives<T: ToSchema>(mut self) -> Self {
        self.gives = Gives::Json(schemas::<T>);
        self
    }

    const fn streams<T: ToSchema>(mut self) -> Self {
        self.gives = Gives::Stream(schemas::<T>);
        self
    }

    const fn gives_text(mut self, media_type: &'static str) -> Self {
        self.gives = Gives::Text(media_type);
        self
    }

    const fn accepted(mut self) -> Self {
        self.status = 202;
        self
    }
}

/// The table.
pub(crate) const ROUTES: &[Route] = &[
    Route::get("/v1/status", "status", "The whole world: nodes, faults, links", || get(read::handle_status))
        .gives::<wire::Status>(),
    Route::get("/v1/nodes/{id}", "node", "One node; of a PoP its first edge", || get(read::handle_node))
        .gives::<wire::Node>(),
    Route::post("/v1/nodes/{id}/kill", "kill", "End a node, or a PoP's edges, at once", || post(act::handle_kill))
        .may_take::<ask::StopAsk>()
        .gives::<wire::Acted>(),
    Route::post("/v1/nodes/{id}/start", "start", "Start what was killed or has ended", || post(act::handle_start))
        .gives::<wire::Acted>(),
    Route::post("/v1/nodes/{id}/pause", "pause", "Freeze a node, or a PoP's edges", || post(act::handle_pause))
        .may_take::<ask::StopAsk>()
        .gives::<wire::Acted>(),
    Route::post("/v1/nodes/{id}/resume", "resume", "Let what was frozen go on", || post(act::handle_resume))
        .gives::<wire::Acted>(),
    Route::get("/v1/faults", "faults", "Everything that is broken on purpose", || get(read::handle_faults))
        .gives::<wire::Faults>(),
    Route::post("/v1/faults", "add_faults", "Make an origin or node misbehave; answers what was added", || {
        post(act::handle_add_faults)
    })
    .takes::<ask::FaultAsk>()
    .gives::<wire::Faults>(),
    Route::new(Verb::Delete, "/v1/faults", "heal", "Undo faults, kills and pauses; answers what was undone", || {
        delete(act::handle_heal)
    })
    .query::<ask::HealAsk>()
    .gives::<wire::Faults>(),
    Route::post("/v1/links", "change_link", "Change a link; answers what was added", || post(act::handle_change_link))
        .takes::<ask::LinkAsk>()
        .gives::<wire::Faults>(),
    Route::post("/v1/links/measure", "measure_links", "Measure every link, asked against measured", || {
        post(act::handle_measure_links)
    })
    .gives::<wire::LinksReport>(),
    Route::post("/v1/drain", "drain", "Take a PoP out of answers gracefully", || post(act::handle_drain))
        .takes::<ask::DrainAsk>()
        .gives::<wire::Drained>(),
    Route::post("/v1/undrain", "undrain", "Put a PoP back into answers", || post(act::handle_undrain))
        .takes::<ask::DrainAsk>()
        .gives::<wire::Drained>(),
    Route::get("/v1/routing", "routing", "By which policies clients are routed", || get(read::handle_routing))
        .gives::<wire::Routing>(),
    Route::post("/v1/routing", "set_routing", "Route a distribution, or the world, by another policy", || {
        post(act::handle_set_routing)
    })
    .takes::<ask::RoutingAsk>()
    .gives::<wire::Routing>(),
    Route::get("/v1/key-groups", "key_groups", "Whose signatures behaviors may ask for", || {
        get(read::handle_key_groups)
    })
    .gives::<wire::KeyGroupsReport>(),
    Route::post("/v1/key-groups", "set_key", "Put a public key into a key group, or take it out", || {
        post(act::handle_set_key)
    })
    .takes::<ask::KeyAsk>()
    .gives::<wire::KeyGroupsReport>(),
    Route::get("/v1/config", "config", "What the world serves, where that is not what it was started with", || {
        get(read::handle_config)
    })
    .gives::<wire::ConfigReport>(),
    Route::post("/v1/config", "configure", "Serve as another configuration says, everywhere or at some caches", || {
        post(act::handle_configure)
    })
    .takes::<ask::ConfigAsk>()
    .gives::<wire::Acted>(),
    Route::post("/v1/invalidations", "invalidate", "Forget objects everywhere; answers before they are", || {
        post(spread::handle_invalidate)
    })
    .takes::<ask::InvalidationAsk>()
    .gives::<wire::Invalidation>()
    .accepted(),
    Route::get("/v1/invalidations/{id}", "invalidation", "How far an invalidation has come", || {
        get(spread::handle_invalidation)
    })
    .gives::<wire::Invalidation>(),
    Route::get("/v1/cache", "cache", "Which node holds a path, and how old", || get(read::handle_cache))
        .query::<ask::CacheAsk>()
        .gives::<wire::CacheReport>(),
    Route::get("/v1/cache/show", "cache_show", "What nodes hold of a path, and what decides about it", || {
        get(read::handle_cache_show)
    })
    .query::<ask::CacheShowAsk>()
    .gives::<wire::CacheReport>(),
    Route::get("/v1/cache/stats", "cache_stats", "What every cache holds and has done", || {
        get(read::handle_cache_stats)
    })
    .gives::<wire::CacheStats>(),
    Route::get("/v1/explain/route", "explain_route", "Why a viewer would be sent where", || {
        get(read::handle_explain_route)
    })
    .query::<ask::RouteAsk>(),
    Route::get("/v1/explain/route/{id}", "replay_route", "A decision that was explained, told again", || {
        get(read::handle_replay_route)
    }),
    Route::get("/v1/explain/request", "explain_request", "What would become of a request, and why", || {
        get(read::handle_explain_request)
    })
    .query::<ask::RequestAsk>(),
    Route::get("/v1/dig", "dig", "Resolve a name as a viewer at a place would", || get(read::handle_dig))
        .query::<ask::DigAsk>(),
    Route::get("/v1/ledger/{id}", "ledger", "Where the time of one request went", || get(read::handle_ledger)),
    Route::get("/v1/logs", "logs", "Lines of nodes' logs", || get(stream::handle_logs))
        .query::<ask::LogsAsk>()
        .streams::<wire::LogLine>(),
    Route::get("/v1/events", "events", "What happens, as it happens", || get(stream::handle_events))
        .query::<ask::EventsAsk>()
        .streams::<wire::Event>(),
    Route::post("/v1/shutdown", "shutdown", "Stop the world", || post(act::handle_shutdown)).gives::<wire::Accepted>(),
    Route::get("/metrics", "metrics", "Every node's counters in Prometheus' text format", || get(read::handle_metrics))
        .gives_text("text/plain"),
    Route::get("/v1/openapi.json", "openapi", "This document", || get(read::handle_openapi)).public(),
    Route::get("/healthz", "healthz", "Whether the control plane serves", || get(read::handle_health))
        .public()
        .gives::<wire::Accepted>(),
    Route::get("/", "dashboard", "The dashboard", || get(dashboard::handle_page)).public().gives_text("text/html"),
    Route::get("/dashboard.js", "dashboard_script", "The dashboard's script", || get(dashboard::handle_script))
        .public()
        .gives_text("text/javascript"),
    Route::get("/dashboard.css", "dashboard_style", "The dashboard's style", || get(dashboard::handle_style))
        .public()
        .gives_text("text/css"),
    Route::get("/land.svg", "dashboard_land", "The dashboard's map", || get(dashboard::handle_land))
        .public()
        .gives_text("image/svg+xml"),
];

/// The router that serves [`ROUTES`] and refuses everything else.
pub(crate) fn router(plane: &Arc<Plane>) -> Router {
    let token = middleware::from_fn_with_state(plane.clone(), access::require_token);
    ROUTES
        .iter()
        .fold(Router::new(), |router, route| {
            let methods = (route.handler)();
            match route.access {
                Access::Public => router.route(route.path, methods),
                Access::Token => router.route(route.path, methods.route_layer(token.clone())),
            }
        })
        .merge(aws::router(plane))
        .fallback(async || Refusal::NoSuchRoute)
        .method_not_allowed_fallback(async || Refusal::MethodNotAllowed)
        .layer(middleware::from_fn_with_state(plane.clone(), count))
        .with_state(plane.clone())
}

/// Counts a request and, where it is the client's mistake, its refusal; keeps browsers from guessing types.
async fn count(State(plane): State<Arc<Plane>>, request: Request, next: Next) -> Response {
    plane.counters.bump(Counter::ControlRequests);
    let mut response = next.run(request).await;
    // A missing token has a counter of its own.
    if response.status().is_client_error() && response.status() != StatusCode::UNAUTHORIZED {
        plane.counters.bump(Counter::ControlRejected);
    }
    response.headers_mut().insert("x-content-type-options", http::HeaderValue::from_static("nosniff"));
    response
}
