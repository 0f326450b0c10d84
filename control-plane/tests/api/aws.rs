//! CloudFront's own API, asked in the words that boto3 and the AWS command line send.

use std::collections::BTreeMap;

use control_plane::HandsError;
use quick_xml::{Reader, events::Event};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;

use crate::support::{KEY, TOKEN, World, wait_until};

/// What boto3 sends beside the body; the key and the signature are not looked at.
const SIGNATURE: &str = "AWS4-HMAC-SHA256 Credential=local/20261122/us-east-1/cloudfront/aws4_request, \
                         SignedHeaders=host;x-amz-date, Signature=00";

const BY_BOTO3: &str = "<InvalidationBatch xmlns=\"http://cloudfront.amazonaws.com/doc/2020-05-31/\"><Paths><Quantity>2\
                        </Quantity><Items><Path>/images/*</Path><Path>/index.html</Path></Items></Paths>\
                        <CallerReference>ref-1</CallerReference></InvalidationBatch>";

fn ask(world: &World, method: Method, path: &str) -> RequestBuilder {
    let url = format!("{}/2020-05-31/{path}", world.base);
    world.client.request(method, url).header("authorization", SIGNATURE)
}

/// Status and body.
async fn answer(request: RequestBuilder) -> (u16, String) {
    let response = request.send().await.unwrap();
    if response.status().as_u16() != 204 {
        assert_eq!(response.headers()["content-type"], "text/xml");
    }
    assert!(response.headers().contains_key("x-amzn-requestid"));
    (response.status().as_u16(), response.text().await.unwrap())
}

/// The text of the first element of this name.
fn element<'a>(body: &'a str, name: &str) -> &'a str {
    let (_, rest) = body.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name}: {body}"));
    rest.split_once('<').unwrap().0
}

/// How often a cache was told to forget something.
fn told(world: &World) -> usize {
    world.hands.did().iter().filter(|did| did.starts_with("invalidate ")).count()
}

async fn create(world: &World, body: &str) -> (u16, String) {
    answer(ask(world, Method::POST, "distribution/E2DEMO/invalidation").body(body.to_owned())).await
}

#[tokio::test]
async fn an_invalidation_reaches_every_cache_and_is_completed_when_it_is_asked_for() {
    let world = World::up().await;
    let (status, created) = create(&world, BY_BOTO3).await;
    assert_eq!(status, 201, "{created}");
    assert!(created.starts_with("<?xml version=\"1.0\"?>\n<Invalidation xmlns=\"http://cloudfront.amazonaws.com/doc/"));
    let batch = "<InvalidationBatch><Paths><Quantity>2</Quantity><Items><Path>/images/*</Path><Path>/index.html</Path>\
                 </Items></Paths><CallerReference>ref-1</CallerReference></InvalidationBatch></Invalidation>";
    assert!(created.ends_with(batch), "{created}");
    let id = element(&created, "Id").to_owned();
    let (status, asked) = answer(ask(&world, Method::GET, &format!("distribution/E2DEMO/invalidation/{id}"))).await;
    assert_eq!((status, element(&asked, "Status")), (200, "Completed"));
    assert!(asked.ends_with(batch), "{asked}");
    // Three caches, and the two edges once more when the shield behind them has heard.
    wait_until("every cache is told", async || told(&world) == 5).await;
    // The same reference is the same invalidation, in whatever order its parts come.
    let by_cli = BY_BOTO3.replace("<CallerReference>ref-1</CallerReference>", "");
    let by_cli = by_cli.replace("<Paths>", "<CallerReference>ref-1</CallerReference><Paths>");
    let (status, again) = create(&world, &by_cli).await;
    assert_eq!((status, element(&again, "Id"), told(&world)), (201, id.as_str(), 5));
    let (status, other) = create(&world, &BY_BOTO3.replace("index.html", "other.html")).await;
    assert_eq!((status, element(&other, "Code")), (409, "InvalidationBatchAlreadyExists"));
}

