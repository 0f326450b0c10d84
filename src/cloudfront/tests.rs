//! A whole configuration, taken apart and put together again; and whatever else may stand in a file.

mod refusals;

use expect_test::expect;
use proptest::prelude::*;
use serde_json::json;

use super::{
    fuzzing::{reads_xml, survives},
    read::is_idle,
    *,
};
use crate::{
    cluster::Cluster,
    cluster_file::{BehaviorFile, CachePolicyFile, DistributionFile, ErrorPageFile, GroupFile, MethodsFile},
    cluster_file::{OriginRequestPolicyFile, SelectionFile, WholeFile},
    quantity::Span,
};

/// A complete answer of `get-distribution-config`.
const SAMPLE: &str = include_str!("../../examples/cloudfront/get-distribution-config.json");

/// The same in the API's XML, as boto3 sends it.
const XML: &str = include_str!("../../examples/cloudfront/distribution-config.xml");

fn options() -> Options {
    Options { id: "dist".to_owned(), ..Options::default() }
}

fn sample() -> Json {
    serde_json::from_str(SAMPLE).unwrap()
}

fn checked(imported: &Import) -> Cluster {
    Cluster::check(&imported.file, &Default::default())
        .unwrap_or_else(|error| panic!("{}: {}", error.key.join("."), error.message))
}

fn exported(imported: &Import) -> Export {
    let cluster = checked(imported);
    export(&imported.file, &cluster, &cluster.distributions[0])
}

/// `value` without what is idle in it, and without what is null, which TOML cannot write.
fn without_idle(value: &Json) -> Json {
    match value {
        Json::Object(members) => {
            let idle = |name: &str, value: &Json| match name {
                "Quantity" => value.as_u64() == Some(0),
                _ => is_idle(value),
            };
            let kept = members.iter().filter(|(name, value)| !idle(name, value));
            Json::Object(
                kept.map(|(name, value)| (name.clone(), without_idle(value))).collect::<serde_json::Map<_, _>>(),
            )
        }
        Json::Array(items) => items.iter().filter(|item| !item.is_null()).map(without_idle).collect(),
        plain => plain.clone(),
    }
}

/// Lists of names and codes in order, which says nothing at AWS.
fn sorted(value: Json) -> Json {
    match value {
        Json::Array(mut items) if items.iter().all(|item| !item.is_object()) => {
            items.sort_by_key(ToString::to_string);
            items.into()
        }
        Json::Array(items) => items.into_iter().map(sorted).collect(),
        Json::Object(members) => members.into_iter().map(|(name, value)| (name, sorted(value))).collect(),
        plain => plain,
    }
}

#[test]
fn cookies_are_logged_where_the_file_includes_them() {
    for include in [true, false] {
        let mut file = sample();
        file["DistributionConfig"]["Logging"] =
            json!({ "Enabled": true, "IncludeCookies": include, "Bucket": "logs.s3.amazonaws.com", "Prefix": "" });
        let imported = import(&file.to_string(), &options()).unwrap();
        assert_eq!(checked(&imported).distributions[0].logs_cookies(), include);
        assert_eq!(exported(&imported).config["Logging"]["IncludeCookies"], include);
    }
}

#[test]
fn an_export_says_everything_that_the_file_said() {
    let imported = import(SAMPLE, &options()).unwrap();
    let theirs = sorted(without_idle(&sample()["DistributionConfig"]));
    let ours = exported(&imported);
    assert_eq!(sorted(without_idle(&ours.config)), theirs);
    assert_eq!((ours.notes, ours.policies), (Vec::<String>::new(), Vec::<Json>::new()));
    assert_eq!(changes(&sample()["DistributionConfig"], &ours.config), []);
}

#[test]
fn all_three_documents_are_the_same_distribution() {
    let config = sample()["DistributionConfig"].clone();
    let whole = json!({ "ETag": "E1", "Distribution": {
        "Id": "E2EXAMPLE", "ARN": "arn:aws:cloudfront::0:distribution/E2EXAMPLE", "DistributionConfig": config,
    } });
    let (bare, whole) = (config.to_string(), whole.to_string());
    let [enveloped, bare, whole] = [SAMPLE, &bare, &whole].map(|text| import(text, &options()).unwrap());
    assert_eq!(enveloped.etag.as_deref(), Some("E2QWRUHEXAMPLE"));
    assert_eq!((bare.etag.as_deref(), whole.id.as_str()), (None, "e2example"));
    assert_eq!(bare.file, enveloped.file);
    assert_eq!(whole.file.distributions["e2example"], enveloped.file.distributions["dist"]);
}

