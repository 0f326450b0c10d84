//! Behaviors: CloudFront's JSON to a cluster file's, and back.

use cdn_core::{
    distribution::{AllowedMethods, Behavior, CachePolicy, KEY_GROUPS_MAX, OriginRequestPolicy},
    path_pattern::PathPattern,
    policies,
    viewer_protocol::ViewerProtocolPolicy,
};
use serde_json::{Value as Json, json};

use super::{
    Carried, Importer, Known,
    forwarded_values::{self, Legacy, legacy},
    origin::Target,
    policy::{PolicyKind, id_of_policy, list},
    read::{At, INVALID_ARGUMENT, Object, Refusal},
    report::Kind,
};
use crate::{
    cluster::{cache_policy_of, origin_request_policy_of, response_headers_policy_of},
    cluster_file::{BehaviorFile, ClusterFile, MethodsFile},
    diagnose::KeyError,
};

/// The cache policy that stands in for one that is not known.
const STAND_IN: &str = "UseOriginCacheControlHeaders-QueryStrings";

const MEMBERS: &[Known] = &[
    Known("FieldLevelEncryptionId", Kind::Ignored, "fields are not encrypted"),
    Known("RealtimeLogConfigArn", Kind::Ignored, "nothing is sent to a real-time log"),
    Known("SmoothStreaming", Kind::Ignored, "Smooth Streaming is served as any other files"),
    Known("GrpcConfig", Kind::Ignored, "gRPC does not pass"),
    Known("TrustedSigners", Kind::Approximated, "accounts that sign are a key group whose keys are to be named"),
];

/// What a behavior may have run: the list, the member that names the code, the events, and AWS's code for a wrong one.
const FUNCTIONS: [(&str, &str, &[&str], &str); 2] = [
    ("FunctionAssociations", "FunctionARN", &["viewer-request", "viewer-response"], "InvalidFunctionAssociation"),
    (
        "LambdaFunctionAssociations",
        "LambdaFunctionARN",
        &["viewer-request", "origin-request", "origin-response", "viewer-response"],
        "InvalidLambdaFunctionAssociation",
    ),
];

/// The policies of a behavior, as the edge will have them.
pub(super) struct Policies {
    pub(super) cache: CachePolicy,
    pub(super) origin_request: OriginRequestPolicy,
}

