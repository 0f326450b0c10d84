//! What `iso up` shows: the first screen, a live line, what happens, a summary.

use std::{
    cell::Cell,
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use cdn_core::Role;
use control_plane::wire::{Health, Status};

use crate::{
    args::Cli,
    cluster::Cluster,
    talk::world_flag,
    up::watch::Totals,
    verbs::paint::{Paint, health_word, table},
};

/// The terminal of `iso up`.
pub(crate) struct Screen {
    paint: Paint,
    json: bool,
    /// A live line may be drawn and drawn over.
    live: bool,
    drawn: Cell<bool>,
}

impl Screen {
    /// A screen for this command line.
    pub(crate) fn new(cli: &Cli, is_daemon: bool) -> Self {
        let live = !is_daemon && !cli.json && std::io::stderr().is_terminal();
        Self { paint: Paint::of(cli), json: cli.json, live, drawn: Cell::new(false) }
    }

    /// A line of talk.
    pub(crate) fn say(&self, text: &str) {
        self.clear();
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    /// Something that happened.
    pub(crate) fn event(&self, text: &str) {
        self.say(&format!("  {text}"));
    }

    /// The first screen.
    pub(crate) fn started(&self, cluster: &Cluster, status: &Status, unmeasured: &[String], took: Duration) {
        self.clear();
        let mut out = std::io::stdout().lock();
        if self.json {
            let _ = writeln!(out, "{}", serde_json::to_string(status).unwrap_or_default());
            let _ = out.flush();
            return;
        }
        let _ = writeln!(out, "{}", first_screen(self.paint, cluster, status, unmeasured, took));
        let _ = out.flush();
    }

    /// The live line at the bottom.
    pub(crate) fn live(&self, status: &Status) {
        if !self.live || !status.ready && status.links.count == 0 {
            return;
        }
        let count = |health: Health| status.nodes.iter().filter(|node| node.health == health).count();
        let (up, all) = (count(Health::Up), status.nodes.len());
        let seconds = status.uptime_ms / 1000;
        let mut line = format!("{:02}:{:02}  {up}/{all} nodes up", seconds / 60, seconds % 60);
        if !status.faults.is_empty() {
            line.push_str(&format!("  {} active faults", status.faults.len()));
        }
        line.push_str("  Ctrl-C stops");
        let mut err = std::io::stderr();
        let _ = write!(err, "\r\x1b[K{}", self.paint.dim(&line));
        let _ = err.flush();
        self.drawn.set(true);
    }

    /// Takes the live line away.
    pub(crate) fn clear(&self) {
        if self.drawn.replace(false) {
            let mut err = std::io::stderr();
            let _ = write!(err, "\r\x1b[K");
            let _ = err.flush();
        }
    }

    /// What a world did.
    pub(crate) fn summary(&self, totals: &Totals, ran: Duration, stopping: Duration, killed: usize) {
        let Totals { requests, hits, errors, origin_requests, dns_queries } = totals;
        let hit_share = if *requests == 0 { 0.0 } else { 100.0 * *hits as f64 / *requests as f64 };
        let seconds = ran.as_secs();
        self.say(&format!(
            "ran {:02}:{:02}   {requests} requests at edges ({hit_share:.1} % hits, {errors} errors)   \
             {origin_requests} at origins   {dns_queries} DNS queries",
            seconds / 60,
            seconds % 60,
        ));
        let killed = if killed == 0 { String::new() } else { format!(", {killed} nodes had to be killed") };
        self.say(&format!("stopped in {:.2} s{killed}", stopping.as_secs_f64()));
    }
}

/// The table of nodes, three lines to copy, the next verb to try.
pub(crate) fn first_screen(
    paint: Paint,
    cluster: &Cluster,
    status: &Status,
    unmeasured: &[String],
    took: Duration,
) -> String {
    let mut text = String::new();
    let (pops, edges) = (cluster.pops().count(), cluster.nodes_with(Role::Edge).count());
    let edges = if edges > pops { format!("{edges} edges, ") } else { String::new() };
    let origins = cluster.origins.len();
    let links = status.links.count;
    text.push_str(&format!(
        "  {} {pops} PoPs, {edges}{origins} origins, {links} links   {:.2} s\n",
        paint.good("ok"),
        took.as_secs_f64()
    ));
    if let Some(worst) = status.links.worst_error_ms {
        text.push_str(&format!("  {} links measured: worst error {worst:.2} ms\n", paint.good("ok")));
    }
    for line in unmeasured {
        text.push_str(&format!("  {} not measured: {line}\n", paint.bad("!")));
    }
    text.push('\n');
    let first_origin = cluster.origins.first();
    let origin_head = first_origin.map_or_else(String::new, |(id, _)| format!("RTT→{id}"));
    let rows = status.nodes.iter().map(|node| {
        let plan = cluster.nodes.iter().find(|plan| plan.id.to_string() == node.id);
        let address = node.addresses.http.clone().unwrap_or_default();
        let rtt = match (plan, first_origin) {
            (Some(plan), Some((_, origin))) if matches!(plan.id.role(), Role::Edge | Role::Regional | Role::Shield) => {
                let rtt = cluster.world.path(&plan.place, &origin.place).rtt;
                format!("{:.0} ms", rtt.as_secs_f64() * 1e3)
            }
            _ => String::new(),
        };
        vec![node.id.clone(), node.place.clone(), address, health_word(paint, node.health), rtt]
    });
    text.push_str(&table(&["NODE", "PLACE", "ADDRESS", "HEALTH", &origin_head], rows));
    text.push('\n');
    if let Some(program) = &cluster.router.program {
        text.push_str(&format!("router: your program ({}) answers 1 question per line on stdin\n", program.line));
        text.push_str(concat!(
            r#"{"client":"198.18.63.0/24","city":"lagos","pops":[{"id":"fra","load":0.4,"healthy":true,"rtt_ms":101.0}, …]}"#,
            "\n\n"
        ));
    }
    let host = cluster.first_name().unwrap_or_default();
    let dns = cluster.ports.dns();
    let world = world_flag(&status.world);
    let scheme = if cluster.edge.https { "https" } else { "http" };
    text.push_str(&format!("  iso curl{world} --from tokyo --ledger -- {scheme}://{host}/\n"));
    text.push_str(&format!("  dig @{} -p {} {host} +short +subnet=198.18.0.0/24\n", dns.ip(), dns.port()));
    text.push_str(&format!("  {}\n\n", status.dashboard));
    let pop = cluster.pops().nth(1).or_else(|| cluster.pops().next());
    let pop = pop.map_or("iad", |pop| pop.id.as_str());
    text.push_str(&format!("next: iso kill{world} {pop} --for 30s        stop: Ctrl-C, or iso down{world}"));
    text
}
