//! A distribution that does not contradict itself.
//!
//! Decides whether a [`DistributionSpec`] makes sense, and then which behavior serves a path, which methods it caches,
//! and what of a request is keyed and forwarded. Refuses to know where origins really are: that is the shell's table.

use std::{collections::BTreeMap, sync::Arc};

use http::{HeaderMap, HeaderName, Method, header};

use super::{
    AllowedMethods, Behavior, CachePolicy, CachingRules, Diagnostics, DistributionSpec, Origin, OriginGroup,
    OriginRequestPolicy, Selection,
    hosts::OWN_DOMAIN,
    rules::{self, DistributionError, DistributionWarning},
};
use crate::{
    Reason,
    continuous_deployment::ContinuousDeployment,
    error_pages::ErrorPages,
    forward::is_of_place,
    functions::Function,
    geo_restriction::GeoRestriction,
    http_version::HttpVersion,
    invalidation::{InvalidationError, InvalidationPattern},
    path_pattern::{LookupPath, PathPattern, normalize_for_lookup},
    response_headers::ResponseHeadersPolicy,
    security_policy::SecurityPolicy,
    selection::{Union, cookies},
    signing::TrustedKeys,
};

/// A checked distribution. Made by [`Distribution::new`], trusted from then on.
#[derive(Clone, Debug)]
pub struct Distribution {
    id: Arc<str>,
    aliases: Vec<String>,
    is_enabled: bool,
    default_root_object: String,
    origins: BTreeMap<String, Origin>,
    groups: BTreeMap<String, OriginGroup>,
    /// In order of the lookup; the last is the default behavior, whose pattern is `*`.
    behaviors: Vec<CheckedBehavior>,
    security_policy: SecurityPolicy,
    http_version: HttpVersion,
    error_pages: ErrorPages,
    log_cookies: bool,
    geo_restriction: GeoRestriction,
    continuous_deployment: Option<ContinuousDeployment>,
    diagnostics: Diagnostics,
    warnings: Vec<DistributionWarning>,
}

/// A behavior with its pattern and policies ready for use.
#[derive(Clone, Debug)]
pub struct CheckedBehavior {
    spec: Behavior,
    pattern: PathPattern,
    key_headers: Vec<HeaderName>,
    cloudfront_headers: Vec<HeaderName>,
    /// Whether one of these says where the viewer is.
    wants_place: bool,
    /// `None` where no signature is asked for.
    trusted_keys: Option<Arc<TrustedKeys>>,
    /// `None` where responses leave as they are.
    response_headers: Option<Arc<ResponseHeadersPolicy>>,
    viewer_request: Option<Arc<Function>>,
    viewer_response: Option<Arc<Function>>,
}

/// Which of the two families of stored responses a method belongs to. They never answer for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MethodClass {
    /// GET and HEAD.
    Read,
    /// OPTIONS.
    Options,
}

impl Distribution {
    /// Checks `spec`. The first contradiction found is returned.
    pub fn new(spec: DistributionSpec) -> Result<Self, DistributionError> {
        rules::check_names(&spec)?;
        for (id, origin) in &spec.origins {
            rules::check_origin(id, origin)?;
        }
        for (id, keys) in &spec.key_groups {
            rules::check_key_group(id, keys)?;
        }
        let mut warnings = Vec::new();
        rules::warn_of_behaviors(spec.behaviors.len() + 1, &mut warnings);
        for (id, group) in &spec.groups {
            rules::check_group(id, group, &spec.origins, &mut warnings)?;
        }
        if spec.default_behavior.path_pattern != "*" {
            return Err(DistributionError::DefaultPattern(spec.default_behavior.path_pattern));
        }
        let mut behaviors: Vec<CheckedBehavior> = Vec::with_capacity(spec.behaviors.len() + 1);
        for behavior in spec.behaviors.into_iter().chain([spec.default_behavior]) {
            let behavior = CheckedBehavior::new(behavior, &spec.key_groups, &spec.functions)?;
            let (target, pattern) = (behavior.target(), behavior.pattern.as_str());
            if spec.groups.contains_key(target) {
                if matches!(behavior.spec.allowed_methods, AllowedMethods::All | AllowedMethods::Any) {
                    warnings.push(DistributionWarning::WritesToGroup { pattern: pattern.to_owned() });
                }
            } else if !spec.origins.contains_key(target) {
                let (pattern, target) = (pattern.to_owned(), target.to_owned());
                return Err(DistributionError::UnknownTarget { pattern, target });
            }
            if behaviors.iter().any(|earlier| same_pattern(&earlier.pattern, &behavior.pattern)) {
                return Err(DistributionError::SamePattern(pattern.to_owned()));
            }
            behaviors.push(behavior);
        }
        Ok(Self {
            id: spec.id.into(),
            aliases: spec.aliases,
            is_enabled: spec.enabled,
            default_root_object: spec.default_root_object,
            origins: spec.origins,
            groups: spec.groups,
            behaviors,
            security_policy: spec.security_policy,
            http_version: spec.http_version,
            log_cookies: spec.log_cookies,
            error_pages: ErrorPages::new(spec.error_pages)?,
            geo_restriction: spec.geo_restriction,
            continuous_deployment: spec.continuous_deployment,
            diagnostics: spec.diagnostics,
            warnings,
        })
    }

