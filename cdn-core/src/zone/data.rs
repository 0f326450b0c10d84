//! What records say.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Name, RecordType, Svcb};

/// Start of authority. Times in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Soa {
    /// The primary name server.
    pub primary: Name,
    /// The mailbox of who answers for the zone, its `@` written as a dot.
    pub contact: Name,
    /// The zone's version.
    pub serial: u32,
    /// How often secondaries look.
    pub refresh_s: u32,
    /// How soon they look again after a failure.
    pub retry_s: u32,
    /// When they give up.
    pub expire_s: u32,
    /// How long a negative answer may be kept (RFC 2308, section 5).
    pub minimum_s: u32,
}

/// What a record says. Types of which nothing depends on are opaque (RFC 3597).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// A name server.
    Ns(Name),
    /// The name of which the owner is an alias.
    Cname(Name),
    /// The name of which everything below the owner is an alias.
    Dname(Name),
    /// A name.
    Ptr(Name),
    /// Start of authority.
    Soa(Soa),
    /// A mail exchange.
    Mx {
        /// Lower is better.
        preference: u16,
        /// Who takes mail; the root for nobody (RFC 7505).
        exchange: Name,
    },
    /// Strings of at most 255 bytes, as on the wire: each preceded by its length.
    Txt(Box<[u8]>),
    /// A service.
    Srv {
        /// Lower is better.
        priority: u16,
        /// The share among those of equal priority.
        weight: u16,
        /// Where it listens.
        port: u16,
        /// Who serves; the root for nobody.
        target: Name,
    },
    /// A service's binding.
    Svcb(Svcb),
    /// The binding of HTTPS.
    Https(Svcb),
    /// Any other type's data as on the wire, names not compressed.
    Other(RecordType, Box<[u8]>),
}

/// Bytes that are no data of a record of this type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these {len} bytes are no data of a record of type {record_type}")]
pub struct MalformedData {
    /// Of which type.
    pub record_type: RecordType,
    /// How many bytes.
    pub len: usize,
}

impl Data {
    /// Reads data as it stands on the wire, names not compressed.
    ///
    /// # Errors
    /// [`MalformedData`], also for a type that no record has.
    pub fn from_wire(record_type: RecordType, bytes: &[u8]) -> Result<Self, MalformedData> {
        let len = bytes.len();
        let read = if record_type.is_meta() || u16::try_from(len).is_err() { None } else { read(record_type, bytes) };
        read.ok_or(MalformedData { record_type, len })
    }

    /// Text as a record of one string, cut after 255 bytes.
    pub fn text(text: &[u8]) -> Self {
        let text = text.get(..text.len().min(255)).unwrap_or_default();
        Self::Txt([&[text.len() as u8], text].concat().into())
    }

    /// The type of a record that says this.
    pub const fn record_type(&self) -> RecordType {
        match self {
            Self::A(_) => RecordType::A,
            Self::Aaaa(_) => RecordType::AAAA,
            Self::Ns(_) => RecordType::NS,
            Self::Cname(_) => RecordType::CNAME,
            Self::Dname(_) => RecordType::DNAME,
            Self::Ptr(_) => RecordType::PTR,
            Self::Soa(_) => RecordType::SOA,
            Self::Mx { .. } => RecordType::MX,
            Self::Txt(_) => RecordType::TXT,
            Self::Srv { .. } => RecordType::SRV,
            Self::Svcb(_) => RecordType::SVCB,
            Self::Https(_) => RecordType::HTTPS,
            Self::Other(record_type, _) => *record_type,
        }
    }

    /// The name whose addresses who asked will want next (RFC 1035, section 3.3; RFC 2782; RFC 9460, section 4.1).
    pub fn additional(&self) -> Option<&Name> {
        let name = match self {
            Self::Ns(name) | Self::Mx { exchange: name, .. } | Self::Srv { target: name, .. } => name,
            Self::Svcb(svcb) | Self::Https(svcb) => &svcb.target,
            _ => return None,
        };
        (!name.is_root()).then_some(name)
    }

    /// Writes it as it stands on the wire, names not compressed.
    pub fn write(&self, out: &mut Vec<u8>) {
        let write_name = |name: &Name, out: &mut Vec<u8>| {
            out.extend_from_slice(name.as_bytes());
            out.push(0);
        };
        match self {
            Self::A(address) => out.extend_from_slice(&address.octets()),
            Self::Aaaa(address) => out.extend_from_slice(&address.octets()),
            Self::Ns(name) | Self::Cname(name) | Self::Dname(name) | Self::Ptr(name) => write_name(name, out),
            Self::Soa(soa) => {
                write_name(&soa.primary, out);
                write_name(&soa.contact, out);
                soa.write_numbers(out);
            }
            Self::Mx { preference, exchange } => {
                out.extend_from_slice(&preference.to_be_bytes());
                write_name(exchange, out);
            }
            Self::Srv { priority, weight, port, target } => {
                for number in [priority, weight, port] {
                    out.extend_from_slice(&number.to_be_bytes());
                }
                write_name(target, out);
            }
            Self::Svcb(svcb) | Self::Https(svcb) => svcb.write(out),
            Self::Txt(bytes) | Self::Other(_, bytes) => out.extend_from_slice(bytes),
        }
    }
}

