//! `iso browse`: a real browser, headless, in a place.

use std::process::Stdio;

use crate::harness::{World, has, text};

const BROWSERS: [&str; 2] = ["chromium", "google-chrome"];

/// What a browser without a screen is told. It may run as root, as in containers.
const HEADLESS: [&str; 6] =
    ["--", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"];

#[test]
fn a_browser_shows_a_page_over_https_and_sends_the_cookies_that_were_signed_for_it() {
    if !BROWSERS.iter().any(|browser| has(browser)) {
        eprintln!("there is no Chromium on this machine");
        return;
    }
    let world = World::none();
    let path = |name: &str| world.home().join(name).to_str().unwrap().to_owned();
    let made = world.json(&["keys", "new", "team", "--kind", "ecdsa", "--dir", &path("keys")]);
    let (id, key) = (made["key_pair_id"].as_str().unwrap(), made["private"].as_str().unwrap());
    let everything = "https://www.demo.test/private/*";
    let url = "https://www.demo.test/private/page.html";
    let signed = world.ok(&["sign", "cookie", url, "--resource", everything, "--key", key]);
    // The page sets the cookies that it was given, and asks for what is private.
    let page = format!(
        "<!doctype html><title>demo</title><p id=said></p><script>\
         for (const cookie of {cookies:?}.split('; ')) document.cookie = cookie + '; path=/; secure';\
         const ask = new XMLHttpRequest(); ask.open('GET', '/private/page.html', false); ask.send();\
         document.getElementById('said').textContent = ask.status + ' ' + ask.responseText.trim() + ' by ' +\
         ask.getResponseHeader('x-amz-cf-pop').slice(0, 3);</script>",
        cookies = signed.trim()
    );
    std::fs::create_dir_all(world.home().join("site/private")).unwrap();
    std::fs::write(world.home().join("site/index.html"), page).unwrap();
    std::fs::write(world.home().join("site/private/page.html"), "the secret\n").unwrap();
    let cluster = format!(
        "pops = [\"FRA\", \"NRT\"]\nshield = \"none\"\n[key_groups.team]\n{id} = \"keys/{id}.pem\"\n\
         [origins.site]\nsite = \"eu-central-1\"\ndir = {:?}\n[distributions.demo]\ndefault_root_object = \"index.html\"\n\
         [distributions.demo.default]\ntarget = \"site\"\n\
         [[distributions.demo.behaviors]]\npath = \"/private/*\"\ntarget = \"site\"\nviewer_protocol = \"https-only\"\n\
         trusted_key_groups = [\"team\"]\n",
        path("site")
    );
    let world = world.with_file(&cluster);
    assert!(signed.contains("CloudFront-Signature"), "{signed}");
    for (place, pop) in [("tokyo", "NRT"), ("berlin", "FRA")] {
        let args = [&["browse", place, "www.demo.test/"][..], &HEADLESS].concat();
        let output = world.command(&args).stdin(Stdio::null()).output().unwrap();
        let (shown, said) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{said}");
        assert!(shown.contains(&format!("200 the secret by {pop}")), "{place}: {shown}\n{said}");
    }
}

#[test]
fn a_browser_speaks_http_3_through_the_links_in_one_round_trip() {
    if !BROWSERS.iter().any(|browser| has(browser)) {
        eprintln!("there is no Chromium on this machine");
        return;
    }
    let world = World::none();
    let site = world.home().join("site");
    std::fs::create_dir_all(&site).unwrap();
    let page = "<!doctype html><title>demo</title><p id=said></p><script>\
                const seen = performance.getEntriesByType('navigation')[0];\
                document.getElementById('said').textContent =\
                `by ${seen.nextHopProtocol} in ${Math.round(seen.connectEnd - seen.connectStart)} ms`;</script>";
    std::fs::write(site.join("index.html"), page).unwrap();
    let world = world.with_file(&format!(
        "pops = [\"FRA\"]\nshield = \"none\"\n[origins.site]\nsite = \"eu-central-1\"\ndir = {site:?}\n\
         [distributions.demo]\nhttp_version = \"http2and3\"\ndefault_root_object = \"index.html\"\n\
         [distributions.shop]\nhosts = [\"shop.demo.test\"]\n"
    ));
    // The place's resolver knows the name by now, which would else be a part of the handshake.
    world.curl("tokyo", &["-o", "/dev/null", "https://www.demo.test/"]);
    let args = [&["browse", "tokyo", "www.demo.test/", "--http3"][..], &HEADLESS].concat();
    let output = world.command(&args).stdin(Stdio::null()).output().unwrap();
    let (shown, said) = (text(&output.stdout), text(&output.stderr));
    let spent = shown.split_once("by h3 in ").and_then(|(_, rest)| rest.split_once(" ms")?.0.parse::<f64>().ok());
    let spent = spent.unwrap_or_else(|| panic!("{shown}\n{said}"));
    let rtt = world.rtt("tokyo", "fra");
    assert!((rtt * 0.95..rtt * 1.95).contains(&spent), "{spent} ms for a round trip of {rtt} ms");
    for (url, expected) in [("shop.demo.test", "does not speak HTTP/3"), ("http://www.demo.test/", "https://")] {
        let refused = world.iso(&["browse", "tokyo", url, "--http3"]);
        let said = text(&refused.stderr);
        assert!(refused.status.code() == Some(2) && said.contains(expected), "{url}: {said}");
    }
}

#[test]
fn a_browser_that_is_not_there_is_said_to_be_so() {
    let world = World::of_file("pops = [\"FRA\"]\nshield = \"none\"\n");
    let output = world.iso(&["browse", "berlin", "www.demo.test", "--browser", "/no/such/browser"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("/no/such/browser"), "{}", text(&output.stderr));
    let output = world.iso(&["browse", "berln", "www.demo.test"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("Berlin"), "{}", text(&output.stderr));
}
