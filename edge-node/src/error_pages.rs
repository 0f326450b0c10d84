//! Custom error responses: an error is held back until it is known whether a page takes its place, and the page is fetched
//! like any other path, by the behavior that serves it.
//!
//! Which error has a page is [`cdn_core::error_pages`]' to say. A distribution without pages never comes here.

use std::sync::Arc;

use cdn_core::{
    Counter,
    conditional::PRECONDITIONS,
    distribution::Distribution,
    error_pages::{self, Page},
    forward::{Viewer, XCache},
    signing,
};
use http::{HeaderMap, HeaderValue, Method, Response, Uri, header};
use tokio::sync::oneshot;

use crate::{
    asked::Asked,
    body::ResponseBody,
    miss,
    pass::{self, is_error},
    respond::Story,
    service::{Answer, Case, Secure},
};

/// Where the case of a held-back response comes back.
pub(crate) type Held = oneshot::Receiver<(Case, Story)>;

/// Which responses are held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeldBack {
    /// Errors, of which a page may take the place. All others leave as if nobody held anything back.
    Errors,
    /// All: what comes is a page, whose status is another's.
    All,
}

/// What a page would be asked for with.
#[derive(Debug)]
pub(crate) struct PageRequest {
    pub(crate) distribution: Arc<Distribution>,
    pub(crate) host: HeaderValue,
    /// The viewer's, as they came.
    pub(crate) headers: HeaderMap,
    pub(crate) viewer: Viewer,
    pub(crate) secure: Option<Secure>,
}

impl PageRequest {
    /// A GET for `page`, whatever the viewer's method was. Nobody asks it for a signature or for HTTPS: it is the edge
    /// that wants it.
    fn asked(self, case: &Case, page: &Page) -> Asked {
        let Self { distribution, host, mut headers, viewer, secure } = self;
        for name in PRECONDITIONS {
            headers.remove(name);
        }
        let uri = Uri::try_from(page.path.as_str()).unwrap_or_default();
        let place = distribution.place_for(uri.path());
        let behavior = distribution.behavior_at(place);
        if behavior.trusted_keys().is_some() {
            signing::remove_cookies(&mut headers);
        }
        case.node.receive_viewer_headers(&mut headers, behavior, &viewer, secure.as_ref());
        Asked {
            method: Method::GET,
            host,
            uri,
            root_object: None,
            behavior: place,
            headers,
            viewer,
            distribution,
            chosen: None,
        }
    }
}

/// Answers by `carry_out`, or with a page where that comes to an error that has one.
pub(crate) fn with_pages(case: Case, request: Box<PageRequest>, carry_out: impl FnOnce(Case) -> Answer) -> Answer {
    let (case, held) = case.hold_back(HeldBack::Errors);
    match carry_out(case) {
        Answer::Now(Some(response)) if is_error(response.status()) => {
            Answer::Later(Box::pin(settle(response, held, *request)))
        }
        Answer::Now(response) => Answer::Now(response),
        Answer::Later(response) => Answer::Later(Box::pin(async move { settle(response.await, held, *request).await })),
    }
}

/// The response, or the page that takes its place. Where the page fails, its error is the answer.
async fn settle(response: Response<ResponseBody>, mut held: Held, request: PageRequest) -> Response<ResponseBody> {
    let Ok((case, mut story)) = held.try_recv() else { return response };
    let status = response.status();
    let Some(page) = request.distribution.error_pages().page_for(status, story.reason).cloned() else {
        return case.answer(response, story);
    };
    drop(response);
    let node = Arc::clone(&case.node);
    node.counters.bump(Counter::EdgeErrorPages);
    let asked = request.asked(&case, &page);
    let (case, mut held) = case.hold_back(HeldBack::All);
    let mut fetched = match asked.behavior().method_class(&asked.method) {
        Ok(_) => miss::look_up(case, asked).response().await,
        Err(reason) => pass::pass(case, asked, None, reason).await,
    };
    let Ok((case, of_page)) = held.try_recv() else { return fetched };
    if is_error(fetched.status()) {
        return case.answer(fetched, of_page);
    }
    *fetched.status_mut() = page.status;
    if error_pages::closes(status) {
        fetched.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    story.ledger.append(&of_page.ledger);
    (story.x_cache, story.age, story.fresh_for) = (XCache::Error, of_page.age, of_page.fresh_for);
    case.answer(fetched, story)
}
