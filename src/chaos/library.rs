//! The scenarios that `iso` brings: incidents that happened somewhere, and those that everybody meets.
//!
//! Each is a file in `examples/incidents`, with the mechanism and the figures that it must show.

use serde_json::json;

use crate::{
    args::Cli,
    diagnose::{Source, did_you_mean},
    talk::VerbError,
    verbs::say,
};

/// A scenario of the library.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Incident {
    /// What one types: the file's name without `.toml`.
    pub(crate) name: &'static str,
    text: &'static str,
}

impl Incident {
    /// Its file.
    pub(crate) fn source(&self) -> Source {
        Source { name: format!("{}.toml", self.name), text: self.text.to_owned() }
    }
}

/// One file per name.
macro_rules! incidents {
    ($($name:literal,)*) => {
        /// All of them, in the order in which they are listed.
        pub(crate) const INCIDENTS: &[Incident] = &[
            $(Incident { name: $name, text: include_str!(concat!("../../examples/incidents/", $name, ".toml")) },)*
        ];
    };
}

incidents! {
    "edge-dies",
    "region-lost",
    "thundering-return",
    "router-lost",
    "dns-ttl-stretchers",
    "health-checks-lie",
    "fail-open",
    "origin-black-hole",
    "origin-refused",
    "origin-brown-out",
    "origin-flapping",
    "slow-shield",
    "shield-origin-partition",
    "retry-storm",
    "retry-budget",
    "stampede-collapsed",
    "stampede-uncollapsed",
    "flash-crowd",
    "cold-restarts",
    "invalidation-in-partition",
    "certificate-expired",
    "clock-skew",
    "logs-full",
    "config-at-once",
    "config-canary",
    "fastly-2021-06-08",
    "facebook-2021-10-04",
    "cloudflare-2019-07-02",
    "cloudflare-2020-07-17",
    "cloudflare-2022-10-25",
    "cloudflare-2025-11-18",
    "slack-2022-02-22",
}

/// The incident called `name`.
pub(super) fn incident(name: &str) -> Option<Incident> {
    INCIDENTS.iter().find(|incident| incident.name == name).copied()
}

/// What to say where there is neither a file nor an incident of this name.
pub(super) fn unknown(name: &str) -> VerbError {
    let hint = did_you_mean(name, INCIDENTS.iter().map(|incident| incident.name));
    let hint = hint.unwrap_or_else(|| "`iso chaos list` shows those that `iso` brings".into());
    VerbError::Usage(format!("there is no scenario file {name:?}, and no scenario of that name\nhint: {hint}"))
}

/// Runs `iso chaos list`.
pub(super) fn list(cli: &Cli) -> Result<(), VerbError> {
    let described: Vec<(&str, String, String)> = INCIDENTS.iter().map(|incident| describe(*incident)).collect();
    if cli.json {
        let rows: Vec<_> = described
            .iter()
            .map(|(name, title, about)| json!({ "name": name, "title": title, "about": about }))
            .collect();
        return say(&serde_json::to_string_pretty(&json!({ "scenarios": rows }))?);
    }
    let width = described.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
    for (name, title, _) in &described {
        say(&format!("{name:<width$}  {title}"))?;
    }
    say("\nplay one: iso chaos run edge-dies     what it shows and why: iso chaos list --json")
}

/// Name, title and mechanism, as the file says them.
fn describe(incident: Incident) -> (&'static str, String, String) {
    let table: toml::Table = incident.text.parse().unwrap_or_default();
    let text = |key: &str| {
        let value = table.get(key).and_then(toml::Value::as_str).unwrap_or_default();
        value.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    (incident.name, text("title"), text("about"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_is_in_the_library_and_checks_and_says_what_it_shows() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/incidents");
        let mut files: Vec<String> = std::fs::read_dir(dir)
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().to_string_lossy().strip_suffix(".toml").map(str::to_owned))
            .collect();
        let mut names: Vec<String> = INCIDENTS.iter().map(|incident| incident.name.to_owned()).collect();
        files.sort();
        names.sort();
        assert_eq!(files, names);
        for incident in INCIDENTS {
            let staged = crate::scenario::stage(incident.source(), Path::new(""), None, None);
            let scenario = staged.map_err(|error| panic!("{error}")).unwrap().scenario;
            assert!(scenario.about.len() > 120, "{}: says too little of the mechanism", incident.name);
            assert!(scenario.expectations.len() >= 2, "{}: holds too little", incident.name);
            assert!(!scenario.loads.is_empty(), "{}", incident.name);
        }
    }
}
