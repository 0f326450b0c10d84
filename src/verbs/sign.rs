//! Signatures, and why one does not pass: what the owner of an app does with private content.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use cdn_core::{
    WallTime,
    cache_key::KeySeed,
    distribution::Distributions,
    signing::{
        Check, Claim, Credentials, Hash, Policy, Refusal, SignedRequest, Source, TrustedKeys, encoding, policy,
        resource::UrlParts,
    },
};
use edge_node::SignatureLibraries;
use http::{HeaderMap, HeaderValue, header};
use serde::Serialize;
use serde_json::json;

use crate::{
    args::{Cli, ExplainSignArgs, HashArg, SignArgs, SignVerb},
    cluster::Cluster,
    private_key::PrivateKey,
    talk::VerbError,
    verbs::{paint::Paint, print, served::served},
};

/// What signing a URL gives.
#[derive(Debug, Serialize)]
struct Signed {
    /// The URL with its signature, or `null` for cookies.
    url: Option<String>,
    /// Cookies by name; empty for a URL.
    cookies: Vec<(String, String)>,
    policy: String,
    key_pair_id: String,
}

/// Signs a URL, or makes cookies.
pub(super) fn sign(cli: &Cli, verb: &SignVerb) -> Result<(), VerbError> {
    let (SignVerb::Url(args) | SignVerb::Cookie(args)) = verb;
    let key = PrivateKey::read(&args.key)?;
    let id = args.id.clone().map_or_else(|| key.id(), Ok)?;
    let hash = match args.hash {
        HashArg::Sha1 => Hash::Sha1,
        HashArg::Sha256 => Hash::Sha256,
    };
    if UrlParts::parse(&args.url).is_none() {
        return Err(VerbError::Usage(format!("{:?} is not a URL; write http://www.demo.test/a", args.url)));
    }
    let (text, expires) = policy_of(args)?;
    let signature = encoding::encode(&key.sign(hash, text.as_bytes())?);
    let mut parts: Vec<(&str, String)> = match expires {
        Some(expires) => vec![("Expires", expires.to_string())],
        None => vec![("Policy", encoding::encode(text.as_bytes()))],
    };
    parts.extend([("Signature", signature), ("Key-Pair-Id", id.clone())]);
    // CloudFront takes SHA-1 where nothing is said.
    if hash == Hash::Sha256 {
        parts.push(("Hash-Algorithm", hash.as_str().to_owned()));
    }
    let signed = match verb {
        SignVerb::Url(_) => {
            let query: Vec<String> = parts.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let delimiter = if args.url.contains('?') { '&' } else { '?' };
            let url = format!("{}{delimiter}{}", args.url, query.join("&"));
            Signed { url: Some(url), cookies: vec![], policy: text, key_pair_id: id }
        }
        SignVerb::Cookie(_) => {
            let cookies = parts.into_iter().map(|(name, value)| (format!("CloudFront-{name}"), value)).collect();
            Signed { url: None, cookies, policy: text, key_pair_id: id }
        }
    };
    print(cli, &signed, |signed| match &signed.url {
        Some(url) => url.clone(),
        None => {
            let pairs: Vec<String> = signed.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            pairs.join("; ")
        }
    })
}

/// The policy's text, and where it is the canned one its end.
fn policy_of(args: &SignArgs) -> Result<(String, Option<i64>), VerbError> {
    let now = unix_secs();
    let ends_at = args.until.unwrap_or_else(|| now + i64::try_from(args.expires.0.as_secs()).unwrap_or(i64::MAX / 2));
    let is_canned = args.resource.is_none() && args.after.is_none() && args.ip.is_none();
    if is_canned {
        return Ok((policy::canned(&args.url, &ends_at.to_string()), Some(ends_at)));
    }
    let mut condition = serde_json::Map::new();
    condition.insert("DateLessThan".into(), json!({ "AWS:EpochTime": ends_at }));
    if let Some(ip) = &args.ip {
        condition.insert("IpAddress".into(), json!({ "AWS:SourceIp": ip }));
    }
    if let Some(after) = args.after {
        condition.insert("DateGreaterThan".into(), json!({ "AWS:EpochTime": after }));
    }
    let resource = args.resource.as_ref().unwrap_or(&args.url);
    let text = json!({ "Statement": [{ "Resource": resource, "Condition": condition }] }).to_string();
    Policy::read(text.as_bytes()).map_err(|error| VerbError::Usage(error.to_string()))?;
    Ok((text, None))
}

