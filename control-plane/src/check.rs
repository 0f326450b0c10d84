//! From what was asked to what is meant: ranges, combinations and names of fault, link and invalidation requests.
//!
//! Whatever leaves here is valid; `desired.rs` and the [`Hands`](crate::Hands) need not look again.

use std::time::Duration;

use cdn_core::{Role, signing::PublicKey};
use world::{Effect, LinkChange};

use crate::{
    ask::{FaultAsk, LinkAsk},
    desired::{Fault, LinkFault, NodeFault},
    registry::Registry,
    respond::Refusal,
};

/// The longest delay that a fault may add.
const DELAY_MS_MAX: f64 = 600_000.0;
/// The farthest that a clock may be off: a hundred years.
const CLOCK_MS_MAX: u64 = 100 * 366 * 86_400_000;
/// The longest path glob.
const GLOB_BYTES_MAX: usize = 1024;
/// The longest invalidation path (CloudFront's limit).
const PATTERN_BYTES_MAX: usize = 4000;

/// The faults of origins and nodes that are meant: one per node and kind.
pub(crate) fn node_faults(ask: &FaultAsk, registry: &Registry) -> Result<Vec<Fault>, Refusal> {
    let nodes = registry.nodes_called(&ask.target)?;
    let effects = effects(ask)?;
    if let Some(node) = nodes.iter().find(|node| node.role() != Role::Origin)
        && (ask.status.is_some() || ask.path.is_some())
    {
        return Err(Refusal::Invalid {
            message: format!("{node} is no origin: status and path are for origins, which see requests"),
            hint: Some("what is below HTTP (latency, refuse, reset, blackhole, throttle, ...) any node can do".into()),
        });
    }
    if let Some(node) = nodes.iter().find(|node| registry.is_sealed(node))
        && (ask.status.is_some() || ask.path.is_some())
    {
        return Err(Refusal::Invalid {
            message: format!("{node} is spoken to by HTTPS: nobody between can see a path, or answer with a status"),
            hint: Some("what is below HTTP (latency, refuse, reset, blackhole, throttle, ...) is done".into()),
        });
    }
    if let Some(whole) = effects.iter().find(|effect| effect.is_of_whole_node())
        && (ask.rate.is_some_and(|rate| rate < 1.0) || ask.path.is_some() || ask.from.is_some())
    {
        let what = whole.kind();
        return Err(Refusal::invalid(format!("{what} is of a whole node: rate, path and from are for requests")));
    }
    if effects.iter().any(|effect| effect.is_of_whole_node())
        && let Some(node) = nodes.iter().find(|node| registry.is_app(node))
    {
        return Err(Refusal::invalid(format!(
            "{node} is an app of your own: it has no clock and no log of this world's"
        )));
    }
    let rate = ask.rate.map_or(Ok(1.0), |rate| share("rate", rate))?;
    if let Some(glob) = &ask.path {
        glob_is_valid(glob)?;
    }
    let from = ask.from.as_deref().map(|name| registry.site_called(name)).transpose()?;
    let fault =
        |node, effect| Fault::Node(NodeFault { node, effect, rate, path: ask.path.clone(), from: from.clone() });
    Ok(nodes.iter().flat_map(|node| effects.iter().map(|effect| fault(node.clone(), *effect))).collect())
}

/// A public key and its id, as CloudFront takes them.
pub(crate) fn key(id: &str, pem: &str) -> Result<(), Refusal> {
    if id.is_empty() || id.len() > 64 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(Refusal::invalid(format!("{id:?} is no id of a key: letters and digits, 64 at most")));
    }
    PublicKey::from_pem(pem).map(drop).map_err(|error| Refusal::Invalid {
        message: format!("this is no public key: {error}"),
        hint: pem.contains("PRIVATE KEY").then(|| "this is the private half, which edges never see".to_owned()),
    })
}

