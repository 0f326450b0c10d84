//! `iso world`: the model itself, without anything running (or with the seed of what runs).

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;
use world::{Atlas, Coordinates, Endpoint, EndpointKind, World};

use crate::{
    args::{Cli, WorldVerb},
    cluster::{Inputs, world_of},
    cluster_file::ClusterFile,
    talk::VerbError,
    up::check_file,
    verbs::{paint::table, print, unless_nobody_reads},
};

pub(super) fn run(cli: &Cli, verb: &WorldVerb) -> Result<(), VerbError> {
    match verb {
        WorldVerb::Rtt { csv: Some(file), .. } => rtt_csv(cli, file),
        WorldVerb::Rtt { a: Some(a), b: Some(b), seed, config, .. } => {
            let world = world(cli, *seed, config.as_deref())?;
            let place = |name: &str| world.atlas().place(name).map_err(|unknown| VerbError::Usage(unknown.to_string()));
            let (from, to) = (place(a)?, place(b)?);
            let rtt_ms = world.path(from, to).rtt.as_secs_f64() * 1e3;
            let document = json!({ "rtt_ms": (rtt_ms * 1000.0).round() / 1000.0 });
            print(cli, &document, |_| format!("{rtt_ms:.1} ms"))
        }
        WorldVerb::Rtt { .. } => Err(VerbError::Usage("two places, or --csv FILE".into())),
        WorldVerb::Places { search } => places(cli, search),
    }
}

/// The world that runs, the one of a file, or the built-in one.
fn world(cli: &Cli, seed: Option<u64>, config: Option<&Path>) -> Result<World, VerbError> {
    if let Some(path) = config {
        let plan = check_file(path)?;
        let file = ClusterFile { seed: seed.or(plan.file.seed), ..plan.file };
        let world = world_of(&file, &plan.inputs);
        return world.map_err(|error| VerbError::Usage(error.to_string()));
    }
    let running = crate::state::WorldDir::new(&cli.world).ok().and_then(|dir| dir.settings());
    let (mut file, inputs) = running.unwrap_or_else(|| (ClusterFile::default(), Inputs::default()));
    file.seed = seed.or(file.seed);
    world_of(&file, &inputs).map_err(|error| VerbError::Usage(error.to_string()))
}

/// A row of the file of pairs, as it comes in; further columns are carried over.
#[derive(Debug, Deserialize, Serialize)]
struct Pair {
    src_lat: f64,
    src_lon: f64,
    src_kind: EndpointKindText,
    dst_lat: f64,
    dst_lon: f64,
    dst_kind: EndpointKindText,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum EndpointKindText {
    Region,
    Public,
}

/// The same rows out with a column more; as JSON, one object per row.
fn rtt_csv(cli: &Cli, path: &Path) -> Result<(), VerbError> {
    let name = path.display();
    let bad = |error: csv::Error| VerbError::Usage(format!("{name}: {error}"));
    let file = std::fs::File::open(path).map_err(|error| VerbError::Usage(format!("cannot read {name}: {error}")))?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(std::io::BufReader::new(file));
    let columns = reader.headers().map_err(bad)?.clone();
    check_columns(&columns).map_err(|why| VerbError::Usage(format!("{name}: {why}")))?;
    let mut rows = reader.records().map(|record| {
        let mut record = record.map_err(bad)?;
        let rtt_ms = rtt_of(&record, &columns).map_err(|why| VerbError::Usage(format!("{name}: {why}")))?;
        record.push_field(&format!("{rtt_ms:.3}"));
        Ok::<_, VerbError>(record)
    });
    let mut head = columns.clone();
    head.push_field("rtt_ms");
    if cli.json {
        let object = |record: csv::StringRecord| -> serde_json::Map<_, _> {
            // Numbers as numbers, everything else as it was written.
            let value = |text: &str| text.parse::<f64>().map_or_else(|_| json!(text), |number| json!(number));
            head.iter().zip(&record).map(|(column, text)| (column.to_owned(), value(text))).collect()
        };
        let rows: Vec<_> = rows.map(|row| row.map(object)).collect::<Result<_, _>>()?;
        return print(cli, &rows, |_| String::new());
    }
    let mut writer = csv::Writer::from_writer(std::io::BufWriter::new(std::io::stdout().lock()));
    unless_nobody_reads(writer.write_record(&head).map_err(io_error))?;
    rows.try_for_each(|row| unless_nobody_reads(writer.write_record(&row?).map_err(io_error)))?;
    unless_nobody_reads(writer.flush())
}

/// The columns of a [`Pair`]; they may stand in any order, and others among them.
const COLUMNS: [&str; 6] = ["src_lat", "src_lon", "src_kind", "dst_lat", "dst_lon", "dst_kind"];

/// Whether the first row names every column; without it the first pair would be taken for the names.
fn check_columns(head: &csv::StringRecord) -> Result<(), String> {
    let missing: Vec<&str> = COLUMNS.into_iter().filter(|column| !head.iter().any(|name| name == *column)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(", ");
    Err(format!("the first line names no column {missing}; it is to name {}, in any order", COLUMNS.join(",")))
}

fn io_error(error: csv::Error) -> std::io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => std::io::Error::other(format!("{other:?}")),
    }
}

