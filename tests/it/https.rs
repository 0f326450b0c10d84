//! HTTPS as clients see it: curl and OpenSSL, through the proxy and directly, and a world's authority.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::harness::{World, has, header, text};

const ONE_POP: &str = "pops = [\"FRA\"]\nshield = \"none\"\n";

/// What the world's authority has on disk.
fn tls_dir(world: &World) -> PathBuf {
    world.home().join("worlds/default/tls")
}

fn authority(world: &World) -> String {
    tls_dir(world).join("ca.pem").to_string_lossy().into_owned()
}

/// Runs curl on its own, not through the proxy; its exit code and what it printed.
fn curl_directly(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new("curl").args(["-sS", "--noproxy", "*", "--max-time", "20"]).args(args).output().unwrap();
    (output.status.code(), text(&output.stdout))
}

/// Runs `openssl s_client` until its handshake has ended; all that it printed.
fn s_client(address: &str, args: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", address, "-servername", "www.demo.test"]).args(args);
    let output = command.stdin(Stdio::null()).output().unwrap();
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn a_world_speaks_https_to_who_trusts_its_authority() {
    let world = World::of_file(ONE_POP);
    let shown = "%{http_version} %{http_code} %{ssl_verify_result}";
    let through = world.curl("berlin", &["-o", "/dev/null", "-w", shown, "https://www.demo.test/a"]);
    assert_eq!(through, "2 200 0");
    let inside = ["in", "berlin", "--", "curl", "-sS", "-o", "/dev/null", "-w", shown, "https://demo.cdn.test/a"];
    assert_eq!(world.ok(&inside), "2 200 0");

    // Directly: by a name, and by the address of an edge.
    let (address, ca) = (world.address("edge.fra", "https"), authority(&world));
    let (ip, port) = address.split_once(':').unwrap();
    let http = world.address("edge.fra", "http");
    let plain_port = http.split_once(':').unwrap().1.parse::<u64>().unwrap();
    assert_eq!(port.parse::<u64>().unwrap() + 37, plain_port, "43 and 80 above the base");
    let resolve = format!("www.demo.test:{port}:{ip}");
    let named = format!("https://www.demo.test:{port}/a");
    let of = ["-o", "/dev/null", "-w", shown];
    let known = curl_directly(&[&of[..], &["--cacert", &ca, "--resolve", &resolve, &named]].concat());
    assert_eq!(known, (Some(0), "2 200 0".into()));
    let literal = curl_directly(&[&of[..], &["--cacert", &ca, &format!("https://{address}/a")]].concat());
    assert_eq!(literal, (Some(0), "2 200 0".into()));
    // 60: the peer's certificate cannot be authenticated with known CA certificates.
    assert_eq!(curl_directly(&["--resolve", &resolve, &named]).0, Some(60));

    // DNS says the same of where.
    let dns: Value = world.json(&["dig", "--from", "berlin", "www.demo.test", "HTTPS"]);
    let data = dns["answers"][0]["data"].as_str().unwrap_or_default();
    for part in ["h2", "http/1.1", &format!("port={port}"), &format!("ipv4hint={ip}")] {
        assert!(data.contains(part), "{part} is not in {dns}");
    }

    // What it keeps is the user's alone.
    let keys = std::fs::read_dir(tls_dir(&world)).unwrap().map(|entry| entry.unwrap().path());
    let keys: Vec<PathBuf> = keys.filter(|path| path.extension().is_some_and(|end| end == "key")).collect();
    assert_eq!(keys.len(), 2, "the authority's and one distribution's: {keys:?}");
    for key in keys {
        assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{}", key.display());
    }

    if has("openssl") {
        let old = ["-cipher", "ALL:@SECLEVEL=0"];
        let refused = s_client(&address, &[&["-tls1_1"][..], &old].concat());
        assert!(refused.contains("SSL alert number") && refused.contains("Cipher is (NONE)"), "{refused}");
        for (version, protocol) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
            let spoken = s_client(&address, &[version, "-CAfile", &ca, "-verify_return_error"]);
            assert!(spoken.contains(&format!("New, {protocol}")), "{version}: {spoken}");
            assert!(spoken.contains("Verify return code: 0 (ok)"), "{version}: {spoken}");
        }
    }
}

#[test]
fn behaviors_send_http_to_https_or_refuse_it() {
    let world = World::of_file(&format!(
        "{ONE_POP}\
         [[distributions.demo.behaviors]]\npath = \"/moved/*\"\nviewer_protocol = \"redirect-to-https\"\n\
         [[distributions.demo.behaviors]]\npath = \"/only/*\"\nviewer_protocol = \"https-only\"\n"
    ));
    let moved = world.curl("berlin", &["-i", "http://www.demo.test/moved/a?b=1"]);
    assert!(moved.starts_with("HTTP/1.1 301 "), "{moved}");
    assert_eq!(header(&moved, "location"), Some("https://www.demo.test/moved/a?b=1"));
    let followed = ["-L", "-o", "/dev/null", "-w", "%{http_version} %{http_code} %{num_redirects}"];
    let followed = world.curl("berlin", &[&followed[..], &["http://www.demo.test/moved/a"]].concat());
    assert_eq!(followed, "2 200 1");

    // Whoever wrote the port of HTTP, because nothing listens on 80, is sent to that of HTTPS.
    let (http, https) = (world.address("edge.fra", "http"), world.address("edge.fra", "https"));
    let (_, moved) = curl_directly(&["-i", &format!("http://{http}/moved/a")]);
    assert_eq!(header(&moved, "location"), Some(format!("https://{https}/moved/a").as_str()), "{moved}");

    let status = ["-o", "/dev/null", "-w", "%{http_code}"];
    let code = |url: &str| world.curl("berlin", &[&status[..], &[url]].concat());
    assert_eq!(code("http://www.demo.test/only/a"), "403");
    assert_eq!(code("https://www.demo.test/only/a"), "200");
    assert_eq!(code("http://www.demo.test/a"), "200");
}