impl Importer<'_> {
    /// Reads a behavior; the default one has no pattern.
    pub(super) fn behavior(&mut self, at: &At<'_>, is_default: bool) -> Result<BehaviorFile, Refusal> {
        let mut object = at.object()?;
        let path = if is_default { None } else { Some(self.path_pattern(&mut object)?) };
        let subject = path.clone().unwrap_or_else(|| "default behavior".to_owned());
        let target_at = object.required("TargetOriginId")?;
        let target = self.targets.get(target_at.text()?).cloned().ok_or_else(|| {
            let id = target_at.text().unwrap_or_default();
            target_at.refuse("NoSuchOrigin", format!("there is no origin or origin group {id:?}"))
        })?;
        let protocol = object.required("ViewerProtocolPolicy")?;
        let viewer_protocol: ViewerProtocolPolicy =
            protocol.text()?.parse().map_err(|error| protocol.refuse(INVALID_ARGUMENT, format!("{error}")))?;
        let (methods, cache_options) = methods(&mut object)?;
        if target.is_group && methods == MethodsFile::All {
            let place = object.place("AllowedMethods");
            let message = "AWS refuses PUT, PATCH, POST and DELETE where the target is an origin group";
            self.report.remark(Kind::Risky, &subject, &place, message);
        }
        let compress = object.flag("Compress")?;
        let mut carried = Carried::new();
        let mut file = BehaviorFile {
            path,
            target: Some(target.id.clone()),
            methods: Some(methods),
            cache_options: cache_options.then_some(true),
            viewer_protocol: Some(viewer_protocol.as_str().to_owned()),
            compress: Some(compress),
            ..BehaviorFile::default()
        };
        let policies = self.policies(&mut object, &subject, &target, &mut file, &mut carried)?;
        self.functions(&mut object, &subject, &mut file, &mut carried)?;
        self.response_headers_policy(&mut object, &subject, &mut file, &mut carried)?;
        self.trusted_keys(&mut object, &subject, &mut file, &mut carried)?;
        self.carry(&object, &mut carried, &subject, MEMBERS);
        file.cloudfront = carried;
        self.risks_of_behavior(&object, &subject, &target, &file, &policies);
        self.report.simulated("path patterns");
        self.report.simulated("cache keys");
        self.report.simulated("TTLs");
        if compress && policies.cache.encodes() {
            self.report.simulated("compression");
        }
        Ok(file)
    }

    fn path_pattern(&mut self, object: &mut Object<'_>) -> Result<String, Refusal> {
        let at = object.required("PathPattern")?;
        let text = at.text()?;
        PathPattern::parse(text).map_err(|error| at.refuse(INVALID_ARGUMENT, error.to_string()))?;
        let bare = text.trim_start_matches('/').to_owned();
        if self.patterns.iter().any(|(earlier, _)| *earlier == bare) {
            return Err(at.refuse(INVALID_ARGUMENT, format!("two behaviors have the path pattern {text:?}")));
        }
        // Whatever the later pattern covers, an earlier one of stars alone does that covers the later pattern's own text.
        let covers = |earlier: &str| {
            !earlier.contains('?') && PathPattern::parse(earlier).is_ok_and(|earlier| earlier.matches(&bare))
        };
        if let Some((_, earlier)) = self.patterns.iter().find(|(earlier, _)| covers(earlier)) {
            let message = format!("no request comes here: {earlier} stands before it and covers all of it");
            self.report.remark(Kind::Risky, text, &at, message);
        }
        self.patterns.push((bare, text.to_owned()));
        Ok(text.to_owned())
    }

    /// Reads either kind of cache settings and names them in the behavior.
    fn policies(
        &mut self,
        object: &mut Object<'_>,
        subject: &str,
        target: &Target,
        file: &mut BehaviorFile,
        carried: &mut Carried,
    ) -> Result<Policies, Refusal> {
        let place = object.place("CachePolicyId");
        let id = object.text("CachePolicyId")?;
        let request_place = object.place("OriginRequestPolicyId");
        let request_id = object.text("OriginRequestPolicyId")?;
        let has_legacy = object.at.node.member("ForwardedValues").is_some();
        match (id, has_legacy) {
            (Some(_), true) => {
                let message = "a behavior has either CachePolicyId or ForwardedValues";
                Err(object.place("ForwardedValues").refuse(INVALID_ARGUMENT, message))
            }
            (None, false) => Err(object.refuse(INVALID_ARGUMENT, "a behavior has a CachePolicyId, or ForwardedValues")),
            (None, true) if request_id.is_some() => {
                let message = "OriginRequestPolicyId goes with CachePolicyId, not with ForwardedValues";
                Err(request_place.refuse(INVALID_ARGUMENT, message))
            }
            (None, true) => {
                let kept = forwarded_values::MEMBERS.iter().filter_map(|name| {
                    let value = object.at.node.member(name)?.to_json();
                    (!value.is_null()).then(|| ((*name).to_owned(), super::read::without_nulls(&value)))
                });
                carried.extend(kept);
                let settings = legacy(object, file.compress == Some(true), target.is_bucket)?;
                self.legacy_policies(object, subject, settings, file)
            }
            (Some(id), false) => {
                // Left over from other times, and without effect beside a policy.
                for name in &forwarded_values::MEMBERS[1..] {
                    object.take(name);
                }
                let cache = self.cache_policy(id, &place, subject, file, carried)?;
                let origin_request = match request_id {
                    Some(id) => self.origin_request_policy(id, &request_place, subject, file, carried)?,
                    None => {
                        file.origin_request_policy = Some("none".to_owned());
                        OriginRequestPolicy::default()
                    }
                };
                Ok(Policies { cache, origin_request })
            }
        }
    }

    fn cache_policy(
        &mut self,
        id: &str,
        at: &At<'_>,
        subject: &str,
        file: &mut BehaviorFile,
        carried: &mut Carried,
    ) -> Result<CachePolicy, Refusal> {
        let foreign = self.options.foreign.cache.get(id);
        let (name, policy) = if let Some(managed) = policies::cache_policy(id) {
            (managed.name.clone(), managed)
        } else if let Some((name, written)) = foreign {
            let taken = |name: &str| {
                policies::cache_policy(name).is_some()
                    || self.file.cache_policies.get(name).is_some_and(|other| other.id.as_deref() != Some(id))
            };
            let name = unless_taken(name, taken);
            let policy = checked(cache_policy_of(&name, &name, written), at)?;
            self.file.cache_policies.insert(name.clone(), written.clone());
            (name, policy)
        } else if let Some(own) = own_cache_policy(id) {
            (own.name.clone(), own)
        } else {
            let message = format!(
                "the cache policy {id} is not known, and {STAND_IN} stands in: give the output of \
                 `aws cloudfront get-cache-policy --id {id}` as --policies FILE"
            );
            self.report.remark(Kind::Risky, subject, at, message);
            carried.insert("CachePolicyId".into(), id.into());
            let stand_in = policies::cache_policy(STAND_IN);
            (STAND_IN.to_owned(), stand_in.ok_or_else(|| at.refuse("NoSuchCachePolicy", id))?)
        };
        file.cache_policy = Some(name);
        Ok(policy)
    }

    fn origin_request_policy(
        &mut self,
        id: &str,
        at: &At<'_>,
        subject: &str,
        file: &mut BehaviorFile,
        carried: &mut Carried,
    ) -> Result<OriginRequestPolicy, Refusal> {
        let foreign = self.options.foreign.origin_request.get(id);
        let (name, policy) = if let Some(managed) = policies::origin_request_policy(id) {
            (managed.name.clone(), managed)
        } else if let Some((name, written)) = foreign {
            let taken = |name: &str| {
                name == "none"
                    || policies::origin_request_policy(name).is_some()
                    || self.file.origin_request_policies.get(name).is_some_and(|other| other.id.as_deref() != Some(id))
            };
            let name = unless_taken(name, taken);
            let policy = checked(origin_request_policy_of(&name, &name, written), at)?;
            self.file.origin_request_policies.insert(name.clone(), written.clone());
            (name, policy)
        } else {
            let message = format!(
                "the origin request policy {id} is not known, and nothing is forwarded beyond the cache key: give the \
                 output of `aws cloudfront get-origin-request-policy --id {id}` as --policies FILE"
            );
            self.report.remark(Kind::Risky, subject, at, message);
            carried.insert("OriginRequestPolicyId".into(), id.into());
            ("none".to_owned(), OriginRequestPolicy::default())
        };
        file.origin_request_policy = Some(name);
        Ok(policy)
    }

    /// Names the functions whose code is known, and says which are not.
    fn functions(
        &mut self,
        object: &mut Object<'_>,
        subject: &str,
        file: &mut BehaviorFile,
        carried: &mut Carried,
    ) -> Result<(), Refusal> {
        let mut taken: Vec<&str> = Vec::new();
        let is_lambda = |member: &str| member == FUNCTIONS[1].0;
        let mut has_functions = false;
        for (member, arn, events, code) in FUNCTIONS {
            let place = object.place(member);
            let associations = object.list(member)?;
            for at in &associations {
                let mut association = at.object()?;
                let arn_at = association.required(arn)?;
                let arn = arn_at.text()?;
                if is_lambda(member) && arn.ends_with(":$LATEST") {
                    let message = "CloudFront runs a numbered version of a Lambda function, not $LATEST";
                    return Err(arn_at.refuse(code, message));
                }
                let event_at = association.required("EventType")?;
                let event = event_at.text()?;
                if !events.contains(&event) || taken.contains(&event) {
                    return Err(event_at.refuse(code, format!("{event:?} is no event here, or has a function already")));
                }
                if is_lambda(member) && has_functions && event.starts_with("viewer-") {
                    let message =
                        "functions of CloudFront's and of Lambda's do not share the viewer events of a behavior";
                    return Err(event_at.refuse(code, message));
                }
                taken.push(event);
                let name = name_of_function(arn);
                let own = own_function(name, &self.file).filter(|_| member == FUNCTIONS[0].0);
                match (own, event) {
                    (Some(own), "viewer-request") => file.viewer_request = Some(own),
                    (Some(own), _) => file.viewer_response = Some(own),
                    (None, _) => {
                        let message =
                            format!("the function {name} does not run at {event}: its code is not in this file");
                        self.report.remark(Kind::Ignored, subject, at, message);
                    }
                }
            }
            if file.viewer_request.is_some() || file.viewer_response.is_some() {
                self.report.simulated("viewer functions");
            }
            has_functions |= !associations.is_empty();
            if !associations.is_empty() {
                carried.insert(member.into(), super::read::without_nulls(&place.node.to_json()));
            }
        }
        Ok(())
    }

    fn response_headers_policy(
        &mut self,
        object: &mut Object<'_>,
        subject: &str,
        file: &mut BehaviorFile,
        carried: &mut Carried,
    ) -> Result<(), Refusal> {
        let at = object.place("ResponseHeadersPolicyId");
        let Some(id) = object.text("ResponseHeadersPolicyId")? else { return Ok(()) };
        let foreign = self.options.foreign.response_headers.get(id);
        if let Some(managed) = policies::response_headers_policy(id) {
            file.response_headers_policy = Some(managed.name);
        } else if let Some((name, written)) = foreign {
            let taken = |name: &str| {
                let other = self.file.response_headers_policies.get(name);
                name == "none"
                    || policies::response_headers_policy(name).is_some()
                    || other.is_some_and(|other| other.id.as_deref() != Some(id))
            };
            let name = unless_taken(name, taken);
            checked(response_headers_policy_of(&name, &name, written), &at)?;
            self.file.response_headers_policies.insert(name.clone(), written.clone());
            file.response_headers_policy = Some(name);
        } else {
            let message = format!(
                "the response headers policy {id} is not known, and not applied: give the output of \
                 `aws cloudfront get-response-headers-policy --id {id}` as --policies FILE"
            );
            self.report.remark(Kind::Risky, subject, &at, message);
            carried.insert("ResponseHeadersPolicyId".into(), id.into());
            return Ok(());
        }
        self.report.simulated("response headers policies");
        Ok(())
    }

    /// Gives legacy settings the names of policies; equal ones share them.
    fn legacy_policies(
        &mut self,
        object: &Object<'_>,
        subject: &str,
        settings: Legacy,
        file: &mut BehaviorFile,
    ) -> Result<Policies, Refusal> {
        let place = object.place("ForwardedValues");
        if settings.all_headers {
            let message = "all headers are forwarded, so that nothing is cached";
            self.report.remark(Kind::Risky, subject, &place, message);
        }
        let cache_name = named(&mut self.file.cache_policies, settings.cache.clone());
        let request_name = named(&mut self.file.origin_request_policies, settings.origin_request.clone());
        let cache = checked(cache_policy_of(&cache_name, &cache_name, &settings.cache), &place)?;
        let origin_request =
            checked(origin_request_policy_of(&request_name, &request_name, &settings.origin_request), &place)?;
        file.cache_policy = Some(cache_name);
        file.origin_request_policy = Some(request_name);
        self.report.simulated("legacy cache settings");
        Ok(Policies { cache, origin_request })
    }

    fn trusted_keys(
        &mut self,
        object: &mut Object<'_>,
        subject: &str,
        file: &mut BehaviorFile,
        carried: &mut Carried,
    ) -> Result<(), Refusal> {
        let mut groups = Vec::new();
        let place = object.place("TrustedKeyGroups");
        if let Some(mut trusted) = object.object("TrustedKeyGroups")? {
            let enabled = trusted.flag("Enabled")?;
            for group in trusted.items()? {
                groups.push(group.text()?.to_owned());
            }
            if enabled && groups.len() > KEY_GROUPS_MAX {
                let message = format!("{} key groups of a behavior: AWS allows {KEY_GROUPS_MAX}", groups.len());
                return Err(place.refuse("TooManyKeyGroupsAssociatedToDistribution", message));
            }
            if enabled && groups.is_empty() {
                return Err(place.refuse("TrustedKeyGroupDoesNotExist", "TrustedKeyGroups is enabled and names none"));
            }
            if !enabled {
                groups.clear();
            }
        }
        let signers = object.place("TrustedSigners");
        if let Some(mut trusted) = object.object("TrustedSigners")?
            && trusted.flag("Enabled")?
        {
            let Known(name, kind, message) = MEMBERS[MEMBERS.len() - 1];
            self.report.remark(kind, subject, &signers, message);
            carried.insert(name.into(), super::read::without_nulls(&signers.node.to_json()));
            groups.push("trusted-signers".to_owned());
        }
        for group in &groups {
            let own = super::names::id_for(group, |_| false);
            if own != *group {
                return Err(place.refuse("TrustedKeyGroupDoesNotExist", format!("{group:?} is no id of a key group")));
            }
            if !self.file.key_groups.contains_key(group) {
                let keys = self.options.public_keys.clone();
                if keys.is_empty() {
                    let message = format!(
                        "no key of the key group {group} is known: everything is refused until [key_groups.{group}] names \
                         the file of one"
                    );
                    self.report.remark(Kind::Risky, subject, &place, message);
                }
                self.file.key_groups.insert(group.clone(), keys);
            }
            self.report.simulated("signed URLs and cookies");
        }
        file.trusted_key_groups = groups;
        Ok(())
    }
}

