//! Cache policies and origin request policies, checked: CloudFront's own by name and id, and those of the file.

use std::{collections::BTreeMap, time::Duration};

use cdn_core::{
    distribution::{CachePolicy, CachingRules, OriginRequestPolicy, Selection},
    policies::{self, ORIGIN_REQUEST_POLICIES},
};
use http::HeaderName;

use crate::{
    cluster_file::{CachePolicyFile, ClusterFile, OriginRequestPolicyFile, SelectionFile, WholeFile},
    diagnose::{KeyError, nearest_or_all},
    quantity::Span,
};

/// CloudFront's default for the time in the cache where the origin says nothing, and the longest time.
const DEFAULT_TTL: Duration = Duration::from_secs(86_400);
const MAX_TTL: Duration = Duration::from_secs(31_536_000);

/// Characters of a policy's name; CloudFront has the same bound.
const NAME_MAX: usize = 128;

/// The policies that a file defines, by name and by id; beside them stand CloudFront's own.
#[derive(Debug, Default)]
pub(super) struct Policies {
    cache: BTreeMap<String, CachePolicy>,
    origin_request: BTreeMap<String, OriginRequestPolicy>,
    /// Names by id.
    ids: BTreeMap<String, String>,
}

impl Policies {
    /// The cache policy of this name or id.
    ///
    /// # Errors
    /// There is none; `key` says where it was asked for.
    pub(super) fn cache(&self, key: &str, name: &str) -> Result<CachePolicy, KeyError> {
        let own = self.cache.get(name).or_else(|| self.cache.get(self.ids.get(name)?));
        own.cloned().or_else(|| policies::cache_policy(name)).ok_or_else(|| {
            let there: Vec<&str> = policies::cache_policy_names().collect();
            let hint = nearest_or_all(name, self.cache.keys().map(String::as_str).chain(there));
            KeyError { hint, ..KeyError::new(key, format!("no cache policy {name:?}")) }
        })
    }

    /// The origin request policy of this name or id; `none` is one that forwards nothing.
    ///
    /// # Errors
    /// There is none; `key` says where it was asked for.
    pub(super) fn origin_request(&self, key: &str, name: &str) -> Result<OriginRequestPolicy, KeyError> {
        if matches!(name, "none" | "") {
            return Ok(OriginRequestPolicy::default());
        }
        let own = self.origin_request.get(name).or_else(|| self.origin_request.get(self.ids.get(name)?));
        own.cloned().or_else(|| policies::origin_request_policy(name)).ok_or_else(|| {
            let managed = ORIGIN_REQUEST_POLICIES.iter().map(|policy| policy.name);
            let hint = nearest_or_all(name, self.origin_request.keys().map(String::as_str).chain(managed));
            KeyError { hint, ..KeyError::new(key, format!("no origin request policy {name:?}")) }
        })
    }
}

pub(super) fn policies_of(file: &ClusterFile) -> Result<Policies, KeyError> {
    let mut policies = Policies::default();
    for (name, written) in &file.cache_policies {
        let key = format!("cache_policies.{name}");
        let taken = policies::cache_policy(name).is_some();
        check_name(&key, name, taken, written.id.as_deref(), &mut policies.ids)?;
        policies.cache.insert(name.clone(), cache_policy_of(&key, name, written)?);
    }
    for (name, written) in &file.origin_request_policies {
        let key = format!("origin_request_policies.{name}");
        let taken = name == "none" || policies::origin_request_policy(name).is_some();
        check_name(&key, name, taken, written.id.as_deref(), &mut policies.ids)?;
        policies.origin_request.insert(name.clone(), origin_request_policy_of(&key, name, written)?);
    }
    Ok(policies)
}

fn check_name(
    key: &str,
    name: &str,
    is_managed: bool,
    id: Option<&str>,
    ids: &mut BTreeMap<String, String>,
) -> Result<(), KeyError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(plain) {
        return Err(KeyError::new(key, format!("{name:?} cannot name a policy"))
            .hint("use letters, digits, `-` and `_`, at most 128 characters"));
    }
    if is_managed {
        return Err(KeyError::new(key, format!("{name:?} is the name of a policy that there is already")));
    }
    let Some(id) = id else { return Ok(()) };
    let managed = policies::cache_policy(id).is_some() || policies::origin_request_policy(id).is_some();
    match ids.insert(id.to_owned(), name.to_owned()) {
        Some(other) => Err(KeyError::new(&format!("{key}.id"), format!("{id:?} is the id of {other:?} already"))),
        None if managed => Err(KeyError::new(&format!("{key}.id"), format!("{id:?} is the id of a managed policy"))),
        None => Ok(()),
    }
}

