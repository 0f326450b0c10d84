//! Which address a client really has, where the machine had to lend it another one.
//!
//! On one machine clients of `198.18.0.0/15` (RFC 2544, section C.2.2) speak from loopback addresses of `127.18.0.0/15`:
//! same low bits, another network; or from IPv6 addresses that have theirs in the last 32 bits (RFC 6052, section 2.2).
//! A server translates a peer's address before it uses it for anything. On a real network there is no translation, and
//! the server does not know the difference.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::Ipv4Net;

/// Moves addresses of one network into another of the same size, keeping the host bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceNat {
    from: Ipv4Net,
    to: Ipv4Net,
    /// The first 96 bits of IPv6 addresses behind which one of `to` may stand.
    prefix: Option<Ipv6Addr>,
}

/// The two networks of a [`SourceNat`] differ in size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{from} and {to} must have the same prefix length")]
pub struct UnequalNets {
    /// The network that peers are seen in.
    pub from: Ipv4Net,
    /// The network that they stand for.
    pub to: Ipv4Net,
}

impl SourceNat {
    /// A translation of `from` into `to`.
    ///
    /// # Errors
    /// [`UnequalNets`] where the prefix lengths differ, because then host bits would be lost or invented.
    pub fn new(from: Ipv4Net, to: Ipv4Net) -> Result<Self, UnequalNets> {
        if from.prefix_len() == to.prefix_len() {
            Ok(Self { from: from.trunc(), to: to.trunc(), prefix: None })
        } else {
            Err(UnequalNets { from, to })
        }
    }

    /// Peers may also be seen as IPv6 addresses: the first 96 bits of `prefix`, and behind them the address that they stand
    /// for.
    pub const fn with_prefix(self, prefix: Ipv6Addr) -> Self {
        Self { prefix: Some(prefix), ..self }
    }

    /// The network that peers are seen in.
    pub const fn from(&self) -> Ipv4Net {
        self.from
    }

    /// The network that they stand for.
    pub const fn to(&self) -> Ipv4Net {
        self.to
    }

    /// The address that `peer` stands for; addresses outside the network pass unchanged. An IPv4 address written as
    /// IPv6 (`::ffff:a.b.c.d`, as a dual-stack socket reports it) comes out as IPv4.
    pub fn translate(&self, peer: IpAddr) -> IpAddr {
        let peer = peer.to_canonical();
        match peer {
            IpAddr::V4(address) if self.from.contains(&address) => IpAddr::V4(move_into(self.to, address)),
            IpAddr::V6(address) => self.embedded_in(address).map_or(peer, IpAddr::V4),
            IpAddr::V4(_) => peer,
        }
    }

    fn embedded_in(&self, address: Ipv6Addr) -> Option<Ipv4Addr> {
        let client = Ipv4Addr::from_bits(address.to_bits() as u32);
        let is_ours = self.prefix.is_some_and(|prefix| embed(prefix, client) == address);
        (is_ours && self.to.contains(&client)).then_some(client)
    }

    /// The other way round: the IPv4 address from which the machine speaks for `client`.
    pub fn reverse(&self, client: IpAddr) -> IpAddr {
        Self { from: self.to, to: self.from, prefix: None }.translate(client)
    }
}

/// `client` behind the first 96 bits of `prefix` (RFC 6052, section 2.2).
pub const fn embed(prefix: Ipv6Addr, client: Ipv4Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(prefix.to_bits() >> 32 << 32 | client.to_bits() as u128)
}

fn move_into(net: Ipv4Net, address: Ipv4Addr) -> Ipv4Addr {
    let host = address.to_bits() & net.hostmask().to_bits();
    Ipv4Addr::from_bits(net.network().to_bits() | host)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn loopback() -> SourceNat {
        SourceNat::new("127.18.0.0/15".parse().unwrap(), "198.18.0.0/15".parse().unwrap()).unwrap()
    }

    #[test]
    fn host_bits_are_kept_and_others_pass() {
        for (peer, client) in [
            ("127.18.41.7", "198.18.41.7"),
            ("127.19.255.255", "198.19.255.255"),
            ("127.20.0.0", "127.20.0.0"),
            ("127.0.0.1", "127.0.0.1"),
            ("::ffff:127.18.0.1", "198.18.0.1"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            assert_eq!(loopback().translate(peer.parse().unwrap()), client.parse::<IpAddr>().unwrap(), "{peer}");
        }
    }

    #[test]
    fn a_client_behind_the_prefix_is_itself_and_nobody_else_is() {
        let nat = loopback().with_prefix("fd77:1505::".parse().unwrap());
        for (peer, client) in [
            ("fd77:1505::198.18.41.7", "198.18.41.7"),
            ("fd77:1505::127.18.41.7", "fd77:1505::127.18.41.7"),
            ("fd77:1505::1", "fd77:1505::1"),
            ("fd77:1505::1:198.18.41.7", "fd77:1505::1:198.18.41.7"),
            ("::1", "::1"),
            ("127.18.41.7", "198.18.41.7"),
        ] {
            assert_eq!(nat.translate(peer.parse().unwrap()), client.parse::<IpAddr>().unwrap(), "{peer}");
        }
        let twin = embed("fd77:1505::9:9".parse().unwrap(), [198, 18, 41, 7].into());
        assert_eq!(nat.translate(twin.into()), IpAddr::from([198, 18, 41, 7]));
        assert_eq!(loopback().translate(twin.into()), IpAddr::V6(twin), "there is no prefix");
    }

    #[test]
    fn networks_of_different_size_are_refused() {
        let error = SourceNat::new("10.0.0.0/8".parse().unwrap(), "198.18.0.0/15".parse().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "10.0.0.0/8 and 198.18.0.0/15 must have the same prefix length");
    }

    #[test]
    fn a_network_of_everything_is_allowed() {
        let nat = SourceNat::new("0.0.0.0/0".parse().unwrap(), "0.0.0.0/0".parse().unwrap()).unwrap();
        assert_eq!(nat.translate("1.2.3.4".parse().unwrap()), "1.2.3.4".parse::<IpAddr>().unwrap());
    }

    proptest! {
        #[test]
        fn reverse_undoes_translate(bits: u32) {
            let peer = IpAddr::V4(Ipv4Addr::from_bits(bits & 0x0001_ffff | 0x7f12_0000));
            prop_assert_eq!(loopback().reverse(loopback().translate(peer)), peer);
        }
    }
}
