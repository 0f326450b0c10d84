//! Policies: files of them, and cache policies and origin request policies from CloudFront's JSON to a cluster
//! file's, and back.
//!
//! A distribution names its policies by id. CloudFront's own are known; the others stand in files of their own, which
//! `aws cloudfront get-cache-policy`, `list-cache-policies` and their kin print.

use std::collections::BTreeMap;

use cdn_core::{
    distribution::{CachePolicy, OriginRequestPolicy, Selection},
    policies,
};
use data_encoding::HEXLOWER;
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

use super::{
    read::{At, INVALID_ARGUMENT, Object, Refusal},
    response_headers::response_headers_policy,
};
use crate::{
    cluster_file::{CachePolicyFile, OriginRequestPolicyFile, ResponseHeadersPolicyFile, SelectionFile, WholeFile},
    quantity::Span,
};

/// Policies from files of their own, by id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Foreign {
    pub(super) cache: BTreeMap<String, (String, CachePolicyFile)>,
    pub(super) origin_request: BTreeMap<String, (String, OriginRequestPolicyFile)>,
    pub(super) response_headers: BTreeMap<String, (String, ResponseHeadersPolicyFile)>,
}

impl Foreign {
    /// Takes every policy that stands anywhere in a document.
    ///
    /// # Errors
    /// One that CloudFront would refuse.
    pub(super) fn read(&mut self, at: &At<'_>) -> Result<(), Refusal> {
        if at.node.member("CachePolicyConfig").is_some() {
            let mut policy = at.object()?;
            let (id, mut config) = parts(&mut policy, "CachePolicyConfig")?;
            let read = (name_of(&mut config)?, cache_policy(config, &id)?);
            self.cache.insert(id, read);
        } else if at.node.member("OriginRequestPolicyConfig").is_some() {
            let mut policy = at.object()?;
            let (id, mut config) = parts(&mut policy, "OriginRequestPolicyConfig")?;
            let read = (name_of(&mut config)?, origin_request_policy(config, &id)?);
            self.origin_request.insert(id, read);
        } else if at.node.member("ResponseHeadersPolicyConfig").is_some() {
            let mut policy = at.object()?;
            let (id, mut config) = parts(&mut policy, "ResponseHeadersPolicyConfig")?;
            let read = (name_of(&mut config)?, response_headers_policy(config, &id)?);
            self.response_headers.insert(id, read);
        } else {
            for (index, node) in at.node.children().enumerate() {
                self.read(&At { node, path: format!("{}[{index}]", at.path) })?;
            }
        }
        Ok(())
    }
}

fn parts<'a>(policy: &mut Object<'a>, config: &str) -> Result<(String, Object<'a>), Refusal> {
    let id = policy.required("Id")?.text()?.to_owned();
    Ok((id, policy.required(config)?.object()?))
}

fn name_of(config: &mut Object<'_>) -> Result<String, Refusal> {
    Ok(config.required("Name")?.text()?.to_owned())
}

fn cache_policy(mut config: Object<'_>, id: &str) -> Result<CachePolicyFile, Refusal> {
    let Ttls { min: min_ttl, default: default_ttl, max: max_ttl } = ttls(&mut config)?;
    let mut key = config.required("ParametersInCacheKeyAndForwardedToOrigin")?.object()?;
    let mut headers = key.required("HeadersConfig")?.object()?;
    let behavior = headers.required("HeaderBehavior")?;
    let headers = match behavior.text()? {
        "none" => Vec::new(),
        "whitelist" => headers.texts("Headers")?,
        other => {
            return Err(behavior.refuse(INVALID_ARGUMENT, format!("HeaderBehavior {other:?} is none or whitelist")));
        }
    };
    Ok(CachePolicyFile {
        id: Some(id.to_owned()),
        min_ttl,
        default_ttl,
        max_ttl,
        headers,
        cookies: selection(&mut key, COOKIES)?,
        query_strings: selection(&mut key, QUERY_STRINGS)?,
        gzip: Some(key.flag("EnableAcceptEncodingGzip")?),
        brotli: Some(key.flag("EnableAcceptEncodingBrotli")?),
    })
}

