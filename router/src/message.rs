//! Answers as bytes, whatever parser read the question: sections, compressed names (RFC 1035, section 4.1.4), and what
//! is left out when an answer is longer than allowed (RFC 2181, section 9; RFC 9471).
//!
//! Never panics, allocates nothing but what the answer's buffer needs, and an answer is never longer than its limit.

use cdn_core::zone::{Data, Owner, RecordType, Records, Set, Svcb};

use crate::{
    answer::{Reply, Routed},
    edns::Edns,
    exchange::Exchange,
    wire::HEADER,
};

/// What of a question comes back with its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'m> {
    pub(crate) id: [u8; 2],
    pub(crate) opcode: u8,
    pub(crate) recursion_desired: bool,
    /// Name, type and class as they were sent, so that the name's case is kept; empty where there is not one question.
    pub(crate) question: &'m [u8],
    /// The canonical bytes of the name.
    pub(crate) name: &'m [u8],
    pub(crate) edns: Option<Edns>,
}

impl Asked<'_> {
    /// The type that was asked for.
    pub(crate) fn wanted(&self) -> Option<RecordType> {
        let [.., high, low, _, _] = *self.question else { return None };
        Some(RecordType(u16::from_be_bytes([high, low])))
    }
}

/// Writes an answer, truncated to `bytes_max` if need be, and says whether it was truncated.
pub(crate) fn write(
    asked: &Asked<'_>,
    reply: &Reply<'_>,
    exchange: &Exchange<'_>,
    bytes_max: usize,
    out: &mut Vec<u8>,
) -> bool {
    let mut writer = Writer { asked, reply, bytes_max, names: None, out };
    writer.start();
    let counts = writer.sections(exchange);
    writer.opt(exchange);
    if writer.out.len() <= bytes_max
        && let Some(counts) = counts
    {
        writer.head(counts, false);
        return false;
    }
    // RFC 2181, section 9: who sees TC does without what is there, so there is nothing.
    writer.start();
    writer.opt(exchange);
    writer.head([0; 3], true);
    true
}

struct Writer<'w, 'a> {
    asked: &'w Asked<'w>,
    reply: &'w Reply<'a>,
    bytes_max: usize,
    /// Made where the first name is written that is not the question's: most answers have none.
    names: Option<Names>,
    out: &'w mut Vec<u8>,
}

impl Writer<'_, '_> {
    /// Room for the header, and the question.
    fn start(&mut self) {
        self.out.clear();
        self.out.extend_from_slice(&[0; HEADER]);
        self.out.extend_from_slice(self.asked.question);
    }

    fn head(&mut self, [answers, authorities, additionals]: [u16; 3], is_truncated: bool) {
        let Asked { id, opcode, recursion_desired, question, edns, .. } = self.asked;
        let flag = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        let flags = 0x80
            | opcode << 3
            | flag(self.reply.answer.is_authoritative, 0b100)
            | flag(is_truncated, 0b10)
            | flag(*recursion_desired, 1);
        let code = (self.reply.code.number() & 0xf) as u8;
        let [[a, b], [c, d], [e, f]] =
            [answers, authorities, additionals + u16::from(edns.is_some())].map(u16::to_be_bytes);
        let [id_high, id_low] = *id;
        let head = [id_high, id_low, flags, code, 0, u8::from(!question.is_empty()), a, b, c, d, e, f];
        if let Some(place) = self.out.first_chunk_mut::<HEADER>() {
            *place = head;
        }
    }

    /// The number of records in each section; `None` as soon as what must be there is too long.
    fn sections(&mut self, exchange: &Exchange<'_>) -> Option<[u16; 3]> {
        let answer = &self.reply.answer;
        let counts = [self.section(answer.answer.iter())?, self.section(answer.authority.iter())?];
        let mut additionals = 0;
        if !answer.additional.is_empty() {
            let before = self.out.len();
            self.opt(exchange);
            let opt_len = self.out.len() - before;
            self.out.truncate(before);
            for (at, set) in answer.additional.iter().enumerate() {
                let before = self.out.len();
                let count = self.set(set);
                if self.out.len() + opt_len <= self.bytes_max {
                    additionals += count;
                } else if at < answer.glue_required {
                    // RFC 9471, section 3.1: without it the referral leads nowhere.
                    return None;
                } else {
                    self.out.truncate(before);
                    self.names.iter_mut().for_each(|names| names.forget(before));
                    break;
                }
            }
        }
        let [answers, authorities] = counts;
        Some([answers, authorities, additionals])
    }

