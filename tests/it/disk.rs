//! The disk tier of an edge: it outlives kills and whole runs, and no invalidation is lost on the way.

use crate::harness::{World, header, text};

const ONE_EDGE: &str = "pops = [\"FRA\"]\nshield = \"none\"\n[edge]\ndisk = \"16MiB\"\n[router]\nexplore = 0.0\n";

/// The reason of an answer of the one edge.
fn reason(world: &World, path: &str) -> String {
    let url = format!("http://www.demo.test{path}");
    let response = world.curl("berlin", &["-i", &url]);
    header(&response, "x-iso-reason").unwrap_or_else(|| panic!("{response}")).to_owned()
}

fn kept_in(world: &World, path: &str) -> Vec<String> {
    let report = world.json(&["cache", "where", path]);
    let entries = report["nodes"][0]["entries"].as_array().unwrap_or_else(|| panic!("{report}"));
    entries.iter().map(|entry| entry["kept_in"].as_str().unwrap().to_owned()).collect()
}

fn kill_and_start(world: &World) {
    world.ok(&["kill", "fra"]);
    world.ok(&["start", "fra"]);
    world.until_health("edge.fra", "up");
}

#[test]
fn an_edge_finds_its_disk_tier_again() {
    let world = World::of_file(ONE_EDGE);
    for path in ["/a?max-age=600", "/b?max-age=600", "/c?max-age=600"] {
        assert_eq!(reason(&world, path), "miss_absent");
    }
    world.until("it is written", || (kept_in(&world, "/c") == ["memory", "disk"]).then_some(()));
    let shown = world.ok(&["cache", "where", "/c"]);
    assert!(shown.contains("KEPT IN") && shown.contains("disk"), "{shown}");

    kill_and_start(&world);
    assert_eq!(kept_in(&world, "/a"), ["disk"]);
    let shown = world.ok(&["cache", "show", "/a"]);
    assert!(shown.contains("on the disk, written ") && shown.contains("cache-control: "), "{shown}");
    let stats = world.json(&["cache", "stats"]);
    let fra = stats["nodes"].as_array().unwrap().iter().find(|node| node["node"] == "edge.fra").unwrap();
    assert_eq!((&fra["stats"]["disk"]["objects"], &fra["stats"]["objects"]), (&3.into(), &0.into()), "{stats:#}");
    assert!(world.ok(&["cache", "stats"]).contains("ON DISK"));
    assert_eq!(reason(&world, "/a?max-age=600"), "hit_disk");
    assert_eq!(reason(&world, "/a?max-age=600"), "hit");

    world.ok(&["invalidate", "/b*", "--watch"]);
    kill_and_start(&world);
    assert_eq!(reason(&world, "/b?max-age=600"), "miss_absent", "it was invalidated");

    world.ok(&["down"]);
    let file = world.home().join("cluster.toml").to_string_lossy().into_owned();
    let again = |file: &str| {
        let up = world.iso(&["up", "-d", "--wait", "--timeout", "60s", "--base-port", "0", "--config", file]);
        assert!(up.status.success(), "{}", text(&up.stderr));
    };
    again(&file);
    assert_eq!(reason(&world, "/c?max-age=600"), "hit_disk", "another run of the same world");

    // An edge that is away cannot be told; what it comes back with must not be older than that.
    world.ok(&["kill", "fra"]);
    world.ok(&["invalidate", "/c*", "--watch"]);
    world.ok(&["start", "fra"]);
    world.until_health("edge.fra", "up");
    assert_eq!(reason(&world, "/c?max-age=600"), "miss_absent");

    world.ok(&["down"]);
    let tier = world.home().join("worlds/default/disk/edge.fra");
    assert!(tier.join("label").exists());
    std::fs::write(&file, ONE_EDGE.replace("disk = \"16MiB\"\n", "")).unwrap();
    again(&file);
    assert!(!tier.exists(), "a world without disk tiers leaves none");
}
