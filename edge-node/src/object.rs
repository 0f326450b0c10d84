//! What the store keeps of a response beside its head: a body that may still be arriving, and who wants it.
//!
//! A viewer who leaves only stops wanting. A fetch that nobody wants is told so, and stops.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use cdn_core::Reason;
use tokio::sync::Notify;

use crate::body::{Reader, SharedBody};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Object {
    pub(crate) body: SharedBody,
    /// It stands for an error that this network made itself: the page is made anew for each viewer.
    pub(crate) error: Option<Reason>,
    wanted: Arc<Wanted>,
}

#[derive(Debug, Default)]
struct Wanted {
    by: AtomicUsize,
    nobody: Notify,
}

/// Somebody wants the object as long as this lives.
#[derive(Debug)]
pub(crate) struct Subscription(Arc<Wanted>);

/// A reader of an object that is arriving.
#[derive(Debug)]
pub(crate) struct Following {
    pub(crate) reader: Reader,
    _wants: Subscription,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if self.0.by.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.nobody.notify_one();
        }
    }
}

impl Object {
    /// An error of our own, which has no body to keep.
    pub(crate) fn error(reason: Reason) -> Self {
        let object = Self { error: Some(reason), ..Self::default() };
        object.body.finish();
        object
    }

    /// An object whose body is there.
    pub(crate) fn whole(blocks: Vec<Bytes>) -> Self {
        Self { body: SharedBody::whole(blocks), ..Self::default() }
    }

    /// A reader of the body, who wants it as long as it reads. `None` where the first byte is gone.
    pub(crate) fn follow(&self) -> Option<Following> {
        let wants = self.subscribe();
        self.body.reader().map(|reader| Following { reader, _wants: wants })
    }

    /// Says that one more wants it.
    pub(crate) fn subscribe(&self) -> Subscription {
        self.wanted.by.fetch_add(1, Ordering::AcqRel);
        Subscription(Arc::clone(&self.wanted))
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.by.load(Ordering::Acquire) > 0
    }

    /// Resolves once nobody wants it.
    pub(crate) async fn unwanted(&self) {
        while self.is_wanted() {
            // A permit that was left before is kept, so that no departure is missed.
            self.wanted.nobody.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_object_is_unwanted_when_the_last_one_leaves() {
        let object = Object::default();
        let (one, two) = (object.subscribe(), object.subscribe());
        drop(one);
        let waiting = object.unwanted();
        tokio::pin!(waiting);
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        drop(two);
        assert!(futures_util::poll!(waiting.as_mut()).is_ready());
    }
}
