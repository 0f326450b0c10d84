//! Who is measured, and how each is configured: one thread for UDP, no log, the same map, two addresses per answer.

use std::{
    fmt::Write as _,
    fs, io,
    net::Ipv4Addr,
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    load, own,
    process::{Server, free_address, is_installed},
    world,
};

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Router,
    Gdnsd,
    Knot,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Router, Self::Gdnsd, Self::Knot];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Gdnsd => "gdnsd",
            Self::Knot => "knot",
        }
    }
}

/// A server that answers.
pub(crate) struct Started {
    pub(crate) server: Server,
    /// From start to the first answer.
    pub(crate) loaded_in: Duration,
    /// Memory then.
    pub(crate) resident_bytes: u64,
}

/// Starts a server, and waits until it answers. `None` where it is not installed or does not.
pub(crate) fn start(kind: Kind, questions: &[Vec<u8>]) -> Option<Started> {
    let directory = tempfile::tempdir().ok()?;
    let (folder, address) = (directory.path().to_owned(), free_address());
    let port = address.port();
    let this = std::env::current_exe().ok()?;
    let address_text = address.to_string();
    let conf = folder.join("knot.conf");
    let command = match kind {
        Kind::Router => vec![this.to_str()?, own::ROLE, &address_text],
        Kind::Gdnsd => {
            write_gdnsd(&folder, port).ok()?;
            vec![installed("gdnsd")?, "-c", folder.to_str()?, "start"]
        }
        Kind::Knot => {
            write_knot(&folder, port).ok()?;
            vec![installed("knotd")?, "-c", conf.to_str()?]
        }
    };
    let began = Instant::now();
    let server = Server::start(&command, address, directory)?;
    while !questions.first().is_some_and(|question| load::is_answered(address, question)) {
        if began.elapsed() > Duration::from_secs(30) {
            eprintln!("{} does not answer", kind.as_str());
            return None;
        }
    }
    let loaded_in = began.elapsed();
    let resident_bytes = server.resident_bytes();
    Some(Started { server, loaded_in, resident_bytes })
}

fn installed(program: &str) -> Option<&str> {
    is_installed(program).then_some(program)
}

/// Each network with the two nearest PoPs.
fn map() -> Vec<(String, [usize; 2])> {
    let config = world::config();
    let nearest = |place: &cdn_core::geo::Place| {
        let mut pops: Vec<usize> = (0..config.pops.len()).collect();
        let distance = |at: &usize| place.point.distance_km(config.pops[*at].place.point);
        pops.sort_by(|a, b| distance(a).total_cmp(&distance(b)));
        [pops[0], pops[1]]
    };
    config.prefixes.iter().map(|prefix| (prefix.net.to_string(), nearest(&prefix.place))).collect()
}

fn address_of(pop: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 77, 0, pop as u8)
}

const ZONE: &str =
    "@ 60 SOA ns1.demo.test. hostmaster.demo.test. 1 7200 900 1209600 60\n@ 60 NS ns1\nns1 60 A 127.0.0.1\n";

/// One data centre per pair of PoPs, so that its answers are those two.
fn write_gdnsd(folder: &Path, port: u16) -> io::Result<()> {
    let map = map();
    let mut pairs: Vec<[usize; 2]> = map.iter().map(|(_, pair)| *pair).collect();
    pairs.sort_unstable();
    pairs.dedup();
    let name = |[first, second]: [usize; 2]| format!("dc{first}x{second}");
    let names: Vec<String> = pairs.iter().map(|pair| name(*pair)).collect();
    let (mut nets, mut addresses) = (String::new(), String::new());
    for (net, pair) in &map {
        writeln!(nets, "{net} => {}", name(*pair)).map_err(io::Error::other)?;
    }
    for pair in &pairs {
        let [first, second] = pair.map(address_of);
        writeln!(addresses, "{} => [ {first}, {second} ]", name(*pair)).map_err(io::Error::other)?;
    }
    let config = format!(
        "options => {{\n listen => 127.0.0.1\n dns_port => {port}\n udp_threads => 1\n tcp_threads => 1\n \
         run_dir => {folder}/run\n state_dir => {folder}/state\n}}\n\
         plugins => {{ geoip => {{\n maps => {{ world => {{ datacenters => [ {} ]\n nets => nets }} }}\n \
         resources => {{ www => {{ map => world\n dcmap => {{\n{addresses}}} }} }} }} }}\n",
        names.join(", "),
        folder = folder.display(),
    );
    for inner in ["geoip", "zones", "run", "state"] {
        fs::create_dir(folder.join(inner))?;
    }
    fs::write(folder.join("geoip/nets"), nets)?;
    fs::write(folder.join("config"), config)?;
    fs::write(folder.join("zones/demo.test"), format!("{ZONE}www 60 DYNA geoip!www\n"))
}

fn write_knot(folder: &Path, port: u16) -> io::Result<()> {
    let mut networks = format!("{}:\n", world::NAME);
    for (net, pair) in map() {
        let [first, second] = pair.map(address_of);
        writeln!(networks, "  - net: {net}\n    A: [ {first}, {second} ]").map_err(io::Error::other)?;
    }
    let config = format!(
        "server:\n  rundir: {folder}\n  listen: 127.0.0.1@{port}\n  udp-workers: 1\n  tcp-workers: 1\n  \
         background-workers: 1\n  edns-client-subnet: on\n\
         database:\n  storage: {folder}/db\n\
         mod-geoip:\n  - id: world\n    config-file: {folder}/networks\n    ttl: 60\n    mode: subnet\n\
         zone:\n  - domain: demo.test\n    file: {folder}/demo.test.zone\n    module: mod-geoip/world\n",
        folder = folder.display(),
    );
    fs::write(folder.join("networks"), networks)?;
    fs::write(folder.join("knot.conf"), config)?;
    // What the module answers must be in the zone as well.
    fs::write(folder.join("demo.test.zone"), format!("$ORIGIN demo.test.\n{ZONE}www 60 A 127.0.0.1\n"))
}
