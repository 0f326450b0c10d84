//! `iso dig`: one question from one place, and what came back, as dig would print it and as data.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    str::FromStr as _,
    sync::Arc,
    time::Instant,
};

use hickory_proto::rr::{
    RData, Record, RecordType,
    rdata::{
        SVCB,
        svcb::{SvcParamKey, SvcParamValue},
    },
};
use ipnet::Ipv4Net;
use serde::{Serialize, Serializer};

use super::{
    exchange::Manner,
    reply::Question,
    resolver::{Resolved, Resolver, mnemonic, parse_name},
};
use crate::place::Standing;

/// How to ask.
#[derive(Clone, Debug, Default)]
pub struct DigOptions {
    /// The place of the resolver, when it is not the viewer's.
    pub resolver: Option<String>,
    /// Leave the client subnet out.
    pub no_ecs: bool,
    /// This client subnet instead of the viewer's /24.
    pub subnet: Option<Ipv4Net>,
    /// Ask the router now, past the resolver's cache.
    pub fresh: bool,
    /// Over TCP from the start; implies `fresh`.
    pub tcp: bool,
    /// This server and no other; implies `fresh`.
    pub server: Option<SocketAddr>,
}

/// Why there is nothing to print.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigError {
    /// No such place.
    #[error("{0}")]
    Place(#[from] world::UnknownPlace),
    /// The record type does not exist.
    #[error("{0:?} is not a record type, as A, AAAA, HTTPS, TXT and ANY are")]
    Type(String),
    /// The name is not one, or no router answered.
    #[error("{0}")]
    Lookup(String),
}

/// What came back.
#[derive(Clone, Debug, Serialize)]
pub struct DigReply {
    /// The name that was asked, with its final dot.
    pub name: String,
    /// The type that was asked.
    #[serde(rename = "type")]
    pub kind: String,
    /// The response code as dig writes it: `NOERROR`, `NXDOMAIN`, `REFUSED`.
    pub rcode: String,
    /// The flags that are set: `qr`, `aa`, `tc`, `ra`.
    pub flags: Vec<&'static str>,
    /// The answer section; a kept answer's TTLs have been counted down.
    pub answers: Vec<DigRecord>,
    /// The authority section.
    pub authority: Vec<DigRecord>,
    /// The client subnet that went along, and the scope that came back.
    pub client_subnet: Option<DigSubnet>,
    /// Whether the resolver had the answer already.
    pub cached: bool,
    /// Whether TCP was used.
    pub tcp: bool,
    /// Queries that were sent until the answer came; 0 for a kept answer.
    pub tries: u32,
    /// The place of the resolver.
    pub resolver_place: String,
    /// The address of the resolver in the world.
    pub resolver: Ipv4Addr,
    /// The router that answered the resolver.
    pub server: SocketAddr,
    /// What the viewer waited, in milliseconds.
    pub time_ms: f64,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DigRecord {
    /// Its owner, with the final dot.
    pub name: String,
    /// Seconds it may still be kept.
    pub ttl_s: u32,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its data in presentation format.
    pub data: String,
}

/// EDNS client subnet, both directions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DigSubnet {
    /// What was sent.
    #[serde(serialize_with = "as_text")]
    pub source: Ipv4Net,
    /// The prefix length for which the answer holds; `None` when the answer had no such option.
    pub scope: Option<u8>,
}

fn as_text<S: Serializer>(network: &Ipv4Net, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(network)
}

/// Asks `resolver` for `name` on behalf of `viewer`.
pub(crate) async fn dig(
    viewer: &Standing,
    resolver: &Arc<Resolver>,
    name: &str,
    kind: &str,
    options: &DigOptions,
) -> Result<DigReply, DigError> {
    let kind = RecordType::from_str(&kind.to_ascii_uppercase()).map_err(|_| DigError::Type(kind.to_owned()))?;
    let name = parse_name(name).map_err(|error| DigError::Lookup(error.to_string()))?;
    let subnet = if options.no_ecs { None } else { Some(options.subnet.unwrap_or(viewer.network).trunc()) };
    let question = Question { name, kind, subnet };
    let began = Instant::now();
    resolver.cross_from(viewer).await;
    let resolved = if options.fresh || options.tcp || options.server.is_some() {
        resolver.ask(&question, Manner { tcp: options.tcp, server: options.server }).await
    } else {
        resolver.resolve(&question).await
    };
    resolver.cross_to(viewer).await;
    let resolved = resolved.map_err(|error| DigError::Lookup(error.to_string()))?;
    Ok(reply(&question, resolver, &resolved, began.elapsed().as_secs_f64() * 1e3))
}

