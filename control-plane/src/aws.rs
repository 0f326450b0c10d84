//! The small part of CloudFront's own API that scripts use: distributions and their configurations, tags of those,
//! invalidations, public keys and key groups, and the policies that behaviors name.
//!
//! REST-XML under `/2020-05-31`, as botocore and the AWS command line speak it. Requests must be signed (SigV4), as theirs
//! always are: it is the header that no page of a browser can send here without being asked first, and this API never says
//! yes to that. Whose key signed them is looked at where the world has keys for it ([`signature`]).

mod distributions;
mod documents;
mod error;
mod keys;
mod policies;
mod signature;
mod tags;
mod xml;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    extract::{FromRequest, Path, Query, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use cdn_core::{Counter, WallTime};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub(crate) use self::tags::Tags;
use self::{
    distributions::info_of,
    documents::{Invalidation, InvalidationBatch, InvalidationList, InvalidationSummaries, InvalidationSummary},
    error::AwsError,
    signature::{ALGORITHM, Signed},
    xml::NAMESPACE,
};
use crate::{
    extract::read,
    hands::PolicyFamily,
    plane::Plane,
    routes::begin_invalidation,
    wire::{self, InvalidationStatus},
};

/// The version of the API, which every path begins with.
const PREFIX: &str = "/2020-05-31";

/// What replies name a request by.
const X_AMZN_REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// How long a question for an invalidation waits for it to be completed: `aws cloudfront wait` asks once and then again
/// after 20 s, and a world is told in less than a second.
const COMPLETION_WAIT: Duration = Duration::from_secs(2);

/// Items of a list where nothing is said of it, CloudFront's.
const ITEMS: usize = 100;

type Shared = State<Arc<Plane>>;

/// A `DistributionConfig`, which is JSON here, in XML: as `GetDistributionConfig` answers it.
pub fn distribution_xml(config: &serde_json::Value) -> String {
    xml::write("DistributionConfig", config)
}

/// The routes.
pub(crate) fn router(plane: &Arc<Plane>) -> Router<Arc<Plane>> {
    let one = format!("{PREFIX}/distribution/{{id}}");
    let key = format!("{PREFIX}/public-key/{{id}}");
    let group = format!("{PREFIX}/key-group/{{id}}");
    let mut router = Router::new();
    for (path, family) in [
        ("cache-policy", PolicyFamily::Cache),
        ("origin-request-policy", PolicyFamily::OriginRequest),
        ("response-headers-policy", PolicyFamily::ResponseHeaders),
    ] {
        let all = format!("{PREFIX}/{path}");
        let (list, one, config) = (
            get(move |plane, wanted| policies::list(family, plane, wanted)),
            get(move |plane, id| policies::get(family, plane, id)),
            get(move |plane, id| policies::get_config(family, plane, id)),
        );
        router = router.route(&all, list);
        let by_policy = format!("{PREFIX}/distributionsBy{}Id/{{id}}", family.as_str());
        let users = get(move |plane, id, page| distributions::list_by_policy(family, plane, id, page));
        router = router.route(&by_policy, users);
        router = router.route(&format!("{all}/{{id}}"), one).route(&format!("{all}/{{id}}/config"), config);
    }
    router
        .route(&format!("{PREFIX}/distributionsByKeyGroupId/{{id}}"), get(distributions::list_by_key_group))
        .route(&format!("{PREFIX}/tagging"), get(tags::list).post(tags::change))
        .route(&format!("{PREFIX}/distribution"), get(distributions::list))
        .route(&one, get(distributions::get))
        .route(&format!("{one}/config"), get(distributions::get_config).put(distributions::update))
        .route(&format!("{one}/invalidation"), get(list_invalidations).post(create_invalidation))
        .route(&format!("{one}/invalidation/{{invalidation}}"), get(invalidation))
        .route(&format!("{PREFIX}/public-key"), get(keys::list_public_keys).post(keys::create_public_key))
        .route(&key, get(keys::get_public_key).delete(keys::delete_public_key))
        .route(&format!("{key}/config"), get(keys::get_public_key_config).put(keys::update_public_key))
        .route(&format!("{PREFIX}/key-group"), get(keys::list_key_groups).post(keys::create_key_group))
        .route(&group, get(keys::get_key_group).put(keys::update_key_group).delete(keys::delete_key_group))
        .route(&format!("{group}/config"), get(keys::get_key_group_config))
        // What is there in part is refused as what is not there at all.
        .method_not_allowed_fallback(async || AwsError::NotImplemented)
        .route(&format!("{PREFIX}/{{*rest}}"), axum::routing::any(async || AwsError::NotImplemented))
        .route_layer(middleware::from_fn_with_state(Arc::clone(plane), require_signature))
}

/// Lets requests through that are signed, and well where the world has keys for it; gives every reply an id.
async fn require_signature(State(plane): Shared, request: Request, next: Next) -> Response {
    let signed = request.headers().get(header::AUTHORIZATION).is_some_and(|value| {
        value.as_bytes().strip_prefix(ALGORITHM.as_bytes()).is_some_and(|rest| rest.starts_with(b" "))
    });
    let verified = if signed { verified(&plane, request).await } else { Err(AwsError::NotSigned) };
    let mut response = match verified {
        Ok(request) => next.run(request).await,
        Err(error) => {
            plane.counters.bump(Counter::ControlUnauthorized);
            error.into_response()
        }
    };
    let id = request_id(&plane);
    if let Some(error) = response.extensions_mut().remove::<AwsError>() {
        *response.body_mut() = error.document(id.to_str().unwrap_or_default()).into();
    }
    response.headers_mut().insert(X_AMZN_REQUEST_ID, id);
    response
}

/// The request, if it is signed with a key of this world's, or the world has none.
async fn verified(plane: &Arc<Plane>, request: Request) -> Result<Request, AwsError> {
    let secrets = &plane.config.aws_keys;
    if secrets.is_empty() {
        return Ok(request);
    }
    let (head, body) = request.into_parts();
    let body = read(body, plane).await?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = WallTime::from_unix_nanos(i128::try_from(since.as_nanos()).unwrap_or_default());
    let signed = Signed {
        method: &head.method,
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        headers: &head.headers,
        body: &body,
    };
    signature::verify(&signed, secrets, now)?;
    Ok(Request::from_parts(head, body.into()))
}

/// An id in the form of AWS's, different for each reply of a run.
fn request_id(plane: &Plane) -> HeaderValue {
    let nth = plane.counters.value(Counter::ControlRequests);
    let id = format!("{:08x}-0000-4000-8000-{nth:012x}", plane.config.seed as u32);
    HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("0"))
}