#[tokio::test]
async fn lists_are_cut_into_pages_the_newest_first() {
    let world = World::up().await;
    let mut ids = Vec::new();
    for nth in 1..=3 {
        let (_, created) = create(&world, &BY_BOTO3.replace("ref-1", &nth.to_string())).await;
        ids.insert(0, element(&created, "Id").to_owned());
    }
    let list = async |query: &str| {
        let (status, body) =
            answer(ask(&world, Method::GET, &format!("distribution/E2DEMO/invalidation{query}"))).await;
        assert_eq!(status, 200, "{body}");
        let found: Vec<String> = ids.iter().filter(|id| body.contains(&format!("<Id>{id}</Id>"))).cloned().collect();
        (found, element(&body, "IsTruncated") == "true")
    };
    assert_eq!(list("").await, (ids.clone(), false));
    assert_eq!(list("?MaxItems=2").await, (ids[..2].to_vec(), true));
    assert_eq!(list(&format!("?MaxItems=2&Marker={}", ids[1])).await, (ids[2..].to_vec(), false));
    let (status, body) = answer(ask(&world, Method::GET, "distribution/E2DEMO/invalidation?MaxItems=x")).await;
    assert_eq!((status, element(&body, "Code")), (400, "InvalidArgument"));
}

#[tokio::test]
async fn distributions_are_listed_with_their_configurations() {
    let world = World::up().await;
    let (status, list) = answer(ask(&world, Method::GET, "distribution")).await;
    assert_eq!((status, element(&list, "Quantity")), (200, "1"));
    assert!(list.contains("<DomainName>e2demo.cdn.test</DomainName>"), "{list}");
    assert!(
        list.contains("<Items><CNAME>cdn.example.test</CNAME><CNAME>*.assets.example.test</CNAME></Items>"),
        "{list}"
    );
    let (status, one) = answer(ask(&world, Method::GET, "distribution/E2DEMO")).await;
    assert_eq!(
        (status, element(&one, "Status"), element(&one, "Comment")),
        (200, "Deployed", "sample for the local emulator")
    );
    let described = world.hands.did().into_iter().filter(|did| did == "describe").count();
    assert_eq!(described, 1, "who asks again is told what is known");
}

/// The version that a response names.
fn etag(response: &Response) -> String {
    response.headers()["etag"].to_str().unwrap().to_owned()
}

async fn update(world: &World, version: Option<&str>, comment: &str) -> Response {
    let request = ask(world, Method::PUT, "distribution/E2DEMO/config");
    let request = version.into_iter().fold(request, |request, version| request.header("if-match", version));
    request.body(format!("<DistributionConfig><Comment>{comment}</Comment></DistributionConfig>")).send().await.unwrap()
}

#[tokio::test]
async fn an_update_is_in_progress_until_every_cache_has_it() {
    let world = World::up().await;
    let config = ask(&world, Method::GET, "distribution/E2DEMO/config").send().await.unwrap();
    let first = etag(&config);
    world.hands.fail("configure edge.fra", HandsError::Failed("no answer".into()));
    let updated = update(&world, Some(&first), "new").await;
    let second = etag(&updated);
    assert!(updated.status() == 200 && second != first);
    let said = updated.text().await.unwrap();
    assert_eq!((element(&said, "Status"), element(&said, "Comment")), ("InProgress", "new"));
    let told = |world: &World, node: &str| {
        let what = format!("configure {node}: ");
        world.hands.did().iter().filter(|did| did.starts_with(&what) && did.contains("\"new\"")).count()
    };
    wait_until("every cache is told", async || {
        ["edge.fra", "edge.iad", "shield.iad"].map(|node| told(&world, node)) == [1; 3]
    })
    .await;
    let (_, list) = answer(ask(&world, Method::GET, "distribution")).await;
    assert_eq!(element(&list, "Status"), "InProgress", "one could not be told");
    world.hands.recover();
    wait_until("the last has it", async || {
        let (_, one) = answer(ask(&world, Method::GET, "distribution/E2DEMO")).await;
        element(&one, "Status") == "Deployed"
    })
    .await;
    assert_eq!((told(&world, "edge.fra"), told(&world, "edge.iad")), (2, 1), "only who is behind is told again");
    assert_eq!(etag(&ask(&world, Method::GET, "distribution/E2DEMO/config").send().await.unwrap()), second);
}

