//! Rows of studies as files: their columns' names, and one row after the other, whatever the file is as long as it is a
//! table. Nothing here holds more than one row.

use std::{fs::File, io::BufReader, path::Path};

use csv::StringRecord;

/// A file of rows that is being read.
pub(super) struct Rows {
    pub(super) head: StringRecord,
    records: Box<dyn Iterator<Item = Result<StringRecord, String>>>,
}

impl Rows {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be read, or is no table.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let mut reader = csv::Reader::from_reader(BufReader::new(file));
        let head = reader.headers().map_err(|error| error.to_string())?.clone();
        if head.is_empty() {
            return Err("it is empty".into());
        }
        let records = reader.into_records().map(|record| record.map_err(|error| error.to_string()));
        Ok(Self { head, records: Box::new(records) })
    }
}

impl Iterator for Rows {
    type Item = Result<StringRecord, String>;

    fn next(&mut self) -> Option<Self::Item> {
        self.records.next()
    }
}
