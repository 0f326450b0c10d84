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

use ipnet::IpNet;

use super::{GeoMap, GeoMapBuilder, Point};

/// A line that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct PrefixCsvError {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

/// Reads a table line by line into a [`GeoMapBuilder`].
#[derive(Debug, Default)]
pub struct PrefixCsv {
    lines: usize,
    /// The next line may still name the columns.
    is_begun: bool,
}

impl PrefixCsv {
    /// The next line of the table, with or without its end.
    ///
    /// # Errors
    /// [`PrefixCsvError`] where it is wrong; then nothing of it is taken.
    pub fn line(&mut self, line: &str, into: &mut GeoMapBuilder) -> Result<(), PrefixCsvError> {
        self.lines += 1;
        let line = if self.lines == 1 { line.strip_prefix('\u{feff}').unwrap_or(line) } else { line };
        let line = line.trim();
        let is_head = !self.is_begun && line.get(..7).is_some_and(|head| head.eq_ignore_ascii_case("prefix,"));
        if line.is_empty() || line.starts_with('#') || is_head {
            return Ok(());
        }
        self.is_begun = true;
        network(line, into).map_err(|what| PrefixCsvError { line: self.lines, what })
    }
}

/// The map of `text`.
///
/// # Errors
/// [`PrefixCsvError`] for the first line that is wrong.
pub fn parse(text: &str) -> Result<GeoMap, PrefixCsvError> {
    let (mut csv, mut builder) = (PrefixCsv::default(), GeoMapBuilder::default());
    text.lines().try_for_each(|line| csv.line(line, &mut builder))?;
    Ok(builder.build())
}

fn network(line: &str, into: &mut GeoMapBuilder) -> Result<(), String> {
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
    let country = match country.as_bytes() {
        [] => [0; 2],
        [a, b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => {
            [a.to_ascii_uppercase(), b.to_ascii_uppercase()]
        }
        _ => return Err(format!("{country:?} is not a country code of two letters")),
    };
    let country = str::from_utf8(&country).unwrap_or_default().trim_end_matches('\0');
    let label = label.strip_prefix('"').and_then(|label| label.strip_suffix('"')).unwrap_or(label);
    let place = into.place(point, country, label);
    into.network(net, place);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_networks_and_places() {
        let text = "\u{feff}Prefix,lat,lon,country,label\r\n\n# Europe\n198.51.100.0/24, 52.52,13.4 ,de,Berlin\n\
                    2001:db8::/32,-12.05,-77.04,PE,\"Lima, Callao\"\n203.0.113.0/24,0,0\n";
        let map = parse(text).unwrap();
        let said: Vec<_> = map
            .block_ids()
            .map(|block| (map.block(block).net, map.place_of(block)))
            .map(|(net, place)| format!("{net} {} {}", place.country, place.label))
            .collect();
        assert_eq!(said, ["198.51.100.0/24 DE Berlin", "203.0.113.0/24  ", "2001:db8::/32 PE Lima, Callao"]);
        let lima = map.locate("2001:db8::1".parse().unwrap()).unwrap();
        assert_eq!(lima.point, Point::new(-12.05, -77.04).unwrap(), "to the last digit");
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
