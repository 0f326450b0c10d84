//! A distribution: CloudFront's JSON to a cluster file's, and back.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use cdn_core::{
    distribution::{AllowedMethods, CachingRules, Distribution, Selection},
    http_version::HttpVersion,
    policies,
    routing::PriceClass,
    security_policy::SecurityPolicy,
};
use serde_json::{Value as Json, json};

use super::{
    Carried, Importer, Known,
    behavior::behavior_json,
    names::host_for,
    origin::{group_json, origin_json},
    policy::{PolicyKind, cache_policy_json, id_of_policy, list, made_up_id, origin_request_policy_json},
    read::{At, INVALID_ARGUMENT, Object, Refusal, without_nulls},
    report::Kind,
    response_headers::response_headers_policy_json,
};
use crate::{
    cluster::{Cluster, country_of},
    cluster_file::{ClusterFile, DistributionFile, ErrorPageFile},
    quantity::Span,
};

/// Behaviors beside the default one, and aliases, that AWS allows unless asked for more.
const BEHAVIORS_QUOTA: usize = 75;
const ALIASES_MAX: usize = 100;

/// CloudFront's code for all that can be wrong with a geo restriction.
const INVALID_GEO_RESTRICTION: &str = "InvalidGeoRestrictionParameter";
/// A century is enough for an error.
const ERROR_TTL_SECS_MAX: u64 = 3_153_600_000;

/// Countries in which alone something is served, and in which it is not.
type Countries = (Option<Vec<String>>, Option<Vec<String>>);

/// Statuses that may have an error page, or a time for which they are kept.
const ERROR_CODES: [u64; 11] = [400, 403, 404, 405, 414, 416, 500, 501, 502, 503, 504];

const MEMBERS: &[Known] = &[
    Known("Logging", Kind::Ignored, "standard logs go to no bucket; IncludeCookies is followed"),
    Known("WebACLId", Kind::Ignored, "no web ACL is asked: nothing is blocked"),
    Known("ContinuousDeploymentPolicyId", Kind::Ignored, "continuous deployment is not applied"),
    Known("Staging", Kind::Ignored, "a staging distribution is served as any other"),
    Known("AnycastIpListId", Kind::Ignored, "addresses are the world's own"),
    Known("TenantConfig", Kind::Ignored, "tenants are not known"),
    Known("ConnectionMode", Kind::Ignored, "tenants are not known"),
    Known("ViewerMtlsConfig", Kind::Ignored, "viewers show no certificates"),
    Known("ConnectionFunctionAssociation", Kind::Ignored, "connection functions do not run"),
    Known("CacheTagConfig", Kind::Ignored, "cache tags are not known"),
];

/// Members of which there is nothing to say.
const SILENT: [&str; 1] = ["IsIPV6Enabled"];

