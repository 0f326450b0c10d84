//! Charts as SVG: lines, bars and stacked areas over time, with what was broken as bands.
//!
//! Knows numbers and labels, nothing of runs. Series differ in colour (Okabe and Ito's palette, which everybody can tell
//! apart) and in dash, and each is named where it ends, so that no meaning is carried by colour alone.

use std::fmt::Write as _;

use super::report::escaped;

/// Okabe and Ito's colours, darkest contrasts first.
pub(crate) const COLOURS: [&str; 8] =
    ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999", "#F0E442"];
/// Strokes that differ where colours do not.
pub(crate) const DASHES: [&str; 4] = ["", "7 3", "2 3", "9 3 2 3"];

const WIDTH: f64 = 920.0;
const HEIGHT: f64 = 210.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 96.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 26.0;

/// How values are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// A line per series.
    Lines,
    /// A bar per value, of the first series.
    Bars,
    /// Areas one on the other.
    Stacked,
}

/// Values of one thing over time; absent ones leave a gap.
pub(super) struct Series {
    pub(super) name: String,
    pub(super) values: Vec<Option<f64>>,
}

/// Something that was broken.
pub(super) struct Span {
    pub(super) from_s: f64,
    pub(super) to_s: f64,
    pub(super) text: String,
}

/// One chart.
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    pub(super) style: Style,
    pub(super) series: Vec<Series>,
    pub(super) bands: &'a [Span],
    pub(super) step_s: f64,
    pub(super) length_s: f64,
    /// The top of the scale at least.
    pub(super) top_min: f64,
    /// How a value of the scale reads.
    pub(super) tick: fn(f64) -> String,
}

impl Chart<'_> {
    /// The chart as an element of a page.
    pub(super) fn svg(&self) -> String {
        let top = self.top();
        let mut svg = String::new();
        let title = escaped(self.title);
        let names: Vec<String> = self.series.iter().map(|series| escaped(&series.name)).collect();
        let _ = writeln!(
            svg,
            "<figure><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}: {}\">\n\
             <text class=\"t\" x=\"{LEFT}\" y=\"16\">{title}</text>",
            names.join(", ")
        );
        self.bands(&mut svg);
        self.axes(&mut svg, top);
        match self.style {
            Style::Lines => self.lines(&mut svg, top),
            Style::Bars => self.bars(&mut svg, top),
            Style::Stacked => self.areas(&mut svg, top),
        }
        svg.push_str("</svg></figure>\n");
        svg
    }

    fn x(&self, seconds: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (seconds / self.length_s.max(1e-9)).clamp(0.0, 1.0)
    }

    fn y(value: f64, top: f64) -> f64 {
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value / top).clamp(0.0, 1.0)
    }

    /// A round number that every value fits below.
    fn top(&self) -> f64 {
        let steps = self.series.iter().map(|series| series.values.len()).max().unwrap_or(0);
        let at = |series: &Series, step: usize| series.values.get(step).copied().flatten().unwrap_or(0.0);
        let highest = (0..steps).map(|step| match self.style {
            Style::Stacked => self.series.iter().map(|series| at(series, step)).sum::<f64>(),
            _ => self.series.iter().map(|series| at(series, step)).fold(0.0, f64::max),
        });
        round_up(highest.fold(self.top_min, f64::max))
    }

    fn bands(&self, svg: &mut String) {
        let mut label_ends: Vec<f64> = Vec::new();
        for band in self.bands {
            let (from, to) = (self.x(band.from_s), self.x(band.to_s));
            let text = escaped(&band.text);
            let _ = writeln!(
                svg,
                "<rect class=\"b\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"><title>{text}</title></rect>\
                 <line class=\"bl\" x1=\"{from:.1}\" x2=\"{from:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>",
                (to - from).max(1.0),
                HEIGHT - TOP - BOTTOM,
                HEIGHT - BOTTOM
            );
            // A label goes into the first row in which nothing is in its way.
            let width = band.text.chars().count() as f64 * 5.4;
            let row = label_ends.iter().position(|end| *end <= from).unwrap_or(label_ends.len());
            if row < 3 {
                let y = TOP + 10.0 + row as f64 * 11.0;
                let _ = writeln!(svg, "<text class=\"bt\" x=\"{:.1}\" y=\"{y:.1}\">{text}</text>", from + 3.0);
                let end = from + 3.0 + width + 6.0;
                match label_ends.get_mut(row) {
                    Some(there) => *there = end,
                    None => label_ends.push(end),
                }
            }
        }
    }

    fn axes(&self, svg: &mut String, top: f64) {
        let right = WIDTH - RIGHT;
        for part in 0..=4 {
            let value = top * f64::from(part) / 4.0;
            let y = Self::y(value, top);
            let label = escaped(&(self.tick)(value));
            let _ = writeln!(
                svg,
                "<line class=\"g\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"a\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                LEFT - 6.0,
                y + 3.5
            );
        }
        let every = tick_seconds(self.length_s);
        let mut at = 0.0;
        while at <= self.length_s + 1e-9 {
            let x = self.x(at);
            let label = world::verdict::words::clock(std::time::Duration::from_secs_f64(at));
            let _ = writeln!(
                svg,
                "<text class=\"a\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
                HEIGHT - BOTTOM + 15.0
            );
            at += every;
        }
    }

    fn lines(&self, svg: &mut String, top: f64) {
        let mut labels = Vec::new();
        for (index, series) in self.series.iter().enumerate() {
            let (colour, dash) = (COLOURS[index % COLOURS.len()], DASHES[index % DASHES.len()]);
            let mut path = String::new();
            let mut is_down = false;
            for (step, value) in series.values.iter().enumerate() {
                let Some(value) = value else {
                    is_down = false;
                    continue;
                };
                let x = self.x((step as f64 + 0.5) * self.step_s);
                let _ = write!(path, "{}{x:.1} {:.1}", if is_down { "L" } else { "M" }, Self::y(*value, top));
                if !is_down && series.values.get(step + 1).copied().flatten().is_none() {
                    // One value between two gaps is a dot.
                    let _ = write!(path, "h0.1");
                }
                is_down = true;
            }
            let _ = writeln!(
                svg,
                "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\" stroke-linecap=\"round\" \
                 stroke-linejoin=\"round\" stroke-dasharray=\"{dash}\"/>"
            );
            if let Some(last) = series.values.iter().rev().find_map(|value| *value) {
                labels.push((Self::y(last, top), index, series.name.clone()));
            }
        }
        self.end_labels(svg, labels);
    }

    fn bars(&self, svg: &mut String, top: f64) {
        let Some(series) = self.series.first() else { return };
        let width = (self.x(self.step_s) - self.x(0.0) - 0.6).max(0.8);
        for (step, value) in series.values.iter().enumerate() {
            let Some(value) = value.filter(|value| *value > 0.0) else { continue };
            let (x, y) = (self.x(step as f64 * self.step_s), Self::y(value, top));
            let _ = writeln!(
                svg,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{}\"/>",
                (HEIGHT - BOTTOM - y).max(0.8),
                COLOURS[1]
            );
        }
    }

    fn areas(&self, svg: &mut String, top: f64) {
        let steps = self.series.iter().map(|series| series.values.len()).max().unwrap_or(0);
        if steps == 0 {
            return;
        }
        let mut below = vec![0.0; steps];
        let mut labels = Vec::new();
        for (index, series) in self.series.iter().enumerate() {
            let above: Vec<f64> = below
                .iter()
                .enumerate()
                .map(|(step, below)| below + series.values.get(step).copied().flatten().unwrap_or(0.0))
                .collect();
            let mut points = String::new();
            let at = |step: usize| self.x((step as f64 + 0.5) * self.step_s);
            for (step, value) in above.iter().enumerate() {
                let _ = write!(points, "{:.1},{:.1} ", at(step), Self::y(*value, top));
            }
            for (step, value) in below.iter().enumerate().rev() {
                let _ = write!(points, "{:.1},{:.1} ", at(step), Self::y(*value, top));
            }
            let _ = writeln!(
                svg,
                "<polygon points=\"{}\" fill=\"{}\" class=\"s\"><title>{}</title></polygon>",
                points.trim_end(),
                COLOURS[index % COLOURS.len()],
                escaped(&series.name)
            );
            if let (Some(low), Some(high)) = (below.last(), above.last()) {
                labels.push((Self::y((low + high) / 2.0, top), index, series.name.clone()));
            }
            below = above;
        }
        self.end_labels(svg, labels);
    }

    /// Names at the right end, moved apart so that each can be read.
    fn end_labels(&self, svg: &mut String, mut labels: Vec<(f64, usize, String)>) {
        labels.sort_by(|a, b| a.0.total_cmp(&b.0));
        let room = (HEIGHT - TOP - BOTTOM) / (labels.len().max(1) as f64);
        let gap = room.min(11.5);
        let mut lowest = TOP;
        let count = labels.len();
        for (at, (y, index, name)) in labels.into_iter().enumerate() {
            let left_below = (count - at - 1) as f64 * gap;
            let y = y.max(lowest + gap).min(HEIGHT - BOTTOM - left_below);
            lowest = y;
            let x = WIDTH - RIGHT + 6.0;
            let colour = COLOURS[index % COLOURS.len()];
            let _ = writeln!(
                svg,
                "<rect x=\"{x}\" y=\"{:.1}\" width=\"8\" height=\"8\" fill=\"{colour}\"/>\
                 <text class=\"a\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                y - 8.0,
                x + 12.0,
                y - 0.5,
                escaped(&name)
            );
        }
    }
}

