//! A user's own round trips, which override the model.
//!
//! Decides what a matrix file means: CSV with the columns `from,to,rtt_ms`, in which places are named as anywhere else.
//! Refuses to know files: text comes in, errors name its lines.

use std::{collections::BTreeMap, time::Duration};

use crate::{Atlas, Place, SiteId, UnknownPlace};

/// Round trips by pair of sites, last mile included.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix {
    /// By the two sites in the order of their ids.
    rtts: BTreeMap<(SiteId, SiteId), Duration>,
}

/// A matrix file says something that cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("line {line}: {cause}")]
pub struct MatrixError {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub cause: MatrixFault,
}

/// What is wrong with a line of a matrix file.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MatrixFault {
    /// The first line does not name the three columns.
    #[error("the header must name the columns from, to and rtt_ms: there is no {0}")]
    Header(&'static str),
    /// Not CSV, or a row of another length.
    #[error("{0}")]
    Csv(String),
    /// A place that the atlas does not know.
    #[error(transparent)]
    Place(#[from] UnknownPlace),
    /// Not a round trip.
    #[error("rtt_ms is {0:?}: expected a number from 0 to {max}", max = Matrix::RTT_MS_MAX)]
    Rtt(String),
    /// The same pair in the same direction as before.
    #[error("{from} to {to} was given in line {line} already")]
    Repeated {
        /// Where from.
        from: SiteId,
        /// Where to.
        to: SiteId,
        /// The line that gave it first.
        line: u64,
    },
    /// More rows than are read.
    #[error("more than {max} rows", max = Matrix::ROWS_MAX)]
    TooLong,
}

impl Matrix {
    /// Rows that are read at most: all pairs of a thousand places.
    pub const ROWS_MAX: usize = 1_000_000;

    /// The longest round trip: a minute.
    pub const RTT_MS_MAX: f64 = 60_000.0;

    /// Reads CSV with the columns `from,to,rtt_ms` in any order; further columns are ignored, so are lines that begin
    /// with `#`. One direction stands for both; where both are given, the mean is taken, since links are symmetric.
    ///
    /// # Errors
    /// The first line that is wrong, with the nearest names where it names an unknown place.
    pub fn parse(atlas: &Atlas, text: &str) -> Result<Self, MatrixError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader =
            csv::ReaderBuilder::new().trim(csv::Trim::All).comment(Some(b'#')).from_reader(text.as_bytes());
        let columns = columns(reader.headers().map_err(|error| unreadable(&error))?)?;

        let mut given: BTreeMap<(SiteId, SiteId), (Duration, u64)> = BTreeMap::new();
        let mut record = csv::StringRecord::new();
        while reader.read_record(&mut record).map_err(|error| unreadable(&error))? {
            let line = record.position().map_or(0, csv::Position::line);
            let wrong = |cause| MatrixError { line, cause };
            if given.len() == Self::ROWS_MAX {
                return Err(wrong(MatrixFault::TooLong));
            }
            let [from, to, rtt_ms] = columns.map(|column| record.get(column).unwrap_or_default());
            let place = |name| atlas.place(name).map(|place| place.id.clone()).map_err(|error| wrong(error.into()));
            let (from, to) = (place(from)?, place(to)?);
            let rtt = rtt(rtt_ms).ok_or_else(|| wrong(MatrixFault::Rtt(rtt_ms.to_owned())))?;
            if let Some((_, line)) = given.insert((from.clone(), to.clone()), (rtt, line)) {
                return Err(wrong(MatrixFault::Repeated { from, to, line }));
            }
        }

        let mut rtts = BTreeMap::new();
        for ((from, to), &(rtt, _)) in &given {
            let back = given.get(&(to.clone(), from.clone())).map_or(rtt, |&(back, _)| back);
            rtts.insert(ordered(from, to), (rtt + back) / 2);
        }
        Ok(Self { rtts })
    }

    /// The round trip between two places, where it was given.
    pub fn rtt(&self, a: &Place, b: &Place) -> Option<Duration> {
        self.rtts.get(&ordered(&a.id, &b.id)).copied()
    }

    /// How many pairs it has.
    pub fn len(&self) -> usize {
        self.rtts.len()
    }

    /// It overrides nothing.
    pub fn is_empty(&self) -> bool {
        self.rtts.is_empty()
    }
}