fn methods(object: &mut Object<'_>) -> Result<(MethodsFile, bool), Refusal> {
    let place = object.place("AllowedMethods");
    let Some(mut allowed) = object.object("AllowedMethods")? else { return Ok((MethodsFile::Read, false)) };
    let cached_at = allowed.place("CachedMethods");
    let cached = allowed.object("CachedMethods")?;
    let sorted = |items: Vec<At<'_>>| {
        let mut names = items.iter().map(|at| at.text().map(str::to_owned)).collect::<Result<Vec<_>, _>>()?;
        names.sort_unstable();
        Ok(names.join(" "))
    };
    let methods = match sorted(allowed.items()?)?.as_str() {
        "GET HEAD" => MethodsFile::Read,
        "GET HEAD OPTIONS" => MethodsFile::ReadOptions,
        "DELETE GET HEAD OPTIONS PATCH POST PUT" => MethodsFile::All,
        _ => {
            let message = "AllowedMethods are GET and HEAD, or these and OPTIONS, or all seven";
            return Err(place.refuse(INVALID_ARGUMENT, message));
        }
    };
    let caches_options = match cached {
        None => false,
        Some(mut cached) => match sorted(cached.items()?)?.as_str() {
            "GET HEAD" => false,
            "GET HEAD OPTIONS" if methods != MethodsFile::Read => true,
            _ => {
                let message = "CachedMethods are GET and HEAD, or these and OPTIONS where that is allowed";
                return Err(cached_at.refuse(INVALID_ARGUMENT, message));
            }
        },
    };
    Ok((methods, caches_options))
}

