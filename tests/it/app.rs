//! Somebody's own app behind the CDN: everything reaches it, everything comes back, and the group fails over.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Value, json};

use crate::harness::{World, header, resident_bytes};

/// A small HTTP/1.1 server, written here so that nothing of ours takes part in it.
pub(crate) struct App {
    pub(crate) port: u16,
    stopping: Arc<AtomicBool>,
    pub(crate) seen: Arc<Mutex<Vec<Value>>>,
}

impl App {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let stopping = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Vec::new()));
        std::thread::spawn({
            let (stopping, seen) = (Arc::clone(&stopping), Arc::clone(&seen));
            move || {
                for stream in listener.incoming().flatten() {
                    if stopping.load(Ordering::SeqCst) {
                        return;
                    }
                    let (stopping, seen) = (Arc::clone(&stopping), Arc::clone(&seen));
                    std::thread::spawn(move || serve(&stream, &stopping, &seen));
                }
            }
        });
        Self { port, stopping, seen }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes the accept loop, which then lets go of the port.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve(stream: &TcpStream, stopping: &AtomicBool, seen: &Mutex<Vec<Value>>) {
    let mut reader = BufReader::new(stream);
    let mut out = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || stopping.load(Ordering::SeqCst) {
            return;
        }
        let mut words = line.split_whitespace();
        let (method, target) = (words.next().unwrap_or("").to_owned(), words.next().unwrap_or("").to_owned());
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        if headers.get("upgrade").is_some_and(|to| to.eq_ignore_ascii_case("websocket")) {
            echo_websocket(reader, stream, &headers);
            return;
        }
        let mut length = 0_u64;
        let mut digest = 0_u64;
        let mut take = |bytes: &[u8]| {
            length += bytes.len() as u64;
            digest = bytes.iter().fold(digest, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        };
        let mut buffer = vec![0; 64 << 10];
        if let Some(body) = headers.get("content-length").and_then(|text| text.parse::<u64>().ok()) {
            let mut left = body;
            while left > 0 {
                let most = buffer.len().min(usize::try_from(left).unwrap());
                let Ok(read) = reader.read(&mut buffer[..most]) else { return };
                if read == 0 {
                    return;
                }
                take(&buffer[..read]);
                left -= read as u64;
            }
        } else if headers.contains_key("transfer-encoding") {
            loop {
                let mut size = String::new();
                if reader.read_line(&mut size).unwrap_or(0) == 0 {
                    return;
                }
                let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
                let mut chunk = vec![0; size + 2];
                if reader.read_exact(&mut chunk).is_err() {
                    return;
                }
                take(&chunk[..size]);
                if size == 0 {
                    break;
                }
            }
        }
        let facts =
            json!({ "method": method, "target": target, "headers": headers, "length": length, "digest": digest });
        seen.lock().unwrap().push(facts.clone());
        let sent = if let Some(size) =
            target.strip_prefix("/bytes/").and_then(|rest| rest.split('?').next()?.parse::<u64>().ok())
        {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nCache-Control: no-store\r\n\r\n");
            out.write_all(head.as_bytes()).and_then(|()| {
                let mut left = size;
                while left > 0 {
                    let most = buffer.len().min(usize::try_from(left).unwrap());
                    out.write_all(&buffer[..most])?;
                    left -= most as u64;
                }
                Ok(())
            })
        } else {
            let cache = if target.starts_with("/cached") { "max-age=60" } else { "no-store" };
            let body = facts.to_string();
            let body = if method == "HEAD" { "" } else { body.as_str() };
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nCache-Control: {cache}\r\nX-App: yes\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n{body}",
                facts.to_string().len(),
            );
            out.write_all(head.as_bytes())
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Switches protocols and sends back every byte: what passes a tunnel must pass unchanged, whatever it means.
fn echo_websocket(mut reader: BufReader<&TcpStream>, mut out: &TcpStream, headers: &BTreeMap<String, String>) {
    let key = headers.get("sec-websocket-key").cloned().unwrap_or_default();
    let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    if out.write_all(head.as_bytes()).is_err() {
        return;
    }
    let mut socket = tokio_tungstenite::tungstenite::WebSocket::from_raw_socket(
        Both { reader: &mut reader, out },
        tokio_tungstenite::tungstenite::protocol::Role::Server,
        None,
    );
    while let Ok(message) = socket.read() {
        if message.is_text() && socket.send(message).is_err() {
            return;
        }
    }
}

struct Both<'a, 'b> {
    reader: &'a mut BufReader<&'b TcpStream>,
    out: &'a TcpStream,
}

impl std::io::Read for Both<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl std::io::Write for Both<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

fn world_of(app: &App, more: &[&str]) -> World {
    let origin = format!("app={}@us-east-1", app.url());
    let mut args = vec!["--preset", "tiny", "--origin", origin.as_str()];
    args.extend(more);
    World::start(&args)
}

#[test]
fn methods_bodies_headers_cookies_and_queries_reach_the_app() {
    let app = App::start();
    let world = world_of(&app, &[]);
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let mut args =
            vec!["-X", method, "-H", "X-Own: 1", "-H", "Cookie: s=abc; t=d", "-H", "Authorization: Bearer q"];
        if matches!(method, "POST" | "PUT" | "PATCH") {
            args.extend(["--data-binary", "hello=world"]);
        }
        args.push("http://www.demo.test/path/%7Ex?b=2&a=1&b=3");
        let facts: Value = serde_json::from_str(&world.curl("berlin", &args)).unwrap();
        assert_eq!(facts["method"], method);
        assert_eq!(facts["target"], "/path/%7Ex?b=2&a=1&b=3", "{method}");
        let headers = &facts["headers"];
        assert_eq!(headers["x-own"], "1", "{method}: {headers}");
        assert_eq!(headers["authorization"], "Bearer q", "{method}: {headers}");
        let cookie = headers["cookie"].as_str().unwrap();
        assert!(cookie.contains("s=abc") && cookie.contains("t=d"), "{cookie}");
        assert_eq!(headers["host"], format!("127.0.0.1:{}", app.port));
        // A viewer in Berlin has an address of the world.
        let forwarded = headers["x-forwarded-for"].as_str().unwrap();
        assert!(forwarded.starts_with("198.18.") || forwarded.starts_with("198.19."), "{forwarded}");
        assert!(headers["via"].as_str().unwrap().contains("cloudfront"), "{headers}");
        if matches!(method, "POST" | "PUT" | "PATCH") {
            assert_eq!(facts["length"], 11, "{method}");
        }
    }
    let head = world.curl("berlin", &["-I", "http://www.demo.test/"]);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let both = head.lines().filter(|line| line.to_lowercase().starts_with("set-cookie:")).count();
    assert_eq!(both, 2, "{head}");
}

#[test]
fn a_second_request_is_a_hit_and_says_so() {
    let app = App::start();
    let world = world_of(&app, &[]);
    let url = "http://www.demo.test/cached/x";
    let first = world.curl("berlin", &["-i", url]);
    assert_eq!(header(&first, "x-cache"), Some("Miss from cloudfront"), "{first}");
    let second = world.curl("berlin", &["-i", url]);
    assert_eq!(header(&second, "x-cache"), Some("Hit from cloudfront"), "{second}");
    assert!(header(&second, "age").is_some(), "{second}");
    assert!(header(&second, "x-amz-cf-pop").unwrap().starts_with("FRA"), "{second}");
    assert_eq!(header(&second, "x-iso-reason"), Some("hit"), "{second}");
    let asked = app.seen.lock().unwrap().iter().filter(|facts| facts["target"] == "/cached/x").count();
    assert_eq!(asked, 1);
}

#[test]
fn large_uploads_and_downloads_stream_with_bounded_memory() {
    const BYTES: u64 = 256 << 20;
    let app = App::start();
    let world = world_of(&app, &[]);
    let pids: Vec<u64> =
        ["edge.iad", "viewer.proxy"].iter().map(|id| world.node(id)["pid"].as_u64().unwrap()).collect();
    let before: Vec<u64> = pids.iter().map(|pid| resident_bytes(*pid)).collect();
    let url = format!("http://www.demo.test/bytes/{BYTES}");
    let got = world.curl("washington", &["-o", "/dev/null", "-w", "%{size_download} %{http_code}", &url]);
    assert_eq!(got, format!("{BYTES} 200"));
    let file = world.home().join("upload");
    std::fs::File::create(&file).unwrap().set_len(BYTES).unwrap();
    let up = format!("@{}", file.display());
    let got = world.curl("washington", &["-H", "Expect:", "-X", "POST", "-T", &up[1..], "http://www.demo.test/upload"]);
    let facts: Value = serde_json::from_str(&got).unwrap();
    assert_eq!(facts["length"], BYTES, "{facts}");
    for (pid, before) in pids.iter().zip(before) {
        let grown = resident_bytes(*pid).saturating_sub(before);
        assert!(grown < 64 << 20, "process {pid} grew by {grown} bytes while {BYTES} passed twice");
    }
}

/// A WebSocket through an edge to the app, which has said hello.
fn websocket(world: &World) -> tokio_tungstenite::tungstenite::WebSocket<TcpStream> {
    use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};
    let stream = TcpStream::connect(world.address("edge.fra", "http")).unwrap();
    let request = "ws://www.demo.test/chat".into_client_request().unwrap();
    let (mut socket, response) = tokio_tungstenite::tungstenite::client(request, stream).unwrap();
    assert_eq!(response.status(), 101);
    socket.send(Message::text("hello")).unwrap();
    assert_eq!(socket.read().unwrap().to_text().unwrap(), "hello");
    socket
}