#[tokio::test]
async fn an_update_of_another_version_or_one_that_is_refused_changes_nothing() {
    let world = World::up().await;
    let etag = etag(&ask(&world, Method::GET, "distribution/E2DEMO/config").send().await.unwrap());
    world.hands.fail("update E2DEMO: bad", HandsError::Refused { code: "IllegalUpdate", message: "no".into() });
    for (version, comment, status, code) in [
        (None, "new", 400, "InvalidIfMatchVersion"),
        (Some("E2QWRUHEXAMPLE"), "new", 412, "PreconditionFailed"),
        (Some(etag.as_str()), "bad", 400, "IllegalUpdate"),
    ] {
        let response = update(&world, version, comment).await;
        assert_eq!(response.status(), status);
        assert_eq!(element(&response.text().await.unwrap(), "Code"), code);
    }
    assert!(!world.hands.did().iter().any(|did| did.starts_with("configure")), "{:?}", world.hands.did());
}

#[tokio::test]
async fn a_configuration_of_the_whole_world_is_another_version() {
    let world = World::up().await;
    let config = async || etag(&ask(&world, Method::GET, "distribution/E2DEMO/config").send().await.unwrap());
    let first = config().await;
    let applied = |comment: &str| serde_json::json!({ "E2DEMO": { "Comment": comment } });
    world.post("/v1/config", serde_json::json!({ "nodes": ["edge.fra"], "config": applied("one") })).await;
    assert_eq!(config().await, first, "one cache is not the world");
    world.post("/v1/config", serde_json::json!({ "config": applied("all") })).await;
    assert_ne!(config().await, first);
}

fn key_config(comment: &str) -> String {
    format!(
        "<PublicKeyConfig><CallerReference>pk-1</CallerReference><Name>my-key</Name><EncodedKey>{KEY}</EncodedKey>\
         <Comment>{comment}</Comment></PublicKeyConfig>"
    )
}

fn group_config(key: &str) -> String {
    format!("<KeyGroupConfig><Name>kg</Name><Items><PublicKey>{key}</PublicKey></Items></KeyGroupConfig>")
}

#[tokio::test]
async fn keys_and_key_groups_are_made_changed_and_removed_and_edges_trust_them() {
    let world = World::up().await;
    let send = async |method: Method, path: &str, version: &str, body: String| {
        let response = ask(&world, method, path).header("if-match", version).body(body).send().await.unwrap();
        let etag = response.headers().get("etag").map(|etag| etag.to_str().unwrap().to_owned());
        (response.status().as_u16(), etag.unwrap_or_default(), response.text().await.unwrap())
    };
    let (status, key_etag, made) = send(Method::POST, "public-key", "", key_config("a")).await;
    assert_eq!(status, 201, "{made}");
    let key = element(&made, "Id").to_owned();
    assert_eq!(element(&made, "EncodedKey").trim(), KEY.trim());
    let (status, _, again) = send(Method::POST, "public-key", "", key_config("a")).await;
    assert_eq!((status, element(&again, "Code")), (409, "PublicKeyAlreadyExists"));
    assert!(!world.hands.did().iter().any(|did| did.contains(&key)), "no group has it yet");

    let (status, group_etag, made) = send(Method::POST, "key-group", "", group_config(&key)).await;
    assert_eq!(status, 201, "{made}");
    let group = element(&made, "Id").to_owned();
    assert!(world.hands.did().contains(&format!("keys [{group}: {key}, team: K1]")), "{:?}", world.hands.did());
    let (status, _, used) = send(Method::DELETE, &format!("public-key/{key}"), &key_etag, String::new()).await;
    assert_eq!((status, element(&used, "Code")), (409, "PublicKeyInUse"));
    let both = group_config(&key).replace("</PublicKey>", "</PublicKey><PublicKey>K1</PublicKey>");
    let (status, _, other) = send(Method::PUT, &format!("key-group/{group}"), "E1", both.clone()).await;
    assert_eq!((status, element(&other, "Code")), (412, "PreconditionFailed"));
    let (status, group_etag, _) = send(Method::PUT, &format!("key-group/{group}"), &group_etag, both).await;
    assert_eq!(status, 200);
    let (_, config_etag, config) = send(Method::GET, &format!("key-group/{group}/config"), "", String::new()).await;
    assert!(config_etag == group_etag && config.contains("<PublicKey>K1</PublicKey>"), "{config}");
    let listed = world.get("/v1/key-groups").await;
    assert_eq!(listed["groups"].as_array().unwrap().len(), 2, "iso keys sees it: {listed}");

    let path = format!("public-key/{key}/config");
    let (status, key_etag, _) = send(Method::PUT, &path, &key_etag, key_config("b")).await;
    assert_eq!(status, 200);
    let (status, _, fixed) = send(Method::PUT, &path, &key_etag, key_config("b").replace("my-key", "other")).await;
    assert_eq!((status, element(&fixed, "Code")), (400, "CannotChangeImmutablePublicKeyFields"));
    let (status, ..) = send(Method::DELETE, &format!("key-group/{group}"), &group_etag, String::new()).await;
    assert_eq!(status, 204);
    let (status, ..) = send(Method::DELETE, &format!("public-key/{key}"), &key_etag, String::new()).await;
    assert_eq!(status, 204);
    let (status, _, gone) = send(Method::GET, &format!("public-key/{key}"), "", String::new()).await;
    assert_eq!((status, element(&gone, "Code")), (404, "NoSuchPublicKey"));
    let (_, _, keys) = send(Method::GET, "public-key", "", String::new()).await;
    assert_eq!((element(&keys, "Quantity"), element(&keys, "Name")), ("1", "K1"), "that of the cluster file");
}

