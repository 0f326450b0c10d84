//! A small world: places, a network without distance, a scripted router and scripted edges.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use data_encoding::BASE64;
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, ResponseCode},
    rr::{
        Name, RData, Record,
        rdata::{
            A, SOA,
            opt::{ClientSubnet, EdnsCode, EdnsOption},
        },
    },
};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, ReadBuf},
    net::{TcpListener, TcpSocket, TcpStream, UdpSocket},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use viewer::{BoxFuture, BoxIo, Config, Datagrams, Handle, Net, Places, RouterAddresses, Source, Standing, Viewer};
use world::{SiteId, UnknownPlace};

/// Longer than anything here takes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds.
pub(crate) async fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let waited = timeout(DEADLINE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

pub(crate) struct TestPlaces;

impl Places for TestPlaces {
    fn standing(&self, place: &str) -> Result<Standing, UnknownPlace> {
        let block = match place.to_ascii_lowercase().as_str() {
            "tokyo" => 81,
            "nairobi" => 41,
            "frankfurt" => 7,
            _ => return Err(UnknownPlace { name: place.into(), suggestions: vec!["tokyo".into()] }),
        };
        Ok(Standing {
            place: place.to_ascii_lowercase(),
            site: SiteId::new(place),
            network: format!("198.18.{block}.0/24").parse().unwrap(),
            viewer: Ipv4Addr::new(198, 18, block, 10),
            resolver: Ipv4Addr::new(198, 18, block, 53),
        })
    }
}

/// Loopback without distance, on which single addresses can be made silent.
#[derive(Default)]
pub(crate) struct TestNet {
    pub(crate) silent: Mutex<HashSet<SocketAddr>>,
    pub(crate) crossings: AtomicUsize,
}

impl Net for TestNet {
    fn connect(&self, from: Source, to: SocketAddr) -> BoxFuture<'static, io::Result<BoxIo>> {
        let silent = self.silent.lock().unwrap().contains(&to);
        Box::pin(async move {
            if silent {
                std::future::pending::<()>().await;
            }
            let socket = TcpSocket::new_v4()?;
            socket.bind((from.address, 0).into())?;
            Ok(Box::new(socket.connect(to).await?) as BoxIo)
        })
    }

    fn open_datagrams(&self, from: Source, to: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Datagrams>>> {
        Box::pin(async move {
            let socket = std::net::UdpSocket::bind((from.address, 0))?;
            socket.connect(to)?;
            socket.set_nonblocking(true)?;
            let receives = UdpSocket::from_std(socket.try_clone()?)?;
            Ok(Box::new(Udp { sends: socket, receives }) as Box<dyn Datagrams>)
        })
    }

    fn cross(&self, from: &SiteId, to: &SiteId) -> BoxFuture<'static, ()> {
        self.crossings.fetch_add(usize::from(from != to), Ordering::SeqCst);
        Box::pin(async {})
    }

    fn wait_until(&self, at: std::time::Instant) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep_until(at.into()))
    }
}

/// One socket.
struct Udp {
    sends: std::net::UdpSocket,
    receives: UdpSocket,
}

impl Datagrams for Udp {
    fn send(&self, datagram: &[u8]) -> io::Result<()> {
        self.sends.send(datagram).map(drop)
    }

