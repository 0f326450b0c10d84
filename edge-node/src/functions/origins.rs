//! What a function said of the origins for its request, as the arguments of CloudFront's methods (AWS page "Helper methods
//! for origin modification").
//!
//! Reads shapes alone. What is within bounds, and what becomes of it, [`cdn_core::functions`] decides.

use std::{fmt::Write as _, time::Duration};

use cdn_core::{
    distribution::Distribution,
    functions::{
        ChosenOrigins, CustomOrigin, FunctionInvalid, GroupChoice, OriginChange, OriginChoice, OriginOverrides,
        OriginUpdate,
    },
    origin_protocol::OriginSslProtocol,
};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// What was said, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginChanges {
    said: Vec<Value>,
    changes: Vec<OriginChange>,
    notes: Vec<String>,
    bytes: usize,
    is_full: bool,
}

impl OriginChanges {
    /// Each call: `{"selectRequestOriginById": ["spare"]}`.
    pub fn said(&self) -> &[Value] {
        &self.said
    }

    /// What of it makes no difference here, though it does at CloudFront, for people.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.said.is_empty()
    }

    /// Whether more was to be said than is allowed.
    pub(super) const fn is_full(&self) -> bool {
        self.is_full
    }

    /// Adds a call of `method`, where all that is said stays within `bytes_max`.
    ///
    /// # Errors
    /// What is wrong with its arguments.
    pub(super) fn push(&mut self, method: &str, arguments: &str, bytes_max: usize) -> Result<(), String> {
        self.bytes += method.len() + arguments.len();
        if self.bytes > bytes_max {
            self.is_full = true;
            return Err(format!("more than {bytes_max} bytes are said of the origins of one request"));
        }
        let arguments: Vec<Value> = serde_json::from_str(arguments).map_err(|error| error.to_string())?;
        let change = read(method, &arguments, &mut self.notes)?;
        change.check()?;
        self.changes.push(change);
        self.said.push(json!({ method: arguments }));
        Ok(())
    }

    /// A line in visible ASCII, for a cache behind and for the decision log.
    pub(crate) fn to_line(&self) -> String {
        let text = Value::from(self.said.clone()).to_string();
        let mut line = String::with_capacity(text.len());
        // What is not ASCII stands within strings alone.
        for char in text.chars() {
            if matches!(char, ' '..='~') {
                line.push(char);
            } else {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    let _ = write!(line, "\\u{unit:04x}");
                }
            }
        }
        line
    }

    /// Reads [`to_line`](Self::to_line); `None` where it is something else. Who wrote it has kept to its limit.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let said: Vec<Map<String, Value>> = serde_json::from_str(line).ok()?;
        let mut changes = Self::default();
        for (method, arguments) in said.into_iter().flatten() {
            changes.push(&method, &arguments.to_string(), usize::MAX).ok()?;
        }
        Some(changes)
    }
}

/// The origins of a request for which a function has said something of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// [`OriginChanges::to_line`].
    pub(crate) line: String,
    pub(crate) origins: ChosenOrigins,
}

impl Chosen {
    /// What comes of `changes` where a behavior has this target.
    ///
    /// # Errors
    /// The distribution has no such origin.
    pub(crate) fn new(
        distribution: &Distribution,
        target: &str,
        changes: &OriginChanges,
    ) -> Result<Self, FunctionInvalid> {
        let origins = ChosenOrigins::new(distribution, target, &changes.changes)?;
        Ok(Self { line: changes.to_line(), origins })
    }

    /// The same of a line of another process; `None` where that cannot be.
    pub(crate) fn from_line(distribution: &Distribution, target: &str, line: &str) -> Option<Self> {
        Self::new(distribution, target, &OriginChanges::from_line(line)?).ok()
    }
}

fn read(method: &str, arguments: &[Value], notes: &mut Vec<String>) -> Result<OriginChange, String> {
    let mut given = arguments.iter().cloned();
    match (method, given.next(), given.next()) {
        ("updateRequestOrigin", Some(Value::Object(properties)), None) => {
            read_update(Properties(properties), notes).map(|update| OriginChange::Update(Box::new(update)))
        }
        ("updateRequestOrigin", ..) => Err("it takes an object of properties".to_owned()),
        ("selectRequestOriginById", Some(Value::String(id)), overrides) => {
            let overrides = match overrides {
                None | Some(Value::Null) => OriginOverrides::default(),
                Some(Value::Object(overrides)) => read_overrides(&mut Properties(overrides))?,
                Some(_) => return Err("what is overridden must be an object".to_owned()),
            };
            Ok(OriginChange::Select(OriginChoice { id, overrides }))
        }
        ("selectRequestOriginById", ..) => Err("it takes the id of an origin, a string".to_owned()),
        ("createRequestOriginGroup", Some(Value::Object(properties)), None) => {
            read_group(Properties(properties), notes).map(OriginChange::Group)
        }
        ("createRequestOriginGroup", ..) => Err("it takes an object of properties".to_owned()),
        _ => Err("there is no such method".to_owned()),
    }
}

