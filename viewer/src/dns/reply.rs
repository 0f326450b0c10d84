//! DNS messages: the question that is sent, and what is believed of an answer.
//!
//! Decides which datagrams are answers to a question at all (RFC 5452 section 9.1), how long one may be kept (RFC 2181
//! section 8, RFC 2308 section 5) and for whom (RFC 7871 section 7.3). Knows no socket and no clock.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::opt::{ClientSubnet, EdnsCode, EdnsOption},
    },
};
use ipnet::Ipv4Net;

/// The UDP payload that is offered: fits an IPv6 packet of 1280 bytes (DNS Flag Day 2020).
pub(crate) const UDP_PAYLOAD_MAX: u16 = 1232;
/// CNAMEs that are followed for one name.
pub(crate) const ALIASES_MAX: usize = 8;

/// What is asked, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    pub(crate) name: Name,
    pub(crate) kind: RecordType,
    /// The client's network, sent along as client subnet; `None` sends none.
    pub(crate) subnet: Option<Ipv4Net>,
}

impl Question {
    /// The message on the wire. RD is clear: the resolver asks an authority.
    pub(crate) fn encode(&self, id: u16) -> Result<Vec<u8>, String> {
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(self.name.clone(), self.kind));
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_PAYLOAD_MAX);
        if let Some(subnet) = self.subnet {
            let option = ClientSubnet::new(IpAddr::V4(subnet.network()), subnet.prefix_len(), 0);
            edns.options_mut().insert(EdnsOption::Subnet(option));
        }
        message.set_edns(edns);
        message.to_vec().map_err(|error| error.to_string())
    }
}

/// An answer of a router.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) rcode: ResponseCode,
    pub(crate) authoritative: bool,
    pub(crate) truncated: bool,
    pub(crate) recursion_available: bool,
    pub(crate) answers: Vec<Record>,
    pub(crate) authority: Vec<Record>,
    /// The scope of the client subnet option, when the answer carries one for the subnet that was sent.
    pub(crate) scope: Option<u8>,
    /// The router that answered.
    pub(crate) server: SocketAddr,
    /// Whether TCP was needed.
    pub(crate) tcp: bool,
    /// Queries that were sent before this answer came, itself included.
    pub(crate) tries: u32,
}

/// What an answer says of a name's addresses.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Chain {
    /// Here they are, in the order given.
    Addresses(Vec<IpAddr>),
    /// The name is another's alias, and the answer does not say more.
    Alias(Name),
    /// There are none.
    Nothing,
}

impl Reply {
    /// Reads `bytes` as an answer to `question` sent with `id`; `None` when it is none, and the wait goes on.
    pub(crate) fn decode(bytes: &[u8], id: u16, question: &Question, server: SocketAddr) -> Option<Self> {
        let message = Message::from_vec(bytes).ok()?;
        let metadata = &message.metadata;
        let [asked] = message.queries.as_slice() else { return None };
        let ours = metadata.id == id
            && metadata.message_type == MessageType::Response
            && metadata.op_code == OpCode::Query
            && asked.name() == &question.name
            && asked.query_type() == question.kind
            && asked.query_class() == DNSClass::IN;
        if !ours {
            return None;
        }
        let scope = match message.edns.as_ref().and_then(|edns| edns.option(EdnsCode::Subnet)) {
            Some(EdnsOption::Subnet(echo)) => match question.subnet {
                // RFC 7871 section 7.3: an echo of another subnet answers somebody else's question.
                Some(sent) if echo.addr() != sent.network() || echo.source_prefix() != sent.prefix_len() => {
                    return None;
                }
                Some(_) => Some(echo.scope_prefix()),
                None => None,
            },
            _ => None,
        };
        Some(Self {
            rcode: metadata.response_code,
            authoritative: metadata.authoritative,
            truncated: metadata.truncation,
            recursion_available: metadata.recursion_available,
            answers: message.answers,
            authority: message.authorities,
            scope,
            server,
            tcp: false,
            tries: 1,
        })
    }

