//! A distribution of a running world, changed to what CloudFront's API was told.
//!
//! What is wanted is imported as any file is. What of it says what the world says already stays as it was written; the rest
//! takes its place. What a running world cannot change is refused, because a script that was told "done" would go on.

use cdn_core::{distribution::Distribution, http_version::HttpVersion, routing::PriceClass};
use serde_json::Value as Json;

use super::{
    Carried, Export, Import, Options, Refusal, changes, export, import,
    policy::{PolicyKind, id_of_policy},
    read,
    read::{At, INVALID_ARGUMENT},
};
use crate::{
    cluster::{Cluster, Inputs},
    cluster_file::{BehaviorFile, ClusterFile, DEMO, DistributionFile, GroupFile, MethodsFile, OriginFile},
};

/// AWS's code for a change that is not possible.
const ILLEGAL_UPDATE: &str = "IllegalUpdate";

/// What a `DistributionConfig` may not change in a running world, and why.
const STAYS: &str = "stays while a world runs";

/// The cluster file of a world whose distribution `id` is what `wanted`, a `DistributionConfig` in XML, says. `running` is
/// the world as it was started, `file` what its caches serve now.
///
/// # Errors
/// AWS would refuse it, or a running world cannot change so.
pub(crate) fn update(
    running: &Cluster,
    file: &ClusterFile,
    inputs: &Inputs,
    id: &str,
    wanted: &str,
) -> Result<ClusterFile, Refusal> {
    let refused = |why: String| refuse(why.as_str());
    let cluster = running.reconfigured(file, inputs).map_err(refused)?;
    let distribution = find(&cluster, id).ok_or_else(|| refuse("there is no such distribution"))?;
    let before = export(file, &cluster, distribution).config;
    let file = written_out(file, &cluster);
    let imported = import(wanted, &options(&file, id))?;
    let node = read(wanted)?;
    let root = At { node: node.nearest(&imported.root), path: imported.root.clone() };
    let wanted = root.node.to_json();
    let is_only = cluster.distributions.len() == 1;
    check_origins(&file, &before, &wanted, &imported, is_only).map_err(|(path, why)| at(&root, path, &why))?;
    let written = file.distributions.get(id).cloned().unwrap_or_default();
    let change = imported.file.distributions.get(&imported.id).cloned().unwrap_or_default();
    check_distribution(distribution, &written, &change, [&before, &wanted])
        .map_err(|(path, why)| at(&root, path, &why))?;
    check_behaviors(&imported, &written, &change, [&before, &wanted])
        .map_err(|(code, path, why)| Refusal { code, ..at(&root, path, &why) })?;
    let unknown = imported.file.key_groups.keys().find(|group| !file.key_groups.contains_key(*group));
    if let Some(group) = unknown {
        let message = format!("the world has no key group {group}: create-key-group makes one");
        return Err(Refusal { code: "TrustedKeyGroupDoesNotExist", ..refuse(&message) });
    }
    let mut changed = file.clone();
    lay_origins(&mut changed, &imported, &before, &wanted);
    lay_groups(&mut changed, &imported, is_only);
    changed.cache_policies = imported.file.cache_policies;
    changed.origin_request_policies = imported.file.origin_request_policies;
    changed.response_headers_policies = imported.file.response_headers_policies;
    changed.distributions.insert(id.to_owned(), laid_over(written, change, &before, &wanted));
    forget_unused(&mut changed);
    let after = running.reconfigured(&changed, inputs).map_err(refused)?;
    for other in cluster.distributions.iter().filter(|other| other.id().as_ref() != id) {
        let says = |file: &ClusterFile, cluster: &Cluster| {
            find(cluster, other.id()).map(|other| export(file, cluster, other).config)
        };
        if says(&file, &cluster) != says(&changed, &after) {
            let message = format!("distribution {} would change too: both ask one origin, group or policy", other.id());
            return Err(refuse(&message));
        }
    }
    Ok(changed)
}

fn refuse(message: &str) -> Refusal {
    Refusal { code: ILLEGAL_UPDATE, message: message.to_owned(), path: String::new(), at: 0..1 }
}

