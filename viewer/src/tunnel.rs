//! Bytes both ways, until one side ends: CONNECT tunnels and upgraded connections.
//!
//! Knows nothing of what the bytes mean.

use std::sync::Arc;

use cdn_core::Counter;
use tokio::{
    io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes},
    time::timeout,
};

use crate::node::{Client, Node};

/// Bytes per direction that wait in a tunnel.
const BUFFER_BYTES: usize = 64 * 1024;

/// Carries bytes between `client_side` and `edge_side` until both directions have ended, one has failed, or the node
/// has been stopping for `tunnel_drain_grace`. Says how many went up and down.
pub(crate) async fn carry(
    client: &Arc<Client>,
    client_side: impl AsyncRead + AsyncWrite + Unpin,
    edge_side: impl AsyncRead + AsyncWrite + Unpin,
) -> Option<(u64, u64)> {
    let Node { counters, stopping, halt, config, .. } = &*client.node;
    counters.add(Counter::ViewerTunnels, 1);
    let _open = Open(client);
    let (mut up, mut down) = (client_side, edge_side);
    let stopped = async {
        stopping.cancelled().await;
        let _ = timeout(config.limits.tunnel_drain_grace, halt.cancelled()).await;
    };
    tokio::select! {
        carried = copy_bidirectional_with_sizes(&mut up, &mut down, BUFFER_BYTES, BUFFER_BYTES) => carried.ok(),
        () = stopped => {
            counters.bump(Counter::ViewerTunnelsCut);
            None
        }
    }
}

struct Open<'a>(&'a Arc<Client>);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.node.counters.sub(Counter::ViewerTunnels, 1);
    }
}