fn origin_request_policy(mut config: Object<'_>, id: &str) -> Result<OriginRequestPolicyFile, Refusal> {
    let mut headers = config.required("HeadersConfig")?.object()?;
    let behavior = headers.required("HeaderBehavior")?;
    let listed = headers.texts("Headers")?;
    let whole = |whole| Some(SelectionFile::Whole(whole));
    let (headers, cloudfront_headers) = match behavior.text()? {
        "none" => (None, Vec::new()),
        "whitelist" => (Some(SelectionFile::Only(listed)), Vec::new()),
        "allExcept" => (Some(SelectionFile::Except { except: listed }), Vec::new()),
        "allViewer" => (whole(WholeFile::All), Vec::new()),
        "allViewerAndWhitelistCloudFront" => (whole(WholeFile::All), listed),
        other => return Err(behavior.refuse(INVALID_ARGUMENT, format!("there is no HeaderBehavior {other:?}"))),
    };
    Ok(OriginRequestPolicyFile {
        id: Some(id.to_owned()),
        headers,
        cloudfront_headers,
        cookies: selection(&mut config, COOKIES)?,
        query_strings: selection(&mut config, QUERY_STRINGS)?,
    })
}

/// Times in a cache, as far as they are written.
pub(super) struct Ttls {
    pub(super) min: Option<Span>,
    pub(super) default: Option<Span>,
    pub(super) max: Option<Span>,
}

/// Reads times in a cache, which are in order; also of legacy cache settings.
pub(super) fn ttls(config: &mut Object<'_>) -> Result<Ttls, Refusal> {
    let place = config.place("MinTTL");
    let mut ttl = |name| {
        let at = config.take(name);
        at.map(|at| at.number()).transpose()
    };
    let (min, default, max) = (ttl("MinTTL")?, ttl("DefaultTTL")?, ttl("MaxTTL")?);
    let written: Vec<u64> = [min, default, max].into_iter().flatten().collect();
    if !written.is_sorted() {
        return Err(place.refuse("InvalidTTLOrder", "the order is MinTTL, DefaultTTL, MaxTTL, from short to long"));
    }
    let span = |secs: Option<u64>| secs.map(|secs| Span(std::time::Duration::from_secs(secs.min(TTL_SECS_MAX))));
    Ok(Ttls { min: span(min), default: span(default), max: span(max) })
}

/// 100 years, CloudFront's longest lifetime.
const TTL_SECS_MAX: u64 = 3_153_600_000;