fn read_update(mut properties: Properties, notes: &mut Vec<String>) -> Result<OriginUpdate, String> {
    let mut timeouts = properties.object("timeouts")?;
    let mut seconds =
        |name: &str| -> Result<Option<Duration>, String> { Ok(timeouts.take::<u64>(name)?.map(Duration::from_secs)) };
    let update = OriginUpdate {
        response_timeout: seconds("readTimeout")?,
        completion_timeout: seconds("responseCompletionTimeout")?,
        keepalive_timeout: seconds("keepAliveTimeout")?,
        connection_timeout: seconds("connectionTimeout")?,
        domain_name: properties.take("domainName")?,
        origin_path: properties.take("originPath")?,
        custom_headers: read_headers(&mut properties)?,
        connection_attempts: properties.take("connectionAttempts")?,
        shield: read_shield(&mut properties, notes)?,
        connection: read_connection(&mut properties, notes)?,
        overrides: read_overrides(&mut properties)?,
    };
    if read_access_control(&mut properties)? {
        notes.push("requests to origins are not signed here: originAccessControlConfig changes nothing".to_owned());
    }
    timeouts.rest("timeouts.", notes);
    properties.rest("", notes);
    Ok(update)
}

fn read_headers(properties: &mut Properties) -> Result<Option<Vec<(HeaderName, HeaderValue)>>, String> {
    let Some(headers) = properties.take::<Map<String, Value>>("customHeaders")? else { return Ok(None) };
    let header = |(name, value): (String, Value)| {
        let wrong = || format!("customHeaders.{name} is no header: a name in lower case, and a string");
        let parsed = HeaderName::from_bytes(name.as_bytes()).ok().filter(|parsed| parsed.as_str() == name);
        let value = value.as_str().and_then(|text| HeaderValue::from_str(text).ok());
        Ok((parsed.ok_or_else(wrong)?, value.ok_or_else(wrong)?))
    };
    headers.into_iter().map(header).collect::<Result<_, String>>().map(Some)
}

fn read_shield(properties: &mut Properties, notes: &mut Vec<String>) -> Result<Option<bool>, String> {
    if !properties.has("originShield") {
        return Ok(None);
    }
    let mut shield = properties.object("originShield")?;
    let enabled = shield.required::<bool>("originShield", "enabled")?;
    let region = shield.take::<String>("region")?;
    match (enabled, region) {
        (true, None) => return Err("originShield.region is missing".to_owned()),
        (true, Some(region)) => notes.push(format!("the shield stays where it is: {region} is not looked at")),
        (false, _) => {}
    }
    Ok(Some(enabled))
}

fn read_connection(properties: &mut Properties, notes: &mut Vec<String>) -> Result<Option<CustomOrigin>, String> {
    const WHERE: &str = "customOriginConfig";
    if !properties.has(WHERE) {
        return Ok(None);
    }
    let mut config = properties.object(WHERE)?;
    let https = match config.required::<String>(WHERE, "protocol")?.as_str() {
        "http" => false,
        "https" => true,
        other => return Err(format!("{WHERE}.protocol must be http or https, and is {other:?}")),
    };
    let protocol = |word: &String| {
        let known = OriginSslProtocol::ALL.into_iter().find(|protocol| protocol.as_str() == word);
        known.ok_or_else(|| format!("{WHERE}.sslProtocols has {word:?}: SSLv3, TLSv1, TLSv1.1 and TLSv1.2 can be"))
    };
    let words = config.required::<Vec<String>>(WHERE, "sslProtocols")?;
    let ssl_protocols = words.iter().map(protocol).collect::<Result<_, _>>()?;
    let port = config.required(WHERE, "port")?;
    if config.has("ipAddressType") {
        let word = config.required::<String>(WHERE, "ipAddressType")?;
        if !["ipv4", "ipv6", "dualstack"].contains(&word.as_str()) {
            return Err(format!("{WHERE}.ipAddressType must be ipv4, ipv6 or dualstack, and is {word:?}"));
        }
        notes.push("an origin has the addresses that the world gives it: ipAddressType changes nothing".to_owned());
    }
    config.rest("customOriginConfig.", notes);
    Ok(Some(CustomOrigin { port, https, ssl_protocols }))
}

