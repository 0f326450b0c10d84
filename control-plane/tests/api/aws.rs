//! CloudFront's own API, asked in the words that boto3 and the AWS command line send.

use reqwest::{Method, RequestBuilder};

use crate::support::{TOKEN, World, wait_until};

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
    assert_eq!(response.headers()["content-type"], "text/xml");
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
    assert_eq!((status, element(&other, "Code")), (400, "InvalidArgument"));
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
async fn distributions_are_listed_with_their_names() {
    let world = World::up().await;
    let (status, list) = answer(ask(&world, Method::GET, "distribution")).await;
    assert_eq!((status, element(&list, "Quantity")), (200, "1"));
    let names = "<DomainName>e2demo.cdn.test</DomainName><Aliases><Quantity>1</Quantity><Items>\
                 <CNAME>www.demo.test</CNAME></Items></Aliases>";
    assert!(list.contains(names), "{list}");
    let (status, one) = answer(ask(&world, Method::GET, "distribution/E2DEMO")).await;
    assert_eq!((status, element(&one, "Status")), (200, "Deployed"));
    assert!(one.contains(names), "{one}");
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
        (Method::PUT, "distribution/E2DEMO/config", 501, "NotImplemented"),
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
