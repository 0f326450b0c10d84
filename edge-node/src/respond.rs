//! The one place where errors become responses, and where every response gets its headers.
//!
//! What CloudFront's clients match on (status, `Server`, `X-Cache`, the fixed strings of the error page) is kept; the
//! sentences are ours. Diagnostics that a distribution switched off are left out here and nowhere else.

use std::{fmt::Write as _, time::Duration};

use cdn_core::{
    Counter, Reason,
    distribution::Diagnostics,
    fields::Fields,
    forward::{self, Dress, XCache},
    signing,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use crate::{
    body::ResponseBody,
    config::Tier,
    extras::Extras,
    node::Node,
    timing::{Ledger, SERVER_TIMING},
};

pub(crate) const X_ISO_REASON: HeaderName = HeaderName::from_static("x-iso-reason");
pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// How a request was refused or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) reason: Reason,
}

impl Refusal {
    /// The refusal for a reason, where it has only one status.
    pub(crate) fn new(reason: Reason) -> Self {
        Self { status: status_of(reason), reason }
    }

    /// Whether the connection ends with the answer: where the request was not or not wholly understood or read.
    const fn closes(self) -> bool {
        matches!(
            self.reason,
            Reason::BadRequest
                | Reason::HeadersTooLarge
                | Reason::UriTooLong
                | Reason::HeaderTimeout
                | Reason::BodyTimeout
                | Reason::ClientGone
                | Reason::Draining
        )
    }

    pub(crate) const fn x_cache(self) -> XCache {
        match self.reason {
            Reason::InflightLimit => XCache::LimitExceeded,
            Reason::FunctionInvalid => XCache::FunctionValidationError,
            Reason::FunctionFailed | Reason::FunctionTimeout | Reason::FunctionMemory => XCache::FunctionExecutionError,
            Reason::FunctionThrottled => XCache::FunctionThrottled,
            _ => XCache::Error,
        }
    }

    /// Seconds after which it is worth asking again, where that can be said.
    const fn retry_after(self) -> Option<u64> {
        if matches!(self.reason, Reason::InflightLimit) { Some(1) } else { None }
    }

    /// The sentences of the error page.
    const fn explanation(self) -> &'static str {
        match self.reason {
            Reason::UnknownHost => {
                "Request blocked. No distribution here answers to this host name. Check the name, or add it to the \
                 aliases of a distribution."
            }
            Reason::DistributionDisabled => "Request blocked. This distribution is disabled.",
            Reason::GeoBlocked => {
                "Request blocked. This distribution is configured to block access from the country of this viewer."
            }
            Reason::HttpsOnly => "Bad request. This distribution serves this path by HTTPS alone.",
            Reason::MisdirectedHost => "The host of the request is not the one that the connection was made for.",
            Reason::LoopDetected => "Request blocked. It has come through this network too often: there is a loop.",
            Reason::MethodNotAllowed => {
                "This distribution is not configured to allow the HTTP request method that was used here. Allow more \
                 methods in the behavior that serves this path."
            }
            Reason::UriTooLong => "Bad request. The URL is longer than 8,192 bytes.",
            Reason::HeadersTooLarge => "Bad request. The headers are larger than this network accepts.",
            Reason::HeaderTimeout | Reason::BodyTimeout => "Bad request. It did not arrive in time.",
            Reason::OriginRefused | Reason::OriginReset => {
                "CloudFront wasn't able to connect to the origin: it refused or broke the connection."
            }
            Reason::OriginUnreachable => {
                "CloudFront wasn't able to connect to the origin, or to resolve the origin domain name."
            }
            Reason::OriginCertificate => {
                "CloudFront wasn't able to connect to the origin: its certificate is not acceptable. It must not be \
                 expired, must be for the origin's name, and must lead to an authority that is trusted."
            }
            Reason::OriginTls => {
                "CloudFront wasn't able to connect to the origin: no SSL/TLS protocol could be agreed on with it."
            }
            Reason::OriginInvalid => "The origin answered, but not with valid HTTP.",
            Reason::OriginHeadersTooLarge => "The origin answered with headers larger than this network accepts.",
            Reason::OriginConnectTimeout => "The origin could not be connected to in time.",
            Reason::OriginResponseTimeout | Reason::OriginCompletionTimeout => "The origin did not answer in time.",
            Reason::OnlyIfCached => "The request wants a stored response, and there is none that is good enough.",
            Reason::Draining => "This server is being taken out of service.",
            Reason::InflightLimit => "This server has as much to send as it can hold. Try again in a moment.",
            Reason::FunctionInvalid => {
                "The CloudFront function associated with this path returned a value that is not valid. The log of this \
                 server says which."
            }
            Reason::FunctionFailed => {
                "The CloudFront function associated with this path threw an error. The log of this server says which."
            }
            Reason::FunctionTimeout => "The CloudFront function associated with this path ran for longer than it may.",
            Reason::FunctionMemory => {
                "The CloudFront function associated with this path wanted more memory than it may have."
            }
            Reason::FunctionThrottled => {
                "Too many calls of CloudFront functions already wait here. Try again in a moment."
            }
            Reason::Internal => "Something went wrong inside this server.",
            _ => "Bad request.",
        }
    }

    /// The error type of RFC 9209 section 2.3.
    const fn proxy_error(self) -> Option<&'static str> {
        Some(match self.reason {
            Reason::OriginRefused => "connection_refused",
            Reason::OriginReset => "connection_terminated",
            Reason::OriginUnreachable => "destination_unavailable",
            Reason::OriginCertificate => "tls_certificate_error",
            Reason::OriginTls => "tls_protocol_error",
            Reason::OriginConnectTimeout => "connection_timeout",
            Reason::OriginResponseTimeout | Reason::OriginCompletionTimeout => "http_response_timeout",
            Reason::OriginInvalid => "http_protocol_error",
            Reason::OriginHeadersTooLarge => "http_response_header_section_size",
            Reason::LoopDetected => "proxy_loop_detected",
            Reason::Internal => "proxy_internal_error",
            Reason::UnknownHost | Reason::DistributionDisabled | Reason::MethodNotAllowed | Reason::GeoBlocked => {
                "http_request_denied"
            }
            Reason::BadRequest
            | Reason::GetWithBody
            | Reason::HeadersTooLarge
            | Reason::UriTooLong
            | Reason::HeaderTimeout
            | Reason::BodyTimeout => "http_request_error",
            _ => return None,
        })
    }
}