    fn poll_recv(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(self.receives.poll_recv(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

/// What a scripted router does; changed while it serves.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) names: HashMap<String, Vec<Ipv4Addr>>,
    pub(crate) ttl_s: u32,
    pub(crate) scope: u8,
    /// Datagrams that it will not answer.
    pub(crate) ignore: usize,
    /// Answers over UDP are cut.
    pub(crate) truncate: bool,
    /// It fails every question.
    pub(crate) servfail: bool,
    /// What it was asked: the bytes, from whom, and whether over TCP.
    pub(crate) asked: Vec<(Vec<u8>, SocketAddr, bool)>,
}

/// A scripted router: DNS on UDP and TCP, and an HTTP port that takes beacons.
pub(crate) struct TestRouter {
    pub(crate) script: Arc<Mutex<Script>>,
    pub(crate) beacons: Arc<Mutex<Vec<serde_json::Value>>>,
    pub(crate) addresses: RouterAddresses,
    _tasks: JoinSet<()>,
}

impl TestRouter {
    pub(crate) async fn start() -> Self {
        let (udp, tcp) = udp_and_tcp().await;
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = RouterAddresses { dns: udp.local_addr().unwrap(), http: http.local_addr().unwrap() };
        let script = Arc::new(Mutex::new(Script { ttl_s: 60, scope: 24, ..Script::default() }));
        let beacons = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&script);
        tasks.spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let (length, peer) = udp.recv_from(&mut buffer).await.unwrap();
                let answer = answer(&shared, &buffer[..length], peer, false);
                if let Some(answer) = answer {
                    udp.send_to(&answer, peer).await.unwrap();
                }
            }
        });
        let shared = Arc::clone(&script);
        tasks.spawn(async move {
            loop {
                let (mut stream, peer) = tcp.accept().await.unwrap();
                let length = stream.read_u16().await.unwrap();
                let mut question = vec![0; usize::from(length)];
                stream.read_exact(&mut question).await.unwrap();
                if let Some(answer) = answer(&shared, &question, peer, true) {
                    stream.write_u16(answer.len() as u16).await.unwrap();
                    stream.write_all(&answer).await.unwrap();
                }
            }
        });
        let shared = Arc::clone(&beacons);
        tasks.spawn(serve_http(http, move |request: Request<Incoming>| {
            let beacons = Arc::clone(&shared);
            async move {
                assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/beacon"));
                let body = request.into_body().collect().await.unwrap().to_bytes();
                beacons.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
                Response::builder().status(204).body(text("")).unwrap()
            }
        }));
        Self { script, beacons, addresses, _tasks: tasks }
    }

    pub(crate) fn set(&self, name: &str, addresses: &[[u8; 4]]) {
        let addresses = addresses.iter().map(|&address| address.into()).collect();
        self.script.lock().unwrap().names.insert(name.to_ascii_lowercase(), addresses);
    }

    pub(crate) fn asked(&self) -> usize {
        self.script.lock().unwrap().asked.len()
    }
}

async fn udp_and_tcp() -> (UdpSocket, TcpListener) {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
}

fn answer(script: &Mutex<Script>, question: &[u8], peer: SocketAddr, tcp: bool) -> Option<Vec<u8>> {
    let mut script = script.lock().unwrap();
    script.asked.push((question.to_vec(), peer, tcp));
    if script.ignore > 0 {
        script.ignore -= 1;
        return None;
    }
    let question = Message::from_vec(question).unwrap();
    let mut answer = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
    answer.metadata.authoritative = true;
    let asked = question.queries[0].clone();
    let name = asked.name().to_string().trim_end_matches('.').to_ascii_lowercase();
    answer.add_query(asked.clone());
    if let Some(EdnsOption::Subnet(subnet)) = question.edns.as_ref().and_then(|edns| edns.option(EdnsCode::Subnet)) {
        let mut edns = Edns::new();
        let echo = ClientSubnet::new(subnet.addr(), subnet.source_prefix(), script.scope);
        edns.options_mut().insert(EdnsOption::Subnet(echo));
        answer.set_edns(edns);
    }
    if script.servfail {
        answer.metadata.response_code = ResponseCode::ServFail;
    } else if script.truncate && !tcp {
        answer.metadata.truncation = true;
    } else if let Some(addresses) = script.names.get(&name) {
        for address in addresses {
            let data = RData::A(A(*address));
            answer.add_answer(Record::from_rdata(asked.name().clone(), script.ttl_s, data));
        }
    } else {
        answer.metadata.response_code = ResponseCode::NXDomain;
        let name = |text| Name::from_ascii(text).unwrap();
        let soa = SOA::new(name("ns.demo.test."), name("root.demo.test."), 1, 60, 60, 60, script.ttl_s);
        answer.add_authority(Record::from_rdata(name("demo.test."), script.ttl_s, RData::SOA(soa)));
    }
    Some(answer.to_vec().unwrap())
}

pub(crate) type Body = BoxBody<Bytes, hyper::Error>;

pub(crate) fn text(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}

/// Serves HTTP/1.1 with upgrades until the task is dropped, and every connection with it.
pub(crate) async fn serve_http<F, R>(listener: TcpListener, serve: F)
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let serve = serve.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let response = serve(request);
                async move { Ok::<_, Infallible>(response.await) }
            });
            let builder = hyper::server::conn::http1::Builder::new();
            let _ = builder.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
        });
    }
}

