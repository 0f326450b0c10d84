//! Public keys and key groups.

use axum::{
    extract::{Path, Query, State},
    response::{IntoResponse as _, Response},
};
use cdn_core::{Counter, Instant, distribution::KEYS_MAX};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Cut, PREFIX, Page, Shared, Xml,
    distributions::{if_match, tagged},
    error::AwsError,
    time_of, xml,
};
use crate::{
    check,
    desired::{KeyGroup, Keys, KeysError, PublicKey},
    plane::{Plane, check_version, digest_of, etag_of, trusted_key_groups},
    registry::millis,
    respond::Refusal,
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PublicKeyConfig {
    caller_reference: String,
    name: String,
    encoded_key: String,
    #[serde(default)]
    comment: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct KeyGroupConfig {
    name: String,
    #[serde(default)]
    items: KeyItems,
    #[serde(default)]
    comment: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KeyItems {
    #[serde(default)]
    public_key: Vec<String>,
}

impl From<KeysError> for AwsError {
    fn from(error: KeysError) -> Self {
        let code = match error {
            KeysError::NoSuchPublicKey(_) => "NoSuchPublicKey",
            KeysError::NoSuchKeyGroup(_) => "NoSuchResource",
            KeysError::UnknownKeyInGroup(_) | KeysError::EmptyGroup => "InvalidArgument",
            KeysError::PublicKeyExists(_) => "PublicKeyAlreadyExists",
            KeysError::KeyGroupExists(_) => "KeyGroupAlreadyExists",
            KeysError::PublicKeyInUse(_) => "PublicKeyInUse",
            KeysError::Immutable => "CannotChangeImmutablePublicKeyFields",
            KeysError::PublicKeysFull(_) => "TooManyPublicKeys",
            KeysError::KeyGroupsFull(_) => "TooManyKeyGroups",
        };
        Self::Code(code, error.to_string())
    }
}

pub(super) async fn list_public_keys(State(plane): Shared, Query(page): Query<Page>) -> Result<Response, AwsError> {
    let all = plane.state().desired.keys().public_keys().into_iter().collect();
    let Cut { items, max_items, next_marker, .. } = page.cut(all, |(id, _): &(String, PublicKey)| id.clone())?;
    let row = |(id, key): (String, PublicKey)| {
        json!({
            "Id": id,
            "Name": key.name,
            "CreatedTime": time(&plane, key.created),
            "EncodedKey": key.pem,
            "Comment": key.comment,
        })
    };
    let rows: Vec<Value> = items.into_iter().map(row).collect();
    let (quantity, next) = (rows.len(), next_marker);
    let list = json!({ "NextMarker": next, "MaxItems": max_items, "Quantity": quantity, "Items": rows });
    Ok(xml(StatusCode::OK, "PublicKeyList", &list))
}

pub(super) async fn create_public_key(
    State(plane): Shared,
    Xml(config): Xml<PublicKeyConfig>,
) -> Result<Response, AwsError> {
    let PublicKeyConfig { caller_reference, name, encoded_key: pem, comment } = config;
    let id = format!("K{}", digest_of(&format!("{}\n{caller_reference}\n{}", plane.config.seed, pem.trim())));
    check::key(&id, &pem)?;
    let max = plane.config.limits.public_keys_max;
    let key = plane
        .change_keys(|keys, created| {
            let key = PublicKey { caller_reference, name, pem, comment, created };
            counted(&plane, keys.create_key(id.clone(), key.clone(), max))?;
            Ok::<_, AwsError>(key)
        })
        .await?;
    Ok(created("public-key", &id, "PublicKey", public_key(&plane, &id, &key)))
}

pub(super) async fn get_public_key(State(plane): Shared, Path(id): Path<String>) -> Result<Response, AwsError> {
    let key = key_of(plane.state().desired.keys(), &id)?;
    let document = public_key(&plane, &id, &key);
    Ok(tagged(xml(StatusCode::OK, "PublicKey", &document), &etag_of(&key_config(&key))))
}

pub(super) async fn get_public_key_config(State(plane): Shared, Path(id): Path<String>) -> Result<Response, AwsError> {
    let config = key_config(&key_of(plane.state().desired.keys(), &id)?);
    Ok(tagged(xml(StatusCode::OK, "PublicKeyConfig", &config), &etag_of(&config)))
}

pub(super) async fn update_public_key(
    State(plane): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
    Xml(config): Xml<PublicKeyConfig>,
) -> Result<Response, AwsError> {
    let version = if_match(&headers)?;
    let PublicKeyConfig { caller_reference, name, encoded_key: pem, comment } = config;
    let key = plane
        .change_keys(|keys, created| {
            check_version(&version, &etag_of(&key_config(&key_of(keys, &id)?)))?;
            keys.update_key(&id, PublicKey { caller_reference, name, pem, comment, created })?;
            key_of(keys, &id)
        })
        .await?;
    Ok(tagged(xml(StatusCode::OK, "PublicKey", &public_key(&plane, &id, &key)), &etag_of(&key_config(&key))))
}

pub(super) async fn delete_public_key(
    State(plane): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, AwsError> {
    let version = if_match(&headers)?;
    plane
        .change_keys(|keys, _| {
            check_version(&version, &etag_of(&key_config(&key_of(keys, &id)?)))?;
            Ok::<_, AwsError>(keys.delete_key(&id)?)
        })
        .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn list_key_groups(State(plane): Shared, Query(page): Query<Page>) -> Result<Response, AwsError> {
    type Row = (String, (KeyGroup, Vec<String>));
    let all = plane.state().desired.keys().key_groups().into_iter().collect();
    let Cut { items, max_items, next_marker, .. } = page.cut(all, |(id, _): &Row| id.clone())?;
    let row = |(id, group): Row| json!({ "KeyGroup": key_group(&plane, &id, &group) });
    let rows: Vec<Value> = items.into_iter().map(row).collect();
    let (quantity, next) = (rows.len(), next_marker);
    let list = json!({ "NextMarker": next, "MaxItems": max_items, "Quantity": quantity, "Items": rows });
    Ok(xml(StatusCode::OK, "KeyGroupList", &list))
}

pub(super) async fn create_key_group(
    State(plane): Shared,
    Xml(config): Xml<KeyGroupConfig>,
) -> Result<Response, AwsError> {
    let KeyGroupConfig { name, items: KeyItems { public_key: ids }, comment } = config;
    check_size(&ids)?;
    let id = group_id(plane.config.seed, &name);
    let max = plane.config.limits.key_groups_max;
    let group = plane
        .change_keys(|keys, modified| {
            counted(&plane, keys.create_group(id.clone(), KeyGroup { name, comment, modified }, &ids, max))?;
            group_of(keys, &id)
        })
        .await?;
    Ok(created("key-group", &id, "KeyGroup", key_group(&plane, &id, &group)))
}

pub(super) async fn get_key_group(State(plane): Shared, Path(id): Path<String>) -> Result<Response, AwsError> {
    let group = group_of(plane.state().desired.keys(), &id)?;
    let document = key_group(&plane, &id, &group);
    Ok(tagged(xml(StatusCode::OK, "KeyGroup", &document), &etag_of(&group_config(&group))))
}

pub(super) async fn get_key_group_config(State(plane): Shared, Path(id): Path<String>) -> Result<Response, AwsError> {
    let config = group_config(&group_of(plane.state().desired.keys(), &id)?);
    Ok(tagged(xml(StatusCode::OK, "KeyGroupConfig", &config), &etag_of(&config)))
}

pub(super) async fn update_key_group(
    State(plane): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
    Xml(config): Xml<KeyGroupConfig>,
) -> Result<Response, AwsError> {
    let version = if_match(&headers)?;
    let KeyGroupConfig { name, items: KeyItems { public_key: ids }, comment } = config;
    check_size(&ids)?;
    let group = plane
        .change_keys(|keys, modified| {
            check_version(&version, &etag_of(&group_config(&group_of(keys, &id)?)))?;
            keys.update_group(&id, KeyGroup { name, comment, modified }, &ids)?;
            group_of(keys, &id)
        })
        .await?;
    Ok(tagged(xml(StatusCode::OK, "KeyGroup", &key_group(&plane, &id, &group)), &etag_of(&group_config(&group))))
}

pub(super) async fn delete_key_group(
    State(plane): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, AwsError> {
    let version = if_match(&headers)?;
    let described = plane.described().await?;
    let trusts = |config: &Value| trusted_key_groups(config).contains(id.as_str());
    if let Some((distribution, _)) = described.iter().find(|(_, one)| trusts(&one.config)) {
        let message = format!("the key group is trusted by distribution {distribution}");
        return Err(AwsError::Code("ResourceInUse", message));
    }
    plane
        .change_keys(|keys, _| {
            check_version(&version, &etag_of(&group_config(&group_of(keys, &id)?)))?;
            Ok::<_, AwsError>(keys.delete_group(&id)?)
        })
        .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Counts what is refused because it would be too many.
fn counted(plane: &Plane, done: Result<(), KeysError>) -> Result<(), KeysError> {
    if matches!(done, Err(KeysError::PublicKeysFull(_) | KeysError::KeyGroupsFull(_))) {
        plane.counters.bump(Counter::ControlKeysFull);
    }
    done
}

fn check_size(ids: &[String]) -> Result<(), AwsError> {
    if ids.len() <= KEYS_MAX {
        return Ok(());
    }
    let message = format!("a key group has at most {KEYS_MAX} public keys, and this one names {}", ids.len());
    Err(AwsError::Code("TooManyPublicKeysInKeyGroup", message))
}

/// A UUID that the name determines.
fn group_id(seed: u64, name: &str) -> String {
    let text: String = [1, 2, 3].iter().map(|part| digest_of(&format!("{seed} {part} {name}"))).collect();
    let hex: String =
        text.bytes().take(32).map(|byte| char::from(b"0123456789abcdef"[usize::from(byte) % 16])).collect();
    // RFC 9562, section 5.8: version 8 is for ids of one's own making.
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-8{}-8{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

fn key_of(keys: &Keys, id: &str) -> Result<PublicKey, AwsError> {
    keys.public_keys().remove(id).ok_or_else(|| KeysError::NoSuchPublicKey(id.to_owned()).into())
}

fn group_of(keys: &Keys, id: &str) -> Result<(KeyGroup, Vec<String>), AwsError> {
    keys.key_groups().remove(id).ok_or_else(|| KeysError::NoSuchKeyGroup(id.to_owned()).into())
}

fn time(plane: &Plane, at: Instant) -> String {
    time_of(plane, millis(at.saturating_since(Instant::ZERO)))
}

fn key_config(key: &PublicKey) -> Value {
    json!({
        "CallerReference": key.caller_reference,
        "Name": key.name,
        "EncodedKey": key.pem,
        "Comment": key.comment,
    })
}

fn public_key(plane: &Plane, id: &str, key: &PublicKey) -> Value {
    json!({ "Id": id, "CreatedTime": time(plane, key.created), "PublicKeyConfig": key_config(key) })
}

fn group_config((group, keys): &(KeyGroup, Vec<String>)) -> Value {
    json!({ "Name": group.name, "Items": keys, "Comment": group.comment })
}

fn key_group(plane: &Plane, id: &str, group: &(KeyGroup, Vec<String>)) -> Value {
    // The list is the element's own, and is called after it.
    json!({ "Id": id, "LastModifiedTime": time(plane, group.0.modified), "KeyGroupConfig": group_config(group) })
}

fn created(path: &str, id: &str, root: &str, document: Value) -> Response {
    let config = document.get(format!("{root}Config")).cloned().unwrap_or_default();
    let mut response = tagged(xml(StatusCode::CREATED, root, &document), &etag_of(&config));
    if let Ok(location) = HeaderValue::try_from(format!("{PREFIX}/{path}/{id}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

impl From<crate::hands::HandsError> for AwsError {
    fn from(error: crate::hands::HandsError) -> Self {
        Self::from(Refusal::from(error))
    }
}
