//! Rows of studies as Parquet: what each column holds, and the way there and back.
//!
//! A column is of the narrowest kind that all of its cells are written in, so that it reads back to the same text: a row is
//! the same in both formats. A Parquet file ends with what is in it and cannot be added to, so it is made of rows that are
//! there as CSV already, in two passes that hold a group of rows at most.

use std::{
    fs::{self, File},
    io::BufWriter,
    path::Path,
    sync::Arc,
};

use csv::StringRecord;
use parquet::{
    basic::{LogicalType, Repetition, Type as Physical},
    data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type},
    errors::ParquetError,
    file::{
        properties::WriterProperties, reader::FileReader as _, serialized_reader::SerializedFileReader,
        writer::SerializedFileWriter,
    },
    record::Field,
    schema::types::Type,
};

use super::rows::Rows;

/// Rows that are held at once, and that a reader may leap over together.
const GROUP_ROWS: usize = 1 << 16;
/// Columns of digits that are names, not numbers.
const NAMES: [&str; 2] = ["plan", "commit"];

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Truth,
    Integer,
    Unsigned,
    Float,
    Text,
}

impl Kind {
    /// From narrow to wide.
    const ALL: [Self; 5] = [Self::Truth, Self::Integer, Self::Unsigned, Self::Float, Self::Text];

    /// A cell that is written so reads back to the same text.
    fn holds(self, cell: &str) -> bool {
        match self {
            Self::Truth => matches!(cell, "true" | "false"),
            Self::Integer => cell.parse::<i64>().is_ok_and(|value| value.to_string() == cell),
            Self::Unsigned => cell.parse::<u64>().is_ok_and(|value| value.to_string() == cell),
            Self::Float => cell.parse::<f64>().is_ok_and(|value| text_of(value) == cell),
            Self::Text => true,
        }
    }

    fn schema(self, name: &str) -> Result<Type, ParquetError> {
        let (physical, logical) = match self {
            Self::Truth => (Physical::BOOLEAN, None),
            Self::Integer => (Physical::INT64, None),
            Self::Unsigned => (Physical::INT64, Some(LogicalType::integer(64, false))),
            Self::Float => (Physical::DOUBLE, None),
            Self::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        // An empty cell is none.
        Type::primitive_type_builder(name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical)
            .build()
    }
}

/// A float as rows have it, which is as the CSV crate writes it.
fn text_of(value: f64) -> String {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    // Nothing that a vector could refuse.
    let _ = writer.serialize(value);
    let bytes = writer.into_inner().unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim_end().to_owned()
}

/// Writes the rows of a CSV file as Parquet. The file is there whole, or not at all.
///
/// # Errors
/// One of the files cannot be read or written.
pub(super) fn write(rows: &Path, out: &Path) -> Result<(), String> {
    let (head, kinds) = survey(Rows::open(rows)?)?;
    let unfinished = out.with_extension("parquet.new");
    let file = File::create(&unfinished).map_err(|error| error.to_string())?;
    let written = write_groups(Rows::open(rows)?, &head, &kinds, BufWriter::new(file));
    written.and_then(|()| fs::rename(&unfinished, out).map_err(|error| error.to_string())).inspect_err(|_| {
        // What is half written is of no use to anybody.
        let _ = fs::remove_file(&unfinished);
    })
}

/// What the columns of rows are.
fn survey(rows: Rows) -> Result<(StringRecord, Vec<Kind>), String> {
    let head = rows.head.clone();
    // Which kinds each column may still be; one where nothing is, is text.
    let mut left: Vec<Vec<Kind>> =
        head.iter().map(|name| if NAMES.contains(&name) { vec![Kind::Text] } else { Kind::ALL.to_vec() }).collect();
    let mut is_used = vec![false; head.len()];
    for record in rows {
        let record = record?;
        for ((kinds, is_used), cell) in left.iter_mut().zip(&mut is_used).zip(&record) {
            if !cell.is_empty() {
                *is_used = true;
                kinds.retain(|kind| kind.holds(cell));
            }
        }
    }
    let kinds = left.iter().zip(is_used).map(|(kinds, is_used)| match kinds.first() {
        Some(kind) if is_used => *kind,
        _ => Kind::Text,
    });
    Ok((head, kinds.collect()))
}

fn write_groups(
    rows: Rows,
    head: &StringRecord,
    kinds: &[Kind],
    out: impl std::io::Write + Send,
) -> Result<(), String> {
    let failed = |error: ParquetError| error.to_string();
    let fields = head.iter().zip(kinds).map(|(name, kind)| kind.schema(name).map(Arc::new));
    let fields = fields.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let schema = Type::group_type_builder("rows").with_fields(fields).build().map_err(failed)?;
    let properties = WriterProperties::builder().set_created_by(concat!("iso ", env!("CARGO_PKG_VERSION")).to_owned());
    let mut writer = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties.build())).map_err(failed)?;
    let mut group: Vec<StringRecord> = Vec::new();
    for record in rows {
        group.push(record?);
        if group.len() == GROUP_ROWS {
            write_group(&mut writer, kinds, &group).map_err(failed)?;
            group.clear();
        }
    }
    if !group.is_empty() {
        write_group(&mut writer, kinds, &group).map_err(failed)?;
    }
    writer.close().map_err(failed)?;
    Ok(())
}

