//! Scenario files as they are laid out for people: what it is, the timeline and what must hold, one step a line, and then
//! the tables of load and world. What is written here reads back as the same file.

use std::fmt::Write as _;

use serde::Serialize;

use super::file::ScenarioFile;

/// The text of a scenario file.
///
/// # Errors
/// It holds what TOML cannot say, such as a number above 2^63.
pub(crate) fn write(file: &ScenarioFile) -> Result<String, toml::ser::Error> {
    let ScenarioFile { title, about, seed, cluster, preset, pops, shield, regional, length, warmup, .. } = file.clone();
    let head = ScenarioFile {
        title,
        about,
        seed,
        cluster,
        preset,
        pops,
        shield,
        regional,
        length,
        warmup,
        ..Default::default()
    };
    // TOML wants every plain key before the first table.
    let tables = ScenarioFile {
        title: None,
        about: None,
        seed: None,
        cluster: None,
        preset: None,
        pops: None,
        shield: None,
        regional: Vec::new(),
        length: None,
        warmup: None,
        ..file.clone()
    };
    let mut text = toml::to_string(&head)?;
    list(&mut text, "at", &file.at)?;
    list(&mut text, "expect", &file.expect)?;
    let tables = toml::to_string(&tables)?;
    if !tables.is_empty() {
        text.push('\n');
        text.push_str(&tables);
    }
    Ok(text)
}

/// A list with one item a line.
fn list<T: Serialize>(text: &mut String, key: &str, items: &[T]) -> Result<(), toml::ser::Error> {
    if items.is_empty() {
        return Ok(());
    }
    let _ = writeln!(text, "{key} = [");
    for item in items {
        let mut line = String::new();
        item.serialize(toml::ser::ValueSerializer::new(&mut line))?;
        let _ = writeln!(text, "  {line},");
    }
    text.push_str("]\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use expect_test::expect;

    use super::*;

    #[test]
    fn a_scenario_is_laid_out_as_a_timeline() {
        let text = "load = [{ rps = 5, from = 'berlin' }]\nseed = 3\ntitle = 'It \"dies\"'\n\
                    router = { ttl = '5s' }\nat = [{ kill = ['fra'], t = '2s', for = '1500ms' },\n\
                    { t = '1m', link = ['fra', 'iad'], loss = '5%', throttle = '10M', one_way = true }]\n\
                    expect = [{ what = 'availability', min = 1 }]\n";
        let file: ScenarioFile = toml::from_str(text).unwrap();
        expect![[r#"
            title = 'It "dies"'
            seed = 3
            at = [
              { t = "2s", kill = "fra", for = "1500ms" },
              { t = "1m", link = ["fra", "iad"], throttle = 10000000, loss = "5%", one_way = true },
            ]
            expect = [
              { what = "availability", min = 1.0 },
            ]

            [router]
            ttl = "5s"

            [load]
            from = "berlin"
            rps = 5.0
        "#]]
        .assert_eq(&write(&file).unwrap());
    }

    #[test]
    fn every_incident_reads_back_as_it_was_written() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/incidents");
        let mut read = 0;
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let file: ScenarioFile = toml::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            let text = write(&file).unwrap();
            let again: ScenarioFile = toml::from_str(&text).map_err(|error| panic!("{error}\n{text}")).unwrap();
            assert_eq!(again, file, "{}\n{text}", path.display());
            read += 1;
        }
        assert!(read >= 16, "only {read}");
    }
}