/// The cache policy that CloudFront does not have and every world has, by the id that an export gives it.
fn own_cache_policy(id: &str) -> Option<CachePolicy> {
    let name = policies::cache_policy_names().find(|name| id_of_policy(PolicyKind::Cache, name, None) == id)?;
    policies::cache_policy(name)
}

/// A policy that CloudFront would refuse too, told of at `at`.
fn checked<T>(policy: Result<T, KeyError>, at: &At<'_>) -> Result<T, Refusal> {
    policy.map_err(|error| at.refuse(INVALID_ARGUMENT, error.message))
}

/// The name under which `policy` stands in a table: that of an equal one, else the next free.
fn named<T: PartialEq>(table: &mut indexmap::IndexMap<String, T>, policy: T) -> String {
    if let Some((name, _)) = table.iter().find(|(name, other)| name.starts_with("legacy-") && **other == policy) {
        return name.clone();
    }
    let free = (1..).map(|n| format!("legacy-{n}")).find(|name| !table.contains_key(name)).unwrap_or_default();
    table.insert(free.clone(), policy);
    free
}

fn unless_taken(name: &str, taken: impl Fn(&str) -> bool) -> String {
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
    if !taken(&name) {
        return name;
    }
    (2..).map(|n| format!("{name}-{n}")).find(|name| !taken(name)).unwrap_or_default()
}