fn unix_secs() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// One line of the explanation.
#[derive(Debug, Serialize)]
struct Line {
    check: &'static str,
    /// `null` where it was not looked at, because one before it failed.
    passed: Option<bool>,
    detail: String,
}

/// A judgement without side effects.
#[derive(Debug, Serialize)]
struct Explained {
    url: String,
    distribution: String,
    behavior: String,
    trusted_keys: Vec<String>,
    client: IpAddr,
    checks: Vec<Line>,
    /// 200 stands for: the edge lets it pass.
    status: u16,
    reason: Option<&'static str>,
    /// The body of the 403.
    body: Option<String>,
    /// What other circumstances would change, with `--matrix`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    matrix: Vec<(String, u16)>,
}

/// What one judgement is about.
#[derive(Clone)]
struct Question {
    scheme: String,
    host: String,
    target: String,
    headers: HeaderMap,
    client: IpAddr,
    now: i64,
    keys: TrustedKeys,
}

impl Question {
    /// The policy, where it could be verified, and the first check that fails.
    fn judge(&self) -> (Option<Policy>, Option<Refusal>) {
        let Self { scheme, host, target, headers, client, now, keys } = self;
        let request = SignedRequest { scheme, host, target, headers, client: *client };
        let verified = Claim::read(keys, KeySeed::new(0), request).and_then(|claim| {
            claim
                .verify(&SignatureLibraries)
                .map(|policy| (claim.judge(WallTime::from_unix_secs(*now), &policy), policy))
        });
        match verified {
            Ok((judged, policy)) => (Some(policy), judged.err()),
            Err(refusal) => (None, Some(refusal)),
        }
    }

    /// Says another value of one of CloudFront's parameters or cookies.
    fn say(&mut self, source: Source, name: &str, value: &str) {
        let changed = |text: &str, between: &str, name: &str| {
            let others = text.split(between).filter(|pair| pair.split('=').next() != Some(name));
            others.chain([format!("{name}={value}").as_str()]).collect::<Vec<_>>().join(between)
        };
        match source {
            Source::Url => {
                let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
                self.target = format!("{path}?{}", changed(query, "&", name));
            }
            Source::Cookies => {
                let line = self.headers.get(header::COOKIE).and_then(|line| line.to_str().ok()).unwrap_or_default();
                if let Ok(line) = HeaderValue::try_from(changed(line, "; ", &format!("CloudFront-{name}"))) {
                    self.headers.insert(header::COOKIE, line);
                }
            }
        }
    }

    fn status(&self) -> u16 {
        if self.judge().1.is_none() { 200 } else { 403 }
    }
}

