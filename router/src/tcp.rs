//! DNS over TCP on the same port (RFC 7766): messages one after the other, each preceded by its length.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cdn_core::Counter;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{control::Control, exchange::Transport, respond::Responder};

/// After an error of accept (usually: no file descriptors left) the next try waits this long.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Accepts until told to stop.
pub(crate) async fn run(control: Arc<Control>, listener: TcpListener, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(control.limits.tcp_connections_max));
    let clients = Arc::new(Clients::default());
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            control.counters.bump(Counter::RouterTcpConnectionsRefused);
            continue;
        };
        let Some(place) = Place::take(&clients, peer.ip(), control.limits.tcp_connections_per_client_max) else {
            control.counters.bump(Counter::RouterTcpConnectionsRefusedClient);
            continue;
        };
        let (control, stop) = (Arc::clone(&control), stop.clone());
        tasks.spawn(async move {
            control.counters.add(Counter::RouterTcpConnections, 1);
            serve(&control, stream, peer.ip(), &stop).await;
            control.counters.sub(Counter::RouterTcpConnections, 1);
            drop((slot, place));
        });
    }
    tasks.close();
    let _ = timeout(control.limits.drain_grace, tasks.wait()).await;
}

/// Open connections by client.
#[derive(Debug, Default)]
struct Clients(Mutex<HashMap<IpAddr, usize>>);

/// One connection's place among its client's, given back when dropped.
#[derive(Debug)]
struct Place {
    clients: Arc<Clients>,
    client: IpAddr,
}

impl Place {
    /// `None` where the client has `most` already.
    fn take(clients: &Arc<Clients>, client: IpAddr, most: usize) -> Option<Self> {
        let mut open = clients.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.get(&client).copied().unwrap_or_default();
        if count >= most {
            return None;
        }
        open.insert(client, count + 1);
        Some(Self { clients: Arc::clone(clients), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.clients.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.client);
            }
        }
    }
}

/// Answers the messages of one connection. Ends when the client does, takes too long, or sends what deserves no answer.
async fn serve(control: &Arc<Control>, mut stream: TcpStream, peer: IpAddr, stop: &CancellationToken) {
    let _ = stream.set_nodelay(true);
    let limit = control.limits.tcp_timeout;
    let mut responder = Responder::new(Arc::clone(control));
    let (mut message, mut answer, mut framed) = (vec![], vec![], vec![]);
    for _ in 0..control.limits.tcp_queries_max {
        let received = tokio::select! {
            () = stop.cancelled() => return,
            received = timeout(limit, receive(&mut stream, &mut message)) => received,
        };
        match received {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => return control.counters.bump(Counter::RouterTcpTimeouts),
        }
        let published = control.published();
        if !responder.handle_message(&published, &message, peer, Transport::Tcp, &mut answer) {
            return;
        }
        let Ok(len) = u16::try_from(answer.len()) else { return };
        framed.clear();
        framed.extend_from_slice(&len.to_be_bytes());
        framed.extend_from_slice(&answer);
        match timeout(limit, stream.write_all(&framed)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => return control.counters.bump(Counter::RouterTcpTimeouts),
        }
    }
    control.counters.bump(Counter::RouterTcpQueriesFull);
}

async fn receive(stream: &mut TcpStream, message: &mut Vec<u8>) -> std::io::Result<()> {
    let len = usize::from(stream.read_u16().await?);
    // Grows as bytes come, so that a stated length alone reserves nothing.
    message.clear();
    let read = stream.take(len as u64).read_to_end(message).await?;
    if read == len { Ok(()) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
}
