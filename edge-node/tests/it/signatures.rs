//! Private content: what passes with a signature, what is refused without one, and what origin and key see of it.

use std::time::{SystemTime, UNIX_EPOCH};

use cdn_core::{
    Counter,
    signing::{PublicKey, TrustedKeys, encoding},
};
use p256::ecdsa::{DerSignature, SigningKey, signature::Signer as _};

use crate::support::{Running, Scripted, Setup, get, get_with, ok};

const KEY_ID: &str = "K2TEST";

fn key() -> SigningKey {
    SigningKey::from_slice(&[7; 32]).unwrap()
}

fn unix_secs(from_now: i64) -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64 + from_now
}

fn signature(policy: &str) -> String {
    let signature: DerSignature = key().sign(policy.as_bytes());
    encoding::encode(signature.as_bytes())
}

fn statement(resource: &str, from_now: i64) -> String {
    let ends_at = unix_secs(from_now);
    format!(
        r#"{{"Statement":[{{"Resource":"{resource}","Condition":{{"DateLessThan":{{"AWS:EpochTime":{ends_at}}}}}}}]}}"#
    )
}

/// A target for `http://www.demo.test`, signed with a canned policy that ends so many seconds from now.
fn canned(target: &str, from_now: i64) -> String {
    let policy = statement(&format!("http://www.demo.test{target}"), from_now);
    let delimiter = if target.contains('?') { '&' } else { '?' };
    let (expires, signature) = (unix_secs(from_now), signature(&policy));
    format!("{target}{delimiter}Expires={expires}&Signature={signature}&Key-Pair-Id={KEY_ID}&Hash-Algorithm=SHA256")
}

/// Cookies with a policy for everything below `http://www.demo.test/`.
fn cookies() -> String {
    let policy = statement("http://www.demo.test/*", 60);
    format!(
        "Cookie: theme=dark; CloudFront-Policy={}; CloudFront-Signature={}; CloudFront-Key-Pair-Id={KEY_ID}; \
         CloudFront-Hash-Algorithm=SHA256\r\n",
        encoding::encode(policy.as_bytes()),
        signature(&policy)
    )
}

/// Has every path of a distribution want a signature.
pub(crate) fn trust(setup: &mut Setup) {
    let public = PublicKey::P256(key().verifying_key().to_sec1_point(false).as_bytes().into());
    setup.spec.key_groups.insert("team".into(), TrustedKeys::from([(KEY_ID.to_owned(), public)]));
    setup.spec.default_behavior.trusted_key_groups = vec!["team".into()];
}

/// An edge whose every path wants a signature, before an origin that answers with the head it was sent.
async fn private() -> (Running, Scripted) {
    let origin = Scripted::start(|head, _| vec![ok("Cache-Control: max-age=60\r\n", head)]).await;
    let mut setup = Setup::new(origin.address);
    trust(&mut setup);
    setup.spec.default_behavior.origin_request_policy = cdn_core::policies::origin_request_policy("AllViewer").unwrap();
    (setup.start().await, origin)
}

#[tokio::test]
async fn what_is_not_signed_is_refused_in_cloudfronts_words() {
    let (edge, origin) = private().await;
    let refused = get(edge.address, "/a").await;
    assert_eq!((refused.status, refused.header("content-type").as_str()), (403, "text/xml"));
    assert_eq!(refused.header("x-cache"), "Error from cloudfront");
    assert_eq!(refused.header("x-iso-reason"), "signature_missing");
    assert_eq!(refused.body.len(), 146);
    let expired = get(edge.address, &canned("/a", -1)).await;
    assert_eq!((expired.status, expired.header("x-iso-reason").as_str()), (403, "signature_expired"));
    let other = get(edge.address, &canned("/a", 60).replace("/a", "/b")).await;
    assert_eq!((other.status, other.header("x-iso-reason").as_str()), (403, "signature_invalid"));
    assert_eq!((edge.count(Counter::EdgeSignaturesRefused), origin.requests()), (3, 0));
}

#[tokio::test]
async fn a_signature_is_neither_in_the_key_nor_seen_by_the_origin() {
    let (edge, origin) = private().await;
    let first = get(edge.address, &canned("/a?b=1", 60)).await;
    assert_eq!((first.status, first.header("x-cache").as_str()), (200, "Miss from cloudfront"));
    let sent = String::from_utf8(first.body).unwrap();
    assert!(sent.starts_with("GET /a?b=1 HTTP/1.1\r\n"), "{sent}");
    let second = get(edge.address, &canned("/a?b=1", 120)).await;
    assert_eq!((second.status, second.header("x-cache").as_str()), (200, "Hit from cloudfront"));
    let by_cookies = get_with(edge.address, "/c", &cookies()).await;
    let sent = String::from_utf8(by_cookies.body).unwrap().to_ascii_lowercase();
    assert!(sent.contains("cookie: theme=dark\r\n") && !sent.contains("cloudfront-policy"), "{sent}");
    assert_eq!(origin.requests(), 2);
}

#[tokio::test]
async fn a_signature_ends_by_the_edges_own_clock() {
    const HOUR_NS: i64 = 3_600_000_000_000;
    let (edge, _origin) = private().await;
    let url = canned("/a", 600);
    assert_eq!(get(edge.address, &url).await.status, 200);
    edge.handle.set_clock(HOUR_NS);
    let late = get(edge.address, &url).await;
    assert_eq!((late.status, late.header("x-iso-reason").as_str()), (403, "signature_expired"));
    edge.handle.set_clock(-HOUR_NS);
    assert_eq!(get(edge.address, &canned("/a", -600)).await.status, 200, "it is not known here that this is over");
    edge.handle.set_clock(0);
    assert_eq!(get(edge.address, &url).await.status, 200);
}

#[tokio::test]
async fn a_policy_is_verified_once() {
    let (edge, _origin) = private().await;
    let cookies = cookies();
    for segment in 0..5 {
        assert_eq!(get_with(edge.address, &format!("/video/{segment}.ts"), &cookies).await.status, 200);
    }
    assert_eq!(edge.count(Counter::EdgeSignaturesVerified), 1);
    assert_eq!(get_with(edge.address, "/video/0.ts?Expires=1", &cookies).await.status, 403, "a signed URL, then");
}
