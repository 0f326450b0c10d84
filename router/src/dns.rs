//! The slow and complete path: DNS messages of unusual shape, read and written by hickory-proto, which only this file
//! knows. Decisions are the same as on the fast path: both ask [`answer::reply`].

use cdn_core::{
    response_rate::Sending,
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
    edns::Options,
    exchange::Exchange,
    respond::{Sent, Silence, bare},
    walk::Walk,
    why,
};

/// Writes the answer to `message`.
pub(crate) fn handle_message(
    published: &Published,
    message: &[u8],
    exchange: &mut Exchange<'_>,
    turn: u64,
    out: &mut Vec<u8>,
) -> Result<Sent, Silence> {
    let Ok(query) = Message::from_vec(message) else {
        // What cannot be read may still be an operation that we do not have.
        let opcode = message.get(2).map_or(0, |flags| flags >> 3 & 0xf);
        return bare(message, if opcode == 0 { Code::FormErr } else { Code::NotImp }, exchange, out);
    };
    if query.metadata.message_type == MessageType::Response {
        return Err(Silence::Undeserved);
    }
    let error =
        |code, exchange: &mut Exchange<'_>, out: &mut Vec<u8>| write(&query, &Reply::error(code), None, exchange, out);
    if query.metadata.op_code != OpCode::Query {
        return error(Code::NotImp, exchange, out);
    }
    // hickory passes over what follows the last record.
    let Some(walk) = Walk::through(message).filter(|walk| walk.rest.is_empty()) else {
        return error(Code::FormErr, exchange, out);
    };
    if query.edns.as_ref().is_some_and(|edns| edns.version() != 0) {
        return error(Code::BadVers, exchange, out);
    }
    let options = walk.opt.map(Options::parse);
    let refused = options.as_ref().and_then(|options| exchange.handle_options(options));
    let options = options.and_then(Result::ok);
    if let Some(code) = refused {
        return write(&query, &Reply::error(code), options.as_ref(), exchange, out);
    }
    let question = match query.queries.as_slice() {
        [question] => question,
        // No question but a cookie: this asks for a server cookie (RFC 7873, section 5.4).
        [] if exchange.cookie().is_some() => {
            let reply = Reply { code: Code::NoError, body: Body::Empty, scope_len: 0 };
            return write(&query, &reply, options.as_ref(), exchange, out);
        }
        _ => return error(Code::FormErr, exchange, out),
    };
    let wanted = RecordType(u16::from(question.query_type()));
    let text;
    let mut told = RecordSet::default();
    let name = canonical(question.name());
    let reply = match question.query_class() {
        DNSClass::IN => {
            let subnet = options.and_then(|options| options.subnet);
            let question = Question { name: &name, wanted, subnet, peer: exchange.peer() };
            why::reply(published, question, turn, &mut told).unwrap_or_else(|| answer::reply(published, question, turn))
        }
        DNSClass::CH if wanted == RecordType::TXT => match of_the_server(&name, exchange) {
            Some(words) => {
                let words = words.as_bytes().get(..words.len().min(255)).unwrap_or_default();
                text = RecordSet { ttl_s: 0, data: vec![Data::Txt(words.into())] };
                Reply { code: Code::NoError, body: Body::Records(&text), scope_len: 0 }
            }
            None => Reply::error(Code::Refused),
        },
        _ => Reply::error(Code::Refused),
    };
    write(&query, &reply, options.as_ref(), exchange, out)
}

/// `id.server` (RFC 4892), `version.server`, and their forerunners.
fn of_the_server<'e>(name: &[u8], exchange: &Exchange<'e>) -> Option<&'e str> {
    match name {
        b"\x02id\x06server" | b"\x08hostname\x04bind" => exchange.server_id(),
        b"\x07version\x06server" | b"\x07version\x04bind" => exchange.version(),
        _ => None,
    }
}

