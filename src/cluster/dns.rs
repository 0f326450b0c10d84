//! Settings of the router's DNS: what it says of itself, and what it keeps from whom.

use std::time::Duration;

use cdn_core::response_rate::ResponseRateOptions;
use ipnet::IpNet;
use router::Limits;

use crate::{
    cluster_file::{ClusterFile, QueryLogFile},
    diagnose::{KeyError, nearest_or_all},
    quantity::{ByteCount, Span},
};

/// Settings of DNS, with defaults.
#[derive(Clone, Debug)]
pub(crate) struct DnsPlan {
    /// What is done with DNS cookies.
    pub(crate) cookies: CookiePolicy,
    /// How long cookies are made with one secret.
    pub(crate) cookie_rollover: Duration,
    /// Whether names of distributions have HTTPS records.
    pub(crate) https_records: bool,
    /// What `version.bind` answers.
    pub(crate) version: Option<String>,
    /// Rates, sizes, connections.
    pub(crate) limits: Limits,
    /// The query log, if there is one.
    pub(crate) query_log: Option<QueryLogPlan>,
}

/// What is done with DNS cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CookiePolicy {
    Off,
    On,
    Required,
}

/// Settings of the query log.
#[derive(Clone, Debug)]
pub(crate) struct QueryLogPlan {
    /// Share of messages that are written.
    pub(crate) share: f64,
    /// Largest size of the file.
    pub(crate) bytes: u64,
    /// Lines that may wait.
    pub(crate) queue: usize,
}

/// Settings of DNS, with defaults.
///
/// # Errors
/// A word, a network or a number that cannot be.
pub(super) fn dns_of(file: &ClusterFile) -> Result<DnsPlan, KeyError> {
    let written = &file.router.dns;
    let cookies = match written.cookies.as_deref() {
        None | Some("on") => CookiePolicy::On,
        Some("off") => CookiePolicy::Off,
        Some("required") => CookiePolicy::Required,
        Some(other) => {
            let hint = nearest_or_all(other, ["on", "off", "required"]);
            return Err(KeyError { hint, ..KeyError::new("router.dns.cookies", format!("no {other:?} here")) });
        }
    };
    let cookie_rollover = written.cookie_rollover.map_or(Duration::from_secs(86_400), |span| span.0);
    // Within the hour that a cookie holds there is one change at most. RFC 7873, section 7.1, wants none used for longer
    // than 36 days.
    let (least, most) = (Duration::from_secs(3600), Duration::from_secs(36 * 86_400));
    if !(least..=most).contains(&cookie_rollover) {
        let what = format!("{} is not between {} and {}", Span(cookie_rollover), Span(least), Span(most));
        return Err(KeyError::new("router.dns.cookie_rollover", what));
    }
    let version = match written.version.as_deref() {
        None => Some(concat!("isochrone ", env!("CARGO_PKG_VERSION")).to_owned()),
        Some("") => None,
        // A character string of DNS has one byte for its length (RFC 1035, section 3.3).
        Some(text) if text.len() > 255 => {
            return Err(KeyError::new("router.dns.version", "it is longer than 255 bytes"));
        }
        Some(text) => Some(text.to_owned()),
    };
    let mut limits = Limits::default();
    let rate = &mut limits.response_rate;
    let ResponseRateOptions { network_per_s, all_per_s, slip } = *rate;
    *rate = ResponseRateOptions {
        network_per_s: written.answers_per_network.unwrap_or(network_per_s),
        all_per_s: written.answers_over_all.unwrap_or(all_per_s),
        slip: written.slip.unwrap_or(slip),
    };
    if let Some(networks) = &written.trusted {
        let parsed = networks.iter().map(|network| {
            network.parse::<IpNet>().map_err(|_| {
                KeyError::new("router.dns.trusted", format!("{network:?} is not a network"))
                    .hint("an address and a length, as 192.0.2.0/24 or 2001:db8::/32")
            })
        });
        limits.trusted_networks = parsed.collect::<Result<_, _>>()?;
    }
    if let Some(bytes) = written.unproven_bytes {
        limits.udp_unproven_bytes_max = within("unproven_bytes", bytes, 512, u64::from(u16::MAX))? as u16;
    }
    if let Some(bytes) = written.udp_bytes {
        limits.udp_payload_max = within("udp_bytes", bytes, 512, 4096)? as u16;
    }
    limits.aliases_max = written.aliases.unwrap_or(limits.aliases_max);
    if !(1..=64).contains(&limits.aliases_max) {
        return Err(KeyError::new("router.dns.aliases", "1 to 64 aliases per answer"));
    }
    let count = |key: &str, written: Option<usize>, default: usize| match written {
        Some(0) => Err(KeyError::new(&format!("router.dns.{key}"), "it is at least 1")),
        Some(count) => Ok(count),
        None => Ok(default),
    };
    limits.tcp_connections_max = count("connections", written.connections, limits.tcp_connections_max)?;
    limits.tcp_connections_per_client_max =
        count("connections_per_client", written.connections_per_client, limits.tcp_connections_per_client_max)?;
    limits.tcp_queries_max = count("queries_per_connection", written.queries_per_connection, limits.tcp_queries_max)?;
    if let Some(Span(span)) = written.idle_timeout {
        // The keepalive option has sixteen bits of 100 ms.
        let (least, most) = (Duration::from_millis(100), Duration::from_secs(6553));
        if !(least..=most).contains(&span) {
            let what = format!("{} is not between {} and {}", Span(span), Span(least), Span(most));
            return Err(KeyError::new("router.dns.idle_timeout", what));
        }
        limits.tcp_timeout = span;
    }
    let query_log = written.query_log.as_ref().map(query_log_of).transpose()?;
    let https = file.edge.https.unwrap_or(true);
    let https_records = written.https_records.unwrap_or(https);
    if https_records && !https {
        return Err(KeyError::new("router.dns.https_records", "edges speak no HTTPS, as [edge] https says"));
    }
    Ok(DnsPlan { https_records, cookies, cookie_rollover, version, limits, query_log })
}

