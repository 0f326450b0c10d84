//! Tags of distributions: kept and told, and nothing goes by them.

use std::collections::BTreeMap;

use axum::{
    extract::{Query, State},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Shared, Xml, error::AwsError, xml};
use crate::plane::Plane;

/// Tags that a distribution may have: CloudFront's own limit.
const TAGS_MAX: usize = 50;

/// Characters of a key and of a value, CloudFront's.
const KEY_MAX: usize = 128;
const VALUE_MAX: usize = 256;

/// Tags by the id of the distribution that has them.
pub(crate) type Tags = BTreeMap<String, BTreeMap<String, String>>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Ask {
    resource: String,
    operation: Option<String>,
}

/// `Tags` or `TagKeys`: which, the operation says.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Body {
    items: Items,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Items {
    tag: Vec<Tag>,
    key: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    #[serde(default)]
    value: String,
}

pub(super) async fn list(State(plane): Shared, Query(ask): Query<Ask>) -> Result<Response, AwsError> {
    let id = distribution_of(&plane, &ask.resource).await?;
    let tags = plane.state().tags.get(&id).cloned().unwrap_or_default();
    let items: Vec<Value> = tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
    Ok(xml(StatusCode::OK, "Tags", &json!({ "Items": items })))
}

pub(super) async fn change(
    State(plane): Shared,
    Query(ask): Query<Ask>,
    Xml(body): Xml<Body>,
) -> Result<Response, AwsError> {
    let id = distribution_of(&plane, &ask.resource).await?;
    let mut state = plane.state();
    let tags = state.tags.entry(id).or_default();
    match ask.operation.as_deref() {
        Some("Tag") => lay(tags, body.items.tag)?,
        Some("Untag") => tags.retain(|key, _| !body.items.key.contains(key)),
        _ => return Err(AwsError::InvalidArgument("Operation is Tag or Untag".into())),
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Lays tags over those that there are; all, or none where one cannot be.
fn lay(tags: &mut BTreeMap<String, String>, more: Vec<Tag>) -> Result<(), AwsError> {
    let refuse = |what: String| AwsError::Code("InvalidTagging", what);
    let mut all = tags.clone();
    for Tag { key, value } in more {
        let length = key.chars().count();
        if length == 0 || length > KEY_MAX || value.chars().count() > VALUE_MAX || key.starts_with("aws:") {
            return Err(refuse(format!("{key:?} cannot be a tag, or has a value that is too long")));
        }
        all.insert(key, value);
    }
    if all.len() > TAGS_MAX {
        return Err(refuse(format!("there may be {TAGS_MAX} tags, and these were {}", all.len())));
    }
    *tags = all;
    Ok(())
}

/// The id of the distribution that an ARN names, of whichever account. Only distributions have tags here.
async fn distribution_of(plane: &Plane, arn: &str) -> Result<String, AwsError> {
    let rest = arn.strip_prefix("arn:aws:cloudfront::").and_then(|rest| rest.split_once(":distribution/"));
    let id = rest.map_or("", |(_account, id)| id);
    let missing = || AwsError::Code("NoSuchResource", format!("The specified resource does not exist: {arn}"));
    plane.described().await?.get_key_value(id).map(|(id, _)| id.clone()).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(key: &str, value: &str) -> Tag {
        Tag { key: key.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn tags_are_laid_over_each_other_all_or_none() {
        let mut tags = BTreeMap::new();
        lay(&mut tags, vec![tag("a", "1"), tag("b", "")]).unwrap();
        lay(&mut tags, vec![tag("a", "2")]).unwrap();
        assert_eq!(tags, [("a".into(), "2".into()), ("b".into(), String::new())].into());
        let long = "x".repeat(VALUE_MAX + 1);
        for refused in [tag("", ""), tag("aws:c", ""), tag("c", &long)] {
            assert!(lay(&mut tags, vec![tag("d", ""), refused]).is_err());
        }
        let many = (0..TAGS_MAX).map(|at| tag(&at.to_string(), "")).collect();
        assert!(lay(&mut tags, many).is_err());
        assert_eq!(tags.len(), 2);
    }
}
