//! A node on real sockets, an origin that does exactly what a script says, and a client that sends exact bytes.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cdn_core::{
    Counter, NodeId, Role,
    distribution::{
        AllowedMethods, Behavior, Distribution, DistributionSpec, Origin, OriginGroup, OriginRequestPolicy, Selection,
        TransportFailover,
    },
    eviction::EvictionPolicy,
    policies,
    store::admission::AdmissionPolicy,
};
use edge_node::{Compression, Config, Edge, Handle, Limits, Parent, Tier};
use http::StatusCode;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

/// Nothing in these tests takes this long unless it is broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for a thing, never for a while.
pub(crate) async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "still waiting: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// What a scripted origin does next.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Writes these bytes.
    Send(Vec<u8>),
    /// Waits until the gate is opened.
    Gate(Gate),
    /// Closes the connection.
    Close,
    /// Says nothing for ever.
    Silence,
}

/// Opened once, by the test.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    async fn wait(&self) {
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

/// A 200 with these header lines (each with its CRLF) and this body.
pub(crate) fn ok(headers: &str, body: &str) -> Act {
    Act::Send(format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

/// A head and nothing else.
pub(crate) fn status(status: u16, headers: &str) -> Act {
    Act::Send(format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: 0\r\n\r\n").into_bytes())
}

/// An origin that reads heads and follows a script.
#[derive(Clone)]
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
}

impl Scripted {
    /// `script` gets the head of each request and its number, and says what to do. A body with a `Content-Length` is
    /// read first and appended to the head.
    pub(crate) async fn start(script: impl Fn(&str, usize) -> Vec<Act> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let origin = Self { address, heads: Arc::default(), connections: Arc::default(), closed: Arc::default() };
        let (this, script) = (origin.clone(), Arc::new(script));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                this.connections.fetch_add(1, Ordering::Relaxed);
                let (this, script) = (this.clone(), Arc::clone(&script));
                tokio::spawn(async move {
                    let closed = Arc::clone(&this.closed);
                    this.converse(stream, script).await;
                    closed.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        origin
    }

    /// Always the same.
    pub(crate) async fn always(acts: Vec<Act>) -> Self {
        Self::start(move |_, _| acts.clone()).await
    }

    /// An address at which nobody listens.
    pub(crate) async fn refusing() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    pub(crate) fn requests(&self) -> usize {
        self.heads.lock().unwrap().len()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Connections that have ended.
    pub(crate) fn closed(&self) -> usize {
        self.closed.load(Ordering::Relaxed)
    }

    /// The head of the request of this number.
    pub(crate) fn head(&self, number: usize) -> String {
        self.heads.lock().unwrap()[number].clone()
    }

    async fn converse(self, mut stream: TcpStream, script: Arc<impl Fn(&str, usize) -> Vec<Act>>) {
        let mut buffer = Vec::new();
        loop {
            let Some(mut head) = read_head(&mut stream, &mut buffer).await else { return };
            let length = line(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            while buffer.len() < length {
                if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                    return;
                }
            }
            head.push_str(&String::from_utf8_lossy(&buffer[..length]));
            buffer.drain(..length);
            let number = {
                let mut heads = self.heads.lock().unwrap();
                heads.push(head.clone());
                heads.len() - 1
            };
            for act in script(&head, number) {
                match act {
                    Act::Send(bytes) => {
                        if stream.write_all(&bytes).await.is_err() {
                            return;
                        }
                    }
                    Act::Gate(gate) => gate.wait().await,
                    Act::Close => return,
                    Act::Silence => {
                        let mut sink = [0; 1024];
                        while stream.read(&mut sink).await.unwrap_or(0) > 0 {}
                        return;
                    }
                }
            }
        }
    }
}

/// The value of a header line, whatever its case.
pub(crate) fn line(head: &str, name: &str) -> Option<String> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end + 4]).into_owned();
            buffer.drain(..end + 4);
            return Some(head);
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// A response as a client read it.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> String {
        line(&self.head, name).unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn x_cache(&self) -> String {
        self.header("x-cache")
    }

    pub(crate) fn reason(&self) -> String {
        self.header("x-iso-reason")
    }
}

/// A client connection that stays open.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), buffer: Vec::new() }
    }

    /// One on a connection that is there.
    pub(crate) const fn on(stream: TcpStream) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// One that holds little of what it does not read.
    pub(crate) async fn narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        Self { stream: socket.connect(address).await.unwrap(), buffer: Vec::new() }
    }

    pub(crate) async fn send(&mut self, raw: impl AsRef<[u8]>) {
        self.stream.write_all(raw.as_ref()).await.unwrap();
    }

    /// The next head.
    pub(crate) async fn head(&mut self) -> String {
        let head = tokio::time::timeout(DEADLINE, read_head(&mut self.stream, &mut self.buffer)).await;
        head.expect("a head in time").expect("a head before the end")
    }

    /// At least `len` more bytes of what follows the head.
    pub(crate) async fn bytes(&mut self, len: usize) -> Vec<u8> {
        let read = async {
            while self.buffer.len() < len {
                if self.stream.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                    break;
                }
            }
        };
        tokio::time::timeout(DEADLINE, read).await.expect("bytes in time");
        let len = len.min(self.buffer.len());
        self.buffer.drain(..len).collect()
    }

    /// The next response, its body read as framed (`head_only`: none).
    pub(crate) async fn reply(&mut self, head_only: bool) -> Reply {
        let head = self.head().await;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = if head_only || matches!(status, 204 | 304) {
            Vec::new()
        } else if line(&head, "transfer-encoding").is_some() {
            self.chunked().await
        } else {
            let length = line(&head, "content-length").map_or(usize::MAX, |length| length.parse().unwrap());
            self.bytes(length).await
        };
        Reply { status, head, body }
    }

    async fn chunked(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let chunk = self.chunk().await;
            if chunk.is_empty() {
                return body;
            }
            body.extend_from_slice(&chunk);
        }
    }

    /// The next chunk of a chunked body; empty at its end, also at an early one.
    pub(crate) async fn chunk(&mut self) -> Vec<u8> {
        let mut size = Vec::new();
        while !size.ends_with(b"\r\n") {
            let byte = self.bytes(1).await;
            if byte.is_empty() {
                return Vec::new();
            }
            size.extend(byte);
        }
        let size = usize::from_str_radix(str::from_utf8(&size).unwrap().trim(), 16).unwrap();
        let mut chunk = self.bytes(size + 2).await;
        if chunk.len() < size + 2 {
            return Vec::new();
        }
        chunk.truncate(size);
        chunk
    }

    /// Whether the node has closed its side.
    pub(crate) async fn is_closed(&mut self) -> bool {
        let mut rest = [0; 256];
        match tokio::time::timeout(DEADLINE, self.stream.read(&mut rest)).await {
            Ok(Ok(0) | Err(_)) => true,
            Ok(Ok(_)) => false,
            Err(_) => panic!("neither bytes nor an end"),
        }
    }
}

