//! The usual DNS question, read and answered without a detour: one question of class IN, at most one OPT, nothing else.
//!
//! Strict: whatever is unusual is left to `dns`. Never panics on any bytes, allocates nothing, and an answer is never
//! longer than its limit.

use cdn_core::zone::{Data, NAME_BYTES_MAX, Name, RecordSet, RecordType, Soa, Zone};

use crate::{
    answer::{Body, Code, Reply},
    edns::{Edns, Options},
    exchange::Exchange,
};

/// Length of a message's header.
pub(crate) const HEADER: usize = 12;

/// A question of the usual shape.
#[derive(Debug)]
pub(crate) struct Query<'m> {
    id: [u8; 2],
    recursion_desired: bool,
    /// Name, type and class as they were sent, so that the name's case is kept.
    question: &'m [u8],
    name: [u8; NAME_BYTES_MAX],
    name_len: usize,
    pub(crate) wanted: RecordType,
    pub(crate) edns: Option<Edns>,
}

impl<'m> Query<'m> {
    /// Reads a message; `None` if it has another shape, be it legal or not.
    pub(crate) fn parse(message: &'m [u8]) -> Option<Self> {
        let (header, body) = message.split_first_chunk::<HEADER>()?;
        let &[id_high, id_low, flags, _, 0, 1, 0, 0, 0, 0, 0, additionals @ (0 | 1)] = header else { return None };
        // A query (QR 0) of opcode QUERY (0); whoever sets AA or TC in a query means nothing by it.
        if flags & 0b1111_1000 != 0 {
            return None;
        }
        let mut name = [0; NAME_BYTES_MAX];
        let mut name_len = 0;
        let mut rest = body;
        loop {
            let (&len, after) = rest.split_first()?;
            rest = after;
            if len == 0 {
                break;
            }
            if len > 63 {
                return None;
            }
            let label = rest.get(..usize::from(len))?;
            rest = rest.get(usize::from(len)..)?;
            let room = name.get_mut(name_len..name_len + 1 + label.len())?;
            let (first, to) = room.split_first_mut()?;
            *first = len;
            for (to, from) in to.iter_mut().zip(label) {
                *to = from.to_ascii_lowercase();
            }
            name_len += 1 + label.len();
        }
        let &[type_high, type_low, 0, 1, ref rest @ ..] = rest else { return None };
        let question = body.get(..body.len() - rest.len())?;
        let edns = match (additionals, rest) {
            (0, []) => None,
            (
                1,
                &[0, 0, 41, payload_high, payload_low, _, version, flags_high, _, len_high, len_low, ref data @ ..],
            ) if data.len() == usize::from(u16::from_be_bytes([len_high, len_low])) => Some(Edns {
                payload_max: u16::from_be_bytes([payload_high, payload_low]),
                version,
                dnssec_ok: flags_high & 0x80 != 0,
                options: Options::parse(data),
            }),
            _ => return None,
        };
        Some(Self {
            id: [id_high, id_low],
            recursion_desired: flags & 1 != 0,
            question,
            name,
            name_len,
            wanted: RecordType(u16::from_be_bytes([type_high, type_low])),
            edns,
        })
    }

    /// The canonical bytes of the name that is asked for.
    pub(crate) fn name(&self) -> &[u8] {
        self.name.get(..self.name_len).unwrap_or_default()
    }