fn status_of(reason: Reason) -> StatusCode {
    match reason {
        Reason::MisdirectedHost => StatusCode::MISDIRECTED_REQUEST,
        Reason::UnknownHost
        | Reason::DistributionDisabled
        | Reason::GeoBlocked
        | Reason::HttpsOnly
        | Reason::MethodNotAllowed
        | Reason::GetWithBody
        | Reason::LoopDetected
        | Reason::SignatureMissing
        | Reason::SignatureIncomplete
        | Reason::SignatureUnknownKey
        | Reason::SignatureMalformed
        | Reason::PolicyMalformed
        | Reason::SignatureInvalid
        | Reason::SignatureOtherResource
        | Reason::SignatureExpired
        | Reason::SignatureTooEarly
        | Reason::SignatureOtherAddress => StatusCode::FORBIDDEN,
        Reason::UriTooLong => StatusCode::URI_TOO_LONG,
        // nginx's number for "request header too large", which CloudFront uses as well.
        Reason::HeadersTooLarge => StatusCode::from_u16(494).unwrap_or(StatusCode::BAD_REQUEST),
        Reason::HeaderTimeout | Reason::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
        Reason::OriginConnectTimeout
        | Reason::OriginResponseTimeout
        | Reason::OriginCompletionTimeout
        | Reason::OnlyIfCached => StatusCode::GATEWAY_TIMEOUT,
        Reason::OriginRefused
        | Reason::OriginReset
        | Reason::OriginUnreachable
        | Reason::OriginCertificate
        | Reason::OriginTls
        | Reason::OriginInvalid
        | Reason::OriginHeadersTooLarge
        | Reason::FunctionInvalid => StatusCode::BAD_GATEWAY,
        Reason::Draining
        | Reason::InflightLimit
        | Reason::FunctionFailed
        | Reason::FunctionTimeout
        | Reason::FunctionMemory
        | Reason::FunctionThrottled => StatusCode::SERVICE_UNAVAILABLE,
        Reason::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// How a response came about, as far as its headers tell.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    pub(crate) x_cache: XCache,
    pub(crate) reason: Reason,
    /// For `Age`.
    pub(crate) age: Option<Duration>,
    /// For how long the stored response stays fresh.
    pub(crate) fresh_for: Option<Duration>,
    /// The status that came from behind, where it was asked.
    pub(crate) forwarded_status: Option<StatusCode>,
    /// Why the store was not asked, whatever became of the request then.
    pub(crate) passed: Option<Reason>,
    /// Somebody else's fetch was shared.
    pub(crate) collapsed: bool,
    /// The response was, or is being, stored.
    pub(crate) stored: bool,
    /// `Cache-Status` of the caches behind.
    pub(crate) behind: Option<HeaderValue>,
    /// Headers for this viewer alone, which are not stored for others.
    pub(crate) own: HeaderMap,
    /// From the head of the request to what the store said.
    pub(crate) lookup: Duration,
    /// What happened after that.
    pub(crate) ledger: Ledger,
}

impl Story {
    pub(crate) fn new(x_cache: XCache, reason: Reason, lookup: Duration) -> Self {
        Self {
            x_cache,
            reason,
            age: None,
            fresh_for: None,
            forwarded_status: None,
            passed: None,
            collapsed: false,
            stored: false,
            behind: None,
            own: HeaderMap::new(),
            lookup,
            ledger: Ledger::default(),
        }
    }
}

/// What is known about the request that a response answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Occasion<'a> {
    pub(crate) node: &'a Node,
    pub(crate) began: cdn_core::Instant,
    pub(crate) request_id: &'a HeaderValue,
    pub(crate) diagnostics: Diagnostics,
    /// What the behavior and the edge put on the response beside all that.
    pub(crate) extras: Option<&'a Extras>,
}

