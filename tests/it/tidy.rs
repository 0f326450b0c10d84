//! Rules of the house that a tool can check: who may know whom, headers, what documents show.

use std::{path::Path, process::Command};

use crate::harness::{root, text};

/// What a crate pulls in, by name, without dev-dependencies.
fn tree(package: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "-p", package, "-e", "normal", "--prefix", "none", "-f", "{p}"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect()
}

#[test]
fn pure_crates_reach_no_io_and_no_async() {
    for package in ["cdn-core", "world", "simulator"] {
        let tree = tree(package);
        for banned in
            ["tokio", "mio", "axum", "hyper", "reqwest", "hickory-proto", "dashmap", "socket2", "rustix", "getrandom"]
        {
            assert!(!tree.iter().any(|name| name == banned), "{package} reaches {banned}");
        }
    }
}

#[test]
fn arrows_between_crates_run_down_only() {
    let ours = [
        "cdn-core",
        "world",
        "simulator",
        "wan",
        "edge-node",
        "router",
        "origin-sim",
        "viewer",
        "control-plane",
        "isochrone",
    ];
    let allowed: [(&str, &[&str]); 9] = [
        ("cdn-core", &[]),
        ("world", &["cdn-core"]),
        ("simulator", &["cdn-core", "world"]),
        ("wan", &["world", "cdn-core"]),
        ("edge-node", &["cdn-core"]),
        ("router", &["cdn-core"]),
        ("origin-sim", &["cdn-core"]),
        ("viewer", &["cdn-core", "wan", "world"]),
        ("control-plane", &["cdn-core", "world"]),
    ];
    for (package, may) in allowed {
        for name in tree(package).iter().filter(|name| *name != package && ours.contains(&name.as_str())) {
            assert!(may.contains(&name.as_str()), "{package} knows {name}");
        }
    }
}

fn sources(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn all_sources() -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for folder in [
        "src",
        "cdn-core/src",
        "world/src",
        "simulator/src",
        "wan/src",
        "edge-node/src",
        "router/src",
        "origin-sim/src",
        "viewer/src",
        "control-plane/src",
        "tests",
    ] {
        sources(&root().join(folder), &mut found);
    }
    assert!(found.len() > 80);
    found
}

#[test]
fn every_module_says_what_it_is() {
    for path in all_sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//!"), "{} has no header", path.display());
    }
}

#[test]
fn only_the_root_knows_toml_and_only_the_shells_know_dns_messages() {
    for path in all_sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        // Written so that this file is not its own culprit.
        if text.contains(concat!("toml", "::")) {
            assert!(name.starts_with("src/") || name.starts_with("tests/it/"), "{name} knows TOML");
        }
        if text.contains(concat!("hickory_proto", "::")) && name.starts_with("router/src/") {
            assert!(name.starts_with("router/src/dns"), "{name} knows DNS messages");
        }
    }
}

#[test]
fn every_counter_is_used() {
    let all: String = all_sources()
        .iter()
        .filter(|path| !path.ends_with("cdn-core/src/counters.rs"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    for row in cdn_core::counters::ROWS {
        let name = format!("Counter::{:?}", row.counter);
        assert!(all.contains(&name), "{name} is counted nowhere");
    }
}

#[test]
fn every_file_that_documents_link_to_is_there() {
    for document in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        let text = std::fs::read_to_string(root().join(document)).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") || link.starts_with('#') {
                continue;
            }
            let path = link.split('#').next().unwrap_or(link);
            assert!(root().join(path).exists(), "{document} links to {path}");
        }
    }
}
