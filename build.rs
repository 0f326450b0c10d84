//! Says which commit is built, so that rows of studies can say which code they come from: `ISO_COMMIT`, the commit with `+`
//! where files had changed since, or `unknown` outside of a repository.

use std::{path::Path, process::Command};

/// What the program is made of. Documents, examples and tests may change without it becoming another.
const SOURCES: [&str; 13] = [
    "Cargo.lock",
    "Cargo.toml",
    "build.rs",
    "src",
    "cdn-core",
    "control-plane",
    "edge-node",
    "origin-sim",
    "router",
    "simulator",
    "viewer",
    "wan",
    "world",
];

fn main() {
    // Sources that were unpacked into somebody else's repository are not of its commit.
    let is_here = git(&["ls-files", "--error-unmatch", "build.rs"]).is_some();
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).filter(|_| is_here).map(|commit| {
        let changed = git(&[&["status", "--porcelain", "--untracked-files=no", "--"], &SOURCES[..]].concat());
        if changed.is_some_and(|files| !files.is_empty()) { format!("{commit}+") } else { commit }
    });
    println!("cargo::rustc-env=ISO_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    // Every commit and every checkout is written down there, also in work trees beside the first.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"]);
    for path in log.iter().map(String::as_str).chain(SOURCES).filter(|path| Path::new(path).exists()) {
        println!("cargo::rerun-if-changed={path}");
    }
}

/// What git says; nothing where there is no git, or no repository.
fn git(args: &[&str]) -> Option<String> {
    // Reading must not write the index, which somebody else may be at.
    let output = Command::new("git").arg("--no-optional-locks").args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
