//! A run on the terminal: its timeline as it happens, and the table of expectations.

use world::{
    Judgement,
    scenario::Scenario,
    verdict::{Line, Mark, Row, words},
};

use super::{Kind, Played, programs};
use crate::{
    talk::{VerbError, tell},
    verbs::{paint::Paint, say},
};

/// Where a run is shown.
pub(crate) struct Screen {
    pub(crate) paint: Paint,
    /// Results are one JSON document at the end.
    pub(crate) quiet: bool,
    /// The run is held against another one, for which every request is kept.
    pub(crate) compares: bool,
}

impl Screen {
    /// Nothing is shown.
    pub(crate) const fn silent() -> Self {
        Self { paint: Paint::plain(), quiet: true, compares: false }
    }

    /// The seed and the line that plays it again, before anything else.
    pub(crate) fn begins(&self, scenario: &Scenario, kind: Kind, replay: &str) {
        let what = match kind {
            Kind::Live => "on real processes",
            Kind::Virtual => "in virtual time",
        };
        tell(&format!("seed {}   {what}   replay: {replay}", scenario.seed));
        if !self.quiet {
            let _ = say(&scenario.title);
        }
    }

    /// One line of the timeline.
    pub(crate) fn line(&self, line: &Line) {
        if self.quiet {
            return;
        }
        let text = line.to_string();
        let _ = say(&match line.mark {
            Mark::Broken => self.paint.bad(&text),
            Mark::Healed => self.paint.good(&text),
            Mark::Moved => self.paint.warn(&text),
            Mark::Note => self.paint.dim(&text),
        });
    }

    /// The table of expectations, and the verdict.
    pub(crate) fn verdict(&self, played: &Played) -> Result<(), VerbError> {
        if self.quiet { Ok(()) } else { say(&verdict(self.paint, played)) }
    }
}

/// The table and the verdict.
pub(super) fn verdict(paint: Paint, played: &Played) -> String {
    let judgement = &played.judgement;
    let mut text = table(paint, judgement);
    let missed = judgement.rows.iter().filter(|row| !row.held).count();
    let all = judgement.rows.len();
    let word = match missed {
        0 => paint.good(&format!("HELD  {all} of {all}")),
        _ => paint.bad(&format!("FAIL  {missed} of {all}")),
    };
    text.push_str(&format!("{word}   {}", totals(judgement)));
    if let Some(program) = programs::text(judgement) {
        text.push_str(&format!("\n{program}"));
    }
    text.push_str(&format!("\nreplay: {}", played.replay));
    text
}

/// `EXPECT` against `GOT`, one row each.
fn table(paint: Paint, judgement: &Judgement) -> String {
    let wanted: Vec<String> = judgement.rows.iter().map(|row| row.expectation.to_string()).collect();
    let got: Vec<String> = judgement.rows.iter().map(Row::got_text).collect();
    let width =
        |all: &[String], least: usize| all.iter().map(|text| text.chars().count()).max().unwrap_or(0).max(least);
    let (first, second) = (width(&wanted, 34), width(&got, 8));
    let mut text = format!("EXPECT{:<1$} GOT\n", "", first - 3);
    for ((row, wanted), got) in judgement.rows.iter().zip(&wanted).zip(&got) {
        let (sign, got) = match row.held {
            true => (paint.good("✓"), pad(got, second)),
            false => (paint.bad("✗"), paint.bad(&pad(got, second))),
        };
        text.push_str(format!(" {sign} {} {got}  {}", pad(wanted, first), row.detail).trim_end());
        text.push('\n');
    }
    text
}

fn pad(text: &str, width: usize) -> String {
    format!("{text:<width$}")
}

/// The run in one line.
fn totals(judgement: &Judgement) -> String {
    let totals = &judgement.totals;
    if totals.requests == 0 {
        return "no requests".to_owned();
    }
    let mut parts = vec![format!("{} requests", words::count(totals.requests))];
    parts.push(format!("{} not served", words::count(totals.errors)));
    parts.extend(totals.hit_ratio().map(|ratio| format!("hit {:.1} %", ratio * 100.0)));
    parts.extend(totals.latency.map(|latency| {
        let ms = |value| words::figure(value, world::scenario::Unit::Seconds);
        format!("p50 {}, p95 {}, p99 {}", ms(latency.p50), ms(latency.p95), ms(latency.p99))
    }));
    parts.push(format!("{} to origins", words::count(totals.origin_requests)));
    parts.join(" · ")
}
