//! `iso browse`: a browser that stands somewhere.
//!
//! A browser cannot be told a user of its proxy, so requests pass a relay of this process that puts the place into their
//! heads. A proxy carries no datagrams, so for HTTP/3 the browser is told that the page's host is a port of the viewer node that
//! passes them on through the links, and goes past the proxy for that host alone. The profile is new each time and goes with the browser; the world's certificates are pinned for this one run, and
//! nothing is installed.

use std::{path::PathBuf, process::Stdio};

use anyhow::{Context as _, anyhow};
use data_encoding::BASE64;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    process::Command,
};
use tokio_util::task::AbortOnDropHandle;

use super::stand::{authority_dir, check_places};
use crate::{
    args::{BrowseArgs, Cli},
    node::load_wire::{RelayAsk, RelayLine},
    talk::{Api, VerbError},
    up::{ViewerNode, wait_viewer},
    verbs::api,
};

/// What Chromium is called, in the order in which it is looked for.
const BROWSERS: [&str; 6] =
    ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome", "microsoft-edge"];

/// Bytes that the head of a request may have.
const HEAD_MAX: usize = 64 << 10;

pub(super) async fn browse(cli: &Cli, args: &BrowseArgs) -> Result<(), VerbError> {
    check_places(&[&args.place])?;
    let url = if args.url.contains("://") { args.url.clone() } else { format!("https://{}", args.url) };
    let api = api(cli)?;
    let browser = browser_of(args)?;
    let ViewerNode { admin, proxy } = wait_viewer(&api).await?;
    let datagrams = if args.http3 { Some(Datagrams::start(&api, &admin, &args.place, &url).await?) } else { None };
    let relay = Relay::start(proxy, &args.place).await?;
    let profile = tempfile::Builder::new().prefix("iso-browse-").tempdir().context("no room for a profile")?;
    let mut command = Command::new(&browser);
    command
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--proxy-server=http://{}", relay.address))
        .args(["--no-first-run", "--no-default-browser-check", "--disable-sync"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-default-apps"]);
    // Also names and addresses of this machine go through the proxy.
    match &datagrams {
        None => command.args(["--proxy-bypass-list=<-loopback>", "--disable-quic"]),
        Some(Datagrams { host, port, .. }) => command
            .arg(format!("--proxy-bypass-list=<-loopback>;https://{host}:443"))
            .arg(format!("--host-resolver-rules=MAP {host}:443 127.0.0.1:{port}"))
            .arg(format!("--origin-to-force-quic-on={host}:443"))
            .arg("--enable-quic"),
    };
    let pins = authority_dir(cli).map(|dir| dir.pins()).transpose()?.unwrap_or_default();
    if !pins.is_empty() {
        command.arg(format!("--ignore-certificate-errors-spki-list={}", pins.join(",")));
    }
    command.args(&args.more).arg(&url).stdin(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("cannot run {}", browser.display()))?;
    let status = tokio::select! {
        status = child.wait() => status?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            child.kill().await?;
            return Err(VerbError::Interrupted);
        }
    };
    drop(profile);
    super::stand::exit_like(status)
}

/// The browser that was named, or the first that is there.
fn browser_of(args: &BrowseArgs) -> Result<PathBuf, VerbError> {
    if let Some(named) = &args.browser {
        return Ok(named.clone());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = BROWSERS.iter().flat_map(|name| std::env::split_paths(&path).map(move |dir| dir.join(name)));
    found.find(|candidate| candidate.is_file()).ok_or_else(|| {
        let names = BROWSERS.join(", ");
        VerbError::Failed(anyhow!("no browser found ({names}); install Chromium, or name one with --browser PATH"))
    })
}

/// A port of the viewer node that passes datagrams on to a host; it closes when this is dropped.
struct Datagrams {
    host: String,
    port: u16,
    _open: reqwest::Response,
}

impl Datagrams {
    /// Asks for one, for the host of `url` as it is seen from `place`.
    async fn start(api: &Api, admin: &str, place: &str, url: &str) -> Result<Self, VerbError> {
        let usage = |what: &str| VerbError::Usage(format!("{url:?}: {what}"));
        let uri: http::Uri = url.parse().map_err(|_| usage("no URL"))?;
        let host = uri.host().ok_or_else(|| usage("no host in it"))?.to_ascii_lowercase();
        if uri.scheme_str() != Some("https") || uri.port_u16().is_some_and(|port| port != 443) {
            return Err(usage("HTTP/3 is spoken over https://, at port 443"));
        }
        let ask = RelayAsk { place: place.to_owned(), host: host.clone() };
        let mut open = api.post_to(&format!("http://{admin}/relay"), &ask).await?;
        let said = open.chunk().await.context("the viewer went away")?.unwrap_or_default();
        let RelayLine { port } = serde_json::from_slice(&said)?;
        Ok(Self { host, port, _open: open })
    }
}

/// Passes connections on to the proxy, for somebody who stands somewhere.
struct Relay {
    address: std::net::SocketAddr,
    _serving: AbortOnDropHandle<()>,
}

impl Relay {
    async fn start(proxy: String, place: &str) -> Result<Self, VerbError> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let who = format!("Proxy-Authorization: Basic {}\r\n", BASE64.encode(format!("{place}:").as_bytes()));
        let serving = tokio::spawn(async move {
            while let Ok((browser, _)) = listener.accept().await {
                let (proxy, who) = (proxy.clone(), who.clone());
                tokio::spawn(async move {
                    if let Err(error) = relay(browser, &proxy, &who).await {
                        tracing::debug!(%error, "a connection of the browser ended");
                    }
                });
            }
        });
        Ok(Self { address, _serving: AbortOnDropHandle::new(serving) })
    }
}

async fn relay(mut browser: TcpStream, proxy: &str, who: &str) -> std::io::Result<()> {
    let Some((head, rest)) = read_head(&mut browser).await? else { return Ok(()) };
    let mut onward = TcpStream::connect(proxy).await?;
    onward.set_nodelay(true)?;
    browser.set_nodelay(true)?;
    onward.write_all(signed(&head, who).as_bytes()).await?;
    onward.write_all(&rest).await?;
    tokio::io::copy_bidirectional(&mut browser, &mut onward).await.map(|_| ())
}

/// The head of a request and what came after it; `None` where there is none, or one that is too long.
async fn read_head(from: &mut TcpStream) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = memchr::memmem::find(&bytes, b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Ok(String::from_utf8(bytes).ok().map(|head| (head, rest)));
        }
        if bytes.len() > HEAD_MAX || from.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
}