#[tokio::test]
async fn keys_that_edges_refuse_and_groups_that_behaviors_trust_stay_as_they_were() {
    let world = World::with(|config| {
        let keys = BTreeMap::from([("K1".to_owned(), KEY.to_owned())]);
        config.key_groups.insert("11111111-2222-3333-4444-555555555555".into(), keys);
        config.limits.public_keys_max = 2;
    })
    .await;
    let path = "key-group/11111111-2222-3333-4444-555555555555";
    let trusted = ask(&world, Method::GET, path).send().await.unwrap();
    let (status, said) = answer(ask(&world, Method::DELETE, path).header("if-match", etag(&trusted))).await;
    assert_eq!((status, element(&said, "Code")), (409, "ResourceInUse"));
    world.hands.fail("keys [", HandsError::Failed("no answer".into()));
    let (status, said) = answer(ask(&world, Method::POST, "key-group").body(group_config("K1"))).await;
    assert_eq!((status, element(&said, "Code"), element(&said, "Type")), (503, "ServiceUnavailable", "Receiver"));
    let (_, groups) = answer(ask(&world, Method::GET, "key-group")).await;
    assert_eq!(element(&groups, "Quantity"), "2");
    let (status, _) = answer(ask(&world, Method::POST, "public-key").body(key_config("a"))).await;
    assert_eq!(status, 201);
    let third = key_config("a").replace("pk-1", "pk-2").replace("my-key", "third");
    let (status, said) = answer(ask(&world, Method::POST, "public-key").body(third)).await;
    assert_eq!((status, element(&said, "Code")), (400, "TooManyPublicKeys"));
    let metrics = world.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(
        metrics.contains("control_keys_full_total 1") || metrics.contains("control_keys_full_total{} 1"),
        "{metrics}"
    );
}

/// Every element that says something, as its path and its text.
fn facts(document: &str) -> Vec<String> {
    let mut reader = Reader::from_str(document);
    let (mut path, mut text, mut facts) = (Vec::new(), String::new(), Vec::new());
    loop {
        match reader.read_event().unwrap() {
            Event::Start(tag) => {
                path.push(tag.name().as_ref().to_owned());
                text.clear();
            }
            Event::Text(said) => text.push_str(&said.xml10_content()),
            Event::End(_) => {
                if !text.trim().is_empty() {
                    facts.push(format!("{}={}", path.join("/"), text.trim()));
                }
                text.clear();
                path.pop();
            }
            Event::Eof => break,
            _ => {}
        }
    }
    facts.sort_unstable();
    facts
}

fn vectors(text: &str) -> Vec<Value> {
    serde_json::from_str::<Value>(text).unwrap()["cases"].as_array().unwrap().clone()
}

