//! The generators, and what they and the kernel say about a server.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::{
    handshakes,
    peers::Kind,
    process::{Server, generate},
    signed,
};

/// The host that is asked for.
pub(crate) const HOST: &str = "www.demo.test";

/// Who asks, for what, and how many at once.
pub(crate) struct Load {
    generator: Generator,
    path: &'static str,
    connections: u32,
    https: bool,
}

enum Generator {
    Wrk,
    /// Every request for another path.
    WrkMisses,
    H2load {
        streams: u32,
    },
    Handshakes,
}

impl Load {
    pub(crate) const fn wrk(path: &'static str, connections: u32) -> Self {
        Self { generator: Generator::Wrk, path, connections, https: false }
    }

    pub(crate) const fn misses(connections: u32) -> Self {
        Self { generator: Generator::WrkMisses, path: "/1k", connections, https: false }
    }

    pub(crate) const fn h2load(path: &'static str, connections: u32, streams: u32) -> Self {
        Self { generator: Generator::H2load { streams }, path, connections, https: false }
    }

    /// Handshakes and nothing else.
    pub(crate) const fn handshakes(connections: u32) -> Self {
        Self { generator: Generator::Handshakes, path: "", connections, https: true }
    }

    /// The same by HTTPS.
    pub(crate) const fn by_https(self) -> Self {
        Self { https: true, ..self }
    }

    /// What is asked for of a server.
    fn target(&self, kind: Kind) -> String {
        if kind.is_signed() { signed::target(self.path) } else { self.path.to_owned() }
    }
}

/// What one round said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) per_second: f64,
    pub(crate) cpu_micros: f64,
    pub(crate) p50_micros: Option<f64>,
    pub(crate) p99_micros: Option<f64>,
}

impl Figures {
    /// Of each figure the median.
    pub(crate) fn median(all: &[Self]) -> Option<Self> {
        let middle = |of: fn(&Self) -> Option<f64>| {
            let mut values: Vec<f64> = all.iter().filter_map(of).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied()
        };
        Some(Self {
            per_second: middle(|one| Some(one.per_second))?,
            cpu_micros: middle(|one| Some(one.cpu_micros))?,
            p50_micros: middle(|one| one.p50_micros),
            p99_micros: middle(|one| one.p99_micros),
        })
    }
}

/// One round; `None` where the generator is not installed.
pub(crate) fn measure(load: &Load, kind: Kind, server: &Server, span: Duration) -> Option<Figures> {
    if matches!(load.generator, Generator::Handshakes) {
        return Some(measure_handshakes(load, server, span));
    }
    let (address, seconds) = (server.address, span.as_secs());
    let scheme = if load.https { "https" } else { "http" };
    let (url, host) = (format!("{scheme}://{address}{}", load.target(kind)), format!("Host: {HOST}"));
    let (connections, duration) = (load.connections.to_string(), format!("{seconds}s"));
    let script = tempfile::Builder::new().suffix(".lua").tempfile().ok()?;
    let script = script.path().to_str()?;
    let streams;
    let command: Vec<&str> = match load.generator {
        Generator::Wrk => vec!["wrk", "-t1", "-c", &connections, "-d", &duration, "--latency", "-H", &host, &url],
        Generator::WrkMisses => {
            std::fs::write(script, miss_script()).ok()?;
            let common = ["wrk", "-t1", "-c", &connections, "-d", &duration, "--latency"];
            common.into_iter().chain(["-H", host.as_str(), "-s", script, &url]).collect()
        }
        Generator::H2load { streams: count } => {
            streams = count.to_string();
            let authority = ["h2load", "-t1", "-c", &connections, "-m", &streams, "-D", &duration];
            authority.into_iter().chain(["-H", ":authority: www.demo.test", url.as_str()]).collect()
        }
        Generator::Handshakes => return None,
    };
    // The first request fetches; what a server does once falls outside.
    let _ = response_fields(server, load, kind);
    let before = server.cpu();
    let said = generate(&command)?;
    let cpu = server.cpu().saturating_sub(before);
    let requests = match load.generator {
        Generator::H2load { .. } => number_before(&said, " succeeded,"),
        _ => number_before(&said, " requests in "),
    }?;
    assert!(!said.contains("Non-2xx"), "{said}");
    Some(Figures {
        per_second: requests / seconds as f64,
        cpu_micros: cpu.as_secs_f64() * 1e6 / requests,
        p50_micros: percentile(&said, "50%"),
        p99_micros: percentile(&said, "99%"),
    })
}

fn measure_handshakes(load: &Load, server: &Server, span: Duration) -> Figures {
    let before = server.cpu();
    let began = Instant::now();
    let done = handshakes::run(server.address, load.connections, span);
    let took = began.elapsed();
    let cpu = server.cpu().saturating_sub(before);
    let (per_second, cpu_micros) = (done / took.as_secs_f64(), cpu.as_secs_f64() * 1e6 / done);
    Figures { per_second, cpu_micros, p50_micros: None, p99_micros: None }
}

/// How many fields a hit has, read by hand; `None` where that is not text.
pub(crate) fn response_fields(server: &Server, load: &Load, kind: Kind) -> Option<usize> {
    if load.https || matches!(load.generator, Generator::H2load { .. }) {
        return None;
    }
    // The first response comes from the origin.
    let target = load.target(kind);
    let _ = response_head(server, &target);
    let head = response_head(server, &target).unwrap_or_else(|error| panic!("{}: {error}", server.address));
    assert!(head.first().is_some_and(|line| line.starts_with("HTTP/1.1 200")), "{head:?}");
    Some(head.len() - 1)
}

fn response_head(server: &Server, target: &str) -> std::io::Result<Vec<String>> {
    let mut stream = TcpStream::connect(server.address)?;
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")?;
    let lines = BufReader::new(stream).split(b'\n').map_while(Result::ok);
    Ok(lines
        .map(|line| String::from_utf8_lossy(line.trim_ascii()).into_owned())
        .take_while(|line| !line.is_empty())
        .collect())
}

/// Paths that nobody has asked for, not even in the round before.
fn miss_script() -> String {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
    format!("local n = 0\nrequest = function()\n  n = n + 1\n  return wrk.format(nil, \"/1k/{since}/\" .. n)\nend\n")
}

/// The number that stands before `mark`.
fn number_before(text: &str, mark: &str) -> Option<f64> {
    let before = text.get(..text.find(mark)?)?;
    before.rsplit(|char: char| !char.is_ascii_digit()).next()?.parse().ok()
}

/// wrk's line for a percentile, in microseconds.
fn percentile(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().map(str::trim).find_map(|line| line.strip_prefix(name))?;
    let unit = line.trim().find(|char: char| char.is_ascii_alphabetic())?;
    let (number, unit) = line.trim().split_at(unit);
    let scale = match unit {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|number| number * scale)
}
