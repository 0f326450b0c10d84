//! One DNS message in, one answer out, whatever carried it.

use std::{net::IpAddr, sync::Arc, time::Instant};

use cdn_core::{
    Counter,
    response_rate::{ResponseRate, Sending},
    routing::{AnswerId, Subject},
    zone::RecordType,
};

use crate::{
    answer::{self, Code, Question, Reply},
    control::{Control, Published},
    dns,
    exchange::{Exchange, Transport},
    message::{self, Asked},
    query_log,
    tally::Carrier,
    why,
    wire::{self, Query},
};

/// An answer was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    counter: Counter,
    pub(crate) code: Code,
    is_truncated: bool,
    /// There were more aliases than one answer follows.
    is_cut_short: bool,
    /// The type that was asked for, where there was one question.
    wanted: Option<RecordType>,
    /// Where edges were chosen: for whom, and which.
    pub(crate) decided: Option<(Subject, AnswerId)>,
}

impl Sent {
    /// Writes `reply` into `out`, as far as its receiver may have it.
    pub(crate) fn write(
        asked: &Asked<'_>,
        reply: &Reply<'_>,
        exchange: &mut Exchange<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Self, Silence> {
        let bytes_max = match exchange.sending(reply) {
            Sending::Whole => exchange.bytes_max(asked.edns.map(|edns| edns.payload_max)),
            Sending::Truncated => 0,
            Sending::Nothing => return Err(Silence::Limited),
        };
        let is_truncated = message::write(asked, reply, exchange, bytes_max, out);
        Ok(Self {
            counter: reply.counter(),
            code: reply.code,
            is_truncated,
            is_cut_short: reply.answer.is_cut_short,
            wanted: asked.wanted(),
            decided: reply.routed.map(|routed| (routed.subject, routed.answer)),
        })
    }

    /// Counts it by what labels tell apart.
    fn count(&self, control: &Control, published: &Published) {
        if let Some(wanted) = self.wanted {
            control.tally.on_type(wanted);
        }
        if let Some((subject, answer)) = self.decided {
            let Subject { host, client, turn, .. } = subject;
            let snapshot = &published.snapshot;
            let tally = snapshot.first_pop(answer).and_then(|pop| published.tallies.get(pop.index()));
            if let Some(tally) = tally {
                tally.on_answer(Carrier::Dns, snapshot.policy(host), snapshot.reason(host, client, turn));
            }
        }
    }
}

/// No answer was written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Silence {
    /// The message deserves none.
    Undeserved,
    /// Its sender's network has had its share.
    Limited,
}

/// Answers messages. Each worker and each connection has its own.
#[derive(Debug)]
pub(crate) struct Responder {
    control: Arc<Control>,
    /// Where senders' addresses may be forged.
    rate: Option<ResponseRate>,
    /// For policies that answer in turn.
    turn: u64,
}

impl Responder {
    /// For whoever asks over a connection, or is not limited.
    pub(crate) fn new(control: Arc<Control>) -> Self {
        let turn = control.first_turn();
        Self { control, rate: None, turn }
    }

    /// For one of `workers` that answer over UDP and share the rate.
    pub(crate) fn limited(control: Arc<Control>, workers: usize) -> Self {
        let rate = control.response_rate(workers);
        Self { rate, ..Self::new(control) }
    }

    /// Writes the answer to `message` into `out`; `false` if it gets none.
    pub(crate) fn handle_message(
        &mut self,
        published: &Published,
        message: &[u8],
        peer: IpAddr,
        transport: Transport,
        out: &mut Vec<u8>,
    ) -> bool {
        let Self { control, rate, turn } = self;
        let counters = &control.counters;
        counters.bump(match transport {
            Transport::Udp => Counter::RouterDnsQueriesUdp,
            Transport::Tcp => Counter::RouterDnsQueriesTcp,
            Transport::Https => Counter::RouterDnsQueriesHttps,
        });
        let peer = answer::translated(control.source_nat.as_ref(), peer);
        let mut exchange = Exchange::new(control, rate.as_mut(), transport, peer);
        *turn = turn.wrapping_add(1);
        let log = control.query_log.as_ref().filter(|log| log.is_wanted(*turn));
        let began = log.map(|_| Instant::now());
        // What is asked about a name is told by the complete path, which has room for it.
        let usual = Query::parse(message).filter(|query| !why::is_why(query.name()));
        let answered = if let Some(query) = usual {
            answer_usual(published, &query, &mut exchange, *turn, out)
        } else {
            counters.bump(Counter::RouterDnsSlow);
            dns::handle_message(published, message, &mut exchange, *turn, out)
        };
        match answered {
            Ok(sent) => {
                counters.bump(sent.counter);
                if sent.is_truncated {
                    counters.bump(Counter::RouterDnsTruncated);
                }
                if sent.is_cut_short {
                    counters.bump(Counter::RouterDnsAliasesMax);
                }
                sent.count(control, published);
            }
            Err(Silence::Undeserved) => counters.bump(Counter::RouterDnsDropped),
            // The exchange has counted it.
            Err(Silence::Limited) => {}
        }
        if let (Some(log), Some(began)) = (log, began) {
            let answer = answered.ok().map(|sent| (sent, out.as_slice()));
            let took = began.elapsed();
            log.write(query_log::Entry { peer, transport, snapshot: &published.snapshot, message, answer, took });
        }
        answered.is_ok()
    }
}

/// The fast path: the question has been read without a detour.
fn answer_usual(
    published: &Published,
    query: &Query<'_>,
    exchange: &mut Exchange<'_>,
    turn: u64,
    out: &mut Vec<u8>,
) -> Result<Sent, Silence> {
    let refused = exchange.handle_edns(query.edns.as_ref());
    let reply = match refused {
        Some(code) => Reply::error(code),
        None => {
            let subnet = query.edns.as_ref().and_then(|edns| edns.options.as_ref().ok()?.subnet);
            let question = Question { name: query.name(), wanted: query.wanted, subnet, peer: exchange.peer() };
            answer::reply(published, question, turn)
        }
    };
    Sent::write(&query.asked(), &reply, exchange, out)
}

/// The answer that says only that a message was not understood.
pub(crate) fn bare(
    message: &[u8],
    code: Code,
    exchange: &mut Exchange<'_>,
    out: &mut Vec<u8>,
) -> Result<Sent, Silence> {
    wire::bare(message, code, out).ok_or(Silence::Undeserved)?;
    let reply = Reply::error(code);
    match exchange.sending(&reply) {
        // It is as short as an answer can be.
        Sending::Whole | Sending::Truncated => {
            let (counter, is_truncated, is_cut_short) = (reply.counter(), false, false);
            Ok(Sent { counter, code, is_truncated, is_cut_short, wanted: None, decided: None })
        }
        Sending::Nothing => Err(Silence::Limited),
    }
}