impl Importer<'_> {
    pub(super) fn distribution(&mut self, at: &At<'_>) -> Result<DistributionFile, Refusal> {
        let mut object = at.object()?;
        let mut carried = Carried::new();
        for name in ["CallerReference", "Comment"] {
            let said = object.required(name)?.text()?;
            if !said.is_empty() {
                carried.insert(name.into(), said.into());
            }
        }
        if object.at.node.member("Comment").and_then(|node| node.text()).is_some_and(|text| text.chars().count() > 128)
        {
            return Err(object.place("Comment").refuse(INVALID_ARGUMENT, "a comment has at most 128 characters"));
        }
        let enabled_at = object.required("Enabled")?;
        let enabled = match enabled_at.node.to_json() {
            Json::Bool(true) => None,
            Json::Bool(false) => {
                let message = "it is disabled: every request gets 403, until `enabled = false` is gone";
                self.report.remark(Kind::Risky, "", &enabled_at, message);
                Some(false)
            }
            _ => return Err(enabled_at.refuse("ParamValidation", "Enabled must be true or false")),
        };
        let mut file = DistributionFile {
            hosts: Some(self.aliases(&mut object, &mut carried)?),
            enabled,
            default_root_object: root_object(&mut object)?,
            price_class: price_class(&mut object)?,
            http_version: self.http_version(&mut object)?,
            log_cookies: log_cookies(&object)?,
            ..DistributionFile::default()
        };
        file.security_policy = self.viewer_certificate(&mut object, &file, &mut carried)?;
        let origins_at = object.place("Origins");
        let origins = object.required("Origins")?.object()?.items()?;
        if origins.is_empty() {
            return Err(origins_at.refuse(INVALID_ARGUMENT, "a distribution has at least one origin"));
        }
        self.origins(&origins)?;
        let groups = object.list("OriginGroups")?;
        self.groups(&groups)?;
        let behaviors_at = object.place("CacheBehaviors");
        let behaviors = object.list("CacheBehaviors")?;
        if behaviors.len() > BEHAVIORS_QUOTA {
            let message = format!("{} behaviors: AWS allows {BEHAVIORS_QUOTA} unless asked for more", behaviors.len());
            self.report.remark(Kind::Risky, "", &behaviors_at, message);
        }
        for behavior in behaviors {
            let behavior = self.behavior(&behavior, false)?;
            file.behaviors.push(behavior);
        }
        file.default = self.behavior(&object.required("DefaultCacheBehavior")?, true)?;
        file.error_pages = self.error_responses(&mut object)?;
        (file.allow_countries, file.block_countries) = self.geo_restriction(&mut object)?;
        for name in SILENT {
            if let Some(at) = object.take(name) {
                carried.insert(name.into(), at.node.to_json());
            }
        }
        self.carry(&object, &mut carried, "", MEMBERS);
        file.cloudfront = carried;
        Ok(file)
    }

    fn aliases(&mut self, object: &mut Object<'_>, carried: &mut Carried) -> Result<Vec<String>, Refusal> {
        let place = object.place("Aliases");
        let aliases = object.list("Aliases")?;
        if aliases.len() > ALIASES_MAX {
            return Err(place.refuse("TooManyDistributionCNAMEs", format!("there are more than {ALIASES_MAX} aliases")));
        }
        let mut hosts = Vec::new();
        let mut renamed = false;
        for at in &aliases {
            let alias = at.text()?;
            let host = host_for(alias);
            let label = |label: &str| {
                (1..=63).contains(&label.len())
                    && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            };
            if host.len() > 253 || !host.strip_prefix("*.").unwrap_or(&host).split('.').all(label) {
                let message = format!("{alias:?} is no host name; a star may only be the whole first label");
                return Err(at.refuse(INVALID_ARGUMENT, message));
            }
            if hosts.contains(&host) {
                return Err(at.refuse("CNAMEAlreadyExists", format!("the alias {alias} is there twice")));
            }
            if host != alias.to_ascii_lowercase() {
                renamed = true;
                let message = format!("served as {host}: names of a world end in .test");
                self.report.remark(Kind::Approximated, alias, at, message);
            }
            hosts.push(host);
        }
        if renamed {
            let aliases: Vec<Json> = aliases.iter().map(|at| at.node.to_json()).collect();
            carried.insert("Aliases".into(), aliases.into());
        }
        Ok(hosts)
    }

    fn http_version(&self, object: &mut Object<'_>) -> Result<Option<String>, Refusal> {
        let place = object.place("HttpVersion");
        let Some(version) = object.text("HttpVersion")? else { return Ok(None) };
        match version.to_ascii_lowercase().parse() {
            Ok(HttpVersion::Http2) => Ok(None),
            Ok(other) => Ok(Some(other.to_string())),
            Err(_) => Err(place.refuse(INVALID_ARGUMENT, format!("there is no HttpVersion {version:?}"))),
        }
    }

    fn viewer_certificate(
        &mut self,
        object: &mut Object<'_>,
        file: &DistributionFile,
        carried: &mut Carried,
    ) -> Result<Option<String>, Refusal> {
        let aliases_at = object.place("Aliases");
        let place = object.place("ViewerCertificate");
        let taken = object.take("ViewerCertificate");
        let has_aliases = file.hosts.as_ref().is_some_and(|hosts| !hosts.is_empty());
        let mut certificate = taken.as_ref().map(At::object).transpose()?;
        let own = match &mut certificate {
            Some(certificate) => {
                let named = ["ACMCertificateArn", "IAMCertificateId"];
                let mut own = false;
                for name in named {
                    own |= certificate.text(name)?.is_some();
                }
                own && !certificate.flag("CloudFrontDefaultCertificate")?
            }
            None => false,
        };
        let (Some(mut certificate), true) = (certificate, own) else {
            if has_aliases {
                let message = "a distribution with aliases has a certificate that covers them";
                return Err(aliases_at.refuse("InvalidViewerCertificate", message));
            }
            // Whatever else is written, CloudFront's own certificate comes with this policy.
            if let Some(taken) = &taken {
                carried.insert("ViewerCertificate".into(), without_nulls(&taken.node.to_json()));
            }
            return Ok(Some(SecurityPolicy::TLSv1.as_str().to_owned()));
        };
        let method_at = certificate.place("SSLSupportMethod");
        let method = certificate.text("SSLSupportMethod")?;
        match method {
            Some("sni-only") => {}
            Some("vip" | "static-ip") => {
                let message = "certificates are chosen by SNI, with no address of their own";
                self.report.remark(Kind::Approximated, "", &method_at, message);
            }
            _ => {
                let message = "a certificate of one's own has SSLSupportMethod sni-only, vip or static-ip";
                return Err(method_at.refuse("InvalidViewerCertificate", message));
            }
        }
        let version_at = certificate.place("MinimumProtocolVersion");
        let policy = match certificate.text("MinimumProtocolVersion")?.unwrap_or("TLSv1") {
            "SSLv3" if method == Some("sni-only") => {
                let message = "whoever speaks SSLv3 names no host (SNI): it goes with SSLSupportMethod vip";
                return Err(version_at.refuse("InvalidMinimumProtocolVersion", message));
            }
            "SSLv3" => SecurityPolicy::TLSv1,
            name => name.parse().map_err(|_| {
                version_at.refuse("InvalidMinimumProtocolVersion", format!("there is no security policy {name:?}"))
            })?,
        };
        if policy.is_exact() {
            self.report.simulated("security policy");
        } else {
            let message = "viewers speak TLS 1.2 at least; what came before is not spoken";
            self.report.remark(Kind::Approximated, "", &version_at, message);
        }
        self.report.remark(Kind::Approximated, "", &place, "certificates are of the world's own authority");
        let mut kept = without_nulls(&place.node.to_json());
        if let Some(members) = kept.as_object_mut().filter(|_| policy.as_str() != "TLSv1") {
            members.shift_remove("MinimumProtocolVersion");
        }
        carried.insert("ViewerCertificate".into(), kept);
        Ok(Some(policy.as_str().to_owned()))
    }

    fn error_responses(&mut self, object: &mut Object<'_>) -> Result<Vec<ErrorPageFile>, Refusal> {
        let place = object.place("CustomErrorResponses");
        let responses = object.list("CustomErrorResponses")?;
        let mut seen = BTreeSet::new();
        let mut pages = Vec::new();
        let mut is_timed = false;
        for at in &responses {
            let mut response = at.object()?;
            let code_at = response.required("ErrorCode")?;
            let code = code_at.number()?;
            if !ERROR_CODES.contains(&code) || !seen.insert(code) {
                let message = format!("ErrorCode {code} can have no custom response, or has one already");
                return Err(code_at.refuse("InvalidErrorCode", message));
            }
            let page_at = response.place("ResponsePagePath");
            let page = response.text("ResponsePagePath")?;
            let answer_at = response.place("ResponseCode");
            let answer = response.text("ResponseCode")?;
            if page.is_some() != answer.is_some() {
                let message = "ResponsePagePath and ResponseCode go together";
                return Err(at.refuse(INVALID_ARGUMENT, message));
            }
            if page.is_some_and(|page| !page.starts_with('/')) {
                return Err(page_at.refuse("InvalidRelativePath", "ResponsePagePath starts with a slash"));
            }
            let is_code = |code: u64| code == 200 || ERROR_CODES.contains(&code);
            if answer.is_some_and(|answer| !answer.parse().is_ok_and(is_code)) {
                let message = "ResponseCode is 200, or a code that may have a custom response";
                return Err(answer_at.refuse("InvalidResponseCode", message));
            }
            let ttl = response.take("ErrorCachingMinTTL").map(|at| at.number()).transpose()?;
            is_timed |= ttl.is_some();
            pages.push(ErrorPageFile {
                status: u16::try_from(code).unwrap_or_default(), // one of the list
                ttl: ttl.map(|secs| Span(Duration::from_secs(secs.min(ERROR_TTL_SECS_MAX)))),
                response_page: page.map(str::to_owned),
                response_code: answer.and_then(|answer| answer.parse().ok()),
            });
            if matches!((code, answer), (403, Some("200"))) {
                let message =
                    "every 403 looks like a page that is there: refusals of signatures, countries and buckets too";
                self.report.remark(Kind::Risky, "", &code_at, message);
            }
        }
        if !is_timed {
            let message = "404 and 5xx are kept for 10 s: no ErrorCachingMinTTL says otherwise, and an origin that is back is \
                           not asked sooner";
            self.report.remark(Kind::Risky, "", &place, message);
        }
        if !pages.is_empty() {
            self.report.simulated("error pages");
        }
        Ok(pages)
    }

    /// The countries in which alone it is served, and those in which it is not.
    fn geo_restriction(&mut self, object: &mut Object<'_>) -> Result<Countries, Refusal> {
        let Some(mut restrictions) = object.object("Restrictions")? else { return Ok((None, None)) };
        let mut geo = restrictions.required("GeoRestriction")?.object()?;
        let kind = geo.required("RestrictionType")?;
        let place = geo.at.clone();
        let mut countries = Vec::new();
        for country in geo.items()? {
            let text = country.text()?;
            if country_of(text).is_none() {
                let message = format!("{text:?} is no code of a country (ISO 3166-1 alpha-2)");
                return Err(country.refuse(INVALID_GEO_RESTRICTION, message));
            }
            countries.push(text.to_owned());
        }
        let refuse = |message: &str| Err(place.refuse(INVALID_GEO_RESTRICTION, message));
        let restricted = match (kind.text()?, countries.is_empty()) {
            ("none", true) => return Ok((None, None)),
            ("none", false) => return refuse("none restricts nothing, and names countries"),
            ("whitelist" | "blacklist", true) => return refuse("a restriction names at least one country"),
            ("whitelist", false) => (Some(countries), None),
            ("blacklist", false) => (None, Some(countries)),
            (other, _) => {
                return Err(kind.refuse(INVALID_GEO_RESTRICTION, format!("there is no RestrictionType {other:?}")));
            }
        };
        self.report.simulated("geo restriction");
        Ok(restricted)
    }
}

