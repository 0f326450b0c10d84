//! Origins, checked: simulated ones, directories, users' own apps.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use cdn_core::distribution::Origin;
use http::{HeaderName, HeaderValue};
use indexmap::IndexMap;
use world::{Atlas, Place};

use super::{Inputs, check_id, place};
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
    /// Where edges connect.
    pub(crate) address: SocketAddr,
    /// What answers there.
    pub(crate) kind: OriginKind,
    /// How edges treat it.
    pub(crate) origin: Origin,
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
        let mut origin = Origin::new(format!("{id}.origin.test"));
        let (address, kind) = match (&written.url, &written.dir) {
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
                origin.origin_path = app.path;
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
        origins.insert(id.clone(), OriginPlan { place: at_place, address, kind, origin });
    }
    Ok(origins)
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
    /// Name or literal address, without brackets.
    pub(crate) host: String,
    /// Port.
    pub(crate) port: u16,
    /// Empty, or starts with a slash and does not end with one.
    pub(crate) path: String,
}

impl AppUrl {
    /// Reads `http://HOST[:PORT][/PATH]`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let uri: http::Uri = url.parse().map_err(|_| format!("{url:?} is not a URL"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err("origins speak http for now; put the app's plain port here".into()),
            _ => return Err(format!("{url:?} is not a URL; write http://127.0.0.1:3000")),
        }
        if uri.query().is_some() {
            return Err(format!("{url:?} has a query; an origin is a host with at most a path"));
        }
        let authority = uri.authority().ok_or_else(|| format!("{url:?} names no host"))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() || authority.as_str().contains('@') {
            return Err(format!("{url:?} names no plain host"));
        }
        let path = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { host, port: authority.port_u16().unwrap_or(80), path })
    }

    /// Host and port as in a `Host` header: the port is left out where it is 80.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == 80 { host } else { format!("{host}:{}", self.port) }
    }

    fn literal(&self) -> Option<SocketAddr> {
        if self.host == "localhost" {
            return Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), self.port));
        }
        self.host.parse().ok().map(|ip| SocketAddr::new(ip, self.port))
    }
}