    /// The same with other keys in its key groups.
    ///
    /// # Errors
    /// A behavior trusts a group that is not among them, or none of its keys is left.
    pub fn with_key_groups(&self, key_groups: &BTreeMap<String, TrustedKeys>) -> Result<Self, DistributionError> {
        for (id, keys) in key_groups {
            rules::check_key_group(id, keys)?;
        }
        let behaviors = self.behaviors.iter().map(|behavior| {
            let trusted_keys = rules::trusted_keys(&behavior.spec, key_groups)?.map(Arc::new);
            Ok(CheckedBehavior { trusted_keys, ..behavior.clone() })
        });
        Ok(Self { behaviors: behaviors.collect::<Result<_, DistributionError>>()?, ..self.clone() })
    }

    /// Its id.
    pub const fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// The name that it always answers to: `<id>.cdn.test`.
    pub fn own_name(&self) -> String {
        format!("{}{OWN_DOMAIN}", self.id.to_ascii_lowercase())
    }

    /// Its alternate domain names as written.
    pub fn aliases(&self) -> &[String] {
        &self.aliases
    }

    /// Whether anybody is served.
    pub const fn is_enabled(&self) -> bool {
        self.is_enabled
    }

    /// The object for the path `/`, without leading slash; empty for none.
    pub fn default_root_object(&self) -> &str {
        &self.default_root_object
    }

    /// All origins, in the order of their ids.
    pub const fn origins(&self) -> &BTreeMap<String, Origin> {
        &self.origins
    }

    /// All origin groups, in the order of their ids.
    pub const fn groups(&self) -> &BTreeMap<String, OriginGroup> {
        &self.groups
    }

    /// The origin of this id.
    pub fn origin(&self, id: &str) -> Option<&Origin> {
        self.origins.get(id)
    }

    /// The origin group of this id.
    pub fn group(&self, id: &str) -> Option<&OriginGroup> {
        self.groups.get(id)
    }

    /// All behaviors in the order of the lookup, the default one last.
    pub fn behaviors(&self) -> &[CheckedBehavior] {
        &self.behaviors
    }

    /// What viewers may speak over HTTPS.
    pub const fn security_policy(&self) -> SecurityPolicy {
        self.security_policy
    }

    /// What of HTTP viewers may speak over HTTPS.
    pub const fn http_version(&self) -> HttpVersion {
        self.http_version
    }

    /// What viewers get in the place of errors, and for how long errors are kept.
    pub const fn error_pages(&self) -> &ErrorPages {
        &self.error_pages
    }

    /// Whether the standard log says what cookies viewers sent.
    pub const fn logs_cookies(&self) -> bool {
        self.log_cookies
    }

    /// In which countries it is served.
    pub const fn geo_restriction(&self) -> &GeoRestriction {
        &self.geo_restriction
    }

    /// Which requests another distribution answers in its place, if any.
    pub const fn continuous_deployment(&self) -> Option<&ContinuousDeployment> {
        self.continuous_deployment.as_ref()
    }

