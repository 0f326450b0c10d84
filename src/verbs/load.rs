//! `iso load`: requests from the world's cities, and what became of them.

use std::{
    fmt::Write as _,
    io::IsTerminal as _,
    path::Path,
    time::{Duration, Instant},
};

use control_plane::wire::Status;
use serde::Serialize;
use world::{
    Atlas,
    scenario::{Connections, From, Load, Paths, Resolvers, Retry, Sizes, Transport},
};

use crate::{
    args::{Cli, LoadArgs},
    load::{
        LoadRun, LoadSpan, paths,
        tally::{Figures, GroupFigures, Quantiles, Tally},
    },
    node::load_wire::LoadEnd,
    quantity::Span,
    talk::{VerbError, tell},
    verbs::{
        api,
        paint::{Paint, table},
        print,
    },
};

/// How often the line of progress is written.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// A generator of which one request in a hundred starts this late does not keep up.
const LATE_MAX_MS: f64 = 20.0;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Document {
    /// Seed of the workload.
    seed: u64,
    /// Whether the load was played to its end.
    complete: bool,
    #[serde(flatten)]
    figures: Figures,
    /// The generator itself; `null` where it was broken off.
    generator: Option<Generator>,
}

#[derive(Debug, Serialize)]
struct Generator {
    /// Requests that were meant to be made.
    intended: u64,
    /// Observations that were lost on the way here.
    observations_dropped: u64,
    /// Processor time of the viewer node.
    cpu_s: f64,
    /// The same as a share of one processor.
    cpu_share: f64,
}

pub(super) async fn run(cli: &Cli, args: &LoadArgs) -> Result<(), VerbError> {
    let load = load_of(args)?;
    let api = api(cli)?;
    let seed = match args.seed {
        Some(seed) => seed,
        None => api.read::<Status>("/v1/status", &()).await?.seed,
    };
    tell(&format!("seed {seed}"));
    let length = args.span.0;
    let mut run = LoadRun::start(&api, &[load], LoadSpan { warmup: Duration::ZERO, length }, seed).await?;
    let mut progress = Progress::new(&run);
    let mut tally = Tally::default();
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    let complete = loop {
        tokio::select! {
            seen = run.next() => match seen? {
                Some(seen) => tally.observe(&seen),
                None => break true,
            },
            _ = &mut interrupted => break false,
        }
        progress.show(&tally);
    };
    progress.clear();
    let generator = run.end().map(Generator::of);
    let document = Document { seed, complete, figures: tally.figures(length, complete), generator };
    warn(&document);
    let paint = Paint::of(cli);
    print(cli, &document, |document| text_of(paint, document))?;
    if complete { Ok(()) } else { Err(VerbError::Interrupted) }
}

fn load_of(args: &LoadArgs) -> Result<Load, VerbError> {
    if args.span.0.is_zero() || args.users == 0 {
        return Err(VerbError::Usage("--for and --users must be more than nothing".into()));
    }
    let paths = paths::parse(&args.paths, Path::new(".")).map_err(VerbError::Usage)?;
    let is_trace = matches!(paths, Paths::Trace(_));
    let rps = match args.rps {
        Some(rps) if rps > 0.0 && rps <= world::workload::RPS_MAX => rps,
        Some(rps) => {
            return Err(VerbError::Usage(format!(
                "--rps {rps}: expected more than 0 and at most {} requests per second",
                world::workload::RPS_MAX
            )));
        }
        // A trace has a pace of its own.
        None if is_trace => 0.0,
        None => {
            return Err(VerbError::Usage("--rps N: how many requests per second? Only a trace says by itself".into()));
        }
    };
    let atlas = Atlas::embedded();
    let from = if args.from.iter().any(|from| from == "world") {
        From::World
    } else {
        let place = |name: &String| {
            let place = atlas.place(name).map_err(|unknown| VerbError::Usage(unknown.to_string()))?;
            // Places without users in the atlas count alike.
            Ok((place.id.clone(), place.users.max(1) as f64))
        };
        From::Places(args.from.iter().map(place).collect::<Result<_, VerbError>>()?)
    };
    Ok(Load {
        from,
        rps,
        start: Duration::ZERO,
        span: None,
        paths,
        sizes: args.size.map_or(Sizes::Origin, |size| Sizes::Fixed(size.0)),
        ramp: Vec::new(),
        diurnal: None,
        connections: Connections {
            think: args.think.map(|think| think.0),
            transport: match () {
                () if args.http3 => Transport::Quic,
                () if args.https => Transport::Tls,
                () => Transport::Tcp,
            },
            ..Connections::default()
        },
        resolvers: Resolvers::default(),
        retry: Retry::default(),
        distribution: args.distribution.clone().unwrap_or_default(),
        method: "GET".into(),
        users: args.users,
        signing: None,
    })
}

impl Generator {
    fn of(end: LoadEnd) -> Self {
        let share = end.cpu.as_secs_f64() / end.took.as_secs_f64().max(1e-9);
        Self {
            intended: end.intended,
            observations_dropped: end.dropped,
            cpu_s: (end.cpu.as_secs_f64() * 1e3).round() / 1e3,
            cpu_share: (share * 1e3).round() / 1e3,
        }
    }
}