fn reply(question: &Question, resolver: &Resolver, resolved: &Resolved, time_ms: f64) -> DigReply {
    let heard = &resolved.reply;
    let age_s = resolved.age.map_or(0, |age| u32::try_from(age.as_secs()).unwrap_or(u32::MAX));
    let records = |records: &[Record]| records.iter().map(|record| DigRecord::of(record, age_s)).collect();
    let flags = [
        (true, "qr"),
        (heard.authoritative && resolved.age.is_none(), "aa"),
        (heard.truncated, "tc"),
        (heard.recursion_available, "ra"),
    ];
    DigReply {
        name: question.name.to_string(),
        kind: question.kind.to_string(),
        rcode: mnemonic(heard.rcode),
        flags: flags.into_iter().filter_map(|(set, flag)| set.then_some(flag)).collect(),
        answers: records(&heard.answers),
        authority: records(&heard.authority),
        client_subnet: question.subnet.map(|source| DigSubnet { source, scope: heard.scope }),
        cached: resolved.age.is_some(),
        tcp: heard.tcp,
        tries: if resolved.age.is_some() { 0 } else { heard.tries },
        resolver_place: resolver.standing.place.clone(),
        resolver: resolver.standing.resolver,
        server: heard.server,
        time_ms: (time_ms * 1e3).round() / 1e3,
    }
}

impl DigRecord {
    fn of(record: &Record, age_s: u32) -> Self {
        Self {
            name: record.name.to_string(),
            ttl_s: record.ttl.saturating_sub(age_s),
            kind: record.record_type().to_string(),
            data: presented(&record.data),
        }
    }
}

/// Data as a zone file has it. What hickory prints of texts (RFC 1035, section 5.1) and services (RFC 9460, section 2.1)
/// could not be read back.
fn presented(data: &RData) -> String {
    match data {
        RData::TXT(text) => text.txt_data.iter().map(|bytes| quoted(bytes)).collect::<Vec<_>>().join(" "),
        RData::SVCB(service) => service_presented(service),
        RData::HTTPS(service) => service_presented(&service.0),
        data => data.to_string(),
    }
}

fn service_presented(service: &SVCB) -> String {
    let mut words = vec![service.svc_priority.to_string(), service.target_name.to_string()];
    words.extend(service.svc_params.iter().map(|(key, value)| {
        let value = match value {
            SvcParamValue::Mandatory(keys) => listed(keys.0.iter().map(key_presented)),
            SvcParamValue::Alpn(ids) => quoted(listed(&ids.0).as_bytes()),
            SvcParamValue::NoDefaultAlpn => return key_presented(key),
            SvcParamValue::Ipv4Hint(addresses) => listed(&addresses.0),
            SvcParamValue::Ipv6Hint(addresses) => listed(&addresses.0),
            SvcParamValue::Unknown(bytes) => quoted(&bytes.0),
            value => value.to_string(),
        };
        format!("{}={value}", key_presented(key))
    }));
    words.join(" ")
}

fn key_presented(key: &SvcParamKey) -> String {
    match key {
        SvcParamKey::Key(_) | SvcParamKey::Key65535 | SvcParamKey::Unknown(_) => format!("key{}", u16::from(*key)),
        key => key.to_string(),
    }
}

fn listed(values: impl IntoIterator<Item = impl ToString>) -> String {
    values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join(",")
}

/// A string between quotes, with what is not plain as `\DDD`.
fn quoted(bytes: &[u8]) -> String {
    let mut text = String::from('"');
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(byte)]),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\{byte:03}")),
        }
    }
    text.push('"');
    text
}

impl fmt::Display for DigRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\t{}\tIN\t{}\t{}", self.name, self.ttl_s, self.kind, self.data)
    }
}