/// `IncludeCookies`, of which alone something is made here of what is said about logging.
fn log_cookies(object: &Object<'_>) -> Result<Option<bool>, Refusal> {
    if object.at.node.member("Logging").is_none() {
        return Ok(None);
    }
    Ok(object.place("Logging").object()?.flag("IncludeCookies")?.then_some(true))
}

fn root_object(object: &mut Object<'_>) -> Result<Option<String>, Refusal> {
    let place = object.place("DefaultRootObject");
    let root = object.text("DefaultRootObject")?;
    let wrong = |root: &str| {
        root.starts_with('/')
            || root.len() > 255
            || root.bytes().any(|byte| !byte.is_ascii_graphic() || b"?#\"<>\\^`{|}".contains(&byte))
    };
    if root.is_some_and(wrong) {
        let message = "DefaultRootObject is a path of at most 255 characters, and does not start with a slash";
        return Err(place.refuse("InvalidDefaultRootObject", message));
    }
    Ok(root.map(str::to_owned))
}

fn price_class(object: &mut Object<'_>) -> Result<Option<String>, Refusal> {
    let place = object.place("PriceClass");
    let class = object.text("PriceClass")?.filter(|class| *class != "None");
    let known = |class: &str| PriceClass::ALL.iter().any(|known| known.as_str() == class);
    match class {
        Some(class) if !known(class) => {
            Err(place.refuse(INVALID_ARGUMENT, format!("there is no PriceClass {class:?}")))
        }
        class => Ok(class.filter(|class| *class != PriceClass::All.as_str()).map(str::to_owned)),
    }
}

