//! Streams of HTTP/2 that are answered where they are accepted.
//!
//! Hyper makes a task of each stream. Most are hits, which wait for nothing: making, queueing and ending a task for one
//! costs more than looking it up.

use std::task::{Context, Waker};

use hyper::rt::Executor;

/// Does what can be done at once, and spawns what waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AtOnce;

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for AtOnce {
    fn execute(&self, stream: F) {
        let mut stream = Box::pin(stream);
        // Whom to wake need not be known yet: the task polls it again before it waits.
        if stream.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            tokio::spawn(stream);
        }
    }
}
