//! CloudFront's real-time log: which requests have a record, and which of its fields that says.
//!
//! Fields are those of the AWS page "Use real-time access logs", in its order, each encoded as the standard log encodes it; a
//! field of which a world has nothing to say is `-`. Refuses to know where records go.

use std::{borrow::Cow, fmt::Write as _, net::IpAddr, time::Duration};

use http::HeaderMap;

use crate::{
    cmcd,
    standard_log::{self, Answered, Asked, Ended},
};

/// The names of CloudFront's fields, in order. Records have theirs in this order, however they were chosen.
pub const FIELDS: [&str; 69] = [
    "timestamp",
    "c-ip",
    "s-ip",
    "time-to-first-byte",
    "sc-status",
    "sc-bytes",
    "cs-method",
    "cs-protocol",
    "cs-host",
    "cs-uri-stem",
    "cs-bytes",
    "x-edge-location",
    "x-edge-request-id",
    "x-host-header",
    "time-taken",
    "cs-protocol-version",
    "c-ip-version",
    "cs-user-agent",
    "cs-referer",
    "cs-cookie",
    "cs-uri-query",
    "x-edge-response-result-type",
    "x-forwarded-for",
    "ssl-protocol",
    "ssl-cipher",
    "x-edge-result-type",
    "fle-encrypted-fields",
    "fle-status",
    "sc-content-type",
    "sc-content-len",
    "sc-range-start",
    "sc-range-end",
    "c-port",
    "x-edge-detailed-result-type",
    "c-country",
    "cs-accept-encoding",
    "cs-accept",
    "cache-behavior-path-pattern",
    "cs-headers",
    "cs-header-names",
    "cs-headers-count",
    "primary-distribution-id",
    "primary-distribution-dns-name",
    "origin-fbl",
    "origin-lbl",
    "asn",
    "cmcd-encoded-bitrate",
    "cmcd-buffer-length",
    "cmcd-buffer-starvation",
    "cmcd-content-id",
    "cmcd-object-duration",
    "cmcd-deadline",
    "cmcd-measured-throughput",
    "cmcd-next-object-request",
    "cmcd-next-range-request",
    "cmcd-object-type",
    "cmcd-playback-rate",
    "cmcd-requested-maximum-throughput",
    "cmcd-streaming-format",
    "cmcd-session-id",
    "cmcd-stream-type",
    "cmcd-startup",
    "cmcd-top-bitrate",
    "cmcd-version",
    "r-host",
    "sr-reason",
    "x-edge-mqcs",
    "distribution-tenant-id",
    "connection-id",
];

/// Bytes that a field of headers may have; what is beyond is cut off, as CloudFront does at 800.
const HEADERS_BYTES_MAX: usize = 800;

/// What is logged of one distribution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealtimeLog {
    /// Indices into [`FIELDS`], ascending.
    fields: Vec<usize>,
    sampling_percent: u8,
}

/// A real-time log that cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RealtimeLogError {
    /// CloudFront: `SamplingRate`, "any whole number between 1 and 100, inclusive".
    #[error("{0} is not a share from 1 to 100 percent")]
    SamplingPercent(u8),
    /// No field of CloudFront's real-time logs is called so.
    #[error("no field of real-time logs is called {name:?}")]
    UnknownField {
        /// Its place among those that were chosen.
        at: usize,
        /// What was written.
        name: String,
    },
    /// A field twice.
    #[error("{name:?} is there twice")]
    Twice {
        /// Its second place among those that were chosen.
        at: usize,
        /// Its name.
        name: String,
    },
    /// CloudFront: at least one.
    #[error("a record without a field")]
    NoField,
}

