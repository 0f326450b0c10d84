//! The usual DNS question, read without a detour: one question of class IN, at most one OPT, nothing else.
//!
//! Strict: whatever is unusual is left to `dns`. Never panics on any bytes, and allocates nothing.

use cdn_core::zone::{NAME_BYTES_MAX, RecordType};

use crate::{
    answer::Code,
    edns::{Edns, Options},
    message::Asked,
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

    /// What of it comes back with its answer.
    pub(crate) fn asked(&self) -> Asked<'_> {
        Asked {
            id: self.id,
            opcode: 0,
            recursion_desired: self.recursion_desired,
            question: self.question,
            name: self.name(),
            edns: self.edns,
        }
    }
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