/// The cache policy `name`, which stands at `key`.
///
/// # Errors
/// What CloudFront would refuse.
pub(crate) fn cache_policy_of(key: &str, name: &str, written: &CachePolicyFile) -> Result<CachePolicy, KeyError> {
    let ttl = |span: Option<Span>, default: Duration| span.map_or(default, |span| span.0);
    let min_ttl = ttl(written.min_ttl, Duration::ZERO);
    // Where only the longest time is written, it bounds the default too.
    let most = written.max_ttl.map_or(Duration::MAX, |span| span.0);
    let default_ttl = ttl(written.default_ttl, DEFAULT_TTL.max(min_ttl).min(most));
    let max_ttl = ttl(written.max_ttl, MAX_TTL.max(default_ttl));
    if min_ttl > default_ttl || default_ttl > max_ttl {
        return Err(KeyError::new(key, "the order must be min_ttl, default_ttl, max_ttl, from short to long"));
    }
    let policy = CachePolicy {
        name: name.to_owned(),
        rules: CachingRules::CloudFront,
        min_ttl,
        default_ttl,
        max_ttl,
        headers: only(written.headers.clone()),
        cookies: selection_of(written.cookies.as_ref()),
        query: selection_of(written.query_strings.as_ref()),
        gzip: written.gzip.unwrap_or(false),
        brotli: written.brotli.unwrap_or(false),
        zstd: false,
    };
    no_patterns(&format!("{key}.query_strings"), &policy.query)?;
    policy.key_headers().map_err(|problem| KeyError::new(key, problem))?;
    Ok(policy)
}

/// The origin request policy `name`, which stands at `key`.
///
/// # Errors
/// What CloudFront would refuse.
pub(crate) fn origin_request_policy_of(
    key: &str,
    name: &str,
    written: &OriginRequestPolicyFile,
) -> Result<OriginRequestPolicy, KeyError> {
    let policy = OriginRequestPolicy {
        name: name.to_owned(),
        headers: selection_of(written.headers.as_ref()),
        cookies: selection_of(written.cookies.as_ref()),
        query: selection_of(written.query_strings.as_ref()),
        added_headers: written.cloudfront_headers.clone(),
    };
    no_patterns(&format!("{key}.headers"), &policy.headers)?;
    no_patterns(&format!("{key}.query_strings"), &policy.query)?;
    let listed = match &policy.headers {
        Selection::Only(names) | Selection::AllExcept(names) => names.as_slice(),
        _ => &[],
    };
    for (field, name) in listed.iter().map(|name| ("headers", name)).chain(
        // A header that only CloudFront makes can be added to all, as in `allViewerAndWhitelistCloudFront`.
        policy.added_headers.iter().map(|name| ("cloudfront_headers", name)),
    ) {
        if name.parse::<HeaderName>().is_err() {
            return Err(KeyError::new(&format!("{key}.{field}"), format!("{name:?} is no name of a header")));
        }
    }
    if !policy.added_headers.is_empty() && policy.headers != Selection::All {
        let key = format!("{key}.cloudfront_headers");
        return Err(KeyError::new(&key, "they come on top of all headers of the viewer")
            .hint("write headers = \"all\", or name them in the list of headers"));
    }
    Ok(policy)
}

fn no_patterns(key: &str, selection: &Selection) -> Result<(), KeyError> {
    match selection {
        Selection::Like(_) => Err(KeyError::new(key, "patterns are for cookies alone")),
        _ => Ok(()),
    }
}

fn only(names: Vec<String>) -> Selection {
    if names.is_empty() { Selection::None } else { Selection::Only(names) }
}

