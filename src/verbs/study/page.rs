//! A study as one page that needs nothing else: its table, its curves, and maps of what cities see.
//!
//! Latency is drawn in steps, from light to dark, so that it reads without colour; each city and each PoP says its figures
//! where one points at it.

use std::{collections::BTreeMap, fmt::Write as _, fs::File, io::Write as _};

use simulator::studies::routing::{CityTally, Routed, RoutingStudy, Scheme};
use world::Place;

use crate::{
    chaos::{COLOURS, STYLE, escaped},
    picture::Picture,
    talk::VerbError,
};

/// Isochrones: below so many milliseconds, in this colour. The steps are viridis's, even in lightness.
const STEPS: [(f64, &str); 7] = [
    (10.0, "#fde725"),
    (20.0, "#a0da39"),
    (40.0, "#4ac16d"),
    (80.0, "#1fa187"),
    (120.0, "#277f8e"),
    (200.0, "#365c8d"),
    (f64::INFINITY, "#440154"),
];

const STYLE_OF_PARTS: &str = "\
.map{background:var(--paper)}.land{fill:var(--line)}.map circle{stroke:var(--paper);stroke-width:.15}\
.map .pop{fill:none;stroke:#D55E00;stroke-width:.8}.map .dead{fill:none;stroke:var(--ink);stroke-width:.9}\
.map text{font-size:4.2px;font-weight:600;fill:var(--ink);stroke:var(--paper);stroke-width:.9;paint-order:stroke}\
.way{stroke-width:.25;opacity:.55}.wide{overflow-x:auto}th{cursor:pointer;white-space:nowrap}th:focus{outline:2px solid #0072B2}\
th[aria-sort=ascending]:after{content:' ↑'}th[aria-sort=descending]:after{content:' ↓'}\
.key span{display:inline-block;margin-right:1rem}.key i,.edges i{display:inline-block;width:.9em;height:.9em;\
border-radius:50%;margin-right:.3em;vertical-align:-.1em;print-color-adjust:exact;-webkit-print-color-adjust:exact}\
.edges span{display:inline-block;margin-right:.9rem}.curves{color:var(--ink)}.curves .paper{fill:var(--paper)}\
.pair{display:grid;grid-template-columns:1fr 1fr;gap:0 1.2rem}.pair figure{margin:0}\
@media(max-width:50rem){.pair{display:block}}\
@media print{body{max-width:none;margin:0;font-size:11px}.wide{overflow:visible}h2{break-after:avoid}\
.curves{color:#000}.curves .paper{fill:#fff}}";

/// Sorts the table by a column when its head is pressed, by mouse or by key: numbers as numbers, and what is none last.
const SORTING: &str = "\
document.querySelectorAll('th').forEach(th=>{const sort=()=>{const b=th.closest('table').tBodies[0],\
d=th.ariaSort==='ascending'?-1:1,k=r=>{const t=r.cells[th.cellIndex].textContent,n=parseFloat(t);return isNaN(n)?t:n};\
th.parentNode.querySelectorAll('th').forEach(o=>o.removeAttribute('aria-sort'));\
th.setAttribute('aria-sort',d>0?'ascending':'descending');\
[...b.rows].sort((x,y)=>{const a=k(x),c=k(y);return typeof a===typeof c?d*(a<c?-1:a>c?1:0):typeof a==='number'?-1:1})\
.forEach(r=>b.append(r))};th.onclick=sort;th.onkeydown=e=>{if(e.key==='Enter'||e.key===' '){e.preventDefault();sort()}}});";

/// What follows the table.
#[derive(Debug)]
pub(super) enum Part<'a> {
    Curves(Picture),
    Map(Map<'a>),
}

/// A city on a map.
#[derive(Debug)]
struct Spot<'a> {
    place: &'a Place,
    mean_ms: f64,
    /// Where most of its requests go, by position among the PoPs.
    site: Option<usize>,
}

/// What cities saw for some time.
#[derive(Debug)]
struct View<'a> {
    /// When that was, where there are several.
    when: String,
    spots: Vec<Spot<'a>>,
    /// The PoP that was dead, by its position.
    dead: Option<usize>,
}

/// What the cities of one run see: before a PoP dies and after, where one does.
#[derive(Debug)]
pub(super) struct Map<'a> {
    title: String,
    pops: Vec<&'a Place>,
    views: Vec<View<'a>>,
}

