//! A prefix table as text: one line per client network.
//!
//! ```text
//! prefix,lat,lon,country,label
//! 198.51.100.0/24,52.52,13.40,DE,Berlin
//! 2001:db8::/32,-12.05,-77.04,PE,"Lima, Callao"
//! ```
//!
//! The first line may name the columns; country (ISO 3166-1 alpha-2) and label may be empty or left out, and a label may
//! hold commas. Blank lines and lines that begin with `#` say nothing. Latitude and longitude are degrees, north and east
//! positive. Of nested prefixes the longest holds, of one given twice the later, see [`GeoMap::build`](super::GeoMap::build).

use std::{collections::BTreeSet, sync::Arc};

use ipnet::IpNet;

use super::{GeoPrefix, Place, Point};

/// A line that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct PrefixCsvError {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

/// The networks of `text`, in its order.
///
/// # Errors
/// [`PrefixCsvError`] for the first line that is wrong.
pub fn parse(text: &str) -> Result<Vec<GeoPrefix>, PrefixCsvError> {
    let mut words = Words::default();
    let mut prefixes = vec![];
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (line, written) in (1..).zip(text.lines()) {
        let written = written.trim();
        let is_head = prefixes.is_empty() && written.get(..7).is_some_and(|head| head.eq_ignore_ascii_case("prefix,"));
        if written.is_empty() || written.starts_with('#') || is_head {
            continue;
        }
        prefixes.push(prefix(written, &mut words).map_err(|what| PrefixCsvError { line, what })?);
    }
    Ok(prefixes)
}

fn prefix(line: &str, words: &mut Words) -> Result<GeoPrefix, String> {
    let mut fields = line.splitn(5, ',').map(str::trim);
    let mut field = |name: &str| fields.next().ok_or_else(|| format!("no {name}: want prefix,lat,lon,country,label"));
    let (net, lat, lon) = (field("prefix")?, field("lat")?, field("lon")?);
    let (country, label) = (field("country").unwrap_or_default(), field("label").unwrap_or_default());
    let net: IpNet = net.parse().map_err(|_| format!("{net:?} is not a network, such as 198.51.100.0/24"))?;
    if net != net.trunc() {
        return Err(format!("{net} has bits set after its prefix; {} is meant", net.trunc()));
    }
    let degrees = |text: &str| text.parse::<f64>().map_err(|_| format!("{text:?} is not a number of degrees"));
    let point = Point::new(degrees(lat)?, degrees(lon)?).map_err(|error| error.to_string())?;
    let country = match country.len() {
        0 => words.shared(""),
        2 if country.bytes().all(|byte| byte.is_ascii_alphabetic()) => words.shared(&country.to_ascii_uppercase()),
        _ => return Err(format!("{country:?} is not a country code of two letters")),
    };
    let label = label.strip_prefix('"').and_then(|label| label.strip_suffix('"')).unwrap_or(label);
    Ok(GeoPrefix { net, place: Place { point, country, label: words.shared(label) } })
}

/// A hundred thousand networks share some thousand names.
#[derive(Default)]
struct Words(BTreeSet<Arc<str>>);

impl Words {
    fn shared(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = text.into();
        self.0.insert(Arc::clone(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_networks_and_places() {
        let text = "\u{feff}Prefix,lat,lon,country,label\r\n\n# Europe\n198.51.100.0/24, 52.52,13.4 ,de,Berlin\n\
                    2001:db8::/32,-12.05,-77.04,PE,\"Lima, Callao\"\n203.0.113.0/24,0,0\n";
        let prefixes = parse(text).unwrap();
        let said: Vec<_> = prefixes
            .iter()
            .map(|prefix| format!("{} {} {}", prefix.net, prefix.place.country, prefix.place.label))
            .collect();
        assert_eq!(said, ["198.51.100.0/24 DE Berlin", "2001:db8::/32 PE Lima, Callao", "203.0.113.0/24  "]);
        assert_eq!(prefixes[1].place.point, Point::new(-12.05, -77.04).unwrap());
    }

    #[test]
    fn a_wrong_line_is_named_with_what_is_wrong() {
        for (line, what) in [
            ("nonsense", "no lat"),
            ("198.51.100.0/24,52", "no lon"),
            ("198.51.100.0/33,1,2", "is not a network"),
            ("198.51.100.7/24,1,2", "198.51.100.0/24 is meant"),
            ("198.51.100.0/24,north,2", "not a number of degrees"),
            ("198.51.100.0/24,91,2", "latitude 91"),
            ("198.51.100.0/24,NaN,2", "is not a point"),
            ("198.51.100.0/24,1,2,Germany", "two letters"),
        ] {
            let error = parse(&format!("prefix,lat,lon\n203.0.113.0/24,1,2\n{line}\n")).unwrap_err();
            assert_eq!(error.line, 3, "{line}");
            assert!(error.what.contains(what), "{line}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in "\\PC*", lines in prop::collection::vec("[0-9./,:a-zA-Z\"# -]{0,40}", 0..20)) {
            let _ = parse(&text);
            let _ = parse(&lines.join("\n"));
        }
    }
}
