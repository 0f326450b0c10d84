//! A distribution in CloudFront's own format, from `get-distribution-config` to a world and back.

use crate::harness::{World, header, json_of, root, text};

/// The file that comes along.
fn example() -> String {
    root().join("examples/cloudfront/get-distribution-config.json").to_string_lossy().into_owned()
}

#[test]
fn an_imported_distribution_is_served_and_exports_what_it_was() {
    let world = World::none();
    let import = example();
    let public = world.home().join("public");
    std::fs::create_dir_all(public.join("legacy")).unwrap();
    std::fs::write(public.join("legacy/hello.txt"), "hello").unwrap();
    let map = format!("primary={}@us-east-1", public.display());
    let world = world.up(&["--preset", "tiny", "--import", &import, "--map", &map]);
    let got = world.curl("berlin", &["-i", "http://cdn.example.test/legacy/hello.txt"]);
    assert!(got.starts_with("HTTP/1.1 200") && got.ends_with("hello"), "{got}");
    assert_eq!(header(&got, "x-cache"), Some("Miss from cloudfront"));
    let redirect = world.curl("berlin", &["-o", "/dev/null", "-w", "%{http_code}", "http://x.assets.example.test/"]);
    assert_eq!(redirect, "301", "the default behavior redirects to HTTPS, for the wildcard alias too");
    let same = world.iso(&["config", "diff", &import, "--json"]);
    assert_eq!(same.status.code(), Some(0), "{}", text(&same.stdout));

    let exported = world.ok(&["export", "cloudfront"]);
    let file = world.home().join("exported.json");
    let changed = exported.replace("\"ConnectionTimeout\": 3", "\"ConnectionTimeout\": 9");
    assert_ne!(changed, exported);
    std::fs::write(&file, changed).unwrap();
    let differs = world.iso(&["config", "diff", &file.to_string_lossy(), "--json"]);
    assert_eq!(differs.status.code(), Some(1), "{}", text(&differs.stderr));
    let differs = json_of(&differs);
    let change = &differs["changes"][0];
    assert_eq!(
        (&change["name"], &change["from"], &change["to"]),
        (&"Origins[api].ConnectionTimeout".into(), &9.into(), &3.into())
    );
    assert_eq!(differs["changes"].as_array().unwrap().len(), 1);
}

#[test]
fn what_aws_would_refuse_starts_nothing_and_names_the_line() {
    let world = World::none();
    let broken =
        std::fs::read_to_string(example()).unwrap().replace("\"TargetOriginId\": \"ha\"", "\"TargetOriginId\": \"ho\"");
    let file = world.home().join("broken.json");
    std::fs::write(&file, broken).unwrap();
    let file = file.to_string_lossy();
    let output = world.iso(&["up", "--import", &file, "--base-port", "0"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("NoSuchOrigin") && said.contains("(DistributionConfig.DefaultCacheBehavior.TargetOriginId)"),
        "{said}"
    );
    assert!(said.contains("broken.json:160:31"), "{said}");
    let unknown = world.iso(&["up", "--import", &example(), "--map", "apis=./x", "--base-port", "0"]);
    let said = text(&unknown.stderr);
    assert!(unknown.status.code() == Some(2) && said.contains("did you mean `api`?"), "{said}");
}

#[test]
fn an_import_becomes_a_cluster_file_that_says_the_same() {
    let world = World::none();
    let out = world.home().join("cluster.toml").to_string_lossy().into_owned();
    let said = world.ok(&["import", "cloudfront", &example(), "--out", &out]);
    assert!(said.contains("4 origins, 1 origin group, 4 behaviors") && said.contains("! risky"), "{said}");
    assert_eq!(world.iso(&["config", "diff", &example(), "--config", &out]).status.code(), Some(0));
    let xml = root().join("examples/cloudfront/distribution-config.xml").to_string_lossy().into_owned();
    assert_eq!(world.iso(&["config", "diff", &xml, "--config", &out]).status.code(), Some(0), "the same as XML");
    let again = world.iso(&["import", "cloudfront", &example(), "--out", &out]);
    assert_eq!(again.status.code(), Some(2), "a file that is there stays");
}

#[test]
fn functions_and_keys_of_an_import_come_from_files_of_their_own() {
    let world = World::none();
    let mut document: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(example()).unwrap()).unwrap();
    let behavior = &mut document["DistributionConfig"]["CacheBehaviors"]["Items"][1];
    assert_eq!(behavior["PathPattern"], "/private/*");
    behavior["ViewerProtocolPolicy"] = "allow-all".into();
    behavior["FunctionAssociations"] = serde_json::json!({ "Quantity": 1, "Items": [
        { "FunctionARN": "arn:aws:cloudfront::1:function/Rewrite", "EventType": "viewer-request" },
    ] });
    let file = world.home().join("dist.json").to_string_lossy().into_owned();
    std::fs::write(&file, document.to_string()).unwrap();
    let dir = world.home().to_string_lossy().into_owned();
    let made = world.json(&["keys", "new", "unused", "--kind", "ecdsa", "--dir", &dir]);
    let [id, private, public] = ["key_pair_id", "private", "public"].map(|key| made[key].as_str().unwrap());
    let code = root().join("examples/functions/rewrite.js");
    let function = format!("Rewrite={}", code.display());
    let wrong = world.iso(&["import", "cloudfront", &file, "--public-key", &format!("team/{id}={public}")]);
    assert!(text(&wrong.stderr).contains("no behavior trusts a key group \"team\""), "{}", text(&wrong.stderr));
    let key = format!("{id}={public}");
    let beside = ["--function", &function, "--public-key", &key];
    let said = world.ok(&[&["import", "cloudfront", &file][..], &beside].concat());
    assert!(said.contains("viewer functions") && !said.contains("no key of the key group"), "{said}");
    let world = world.up(&[&["--preset", "tiny", "--import", &file][..], &beside].concat());
    let url = "http://cdn.example.test/private/";
    let status = |url: &str| world.curl("berlin", &["-o", "/dev/null", "-w", "%{http_code}", url]);
    assert_eq!(status(url), "403");
    let signed = world.ok(&["sign", "url", url, "--key", private, "--hash", "sha256"]);
    assert_eq!(status(signed.trim()), "200");
    let exported: serde_json::Value = serde_json::from_str(&world.ok(&["export", "cloudfront"])).unwrap();
    let ours = &exported["CacheBehaviors"]["Items"][1]["FunctionAssociations"];
    assert_eq!(*ours, document["DistributionConfig"]["CacheBehaviors"]["Items"][1]["FunctionAssociations"]);
}