    fn section<'s>(&mut self, section: impl Iterator<Item = &'s Set<'s>>) -> Option<u16> {
        let mut count = 0;
        for set in section {
            count += self.set(set);
            if self.out.len() > self.bytes_max {
                return None;
            }
        }
        Some(count)
    }

    /// Writes the records of a set, as far as there is room for them, and says how many.
    fn set(&mut self, set: &Set<'_>) -> u16 {
        let mut count = 0;
        match &set.records {
            Records::Fixed(records) => {
                for data in &records.data {
                    self.record(&set.owner, records.record_type, records.ttl_s, |writer| writer.data(data));
                    count += 1;
                    if self.out.len() > self.bytes_max {
                        break;
                    }
                }
            }
            Records::Alias(alias) => {
                let target = alias.target.as_bytes();
                self.record(&set.owner, RecordType::CNAME, alias.ttl_s, |writer| writer.name(target));
                count = 1;
            }
            Records::Routed { wanted, .. } => {
                let Some(routed) = self.reply.routed else { return 0 };
                let ttl_s = u32::try_from(routed.snapshot.ttl(routed.subject.host).as_secs()).unwrap_or(u32::MAX);
                match *wanted {
                    RecordType::HTTPS => {
                        self.record(&set.owner, *wanted, ttl_s, |writer| routed.write_https(writer.out));
                        count = 1;
                    }
                    RecordType::AAAA => {
                        for address in routed.edges().filter_map(|edge| edge.v6) {
                            self.record(&set.owner, *wanted, ttl_s, |writer| {
                                writer.out.extend_from_slice(&address.octets());
                            });
                            count += 1;
                        }
                    }
                    _ => {
                        for address in routed.addresses() {
                            self.record(&set.owner, *wanted, ttl_s, |writer| {
                                writer.out.extend_from_slice(&address.ip().octets());
                            });
                            count += 1;
                        }
                    }
                }
            }
        }
        count
    }

    /// Owner, type, the question's class, TTL, and data with their length.
    fn record(&mut self, owner: &Owner<'_>, record_type: RecordType, ttl_s: u32, data: impl FnOnce(&mut Self)) {
        match owner {
            Owner::Question if self.asked.name.is_empty() => self.out.push(0),
            Owner::Question => push_u16(0xc000 | HEADER, self.out),
            owner => self.name(owner.bytes(self.asked.name)),
        }
        self.out.extend_from_slice(&record_type.0.to_be_bytes());
        let class = self.asked.question.last_chunk::<2>().copied().unwrap_or([0, 1]);
        self.out.extend_from_slice(&class);
        self.out.extend_from_slice(&ttl_s.to_be_bytes());
        let at = self.out.len();
        self.out.extend_from_slice(&[0, 0]);
        data(self);
        set_length(at, self.out);
    }

    /// Names are compressed in the types of RFC 1035 alone (RFC 3597, section 4).
    fn data(&mut self, data: &Data) {
        match data {
            Data::Ns(name) | Data::Cname(name) | Data::Ptr(name) => self.name(name.as_bytes()),
            Data::Mx { preference, exchange } => {
                self.out.extend_from_slice(&preference.to_be_bytes());
                self.name(exchange.as_bytes());
            }
            Data::Soa(soa) => {
                self.name(soa.primary.as_bytes());
                self.name(soa.contact.as_bytes());
                soa.write_numbers(self.out);
            }
            data => data.write(self.out),
        }
    }

    fn name(&mut self, name: &[u8]) {
        let names = self.names.get_or_insert_with(|| Names::of_question(self.asked.name));
        let mut rest = name;
        while let Some((&len, after)) = rest.split_first() {
            if let Some(at) = names.find(rest, self.out) {
                return push_u16(0xc000 | usize::from(at), self.out);
            }
            names.add(self.out.len());
            let (label, next) = after.split_at_checked(usize::from(len)).unwrap_or((after, &[]));
            self.out.push(len);
            self.out.extend_from_slice(label);
            rest = next;
        }
        self.out.push(0);
    }

    /// The OPT record. It is the last one, so that the padding knows how long the message is.
    fn opt(&mut self, exchange: &Exchange<'_>) {
        let Some(edns) = &self.asked.edns else { return };
        self.out.extend_from_slice(&[0, 0, 41]);
        self.out.extend_from_slice(&exchange.udp_payload_max().to_be_bytes());
        self.out.push((self.reply.code.number() >> 4) as u8);
        self.out.push(0);
        self.out.extend_from_slice(&[if edns.dnssec_ok { 0x80 } else { 0 }, 0]);
        with_length(self.out, |out| {
            // A version that we do not know says nothing that we understand, and so do options that cannot be read.
            let (Ok(options), 0) = (&edns.options, edns.version) else { return };
            options.answer(self.reply, exchange, out);
            if let Some(padding) = options.padding(exchange, out.len()) {
                out.extend_from_slice(&padding);
            }
        });
    }
}