fn write(
    query: &Message,
    reply: &Reply<'_>,
    options: Option<&Options>,
    exchange: &mut Exchange<'_>,
    out: &mut Vec<u8>,
) -> Result<Sent, Silence> {
    let bytes_max = match exchange.sending(reply) {
        Sending::Whole => exchange.bytes_max(query.edns.as_ref().map(Edns::max_payload)),
        Sending::Truncated => 0,
        Sending::Nothing => return Err(Silence::Limited),
    };
    let mut response = Message::new(query.metadata.id, MessageType::Response, query.metadata.op_code);
    response.metadata.recursion_desired = query.metadata.recursion_desired;
    response.metadata.authoritative = reply.is_authoritative();
    response.metadata.response_code = match reply.code {
        // Sixteen is BADSIG too, and hickory reads it so.
        Code::BadVers => ResponseCode::BADVERS,
        code => code.number().into(),
    };
    // Several questions are echoed only as far as there is one that was answered.
    if let [question] = query.queries.as_slice() {
        response.add_query(question.clone());
        if add_records(&mut response, question.name(), question.query_class(), reply).is_none() {
            return bare_from(query, Code::ServFail, out);
        }
    }
    let sent = |is_truncated| Ok(Sent { counter: reply.counter(), is_truncated });
    if encode(&mut response, query, reply, options, exchange, out).is_none() {
        return bare_from(query, Code::ServFail, out);
    }
    if out.len() <= bytes_max {
        return sent(false);
    }
    response.answers.clear();
    response.authorities.clear();
    response.metadata.truncation = true;
    if encode(&mut response, query, reply, options, exchange, out).is_none() {
        return bare_from(query, Code::ServFail, out);
    }
    sent(true)
}

/// Writes `response` with its OPT record, padded where that was asked for.
fn encode(
    response: &mut Message,
    query: &Message,
    reply: &Reply<'_>,
    options: Option<&Options>,
    exchange: &Exchange<'_>,
    out: &mut Vec<u8>,
) -> Option<()> {
    if let Some(asked) = &query.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(exchange.udp_payload_max()).set_dnssec_ok(asked.flags().dnssec_ok);
        let mut data = vec![];
        if let Some(options) = options {
            options.answer(reply, exchange, &mut data);
        }
        add_options(&mut edns, &data);
        response.set_edns(edns);
    }
    let mut bytes = response.to_vec().ok()?;
    let padding = options.and_then(|options| options.padding(exchange, bytes.len()));
    if let (Some(padding), Some(edns)) = (padding, response.edns.as_mut()) {
        add_options(edns, &padding);
        bytes = response.to_vec().ok()?;
    }
    out.clear();
    out.extend_from_slice(&bytes);
    Some(())
}

/// A header alone, for an answer that could not be written.
fn bare_from(query: &Message, code: Code, out: &mut Vec<u8>) -> Result<Sent, Silence> {
    let response =
        Message::error_msg(query.metadata.id, query.metadata.op_code, ResponseCode::from(0, code.number() as u8));
    out.clear();
    out.extend_from_slice(&response.to_vec().map_err(|_| Silence::Undeserved)?);
    Ok(Sent { counter: Reply::error(code).counter(), is_truncated: false })
}

/// `None` if a name of ours is none to hickory.
fn add_records(response: &mut Message, owner: &rr::Name, class: DNSClass, reply: &Reply<'_>) -> Option<()> {
    match reply.body {
        Body::Empty => {}
        Body::Routed { snapshot, host, answer } => {
            let ttl_s = u32::try_from(snapshot.ttl(host).as_secs()).unwrap_or(u32::MAX);
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

/// Adds the options in `data`: the bytes are those of the fast path, hickory only carries them.
fn add_options(edns: &mut Edns, data: &[u8]) {
    let mut rest = data;
    while let &[code_high, code_low, len_high, len_low, ref after @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([len_high, len_low]));
        let Some((value, next)) = after.split_at_checked(len) else { return };
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
