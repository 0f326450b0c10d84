//! Refusals in AWS's words: botocore raises the exception that the code names.

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

use super::documents::{ErrorItem, ErrorResponse, NAMESPACE};
use crate::respond::Refusal;

/// Why a request is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AwsError {
    /// It carries no signature.
    NotSigned,
    /// An operation that there is not.
    NotImplemented,
    NoSuchDistribution(String),
    NoSuchInvalidation(String),
    InvalidArgument(String),
    MissingBody,
    /// The body is no XML, or other XML.
    MalformedXml(String),
    InconsistentQuantities {
        said: usize,
        found: usize,
    },
    /// What this API shares with the other.
    Refused(Refusal),
    /// A defect of ours.
    Internal,
}

impl From<Refusal> for AwsError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl AwsError {
    const fn parts(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NotSigned => (StatusCode::FORBIDDEN, "MissingAuthenticationToken"),
            Self::NotImplemented => (StatusCode::NOT_IMPLEMENTED, "NotImplemented"),
            Self::NoSuchDistribution(_) => (StatusCode::NOT_FOUND, "NoSuchDistribution"),
            Self::NoSuchInvalidation(_) => (StatusCode::NOT_FOUND, "NoSuchInvalidation"),
            Self::MissingBody => (StatusCode::BAD_REQUEST, "MissingBody"),
            Self::MalformedXml(_) => (StatusCode::BAD_REQUEST, "MalformedXML"),
            Self::InconsistentQuantities { .. } => (StatusCode::BAD_REQUEST, "InconsistentQuantities"),
            Self::Refused(Refusal::InvalidationsFull { .. }) => {
                (StatusCode::BAD_REQUEST, "TooManyInvalidationsInProgress")
            }
            Self::Refused(Refusal::BodyTooLarge { .. }) => (StatusCode::PAYLOAD_TOO_LARGE, "BatchTooLarge"),
            Self::Refused(Refusal::Internal) | Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
            Self::InvalidArgument(_) | Self::Refused(_) => (StatusCode::BAD_REQUEST, "InvalidArgument"),
        }
    }

    fn message(&self) -> String {
        match self {
            Self::NotSigned => {
                "The request is not signed. Any key will do here, such as AWS_ACCESS_KEY_ID=local.".into()
            }
            Self::NotImplemented => {
                "Isochrone has no such operation. Distributions of a world are those of its cluster file.".into()
            }
            Self::NoSuchDistribution(id) => format!("The specified distribution does not exist: {id}"),
            Self::NoSuchInvalidation(id) => format!("The specified invalidation does not exist: {id}"),
            Self::InvalidArgument(what) => what.clone(),
            Self::MissingBody => "This operation requires a body.".into(),
            Self::MalformedXml(why) => format!("The XML is not what this operation takes: {why}"),
            Self::InconsistentQuantities { said, found } => format!("Quantity is {said}, and there are {found} items."),
            Self::Refused(refusal) => refusal.message(),
            Self::Internal => Refusal::Internal.message(),
        }
    }
}

impl IntoResponse for AwsError {
    fn into_response(self) -> Response {
        let (status, code) = self.parts();
        let kind = if status.is_server_error() { "Receiver" } else { "Sender" };
        let document = ErrorResponse { xmlns: NAMESPACE, error: ErrorItem { kind, code, message: self.message() } };
        let body = quick_xml::se::to_string_with_root("ErrorResponse", &document).unwrap_or_default();
        (status, [(header::CONTENT_TYPE, "text/xml")], format!("<?xml version=\"1.0\"?>\n{body}")).into_response()
    }
}
