//! What an object of 1 KiB costs in memory, among 100,000.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use crate::{
    load::HOST,
    peers::{self, Kind},
};

const OBJECTS: u32 = 100_000;
/// These come first: what a node needs once is no object's.
const WARM_UP: u32 = 2_000;

/// Fills an edge, and prints what that cost.
pub(crate) fn measure(origin: SocketAddr) {
    println!("\nMemory per object of 1 KiB, {OBJECTS} objects");
    let Some(server) = peers::start(Kind::Edge, origin) else { return println!("the edge does not start") };
    let mut stream = TcpStream::connect(server.address).expect("it listens");
    stream.set_nodelay(true).expect("a socket");
    let mut fill = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            ask(&mut stream, number).expect("it answers");
        }
        server.resident_bytes()
    };
    let before = fill(0..WARM_UP);
    let after = fill(WARM_UP..WARM_UP + OBJECTS);
    println!("{:<20} {} bytes", Kind::Edge.as_str(), (after - before) / u64::from(OBJECTS));
}

/// One request, and its response to the last byte.
fn ask(stream: &mut TcpStream, number: u32) -> std::io::Result<()> {
    write!(stream, "GET /1k/{number} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")?;
    let (mut got, mut block) = (Vec::new(), [0; 8192]);
    loop {
        let read = stream.read(&mut block)?;
        got.extend_from_slice(block.get(..read).unwrap_or_default());
        let end = got.windows(4).position(|four| four == b"\r\n\r\n");
        if read == 0 || end.is_some_and(|end| got.len() >= end + 4 + 1024) {
            assert!(got.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&got));
            return Ok(());
        }
    }
}
