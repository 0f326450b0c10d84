//! AWS's own tools against a world: boto3 and the AWS command line, unchanged but for the endpoint.

use std::process::{Command, Output};

use serde_json::Value;

use crate::{
    harness::{World, has, json_of, root, text},
    raw::record,
};

/// Whether both tools are on this machine. Where they have to be (`ISO_REQUIRE_AWS`, which `.ci/run` sets), their lack is a
/// failure.
fn has_tools() -> bool {
    let imports = Command::new("python3").args(["-c", "import boto3"]).output();
    let there = has("aws") && imports.is_ok_and(|output| output.status.success());
    let required = std::env::var_os("ISO_REQUIRE_AWS").is_some();
    assert!(there || !required, "aws and boto3 are not on this machine: pip install awscli boto3");
    if !there {
        eprintln!("there is no aws or no boto3 on this machine");
    }
    there
}

/// A world with a key pair beside it; the files of its private and its public half.
fn world() -> (World, String, String) {
    let world = World::none();
    let dir = world.home().join("keys").to_string_lossy().into_owned();
    let made = world.json(&["keys", "new", "unused", "--kind", "ecdsa", "--dir", &dir]);
    let file = |key: &str| made[key].as_str().expect("a file").to_owned();
    let (private, public) = (file("private"), file("public"));
    (world.up(&["--preset", "tiny"]), private, public)
}

fn endpoint(world: &World) -> String {
    format!("http://{}", record(world)["control"].as_str().expect("an address"))
}

/// A tool as it runs on a machine that knows nothing of AWS.
fn tool(world: &World, program: &str) -> Command {
    let nothing = world.home().join("no-such-file");
    let mut command = Command::new(program);
    command
        .env("AWS_ACCESS_KEY_ID", "local")
        .env("AWS_SECRET_ACCESS_KEY", "local")
        .env("AWS_DEFAULT_REGION", "us-east-1");
    command.env("AWS_CONFIG_FILE", &nothing).env("AWS_SHARED_CREDENTIALS_FILE", &nothing);
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_PAGER", "").env("NO_PROXY", "127.0.0.1");
    command.env("AWS_ENDPOINT_URL_CLOUDFRONT", endpoint(world)).env_remove("AWS_PROFILE");
    command
}

fn aws(world: &World, args: &[&str]) -> Output {
    tool(world, "aws").arg("cloudfront").args(args).args(["--output", "json"]).output().expect("aws runs")
}

/// What it prints, where it succeeds.
fn aws_says(world: &World, args: &[&str]) -> Value {
    let output = aws(world, args);
    assert!(output.status.success(), "aws cloudfront {args:?}: {}", text(&output.stderr));
    if output.stdout.trim_ascii().is_empty() { Value::Null } else { json_of(&output) }
}

fn status(world: &World, url: &str) -> String {
    world.curl("berlin", &["-o", "/dev/null", "-w", "%{http_code}", url])
}

/// A file of this document, as the command line takes it.
fn file(world: &World, name: &str, document: &Value) -> String {
    let path = world.home().join(name);
    std::fs::write(&path, document.to_string()).expect("a file");
    format!("file://{}", path.display())
}

#[test]
fn the_aws_command_line_changes_a_running_world() {
    if !has_tools() {
        return;
    }
    let (world, private, public) = world();
    let url = "http://www.demo.test/private/a.txt";
    assert_eq!(status(&world, url), "200");
    let ids = aws_says(&world, &["list-distributions", "--query", "DistributionList.Items[].Id"]);
    assert_eq!(ids, serde_json::json!(["demo"]));

    let pem = std::fs::read_to_string(public).expect("a public key");
    let key = serde_json::json!({ "CallerReference": "cli", "Name": "signer", "EncodedKey": pem });
    let key = file(&world, "key.json", &key);
    let key = aws_says(&world, &["create-public-key", "--public-key-config", &key]);
    let id = key["PublicKey"]["Id"].as_str().expect("an id");
    let group = file(&world, "group.json", &serde_json::json!({ "Name": "signers", "Items": [id] }));
    let group = aws_says(&world, &["create-key-group", "--key-group-config", &group]);

    let mut got = aws_says(&world, &["get-distribution-config", "--id", "demo"]);
    let etag = got["ETag"].as_str().expect("a version").to_owned();
    let config = &mut got["DistributionConfig"];
    let mut behavior = config["DefaultCacheBehavior"].clone();
    behavior["PathPattern"] = "/private/*".into();
    behavior["TrustedKeyGroups"] =
        serde_json::json!({ "Enabled": true, "Quantity": 1, "Items": [group["KeyGroup"]["Id"]] });
    config["CacheBehaviors"] = serde_json::json!({ "Quantity": 1, "Items": [behavior] });
    let config = file(&world, "config.json", config);
    let update = ["update-distribution", "--id", "demo", "--distribution-config", &config, "--if-match"];
    let other = aws(&world, &[&update[..], &["E0"]].concat());
    assert!(text(&other.stderr).contains("PreconditionFailed"), "{}", text(&other.stderr));
    let updated = aws_says(&world, &[&update[..], &[&etag]].concat());
    assert_eq!(updated["Distribution"]["Status"], "InProgress");
    aws_says(&world, &["wait", "distribution-deployed", "--id", "demo"]);
    assert_eq!(status(&world, url), "403");
    let signed = world.ok(&["sign", "url", url, "--key", &private, "--id", id, "--hash", "sha256"]);
    assert_eq!(status(&world, signed.trim()), "200");
    // One that comes back serves as the others do.
    for node in ["edge.fra", "edge.iad"] {
        world.ok(&["kill", node]);
        world.ok(&["start", node]);
        world.until_health(node, "up");
    }
    world.until("whoever came back wants a signature", || (status(&world, url) == "403").then_some(()));

    let made = aws_says(&world, &["create-invalidation", "--distribution-id", "demo", "--paths", "/*"]);
    let id = made["Invalidation"]["Id"].as_str().expect("an id");
    aws_says(&world, &["wait", "invalidation-completed", "--distribution-id", "demo", "--id", id]);
}

