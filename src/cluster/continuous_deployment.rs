//! Which requests a staging distribution answers, checked.

use cdn_core::continuous_deployment::{ContinuousDeployment, ContinuousDeploymentError, Sessions, Traffic};
use http::{HeaderName, HeaderValue};
use indexmap::IndexMap;

use crate::{
    cluster_file::{ContinuousDeploymentFile, DistributionFile},
    diagnose::{KeyError, nearest_or_all},
};

/// Reads `[distributions.X.continuous_deployment]`.
///
/// # Errors
/// A staging distribution that does not exist or has names of its own, and what CloudFront refuses.
pub(super) fn continuous_deployment_of(
    key: &str,
    file: Option<&ContinuousDeploymentFile>,
    distributions: &IndexMap<String, DistributionFile>,
) -> Result<Option<ContinuousDeployment>, KeyError> {
    let Some(file) = file else { return Ok(None) };
    let at = |field: &str| format!("{key}.{field}");
    let staging = &file.staging;
    match distributions.get(staging) {
        None => {
            let hint = nearest_or_all(staging, distributions.keys().map(String::as_str));
            return Err(KeyError { hint, ..KeyError::new(&at("staging"), format!("no distribution {staging:?}")) });
        }
        Some(found) if !found.hosts_of(staging).is_empty() => {
            return Err(KeyError::new(&at("staging"), format!("{staging:?} has names of its own"))
                .hint("a staging distribution answers in the name of another: write `hosts = []`"));
        }
        Some(_) => {}
    }
    let traffic = match (file.weight, &file.header, &file.value) {
        (Some(share), None, None) => {
            let (idle, max) = (file.session_idle.or(file.session_max), file.session_max.or(file.session_idle));
            let sessions = idle.zip(max).map(|(idle, max)| Sessions { idle: idle.0, max: max.0 });
            Traffic::Weight { share, sessions }
        }
        (None, Some(name), Some(value)) => Traffic::Header {
            name: name
                .parse::<HeaderName>()
                .map_err(|_| KeyError::new(&at("header"), format!("{name:?} is no header")))?,
            value: HeaderValue::from_str(value)
                .map_err(|_| KeyError::new(&at("value"), format!("{value:?} can be no header's value")))?,
        },
        _ => {
            return Err(KeyError::new(key, "either a weight, or a header and its value")
                .hint("weight = 0.05, or header = \"aws-cf-cd-test\" and value = \"yes\""));
        }
    };
    ContinuousDeployment::new(staging, traffic).map(Some).map_err(|error| {
        let field = match error {
            ContinuousDeploymentError::Weight => "weight",
            ContinuousDeploymentError::Header => "header",
            ContinuousDeploymentError::Sessions if file.session_idle.is_some() => "session_idle",
            ContinuousDeploymentError::Sessions => "session_max",
        };
        KeyError::new(&at(field), error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::quantity::Span;

    fn check(written: ContinuousDeploymentFile) -> Result<ContinuousDeployment, String> {
        let named = DistributionFile { hosts: Some(vec!["a.test".into()]), ..DistributionFile::default() };
        let all = IndexMap::from([("next".to_owned(), DistributionFile::default()), ("named".to_owned(), named)]);
        continuous_deployment_of("cd", Some(&written), &all)
            .map(|policy| policy.unwrap())
            .map_err(|error| format!("{}: {}", error.key.join("."), error.message))
    }

    #[test]
    fn traffic_goes_by_weight_or_by_header() {
        let base = ContinuousDeploymentFile { staging: "next".into(), ..ContinuousDeploymentFile::default() };
        let minutes = |minutes: u64| Some(Span(Duration::from_secs(60 * minutes)));
        let sticky = ContinuousDeploymentFile { weight: Some(0.1), session_idle: minutes(5), ..base.clone() };
        let five = Duration::from_secs(300);
        let sessions = Some(Sessions { idle: five, max: five });
        assert_eq!(check(sticky.clone()).unwrap().traffic(), &Traffic::Weight { share: 0.1, sessions });
        for (written, says) in [
            (base.clone(), "cd: either a weight"),
            (ContinuousDeploymentFile { staging: "nxt".into(), ..base.clone() }, "cd.staging: no distribution"),
            (ContinuousDeploymentFile { staging: "named".into(), ..base.clone() }, "cd.staging: \"named\" has names"),
            (ContinuousDeploymentFile { weight: Some(0.5), ..base.clone() }, "cd.weight: a weight is a share"),
            (ContinuousDeploymentFile { session_idle: minutes(2), ..sticky }, "cd.session_idle: sessions last"),
            (
                ContinuousDeploymentFile { header: Some("x-a".into()), value: Some("1".into()), ..base },
                "cd.header: the header's name must begin with aws-cf-cd-",
            ),
        ] {
            let error = check(written).unwrap_err();
            assert!(error.starts_with(says), "{error}");
        }
    }
}