/// A behavior as CloudFront writes it.
pub(super) fn behavior_json(
    behavior: &Behavior,
    written: Option<&BehaviorFile>,
    file: &ClusterFile,
    name_of: impl Fn(&str) -> String,
) -> Json {
    let nothing = Carried::new();
    let mut carried = written.map_or(&nothing, |written| &written.cloudfront).clone();
    let mut json = json!({});
    if behavior.path_pattern != "*" || written.is_some_and(|written| written.path.is_some()) {
        json["PathPattern"] = behavior.path_pattern.as_str().into();
    }
    json["TargetOriginId"] = name_of(&behavior.target).into();
    json["TrustedSigners"] = json!({ "Enabled": false, "Quantity": 0 });
    let groups: Vec<&String> = behavior
        .trusted_key_groups
        .iter()
        .filter(|group| group.as_str() != "trusted-signers" || !carried.contains_key("TrustedSigners"))
        .collect();
    json["TrustedKeyGroups"] = list(&groups);
    json["TrustedKeyGroups"]["Enabled"] = (!groups.is_empty()).into();
    json["ViewerProtocolPolicy"] = behavior.viewer_protocol.as_str().into();
    let allowed: &[&str] = match behavior.allowed_methods {
        AllowedMethods::Read => &["HEAD", "GET"],
        AllowedMethods::ReadOptions => &["HEAD", "GET", "OPTIONS"],
        AllowedMethods::All | AllowedMethods::Any => &["HEAD", "DELETE", "POST", "GET", "OPTIONS", "PUT", "PATCH"],
    };
    let cached: &[&str] = if behavior.cache_options { &["HEAD", "GET", "OPTIONS"] } else { &["HEAD", "GET"] };
    json["AllowedMethods"] = list(allowed);
    json["AllowedMethods"]["CachedMethods"] = list(cached);
    json["SmoothStreaming"] = false.into();
    json["Compress"] = behavior.compress.into();
    json["LambdaFunctionAssociations"] = list::<Json>(&[]);
    let functions = functions_json(behavior, carried.shift_remove("FunctionAssociations"), file);
    json["FunctionAssociations"] = list(&functions);
    json["FieldLevelEncryptionId"] = "".into();
    put_policies(&mut json, behavior, &mut carried, file);
    // One that an import could not resolve is named until another takes its place.
    let unknown = carried.shift_remove("ResponseHeadersPolicyId");
    let policy = behavior.response_headers_policy.as_ref();
    let own = |name: &str| file.response_headers_policies.get(name).and_then(|policy| policy.id.as_deref());
    match (policy, unknown) {
        (Some(policy), _) => {
            json["ResponseHeadersPolicyId"] =
                id_of_policy(PolicyKind::ResponseHeaders, &policy.name, own(&policy.name)).into();
        }
        (None, Some(unknown)) => json["ResponseHeadersPolicyId"] = unknown,
        (None, None) => {}
    }
    json["GrpcConfig"] = json!({ "Enabled": false });
    for (name, value) in carried {
        json[name] = value;
    }
    json
}

