//! Legacy cache settings: `ForwardedValues` as a cache policy and an origin request policy.
//!
//! They differ from policies in what they forward without being asked: every header that is not in a short list, where a
//! policy forwards none. What is listed is in the key, as with a policy.

use serde_json::Value as Json;

use super::{
    policy::{Ttls, ttls},
    read::{At, INVALID_ARGUMENT, Object, Refusal},
    tree::Node,
};
use crate::cluster_file::{CachePolicyFile, OriginRequestPolicyFile, SelectionFile, WholeFile};

/// Headers that legacy settings do not forward unless they are listed (AWS page "Request and response behavior for custom
/// origins", the table of request headers).
const NOT_FORWARDED: [&str; 9] = [
    "Accept",
    "Accept-Charset",
    "Accept-Encoding",
    "Accept-Language",
    "Authorization",
    "Host",
    "Referer",
    "User-Agent",
    "X-HTTP-Method-Override",
];

/// Names per list (CloudFront's quota).
const NAMES_MAX: usize = 10;

/// The members that make up legacy cache settings.
pub(super) const MEMBERS: [&str; 4] = ["ForwardedValues", "MinTTL", "DefaultTTL", "MaxTTL"];

/// What legacy settings come to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Legacy {
    pub(super) cache: CachePolicyFile,
    pub(super) origin_request: OriginRequestPolicyFile,
    /// Whether all headers are forwarded, so that nothing is cached.
    pub(super) all_headers: bool,
}

/// Reads the settings from a behavior.
///
/// # Errors
/// What AWS would refuse.
pub(super) fn legacy(behavior: &mut Object<'_>, compress: bool, to_bucket: bool) -> Result<Legacy, Refusal> {
    let mut forwarded = behavior.required("ForwardedValues")?.object()?;
    let Ttls { min: min_ttl, default: default_ttl, max: max_ttl } = ttls(behavior)?;
    let headers_at = forwarded.place("Headers");
    let headers = forwarded.texts("Headers")?;
    if to_bucket && headers.iter().any(|name| name == "*" || name.eq_ignore_ascii_case("host")) {
        let message = "a bucket of S3's knows its requests by Host, which cannot be forwarded to it";
        return Err(headers_at.refuse("InvalidHeadersForS3Origin", message));
    }
    at_most(&headers_at, &headers)?;
    let all_headers = headers.iter().any(|name| name == "*");
    let all_query = forwarded.required("QueryString")?;
    let all_query = match &all_query.node.to_json() {
        Json::Bool(all) => *all,
        _ => return Err(all_query.refuse("ParamValidation", "QueryString must be true or false")),
    };
    let keys_at = forwarded.place("QueryStringCacheKeys");
    let keys = forwarded.texts("QueryStringCacheKeys")?;
    at_most(&keys_at, &keys)?;
    if !all_query && !keys.is_empty() {
        let message = "keys are of a query string that is forwarded, and QueryString is false";
        return Err(keys_at.refuse("InvalidQueryStringParameters", message));
    }
    let mut cookies_object = forwarded.required("Cookies")?.object()?;
    let forward = cookies_object.required("Forward")?;
    let listed_at = cookies_object.place("WhitelistedNames");
    let listed = cookies_object.texts("WhitelistedNames")?;
    at_most(&listed_at, &listed)?;
    let goes_together = match forward.text()? {
        "whitelist" => !listed.is_empty(),
        "none" | "all" => listed.is_empty(),
        _ => true,
    };
    if !goes_together {
        let message = "names of cookies go with the setting whitelist, and it with them";
        return Err(listed_at.refuse("InvalidForwardCookies", message));
    }
    let cookies = match forward.text()? {
        "none" => None,
        "all" => Some(SelectionFile::Whole(WholeFile::All)),
        // The one place where names are patterns.
        "whitelist" if listed.iter().any(|name| name.contains(['*', '?'])) => {
            Some(SelectionFile::Like { like: listed })
        }
        "whitelist" => Some(SelectionFile::Only(listed)),
        other => return Err(forward.refuse(INVALID_ARGUMENT, format!("there is no cookie setting {other:?}"))),
    };
    let whole_query = all_query.then_some(SelectionFile::Whole(WholeFile::All));
    let disabled = all_headers || max_ttl.is_some_and(|ttl| ttl.0.is_zero());
    let except = |listed: &[String]| {
        let is_listed = |name: &&str| listed.iter().any(|own| own.eq_ignore_ascii_case(name));
        NOT_FORWARDED.iter().filter(|name| !is_listed(name)).map(|name| (*name).to_owned()).collect()
    };
    if disabled {
        // Nothing is in a key that nothing is kept under; what was selected still travels.
        let zero = Some(crate::quantity::Span(std::time::Duration::ZERO));
        let cache = CachePolicyFile { min_ttl: zero, default_ttl: zero, max_ttl: zero, ..CachePolicyFile::default() };
        let headers = match all_headers {
            true => SelectionFile::Whole(WholeFile::All),
            false => SelectionFile::Except { except: except(&headers) },
        };
        let query_strings = whole_query;
        let origin_request =
            OriginRequestPolicyFile { headers: Some(headers), cookies, query_strings, ..Default::default() };
        return Ok(Legacy { cache, origin_request, all_headers });
    }
    // A list names what is in the key; all of it travels.
    let query_strings = match (&whole_query, keys.is_empty()) {
        (Some(_), false) => Some(SelectionFile::Only(keys)),
        (whole, _) => whole.clone(),
    };
    let cache = CachePolicyFile {
        min_ttl,
        default_ttl,
        max_ttl,
        headers,
        cookies,
        query_strings,
        gzip: compress.then_some(true),
        ..CachePolicyFile::default()
    };
    let origin_request = OriginRequestPolicyFile {
        headers: Some(SelectionFile::Except { except: except(&[]) }),
        query_strings: whole_query,
        ..OriginRequestPolicyFile::default()
    };
    Ok(Legacy { cache, origin_request, all_headers })
}

fn at_most(at: &At<'_>, names: &[String]) -> Result<(), Refusal> {
    if names.len() > NAMES_MAX {
        let message = format!("{} names; legacy cache settings take {NAMES_MAX} of a kind", names.len());
        return Err(at.refuse(INVALID_ARGUMENT, message));
    }
    Ok(())
}

/// The settings that an import kept, as far as they still make sense.
pub(super) fn kept(carried: &super::Carried, compress: bool) -> Option<Legacy> {
    let members: serde_json::Map<String, Json> =
        MEMBERS.iter().filter_map(|name| Some(((*name).to_owned(), carried.get(*name)?.clone()))).collect();
    let node = Node::parse(&Json::Object(members).to_string()).ok()?;
    let at = At { node: &node, path: String::new() };
    legacy(&mut at.object().ok()?, compress, false).ok()
}
