//! Origins that are spoken to by HTTPS: simulated ones and somebody's own app, and what a bad certificate comes to.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::harness::{World, details, has, header, spent};

const ONE_POP: &str = "pops = [\"FRA\"]\nshield = \"none\"\n";

/// An app that speaks HTTPS alone and is none of ours.
struct App {
    child: Child,
    port: u16,
}

impl App {
    /// With the certificate and the key of these files. It answers each request with the name of the handshake and `Host`.
    fn start(chain: &Path, key: &Path) -> Self {
        const PROGRAM: &str = "
import http.server, ssl, sys
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        body = f'{self.connection.asked} {self.headers[\"Host\"]}'.encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *of):
        pass
def asked(connection, name, context):
    connection.asked = name
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
context.sni_callback = asked
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Answer)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print(server.server_port, flush=True)
server.serve_forever()
";
        let mut child = Command::new("python3")
            .args(["-c", PROGRAM])
            .args([chain, key])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { port: line.trim().parse().unwrap(), child }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes an authority's certificate, and a leaf for `localhost` with its key, as `ca.pem`, `leaf.pem` and `leaf.key`.
fn write_certificates(dir: &Path) {
    let (authority_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "somebody's own authority");
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    std::fs::write(dir.join("ca.pem"), authority_pem).unwrap();
    std::fs::write(dir.join("leaf.pem"), leaf.pem()).unwrap();
    std::fs::write(dir.join("leaf.key"), key.serialize_pem()).unwrap();
}

#[test]
fn a_simulated_origin_is_asked_by_https_and_its_handshake_pays_the_link() {
    let world = World::of_file(&format!(
        "{ONE_POP}[origins.primary]\nsite = \"us-east-1\"\nprotocol = \"https-only\"\n\
         [distributions.demo.default]\ntarget = \"primary\"\n"
    ));
    let ledger = world.ledger("berlin", &[], "/a");
    let ways: Vec<String> = details(&ledger, "origin_attempt");
    assert_eq!(ways, ["connect 1", "tls", "response 200"], "{ledger}");
    // A handshake of TLS 1.3 costs a round trip, as connecting and asking do.
    let rtt = world.rtt("fra", "us-east-1");
    let took = spent(&ledger, "origin_attempt");
    assert!(took.iter().all(|took| *took >= rtt - 1.0), "{took:?} of {rtt}");
    // On the connection that stands there is neither.
    assert_eq!(details(&world.ledger("berlin", &[], "/b"), "origin_attempt"), ["response 200"]);

    // Whoever looks at it directly finds it at the same address, with both.
    let address = world.address("origin.primary", "http");
    let ca = world.home().join("worlds/default/tls/ca.pem");
    let port = address.rsplit_once(':').unwrap().1;
    let resolve = format!("primary.origin.test:{port}:127.0.0.1");
    let url = format!("https://primary.origin.test:{port}/");
    let of = ["-sS", "-o", "/dev/null", "-w", "%{http_code} %{ssl_verify_result}", "--resolve", &resolve, "--cacert"];
    let shown = Command::new("curl").args(of).arg(&ca).arg(&url).output().unwrap();
    assert_eq!(crate::harness::text(&shown.stdout), "200 0");
}

#[test]
fn an_app_is_trusted_by_its_own_authority_and_a_bad_certificate_is_a_502_that_says_why() {
    if !has("python3") {
        return;
    }
    let dir = World::none();
    write_certificates(dir.home());
    let app = App::start(&dir.home().join("leaf.pem"), &dir.home().join("leaf.key"));
    let (port, ca) = (app.port, dir.home().join("ca.pem"));
    let origin = |id: &str, host: &str, rest: &str| {
        format!(
            "[origins.{id}]\nsite = \"us-east-1\"\nurl = \"https://{host}:{port}\"\nconnection_attempts = 1\n{rest}\n"
        )
    };
    let ca = format!("ca = {ca:?}");
    let behavior = |id: &str| format!("[[distributions.demo.behaviors]]\npath = \"/{id}/*\"\ntarget = \"{id}\"\n");
    let world = World::of_file(
        &[
            ONE_POP,
            &origin("app", "localhost", &ca),
            // The same app by another name, and one whose authority nobody knows.
            &origin("named", "127.0.0.1", &ca),
            &origin("unknown", "localhost", ""),
            "[origins.spare]\nsite = \"eu-west-1\"\n[groups.safe]\nmembers = [\"named\", \"spare\"]\n",
            "[distributions.demo.default]\ntarget = \"app\"\n",
            &behavior("named"),
            &behavior("unknown"),
            &behavior("safe"),
        ]
        .concat(),
    );
    let answer = world.curl("berlin", &["-i", "http://www.demo.test/"]);
    assert!(answer.ends_with(&format!("localhost localhost:{port}")), "{answer}");

    for (path, why) in
        [("/named/a", "certificate for another name"), ("/unknown/a", "certificate of an unknown issuer")]
    {
        let refused = world.curl("berlin", &["-i", &format!("http://www.demo.test{path}")]);
        assert!(refused.starts_with("HTTP/1.1 502 "), "{refused}");
        assert_eq!(header(&refused, "x-iso-reason"), Some("origin_certificate"));
        let status = header(&refused, "proxy-status").unwrap_or_default();
        assert!(status.contains("error=tls_certificate_error"), "{status}");
        let ledger = world.ledger("berlin", &[], &format!("{path}?again"));
        assert!(details(&ledger, "origin_attempt").contains(&format!("tls {why}")), "{ledger}");
        assert!(world.ok(&["logs", "edge.fra"]).contains(why));
    }
    let spare = world.curl("berlin", &["-i", "http://www.demo.test/safe/a"]);
    assert!(spare.starts_with("HTTP/1.1 200 ") && header(&spare, "x-origin") == Some("spare"), "{spare}");

    // What is below HTTP can be laid over it; nobody between sees a path or could answer with a status.
    let refused = world.iso(&["fault", "app", "--status", "503"]);
    let said = crate::harness::text(&refused.stderr);
    assert!(!refused.status.success() && said.contains("origin.app is spoken to by HTTPS"), "{said}");
    world.ok(&["fault", "app", "--refuse"]);
    let broken = world.curl("berlin", &["-i", "http://www.demo.test/other"]);
    assert_eq!(header(&broken, "x-iso-reason"), Some("origin_refused"), "{broken}");
}

#[test]
fn match_viewer_asks_as_it_was_asked() {
    let world = World::of_file(&format!(
        "{ONE_POP}[origins.primary]\nsite = \"us-east-1\"\nprotocol = \"match-viewer\"\n\
         [distributions.demo.default]\ntarget = \"primary\"\n"
    ));
    let timing = |url: &str| {
        let head = world.curl("berlin", &["-i", "--suppress-connect-headers", url]);
        header(&head, "server-timing").unwrap_or_default().to_owned()
    };
    assert!(!timing("http://www.demo.test/a").contains("primary tls"));
    assert!(timing("https://www.demo.test/b").contains("primary tls"));
    let stored = world.curl("berlin", &["-i", "--suppress-connect-headers", "https://www.demo.test/a"]);
    assert_eq!(header(&stored, "x-cache"), Some("Hit from cloudfront"), "stored once for both");
}
