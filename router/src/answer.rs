//! From question to reply, for whatever parser read it: which code, which records, which scope.
//!
//! Knows names, types and clients; knows no bytes. Both parsers and HTTP routing come here, so they agree.

use std::net::IpAddr;

use cdn_core::{
    Counter, SourceNat,
    routing::{AnswerId, AskedBy, Snapshot},
    zone::{Found, RecordSet, RecordType, Zone},
};

use crate::{control::Published, ecs::Subnet};

/// A response code (RFC 1035, 6891, 7873).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    NoError,
    FormErr,
    ServFail,
    NxDomain,
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
            Self::BadVers => 16,
            Self::BadCookie => 23,
        }
    }
}

/// What to answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply<'a> {
    pub(crate) code: Code,
    pub(crate) body: Body<'a>,
    /// How many bits of the client's address the answer depends on; echoed only to those who sent a subnet.
    pub(crate) scope_len: u8,
}

/// The records of a reply.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Body<'a> {
    /// None: an error.
    Empty,
    /// Addresses of edges.
    Routed { snapshot: &'a Snapshot, host: usize, answer: AnswerId },
    /// Fixed records of the name that was asked for.
    Records(&'a RecordSet),
    /// The zone's SOA, in the authority section (RFC 2308).
    Denial(&'a Zone),
}

impl Reply<'_> {
    pub(crate) const fn error(code: Code) -> Self {
        Self { code, body: Body::Empty, scope_len: 0 }
    }

    /// Whether the answer comes from our own data (the AA bit).
    pub(crate) const fn is_authoritative(&self) -> bool {
        !matches!(self.body, Body::Empty)
    }

    /// What it is counted as.
    pub(crate) const fn counter(&self) -> Counter {
        match (self.code, self.body) {
            (Code::NoError, Body::Routed { .. }) => Counter::RouterDnsRouted,
            (Code::NoError, Body::Denial(_)) => Counter::RouterDnsNoData,
            (Code::NoError, Body::Records(_) | Body::Empty) => Counter::RouterDnsRecords,
            (Code::NxDomain, _) => Counter::RouterDnsNoName,
            (Code::FormErr, _) => Counter::RouterDnsMalformed,
            (Code::ServFail, _) => Counter::RouterDnsServerFailure,
            (Code::NotImp, _) => Counter::RouterDnsNotImplemented,
            (Code::Refused, _) => Counter::RouterDnsRefused,
            (Code::BadVers, _) => Counter::RouterDnsBadVersion,
            (Code::BadCookie, _) => Counter::RouterDnsBadCookie,
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
    match published.zones.find(question.name, question.wanted) {
        Found::Routed(host) => {
            let snapshot = &published.snapshot;
            let (client, asked_by) = client(question.subnet, question.peer);
            let (answer, scope_len) = snapshot.answer(host, client, turn);
            if snapshot.addresses(host, answer).next().is_none() {
                return Reply::error(Code::ServFail);
            }
            // Who opted out must get an answer that holds for all (RFC 7871, section 7.1.2).
            let scope_len = if matches!(asked_by, AskedBy::Subnet { .. }) { scope_len } else { 0 };
            Reply { code: Code::NoError, body: Body::Routed { snapshot, host, answer }, scope_len }
        }
        Found::Records(records) => Reply { code: Code::NoError, body: Body::Records(records), scope_len: 0 },
        // A denial holds for every client, and resolvers take it so (RFC 7871, section 7.4): scope 0.
        Found::NoData { zone, .. } => Reply { code: Code::NoError, body: Body::Denial(zone), scope_len: 0 },
        Found::NoName(zone) => Reply { code: Code::NxDomain, body: Body::Denial(zone), scope_len: 0 },
        Found::NotOurs => Reply::error(Code::Refused),
    }
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