/// A distribution of a world in CloudFront's words.
#[derive(Debug)]
pub(crate) struct Export {
    /// The DistributionConfig.
    pub(crate) config: Json,
    /// The policies that it names and CloudFront does not have, as `get-cache-policy` and its kin print them.
    pub(crate) policies: Vec<Json>,
    /// What CloudFront cannot say.
    pub(crate) notes: Vec<String>,
}

/// Writes a distribution as `get-distribution-config` would.
pub(crate) fn export(file: &ClusterFile, cluster: &Cluster, distribution: &Distribution) -> Export {
    let nothing = DistributionFile::default();
    let id = distribution.id().as_ref();
    let written = file.distributions.get(id).unwrap_or(&nothing);
    let mut carried = written.cloudfront.clone();
    let mut notes = Vec::new();
    let name_of = |target: &str| {
        let carried = file.origins.get(target).map(|origin| &origin.cloudfront);
        let carried = carried.or_else(|| file.groups.get(target).map(|group| &group.cloudfront));
        let own = carried.and_then(|carried| carried.get("Id")?.as_str().map(str::to_owned));
        own.unwrap_or_else(|| target.to_owned())
    };
    let used = used_by(cluster, distribution);
    let origins: Vec<Json> = (cluster.origins.iter().filter(|(id, _)| used.contains(id.as_str())))
        .map(|(id, plan)| origin_json(id, plan, file.origins.get(id)))
        .collect();
    for (id, plan) in cluster.origins.iter().filter(|(id, _)| used.contains(id.as_str())) {
        // What was imported has its real address.
        let imported = file.origins.get(id).is_some_and(|origin| !origin.cloudfront.is_empty());
        let domain = plan.origin.domain_name.as_str();
        if !imported && is_local(domain) {
            notes.push(format!("origin {id}: no edge of AWS's reaches {domain}: write its public name"));
        }
    }
    let order = |id: &String| file.groups.get_index_of(id);
    let mut groups: Vec<_> = distribution.groups().iter().filter(|(id, _)| used.contains(id.as_str())).collect();
    groups.sort_by_key(|(id, _)| order(id));
    let groups: Vec<Json> =
        groups.into_iter().map(|(id, group)| group_json(id, group, file.groups.get(id), name_of)).collect();
    let specs = distribution.behaviors();
    let (default, ordered) = specs.split_last().unzip();
    let ordered: Vec<Json> = (ordered.unwrap_or_default().iter().enumerate())
        .map(|(at, behavior)| behavior_json(behavior.spec(), written.behaviors.get(at), file, name_of))
        .collect();
    let default = default.map(|default| behavior_json(default.spec(), Some(&written.default), file, name_of));
    let hosts = distribution.aliases();
    let mut json = json!({
        "CallerReference": format!("isochrone-{id}"),
        "Aliases": list(&aliases_of(hosts, &mut carried)),
        "DefaultRootObject": distribution.default_root_object(),
        "Origins": list(&origins),
        "OriginGroups": list(&groups),
        "DefaultCacheBehavior": default,
        "CacheBehaviors": list(&ordered),
        "CustomErrorResponses": list(&error_responses_json(distribution)),
        "Comment": "",
        "Logging": { "Enabled": false, "IncludeCookies": distribution.logs_cookies(), "Bucket": "", "Prefix": "" },
        "PriceClass": written.price_class.as_deref().unwrap_or(PriceClass::All.as_str()),
        "Enabled": distribution.is_enabled(),
        "ViewerCertificate": viewer_certificate_json(distribution, &mut carried, &mut notes),
        "Restrictions": { "GeoRestriction": geo_restriction_json(written) },
        "WebACLId": "",
        "HttpVersion": distribution.http_version().as_str(),
        "IsIPV6Enabled": true,
        "ContinuousDeploymentPolicyId": "",
        "Staging": false,
    });
    for (name, value) in carried {
        json[name] = value;
    }
    if let Some(logging) = json.get_mut("Logging").and_then(Json::as_object_mut) {
        logging.insert("IncludeCookies".into(), distribution.logs_cookies().into());
    }
    let policies = policies_of(file, distribution, &json, &mut notes);
    Export { config: json, policies, notes }
}