/// Where a case of `vectors/` is at home, here.
async fn our_own(world: &World) -> Vec<(&'static str, String)> {
    let (_, invalidation) = create(world, BY_BOTO3).await;
    let (_, key) = answer(ask(world, Method::POST, "public-key").body(key_config("c"))).await;
    let (_, group) = answer(ask(world, Method::POST, "key-group").body(group_config(element(&key, "Id")))).await;
    let config = ask(world, Method::GET, "distribution/E2DEMO/config").send().await.unwrap();
    vec![
        ("EDFDVBD6EXAMPLE", "E2DEMO".to_owned()),
        ("I2J0I21PCUYOIK", element(&invalidation, "Id").to_owned()),
        ("K2JCJMDEHXQW5F", element(&key, "Id").to_owned()),
        ("kgid", element(&group, "Id").to_owned()),
        ("E2QWRUHEXAMPLE", etag(&config)),
        // What the vectors have in its place is no key.
        ("-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n", KEY.to_owned()),
        ("<Name>kg</Name>", "<Name>other</Name>".to_owned()),
        ("<Name>my-key</Name>", "<Name>other</Name>".to_owned()),
        ("pk-1", "pk-2".to_owned()),
    ]
}

#[tokio::test]
async fn what_boto3_sends_is_understood_and_what_is_not_done_is_said_to_be_so() {
    let world = World::up().await;
    let ours = our_own(&world).await;
    let here = |text: &str| ours.iter().fold(text.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours));
    let mut done = Vec::new();
    for case in vectors(include_str!("vectors/requests.json")) {
        let text = |member: &str| here(case[member].as_str().unwrap_or_default());
        let method = text("method").parse().unwrap();
        let body = match case["body_file"].as_str() {
            Some(_) => include_str!("../../../examples/cloudfront/distribution-config.xml").to_owned(),
            None => text("body"),
        };
        let mut request = ask(&world, method, text("path").trim_start_matches("/2020-05-31/")).body(body);
        for (name, value) in case["headers"].as_object().into_iter().flatten() {
            request = request.header(name, here(value.as_str().unwrap()));
        }
        let (status, said) = answer(request).await;
        match status {
            200 | 201 | 204 => done.push(case["operation"].as_str().unwrap().to_owned()),
            501 => assert_eq!(element(&said, "Code"), "NotImplemented"),
            _ => panic!("{status} {said} of {case}"),
        }
    }
    let all = "create_invalidation get_invalidation list_invalidations list_distributions get_distribution \
               get_distribution_config update_distribution create_public_key create_key_group list_public_keys \
               list_key_groups get_key_group tag_resource untag_resource list_tags_for_resource";
    assert_eq!(done.join(" "), all);
}