    /// The names that it answers to: aliases, and its own.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.aliases.iter().map(|alias| alias.to_ascii_lowercase()).chain([self.own_name()])
    }

    /// All names that its certificate is for: also those of edges below its own, by which HTTP routing leads to them.
    pub fn certificate_names(&self) -> impl Iterator<Item = String> + '_ {
        self.names().chain([format!("*.{}", self.own_name())])
    }

    /// Which diagnostic headers responses carry.
    pub const fn diagnostics(&self) -> &Diagnostics {
        &self.diagnostics
    }

    /// What was accepted with a frown.
    pub fn warnings(&self) -> &[DistributionWarning] {
        &self.warnings
    }

    /// The behavior that serves `path` (raw, a query string is ignored): the first whose pattern covers the normalized
    /// path, else the default one.
    pub fn behavior_for(&self, path: &str) -> &CheckedBehavior {
        self.behavior_at(self.place_for(path))
    }

    /// The behavior at `place` of [`behaviors`](Self::behaviors); the default one where none stands there.
    pub fn behavior_at(&self, place: usize) -> &CheckedBehavior {
        let last = self.behaviors.len() - 1; // `new` pushed the default behavior
        self.behaviors.get(place).unwrap_or(&self.behaviors[last])
    }

    /// Where the behavior that serves `path` stands among [`behaviors`](Self::behaviors).
    pub fn place_for(&self, path: &str) -> usize {
        if self.behaviors.len() == 1 {
            return 0; // the default one, which serves everything
        }
        let path = normalize_for_lookup(path);
        let path = LookupPath::of(&path);
        let found = self.behaviors.iter().position(|behavior| behavior.pattern.covers(path));
        found.unwrap_or(self.behaviors.len() - 1) // `new` pushed the default behavior
    }

    /// What stands for `/`: `/` and the default root object. `None` where `path` is something else or no object is set.
    pub fn root_object_for(&self, path: &str) -> Option<String> {
        (path == "/" && !self.default_root_object.is_empty()).then(|| format!("/{}", self.default_root_object))
    }

    /// Reads a pattern of an invalidation of this distribution; `/` covers the default root object too.
    pub fn invalidation(&self, text: &str) -> Result<InvalidationPattern, InvalidationError> {
        let pattern = InvalidationPattern::parse(text)?;
        Ok(match self.root_object_for(text) {
            Some(object) => pattern.or_exactly(&object),
            None => pattern,
        })
    }
}

impl CheckedBehavior {
    fn new(
        spec: Behavior,
        key_groups: &BTreeMap<String, TrustedKeys>,
        functions: &BTreeMap<String, Arc<Function>>,
    ) -> Result<Self, DistributionError> {
        let pattern = PathPattern::parse(&spec.path_pattern)
            .map_err(|error| DistributionError::Pattern { pattern: spec.path_pattern.clone(), error })?;
        if spec.cache_options && spec.allowed_methods == AllowedMethods::Read {
            return Err(DistributionError::OptionsCachedNotAllowed(spec.path_pattern));
        }
        let key_headers = spec
            .cache_policy
            .key_headers()
            .map_err(|problem| DistributionError::Policy { pattern: spec.path_pattern.clone(), problem })?;
        let cloudfront_headers = cloudfront_headers(&spec, &key_headers);
        let wants_place = cloudfront_headers.iter().any(is_of_place);
        let trusted_keys = rules::trusted_keys(&spec, key_groups)?.map(Arc::new);
        let response_headers = rules::response_headers(&spec)?;
        let viewer_request = rules::function(&spec, spec.viewer_request.as_deref(), functions)?;
        let viewer_response = rules::function(&spec, spec.viewer_response.as_deref(), functions)?;
        Ok(Self {
            spec,
            pattern,
            key_headers,
            cloudfront_headers,
            wants_place,
            trusted_keys,
            response_headers,
            viewer_request,
            viewer_response,
        })
    }

    /// The behavior as written.
    pub const fn spec(&self) -> &Behavior {
        &self.spec
    }

    /// Its pattern.
    pub const fn pattern(&self) -> &PathPattern {
        &self.pattern
    }

    /// Id of the origin or origin group that it asks.
    pub fn target(&self) -> &str {
        &self.spec.target
    }

