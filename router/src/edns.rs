//! EDNS (RFC 6891): what the OPT record of a question says, and the options of the answer's.
//!
//! Both parsers come here with the record's data, so that they agree.

use cdn_core::dns_cookie::{Cookie, MalformedCookie};

use crate::{
    answer::Reply,
    ecs::{self, Subnet},
    exchange::Exchange,
    message::{push_u16, with_length},
};

/// The name server identifier option (RFC 5001).
const NSID: u16 = 3;
/// DNS cookies (RFC 7873).
const COOKIE: u16 = 10;
/// How long a connection may be idle (RFC 7828).
const KEEPALIVE: u16 = 11;
/// Bytes that say nothing (RFC 7830).
const PADDING: u16 = 12;

/// The id of the decision, for those who ask by an empty option: one of the codes for local use (RFC 6891, section 9).
const DECISION: u16 = 65_053;

/// Answers are padded to multiples of this (RFC 8467, section 4.1).
const PADDING_BLOCK: usize = 468;

/// What the OPT record says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edns {
    pub(crate) payload_max: u16,
    pub(crate) version: u8,
    pub(crate) dnssec_ok: bool,
    pub(crate) options: Result<Options, Malformed>,
}

/// The options that we know.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    pub(crate) subnet: Option<Subnet>,
    pub(crate) cookie: Option<Cookie>,
    pub(crate) wants_nsid: bool,
    pub(crate) wants_keepalive: bool,
    pub(crate) wants_padding: bool,
    pub(crate) wants_decision: bool,
}

/// Options that cannot be read; the answer is FORMERR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// The lengths do not add up.
    Lengths,
    Subnet,
    Cookie,
    Keepalive,
}

impl From<ecs::Malformed> for Malformed {
    fn from(_: ecs::Malformed) -> Self {
        Self::Subnet
    }
}

impl From<MalformedCookie> for Malformed {
    fn from(_: MalformedCookie) -> Self {
        Self::Cookie
    }
}

impl Options {
    /// Reads the data of an OPT record.
    pub(crate) fn parse(mut data: &[u8]) -> Result<Self, Malformed> {
        let mut options = Self::default();
        while !data.is_empty() {
            let &[code_high, code_low, len_high, len_low, ref rest @ ..] = data else { return Err(Malformed::Lengths) };
            let len = usize::from(u16::from_be_bytes([len_high, len_low]));
            let (value, after) = rest.split_at_checked(len).ok_or(Malformed::Lengths)?;
            match u16::from_be_bytes([code_high, code_low]) {
                ecs::OPTION if options.subnet.is_some() => return Err(Malformed::Subnet),
                ecs::OPTION => options.subnet = Some(Subnet::parse(value)?),
                // Of several the first counts (RFC 7873, section 5.2).
                COOKIE if options.cookie.is_none() => options.cookie = Some(Cookie::parse(value)?),
                // Only servers state a time (RFC 7828, section 3.2.1).
                KEEPALIVE if !value.is_empty() => return Err(Malformed::Keepalive),
                KEEPALIVE => options.wants_keepalive = true,
                NSID => options.wants_nsid = true,
                PADDING => options.wants_padding = true,
                DECISION => options.wants_decision = true,
                _ => {}
            }
            data = after;
        }
        Ok(options)
    }

    /// Writes the options of the answer, but for padding.
    pub(crate) fn answer(&self, reply: &Reply<'_>, exchange: &Exchange<'_>, out: &mut Vec<u8>) {
        if let Some(subnet) = &self.subnet {
            option(ecs::OPTION, out, |out| subnet.answer(reply.scope_len, out));
        }
        if let Some(cookie) = exchange.cookie() {
            option(COOKIE, out, |out| out.extend_from_slice(cookie));
        }
        if let (true, Some(id)) = (self.wants_nsid, exchange.server_id()) {
            option(NSID, out, |out| out.extend(id.bytes().take(128)));
        }
        // Made for those alone who ask for it.
        if self.wants_decision
            && let Some(id) = exchange.decision(reply)
        {
            option(DECISION, out, |out| out.extend_from_slice(id.as_bytes()));
        }
        if let (true, Some(tenths)) = (self.wants_keepalive, exchange.keepalive_tenths()) {
            option(KEEPALIVE, out, |out| out.extend_from_slice(&tenths.to_be_bytes()));
        }
    }

    /// The padding option for an answer of `len` bytes without it; `None` where none is due. Not over UDP, where it would
    /// amplify and hide nothing.
    pub(crate) fn padding(&self, exchange: &Exchange<'_>, len: usize) -> Option<Vec<u8>> {
        if !self.wants_padding || !exchange.is_stream() {
            return None;
        }
        let with_head = len + 4;
        let padded = with_head.next_multiple_of(PADDING_BLOCK);
        let mut data = vec![];
        option(PADDING, &mut data, |data| data.resize(data.len() + padded - with_head, 0));
        (padded <= usize::from(u16::MAX)).then_some(data)
    }
}

/// Writes one option, with the data that `write` writes.
fn option(code: u16, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    push_u16(usize::from(code), out);
    with_length(out, write);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_cannot_be_read_are_told_apart() {
        for (data, malformed) in [
            (&[0, 3][..], Malformed::Lengths),
            (&[0, 3, 0, 1], Malformed::Lengths),
            (&[0, 8, 0, 3, 0, 1, 24], Malformed::Subnet),
            (&[0, 8, 0, 4, 0, 1, 0, 0, 0, 8, 0, 4, 0, 1, 0, 0], Malformed::Subnet),
            (&[0, 10, 0, 7, 1, 2, 3, 4, 5, 6, 7], Malformed::Cookie),
            (&[0, 11, 0, 2, 0, 100], Malformed::Keepalive),
        ] {
            assert_eq!(Options::parse(data).unwrap_err(), malformed, "{data:?}");
        }
    }

    #[test]
    fn what_is_unknown_is_passed_over() {
        let options = Options::parse(&[0xff, 0xf0, 0, 2, 1, 2, 0, 3, 0, 0, 0, 11, 0, 0, 0, 12, 0, 1, 0]).unwrap();
        assert!(options.wants_nsid && options.wants_keepalive && options.wants_padding);
        assert!(options.cookie.is_none() && options.subnet.is_none());
    }
}
