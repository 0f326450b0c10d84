//! Sends the probes that the planner asks for, over kept connections where there are any.
//!
//! Decides nothing: an outcome is a round trip or an error, and goes back to the planner. Never waits for one edge before
//! it probes another; a probe of an edge that is silent opens a connection of its own.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use cdn_core::{
    Counter, Reason,
    health::{ProbeError, ProbeOptions},
    routing::{EdgeKey, Probe},
};
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use tokio::time::{Instant, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_service::Service as _;

use crate::{
    connect::{BoxConnect, probe_error},
    control::Control,
};

/// Bytes of a probe's answer that are read so that its connection can be kept; a longer answer costs the connection.
const BODY_BYTES_MAX: usize = 4096;

/// In which an edge says how many requests it has received since it began.
const REQUESTS: &str = "x-iso-requests";

type Sender = SendRequest<Empty<Bytes>>;

/// The kept connection of an edge.
type Slot = Arc<Mutex<Option<Sender>>>;

/// Probes until told to stop.
pub(crate) async fn run(control: Arc<Control>, connect: BoxConnect, options: ProbeOptions, stop: CancellationToken) {
    let mut slots: HashMap<EdgeKey, Slot> = HashMap::new();
    let tasks = TaskTracker::new();
    loop {
        let (probes, next) = control.poll_probes();
        if slots.len() > 2 * control.published().snapshot.pops().iter().map(|pop| pop.edges.len()).sum::<usize>() + 16 {
            // Edges that have left leave their connections behind; those that stay open a new one at their next probe.
            slots.clear();
        }
        for probe in probes {
            let slot = Arc::clone(slots.entry(probe.edge).or_default());
            let prober = Prober {
                control: Arc::clone(&control),
                connect: connect.clone(),
                tasks: tasks.clone(),
                stop: stop.clone(),
                slot,
                options: options.clone(),
            };
            tasks.spawn(prober.run(probe));
        }
        let pause = next - control.now();
        tokio::select! {
            () = stop.cancelled() => break,
            () = control.wake.notified() => {}
            // An hour stands for "never": adding the longest span to a clock would overflow.
            () = tokio::time::sleep(pause.min(Duration::from_secs(3600))) => {}
        }
    }
    tasks.close();
    tasks.wait().await;
}

struct Prober {
    control: Arc<Control>,
    connect: BoxConnect,
    tasks: TaskTracker,
    stop: CancellationToken,
    slot: Slot,
    options: ProbeOptions,
}

impl Prober {
    async fn run(mut self, probe: Probe) {
        let (stop, limit) = (self.stop.clone(), self.options.timeout);
        let outcome = tokio::select! {
            () = stop.cancelled() => return,
            outcome = timeout(limit, self.probe(probe)) => outcome.unwrap_or(Err(ProbeError::TimedOut)),
        };
        let (outcome, requests) =
            outcome.map_or_else(|error| (Err(error), None), |(rtt, requests)| (Ok(rtt), requests));
        self.control.handle_probe(probe, outcome, requests);
    }

    /// The time from the request to the head of its answer, and how many requests the edge says to have served.
    async fn probe(&mut self, probe: Probe) -> Result<(Duration, Option<u64>), ProbeError> {
        let kept = take(&self.slot).filter(|sender| !sender.is_closed() && sender.is_ready());
        let mut sender = match kept {
            Some(sender) => sender,
            None => self.open(probe).await?,
        };
        let request = Request::get(self.options.path.as_str())
            .header(header::HOST, probe.address.to_string())
            .header(header::USER_AGENT, "iso-health-check")
            .body(Empty::new())
            .map_err(|_| ProbeError::Invalid)?;
        let sent_at = Instant::now();
        let response = sender.send_request(request).await.map_err(|error| probe_error(&error))?;
        let rtt = sent_at.elapsed();
        let status = response.status();
        let requests = response.headers().get(REQUESTS).and_then(|total| total.to_str().ok()?.parse().ok());
        let is_draining =
            response.headers().get("x-iso-reason").is_some_and(|reason| reason == Reason::Draining.as_str());
        if Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await.is_ok() && sender.ready().await.is_ok() {
            *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        }
        match status {
            StatusCode::OK => Ok((rtt, requests)),
            _ if is_draining => Err(ProbeError::Draining),
            _ => Err(ProbeError::BadStatus(status.as_u16())),
        }
    }

    async fn open(&mut self, probe: Probe) -> Result<Sender, ProbeError> {
        self.control.counters.bump(Counter::RouterProbeConnects);
        let uri: Uri = format!("http://{}", probe.address).parse().map_err(|_| ProbeError::Invalid)?;
        let io = async {
            std::future::poll_fn(|context| self.connect.poll_ready(context)).await?;
            self.connect.call(uri).await
        };
        let io = io.await.map_err(|error| probe_error(&*error))?;
        let (sender, connection) = http1::handshake(io).await.map_err(|error| probe_error(&error))?;
        let (control, slot, stop) = (Arc::clone(&self.control), Arc::downgrade(&self.slot), self.stop.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = connection => {}
            }
            // The other side has closed a connection that nobody was using: an edge that stops does that.
            if took_closed(&slot) {
                control.handle_connection_lost(probe.edge);
            }
        });
        Ok(sender)
    }
}

fn take(slot: &Slot) -> Option<Sender> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Empties the slot if it holds a connection that is closed.
fn took_closed(slot: &Weak<Mutex<Option<Sender>>>) -> bool {
    let Some(slot) = slot.upgrade() else { return false };
    let mut kept = slot.lock().unwrap_or_else(PoisonError::into_inner);
    kept.take_if(|sender| sender.is_closed()).is_some()
}
