//! `iso doctor`: what is wrong with this machine, and with the world if one runs.

use control_plane::wire::{LinksReport, Status};
use serde::Serialize;
use serde_json::json;

use crate::{
    args::Cli,
    ipv6,
    state::WorldDir,
    talk::{Api, VerbError},
    verbs::{paint::Paint, print},
};

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    check: &'static str,
    ok: bool,
    detail: String,
}

/// Above this difference on an idle machine links are not what they say.
const LINK_ERROR_MAX_MS: f64 = 2.0;

pub(super) async fn run(cli: &Cli) -> Result<(), VerbError> {
    let mut findings = vec![loopback(), ipv6_for_edges(), descriptors(), program("curl"), timer().await];
    let mut links = None;
    match WorldDir::new(&cli.world)?.record()? {
        Some(record) => {
            let api = Api::of_record(record)?;
            let status: Status = api.read("/v1/status", &()).await?;
            let not_up: Vec<String> = status
                .nodes
                .iter()
                .filter(|node| node.health != control_plane::wire::Health::Up)
                .map(|node| format!("{} is {}", node.id, node.health))
                .collect();
            findings.push(Finding {
                check: "nodes",
                ok: not_up.is_empty(),
                detail: if not_up.is_empty() { format!("{} up", status.nodes.len()) } else { not_up.join(", ") },
            });
            findings.push(Finding {
                check: "faults",
                ok: status.faults.is_empty(),
                detail: match status.faults.len() {
                    0 => "none active".to_owned(),
                    n => format!("{n} active; `iso heal` ends them"),
                },
            });
            let https = status.nodes.iter().any(|node| node.addresses.https.is_some());
            let authority = WorldDir::new(&cli.world)?.authority().certificate();
            findings.push(Finding {
                check: "https",
                ok: !https || authority.exists(),
                detail: match https {
                    true => format!("certificates of {}; `iso trust` for browsers", authority.display()),
                    false => "switched off in this world".to_owned(),
                },
            });
            let report: LinksReport = api.post("/v1/links/measure", &json!({})).await?;
            let worst = report.worst_error_ms().unwrap_or(0.0);
            let mut detail = format!("{} measured, worst error {worst:.2} ms", report.links.len());
            if let Some(link) = report.links.iter().max_by(|a, b| a.error_ms.abs().total_cmp(&b.error_ms.abs())) {
                detail.push_str(&format!(
                    " ({} → {}: asked {:.2} ms, got {:.2} ms)",
                    link.from, link.to, link.asked_ms, link.measured_ms
                ));
            }
            for line in &report.unmeasured {
                detail.push_str(&format!("; not measured: {line}"));
            }
            let ok = worst <= LINK_ERROR_MAX_MS && report.unmeasured.is_empty();
            findings.push(Finding { check: "links", ok, detail });
            links = Some(report);
        }
        None => findings.push(Finding {
            check: "world",
            ok: true,
            detail: format!("no world {:?} is running; links are measured when one is", cli.world),
        }),
    }
    let ok = findings.iter().all(|finding| finding.ok);
    let paint = Paint::of(cli);
    let document = json!({ "ok": ok, "findings": findings, "links": links });
    print(cli, &document, |_| {
        let lines: Vec<String> = findings
            .iter()
            .map(|finding| {
                let mark = if finding.ok { paint.good("ok") } else { paint.bad("!!") };
                format!("  {mark} {:<12} {}", finding.check, finding.detail)
            })
            .collect();
        lines.join("\n")
    })?;
    if ok { Ok(()) } else { Err(VerbError::Exit(1)) }
}

/// Every edge has its own loopback address: Linux has them all, other systems want aliases.
fn loopback() -> Finding {
    let bound = std::net::TcpListener::bind("127.77.0.1:0").map(drop);
    let bound = bound.and_then(|()| std::net::TcpListener::bind("127.18.0.1:0").map(drop));
    Finding {
        check: "loopback",
        ok: bound.is_ok(),
        detail: match bound {
            Ok(()) => "127.77.0.0/16 and 127.18.0.0/15 can be bound".to_owned(),
            Err(error) => format!("127.77.0.1: {error}; on macOS: sudo ifconfig lo0 alias 127.77.0.1"),
        },
    }
}

/// What edges of the next world may have; none is no fault, since IPv4 is always there.
fn ipv6_for_edges() -> Finding {
    let command = ipv6::command(ipv6::NETWORK);
    let detail = match ipv6::found() {
        Some(net) if net == ipv6::NETWORK => format!("edges listen in {net}, too"),
        Some(_) => format!("an edge listens at ::1, too, in a world of one; for more: {command}"),
        None => format!("none for edges; where the system has IPv6: {command}"),
    };
    Finding { check: "ipv6", ok: true, detail }
}

fn descriptors() -> Finding {
    const ENOUGH: u64 = 4_096;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    // `iso up` raises the soft limit of its nodes to the hard one.
    let most = limit.maximum.unwrap_or(u64::MAX);
    let text = if most == u64::MAX { "no limit".to_owned() } else { most.to_string() };
    Finding { check: "open files", ok: most >= ENOUGH, detail: format!("{text} per process") }
}

fn program(name: &'static str) -> Finding {
    let found = std::process::Command::new(name).arg("--version").output();
    let version = found.as_ref().ok().map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let first = version.as_deref().and_then(|text| text.lines().next()).unwrap_or_default();
    Finding {
        check: name,
        ok: found.is_ok(),
        detail: if found.is_ok() {
            first.split(" (").next().unwrap_or(first).to_owned()
        } else {
            format!("there is no {name}; `iso {name}` needs it")
        },
    }
}

/// How late this machine wakes who sleeps: what links add to every delay.
async fn timer() -> Finding {
    const SAMPLES: usize = 40;
    let mut late_us: Vec<u128> = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        let began = std::time::Instant::now();
        let span = std::time::Duration::from_millis(2);
        std::thread::sleep(span);
        late_us.push(began.elapsed().saturating_sub(span).as_micros());
    }
    late_us.sort_unstable();
    let (median, worst) = (late_us[SAMPLES / 2], late_us[SAMPLES - 1]);
    Finding {
        check: "timer",
        ok: median < 500,
        detail: format!("wakes {median} µs late (median), {worst} µs at worst"),
    }
}
