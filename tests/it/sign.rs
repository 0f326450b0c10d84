//! Private content, as the owner of an app meets it: make a key, name it in the cluster file, sign, be refused, learn why.

use crate::harness::{World, text};

/// A world whose `/private/*` wants a signature; the file of the private key and the id of the public one.
fn private_world(kind: &str) -> (World, String, String) {
    let world = World::none();
    let dir = world.home().join("keys").to_string_lossy().into_owned();
    let made = world.json(&["keys", "new", "team", "--kind", kind, "--dir", &dir]);
    let (id, private) =
        (made["key_pair_id"].as_str().unwrap().to_owned(), made["private"].as_str().unwrap().to_owned());
    let cluster = format!(
        "preset = \"tiny\"\n[key_groups.team]\n{id} = \"keys/{id}.pem\"\n[[distributions.demo.behaviors]]\n\
         path = \"/private/*\"\ntrusted_key_groups = [\"team\"]\n"
    );
    (world.with_file(&cluster), private, id)
}

fn status(world: &World, args: &[&str]) -> String {
    world.curl("tokyo", &[&["-o", "/dev/null", "-w", "%{http_code}"][..], args].concat())
}

#[test]
fn what_is_signed_passes_and_what_is_not_is_explained() {
    for (kind, hash) in [("rsa", "sha1"), ("ecdsa", "sha256")] {
        let (world, key, id) = private_world(kind);
        let url = "http://www.demo.test/private/a.mp4";
        assert_eq!(status(&world, &[url]), "403");
        assert_eq!(status(&world, &["http://www.demo.test/public"]), "200");
        let signed = world.ok(&["sign", "url", url, "--key", &key, "--hash", hash]);
        assert_eq!(status(&world, &[signed.trim()]), "200");
        let everything = "http://www.demo.test/private/*";
        let cookies = world.ok(&["sign", "cookie", url, "--resource", everything, "--key", &key, "--hash", hash]);
        assert_eq!(status(&world, &["-b", cookies.trim(), "http://www.demo.test/private/b.mp4?x=1"]), "200");

        let https = url.replace("http:", "https:");
        let explained = world.json(&["explain", "sign", &https, "-b", cookies.trim(), "--matrix"]);
        assert_eq!((&explained["status"], &explained["reason"]), (&403.into(), &"signature_other_resource".into()));
        assert_eq!(explained["trusted_keys"][0], id);
        let failed = explained["checks"].as_array().unwrap().iter().find(|check| check["passed"] == false).unwrap();
        assert_eq!(failed["check"], "resource");
        let detail = failed["detail"].as_str().unwrap();
        assert!(detail.contains(everything) && detail.contains(&https), "both sides: {detail}");
        let matrix = explained["matrix"].as_array().unwrap();
        let scheme = matrix.iter().find(|row| row[0] == "another scheme").unwrap();
        assert_eq!(scheme[1], 200);
    }
}