    /// Its cache policy.
    pub const fn cache_policy(&self) -> &CachePolicy {
        &self.spec.cache_policy
    }

    /// Whether the origin's rules hold ([`CachingRules::Origin`]) and not CloudFront's.
    pub fn follows_origin(&self) -> bool {
        self.spec.cache_policy.rules == CachingRules::Origin
    }

    /// Its origin request policy.
    pub const fn origin_request_policy(&self) -> &OriginRequestPolicy {
        &self.spec.origin_request_policy
    }

    /// The keys of which one must have signed each request; `None` where no signature is asked for.
    pub const fn trusted_keys(&self) -> Option<&Arc<TrustedKeys>> {
        self.trusted_keys.as_ref()
    }

    /// What is put on responses and taken off them; `None` where they leave as they are.
    pub const fn response_headers(&self) -> Option<&Arc<ResponseHeadersPolicy>> {
        self.response_headers.as_ref()
    }

    /// The function that runs before the store is asked.
    pub const fn viewer_request(&self) -> Option<&Arc<Function>> {
        self.viewer_request.as_ref()
    }

    /// The function that runs before a response leaves.
    pub const fn viewer_response(&self) -> Option<&Arc<Function>> {
        self.viewer_response.as_ref()
    }

    /// Whether a function runs for its requests.
    pub const fn has_functions(&self) -> bool {
        self.viewer_request.is_some() || self.viewer_response.is_some()
    }

    /// Whether `method` may pass at all.
    pub fn allows(&self, method: &Method) -> bool {
        self.spec.allowed_methods.contains(method)
    }

    /// The family of stored responses that may answer `method`, or why the store is not asked.
    pub fn method_class(&self, method: &Method) -> Result<MethodClass, Reason> {
        let class = match *method {
            Method::GET | Method::HEAD => MethodClass::Read,
            Method::OPTIONS if self.spec.cache_options => MethodClass::Options,
            _ => return Err(Reason::PassMethod),
        };
        if self.spec.cache_policy.max_ttl.is_zero() { Err(Reason::PassDisabled) } else { Ok(class) }
    }

    /// The headers whose values are in the cache key.
    pub fn key_headers(&self) -> &[HeaderName] {
        &self.key_headers
    }

    /// The `CloudFront-*` headers that a policy lists by name, which is the only way to get one.
    pub fn cloudfront_headers(&self) -> &[HeaderName] {
        &self.cloudfront_headers
    }

    /// Whether one of [`cloudfront_headers`](Self::cloudfront_headers) says where the viewer is.
    pub const fn wants_place(&self) -> bool {
        self.wants_place
    }

    /// Whether `Accept-Encoding` takes part in the key in its normalised form.
    pub const fn normalizes_accept_encoding(&self) -> bool {
        self.spec.cache_policy.encodes()
    }

    /// Which headers either policy takes from the viewer.
    pub const fn headers(&self) -> Union<'_> {
        Union { key: &self.spec.cache_policy.headers, beyond: &self.spec.origin_request_policy.headers }
    }

    /// Which cookies travel to the origin.
    pub const fn cookies(&self) -> Union<'_> {
        Union { key: &self.spec.cache_policy.cookies, beyond: &self.spec.origin_request_policy.cookies }
    }

    /// Which query parameters travel to the origin.
    pub const fn query(&self) -> Union<'_> {
        Union { key: &self.spec.cache_policy.query, beyond: &self.spec.origin_request_policy.query }
    }

    /// Whether a policy takes this header from the viewer.
    pub fn takes_header(&self, name: &HeaderName) -> bool {
        let union = self.headers();
        union.key.takes_header(name) || union.beyond.takes_header(name)
    }

    /// Whether this request sends a cookie to the origin. Then CloudFront neither collapses it with others nor
    /// revalidates with a conditional request. AWS words that for the setting; here it is asked of each request, so a
    /// client without cookies loses nothing. To a plain shared cache cookies are a header like any other.
    pub fn forwards_cookies_of(&self, headers: &HeaderMap) -> bool {
        if self.follows_origin() {
            return false;
        }
        let union = self.cookies();
        !union.is_none() && cookies(headers).any(|(name, _)| union.takes(name))
    }

    /// Whether this request's `Authorization` reaches the origin without being in the cache key, so that RFC 9111
    /// section 3.5 limits what may be stored.
    pub fn forwards_authorization_of(&self, headers: &HeaderMap) -> bool {
        headers.contains_key(header::AUTHORIZATION)
            && !self.key_headers.contains(&header::AUTHORIZATION)
            && self.takes_header(&header::AUTHORIZATION)
    }
}