/// The model's round trip of a row in milliseconds.
fn rtt_of(record: &csv::StringRecord, columns: &csv::StringRecord) -> Result<f64, String> {
    let pair: Pair = record.deserialize(Some(columns)).map_err(|error| error.to_string())?;
    let line = record.position().map_or(0, csv::Position::line);
    let end = |lat: f64, lon: f64, kind: EndpointKindText| {
        let coordinates = Coordinates::new(lat, lon).map_err(|error| format!("line {line}: {error}"))?;
        let kind = match kind {
            EndpointKindText::Region => EndpointKind::Region,
            EndpointKindText::Public => EndpointKind::Public,
        };
        Ok::<_, String>(Endpoint { coordinates, kind })
    };
    let from = end(pair.src_lat, pair.src_lon, pair.src_kind)?;
    let to = end(pair.dst_lat, pair.dst_lon, pair.dst_kind)?;
    Ok(Atlas::embedded().rtt_ms(from, to))
}

fn places(cli: &Cli, search: &str) -> Result<(), VerbError> {
    let atlas = Atlas::embedded();
    let wanted = search.to_lowercase();
    let rows: Vec<_> = atlas
        .places()
        .filter(|place| place.name.to_lowercase().contains(&wanted) || place.id.as_str().contains(&wanted))
        .map(|place| {
            json!({
                "id": place.id.as_str(),
                "name": &*place.name,
                "kind": format!("{:?}", place.kind).to_lowercase(),
                "country": place.country.as_str(),
                "lat": place.coordinates.lat(),
                "lon": place.coordinates.lon(),
            })
        })
        .collect();
    print(cli, &rows, |rows| {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let lines = rows
            .iter()
            .map(|row| vec![text(&row["id"]), text(&row["name"]), text(&row["kind"]), text(&row["country"])]);
        table(&["PLACE", "NAME", "KIND", "COUNTRY"], lines)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_known_by_name_in_any_order_and_missing_ones_are_named() {
        let checked = |head: &str| check_columns(&csv::StringRecord::from(head.split(',').collect::<Vec<_>>()));
        assert_eq!(checked("src_lat,src_lon,src_kind,dst_lat,dst_lon,dst_kind"), Ok(()));
        assert_eq!(checked("note,dst_kind,dst_lat,dst_lon,src_kind,src_lon,src_lat"), Ok(()));
        let pair = checked("35.7,139.7,public,1.3,103.8,region").unwrap_err();
        assert!(pair.contains("no column src_lat, src_lon"), "{pair}");
        let short = checked("src_lat,src_lon,src_kind,dst_lat,dst_lon").unwrap_err();
        assert!(short.contains("no column dst_kind;"), "{short}");
    }
}
