//! Origins, checked: simulated ones, directories, users' own apps.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use cdn_core::{
    distribution::Origin,
    origin_protocol::{self, OriginProtocolPolicy, OriginSslProtocol},
};
use http::{HeaderName, HeaderValue};
use indexmap::IndexMap;
use world::{Atlas, Place};

use super::{Inputs, check_id, place, settings::choice};
use crate::{
    cluster_file::{ClusterFile, OriginFile},
    diagnose::KeyError,
    ports::PortBlock,
    quantity::Span,
};

/// Where an origin's answers come from.
#[derive(Clone, Debug)]
pub(crate) struct OriginPlan {
    /// Where it stands.
    pub(crate) place: Place,
    /// Where edges connect; by HTTPS where that is all they speak with it.
    pub(crate) address: SocketAddr,
    /// HTTPS with it, where edges speak that.
    pub(crate) https: Option<OriginHttps>,
    /// What answers there.
    pub(crate) kind: OriginKind,
    /// How edges treat it.
    pub(crate) origin: Origin,
}

/// How edges speak HTTPS with an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OriginHttps {
    /// Where they connect.
    pub(crate) address: SocketAddr,
    /// Whom they trust there, in PEM; `None` for the world's own authority.
    pub(crate) authorities_pem: Option<String>,
}

/// What an origin is.
#[derive(Clone, Debug)]
pub(crate) enum OriginKind {
    /// A simulated one, with its settings.
    Simulated {
        /// Requests served at once.
        concurrency: Option<usize>,
        /// Requests that may queue.
        queue: Option<usize>,
        /// Path patterns and what they answer.
        rules: Vec<(String, String)>,
    },
    /// A directory.
    Directory(PathBuf),
    /// The user's own app, at any of these addresses.
    App(Vec<SocketAddr>),
}

pub(super) fn origins_of(
    file: &ClusterFile,
    inputs: &Inputs,
    atlas: &Atlas,
    ports: PortBlock,
    warnings: &mut Vec<String>,
) -> Result<IndexMap<String, OriginPlan>, KeyError> {
    let mut files = file.origins.clone();
    if files.is_empty() {
        for (id, site) in [("primary", "us-east-1"), ("secondary", "eu-west-1")] {
            files.insert(id.into(), OriginFile { site: Some(site.into()), ..OriginFile::default() });
        }
    }
    if files.len() > PortBlock::ORIGINS_MAX {
        let most = PortBlock::ORIGINS_MAX;
        return Err(KeyError::new("origins", format!("{} origins; a world has at most {most}", files.len())));
    }
    let mut origins: IndexMap<String, OriginPlan> = IndexMap::new();
    for (at, (id, written)) in files.iter().enumerate() {
        let key = |field: &str| format!("origins.{id}.{field}");
        check_id(&format!("origins.{id}"), id)?;
        let at_place = place(atlas, &key("site"), written.site.as_deref().unwrap_or("us-east-1"))?;
        // ORIGINS_MAX is far below a u16.
        let own_address = ports.origin(u16::try_from(at).unwrap_or_default());
        let mut origin = Origin::new(own_name(id));
        origin.protocol = choice(
            &key("protocol"),
            written.protocol.as_deref(),
            OriginProtocolPolicy::ALL,
            OriginProtocolPolicy::as_str,
        )?;
        let mut https_address = own_address;
        let (address, mut kind) = match (&written.url, &written.dir) {
            (Some(_), Some(_)) => {
                return Err(KeyError::new(&key("dir"), "an origin has a url or a dir, not both"));
            }
            (Some(url), None) => {
                let app = AppUrl::parse(url).map_err(|why| KeyError::new(&key("url"), why))?;
                let addresses = inputs.apps.get(id).cloned().unwrap_or_default();
                let first = addresses
                    .first()
                    .copied()
                    .or_else(|| app.literal())
                    .ok_or_else(|| KeyError::new(&key("url"), format!("the name {:?} has no address", app.host)))?;
                origin.domain_name = app.authority();
                let https_port = app_protocol(&mut origin.protocol, &app, written, &key)?;
                origin.origin_path = app.path;
                https_address = SocketAddr::new(first.ip(), https_port.unwrap_or_else(|| first.port()));
                if let Some((other, _)) =
                    origins.iter().find(|(_, plan)| plan.address == first && plan.place.id != at_place.id)
                {
                    return Err(KeyError::new(
                        &key("url"),
                        format!("{first} is also origin {other:?}, in another place: one address has one place"),
                    )
                    .hint("start the app a second time on another port"));
                }
                (first, OriginKind::App(if addresses.is_empty() { vec![first] } else { addresses }))
            }
            (None, Some(dir)) => (own_address, OriginKind::Directory(dir.clone())),
            (None, None) => {
                let rules = written.rules.iter().map(|rule| (rule.path.clone(), rule.query.clone())).collect();
                let (concurrency, queue) = (written.concurrency, written.queue);
                (own_address, OriginKind::Simulated { concurrency, queue, rules })
            }
        };
        apply_origin(&mut origin, written, &key)?;
        apply_tls(id, &mut origin, written, &kind, warnings)?;
        if let OriginKind::App(addresses) = &mut kind
            && https_address.port() != address.port()
        {
            // Links lead to both of its ports.
            let also: Vec<_> = addresses.iter().map(|one| SocketAddr::new(one.ip(), https_address.port())).collect();
            addresses.extend(also);
        }
        let authorities_pem = inputs.authorities.get(id).cloned();
        let https = origin.protocol.may_use_https().then_some(OriginHttps { address: https_address, authorities_pem });
        origins.insert(id.clone(), OriginPlan { place: at_place, address, https, kind, origin });
    }
    Ok(origins)
}