#[tokio::test]
async fn replies_say_what_the_service_model_says() {
    let world = World::up_with(|config| {
        let keys = BTreeMap::from([("K2JCJMDEHXQW5F".to_owned(), KEY.to_owned())]);
        config.key_groups = [("11111111-2222-3333-4444-555555555555".to_owned(), keys)].into();
    })
    .await;
    let batch = BY_BOTO3.replace("<Quantity>2", "<Quantity>1").replace("<Path>/images/*</Path>", "");
    let (_, invalidation) = create(&world, &batch.replace("/index.html", "/*")).await;
    let id = element(&invalidation, "Id");
    let (_, asked) = answer(ask(&world, Method::GET, &format!("distribution/E2DEMO/invalidation/{id}"))).await;
    assert_eq!(element(&asked, "Status"), "Completed");
    // Times, ids, names and keys are a world's own.
    let theirs = [
        "Id",
        "ARN",
        "ETag",
        "LastModifiedTime",
        "CreateTime",
        "CreatedTime",
        "DomainName",
        "EncodedKey",
        "Name",
        "CallerReference",
        "Comment",
        "RequestId",
        "Message",
        "PublicKey",
    ];
    let is_worlds = |fact: &str| {
        let (path, _) = fact.split_once('=').unwrap();
        // Whatever a configuration says is to come back as it was.
        theirs.contains(&path.rsplit('/').next().unwrap()) && !path.contains("Distribution/DistributionConfig/")
    };
    for case in vectors(include_str!("vectors/responses.json")) {
        let (method, path, body) = match case["operation"].as_str().unwrap() {
            "ListDistributions" => (Method::GET, "distribution".to_owned(), String::new()),
            "GetDistribution" => (Method::GET, "distribution/E2DEMO".to_owned(), String::new()),
            "GetInvalidation" => (Method::GET, format!("distribution/E2DEMO/invalidation/{id}"), String::new()),
            "ListInvalidations" => (Method::GET, "distribution/E2DEMO/invalidation".to_owned(), String::new()),
            "CreatePublicKey" => (Method::POST, "public-key".to_owned(), key_config("")),
            "CreateKeyGroup" => (Method::POST, "key-group".to_owned(), group_config("K2JCJMDEHXQW5F")),
            "(error)" => (Method::DELETE, "public-key/K2JCJMDEHXQW5F".to_owned(), String::new()),
            // Made before, or not done.
            "CreateInvalidation" | "ListPublicKeys" | "ListKeyGroups" | "ListTagsForResource" | "GetCachePolicy" => {
                continue;
            }
            other => panic!("{other} is not held to anything"),
        };
        let response = ask(&world, method, &path).header("if-match", "E1").body(body).send().await.unwrap();
        assert_eq!(response.status(), u16::try_from(case["status"].as_u64().unwrap()).unwrap(), "{path}");
        for header in case["headers"].as_object().unwrap().keys() {
            assert!(response.headers().contains_key(header), "{path} has no {header}");
        }
        let said = response.text().await.unwrap();
        let expected = case["body"].as_str().unwrap();
        let masked = |document: &str| {
            let mask = |fact: String| match is_worlds(&fact) {
                true => fact.split_once('=').unwrap().0.to_owned(),
                false => fact,
            };
            facts(document).into_iter().map(mask).collect::<Vec<_>>()
        };
        assert_eq!(masked(&said), masked(expected), "{path}");
    }
}

#[tokio::test]
async fn policies_are_listed_by_kind_and_told_with_their_versions() {
    let world = World::up().await;
    let get = async |path: &str| answer(ask(&world, Method::GET, path)).await.1;
    let all = get("cache-policy").await;
    assert!(all.contains("<CachePolicySummary><Type>managed</Type><CachePolicy><Id>c1</Id>"), "{all}");
    assert_eq!(element(&all, "Quantity"), "3");
    let managed = get("cache-policy?Type=managed").await;
    assert_eq!((element(&managed, "Name"), element(&managed, "Type")), ("Managed-One", "managed"));
    let second = get("cache-policy?Type=custom&MaxItems=1").await;
    assert_eq!((element(&second, "Id"), element(&second, "Type")), ("c2", "custom"));
    assert_eq!(element(&get("cache-policy?MaxItems=1").await, "NextMarker"), "c1");
    let one = ask(&world, Method::GET, "origin-request-policy/o1").send().await.unwrap();
    assert_eq!(etag(&one).len(), 14);
    let headers = "<Headers><Quantity>1</Quantity><Items><Name>X-A</Name></Items></Headers>";
    assert!(one.text().await.unwrap().contains(headers));
    let config = get("response-headers-policy/r1/config").await;
    for (list, member) in [("Headers", "Header"), ("Methods", "Method"), ("Origins", "Origin")] {
        let items = format!("<AccessControlAllow{list}><Quantity>1</Quantity><Items><{member}>X-A</{member}></Items>");
        assert!(config.contains(&items), "{config}");
    }
    assert!(config.contains("<ResponseHeadersPolicyCustomHeader><Header>X-B</Header>"), "{config}");
}

#[tokio::test]
async fn who_names_a_policy_or_trusts_a_key_group_is_listed() {
    let world = World::up().await;
    let get = async |path: &str| answer(ask(&world, Method::GET, path)).await;
    let (status, users) = get("distributionsByCachePolicyId/658327ea-f89d-4fab-a63d-7e88639e58f6").await;
    assert!(status == 200 && users.contains("<Items><DistributionId>E2DEMO</DistributionId></Items>"), "{users}");
    let (status, nobody) = get("distributionsByOriginRequestPolicyId/o1").await;
    assert_eq!((status, element(&nobody, "Quantity"), element(&nobody, "IsTruncated")), (200, "0", "false"));
    for (path, code) in [
        ("distributionsByCachePolicyId/none", "NoSuchCachePolicy"),
        ("distributionsByKeyGroupId/none", "NoSuchResource"),
    ] {
        let (status, said) = get(path).await;
        assert_eq!((status, element(&said, "Code")), (404, code), "{path}");
    }
}