    /// Whether another router may know better: the answer is about the server, not about the name.
    pub(crate) fn is_servers_failure(&self) -> bool {
        !matches!(self.rcode, ResponseCode::NoError | ResponseCode::NXDomain)
    }

    /// The addresses of `name`, following the aliases that the answer itself explains.
    pub(crate) fn chain(&self, name: &Name) -> Chain {
        let mut name = name;
        for _ in 0..ALIASES_MAX {
            let addresses: Vec<IpAddr> = self
                .answers
                .iter()
                .filter(|record| &record.name == name)
                .filter_map(|record| match &record.data {
                    RData::A(address) => Some(address.0.into()),
                    RData::AAAA(address) => Some(address.0.into()),
                    _ => None,
                })
                .collect();
            if !addresses.is_empty() {
                return Chain::Addresses(addresses);
            }
            let alias = self.answers.iter().find_map(|record| match &record.data {
                RData::CNAME(target) if &record.name == name => Some(&target.0),
                _ => None,
            });
            match alias {
                Some(target) => name = target,
                None if self.answers.iter().any(|record| matches!(&record.data, RData::CNAME(t) if &t.0 == name)) => {
                    return Chain::Alias(name.clone());
                }
                None => return Chain::Nothing,
            }
        }
        Chain::Nothing
    }

    /// How long the answer may be kept; `None` when it may not.
    ///
    /// The smallest TTL of an answer (RFC 2181 section 5.2); for "no such name" and "no such data" the smaller of the
    /// SOA's TTL and its MINIMUM, and nothing without SOA (RFC 2308 section 5). Failures are not kept.
    pub(crate) fn ttl(&self, cap: Duration) -> Option<Duration> {
        if self.is_servers_failure() || self.truncated {
            return None;
        }
        let seconds = if self.answers.is_empty() {
            self.authority.iter().find_map(|record| match &record.data {
                RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
                _ => None,
            })?
        } else {
            self.answers.iter().map(|record| record.ttl).min()?
        };
        // RFC 2181 section 8: a TTL with the top bit set is zero.
        let seconds = if seconds > i32::MAX as u32 { 0 } else { seconds };
        (seconds > 0).then(|| Duration::from_secs(seconds.into()).min(cap))
    }

    /// Whom the answer is for, when it was asked with `subnet`: the scope, but never narrower than what was sent
    /// (RFC 7871 section 7.3.1).
    pub(crate) fn audience(&self, subnet: Ipv4Net) -> Ipv4Net {
        let length = self.scope.unwrap_or(0).min(subnet.prefix_len());
        Ipv4Net::new(subnet.network(), length).map_or(subnet, |net| net.trunc())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_proto::rr::rdata::{A, CNAME, SOA};
    use proptest::prelude::*;

    use super::*;

    const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4453);

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn question() -> Question {
        Question { name: name("www.demo.test."), kind: RecordType::A, subnet: Some("198.18.41.0/24".parse().unwrap()) }
    }

    fn answer_to(question: &Question, id: u16) -> Message {
        let mut message = Message::new(id, MessageType::Response, OpCode::Query);
        message.add_query(Query::query(question.name.clone(), question.kind));
        message
    }

    fn decoded(message: &Message) -> Option<Reply> {
        Reply::decode(&message.to_vec().unwrap(), 7, &question(), SERVER)
    }

    #[test]
    fn the_client_subnet_on_the_wire_has_family_prefix_scope_zero_and_three_bytes() {
        let bytes = question().encode(7).unwrap();
        // OPTION-CODE 8, length 7, family 1, source /24, scope /0, 198.18.41 (RFC 7871 section 6).
        let option = [0, 8, 0, 7, 0, 1, 24, 0, 198, 18, 41];
        assert!(bytes.windows(option.len()).any(|window| window == option), "{bytes:?}");
        let without = Question { subnet: None, ..question() }.encode(7).unwrap();
        assert_eq!(without.len() + option.len(), bytes.len());
    }

