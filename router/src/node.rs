//! Build, serve, drain.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::Arc,
};

use cdn_core::health::ProbeOptions;
use http::Uri;
use hyper::rt::{Read, Write};
use socket2::{Domain, Protocol, Socket, Type};
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use crate::{
    config::{BuildError, Config, Peer},
    connect::{BoxConnect, boxed},
    control::Control,
    gossip,
    handle::Handle,
    http_routing, prober,
    program::{self, Program},
    tcp, udp,
};

/// The sockets that a router answers on.
#[derive(Debug)]
pub struct Sockets {
    /// DNS over UDP; one worker thread each. Several must share one address (SO_REUSEPORT).
    pub udp: Vec<UdpSocket>,
    /// DNS over TCP.
    pub tcp: TcpListener,
    /// HTTP routing.
    pub http: TcpListener,
}

impl Sockets {
    /// Binds DNS at `dns` (UDP and TCP on one port, also where that is 0) with `dns_threads` workers, and HTTP at `http`.
    ///
    /// # Errors
    /// Whatever the system says, usually that a port is taken.
    pub fn bind(dns: SocketAddr, http: SocketAddr, dns_threads: usize) -> io::Result<Self> {
        let (first, tcp) = udp_and_tcp(dns)?;
        let dns = tcp.local_addr()?;
        let mut udp = vec![first];
        for _ in 1..dns_threads {
            udp.push(shared_udp(dns)?);
        }
        Ok(Self { udp, tcp, http: TcpListener::bind(http)? })
    }
}

/// Binds one port for both. Where the system chooses it, it chooses for UDP, and somebody may have it for TCP: then the
/// next choice is tried.
fn udp_and_tcp(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut tries = if address.port() == 0 { 32 } else { 1 };
    loop {
        let udp = shared_udp(address)?;
        match TcpListener::bind(udp.local_addr()?) {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 1 => tries -= 1,
            Err(error) => return Err(error),
        }
    }
}

/// SO_REUSEPORT spreads clients over the sockets. Set on every one, or the second cannot be bound.
fn shared_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// A router that is ready to serve.
#[derive(Debug)]
pub struct Router {
    control: Arc<Control>,
    sockets: Sockets,
    connect: BoxConnect,
    probe: ProbeOptions,
    peers: Vec<Peer>,
    program: Option<Program>,
}

impl Router {
    /// Checks the config and takes the sockets. `connect` is what probes are sent and peers are told with.
    ///
    /// # Errors
    /// [`BuildError`] where a name cannot be.
    pub fn build<C>(config: Config, sockets: Sockets, connect: C) -> Result<(Self, Handle), BuildError>
    where
        C: Service<Uri> + Clone + Send + Sync + 'static,
        C::Response: Read + Write + Send + Unpin + 'static,
        C::Error: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
        C::Future: Send + 'static,
    {
        let probe = config.routing.probe.clone();
        let peers = config.peers.clone();
        let program = config.program.clone();
        let control = Arc::new(Control::build(config)?);
        let handle = Handle { control: Arc::clone(&control) };
        Ok((Self { control, sockets, connect: boxed(connect), probe, peers, program }, handle))
    }

    /// Where DNS is answered, over UDP and TCP.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn dns_address(&self) -> io::Result<SocketAddr> {
        self.sockets.tcp.local_addr()
    }

    /// Where HTTP routing is answered.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn http_address(&self) -> io::Result<SocketAddr> {
        self.sockets.http.local_addr()
    }

    /// Serves until `stop`, then finishes what it is at within the drain grace.
    ///
    /// # Errors
    /// Where a socket cannot be used, before anything is served.
    pub async fn serve(self, stop: CancellationToken) -> Result<(), BuildError> {
        let Self { control, sockets, connect, probe, peers, program } = self;
        // Stops the workers also where this future is dropped, or fails half way.
        let stop = stop.child_token();
        let guard = stop.clone().drop_guard();
        let listener = |listener: TcpListener| {
            listener.set_nonblocking(true)?;
            tokio::net::TcpListener::from_std(listener)
        };
        let (tcp, http) = (listener(sockets.tcp)?, listener(sockets.http)?);
        let (mut workers, count) = (vec![], sockets.udp.len());
        for socket in sockets.udp {
            workers.push(udp::spawn(Arc::clone(&control), socket, count, stop.clone())?);
        }
        if let Some(program) = program {
            workers.push(program::spawn(Arc::clone(&control), program, stop.clone())?);
        }
        tokio::join!(
            prober::run(Arc::clone(&control), connect.clone(), probe, stop.clone()),
            gossip::run(Arc::clone(&control), connect, peers, stop.clone()),
            tcp::run(Arc::clone(&control), tcp, stop.clone()),
            http_routing::run(Arc::clone(&control), http, stop.clone()),
        );
        drop(guard);
        // They look at `stop` ten times a second; waiting for them must not block the runtime.
        let joined = tokio::task::spawn_blocking(move || workers.into_iter().all(|worker| worker.join().is_ok())).await;
        if !joined.unwrap_or(false) {
            tracing::error!("a worker ended before its time");
        }
        Ok(())
    }
}