/// Says what a reader of the figures must know about them.
fn warn(document: &Document) {
    let Figures { late_ms, errors_by_reason, bodies_wrong, .. } = &document.figures;
    if let Some(Quantiles { p99, max, .. }) = late_ms
        && *p99 > LATE_MAX_MS
    {
        tell(&format!(
            "warning: the generator did not keep up: one request in a hundred started {p99:.0} ms late or more, {max:.0} ms \
             at most, which is part of the latencies"
        ));
    }
    if let Some(full) = errors_by_reason.get("viewer_load_full") {
        tell(&format!("warning: {full} requests were not made, because as many as allowed were under way"));
    }
    if let Some(Generator { observations_dropped: lost @ 1.., .. }) = document.generator {
        tell(&format!("warning: {lost} requests are not in the figures, because they came faster than they were read"));
    }
    if *bodies_wrong > 0 {
        tell(&format!("warning: {bodies_wrong} bodies were not what the origin has"));
    }
}

fn text_of(paint: Paint, document: &Document) -> String {
    let figures = &document.figures;
    let mut text = String::new();
    let mut fact = |name: &str, what: String| {
        let _ = writeln!(text, "  {name:<10}{what}");
    };
    fact("requests", format!("{}  {:.1}/s", figures.all.requests, figures.rps));
    let errors = figures.all.errors;
    let reasons: Vec<String> =
        figures.errors_by_reason.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    let share = 100.0 * errors as f64 / figures.all.requests.max(1) as f64;
    match errors {
        0 => fact("errors", paint.good("none")),
        _ => fact("errors", paint.bad(&format!("{errors}  {share:.3} %  {}", reasons.join(", ")))),
    }
    let statuses: Vec<String> = figures.statuses.iter().map(|(status, count)| format!("{status} × {count}")).collect();
    fact("statuses", statuses.join(", "));
    if figures.bodies_checked > 0 {
        fact("bodies", format!("{} checked, {} wrong", figures.bodies_checked, figures.bodies_wrong));
    }
    if figures.fell_back + figures.retries > 0 {
        fact("fallbacks", format!("{} to the second address, {} retries", figures.fell_back, figures.retries));
    }
    if let Some(late) = figures.late_ms {
        let cpu = document.generator.as_ref().map_or_else(String::new, |generator| {
            format!("; the generator used {:.0} % of a processor", generator.cpu_share * 100.0)
        });
        fact("late", format!("p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms{cpu}", late.p50, late.p99, late.max));
    }
    text.push('\n');
    let mut rows = vec![row("all", &figures.all)];
    rows.extend(figures.continents.iter().map(|(code, group)| row(continent_name(code), group)));
    rows.extend(figures.pops.iter().map(|(pop, group)| row(pop, group)));
    text.push_str(&table(
        &["FROM / POP", "REQUESTS", "ERRORS", "HIT", "P50", "P90", "P95", "P99", "P99.9", "MAX"],
        rows,
    ));
    if !document.complete {
        text.push_str("\ninterrupted: figures up to then\n");
    }
    text
}

fn row(name: &str, group: &GroupFigures) -> Vec<String> {
    let hit = group.hit_ratio.map_or_else(|| "–".into(), |ratio| format!("{:.1} %", ratio * 100.0));
    let mut cells = vec![name.to_owned(), group.requests.to_string(), group.errors.to_string(), hit];
    match group.latency_ms {
        Some(Quantiles { p50, p90, p95, p99, p999, max, .. }) => {
            cells.extend([p50, p90, p95, p99, p999, max].map(|ms| match ms {
                ms if ms < 10.0 => format!("{ms:.2} ms"),
                ms if ms < 1000.0 => format!("{ms:.0} ms"),
                ms => format!("{:.2} s", ms / 1e3),
            }));
        }
        None => cells.extend(std::iter::repeat_n("–".to_owned(), 6)),
    }
    cells
}

fn continent_name(code: &str) -> &str {
    match code {
        "AF" => "Africa",
        "AN" => "Antarctica",
        "AS" => "Asia",
        "EU" => "Europe",
        "NA" => "North America",
        "OC" => "Oceania",
        "SA" => "South America",
        other => other,
    }
}

/// One line on a terminal that is written over each second.
struct Progress {
    began: Instant,
    shown: Option<Instant>,
    is_on: bool,
}

impl Progress {
    fn new(run: &LoadRun) -> Self {
        Self { began: run.began(), shown: None, is_on: std::io::stderr().is_terminal() }
    }

    fn show(&mut self, tally: &Tally) {
        let now = Instant::now();
        if !self.is_on || self.shown.is_some_and(|shown| now.duration_since(shown) < PROGRESS_INTERVAL) {
            return;
        }
        self.shown = Some(now);
        let (requests, errors) = tally.counts();
        let elapsed = now.saturating_duration_since(self.began);
        let [p50, p99] = [0.5, 0.99].map(|quantile| tally.latency(quantile).as_secs_f64() * 1e3);
        let elapsed = Span(Duration::from_secs(elapsed.as_secs()));
        eprint!("\r\x1b[K{elapsed:>5}  {requests} requests  {errors} errors  p50 {p50:.0} ms  p99 {p99:.0} ms");
    }

    fn clear(&self) {
        if self.shown.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}
