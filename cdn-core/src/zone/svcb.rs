//! SVCB and HTTPS records (RFC 9460).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Name;
use crate::http_version::HttpVersion;

/// How a service is reached: the data of an SVCB or HTTPS record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Svcb {
    /// 0 for an alias, else lower is better.
    pub priority: u16,
    /// The alias, or who serves; the root for the owner itself.
    pub target: Name,
    /// The parameters as on the wire: key, length, value, keys ascending. [`Self::split_wire`] has checked them.
    params: Box<[u8]>,
}

/// What is spoken by HTTPS, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpsEndpoint {
    /// The port.
    pub port: u16,
    /// Of which versions of HTTP.
    pub http_version: HttpVersion,
}

impl Svcb {
    const MANDATORY: u16 = 0;
    const ALPN: u16 = 1;
    const NO_DEFAULT_ALPN: u16 = 2;
    const PORT: u16 = 3;
    const IPV4_HINT: u16 = 4;
    const IPV6_HINT: u16 = 6;

    /// Reads the data of a record; `None` where RFC 9460, section 2.2, calls it malformed.
    pub fn from_wire(bytes: &[u8]) -> Option<Self> {
        let (priority, rest) = bytes.split_first_chunk()?;
        let (target, params) = Name::split_wire(rest)?;
        let mut before: Option<u16> = None;
        let mut mandatory: &[u8] = &[];
        for param in Params(params) {
            let (key, value) = param?;
            let is_ascending = before.is_none_or(|before| before < key);
            let is_value = match key {
                Self::MANDATORY => {
                    mandatory = value;
                    let keys: Vec<u16> = numbers(value).collect();
                    !keys.is_empty() && value.len() % 2 == 0 && keys.is_sorted_by(|a, b| a < b) && !keys.contains(&0)
                }
                Self::ALPN => is_alpn(value),
                Self::NO_DEFAULT_ALPN => value.is_empty(),
                Self::PORT => value.len() == 2,
                Self::IPV4_HINT => !value.is_empty() && value.len() % 4 == 0,
                Self::IPV6_HINT => !value.is_empty() && value.len() % 16 == 0,
                _ => true,
            };
            if !is_ascending || !is_value {
                return None;
            }
            before = Some(key);
        }
        let keys: Vec<u16> = Params(params).filter_map(|param| Some(param?.0)).collect();
        let is_complete = numbers(mandatory).all(|key| keys.contains(&key))
            && (!keys.contains(&Self::NO_DEFAULT_ALPN) || keys.contains(&Self::ALPN));
        is_complete.then(|| Self { priority: u16::from_be_bytes(*priority), target, params: params.into() })
    }

    /// Writes the data of a record.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.priority.to_be_bytes());
        out.extend_from_slice(self.target.as_bytes());
        out.push(0);
        out.extend_from_slice(&self.params);
    }

    /// Writes the data of a record in service mode whose target is its owner: `endpoint`, with these addresses as hints.
    pub fn write_https(
        endpoint: HttpsEndpoint,
        v4: impl Iterator<Item = Ipv4Addr>,
        v6: impl Iterator<Item = Ipv6Addr>,
        out: &mut Vec<u8>,
    ) {
        const PORT_DEFAULT: u16 = 443;
        out.extend_from_slice(&[0, 1, 0]);
        let HttpsEndpoint { port, http_version } = endpoint;
        let protocols: &[u8] = match http_version {
            HttpVersion::Http11 => b"\x08http/1.1",
            HttpVersion::Http2 => b"\x02h2\x08http/1.1",
            HttpVersion::Http3 => b"\x02h3\x08http/1.1",
            HttpVersion::Http2And3 => b"\x02h3\x02h2\x08http/1.1",
        };
        write_param(Self::ALPN, out, |out| out.extend_from_slice(protocols));
        if port != PORT_DEFAULT {
            write_param(Self::PORT, out, |out| out.extend_from_slice(&port.to_be_bytes()));
        }
        write_param(Self::IPV4_HINT, out, |out| v4.for_each(|hint| out.extend_from_slice(&hint.octets())));
        write_param(Self::IPV6_HINT, out, |out| v6.for_each(|hint| out.extend_from_slice(&hint.octets())));
    }
}

