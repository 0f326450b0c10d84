//! One file, one test: every scenario of this folder, of the library and of those that are played both ways, in virtual
//! time.
//!
//! A scenario that is named in [`LIVE_ONLY`] shows what only real processes show; it must still play, and say why it is
//! here.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use libtest_mimic::{Arguments, Failed, Trial};

/// Scenarios whose expectations are about real processes.
const LIVE_ONLY: [&str; 0] = [];

fn main() {
    let arguments = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<PathBuf> = ["tests/scenarios", "examples/incidents", "examples/agreement"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(root.join(folder)).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    let trials = files.into_iter().map(|file| {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Trial::test(name.clone(), move || play(&name, &file))
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

/// Plays a file; what it missed is what the test says.
fn play(name: &str, file: &Path) -> Result<(), Failed> {
    let output = Command::new(env!("CARGO_BIN_EXE_iso"))
        .args(["chaos", "run", "--sim"])
        .arg(file)
        .env("NO_COLOR", "1")
        .env_remove("ISO_WORLD")
        .output()?;
    let said = || format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    match output.status.code() {
        Some(0) => Ok(()),
        Some(10) if LIVE_ONLY.contains(&name) => Ok(()),
        _ => Err(said().into()),
    }
}
