//! Cache policies, origin request policies and response headers policies: listed and told. They are CloudFront's own and
//! those of the cluster file.

use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Cut, Page, Shared, distributions::tagged, error::AwsError, time_of, xml};
use crate::{
    hands::{DescribedPolicy, PolicyFamily},
    plane::{Plane, etag_of},
};

/// Which policies are wanted.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Wanted {
    r#type: Option<String>,
    marker: Option<String>,
    max_items: Option<String>,
}

pub(super) async fn list(
    family: PolicyFamily,
    State(plane): Shared,
    Query(wanted): Query<Wanted>,
) -> Result<Response, AwsError> {
    let is_managed = match wanted.r#type.as_deref() {
        None | Some("") => None,
        Some("managed") => Some(true),
        Some("custom") => Some(false),
        Some(other) => return Err(AwsError::InvalidArgument(format!("Type is managed or custom, not {other:?}"))),
    };
    let mut all = of_family(&plane, family).await?;
    all.retain(|policy| is_managed.is_none_or(|managed| policy.is_managed == managed));
    let page = Page { marker: wanted.marker, max_items: wanted.max_items };
    let Cut { items, max_items, next_marker, .. } = page.cut(all, |policy: &DescribedPolicy| policy.id.clone())?;
    let name = family.as_str();
    let rows: Vec<Value> = items
        .iter()
        .map(|policy| {
            let kind = if policy.is_managed { "managed" } else { "custom" };
            json!({ "Type": kind, name: document(&plane, policy) })
        })
        .collect();
    let list = json!({ "NextMarker": next_marker, "MaxItems": max_items, "Quantity": rows.len(), "Items": rows });
    Ok(xml(StatusCode::OK, &format!("{name}List"), &list))
}

pub(super) async fn get(
    family: PolicyFamily,
    State(plane): Shared,
    Path(id): Path<String>,
) -> Result<Response, AwsError> {
    let policy = named(&plane, family, &id).await?;
    Ok(tagged(xml(StatusCode::OK, family.as_str(), &document(&plane, &policy)), &etag_of(&policy.config)))
}

pub(super) async fn get_config(
    family: PolicyFamily,
    State(plane): Shared,
    Path(id): Path<String>,
) -> Result<Response, AwsError> {
    let policy = named(&plane, family, &id).await?;
    Ok(tagged(xml(StatusCode::OK, &config_name(family), &policy.config), &etag_of(&policy.config)))
}

fn config_name(family: PolicyFamily) -> String {
    format!("{}Config", family.as_str())
}

fn document(plane: &Plane, policy: &DescribedPolicy) -> Value {
    // They are as old as the world.
    json!({ "Id": policy.id, "LastModifiedTime": time_of(plane, 0), config_name(policy.family): policy.config })
}

async fn of_family(plane: &Plane, family: PolicyFamily) -> Result<Vec<DescribedPolicy>, AwsError> {
    let whole = plane.state().desired.whole().cloned();
    let mut all = plane.act(plane.hands.policies(whole.as_ref())).await?;
    all.retain(|policy| policy.family == family);
    Ok(all)
}

/// The policy of this id.
pub(super) async fn named(plane: &Plane, family: PolicyFamily, id: &str) -> Result<DescribedPolicy, AwsError> {
    let found = of_family(plane, family).await?.into_iter().find(|policy| policy.id == id);
    let code = match family {
        PolicyFamily::Cache => "NoSuchCachePolicy",
        PolicyFamily::OriginRequest => "NoSuchOriginRequestPolicy",
        PolicyFamily::ResponseHeaders => "NoSuchResponseHeadersPolicy",
    };
    found.ok_or_else(|| AwsError::Code(code, format!("The specified policy does not exist: {id}")))
}