/// A change that is not possible, told of where it stands.
fn at(root: &At<'_>, path: String, why: &str) -> Refusal {
    let joined = if root.path.is_empty() { path.clone() } else { format!("{}.{path}", root.path) };
    let place = At { node: root.node.nearest(&path), path: joined };
    place.refuse(ILLEGAL_UPDATE, why)
}

fn find<'a>(cluster: &'a Cluster, id: &str) -> Option<&'a Distribution> {
    cluster.distributions.iter().map(|one| &**one).find(|one| one.id().as_ref() == id)
}

/// The file with what it leaves to defaults written out, as far as it is about to be changed: what stays as it was written
/// must mean the same beside what is new.
fn written_out(file: &ClusterFile, cluster: &Cluster) -> ClusterFile {
    let mut file = file.clone();
    if file.origins.is_empty() {
        for (id, plan) in &cluster.origins {
            let site = Some(plan.place.id.as_str().to_owned());
            file.origins.insert(id.clone(), OriginFile { site, ..OriginFile::default() });
        }
        for (id, group) in cluster.distributions.iter().flat_map(|distribution| distribution.groups()) {
            let written = || GroupFile {
                members: group.members.clone(),
                failover_codes: None,
                on_transport_error: None,
                cloudfront: Carried::new(),
            };
            file.groups.entry(id.clone()).or_insert_with(written);
        }
    }
    if file.distributions.is_empty() {
        file.distributions.insert(DEMO.to_owned(), DistributionFile::default());
    }
    for distribution in &cluster.distributions {
        let Some(written) = file.distributions.get_mut(distribution.id().as_ref()) else { continue };
        let behaviors = written.behaviors.iter_mut().chain([&mut written.default]);
        for (behavior, checked) in behaviors.zip(distribution.behaviors()) {
            behavior.target.get_or_insert_with(|| checked.target().to_owned());
        }
    }
    // A policy is found by its id, so that it needs one. Those that legacy settings came to are found by what they say.
    let is_named = |name: &str| !name.starts_with("legacy-");
    for (name, policy) in file.cache_policies.iter_mut().filter(|(name, _)| is_named(name)) {
        policy.id.get_or_insert_with(|| id_of_policy(PolicyKind::Cache, name, None));
    }
    for (name, policy) in file.origin_request_policies.iter_mut().filter(|(name, _)| is_named(name)) {
        policy.id.get_or_insert_with(|| id_of_policy(PolicyKind::OriginRequest, name, None));
    }
    for (name, policy) in &mut file.response_headers_policies {
        policy.id.get_or_insert_with(|| id_of_policy(PolicyKind::ResponseHeaders, name, None));
    }
    file
}

/// What an import has to know of the world that it is laid into.
fn options(file: &ClusterFile, id: &str) -> Options {
    let mut options = Options { id: id.to_owned(), ..Options::default() };
    let name_of = |id: &str, carried: &Carried| {
        carried.get("Id").and_then(Json::as_str).map_or_else(|| id.to_owned(), str::to_owned)
    };
    for (id, origin) in &file.origins {
        let name = name_of(id, &origin.cloudfront);
        options.ids.insert(name.clone(), id.clone());
        options.maps.insert(name, OriginFile { cloudfront: Carried::new(), ..origin.clone() });
    }
    for (id, group) in &file.groups {
        options.ids.insert(name_of(id, &group.cloudfront), id.clone());
    }
    let foreign = &mut options.foreign;
    for (name, policy) in &file.cache_policies {
        let id = id_of_policy(PolicyKind::Cache, name, policy.id.as_deref());
        foreign.cache.insert(id, (name.clone(), policy.clone()));
    }
    for (name, policy) in &file.origin_request_policies {
        let id = id_of_policy(PolicyKind::OriginRequest, name, policy.id.as_deref());
        foreign.origin_request.insert(id, (name.clone(), policy.clone()));
    }
    for (name, policy) in &file.response_headers_policies {
        let id = id_of_policy(PolicyKind::ResponseHeaders, name, policy.id.as_deref());
        foreign.response_headers.insert(id, (name.clone(), policy.clone()));
    }
    options.file = ClusterFile {
        cache_policies: file.cache_policies.clone(),
        origin_request_policies: file.origin_request_policies.clone(),
        response_headers_policies: file.response_headers_policies.clone(),
        key_groups: file.key_groups.clone(),
        functions: file.functions.clone(),
        ..ClusterFile::default()
    };
    options
}