/// The name of an origin that has no other.
pub(crate) fn own_name(id: &str) -> String {
    format!("{id}.origin.test")
}

/// What is spoken with an app, by its URL and what is written beside it; and the port of HTTPS, where that is another one.
fn app_protocol(
    protocol: &mut OriginProtocolPolicy,
    app: &AppUrl,
    written: &OriginFile,
    key: &dyn Fn(&str) -> String,
) -> Result<Option<u16>, KeyError> {
    use OriginProtocolPolicy::{HttpOnly, HttpsOnly, MatchViewer};
    let by_url = if app.https { HttpsOnly } else { HttpOnly };
    if written.protocol.is_none() {
        *protocol = by_url;
    }
    match (*protocol, written.https_port) {
        (MatchViewer, Some(port)) if !app.https => Ok(Some(port)),
        (MatchViewer, None) if !app.https => Err(KeyError::new(&key("protocol"), "match-viewer needs a port for each")
            .hint("the one in url is for HTTP; https_port = 3443 names the other")),
        (MatchViewer, _) => Err(KeyError::new(&key("url"), "match-viewer needs a port for each")
            .hint("write the URL of HTTP here, and the port of HTTPS as https_port")),
        (policy, Some(_)) => Err(KeyError::new(&key("https_port"), format!("{policy} has one port, that of url"))),
        (policy, None) if policy != by_url => {
            let scheme = if app.https { "https" } else { "http" };
            Err(KeyError::new(&key("protocol"), format!("{policy}, and the URL says {scheme}")))
        }
        (_, None) => Ok(None),
    }
}

/// Everything about HTTPS with an origin whose name is known.
fn apply_tls(
    id: &str,
    origin: &mut Origin,
    written: &OriginFile,
    kind: &OriginKind,
    warnings: &mut Vec<String>,
) -> Result<(), KeyError> {
    let key = |field: &str| format!("origins.{id}.{field}");
    let is_app = matches!(kind, OriginKind::App(_));
    let is_https = origin.protocol.may_use_https();
    if written.ca.is_some() && !(is_app && is_https) {
        let what =
            if is_app { "edges speak no HTTPS with it" } else { "it has a certificate of the world's authority" };
        return Err(KeyError::new(&key("ca"), format!("nobody else is trusted with this origin: {what}")));
    }
    if written.https_port.is_some() && !is_app {
        return Err(KeyError::new(&key("https_port"), "an origin without a url answers both at one port"));
    }
    if let Some(names) = &written.ssl_protocols {
        let all = OriginSslProtocol::ALL;
        let protocol = |(at, name): (usize, &String)| {
            choice(&key(&format!("ssl_protocols.{at}")), Some(name), all, OriginSslProtocol::as_str)
        };
        let protocols = names.iter().enumerate().map(protocol).collect::<Result<Vec<_>, _>>()?;
        if protocols.is_empty() {
            return Err(KeyError::new(&key("ssl_protocols"), "at least one").hint("ssl_protocols = [\"TLSv1.2\"]"));
        }
        if is_https && !protocols.iter().any(|protocol| protocol.is_spoken()) {
            warnings.push(format!(
                "origins.{id}: of its SSL protocols none is spoken by any library that is well kept: edges speak TLS 1.3 \
                 with it"
            ));
        }
        origin.ssl_protocols = protocols;
    }
    let name = origin_protocol::own_name(origin);
    if is_https && !is_app && !is_vouched_for(name) {
        return Err(KeyError::new(&key("host"), format!("no certificate for {name:?} can be made"))
            .hint("the world's authority vouches for names below .test, localhost and addresses of this machine"));
    }
    Ok(())
}

