//! What memory a router takes with 100,000 client networks, and while it changes to another table.
//!
//! `cargo bench -p router --bench memory` reads tables as a router does, in 1000 places and with coordinates that are each
//! network's own, and prints resident bytes: before, with the first table, at the peak of three swaps, and after them. A
//! router's own process has some megabytes more before it begins.

#[expect(dead_code, reason = "nobody is asked here")]
mod world;

use std::{
    fmt::Write as _,
    fs, io,
    net::{Ipv4Addr, SocketAddr},
};

use hyper_util::rt::TokioIo;
use router::{PrefixFile, Router, Sockets};
use tower::service_fn;

fn main() -> io::Result<()> {
    // The peak can be reset, but what an allocator keeps cannot: each case has a process of its own.
    if let Some(places) = std::env::args().skip(1).find_map(|argument| argument.parse().ok()) {
        return measure(places);
    }
    for places in [1000, world::PREFIXES] {
        let mut case = std::process::Command::new(std::env::current_exe()?);
        // As the nodes of a world have it, so that large blocks go back to the system at once.
        case.env("MALLOC_MMAP_THRESHOLD_", "131072").env("MALLOC_TRIM_THRESHOLD_", "131072");
        let status = case.arg(places.to_string()).status()?;
        assert!(status.success(), "{status}");
    }
    Ok(())
}

fn measure(places: u32) -> io::Result<()> {
    let mut config = world::config();
    config.prefixes.clear();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let sockets = Sockets::bind(any, any, 1)?;
    let connect = service_fn(|_: http::Uri| async {
        Err::<TokioIo<tokio::net::TcpStream>, _>(io::Error::from(io::ErrorKind::ConnectionRefused))
    });
    let (_router, handle) = Router::build(config, sockets, connect).map_err(io::Error::other)?;
    let file = std::env::temp_dir().join(format!("prefixes-{}.csv", std::process::id()));
    let table = PrefixFile::Csv(file.clone());
    let change = |seed: u32| {
        write_table(&file, places, seed)?;
        handle.make_room_for_geo();
        handle.set_geo(table.load(&[]).map_err(io::Error::other)?);
        io::Result::Ok(())
    };
    let before = resident("VmRSS")?;
    change(0)?;
    let with = resident("VmRSS")?;
    fs::write("/proc/self/clear_refs", "5")?;
    (1..4).try_for_each(change)?;
    let (peak, after) = (resident("VmHWM")?, resident("VmRSS")?);
    fs::remove_file(file)?;
    let prefixes = world::PREFIXES;
    println!(
        "{prefixes} prefixes, {places:>6} places: {before:.1} MB before, {with:.1} with them, {peak:.1} at the peak of three swaps, {after:.1} after"
    );
    Ok(())
}

fn write_table(file: &std::path::Path, places: u32, seed: u32) -> io::Result<()> {
    let mut out = io::BufWriter::new(fs::File::create(file)?);
    let mut line = String::new();
    for at in 0..world::PREFIXES {
        let place = (at % places).wrapping_mul(0x9e37_79b9).wrapping_add(seed.wrapping_mul(0x85eb_ca6b));
        let degrees = |bits: u32, span: f64| f64::from(bits) / 65536.0 * span - span / 2.0;
        let (lat, lon) = (degrees(place >> 16, 130.0), degrees(place & 0xffff, 359.0));
        line.clear();
        let _ = writeln!(line, "{},{lat:.5},{lon:.5},DE,Town {}", world::network(at), at % 1000);
        io::Write::write_all(&mut out, line.as_bytes())?;
    }
    io::Write::flush(&mut out)
}

/// A line of `/proc/self/status`, in megabytes.
fn resident(key: &str) -> io::Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    let kib = line.trim_matches([':', ' ', '\t']).split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok());
    kib.map(|kib| kib * 1024.0 / 1e6).ok_or_else(|| io::Error::other(format!("no {key}")))
}
