//! EDNS client subnet (RFC 7871): read strictly, because a scope given to a malformed subnet would be believed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cdn_core::routing::AskedBy;
use ipnet::IpNet;

/// The option's number.
pub(crate) const OPTION: u16 = 8;

/// A client subnet as a resolver sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subnet {
    family: u16,
    source_len: u8,
    /// The address, zero after the prefix.
    octets: [u8; 16],
}

/// Not what RFC 7871, section 6, allows in a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl Subnet {
    /// Reads the option's data.
    pub(crate) fn parse(data: &[u8]) -> Result<Self, Malformed> {
        let &[family_high, family_low, source_len, scope_len, ref address @ ..] = data else {
            return Err(Malformed);
        };
        let family = u16::from_be_bytes([family_high, family_low]);
        let len_max = match family {
            1 => 32,
            2 => 128,
            // Some clients opt out without a family, as there is no address for it to describe.
            0 => 0,
            _ => return Err(Malformed),
        };
        if scope_len != 0 || source_len > len_max || address.len() != usize::from(source_len).div_ceil(8) {
            return Err(Malformed);
        }
        let stray = address.last().is_some_and(|last| last.trailing_zeros() < u32::from((8 - source_len % 8) % 8));
        if stray {
            return Err(Malformed);
        }
        let mut octets = [0; 16];
        for (to, from) in octets.iter_mut().zip(address) {
            *to = *from;
        }
        Ok(Self { family, source_len, octets })
    }

    /// The client's address as far as it is told; `None` where the client opted out.
    pub(crate) fn client(&self) -> Option<(IpAddr, AskedBy)> {
        let [a, b, c, d, ..] = self.octets;
        let address = match self.family {
            _ if self.source_len == 0 => return None,
            1 => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
            _ => IpAddr::V6(Ipv6Addr::from_octets(self.octets)),
        };
        Some((address, AskedBy::Subnet { source_len: self.source_len }))
    }

    /// The option's data for an answer: the query's, with the scope.
    pub(crate) fn answer(&self, scope_len: u8, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.family.to_be_bytes());
        out.push(self.source_len);
        out.push(scope_len);
        out.extend(self.octets.iter().take(usize::from(self.source_len).div_ceil(8)));
    }
}

/// Subnet and scope in the options of one of our own answers.
pub(crate) fn echoed(mut options: &[u8]) -> Option<(IpNet, u8)> {
    loop {
        let &[code_high, code_low, len_high, len_low, ref rest @ ..] = options else { return None };
        let (value, after) = rest.split_at_checked(usize::from(u16::from_be_bytes([len_high, len_low])))?;
        if u16::from_be_bytes([code_high, code_low]) == OPTION {
            let &[family_high, family_low, source_len, scope_len, ref address @ ..] = value else { return None };
            let mut query = vec![family_high, family_low, source_len, 0];
            query.extend_from_slice(address);
            let subnet = Subnet::parse(&query).ok()?;
            let address = subnet.client().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |(address, _)| address);
            return Some((IpNet::new(address, source_len).ok()?, scope_len));
        }
        options = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rfc_7871_forbids_is_malformed() {
        for (data, why) in [
            (&[][..], "nothing"),
            (&[0, 1, 24], "no scope"),
            (&[0, 1, 24, 0, 198, 18], "address too short"),
            (&[0, 1, 24, 0, 198, 18, 1, 0], "address too long"),
            (&[0, 1, 33, 0, 198, 18, 1, 0, 0], "longer than IPv4"),
            (&[0, 1, 23, 0, 198, 18, 1], "a bit after the prefix"),
            (&[0, 1, 1, 0, 0xc0], "bits after the prefix"),
            (&[0, 1, 24, 24, 198, 18, 1], "a scope in a query"),
            (&[0, 1, 0, 0, 0], "an address where there is none"),
            (&[0, 3, 8, 0, 1], "unknown family"),
            (&[0, 0, 8, 0, 1], "no family, but an address"),
            (&[0, 2, 129, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "longer than IPv6"),
        ] {
            assert_eq!(Subnet::parse(data), Err(Malformed), "{why}");
        }
    }

    #[test]
    fn well_formed_subnets_are_echoed_with_the_scope() {
        for (data, client) in [
            (&[0, 1, 24, 0, 198, 18, 1][..], Some("198.18.1.0")),
            (&[0, 1, 23, 0, 198, 18, 2], Some("198.18.2.0")),
            (&[0, 1, 32, 0, 198, 18, 2, 7], Some("198.18.2.7")),
            (&[0, 2, 48, 0, 0x20, 1, 0xd, 0xb8, 0, 1], Some("2001:db8:1::")),
            (&[0, 1, 0, 0], None),
            (&[0, 2, 0, 0], None),
            (&[0, 0, 0, 0], None),
        ] {
            let subnet = Subnet::parse(data).unwrap();
            assert_eq!(subnet.client().map(|(address, _)| address), client.map(|text| text.parse().unwrap()));
            let mut answer = vec![];
            subnet.answer(17, &mut answer);
            let mut expected = data.to_vec();
            expected[3] = 17;
            assert_eq!(answer, expected);
        }
    }
}
