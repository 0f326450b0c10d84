//! One question and its answer, beside their content: what the sender has shown of itself, and what may be sent to it.
//!
//! Over UDP the sender's address may be forged, and the answer go to a victim. It is believed where the question came
//! over a connection, from a trusted network, or with a valid cookie. What it means not to be believed is decided in
//! [`cdn_core::response_rate`] and here: no more answers than the rate, and no large ones.

use std::net::IpAddr;

use cdn_core::{
    Counter,
    dns_cookie::CookieState,
    response_rate::{AnswerKind, ResponseRate, Sending},
    routing::{Snapshot, Subject},
};

use crate::{
    answer::{Code, Reply},
    control::Control,
    edns::{Edns, Malformed, Options},
};

/// What carried a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
    Https,
}

impl Transport {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Https => "https",
        }
    }
}

/// See the module. Told the options as soon as they are read, asked before the answer is written.
#[derive(Debug)]
pub(crate) struct Exchange<'e> {
    control: &'e Control,
    /// Where the sender's address may be forged and answers are limited.
    rate: Option<&'e mut ResponseRate>,
    transport: Transport,
    peer: IpAddr,
    is_believed: bool,
    cookie: Option<[u8; 24]>,
    is_cut_short: bool,
}

impl<'e> Exchange<'e> {
    /// A question from `peer`, which is the address it stands for.
    pub(crate) fn new(
        control: &'e Control,
        rate: Option<&'e mut ResponseRate>,
        transport: Transport,
        peer: IpAddr,
    ) -> Self {
        let is_believed =
            transport != Transport::Udp || control.limits.trusted_networks.iter().any(|net| net.contains(&peer));
        Self { control, rate, transport, peer, is_believed, cookie: None, is_cut_short: false }
    }

    /// The sender's address, translated.
    pub(crate) const fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Takes the OPT record into account, where there is one. It may say that the answer must be an error.
    pub(crate) fn handle_edns(&mut self, edns: Option<&Edns>) -> Option<Code> {
        let edns = edns?;
        if edns.version == 0 { self.handle_options(&edns.options) } else { Some(Code::BadVers) }
    }

    fn handle_options(&mut self, options: &Result<Options, Malformed>) -> Option<Code> {
        let counters = &self.control.counters;
        let options = match options {
            Ok(options) => options,
            Err(malformed) => {
                match malformed {
                    Malformed::Subnet => counters.bump(Counter::RouterDnsSubnetsMalformed),
                    Malformed::Cookie => counters.bump(Counter::RouterDnsCookiesMalformed),
                    Malformed::Lengths | Malformed::Keepalive => {}
                }
                return Some(Code::FormErr);
            }
        };
        if options.subnet.is_some() {
            counters.bump(Counter::RouterDnsQueriesSubnet);
        }
        let (Some(cookie), Some(cookies)) = (&options.cookie, &self.control.cookies) else { return None };
        let (state, answer) = cookies.secrets.check(cookie, self.peer, self.control.unix_s());
        self.cookie = Some(answer);
        match state {
            CookieState::Valid => {
                counters.bump(Counter::RouterDnsCookiesValid);
                self.is_believed = true;
                return None;
            }
            CookieState::Asked => counters.bump(Counter::RouterDnsCookiesAsked),
            CookieState::Invalid => counters.bump(Counter::RouterDnsCookiesInvalid),
        }
        // A connection has shown the address by itself (RFC 7873, section 5.2.3).
        (cookies.is_required && self.transport == Transport::Udp).then_some(Code::BadCookie)
    }

    /// What becomes of `reply`. A truncated answer carries no more than its question and a cookie.
    pub(crate) fn sending(&mut self, reply: &Reply<'_>) -> Sending {
        if self.is_believed {
            return Sending::Whole;
        }
        let counters = &self.control.counters;
        let kind = match reply.code {
            Code::NoError if reply.answer.is_denial() => AnswerKind::Negative,
            Code::NxDomain => AnswerKind::Negative,
            Code::NoError | Code::YxDomain => AnswerKind::Positive,
            _ => AnswerKind::Error,
        };
        let sending = match &mut self.rate {
            Some(rate) => rate.handle_answer(self.control.now(), self.peer, kind),
            None => Sending::Whole,
        };
        match sending {
            Sending::Nothing => counters.bump(Counter::RouterDnsLimitedDropped),
            Sending::Truncated => counters.bump(Counter::RouterDnsLimitedTruncated),
            Sending::Whole => {
                let is_required = self.control.cookies.as_ref().is_some_and(|cookies| cookies.is_required);
                if is_required && kind != AnswerKind::Error {
                    counters.bump(Counter::RouterDnsCookiesMissing);
                    self.is_cut_short = true;
                    return Sending::Truncated;
                }
            }
        }
        self.is_cut_short = sending == Sending::Truncated;
        sending
    }

    /// How long the answer may be. By UDP: 512 bytes for those without EDNS (RFC 1035, section 4.2.1), else what they
    /// advertise, within what we are ready to send to them.
    pub(crate) fn bytes_max(&self, edns_payload_max: Option<u16>) -> usize {
        if self.is_stream() {
            return usize::from(u16::MAX);
        }
        let limits = &self.control.limits;
        let most = if self.is_believed {
            limits.udp_payload_max
        } else {
            limits.udp_payload_max.min(limits.udp_unproven_bytes_max)
        };
        usize::from(edns_payload_max.unwrap_or(512).clamp(512, limits.udp_payload_max.max(512)).min(most.max(512)))
    }

    /// The largest question that we take by UDP, as the OPT record says it.
    pub(crate) fn udp_payload_max(&self) -> u16 {
        self.control.limits.udp_payload_max
    }

    /// Whether the answer goes over a connection.
    pub(crate) fn is_stream(&self) -> bool {
        self.transport != Transport::Udp
    }

    /// The cookie for the answer.
    pub(crate) fn cookie(&self) -> Option<&[u8; 24]> {
        self.cookie.as_ref()
    }

    /// What we say of ourselves to those who ask; not in an answer that is to be short.
    pub(crate) fn server_id(&self) -> Option<&'e str> {
        self.control.server_id.as_deref().filter(|_| !self.is_cut_short)
    }

    /// The id of the decision in `reply`, if there is one; not in an answer that is to be short.
    pub(crate) fn decision(&self, reply: &Reply<'_>) -> Option<String> {
        let routed = reply.routed.filter(|_| !self.is_cut_short)?;
        Some(self.decision_id(routed.snapshot, routed.subject))
    }

    /// The id of a decision.
    pub(crate) fn decision_id(&self, snapshot: &Snapshot, subject: Subject) -> String {
        let turn = snapshot.turn(subject.host, subject.turn);
        self.control.namer.id(snapshot.version(), Subject { turn, ..subject }).to_string()
    }

    /// What `version.bind` answers.
    pub(crate) fn version(&self) -> Option<&'e str> {
        self.control.version.as_deref()
    }

    /// How long a connection may be idle, in units of 100 ms (RFC 7828); `None` where there is none of ours.
    pub(crate) fn keepalive_tenths(&self) -> Option<u16> {
        let tenths = self.control.limits.tcp_timeout.as_millis() / 100;
        (self.transport == Transport::Tcp).then(|| u16::try_from(tenths).unwrap_or(u16::MAX))
    }
}
