//! `_why` in front of a routed name: the decision for whoever asks, as TXT.
//!
//! One record per candidate, best first by its number, between one for the whole and one with the decision's id, since
//! resolvers may shuffle them. Each is
//! one string, which holds 255 bytes (RFC 1035, section 3.3.14). The answer is about this moment, so its TTL is 0; it
//! hangs on the client as the name's own answer does, so its scope is the same.

use std::fmt::Write as _;

use cdn_core::{
    Reason,
    routing::{AskedBy, ExplainOptions, Explanation, Subject},
    zone::{Answer, Data, RecordSet, RecordType},
};

use crate::{
    answer::{self, Question, Reply},
    control::Published,
    exchange::Exchange,
};

/// The label, as it stands in canonical names.
const LABEL: &[u8] = b"\x04_why";

/// The longest string of a TXT record.
const STRING_MAX: usize = 255;

/// Whether `name` (canonical bytes) asks about another name.
pub(crate) fn is_why(name: &[u8]) -> bool {
    name.starts_with(LABEL)
}

/// The reply to a question whose name begins with the label; `None` where the rest of it is not routed, so that the zones
/// say what there is. The records go into `records`.
pub(crate) fn reply<'a>(
    published: &'a Published,
    question: Question<'_>,
    turn: u64,
    exchange: &Exchange<'_>,
    records: &'a mut RecordSet,
) -> Option<Reply<'a>> {
    let about = question.name.strip_prefix(LABEL)?;
    let host = published.zones.host(about)?;
    let is_text = question.wanted == RecordType::TXT || question.wanted == RecordType::ANY;
    if !is_text {
        // The name exists, with text alone: the SOA is that of a type which no name has (RFC 6895, section 3.1).
        let answer = published.zones.answer(about, RecordType(0));
        return answer.is_denial().then(|| Reply::fixed(answer));
    }
    let (client, asked_by) = answer::client(question.subnet, question.peer);
    let options = ExplainOptions { turn, ..ExplainOptions::default() };
    let snapshot = &published.snapshot;
    let explanation = snapshot.explain(host, "", client, asked_by, &options);
    let id = exchange.decision_id(snapshot, Subject { host, client, asked_by, turn });
    let text = |text: String| Data::text(text.as_bytes().get(..STRING_MAX).unwrap_or(text.as_bytes()));
    let data = lines(&explanation, &id).into_iter().map(text).collect();
    records.data = data;
    // Who opted out must get an answer that holds for all (RFC 7871, section 7.1.2).
    let scope_len = if matches!(asked_by, AskedBy::Subnet { .. }) { explanation.scope_len } else { 0 };
    Some(Reply { scope_len, ..Reply::fixed(Answer::of(records)) })
}

/// `key=value` pairs with `; ` between them.
fn lines(explanation: &Explanation, id: &str) -> Vec<String> {
    let chosen: Vec<&str> = explanation.chosen.iter().map(|edge| edge.pop.as_str()).collect();
    let mut whole = format!("policy={}; chosen={}", explanation.policy, chosen.join(","));
    if let Some(first) = explanation.chosen.first().filter(|first| first.edge_reason != Reason::EdgeOnly) {
        let _ = write!(whole, "; edge={}; edge-reason={}", first.edge, first.edge_reason);
    }
    if let Some(block) = explanation.block {
        let _ = write!(whole, "; client={block}");
    }
    if let Some(place) = &explanation.place {
        let _ = write!(whole, "; place={}", place.label);
    }
    let _ = write!(
        whole,
        "; scope={}; ttl={}; snapshot={}; fail-open={}",
        explanation.scope_len,
        explanation.ttl.as_secs(),
        explanation.snapshot_version,
        explanation.fail_open,
    );
    let mut lines = vec![whole];
    for (at, candidate) in (1..).zip(&explanation.candidates) {
        let estimate = &candidate.estimate;
        let mut line = format!(
            "candidate={at}; pop={}; reason={}; estimate={:.1}ms; source={}; confidence={:.2}; health={}",
            candidate.pop,
            candidate.reason,
            estimate.rtt.as_secs_f64() * 1e3,
            estimate.source.as_str(),
            estimate.confidence,
            if candidate.draining { "draining" } else { candidate.health.as_str() },
        );
        if let Some(age) = estimate.age {
            let _ = write!(line, "; age={:.1}s", age.as_secs_f64());
        }
        if let Some(km) = candidate.distance_km {
            let _ = write!(line, "; distance={km:.0}km");
        }
        if let Some(rps) = candidate.load_rps {
            let _ = write!(line, "; load={rps:.1}/s");
        }
        lines.push(line);
    }
    lines.push(format!("decision={id}"));
    lines
}