/// A head that says who asks. Outside of a tunnel it asks for the connection's end as well: who would ask again on it would
/// come past this.
fn signed(head: &str, who: &str) -> String {
    let Some((line, fields)) = head.split_once("\r\n") else { return head.to_owned() };
    if line.starts_with("CONNECT ") {
        return format!("{line}\r\n{who}{fields}");
    }
    let is_kept = |field: &&str| {
        let name = field.split(':').next().unwrap_or_default();
        !["connection", "proxy-connection", "keep-alive"].iter().any(|other| name.eq_ignore_ascii_case(other))
    };
    let upgrades = fields.split("\r\n").any(|field| field.to_ascii_lowercase().starts_with("upgrade:"));
    if upgrades {
        return format!("{line}\r\n{who}{fields}");
    }
    let fields: Vec<&str> = fields.split("\r\n").filter(is_kept).collect();
    format!("{line}\r\n{who}Connection: close\r\n{}", fields.join("\r\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_who_asks_and_a_tunnel_stays_open() {
        let who = "Proxy-Authorization: Basic eA==\r\n";
        let tunnel =
            signed("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nProxy-Connection: keep-alive\r\n\r\n", who);
        assert_eq!(
            tunnel,
            "CONNECT a.test:443 HTTP/1.1\r\nProxy-Authorization: Basic eA==\r\nHost: a.test:443\r\nProxy-Connection: keep-alive\r\n\r\n"
        );
        let plain = signed("GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nProxy-Connection: keep-alive\r\n\r\n", who);
        assert_eq!(
            plain,
            "GET http://a.test/ HTTP/1.1\r\nProxy-Authorization: Basic eA==\r\nConnection: close\r\nHost: a.test\r\n\r\n"
        );
    }
}
