//! Curves as a picture: values with their 95 % intervals over numbers or over names, as SVG.
//!
//! Knows numbers and labels, nothing of studies. Series differ in colour, dash and marker, and are named in a legend, so that
//! no meaning is carried by colour alone. The same picture is always the same bytes. [`png()`] paints what is written here, so
//! there is one drawing, not two.

mod png;
mod scale;

use std::fmt::Write as _;

pub(crate) use self::png::png;
use self::scale::{Scale, number};
use crate::chaos::{COLOURS, DASHES, escaped};

/// Series that one picture can still tell apart.
pub(crate) const SERIES_MAX: usize = 24;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 74.0;
const TOP: f64 = 52.0;
const BOTTOM: f64 = 58.0;
/// Between the area and the legend, and for the sample in front of each name.
const LEGEND_GAP: f64 = 18.0;
const LEGEND_SAMPLE: f64 = 36.0;
const LEGEND_LINE: f64 = 20.0;
/// The width of a letter of the legend, in the mean: nothing here measures a font.
const LETTER: f64 = 6.9;
/// Letters of a name in the legend; the whole name is where one points at it.
const NAME_MAX: usize = 34;

/// What is drawn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Picture {
    /// In one line, above it.
    pub(crate) title: String,
    /// In a sentence, for those who cannot see it, and below the title for those who can.
    pub(crate) description: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) series: Vec<Series>,
}

/// One of the two directions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Axis {
    pub(crate) label: String,
    pub(crate) is_log: bool,
    /// Names in place of numbers: a point's value is then its position among them.
    pub(crate) names: Vec<String>,
}

/// One curve.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// What a formula says rather than a run: a thin line of its group's colour, without markers.
    pub(crate) is_expected: bool,
    /// Which colour, dash and marker; those of a measurement and of what is expected of it are the same.
    pub(crate) style: usize,
    /// In the order of their x.
    pub(crate) points: Vec<Point>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) x: f64,
    pub(crate) y: f64,
    /// Half of the 95 % interval of y.
    pub(crate) half: Option<f64>,
}

impl Axis {
    /// Of numbers, evenly.
    pub(crate) fn of(label: impl Into<String>) -> Self {
        Self { label: label.into(), ..Self::default() }
    }

    fn scale(&self, values: impl Iterator<Item = f64>) -> Scale {
        if self.names.is_empty() { Scale::of(values, self.is_log) } else { Scale::names(self.names.len()) }
    }

    fn text(&self, value: f64) -> String {
        match self.names.get(value.max(0.0).round() as usize) {
            Some(name) => name.clone(),
            None => number(value),
        }
    }
}

/// Where things are.
struct Frame {
    right: f64,
    height: f64,
    x: Scale,
    y: Scale,
}

impl Frame {
    fn bottom(&self) -> f64 {
        self.height - BOTTOM
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + (self.right - LEFT) * self.x.share(value)
    }

    fn y(&self, value: f64) -> f64 {
        self.bottom() - (self.bottom() - TOP) * self.y.share(value)
    }
}

impl Picture {
    /// The picture as a file of its own.
    pub(crate) fn document(&self) -> String {
        self.svg(" xmlns=\"http://www.w3.org/2000/svg\"")
    }

    /// The picture as a part of a page, whose style sheet may say what `color` is and how `.paper` is filled.
    pub(crate) fn element(&self) -> String {
        self.svg("")
    }

    fn svg(&self, namespace: &str) -> String {
        let frame = self.frame();
        let (title, description) = (escaped(&self.title), escaped(&self.description));
        let mut svg = format!(
            "<svg{namespace} class=\"curves\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" role=\"img\" color=\"#1b1f24\" font-family=\"'Noto Sans', system-ui, sans-serif\" \
             font-size=\"12\">\n<title>{title}</title>\n<desc>{description}</desc>\n\
             <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
             <text x=\"{LEFT}\" y=\"20\" font-size=\"15\" font-weight=\"600\" fill=\"currentColor\">{title}</text>\n\
             <text x=\"{LEFT}\" y=\"38\" fill=\"currentColor\" fill-opacity=\".75\">{description}</text>\n",
            height = frame.height
        );
        self.axes(&mut svg, &frame);
        // Intervals first, so that no curve is hidden by the interval of another.
        for series in &self.series {
            self.interval(&mut svg, &frame, series);
        }
        for series in &self.series {
            self.curve(&mut svg, &frame, series);
        }
        self.legend(&mut svg, &frame);
        svg.push_str("</svg>\n");
        svg
    }