impl Routed<'_> {
    /// The HTTPS record of the chosen edges, all of which speak it at one port.
    fn write_https(&self, out: &mut Vec<u8>) {
        Svcb::write_https(
            self.https,
            self.edges().map(|edge| *edge.v4.ip()),
            self.edges().filter_map(|edge| edge.v6),
            out,
        );
    }
}

/// Where names begin that others may point to.
struct Names {
    at: [u16; Self::MAX],
    len: usize,
}

impl Names {
    /// More would cost more time than the bytes they save are worth.
    const MAX: usize = 64;
    /// A pointer has 14 bits.
    const POINTER_MAX: usize = 0x3fff;

    /// Those in the question, which stands after the header, not compressed.
    fn of_question(name: &[u8]) -> Self {
        let mut names = Self { at: [0; Self::MAX], len: 0 };
        let (mut at, mut rest) = (HEADER, name);
        while let Some((&len, after)) = rest.split_first() {
            names.add(at);
            at += 1 + usize::from(len);
            rest = after.get(usize::from(len)..).unwrap_or_default();
        }
        names
    }

    fn add(&mut self, at: usize) {
        if let (true, Some(place), Ok(at)) = (at <= Self::POINTER_MAX, self.at.get_mut(self.len), u16::try_from(at)) {
            *place = at;
            self.len += 1;
        }
    }

    /// What was written from `at` on is no more.
    fn forget(&mut self, at: usize) {
        while self.len > 0 && self.at.get(self.len - 1).is_some_and(|&place| usize::from(place) >= at) {
            self.len -= 1;
        }
    }

    /// Where `name` stands in `message`.
    fn find(&self, name: &[u8], message: &[u8]) -> Option<u16> {
        let known = self.at.get(..self.len).unwrap_or_default();
        known.iter().copied().find(|&at| stands_at(name, usize::from(at), message))
    }
}

/// Whether `name` stands at `at` in `message`, which only points backwards.
fn stands_at(name: &[u8], mut at: usize, message: &[u8]) -> bool {
    let mut rest = name;
    loop {
        match (message.get(at), rest.split_first()) {
            (Some(&high @ 0xc0..), _) => {
                let Some(&low) = message.get(at + 1) else { return false };
                let target = usize::from(high & 0x3f) << 8 | usize::from(low);
                if target >= at {
                    return false;
                }
                at = target;
            }
            (Some(0), None) => return true,
            (Some(&len), Some((&first, after))) if len == first => {
                let end = usize::from(len);
                let (Some(there), Some(label)) = (message.get(at + 1..at + 1 + end), after.get(..end)) else {
                    return false;
                };
                if !there.eq_ignore_ascii_case(label) {
                    return false;
                }
                at += 1 + end;
                rest = after.get(end..).unwrap_or_default();
            }
            _ => return false,
        }
    }
}

/// Writes what `write` writes, preceded by its length in two bytes.
pub(crate) fn with_length(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0, 0]);
    write(out);
    set_length(at, out);
}

/// Puts the number of bytes after the two at `at` into them.
fn set_length(at: usize, out: &mut [u8]) {
    let len = u16::try_from(out.len().saturating_sub(at + 2)).unwrap_or(u16::MAX);
    if let Some(place) = out.get_mut(at..at + 2) {
        place.copy_from_slice(&len.to_be_bytes());
    }
}

pub(crate) fn push_u16(number: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes());
}