fn effects(ask: &FaultAsk) -> Result<Vec<Effect>, Refusal> {
    let mut effects = Vec::new();
    if let Some(status) = ask.status {
        if !(200..=599).contains(&status) {
            return Err(Refusal::invalid(format!("status {status} is not between 200 and 599")));
        }
        effects.push(Effect::Status(status));
    }
    if let Some(ms) = ask.latency_ms {
        effects.push(Effect::Latency(delay("latency_ms", ms)?));
    }
    if let Some(bps) = ask.throttle_bps {
        effects.push(Effect::Throttle { bps: bandwidth(bps)? });
    }
    if let Some(ms) = ask.clock_ahead_ms {
        effects.push(Effect::Clock { ahead_ns: clock(ms)? });
    }
    let switches = [
        (ask.refuse, Effect::Refuse),
        (ask.reset, Effect::Reset),
        (ask.blackhole, Effect::Blackhole),
        (ask.truncate, Effect::Truncate),
        (ask.stall, Effect::Stall),
        (ask.garbage, Effect::Garbage),
        (ask.logs_full, Effect::LogsFull),
    ];
    effects.extend(switches.into_iter().filter(|(on, _)| *on).map(|(_, effect)| effect));
    if [ask.refuse, ask.reset, ask.blackhole].into_iter().filter(|on| *on).count() > 1 {
        return Err(Refusal::invalid("a connection is refused, reset or black-holed: name one of them"));
    }
    if effects.is_empty() {
        return Err(Refusal::Invalid {
            message: "the fault does nothing".into(),
            hint: Some(
                "name status, latency_ms, refuse, reset, blackhole, truncate, stall, garbage, throttle_bps, clock_ahead_ms \
                 or logs_full"
                    .into(),
            ),
        });
    }
    Ok(effects)
}

/// The changes of links that are meant: one per kind.
pub(crate) fn link_faults(ask: &LinkAsk, registry: &Registry) -> Result<Vec<Fault>, Refusal> {
    let (from, to) = (registry.site_called(&ask.a)?, registry.site_called(&ask.b)?);
    if from == to {
        return Err(Refusal::invalid(format!("both ends are at {from}: no link lies between them")));
    }
    let mut changes = Vec::new();
    if let Some(ms) = ask.delay_ms {
        changes.push(LinkChange::Delay(delay("delay_ms", ms)?));
    }
    if let Some(loss) = ask.loss {
        changes.push(LinkChange::Loss(share("loss", loss)?));
    }
    if let Some(bps) = ask.throttle_bps {
        changes.push(LinkChange::Throttle(bandwidth(bps)?));
    }
    if ask.partition {
        changes.push(LinkChange::Partition);
    }
    if changes.is_empty() {
        return Err(Refusal::Invalid {
            message: "nothing about the link is changed".into(),
            hint: Some("name delay_ms, loss, throttle_bps or partition".into()),
        });
    }
    let both_ways = !ask.one_way;
    Ok(changes
        .into_iter()
        .map(|change| Fault::Link(LinkFault { from: from.clone(), to: to.clone(), both_ways, change }))
        .collect())
}

/// How long something lasts, if not until healed.
pub(crate) fn duration(for_ms: Option<u64>, max: Duration) -> Result<Option<Duration>, Refusal> {
    match for_ms.map(Duration::from_millis) {
        Some(Duration::ZERO) => Err(Refusal::invalid("for_ms must be above 0")),
        Some(span) if span > max => Err(Refusal::invalid(format!("for_ms must be at most {}", max.as_millis()))),
        span => Ok(span),
    }
}

/// Refuses patterns that CloudFront would (spec/cloudfront.md 2.16).
pub(crate) fn patterns(patterns: &[String]) -> Result<(), Refusal> {
    if patterns.is_empty() {
        return Err(Refusal::invalid("patterns is empty: there is nothing to invalidate"));
    }
    for pattern in patterns {
        let wrong = match pattern.as_bytes() {
            bytes if bytes.len() > PATTERN_BYTES_MAX => Some("is longer than 4000 bytes"),
            [b'#', tag @ ..] => {
                let valid =
                    !tag.is_empty() && tag.len() <= 256 && tag.iter().all(|b| b.is_ascii_graphic() && *b != b',');
                (!valid).then_some("is not a cache tag")
            }
            [b'/', rest @ ..] if rest.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'~') => None,
            [b'/', ..] => Some("holds characters that must be percent-encoded"),
            _ => Some("does not begin with /"),
        };
        if let Some(wrong) = wrong {
            let shown: String = pattern.chars().take(80).collect();
            return Err(Refusal::invalid(format!("the pattern {shown:?} {wrong}")));
        }
    }
    Ok(())
}