/// Why a signature passes, or does not.
pub(super) async fn explain(cli: &Cli, args: &ExplainSignArgs) -> Result<(), VerbError> {
    let (_, cluster) = served(cli).await?;
    let (scheme, rest) = args.url.split_once("://").unwrap_or(("", ""));
    let (host, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if !matches!(scheme, "http" | "https") || host.is_empty() {
        return Err(VerbError::Usage(format!("{:?} is not a URL; write http://www.demo.test/a", args.url)));
    }
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    let all = Distributions::new(cluster.distributions.clone()).map_err(|error| VerbError::Usage(error.to_string()))?;
    let distribution =
        all.by_host(host).ok_or_else(|| VerbError::Usage(format!("no distribution answers to {host}")))?;
    let path = target.split('?').next().unwrap_or_default();
    let behavior = distribution.behavior_for(distribution.root_object_for(path).as_deref().unwrap_or(path));
    let pattern = behavior.pattern().as_str();
    let Some(keys) = behavior.trusted_keys() else {
        let document = json!({ "url": args.url, "distribution": &**distribution.id(), "behavior": pattern, "status": 200,
            "checks": [], "trusted_keys": null });
        return print(cli, &document, |_| {
            format!("the behavior {pattern:?} of {} asks for no signature: everybody may pass", distribution.id())
        });
    };
    let mut headers = HeaderMap::new();
    if let Some(jar) = &args.cookies {
        let line = cookies_of(jar)?;
        headers.insert(header::COOKIE, HeaderValue::try_from(line).context("a cookie")?);
    }
    let question = Question {
        scheme: scheme.to_owned(),
        host: host.to_owned(),
        target,
        headers,
        client: client_of(&cluster, args.from.as_deref())?,
        now: args.at.unwrap_or_else(unix_secs),
        keys: TrustedKeys::clone(keys),
    };
    let explained = explained(args, &question, distribution.id(), pattern);
    let paint = Paint::of(cli);
    print(cli, &explained, |explained| text_of(paint, explained))
}

fn explained(args: &ExplainSignArgs, question: &Question, distribution: &str, pattern: &str) -> Explained {
    let (policy, refusal) = question.judge();
    let credentials = Credentials::of(&question.target, &question.headers).ok();
    let passed = |check: Check| -> String {
        let Some(credentials) = credentials else { return String::new() };
        let key = question.keys.get(credentials.key_id).map_or("", |key| key.kind());
        match check {
            Check::Parameters => match credentials.source {
                Source::Url => "in the URL".into(),
                Source::Cookies => "in cookies".into(),
            },
            Check::Key => format!("{} ({key}) is trusted", credentials.key_id),
            Check::Encoding => format!("{} characters", credentials.signature.len()),
            Check::Policy => match (&policy, &refusal) {
                (Some(policy), _) => policy.resource.to_string(),
                // What the key should have signed, to be held against what it was given.
                (None, Some(Refusal::BadSignature { policy, .. })) => policy.clone(),
                (None, _) => String::new(),
            },
            Check::Signature => format!("{key} over {} of the policy matches", credentials.hash),
            Check::Resource => {
                format!("{}://{}{}", question.scheme, question.host, cdn_core::signing::own_target(&question.target))
            }
            Check::Time => {
                policy.as_ref().map(|policy| format!("now {} < {}", question.now, policy.ends_at)).unwrap_or_default()
            }
            Check::Address => match policy.as_ref().and_then(|policy| policy.network) {
                Some(network) => format!("{} is in {network}", question.client),
                None => "any".into(),
            },
        }
    };
    let failed = refusal.as_ref().map(Refusal::check);
    let checks = Check::ALL.into_iter().map(|check| {
        let state = failed.map_or(Some(true), |failed| match check.cmp(&failed) {
            std::cmp::Ordering::Less => Some(true),
            std::cmp::Ordering::Equal => Some(false),
            std::cmp::Ordering::Greater => None,
        });
        let detail = match state {
            Some(true) => passed(check),
            Some(false) => {
                let refusal = refusal.as_ref().map(ToString::to_string).unwrap_or_default();
                match near_miss(question).filter(|_| check == Check::Signature) {
                    Some(near) => format!("{refusal}; it is {near}"),
                    None => refusal,
                }
            }
            None => String::new(),
        };
        Line { check: check.as_str(), passed: state, detail }
    });
    Explained {
        url: args.url.clone(),
        distribution: distribution.to_owned(),
        behavior: pattern.to_owned(),
        trusted_keys: question.keys.keys().cloned().collect(),
        client: question.client,
        checks: checks.collect(),
        status: if refusal.is_some() { 403 } else { 200 },
        reason: refusal.as_ref().map(|refusal| refusal.reason().as_str()),
        body: refusal.as_ref().and_then(|refusal| cdn_core::signing::refusal_body(refusal.reason())),
        matrix: if args.matrix { matrix(question, policy.as_ref()) } else { Vec::new() },
    }
}

/// What the signature is, where it is none of what was asked: the mistakes that signers make.
fn near_miss(question: &Question) -> Option<String> {
    let credentials = Credentials::of(&question.target, &question.headers).ok()?;
    let (source, key_id) = (credentials.source, credentials.key_id.to_owned());
    let is = |change: &dyn Fn(&mut Question)| {
        let mut other = question.clone();
        change(&mut other);
        other.judge().0.is_some()
    };
    let hash = match credentials.hash {
        Hash::Sha1 => Hash::Sha256,
        Hash::Sha256 => Hash::Sha1,
    };
    if is(&|other| other.say(source, "Hash-Algorithm", &hash.to_string())) {
        return Some(format!("with {hash}, which Hash-Algorithm does not say"));
    }
    let scheme = if question.scheme == "http" { "https" } else { "http" };
    if is(&|other| scheme.clone_into(&mut other.scheme)) {
        return Some(format!("for {scheme}://"));
    }
    let others = question.keys.keys().filter(|id| **id != key_id);
    let signer = others.clone().find(|id| is(&|other| other.say(source, "Key-Pair-Id", id)));
    if let Some(signer) = signer {
        return Some(format!("that of key {signer:?}"));
    }
    let (path, _) = question.target.split_once('?').filter(|_| source == Source::Url)?;
    let own = cdn_core::signing::own_target(&question.target);
    let bare = || {
        let query = question.target.split_once('?').map_or("", |(_, query)| query);
        let own = own.split_once('?').map_or("", |(_, query)| query);
        let signing = query.split('&').filter(|pair| !own.split('&').any(|own| own == *pair));
        format!("{path}?{}", signing.collect::<Vec<_>>().join("&"))
    };
    is(&|other| other.target = bare())
        .then(|| format!("for {path} without {:?}", own.get(path.len()..).unwrap_or_default()))
}

/// The same question under other circumstances.
fn matrix(question: &Question, policy: Option<&Policy>) -> Vec<(String, u16)> {
    let asked = |name: &str, change: &dyn Fn(&mut Question)| {
        let mut other = question.clone();
        change(&mut other);
        (name.to_owned(), other.status())
    };
    let mut rows = vec![asked("now", &|_| {})];
    if let Some(policy) = policy {
        rows.push(asked("one second before its end", &|other| other.now = policy.ends_at - 1));
        rows.push(asked("at its end", &|other| other.now = policy.ends_at));
    }
    rows.extend([
        asked("another path", &|other| other.target = other.target.replacen('/', "/another/", 1)),
        asked("another scheme", &|other| {
            other.scheme = if other.scheme == "http" { "https".into() } else { "http".into() };
        }),
        asked("another address", &|other| other.client = Ipv4Addr::new(203, 0, 113, 1).into()),
        asked("the key removed", &|other| other.keys.clear()),
        asked("a character of the signature changed", &|other| {
            let swap = |text: &str| match text.split_once("Signature=") {
                Some((before, after)) => {
                    let first = if after.starts_with('A') { "B" } else { "A" };
                    format!("{before}Signature={first}{}", after.get(1..).unwrap_or_default())
                }
                None => text.to_owned(),
            };
            other.target = swap(&other.target);
            if let Some(line) = other.headers.get(header::COOKIE).and_then(|line| line.to_str().ok())
                && let Ok(line) = HeaderValue::try_from(swap(line))
            {
                other.headers.insert(header::COOKIE, line);
            }
        }),
    ]);
    rows
}

fn text_of(paint: Paint, explained: &Explained) -> String {
    let mut out = format!(
        "{}\ndistribution {}, behavior {:?}, trusted keys: {}\n",
        explained.url,
        explained.distribution,
        explained.behavior,
        if explained.trusted_keys.is_empty() { "none".to_owned() } else { explained.trusted_keys.join(", ") }
    );
    for line in &explained.checks {
        let (mark, name) = match line.passed {
            Some(true) => (paint.good("ok"), line.check.to_owned()),
            Some(false) => (paint.bad("no"), line.check.to_owned()),
            None => (paint.dim(" -"), paint.dim(line.check)),
        };
        out.push_str(format!("  {mark} {name:<11} {}", line.detail).trim_end());
        out.push('\n');
    }
    match &explained.reason {
        Some(reason) => out.push_str(&format!(
            "on the wire: 403, x-iso-reason {reason}\n{}\n",
            explained.body.as_deref().unwrap_or_default()
        )),
        None => out.push_str("on the wire: it passes\n"),
    }
    for (circumstance, status) in &explained.matrix {
        out.push_str(&format!("  {status}  {circumstance}\n"));
    }
    out
}

/// A `Cookie` line from `name=value; ...` or from a file in Netscape's format, as curl's `-b` takes them.
fn cookies_of(jar: &str) -> Result<String, VerbError> {
    if jar.contains('=') && !Path::new(jar).exists() {
        return Ok(jar.to_owned());
    }
    let text = fs::read_to_string(jar).with_context(|| format!("cannot read {jar}"))?;
    let pairs = text.lines().filter_map(|line| {
        let line = line.strip_prefix("#HttpOnly_").unwrap_or(line);
        let fields: Vec<&str> = line.split('\t').collect();
        match fields.as_slice() {
            [_, _, _, _, _, name, value] if !line.starts_with('#') => Some(format!("{name}={value}")),
            _ => None,
        }
    });
    let pairs: Vec<String> = pairs.collect();
    if pairs.is_empty() {
        // A line as it stands in a request.
        return Ok(text.trim().trim_start_matches("Cookie:").trim().to_owned());
    }
    Ok(pairs.join("; "))
}

/// The address of a viewer at a place.
fn client_of(cluster: &Cluster, place: Option<&str>) -> Result<IpAddr, VerbError> {
    let Some(name) = place else { return Ok(Ipv4Addr::LOCALHOST.into()) };
    let atlas = cluster.world.atlas();
    let place = atlas.place(name).map_err(|unknown| VerbError::Usage(unknown.to_string()))?;
    let network = atlas.client_network(place).with_context(|| format!("{name} has no client network"))?;
    Ok(network.viewer.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::private_key::KeyKind;

    #[test]
    fn what_signers_get_wrong_is_named() -> anyhow::Result<()> {
        let (key, other) = (PrivateKey::generate(KeyKind::Ecdsa)?, PrivateKey::generate(KeyKind::Ecdsa)?);
        let keys: TrustedKeys = [("KEY".to_owned(), key.public()?), ("OTHER".to_owned(), other.public()?)].into();
        // Signed for `url` with `hash`, and asked as `target` says.
        let near = |key: &PrivateKey, hash: Hash, url: &str, target: &str, as_cookies: bool| -> anyhow::Result<_> {
            let signature = encoding::encode(&key.sign(hash, policy::canned(url, "100").as_bytes())?);
            let mut headers = HeaderMap::new();
            let target = if as_cookies {
                let line =
                    format!("CloudFront-Expires=100; CloudFront-Signature={signature}; CloudFront-Key-Pair-Id=KEY");
                headers.insert(header::COOKIE, HeaderValue::try_from(line)?);
                target.to_owned()
            } else {
                let between = if target.contains('?') { '&' } else { '?' };
                format!("{target}{between}Expires=100&Signature={signature}&Key-Pair-Id=KEY")
            };
            let client = Ipv4Addr::LOCALHOST.into();
            let (scheme, host, keys) = ("http".to_owned(), "cdn.test".to_owned(), keys.clone());
            Ok(near_miss(&Question { scheme, host, target, headers, client, now: 50, keys }))
        };
        let said = |text: &str| Some(text.to_owned());
        for as_cookies in [false, true] {
            let near = |key, hash, url, target| near(key, hash, url, target, as_cookies);
            let of_hash = said("with SHA256, which Hash-Algorithm does not say");
            assert_eq!(near(&key, Hash::Sha256, "http://cdn.test/a", "/a")?, of_hash);
            assert_eq!(near(&key, Hash::Sha1, "https://cdn.test/a", "/a")?, said("for https://"));
            assert_eq!(near(&other, Hash::Sha1, "http://cdn.test/a", "/a")?, said("that of key \"OTHER\""));
            assert_eq!(near(&key, Hash::Sha1, "http://cdn.test/b", "/a")?, None);
        }
        let added = near(&key, Hash::Sha1, "http://cdn.test/a", "/a?x=1", false)?;
        assert_eq!(added, said("for /a without \"?x=1\""));
        Ok(())
    }
}
