//! Who is measured, and how each is configured: one worker, a cache in memory or (nginx) in files, no log unless said.

use std::{fs, net::SocketAddr, path::Path};

use crate::{
    edge, handshakes,
    process::{Server, free_address, is_installed},
};

/// A server and its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Without diagnostic headers: as many fields as the peers are made to send.
    Edge,
    EdgeDiagnostics,
    EdgeLog,
    EdgeSigned,
    EdgeTls,
    Nginx,
    NginxLog,
    NginxH2,
    NginxTls,
    Haproxy,
    HaproxyH2,
    Varnish,
}

impl Kind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::EdgeDiagnostics => "edge, diagnostics",
            Self::EdgeLog => "edge, log",
            Self::EdgeSigned => "edge, signed",
            Self::EdgeTls => "edge",
            Self::Nginx | Self::NginxH2 | Self::NginxTls => "nginx",
            Self::NginxLog => "nginx, log",
            Self::Haproxy | Self::HaproxyH2 => "haproxy",
            Self::Varnish => "varnish",
        }
    }

    pub(crate) fn is_nginx(self) -> bool {
        matches!(self, Self::Nginx | Self::NginxLog | Self::NginxH2 | Self::NginxTls)
    }

    pub(crate) fn is_signed(self) -> bool {
        self == Self::EdgeSigned
    }

    pub(crate) fn is_haproxy(self) -> bool {
        matches!(self, Self::Haproxy | Self::HaproxyH2)
    }
}

/// Starts a server before `origin`. `None` where it is not installed.
pub(crate) fn start(kind: Kind, origin: SocketAddr) -> Option<Server> {
    let directory = tempfile::tempdir().ok()?;
    let (folder, address) = (directory.path().to_owned(), free_address());
    match kind {
        Kind::Edge | Kind::EdgeDiagnostics | Kind::EdgeLog | Kind::EdgeSigned | Kind::EdgeTls => {
            handshakes::write_certificate(&folder)?;
            let this = std::env::current_exe().ok()?;
            let (address_text, origin) = (address.to_string(), origin.to_string());
            let word = match kind {
                Kind::EdgeDiagnostics => "diagnostics",
                Kind::EdgeLog => "log",
                Kind::EdgeSigned => "signed",
                Kind::EdgeTls => "tls",
                _ => "plain",
            };
            Server::start(&[this.to_str()?, edge::ROLE, &address_text, &origin, word], address, directory)
        }
        Kind::Nginx | Kind::NginxLog | Kind::NginxH2 | Kind::NginxTls => {
            handshakes::write_certificate(&folder)?;
            let config = write(&folder, "nginx.conf", &nginx(kind, &folder, address, origin))?;
            let program = installed("nginx")?;
            Server::start(&[program, "-p", folder.to_str()?, "-c", &config], address, directory)
        }
        Kind::Haproxy | Kind::HaproxyH2 => {
            let config = write(&folder, "haproxy.cfg", &haproxy(kind, address, origin))?;
            Server::start(&[installed("haproxy")?, "-db", "-f", &config], address, directory)
        }
        Kind::Varnish => {
            let vcl = format!(
                "vcl 4.1;\nbackend default {{ .host = \"{}\"; .port = \"{}\"; }}\n\
                 sub vcl_deliver {{ set resp.http.X-Cache = \"Hit\"; set resp.http.X-Pop = \"IAD\"; }}\n",
                origin.ip(),
                origin.port()
            );
            let config = write(&folder, "default.vcl", &vcl)?;
            let (address_text, work) = (address.to_string(), folder.join("work"));
            let program = installed("varnishd")?;
            let command =
                [program, "-F", "-a", &address_text, "-f", &config, "-n", work.to_str()?, "-s", "malloc,256m"];
            Server::start(&command, address, directory)
        }
    }
}

fn installed(program: &str) -> Option<&str> {
    is_installed(program).then_some(program)
}

fn write(folder: &Path, name: &str, text: &str) -> Option<String> {
    let path = folder.join(name);
    fs::write(&path, text).ok()?;
    path.to_str().map(ToOwned::to_owned)
}

/// Debian's settings for sending (`sendfile`, `tcp_nopush`), one worker, and a cache in files.
fn nginx(kind: Kind, folder: &Path, address: SocketAddr, origin: SocketAddr) -> String {
    let folder = folder.display();
    let log = match kind {
        Kind::NginxLog => format!("{folder}/access.log combined"),
        _ => "off".to_owned(),
    };
    let protocol = match kind {
        Kind::NginxH2 => " http2",
        Kind::NginxTls => " ssl",
        _ => "",
    };
    // The suite and the groups that the edge prefers.
    let tls = match kind {
        Kind::NginxTls => format!(
            "ssl_certificate {folder}/leaf.pem; ssl_certificate_key {folder}/leaf.key; ssl_protocols TLSv1.2 TLSv1.3; \
             ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256; ssl_ecdh_curve X25519:prime256v1;"
        ),
        _ => String::new(),
    };
    format!(
        "daemon off;\nuser root;\nworker_processes 1;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n\
           sendfile on; tcp_nopush on; keepalive_requests 100000000; keepalive_timeout 65;\n\
           access_log {log};\n\
           client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;\n\
           uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;\n\
           proxy_cache_path {folder}/cache keys_zone=bench:64m max_size=1g inactive=1h use_temp_path=off;\n\
           upstream origin {{ server {origin}; keepalive 64; }}\n\
           server {{\n\
             listen {address}{protocol};\n\
             {tls}\n\
             location / {{\n\
               proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
               proxy_cache bench; proxy_cache_valid 200 1h;\n\
               add_header X-Cache $upstream_cache_status; add_header Via \"1.1 nginx\"; add_header X-Pop IAD;\n\
             }}\n\
           }}\n\
         }}\n"
    )
}

fn haproxy(kind: Kind, address: SocketAddr, origin: SocketAddr) -> String {
    let proto = if kind == Kind::HaproxyH2 { " proto h2" } else { "" };
    format!(
        "global\n  nbthread 1\n  maxconn 4096\n\
         defaults\n  mode http\n  timeout client 60s\n  timeout server 60s\n  timeout connect 5s\n\
         cache bench\n  total-max-size 256\n  max-object-size 4000000\n  max-age 3600\n\
         frontend front\n  bind {address}{proto}\n  http-request cache-use bench\n  http-response cache-store bench\n  \
           http-response set-header X-Cache Hit\n  http-response set-header Via \"1.1 haproxy\"\n  \
           http-response set-header X-Pop IAD\n  http-response set-header X-Id 0123456789\n  \
           default_backend back\n\
         backend back\n  server origin {origin}\n"
    )
}
