//! The slow and complete path: DNS messages of unusual shape, read and written by hickory-proto, which only this file
//! knows. Decisions are the same as on the fast path: both ask [`answer::reply`].

use std::net::IpAddr;

use cdn_core::{
    Counter,
    zone::{Data, Name, RecordSet, RecordType, Soa, Zone},
};
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, ResponseCode},
    rr::{
        self, DNSClass, RData, Record,
        rdata::{
            A, NS, SOA, TXT,
            opt::{EdnsCode, EdnsOption},
        },
    },
};

use crate::{
    answer::{self, Body, Code, Question, Reply},
    control::Published,
    respond::{Transport, bare},
    wire::{self, Options, ServerSays},
};

/// An answer was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) counter: Counter,
    pub(crate) is_truncated: bool,
}

/// Writes the answer to `message`; `None` if it deserves none.
pub(crate) fn handle_message(
    published: &Published,
    message: &[u8],
    peer: IpAddr,
    transport: Transport,
    server: &ServerSays<'_>,
    turn: u64,
    out: &mut Vec<u8>,
) -> Option<Sent> {
    let Ok(query) = Message::from_vec(message) else {
        // What cannot be read may still be an operation that we do not have.
        let opcode = message.get(2).map_or(0, |flags| flags >> 3 & 0xf);
        return bare(message, if opcode == 0 { Code::FormErr } else { Code::NotImp }, out);
    };
    if query.metadata.message_type == MessageType::Response {
        return None;
    }
    if query.metadata.op_code != OpCode::Query {
        return write(&query, &Reply::error(Code::NotImp), None, transport, server, out);
    }
    let Ok(options) = wire::opt_data(message).map(Options::parse).transpose() else {
        return write(&query, &Reply::error(Code::FormErr), None, transport, server, out);
    };
    if query.edns.as_ref().is_some_and(|edns| edns.version() != 0) {
        return write(&query, &Reply::error(Code::BadVers), None, transport, server, out);
    }
    let [question] = query.queries.as_slice() else {
        return write(&query, &Reply::error(Code::FormErr), None, transport, server, out);
    };
    let wanted = RecordType(u16::from(question.query_type()));
    let server_id;
    let name = canonical(question.name());
    let reply = match question.query_class() {
        DNSClass::IN => {
            let subnet = options.and_then(|options| options.subnet);
            answer::reply(published, Question { name: &name, wanted, subnet, peer }, turn)
        }
        DNSClass::CH if wanted == RecordType::TXT && is_server_id(&name) => match server.id {
            Some(id) => {
                let text = id.as_bytes().get(..id.len().min(255)).unwrap_or_default();
                server_id = RecordSet { ttl_s: 0, data: vec![Data::Txt(text.into())] };
                Reply { code: Code::NoError, body: Body::Records(&server_id), scope_len: 0 }
            }
            None => Reply::error(Code::Refused),
        },
        _ => Reply::error(Code::Refused),
    };
    write(&query, &reply, options.as_ref(), transport, server, out)
}

/// `id.server` (RFC 4892) and its forerunner.
fn is_server_id(name: &[u8]) -> bool {
    [&b"\x02id\x06server"[..], b"\x08hostname\x04bind"].contains(&name)
}

fn write(
    query: &Message,
    reply: &Reply<'_>,
    options: Option<&Options>,
    transport: Transport,
    server: &ServerSays<'_>,
    out: &mut Vec<u8>,
) -> Option<Sent> {
    let sent = |is_truncated| Some(Sent { counter: reply.counter(), is_truncated });
    let bytes_max = match transport {
        Transport::Udp => server.udp_bytes_max(query.edns.as_ref().map(Edns::max_payload)),
        Transport::Tcp => usize::from(u16::MAX),
    };
    let mut response = Message::new(query.metadata.id, MessageType::Response, query.metadata.op_code);
    response.metadata.recursion_desired = query.metadata.recursion_desired;
    response.metadata.authoritative = reply.is_authoritative();
    response.metadata.response_code = ResponseCode::from(0, reply.code.number() as u8);
    if reply.code == Code::BadVers {
        response.metadata.response_code = ResponseCode::BADVERS;
    }
    // Several questions are echoed only as far as there is one that was answered.
    if let [question] = query.queries.as_slice() {
        response.add_query(question.clone());
        if add_records(&mut response, question.name(), question.query_class(), reply).is_none() {
            return bare_from(query, Code::ServFail, out);
        }
    }
    if let Some(asked) = &query.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(server.udp_payload_max).set_dnssec_ok(asked.flags().dnssec_ok);
        if let Some(options) = options {
            add_options(&mut edns, options, reply, server);
        }
        response.set_edns(edns);
    }
    let Ok(bytes) = response.to_vec() else { return bare_from(query, Code::ServFail, out) };
    out.clear();
    if bytes.len() <= bytes_max {
        out.extend_from_slice(&bytes);
        return sent(false);
    }
    response.answers.clear();
    response.authorities.clear();
    response.metadata.truncation = true;
    let Ok(bytes) = response.to_vec() else { return bare_from(query, Code::ServFail, out) };
    out.extend_from_slice(&bytes);
    sent(true)
}