#[test]
fn a_private_key_in_a_key_group_is_refused_with_its_line() {
    let world = World::none();
    let dir = world.home().to_string_lossy().into_owned();
    let made = world.json(&["keys", "new", "team", "--kind", "ecdsa", "--dir", &dir]);
    let id = made["key_pair_id"].as_str().unwrap();
    let file = world.home().join("cluster.toml");
    std::fs::write(&file, format!("[key_groups.team]\n{id} = \"{id}.private.pem\"\n")).unwrap();
    let output = world.iso(&["up", "--config", &file.to_string_lossy(), "--base-port", "0"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("cluster.toml:2") && said.contains("private half"), "{said}");
    assert!(!said.contains("BEGIN PRIVATE"), "what is private is not printed: {said}");
}

#[test]
fn a_running_world_trusts_a_new_key_at_once_and_a_removed_one_no_longer() {
    let files = World::none();
    let dir = files.home().to_string_lossy().into_owned();
    let make = |world: &World| {
        let made = world.json(&["keys", "new", "team", "--kind", "ecdsa", "--dir", &dir]);
        let text = |key: &str| made[key].as_str().unwrap().to_owned();
        (text("key_pair_id"), text("private"), made["trusted"] == true)
    };
    let (first, first_key, trusted) = make(&files);
    assert!(!trusted, "no world runs");
    let world = World::of_file(&format!(
        "pops = [\"FRA\", \"NRT\"]\nshield = \"none\"\n[key_groups.team]\n{first} = {:?}\n\
         [[distributions.demo.behaviors]]\npath = \"/private/*\"\ntrusted_key_groups = [\"team\"]\n",
        files.home().join(format!("{first}.pem"))
    ));
    let signed = |key: &str| {
        let url = "http://www.demo.test/private/a.mp4";
        world.ok(&["sign", "url", url, "--key", key, "--hash", "sha256"]).trim().to_owned()
    };
    let code = |place: &str, url: &str| world.curl(place, &["-o", "/dev/null", "-w", "%{http_code}", url]);
    let (second, second_key, trusted) = make(&world);
    assert!(trusted);
    for place in ["berlin", "tokyo"] {
        assert_eq!(code(place, &signed(&first_key)), "200");
        assert_eq!(code(place, &signed(&second_key)), "200", "at every edge");
    }
    // An edge that comes back is told again.
    world.ok(&["kill", "edge.fra"]);
    world.ok(&["start", "edge.fra"]);
    world.until_health("edge.fra", "up");
    world.until("the new edge trusts it", || (code("berlin", &signed(&second_key)) == "200").then_some(()));

    let old = signed(&first_key);
    world.ok(&["keys", "remove", "team", &first]);
    assert_eq!(code("berlin", &old), "403", "although it was verified before");
    let why = world.iso(&["explain", "sign", &old, "--json"]);
    assert!(text(&why.stdout).contains("signature_unknown_key"), "{}", text(&why.stdout));
    let last = world.iso(&["keys", "remove", "team", &second]);
    assert!(text(&last.stderr).contains("last key"), "{}", text(&last.stderr));
    world.ok(&["keys", "add", "team", &files.home().join(format!("{first}.pem")).to_string_lossy()]);
    assert_eq!(code("tokyo", &signed(&first_key)), "200");
    let listed = world.ok(&["keys", "list"]);
    assert!(listed.contains(&first) && listed.contains(&second), "{listed}");
}

#[test]
fn a_load_shows_good_and_bad_signatures_and_only_good_ones_are_let_in() {
    let (world, _, id) = private_world("ecdsa");
    let scenario = |sign_by: &str| {
        format!(
            "seed = 5\nlength = \"6s\"\nwarmup = \"1s\"\npops = [\"FRA\", \"NRT\"]\n\
             at = [{{ t = \"4s\", clock = \"edge.*\", ahead = \"2h\" }}]\n\
             expect = [\n\
               {{ what = \"status.200\", before = \"3s\", min = 30 }},\n\
               {{ what = \"reason.signature_expired\", before = \"3s\", min = 5 }},\n\
               {{ what = \"reason.signature_invalid\", min = 5 }},\n\
               {{ what = \"reason.signature_missing\", min = 5 }},\n\
               {{ what = \"status.200\", after = \"5s\", equals = 0 }},\n\
             ]\n\
             [load]\nrps = 40\nsign = \"team/{id}\"\nsign_by = \"{sign_by}\"\nexpires = \"1h\"\n\
             expired = 0.2\nforged = 0.1\nunsigned = 0.1\n\
             [key_groups.team]\n{id} = \"keys/{id}.pem\"\n[[distributions.demo.behaviors]]\n\
             path = \"/objects/*\"\ntrusted_key_groups = [\"team\"]\n"
        )
    };
    let file = world.home().join("signed.toml");
    for (sign_by, sim) in [("url", None), ("cookies", None), ("url", Some("--sim"))] {
        std::fs::write(&file, scenario(sign_by)).unwrap();
        let path = file.to_string_lossy();
        let args: Vec<&str> = ["chaos", "run", &path].into_iter().chain(sim).collect();
        let output = world.iso(&args);
        assert_eq!(output.status.code(), Some(0), "{sign_by} {sim:?} {}{}", text(&output.stdout), text(&output.stderr));
    }
}