/// Whether requests would be signed.
fn read_access_control(properties: &mut Properties) -> Result<bool, String> {
    const WHERE: &str = "originAccessControlConfig";
    if !properties.has(WHERE) {
        return Ok(false);
    }
    let mut config = properties.object(WHERE)?;
    if !config.required::<bool>(WHERE, "enabled")? {
        return Ok(false);
    }
    for (field, words) in [
        ("signingBehavior", &["always", "never", "no-override"][..]),
        ("signingProtocol", &["sigv4"]),
        ("originType", &["s3", "mediapackagev2", "mediastore", "lambda"]),
    ] {
        let word = config.required::<String>(WHERE, field)?;
        if !words.contains(&word.as_str()) {
            return Err(format!("{WHERE}.{field} must be one of {}, and is {word:?}", words.join(", ")));
        }
    }
    Ok(true)
}

fn read_overrides(properties: &mut Properties) -> Result<OriginOverrides, String> {
    Ok(OriginOverrides {
        host_header: properties.take("hostHeader")?,
        sni: properties.take("sni")?,
        certificate_names: properties.take("allowedCertificateNames")?.unwrap_or_default(),
    })
}

fn read_group(mut properties: Properties, notes: &mut Vec<String>) -> Result<GroupChoice, String> {
    let ids = properties.take::<Vec<Value>>("originIds")?.ok_or("originIds is missing")?;
    let choices = ids.into_iter().map(read_choice).collect::<Result<Vec<_>, String>>()?;
    let members = <[OriginChoice; 2]>::try_from(choices)
        .map_err(|choices| format!("originIds must be of two origins, and has {}", choices.len()))?;
    match properties.take::<String>("selectionCriteria")?.as_deref() {
        None | Some("default") => {}
        Some("media-quality-score") => {
            notes.push("origins have no media quality here: media-quality-score does what default does".to_owned());
        }
        Some(other) => {
            return Err(format!("selectionCriteria must be default or media-quality-score, and is {other:?}"));
        }
    }
    if !properties.has("failoverCriteria") {
        return Err("failoverCriteria is missing".to_owned());
    }
    let codes = properties.object("failoverCriteria")?.required::<Vec<u16>>("failoverCriteria", "statusCodes")?;
    let code = |code: u16| {
        StatusCode::from_u16(code).map_err(|_| format!("failoverCriteria.statusCodes has {code}, which is no status"))
    };
    let failover_codes = codes.into_iter().map(code).collect::<Result<_, _>>()?;
    properties.rest("", notes);
    Ok(GroupChoice { members, failover_codes })
}

/// A member of a group: `{ originId, originOverrides }`, or the id alone.
fn read_choice(value: Value) -> Result<OriginChoice, String> {
    match value {
        Value::String(id) => Ok(OriginChoice { id, overrides: OriginOverrides::default() }),
        Value::Object(member) => {
            let mut member = Properties(member);
            let id = member.required("originIds", "originId")?;
            let overrides = read_overrides(&mut member.object("originOverrides")?)?;
            Ok(OriginChoice { id, overrides })
        }
        _ => Err("originIds must have objects with an originId".to_owned()),
    }
}

/// Properties that were not read yet.
struct Properties(Map<String, Value>);