impl RealtimeLog {
    /// A log of `fields`, by name, of so many requests in a hundred.
    ///
    /// # Errors
    /// A name that is none, or twice there; no field; a share that is not from 1 to 100.
    pub fn new<'a>(fields: impl IntoIterator<Item = &'a str>, sampling_percent: u8) -> Result<Self, RealtimeLogError> {
        if !(1..=100).contains(&sampling_percent) {
            return Err(RealtimeLogError::SamplingPercent(sampling_percent));
        }
        let mut chosen = Vec::new();
        for (at, name) in fields.into_iter().enumerate() {
            let field = FIELDS.iter().position(|field| *field == name);
            let field = field.ok_or_else(|| RealtimeLogError::UnknownField { at, name: name.to_owned() })?;
            if chosen.contains(&field) {
                return Err(RealtimeLogError::Twice { at, name: name.to_owned() });
            }
            chosen.push(field);
        }
        if chosen.is_empty() {
            return Err(RealtimeLogError::NoField);
        }
        chosen.sort_unstable();
        Ok(Self { fields: chosen, sampling_percent })
    }

    /// The names of a record's fields, in order.
    pub fn fields(&self) -> impl Iterator<Item = &'static str> {
        self.fields.iter().filter_map(|field| FIELDS.get(*field).copied())
    }

    /// Whether a request has a record. Ids are drawn at random, so that the share of those is the share of requests; the same
    /// request is always in or always out.
    pub fn samples(&self, request_id: &[u8]) -> bool {
        // FNV-1a: one request is as good as another.
        let hash = request_id
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        (hash >> 32) % 100 < u64::from(self.sampling_percent)
    }

    /// One record without its end: fields with tabs between them.
    pub fn record(&self, more: &More, asked: &Asked, answered: &Answered, ended: &Ended<'_>) -> String {
        let standard = standard_log::fields(asked, answered, ended);
        let mut record = String::with_capacity(64 + 16 * self.fields.len());
        for (at, name) in self.fields().enumerate() {
            if at > 0 {
                record.push('\t');
            }
            record.push_str(&value(name, &standard, more, asked, ended));
        }
        record
    }
}

/// What records say beyond the standard log.
#[derive(Clone, Debug, Default)]
pub struct More {
    /// The id of the distribution.
    pub distribution: String,
    /// The path pattern of the behavior; empty where the request came to none.
    pub path_pattern: String,
    /// The headers of the request, as sent.
    pub headers: HeaderMap,
    /// The address that the viewer spoke to.
    pub server: Option<IpAddr>,
    /// The viewer's country, ISO 3166-1 alpha-2; empty where nobody knows.
    pub country: String,
    /// The origin that was asked for this request and answered it; `None` where none was.
    pub origin: Option<AskedOrigin>,
}

/// An origin that gave the response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedOrigin {
    /// Its domain name.
    pub host: String,
    /// From the request to it to the first byte of its response.
    pub first_byte: Duration,
    /// The status of the primary of its group, or the one that its failure comes to, where that moved the request to it.
    pub failed_over: Option<u16>,
}

/// CMCD's key for what follows `cmcd-` in a field's name.
const CMCD_KEYS: [(&str, &str); 18] = [
    ("encoded-bitrate", "br"),
    ("buffer-length", "bl"),
    ("buffer-starvation", "bs"),
    ("content-id", "cid"),
    ("object-duration", "d"),
    ("deadline", "dl"),
    ("measured-throughput", "mtp"),
    ("next-object-request", "nor"),
    ("next-range-request", "nrr"),
    ("object-type", "ot"),
    ("playback-rate", "pr"),
    ("requested-maximum-throughput", "rtp"),
    ("streaming-format", "sf"),
    ("session-id", "sid"),
    ("stream-type", "st"),
    ("startup", "su"),
    ("top-bitrate", "tb"),
    ("version", "v"),
];

fn value<'a>(
    name: &str,
    standard: &'a [Cow<'a, str>; 33],
    more: &'a More,
    asked: &Asked,
    ended: &Ended<'_>,
) -> Cow<'a, str> {
    let of_standard = |name: &str| {
        let field = standard_log::FIELDS.iter().position(|field| *field == name).and_then(|at| standard.get(at));
        field.map_or(Cow::Borrowed("-"), |field| Cow::Borrowed(field.as_ref()))
    };
    match name {
        "timestamp" => {
            // Seconds since 1970 with milliseconds.
            let millis = ended.at.unix_nanos() / 1_000_000;
            format!("{}.{:03}", millis.div_euclid(1000), millis.rem_euclid(1000)).into()
        }
        "cs-host" => of_standard("cs(Host)"),
        "cs-user-agent" => of_standard("cs(User-Agent)"),
        "cs-referer" => of_standard("cs(Referer)"),
        // With the query string, unlike the standard log's.
        "cs-uri-stem" => match &asked.query {
            Some(query) => format!("{}?{}", of_standard(name), standard_log::encoded(query)).into(),
            None => of_standard(name),
        },
        "c-ip-version" => match asked.client {
            IpAddr::V4(_) => "IPv4".into(),
            IpAddr::V6(_) => "IPv6".into(),
        },
        "cs-cookie" => header(more, "cookie"),
        "cs-accept" => header(more, "accept"),
        "cs-accept-encoding" => header(more, "accept-encoding"),
        "cache-behavior-path-pattern" => standard_log::or_nothing(Some(&more.path_pattern)),
        // Lines of `Name:value`, whose ends are encoded like every control character.
        "cs-headers" => headers(more, |record, name, value| {
            let _ = writeln!(record, "{name}:{}", String::from_utf8_lossy(value));
        }),
        "cs-header-names" => headers(more, |record, name, _| {
            let _ = writeln!(record, "{name}");
        }),
        "cs-headers-count" => more.headers.len().to_string().into(),
        "primary-distribution-id" => standard_log::or_nothing(Some(&more.distribution)),
        "primary-distribution-dns-name" => of_standard("cs(Host)"),
        "s-ip" => or_nothing(more.server.map(|server| server.to_string())),
        "c-country" => or_nothing(Some(more.country.clone())),
        "r-host" => or_nothing(more.origin.as_ref().map(|origin| origin.host.clone())),
        "origin-fbl" => or_nothing(more.origin.as_ref().map(|origin| standard_log::seconds(origin.first_byte))),
        "sr-reason" => {
            let status = more.origin.as_ref().and_then(|origin| origin.failed_over);
            or_nothing(status.map(|status| format!("Failover:{status}")))
        }
        name => match CMCD_KEYS.iter().find(|(field, _)| name.strip_prefix("cmcd-") == Some(field)) {
            Some((_, key)) => or_nothing(cmcd::value(key, &more.headers, asked.query.as_deref())),
            // What the standard log has by the same name; the others are what this world knows nothing of.
            None => of_standard(name),
        },
    }
}

