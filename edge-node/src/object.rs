//! What the store keeps of a response beside its head: a body that may still be arriving, and who wants it.
//!
//! A viewer who leaves only stops wanting. A fetch that nobody wants is told so, and stops.

use std::{future::poll_fn, sync::Arc};

use bytes::Bytes;
use cdn_core::{Counters, Reason};

use crate::body::{Reader, SharedBody, Subscription};

/// See the module. Clones are the same object.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) body: SharedBody,
    /// It stands for an error that this network made itself: the page is made anew for each viewer.
    pub(crate) error: Option<Reason>,
}

/// A reader of an object that is arriving.
#[derive(Debug)]
pub(crate) struct Following {
    pub(crate) reader: Reader,
    _wants: Subscription,
}

impl Object {
    /// An object whose body is yet to arrive.
    pub(crate) fn arriving(counters: &Arc<Counters>) -> Self {
        Self { body: SharedBody::new(counters), error: None }
    }

    /// An error of our own, which has no body to keep.
    pub(crate) fn error(reason: Reason) -> Self {
        Self { body: SharedBody::whole(Vec::new()), error: Some(reason) }
    }

    /// An object whose body is there.
    pub(crate) fn whole(blocks: Vec<Bytes>) -> Self {
        Self { body: SharedBody::whole(blocks), error: None }
    }

    /// A reader of the body, who wants it as long as it reads. `None` where the first byte is gone.
    pub(crate) fn follow(&self) -> Option<Following> {
        let wants = self.body.subscribe();
        self.body.reader().map(|reader| Following { reader, _wants: wants })
    }

    /// Resolves once nobody wants it.
    pub(crate) async fn unwanted(&self) {
        poll_fn(|cx| self.body.poll_unwanted(cx)).await;
    }
}
