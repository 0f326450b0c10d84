//! One question, put to the routers until one answers.
//!
//! Each try goes to the next router in the order of [`Servers`], round and round, and waits as long as the setting for
//! this try says; a router that refuses the datagram is left at once. One socket per router is kept for the
//! whole exchange, so that a late answer to an earlier try still counts. A truncated answer is asked again over TCP.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cdn_core::{Counter, Counters};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Instant, timeout, timeout_at},
};
use world::client::Servers;

use super::reply::{Question, Reply};
use crate::{
    clock::now,
    config::Limits,
    net::{Datagrams, Net, Source},
};

/// Whom a resolver asks.
pub(crate) struct Upstream {
    pub(crate) net: Arc<dyn Net>,
    pub(crate) from: Source,
    /// The routers, and how they answered so far.
    pub(crate) servers: Mutex<Servers<SocketAddr>>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) counters: Arc<Counters>,
}

/// How to ask.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    /// Over TCP from the start.
    pub(crate) tcp: bool,
    /// This server and no other.
    pub(crate) server: Option<SocketAddr>,
}

impl Upstream {
    /// Asks. The error tells what happened at each try.
    pub(crate) async fn ask(&self, question: &Question, manner: Manner) -> Result<Reply, String> {
        let id = rand::random();
        let bytes = question.encode(id)?;
        let servers = manner.server.map_or_else(|| self.servers().in_order(now()), |server| vec![server]);
        let mut sockets: Vec<Option<Box<dyn Datagrams>>> = servers.iter().map(|_| None).collect();
        let mut story: Vec<String> = Vec::new();
        let mut failure: Option<Reply> = None;
        let mut refused = 0;
        for (tries, wait) in self.waits(servers.len()).enumerate() {
            let at = tries % servers.len().max(1);
            let (Some(&server), Some(socket)) = (servers.get(at), sockets.get_mut(at)) else { break };
            self.counters.bump(if tries == 0 { Counter::ViewerDnsQueries } else { Counter::ViewerDnsRetransmits });
            let asked_at = Instant::now();
            let heard = if manner.tcp {
                self.ask_over_tcp(server, &bytes, id, question).await
            } else {
                self.ask_over_udp(socket, server, &bytes, id, question, wait).await
            };
            match heard {
                Ok(mut reply) => {
                    reply.tries = u32::try_from(tries + 1).unwrap_or(u32::MAX);
                    if !reply.is_servers_failure() {
                        if !reply.tcp {
                            self.servers().handle_answer(now(), server, asked_at.elapsed());
                        }
                        return Ok(reply);
                    }
                    self.servers().handle_failure(now(), server);
                    // Another router may know; after all of them have said no, no is the answer.
                    failure = Some(reply);
                    if tries + 1 >= servers.len() {
                        break;
                    }
                }
                Err(error) => {
                    self.servers().handle_failure(now(), server);
                    story.push(format!("{server}: {}", describe(&error)));
                    refused += usize::from(error.kind() == io::ErrorKind::ConnectionRefused);
                    if refused >= servers.len() && failure.is_none() {
                        break;
                    }
                }
            }
        }
        if let Some(reply) = failure {
            return Ok(reply);
        }
        self.counters.bump(Counter::ViewerDnsFailures);
        Err(if story.is_empty() { "there is no router to ask".into() } else { story.join("; ") })
    }

    fn servers(&self) -> MutexGuard<'_, Servers<SocketAddr>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long each try waits: as the setting says, the last one again until each server has been asked once.
    fn waits(&self, servers: usize) -> impl Iterator<Item = Duration> {
        let waits = &self.limits.dns_timeouts;
        let last = waits.last().copied().unwrap_or(Duration::from_secs(1));
        waits.iter().copied().chain(std::iter::repeat(last)).take(waits.len().max(servers).max(1))
    }

    async fn ask_over_udp(
        &self,
        socket: &mut Option<Box<dyn Datagrams>>,
        server: SocketAddr,
        bytes: &[u8],
        id: u16,
        question: &Question,
        wait: Duration,
    ) -> io::Result<Reply> {
        let deadline = Instant::now() + wait;
        let socket = match socket {
            Some(socket) => socket,
            empty => empty.insert(
                timeout_at(deadline, self.net.open_datagrams(self.from.clone(), server)).await.map_err(silent)??,
            ),
        };
        socket.send(bytes)?;
        let mut buffer = [0; 4096];
        let reply = loop {
            let length =
                timeout_at(deadline, poll_fn(|cx| socket.poll_recv(cx, &mut buffer))).await.map_err(silent)??;
            let datagram = buffer.get(..length).unwrap_or_default();
            if let Some(reply) = Reply::decode(datagram, id, question, server) {
                break reply;
            }
        };
        if reply.truncated {
            self.counters.bump(Counter::ViewerDnsTruncated);
            return self.ask_over_tcp(server, bytes, id, question).await;
        }
        Ok(reply)
    }

    /// RFC 7766: a length in two bytes, then the message, on a connection of its own.
    async fn ask_over_tcp(&self, server: SocketAddr, bytes: &[u8], id: u16, question: &Question) -> io::Result<Reply> {
        let exchange = async {
            let mut stream = self.net.connect(self.from.clone(), server).await?;
            let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
            let mut framed = Vec::with_capacity(bytes.len() + 2);
            framed.extend_from_slice(&length.to_be_bytes());
            framed.extend_from_slice(bytes);
            stream.write_all(&framed).await?;
            stream.flush().await?;
            let mut answer = vec![0; usize::from(stream.read_u16().await?)];
            stream.read_exact(&mut answer).await?;
            Reply::decode(&answer, id, question, server)
                .map(|reply| Reply { tcp: true, ..reply })
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an answer to what was asked"))
        };
        timeout(self.limits.dns_tcp_timeout, exchange).await.map_err(silent)?
    }
}

fn silent(_: tokio::time::error::Elapsed) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => "no answer in time".into(),
        io::ErrorKind::ConnectionRefused => "refused".into(),
        io::ErrorKind::NotFound => "no way to it".into(),
        _ => error.to_string(),
    }
}