#[test]
fn boto3_changes_a_running_world() {
    if !has_tools() {
        return;
    }
    let (world, private, public) = world();
    let script = root().join("tests/it/aws.py");
    let output = tool(&world, "python3").arg(script).args([&endpoint(&world), &public]).output().expect("python3 runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let id = text(&output.stdout).trim().to_owned();
    assert_eq!(status(&world, "http://www.demo.test/"), "301", "HTTP is redirected to HTTPS");
    let url = "http://www.demo.test/private/a.txt";
    let signed = world.ok(&["sign", "url", url, "--key", &private, "--id", &id, "--hash", "sha256"]);
    assert_eq!((status(&world, url).as_str(), status(&world, signed.trim()).as_str()), ("403", "200"));
    let listed = world.ok(&["keys", "list"]);
    assert!(listed.contains(&id), "{listed}");
    let exported: Value = serde_json::from_str(&world.ok(&["export", "cloudfront"])).expect("a configuration");
    assert_eq!(exported["DefaultCacheBehavior"]["ViewerProtocolPolicy"], "redirect-to-https", "what it serves now");
}

#[test]
fn a_world_with_keys_wants_requests_signed_with_one_of_them() {
    if !has_tools() {
        return;
    }
    let world =
        World::of_file("pops = [\"FRA\"]\nshield = \"none\"\n[aws.keys]\nAKIDLOCAL = \"s3cret/of+this=world\"\n");
    let as_who = |id: &str, secret: &str, args: &[&str]| {
        let mut aws = tool(&world, "aws");
        aws.env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret);
        aws.arg("cloudfront").args(args).args(["--output", "json"]).output().expect("aws runs")
    };
    let (id, secret) = ("AKIDLOCAL", "s3cret/of+this=world");
    let list = ["list-distributions", "--max-items", "5", "--page-size", "2"];
    let invalidate = ["create-invalidation", "--distribution-id", "demo", "--paths", "/a%20b/*", "/c"];
    for args in [&list[..], &invalidate] {
        let good = as_who(id, secret, args);
        assert!(good.status.success(), "{args:?}: {}", text(&good.stderr));
        for (id, secret, code) in
            [(id, "another", "SignatureDoesNotMatch"), ("AKIDOTHER", secret, "InvalidClientTokenId")]
        {
            let refused = as_who(id, secret, args);
            let said = text(&refused.stderr);
            assert!(!refused.status.success() && said.contains(code), "{args:?}: {said}");
        }
    }
    // Who has read a request of theirs cannot make another of it.
    let boto3 = "import sys, boto3\n\
                 client = boto3.client('cloudfront', endpoint_url=sys.argv[1])\n\
                 def spoil(request, **_):\n    request.body = request.body.replace(b'/one', b'/two')\n\
                 batch = {'Paths': {'Quantity': 1, 'Items': ['/one']}, 'CallerReference': 'boto3'}\n\
                 made = client.create_invalidation(DistributionId='demo', InvalidationBatch=batch)\n\
                 assert made['Invalidation']['InvalidationBatch']['Paths']['Items'] == ['/one'], made\n\
                 client.meta.events.register('before-send.cloudfront.CreateInvalidation', spoil)\n\
                 try:\n    client.create_invalidation(DistributionId='demo', InvalidationBatch=batch)\n\
                 except client.exceptions.ClientError as error:\n    print(error.response['Error']['Code'])\n";
    let mut python = tool(&world, "python3");
    python.env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret);
    let said = python.args(["-c", boto3, &endpoint(&world)]).output().expect("python3 runs");
    assert_eq!(text(&said.stdout).trim(), "SignatureDoesNotMatch", "{}", text(&said.stderr));
}