fn query_log_of(written: &QueryLogFile) -> Result<QueryLogPlan, KeyError> {
    if !(0.0..=1.0).contains(&written.share) {
        return Err(KeyError::new("router.dns.query_log.share", "a share is between 0 and 1"));
    }
    let bytes = written.bytes.map_or(64 << 20, |bytes| bytes.0);
    if bytes < 4096 {
        return Err(KeyError::new("router.dns.query_log.bytes", "it is at least 4KiB"));
    }
    let queue = written.queue.unwrap_or(1024);
    if !(1..=1 << 20).contains(&queue) {
        return Err(KeyError::new("router.dns.query_log.queue", "1 to 1048576 lines may wait"));
    }
    Ok(QueryLogPlan { share: written.share, bytes, queue })
}

fn within(key: &str, bytes: ByteCount, least: u64, most: u64) -> Result<u64, KeyError> {
    if (least..=most).contains(&bytes.0) {
        return Ok(bytes.0);
    }
    Err(KeyError::new(&format!("router.dns.{key}"), format!("{bytes} is not between {least} and {most}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(toml: &str) -> Result<DnsPlan, String> {
        let file: ClusterFile = toml::from_str(&format!("[router.dns]\n{toml}")).map_err(|error| error.to_string())?;
        dns_of(&file).map_err(|error| error.key.join("."))
    }

    #[test]
    fn what_is_not_written_is_the_routers_default() {
        let plan = check("").unwrap();
        assert_eq!(plan.limits, Limits::default());
        assert_eq!(plan.cookies, CookiePolicy::On);
        assert!(plan.query_log.is_none());
        assert!(plan.https_records, "as edges speak HTTPS");
        assert!(!check("https_records = false").unwrap().https_records);
        assert!(!check("[edge]\nhttps = false").unwrap().https_records);
        assert!(plan.version.unwrap().starts_with("isochrone "));
        assert_eq!(check("version = \"\"").unwrap().version, None);
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_key() {
        for (toml, key) in [
            ("cookies = \"onn\"", "router.dns.cookies"),
            ("cookie_rollover = \"40d\"", "router.dns.cookie_rollover"),
            ("https_records = true\n[edge]\nhttps = false", "router.dns.https_records"),
            ("trusted = [\"loopback\"]", "router.dns.trusted"),
            ("unproven_bytes = \"100\"", "router.dns.unproven_bytes"),
            ("udp_bytes = \"64KiB\"", "router.dns.udp_bytes"),
            ("connections = 0", "router.dns.connections"),
            ("connections_per_client = 0", "router.dns.connections_per_client"),
            ("queries_per_connection = 0", "router.dns.queries_per_connection"),
            ("idle_timeout = \"10ms\"", "router.dns.idle_timeout"),
            ("query_log = { share = 1.5 }", "router.dns.query_log.share"),
            ("query_log = { share = 1, bytes = \"1\" }", "router.dns.query_log.bytes"),
            ("query_log = { share = 1, queue = 0 }", "router.dns.query_log.queue"),
        ] {
            let error = check(toml).map(drop).unwrap_err();
            assert_eq!(error, key, "{toml}");
        }
    }

    #[test]
    fn a_rate_of_zero_is_no_limit() {
        let plan = check("answers_per_network = 0\nanswers_over_all = 0\ntrusted = []").unwrap();
        assert_eq!((plan.limits.response_rate.network_per_s, plan.limits.response_rate.all_per_s), (0, 0));
        assert!(plan.limits.trusted_networks.is_empty());
    }
}