/// The page for a request that was refused or failed, without what every response gets.
pub(crate) fn error_page(occasion: Occasion<'_>, refusal: Refusal) -> Response<ResponseBody> {
    let node = occasion.node;
    // Signatures have a body of their own, which clients match on.
    let xml = signing::refusal_body(refusal.reason);
    let media_type = if xml.is_some() { "text/xml" } else { "text/html" };
    let page = xml.unwrap_or_else(|| page(refusal, occasion.request_id.to_str().unwrap_or_default()));
    let mut response = Response::new(ResponseBody::whole(page));
    *response.status_mut() = refusal.status;
    let headers = response.headers_mut();
    dress_page(headers);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    if refusal.closes() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(seconds) = refusal.retry_after() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if (occasion.diagnostics.proxy_status || node.tier != Tier::Edge)
        && let Some(error) = refusal.proxy_error()
        && let Ok(value) = HeaderValue::from_str(&format!("{}; error={error}", node.name))
    {
        headers.insert(PROXY_STATUS, value);
    }
    response
}

/// Puts CloudFront's headers, and the diagnostics that are switched on, on a response whose own headers are ready.
pub(crate) fn finish(occasion: Occasion<'_>, story: Story, status: StatusCode, fields: &mut impl Fields) {
    let Occasion { node, began, request_id, diagnostics, extras } = occasion;
    if status.is_client_error() || status.is_server_error() {
        node.counters.bump(Counter::EdgeErrors);
    }
    // Other nodes of ours need the diagnostics of the caches behind them.
    let inner = node.tier != Tier::Edge;
    if let Some(extras) = extras {
        extras.put_on(fields);
    }
    let worn = Dress {
        x_cache: story.x_cache,
        age: story.age,
        pop: &node.pop_header,
        request_id,
        via: (!inner).then_some(&node.via),
        now: node.wall.now(),
    };
    forward::dress(fields, &worn);
    if diagnostics.reason || inner {
        fields.insert(X_ISO_REASON, HeaderValue::from_static(story.reason.as_str()));
    }
    if (diagnostics.cache_status || inner)
        && let Some(value) = cache_status(node, &story)
    {
        fields.append(CACHE_STATUS, value);
    }
    let sampled = extras.is_some_and(|extras| extras.wants_timing(request_id));
    if diagnostics.server_timing || sampled || inner {
        let lines = TimingLines { ours: diagnostics.server_timing || inner, cloudfronts: sampled };
        append_server_timing(node, story, request_id, node.clock.now() - began, lines, fields);
    }
}

/// `Cache-Status` (RFC 9211): what the caches did, the one closest to the origin first.
fn cache_status(node: &Node, story: &Story) -> Option<HeaderValue> {
    let mut text = String::with_capacity(64);
    if let Some(behind) = story.behind.as_ref().and_then(|behind| behind.to_str().ok()) {
        text.push_str(behind);
        text.push_str(", ");
    }
    text.push_str(&node.name);
    let (hit, forwarded) = match story.passed.unwrap_or(story.reason) {
        Reason::Hit
        | Reason::HitDisk
        | Reason::HitStaleWhileRevalidate
        | Reason::HitStaleOnError
        | Reason::HitStaleAccepted
        | Reason::ErrorCached => (true, ""),
        Reason::RefreshHit | Reason::MissExpired => (false, "stale"),
        Reason::MissRequestControl | Reason::PassNoStore => (false, "request"),
        Reason::PassMethod | Reason::PassBody => (false, "method"),
        Reason::PassDisabled | Reason::PassUpgrade => (false, "bypass"),
        _ if story.forwarded_status.is_none() && !story.collapsed => return None,
        _ => (false, "uri-miss"),
    };
    if hit {
        text.push_str("; hit");
        if let Some(fresh_for) = story.fresh_for {
            let _ = write!(text, "; ttl={}", fresh_for.as_secs());
        }
    } else {
        let _ = write!(text, "; fwd={forwarded}");
        if let Some(status) = story.forwarded_status {
            let _ = write!(text, "; fwd-status={}", status.as_u16());
        }
        if story.collapsed {
            text.push_str("; collapsed");
        }
        if story.stored {
            text.push_str("; stored");
        }
    }
    HeaderValue::try_from(text).ok()
}