/// Edges at 127.77.0.1, 127.77.0.2 and so on, on one port.
pub(crate) struct TestEdges {
    pub(crate) port: u16,
    pub(crate) tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl TestEdges {
    /// `count` edges; `serve` is told the number of the edge, from 1.
    pub(crate) async fn start<F, R>(count: u8, serve: F) -> Self
    where
        F: Fn(u8, Request<Incoming>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send + 'static,
    {
        let listeners = 'port: loop {
            let first = TcpListener::bind("127.77.0.1:0").await.unwrap();
            let port = first.local_addr().unwrap().port();
            let mut listeners = vec![first];
            for number in 2..=count {
                match TcpListener::bind((Ipv4Addr::new(127, 77, 0, number), port)).await {
                    Ok(listener) => listeners.push(listener),
                    Err(_) => continue 'port,
                }
            }
            break listeners;
        };
        let port = listeners[0].local_addr().unwrap().port();
        let tasks = (1..).zip(listeners).map(|(number, listener)| {
            let serve = serve.clone();
            tokio::spawn(serve_http(listener, move |request| serve(number, request)))
        });
        Self { port, tasks: tasks.collect() }
    }

    /// Edges that answer with their number.
    pub(crate) async fn numbered(count: u8) -> Self {
        Self::start(count, |number, request| async move {
            let _ = request.into_body().collect().await;
            Response::new(text(number.to_string()))
        })
        .await
    }

    /// Ends edge `number` and its connections.
    pub(crate) async fn kill(&mut self, number: u8) {
        let task = &mut self.tasks[usize::from(number) - 1];
        task.abort();
        let _ = task.await;
    }
}

/// A viewer node that serves.
pub(crate) struct TestViewer {
    pub(crate) handle: Handle,
    pub(crate) net: Arc<TestNet>,
    pub(crate) stop: CancellationToken,
}

impl TestViewer {
    pub(crate) fn start(edges_port: u16, routers: &[&TestRouter], change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::with_default_ports("tokyo");
        config.edge_http_port = edges_port;
        config.edge_https_port = Some(edges_port);
        config.routers = routers.iter().map(|router| router.addresses).collect();
        change(&mut config);
        let net = Arc::new(TestNet::default());
        let network: Arc<dyn Net> = Arc::<TestNet>::clone(&net);
        let (handle, stop) = serve(config, network);
        Self { handle, net, stop }
    }

    /// A viewer node whose network is somebody else's.
    pub(crate) fn start_on(network: Arc<dyn Net>, edges_port: u16, router: &TestRouter) -> Self {
        let mut config = Config::with_default_ports("tokyo");
        config.edge_http_port = edges_port;
        config.routers = vec![router.addresses];
        let (handle, stop) = serve(config, network);
        Self { handle, net: Arc::default(), stop }
    }

    /// A client connection to the proxy.
    pub(crate) async fn client(&self) -> Client {
        let stream = TcpStream::connect(self.handle.address()).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(async move {
            let _ = connection.with_upgrades().await;
        });
        Client(sender)
    }

    /// One GET on a connection of its own: status and body.
    pub(crate) async fn fetch(&self, user: &str, url: &str) -> (u16, String) {
        self.client().await.fetch(user, url).await
    }
}

fn serve(config: Config, network: Arc<dyn Net>) -> (Handle, CancellationToken) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (viewer, handle) = Viewer::build(config, listener, Arc::new(TestPlaces), network).unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(viewer.serve(stop.clone()));
    (handle, stop)
}

impl Drop for TestViewer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A client connection to the proxy.
pub(crate) struct Client(hyper::client::conn::http1::SendRequest<Body>);

impl Client {
    pub(crate) async fn send(&mut self, request: Request<Body>) -> Response<Incoming> {
        self.0.ready().await.unwrap();
        timeout(DEADLINE, self.0.send_request(request)).await.unwrap().unwrap()
    }

    pub(crate) async fn fetch(&mut self, user: &str, url: &str) -> (u16, String) {
        let response = self.send(get(user, url)).await;
        let status = response.status().as_u16();
        let body = timeout(DEADLINE, response.into_body().collect()).await.unwrap().unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }
}

pub(crate) fn get(user: &str, url: &str) -> Request<Body> {
    request("GET", user, url, text(""))
}

pub(crate) fn request(method: &str, user: &str, url: &str, body: Body) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(url);
    if let Some(host) = url.strip_prefix("http://").and_then(|rest| rest.split('/').next()) {
        request = request.header("host", host);
    }
    if !user.is_empty() {
        let credentials = BASE64.encode(format!("{user}:").as_bytes());
        request = request.header("proxy-authorization", format!("Basic {credentials}"));
    }
    request.body(body).unwrap()
}
