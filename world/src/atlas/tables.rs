//! The embedded tables of `world/data`, read row by row.
//!
//! Decides what a well-formed table is and names file, line and column of one that is not. Refuses to know what the
//! rows mean: that is the atlas, the path model and the access networks.

use std::{fmt::Display, str::FromStr};

pub(crate) const CITIES: Source = Source { name: "cities.csv", text: include_str!("../../data/cities.csv") };
pub(crate) const POPS: Source = Source { name: "pops.csv", text: include_str!("../../data/pops.csv") };
pub(crate) const REGIONS: Source = Source { name: "regions.csv", text: include_str!("../../data/regions.csv") };
pub(crate) const COUNTRIES: Source = Source { name: "countries.csv", text: include_str!("../../data/countries.csv") };
pub(crate) const ALIASES: Source = Source { name: "aliases.csv", text: include_str!("../../data/aliases.csv") };
pub(crate) const BACKBONE: Source = Source { name: "backbone.csv", text: include_str!("../../data/backbone.csv") };
pub(crate) const ACCESS: Source = Source { name: "access.csv", text: include_str!("../../data/access.csv") };
pub(crate) const DIURNAL: Source = Source { name: "diurnal.csv", text: include_str!("../../data/diurnal.csv") };
pub(crate) const TRAFFIC: Source = Source { name: "traffic.csv", text: include_str!("../../data/traffic.csv") };
pub(crate) const REGION_RTT: Source =
    Source { name: "region_rtt_ms.csv", text: include_str!("../../data/region_rtt_ms.csv") };

/// A table as text.
#[derive(Clone, Copy)]
pub(crate) struct Source {
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
}

/// A table does not say what it should.
#[derive(Debug, thiserror::Error)]
#[error("{table}, line {line}: {cause}")]
pub(crate) struct TableError {
    table: &'static str,
    line: u64,
    cause: String,
}

/// One line of a table whose columns are `N`.
pub(crate) struct Row<'a, const N: usize> {
    pub(crate) cells: [&'a str; N],
    table: &'static str,
    line: u64,
}

impl<const N: usize> Row<'_, N> {
    /// The cell at `column`, read as `T`.
    pub(crate) fn parse<T: FromStr<Err: Display>>(&self, column: usize) -> Result<T, TableError> {
        let cell = self.cells[column];
        cell.parse().map_err(|error| self.wrong(format_args!("column {}: {cell:?}: {error}", column + 1)))
    }

    /// An error that points at this row.
    pub(crate) fn wrong(&self, cause: impl Display) -> TableError {
        TableError { table: self.table, line: self.line, cause: cause.to_string() }
    }
}

/// Calls `row` for each line, after the header was found to be `columns`.
pub(crate) fn each_row<const N: usize>(
    source: Source,
    columns: [&str; N],
    mut row: impl FnMut(Row<'_, N>) -> Result<(), TableError>,
) -> Result<(), TableError> {
    let mut table = Table::open(source);
    if table.header.iter().ne(columns) {
        return Err(table.wrong(1, format_args!("the columns are {:?}, not {columns:?}", table.header)));
    }
    while table.advance()? {
        let mut cells = [""; N];
        for (cell, text) in cells.iter_mut().zip(&table.record) {
            *cell = text;
        }
        row(Row { cells, table: source.name, line: table.line() })?;
    }
    Ok(())
}

/// The rows of a square matrix: its labels, and the numbers row by row.
pub(crate) fn square(source: Source) -> Result<(Vec<String>, Vec<Vec<f64>>), TableError> {
    let mut table = Table::open(source);
    let (mut labels, mut rows) = (Vec::new(), Vec::new());
    while table.advance()? {
        let (row, column) = (table.record.get(0), table.header.get(rows.len() + 1));
        if row != column {
            return Err(table.wrong(table.line(), format_args!("row {row:?} stands where column {column:?} does")));
        }
        let numbers: Result<Vec<f64>, _> = table.record.iter().skip(1).map(str::parse).collect();
        labels.push(row.unwrap_or_default().to_owned());
        rows.push(numbers.map_err(|error| table.wrong(table.line(), error))?);
    }
    Ok((labels, rows))
}

/// A table on one of its lines.
struct Table {
    name: &'static str,
    reader: csv::Reader<&'static [u8]>,
    header: csv::StringRecord,
    record: csv::StringRecord,
}

impl Table {
    fn open(source: Source) -> Self {
        let mut reader = csv::Reader::from_reader(source.text.as_bytes());
        // One that cannot be read is empty, and no table's.
        let header = reader.headers().cloned().unwrap_or_default();
        Self { name: source.name, reader, header, record: csv::StringRecord::new() }
    }

    /// Goes to the next line; false at the end.
    fn advance(&mut self) -> Result<bool, TableError> {
        let outcome = self.reader.read_record(&mut self.record);
        outcome.map_err(|error| self.wrong(error.position().map_or(0, csv::Position::line), error))
    }

    fn line(&self) -> u64 {
        self.record.position().map_or(0, csv::Position::line)
    }

    fn wrong(&self, line: u64, cause: impl Display) -> TableError {
        TableError { table: self.name, line, cause: cause.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_cell_is_named_by_table_line_and_column() {
        let source = Source { name: "t.csv", text: "a,b\nx,1\ny,two\n" };
        let mut read = Vec::new();
        let outcome = each_row(source, ["a", "b"], |row| {
            read.push(row.parse::<u32>(1)?);
            Ok(())
        });
        assert_eq!(read, [1]);
        assert_eq!(outcome.unwrap_err().to_string(), "t.csv, line 3: column 2: \"two\": invalid digit found in string");
    }

    #[test]
    fn other_columns_than_expected_are_refused() {
        let source = Source { name: "t.csv", text: "a,c\nx,1\n" };
        assert!(each_row(source, ["a", "b"], |_| Ok(())).is_err());
    }
}