/// The names of an object of settings, its word, and its list.
type SelectionNames = (&'static str, &'static str, &'static str);

const COOKIES: SelectionNames = ("CookiesConfig", "CookieBehavior", "Cookies");
const QUERY_STRINGS: SelectionNames = ("QueryStringsConfig", "QueryStringBehavior", "QueryStrings");

fn selection(config: &mut Object<'_>, names: SelectionNames) -> Result<Option<SelectionFile>, Refusal> {
    let (member, word, list) = names;
    let mut settings = config.required(member)?.object()?;
    let behavior = settings.required(word)?;
    let listed = settings.texts(list)?;
    match behavior.text()? {
        "none" => Ok(None),
        "all" => Ok(Some(SelectionFile::Whole(WholeFile::All))),
        "whitelist" => Ok(Some(SelectionFile::Only(listed))),
        "allExcept" => Ok(Some(SelectionFile::Except { except: listed })),
        other => Err(behavior.refuse(INVALID_ARGUMENT, format!("there is no {word} {other:?}"))),
    }
}

/// Which kind of policy; each has its own names.
#[derive(Clone, Copy, Debug)]
pub(super) enum PolicyKind {
    Cache,
    OriginRequest,
    ResponseHeaders,
}

/// The id of a policy that has this name: its own where a cluster file says one, CloudFront's for a managed one, else one
/// that is made of the name and always the same.
pub(super) fn id_of_policy(kind: PolicyKind, name: &str, own: Option<&str>) -> String {
    let managed = match kind {
        PolicyKind::Cache => policies::CACHE_POLICIES.iter().find(|row| row.name == name).map(|row| row.id),
        PolicyKind::OriginRequest => {
            policies::ORIGIN_REQUEST_POLICIES.iter().find(|row| row.name == name).map(|row| row.id)
        }
        PolicyKind::ResponseHeaders => {
            policies::RESPONSE_HEADERS_POLICIES.iter().find(|row| row.name == name).map(|row| row.id)
        }
    };
    own.or(managed).map_or_else(|| made_up_id(&format!("{kind:?} {name}")), str::to_owned)
}

/// A UUID that is made of a text and always the same.
pub(super) fn made_up_id(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let hex = HEXLOWER.encode(&digest);
    // RFC 9562 section 5.8: version 8 is for ids of one's own making.
    let (a, b, c, d) = (&hex[..8], &hex[8..12], &hex[13..16], &hex[17..20]);
    format!("{a}-{b}-8{c}-8{d}-{}", &hex[20..32])
}

/// A cache policy as `get-cache-policy` prints it.
pub(super) fn cache_policy_json(policy: &CachePolicy, id: &str) -> Json {
    let headers = match &policy.headers {
        Selection::Only(names) => json!({ "HeaderBehavior": "whitelist", "Headers": list(names) }),
        _ => json!({ "HeaderBehavior": "none" }),
    };
    json!({ "CachePolicy": { "Id": id, "CachePolicyConfig": {
        "Comment": "",
        "Name": policy.name,
        "DefaultTTL": policy.default_ttl.as_secs(),
        "MaxTTL": policy.max_ttl.as_secs(),
        "MinTTL": policy.min_ttl.as_secs(),
        "ParametersInCacheKeyAndForwardedToOrigin": {
            "EnableAcceptEncodingGzip": policy.gzip,
            "EnableAcceptEncodingBrotli": policy.brotli,
            "HeadersConfig": headers,
            "CookiesConfig": selection_json(&policy.cookies, COOKIES),
            "QueryStringsConfig": selection_json(&policy.query, QUERY_STRINGS),
        },
    } } })
}

/// An origin request policy as `get-origin-request-policy` prints it.
pub(super) fn origin_request_policy_json(policy: &OriginRequestPolicy, id: &str) -> Json {
    let headers = match &policy.headers {
        Selection::Only(names) => json!({ "HeaderBehavior": "whitelist", "Headers": list(names) }),
        Selection::AllExcept(names) => json!({ "HeaderBehavior": "allExcept", "Headers": list(names) }),
        Selection::All if policy.added_headers.is_empty() => json!({ "HeaderBehavior": "allViewer" }),
        Selection::All => {
            json!({ "HeaderBehavior": "allViewerAndWhitelistCloudFront", "Headers": list(&policy.added_headers) })
        }
        Selection::None | Selection::Like(_) => json!({ "HeaderBehavior": "none" }),
    };
    json!({ "OriginRequestPolicy": { "Id": id, "OriginRequestPolicyConfig": {
        "Comment": "",
        "Name": policy.name,
        "HeadersConfig": headers,
        "CookiesConfig": selection_json(&policy.cookies, COOKIES),
        "QueryStringsConfig": selection_json(&policy.query, QUERY_STRINGS),
    } } })
}

fn selection_json(selection: &Selection, (_, word, items): SelectionNames) -> Json {
    match selection {
        Selection::None => json!({ word: "none" }),
        Selection::All => json!({ word: "all" }),
        // Policies of CloudFront's know no patterns; the names are kept, and an export says so.
        Selection::Only(names) | Selection::Like(names) => json!({ word: "whitelist", items: list(names) }),
        Selection::AllExcept(names) => json!({ word: "allExcept", items: list(names) }),
    }
}

/// A list as CloudFront writes it: without `Items` where there are none.
pub(super) fn list<T: serde::Serialize>(items: &[T]) -> Json {
    match items.len() {
        0 => json!({ "Quantity": 0 }),
        quantity => json!({ "Quantity": quantity, "Items": items }),
    }
}