#[tokio::test]
async fn tags_of_a_distribution_are_kept() {
    let world = World::up().await;
    let arn = "tagging?Resource=arn:aws:cloudfront::123456789012:distribution/E2DEMO";
    let list = async || answer(ask(&world, Method::GET, arn)).await.1;
    assert!(list().await.contains("<Items></Items>"));
    let change = async |operation: &str, body: &str| {
        answer(ask(&world, Method::POST, &format!("{arn}&Operation={operation}")).body(body.to_owned())).await.0
    };
    let tags = "<Tags><Items><Tag><Key>a</Key><Value>1</Value></Tag><Tag><Key>b</Key></Tag></Items></Tags>";
    assert_eq!(change("Tag", tags).await, 204);
    assert!(list().await.contains("<Tag><Key>a</Key><Value>1</Value></Tag><Tag><Key>b</Key><Value></Value></Tag>"));
    assert_eq!(change("Untag", "<TagKeys><Items><Key>a</Key></Items></TagKeys>").await, 204);
    assert!(list().await.contains("<Items><Tag><Key>b</Key>"));
    assert_eq!(change("Other", "<Tags/>").await, 400);
}

#[tokio::test]
async fn refusals_are_aws_errors() {
    let world = World::up().await;
    let wrong = [
        ("", "MissingBody"),
        ("<InvalidationBatch>", "MalformedXML"),
        ("{\"Paths\": []}", "MalformedXML"),
        ("<InvalidationBatch><CallerReference>a</CallerReference></InvalidationBatch>", "MalformedXML"),
        (&BY_BOTO3.replace("<Quantity>2", "<Quantity>3"), "InconsistentQuantities"),
        (&BY_BOTO3.replace("/images/*", "images"), "InvalidArgument"),
        (&BY_BOTO3.replace("/images/*", "&xxe;"), "MalformedXML"),
    ];
    for (body, code) in wrong {
        let (status, said) = create(&world, body).await;
        assert_eq!((status, element(&said, "Code"), element(&said, "Type")), (400, code, "Sender"), "{body}");
    }
    for (method, path, status, code) in [
        (Method::GET, "distribution/E0NONE", 404, "NoSuchDistribution"),
        (Method::GET, "distribution/E2DEMO/invalidation/I0", 404, "NoSuchInvalidation"),
        (Method::GET, "distribution/E0NONE/config", 404, "NoSuchDistribution"),
        (Method::PUT, "distribution/E2DEMO/config", 400, "MissingBody"),
        (Method::GET, "key-group/none", 404, "NoSuchResource"),
        (Method::DELETE, "public-key/K1", 400, "InvalidIfMatchVersion"),
        (Method::POST, "distribution", 501, "NotImplemented"),
        (Method::DELETE, "distribution/E2DEMO", 501, "NotImplemented"),
        (Method::GET, "tagging?Resource=x", 404, "NoSuchResource"),
        (Method::GET, "cache-policy/none", 404, "NoSuchCachePolicy"),
        (Method::GET, "response-headers-policy?Type=other", 400, "InvalidArgument"),
        (Method::POST, "cache-policy", 501, "NotImplemented"),
    ] {
        let (found, said) = answer(ask(&world, method, path)).await;
        assert_eq!((found, element(&said, "Code")), (status, code), "{path}");
    }
    assert_eq!(told(&world), 0);
}

#[tokio::test]
async fn a_request_that_a_page_of_a_browser_can_send_is_refused() {
    let world = World::up().await;
    let url = format!("{}/2020-05-31/distribution/E2DEMO/invalidation", world.base);
    for header in ["", "Bearer", &format!("Bearer {TOKEN}"), "Basic AWS4-HMAC-SHA256 "] {
        let request = world.client.post(&url).header("authorization", header).body(BY_BOTO3);
        let (status, said) = answer(request).await;
        assert_eq!((status, element(&said, "Code")), (403, "MissingAuthenticationToken"), "{header}");
    }
    assert_eq!(told(&world), 0);
}