/// Whether a host, with or without a port, is of this machine or of a world.
fn is_local(domain: &str) -> bool {
    let host = domain.rsplit_once(':').map_or(domain, |(host, _)| host);
    host == "localhost" || host.ends_with(".test") || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
}

/// Ids of origins and groups that a distribution asks; where there is no other distribution, of all.
fn used_by<'a>(cluster: &'a Cluster, distribution: &'a Distribution) -> BTreeSet<&'a str> {
    if cluster.distributions.len() == 1 {
        let groups = distribution.groups().keys().map(String::as_str);
        return cluster.origins.keys().map(String::as_str).chain(groups).collect();
    }
    let targets = distribution.behaviors().iter().map(|behavior| behavior.target());
    let members = |target| {
        let group = distribution.group(target);
        let members = group.into_iter().flat_map(|group| group.members.iter().map(String::as_str));
        members.chain([target])
    };
    targets.flat_map(members).collect()
}

fn error_responses_json(distribution: &Distribution) -> Vec<Json> {
    let entries = distribution.error_pages().entries().iter();
    entries
        .map(|entry| {
            let page = entry.page.as_ref();
            json!({
                "ErrorCode": entry.status.as_u16(),
                "ResponsePagePath": page.map_or("", |page| page.path.as_str()),
                "ResponseCode": page.map_or_else(String::new, |page| page.status.as_u16().to_string()),
                "ErrorCachingMinTTL": entry.ttl.as_secs(),
            })
        })
        .collect()
}