/// A place in the configuration, and why what it wants is not possible.
type Impossible = (String, String);

fn items<'a>(config: &'a Json, list: &str) -> &'a [Json] {
    config[list]["Items"].as_array().map_or(&[], Vec::as_slice)
}

/// Items of two configurations' lists with the same value of `key`.
fn counterpart<'a>(before: &'a Json, list: &str, key: &str, wanted: &Json) -> Option<(usize, &'a Json)> {
    items(before, list).iter().enumerate().find(|(_, item)| item[key] == wanted[key])
}

/// What origins are asked with and where they are is settled when a world starts.
fn check_origins(
    file: &ClusterFile,
    before: &Json,
    wanted: &Json,
    imported: &Import,
    is_only: bool,
) -> Result<(), Impossible> {
    let is_same = |one: &Json, other: &Json| changes(one, other).is_empty();
    for (index, origin) in items(wanted, "Origins").iter().enumerate() {
        let path = |member: &str| format!("Origins.Items[{index}]{member}");
        let own = imported.origins.get(index).map(|origin| origin.origin.as_str()).unwrap_or_default();
        let id = origin["Id"].as_str().unwrap_or_default();
        if !file.origins.contains_key(own) {
            return Err((path(".Id"), format!("the world has no origin {id:?}: which origins there are {STAYS}")));
        }
        let Some((_, was)) = counterpart(before, "Origins", "Id", origin) else { continue };
        for kind in ["CustomOriginConfig", "S3OriginConfig", "VpcOriginConfig"] {
            if was.get(kind).is_some() != origin.get(kind).is_some() {
                return Err((path(""), format!("what kind of origin {id:?} is {STAYS}")));
            }
            for member in ["HTTPPort", "HTTPSPort", "OriginProtocolPolicy", "OriginSslProtocols"] {
                let (was, now) = (&was[kind][member], &origin[kind][member]);
                if !now.is_null() && !is_same(was, now) {
                    let place = path(&format!(".{kind}.{member}"));
                    return Err((place, format!("{member} of origin {id:?} {STAYS}: it is asked as at the start")));
                }
            }
        }
        let speaks_https = file.origins.get(own).is_some_and(|origin| {
            origin.protocol.as_deref().is_some_and(|protocol| protocol != "http-only")
                || origin.url.as_deref().is_some_and(|url| url.starts_with("https:"))
        });
        if speaks_https && was["DomainName"] != origin["DomainName"] {
            let why = format!("DomainName of origin {id:?} {STAYS}: it is asked by HTTPS, with a certificate for it");
            return Err((path(".DomainName"), why));
        }
    }
    let is_gone = |origin: &&Json| counterpart(wanted, "Origins", "Id", origin).is_none();
    if let Some(gone) = items(before, "Origins").iter().find(is_gone).filter(|_| is_only) {
        return Err((
            "Origins".into(),
            format!("the origin {} is not named: which origins there are {STAYS}", gone["Id"]),
        ));
    }
    Ok(())
}

/// What routers and certificates know of a distribution is settled when a world starts.
fn check_distribution(
    distribution: &Distribution,
    written: &DistributionFile,
    change: &DistributionFile,
    [before, wanted]: [&Json; 2],
) -> Result<(), Impossible> {
    let impossible = |member: &str, why: &str| Err((member.to_owned(), format!("{member} {why}")));
    if before["CallerReference"] != wanted["CallerReference"] {
        return impossible("CallerReference", "of a distribution never changes");
    }
    let sorted = |hosts: &[String]| {
        let mut hosts: Vec<String> = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        hosts.sort_unstable();
        hosts
    };
    if sorted(change.hosts.as_deref().unwrap_or_default()) != sorted(distribution.aliases()) {
        return impossible("Aliases", &format!("{STAYS}: routers and certificates know no others"));
    }
    let class = |file: &DistributionFile| file.price_class.clone().unwrap_or_else(|| PriceClass::All.as_str().into());
    if class(written) != class(change) {
        return impossible("PriceClass", &format!("{STAYS}: routers read it when they start"));
    }
    let version = change.http_version.as_deref().unwrap_or_else(|| HttpVersion::default().as_str());
    if version != distribution.http_version().as_str() {
        return impossible("HttpVersion", &format!("{STAYS}: it goes with the certificate and with DNS"));
    }
    if change.security_policy.as_deref().is_some_and(|policy| policy != distribution.security_policy().as_str()) {
        return impossible("ViewerCertificate", &format!("{STAYS}, and the policy that goes with it too"));
    }
    for (member, why) in [
        ("Staging", STAYS),
        (
            "ContinuousDeploymentPolicyId",
            "stays: continuous_deployment in the cluster file says which requests go where",
        ),
    ] {
        if change.cloudfront.get(member) != written.cloudfront.get(member) {
            return impossible(member, why);
        }
    }
    Ok(())
}

