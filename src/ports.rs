//! The block of ports of a world, and who holds one that is taken.
//!
//! Every port is the base port plus a fixed offset, so that one number moves a world. Names of offsets and their
//! defaults are those of the command line's contract.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use crate::ipv6;

/// Where the ports of a world begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PortBlock {
    base: u16,
}

impl PortBlock {
    /// Where a block begins unless somebody moves it.
    pub(crate) const BASE_DEFAULT: u16 = 4400;
    /// Ports that a block spans: the control plane at its start, up to 32 origins, then the admin ports of nodes.
    pub(crate) const SPAN: u16 = 220;

    /// The block that begins at `base`, if all of it are port numbers that need no privilege.
    pub(crate) fn new(base: u16) -> Option<Self> {
        (base >= 1024 && base.checked_add(Self::SPAN).is_some()).then_some(Self { base })
    }

    /// The first port.
    pub(crate) const fn base(self) -> u16 {
        self.base
    }

    /// Control API and dashboard.
    pub(crate) const fn control(self) -> SocketAddr {
        loopback(self.base)
    }

    /// Edges, HTTPS.
    pub(crate) const fn edge_https(self) -> u16 {
        self.base + 43
    }

    /// DNS, UDP and TCP.
    pub(crate) const fn dns(self) -> SocketAddr {
        loopback(self.base + 53)
    }

    /// HTTP routing.
    pub(crate) const fn routing(self) -> SocketAddr {
        loopback(self.base + 70)
    }

    /// Edges, HTTP.
    pub(crate) const fn edge_http(self) -> u16 {
        self.base + 80
    }

    /// Viewer proxy.
    pub(crate) const fn proxy(self) -> SocketAddr {
        loopback(self.base + 88)
    }

    /// The origin number `at`.
    pub(crate) const fn origin(self, at: u16) -> SocketAddr {
        loopback(self.base + 100 + at)
    }

    /// The admin port of the node number `at`.
    pub(crate) const fn admin(self, at: u16) -> SocketAddr {
        loopback(self.base + 140 + at)
    }

    /// Origins of a world: bounded by the block.
    pub(crate) const ORIGINS_MAX: usize = 40;
    /// Nodes of a world: bounded by the block.
    pub(crate) const NODES_MAX: usize = (Self::SPAN - 140) as usize;
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// A port that a world needs is taken.
#[derive(Debug)]
pub(crate) struct PortTaken {
    address: SocketAddr,
    what: &'static str,
    error: io::Error,
    owner: Option<String>,
}

impl fmt::Display for PortTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, what, error, owner } = self;
        match (error.kind(), owner) {
            (io::ErrorKind::AddrInUse, Some(owner)) => {
                write!(f, "port {} ({what}, {address}) is taken by {owner}", address.port())?;
            }
            (io::ErrorKind::AddrInUse, None) => {
                write!(f, "port {} ({what}, {address}) is taken by another program", address.port())?;
            }
            _ => write!(f, "cannot listen on {address} ({what}): {error}")?,
        }
        // The block of the next thousand; whoever has 5400 already is not told to take it.
        match (address.port() / 1000 * 1000).checked_add(1400).and_then(PortBlock::new) {
            Some(PortBlock { base }) => {
                write!(f, "; choose other ports with --base-port {base}, or any free ones with --base-port 0")
            }
            None => f.write_str("; choose any free ports with --base-port 0"),
        }
    }
}

impl std::error::Error for PortTaken {}

/// Tries to listen on `addresses` (and on UDP too where asked), and lets go again.
///
/// # Errors
/// The first address that is taken, with its owner where that can be known.
pub(crate) fn check_free(addresses: &[(SocketAddr, &'static str, Transport)]) -> Result<(), PortTaken> {
    for &(address, what, transport) in addresses {
        let bound = match transport {
            Transport::Tcp => ipv6::listen(address).map(drop),
            Transport::Udp => ipv6::datagrams(address).map(drop),
        };
        if let Err(error) = bound {
            let owner = owner_of(address.port(), transport);
            return Err(PortTaken { address, what, error, owner });
        }
    }
    Ok(())
}

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Streams.
    Tcp,
    /// Datagrams.
    Udp,
}

/// The process that listens on `port`, as `nginx (pid 123)`: from `/proc`, so only on Linux and for what one may see.
fn owner_of(port: u16, transport: Transport) -> Option<String> {
    let tables: [&str; 2] = match transport {
        Transport::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
        Transport::Udp => ["/proc/net/udp", "/proc/net/udp6"],
    };
    let inode = tables.iter().find_map(|table| {
        let text = std::fs::read_to_string(table).ok()?;
        text.lines().skip(1).find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let local_port = fields.get(1)?.rsplit_once(':').map(|(_, port)| u16::from_str_radix(port, 16))?.ok()?;
            let listening = transport == Transport::Udp || *fields.get(3)? == "0A";
            (local_port == port && listening).then(|| fields.get(9).map(|inode| (*inode).to_owned())).flatten()
        })
    })?;
    let socket = format!("socket:[{inode}]");
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let Ok(pid) = process.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(descriptors) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let holds = descriptors
            .flatten()
            .any(|descriptor| std::fs::read_link(descriptor.path()).is_ok_and(|to| to.as_os_str() == socket.as_str()));
        if holds {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (pid {pid})", name.trim()));
        }
    }
    None
}

/// A block of which every port that `needed` names is free.
///
/// Looks between 10000 and 30000, below the range from which systems take ports of outgoing connections, from a place
/// that depends on the process so that two worlds started together do not race for one block.
pub(crate) fn free_block(
    needed: impl Fn(PortBlock) -> Vec<(SocketAddr, &'static str, Transport)>,
) -> Option<PortBlock> {
    const FIRST: u32 = 10_000;
    let blocks = 20_000 / u32::from(PortBlock::SPAN);
    let start = std::process::id();
    (0..blocks)
        .filter_map(|step| {
            let at = (start.wrapping_mul(2_654_435_761) >> 8).wrapping_add(step) % blocks;
            PortBlock::new(u16::try_from(FIRST + at * u32::from(PortBlock::SPAN)).ok()?)
        })
        .find(|block| check_free(&needed(*block)).is_ok())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_default_block_has_the_ports_of_the_contract() {
        let block = PortBlock::new(PortBlock::BASE_DEFAULT).unwrap();
        assert_eq!(block.control().port(), 4400);
        assert_eq!(block.dns().port(), 4453);
        assert_eq!(block.routing().port(), 4470);
        assert_eq!(block.edge_http(), 4480);
        assert_eq!(block.proxy().port(), 4488);
        assert_eq!(block.origin(0).port(), 4500);
        assert!(PortBlock::new(80).is_none() && PortBlock::new(65_500).is_none());
    }

    #[test]
    fn a_taken_port_is_one_sentence_with_owner_and_fix() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = check_free(&[(address, "viewer proxy", Transport::Tcp)]).unwrap_err().to_string();
        assert!(error.contains(&format!("port {} (viewer proxy", address.port())), "{error}");
        assert!(error.contains("--base-port 0"), "{error}");
        let taken = |port| {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            PortTaken { address, what: "DNS", error: io::ErrorKind::AddrInUse.into(), owner: None }.to_string()
        };
        for (port, next) in [(4453, "--base-port 5400,"), (5400, "--base-port 6400,"), (65_200, "free ports with")] {
            assert!(taken(port).contains(next), "{}", taken(port));
        }
        if cfg!(target_os = "linux") {
            assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        }
    }
}