/// Whether a path of `GET /v1/cache` can be one.
pub(crate) fn path(path: &str) -> Result<(), Refusal> {
    let valid = path.starts_with('/') && path.len() <= 8192 && path.bytes().all(|byte| byte.is_ascii_graphic());
    if valid {
        return Ok(());
    }
    Err(Refusal::invalid("path must begin with / and be percent-encoded, at most 8192 bytes"))
}

/// By how much a clock goes wrong, in nanoseconds: not at all is no fault, and a century is enough for every certificate.
fn clock(ahead_ms: i64) -> Result<i64, Refusal> {
    if ahead_ms != 0 && ahead_ms.unsigned_abs() <= CLOCK_MS_MAX {
        return Ok(ahead_ms * 1_000_000);
    }
    Err(Refusal::invalid(format!("clock_ahead_ms must not be 0, and at most {CLOCK_MS_MAX} either way")))
}

fn share(name: &str, share: f64) -> Result<f64, Refusal> {
    if share > 0.0 && share <= 1.0 {
        return Ok(share);
    }
    Err(Refusal::invalid(format!("{name} must be above 0 and at most 1, which is all")))
}

fn delay(name: &str, ms: f64) -> Result<Duration, Refusal> {
    if ms > 0.0 && ms <= DELAY_MS_MAX {
        return Ok(Duration::from_secs_f64(ms / 1e3));
    }
    Err(Refusal::invalid(format!("{name} must be above 0 and at most {DELAY_MS_MAX}")))
}

fn bandwidth(bps: u64) -> Result<u64, Refusal> {
    if bps > 0 {
        return Ok(bps);
    }
    Err(Refusal::Invalid {
        message: "throttle_bps must be above 0".into(),
        hint: Some("to let nothing through, use blackhole or partition".into()),
    })
}

fn glob_is_valid(glob: &str) -> Result<(), Refusal> {
    let valid = matches!(glob.as_bytes(), [b'/' | b'*', ..])
        && glob.len() <= GLOB_BYTES_MAX
        && glob.bytes().all(|byte| byte.is_ascii_graphic());
    if valid {
        return Ok(());
    }
    Err(Refusal::invalid("path must be a glob that begins with / or *, at most 1024 bytes, percent-encoded"))
}

#[cfg(test)]
mod tests {
    use axum::{body::to_bytes, response::IntoResponse};

    use super::*;
    use crate::config::tests::world;

    fn faults(json: serde_json::Value) -> Result<Vec<String>, String> {
        let ask = serde_json::from_value(json).unwrap();
        words(node_faults(&ask, &Registry::new(&world())))
    }

    fn links(json: serde_json::Value) -> Result<Vec<String>, String> {
        let ask = serde_json::from_value(json).unwrap();
        words(link_faults(&ask, &Registry::new(&world())))
    }

    fn words(result: Result<Vec<Fault>, Refusal>) -> Result<Vec<String>, String> {
        result.map(|faults| faults.iter().map(Fault::to_string).collect()).map_err(|refusal| {
            let body = refusal.into_response().into_body();
            let bytes = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap()
                .block_on(to_bytes(body, 1 << 20))
                .unwrap();
            let document: crate::wire::ErrorDocument = serde_json::from_slice(&bytes).unwrap();
            document.error.message
        })
    }

    #[test]
    fn each_kind_becomes_a_fault_of_its_own() {
        let both = faults(serde_json::json!({
            "target": "primary", "status": 503, "latency_ms": 80.5, "rate": 0.3, "path": "/api/*", "from": "Frankfurt"
        }));
        let scope = "30 % of requests, path /api/*, from fra";
        assert_eq!(
            both.unwrap(),
            [format!("origin.primary status (503, {scope})"), format!("origin.primary latency (+80.5 ms, {scope})")]
        );
    }

    #[test]
    fn what_is_of_a_whole_node_is_a_fault_of_its_own() {
        let all = faults(serde_json::json!({"target": "edge.fra", "clock_ahead_ms": -90_500, "logs_full": true}));
        assert_eq!(all.unwrap(), ["edge.fra clock (90.5 s behind)", "edge.fra logs_full"]);
    }