impl Properties {
    fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| !value.is_null())
    }

    fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, String> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value).map(Some).map_err(|error| format!("{name}: {error}")),
        }
    }

    fn required<T: DeserializeOwned>(&mut self, within: &str, name: &str) -> Result<T, String> {
        self.take(name)
            .map_err(|error| format!("{within}.{error}"))?
            .ok_or_else(|| format!("{within}.{name} is missing"))
    }

    /// An object of properties, which may be absent.
    fn object(&mut self, name: &str) -> Result<Self, String> {
        Ok(Self(self.take(name)?.unwrap_or_default()))
    }

    /// Notes what nobody has read.
    fn rest(self, within: &str, notes: &mut Vec<String>) {
        notes.extend(self.0.into_iter().map(|(name, _)| format!("{within}{name} changes nothing here")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is allowed by default.
    const BYTES_MAX: usize = 4096;

    fn push(method: &str, arguments: Value) -> Result<OriginChanges, String> {
        let mut changes = OriginChanges::default();
        changes.push(method, &arguments.to_string(), BYTES_MAX)?;
        Ok(changes)
    }

    #[test]
    fn the_examples_of_the_manual_are_read() {
        let s3 = json!([{
            "domainName": "bucket.s3.us-east-1.amazonaws.com",
            "originAccessControlConfig": {
                "enabled": true, "signingBehavior": "always", "signingProtocol": "sigv4", "originType": "s3"
            },
            "customHeaders": {}
        }]);
        let changes = push("updateRequestOrigin", s3).unwrap();
        let [OriginChange::Update(update)] = changes.changes.as_slice() else { panic!("{changes:?}") };
        assert_eq!(update.custom_headers.as_deref(), Some(&[][..]));
        assert!(changes.notes()[0].starts_with("requests to origins are not signed here"), "{:?}", changes.notes());
        let balancer = json!([{
            "domainName": "balancer.test",
            "timeouts": { "readTimeout": 30, "connectionTimeout": 5 },
            "customHeaders": { "x-stage": "production" }
        }]);
        let changes = push("updateRequestOrigin", balancer).unwrap();
        let [OriginChange::Update(update)] = changes.changes.as_slice() else { panic!("{changes:?}") };
        assert_eq!(update.response_timeout, Some(Duration::from_secs(30)));
        assert_eq!(update.connection_timeout, Some(Duration::from_secs(5)));
        let group = json!([{
            "originIds": [
                { "originId": "a", "originOverrides": { "hostHeader": "h.test", "sni": "s.test",
                  "allowedCertificateNames": ["c.test"] } },
                { "originId": "b" }
            ],
            "failoverCriteria": { "statusCodes": [500] }
        }]);
        let changes = push("createRequestOriginGroup", group).unwrap();
        let [OriginChange::Group(group)] = changes.changes.as_slice() else { panic!("{changes:?}") };
        assert_eq!(group.members[0].overrides.sni.as_deref(), Some("s.test"));
        assert_eq!((group.members[1].id.as_str(), group.failover_codes[0]), ("b", StatusCode::INTERNAL_SERVER_ERROR));
    }

    #[test]
    fn what_was_said_comes_back_from_its_line() {
        let mut changes = push("selectRequestOriginById", json!(["\u{fc}ber \u{1f600}\u{7f}  x"])).unwrap();
        changes.push("updateRequestOrigin", "[{\"originPath\":\"/a\",\"mTLSConfig\":\"off\"}]", BYTES_MAX).unwrap();
        let line = changes.to_line();
        assert!(line.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{line}");
        assert_eq!(OriginChanges::from_line(&line), Some(changes));
        assert_eq!(OriginChanges::from_line("x"), None);
    }

    #[test]
    fn a_wrong_argument_is_refused_by_its_name() {
        for (method, arguments, expected) in [
            ("updateRequestOrigin", json!([]), "it takes an object"),
            ("updateRequestOrigin", json!([{ "domainName": 5 }]), "domainName: invalid type"),
            ("updateRequestOrigin", json!([{ "customHeaders": { "X-A": "1" } }]), "customHeaders.X-A is no header"),
            ("updateRequestOrigin", json!([{ "timeouts": { "readTimeout": "1" } }]), "readTimeout: invalid type"),
            ("updateRequestOrigin", json!([{ "connectionAttempts": 9 }]), "connectionAttempts must be 1 to 3"),
            ("updateRequestOrigin", json!([{ "originShield": { "enabled": true } }]), "originShield.region is missing"),
            (
                "updateRequestOrigin",
                json!([{ "customOriginConfig": { "port": 80 } }]),
                "customOriginConfig.protocol is",
            ),
            (
                "updateRequestOrigin",
                json!([{ "originAccessControlConfig": { "enabled": true, "signingBehavior": "maybe" } }]),
                "originAccessControlConfig.signingBehavior must be one of always",
            ),
            ("selectRequestOriginById", json!([{}]), "it takes the id of an origin"),
            ("selectRequestOriginById", json!(["a", { "hostHeader": "a:80" }]), "hostHeader must be a name"),
            (
                "createRequestOriginGroup",
                json!([{ "originIds": ["a"] }]),
                "originIds must be of two origins, and has 1",
            ),
            ("createRequestOriginGroup", json!([{ "originIds": ["a", "b"] }]), "failoverCriteria is missing"),
            ("updateRequestOrigin", json!([{ "originPath": "/".repeat(5_000) }]), "more than 4096 bytes"),
        ] {
            let said = push(method, arguments.clone()).unwrap_err();
            assert!(said.starts_with(expected), "{arguments}: {said}");
        }
    }
}