    fn frame(&self) -> Frame {
        let letters = self.series.iter().map(|series| series.name.chars().count().min(NAME_MAX)).max().unwrap_or(0);
        let legend = LEGEND_GAP + LEGEND_SAMPLE + letters as f64 * LETTER + 8.0;
        let points = || self.series.iter().flat_map(|series| &series.points);
        // Of what is counted there is no less than nothing, whatever an interval says; and nothing has no logarithm. It is cut
        // at the edge.
        let least = if points().all(|point| point.y >= 0.0) { 0.0 } else { f64::NEG_INFINITY };
        let low = |point: &Point| Some((point.y - point.half?).max(least)).filter(|low| !self.y.is_log || *low > 0.0);
        let ys = points()
            .flat_map(|point| [Some(point.y), low(point), point.half.map(|half| point.y + half)].into_iter().flatten());
        Frame {
            right: WIDTH - if self.series.len() > 1 { legend } else { 24.0 },
            height: HEIGHT.max(self.series.len() as f64 * LEGEND_LINE + TOP + BOTTOM),
            x: self.x.scale(points().map(|point| point.x)),
            y: self.y.scale(ys),
        }
    }

    fn axes(&self, svg: &mut String, frame: &Frame) {
        let (right, bottom) = (frame.right, frame.bottom());
        for tick in frame.y.ticks() {
            let y = frame.y(tick);
            let text = escaped(&self.y.text(tick));
            let _ = writeln!(
                svg,
                "<line x1=\"{LEFT}\" x2=\"{right:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"currentColor\" stroke-opacity=\".16\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"currentColor\">{text}</text>",
                LEFT - 8.0,
                y + 4.0
            );
        }
        for tick in frame.x.ticks() {
            let x = frame.x(tick);
            let text = escaped(&self.x.text(tick));
            let _ = writeln!(
                svg,
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom:.1}\" y2=\"{:.1}\" stroke=\"currentColor\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"currentColor\">{text}</text>",
                bottom + 5.0,
                bottom + 19.0
            );
        }
        let (x_label, y_label) = (escaped(&self.x.label), escaped(&self.y.label));
        let (middle_x, middle_y) = (f64::midpoint(LEFT, right), f64::midpoint(TOP, bottom));
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{right:.1}\" y1=\"{bottom:.1}\" y2=\"{bottom:.1}\" stroke=\"currentColor\"/>\n\
             <text x=\"{middle_x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"13\" fill=\"currentColor\">{x_label}</text>\n\
             <text transform=\"translate(17 {middle_y:.1}) rotate(-90)\" text-anchor=\"middle\" font-size=\"13\" \
             fill=\"currentColor\">{y_label}</text>",
            frame.height - 16.0
        );
    }

    /// A band along a curve, or a bar at each point that no curve goes through.
    fn interval(&self, svg: &mut String, frame: &Frame, series: &Series) {
        let colour = colour(series.style);
        let with: Vec<(f64, f64, f64)> = series
            .points
            .iter()
            .filter_map(|point| {
                let half = point.half?;
                Some((frame.x(point.x), frame.y(point.y - half), frame.y(point.y + half)))
            })
            .collect();
        // Where all seeds came to the same there is nothing to draw, but a band goes on there.
        if series.points.iter().all(|point| point.half.is_none_or(|half| half <= 0.0)) {
            return;
        }
        if with.len() > 1 && self.x.names.is_empty() {
            let above = with.iter().map(|(x, _, high)| format!("{x:.1},{high:.1}"));
            let below = with.iter().rev().map(|(x, low, _)| format!("{x:.1},{low:.1}"));
            let corners: Vec<String> = above.chain(below).collect();
            let _ = writeln!(
                svg,
                "<polygon class=\"interval\" points=\"{}\" fill=\"{colour}\" fill-opacity=\".18\"/>",
                corners.join(" ")
            );
            return;
        }
        for (x, low, high) in with.into_iter().filter(|(_, low, high)| low > high) {
            let x = x + self.aside(series);
            let _ = writeln!(
                svg,
                "<path class=\"interval\" d=\"M{x:.1} {low:.1}V{high:.1}M{:.1} {low:.1}h8M{:.1} {high:.1}h8\" stroke=\"{colour}\" \
                 stroke-width=\"1.4\" fill=\"none\"/>",
                x - 4.0,
                x - 4.0
            );
        }
    }

    fn curve(&self, svg: &mut String, frame: &Frame, series: &Series) {
        let (colour, name) = (colour(series.style), escaped(&series.name));
        let _ = writeln!(svg, "<g class=\"series\"><title>{name}</title>");
        if self.x.names.is_empty() && series.points.len() > 1 {
            let corners: Vec<String> =
                series.points.iter().map(|point| format!("{:.1},{:.1}", frame.x(point.x), frame.y(point.y))).collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" {}/>",
                corners.join(" "),
                pen(series)
            );
        }
        // Many points make a line of their own.
        let is_marked = !series.is_expected && series.points.len() <= 40;
        for point in series.points.iter().filter(|_| is_marked || !self.x.names.is_empty()) {
            let half = point.half.map(|half| format!(" ±{}", number(half))).unwrap_or_default();
            let said = escaped(&format!("{}: {}{half} at {}", series.name, number(point.y), self.x.text(point.x)));
            let (x, y) = (frame.x(point.x) + self.aside(series), frame.y(point.y));
            let _ = writeln!(svg, "{}<title>{said}</title></path>", marker(series, x, y));
        }
        svg.push_str("</g>\n");
    }

    /// Points over one name stand side by side.
    fn aside(&self, series: &Series) -> f64 {
        if self.x.names.is_empty() {
            return 0.0;
        }
        let all = self.series.iter().map(|series| series.style).max().unwrap_or(0);
        (series.style as f64 - all as f64 / 2.0) * 11.0
    }

    fn legend(&self, svg: &mut String, frame: &Frame) {
        if self.series.len() < 2 {
            return;
        }
        let x = frame.right + LEGEND_GAP;
        for (line, series) in self.series.iter().enumerate() {
            let y = TOP + 8.0 + line as f64 * LEGEND_LINE;
            let short: String = match series.name.char_indices().nth(NAME_MAX) {
                Some((end, _)) => format!("{}…", series.name.get(..end).unwrap_or_default()),
                None => series.name.clone(),
            };
            let _ = writeln!(svg, "<g><title>{}</title>", escaped(&series.name));
            if self.x.names.is_empty() {
                let _ = writeln!(
                    svg,
                    "<line x1=\"{x:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"{}\" {}/>",
                    x + LEGEND_SAMPLE - 8.0,
                    colour(series.style),
                    pen(series)
                );
            }
            if !series.is_expected || !self.x.names.is_empty() {
                let _ = writeln!(svg, "{}</path>", marker(series, x + LEGEND_SAMPLE / 2.0 - 4.0, y));
            }
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"currentColor\">{}</text></g>",
                x + LEGEND_SAMPLE,
                y + 4.0,
                escaped(&short)
            );
        }
    }
}

