//! Headers between one host and the next.
//!
//! A cache that gets what another has stored reads headers that were read before, by every cache that got the same. What
//! they say is therefore read once, and the head itself is shared: what is fit to be stored comes out of the hands of the
//! next cache as it went in, as long as both follow one configuration (a law that `cdn_core::forward` is held to).

use std::{borrow::Cow, sync::Arc, time::Duration};

use cdn_core::{distribution::CheckedBehavior, freshness::Said, store::StoredHead, vary::Vary};
use http::{HeaderMap, HeaderValue, header};

/// The headers of a response on its way.
#[derive(Clone, Debug)]
pub(crate) enum Headers {
    /// Somebody made them for this response.
    Made(HeaderMap),
    /// A cache has the response stored, for so long.
    Stored(Arc<StoredHead>, Duration),
}

/// What a stored head says to the next cache, but for its age.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) head: Arc<StoredHead>,
    pub(crate) said: Said,
    pub(crate) vary: Vary,
}

impl Headers {
    /// As they arrive.
    pub(crate) fn lines(&self) -> Cow<'_, HeaderMap> {
        match self {
            Self::Made(headers) => Cow::Borrowed(headers),
            Self::Stored(head, age) => {
                let mut headers = head.headers();
                headers.insert(header::AGE, HeaderValue::from(age.as_secs()));
                Cow::Owned(headers)
            }
        }
    }
}

impl Default for Headers {
    fn default() -> Self {
        Self::Made(HeaderMap::new())
    }
}

impl Reading {
    pub(crate) fn of(head: &Arc<StoredHead>, behavior: &CheckedBehavior) -> Self {
        let headers = head.headers();
        let said = Said::of(&headers, behavior.cache_policy().rules);
        Self { head: Arc::clone(head), said, vary: Vary::of(&headers, behavior) }
    }
}