/// What an import takes with a warning, since a file may come from elsewhere, but AWS does not take: a policy that there is
/// not, and methods that write for an origin group. What the world says already it may say again.
fn check_behaviors(
    imported: &Import,
    written: &DistributionFile,
    change: &DistributionFile,
    [before, wanted]: [&Json; 2],
) -> Result<(), (&'static str, String, String)> {
    let all = |file: &DistributionFile| -> Vec<BehaviorFile> {
        std::iter::once(&file.default).chain(&file.behaviors).cloned().collect()
    };
    let was = all(written);
    for (index, behavior) in all(change).iter().enumerate() {
        let (path, wanted) = match index.checked_sub(1) {
            None => ("DefaultCacheBehavior".to_owned(), &wanted["DefaultCacheBehavior"]),
            Some(index) => (format!("CacheBehaviors.Items[{index}]"), &wanted["CacheBehaviors"]["Items"][index]),
        };
        for (member, code) in [
            ("CachePolicyId", "NoSuchCachePolicy"),
            ("OriginRequestPolicyId", "NoSuchOriginRequestPolicy"),
            ("ResponseHeadersPolicyId", "NoSuchResponseHeadersPolicy"),
        ] {
            let Some(unknown) = behavior.cloudfront.get(member) else { continue };
            if was.iter().all(|was| was.cloudfront.get(member) != Some(unknown)) {
                return Err((code, format!("{path}.{member}"), format!("there is no policy {unknown} here")));
            }
        }
        let to_group = behavior.target.as_ref().is_some_and(|target| imported.file.groups.contains_key(target));
        // A behavior that was copied from another says what that said.
        let is_said = items(before, "CacheBehaviors").iter().chain([&before["DefaultCacheBehavior"]]).any(|was| {
            ["AllowedMethods", "TargetOriginId"].iter().all(|member| changes(&was[member], &wanted[member]).is_empty())
        });
        if to_group && behavior.methods == Some(MethodsFile::All) && !is_said {
            let why = "a behavior whose target is an origin group has no PUT, PATCH, POST and DELETE";
            return Err((INVALID_ARGUMENT, format!("{path}.AllowedMethods"), why.to_owned()));
        }
    }
    Ok(())
}

/// Origins: as they were written where nothing is said anew of them.
fn lay_origins(file: &mut ClusterFile, imported: &Import, before: &Json, wanted: &Json) {
    for (index, origin) in items(wanted, "Origins").iter().enumerate() {
        let Some(own) = imported.origins.get(index).map(|origin| &origin.origin) else { continue };
        let was = counterpart(before, "Origins", "Id", origin);
        if was.is_some_and(|(_, was)| changes(was, origin).is_empty()) {
            continue;
        }
        if let (Some(now), Some(written)) = (imported.file.origins.get(own), file.origins.get_mut(own)) {
            let says_same = |member: &str| was.is_some_and(|(_, was)| was[member] == origin[member]);
            // An app's own address has a port, which a domain name has not, and maybe a path.
            let host = if says_same("DomainName") { written.host.clone() } else { now.host.clone() };
            let path =
                if says_same("OriginPath") { written.path.clone() } else { now.path.clone().or(Some(String::new())) };
            *written = OriginFile {
                host,
                path,
                url: written.url.clone(),
                protocol: written.protocol.clone(),
                https_port: written.https_port,
                ssl_protocols: written.ssl_protocols.clone(),
                ..now.clone()
            };
        }
    }
}