#[test]
fn a_websocket_passes() {
    use tokio_tungstenite::tungstenite::Message;
    let app = App::start();
    let world = world_of(&app, &[]);
    let mut socket = websocket(&world);
    for text in ["again", &"x".repeat(100_000)] {
        socket.send(Message::text(text)).unwrap();
        assert_eq!(socket.read().unwrap().to_text().unwrap(), text);
    }
}

#[test]
fn an_open_websocket_does_not_hold_up_the_end_of_a_world() {
    let app = App::start();
    let world = world_of(&app, &[]);
    let socket = websocket(&world);
    let down = world.json(&["down"]);
    // The grace for requests is 5 s; a machine that is busy with other tests may take its time.
    assert!(down["stopped_in_ms"].as_f64().unwrap() < 4_000.0, "{down}");
    drop(socket);
}

#[test]
fn a_directory_stands_in_when_the_app_is_gone_and_refused_is_not_silence() {
    let app = App::start();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("index.html"), "sorry").unwrap();
    let spare = format!("spare={}@eu-west-1", dir.path().display());
    let world = world_of(&app, &["--origin", &spare, "--failover", "app,spare"]);
    let get = || world.curl("berlin", &["-i", "http://www.demo.test/"]);
    assert_eq!(header(&get(), "x-app"), Some("yes"));
    app.stop();
    let sorry = world.until("the directory answers", || Some(get()).filter(|response| response.ends_with("sorry")));
    let timing = header(&sorry, "server-timing").unwrap();
    assert_eq!(timing.matches("app connect refused").count(), 3, "{timing}");
    assert!(timing.contains("spare response 200"), "{timing}");
}

#[test]
fn an_app_that_does_not_run_is_a_warning_and_not_the_end() {
    let world = World::none();
    let origin = "app=http://127.0.0.1:1@us-east-1";
    let output = world.iso(&["up", "-d", "--wait", "--preset", "tiny", "--base-port", "0", "--origin", origin]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("warning: origin app does not answer"), "{said}");
    let response = world.curl("berlin", &["-i", "http://www.demo.test/"]);
    assert!(response.starts_with("HTTP/1.1 502"), "{response}");
    assert_eq!(header(&response, "x-cache"), Some("Error from cloudfront"), "{response}");
}