fn selection_of(written: Option<&SelectionFile>) -> Selection {
    match written {
        None | Some(SelectionFile::Whole(WholeFile::None)) => Selection::None,
        Some(SelectionFile::Whole(WholeFile::All)) => Selection::All,
        Some(SelectionFile::Only(names)) => only(names.clone()),
        Some(SelectionFile::Except { except }) => Selection::AllExcept(except.clone()),
        Some(SelectionFile::Like { like }) => Selection::Like(like.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::Cluster,
        diagnose::{Source, read_cluster},
    };

    fn check(text: &str) -> Result<Cluster, String> {
        let source = Source { name: "c.toml".into(), text: text.into() };
        let file = read_cluster(&source).map_err(|error| error.to_string())?;
        Cluster::check(&file, &Default::default()).map_err(|error| source.complaint(error).to_string())
    }

    fn refused(text: &str, said: &str) {
        let error = check(text).map(drop).unwrap_err();
        assert!(error.contains(said), "{error}");
    }

    #[test]
    fn behaviors_use_policies_of_the_file_by_name_and_by_id() {
        let text = "
            [cache_policies.assets]
            id = \"11111111-0000-4000-8000-000000000001\"
            min_ttl = \"60s\"
            headers = [\"Accept-Language\"]
            cookies = { except = [\"tracker\"] }
            query_strings = [\"v\"]
            brotli = true
            [origin_request_policies.seen]
            headers = \"all\"
            cloudfront_headers = [\"CloudFront-Viewer-Country\"]
            cookies = { like = [\"sid*\"] }
            [distributions.demo.default]
            cache_policy = \"11111111-0000-4000-8000-000000000001\"
            origin_request_policy = \"seen\"
        ";
        let cluster = check(text).unwrap();
        let behavior = cluster.distributions[0].behavior_for("/");
        let policy = behavior.cache_policy();
        assert_eq!((policy.name.as_str(), policy.min_ttl), ("assets", Duration::from_secs(60)));
        assert_eq!((policy.default_ttl, policy.max_ttl), (DEFAULT_TTL, MAX_TTL));
        assert_eq!(policy.cookies, Selection::AllExcept(vec!["tracker".into()]));
        assert_eq!((policy.gzip, policy.brotli), (false, true));
        assert_eq!(behavior.origin_request_policy().headers, Selection::All);
        assert_eq!(behavior.origin_request_policy().cookies, Selection::Like(vec!["sid*".into()]));
        assert_eq!(behavior.cloudfront_headers(), ["cloudfront-viewer-country"]);
    }

    #[test]
    fn ttls_that_are_not_written_keep_the_order() {
        let policy = |text: &str| {
            let behavior = "[distributions.demo.default]\ncache_policy = \"p\"\n";
            let cluster = check(&format!("[cache_policies.p]\n{text}\n{behavior}")).unwrap();
            let policy = cluster.distributions[0].behavior_for("/").cache_policy().clone();
            [policy.min_ttl, policy.default_ttl, policy.max_ttl].map(|ttl| ttl.as_secs())
        };
        assert_eq!(policy("min_ttl = \"2d\""), [172_800, 172_800, 31_536_000]);
        assert_eq!(policy("default_ttl = \"400d\""), [0, 34_560_000, 34_560_000]);
        assert_eq!(policy("max_ttl = \"10s\""), [0, 10, 10]);
    }

    #[test]
    fn what_cloudfront_would_refuse_names_the_key() {
        refused("[cache_policies.p]\nmin_ttl = \"10s\"\nmax_ttl = \"5s\"\n", "cache_policies.p: the order must be");
        refused("[cache_policies.p]\nmax_ttl = \"0s\"\ncookies = \"all\"\n", "disables caching");
        refused("[cache_policies.p]\ngzip = true\nheaders = [\"Accept-Encoding\"]\n", "normalises Accept-Encoding");
        refused("[cache_policies.CachingOptimized]\n", "there is already");
        refused("[cache_policies.p]\nquery_strings = { like = [\"a*\"] }\n", "patterns are for cookies");
        refused("[cache_policies.p]\ncookies = \"some\"\n", "a list of names");
        refused("[origin_request_policies.p]\nheaders = [\"a b\"]\n", "no name of a header");
        refused("[origin_request_policies.p]\ncloudfront_headers = [\"CloudFront-Viewer-ASN\"]\n", "on top of all");
        let twice = "[cache_policies.a]\nid = \"x\"\n[cache_policies.b]\nid = \"x\"\n";
        refused(twice, "cache_policies.b.id: \"x\" is the id of \"a\" already");
        refused(
            "[cache_policies.asset]\n[distributions.demo.default]\ncache_policy = \"aset\"\n",
            "did you mean `asset`?",
        );
    }
}