/// Which lines `Server-Timing` has, beside those that both have.
#[derive(Clone, Copy, Debug)]
struct TimingLines {
    /// Those of the ledger.
    ours: bool,
    /// Those of CloudFront's that a response headers policy asks for.
    cloudfronts: bool,
}

fn append_server_timing(
    node: &Node,
    story: Story,
    request_id: &HeaderValue,
    whole: Duration,
    lines: TimingLines,
    fields: &mut impl Fields,
) {
    let tier = node.tier;
    let mut ledger = Ledger::with_capacity();
    if tier == Tier::Edge {
        ledger.note(
            match story.x_cache {
                XCache::Hit => "cdn-cache-hit",
                XCache::RefreshHit => "cdn-cache-refresh",
                _ => "cdn-cache-miss",
            },
            None,
        );
        ledger.note("cdn-pop", node.pop_header.to_str().ok());
        ledger.note("cdn-rid", request_id.to_str().ok());
    }
    if lines.cloudfronts {
        match story.x_cache {
            XCache::Hit => {
                let layer = match story.reason {
                    Reason::HitRegional => "REC",
                    Reason::HitShield => "Origin Shield",
                    _ => "EDGE",
                };
                ledger.note("cdn-hit-layer", Some(layer));
            }
            _ => ledger.upstream(&story.ledger),
        }
        ledger.named_span("cdn-downstream-fbl", whole);
    }
    if lines.ours {
        ledger.span(tier, "lookup", None, story.lookup);
        ledger.append(&story.ledger);
        ledger.span(tier, "", None, whole);
    }
    if let Some(value) = ledger.into_value() {
        fields.append(SERVER_TIMING, value);
    }
}

/// The headers of a page of our own.
pub(crate) fn dress_page(headers: &mut HeaderMap) {
    headers.insert(header::SERVER, HeaderValue::from_static("CloudFront"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
}

/// CloudFront's page for errors of its own, in our words.
pub(crate) fn page(refusal: Refusal, request_id: &str) -> String {
    let status = refusal.status.as_u16();
    let explanation = refusal.explanation();
    let reason = refusal.reason;
    format!(
        "<!DOCTYPE HTML PUBLIC \"-//W3C//DTD HTML 4.01 Transitional//EN\" \"http://www.w3.org/TR/html4/loose.dtd\">\n\
         <HTML><HEAD><META HTTP-EQUIV=\"Content-Type\" CONTENT=\"text/html; charset=iso-8859-1\">\n\
         <TITLE>ERROR: The request could not be satisfied</TITLE>\n\
         </HEAD><BODY>\n\
         <H1>{status} ERROR</H1>\n\
         <H2>The request could not be satisfied.</H2>\n\
         <HR noshade size=\"1px\">\n\
         {explanation}\n\
         <BR clear=\"all\">\n\
         <HR noshade size=\"1px\">\n\
         <PRE>\n\
         Generated by cloudfront (CloudFront), which Isochrone plays here\n\
         Reason: {reason}\n\
         Request ID: {request_id}\n\
         </PRE>\n\
         <ADDRESS>\n\
         </ADDRESS>\n\
         </BODY></HTML>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_what_clients_match_on() {
        let page = page(Refusal::new(Reason::OriginRefused), "abc==");
        for text in [
            "<TITLE>ERROR: The request could not be satisfied</TITLE>",
            "<H1>502 ERROR</H1>",
            "<H2>The request could not be satisfied.</H2>",
            "wasn't able to connect to the origin",
            "Generated by cloudfront (CloudFront)",
            "Request ID: abc==",
            "iso-8859-1",
            "<ADDRESS>\n</ADDRESS>",
        ] {
            assert!(page.contains(text), "{text}: {page}");
        }
        let method = Refusal::new(Reason::MethodNotAllowed).explanation();
        assert!(method.starts_with("This distribution is not configured to allow the HTTP request method"));
    }

    #[test]
    fn statuses_are_cloudfronts() {
        for (reason, status) in [
            (Reason::BadRequest, 400),
            (Reason::HeadersTooLarge, 494),
            (Reason::UriTooLong, 414),
            (Reason::UnknownHost, 403),
            (Reason::GetWithBody, 403),
            (Reason::OriginConnectTimeout, 504),
            (Reason::OriginReset, 502),
            (Reason::InflightLimit, 503),
            (Reason::FunctionInvalid, 502),
            (Reason::FunctionTimeout, 503),
        ] {
            assert_eq!(Refusal::new(reason).status.as_u16(), status, "{reason}");
        }
    }
}