/// Whether the world's authority can make a certificate for `name`.
fn is_vouched_for(name: &str) -> bool {
    let is_local = name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    name == "localhost" || name.ends_with(".test") || is_local
}

fn apply_origin(origin: &mut Origin, written: &OriginFile, key: &dyn Fn(&str) -> String) -> Result<(), KeyError> {
    if let Some(host) = &written.host {
        HeaderValue::from_str(host)
            .ok()
            .filter(|value| !value.is_empty())
            .ok_or_else(|| KeyError::new(&key("host"), format!("{host:?} is not a host name")))?;
        origin.domain_name.clone_from(host);
    }
    if let Some(path) = &written.path {
        if !path.is_empty() && (!path.starts_with('/') || path.ends_with('/')) {
            return Err(KeyError::new(&key("path"), "it starts with a slash and does not end with one"));
        }
        origin.origin_path.clone_from(path);
    }
    for (name, value) in &written.headers {
        let bad = || KeyError::new(&key(&format!("headers.{name}")), "this is not a header");
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        origin.custom_headers.push((name, HeaderValue::from_str(value).map_err(|_| bad())?));
    }
    if let Some(attempts) = written.connection_attempts {
        if !(1..=3).contains(&attempts) {
            return Err(KeyError::new(&key("connection_attempts"), "connection attempts are 1 to 3"));
        }
        origin.connection_attempts = attempts;
    }
    let bounded = |field: &str, span: Option<Span>, most: u64, into: &mut Duration| match span {
        Some(Span(span)) if span < Duration::from_secs(1) || span > Duration::from_secs(most) => {
            Err(KeyError::new(&key(field), format!("{} is not between 1s and {most}s", Span(span))))
        }
        Some(Span(span)) => {
            *into = span;
            Ok(())
        }
        None => Ok(()),
    };
    bounded("connection_timeout", written.connection_timeout, 10, &mut origin.connection_timeout)?;
    bounded("response_timeout", written.response_timeout, 120, &mut origin.response_timeout)?;
    bounded("keepalive_timeout", written.keepalive_timeout, 120, &mut origin.keepalive_timeout)?;
    origin.completion_timeout = written.completion_timeout.map(|span| span.0);
    if origin.completion_timeout.is_some_and(|cap| cap < origin.response_timeout) {
        return Err(KeyError::new(&key("completion_timeout"), "it is shorter than the response timeout"));
    }
    origin.shield = written.shield.unwrap_or(true);
    Ok(())
}

/// A user's app by URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AppUrl {
    /// Whether it is one of HTTPS.
    pub(crate) https: bool,
    /// Name or literal address, without brackets.
    pub(crate) host: String,
    /// Port.
    pub(crate) port: u16,
    /// Whether that was written.
    pub(crate) says_port: bool,
    /// Empty, or starts with a slash and does not end with one.
    pub(crate) path: String,
}

