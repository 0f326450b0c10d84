//! IPv6 on this machine: in which network edges can listen without a privilege, and sockets of it.
//!
//! Edges share a port, so each needs an address of its own. Of IPv4 every machine has all of 127.0.0.0/8 for that; of IPv6
//! loopback is one address, which is enough for a world of one edge. For more a network must be local as a whole, which
//! takes an administrator one command ([`command`]) and no privilege after it. Knows no world.

use std::{
    fs, io,
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, UdpSocket},
    pin::Pin,
};

use cdn_core::source_nat::embed;
use ipnet::Ipv6Net;
use socket2::{Domain, Protocol, Socket, Type};
use wan::{BoxRaw, RawDial, TcpDial};

/// Where edges have their addresses unless another network is named: unique local ones (RFC 4193), numbered as those in
/// 127.77.0.0/24.
pub(crate) const NETWORK: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfd77, 0x1505, 0, 0, 0, 0, 0, 0), 64);

/// The one address that loopback has.
const LOOPBACK: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128);

/// Behind it a client's IPv4 address has room (RFC 6052, section 2.2).
pub(crate) const PREFIX_LEN_MAX: u8 = 96;

/// The interface that no other machine sends to.
const LOOPBACK_DEVICE: &str = "lo";

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// What the cluster file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ipv6Setting {
    /// Wherever this machine lets them.
    Auto,
    /// Nowhere.
    Off,
    /// In this network.
    In(Ipv6Net),
}

/// The network that this machine has for edges: the documented one, else loopback, if it has any IPv6 at all.
pub(crate) fn found() -> Option<Ipv6Net> {
    [NETWORK, LOOPBACK].into_iter().find(|&net| check(net).is_ok())
}

/// Whether edges can listen in `net`, and be reached there.
///
/// # Errors
/// Why not, as a clause.
pub(crate) fn check(net: Ipv6Net) -> Result<(), String> {
    // Where the kernel lists no routes there is no IPv6.
    let routes = fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    if !is_local(net, &routes) {
        return Err("it is not local on this machine".into());
    }
    // This is the socket that an edge opens; its port is a free one.
    let address = SocketAddrV6::new(address_in(net, 0), 0, 0, 0);
    listen(address.into()).map(drop).map_err(|error| format!("nobody can listen there: {error}"))
}

/// What makes `net` local.
pub(crate) fn command(net: Ipv6Net) -> String {
    format!("sudo ip -6 route add local {net} dev {LOOPBACK_DEVICE}")
}

/// Whether so many edges can have an address each in `net`.
pub(crate) const fn has_room(net: Ipv6Net, edges: usize) -> bool {
    net.prefix_len() <= PREFIX_LEN_MAX || edges == 1
}

/// The address of the edge number `at`, counted from 0. The first address of a network is that of its routers (RFC 4291,
/// section 2.6.1), but where it is the only one.
pub(crate) fn address_in(net: Ipv6Net, at: usize) -> Ipv6Addr {
    let first = if net == LOOPBACK { 0 } else { 1 };
    Ipv6Addr::from_bits(net.network().to_bits() + first + at as u128)
}

/// The prefix of 96 bits behind which clients of the world have their addresses; `None` where there is no room for them.
/// None of them is that of an edge, whose last 32 bits are a small number.
pub(crate) fn clients_in(net: Ipv6Net) -> Option<Ipv6Addr> {
    (net.prefix_len() <= PREFIX_LEN_MAX).then(|| net.network())
}

/// Listens at `address`. Over IPv6 for this machine alone, whoever else may have a route to the network.
///
/// # Errors
/// Whatever the system says, usually that the port is taken.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    if address.is_ipv4() {
        return TcpListener::bind(address);
    }
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_only_v6(true)?;
    // As the standard library does: a port whose last connections linger can be taken again.
    socket.set_reuse_address(true)?;
    // Of a network that is local as a whole no address is on any interface, which bind(2) looks for.
    socket.set_freebind_v6(true)?;
    socket.bind_device(Some(LOOPBACK_DEVICE.as_bytes()))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Takes datagrams at `address`, over IPv6 as [`listen`] does.
