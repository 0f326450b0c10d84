//! A response body on its way to the client.
//!
//! Decides when a response has ended: the ledger is written and the connection given back before the client sees the
//! last byte, so that whoever asks for the ledger afterwards finds it. An edge that stops in the middle of a body is
//! left after a while. Bytes are handed on as they come, one frame at a time, so a slow client slows the edge.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    fetch::Viewpoint,
    ledger::{Ending, Recorder, Step},
    node::{Client, Node},
    pool::EdgeConnection,
    sender::{EdgeBody, EdgeBodyError},
};

/// What has to be done when the response has ended.
pub(crate) struct AtEnd {
    pub(crate) node: Arc<Node>,
    /// The client connection is open at least as long.
    pub(crate) client: Arc<Client>,
    pub(crate) who: Viewpoint,
    pub(crate) connection: EdgeConnection,
    pub(crate) recorder: Recorder,
    pub(crate) ending: Ending,
    /// The edge, as ledgers call it.
    pub(crate) pop: String,
    /// The ledger's name, when one is wanted.
    pub(crate) ledger: Option<String>,
}

/// A response body.
pub(crate) struct Download {
    incoming: EdgeBody,
    at_end: Option<Box<AtEnd>>,
    /// Since when the edge is silent, while it is.
    silent_since: Option<Instant>,
    /// Goes off when a silence may have lasted too long; set once and moved only then.
    alarm: Option<Pin<Box<Sleep>>>,
    silence_max: Duration,
}

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DownloadError {
    /// The connection to the edge failed.
    #[error(transparent)]
    Edge(#[from] EdgeBodyError),
    /// The edge stopped sending.
    #[error("the edge was silent in the middle of the body")]
    Silent,
}

impl Download {
    pub(crate) fn new(incoming: EdgeBody, silence_max: Duration, at_end: AtEnd) -> Self {
        let mut download =
            Self { incoming, at_end: Some(Box::new(at_end)), silent_since: None, alarm: None, silence_max };
        if download.incoming.is_end_stream() {
            download.finish("");
        }
        download
    }

    /// Ready when the edge has been silent for too long. A slow client does not poll, so only the edge's silence counts.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let until = *self.silent_since.get_or_insert_with(Instant::now) + self.silence_max;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(until)));
        while alarm.as_mut().poll(cx).is_ready() {
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(until);
        }
        Poll::Pending
    }

    fn finish(&mut self, error: &str) {
        let Some(at_end) = self.at_end.take() else { return };
        let AtEnd { node, client, who, connection, mut recorder, mut ending, pop, ledger } = *at_end;
        ending.complete = error.is_empty();
        ending.error = error.to_owned();
        if let Some(id) = ledger {
            let label = format!("{pop} → {}", who.standing.place);
            recorder.step(Step::Transfer, label, format!("transfer, {} bytes", ending.body_bytes));
            node.store_ledger(node.next_serial(), recorder.finish(&id, ending));
        }
        if error.is_empty() {
            node.give_back(&who, connection);
        }
        drop(client);
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = DownloadError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, DownloadError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.silent_since = None;
                if let (Some(at_end), Some(data)) = (&mut this.at_end, frame.data_ref()) {
                    at_end.ending.body_bytes += data.len() as u64;
                }
                if this.incoming.is_end_stream() {
                    this.finish("");
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.finish(&format!("the body broke off: {error}"));
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                this.finish("");
                Poll::Ready(None)
            }
            Poll::Pending => {
                ready!(this.poll_silence(cx));
                this.finish(&DownloadError::Silent.to_string());
                Poll::Ready(Some(Err(DownloadError::Silent)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.finish("the client left");
    }
}
