//! A viewer's request as the rest of the node sees it: checked, with its distribution and its viewer.

use std::sync::Arc;

use cdn_core::{
    cache_key::RequestHead,
    conditional::PRECONDITIONS,
    distribution::{CheckedBehavior, Distribution, Origin},
    forward::Viewer,
    functions::{FunctionInvalid, Rewrite},
    unsafe_method::Target,
};
use http::{HeaderMap, HeaderValue, Method, Uri};

use crate::functions::{Chosen, OriginChanges};

/// See the module. It owns everything, so that a fetch can outlive the viewer who caused it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) distribution: Arc<Distribution>,
    pub(crate) method: Method,
    /// `Host` as sent.
    pub(crate) host: HeaderValue,
    /// The target in origin form as sent.
    pub(crate) uri: Uri,
    /// Stands for `/`, where the distribution has a default root object.
    pub(crate) root_object: Option<String>,
    /// Place of the behavior that serves the path.
    pub(crate) behavior: usize,
    /// After [`cdn_core::forward::receive_viewer_headers`].
    pub(crate) headers: HeaderMap,
    pub(crate) viewer: Viewer,
    /// Set where a function has said something of the origins; `None` leaves them to the behavior's target.
    pub(crate) chosen: Option<Arc<Chosen>>,
}

impl Asked {
    pub(crate) fn path(&self) -> &str {
        self.root_object.as_deref().unwrap_or_else(|| self.uri.path())
    }

    pub(crate) fn behavior(&self) -> &CheckedBehavior {
        self.distribution.behavior_at(self.behavior)
    }

    pub(crate) fn head(&self) -> RequestHead<'_> {
        RequestHead {
            distribution: &self.distribution,
            behavior: self.behavior(),
            method: &self.method,
            host: self.host.to_str().unwrap_or_default(),
            path: self.path(),
            query: self.uri.query(),
            headers: &self.headers,
        }
    }

    /// Goes on as a function has made it; the behavior stays.
    ///
    /// # Errors
    /// The target, where no request can have it.
    pub(crate) fn rewrite(&mut self, rewrite: Rewrite) -> Result<(), String> {
        if let Some(target) = rewrite.target {
            let uri = Uri::try_from(&target).map_err(|_| target)?;
            self.root_object = self.distribution.root_object_for(uri.path());
            self.uri = uri;
        }
        self.headers = rewrite.headers;
        Ok(())
    }

    /// Goes on to the origins that a function has chosen.
    ///
    /// # Errors
    /// The distribution has not one of them.
    pub(crate) fn choose(&mut self, changes: &OriginChanges) -> Result<(), FunctionInvalid> {
        if !changes.is_empty() {
            let chosen = Chosen::new(&self.distribution, self.behavior().target(), changes)?;
            self.chosen = Some(Arc::new(chosen));
        }
        Ok(())
    }

    /// The behavior's place for a cache behind, where that cannot find it by the path: a function has put another in the
    /// place of the one that the behavior was chosen by.
    pub(crate) fn behavior_for_parents(&self) -> Option<usize> {
        let behavior = self.behavior();
        let by_path = || std::ptr::eq(self.distribution.behavior_for(self.path()), behavior);
        (behavior.viewer_request().is_some() && !by_path()).then_some(self.behavior)
    }

    /// What references in its response are relative to.
    pub(crate) fn target_of_references(&self) -> Target<'_> {
        Target { host: self.host.to_str().unwrap_or_default(), path: self.path(), query: self.uri.query() }
    }

    /// A plain GET for a path and query of the same host, with the same headers but for preconditions.
    pub(crate) fn as_get_of(&self, path_and_query: &str) -> Self {
        let uri = Uri::try_from(path_and_query).unwrap_or_default();
        let root_object = self.distribution.root_object_for(uri.path());
        let place = self.distribution.place_for(root_object.as_deref().unwrap_or_else(|| uri.path()));
        let mut headers = self.headers.clone();
        for name in PRECONDITIONS {
            headers.remove(name);
        }
        Self { method: Method::GET, root_object, behavior: place, uri, headers, ..self.clone() }
    }

    /// The target as it was sent, for a cache behind, which does the same with it as the edge.
    pub(crate) fn target(&self) -> Uri {
        self.uri.clone()
    }

    /// The origins that may be asked, in order.
    pub(crate) fn origins(&self) -> impl Iterator<Item = &Origin> {
        (0..2).map_while(|member| self.origin(member))
    }

    /// The origin at a place among those that may be asked.
    pub(crate) fn origin(&self, member: usize) -> Option<&Origin> {
        match &self.chosen {
            Some(chosen) => chosen.origins.origins().get(member).map(|chosen| &chosen.origin),
            None => self.distribution.origin(self.origin_id(member)?),
        }
    }

    /// Its id.
    pub(crate) fn origin_id(&self, member: usize) -> Option<&str> {
        if let Some(chosen) = &self.chosen {
            return chosen.origins.origins().get(member).map(|chosen| &*chosen.id);
        }
        let target = self.behavior().target();
        match self.distribution.group(target) {
            Some(group) => group.members.get(member).map(String::as_str),
            None => (member == 0).then_some(target),
        }
    }
}