fn geo_restriction_json(written: &DistributionFile) -> Json {
    let (kind, countries) = match (&written.allow_countries, &written.block_countries) {
        (Some(countries), _) => ("whitelist", countries.as_slice()),
        (None, Some(countries)) => ("blacklist", countries.as_slice()),
        (None, None) => ("none", [].as_slice()),
    };
    let mut restriction = list(countries);
    restriction["RestrictionType"] = kind.into();
    restriction
}

fn aliases_of(hosts: &[String], carried: &mut Carried) -> Vec<String> {
    let kept = carried.shift_remove("Aliases");
    let kept: Vec<&str> = kept.iter().filter_map(Json::as_array).flatten().filter_map(Json::as_str).collect();
    let real = |host: &String| kept.iter().find(|alias| host_for(alias) == *host).map(|alias| (*alias).to_owned());
    hosts.iter().map(|host| real(host).unwrap_or_else(|| host.clone())).collect()
}

fn viewer_certificate_json(distribution: &Distribution, carried: &mut Carried, notes: &mut Vec<String>) -> Json {
    let policy = distribution.security_policy();
    if let Some(mut kept) = carried.shift_remove("ViewerCertificate").filter(Json::is_object) {
        let has_own = kept.get("CloudFrontDefaultCertificate") != Some(&true.into());
        let is_ssl3 = kept.get("MinimumProtocolVersion").is_some() && policy == SecurityPolicy::TLSv1;
        if has_own && !is_ssl3 {
            kept["MinimumProtocolVersion"] = policy.as_str().into();
        }
        // CloudFront's own certificate covers no alias, and comes with one policy.
        if has_own || distribution.aliases().is_empty() && policy == SecurityPolicy::TLSv1 {
            return kept;
        }
    }
    if distribution.aliases().is_empty() && policy == SecurityPolicy::TLSv1 {
        return json!({ "CloudFrontDefaultCertificate": true, "MinimumProtocolVersion": policy.as_str() });
    }
    let id = made_up_id(distribution.id());
    let arn = format!("arn:aws:acm:us-east-1:000000000000:certificate/{id}");
    notes.push(format!("ViewerCertificate names no certificate of yours: write its ARN in the place of {arn}"));
    json!({ "ACMCertificateArn": arn, "SSLSupportMethod": "sni-only", "MinimumProtocolVersion": policy.as_str() })
}