/// The name in an ARN of a function.
fn name_of_function(arn: &str) -> &str {
    let name = arn.rsplit_once("function/").or_else(|| arn.rsplit_once("function:"));
    name.map_or(arn, |(_, name)| name)
}

/// The function of a cluster file that CloudFront calls so.
fn own_function(name: &str, file: &ClusterFile) -> Option<String> {
    let is_there = |id: &String| file.functions.contains_key(id);
    Some(name.to_owned()).filter(is_there).or_else(|| Some(super::names::id_for(name, |_| false)).filter(is_there))
}

/// The viewer functions, by the ARNs that they came with; and those that a world does not have, for as long as it has no
/// other in their place.
fn functions_json(behavior: &Behavior, carried: Option<Json>, file: &ClusterFile) -> Vec<Json> {
    let mut carried: Vec<Json> =
        carried.as_ref().and_then(|carried| carried["Items"].as_array()).cloned().unwrap_or_default();
    for (event, own) in [("viewer-request", &behavior.viewer_request), ("viewer-response", &behavior.viewer_response)] {
        let came = carried.iter().position(|item| item["EventType"] == event);
        let arn = came.and_then(|at| carried[at]["FunctionARN"].as_str());
        let came_as = arn.and_then(|arn| own_function(name_of_function(arn), file));
        if came_as == *own {
            continue;
        }
        if let Some(at) = came {
            carried.remove(at);
        }
        if let Some(name) = own {
            let arn = format!("arn:aws:cloudfront::000000000000:function/{name}");
            carried.push(json!({ "FunctionARN": arn, "EventType": event }));
        }
    }
    carried
}