fn write_group<W: std::io::Write + Send>(
    writer: &mut SerializedFileWriter<W>,
    kinds: &[Kind],
    rows: &[StringRecord],
) -> Result<(), ParquetError> {
    let mut group = writer.next_row_group()?;
    for (at, kind) in kinds.iter().enumerate() {
        let Some(mut column) = group.next_column()? else { break };
        let cells = || rows.iter().map(|row| row.get(at).unwrap_or_default());
        let is_there: Vec<i16> = cells().map(|cell| i16::from(!cell.is_empty())).collect();
        let full = cells().filter(|cell| !cell.is_empty());
        let there = Some(is_there.as_slice());
        match kind {
            Kind::Truth => {
                let values: Vec<bool> = full.map(|cell| cell == "true").collect();
                column.typed::<BoolType>().write_batch(&values, there, None)?;
            }
            Kind::Integer => {
                let values: Vec<i64> = full.filter_map(|cell| cell.parse().ok()).collect();
                column.typed::<Int64Type>().write_batch(&values, there, None)?;
            }
            Kind::Unsigned => {
                // Its bits, as the format has them.
                let values = full.filter_map(|cell| cell.parse::<u64>().ok()).map(u64::cast_signed);
                column.typed::<Int64Type>().write_batch(&values.collect::<Vec<i64>>(), there, None)?;
            }
            Kind::Float => {
                let values: Vec<f64> = full.filter_map(|cell| cell.parse().ok()).collect();
                column.typed::<DoubleType>().write_batch(&values, there, None)?;
            }
            Kind::Text => {
                let values: Vec<ByteArray> = full.map(ByteArray::from).collect();
                column.typed::<ByteArrayType>().write_batch(&values, there, None)?;
            }
        }
        column.close()?;
    }
    group.close()?;
    Ok(())
}

/// What a file begins with that is Parquet.
pub(super) const MAGIC: &[u8; 4] = b"PAR1";

/// The names of columns, and the rows.
type Read = (StringRecord, Box<dyn Iterator<Item = Result<StringRecord, String>>>);

/// Reads Parquet, written here or elsewhere, as rows of text.
///
/// # Errors
/// It is damaged, or holds more than plain columns.
pub(super) fn read(file: File) -> Result<Read, String> {
    let failed = |error: ParquetError| error.to_string();
    let reader = SerializedFileReader::new(file).map_err(failed)?;
    let schema = reader.metadata().file_metadata().schema_descr();
    let names = schema.root_schema().get_fields().iter().map(|field| match field.is_primitive() {
        true => Ok(field.name()),
        false => Err(format!("column {} holds more than one value", field.name())),
    });
    let head = names.collect::<Result<StringRecord, String>>()?;
    let rows = reader.into_iter().map(move |row| {
        let row = row.map_err(failed)?;
        row.get_column_iter().map(|(name, field)| cell(name, field)).collect()
    });
    Ok((head, Box::new(rows)))
}

