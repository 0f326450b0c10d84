//! Distributions: listed, told with their configurations, and changed.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Path, Query, State},
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::{Cut, Page, Shared, Text, error::AwsError, policies, time_of, xml};
use crate::{
    config::DistributionInfo,
    hands::PolicyFamily,
    plane::{Described, Plane, behaviors, carry_out},
    wire::InvalidationStatus,
};

/// Members of a configuration that a list shows too.
const SUMMARY: [&str; 15] = [
    "Aliases",
    "Origins",
    "OriginGroups",
    "DefaultCacheBehavior",
    "CacheBehaviors",
    "CustomErrorResponses",
    "Comment",
    "PriceClass",
    "Enabled",
    "ViewerCertificate",
    "Restrictions",
    "WebACLId",
    "HttpVersion",
    "IsIPV6Enabled",
    "Staging",
];

/// How long a question for a distribution waits for it to be deployed: waiters ask once and then again after a minute, and a
/// world is told in less than a second.
const DEPLOYMENT_WAIT: Duration = Duration::from_secs(2);

pub(super) async fn list(State(plane): Shared, Query(page): Query<Page>) -> Result<Response, AwsError> {
    let described = plane.described().await?;
    let all = plane.config.distributions.iter().collect();
    let Cut { items, marker, max_items, next_marker } = page.cut(all, |info: &&DistributionInfo| info.id.clone())?;
    let rows: Vec<Value> = items
        .into_iter()
        .filter_map(|info| {
            let one = described.get(&info.id)?;
            let in_progress = plane.state().rollout.is_of(&info.id);
            let mut row = facts(&plane, info, in_progress);
            row["ETag"] = one.etag.as_str().into();
            for name in SUMMARY {
                row[name] = one.config.get(name).cloned().unwrap_or_default();
            }
            Some(row)
        })
        .collect();
    let list = json!({
        "Marker": marker,
        "NextMarker": next_marker,
        "MaxItems": max_items,
        "IsTruncated": next_marker.is_some(),
        "Quantity": rows.len(),
        "Items": rows,
    });
    Ok(xml(StatusCode::OK, "DistributionList", &list))
}

/// Lists the ids of distributions with a behavior that names a policy of this family.
pub(super) async fn list_by_policy(
    family: PolicyFamily,
    State(plane): Shared,
    Path(policy): Path<String>,
    Query(page): Query<Page>,
) -> Result<Response, AwsError> {
    policies::named(&plane, family, &policy).await?;
    let member = format!("{}Id", family.as_str());
    list_ids(&plane, page, |config| behaviors(config).any(|behavior| behavior[&member] == policy)).await
}

/// Lists the ids of distributions with a behavior that trusts a key group.
pub(super) async fn list_by_key_group(
    State(plane): Shared,
    Path(group): Path<String>,
    Query(page): Query<Page>,
) -> Result<Response, AwsError> {
    if !plane.state().desired.key_groups().contains_key(&group) {
        return Err(AwsError::Code("NoSuchResource", format!("The specified key group does not exist: {group}")));
    }
    list_ids(&plane, page, |config| crate::plane::trusted_key_groups(config).contains(group.as_str())).await
}

async fn list_ids(plane: &Plane, page: Page, is_wanted: impl Fn(&Value) -> bool) -> Result<Response, AwsError> {
    let described = plane.described().await?;
    let all = described.iter().filter(|(_, one)| is_wanted(&one.config)).map(|(id, _)| id.clone()).collect();
    let Cut { items, marker, max_items, next_marker } = page.cut(all, String::clone)?;
    let list = json!({
        "Marker": marker,
        "NextMarker": next_marker,
        "MaxItems": max_items,
        "IsTruncated": next_marker.is_some(),
        "Quantity": items.len(),
        "Items": items,
    });
    Ok(xml(StatusCode::OK, "DistributionIdList", &list))
}

pub(super) async fn get(State(plane): Shared, Path(id): Path<String>) -> Result<Response, AwsError> {
    let info = info_of(&plane, &id)?;
    let deadline = tokio::time::Instant::now() + DEPLOYMENT_WAIT;
    while plane.state().rollout.is_of(&id) && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let one = described(&plane, &id).await?;
    let in_progress = plane.state().rollout.is_of(&id);
    Ok(tagged(xml(StatusCode::OK, "Distribution", &document(&plane, info, &one, in_progress)), &one.etag))
}