impl<'a> Map<'a> {
    /// Of a routing policy.
    pub(super) fn of(title: &str, scheme: Scheme, study: &'a RoutingStudy, routed: &Routed) -> Self {
        let pops: Vec<&Place> = match scheme {
            Scheme::OriginOnly => vec![&study.origin],
            Scheme::Policy(_) | Scheme::Hybrid => study.pops.iter().collect(),
        };
        let spots = |tallies: &[CityTally]| -> Vec<Spot<'a>> {
            let spots = study.cities.iter().zip(tallies).filter_map(|(place, tally)| {
                Some(Spot { place, mean_ms: tally.mean_ms()?, site: tally.site().map(usize::from) })
            });
            spots.collect()
        };
        let views = match study.kill.filter(|_| scheme != Scheme::OriginOnly) {
            Some((code, _)) => {
                let dead = study.pops.iter().position(|pop| pop.pop_code() == Some(code));
                let (before, after) = (format!("before {code} dies"), format!("after {code} dies"));
                vec![
                    View { when: before, spots: spots(&routed.cities_before), dead: None },
                    View { when: after, spots: spots(&routed.cities_after), dead },
                ]
            }
            None => vec![View { when: String::new(), spots: spots(&routed.cities), dead: None }],
        };
        Self { title: title.to_owned(), pops, views }
    }

    /// Of a choice of PoPs.
    pub(super) fn of_reach(order: &str, cities: &'a [Place], best_ms: &[f64], pops: &'a [Place]) -> Self {
        let spots = cities.iter().zip(best_ms).map(|(place, &mean_ms)| Spot { place, mean_ms, site: None });
        let view = View { when: String::new(), spots: spots.collect(), dead: None };
        Self { title: format!("{order} order"), pops: pops.iter().collect(), views: vec![view] }
    }

    fn svg(&self, page: &mut String) {
        self.part(page, "mean latency by city", Self::latencies);
        page.push_str("<p class=\"key dim\">");
        let mut from = 0.0;
        for (below, colour) in STEPS {
            let words = if below.is_finite() {
                format!("{from:.0} to {below:.0} ms")
            } else {
                format!("{from:.0} ms and more")
            };
            let _ = write!(page, "<span><i style=\"background:{colour}\"></i>{words}</span>");
            from = below;
        }
        page.push_str("</p>\n");
        let is_chosen = self.views.iter().flat_map(|view| &view.spots).any(|spot| spot.site.is_some());
        if self.pops.len() > 1 && is_chosen {
            self.part(page, "the edge that most requests go to", Self::edges);
        }
    }

    /// A heading, and a figure for each time, side by side.
    fn part(&self, page: &mut String, what: &str, draw: fn(&Self, &mut String, &View<'a>)) {
        let _ = writeln!(page, "<h2>{}: {what}</h2>", escaped(&self.title));
        let is_pair = self.views.len() > 1;
        page.push_str(if is_pair { "<div class=\"pair\">\n" } else { "" });
        for view in &self.views {
            let when = escaped(&view.when);
            let label = escaped(&format!("{what} under {} {}", self.title, view.when));
            page.push_str("<figure>\n");
            if is_pair {
                let _ = writeln!(page, "<figcaption class=\"dim\">{when}</figcaption>");
            }
            let _ = writeln!(
                page,
                "<svg class=\"map\" viewBox=\"0 6 360 144\" role=\"img\" aria-label=\"{}\"><use href=\"#land\" class=\"land\"/>",
                label.trim_end()
            );
            draw(self, page, view);
            page.push_str("</figure>\n");
        }
        page.push_str(if is_pair { "</div>\n" } else { "" });
    }

    fn latencies(&self, page: &mut String, view: &View<'a>) {
        for spot in &view.spots {
            let colour = STEPS.iter().find(|(below, _)| spot.mean_ms < *below).map_or("#000", |(_, colour)| colour);
            Self::circle(page, spot, colour, &format!("{:.1} ms", spot.mean_ms));
        }
        self.close(page, view);
    }

    fn edges(&self, page: &mut String, view: &View<'a>) {
        let colour = |site: usize| COLOURS.get(site % COLOURS.len()).copied().unwrap_or("#000");
        let ways = view.spots.iter().filter_map(|spot| Some((spot, spot.site?, self.pops.get(spot.site?)?)));
        let mut clients: BTreeMap<usize, usize> = BTreeMap::new();
        for (spot, site, pop) in ways {
            *clients.entry(site).or_default() += 1;
            let ((x1, y1), (x2, y2)) = (position(spot.place), position(pop));
            // A way over the map's edge would cross the whole map.
            if (x1 - x2).abs() < 180.0 {
                let colour = colour(site);
                let _ = writeln!(
                    page,
                    "<line class=\"way\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\"/>"
                );
            }
            Self::circle(page, spot, colour(site), pop.id.as_str());
        }
        self.close(page, view);
        page.push_str("<p class=\"edges dim\">Cities by edge: ");
        for (&site, cities) in &clients {
            let Some(pop) = self.pops.get(site) else { continue };
            let code = escaped(&pop.id.as_str().to_ascii_uppercase());
            let _ = write!(page, "<span><i style=\"background:{}\"></i>{code} {cities}</span>", colour(site));
        }
        page.push_str("</p>\n");
    }

    fn circle(page: &mut String, spot: &Spot<'_>, colour: &str, words: &str) {
        let (x, y) = position(spot.place);
        // The area is in proportion to the users.
        let radius = (spot.place.users as f64 / 1e6).sqrt().mul_add(0.28, 0.5).min(2.6);
        let name = escaped(&spot.place.name);
        let _ = writeln!(
            page,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.2}\" fill=\"{colour}\"><title>{name}: {words}</title></circle>"
        );
    }

    fn close(&self, page: &mut String, view: &View<'a>) {
        for (at, pop) in self.pops.iter().enumerate() {
            let (x, y) = position(pop);
            let code = escaped(&pop.id.as_str().to_ascii_uppercase());
            let (left, top) = (x - 1.5, y - 1.5);
            let _ = match view.dead == Some(at) {
                true => {
                    writeln!(
                        page,
                        "<path class=\"dead\" d=\"M{left:.1} {top:.1}l3 3m0-3l-3 3\"><title>{code}, dead</title></path>"
                    )
                }
                false => {
                    writeln!(page, "<rect class=\"pop\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"3\" height=\"3\"/>")
                }
            };
            if self.pops.len() <= 40 {
                let _ = writeln!(page, "<text x=\"{:.1}\" y=\"{:.1}\">{code}</text>", x + 2.2, y + 1.4);
            }
        }
        page.push_str("</svg>\n");
    }
}