/// Names the policies; legacy settings and ids that an import could not resolve stay what they were for as long as the
/// policies are those that they came to.
fn put_policies(json: &mut Json, behavior: &Behavior, carried: &mut Carried, file: &ClusterFile) {
    let (cache, request) = (&behavior.cache_policy, &behavior.origin_request_policy);
    let settings = forwarded_values::kept(carried, behavior.compress);
    let legacy: Carried = forwarded_values::MEMBERS
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), carried.shift_remove(*name)?)))
        .collect();
    let same = settings.is_some_and(|settings| {
        let cache_now = cache_policy_of("", &cache.name, &settings.cache);
        let request_now = origin_request_policy_of("", &request.name, &settings.origin_request);
        cache_now.is_ok_and(|now| now == *cache) && request_now.is_ok_and(|now| now == *request)
    });
    if same {
        for (name, value) in legacy {
            json[name] = value;
        }
        return;
    }
    let unknown = carried.shift_remove("CachePolicyId").filter(|_| cache.name == STAND_IN);
    let own = file.cache_policies.get(&cache.name).and_then(|policy| policy.id.as_deref());
    json["CachePolicyId"] = unknown.unwrap_or_else(|| id_of_policy(PolicyKind::Cache, &cache.name, own).into());
    let unknown = carried.shift_remove("OriginRequestPolicyId").filter(|_| request.name.is_empty());
    if let Some(unknown) = unknown {
        json["OriginRequestPolicyId"] = unknown;
    } else if !request.name.is_empty() {
        let own = file.origin_request_policies.get(&request.name).and_then(|policy| policy.id.as_deref());
        json["OriginRequestPolicyId"] = id_of_policy(PolicyKind::OriginRequest, &request.name, own).into();
    }
}