fn cell(name: &str, field: &Field) -> Result<String, String> {
    Ok(match field {
        Field::Null => String::new(),
        Field::Bool(value) => value.to_string(),
        Field::Byte(value) => value.to_string(),
        Field::Short(value) => value.to_string(),
        Field::Int(value) => value.to_string(),
        Field::Long(value) => value.to_string(),
        Field::UByte(value) => value.to_string(),
        Field::UShort(value) => value.to_string(),
        Field::UInt(value) => value.to_string(),
        Field::ULong(value) => value.to_string(),
        Field::Float(value) => value.to_string(),
        Field::Double(value) => text_of(*value),
        Field::Str(value) => value.clone(),
        _ => return Err(format!("column {name} holds neither numbers nor text")),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn csv_of(head: &[&str], rows: &[Vec<String>]) -> String {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(head).unwrap();
        rows.iter().for_each(|row| writer.write_record(row).unwrap());
        String::from_utf8(writer.into_inner().unwrap()).unwrap()
    }

    /// What columns are, and the rows when they come back.
    fn there_and_back(text: &str) -> (Vec<Kind>, String) {
        let dir = tempfile::tempdir().unwrap();
        let (rows, out) = (dir.path().join("rows.csv"), dir.path().join("rows.parquet"));
        fs::write(&rows, text).unwrap();
        let (_, kinds) = survey(Rows::open(&rows).unwrap()).unwrap();
        write(&rows, &out).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        let back = Rows::open(&out).unwrap();
        let head: Vec<String> = back.head.iter().map(str::to_owned).collect();
        let rows: Vec<Vec<String>> = back.map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
        (kinds, csv_of(&head.iter().map(String::as_str).collect::<Vec<_>>(), &rows))
    }

    #[test]
    fn a_column_is_what_all_of_its_cells_are() {
        let text = "plan,seed,share,ttl,is_on,none,big,mixed\n\
                    0123456789012345,1,0.5,20s,true,,18446744073709551615,1\n\
                    0123456789012345,-2,1e-7,5,false,,1,1.5\n0123456789012345,,,,,,,\n";
        let (kinds, back) = there_and_back(text);
        use Kind::{Float, Integer, Text, Truth, Unsigned};
        // One and a half and one have no common way to be written, unless as they are.
        assert_eq!(kinds, [Text, Integer, Float, Text, Truth, Text, Unsigned, Text]);
        assert_eq!(back, text);
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (rows, out) = (dir.path().join("rows.csv"), dir.path().join("rows.parquet"));
        fs::write(&rows, "a,b\n1,2\n").unwrap();
        write(&rows, &out).unwrap();
        let bytes = fs::read(&out).unwrap();
        for cut in [5, 12, bytes.len() - 1] {
            fs::write(&out, &bytes[..cut]).unwrap();
            assert!(Rows::open(&out).is_err(), "{cut} of {} bytes", bytes.len());
        }
    }

    proptest! {
        #[test]
        fn rows_are_the_same_there_and_back(
            rows in proptest::collection::vec(
                (any::<i64>(), any::<f64>(), "[a-z0-9 ,é\"]{0,6}", any::<bool>(), proptest::option::of(any::<u64>())),
                1..40,
            ),
        ) {
            let rows: Vec<Vec<String>> = rows
                .into_iter()
                .map(|(integer, float, text, truth, unsigned)| {
                    let unsigned = unsigned.map(|value| value.to_string()).unwrap_or_default();
                    vec![integer.to_string(), text_of(float), text, truth.to_string(), unsigned]
                })
                .collect();
            let text = csv_of(&["a", "b", "c", "d", "e"], &rows);
            prop_assert_eq!(there_and_back(&text).1, text);
        }
    }
}
