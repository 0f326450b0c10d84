//! What an object costs in memory, and what the store counts for it: of 1 KiB, of 32 KiB, and ranges of 4 KiB.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use crate::{
    load::HOST,
    peers::{self, Kind},
};

/// What fills the store.
struct Fill {
    title: &'static str,
    /// These come first: what a node needs once is no object's.
    warm_up: u32,
    objects: u32,
    /// Path and fields of a request.
    request: fn(u32) -> (String, String),
    body_bytes: usize,
}

const FILLS: [Fill; 3] = [
    Fill {
        title: "1 KiB",
        warm_up: 2_000,
        objects: 100_000,
        request: |number| (format!("/1k/{number}"), String::new()),
        body_bytes: 1 << 10,
    },
    Fill {
        title: "32 KiB",
        warm_up: 500,
        objects: 8_000,
        request: |number| (format!("/32k/{number}"), String::new()),
        body_bytes: 32 << 10,
    },
    Fill {
        title: "parts of 4 KiB, 8 of each",
        warm_up: 800,
        objects: 40_000,
        request: |number| {
            let first = number % 8 * 10_000;
            (format!("/1m/{}", number / 8), format!("Range: bytes={first}-{}\r\n", first + 4_095))
        },
        body_bytes: 4 << 10,
    },
];

/// Fills an edge each time, and prints what that cost.
pub(crate) fn measure(origin: SocketAddr) {
    println!(
        "\nMemory per object\n{:<28} {:>9} {:>9} {:>9} {:>8}",
        "OBJECTS", "NUMBER", "RESIDENT", "COUNTED", "RATIO"
    );
    for Fill { title, warm_up, objects, request, body_bytes } in FILLS {
        let Some(mut server) = peers::start(Kind::Edge, origin) else { return println!("the edge does not start") };
        let mut stream = TcpStream::connect(server.address).expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        let mut fill = |numbers: std::ops::Range<u32>| {
            for number in numbers {
                ask(&mut stream, &request(number), body_bytes).expect("it answers");
            }
            [server.resident_bytes(), server.counted_bytes()]
        };
        let before = fill(0..warm_up);
        let after = fill(warm_up..warm_up + objects);
        let [resident, counted] = [0, 1].map(|which| (after[which] - before[which]) / u64::from(objects));
        println!("{title:<28} {objects:>9} {resident:>9} {counted:>9} {:>8.3}", resident as f64 / counted as f64);
    }
}

/// One request, and its response to the last byte.
fn ask(stream: &mut TcpStream, (path, fields): &(String, String), body_bytes: usize) -> std::io::Result<()> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n")?;
    let (mut got, mut block) = (Vec::new(), [0; 8192]);
    loop {
        let read = stream.read(&mut block)?;
        got.extend_from_slice(block.get(..read).unwrap_or_default());
        let end = got.windows(4).position(|four| four == b"\r\n\r\n");
        if read == 0 || end.is_some_and(|end| got.len() >= end + 4 + body_bytes) {
            assert!(got.starts_with(b"HTTP/1.1 20"), "{}", String::from_utf8_lossy(&got));
            return Ok(());
        }
    }
}