impl Soa {
    /// Writes what follows the two names.
    pub fn write_numbers(&self, out: &mut Vec<u8>) {
        for number in [self.serial, self.refresh_s, self.retry_s, self.expire_s, self.minimum_s] {
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

fn read(record_type: RecordType, bytes: &[u8]) -> Option<Data> {
    let name = |bytes| Name::split_wire(bytes).filter(|(_, rest)| rest.is_empty()).map(|(name, _)| name);
    Some(match record_type {
        RecordType::A => Data::A(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        RecordType::AAAA => Data::Aaaa(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        RecordType::NS => Data::Ns(name(bytes)?),
        RecordType::CNAME => Data::Cname(name(bytes)?),
        RecordType::DNAME => Data::Dname(name(bytes)?),
        RecordType::PTR => Data::Ptr(name(bytes)?),
        RecordType::SOA => {
            let (primary, rest) = Name::split_wire(bytes)?;
            let (contact, rest) = Name::split_wire(rest)?;
            let rest: &[u8; 20] = rest.try_into().ok()?;
            let mut numbers = rest.as_chunks::<4>().0.iter().map(|number| u32::from_be_bytes(*number));
            let mut next = || numbers.next();
            Data::Soa(Soa {
                primary,
                contact,
                serial: next()?,
                refresh_s: next()?,
                retry_s: next()?,
                expire_s: next()?,
                minimum_s: next()?,
            })
        }
        RecordType::MX => {
            let (preference, rest) = bytes.split_first_chunk()?;
            Data::Mx { preference: u16::from_be_bytes(*preference), exchange: name(rest)? }
        }
        RecordType::TXT => Data::Txt(is_strings(bytes).then(|| bytes.into())?),
        RecordType::SRV => {
            let &[a, b, c, d, e, f, ref rest @ ..] = bytes else { return None };
            let [priority, weight, port] = [[a, b], [c, d], [e, f]].map(u16::from_be_bytes);
            Data::Srv { priority, weight, port, target: name(rest)? }
        }
        RecordType::SVCB => Data::Svcb(Svcb::from_wire(bytes)?),
        RecordType::HTTPS => Data::Https(Svcb::from_wire(bytes)?),
        // RFC 8659, section 4.1: flags, and a tag of letters and digits.
        RecordType::CAA => {
            let &[_, tag_len, ref rest @ ..] = bytes else { return None };
            let tag = rest.get(..usize::from(tag_len)).filter(|tag| !tag.is_empty())?;
            tag.iter().all(u8::is_ascii_alphanumeric).then(|| Data::Other(record_type, bytes.into()))?
        }
        _ => Data::Other(record_type, bytes.into()),
    })
}

/// One string or more, each preceded by its length.
fn is_strings(mut bytes: &[u8]) -> bool {
    if bytes.is_empty() {
        return false;
    }
    while let Some((&len, rest)) = bytes.split_first() {
        match rest.get(usize::from(len)..) {
            Some(after) => bytes = after,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(record_type: RecordType, bytes: &[u8]) -> Option<Vec<u8>> {
        let data = Data::from_wire(record_type, bytes).ok()?;
        assert_eq!(data.record_type(), record_type);
        let mut out = vec![];
        data.write(&mut out);
        Some(out)
    }

    #[test]
    fn data_is_read_as_it_is_written() {
        for (record_type, bytes) in [
            (RecordType::A, &[127, 0, 0, 1][..]),
            (RecordType::AAAA, &[1; 16]),
            (RecordType::NS, b"\x02ns\x04test\0"),
            (RecordType::SOA, b"\x01a\0\x01b\0\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05"),
            (RecordType::MX, b"\0\x0a\x01m\0"),
            (RecordType::TXT, b"\x01a\0\x02bc"),
            (RecordType::SRV, b"\0\x01\0\x02\0\x50\x01s\0"),
            (RecordType::HTTPS, b"\0\x01\0\0\x01\0\x03\x02h2"),
            (RecordType::CAA, b"\0\x05issueca.test"),
            (RecordType(65280), b"anything"),
            (RecordType(65280), b""),
        ] {
            assert_eq!(read(record_type, bytes).as_deref(), Some(bytes), "{record_type}");
        }
        for (record_type, bytes) in [
            (RecordType::A, &[127, 0, 0][..]),
            (RecordType::NS, b"\x02ns\x04test\0more"),
            (RecordType::NS, b"\xc0\x0c"),
            (RecordType::SOA, b"\x01a\0\x01b\0\0\0\0\x01"),
            (RecordType::TXT, b""),
            (RecordType::TXT, b"\x05a"),
            (RecordType::CAA, b"\0\0ca.test"),
            (RecordType::ANY, b""),
            (RecordType::OPT, b""),
        ] {
            assert_eq!(read(record_type, bytes), None, "{record_type}");
        }
        assert_eq!(Data::text(&[b'x'; 300]), Data::Txt([&[255][..], &[b'x'; 255]].concat().into()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_written_back(number in 0u16..300, bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(written) = read(RecordType(number), &bytes) {
                // Names come back in lower case.
                prop_assert!(written.eq_ignore_ascii_case(&bytes));
            }
        }
    }
}
