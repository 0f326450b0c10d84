//! Which hosts are of this world, and which port of an edge a URL means.
//!
//! A name inside a zone resolves through the routers; a literal address must be an edge's or a router's. Everything
//! else is refused with a sentence, because nothing of the user's other traffic may go anywhere.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::uri::Authority;

use crate::{config::Config, failure::Failure, tls::BothEnds};

/// Where a request goes.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The host, lower case, without a final dot.
    pub(crate) host: String,
    /// The port to dial.
    pub(crate) port: u16,
    /// The address, when the host is one.
    pub(crate) address: Option<IpAddr>,
    /// How to speak TLS with it, where the proxy does so by itself.
    pub(crate) tls: Option<Arc<BothEnds>>,
    /// Whether it does so by HTTP/3.
    pub(crate) http3: bool,
}

impl Target {
    /// What `authority` means; `default_port` is the scheme's.
    ///
    /// # Errors
    /// It is not of this world, or no port of it is.
    pub(crate) fn of(authority: &Authority, default_port: u16, config: &Config) -> Result<Self, Failure> {
        let host = authority.host().trim_end_matches('.').to_ascii_lowercase();
        // `Authority::port` takes a number that does not fit for no port at all.
        let after_host = authority.as_str().rsplit_once(']').map_or(authority.as_str(), |(_, rest)| rest);
        let port = match after_host.split_once(':').map(|(_, port)| port) {
            None | Some("") => default_port,
            Some(port) => port.parse().map_err(|_| Failure::ForeignHost(format!("{authority} has no valid port")))?,
        };
        let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&host);
        if let Ok(address) = literal.parse::<IpAddr>() {
            return Self::of_address(host, address, port, config);
        }
        if !config.zones.iter().any(|zone| is_inside(&host, zone)) {
            return Err(Failure::ForeignHost(format!(
                "{host} is not of this world: only names in {} are served, and nothing else is ever asked",
                listed(&config.zones)
            )));
        }
        Ok(Self { port: edge_port(&host, port, config)?, host, address: None, tls: None, http3: false })
    }

    fn of_address(host: String, address: IpAddr, port: u16, config: &Config) -> Result<Self, Failure> {
        let is_router = config.routers.iter().any(|router| router.http == SocketAddr::from((address, port)));
        let port = if is_router {
            port
        } else if config.is_of_edges(address) {
            edge_port(&host, port, config)?
        } else {
            return Err(Failure::ForeignHost(format!(
                "{host} is not an address of this world: edges are in {}{}, names in {}",
                config.edges,
                config.edges6.map(|net| format!(" and {net}")).unwrap_or_default(),
                listed(&config.zones)
            )));
        };
        Ok(Self { host, port, address: Some(address), tls: None, http3: false })
    }
}

/// The edges' port for the port of a URL: 80 and 443 stand for the ports that the edges share.
fn edge_port(host: &str, port: u16, config: &Config) -> Result<u16, Failure> {
    let http = config.edge_http_port;
    match (port, config.edge_https_port) {
        (80, _) => Ok(http),
        (443, Some(https)) => Ok(https),
        (443, None) => Err(Failure::NoHttps(format!(
            "HTTPS is switched off in this world ([edge] https): nobody listens on port 443 of {host}; ask for http://{host}/"
        ))),
        (port, https) if port == http || Some(port) == https => Ok(port),
        (_, Some(https)) => Err(Failure::ForeignHost(format!(
            "{host} serves ports 80 and 443 (on this machine {http} and {https}), not {port}"
        ))),
        (_, None) => Err(Failure::ForeignHost(format!("{host} serves port 80 (on this machine {http}), not {port}"))),
    }
}

fn is_inside(host: &str, zone: &str) -> bool {
    let zone = zone.trim_matches('.').to_ascii_lowercase();
    host == zone || host.strip_suffix(&zone).is_some_and(|rest| rest.ends_with('.') && rest.len() > 1)
}

fn listed(zones: &[String]) -> String {
    zones.iter().map(|zone| format!("*.{zone}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(authority: &str) -> Result<Target, Failure> {
        Target::of(&authority.parse().unwrap(), 80, &Config::with_default_ports("tokyo"))
    }

    #[test]
    fn names_of_the_zones_go_to_the_edges_ports() {
        for (authority, port) in [
            ("www.demo.test", 4480),
            ("WWW.Demo.Test.", 4480),
            ("demo.test:80", 4480),
            ("d1.cdn.test:4480", 4480),
            ("www.demo.test:443", 4443),
        ] {
            let target = of(authority).unwrap();
            assert_eq!((target.port, target.address), (port, None), "{authority}");
        }
    }

    #[test]
    fn what_is_not_of_the_world_is_refused_with_the_zones_named() {
        for authority in ["example.com", "evildemo.test", ".demo.test", "10.0.0.1", "127.0.0.1:22", "[::1]:80", "test"]
        {
            let Ok(parsed) = authority.parse() else { continue };
            let error = Target::of(&parsed, 80, &Config::with_default_ports("tokyo")).unwrap_err().to_string();
            assert!(error.contains("*.demo.test"), "{authority}: {error}");
        }
        assert!(of("www.demo.test:22").unwrap_err().to_string().contains("not 22"));
        assert!(of("www.demo.test:99999").is_err());
    }

    #[test]
    fn a_world_without_https_says_so() {
        let config = Config { edge_https_port: None, ..Config::with_default_ports("tokyo") };
        let of = |authority: &str| Target::of(&authority.parse().unwrap(), 443, &config);
        let refused = of("www.demo.test").unwrap_err();
        assert_eq!(refused.reason(), cdn_core::Reason::ViewerNoHttps);
        assert!(refused.to_string().contains("HTTPS is switched off"), "{refused}");
        assert_eq!(of("example.com").unwrap_err().reason(), cdn_core::Reason::ViewerForeignHost);
        assert!(of("www.demo.test:22").unwrap_err().to_string().contains("port 80 "));
    }

    #[test]
    fn edges_and_routers_may_be_named_by_address() {
        assert_eq!(of("127.77.0.3:4480").unwrap().address, Some([127, 77, 0, 3].into()));
        assert_eq!(of("127.77.0.3").unwrap().port, 4480);
        assert_eq!(of("127.0.0.1:4470").unwrap().port, 4470);
        let refused = of("[fd77:1505::3]:4480").unwrap_err().to_string();
        assert!(refused.contains("edges are in 127.77.0.0/16, names in"), "{refused}");
        let edges6 = Some("fd77:1505::/64".parse().unwrap());
        let config = Config { edges6, ..Config::with_default_ports("tokyo") };
        let of = |authority: &str| Target::of(&authority.parse().unwrap(), 80, &config);
        let target = of("[FD77:1505::3]").unwrap();
        assert_eq!((target.address, target.port), (Some("fd77:1505::3".parse().unwrap()), 4480));
        assert!(of("[fd77:1505::3]:22").unwrap_err().to_string().contains("not 22"));
        let refused = of("[::1]:4480").unwrap_err().to_string();
        assert!(refused.contains("127.77.0.0/16 and fd77:1505::/64"), "{refused}");
    }
}