/// A header alone, for an answer that could not be written.
fn bare_from(query: &Message, code: Code, out: &mut Vec<u8>) -> Option<Sent> {
    let response =
        Message::error_msg(query.metadata.id, query.metadata.op_code, ResponseCode::from(0, code.number() as u8));
    out.clear();
    out.extend_from_slice(&response.to_vec().ok()?);
    Some(Sent { counter: Reply::error(code).counter(), is_truncated: false })
}

/// `None` if a name of ours is none to hickory.
fn add_records(response: &mut Message, owner: &rr::Name, class: DNSClass, reply: &Reply<'_>) -> Option<()> {
    match reply.body {
        Body::Empty => {}
        Body::Routed { snapshot, host, answer } => {
            let ttl_s = u32::try_from(snapshot.ttl().as_secs()).unwrap_or(u32::MAX);
            for address in snapshot.addresses(host, answer) {
                response.add_answer(Record::from_rdata(owner.clone(), ttl_s, RData::A(A(*address.ip()))));
            }
        }
        Body::Records(records) => {
            for data in &records.data {
                let mut record = Record::from_rdata(owner.clone(), records.ttl_s, rdata(data)?);
                record.dns_class = class;
                response.add_answer(record);
            }
        }
        Body::Denial(Zone { apex, soa, ttl_s }) => {
            let ttl_s = (*ttl_s).min(soa.minimum_s);
            response.add_authority(Record::from_rdata(hickory(apex)?, ttl_s, RData::SOA(hickory_soa(soa)?)));
        }
    }
    Some(())
}

fn add_options(edns: &mut Edns, options: &Options, reply: &Reply<'_>, server: &ServerSays<'_>) {
    // The bytes are those of the fast path; hickory only carries them.
    let mut data = vec![];
    options.answer(reply, server, &mut data);
    let mut rest = data.as_slice();
    while let &[code_high, code_low, len_high, len_low, ref after @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([len_high, len_low]));
        let (Some(value), Some(next)) = (after.get(..len), after.get(len..)) else { return };
        let code = u16::from_be_bytes([code_high, code_low]);
        let option = EdnsOption::Unknown(code, value.to_vec());
        edns.options_mut().options.push((EdnsCode::from(code), option));
        rest = next;
    }
}

fn rdata(data: &Data) -> Option<RData> {
    Some(match data {
        Data::A(address) => RData::A(A(*address)),
        Data::Ns(name) => RData::NS(NS(hickory(name)?)),
        Data::Soa(soa) => RData::SOA(hickory_soa(soa)?),
        Data::Txt(text) => RData::TXT(TXT::from_bytes(vec![text])),
    })
}

fn hickory_soa(soa: &Soa) -> Option<SOA> {
    let signed = |seconds: u32| i32::try_from(seconds).unwrap_or(i32::MAX);
    Some(SOA::new(
        hickory(&soa.primary)?,
        hickory(&soa.contact)?,
        soa.serial,
        signed(soa.refresh_s),
        signed(soa.retry_s),
        signed(soa.expire_s),
        soa.minimum_s,
    ))
}

fn hickory(name: &Name) -> Option<rr::Name> {
    let mut name = rr::Name::from_labels(name.labels()).ok()?;
    name.set_fqdn(true);
    Some(name)
}

fn canonical(name: &rr::Name) -> Vec<u8> {
    let mut bytes = vec![];
    for label in name.iter() {
        bytes.push(u8::try_from(label.len()).unwrap_or(0));
        bytes.extend(label.iter().map(u8::to_ascii_lowercase));
    }
    bytes
}
