//! One DNS message in, one answer out, whatever carried it.

use std::{net::IpAddr, sync::Arc};

use cdn_core::Counter;

use crate::{
    answer::{self, Code, Question, Reply},
    control::{Control, Published},
    dns,
    wire::{self, Query, ServerSays},
};

/// What carried a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// Answers messages. Each worker and each connection has its own.
#[derive(Debug)]
pub(crate) struct Responder {
    control: Arc<Control>,
    /// For policies that answer in turn.
    turn: u64,
}

impl Responder {
    pub(crate) fn new(control: Arc<Control>) -> Self {
        let turn = control.first_turn();
        Self { control, turn }
    }

    /// Writes the answer to `message` into `out`; `false` if it deserves none.
    pub(crate) fn handle_message(
        &mut self,
        published: &Published,
        message: &[u8],
        peer: IpAddr,
        transport: Transport,
        out: &mut Vec<u8>,
    ) -> bool {
        let counters = &self.control.counters;
        counters.bump(match transport {
            Transport::Udp => Counter::RouterDnsQueriesUdp,
            Transport::Tcp => Counter::RouterDnsQueriesTcp,
        });
        let peer = answer::translated(self.control.source_nat.as_ref(), peer);
        let server =
            ServerSays { udp_payload_max: self.control.limits.udp_payload_max, id: self.control.server_id.as_deref() };
        let turn = self.turn;
        self.turn = self.turn.wrapping_add(1);

        let answered = if let Some(query) = Query::parse(message) {
            let subnet = query.edns.as_ref().and_then(|edns| edns.options.as_ref().ok()?.subnet);
            if subnet.is_some() {
                counters.bump(Counter::RouterDnsQueriesSubnet);
            }
            let reply = match &query.edns {
                Some(edns) if edns.version != 0 => Reply::error(Code::BadVers),
                Some(edns) if edns.options.is_err() => Reply::error(Code::FormErr),
                _ => {
                    let question = Question { name: query.name(), wanted: query.wanted, subnet, peer };
                    answer::reply(published, question, turn)
                }
            };
            let bytes_max = match transport {
                Transport::Udp => server.udp_bytes_max(query.edns.map(|edns| edns.payload_max)),
                Transport::Tcp => usize::from(u16::MAX),
            };
            Some(dns::Sent { counter: reply.counter(), is_truncated: query.answer(&reply, &server, bytes_max, out) })
        } else {
            counters.bump(Counter::RouterDnsSlow);
            dns::handle_message(published, message, peer, transport, &server, turn, out)
        };
        match answered {
            Some(sent) => {
                counters.bump(sent.counter);
                if sent.is_truncated {
                    counters.bump(Counter::RouterDnsTruncated);
                }
                true
            }
            None => {
                counters.bump(Counter::RouterDnsDropped);
                false
            }
        }
    }
}

/// The answer that says only that a message was not understood.
pub(crate) fn bare(message: &[u8], code: Code, out: &mut Vec<u8>) -> Option<dns::Sent> {
    wire::bare(message, code, out)?;
    Some(dns::Sent { counter: Reply::error(code).counter(), is_truncated: false })
}
