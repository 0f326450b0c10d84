//! Connections that are kept through the world's links, so that what is urgent takes half a round trip to arrive and
//! not two.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use cdn_core::NodeId;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use wan::Dialer;

/// Kept connections to admin ports, at most one per node.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    kept: Mutex<BTreeMap<NodeId, SendRequest<Full<Bytes>>>>,
}

impl Lines {
    /// Opens the line to `node`, unless it is there.
    ///
    /// # Errors
    /// In words.
    pub(crate) async fn open(&self, dialer: &Dialer, node: &NodeId, address: SocketAddr) -> Result<(), String> {
        let line = match self.take(node) {
            Some(line) => line,
            None => connect(dialer, address).await?,
        };
        self.keep(node, line);
        Ok(())
    }

    /// Sends `request` to `node` and says what it answered; a line that has broken is opened again.
    ///
    /// # Errors
    /// In words.
    pub(crate) async fn exchange(
        &self,
        dialer: &Dialer,
        node: &NodeId,
        address: SocketAddr,
        request: http::Request<Full<Bytes>>,
    ) -> Result<String, String> {
        if let Some(mut line) = self.take(node)
            && let Ok(answer) = send(&mut line, request.clone()).await
        {
            self.keep(node, line);
            return answer;
        }
        let mut line = connect(dialer, address).await?;
        let answer = send(&mut line, request).await?;
        self.keep(node, line);
        answer
    }

    fn take(&self, node: &NodeId) -> Option<SendRequest<Full<Bytes>>> {
        let line = self.kept.lock().unwrap_or_else(PoisonError::into_inner).remove(node);
        line.filter(|line| !line.is_closed() && line.is_ready())
    }

    fn keep(&self, node: &NodeId, line: SendRequest<Full<Bytes>>) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).insert(node.clone(), line);
    }
}

async fn connect(dialer: &Dialer, address: SocketAddr) -> Result<SendRequest<Full<Bytes>>, String> {
    let stream = dialer.connect(address).await.map_err(|error| error.to_string())?;
    let (line, connection) =
        http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // Ends when either side closes, and when the line is dropped.
    tokio::spawn(connection);
    Ok(line)
}

/// What the other side answered, if it did; the inner error is its refusal.
async fn send(
    line: &mut SendRequest<Full<Bytes>>,
    request: http::Request<Full<Bytes>>,
) -> Result<Result<String, String>, String> {
    let response = line.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let text = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    line.ready().await.map_err(|error| error.to_string())?;
    Ok(if status.is_success() { Ok(text) } else { Err(format!("{status}: {text}")) })
}