/// The next of 1, 2, 4, 5, 8 and 10 times a power of ten: quarters of it are round.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let step = [1.0, 2.0, 4.0, 5.0, 8.0, 10.0].into_iter().find(|step| step * power >= value - 1e-12);
    step.unwrap_or(10.0) * power
}

/// Seconds between marks: about eight of them.
fn tick_seconds(length_s: f64) -> f64 {
    let steps =
        [1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 21_600.0, 86_400.0];
    steps.into_iter().find(|step| length_s / step <= 9.0).unwrap_or(86_400.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_in_round_numbers() {
        for (value, top) in [(0.0, 1.0), (0.9, 1.0), (1.1, 2.0), (37.0, 40.0), (118.0, 200.0), (0.000_3, 0.000_4)] {
            assert!((round_up(value) - top).abs() < top * 1e-9, "{value}: {}", round_up(value));
        }
        assert_eq!((tick_seconds(75.0), tick_seconds(7.0)), (10.0, 1.0));
    }

    #[test]
    fn a_chart_is_well_formed_and_escapes_what_it_is_told() {
        let bands = [Span { from_s: 2.0, to_s: 5.0, text: "kill <fra> & co".into() }];
        for style in [Style::Lines, Style::Bars, Style::Stacked] {
            let values = vec![Some(1.0), None, Some(3.0), Some(0.0)];
            let series =
                vec![Series { name: "p50".into(), values: values.clone() }, Series { name: "p95".into(), values }];
            let chart = Chart {
                title: "Latency",
                style,
                series,
                bands: &bands,
                step_s: 1.0,
                length_s: 4.0,
                top_min: 0.0,
                tick: |v| format!("{v}"),
            };
            let svg = chart.svg();
            assert!(svg.contains("kill &lt;fra&gt; &amp; co") && !svg.contains("<fra>"), "{svg}");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
        }
    }
}