/// One exchange on a connection of its own.
pub(crate) async fn exchange(address: SocketAddr, raw: impl AsRef<[u8]>) -> Reply {
    let mut client = Client::connect(address).await;
    client.send(raw.as_ref()).await;
    let head_only = raw.as_ref().starts_with(b"HEAD ");
    client.reply(head_only).await
}

/// `GET path`, with more header lines (each with its CRLF).
pub(crate) async fn get_with(address: SocketAddr, path: &str, headers: &str) -> Reply {
    exchange(address, format!("GET {path} HTTP/1.1\r\nHost: www.demo.test\r\n{headers}\r\n")).await
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Reply {
    get_with(address, path, "").await
}

/// A node that runs until it is dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) handle: Handle,
    pub(crate) stop: CancellationToken,
    pub(crate) ended: Option<tokio::task::JoinHandle<std::io::Result<()>>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Running {
    pub(crate) fn count(&self, counter: Counter) -> u64 {
        self.handle.counters().value(counter)
    }
}

/// Builds nodes: by default one distribution `demo` with one origin `app` and the policy UseOriginCacheControlHeaders
/// plus all query parameters.
pub(crate) struct Setup {
    pub(crate) spec: DistributionSpec,
    pub(crate) config: Config,
}

/// An origin that is patient for a second at most.
pub(crate) fn quick(domain: &str) -> Origin {
    Origin {
        connection_attempts: 1,
        connection_timeout: Duration::from_secs(1),
        response_timeout: Duration::from_secs(1),
        shield: false,
        ..Origin::new(domain)
    }
}

impl Setup {
    pub(crate) fn new(app: SocketAddr) -> Self {
        let cache_policy = policies::cache_policy("UseOriginCacheControlHeaders-QueryStrings").unwrap();
        let behavior = Behavior {
            allowed_methods: AllowedMethods::All,
            origin_request_policy: OriginRequestPolicy {
                name: "test".into(),
                headers: Selection::Only(vec!["x-forward".into()]),
                ..OriginRequestPolicy::default()
            },
            ..Behavior::new("app", cache_policy)
        };
        let origins = BTreeMap::from([("app".to_owned(), quick("app.test"))]);
        let spec = DistributionSpec {
            aliases: vec!["www.demo.test".into()],
            default_root_object: "index.html".into(),
            ..DistributionSpec::new("demo", origins, behavior)
        };
        let config = Config {
            id: NodeId::new(Role::Edge, "iad"),
            pop: "IAD".parse().unwrap(),
            tier: Tier::Edge,
            distributions: vec![],
            origins: BTreeMap::from([("app".to_owned(), authority(app))]),
            https_origins: BTreeMap::new(),
            parents: vec![],
            cache_bytes_max: 64 << 20,
            object_bytes_max: 1 << 20,
            compression: Compression::default(),
            eviction: EvictionPolicy::default(),
            admission: AdmissionPolicy::default(),
            disk: None,
            https: None,
            plain_http2: false,
            log_style: cdn_core::standard_log::LogStyle::Text,
            realtime_logs: Default::default(),
            limits: Limits { drain_grace: Duration::from_secs(2), ..Limits::default() },
            source_nat: None,
            decision_log: None,
            places: None,
            seed: 7,
        };
        Self { spec, config }
    }

    /// Primary and secondary, which fails over on `codes`.
    pub(crate) fn group(primary: SocketAddr, secondary: SocketAddr, codes: &[u16]) -> Self {
        let mut setup = Self::new(primary);
        setup.config.origins.insert("spare".into(), authority(secondary));
        setup.spec.origins.insert("spare".into(), quick("spare.test"));
        let group = OriginGroup {
            members: ["app".into(), "spare".into()],
            failover_codes: codes.iter().map(|code| StatusCode::from_u16(*code).unwrap()).collect(),
            on_transport_error: TransportFailover::Documented,
        };
        setup.spec.groups.insert("both".into(), group);
        setup.spec.default_behavior.target = "both".into();
        setup
    }

    /// A plain shared cache.
    pub(crate) fn honour_origin(app: SocketAddr) -> Self {
        let mut setup = Self::new(app).policy(policies::HONOUR_ORIGIN);
        let behavior = &mut setup.spec.default_behavior;
        behavior.allowed_methods = AllowedMethods::Any;
        behavior.origin_request_policy = policies::origin_request_policy("AllViewer").unwrap();
        setup
    }

    pub(crate) fn policy(mut self, name: &str) -> Self {
        self.spec.default_behavior.cache_policy = policies::cache_policy(name).unwrap();
        self
    }

    pub(crate) fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.config.limits);
        self
    }

    pub(crate) fn app(mut self, change: impl FnOnce(&mut Origin)) -> Self {
        change(self.spec.origins.get_mut("app").unwrap());
        self
    }

    /// The same, with another node in front that asks this one as its shield.
    pub(crate) async fn start_with_shield(mut self) -> (Running, Running) {
        for origin in self.spec.origins.values_mut() {
            origin.shield = true;
        }
        let shield = Self {
            spec: self.spec.clone(),
            config: Config { id: NodeId::new(Role::Shield, "iad"), tier: Tier::Shield, ..self.config.clone() },
        };
        let shield = shield.start().await;
        self.config.parents = vec![parent(Tier::Shield, "IAD", shield.address)];
        (self.start().await, shield)
    }

    /// An edge, its regional cache, and the shield behind that, which the edge knows as well.
    pub(crate) async fn start_with_regional(mut self) -> (Running, Running, Running) {
        for origin in self.spec.origins.values_mut() {
            origin.shield = true;
        }
        let inner = |id: NodeId, tier: Tier, parents: Vec<Parent>| Self {
            spec: self.spec.clone(),
            config: Config { id, tier, parents, ..self.config.clone() },
        };
        let shield = inner(NodeId::new(Role::Shield, "iad"), Tier::Shield, vec![]).start().await;
        let behind = parent(Tier::Shield, "IAD", shield.address);
        let regional = inner(NodeId::new(Role::Regional, "fra"), Tier::Regional, vec![behind.clone()]).start().await;
        self.config.parents = vec![parent(Tier::Regional, "FRA", regional.address), behind];
        (self.start().await, regional, shield)
    }

    pub(crate) async fn start(self) -> Running {
        self.start_on(std::net::TcpListener::bind("127.0.0.1:0").unwrap()).await
    }

    pub(crate) async fn start_on(mut self, listener: std::net::TcpListener) -> Running {
        self.config.distributions = vec![Arc::new(Distribution::new(self.spec).unwrap())];
        let address = listener.local_addr().unwrap();
        let (edge, handle) = Edge::build(self.config, vec![listener], edge_node::tcp()).unwrap();
        let stop = CancellationToken::new();
        let ended = Some(tokio::spawn(edge.serve(stop.clone())));
        Running { address, handle, stop, ended }
    }
}

pub(crate) fn parent(tier: Tier, pop: &str, address: SocketAddr) -> Parent {
    Parent { tier, pop: pop.parse().unwrap(), address: authority(address) }
}

pub(crate) fn authority(address: SocketAddr) -> http::uri::Authority {
    address.to_string().parse().unwrap()
}
