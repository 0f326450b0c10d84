//! Custom error responses of a distribution, checked.

use cdn_core::{
    error_pages::{ErrorPage, ErrorPages, ErrorPagesError, Page},
    freshness::ERROR_CACHING_MIN_TTL,
};
use http::StatusCode;

use crate::{cluster_file::ErrorPageFile, diagnose::KeyError};

/// Reads `[[distributions.X.error_pages]]`.
///
/// # Errors
/// A status that can have no page, one that stands there twice, a page that is no path.
pub(super) fn error_pages_of(key: &str, files: &[ErrorPageFile]) -> Result<Vec<ErrorPage>, KeyError> {
    let mut entries = Vec::new();
    for (at, file) in files.iter().enumerate() {
        let here = |field: &str| format!("{key}.{at}.{field}");
        let status_of = |field: &str, code: u16| {
            StatusCode::from_u16(code).map_err(|_| KeyError::new(&here(field), format!("{code} is no status")))
        };
        let status = status_of("status", file.status)?;
        let page = match (&file.response_page, file.response_code) {
            (Some(path), code) => {
                let status = code.map_or(Ok(status), |code| status_of("response_code", code))?;
                Some(Page { status, path: path.clone() })
            }
            (None, Some(_)) => {
                return Err(KeyError::new(&here("response_code"), "a response code needs a page")
                    .hint("response_page = \"/errors/404.html\""));
            }
            (None, None) => None,
        };
        let ttl = file.ttl.map_or(ERROR_CACHING_MIN_TTL, |span| span.0);
        entries.push(ErrorPage { status, ttl, page });
        if let Err(error) = ErrorPages::new(entries.clone()) {
            let field = match &error {
                ErrorPagesError::Status(_) | ErrorPagesError::Twice(_) => "status",
                ErrorPagesError::Response { .. } => "response_code",
                ErrorPagesError::Path { .. } => "response_page",
            };
            return Err(KeyError::new(&here(field), error.to_string()));
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::quantity::Span;

    fn check(written: ErrorPageFile) -> Result<ErrorPage, String> {
        let checked = error_pages_of("error_pages", &[written]);
        checked.map(|mut all| all.remove(0)).map_err(|error| format!("{}: {}", error.key.join("."), error.message))
    }

    #[test]
    fn entries_have_cloudfronts_defaults_and_bounds() {
        let plain = ErrorPageFile { status: 404, ttl: None, response_page: None, response_code: None };
        assert_eq!(check(plain.clone()).map(|entry| (entry.ttl, entry.page)), Ok((ERROR_CACHING_MIN_TTL, None)));
        let paged = ErrorPageFile {
            ttl: Some(Span(Duration::ZERO)),
            response_page: Some("/lost.html".into()),
            ..plain.clone()
        };
        let entry = check(paged.clone()).unwrap();
        assert_eq!((entry.ttl, entry.page.unwrap().status.as_u16()), (Duration::ZERO, 404));
        for (written, says) in [
            (ErrorPageFile { status: 401, ..plain.clone() }, "error_pages.0.status: 401 can have no error page"),
            (
                ErrorPageFile { response_code: Some(302), ..paged.clone() },
                "error_pages.0.response_code: a page for 404",
            ),
            (ErrorPageFile { response_code: Some(200), ..plain }, "error_pages.0.response_code: a response code needs"),
            (
                ErrorPageFile { response_page: Some("x".into()), ..paged },
                "error_pages.0.response_page: the page for 404",
            ),
        ] {
            let error = check(written).unwrap_err();
            assert!(error.starts_with(says), "{error}");
        }
    }
}
