//! Bodies and query strings: read with a limit and a deadline, parsed into the types of `ask.rs`, or refused.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
};
use cdn_core::Counter;
use futures_util::StreamExt as _;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::{plane::Plane, respond::Refusal};

/// A JSON body. `Content-Type` is not looked at: nothing else is ever taken, and the token rules out foreign forms.
pub(crate) struct Json<T>(pub(crate) T);

/// A JSON body that may be left out.
pub(crate) struct JsonOrDefault<T>(pub(crate) T);

/// A query string.
pub(crate) struct Asked<T>(pub(crate) T);

/// The one variable segment of the path, percent-decoded.
pub(crate) struct Segment(pub(crate) String);

impl<T: DeserializeOwned> FromRequest<Arc<Plane>> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, plane: &Arc<Plane>) -> Result<Self, Refusal> {
        parse(&read(request.into_body(), plane).await?).map(Self)
    }
}

impl<T: DeserializeOwned + Default> FromRequest<Arc<Plane>> for JsonOrDefault<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, plane: &Arc<Plane>) -> Result<Self, Refusal> {
        let body = read(request.into_body(), plane).await?;
        if body.trim_ascii().is_empty() {
            return Ok(Self(T::default()));
        }
        parse(&body).map(Self)
    }
}

impl<T: DeserializeOwned> FromRequestParts<Arc<Plane>> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, plane: &Arc<Plane>) -> Result<Self, Refusal> {
        match Query::from_request_parts(parts, plane).await {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(rejection) => Err(Refusal::invalid(rejection.body_text())),
        }
    }
}

impl FromRequestParts<Arc<Plane>> for Segment {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, plane: &Arc<Plane>) -> Result<Self, Refusal> {
        match Path::from_request_parts(parts, plane).await {
            Ok(Path(segment)) => Ok(Self(segment)),
            Err(rejection) => Err(Refusal::invalid(rejection.body_text())),
        }
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    // serde would take a list for a struct, too.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Refusal::invalid("the body must be a JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| Refusal::invalid(format!("the body is not what is taken: {error}")))
}

/// A body within its limits.
pub(crate) async fn read(body: Body, plane: &Plane) -> Result<Vec<u8>, Refusal> {
    let limits = &plane.config.limits;
    let reading = async {
        let mut chunks = body.into_data_stream();
        let mut bytes = Vec::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| Refusal::invalid("the body broke off"))?;
            if bytes.len() + chunk.len() > limits.body_bytes_max {
                plane.counters.bump(Counter::ControlBodyTooLarge);
                return Err(Refusal::BodyTooLarge { bytes_max: limits.body_bytes_max });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    };
    tokio::time::timeout(limits.body_timeout, reading).await.unwrap_or_else(|_| {
        plane.counters.bump(Counter::ControlBodyTimeouts);
        Err(Refusal::BodyTimeout)
    })
}