/// Groups: the wanted ones. Those that are not wanted go, unless another distribution may ask them.
fn lay_groups(file: &mut ClusterFile, imported: &Import, is_only: bool) {
    if is_only {
        file.groups.retain(|id, _| imported.file.groups.contains_key(id));
    }
    for (id, group) in &imported.file.groups {
        let on_transport_error = file.groups.get(id).and_then(|written| written.on_transport_error);
        file.groups.insert(id.clone(), GroupFile { on_transport_error, ..group.clone() });
    }
}

/// The distribution: what CloudFront has no words for stays, and so do behaviors of which nothing is said anew.
fn laid_over(written: DistributionFile, change: DistributionFile, before: &Json, wanted: &Json) -> DistributionFile {
    let behavior = |was: Option<(&Json, &BehaviorFile)>, now: BehaviorFile, wanted: &Json| match was {
        Some((json, written)) if changes(json, wanted).is_empty() => written.clone(),
        Some((_, written)) => {
            let is_any = written.methods == Some(MethodsFile::Any) && now.methods == Some(MethodsFile::All);
            let methods = if is_any { written.methods } else { now.methods };
            BehaviorFile { zstd: written.zstd, methods, ..now }
        }
        None => now,
    };
    let ordered = change.behaviors.into_iter().zip(items(wanted, "CacheBehaviors")).map(|(now, wanted)| {
        let was = counterpart(before, "CacheBehaviors", "PathPattern", wanted);
        let was = was.and_then(|(index, json)| Some((json, written.behaviors.get(index)?)));
        behavior(was, now, wanted)
    });
    let behaviors = ordered.collect();
    let default = &wanted["DefaultCacheBehavior"];
    let default = behavior(Some((&before["DefaultCacheBehavior"], &written.default)), change.default, default);
    DistributionFile {
        enabled: change.enabled,
        default_root_object: change.default_root_object,
        allow_countries: change.allow_countries,
        block_countries: change.block_countries,
        error_pages: change.error_pages,
        log_cookies: change.log_cookies,
        cloudfront: change.cloudfront,
        default,
        behaviors,
        ..written
    }
}

/// Drops policies that legacy settings came to and that no behavior has any more.
fn forget_unused(file: &mut ClusterFile) {
    let behaviors = || {
        file.distributions
            .values()
            .flat_map(|distribution| distribution.behaviors.iter().chain([&distribution.default]))
    };
    let caches: Vec<String> = behaviors().filter_map(|behavior| behavior.cache_policy.clone()).collect();
    let requests: Vec<String> = behaviors().filter_map(|behavior| behavior.origin_request_policy.clone()).collect();
    file.cache_policies.retain(|name, _| !name.starts_with("legacy-") || caches.contains(name));
    file.origin_request_policies.retain(|name, _| !name.starts_with("legacy-") || requests.contains(name));
}