fn columns(header: &csv::StringRecord) -> Result<[usize; 3], MatrixError> {
    let mut columns = [0; 3];
    for (column, name) in columns.iter_mut().zip(["from", "to", "rtt_ms"]) {
        let found = header.iter().position(|heading| heading.eq_ignore_ascii_case(name));
        *column = found.ok_or(MatrixError { line: 1, cause: MatrixFault::Header(name) })?;
    }
    Ok(columns)
}

fn rtt(rtt_ms: &str) -> Option<Duration> {
    let rtt_ms: f64 = rtt_ms.parse().ok()?;
    (0.0..=Matrix::RTT_MS_MAX).contains(&rtt_ms).then(|| Duration::from_secs_f64(rtt_ms / 1000.0))
}

fn ordered(a: &SiteId, b: &SiteId) -> (SiteId, SiteId) {
    if a <= b { (a.clone(), b.clone()) } else { (b.clone(), a.clone()) }
}

fn unreadable(error: &csv::Error) -> MatrixError {
    let line = error.position().map_or(1, csv::Position::line);
    let cause = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} columns where the header has {expected_len}")
        }
        _ => error.to_string(),
    };
    MatrixError { line, cause: MatrixFault::Csv(cause) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Matrix, String> {
        Matrix::parse(Atlas::embedded(), text).map_err(|error| error.to_string())
    }

    fn rtt_ms(matrix: &Matrix, a: &str, b: &str) -> Option<f64> {
        let atlas = Atlas::embedded();
        matrix.rtt(atlas.place(a).unwrap(), atlas.place(b).unwrap()).map(|rtt| rtt.as_secs_f64() * 1000.0)
    }

    #[test]
    fn one_direction_fills_the_other_and_two_are_averaged() {
        let text = "\u{feff}# ours\nto, from ,RTT_ms,note\nFRA,Tokyo,220.5,x\niad,us-east-1,1,\n\nus-east-1,IAD,2,\n";
        let matrix = parse(text).unwrap();
        assert_eq!(matrix.len(), 2);
        assert_eq!(rtt_ms(&matrix, "fra", "tokyo"), Some(220.5));
        assert_eq!(rtt_ms(&matrix, "tokyo", "fra"), Some(220.5));
        assert_eq!(rtt_ms(&matrix, "us-east-1", "iad"), Some(1.5));
        assert_eq!(rtt_ms(&matrix, "tokyo", "nrt"), None);
    }

    #[test]
    fn errors_name_the_line_and_the_nearest_name() {
        let wrong = |text: &str| parse(text).unwrap_err();
        assert_eq!(wrong(""), "line 1: the header must name the columns from, to and rtt_ms: there is no from");
        assert_eq!(
            wrong("from,to,ms\n"),
            "line 1: the header must name the columns from, to and rtt_ms: there is no rtt_ms"
        );
        assert_eq!(
            wrong("from,to,rtt_ms\nfra,iad,90\nfra,nairoby,148\n"),
            r#"line 3: unknown place "nairoby": did you mean "Nairobi"?"#
        );
        for rtt in ["-1", "", "fast", "NaN", "inf", "60001"] {
            let expected = format!("line 2: rtt_ms is {rtt:?}: expected a number from 0 to 60000");
            assert_eq!(wrong(&format!("from,to,rtt_ms\nfra,iad,{rtt}\n")), expected);
        }
        assert_eq!(wrong("from,to,rtt_ms\nfra,iad\n"), "line 2: 2 columns where the header has 3");
        assert_eq!(
            wrong("from,to,rtt_ms\nfra,iad,90\nIAD,FRA,90\nFRA,IAD,91\n"),
            "line 4: fra to iad was given in line 2 already"
        );
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser(text in "(from,to,rtt_ms\n)?(\\PC|[\n,\"])*") {
            let _ = parse(&text);
        }
    }
}
