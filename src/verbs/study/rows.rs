//! Rows of studies as files: their columns' names, and one row after the other, whether the file is CSV or Parquet. Nothing
//! here holds more than one row, but for what a Parquet file holds together.

use std::{
    fs::File,
    io::{BufReader, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use csv::StringRecord;

use super::columns;

/// A file of rows that is being read.
pub(super) struct Rows {
    pub(super) head: StringRecord,
    records: Box<dyn Iterator<Item = Result<StringRecord, String>>>,
}

impl Rows {
    /// Opens a file: Parquet where it begins so, else CSV.
    ///
    /// # Errors
    /// It cannot be read, or is no table.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let mut file = File::open(path).map_err(|error| error.to_string())?;
        if is_parquet(&mut file).map_err(|error| error.to_string())? {
            let (head, records) = columns::read(file)?;
            return Ok(Self { head, records });
        }
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

fn is_parquet(file: &mut File) -> std::io::Result<bool> {
    let mut first = Vec::new();
    file.by_ref().take(columns::MAGIC.len() as u64).read_to_end(&mut first)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(first == columns::MAGIC)
}

/// Whether a file of rows ends as one that was written to its end does: CSV with the end of a row. Parquet says so itself
/// when it is opened.
///
/// # Errors
/// It cannot be read.
pub(super) fn is_whole(path: &Path) -> std::io::Result<bool> {
    let mut file = File::open(path)?;
    if is_parquet(&mut file)? {
        return Ok(true);
    }
    let mut last = Vec::new();
    let end = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(end.saturating_sub(1)))?;
    file.read_to_end(&mut last)?;
    Ok(last == b"\n")
}
