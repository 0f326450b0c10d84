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
    verbs::{paint::table, print},
};

pub(super) fn run(cli: &Cli, verb: &WorldVerb) -> Result<(), VerbError> {
    match verb {
        WorldVerb::Rtt { csv: Some(file), .. } => rtt_csv(file),
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

fn rtt_csv(path: &Path) -> Result<(), VerbError> {
    let name = path.display();
    let file = std::fs::File::open(path).map_err(|error| VerbError::Usage(format!("cannot read {name}: {error}")))?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(std::io::BufReader::new(file));
    let atlas = Atlas::embedded();
    let out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut writer = csv::Writer::from_writer(out);
    let mut head = reader.headers().map_err(|error| VerbError::Usage(format!("{name}: {error}")))?.clone();
    let columns = head.clone();
    head.push_field("rtt_ms");
    writer.write_record(&head)?;
    for record in reader.records() {
        let bad = |error: csv::Error| VerbError::Usage(format!("{name}: {error}"));
        let mut record = record.map_err(bad)?;
        let pair: Pair = record.deserialize(Some(&columns)).map_err(bad)?;
        let line = record.position().map_or(0, csv::Position::line);
        let end = |lat: f64, lon: f64, kind: EndpointKindText| {
            let coordinates = Coordinates::new(lat, lon)
                .map_err(|error| VerbError::Usage(format!("{name}: line {line}: {error}")))?;
            let kind = match kind {
                EndpointKindText::Region => EndpointKind::Region,
                EndpointKindText::Public => EndpointKind::Public,
            };
            Ok::<_, VerbError>(Endpoint { coordinates, kind })
        };
        let from = end(pair.src_lat, pair.src_lon, pair.src_kind)?;
        let to = end(pair.dst_lat, pair.dst_lon, pair.dst_kind)?;
        record.push_field(&format!("{:.3}", atlas.rtt_ms(from, to)));
        writer.write_record(&record)?;
    }
    writer.flush()?;
    Ok(())
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
