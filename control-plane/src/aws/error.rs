//! Refusals in AWS's words: botocore raises the exception that the code names.

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

use super::{
    documents::{ErrorItem, ErrorResponse},
    xml::NAMESPACE,
};
use crate::{hands::HandsError, respond::Refusal};

/// Why a request is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AwsError {
    /// It carries no signature.
    NotSigned,
    /// An operation that there is not.
    NotImplemented,
    NoSuchInvalidation(String),
    /// Whatever AWS has a code for, and what there is to say.
    Code(&'static str, String),
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
    fn parts(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Code(code, _) | Self::Refused(Refusal::Hands(HandsError::Refused { code, .. })) => {
                (status_of(code), code)
            }
            Self::Refused(Refusal::Hands(HandsError::TimedOut | HandsError::Failed(_))) => {
                (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable")
            }
            Self::NotSigned => (StatusCode::FORBIDDEN, "MissingAuthenticationToken"),
            Self::NotImplemented => (StatusCode::NOT_IMPLEMENTED, "NotImplemented"),
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
                "The request is not signed. Any key will do where [aws] has none, such as AWS_ACCESS_KEY_ID=local."
                    .into()
            }
            Self::NotImplemented => {
                "Isochrone has no such operation. A world has the distributions and policies that it was started with."
                    .into()
            }
            Self::Code(_, message) | Self::Refused(Refusal::Hands(HandsError::Refused { message, .. })) => {
                message.clone()
            }
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

/// The status that goes with a code; 400 for most.
fn status_of(code: &str) -> StatusCode {
    match code {
        "PreconditionFailed" => StatusCode::PRECONDITION_FAILED,
        "InvalidClientTokenId" | "SignatureDoesNotMatch" => StatusCode::FORBIDDEN,
        "PublicKeyInUse" | "ResourceInUse" => StatusCode::CONFLICT,
        code if code.starts_with("NoSuch") => StatusCode::NOT_FOUND,
        code if code.ends_with("AlreadyExists") => StatusCode::CONFLICT,
        _ => StatusCode::BAD_REQUEST,
    }
}

impl AwsError {
    /// The document, for the request of this id.
    pub(super) fn document(&self, request_id: &str) -> String {
        let (status, code) = self.parts();
        let kind = if status.is_server_error() { "Receiver" } else { "Sender" };
        let error = ErrorItem { kind, code, message: self.message() };
        let document = ErrorResponse { xmlns: NAMESPACE, error, request_id: request_id.to_owned() };
        let body = quick_xml::se::to_string_with_root("ErrorResponse", &document).unwrap_or_default();
        format!("<?xml version=\"1.0\"?>\n{body}")
    }
}

/// Without a document: whoever gives replies their ids writes it, and finds the error among the extensions.
impl IntoResponse for AwsError {
    fn into_response(self) -> Response {
        let (status, _) = self.parts();
        (status, [(header::CONTENT_TYPE, "text/xml")], axum::Extension(self)).into_response()
    }
}