    #[test]
    fn values_out_of_range_and_contradictions_are_refused() {
        for (wrong, why) in [
            (serde_json::json!({"target": "primary"}), "the fault does nothing"),
            (serde_json::json!({"target": "primary", "status": 99}), "status 99 is not"),
            (serde_json::json!({"target": "primary", "refuse": true, "rate": 0.0}), "rate must"),
            (serde_json::json!({"target": "primary", "refuse": true, "rate": 1.5}), "rate must"),
            (serde_json::json!({"target": "primary", "latency_ms": -1}), "latency_ms must"),
            (serde_json::json!({"target": "primary", "latency_ms": 1e300}), "latency_ms must"),
            (serde_json::json!({"target": "primary", "throttle_bps": 0}), "throttle_bps must"),
            (serde_json::json!({"target": "primary", "refuse": true, "reset": true}), "a connection is refused"),
            (serde_json::json!({"target": "fra", "clock_ahead_ms": 0}), "clock_ahead_ms must"),
            (serde_json::json!({"target": "fra", "clock_ahead_ms": i64::MIN}), "clock_ahead_ms must"),
            (serde_json::json!({"target": "fra", "clock_ahead_ms": 1, "rate": 0.5}), "clock is of a whole node"),
            (serde_json::json!({"target": "fra", "logs_full": true, "from": "iad"}), "logs_full is of a whole node"),
            (serde_json::json!({"target": "primary", "stall": true, "path": "a b"}), "path must"),
            (serde_json::json!({"target": "primary", "stall": true, "from": "mars"}), "there is no site"),
            (serde_json::json!({"target": "nobody", "stall": true}), "there is no node"),
            (serde_json::json!({"target": "fra", "status": 503}), "edge.fra is no origin"),
            (serde_json::json!({"target": "edge.fra", "stall": true, "path": "/a"}), "edge.fra is no origin"),
        ] {
            let refusal = faults(wrong.clone()).unwrap_err();
            assert!(refusal.starts_with(why), "{wrong}: {refusal}");
        }
    }

    #[test]
    fn an_app_that_speaks_https_has_no_faults_that_need_http() {
        let mut world = world();
        world.nodes.iter_mut().for_each(|node| node.is_sealed = node.id.role() == Role::Origin);
        let registry = Registry::new(&world);
        let faults = |json| words(node_faults(&serde_json::from_value(json).unwrap(), &registry));
        assert_eq!(faults(serde_json::json!({"target": "primary", "stall": true})).unwrap().len(), 1);
        for wrong in [
            serde_json::json!({"target": "primary", "status": 503}),
            serde_json::json!({"target": "primary", "stall": true, "path": "/a"}),
        ] {
            assert!(faults(wrong).unwrap_err().starts_with("origin.primary is spoken to by HTTPS"));
        }
    }

    #[test]
    fn links_need_two_ends_and_a_change() {
        assert_eq!(
            links(serde_json::json!({"a": "fra", "b": "primary", "loss": 0.05, "partition": true})).unwrap(),
            ["fra<->us-east-1 loss (5 % of packets)", "fra<->us-east-1 partition"]
        );
        assert_eq!(
            links(serde_json::json!({"a": "fra", "b": "iad", "delay_ms": 80, "one_way": true})).unwrap(),
            ["fra->iad delay (+80 ms)"]
        );
        for (wrong, why) in [
            (serde_json::json!({"a": "fra", "b": "Frankfurt", "partition": true}), "both ends"),
            (serde_json::json!({"a": "fra", "b": "iad"}), "nothing about"),
            (serde_json::json!({"a": "fra", "b": "iad", "loss": 2}), "loss must"),
        ] {
            let refusal = links(wrong.clone()).unwrap_err();
            assert!(refusal.starts_with(why), "{wrong}: {refusal}");
        }
    }

    #[test]
    fn durations_end() {
        let max = Duration::from_secs(60);
        assert_eq!(duration(Some(250), max), Ok(Some(Duration::from_millis(250))));
        assert_eq!(duration(None, max), Ok(None));
        assert!(duration(Some(0), max).is_err() && duration(Some(60_001), max).is_err());
    }

    #[test]
    fn patterns_are_what_cloudfront_takes() {
        let check = |pattern: &str| patterns(&[pattern.to_owned()]).is_ok();
        for fine in ["/", "/*", "/a.jpg?x=1", "/a*", "/%7Euser", "#tag"] {
            assert!(check(fine), "{fine}");
        }
        for wrong in ["", "a.jpg", "*", "/~user", "/a b", "/é", "/a\r\n", "#", "#a,b"] {
            assert!(!check(wrong), "{wrong}");
        }
        assert!(!check(&format!("/{}", "a".repeat(4000))));
        assert!(patterns(&[]).is_err());
    }
}
