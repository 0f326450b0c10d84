//! Viewer functions: what a function is shown of a request or response, and what becomes of what it returns.
//!
//! Follows CloudFront Functions, runtime 2.0 (AWS pages "CloudFront Functions event structure" and "Restrictions on all
//! edge functions"). Decides which headers are shown, which may not be changed, and what makes a returned value invalid.
//! Refuses to know JavaScript and JSON: the shell runs the code and turns its values into the types here.

mod headers;
mod origins;
mod request;
mod response;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use http::HeaderValue;

pub use self::{
    origins::{
        ChosenOrigin, ChosenOrigins, CustomOrigin, GroupChoice, OriginChange, OriginChoice, OriginOverrides,
        OriginUpdate,
    },
    request::{Rewrite, request_of, rewrite},
    response::{Answered, answer, response_of, revise, runs_after},
};

/// Bytes of code that a function may have, CloudFront's quota.
pub const CODE_BYTES_MAX: usize = 10 * 1024;

/// Bytes of a body that a function may make. CloudFront allows 40 KB for a whole generated response.
pub const BODY_BYTES_MAX: usize = 40 * 1024;

/// Key-value pairs that a function may read: what CloudFront calls a key value store.
pub type KeyValues = BTreeMap<String, String>;

/// A function: its name, its code, and what it may look up.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// What behaviors call it by.
    pub name: String,
    /// JavaScript with a function `handler` at its top level.
    pub code: String,
    /// Its key value store; `None` where it has none.
    pub key_values: Option<Arc<KeyValues>>,
}

/// When a function runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Before the store is asked.
    ViewerRequest,
    /// Before the response leaves for the viewer.
    ViewerResponse,
}

impl Trigger {
    /// The word in `context.eventType`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ViewerRequest => "viewer-request",
            Self::ViewerResponse => "viewer-response",
        }
    }
}

/// What a function is called with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it runs.
    pub trigger: Trigger,
    /// Id of the distribution.
    pub distribution: Arc<str>,
    /// The name that the distribution always answers to.
    pub domain: String,
    /// The request's id, `X-Amz-Cf-Id`.
    pub request_id: HeaderValue,
    /// Where the viewer is.
    pub viewer: IpAddr,
    /// Code of the place where the edge stands, three letters.
    pub edge: String,
    /// The request.
    pub request: EventRequest,
    /// The response, for [`Trigger::ViewerResponse`].
    pub response: Option<EventResponse>,
}

/// Names, each with its values in the order of the message: never an empty list.
pub type Entries = Vec<(String, Vec<String>)>;

/// A request as a function sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventRequest {
    /// Its method; functions may not change it.
    pub method: String,
    /// Its path.
    pub uri: String,
    /// The query string as sent, for `rawQueryString()`; `None` where there is no question mark. Not read back.
    pub raw_query: Option<String>,
    /// Query parameters as they were sent, still encoded.
    pub querystring: Entries,
    /// Headers by lower-case name, without `Cookie` and those that are not shown.
    pub headers: Entries,
    /// Cookies.
    pub cookies: Entries,
}

/// A response as a function sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventResponse {
    /// Its status.
    pub status: u16,
    /// The status in words.
    pub description: String,
    /// Headers by lower-case name, without `Set-Cookie` and those that are not shown.
    pub headers: Entries,
    /// Cookies that it sets.
    pub cookies: Vec<(String, Vec<SetCookie>)>,
}

/// One `Set-Cookie` without its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetCookie {
    /// The value.
    pub value: String,
    /// What follows: `Secure; Path=/`. Empty for nothing.
    pub attributes: String,
}

/// What a function returned, as far as its shape could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Returned {
    /// A request: the exchange goes on with it.
    Request(EventRequest),
    /// A response.
    Response(ReturnedResponse),
}

/// A response that a function returned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReturnedResponse {
    /// Status, headers and cookies.
    pub response: EventResponse,
    /// The body, where the function makes one.
    pub body: Option<Vec<u8>>,
}

/// Why what a function returned is not used: CloudFront answers 502.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FunctionInvalid {
    /// The value is neither a request nor a response, or has a field of another type.
    #[error("{0}")]
    Shape(String),
    /// A viewer-response function returned a request.
    #[error("a viewer-response function returns a response")]
    NotAResponse,
    /// The method is read-only.
    #[error("the method may not be changed, here to {0:?}")]
    Method(String),
    /// The path does not begin with a slash.
    #[error("uri must begin with a slash, and is {0:?}")]
    Uri(String),
    /// A header that functions may not set.
    #[error("the header {0:?} may not be added by a function")]
    Disallowed(String),
    /// A header that functions may read and not change.
    #[error("the header {0:?} is read-only")]
    ReadOnly(String),
    /// A name that is none.
    #[error("{0:?} is no name of a header")]
    HeaderName(String),
    /// A value that is none.
    #[error("the header {0:?} has a value that is none")]
    HeaderValue(String),
    /// A status that is none.
    #[error("statusCode {0} is not a status from 200 to 599")]
    Status(u16),
    /// An origin that the distribution has not.
    #[error("the distribution has no origin {0:?}")]
    UnknownOrigin(String),
    /// The body is too large.
    #[error("the body has {0} bytes, and may have {BODY_BYTES_MAX}")]
    BodyTooLarge(usize),
}