pub(super) async fn get_config(State(plane): Shared, Path(id): Path<String>) -> Result<Response, AwsError> {
    info_of(&plane, &id)?;
    let one = described(&plane, &id).await?;
    Ok(tagged(xml(StatusCode::OK, "DistributionConfig", &one.config), &one.etag))
}

pub(super) async fn update(
    State(plane): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
    Text(wanted): Text,
) -> Result<Response, AwsError> {
    let info = info_of(&plane, &id)?;
    let if_match = if_match(&headers)?;
    if !wanted.trim_start().starts_with('<') {
        return Err(AwsError::MalformedXml("it does not begin with an element".into()));
    }
    let changing = Arc::clone(&plane);
    let one = carry_out({
        let id = id.clone();
        async move { changing.update_distribution(&id, &if_match, &wanted).await }
    })
    .await?;
    // Whether every cache has it is for whoever asks next.
    Ok(tagged(xml(StatusCode::OK, "Distribution", &document(&plane, info, &one, true)), &one.etag))
}

/// The version that a change is meant for.
pub(super) fn if_match(headers: &HeaderMap) -> Result<String, AwsError> {
    let given = headers.get(header::IF_MATCH).and_then(|value| value.to_str().ok());
    let given = given.map(|value| value.trim().trim_matches('"')).filter(|value| !value.is_empty());
    given.map(str::to_owned).ok_or_else(|| {
        AwsError::Code("InvalidIfMatchVersion", "The If-Match version is missing or not valid for the resource.".into())
    })
}

/// A response with the version of what it is about.
pub(super) fn tagged(mut response: Response, etag: &str) -> Response {
    if let Ok(etag) = HeaderValue::from_str(etag) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response.into_response()
}

pub(super) fn info_of<'a>(plane: &'a Plane, id: &str) -> Result<&'a DistributionInfo, AwsError> {
    let found = plane.config.distributions.iter().find(|info| info.id == id);
    found
        .ok_or_else(|| AwsError::Code("NoSuchDistribution", format!("The specified distribution does not exist: {id}")))
}

async fn described(plane: &Plane, id: &str) -> Result<Described, AwsError> {
    plane.described().await?.get(id).cloned().ok_or(AwsError::Internal)
}

/// What is said of a distribution beside its configuration.
fn facts(plane: &Plane, info: &DistributionInfo, in_progress: bool) -> Value {
    let modified = plane.state().rollout.modified_ms(&info.id);
    json!({
        "Id": info.id,
        "ARN": format!("arn:aws:cloudfront::000000000000:distribution/{}", info.id),
        "Status": if in_progress { "InProgress" } else { "Deployed" },
        "LastModifiedTime": time_of(plane, modified),
        "DomainName": info.own_name(),
    })
}

fn document(plane: &Plane, info: &DistributionInfo, one: &Described, in_progress: bool) -> Value {
    let mut document = facts(plane, info, in_progress);
    let is_done = |row: &crate::wire::Invalidation| row.status == InvalidationStatus::Completed;
    let invalidations = plane.state().propagation.rows(&info.id).filter(|row| !is_done(row)).count();
    document["InProgressInvalidationBatches"] = invalidations.into();
    document["ActiveTrustedSigners"] = json!({ "Enabled": false, "Quantity": 0 });
    document["ActiveTrustedKeyGroups"] = trusted_key_groups(plane, &one.config);
    document["DistributionConfig"] = one.config.clone();
    document
}

/// The key groups that behaviors trust, with the ids of their keys.
fn trusted_key_groups(plane: &Plane, config: &Value) -> Value {
    let trusted = crate::plane::trusted_key_groups(config);
    let state = plane.state();
    let groups: Vec<Value> = trusted
        .iter()
        .filter_map(|id| {
            let keys: Vec<&String> = state.desired.key_groups().get(*id)?.keys().collect();
            Some(json!({ "KeyGroupId": id, "KeyPairIds": { "Quantity": keys.len(), "Items": keys } }))
        })
        .collect();
    match groups.len() {
        0 => json!({ "Enabled": false, "Quantity": 0 }),
        quantity => json!({ "Enabled": true, "Quantity": quantity, "Items": groups }),
    }
}