/// Which part of a list is wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Page {
    marker: Option<String>,
    max_items: Option<String>,
}

/// What is on a page, and how to ask for the next.
struct Cut<T> {
    items: Vec<T>,
    marker: String,
    max_items: usize,
    next_marker: Option<String>,
}

impl Page {
    /// The items behind the marker, as many as wanted.
    fn cut<T>(self, all: Vec<T>, id: impl Fn(&T) -> String) -> Result<Cut<T>, AwsError> {
        let max_items = match self.max_items.as_deref() {
            None | Some("") => ITEMS,
            Some(text) => text
                .parse()
                .ok()
                .filter(|items| *items > 0)
                .ok_or_else(|| AwsError::InvalidArgument(format!("MaxItems is no number above 0: {text:?}")))?,
        };
        let marker = self.marker.unwrap_or_default();
        let first = match marker.as_str() {
            "" => 0,
            marker => all.iter().position(|item| id(item) == marker).map_or(all.len(), |at| at + 1),
        };
        let is_truncated = all.len() - first > max_items;
        let items: Vec<T> = all.into_iter().skip(first).take(max_items).collect();
        let next_marker = items.last().filter(|_| is_truncated).map(id);
        Ok(Cut { items, marker, max_items, next_marker })
    }
}

async fn list_invalidations(
    State(plane): Shared,
    Path(id): Path<String>,
    Query(page): Query<Page>,
) -> Result<Response, AwsError> {
    let info = info_of(&plane, &id)?;
    // The newest first, as CloudFront lists them.
    let mut all: Vec<wire::Invalidation> = plane.state().propagation.rows(&info.id).collect();
    all.reverse();
    let Cut { items, marker, max_items, next_marker } = page.cut(all, |row| row.id.clone())?;
    let rows: Vec<_> = items
        .into_iter()
        .map(|row| InvalidationSummary {
            create_time: time_of(&plane, row.t_ms),
            status: status_of(row.status),
            id: row.id,
        })
        .collect();
    let list = InvalidationList {
        xmlns: NAMESPACE,
        marker,
        is_truncated: next_marker.is_some(),
        next_marker,
        max_items,
        quantity: rows.len(),
        items: InvalidationSummaries { invalidation_summary: rows },
    };
    serialized(StatusCode::OK, "InvalidationList", &list)
}