fn colour(style: usize) -> &'static str {
    COLOURS.get(style % COLOURS.len()).copied().unwrap_or("#000")
}

/// The stroke of a curve: after all colours the dash changes too.
fn pen(series: &Series) -> String {
    if series.is_expected {
        return "stroke-width=\"1.2\" stroke-dasharray=\"1.5 3\"".to_owned();
    }
    match DASHES.get(series.style % DASHES.len()) {
        Some(&"") | None => "stroke-width=\"2\"".to_owned(),
        Some(dash) => format!("stroke-width=\"2\" stroke-dasharray=\"{dash}\""),
    }
}

/// A shape of its own for each of six series, begun and not closed, for a title.
fn marker(series: &Series, x: f64, y: f64) -> String {
    let shape = match series.style % 6 {
        0 => "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
        1 => "m-3.6-3.6h7.2v7.2h-7.2z",
        2 => "m0-4.6l4.4 7.6h-8.8z",
        3 => "m0-5l4.4 5l-4.4 5l-4.4-5z",
        4 => "m0 4.6l4.4-7.6h-8.8z",
        _ => "m-4-4l8 8m0-8l-8 8",
    };
    let colour = colour(series.style);
    // What is expected is hollow.
    let is_hollow = series.style % 6 == 5 || series.is_expected;
    let (fill, edge) = if is_hollow { ("none", colour) } else { (colour, "#fff") };
    format!(
        "<path d=\"M{x:.1} {y:.1}{shape}\" fill=\"{fill}\" stroke=\"{edge}\" stroke-width=\"{}\">",
        if is_hollow { 1.8 } else { 0.8 }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(style: usize, points: &[(f64, f64, Option<f64>)]) -> Series {
        let points = points.iter().map(|&(x, y, half)| Point { x, y, half }).collect();
        Series { name: format!("<{style}>"), style, points, is_expected: false }
    }

    fn picture() -> Picture {
        let curves = [
            series(0, &[(1.0, 2.0, Some(0.5)), (10.0, 3.0, Some(0.2)), (100.0, 5.0, None)]),
            series(1, &[(1.0, 1.0, None), (100.0, 0.5, None)]),
        ];
        let x = Axis { is_log: true, ..Axis::of("size") };
        let y = Axis::of("misses & more");
        Picture { title: "a < b".into(), description: "What is drawn.".into(), x, y, series: curves.into() }
    }

    /// Names of elements and what is said in them.
    fn elements(svg: &str) -> Vec<(String, String)> {
        use quick_xml::events::Event;
        let mut reader = quick_xml::Reader::from_str(svg);
        let (mut open, mut found): (Vec<String>, _) = (Vec::new(), Vec::new());
        loop {
            match reader.read_event().unwrap() {
                Event::Start(tag) => open.push(tag.name().as_ref().to_owned()),
                Event::Empty(tag) => found.push((tag.name().as_ref().to_owned(), String::new())),
                Event::Text(text) => found.push((open.last().cloned().unwrap_or_default(), text.to_string())),
                Event::End(_) => drop(open.pop()),
                Event::Eof => break,
                _ => {}
            }
        }
        assert!(open.is_empty(), "{open:?}");
        found
    }

    #[test]
    fn a_picture_parses_has_title_and_description_and_a_band_where_there_are_intervals() {
        let svg = picture().document();
        let elements = elements(&svg);
        let count = |name: &str| elements.iter().filter(|(found, _)| found == name).count();
        assert_eq!((count("polyline"), count("polygon")), (2, 1), "{svg}");
        assert!(elements.iter().any(|(name, text)| name == "desc" && text == "What is drawn."));
        assert!(svg.contains("<title>a &lt; b</title>") && svg.contains("&lt;1&gt;: 0.5 at 100"), "{svg}");
        // Nothing is fetched, and nobody is asked for a font that may not be there.
        assert_eq!(svg.matches("http").count(), 1);
        assert_eq!(svg, picture().document());
        assert!(!picture().element().contains("http"));
    }

    #[test]
    fn curves_differ_in_more_than_colour() {
        let looks =
            |style: usize| (pen(&series(style, &[])), marker(&series(style, &[]), 0.0, 0.0).replace(colour(style), ""));
        for other in 1..12 {
            assert_ne!(looks(0), looks(other), "{other}");
        }
    }

    #[test]
    fn points_over_names_have_bars_and_no_curve() {
        let mut picture = picture();
        picture.x = Axis { names: vec!["lru".into(), "fifo".into()], ..Axis::of("policy") };
        picture.series = vec![series(0, &[(0.0, 2.0, Some(0.5)), (1.0, 3.0, Some(0.2))])];
        let svg = picture.document();
        assert_eq!((svg.matches("<polyline").count(), svg.matches("class=\"interval\"").count()), (0, 2));
        assert!(svg.contains(">fifo</text>"), "{svg}");
    }

    #[test]
    fn an_interval_below_nothing_is_cut_where_values_are_logarithms() {
        let mut picture = picture();
        picture.y.is_log = true;
        picture.series = vec![series(0, &[(1.0, 2.0, Some(5.0)), (10.0, 3.0, Some(0.2))])];
        assert!(!picture.document().contains("NaN") && !picture.document().contains("inf"));
    }
}