/// Where a place is on the map of land.
fn position(place: &Place) -> (f64, f64) {
    (place.coordinates.lon() + 180.0, 90.0 - place.coordinates.lat())
}

/// Writes the page.
pub(super) fn write(
    mut file: File,
    title: &str,
    head: &[String],
    rows: &[Vec<String>],
    parts: &[Part<'_>],
) -> Result<(), VerbError> {
    Ok(file.write_all(page(title, head, rows, parts).as_bytes())?)
}

fn page(title: &str, head: &[String], rows: &[Vec<String>], parts: &[Part<'_>]) -> String {
    let title = escaped(title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>{STYLE}{STYLE_OF_PARTS}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<div class=\"wide\"><table><thead><tr>"
    );
    for cell in head {
        let _ = write!(page, "<th tabindex=\"0\">{}</th>", escaped(cell));
    }
    page.push_str("</tr></thead><tbody>\n");
    for row in rows {
        page.push_str("<tr>");
        for cell in row {
            let _ = write!(page, "<td class=\"n\">{}</td>", escaped(cell));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table></div>\n");
    if parts.iter().any(|part| matches!(part, Part::Map(_))) {
        let path = control_plane::LAND.split_once("<path").and_then(|(_, rest)| rest.split_once("/>"));
        let path = path.map_or("", |(path, _)| path);
        let _ = writeln!(
            page,
            "<svg width=\"0\" height=\"0\" style=\"position:absolute\"><defs><path{path}/></defs></svg>"
        );
    }
    for part in parts {
        match part {
            Part::Curves(picture) => {
                let _ = writeln!(page, "<figure>{}</figure>", picture.element());
            }
            Part::Map(map) => map.svg(&mut page),
        }
    }
    let _ = write!(
        page,
        "<p class=\"dim\">Made by iso {}, commit {}.</p>\n<script>{SORTING}</script>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION"),
        env!("ISO_COMMIT")
    );
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_holds_the_table_and_a_circle_for_each_city_and_fetches_nothing() {
        let cities: Vec<Place> =
            world::Atlas::embedded().cities().iter().take(30).map(|city| city.place.clone()).collect();
        let pops = super::super::ground::named("tiny").unwrap();
        let best: Vec<f64> = (0..30).map(|n| f64::from(n) * 10.0).collect();
        let map = Map::of_reach("<greedy>", &cities, &best, &pops);
        let page = page("Sites & more", &["POPS".into()], &[vec!["3 <&>".into()]], &[Part::Map(map)]);
        assert_eq!(page.matches("<circle").count(), 30);
        assert_eq!(page.matches("class=\"pop\"").count(), 3);
        assert!(page.contains("3 &lt;&amp;&gt;") && page.contains("Sites &amp; more") && page.contains("id=\"land\""));
        assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("<greedy>"));
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    }

    #[test]
    fn curves_are_part_of_the_page() {
        let picture = Picture { title: "Stale & co".into(), ..Picture::default() };
        let page = page("Failover", &[], &[], &[Part::Curves(picture)]);
        assert!(page.contains("<title>Stale &amp; co</title>") && !page.contains("id=\"land\""), "{page}");
    }
}