/// Every distribution of a world in CloudFront's words, by id.
pub(crate) fn described(file: &ClusterFile, cluster: &Cluster) -> impl Iterator<Item = (String, Json)> {
    cluster.distributions.iter().map(|distribution| {
        let Export { config, .. } = export(file, cluster, distribution);
        (distribution.id().to_string(), config)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cloudfront::{Options, import};

    const SAMPLE: &str = include_str!("../../examples/cloudfront/get-distribution-config.json");

    /// A world, its file, and what its first distribution says.
    struct Running {
        file: ClusterFile,
        cluster: Cluster,
        id: String,
        says: Json,
    }

    impl Running {
        fn new(file: ClusterFile) -> Self {
            let cluster = Cluster::check(&file, &Inputs::default()).unwrap_or_else(|error| panic!("{}", error.message));
            let id = cluster.distributions[0].id().to_string();
            let says = export(&file, &cluster, &cluster.distributions[0]).config;
            Self { file, cluster, id, says }
        }

        /// The distribution of the sample.
        fn sample() -> Self {
            let options = Options { id: "dist".to_owned(), ..Options::default() };
            Self::new(import(SAMPLE, &options).unwrap().file)
        }

        /// Another world's words: an app, and what CloudFront has no words for.
        fn app() -> Self {
            let text = r#"
                [origins.my_app]
                url = "http://127.0.0.1:3000/v2"
                [cache_policies.mine]
                max_ttl = "60s"
                [distributions.shop]
                routing = "anycast"
                reason = false
                [distributions.shop.default]
                cache_policy = "honour-origin"
                [[distributions.shop.behaviors]]
                path = "/mine/*"
                cache_policy = "mine"
            "#;
            Self::new(toml::from_str(text).unwrap())
        }

        fn update(&self, wanted: &Json) -> Result<ClusterFile, Refusal> {
            update(&self.cluster, &self.file, &Inputs::default(), &self.id, &wanted.to_string())
        }

        /// With other values at these places.
        fn wanted(&self, changes: &[(&str, Json)]) -> Json {
            let mut wanted = self.says.clone();
            for (pointer, value) in changes {
                let (parent, member) = pointer.rsplit_once('/').unwrap();
                wanted.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent}"))[member] = value.clone();
            }
            wanted
        }
    }

    #[test]
    fn what_says_the_same_changes_nothing() {
        for running in [Running::new(ClusterFile::default()), Running::sample(), Running::app()] {
            let updated = running.update(&running.says).unwrap_or_else(|refusal| panic!("{refusal:?}"));
            let mut expected = written_out(&running.file, &running.cluster);
            let id = &running.id;
            // What AWS alone decides is known from now on.
            expected.distributions[id].cloudfront.clone_from(&updated.distributions[id].cloudfront);
            for distribution in expected.distributions.values_mut() {
                distribution.error_pages.clone_from(&updated.distributions[id].error_pages);
            }
            for (name, group) in &mut expected.groups {
                group.failover_codes.clone_from(&updated.groups[name].failover_codes);
            }
            assert_eq!(updated, expected);
            assert_eq!(changes(&running.says, &Running::new(updated).says), []);
        }
    }

    #[test]
    fn what_is_said_anew_is_said_by_the_world_and_the_rest_stays_as_it_was_written() {
        let running = Running::app();
        let headers = json!({ "Quantity": 1, "Items": [{ "HeaderName": "X-Secret", "HeaderValue": "1" }] });
        let pages = json!({ "Quantity": 1, "Items": [
            { "ErrorCode": 404, "ResponsePagePath": "/404.html", "ResponseCode": "200", "ErrorCachingMinTTL": 1 },
        ] });
        let mut behavior = running.says["CacheBehaviors"]["Items"][0].clone();
        behavior["PathPattern"] = "/new/*".into();
        let behaviors = json!({ "Quantity": 2, "Items": [behavior, running.says["CacheBehaviors"]["Items"][0]] });
        let wanted = running.wanted(&[
            ("/Origins/Items/0/CustomHeaders", headers),
            ("/CustomErrorResponses", pages),
            ("/CacheBehaviors", behaviors),
            ("/DefaultCacheBehavior/ViewerProtocolPolicy", json!("redirect-to-https")),
            ("/DefaultRootObject", json!("index.html")),
            ("/Comment", json!("by the API")),
            ("/Enabled", json!(false)),
        ]);
        let updated = running.update(&wanted).unwrap_or_else(|refusal| panic!("{refusal:?}"));
        let now = Running::new(updated);
        assert_eq!(changes(&wanted, &now.says), []);
        let shop = &now.file.distributions["shop"];
        assert_eq!((shop.routing.as_deref(), shop.reason), (Some("anycast"), Some(false)));
        assert_eq!(shop.default.cache_policy.as_deref(), Some("honour-origin"));
        let was = written_out(&running.file, &running.cluster);
        assert_eq!(shop.behaviors[1], was.distributions["shop"].behaviors[0]);
        let origin = &now.cluster.origins["my_app"].origin;
        assert_eq!((origin.domain_name.as_str(), origin.origin_path.as_str()), ("127.0.0.1:3000", "/v2"));
        assert!(now.update(&now.says).is_ok(), "and again");

        let gone =
            now.wanted(&[("/Origins/Items/0/OriginPath", json!("")), ("/CacheBehaviors", json!({ "Quantity": 0 }))]);
        let then = Running::new(now.update(&gone).unwrap_or_else(|refusal| panic!("{refusal:?}")));
        assert_eq!(changes(&gone, &then.says), []);
    }

    #[test]
    fn legacy_settings_may_change_and_leave_no_policies_behind() {
        let running = Running::sample();
        let wanted = running.wanted(&[("/CacheBehaviors/Items/2/DefaultTTL", json!(60))]);
        let updated = running.update(&wanted).unwrap_or_else(|refusal| panic!("{refusal:?}"));
        let legacy = updated.cache_policies.keys().filter(|name| name.starts_with("legacy-")).count();
        assert_eq!((legacy, changes(&wanted, &Running::new(updated).says)), (1, Vec::new()));
    }

    const METHODS: [&str; 7] = ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "DELETE"];

    #[test]
    fn what_a_running_world_cannot_change_is_refused_with_its_place() {
        let running = Running::sample();
        let check = |pointer: &str, value: Json, code: &str, says: &str| {
            let refusal = running.update(&running.wanted(&[(pointer, value)])).unwrap_err();
            assert_eq!(refusal.code, code, "{pointer}: {refusal:?}");
            assert!(refusal.message.contains(says) || refusal.path.contains(says), "{pointer}: {refusal:?}");
        };
        check("/CallerReference", json!("other"), ILLEGAL_UPDATE, "never changes");
        check("/Aliases", json!({ "Quantity": 1, "Items": ["cdn.example.test"] }), ILLEGAL_UPDATE, "Aliases");
        check("/PriceClass", json!("PriceClass_100"), ILLEGAL_UPDATE, "PriceClass");
        check("/HttpVersion", json!("http1.1"), ILLEGAL_UPDATE, "HttpVersion");
        check("/ViewerCertificate/MinimumProtocolVersion", json!("TLSv1.3_2025"), ILLEGAL_UPDATE, "ViewerCertificate");
        check("/Staging", json!(true), ILLEGAL_UPDATE, "Staging");
        let (unknown, all) = (json!("aaaaaaaa-0000-0000-0000-000000000000"), json!(METHODS));
        for (member, code) in [
            ("CachePolicyId", "NoSuchCachePolicy"),
            ("OriginRequestPolicyId", "NoSuchOriginRequestPolicy"),
            ("ResponseHeadersPolicyId", "NoSuchResponseHeadersPolicy"),
        ] {
            let place = format!("DefaultCacheBehavior.{member}");
            check(&format!("/DefaultCacheBehavior/{member}"), unknown.clone(), code, &place);
        }
        let methods =
            json!({ "Quantity": 7, "Items": all, "CachedMethods": { "Quantity": 2, "Items": ["GET", "HEAD"] } });
        check("/DefaultCacheBehavior/AllowedMethods", methods, INVALID_ARGUMENT, "origin group");
        check("/Origins/Items/0/Id", json!("other"), "NoSuchOrigin", "no origin");
        let origin = "Origins.Items[0].CustomOriginConfig.HTTPPort";
        check("/Origins/Items/0/CustomOriginConfig/HTTPPort", json!(8080), ILLEGAL_UPDATE, origin);
        let keys = json!({ "Enabled": true, "Quantity": 1, "Items": ["none"] });
        check("/DefaultCacheBehavior/TrustedKeyGroups", keys, "TrustedKeyGroupDoesNotExist", "create-key-group");
        check("/DefaultCacheBehavior/TargetOriginId", json!("nobody"), "NoSuchOrigin", "nobody");
        let mut more = running.says["Origins"].clone();
        more["Quantity"] = 5.into();
        let another = json!({ "Id": "more", "DomainName": "more.test", "CustomHeaders": { "Quantity": 0 },
            "CustomOriginConfig": { "HTTPPort": 80, "HTTPSPort": 443, "OriginProtocolPolicy": "http-only" } });
        more["Items"].as_array_mut().unwrap().push(another);
        check("/Origins", more, ILLEGAL_UPDATE, "no origin \"more\"");
    }

    #[test]
    fn what_two_distributions_share_is_not_changed_through_one() {
        let mut file = Running::app().file;
        file.distributions.insert("other".into(), DistributionFile::default());
        let running = Running::new(file);
        let refusal = running.update(&running.wanted(&[("/Origins/Items/0/OriginPath", json!("/v3"))])).unwrap_err();
        assert!(refusal.message.contains("distribution other would change too"), "{refusal:?}");
        assert!(running.update(&running.wanted(&[("/DefaultRootObject", json!("index.html"))])).is_ok());
    }
}
