//! A run as one page that needs nothing else: no script, no font, no picture from elsewhere. Reads on paper too.

use std::fmt::Write as _;

use world::{
    Judgement,
    scenario::Unit,
    verdict::{Second, words},
};

use super::{
    Played, programs,
    report::escaped,
    svg::{Chart, Series, Span, Style},
};

/// PoPs that have an area of their own; the others share one.
const POPS_MAX: usize = 7;

/// The look of every page.
pub(crate) const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--dim:#5b6570;--line:#d9dee3;--paper:#fff;--good:#00664a;--bad:#a8410a}\
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ec;--dim:#9aa4ae;--line:#333a41;--paper:#15181b;--good:#5fd0a8;--bad:#ff9a5c}}\
@media print{:root{--ink:#000;--dim:#444;--line:#bbb;--paper:#fff;--good:#00664a;--bad:#a8410a}figure,tr{break-inside:avoid}}\
*{box-sizing:border-box}\
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:62rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem;line-height:1.25;margin:0 0 .3rem}h2{font-size:1.05rem;margin:1.8rem 0 .5rem}\
p{margin:.4rem 0}.dim{color:var(--dim)}.held{color:var(--good);font-weight:600}.missed{color:var(--bad);font-weight:600}\
code{font:13px ui-monospace,monospace}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.3rem .6rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top}\
th{font-weight:600;color:var(--dim)}td.n{white-space:nowrap}\
figure{margin:0 0 .8rem}svg{width:100%;height:auto;display:block}svg text{fill:var(--ink);font-family:system-ui,sans-serif}\
.t{font-size:13px;font-weight:600}.a{font-size:11px}svg text.a{fill:var(--dim)}.g{stroke:var(--line);stroke-width:1}\
.b{fill:#D55E00;opacity:.11}.bl{stroke:#D55E00;stroke-width:1;opacity:.6}.bt{font-size:10px}svg text.bt{fill:var(--bad)}\
.s{stroke:var(--paper);stroke-width:.6}ol{list-style:none;padding:0;margin:0}ol li{font:13px/1.6 ui-monospace,monospace}\
code,td{overflow-wrap:anywhere}\
@media(max-width:48rem){td.n:not(.held,.missed){white-space:normal}figure{overflow-x:auto}svg{min-width:46rem}}\
section+section{border-top:2px solid var(--line);margin-top:3rem;padding-top:2rem}";

/// The page of these runs.
pub(super) fn page(played: &[Played]) -> String {
    let title = match played {
        [one] => escaped(&one.judgement.title),
        _ => format!("{} scenarios", played.len()),
    };
    let mut body = String::new();
    for one in played {
        section(&mut body, one);
    }
    framed(&title, &body)
}

/// A whole page. Both are HTML already.
pub(super) fn framed(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
}

/// All of one run.
pub(super) fn section(page: &mut String, one: &Played) {
    let judgement = &one.judgement;
    let missed = judgement.rows.iter().filter(|row| !row.held).count();
    let verdict = match missed {
        0 => format!("<span class=\"held\">✓ held, {} of {}</span>", judgement.rows.len(), judgement.rows.len()),
        _ => format!("<span class=\"missed\">✗ missed, {missed} of {}</span>", judgement.rows.len()),
    };
    let _ = writeln!(page, "<section>\n<h1>{}</h1>\n<p>{verdict}</p>", escaped(&judgement.title));
    if !judgement.about.is_empty() {
        let _ = writeln!(page, "<p>{}</p>", escaped(&judgement.about));
    }
    let how = match one.kind {
        super::Kind::Live => "real processes",
        super::Kind::Virtual => "virtual time",
    };
    let _ = writeln!(
        page,
        "<p class=\"dim\">{how} · seed {} · {} of timeline in {:.1} s · replay: <code>{}</code></p>",
        judgement.seed,
        words::clock(judgement.length),
        one.took_s,
        escaped(&one.replay)
    );
    expectations(page, judgement);
    if let Some(program) = programs::text(judgement) {
        let _ = writeln!(page, "<p>{}</p>", escaped(&program));
    }
    timeline(page, judgement);
    charts(page, judgement);
    totals(page, judgement);
    page.push_str("</section>\n");
}

fn expectations(page: &mut String, judgement: &Judgement) {
    page.push_str("<h2>Expectations</h2>\n<table><thead><tr><th></th><th>expected</th><th>got</th><th></th></tr></thead><tbody>\n");
    for row in &judgement.rows {
        let (class, sign, word) = if row.held { ("held", "✓", "held") } else { ("missed", "✗", "missed") };
        let _ = writeln!(
            page,
            "<tr><td class=\"{class}\" title=\"{word}\">{sign}</td><td class=\"n\">{}</td><td class=\"n {class}\">{}</td><td>{}</td></tr>",
            escaped(&row.expectation.to_string()),
            escaped(&row.got_text()),
            escaped(&row.detail)
        );
    }
    page.push_str("</tbody></table>\n");
}

fn timeline(page: &mut String, judgement: &Judgement) {
    page.push_str("<h2>Timeline</h2>\n<ol>\n");
    for line in &judgement.timeline {
        let _ = writeln!(page, "<li>{}</li>", escaped(&line.to_string()).replace("  ", "\u{a0} "));
    }
    page.push_str("</ol>\n");
}

fn charts(page: &mut String, judgement: &Judgement) {
    let bands: Vec<Span> = judgement
        .bands
        .iter()
        .map(|band| Span { from_s: band.from.as_secs_f64(), to_s: band.to.as_secs_f64(), text: band.text.clone() })
        .collect();
    let step_s = judgement.step.as_secs_f64();
    let seconds = charted(judgement);
    let of = |value: &dyn Fn(&Second) -> Option<f64>| seconds.iter().map(value).collect::<Vec<_>>();
    let latency = |index: usize| of(&|second| second.latency.and_then(|latency| latency.get(index).copied()));
    let named = |name: &str, values| Series { name: name.to_owned(), values };
    let ratio = |part: u64, all: u64| (all > 0).then(|| part as f64 / all as f64);
    let percent: fn(f64) -> String = |value| words::figure(value, Unit::Share);
    let per_second: fn(f64) -> String = |value| format!("{}/s", number(value));
    let count: fn(f64) -> String = number;
    let chart = |title, style, series, top_min, tick| Chart {
        title,
        style,
        series,
        bands: &bands,
        step_s,
        length_s: judgement.length.as_secs_f64(),
        top_min,
        tick,
    };
    page.push_str("<h2>Charts</h2>\n");
    let quantiles = vec![named("p50", latency(0)), named("p95", latency(1)), named("p99", latency(2))];
    let all = [
        chart("Latency", Style::Lines, quantiles, 0.0, |value| words::figure(value, Unit::Seconds)),
        chart("Requests served, by PoP", Style::Stacked, by_pop(judgement), 0.0, per_second),
        chart("Hit ratio", Style::Lines, vec![named("edges", of(&|s| ratio(s.hits, s.cacheable)))], 1.0, percent),
        chart(
            "Not served",
            Style::Bars,
            vec![named("errors", of(&|s| Some(s.errors as f64 / step_s)))],
            0.0,
            per_second,
        ),
        chart(
            "Origins",
            Style::Lines,
            vec![
                named("requests", of(&|s| Some(s.origin_requests as f64 / step_s))),
                named("failovers", of(&|s| Some(s.failovers as f64 / step_s))),
            ],
            0.0,
            per_second,
        ),
        chart("Nodes judged down", Style::Lines, vec![named("down", of(&|s| Some(s.nodes_down as f64)))], 4.0, count),
    ];
    for chart in all {
        page.push_str(&chart.svg());
    }
}

/// The steps of the timeline. What answers set off after its end is in the totals; a curve would only seem to fall there.
fn charted(judgement: &Judgement) -> &[Second] {
    let steps = judgement.length.as_nanos().div_ceil(judgement.step.as_nanos().max(1));
    let steps = usize::try_from(steps).unwrap_or(usize::MAX).min(judgement.seconds.len());
    judgement.seconds.get(..steps).unwrap_or_default()
}

/// The busiest PoPs each, and the rest together.
fn by_pop(judgement: &Judgement) -> Vec<Series> {
    let step_s = judgement.step.as_secs_f64();
    let mut busiest: Vec<(u64, usize)> = judgement.totals.pops.iter().copied().zip(0..).collect();
    busiest.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    busiest.retain(|(n, _)| *n > 0);
    let values = |indexes: &[usize]| {
        let sum = |second: &Second| indexes.iter().filter_map(|index| second.pops.get(*index)).sum::<u64>();
        charted(judgement).iter().map(|second| Some(sum(second) as f64 / step_s)).collect::<Vec<_>>()
    };
    let (first, rest) = busiest.split_at(busiest.len().min(POPS_MAX));
    let name = |index: usize| judgement.pops.get(index).map(|pop| pop.lower()).unwrap_or_default();
    let mut series: Vec<Series> =
        first.iter().map(|(_, index)| Series { name: name(*index), values: values(&[*index]) }).collect();
    if !rest.is_empty() {
        let rest: Vec<usize> = rest.iter().map(|(_, index)| *index).collect();
        series.push(Series { name: format!("{} others", rest.len()), values: values(&rest) });
    }
    series
}

fn totals(page: &mut String, judgement: &Judgement) {
    let totals = &judgement.totals;
    let share = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| words::figure(value, Unit::Share));
    let mut rows = vec![
        ("requests", words::count(totals.requests)),
        ("served", share(totals.availability())),
        ("hit ratio", share(totals.hit_ratio())),
        ("served by a second address", words::count(totals.fell_back)),
        ("moved to a second origin", words::count(totals.failovers)),
        ("requests to origins", words::count(totals.origin_requests)),
        ("wrong bytes", words::count(totals.wrong_bytes)),
    ];
    if let Some(latency) = totals.latency {
        let ms = |value| words::figure(value, Unit::Seconds);
        let text = [latency.p50, latency.p90, latency.p95, latency.p99, latency.p999, latency.max].map(ms).join(" · ");
        rows.push(("p50 · p90 · p95 · p99 · p99.9 · max", text));
    }
    page.push_str("<h2>Totals</h2>\n<table><tbody>\n");
    for (name, value) in rows {
        let _ = writeln!(page, "<tr><th>{name}</th><td>{}</td></tr>", escaped(&value));
    }
    for (reason, n) in &totals.reasons {
        let _ = writeln!(
            page,
            "<tr><th>not served: {reason}</th><td>{} ({})</td></tr>",
            words::count(*n),
            escaped(reason.help())
        );
    }
    page.push_str("</tbody></table>\n");
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 { words::count(value as u64) } else { format!("{value}") }
}