#[test]
fn xml_says_what_json_says_and_is_refused_as_json_is() {
    let [json, xml] = [SAMPLE, XML].map(|text| import(text, &options()).unwrap());
    assert_eq!(xml.file, json.file);
    let whole = format!("<?xml version=\"1.0\"?>\n<Distribution><Id>E2EXAMPLE</Id>{XML}</Distribution>");
    let whole = import(&whole, &options()).unwrap();
    assert_eq!(whole.file.distributions["e2example"], json.file.distributions["dist"]);
    let broken = XML.replace("<TargetOriginId>ha<", "<TargetOriginId>ho<");
    let refusal = import(&broken, &options()).unwrap_err();
    let path = "DistributionConfig.DefaultCacheBehavior.TargetOriginId";
    assert_eq!((refusal.code, refusal.path.as_str()), ("NoSuchOrigin", path));
    assert_eq!(&broken[refusal.at], "<TargetOriginId>ho</TargetOriginId>");
    for (from, to, code) in [
        ("<HTTPPort>80<", "<HTTPPort>eighty<", "ParamValidation"),
        ("<Enabled>true</Enabled><ViewerC", "<Enabled>yes</Enabled><ViewerC", "ParamValidation"),
        ("<Quantity>4</Quantity><Items><Origin>", "<Quantity>5</Quantity><Items><Origin>", "InconsistentQuantities"),
        ("</DistributionConfig>", "", "MalformedXML"),
    ] {
        let broken = XML.replacen(from, to, 1);
        assert_ne!(broken, XML, "{from}");
        assert_eq!(import(&broken, &options()).unwrap_err().code, code, "{from}");
    }
}

