//! From question to reply, for whatever parser read it: which code, which records, which scope.
//!
//! Knows names, types and clients; knows no bytes. Both parsers and HTTP routing come here, so they agree.

use std::net::{IpAddr, SocketAddrV4};

use cdn_core::{
    Counter, SourceNat,
    routing::{AnswerId, AskedBy, EdgeAddresses, Snapshot, Subject},
    zone::{Answer, AnswerCode, HttpsEndpoint, RecordType},
};

use crate::{control::Published, ecs::Subnet};

/// A response code (RFC 1035, 2136, 6891, 7873).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    NoError,
    FormErr,
    ServFail,
    NxDomain,
    YxDomain,
    NotImp,
    Refused,
    BadVers,
    BadCookie,
}

impl Code {
    pub(crate) const fn number(self) -> u16 {
        match self {
            Self::NoError => 0,
            Self::FormErr => 1,
            Self::ServFail => 2,
            Self::NxDomain => 3,
            Self::NotImp => 4,
            Self::Refused => 5,
            Self::YxDomain => 6,
            Self::BadVers => 16,
            Self::BadCookie => 23,
        }
    }
}

impl From<AnswerCode> for Code {
    fn from(code: AnswerCode) -> Self {
        match code {
            AnswerCode::NoError => Self::NoError,
            AnswerCode::NxDomain => Self::NxDomain,
            AnswerCode::YxDomain => Self::YxDomain,
            AnswerCode::Refused => Self::Refused,
        }
    }
}

/// What to answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply<'a> {
    pub(crate) code: Code,
    pub(crate) answer: Answer<'a>,
    /// Where the answer has addresses of edges: which.
    pub(crate) routed: Option<Routed<'a>>,
    /// How many bits of the client's address the answer depends on; echoed only to those who sent a subnet.
    pub(crate) scope_len: u8,
}

/// Edges chosen for a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Routed<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) subject: Subject,
    pub(crate) answer: AnswerId,
    /// Where edges speak HTTPS, and what, if they do.
    pub(crate) https: HttpsEndpoint,
}

impl Routed<'_> {
    /// Their addresses, best first.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddrV4> + '_ {
        self.snapshot.addresses(self.subject.host, self.answer)
    }

    /// The same, with the IPv6 addresses that they have.
    pub(crate) fn edges(&self) -> impl Iterator<Item = EdgeAddresses> + '_ {
        self.snapshot.edges(self.subject.host, self.answer)
    }
}

impl<'a> Reply<'a> {
    pub(crate) const fn error(code: Code) -> Self {
        Self { code, answer: Answer::empty(AnswerCode::NoError, false), routed: None, scope_len: 0 }
    }

    /// An answer that is the same for everybody.
    pub(crate) fn fixed(answer: Answer<'a>) -> Self {
        Self { code: answer.code.into(), answer, routed: None, scope_len: 0 }
    }

    /// What it is counted as.
    pub(crate) fn counter(&self) -> Counter {
        match self.code {
            Code::NoError if self.routed.is_some() => Counter::RouterDnsRouted,
            Code::NoError if self.answer.is_referral() => Counter::RouterDnsReferrals,
            Code::NoError if self.answer.answer.is_empty() => Counter::RouterDnsNoData,
            Code::NoError => Counter::RouterDnsRecords,
            Code::NxDomain | Code::YxDomain => Counter::RouterDnsNoName,
            Code::FormErr => Counter::RouterDnsMalformed,
            Code::ServFail => Counter::RouterDnsServerFailure,
            Code::NotImp => Counter::RouterDnsNotImplemented,
            Code::Refused => Counter::RouterDnsRefused,
            Code::BadVers => Counter::RouterDnsBadVersion,
            Code::BadCookie => Counter::RouterDnsBadCookie,
        }
    }
}

/// A question as far as deciding goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'q> {
    /// Canonical bytes: lower case, without the root's label.
    pub(crate) name: &'q [u8],
    pub(crate) wanted: RecordType,
    pub(crate) subnet: Option<Subnet>,
    /// Who sent it, already translated.
    pub(crate) peer: IpAddr,
}

/// The reply to a question of class IN.
pub(crate) fn reply<'a>(published: &'a Published, question: Question<'_>, turn: u64) -> Reply<'a> {
    match question.wanted {
        RecordType::AXFR | RecordType::IXFR => return Reply::error(Code::Refused),
        RecordType::OPT => return Reply::error(Code::FormErr),
        // TKEY, TSIG and the obsolete mail types: questions about nothing that a zone holds (RFC 6895, section 3.1).
        RecordType(249 | 250 | 253 | 254) => return Reply::error(Code::NotImp),
        _ => {}
    }
    let answer = published.zones.answer(question.name, question.wanted);
    // A denial holds for every client, and resolvers take it so (RFC 7871, section 7.4): scope 0.
    let Some(host) = answer.routed_host() else { return Reply::fixed(answer) };
    let snapshot = &published.snapshot;
    let (client, asked_by) = client(question.subnet, question.peer);
    let (chosen, scope_len) = snapshot.answer(host, client, turn);
    let subject = Subject { host, client, asked_by, turn };
    let https = HttpsEndpoint {
        // Nobody is told of a port where edges speak none.
        port: published.zones.routed_types().https.unwrap_or_default(),
        http_version: published.http_versions.get(host).copied().unwrap_or_default(),
    };
    let routed = Routed { snapshot, subject, answer: chosen, https };
    if routed.addresses().next().is_none() {
        return Reply::error(Code::ServFail);
    }
    // Who opted out must get an answer that holds for all (RFC 7871, section 7.1.2).
    let scope_len = if matches!(asked_by, AskedBy::Subnet { .. }) { scope_len } else { 0 };
    Reply { code: answer.code.into(), answer, routed: Some(routed), scope_len }
}

/// The address that a decision is made for, and where it came from.
pub(crate) fn client(subnet: Option<Subnet>, peer: IpAddr) -> (IpAddr, AskedBy) {
    match subnet {
        Some(subnet) => subnet.client().unwrap_or((peer, AskedBy::OptOut)),
        None => (peer, AskedBy::Peer),
    }
}

/// The address that `peer` stands for.
pub(crate) fn translated(nat: Option<&SourceNat>, peer: IpAddr) -> IpAddr {
    nat.map_or_else(|| peer.to_canonical(), |nat| nat.translate(peer))
}
