//! Verbs that break things and mend them.

use control_plane::{
    ask::{FaultAsk, LinkAsk},
    wire::{Acted, Drained, Faults},
};
use serde_json::json;

use crate::{
    args::{Cli, FaultArgs, HealArgs, LinkArgs},
    quantity::Span,
    talk::VerbError,
    verbs::{api, ask::fault_table, print},
};

fn millis(span: Option<Span>) -> Option<u64> {
    span.map(|span| u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX))
}

/// Kill, start, pause, resume.
pub(super) async fn stop_nodes(cli: &Cli, verb: &str, targets: &[String], span: Option<Span>) -> Result<(), VerbError> {
    let api = api(cli)?;
    let body = match millis(span) {
        Some(ms) => json!({ "for_ms": ms }),
        None => json!({}),
    };
    let mut all = Vec::new();
    let mut ends_in_ms = None;
    for target in targets {
        let acted: Acted = api.post(&format!("/v1/nodes/{target}/{verb}"), &body).await?;
        ends_in_ms = acted.ends_in_ms;
        all.extend(acted.nodes);
    }
    let acted = Acted { nodes: all, ends_in_ms };
    let failed = acted.nodes.iter().any(|outcome| outcome.error.is_some());
    let past = match verb {
        "kill" => "killed",
        "start" => "started",
        "pause" => "paused",
        _ => "resumed",
    };
    print(cli, &acted, |acted| {
        let lines: Vec<String> = acted
            .nodes
            .iter()
            .map(|outcome| match (&outcome.error, acted.ends_in_ms) {
                (Some(error), _) => format!("{}: {error}", outcome.node),
                (None, Some(ms)) => format!("{} {past}, for {:.1} s", outcome.node, ms as f64 / 1e3),
                (None, None) => format!("{} {past}", outcome.node),
            })
            .collect();
        lines.join("\n")
    })?;
    if failed { Err(VerbError::Exit(1)) } else { Ok(()) }
}

pub(super) async fn fault(cli: &Cli, args: &FaultArgs) -> Result<(), VerbError> {
    let ask = FaultAsk {
        target: args.target.clone(),
        status: args.status,
        rate: args.rate.map(|share| share.0),
        latency_ms: args.latency.map(|span| span.0.as_secs_f64() * 1e3),
        refuse: args.refuse,
        reset: args.reset,
        blackhole: args.blackhole,
        truncate: args.truncate,
        stall: args.stall,
        garbage: args.garbage,
        throttle_bps: args.throttle,
        clock_ahead_ms: clock_ahead_ms(args),
        logs_full: args.logs_full,
        path: args.path.clone(),
        from: args.from.clone(),
        for_ms: millis(args.span),
    };
    let faults: Faults = api(cli)?.post("/v1/faults", &ask).await?;
    print(cli, &faults, |faults| fault_table(&faults.faults))
}

/// Ahead is forward, behind is back; both at once is refused by the command line.
fn clock_ahead_ms(args: &FaultArgs) -> Option<i64> {
    let ms = |span: Span| i64::try_from(span.0.as_millis()).unwrap_or(i64::MAX);
    args.clock_ahead.map(ms).or_else(|| args.clock_behind.map(|span| -ms(span)))
}

pub(super) async fn link(cli: &Cli, args: &LinkArgs) -> Result<(), VerbError> {
    let ask = LinkAsk {
        a: args.a.clone(),
        b: args.b.clone(),
        delay_ms: args.delay.map(|span| span.0.as_secs_f64() * 1e3),
        loss: args.loss.map(|share| share.0),
        throttle_bps: args.throttle,
        partition: args.partition,
        one_way: args.one_way,
        for_ms: millis(args.span),
    };
    let faults: Faults = api(cli)?.post("/v1/links", &ask).await?;
    print(cli, &faults, |faults| fault_table(&faults.faults))
}

pub(super) async fn heal(cli: &Cli, args: &HealArgs) -> Result<(), VerbError> {
    let faults: Faults = api(cli)?.delete("/v1/faults", &[("target", &args.target)]).await?;
    print(cli, &faults, |faults| match faults.faults.as_slice() {
        [] => "nothing was broken there".to_owned(),
        healed => {
            let lines: Vec<String> =
                healed.iter().map(|fault| format!("healed {} {}", fault.target, fault.kind)).collect();
            lines.join("\n")
        }
    })
}

pub(super) async fn drain(cli: &Cli, verb: &str, pops: &[String]) -> Result<(), VerbError> {
    let api = api(cli)?;
    let mut drained = Drained { drained: Vec::new() };
    for pop in pops {
        drained = api.post(&format!("/v1/{verb}"), &json!({ "pop": pop })).await?;
    }
    print(cli, &drained, |drained| match drained.drained.as_slice() {
        [] => "no PoP is drained".to_owned(),
        pops => format!("drained: {}", pops.join(", ")),
    })
}