fn header(more: &More, name: &str) -> Cow<'static, str> {
    or_nothing(more.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()))
}

fn or_nothing(value: Option<String>) -> Cow<'static, str> {
    standard_log::or_nothing(value.as_deref()).into_owned().into()
}

fn headers(more: &More, write: impl Fn(&mut String, &str, &[u8])) -> Cow<'static, str> {
    let mut text = String::new();
    for (name, value) in &more.headers {
        write(&mut text, name.as_str(), value.as_bytes());
        if text.len() >= HEADERS_BYTES_MAX {
            text.truncate(text.floor_char_boundary(HEADERS_BYTES_MAX));
            break;
        }
    }
    standard_log::or_nothing(Some(&text)).into_owned().into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{Method, StatusCode, Version, header};

    use super::*;
    use crate::{Reason, WallTime, forward::XCache, standard_log::Ending};

    fn record(log: &RealtimeLog, headers: HeaderMap, client: &str) -> Vec<String> {
        let asked = Asked {
            client: client.parse().unwrap(),
            port: 5000,
            method: Method::GET,
            path: "/a b".into(),
            query: Some("c=1".into()),
            host: "www.demo.test".into(),
            headers: standard_log::Said::of(&headers),
            bytes: 120,
            version: Version::HTTP_3,
            tls: Some(("TLSv1.3", "TLS_AES_128_GCM_SHA256")),
        };
        let answered = Answered {
            status: Some(StatusCode::OK),
            x_cache: XCache::Hit,
            reason: Reason::Hit,
            request_id: "abc==".into(),
            domain: Some("demo.cdn.test".into()),
            head_bytes: 300,
            content_type: Some("text/html".into()),
            content_length: Some("10".into()),
            content_range: None,
            first_byte: Duration::from_millis(2),
        };
        let at = WallTime::from_unix_nanos(1_795_694_400_123_456_789);
        let ended = Ended {
            at,
            took: Duration::from_micros(12_345),
            body_bytes: 10,
            ending: Ending::Whole,
            location: "IAD50-P1",
        };
        let more = More {
            distribution: "demo".into(),
            path_pattern: "*".into(),
            headers,
            server: Some("198.18.0.9".parse().unwrap()),
            country: "DE".into(),
            origin: Some(AskedOrigin {
                host: "app.test".into(),
                first_byte: Duration::from_millis(21),
                failed_over: Some(503),
            }),
        };
        log.record(&more, &asked, &answered, &ended).split('\t').map(str::to_owned).collect()
    }

    #[test]
    fn fields_are_cloudfronts_order_however_they_were_chosen() {
        let chosen =
            ["cs-uri-stem", "sc-status", "timestamp", "c-ip-version", "primary-distribution-id", "asn", "cs-accept"];
        let log = RealtimeLog::new(chosen, 100).unwrap();
        let names: Vec<_> = log.fields().collect();
        assert_eq!(
            names,
            ["timestamp", "sc-status", "cs-uri-stem", "c-ip-version", "cs-accept", "primary-distribution-id", "asn"]
        );
        let headers = HeaderMap::from_iter([(header::ACCEPT, "text/html; q=0.5".parse().unwrap())]);
        assert_eq!(
            record(&log, headers, "198.18.41.7"),
            ["1795694400.123", "200", "/a%20b?c=1", "IPv4", "text/html;%20q=0.5", "demo", "-"]
        );
    }

    #[test]
    fn what_players_say_has_a_field_each() {
        let log = RealtimeLog::new(["cmcd-encoded-bitrate", "cmcd-session-id", "cmcd-version"], 100).unwrap();
        let headers = HeaderMap::from_iter([(
            header::HeaderName::from_static("cmcd-object"),
            header::HeaderValue::from_static("br=3200,sid=\"a b\""),
        )]);
        assert_eq!(record(&log, headers, "::1"), ["3200", "a%20b", "-"]);
    }

    #[test]
    fn headers_are_one_field_that_ends_somewhere() {
        let log = RealtimeLog::new(["cs-headers", "cs-header-names", "cs-headers-count"], 100).unwrap();
        let mut headers = HeaderMap::from_iter([(header::HOST, "a".parse().unwrap())]);
        let seen = record(&log, headers.clone(), "::1");
        assert_eq!(seen, ["host:a%0A", "host%0A", "1"]);
        headers.insert(header::ACCEPT, "x".repeat(5000).parse().unwrap());
        assert!(record(&log, headers, "::1")[0].len() < 900);
        assert_eq!(record(&log, HeaderMap::new(), "::1"), ["-", "-", "0"]);
    }

    #[test]
    fn every_field_has_its_place_in_a_record() {
        let log = RealtimeLog::new(FIELDS, 100).unwrap();
        let seen = record(&log, HeaderMap::new(), "198.18.0.1");
        assert_eq!(seen.len(), FIELDS.len());
        let of = |name: &str| seen[FIELDS.iter().position(|field| *field == name).unwrap()].as_str();
        assert_eq!(
            (of("cs-host"), of("x-host-header"), of("cs-protocol-version")),
            ("demo.cdn.test", "www.demo.test", "HTTP/3.0")
        );
        assert_eq!((of("s-ip"), of("c-country"), of("r-host")), ("198.18.0.9", "DE", "app.test"));
        assert_eq!((of("origin-fbl"), of("sr-reason"), of("origin-lbl")), ("0.021", "Failover:503", "-"));
        assert_eq!((of("c-port"), of("x-edge-location"), of("sc-bytes")), ("5000", "IAD50-P1", "310"));
    }

    #[test]
    fn a_share_of_requests_is_that_share() {
        for percent in [1, 30, 100] {
            let log = RealtimeLog::new(["timestamp"], percent).unwrap();
            let sampled = (0..20_000_u32).filter(|id| log.samples(format!("id-{id}==").as_bytes())).count() as f64;
            let asked = 200.0 * f64::from(percent);
            assert!((sampled - asked).abs() <= 4.0 * asked.sqrt(), "{sampled} of {asked}");
        }
    }

    #[test]
    fn what_cannot_be_logged_is_refused() {
        let refused = |fields: &[&str], percent| RealtimeLog::new(fields.iter().copied(), percent).unwrap_err();
        assert_eq!(refused(&["timestamp"], 0), RealtimeLogError::SamplingPercent(0));
        assert_eq!(refused(&["timestamp"], 101), RealtimeLogError::SamplingPercent(101));
        assert_eq!(refused(&[], 5), RealtimeLogError::NoField);
        let name = "c_ip".to_owned();
        assert_eq!(refused(&["asn", "c_ip"], 5), RealtimeLogError::UnknownField { at: 1, name });
        assert_eq!(refused(&["asn", "asn"], 5), RealtimeLogError::Twice { at: 1, name: "asn".into() });
    }

    proptest::proptest! {
        /// Whatever viewers send, a record is one line of as many fields as were chosen.
        #[test]
        fn a_record_is_always_one(value in "[ -~\t]*", name in "[a-z]{1,20}") {
            let log = RealtimeLog::new(FIELDS, 100).unwrap();
            let mut headers = HeaderMap::new();
            headers.insert(header::HeaderName::try_from(name).unwrap(), value.trim().parse().unwrap());
            let seen = record(&log, headers, "198.18.0.1");
            proptest::prop_assert_eq!(seen.len(), FIELDS.len());
            let is_plain = |field: &String| !field.is_empty() && field.bytes().all(|byte| byte.is_ascii_graphic());
            proptest::prop_assert!(seen.iter().all(is_plain), "{:?}", seen);
        }
    }
}