/// The policies that an exported configuration names and CloudFront does not have; and what of behaviors it cannot say.
fn policies_of(file: &ClusterFile, distribution: &Distribution, json: &Json, notes: &mut Vec<String>) -> Vec<Json> {
    let mut policies = Vec::new();
    let mut seen = BTreeSet::new();
    let ordered = json["CacheBehaviors"]["Items"].as_array().into_iter().flatten();
    for (behavior, json) in distribution.behaviors().iter().zip(ordered.chain([&json["DefaultCacheBehavior"]])) {
        let spec = behavior.spec();
        let pattern = &spec.path_pattern;
        if spec.allowed_methods == AllowedMethods::Any {
            notes.push(format!("behavior {pattern:?}: CloudFront knows seven methods, and no others"));
        }
        if spec.cache_policy.rules == CachingRules::Origin {
            notes.push(format!("behavior {pattern:?}: CloudFront has no policy that honours the origin in everything"));
        }
        if spec.cache_policy.zstd {
            notes.push(format!("behavior {pattern:?}: CloudFront does not compress with zstd"));
        }
        let name = &spec.cache_policy.name;
        if let Some(id) = json["CachePolicyId"].as_str().filter(|id| policies::cache_policy(id).is_none())
            && seen.insert(id.to_owned())
        {
            if file.cache_policies.get(name).is_none_or(|written| written.id.is_none()) {
                notes.push(format!("create the cache policy {name}, and write its id in the place of {id}"));
            }
            if let Selection::Like(_) = spec.cache_policy.cookies {
                notes.push(format!(
                    "the cache policy {name} selects cookies by patterns, which only legacy settings do"
                ));
            }
            policies.push(cache_policy_json(&spec.cache_policy, id));
        }
        let name = &spec.origin_request_policy.name;
        if let Some(id) =
            json["OriginRequestPolicyId"].as_str().filter(|id| policies::origin_request_policy(id).is_none())
            && seen.insert(id.to_owned())
        {
            if file.origin_request_policies.get(name).is_none_or(|written| written.id.is_none()) {
                notes.push(format!("create the origin request policy {name}, and write its id in the place of {id}"));
            }
            policies.push(origin_request_policy_json(&spec.origin_request_policy, id));
        }
    }
    let named = distribution.behaviors().iter().filter_map(|behavior| behavior.spec().response_headers_policy.as_ref());
    for name in named.map(|policy| policy.name.as_str()).collect::<BTreeSet<_>>() {
        let Some(written) = file.response_headers_policies.get(name) else { continue };
        let id = id_of_policy(PolicyKind::ResponseHeaders, name, written.id.as_deref());
        if written.id.is_none() {
            notes.push(format!("create the response headers policy {name}, and write its id in the place of {id}"));
        }
        policies.push(response_headers_policy_json(name, written, &id));
    }
    notes.dedup();
    policies
}
