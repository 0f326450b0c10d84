//! Refusals: the one place where an error becomes a status, a word and a sentence.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};

use crate::{
    desired::FaultsFull,
    hands::HandsError,
    registry::UnknownName,
    wire::{ErrorBody, ErrorDocument},
};

/// Why a request is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No token, or a wrong one.
    Unauthorized { given: bool },
    /// No such path.
    NoSuchRoute,
    /// The path has other methods.
    MethodNotAllowed,
    /// Body or query is not what the route takes.
    Invalid { message: String, hint: Option<String> },
    /// A name that nothing has.
    Unknown(UnknownName),
    /// No such fault or invalidation.
    NoSuch { what: &'static str, id: String },
    /// The body is larger than allowed.
    BodyTooLarge { bytes_max: usize },
    /// The body did not arrive in time.
    BodyTimeout,
    /// As many faults as allowed are active.
    FaultsFull(FaultsFull),
    /// As many streams as allowed are open.
    StreamsFull,
    /// As many paths as allowed are being invalidated.
    InvalidationsFull { what: &'static str, max: usize },
    /// What the owner of the processes said.
    Hands(HandsError),
    /// A defect of ours.
    Internal,
}

impl Refusal {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into(), hint: None }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized { .. } => StatusCode::UNAUTHORIZED,
            Self::NoSuchRoute | Self::Unknown(_) | Self::NoSuch { .. } => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Invalid { .. } | Self::InvalidationsFull { .. } => StatusCode::BAD_REQUEST,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::FaultsFull(_) => StatusCode::CONFLICT,
            Self::StreamsFull => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Hands(error) => match error {
                HandsError::NotFound { .. } => StatusCode::NOT_FOUND,
                HandsError::NotRunning(_) | HandsError::Conflict(_) => StatusCode::CONFLICT,
                HandsError::Invalid(_) | HandsError::Refused { .. } => StatusCode::BAD_REQUEST,
                HandsError::TimedOut => StatusCode::GATEWAY_TIMEOUT,
                HandsError::Failed(_) => StatusCode::BAD_GATEWAY,
            },
        }
    }

    const fn code(&self) -> &'static str {
        match self {
            Self::Unauthorized { .. } => "unauthorized",
            Self::NoSuchRoute => "no_such_route",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Invalid { .. } => "invalid",
            Self::Unknown(_) => "unknown_target",
            Self::NoSuch { .. } => "not_found",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::BodyTimeout => "body_timeout",
            Self::FaultsFull(_) => "faults_full",
            Self::StreamsFull => "streams_full",
            Self::InvalidationsFull { .. } => "too_many_invalidations_in_progress",
            Self::Internal => "internal",
            Self::Hands(error) => match error {
                HandsError::NotFound { .. } => "not_found",
                HandsError::NotRunning(_) => "not_running",
                HandsError::Conflict(_) => "conflict",
                HandsError::Invalid(_) | HandsError::Refused { .. } => "invalid",
                HandsError::TimedOut => "timed_out",
                HandsError::Failed(_) => "failed",
            },
        }
    }

    pub(crate) fn message(&self) -> String {
        match self {
            Self::Unauthorized { given: false } => "this route wants the cluster's token".into(),
            Self::Unauthorized { given: true } => "this is not the cluster's token".into(),
            Self::NoSuchRoute => "there is no such path".into(),
            Self::MethodNotAllowed => "this path does not have that method".into(),
            Self::Invalid { message, .. } => message.clone(),
            Self::Unknown(unknown) => unknown.to_string(),
            Self::NoSuch { what, id } => format!("there is no {what} {id}"),
            Self::BodyTooLarge { bytes_max } => format!("the body is larger than {bytes_max} bytes"),
            Self::BodyTimeout => "the body did not arrive in time".into(),
            Self::FaultsFull(full) => full.to_string(),
            Self::StreamsFull => "as many streams as allowed are open".into(),
            Self::InvalidationsFull { what, max } => format!("more than {max} {what} would be in progress"),
            Self::Hands(error) => error.to_string(),
            Self::Internal => "a defect of the control plane; please report it".into(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unauthorized { .. } => Some("send it as `Authorization: Bearer TOKEN`".into()),
            Self::NoSuchRoute | Self::MethodNotAllowed => Some("GET /v1/openapi.json lists every route".into()),
            Self::Invalid { hint, .. } => hint.clone(),
            Self::Unknown(unknown) => unknown.hint.clone(),
            Self::FaultsFull(_) => Some("heal some: DELETE /v1/faults?target=all".into()),
            Self::InvalidationsFull { .. } => Some("wait for those under way, or use one wildcard".into()),
            _ => None,
        }
    }

    fn did_you_mean(&self) -> Vec<String> {
        match self {
            Self::Unknown(unknown) => unknown.did_you_mean.clone(),
            Self::Hands(HandsError::NotFound { did_you_mean, .. }) => did_you_mean.clone(),
            _ => Vec::new(),
        }
    }
}

impl From<UnknownName> for Refusal {
    fn from(unknown: UnknownName) -> Self {
        Self::Unknown(unknown)
    }
}

impl From<FaultsFull> for Refusal {
    fn from(full: FaultsFull) -> Self {
        Self::FaultsFull(full)
    }
}

impl From<HandsError> for Refusal {
    fn from(error: HandsError) -> Self {
        Self::Hands(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let error = ErrorBody {
            code: self.code().to_owned(),
            message: self.message(),
            did_you_mean: self.did_you_mean(),
            hint: self.hint(),
        };
        let mut response = (self.status(), Json(ErrorDocument { error })).into_response();
        let headers = response.headers_mut();
        match self {
            Self::Unauthorized { .. } => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            // What is left of the body would be read as the next request.
            Self::BodyTooLarge { .. } | Self::BodyTimeout => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}