impl fmt::Display for DigReply {
    /// As dig prints it, with a last line of ours that says where the resolver stood.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, ";; ->>HEADER<<- opcode: QUERY, status: {}", self.rcode)?;
        let (answers, authority) = (self.answers.len(), self.authority.len());
        writeln!(f, ";; flags: {}; QUERY: 1, ANSWER: {answers}, AUTHORITY: {authority}", self.flags.join(" "))?;
        if let Some(subnet) = &self.client_subnet {
            writeln!(f, "; CLIENT-SUBNET: {}/{}", subnet.source, subnet.scope.unwrap_or(0))?;
        }
        writeln!(f, "\n;; QUESTION SECTION:\n;{}\t\tIN\t{}", self.name, self.kind)?;
        for (section, records) in [("ANSWER", &self.answers), ("AUTHORITY", &self.authority)] {
            if !records.is_empty() {
                writeln!(f, "\n;; {section} SECTION:")?;
                records.iter().try_for_each(|record| writeln!(f, "{record}"))?;
            }
        }
        writeln!(f, "\n;; Query time: {:.1} msec", self.time_ms)?;
        let protocol = if self.tcp { "TCP" } else { "UDP" };
        let server = self.server;
        writeln!(f, ";; SERVER: {}#53 ({}) asked {server} ({protocol})", self.resolver, self.resolver_place)?;
        if self.cached {
            writeln!(f, ";; the resolver had the answer in its cache")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_services_read_as_in_a_zone_file() {
        use hickory_proto::rr::{
            Name,
            rdata::{
                A, HTTPS, TXT,
                svcb::{Alpn, IpHint, Mandatory, Unknown},
            },
        };
        let text = TXT::from_bytes(vec![b"a \"b\" c\\", b"\xffd"]);
        assert_eq!(presented(&RData::TXT(text)), r#""a \"b\" c\\" "\255d""#);
        let params = vec![
            (SvcParamKey::Mandatory, SvcParamValue::Mandatory(Mandatory(vec![SvcParamKey::Alpn, SvcParamKey::Port]))),
            (SvcParamKey::Alpn, SvcParamValue::Alpn(Alpn(vec!["h2".into(), "http/1.1".into()]))),
            (SvcParamKey::NoDefaultAlpn, SvcParamValue::NoDefaultAlpn),
            (SvcParamKey::Port, SvcParamValue::Port(4443)),
            (
                SvcParamKey::Ipv4Hint,
                SvcParamValue::Ipv4Hint(IpHint(vec![A::new(127, 77, 0, 1), A::new(127, 77, 0, 2)])),
            ),
            (SvcParamKey::Key(65_280), SvcParamValue::Unknown(Unknown(b"x y".to_vec()))),
        ];
        assert_eq!(
            presented(&RData::HTTPS(HTTPS(SVCB::new(1, Name::root(), params)))),
            r#"1 . mandatory=alpn,port alpn="h2,http/1.1" no-default-alpn port=4443 ipv4hint=127.77.0.1,127.77.0.2 key65280="x y""#,
        );
    }

    #[test]
    fn a_reply_reads_like_digs() {
        let answer =
            |data: &str| DigRecord { name: "www.demo.test.".into(), ttl_s: 20, kind: "A".into(), data: data.into() };
        let reply = DigReply {
            name: "www.demo.test.".into(),
            kind: "A".into(),
            rcode: "NOERROR".into(),
            flags: vec!["qr", "aa"],
            answers: vec![answer("127.77.0.4"), answer("127.77.0.2")],
            authority: Vec::new(),
            client_subnet: Some(DigSubnet { source: "198.18.41.0/24".parse().unwrap(), scope: Some(24) }),
            cached: false,
            tcp: false,
            tries: 1,
            resolver_place: "nairobi".into(),
            resolver: Ipv4Addr::new(198, 18, 41, 53),
            server: SocketAddr::from(([127, 0, 0, 1], 4453)),
            time_ms: 64.25,
        };
        let text = reply.to_string();
        assert!(text.contains("status: NOERROR\n;; flags: qr aa; QUERY: 1, ANSWER: 2, AUTHORITY: 0\n"), "{text}");
        assert!(text.contains("; CLIENT-SUBNET: 198.18.41.0/24/24\n"), "{text}");
        assert!(text.contains("\nwww.demo.test.\t20\tIN\tA\t127.77.0.4\nwww.demo.test.\t20\tIN\tA\t127.77.0.2\n"));
        assert!(text.contains(";; SERVER: 198.18.41.53#53 (nairobi) asked 127.0.0.1:4453 (UDP)\n"), "{text}");
        let json = serde_json::to_value(&reply).unwrap();
        assert_eq!(json["answers"][0]["ttl_s"], 20);
        assert_eq!(json["client_subnet"]["scope"], 24);
    }
}
