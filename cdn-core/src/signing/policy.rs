//! What a signature allows: the canned policy, which is one URL until a moment, and the custom one, a JSON document.
//!
//! A custom policy is read from the bytes that were signed and never written anew, so white space and the order of keys
//! are the signer's. One statement, as a list of one or by itself; a time of expiry is required. Times are whole Unix
//! seconds, not quoted. What the document says beyond that would be a condition that nobody checks, so it is refused.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde_json::{Map, Value};

use super::resource::{Resource, ResourcePattern};

/// What a signature allows.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Which URLs.
    pub resource: Resource,
    /// Unix seconds from which on it allows nothing (`DateLessThan`).
    pub ends_at: i64,
    /// Unix seconds after which it begins to allow (`DateGreaterThan`).
    pub begins_after: Option<i64>,
    /// To viewers of this network alone (`IpAddress`).
    pub network: Option<Ipv4Net>,
}

/// Why something is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPolicy {
    /// It cannot be decoded.
    #[error("it is not base64 with - _ ~ for + = /")]
    Encoding,
    /// It is no JSON.
    #[error("it is not JSON: {0}")]
    Json(String),
    /// `Expires` is no time.
    #[error("Expires is no number of Unix seconds")]
    Expires,
    /// A part of it has another shape, or is missing.
    #[error("{at} must be {what}")]
    Shape {
        /// Where in the document.
        at: &'static str,
        /// What should be there.
        what: &'static str,
    },
    /// A part of it means nothing here.
    #[error("{at} has {key:?}, which means nothing in a policy")]
    Unknown {
        /// Where in the document.
        at: &'static str,
        /// What stands there.
        key: String,
    },
}

/// The text of a canned policy, byte for byte, for a `url` without CloudFront's parameters.
pub fn canned(url: &str, expires: &str) -> String {
    format!(r#"{{"Statement":[{{"Resource":"{url}","Condition":{{"DateLessThan":{{"AWS:EpochTime":{expires}}}}}}}]}}"#)
}

/// Reads Unix seconds: decimal digits alone.
pub fn seconds(text: &str) -> Option<i64> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

impl Policy {
    /// Reads a custom policy from what was signed.
    ///
    /// # Errors
    /// The first part that has not the shape of a policy.
    pub fn read(text: &[u8]) -> Result<Self, InvalidPolicy> {
        let document: Value = serde_json::from_slice(text).map_err(|error| InvalidPolicy::Json(error.to_string()))?;
        let shape = |at, what| InvalidPolicy::Shape { at, what };
        let document = object(&document, "the document")?;
        only(document, "the document", &["Statement", "Version", "Id"])?;
        let statement = match document.get("Statement") {
            Some(Value::Array(list)) if list.len() == 1 => &list[0],
            Some(statement @ Value::Object(_)) => statement,
            _ => return Err(shape("Statement", "a list of one statement")),
        };
        let statement = object(statement, "Statement")?;
        only(statement, "Statement", &["Resource", "Condition", "Effect", "Sid"])?;
        if statement.get("Effect").is_some_and(|effect| effect != "Allow") {
            return Err(shape("Effect", "\"Allow\""));
        }
        let resource = match statement.get("Resource") {
            None => Resource::Any,
            Some(Value::String(pattern)) => Resource::Pattern(
                ResourcePattern::parse(pattern)
                    .ok_or_else(|| shape("Resource", "a URL that begins with http://, https://, *:// or *"))?,
            ),
            Some(_) => return Err(shape("Resource", "one URL")),
        };
        let condition = statement.get("Condition").ok_or_else(|| shape("Condition", "there"))?;
        let condition = object(condition, "Condition")?;
        only(condition, "Condition", &["DateLessThan", "DateGreaterThan", "IpAddress"])?;
        let ends_at = condition.get("DateLessThan").ok_or_else(|| shape("Condition.DateLessThan", "there"))?;
        Ok(Self {
            resource,
            ends_at: epoch_time(ends_at, "Condition.DateLessThan")?,
            begins_after: condition
                .get("DateGreaterThan")
                .map(|value| epoch_time(value, "Condition.DateGreaterThan"))
                .transpose()?,
            network: condition.get("IpAddress").map(source_ip).transpose()?,
        })
    }
}

fn object<'v>(value: &'v Value, at: &'static str) -> Result<&'v Map<String, Value>, InvalidPolicy> {
    value.as_object().ok_or(InvalidPolicy::Shape { at, what: "an object" })
}

fn only(object: &Map<String, Value>, at: &'static str, known: &[&str]) -> Result<(), InvalidPolicy> {
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(InvalidPolicy::Unknown { at, key: key.clone() }),
        None => Ok(()),
    }
}