    #[test]
    fn only_an_answer_to_this_question_is_believed() {
        assert!(decoded(&answer_to(&question(), 7)).is_some());
        assert!(decoded(&answer_to(&question(), 8)).is_none());
        let mut query = answer_to(&question(), 7);
        query.metadata.message_type = MessageType::Query;
        assert!(decoded(&query).is_none());
        let other = Question { name: name("evil.test."), ..question() };
        assert!(decoded(&answer_to(&other, 7)).is_none());
        assert!(Reply::decode(b"\0\x07garbage", 7, &question(), SERVER).is_none());
    }

    #[test]
    fn an_echo_of_another_subnet_is_no_answer() {
        let mut message = answer_to(&question(), 7);
        let mut edns = Edns::new();
        edns.options_mut().insert(EdnsOption::Subnet(ClientSubnet::new([198, 18, 42, 0].into(), 24, 24)));
        message.set_edns(edns);
        assert!(decoded(&message).is_none());
    }

    #[test]
    fn aliases_are_followed_inside_an_answer() {
        let mut message = answer_to(&question(), 7);
        let alias = RData::CNAME(CNAME(name("d1.cdn.test.")));
        message.add_answer(Record::from_rdata(name("www.demo.test."), 60, alias));
        let unexplained = decoded(&message).unwrap();
        assert_eq!(unexplained.chain(&question().name), Chain::Alias(name("d1.cdn.test.")));
        message.add_answer(Record::from_rdata(name("d1.cdn.test."), 20, RData::A(A::new(127, 77, 0, 1))));
        let explained = decoded(&message).unwrap();
        assert_eq!(explained.chain(&question().name), Chain::Addresses(vec![[127, 77, 0, 1].into()]));
        assert_eq!(explained.ttl(Duration::MAX), Some(Duration::from_secs(20)));
    }

    #[test]
    fn a_circle_of_aliases_has_no_addresses() {
        let mut message = answer_to(&question(), 7);
        let own = RData::CNAME(CNAME(name("www.demo.test.")));
        message.add_answer(Record::from_rdata(name("www.demo.test."), 60, own));
        assert_eq!(decoded(&message).unwrap().chain(&question().name), Chain::Nothing);
    }

    #[test]
    fn a_negative_answer_is_kept_as_long_as_the_smaller_of_soa_ttl_and_minimum() {
        let mut message = answer_to(&question(), 7);
        message.metadata.response_code = ResponseCode::NXDomain;
        assert_eq!(decoded(&message).unwrap().ttl(Duration::MAX), None);
        let soa = SOA::new(name("ns."), name("root."), 1, 1, 1, 1, 30);
        message.add_authority(Record::from_rdata(name("demo.test."), 90, RData::SOA(soa)));
        assert_eq!(decoded(&message).unwrap().ttl(Duration::MAX), Some(Duration::from_secs(30)));
        message.metadata.response_code = ResponseCode::ServFail;
        assert_eq!(decoded(&message).unwrap().ttl(Duration::MAX), None);
    }

    #[test]
    fn scope_widens_the_audience_and_never_narrows_it() {
        let mut reply = decoded(&answer_to(&question(), 7)).unwrap();
        let sent: Ipv4Net = "198.18.41.0/24".parse().unwrap();
        for (scope, audience) in [(None, "0.0.0.0/0"), (Some(16), "198.18.0.0/16"), (Some(32), "198.18.41.0/24")] {
            reply.scope = scope;
            assert_eq!(reply.audience(sent), audience.parse().unwrap());
        }
    }

    proptest! {
        #[test]
        fn no_datagram_breaks_the_reader(
            garbage in prop::collection::vec(any::<u8>(), 0..80),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let mut message = answer_to(&question(), 7);
            let alias = RData::CNAME(CNAME(name("d1.cdn.test.")));
            message.add_answer(Record::from_rdata(name("www.demo.test."), 60, alias));
            message.add_answer(Record::from_rdata(name("d1.cdn.test."), 20, RData::A(A::new(127, 77, 0, 1))));
            let mut bytes = message.to_vec().unwrap();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            for datagram in [garbage, bytes] {
                if let Some(reply) = Reply::decode(&datagram, 7, &question(), SERVER) {
                    let _ = (reply.chain(&question().name), reply.ttl(Duration::MAX));
                }
            }
        }
    }
}
