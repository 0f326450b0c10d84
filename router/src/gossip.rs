//! Tells the other routers what this one makes of the edges: at once when an opinion has changed, and again and again
//! while nothing does, because a word that is not repeated loses its weight.
//!
//! One kept connection per peer, to a port that only routers of the cluster may speak to. Never waits for one peer before
//! it tells another, and nobody waits for a peer in order to answer. What is said is decided by
//! [`cdn_core::health::quorum`].

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use cdn_core::Counter;
use http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

use crate::{
    config::Peer,
    connect::{BoxConnect, BoxIo},
    control::Control,
    json::OpinionsJson,
};

/// Bytes of an acknowledgement that are read so that its connection can be kept.
const BODY_BYTES_MAX: usize = 4096;

type Sender = SendRequest<Full<Bytes>>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Tells all `peers` until told to stop.
pub(crate) async fn run(control: Arc<Control>, connect: BoxConnect, peers: Vec<Peer>, stop: CancellationToken) {
    let mut tellers = JoinSet::new();
    for peer in peers {
        let mut teller = Teller { control: Arc::clone(&control), connect: connect.clone(), peer, kept: None };
        let news = control.opinions_changed.subscribe();
        tellers.spawn(async move { teller.run(news).await });
    }
    stop.cancelled().await;
    // Dropping the set ends them all.
}

struct Teller {
    control: Arc<Control>,
    connect: BoxConnect,
    peer: Peer,
    kept: Option<Sender>,
}

impl Teller {
    async fn run(&mut self, mut news: watch::Receiver<u64>) {
        let quorum = &self.control.quorum;
        let (repeat, patience) = (quorum.repeat_interval(), quorum.fresh_for);
        loop {
            news.mark_unchanged();
            let told = timeout(patience, self.tell()).await.unwrap_or_else(|_| Err("no answer in time".into()));
            self.control.counters.bump(match told {
                Ok(()) => Counter::RouterOpinionsTold,
                Err(_) => Counter::RouterOpinionsUntold,
            });
            if let Err(error) = told {
                tracing::debug!(peer = %self.peer.id, error, "not told");
                self.kept = None;
            }
            // A peer that cannot be reached is tried again after the same pause, news or not.
            let pause = async {
                match self.kept.is_some() {
                    true => drop(timeout(repeat, news.changed()).await),
                    false => tokio::time::sleep(repeat.max(Duration::from_millis(10))).await,
                }
            };
            pause.await;
        }
    }

    async fn tell(&mut self) -> Result<(), String> {
        let mut sender = match self.kept.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => self.open().await.map_err(|error| error.to_string())?,
        };
        let body = serde_json::to_vec(&OpinionsJson::of(&self.control)).map_err(|error| error.to_string())?;
        let request = Request::put("/opinions")
            .header(header::HOST, self.peer.address.to_string())
            .header(header::AUTHORIZATION, self.peer.authorization.as_str())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await.map_err(|error| error.to_string())?;
        if !status.is_success() {
            return Err(status.to_string());
        }
        self.kept = Some(sender);
        Ok(())
    }

    async fn open(&mut self) -> Result<Sender, BoxError> {
        let uri: Uri = format!("http://{}", self.peer.address).parse()?;
        std::future::poll_fn(|context| self.connect.poll_ready(context)).await?;
        let io: BoxIo = self.connect.call(uri).await?;
        let (sender, connection) = http1::handshake(io).await?;
        // Ends when either side closes, and when the sender is dropped.
        tokio::spawn(connection);
        Ok(sender)
    }
}
