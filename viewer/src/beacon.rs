//! Tells the routers which round trips viewers saw.
//!
//! Decides when a round trip is reported: at most once per client network and edge in an interval, and never so many at
//! once that reporting becomes a load. Decides also when the second address of an answer is worth measuring: the first is
//! measured by whoever uses it, and of the second nobody would ever hear again. A report travels from the viewer's place and pays its way, in the background.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use cdn_core::{Counter, Counters};
use futures_util::future::join_all;
use http::{Method, Request, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ipnet::Ipv4Net;
use serde::Serialize;
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    config::Limits,
    net::{Net, Source},
    place::Standing,
};

/// Reports that are remembered so that the next one waits for its interval.
const REMEMBERED_MAX: usize = 4096;

/// One report.
#[derive(Clone, Debug, Serialize)]
struct Beacon {
    client: String,
    edge: String,
    rtt_ms: f64,
}

/// Reports round trips. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Beacons {
    last: Arc<Times>,
    measured: Arc<Times>,
    under_way: Arc<Semaphore>,
    net: Arc<dyn Net>,
    routers: Arc<[SocketAddr]>,
    limits: Arc<Limits>,
    counters: Arc<Counters>,
}

impl Beacons {
    pub(crate) fn new(
        net: Arc<dyn Net>,
        routers: Vec<SocketAddr>,
        limits: Arc<Limits>,
        counters: Arc<Counters>,
    ) -> Self {
        let under_way = Arc::new(Semaphore::new(limits.beacons_max));
        let (last, measured) = (Arc::default(), Arc::default());
        Self { last, measured, under_way, net, routers: routers.into(), limits, counters }
    }

    /// A viewer at `standing` connected to `edge` in `rtt`.
    pub(crate) fn handle_round_trip(&self, standing: &Standing, edge: SocketAddr, rtt: Duration) {
        let due = || is_due(&self.last, Instant::now(), (standing.network, edge), self.limits.beacon_interval);
        if self.routers.is_empty() || !due() {
            return;
        }
        let Ok(permit) = Arc::clone(&self.under_way).try_acquire_owned() else {
            self.counters.bump(Counter::ViewerBeaconsDropped);
            return;
        };
        let beacon = Beacon {
            client: standing.network.to_string(),
            edge: edge.ip().to_string(),
            rtt_ms: (rtt.as_secs_f64() * 1e6).round() / 1e3,
        };
        let Ok(body) = serde_json::to_vec(&beacon) else { return };
        let (net, from) = (Arc::clone(&self.net), standing.viewer_source());
        let (routers, counters) = (Arc::clone(&self.routers), Arc::clone(&self.counters));
        let (body, limit) = (Bytes::from(body), self.limits.beacon_timeout);
        tokio::spawn(async move {
            // Every router estimates by itself, so every router hears it; one that is dead keeps it from none.
            let posts = routers.iter().map(async |&router| {
                let sent = timeout(limit, post(&*net, from.clone(), router, body.clone())).await;
                let taken = matches!(sent, Ok(Ok(true)));
                counters.bump(if taken { Counter::ViewerBeacons } else { Counter::ViewerBeaconsFailed });
            });
            join_all(posts).await;
            drop(permit);
        });
    }

    /// Permission to measure the way from `standing` to `edge` although nobody goes there, if it is time. The first time
    /// it is not, so that a single request stays one.
    pub(crate) fn poll_measurement(&self, standing: &Standing, edge: SocketAddr) -> Option<Measurement> {
        let (now, key) = (Instant::now(), (standing.network, edge));
        let interval = self.limits.measure_interval;
        if self.routers.is_empty() || interval.is_zero() {
            return None;
        }
        let is_first = !self.measured.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&key);
        let is_due = is_due(&self.measured, now, key, interval);
        (is_due && !is_first).then(|| Measurement { beacons: self.clone(), standing: standing.clone(), edge })
    }
}

/// A way that is being measured.
pub(crate) struct Measurement {
    beacons: Beacons,
    standing: Standing,
    edge: SocketAddr,
}

impl Measurement {
    /// It took `rtt`.
    pub(crate) fn handle_round_trip(self, rtt: Duration) {
        self.beacons.handle_round_trip(&self.standing, self.edge, rtt);
    }
}

type Times = Mutex<HashMap<(Ipv4Net, SocketAddr), Instant>>;

/// Whether `key` was not due within the last `interval`; then it is now.
fn is_due(last: &Times, now: Instant, key: (Ipv4Net, SocketAddr), interval: Duration) -> bool {
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    if last.get(&key).is_some_and(|then| now.saturating_duration_since(*then) < interval) {
        return false;
    }
    if last.len() >= REMEMBERED_MAX {
        last.retain(|_, then| now.saturating_duration_since(*then) < interval);
        if last.len() >= REMEMBERED_MAX {
            return false;
        }
    }
    last.insert(key, now);
    true
}

/// Posts one report and says whether the router took it.
async fn post(net: &dyn Net, from: Source, router: SocketAddr, body: Bytes) -> io::Result<bool> {
    let stream = net.connect(from, router).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let request = Request::builder()
        .method(Method::POST)
        .uri("/beacon")
        .header(header::HOST, router.to_string())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONNECTION, "close")
        .body(Full::new(body))
        .map_err(io::Error::other)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        Ok(response.status().is_success())
    };
    // The connection is driven here, so that it ends with the report.
    tokio::pin!(exchange);
    tokio::select! {
        biased;
        taken = &mut exchange => taken,
        _ = connection => exchange.await,
    }
}
