//! A study as one page that needs nothing else: its table, and maps of what cities see.
//!
//! Latency is drawn in steps, from light to dark, so that it reads without colour; each city and each PoP says its figures
//! where one points at it.

use std::{collections::BTreeMap, fmt::Write as _, fs::File, io::Write as _};

use simulator::studies::routing::{Routed, RoutingStudy, Scheme};
use world::Place;

use crate::{
    chaos::{COLOURS, STYLE, escaped},
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

const STYLE_OF_MAPS: &str = "\
.map{background:var(--paper)}.land{fill:var(--line)}.map circle{stroke:var(--paper);stroke-width:.15}\
.map .pop{fill:none;stroke:#D55E00;stroke-width:.8}.map text{font-size:4px;fill:var(--ink)}\
.way{stroke-width:.25;opacity:.55}th{cursor:pointer}.key span{display:inline-block;margin-right:1rem}\
.key i{display:inline-block;width:.9em;height:.9em;border-radius:50%;margin-right:.3em;vertical-align:-.1em}";

/// Sorts the table by a column when its head is pressed: numbers as numbers.
const SORTING: &str = "\
document.querySelectorAll('th').forEach((th,i)=>th.onclick=()=>{const b=th.closest('table').tBodies[0],\
d=th.dataset.d=th.dataset.d==='1'?'-1':'1',k=r=>{const t=r.cells[i].textContent,n=parseFloat(t);return isNaN(n)?t:n};\
[...b.rows].sort((x,y)=>{const a=k(x),c=k(y);return d*(typeof a===typeof c?(a<c?-1:a>c?1:0):typeof a==='number'?-1:1)})\
.forEach(r=>b.append(r))});";

/// A city on a map.
#[derive(Debug)]
struct Spot<'a> {
    place: &'a Place,
    mean_ms: f64,
    /// Where most of its requests go, by position among the PoPs.
    site: Option<usize>,
}

/// What the cities of one run see.
#[derive(Debug)]
pub(super) struct Map<'a> {
    title: String,
    pops: Vec<&'a Place>,
    spots: Vec<Spot<'a>>,
}

impl<'a> Map<'a> {
    /// Of a routing policy.
    pub(super) fn of(title: &str, scheme: Scheme, study: &'a RoutingStudy, routed: &Routed) -> Self {
        let pops: Vec<&Place> = match scheme {
            Scheme::OriginOnly => vec![&study.origin],
            Scheme::Policy(_) => study.pops.iter().collect(),
        };
        let spots = study.cities.iter().zip(&routed.cities).filter_map(|(place, tally)| {
            Some(Spot { place, mean_ms: tally.mean_ms()?, site: tally.site().map(usize::from) })
        });
        Self { title: title.to_owned(), pops, spots: spots.collect() }
    }

    /// Of a choice of PoPs.
    pub(super) fn of_reach(order: &str, cities: &'a [Place], best_ms: &[f64], pops: &'a [Place]) -> Self {
        let spots = cities.iter().zip(best_ms).map(|(place, &mean_ms)| Spot { place, mean_ms, site: None });
        Self { title: format!("{order} order"), pops: pops.iter().collect(), spots: spots.collect() }
    }

    fn svg(&self, page: &mut String) {
        let title = escaped(&self.title);
        let _ = writeln!(page, "<h2>{title}: mean latency by city</h2>");
        self.open(page, "latency");
        for spot in &self.spots {
            let colour = STEPS.iter().find(|(below, _)| spot.mean_ms < *below).map_or("#000", |(_, colour)| colour);
            Self::circle(page, spot, colour, &format!("{:.1} ms", spot.mean_ms));
        }
        self.close(page);
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
        if self.pops.len() < 2 || self.spots.iter().all(|spot| spot.site.is_none()) {
            return;
        }
        let _ = writeln!(page, "<h2>{title}: the edge that most go to</h2>");
        self.open(page, "edge");
        let colour = |site: usize| COLOURS.get(site % COLOURS.len()).copied().unwrap_or("#000");
        let ways = self.spots.iter().filter_map(|spot| Some((spot, spot.site?, self.pops.get(spot.site?)?)));
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
        self.close(page);
        let served = clients.iter().filter_map(|(site, cities)| Some((self.pops.get(*site)?, cities)));
        let served = served.map(|(pop, cities)| format!("{} {cities}", pop.id.as_str().to_ascii_uppercase()));
        let _ = writeln!(page, "<p class=\"dim\">Cities by edge: {}</p>", served.collect::<Vec<_>>().join(", "));
    }

    fn open(&self, page: &mut String, what: &str) {
        let label = escaped(&format!("{what} by city under {}", self.title));
        let _ = writeln!(
            page,
            "<figure><svg class=\"map\" viewBox=\"0 6 360 144\" role=\"img\" aria-label=\"{label}\"><use href=\"#land\" class=\"land\"/>"
        );
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

    fn close(&self, page: &mut String) {
        for pop in &self.pops {
            let (x, y) = position(pop);
            let code = escaped(&pop.id.as_str().to_ascii_uppercase());
            let _ = writeln!(
                page,
                "<rect class=\"pop\" x=\"{:.1}\" y=\"{:.1}\" width=\"3\" height=\"3\"/>",
                x - 1.5,
                y - 1.5
            );
            if self.pops.len() <= 40 {
                let _ = writeln!(page, "<text x=\"{:.1}\" y=\"{:.1}\">{code}</text>", x + 2.2, y + 1.4);
            }
        }
        page.push_str("</svg></figure>\n");
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
    maps: &[Map<'_>],
) -> Result<(), VerbError> {
    Ok(file.write_all(page(title, head, rows, maps).as_bytes())?)
}

fn page(title: &str, head: &[String], rows: &[Vec<String>], maps: &[Map<'_>]) -> String {
    let title = escaped(title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>{STYLE}{STYLE_OF_MAPS}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<table><thead><tr>"
    );
    for cell in head {
        let _ = write!(page, "<th>{}</th>", escaped(cell));
    }
    page.push_str("</tr></thead><tbody>\n");
    for row in rows {
        page.push_str("<tr>");
        for cell in row {
            let _ = write!(page, "<td class=\"n\">{}</td>", escaped(cell));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table>\n");
    if !maps.is_empty() {
        let path = control_plane::LAND.split_once("<path").and_then(|(_, rest)| rest.split_once("/>"));
        let path = path.map_or("", |(path, _)| path);
        let _ = writeln!(
            page,
            "<svg width=\"0\" height=\"0\" style=\"position:absolute\"><defs><path{path}/></defs></svg>"
        );
    }
    maps.iter().for_each(|map| map.svg(&mut page));
    let _ = write!(page, "<script>{SORTING}</script>\n</body>\n</html>\n");
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
        let page = page("Sites & more", &["POPS".into()], &[vec!["3 <&>".into()]], &[map]);
        assert_eq!(page.matches("<circle").count(), 30);
        assert_eq!(page.matches("class=\"pop\"").count(), 3);
        assert!(page.contains("3 &lt;&amp;&gt;") && page.contains("Sites &amp; more") && page.contains("id=\"land\""));
        assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("<greedy>"));
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    }
}