#[test]
fn remarks_name_their_lines() {
    let imported = import(SAMPLE, &options()).unwrap();
    let said = format!("dist\n{}", imported.report.text("dist.json"));
    expect![[r#"
        dist
          ✓ simulated     TTLs, cache keys, compression, error pages, failover, geo restriction, legacy cache settings, origin shield, origins, path patterns, response headers policies, security policy, signed URLs and cookies
          ≈ approximated  origin primary: origin-a.example.test is simulated, in us-east-1: its address tells no region   dist.json:16
          ≈ approximated  origin secondary: origin-b.example.test is simulated, in us-east-1: its address tells no region   dist.json:51
          ≈ approximated  origin api: api.example.test is simulated, in us-east-1: its address tells no region   dist.json:79
          ≈ approximated  origin api: https-only to the origin is http here   dist.json:89
          ≈ approximated  origin bucket: assets-example.s3.us-east-1.amazonaws.com is simulated, in us-east-1   dist.json:106
          ≈ approximated  origin bucket: requests to the bucket are not signed (origin access control)   dist.json:122
          ≈ approximated  certificates are of the world's own authority   dist.json:388
          ! risky         group ha: before failover viewers wait 3 × 10 s = 30 s for a primary that is not there, and 3 × 30 s = 90 s for one that says nothing   dist.json:144
          ! risky         default behavior, /private/*: no-store and private are overruled: the minimum TTL of CachingOptimized keeps every response for 1 s   dist.json:193
          ! risky         /private/*: no key of the key group 11111111-2222-3333-4444-555555555555 is known: everything is refused until [key_groups.11111111-2222-3333-4444-555555555555] names the file of one   dist.json:255"#]].assert_eq(&said);
}

#[test]
fn what_is_known_to_bite_is_told() {
    const ALL_VIEWER: &str = "216adef6-5c7f-47e4-b989-5492eafa07d3";
    let check = |changes: &[(&str, Json)], subject: &str, says: &str| {
        let mut document = sample();
        for (pointer, value) in changes {
            let (parent, member) = pointer.rsplit_once('/').unwrap();
            let parent = document.pointer_mut(&format!("/DistributionConfig{parent}")).unwrap();
            parent[member] = value.clone();
        }
        let imported = import(&document.to_string(), &options()).unwrap();
        let risky = |remark: &&report::Remark| remark.kind == Kind::Risky && remark.message.contains(says);
        let found = imported.report.remarks().into_iter().find(risky).map(|remark| remark.subject.clone());
        assert_eq!(found.as_deref(), Some(subject), "{says}");
    };
    let behavior = "/CacheBehaviors/Items/1";
    let optimized = "/DefaultCacheBehavior/OriginRequestPolicyId";
    let request = format!("{behavior}/OriginRequestPolicyId");
    check(&[(request.as_str(), json!(ALL_VIEWER))], "/private/*", "Host is forwarded to a bucket");
    check(
        &[(optimized, json!(ALL_VIEWER))],
        "default behavior",
        "Set-Cookie of responses is cached and sent to everybody",
    );
    let amplify = json!("2e54312d-136d-493c-8eb9-b001f22f67d2");
    check(
        &[("/DefaultCacheBehavior/CachePolicyId", amplify.clone())],
        "default behavior",
        "all cookies are in the cache key",
    );
    check(&[("/DefaultCacheBehavior/CachePolicyId", amplify)], "default behavior", "the whole query string");
    let allows_http = format!("{behavior}/ViewerProtocolPolicy");
    check(&[(allows_http.as_str(), json!("allow-all"))], "/private/*", "travel in clear");
    check(
        &[(format!("{behavior}/PathPattern").as_str(), json!("api/v2/*"))],
        "api/v2/*",
        "no request comes here: /api/* stands before",
    );
    let writes = sample()["DistributionConfig"]["CacheBehaviors"]["Items"][0]["AllowedMethods"].clone();
    check(
        &[("/DefaultCacheBehavior/AllowedMethods", writes)],
        "default behavior",
        "AWS refuses PUT, PATCH, POST and DELETE",
    );
    check(&[("/Enabled", json!(false))], "", "it is disabled: every request gets 403");
    check(&[("/CustomErrorResponses", json!({ "Quantity": 0 }))], "", "no ErrorCachingMinTTL");
    let page = json!({ "ErrorCode": 403, "ResponsePagePath": "/index.html", "ResponseCode": "200" });
    check(&[("/CustomErrorResponses", json!({ "Quantity": 1, "Items": [page] }))], "", "every 403 looks like a page");
    let codes = json!({ "StatusCodes": { "Quantity": 1, "Items": [500] } });
    check(&[("/OriginGroups/Items/0/FailoverCriteria", codes)], "group ha", "neither 502 nor 503 is among the codes");
    let all = json!({ "Quantity": 1, "Items": ["*"] });
    check(&[("/CacheBehaviors/Items/2/ForwardedValues/Headers", all)], "/legacy/*", "nothing is cached");
}

#[test]
fn an_export_says_what_cloudfront_cannot_do() {
    let mut file = ClusterFile::default();
    let app = OriginFile { url: Some("http://127.0.0.1:3000".into()), ..OriginFile::default() };
    file.origins.insert("app".into(), app);
    let default = BehaviorFile { cache_policy: Some("honour-origin".into()), ..BehaviorFile::default() };
    file.distributions.insert("shop".into(), DistributionFile { default, ..DistributionFile::default() });
    let cluster = Cluster::check(&file, &Default::default()).unwrap();
    let Export { config, notes, .. } = export(&file, &cluster, &cluster.distributions[0]);
    let origin = &config["Origins"]["Items"][0];
    assert_eq!((&origin["DomainName"], &origin["CustomOriginConfig"]["HTTPPort"]), (&json!("127.0.0.1"), &json!(3000)));
    for says in ["no edge of AWS's reaches 127.0.0.1:3000", "honours the origin in everything", "names no certificate"]
    {
        assert!(notes.iter().any(|note| note.contains(says)), "{says}: {notes:?}");
    }
}

#[test]
fn cloudfronts_own_certificate_comes_back_as_it_was() {
    let theirs = json!({
        "CloudFrontDefaultCertificate": true, "SSLSupportMethod": "vip", "MinimumProtocolVersion": "TLSv1",
        "CertificateSource": "cloudfront",
    });
    let mut document = sample();
    document["DistributionConfig"]["Aliases"] = json!({ "Quantity": 0 });
    document["DistributionConfig"]["ViewerCertificate"] = theirs.clone();
    let imported = import(&document.to_string(), &options()).unwrap();
    assert_eq!(exported(&imported).config["ViewerCertificate"], theirs);
}

#[test]
fn a_bucket_cannot_have_host_forwarded_by_legacy_settings() {
    let mut document = sample();
    document["DistributionConfig"]["CacheBehaviors"]["Items"][2]["TargetOriginId"] = "bucket".into();
    document["DistributionConfig"]["CacheBehaviors"]["Items"][2]["ForwardedValues"]["Headers"]["Items"][1] =
        "host".into();
    let refusal = import(&document.to_string(), &options()).unwrap_err();
    let place = "DistributionConfig.CacheBehaviors.Items[2].ForwardedValues.Headers";
    assert_eq!((refusal.code, refusal.path.as_str()), ("InvalidHeadersForS3Origin", place));
}

#[test]
fn what_is_not_known_is_kept_for_an_export() {
    let mut document = sample();
    let config = &mut document["DistributionConfig"];
    config["NewThing"] = json!({ "Mode": "fast", "Nothing": null });
    config["WebACLId"] = "arn:aws:wafv2:x".into();
    config["Origins"]["Items"][0]["NewTimeout"] = 7.into();
    config["CacheBehaviors"]["Items"][0]["LambdaFunctionAssociations"] =
        json!({ "Quantity": 1, "Items": [{ "LambdaFunctionARN": "arn:f", "EventType": "origin-request" }] });
    config["CacheBehaviors"]["Items"][0]["CachePolicyId"] = "99999999-0000-4000-8000-000000000000".into();
    let imported = import(&document.to_string(), &options()).unwrap();
    let theirs = without_nulls(&document["DistributionConfig"]);
    assert_eq!(sorted(without_idle(&exported(&imported).config)), sorted(without_idle(&theirs)));
    let unknown: Vec<_> =
        imported.report.remarks().into_iter().filter(|remark| remark.message.contains("not known")).collect();
    let paths: Vec<_> = unknown.iter().map(|remark| remark.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "DistributionConfig.Origins.Items[0].NewTimeout",
            "DistributionConfig.NewThing",
            "DistributionConfig.CacheBehaviors.Items[0].CachePolicyId"
        ]
    );
    let text = toml::to_string(&imported.file).unwrap();
    let source = crate::diagnose::Source { name: "c.toml".into(), text };
    assert_eq!(crate::diagnose::read_cluster(&source).unwrap(), imported.file, "a cluster file says the same");
}

#[test]
fn legacy_settings_become_policies_and_come_back_until_these_change() {
    let mut imported = import(SAMPLE, &options()).unwrap();
    let legacy = &imported.file.distributions["dist"].behaviors[2];
    let name = legacy.cache_policy.clone().unwrap();
    let policy = &imported.file.cache_policies[&name];
    assert_eq!(policy.cookies, Some(SelectionFile::Like { like: vec!["sid*".into()] }));
    assert_eq!(policy.query_strings, Some(SelectionFile::Only(vec!["v".into()])));
    assert_eq!(policy.headers, ["Accept-Language", "Origin"]);
    let request = &imported.file.origin_request_policies[legacy.origin_request_policy.as_ref().unwrap()];
    assert_eq!(request.query_strings, Some(SelectionFile::Whole(WholeFile::All)), "all of it travels");
    let behavior = |imported: &Import| exported(imported).config["CacheBehaviors"]["Items"][2].clone();
    assert!(behavior(&imported)["ForwardedValues"].is_object());
    imported.file.cache_policies[&name].max_ttl = Some(Span(std::time::Duration::from_secs(600)));
    imported.file.cache_policies[&name].default_ttl = Some(Span(std::time::Duration::from_secs(60)));
    let now = behavior(&imported);
    assert!(now["ForwardedValues"].is_null() && now["CachePolicyId"].is_string(), "{now}");
    assert!(exported(&imported).notes.iter().any(|note| note.contains("create the cache policy legacy-1")));
}

#[test]
fn policies_are_taken_from_files_of_their_own() {
    let id = "99999999-0000-4000-8000-000000000000";
    let mut document = sample();
    document["DistributionConfig"]["CacheBehaviors"]["Items"][0]["CachePolicyId"] = id.into();
    document["DistributionConfig"]["CacheBehaviors"]["Items"][0]["ResponseHeadersPolicyId"] = "my-headers".into();
    let headers = json!({ "ResponseHeadersPolicy": { "Id": "my-headers", "ResponseHeadersPolicyConfig": {
        "Name": "mine",
        "SecurityHeadersConfig": { "FrameOptions": { "Override": true, "FrameOption": "DENY" } },
        "ServerTimingHeadersConfig": { "Enabled": true, "SamplingRate": 12.5 },
        "RemoveHeadersConfig": { "Quantity": 1, "Items": [{ "Header": "X-Powered-By" }] },
    } } });
    let policies = json!({ "CachePolicyList": { "Items": [{ "Type": "custom", "CachePolicy": {
        "Id": id, "CachePolicyConfig": { "Name": "mine", "MinTTL": 5, "DefaultTTL": 60, "MaxTTL": 600,
            "ParametersInCacheKeyAndForwardedToOrigin": {
                "EnableAcceptEncodingGzip": true, "EnableAcceptEncodingBrotli": false,
                "HeadersConfig": { "HeaderBehavior": "none" },
                "CookiesConfig": { "CookieBehavior": "allExcept", "Cookies": { "Quantity": 1, "Items": ["ad"] } },
                "QueryStringsConfig": { "QueryStringBehavior": "all" } } } } }] } });
    let mut options = options();
    read_policies(&json!([headers, policies]).to_string(), &mut options.foreign).unwrap();
    let imported = import(&document.to_string(), &options).unwrap();
    let cluster = checked(&imported);
    let behavior = cluster.distributions[0].behavior_for("/api/x").spec().clone();
    assert_eq!(behavior.cache_policy.min_ttl.as_secs(), 5);
    assert_eq!(behavior.cache_policy.cookies.to_string(), "all but ad");
    assert_eq!(behavior.response_headers_policy.unwrap().server_timing, Some(125_000));
    let ours = exported(&imported);
    assert_eq!(ours.config["CacheBehaviors"]["Items"][0]["CachePolicyId"], id);
    let again = Json::Array(ours.policies).to_string();
    let mut foreign = Foreign::default();
    read_policies(&again, &mut foreign).unwrap();
    assert_eq!(format!("{:?}", foreign.cache), format!("{:?}", options.foreign.cache), "policies come back");
}

#[test]
fn a_mapped_origin_is_an_app_that_still_hears_its_own_name() {
    let mut options = options();
    let app =
        OriginFile { url: Some("http://127.0.0.1:3000".into()), site: Some("frankfurt".into()), ..Default::default() };
    options.maps.insert("api".into(), app);
    let imported = import(SAMPLE, &options).unwrap();
    let cluster = checked(&imported);
    let api = &cluster.origins["api"];
    assert_eq!(api.address.to_string(), "127.0.0.1:3000");
    assert_eq!((api.place.name.as_ref(), api.origin.domain_name.as_str()), ("Frankfurt", "api.example.test"));
    assert_eq!(api.origin.origin_path, "/v1");
    assert!(imported.origins.iter().all(|origin| origin.mapped == (origin.id == "api")));
}

#[test]
fn an_app_of_https_is_spoken_to_as_the_file_says() {
    let import_with = |url: &str, policy: &str, ports: [u16; 2]| {
        let mut document = sample();
        let config = &mut document["DistributionConfig"]["Origins"]["Items"][2]["CustomOriginConfig"];
        config["OriginProtocolPolicy"] = policy.into();
        (config["HTTPPort"], config["HTTPSPort"]) = (ports[0].into(), ports[1].into());
        let mut options = options();
        options.maps.insert("api".into(), OriginFile { url: Some(url.into()), ..Default::default() });
        let imported = import(&document.to_string(), &options).unwrap();
        let says = imported
            .report
            .remarks()
            .into_iter()
            .find(|remark| remark.message.ends_with(" here"))
            .map(|remark| remark.message.clone());
        let ours = exported(&imported);
        assert_eq!(changes(&document["DistributionConfig"], &ours.config), [], "{url}");
        let plan = checked(&imported).origins["api"].clone();
        (plan.address.port(), plan.https.map(|https| https.address.port()), says)
    };
    let said = |text: &str| Some(text.to_owned());
    for (url, policy, ports, expected) in [
        ("https://127.0.0.1:3443", "https-only", [80, 443], (3443, Some(3443), None)),
        ("https://127.0.0.1", "https-only", [80, 8443], (8443, Some(8443), None)),
        (
            "https://127.0.0.1:3443",
            "http-only",
            [80, 443],
            (3443, Some(3443), said("http-only to the origin is https here")),
        ),
        ("http://127.0.0.1:3000", "match-viewer", [3000, 3443], (3000, Some(3443), None)),
        (
            "http://127.0.0.1:3000",
            "match-viewer",
            [80, 443],
            (3000, None, said("match-viewer to the origin is http here")),
        ),
        ("http://127.0.0.1:3000", "http-only", [80, 443], (3000, None, None)),
    ] {
        assert_eq!(import_with(url, policy, ports), expected, "{url} {policy}");
    }
}

#[test]
fn functions_whose_code_is_known_run_and_all_are_exported_as_they_came() {
    let mut document = sample();
    let function = |name: &str, event: &str| json!({ "FunctionARN": format!("arn:aws:cloudfront::1:function/{name}"), "EventType": event });
    let associations = json!({ "Quantity": 2, "Items": [function("Rewrite", "viewer-request"), function("other", "viewer-response")] });
    document["DistributionConfig"]["CacheBehaviors"]["Items"][0]["FunctionAssociations"] = associations;
    let mut options = options();
    options.file.functions.insert("rewrite".into(), crate::cluster_file::FunctionFile::default());
    let mut imported = import(&document.to_string(), &options).unwrap();
    let code = "function handler(event) { return event.request; }".to_owned();
    let text = crate::cluster::FunctionText { code, key_values: None };
    let inputs = crate::cluster::Inputs { functions: [("rewrite".to_owned(), text)].into(), ..Default::default() };
    let functions = |imported: &Import| {
        let cluster = Cluster::check(&imported.file, &inputs).unwrap_or_else(|error| panic!("{}", error.message));
        let ours = export(&imported.file, &cluster, &cluster.distributions[0]).config;
        (
            changes(&document["DistributionConfig"], &ours),
            ours["CacheBehaviors"]["Items"][0]["FunctionAssociations"].clone(),
        )
    };
    let behavior = &imported.file.distributions["dist"].behaviors[0];
    assert_eq!((behavior.viewer_request.as_deref(), behavior.viewer_response.as_deref()), (Some("rewrite"), None));
    assert_eq!(functions(&imported).0, []);
    let unknown =
        imported.report.remarks().into_iter().filter(|remark| remark.message.contains("does not run")).count();
    assert_eq!(unknown, 1);
    // What a world then runs is what it says.
    let behavior = &mut imported.file.distributions["dist"].behaviors[0];
    (behavior.viewer_request, behavior.viewer_response) = (None, Some("rewrite".into()));
    let made =
        json!({ "FunctionARN": "arn:aws:cloudfront::000000000000:function/rewrite", "EventType": "viewer-response" });
    assert_eq!(functions(&imported).1, json!({ "Quantity": 1, "Items": [made] }));
}

fn names(pattern: &'static str) -> impl Strategy<Value = Vec<String>> {
    prop::collection::btree_set(pattern, 0..4).prop_map(|names| names.into_iter().collect())
}

fn selection() -> impl Strategy<Value = Option<SelectionFile>> {
    prop_oneof![
        Just(None),
        Just(Some(SelectionFile::Whole(WholeFile::All))),
        names("[a-z]{1,4}").prop_map(|names| Some(SelectionFile::Only(names))),
        names("[a-z]{1,4}").prop_map(|except| Some(SelectionFile::Except { except })),
    ]
}

prop_compose! {
    fn cache_policy()(
        ttls in prop::collection::vec(1_u64..100_000, 3),
        headers in names("X-[a-z]{1,4}"),
        cookies in selection(),
        query_strings in selection(),
        gzip in any::<bool>(),
        brotli in any::<bool>(),
    ) -> CachePolicyFile {
        let mut ttls: Vec<_> = ttls.into_iter().map(|secs| Span(std::time::Duration::from_secs(secs))).collect();
        ttls.sort_unstable();
        CachePolicyFile {
            id: None,
            min_ttl: Some(ttls[0]),
            default_ttl: Some(ttls[1]),
            max_ttl: Some(ttls[2]),
            headers, cookies, query_strings,
            gzip: Some(gzip),
            brotli: Some(brotli),
        }
    }
}

prop_compose! {
    fn behavior()(
        target in prop::sample::select(vec!["one", "two", "pair"]),
        methods in prop::sample::select(vec![MethodsFile::Read, MethodsFile::ReadOptions, MethodsFile::All]),
        cache_options in any::<bool>(),
        cache in prop::sample::select(vec!["own", "CachingOptimized", "CachingDisabled", "Amplify"]),
        request in prop::sample::select(vec!["own", "none", "AllViewer", "CORS-S3Origin"]),
        headers in prop::sample::select(vec![None, Some("SimpleCORS"), Some("SecurityHeadersPolicy")]),
        protocol in prop::sample::select(vec!["allow-all", "https-only", "redirect-to-https"]),
        signed in any::<bool>(),
        compress in any::<bool>(),
    ) -> BehaviorFile {
        BehaviorFile {
            target: Some(target.into()),
            methods: Some(methods),
            cache_options: Some(cache_options && methods != MethodsFile::Read),
            cache_policy: Some(cache.into()),
            origin_request_policy: Some(request.into()),
            response_headers_policy: headers.map(str::to_owned),
            viewer_protocol: Some(protocol.into()),
            trusted_key_groups: if signed { vec!["team".into()] } else { Vec::new() },
            compress: Some(compress),
            ..BehaviorFile::default()
        }
    }
}

prop_compose! {
    fn origin()(
        path in prop::option::of("/[a-z]{1,5}"),
        attempts in prop::option::of(1_u8..=3),
        timeout in prop::option::of(1_u64..=10),
        response in prop::option::of(1_u64..=120),
        keepalive in prop::option::of(1_u64..=120),
        shield in any::<bool>(),
        headers in names("x-[a-z]{1,4}"),
    ) -> OriginFile {
        let span = |secs: Option<u64>| secs.map(|secs| Span(std::time::Duration::from_secs(secs)));
        OriginFile {
            path,
            connection_attempts: attempts,
            connection_timeout: span(timeout),
            response_timeout: span(response),
            keepalive_timeout: span(keepalive),
            shield: Some(shield),
            headers: headers.into_iter().map(|name| (name, "1".to_owned())).collect(),
            ..OriginFile::default()
        }
    }
}

prop_compose! {
    fn cluster()(
        origins in prop::collection::vec(origin(), 2),
        codes in prop::collection::btree_set(prop::sample::select(vec![403_u16, 404, 500, 502, 503, 504]), 1..5),
        own in cache_policy(),
        selections in (selection(), selection(), selection()),
        default in behavior(),
        behaviors in prop::collection::btree_map("/[a-z]{1,6}/\\*", behavior(), 0..6),
        hosts in names("[a-z]{1,6}\\.example\\.test"),
        root in prop::option::of("[a-z]{1,6}\\.html"),
        class in prop::sample::select(vec!["PriceClass_100", "PriceClass_200", "PriceClass_All"]),
        policy in prop::sample::select(vec!["TLSv1", "TLSv1.2_2021", "TLSv1.3_2025"]),
        pages in prop::collection::btree_map(prop::sample::select(vec![403_u16, 404, 500, 503]), 0_u64..100, 0..3),
        countries in prop::option::of(prop::sample::select(vec!["DE", "US"])),
    ) -> ClusterFile {
        let origins = ["one", "two"].into_iter().map(str::to_owned).zip(origins).collect();
        let mut file = ClusterFile { origins, ..ClusterFile::default() };
        let members = ["one".to_owned(), "two".to_owned()];
        let failover_codes = Some(codes.into_iter().collect());
        let group = GroupFile { members, failover_codes, on_transport_error: None, cloudfront: Carried::new() };
        file.groups.insert("pair".into(), group);
        file.key_groups.insert("team".into(), IndexMap::new());
        file.cache_policies.insert("own".into(), own);
        let (headers, cookies, query_strings) = selections;
        let request = OriginRequestPolicyFile { headers, cookies, query_strings, ..Default::default() };
        file.origin_request_policies.insert("own".into(), request);
        let page = |(status, secs): (u16, u64)| ErrorPageFile {
            status,
            ttl: Some(Span(std::time::Duration::from_secs(secs))),
            response_page: (secs > 50).then(|| "/sorry.html".to_owned()),
            response_code: (secs > 50).then_some(200),
        };
        let behaviors = behaviors.into_iter().map(|(path, behavior)| BehaviorFile { path: Some(path), ..behavior });
        let distribution = DistributionFile {
            hosts: Some(hosts),
            default_root_object: root,
            price_class: Some(class.into()),
            security_policy: Some(policy.into()),
            error_pages: pages.into_iter().map(page).collect(),
            block_countries: countries.map(|country| vec![country.to_owned()]),
            default,
            behaviors: behaviors.collect(),
            ..DistributionFile::default()
        };
        file.distributions.insert("dist".into(), distribution);
        file
    }
}

/// What edges would do, in words.
fn meaning(cluster: &Cluster) -> String {
    let distribution = &cluster.distributions[0];
    let behaviors: Vec<_> = distribution.behaviors().iter().map(|behavior| behavior.spec().clone()).collect();
    format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {behaviors:#?}",
        distribution.origins(),
        distribution.groups(),
        distribution.aliases(),
        distribution.default_root_object(),
        distribution.security_policy(),
        distribution.error_pages(),
        distribution.geo_restriction(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_exported_is_imported_as_it_was(file in cluster()) {
        let cluster = Cluster::check(&file, &Default::default()).map_err(|error| error.message).unwrap();
        let written = export(&file, &cluster, &cluster.distributions[0]);
        let mut options = options();
        read_policies(&Json::Array(written.policies).to_string(), &mut options.foreign).unwrap();
        let again = import(&written.config.to_string(), &options)
            .unwrap_or_else(|refusal| panic!("{refusal:?} of {:#}", written.config));
        let xml = import(&control_plane::distribution_xml(&written.config), &options);
        prop_assert_eq!(xml.map(|xml| xml.file), Ok(again.file.clone()), "the same in XML");
        prop_assert_eq!(meaning(&checked(&again)), meaning(&cluster));
        let class = |file: &ClusterFile| file.distributions["dist"].price_class.clone();
        let all = || "PriceClass_All".to_owned();
        prop_assert_eq!(class(&again.file).unwrap_or_else(all), class(&file).unwrap_or_else(all));
        prop_assert_eq!(changes(&written.config, &exported(&again).config), []);
    }

    #[test]
    fn a_file_with_a_hole_is_taken_or_refused(from in 0..SAMPLE.len(), length in 0_usize..200, with in "[\\[\\]{}\",:0-9a-z ]{0,6}") {
        let until = (from + length).min(SAMPLE.len());
        survives(&format!("{}{with}{}", &SAMPLE[..from], &SAMPLE[until..]));
    }

    #[test]
    fn xml_with_a_hole_is_read_or_refused(from in 0..XML.len(), length in 0_usize..200, with in "[<>/&;!\\[\\]a-zé\"0-9 ]{0,6}") {
        let until = (from + length).min(XML.len());
        reads_xml(&format!("{}{with}{}", &XML[..from], &XML[until..]));
    }
}

#[test]
fn any_value_in_the_place_of_another_is_taken_or_refused() {
    fn pointers(value: &Json, at: String, into: &mut Vec<String>) {
        match value {
            Json::Object(members) => {
                members.iter().for_each(|(name, value)| pointers(value, format!("{at}/{name}"), into));
            }
            Json::Array(items) => {
                items.iter().enumerate().for_each(|(index, value)| pointers(value, format!("{at}/{index}"), into));
            }
            _ => {}
        }
        into.push(at);
    }
    let mut all = Vec::new();
    pointers(&sample(), String::new(), &mut all);
    for (at, pointer) in all.iter().enumerate() {
        let values =
            [json!(null), json!(-1), json!(1e300), json!("\u{0}é"), json!([{}]), json!({ "Items": 3 }), json!(true)];
        let mut document = sample();
        *document.pointer_mut(pointer).unwrap() = values[at % values.len()].clone();
        survives(&document.to_string());
    }
}