fn same_pattern(one: &PathPattern, other: &PathPattern) -> bool {
    let bare = |pattern: &PathPattern| pattern.as_str().trim_start_matches('/').to_owned();
    bare(one) == bare(other)
}

fn cloudfront_headers(spec: &Behavior, key_headers: &[HeaderName]) -> Vec<HeaderName> {
    let policy = &spec.origin_request_policy;
    let listed = match &policy.headers {
        Selection::Only(names) => names.as_slice(),
        _ => &[],
    };
    let named = listed.iter().chain(&policy.added_headers).filter_map(|name| name.parse().ok());
    let mut names: Vec<HeaderName> = key_headers.iter().cloned().chain(named).collect();
    names.retain(|name| name.as_str().starts_with("cloudfront-"));
    names
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderValue, StatusCode};

    use super::*;
    use crate::{distribution::TransportFailover, test_data};

    fn check(change: impl FnOnce(&mut DistributionSpec), expected: &str) {
        let mut spec = test_data::distribution_spec();
        change(&mut spec);
        let said = match Distribution::new(spec) {
            Ok(_) => "ok".to_owned(),
            Err(error) => error.to_string(),
        };
        assert!(said.starts_with(expected), "{said}");
    }

    fn group() -> OriginGroup {
        OriginGroup {
            members: ["app".to_owned(), "spare".to_owned()],
            failover_codes: vec![StatusCode::SERVICE_UNAVAILABLE],
            on_transport_error: TransportFailover::Documented,
        }
    }

    #[test]
    fn contradictions_are_refused_with_the_place_and_the_rule() {
        check(|_| {}, "ok");
        check(|spec| spec.id = "a.b".to_owned(), "the id \"a.b\"");
        check(|spec| spec.aliases = vec!["a.*.test".to_owned()], "the alias");
        check(|spec| spec.aliases = vec!["*.demo.test".to_owned()], "ok");
        check(|spec| spec.default_root_object = "/index.html".to_owned(), "the default root object");
        check(|spec| spec.default_behavior.target = "nobody".to_owned(), "behavior \"*\": there is no origin");
        check(|spec| spec.default_behavior.path_pattern = "/a".to_owned(), "the default behavior's pattern");
        check(|spec| spec.default_behavior.cache_options = true, "behavior \"*\" caches OPTIONS");
        check(|spec| spec.groups = [("app".to_owned(), group())].into(), "\"app\" is the id of an origin and");
    }

    #[test]
    fn origins_out_of_bounds_are_refused() {
        let origin = |change: fn(&mut Origin), expected: &str| {
            check(|spec| change(spec.origins.get_mut("app").unwrap()), expected);
        };
        origin(|origin| origin.connection_attempts = 0, "origin \"app\": connection_attempts must be 1 to 3");
        origin(|origin| origin.connection_attempts = 4, "origin \"app\": connection_attempts");
        origin(
            |origin| origin.connection_timeout = Duration::from_millis(10_001),
            "origin \"app\": connection_timeout",
        );
        origin(|origin| origin.connection_timeout = Duration::from_millis(999), "origin \"app\": connection_timeout");
        origin(|origin| origin.response_timeout = Duration::from_secs(121), "origin \"app\": response_timeout");
        origin(|origin| origin.domain_name = "http://x".to_owned(), "origin \"app\": domain_name");
        origin(|origin| origin.domain_name = "[::1]:80".to_owned(), "ok");
        origin(|origin| origin.origin_path = "/a/".to_owned(), "origin \"app\": origin_path");
        origin(
            |origin| origin.custom_headers = vec![(header::HOST, HeaderValue::from_static("x"))],
            "origin \"app\": the custom header host",
        );
    }

    #[test]
    fn groups_are_checked_and_what_aws_refuses_is_a_warning() {
        let spec = |change: fn(&mut OriginGroup)| {
            let mut spec = test_data::distribution_spec();
            let mut group = group();
            change(&mut group);
            spec.groups.insert("pair".to_owned(), group);
            spec.default_behavior.target = "pair".to_owned();
            spec.default_behavior.allowed_methods = AllowedMethods::All;
            Distribution::new(spec)
        };
        let warnings = spec(|group| group.failover_codes.push(StatusCode::IM_A_TEAPOT)).unwrap().warnings().to_vec();
        assert_eq!(
            warnings,
            [
                DistributionWarning::FailoverCodeNotAtAws { group: "pair".to_owned(), code: 418 },
                DistributionWarning::SlowFailover { group: "pair".to_owned(), silence: Duration::from_secs(30) },
                DistributionWarning::WritesToGroup { pattern: "*".to_owned() },
            ]
        );
        let same = spec(|group| group.members[1] = group.members[0].clone());
        assert_eq!(same.unwrap_err(), DistributionError::SameMembers("pair".to_owned()));
        let none = spec(|group| group.failover_codes.clear());
        assert_eq!(none.unwrap_err(), DistributionError::NoFailoverCode("pair".to_owned()));
        let low = spec(|group| group.failover_codes = vec![StatusCode::OK]);
        assert_eq!(low.unwrap_err(), DistributionError::FailoverCode { group: "pair".to_owned(), code: 200 });
    }

    #[test]
    fn first_matching_behavior_wins_on_the_normalized_path() {
        let mut spec = test_data::distribution_spec();
        for pattern in ["/images/*.jpg", "/images/*", "/video/*"] {
            spec.behaviors.push(Behavior { path_pattern: pattern.to_owned(), ..spec.default_behavior.clone() });
        }
        let distribution = Distribution::new(spec).unwrap();
        for (path, pattern) in [
            ("/images/a.jpg", "/images/*.jpg"),
            ("/images/a.gif", "/images/*"),
            ("/video/x", "/video/*"),
            ("/other", "*"),
            ("/x/../video/y?q=/images/a.jpg", "/video/*"),
        ] {
            assert_eq!(distribution.behavior_for(path).pattern().as_str(), pattern, "{path}");
        }
    }

    #[test]
    fn a_hundred_behaviors_are_possible_and_more_than_aws_allows_are_a_warning() {
        let with = |count: usize| {
            let mut spec = test_data::distribution_spec();
            let other = |number| Behavior { path_pattern: format!("/{number}/*"), ..spec.default_behavior.clone() };
            spec.behaviors = (1..count).map(other).collect();
            Distribution::new(spec)
        };
        assert_eq!(with(76).unwrap().warnings(), []);
        let many = with(101).unwrap();
        assert_eq!(many.warnings(), [DistributionWarning::BehaviorsBeyondQuota { count: 101 }]);
        assert_eq!((many.place_for("/100/a"), many.place_for("/none")), (99, 100));
        assert!(with(1_001).is_err());
    }

    #[test]
    fn default_root_object_stands_for_the_bare_slash_only() {
        let mut spec = test_data::distribution_spec();
        spec.default_root_object = "site/index.html".to_owned();
        let distribution = Distribution::new(spec).unwrap();
        assert_eq!(distribution.root_object_for("/").as_deref(), Some("/site/index.html"));
        assert_eq!(distribution.root_object_for("/sub/"), None);
        let pattern = distribution.invalidation("/").unwrap();
        assert!(pattern.matches("/") && pattern.matches("/site/index.html") && !pattern.matches("/site"));
    }

    #[test]
    fn a_policy_that_disables_caching_may_select_nothing() {
        check(
            |spec| {
                spec.default_behavior.cache_policy.max_ttl = Duration::ZERO;
                spec.default_behavior.cache_policy.min_ttl = Duration::ZERO;
            },
            "behavior \"*\": the cache policy \"CachingOptimized\" disables caching",
        );
        check(
            |spec| spec.default_behavior.cache_policy.headers = Selection::Only(vec!["Accept-Encoding".to_owned()]),
            "behavior \"*\": the cache policy \"CachingOptimized\" normalises",
        );
    }
}
