//! The slow and complete path: DNS messages of unusual shape, read by hickory-proto, which only this file knows.
//! Decisions and bytes of answers are those of the fast path: both ask [`answer::reply`] and write by `message`.

use cdn_core::zone::{Answer, AnswerCode, Data, RecordSet, RecordType};
use hickory_proto::{
    op::{Message, MessageType, OpCode},
    rr::{self, DNSClass},
};

use crate::{
    answer::{self, Code, Question, Reply},
    control::Published,
    edns::{Edns, Options},
    exchange::Exchange,
    message::Asked,
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
    // Several questions are echoed only as far as there is one that was answered.
    let question = match query.queries.as_slice() {
        [question] => Some(question),
        _ => None,
    };
    let (mut name, mut echoed) = (vec![], vec![]);
    if let Some(question) = question {
        echoed = as_sent(question.name());
        name = echoed.to_ascii_lowercase();
        echoed.push(0);
        echoed.extend_from_slice(&u16::from(question.query_type()).to_be_bytes());
        echoed.extend_from_slice(&u16::from(question.query_class()).to_be_bytes());
    }
    // hickory passes over what follows the last record.
    let walk = Walk::through(message).filter(|walk| walk.rest.is_empty());
    let asked = Asked {
        id: query.metadata.id.to_be_bytes(),
        opcode: u8::from(query.metadata.op_code),
        recursion_desired: query.metadata.recursion_desired,
        question: &echoed,
        name: &name,
        edns: query.edns.as_ref().map(|edns| Edns {
            payload_max: edns.max_payload(),
            version: edns.version(),
            dnssec_ok: edns.flags().dnssec_ok,
            options: walk.and_then(|walk| walk.opt).map_or_else(|| Ok(Options::default()), Options::parse),
        }),
    };
    let text;
    let mut told = RecordSet { record_type: RecordType::TXT, ttl_s: 0, data: vec![] };
    let reply = if query.metadata.op_code != OpCode::Query {
        Reply::error(Code::NotImp)
    } else if walk.is_none() {
        Reply::error(Code::FormErr)
    } else if let Some(code) = exchange.handle_edns(asked.edns.as_ref()) {
        Reply::error(code)
    } else {
        match question {
            Some(question) => {
                let wanted = RecordType(u16::from(question.query_type()));
                match question.query_class() {
                    DNSClass::IN => {
                        let subnet = asked.edns.and_then(|edns| edns.options.ok()?.subnet);
                        let question = Question { name: &name, wanted, subnet, peer: exchange.peer() };
                        why::reply(published, question, turn, exchange, &mut told)
                            .unwrap_or_else(|| answer::reply(published, question, turn))
                    }
                    DNSClass::CH if wanted == RecordType::TXT => match of_the_server(&name, exchange) {
                        Some(words) => {
                            let data = vec![Data::text(words.as_bytes())];
                            text = RecordSet { record_type: RecordType::TXT, ttl_s: 0, data };
                            Reply::fixed(Answer::of(&text))
                        }
                        None => Reply::error(Code::Refused),
                    },
                    _ => Reply::error(Code::Refused),
                }
            }
            // No question but a cookie: this asks for a server cookie (RFC 7873, section 5.4).
            None if query.queries.is_empty() && exchange.cookie().is_some() => {
                Reply::fixed(Answer::empty(AnswerCode::NoError, false))
            }
            None => Reply::error(Code::FormErr),
        }
    };
    Sent::write(&asked, &reply, exchange, out)
}

/// `id.server` (RFC 4892), `version.server`, and their forerunners.
fn of_the_server<'e>(name: &[u8], exchange: &Exchange<'e>) -> Option<&'e str> {
    match name {
        b"\x02id\x06server" | b"\x08hostname\x04bind" => exchange.server_id(),
        b"\x07version\x06server" | b"\x07version\x04bind" => exchange.version(),
        _ => None,
    }
}

/// A name's labels, each preceded by its length, in the case in which it was sent.
fn as_sent(name: &rr::Name) -> Vec<u8> {
    let mut bytes = vec![];
    for label in name.iter() {
        bytes.push(u8::try_from(label.len()).unwrap_or(0));
        bytes.extend_from_slice(label);
    }
    bytes
}