/// The value of an operator's one key.
fn operand<'v>(value: &'v Value, at: &'static str, key: &str) -> Result<Option<&'v Value>, InvalidPolicy> {
    let operator = object(value, at)?;
    only(operator, at, &[key])?;
    Ok(operator.get(key))
}

fn epoch_time(value: &Value, at: &'static str) -> Result<i64, InvalidPolicy> {
    let time = operand(value, at, "AWS:EpochTime")?.and_then(Value::as_i64);
    time.ok_or(InvalidPolicy::Shape { at, what: "{\"AWS:EpochTime\": whole Unix seconds, not quoted}" })
}

fn source_ip(value: &Value) -> Result<Ipv4Net, InvalidPolicy> {
    let at = "Condition.IpAddress";
    let text = operand(value, at, "AWS:SourceIp")?.and_then(Value::as_str);
    let read = |text: &str| -> Option<Ipv4Net> {
        let net = text.parse::<Ipv4Net>().ok();
        net.or_else(|| text.parse::<Ipv4Addr>().ok().map(Ipv4Net::from)).map(|net| net.trunc())
    };
    text.and_then(read).ok_or(InvalidPolicy::Shape { at, what: "{\"AWS:SourceIp\": one IPv4 address or network}" })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with(statement: &str) -> Result<Policy, InvalidPolicy> {
        Policy::read(format!(r#"{{"Statement":[{statement}]}}"#).as_bytes())
    }

    #[test]
    fn a_policy_is_read_in_whatever_order_and_white_space() {
        let text = br#" { "Statement" : [ { "Condition": { "IpAddress": {"AWS:SourceIp":"192.0.2.7/24"},
            "DateGreaterThan":{"AWS:EpochTime":5}, "DateLessThan":{"AWS:EpochTime":9} }, "Resource":"https://a.test/*" } ] } "#;
        let policy = Policy::read(text).unwrap();
        assert_eq!((policy.ends_at, policy.begins_after), (9, Some(5)));
        assert_eq!(policy.network, Some("192.0.2.0/24".parse().unwrap()));
        assert_eq!(policy.resource.to_string(), "https://a.test/*");
        let bare = Policy::read(br#"{"Statement":{"Condition":{"DateLessThan":{"AWS:EpochTime":9}}}}"#).unwrap();
        assert_eq!((bare.resource, bare.network), (Resource::Any, None));
    }

    #[test]
    fn what_has_not_the_shape_is_refused_with_its_place() {
        let refusal = |statement: &str| with(statement).unwrap_err().to_string();
        let ends = r#""DateLessThan":{"AWS:EpochTime":9}"#;
        for (statement, expected) in [
            (r#"{"Resource":"https://a/*"}"#.to_owned(), "Condition must be there"),
            (r#"{"Condition":{}}"#.into(), "Condition.DateLessThan must be there"),
            (r#"{"Condition":{"DateLessThan":{"AWS:EpochTime":"9"}}}"#.into(), "whole Unix seconds, not quoted"),
            (r#"{"Condition":{"DateLessThan":{"AWS:EpochTime":9.5}}}"#.into(), "whole Unix seconds, not quoted"),
            (format!(r#"{{"Condition":{{{ends}}},"Resource":"ftp://a/*"}}"#), "Resource must be a URL"),
            (format!(r#"{{"Condition":{{{ends}}},"Resource":["https://a/*"]}}"#), "Resource must be one URL"),
            (
                format!(r#"{{"Condition":{{{ends},"IpAddress":{{"AWS:SourceIp":"::1"}}}}}}"#),
                "one IPv4 address or network",
            ),
            (format!(r#"{{"Condition":{{{ends},"StringEquals":{{}}}}}}"#), "StringEquals"),
            (format!(r#"{{"Condition":{{{ends}}},"Effect":"Deny"}}"#), "Effect must be \"Allow\""),
        ] {
            assert!(refusal(&statement).contains(expected), "{statement}: {}", refusal(&statement));
        }
        for text in [&b"{}"[..], b"[]", b"1", b"", b"{\"Statement\":[]}", b"{\"Statement\":[{},{}]}", b"\xff", b"{}{}"]
        {
            assert!(Policy::read(text).is_err());
        }
        assert_eq!(seconds("1893456000"), Some(1_893_456_000));
        for text in ["", "-1", "+1", "1.0", " 1", "99999999999999999999"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r#"[{}\[\]":,a-zA-Z0-9*/. -]{0,120}"#) {
            let _ = Policy::read(text.as_bytes());
            let _ = with(&text);
        }
    }
}
