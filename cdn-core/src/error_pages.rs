//! Custom error responses: what a viewer gets in the place of an error, and for how long errors are kept.
//!
//! Decides by CloudFront's rules ("Generate custom error responses"). Fetching the page is the shell's; it does so as a
//! GET of its own, by the behavior that serves the page's path.

use std::time::Duration;

use http::StatusCode;

use crate::{Reason, freshness::ERROR_CACHING_MIN_TTL};

/// What happens on one status. As written; [`ErrorPages::new`] checks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorPage {
    /// The status: one of [`ERROR_CODES`].
    pub status: StatusCode,
    /// How long the error is kept at least: CloudFront's error caching minimum TTL, 10 s where nobody says otherwise.
    pub ttl: Duration,
    /// What is answered instead; `None` where the entry is about time alone.
    pub page: Option<Page>,
}

/// What is answered in the place of an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The status that viewers see: 200 or one of [`ERROR_CODES`].
    pub status: StatusCode,
    /// Its path, with a leading slash.
    pub path: String,
}

/// Statuses that may have an entry, and that may be answered.
pub const ERROR_CODES: [u16; 11] = [400, 403, 404, 405, 414, 416, 500, 501, 502, 503, 504];

/// What an origin that fails answers, or is said to have answered.
const FAILURES: [StatusCode; 4] = [
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

/// After these the connection is closed, where a page took their place.
const CLOSING: [u16; 6] = [400, 405, 414, 416, 500, 501];

/// Why error pages are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ErrorPagesError {
    /// CloudFront has no custom response for this status.
    #[error("{0} can have no error page; 400, 403, 404, 405, 414, 416 and 500 to 504 can")]
    Status(u16),
    /// A status has two entries.
    #[error("{0} stands there twice")]
    Twice(u16),
    /// A page may not be answered with this status.
    #[error("a page for {status} may not be answered with {response}: 200, or a status that can have a page")]
    Response {
        /// The entry's status.
        status: u16,
        /// What is not possible.
        response: u16,
    },
    /// A page is no path.
    #[error("the page for {status}, {path:?}, is not a path that starts with `/`")]
    Path {
        /// The entry's status.
        status: u16,
        /// What was written.
        path: String,
    },
}

/// The custom error responses of a distribution, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorPages {
    entries: Vec<ErrorPage>,
}

impl ErrorPages {
    /// Checks `entries`.
    pub fn new(entries: Vec<ErrorPage>) -> Result<Self, ErrorPagesError> {
        for (at, entry) in entries.iter().enumerate() {
            let status = entry.status.as_u16();
            if !ERROR_CODES.contains(&status) {
                return Err(ErrorPagesError::Status(status));
            }
            if entries.iter().take(at).any(|earlier| earlier.status == entry.status) {
                return Err(ErrorPagesError::Twice(status));
            }
            if let Some(page) = &entry.page {
                let response = page.status.as_u16();
                if response != 200 && !ERROR_CODES.contains(&response) {
                    return Err(ErrorPagesError::Response { status, response });
                }
                if !page.path.starts_with('/') || page.path.parse::<http::uri::PathAndQuery>().is_err() {
                    return Err(ErrorPagesError::Path { status, path: page.path.clone() });
                }
            }
        }
        Ok(Self { entries })
    }

    /// Every entry, in the order written.
    pub fn entries(&self) -> &[ErrorPage] {
        &self.entries
    }

    /// Whether any error is answered with a page.
    pub fn has_pages(&self) -> bool {
        self.entries.iter().any(|entry| entry.page.is_some())
    }

    /// How long an error of this status is kept at least. For what is no error: how long its origin is left alone once it
    /// fails and a stale response stands in, which is as long as any failure is kept, because which one it will be is not
    /// known yet.
    pub fn ttl(&self, status: StatusCode) -> Duration {
        let of = |status| self.entry(status).map_or(ERROR_CACHING_MIN_TTL, |entry| entry.ttl);
        if self.entries.is_empty() {
            ERROR_CACHING_MIN_TTL
        } else if status.is_client_error() || status.is_server_error() {
            of(status)
        } else {
            FAILURES.into_iter().map(of).max().unwrap_or(ERROR_CACHING_MIN_TTL)
        }
    }

    /// What is answered in the place of this error, if anything. What CloudFront answers because it has too much to do
    /// has no page, and what could not be read as a request neither.
    pub fn page_for(&self, status: StatusCode, reason: Reason) -> Option<&Page> {
        let never = matches!(reason, Reason::InflightLimit | Reason::Draining | Reason::BadRequest | Reason::Internal);
        self.entry(status).filter(|_| !never)?.page.as_ref()
    }

    fn entry(&self, status: StatusCode) -> Option<&ErrorPage> {
        self.entries.iter().find(|entry| entry.status == status)
    }
}

/// Whether the connection ends with a page that took the place of `status`.
pub fn closes(status: StatusCode) -> bool {
    CLOSING.contains(&status.as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(status: u16, page: Option<(u16, &str)>) -> ErrorPage {
        let page = page.map(|(status, path)| Page { status: StatusCode::from_u16(status).unwrap(), path: path.into() });
        ErrorPage { status: StatusCode::from_u16(status).unwrap(), ttl: Duration::from_secs(3), page }
    }

    #[test]
    fn an_entry_says_for_how_long_and_what_instead() {
        let pages = ErrorPages::new(vec![entry(404, Some((200, "/lost.html?a=1"))), entry(500, None)]).unwrap();
        assert!(pages.has_pages());
        let page = |status| pages.page_for(status, Reason::OriginError).map(|page| page.path.as_str());
        assert_eq!(page(StatusCode::NOT_FOUND), Some("/lost.html?a=1"));
        assert_eq!(page(StatusCode::INTERNAL_SERVER_ERROR), None);
        assert_eq!(pages.ttl(StatusCode::INTERNAL_SERVER_ERROR), Duration::from_secs(3));
        assert_eq!(pages.ttl(StatusCode::BAD_GATEWAY), ERROR_CACHING_MIN_TTL);
    }

    #[test]
    fn what_cloudfront_has_no_capacity_for_has_no_page() {
        let pages = ErrorPages::new(vec![entry(503, Some((503, "/sorry.html")))]).unwrap();
        assert!(pages.page_for(StatusCode::SERVICE_UNAVAILABLE, Reason::OriginError).is_some());
        assert_eq!(pages.page_for(StatusCode::SERVICE_UNAVAILABLE, Reason::InflightLimit), None);
    }

    #[test]
    fn what_aws_refuses_is_refused() {
        for (entries, expected) in [
            (vec![entry(412, None)], ErrorPagesError::Status(412)),
            (vec![entry(404, None), entry(404, None)], ErrorPagesError::Twice(404)),
            (vec![entry(404, Some((302, "/a")))], ErrorPagesError::Response { status: 404, response: 302 }),
            (vec![entry(404, Some((200, "a")))], ErrorPagesError::Path { status: 404, path: "a".into() }),
            (vec![entry(404, Some((200, "/a b")))], ErrorPagesError::Path { status: 404, path: "/a b".into() }),
        ] {
            assert_eq!(ErrorPages::new(entries).unwrap_err(), expected);
        }
    }
}
