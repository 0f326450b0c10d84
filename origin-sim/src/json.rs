//! Fault rules as JSON: the form in which an admin port takes and shows them.
//!
//! What was typed ([`FaultSpec`]) and what was checked ([`FaultRule`]) are different types.

use std::{net::IpAddr, time::Duration};

use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::{
    faults::{FaultKind, FaultRule},
    glob::PathGlob,
};

/// A fault rule as it was typed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    /// `status`, `latency`, `truncate`, `stall`, `garbage`, `throttle`, `reset`, `blackhole` or `refuse`.
    pub kind: String,
    /// For `status`: 200 to 599.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// For `latency`: milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    /// For `throttle`: bits per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits_per_s: Option<u64>,
    /// Share of the requests, 0 to 1; all of them where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Only these paths (`*` and `?`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Only connections from these addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Vec<IpAddr>>,
}

/// A fault rule that cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InvalidFault {
    /// There is no such kind.
    #[error(
        "{0:?} is not a kind of fault: status, latency, truncate, stall, garbage, throttle, reset, blackhole or refuse"
    )]
    Kind(String),
    /// The status is missing or cannot be sent.
    #[error("a status fault needs a status from 200 to 599")]
    Status,
    /// The time is missing, negative or not a number.
    #[error("a latency fault needs latency_ms, 0 or more")]
    Latency,
    /// The rate is missing or zero.
    #[error("a throttle fault needs bits_per_s, 8 or more")]
    Throttle,
    /// The share is not one.
    #[error("a rate lies between 0 and 1")]
    Rate,
}

impl TryFrom<FaultSpec> for FaultRule {
    type Error = InvalidFault;

    fn try_from(spec: FaultSpec) -> Result<Self, InvalidFault> {
        let kind = match spec.kind.as_str() {
            "status" => {
                let status = spec.status.filter(|status| (200..600).contains(status));
                let status = status.and_then(|status| StatusCode::from_u16(status).ok());
                FaultKind::Status(status.ok_or(InvalidFault::Status)?)
            }
            "latency" => {
                let delay = spec.latency_ms.and_then(|ms| Duration::try_from_secs_f64(ms / 1000.0).ok());
                FaultKind::Latency(delay.ok_or(InvalidFault::Latency)?)
            }
            "throttle" => FaultKind::Throttle {
                bits_per_s: spec.bits_per_s.filter(|&bits| bits >= 8).ok_or(InvalidFault::Throttle)?,
            },
            "truncate" => FaultKind::Truncate,
            "stall" => FaultKind::Stall,
            "garbage" => FaultKind::Garbage,
            "reset" => FaultKind::Reset,
            "blackhole" => FaultKind::Blackhole,
            "refuse" => FaultKind::Refuse,
            _ => return Err(InvalidFault::Kind(spec.kind)),
        };
        let rate = spec.rate.unwrap_or(1.0);
        if !(0.0..=1.0).contains(&rate) {
            return Err(InvalidFault::Rate);
        }
        Ok(Self { kind, rate, path: spec.path.as_deref().map(PathGlob::new), from: spec.from })
    }
}

impl From<&FaultRule> for FaultSpec {
    fn from(rule: &FaultRule) -> Self {
        let mut spec = Self {
            kind: rule.kind.word().into(),
            status: None,
            latency_ms: None,
            bits_per_s: None,
            rate: (rule.rate < 1.0).then_some(rule.rate),
            path: rule.path.as_ref().map(|path| path.as_str().into()),
            from: rule.from.clone(),
        };
        match rule.kind {
            FaultKind::Status(status) => spec.status = Some(status.as_u16()),
            FaultKind::Latency(delay) => spec.latency_ms = Some(delay.as_secs_f64() * 1000.0),
            FaultKind::Throttle { bits_per_s } => spec.bits_per_s = Some(bits_per_s),
            _ => {}
        }
        spec
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<FaultRule, InvalidFault> {
        serde_json::from_str::<FaultSpec>(json).unwrap().try_into()
    }

    #[test]
    fn every_kind_reads_back_what_it_writes() {
        for json in [
            r#"{"kind":"status","status":503,"rate":0.25}"#,
            r#"{"kind":"latency","latency_ms":12.5,"path":"/api/*"}"#,
            r#"{"kind":"throttle","bits_per_s":1000,"from":["127.77.0.1"]}"#,
            r#"{"kind":"truncate"}"#,
            r#"{"kind":"stall"}"#,
            r#"{"kind":"garbage"}"#,
            r#"{"kind":"reset"}"#,
            r#"{"kind":"blackhole"}"#,
            r#"{"kind":"refuse"}"#,
        ] {
            let rule = read(json).unwrap();
            assert_eq!(serde_json::to_string(&FaultSpec::from(&rule)).unwrap(), json);
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_reason() {
        assert_eq!(read(r#"{"kind":"status"}"#), Err(InvalidFault::Status));
        assert_eq!(read(r#"{"kind":"status","status":101}"#), Err(InvalidFault::Status));
        assert_eq!(read(r#"{"kind":"latency","latency_ms":-1}"#), Err(InvalidFault::Latency));
        assert_eq!(read(r#"{"kind":"throttle","bits_per_s":0}"#), Err(InvalidFault::Throttle));
        assert_eq!(read(r#"{"kind":"stall","rate":1.5}"#), Err(InvalidFault::Rate));
        assert_eq!(read(r#"{"kind":"melt"}"#), Err(InvalidFault::Kind("melt".into())));
        assert!(serde_json::from_str::<FaultSpec>(r#"{"kind":"stall","sped":1}"#).is_err());
    }
}