#[test]
fn certificates_are_renewed_under_open_connections() {
    if !has("openssl") {
        return;
    }
    let world = World::of_file(&format!("{ONE_POP}[edge]\ncertificate_span = \"6s\"\n"));
    let address = world.address("edge.fra", "https");
    let served = || {
        let shown = s_client(&address, &["-showcerts"]);
        let (from, to) = (shown.find("-----BEGIN"), shown.find("-----END"));
        shown[from.expect("a certificate")..to.expect("its end")].to_owned()
    };
    let first = served();
    let mut open = Command::new("openssl")
        .args(["s_client", "-quiet", "-connect", &address, "-servername", "www.demo.test"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut to, mut from) = (open.stdin.take().unwrap(), BufReader::new(open.stdout.take().unwrap()));
    let mut exchange = || {
        to.write_all(b"HEAD /a HTTP/1.1\r\nHost: www.demo.test\r\n\r\n").unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(from.read_line(&mut head).unwrap(), 0, "the connection was dropped: {head:?}");
        }
        head
    };
    assert!(exchange().starts_with("HTTP/1.1 200"));
    let second = world.until("another certificate is served", || Some(served()).filter(|now| *now != first));
    assert!(exchange().starts_with("HTTP/1.1 200"), "on the connection from before");
    world.until("it is renewed again", || Some(served()).filter(|now| *now != second));
    assert!(exchange().starts_with("HTTP/1.1 200"));
    let verified = world.curl("berlin", &["-o", "/dev/null", "-w", "%{ssl_verify_result}", "https://www.demo.test/"]);
    assert_eq!(verified, "0");
    drop(to);
    let _ = open.kill();
    let _ = open.wait();
}

#[test]
fn the_authority_outlives_the_run() {
    let world = World::of_file(ONE_POP);
    let before = std::fs::read(authority(&world)).unwrap();
    world.ok(&["down"]);
    let world = world.with_file(ONE_POP);
    assert_eq!(std::fs::read(authority(&world)).unwrap(), before);
    assert_eq!(world.curl("berlin", &["-o", "/dev/null", "-w", "%{http_code}", "https://www.demo.test/"]), "200");
}

#[test]
fn trust_is_given_and_taken_back_by_a_word_and_by_nothing_else() {
    let world = World::none();
    let root = world.home().join("root");
    let (program, store) = (
        root.join("usr/sbin/update-ca-certificates"),
        root.join("usr/local/share/ca-certificates/isochrone-default.crt"),
    );
    std::fs::create_dir_all(program.parent().unwrap()).unwrap();
    std::fs::write(&program, "#!/bin/sh\necho \"update $*\" >> \"$0.log\"\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let updates = || std::fs::read_to_string(program.with_extension("log")).unwrap_or_default();
    let iso = |world: &World, args: &[&str]| {
        let output = world.command(args).env("ISO_TRUST_ROOT", &root).output().unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, _, said) = iso(&world, &["trust"]);
    assert!(code == Some(1) && said.contains("has no authority yet"), "{said}");

    let world = world.with_file(ONE_POP);
    let (code, shown, _) = iso(&world, &["trust", "--print"]);
    assert_eq!((code, store.exists(), updates().as_str()), (Some(0), false, ""), "--print only prints");
    assert!(shown.contains(&authority(&world)) && shown.contains("update-ca-certificates"), "{shown}");
    let (code, _, said) = iso(&world, &["trust"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&store.display().to_string()), "what is done is said: {said}");
    assert_eq!(std::fs::read(&store).unwrap(), std::fs::read(authority(&world)).unwrap());
    let (code, _, said) = iso(&world, &["untrust"]);
    assert_eq!((code, store.exists()), (Some(0), false), "{said}");
    assert_eq!(updates(), "update \nupdate --fresh\n");
    assert_eq!(iso(&world, &["untrust"]).0, Some(0), "twice is as good as once");
}

#[test]
fn a_world_may_speak_no_https() {
    let world = World::of_file(&format!("{ONE_POP}[edge]\nhttps = false\n"));
    assert!(world.node("edge.fra")["addresses"].get("https").is_none(), "{}", world.node("edge.fra"));
    assert!(!tls_dir(&world).exists());
    let dns: Value = world.json(&["dig", "--from", "berlin", "www.demo.test", "HTTPS"]);
    assert_eq!((&dns["rcode"], &dns["answers"]), (&"NOERROR".into(), &Value::Array(Vec::new())), "{dns}");
    // curl shows nothing of what a proxy says to CONNECT.
    let refused = world.iso(&["curl", "--from", "berlin", "--", "-sS", "https://www.demo.test/"]);
    assert_ne!(refused.status.code(), Some(0));
    let said = text(&refused.stderr);
    assert!(said.contains("HTTPS is switched off") && said.contains("viewer_no_https"), "{said}");
    assert_eq!(world.curl("berlin", &["-o", "/dev/null", "-w", "%{http_code}", "http://www.demo.test/"]), "200");
}