/// Writes a parameter, unless its value turns out to be empty.
fn write_param(key: u16, out: &mut Vec<u8>, value: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&key.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    value(out);
    let len = u16::try_from(out.len() - start - 4).unwrap_or(0);
    if len == 0 {
        out.truncate(start);
    } else if let Some(place) = out.get_mut(start + 2..start + 4) {
        place.copy_from_slice(&len.to_be_bytes());
    }
}

/// Key and value of each parameter; a last `None` where the rest is cut.
struct Params<'b>(&'b [u8]);

impl<'b> Iterator for Params<'b> {
    type Item = Option<(u16, &'b [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let split = || {
            let &[key_high, key_low, len_high, len_low, ref rest @ ..] = self.0 else { return None };
            let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([len_high, len_low])))?;
            Some((u16::from_be_bytes([key_high, key_low]), value, rest))
        };
        let Some((key, value, rest)) = split() else {
            self.0 = &[];
            return Some(None);
        };
        self.0 = rest;
        Some(Some((key, value)))
    }
}

fn numbers(value: &[u8]) -> impl Iterator<Item = u16> {
    value.chunks_exact(2).filter_map(|pair| Some(u16::from_be_bytes(pair.try_into().ok()?)))
}

/// At least one, none empty.
fn is_alpn(mut value: &[u8]) -> bool {
    if value.is_empty() {
        return false;
    }
    while let Some((&len, rest)) = value.split_first() {
        match rest.get(usize::from(len)..) {
            Some(after) if len > 0 => value = after,
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_parameters_are_refused() {
        let check = |params: &[u8]| Svcb::from_wire(&[b"\0\x01\0", params].concat()).is_some();
        for good in [&b""[..], b"\0\x01\0\x03\x02h2", b"\0\0\0\x02\0\x03\0\x03\0\x02\x01\xbb", b"\xff\0\0\0"] {
            assert!(check(good), "{good:?}");
        }
        for (bad, why) in [
            (&b"\0\x01\0"[..], "cut"),
            (b"\0\x01\0\x04\x02h2", "value cut"),
            (b"\0\x03\0\x02\x01\xbb\0\x01\0\x03\x02h2", "descending"),
            (b"\0\x03\0\x02\x01\xbb\0\x03\0\x02\x01\xbb", "twice"),
            (b"\0\0\0\x02\0\x03", "mandatory but missing"),
            (b"\0\x02\0\0", "no-default-alpn without alpn"),
            (b"\0\x04\0\x03\x01\x02\x03", "an address cut"),
            (b"\0\x01\0\x01\0", "an empty protocol"),
        ] {
            assert!(!check(bad), "{why}");
        }
    }

    #[test]
    fn what_is_written_for_edges_is_well_formed() {
        for (http_version, (port, hints)) in
            HttpVersion::ALL.into_iter().zip([(443, 0), (4480, 2), (443, 2), (4443, 0)])
        {
            let mut out = vec![];
            let v6 = std::iter::repeat_n(Ipv6Addr::LOCALHOST, hints / 2);
            Svcb::write_https(
                HttpsEndpoint { port, http_version },
                std::iter::repeat_n(Ipv4Addr::LOCALHOST, hints),
                v6,
                &mut out,
            );
            let offers = |protocol: &[u8]| out.windows(3).any(|bytes| bytes == protocol);
            assert_eq!((offers(b"\x02h2"), offers(b"\x02h3")), (http_version.http2(), http_version.http3()));
            let read = Svcb::from_wire(&out).unwrap();
            let mut again = vec![];
            read.write(&mut again);
            assert_eq!((read.priority, read.target.is_root(), again), (1, true, out));
        }
    }
}