///
/// # Errors
/// Whatever the system says, usually that the port is taken.
pub(crate) fn datagrams(address: SocketAddr) -> io::Result<UdpSocket> {
    if address.is_ipv4() {
        return UdpSocket::bind(address);
    }
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_only_v6(true)?;
    socket.set_freebind_v6(true)?;
    socket.bind_device(Some(LOOPBACK_DEVICE.as_bytes()))?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Whether the kernel takes packets to all of `net` for its own, by its table of routes (as `/proc/net/ipv6_route` lists
/// them: destination, length, source, length, next hop, metric, references, uses, flags, device).
fn is_local(net: Ipv6Net, routes: &str) -> bool {
    /// `RTF_LOCAL` of `linux/ipv6_route.h`.
    const LOCAL: u32 = 0x8000_0000;
    routes.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [destination, len, _, _, _, _, _, _, flags, _] = fields[..] else { return false };
        let route = u128::from_str_radix(destination, 16).ok().zip(u8::from_str_radix(len, 16).ok());
        let route = route.and_then(|(bits, len)| Ipv6Net::new(Ipv6Addr::from_bits(bits), len).ok());
        let is_local = u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & LOCAL != 0);
        is_local && route.is_some_and(|route| route.contains(&net))
    })
}

/// How viewers reach edges over IPv6: from an address that has their own in it, where there is room for that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TwinDial {
    /// See [`clients_in`].
    pub(crate) clients: Option<Ipv6Addr>,
}

impl RawDial for TwinDial {
    fn dial(
        &self,
        address: SocketAddr,
        source: Option<IpAddr>,
    ) -> Pin<Box<dyn Future<Output = io::Result<BoxRaw>> + Send>> {
        let source = match (address, source) {
            (SocketAddr::V6(_), Some(IpAddr::V4(source))) => {
                let client = world::world_twin(source).unwrap_or(source);
                self.clients.map(|prefix| embed(prefix, client).into())
            }
            _ => source,
        };
        TcpDial.dial(address, source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with loopback, an address of its own, and all of fd77:1505::/64.
    const ROUTES: &str = "\
fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
00000000000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000003 00000000 80200001       lo
fd000000000000000000000000000002 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000003 00000000 80200001     eth0
fd771505000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000400 00000002 00000000 80000001       lo
";

    #[test]
    fn a_network_is_local_where_all_of_it_is() {
        for (net, expected) in [
            ("fd77:1505::/64", true),
            ("fd77:1505::/96", true),
            ("::1/128", true),
            ("fd00::2/128", true),
            ("fd77:1505::/48", false),
            ("fd00::/64", false),
            ("fd77:1506::/64", false),
            ("::/0", false),
        ] {
            assert_eq!(is_local(net.parse().unwrap(), ROUTES), expected, "{net}");
        }
        for broken in ["", "nonsense", "fd771505 40 x\n", "zz 40 0 0 0 0 0 0 80000001 lo\n"] {
            assert!(!is_local(NETWORK, broken), "{broken}");
        }
    }

    #[test]
    fn edges_are_numbered_and_loopback_is_for_one_alone() {
        assert_eq!(address_in(NETWORK, 0).to_string(), "fd77:1505::1");
        assert_eq!(address_in(NETWORK, 39).to_string(), "fd77:1505::28");
        assert_eq!(address_in(LOOPBACK, 0).to_string(), "::1");
        assert_eq!([has_room(LOOPBACK, 1), has_room(LOOPBACK, 2), has_room(NETWORK, 40)], [true, false, true]);
        assert_eq!((clients_in(LOOPBACK), clients_in(NETWORK)), (None, Some(NETWORK.network())));
    }

    #[test]
    fn what_listens_has_the_port_for_itself() {
        let Ok(first) = listen("[::1]:0".parse().unwrap()) else { return assert_eq!(found(), None) };
        let address = first.local_addr().unwrap();
        assert_eq!(listen(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        listen(address).unwrap();
    }
}
