//! Many seeds as one page that needs nothing else: of each expectation how what seeds got is spread, and where its limits
//! lie; then the worst seed as a run of its own.

use std::fmt::Write as _;

use world::verdict::words;

use super::{Row, Spread};
use crate::chaos::{
    COLOURS,
    html::{framed, section},
    report::escaped,
};

const WIDTH: f64 = 920.0;
const HEIGHT: f64 = 84.0;
const LEFT: f64 = 8.0;
/// Room for those that never came.
const RIGHT: f64 = 96.0;
const BASE: f64 = 62.0;
const TOP: f64 = 22.0;
/// Bars of a figure.
const BARS: usize = 60;

/// The page of these scenarios.
pub(super) fn page(all: &[Spread]) -> String {
    let title = match all {
        [one] => escaped(&one.title),
        _ => format!("{} scenarios", all.len()),
    };
    let mut body = String::new();
    all.iter().for_each(|spread| scenario(&mut body, spread));
    framed(&title, &body)
}

fn scenario(body: &mut String, spread: &Spread) {
    let (held, all) = (words::count(spread.seeds_held), words::count(spread.seeds));
    let (class, sign) = if spread.held { ("held", "✓") } else { ("missed", "✗") };
    let last = spread.first_seed.saturating_add(spread.seeds.saturating_sub(1));
    let _ = writeln!(
        body,
        "<section>\n<h1>{}</h1>\n<p><span class=\"{class}\">{sign} {held} of {all} seeds held</span></p>\n\
         <p class=\"dim\">virtual time · seeds {} to {last} · <code>iso chaos run --sim {} --seed {} --seeds {}</code></p>\n\
         <h2>Expectations</h2>\n<table><thead><tr><th></th><th>expected</th><th>held</th><th>min</th><th>median</th>\
         <th>max</th><th></th></tr></thead><tbody>",
        escaped(&spread.title),
        spread.first_seed,
        escaped(&spread.file),
        spread.first_seed,
        spread.seeds
    );
    for row in &spread.expectations {
        let (class, sign) = if row.held { ("held", "✓") } else { ("missed", "✗") };
        let _ = write!(
            body,
            "<tr><td class=\"{class}\">{sign}</td><td class=\"n\">{}</td><td class=\"n {class}\">{} of {all}</td>",
            escaped(&row.text),
            words::count(spread.seeds.saturating_sub(row.missed_by.len() as u64))
        );
        for got in [row.min, row.median, row.max] {
            let _ = write!(body, "<td class=\"n\">{}</td>", escaped(&row.figure(got)));
        }
        let _ = writeln!(body, "<td>{}</td></tr>", escaped(&row.missed()));
    }
    body.push_str("</tbody></table>\n<h2>How far apart the seeds lie</h2>\n");
    spread.expectations.iter().for_each(|row| body.push_str(&histogram(row)));
    if let Some(worst) = &spread.worst {
        let _ = writeln!(
            body,
            "<p class=\"dim\">The worst of these seeds is {}: by expectations missed, then by requests not served, then \
             by the slowest in a hundred. It follows whole.</p>",
            worst.judgement.seed
        );
    }
    body.push_str("</section>\n");
    if let Some(worst) = &spread.worst {
        section(body, worst);
    }
}