async fn create_invalidation(
    State(plane): Shared,
    Path(id): Path<String>,
    Xml(batch): Xml<InvalidationBatch>,
) -> Result<Response, AwsError> {
    let info = info_of(&plane, &id)?;
    let paths = batch.paths.items.map(|items| items.path).unwrap_or_default();
    if paths.len() != batch.paths.quantity {
        return Err(AwsError::InconsistentQuantities { said: batch.paths.quantity, found: paths.len() });
    }
    let (row, is_new) = begin_invalidation(&plane, Some(&info.id), paths.clone(), Some(&batch.caller_reference))?;
    if !is_new && row.patterns != paths {
        let reference = batch.caller_reference;
        let message = format!("CallerReference {reference:?} was used for other paths");
        return Err(AwsError::Code("InvalidationBatchAlreadyExists", message));
    }
    let location = format!("{PREFIX}/distribution/{}/invalidation/{}", info.id, row.id);
    let document = invalidation_of(&plane, row, batch.caller_reference);
    let mut response = serialized(StatusCode::CREATED, "Invalidation", &document)?;
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

async fn invalidation(
    State(plane): Shared,
    Path((id, invalidation)): Path<(String, String)>,
) -> Result<Response, AwsError> {
    let info = info_of(&plane, &id)?;
    let find = || {
        let state = plane.state();
        let row = state.propagation.row(&invalidation)?;
        // One without a distribution is of all of them.
        let is_of = row.distribution.as_ref().is_none_or(|of| *of == info.id);
        is_of.then(|| (row, state.propagation.reference(&invalidation).unwrap_or_default().to_owned()))
    };
    let deadline = tokio::time::Instant::now() + COMPLETION_WAIT;
    loop {
        let (row, reference) = find().ok_or_else(|| AwsError::NoSuchInvalidation(invalidation.clone()))?;
        if row.status != InvalidationStatus::InProgress || tokio::time::Instant::now() >= deadline {
            return serialized(StatusCode::OK, "Invalidation", &invalidation_of(&plane, row, reference));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn invalidation_of(plane: &Plane, row: wire::Invalidation, reference: String) -> Invalidation {
    Invalidation {
        xmlns: NAMESPACE,
        id: row.id,
        status: status_of(row.status),
        create_time: time_of(plane, row.t_ms),
        invalidation_batch: InvalidationBatch::of(row.patterns, reference),
    }
}

/// CloudFront's word: one that some node could not be told is not completed, whatever time passes.
const fn status_of(status: InvalidationStatus) -> &'static str {
    match status {
        InvalidationStatus::Completed => "Completed",
        InvalidationStatus::InProgress | InvalidationStatus::Failed => "InProgress",
    }
}

/// ISO 8601 of so many milliseconds after the control plane was built.
fn time_of(plane: &Plane, t_ms: u64) -> String {
    let ago = plane.now().saturating_since(cdn_core::Instant::ZERO).saturating_sub(Duration::from_millis(t_ms));
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(ago);
    let nanos = i128::try_from(unix.as_nanos()).unwrap_or_default();
    let cdn_core::Civil { year, month, day, hour, minute, second, micros } = WallTime::from_unix_nanos(nanos).civil();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", micros / 1000)
}

fn serialized(status: StatusCode, root: &str, document: &impl Serialize) -> Result<Response, AwsError> {
    let body = quick_xml::se::to_string_with_root(root, document).map_err(|_| AwsError::Internal)?;
    let head = [(header::CONTENT_TYPE, "text/xml")];
    Ok((status, head, format!("<?xml version=\"1.0\"?>\n{body}")).into_response())
}

fn xml(status: StatusCode, root: &str, document: &serde_json::Value) -> Response {
    (status, [(header::CONTENT_TYPE, "text/xml")], xml::write(root, document)).into_response()
}

/// A body that is text, and not empty.
struct Text(String);

impl FromRequest<Arc<Plane>> for Text {
    type Rejection = AwsError;

    async fn from_request(request: Request, plane: &Arc<Plane>) -> Result<Self, AwsError> {
        let body = read(request.into_body(), plane).await?;
        let text = String::from_utf8(body).map_err(|_| AwsError::MalformedXml("it is not UTF-8".into()))?;
        if text.trim().is_empty() { Err(AwsError::MissingBody) } else { Ok(Self(text)) }
    }
}

/// A body in XML.
struct Xml<T>(T);

impl<T: DeserializeOwned> FromRequest<Arc<Plane>> for Xml<T> {
    type Rejection = AwsError;

    async fn from_request(request: Request, plane: &Arc<Plane>) -> Result<Self, AwsError> {
        let Text(text) = Text::from_request(request, plane).await?;
        quick_xml::de::from_str(&text).map(Self).map_err(|error| AwsError::MalformedXml(error.to_string()))
    }
}