impl AppUrl {
    /// Reads `http://HOST[:PORT][/PATH]`, or the same with `https`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let uri: http::Uri = url.parse().map_err(|_| format!("{url:?} is not a URL"))?;
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(format!("{url:?} is not a URL; write http://127.0.0.1:3000")),
        };
        if uri.query().is_some() {
            return Err(format!("{url:?} has a query; an origin is a host with at most a path"));
        }
        let authority = uri.authority().ok_or_else(|| format!("{url:?} names no host"))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() || authority.as_str().contains('@') {
            return Err(format!("{url:?} names no plain host"));
        }
        let path = uri.path().trim_end_matches('/').to_owned();
        let port = authority.port_u16().unwrap_or_else(|| Self::default_port(https));
        Ok(Self { https, host, port, says_port: authority.port_u16().is_some(), path })
    }

    /// The URL again, with its port.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{scheme}://{host}:{}{}", self.port, self.path)
    }

    const fn default_port(https: bool) -> u16 {
        if https { 443 } else { 80 }
    }

    /// Host and port as in a `Host` header: the port is left out where it is the scheme's own.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == Self::default_port(self.https) { host } else { format!("{host}:{}", self.port) }
    }

    fn literal(&self) -> Option<SocketAddr> {
        if self.host == "localhost" {
            return Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), self.port));
        }
        self.host.parse().ok().map(|ip| SocketAddr::new(ip, self.port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Cluster;

    fn check(origin: OriginFile) -> Result<(OriginPlan, Vec<String>), String> {
        let mut file = ClusterFile::default();
        file.origins.insert("app".into(), origin);
        let cluster = Cluster::check(&file, &Inputs::default()).map_err(|error| error.key.join("."))?;
        let mut warnings = cluster.warnings;
        warnings.retain(|warning| warning.starts_with("origins."));
        Ok((cluster.origins["app"].clone(), warnings))
    }

    fn app(url: &str, protocol: Option<&str>, https_port: Option<u16>) -> OriginFile {
        OriginFile { url: Some(url.into()), protocol: protocol.map(str::to_owned), https_port, ..OriginFile::default() }
    }

    #[test]
    fn the_scheme_of_a_url_says_what_is_spoken_and_at_which_port() {
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        for (url, protocol, https_port, http, https) in [
            ("http://127.0.0.1:3000", None, None, at(3000), None),
            ("https://127.0.0.1:3443", None, None, at(3443), Some(at(3443))),
            ("https://localhost", Some("https-only"), None, at(443), Some(at(443))),
            ("http://localhost:3000", Some("match-viewer"), Some(3443), at(3000), Some(at(3443))),
        ] {
            let (plan, _) = check(app(url, protocol, https_port)).unwrap();
            assert_eq!((plan.address, plan.https.map(|https| https.address)), (http, https), "{url}");
            let OriginKind::App(addresses) = plan.kind else { panic!("{url} is no app") };
            assert!(https.is_none_or(|https| addresses.contains(&https)), "links lead there: {addresses:?}");
        }
        for (url, protocol, https_port, wrong) in [
            ("http://127.0.0.1:3000", Some("https-only"), None, "protocol"),
            ("https://127.0.0.1:3000", Some("http-only"), None, "protocol"),
            ("http://127.0.0.1:3000", Some("match-viewer"), None, "protocol"),
            ("https://127.0.0.1:3000", Some("match-viewer"), Some(1), "url"),
            ("http://127.0.0.1:3000", None, Some(3443), "https_port"),
            ("http://127.0.0.1:3000", Some("both"), None, "protocol"),
            ("ftp://127.0.0.1", None, None, "url"),
        ] {
            assert_eq!(check(app(url, protocol, https_port)).unwrap_err(), format!("origins.app.{wrong}"), "{url}");
        }
    }

    #[test]
    fn the_port_of_a_scheme_is_left_out_of_host() {
        for (url, host) in [
            ("http://app.test", "app.test"),
            ("http://app.test:443", "app.test:443"),
            ("https://app.test", "app.test"),
            ("https://app.test:443", "app.test"),
            ("https://[::1]:80/a", "[::1]:80"),
        ] {
            assert_eq!(AppUrl::parse(url).unwrap().authority(), host);
        }
    }

    #[test]
    fn simulated_origins_speak_https_under_names_that_the_authority_vouches_for() {
        let simulated = |host: Option<&str>| OriginFile {
            protocol: Some("match-viewer".into()),
            host: host.map(str::to_owned),
            ..OriginFile::default()
        };
        for host in [None, Some("api.shop.test"), Some("localhost"), Some("127.0.0.1:4500")] {
            let (plan, _) = check(simulated(host)).unwrap();
            let https = OriginHttps { address: plan.address, authorities_pem: None };
            assert_eq!(plan.https, Some(https), "both at one port, by the world's authority");
        }
        assert_eq!(check(simulated(Some("api.example.com"))).unwrap_err(), "origins.app.host");
        let plain = OriginFile { host: Some("api.example.com".into()), ..OriginFile::default() };
        assert_eq!(check(plain).unwrap().0.https, None);
    }

    #[test]
    fn old_protocols_are_accepted_and_warned_of() {
        let with = |names: &[&str]| OriginFile {
            ssl_protocols: Some(names.iter().map(|&name| name.to_owned()).collect()),
            ..app("https://127.0.0.1:3443", None, None)
        };
        let (plan, warnings) = check(with(&["TLSv1.1", "TLSv1.2"])).unwrap();
        assert_eq!(plan.origin.ssl_protocols, [OriginSslProtocol::TLSv1_1, OriginSslProtocol::TLSv1_2]);
        assert!(warnings.is_empty());
        assert_eq!(check(with(&["SSLv3", "TLSv1"])).unwrap().1.len(), 1);
        assert_eq!(check(with(&[])).unwrap_err(), "origins.app.ssl_protocols");
        assert_eq!(check(with(&["TLSv1.2", "TLS1.2"])).unwrap_err(), "origins.app.ssl_protocols.1");
    }

    #[test]
    fn others_are_trusted_with_apps_that_speak_https_alone() {
        let with_ca = |origin: OriginFile| OriginFile { ca: Some("ca.pem".into()), ..origin };
        assert!(check(with_ca(app("https://127.0.0.1:3443", None, None))).is_ok());
        for wrong in [app("http://127.0.0.1:3000", None, None), OriginFile::default()] {
            assert_eq!(check(with_ca(wrong)).unwrap_err(), "origins.app.ca");
        }
    }
}