/// What seeds got as bars, with the limits of the expectation, and beside them those to whom it never came.
fn histogram(row: &Row) -> String {
    let finite: Vec<f64> = row.got.iter().copied().filter(|got| got.is_finite()).collect();
    let never = row.got.len() - finite.len();
    let wanted = &row.expectation;
    let limits: Vec<f64> = [wanted.min, wanted.max, wanted.equals].into_iter().flatten().collect();
    let all = || finite.iter().chain(&limits).copied();
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    // A scale of no width shows its one figure in the middle.
    let is_wide = high > low;
    let (low, span) = if is_wide { (low, high - low) } else { (low - 0.5, 1.0) };
    let across = WIDTH - LEFT - RIGHT;
    let x = |value: f64| LEFT + (value - low) / span * across;
    let mut bars = [0_usize; BARS];
    for got in &finite {
        let at = ((got - low) / span * BARS as f64) as usize;
        if let Some(bar) = bars.get_mut(at.min(BARS - 1)) {
            *bar += 1;
        }
    }
    let most = bars.iter().copied().max().unwrap_or(0).max(never).max(1) as f64;
    let text = escaped(&row.text);
    let mut svg = format!(
        "<figure><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{text}\">\n\
         <text class=\"t\" x=\"{LEFT}\" y=\"14\">{text}</text>\n\
         <line class=\"g\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{BASE}\" y2=\"{BASE}\"/>\n",
        LEFT + across
    );
    let width = across / BARS as f64;
    let mut bar = |left: f64, count: usize, colour: &str, what: &str| {
        let height = (BASE - TOP) * count as f64 / most;
        let _ = writeln!(
            svg,
            "<rect class=\"s\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\">\
             <title>{what}: {}</title></rect>",
            BASE - height,
            words::count(count as u64)
        );
    };
    for (at, count) in bars.iter().enumerate().filter(|(_, count)| **count > 0) {
        let from = low + span * at as f64 / BARS as f64;
        bar(LEFT + width * at as f64, *count, COLOURS[0], &format!("about {}", escaped(&row.figure(Some(from)))));
    }
    if never > 0 {
        bar(WIDTH - RIGHT / 2.0, never, COLOURS[1], "never");
    }
    for limit in limits {
        let at = x(limit);
        let _ = writeln!(svg, "<line class=\"bl\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{BASE}\"/>");
    }
    let mut label = |at: f64, anchor: &str, text: &str| {
        let _ = writeln!(
            svg,
            "<text class=\"a\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            BASE + 15.0,
            escaped(text)
        );
    };
    if is_wide {
        label(LEFT, "start", &row.figure(Some(low)));
        label(LEFT + across, "end", &row.figure(Some(low + span)));
    } else if low.is_finite() {
        label(LEFT + across / 2.0, "middle", &row.figure(Some(low + 0.5)));
    }
    if never > 0 {
        label(WIDTH - RIGHT / 2.0, "start", "never");
    }
    svg.push_str("</svg></figure>\n");
    svg
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use world::scenario::{Area, Expectation, What};

    use super::*;

    fn row(max: f64, got: &[f64]) -> Row {
        let mut row = Row::of(&Expectation {
            what: What::Reroute,
            from: Area::World,
            pop: None,
            node: None,
            after: Duration::ZERO,
            before: None,
            min: None,
            max: Some(max),
            equals: None,
            line: 1,
        });
        row.got = got.to_vec();
        row.finish();
        row
    }

    #[test]
    fn each_seed_is_in_one_bar_and_those_to_whom_it_never_came_have_their_own() {
        let svg = histogram(&row(8.0, &[1.0, 2.0, 2.0, 4.0, f64::INFINITY]));
        let counts: Vec<&str> =
            svg.split("</title>").filter_map(|part| part.rsplit_once(": ")).map(|(_, count)| count).collect();
        assert_eq!(counts, ["1", "2", "1", "1"], "{svg}");
        assert_eq!(svg.matches("<title>never").count(), 1);
        assert_eq!(svg.matches("class=\"bl\"").count(), 1, "one limit");
        assert!(svg.contains(">1 s</text>") && svg.contains(">8 s</text>"), "{svg}");
    }

    #[test]
    fn a_figure_that_all_share_stands_in_the_middle() {
        let svg = histogram(&row(3.0, &[3.0, 3.0]));
        assert!(svg.contains("text-anchor=\"middle\">3 s<") && svg.matches("<rect ").count() == 1, "{svg}");
        assert!(!svg.contains("NaN") && !histogram(&row(3.0, &[])).contains("NaN"));
    }
}
