//! A small world on loopback: two PoPs, a few client networks, a router, and edges that a test can kill.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use cdn_core::{
    NodeId, Role, SourceNat,
    geo::{GeoPrefix, Place, Point},
    http_version::HttpVersion,
    routing::{EdgeSite, Pop},
};
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query},
    rr::{
        Name, RData, RecordType,
        rdata::opt::{ClientSubnet, EdnsOption},
    },
};
use hyper_util::rt::TokioIo;
use router::{Config, DistributionNames, Handle, Router, Sockets};
use tokio_util::sync::CancellationToken;
use tower::service_fn;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) handle: Handle,
    pub(crate) dns: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) edges: Vec<Edge>,
    stop: CancellationToken,
    thread: Option<thread::JoinHandle<()>>,
}

/// Frankfurt and Tokyo, with clients in Berlin (198.18.1.0/24 and .2.0/24) and Osaka (198.18.3.0/24).
pub(crate) fn world() -> World {
    world_with(|_| {})
}

pub(crate) fn world_with(change: impl FnOnce(&mut Config)) -> World {
    let edges = vec![Edge::start(), Edge::start()];
    let zone = "cdn.test".parse().unwrap();
    let mut config = Config::new(NodeId::new(Role::Router, "main"), zone, Ipv4Addr::LOCALHOST);
    config.distributions = vec![DistributionNames {
        id: "demo".into(),
        aliases: vec!["www.demo.test".into(), "*.shop.demo.test".into()],
        http_version: HttpVersion::Http2,
    }];
    let sites = [("FRA", 50.03, 8.57), ("NRT", 35.76, 140.39)];
    config.pops = sites
        .iter()
        .zip(&edges)
        .map(|(&(code, lat, lon), edge)| Pop {
            code: code.parse().unwrap(),
            place: place(code, lat, lon),
            edges: vec![EdgeSite { id: NodeId::new(Role::Edge, code), address: edge.address, address6: None }],
        })
        .collect();
    let nets = [
        ("198.18.1.0/24", "Berlin", 52.52, 13.4),
        ("198.18.2.0/24", "Berlin", 52.52, 13.4),
        ("198.18.3.0/24", "Osaka", 34.69, 135.5),
        ("2001:db8:3::/48", "Osaka", 34.69, 135.5),
    ];
    config.prefixes = nets
        .iter()
        .map(|&(net, label, lat, lon)| GeoPrefix { net: net.parse().unwrap(), place: place(label, lat, lon) })
        .collect();
    config.source_nat =
        Some(SourceNat::new("127.18.0.0/15".parse().unwrap(), "198.18.0.0/15".parse().unwrap()).unwrap());
    config.routing.explore_share = 0.0;
    config.routing.ramp = Duration::ZERO;
    config.routing.probe.interval = Duration::from_millis(100);
    config.routing.probe.retry_interval = Duration::from_millis(10);
    change(&mut config);

    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let sockets = Sockets::bind(any, any, 2).unwrap();
    let connect = service_fn(|uri: ::http::Uri| async move {
        let authority = uri.authority().ok_or(io::ErrorKind::InvalidInput)?.as_str().to_owned();
        tokio::net::TcpStream::connect(authority).await.map(TokioIo::new)
    });
    let (router, handle) = Router::build(config, sockets, connect).unwrap();
    let (dns, http) = (router.dns_address().unwrap(), router.http_address().unwrap());
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let thread = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(router.serve(stopped)).unwrap();
    });
    World { handle, dns, http, edges, stop, thread: Some(thread) }
}

fn place(label: &str, lat_deg: f64, lon_deg: f64) -> Place {
    Place { point: Point::new(lat_deg, lon_deg).unwrap(), country: "".into(), label: label.into() }
}

impl World {
    /// Stops the router, and says how long that took.
    pub(crate) fn stop(&mut self) -> Duration {
        let started = Instant::now();
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        started.elapsed()
    }

    /// Waits until both edges are up.
    pub(crate) fn healthy(self) -> Self {
        wait_until("both edges are up", || self.handle.health().iter().all(|edge| edge.state.is_healthy()));
        self
    }

    /// Sends bytes by UDP from a loopback address and returns the answer's.
    pub(crate) fn udp(&self, from: Ipv4Addr, message: &[u8]) -> Option<Vec<u8>> {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.send_to(message, self.dns).unwrap();
        let mut buffer = [0; 65535];
        let len = socket.recv(&mut buffer).ok()?;
        Some(buffer[..len].to_vec())
    }

    /// Asks by UDP.
    pub(crate) fn ask(&self, message: &Message) -> Message {
        Message::from_vec(&self.udp(Ipv4Addr::LOCALHOST, &message.to_vec().unwrap()).expect("an answer")).unwrap()
    }