    /// Writes the answer, truncated to `bytes_max` if need be, and says whether it was truncated.
    pub(crate) fn answer(
        &self,
        reply: &Reply<'_>,
        exchange: &Exchange<'_>,
        bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> bool {
        out.clear();
        let (answers, authorities) = match reply.body {
            Body::Empty => (0, 0),
            Body::Routed { snapshot, host, answer } => (snapshot.addresses(host, answer).count(), 0),
            Body::Records(records) => (records.data.len(), 0),
            Body::Denial(_) => (0, 1),
        };
        self.head(reply, Counts { answers, authorities, is_truncated: false }, out);
        match reply.body {
            Body::Empty => {}
            Body::Routed { snapshot, host, answer } => {
                let ttl_s = u32::try_from(snapshot.ttl(host).as_secs()).unwrap_or(u32::MAX);
                for address in snapshot.addresses(host, answer) {
                    record_head(0, RecordType::A, ttl_s, out);
                    with_length(out, |out| out.extend_from_slice(&address.ip().octets()));
                }
            }
            Body::Records(records) => write_records(records, out),
            Body::Denial(zone) => self.write_denial(zone, out),
        }
        self.opt(reply, exchange, out);
        if out.len() <= bytes_max {
            return false;
        }
        out.clear();
        self.head(reply, Counts { answers: 0, authorities: 0, is_truncated: true }, out);
        self.opt(reply, exchange, out);
        true
    }

    fn head(&self, reply: &Reply<'_>, counts: Counts, out: &mut Vec<u8>) {
        let authoritative = if reply.is_authoritative() { 0b100 } else { 0 };
        let truncated = if counts.is_truncated { 0b10 } else { 0 };
        out.extend_from_slice(&self.id);
        out.push(0b1000_0000 | authoritative | truncated | u8::from(self.recursion_desired));
        out.push((reply.code.number() & 0xf) as u8);
        let additionals = usize::from(self.edns.is_some());
        for count in [1, counts.answers, counts.authorities, additionals] {
            push_u16(count, out);
        }
        out.extend_from_slice(self.question);
    }

    /// The SOA in the authority section, with the lesser of its TTL and its minimum (RFC 2308, section 3).
    fn write_denial(&self, zone: &Zone, out: &mut Vec<u8>) {
        // The apex is a suffix of the question, so its name is a pointer into it.
        let above = self.name_len.saturating_sub(zone.apex.as_bytes().len());
        record_head(above, RecordType::SOA, zone.ttl_s.min(zone.soa.minimum_s), out);
        with_length(out, |out| write_soa(&zone.soa, out));
    }

    /// The OPT record. It is the last one, so that the padding knows how long the message is.
    fn opt(&self, reply: &Reply<'_>, exchange: &Exchange<'_>, out: &mut Vec<u8>) {
        let Some(edns) = &self.edns else { return };
        out.extend_from_slice(&[0, 0, 41]);
        out.extend_from_slice(&exchange.udp_payload_max().to_be_bytes());
        out.push((reply.code.number() >> 4) as u8);
        out.push(0);
        out.extend_from_slice(&[if edns.dnssec_ok { 0x80 } else { 0 }, 0]);
        with_length(out, |out| {
            // A version that we do not know says nothing that we understand, and so do options that cannot be read.
            let (Ok(options), 0) = (&edns.options, edns.version) else { return };
            options.answer(reply, exchange, out);
            if let Some(padding) = options.padding(exchange, out.len()) {
                out.extend_from_slice(&padding);
            }
        });
    }
}

#[derive(Clone, Copy)]
struct Counts {
    answers: usize,
    authorities: usize,
    is_truncated: bool,
}

fn write_records(records: &RecordSet, out: &mut Vec<u8>) {
    for data in &records.data {
        record_head(0, data.record_type(), records.ttl_s, out);
        with_length(out, |out| match data {
            Data::A(address) => out.extend_from_slice(&address.octets()),
            Data::Ns(name) => write_name(name, out),
            Data::Soa(soa) => write_soa(soa, out),
            Data::Txt(text) => {
                let text = text.get(..text.len().min(255)).unwrap_or_default();
                out.push(text.len() as u8);
                out.extend_from_slice(text);
            }
        });
    }
}

/// Owner (a pointer to the question's name, less its first `above` bytes), type, class IN and TTL.
fn record_head(above: usize, record_type: RecordType, ttl_s: u32, out: &mut Vec<u8>) {
    push_u16(0xc000 | (HEADER + above), out);
    push_u16(usize::from(record_type.0), out);
    push_u16(1, out);
    out.extend_from_slice(&ttl_s.to_be_bytes());
}

fn write_soa(soa: &Soa, out: &mut Vec<u8>) {
    write_name(&soa.primary, out);
    write_name(&soa.contact, out);
    for number in [soa.serial, soa.refresh_s, soa.retry_s, soa.expire_s, soa.minimum_s] {
        out.extend_from_slice(&number.to_be_bytes());
    }
}

fn write_name(name: &Name, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.push(0);
}

/// Writes what `write` writes, preceded by its length in two bytes.
pub(crate) fn with_length(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0, 0]);
    write(out);
    let len = u16::try_from(out.len() - at - 2).unwrap_or(u16::MAX);
    if let Some(place) = out.get_mut(at..at + 2) {
        place.copy_from_slice(&len.to_be_bytes());
    }
}

pub(crate) fn push_u16(number: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes());
}

/// A question for people, be it of the usual shape or not.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AskedFor {
    pub(crate) name: String,
    pub(crate) wanted: u16,
    pub(crate) class: u16,
}

/// The first question of a message; `None` where it has none that can be read.
pub(crate) fn first_question(message: &[u8]) -> Option<AskedFor> {
    let (header, mut rest) = message.split_first_chunk::<HEADER>()?;
    let &[_, _, _, _, count_high, count_low, ..] = header;
    if [count_high, count_low] == [0, 0] {
        return None;
    }
    let mut name = String::new();
    loop {
        let (&len, after) = rest.split_first()?;
        if len > 63 {
            return None;
        }
        let (label, after) = after.split_at_checked(usize::from(len))?;
        rest = after;
        if len == 0 {
            break;
        }
        name.extend(label.escape_ascii().map(char::from));
        name.push('.');
    }
    let &[type_high, type_low, class_high, class_low, ..] = rest else { return None };
    if name.is_empty() {
        name.push('.');
    }
    let (wanted, class) = (u16::from_be_bytes([type_high, type_low]), u16::from_be_bytes([class_high, class_low]));
    Some(AskedFor { name, wanted, class })
}

/// The answer to a message that cannot be understood: its id, opcode and RD, and the code. `None` for what deserves no
/// answer: too short to have an id, or an answer itself, which would make two servers talk forever.
pub(crate) fn bare(message: &[u8], code: Code, out: &mut Vec<u8>) -> Option<()> {
    let &[id_high, id_low, flags, ..] = message.first_chunk::<HEADER>()?;
    if flags & 0x80 != 0 {
        return None;
    }
    out.clear();
    out.extend_from_slice(&[id_high, id_low, 0x80 | (flags & 0b0111_1001), (code.number() & 0xf) as u8]);
    out.extend_from_slice(&[0; 8]);
    Some(())
}