    /// Asks all of `messages` on one TCP connection, at once.
    pub(crate) fn ask_tcp(&self, messages: &[Message]) -> Vec<Message> {
        let mut stream = TcpStream::connect(self.dns).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut bytes = vec![];
        for message in messages {
            let message = message.to_vec().unwrap();
            bytes.extend_from_slice(&(message.len() as u16).to_be_bytes());
            bytes.extend_from_slice(&message);
        }
        stream.write_all(&bytes).unwrap();
        let mut answer = || {
            let mut len = [0; 2];
            stream.read_exact(&mut len).unwrap();
            let mut answer = vec![0; usize::from(u16::from_be_bytes(len))];
            stream.read_exact(&mut answer).unwrap();
            Message::from_vec(&answer).unwrap()
        };
        messages.iter().map(|_| answer()).collect()
    }

    /// Sends one HTTP request and returns the whole answer.
    pub(crate) fn http(&self, from: Ipv4Addr, request: &str) -> String {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
        socket.connect(&self.http.into()).unwrap();
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    /// The sum of the values of a family in `/metrics` that have this label's value, whatever the label.
    pub(crate) fn value(&self, family: &str, labelled: &str) -> u64 {
        let (name, labelled) = (format!("iso_{family}{{"), format!("=\"{labelled}\""));
        let text = self.handle.prometheus("node=\"router.main\"");
        let lines = text.lines().filter(|line| line.starts_with(&name) && line.contains(&labelled));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// The last octet of each address in the answer to a client of `subnet`: that of the edge, 1 or 2.
    pub(crate) fn edges_for(&self, subnet: &str) -> Vec<usize> {
        let answer = self.ask(&with_subnet(question("www.demo.test", RecordType::A), subnet));
        let addresses = answer.answers.iter().filter_map(|record| match &record.data {
            RData::A(address) => Some(address.0),
            _ => None,
        });
        addresses.map(|address| self.edges.iter().position(|edge| *edge.address.ip() == address).unwrap()).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub(crate) fn question(name: &str, wanted: RecordType) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    message.add_query(Query::query(name, wanted));
    message.metadata.recursion_desired = true;
    message
}

pub(crate) fn with_edns(mut message: Message) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    message.set_edns(edns);
    message
}

pub(crate) fn with_subnet(message: Message, subnet: &str) -> Message {
    let mut message = with_edns(message);
    let subnet: ClientSubnet = subnet.parse().unwrap();
    message.edns.as_mut().unwrap().options_mut().insert(EdnsOption::Subnet(subnet));
    message
}

/// The subnet that an answer carries.
pub(crate) fn subnet_of(message: &Message) -> Option<ClientSubnet> {
    message.edns.as_ref()?.options().options.iter().find_map(|(_, option)| match option {
        EdnsOption::Subnet(subnet) => Some(*subnet),
        _ => None,
    })
}

pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// An edge that answers its health checks with whatever status the test sets.
pub(crate) struct Edge {
    pub(crate) address: SocketAddrV4,
    pub(crate) status: Arc<AtomicU16>,
    /// Requests that it claims to serve for each probe that it answers.
    pub(crate) requests_per_probe: Arc<AtomicU64>,
    stop: Option<(CancellationToken, thread::JoinHandle<()>)>,
}

/// Each edge of the whole test run has an address of its own.
static NEXT: AtomicU16 = AtomicU16::new(1);

impl Edge {
    fn start() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let [high, low] = number.to_be_bytes();
        let listener = TcpListener::bind((Ipv4Addr::new(127, 78, high, low), 0)).unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else { unreachable!("bound to IPv4") };
        let mut edge =
            Self { address, status: Arc::new(AtomicU16::new(200)), requests_per_probe: Arc::default(), stop: None };
        edge.serve(listener);
        edge
    }

    /// Listens no more and breaks off its connections.
    pub(crate) fn kill(&mut self) {
        if let Some((stop, thread)) = self.stop.take() {
            stop.cancel();
            thread.join().unwrap();
        }
    }

    pub(crate) fn restart(&mut self) {
        let listener = TcpListener::bind(self.address).unwrap();
        self.serve(listener);
    }

    fn serve(&mut self, listener: TcpListener) {
        listener.set_nonblocking(true).unwrap();
        let (stop, status) = (CancellationToken::new(), Arc::clone(&self.status));
        let (per_probe, requests) = (Arc::clone(&self.requests_per_probe), Arc::new(AtomicU64::new(0)));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(stopped.run_until_cancelled(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let status = Arc::clone(&status);
                    let (per_probe, requests) = (Arc::clone(&per_probe), Arc::clone(&requests));
                    let service = hyper::service::service_fn(move |request: ::http::Request<hyper::body::Incoming>| {
                        let status = Arc::clone(&status);
                        let now = per_probe.load(Ordering::Relaxed);
                        let total = now + requests.fetch_add(now, Ordering::Relaxed);
                        async move {
                            assert_eq!(request.uri().path(), "/.iso/health");
                            let mut response = ::http::Response::new("ok\n".to_owned());
                            *response.status_mut() =
                                ::http::StatusCode::from_u16(status.load(Ordering::Relaxed)).unwrap();
                            response.headers_mut().insert("x-iso-requests", total.into());
                            Ok::<_, std::convert::Infallible>(response)
                        }
                    });
                    let connection =
                        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    tokio::spawn(connection);
                }
            }));
        });
        self.stop = Some((stop, thread));
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
