//! The vectors of signed URLs and cookies, and what may never pass.

use std::{net::IpAddr, sync::Arc};

use http::header;
use p256::ecdsa::{DerSignature, VerifyingKey, signature::hazmat::PrehashVerifier as _};
use proptest::prelude::*;
use serde_json::Value;
use sha1::{Digest as _, Sha1};
use sha2::Sha256;

use super::*;
use crate::cache_key::KeySeed;

/// Does the arithmetic as edges have it done.
struct Libraries;

impl Verifier for Libraries {
    fn verify(&self, key: &PublicKey, hash: Hash, message: &[u8], signature: &[u8]) -> bool {
        match key {
            PublicKey::Rsa(key) => {
                let parameters: &ring::signature::RsaParameters = match hash {
                    Hash::Sha1 => &ring::signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
                    Hash::Sha256 => &ring::signature::RSA_PKCS1_2048_8192_SHA256,
                };
                ring::signature::UnparsedPublicKey::new(parameters, key).verify(message, signature).is_ok()
            }
            PublicKey::P256(point) => {
                let key = VerifyingKey::from_sec1_bytes(point).unwrap();
                let Ok(signature) = DerSignature::try_from(signature) else { return false };
                let hash = match hash {
                    Hash::Sha1 => [&[0; 12][..], &Sha1::digest(message)].concat(),
                    Hash::Sha256 => Sha256::digest(message).to_vec(),
                };
                key.verify_prehash(&hash, &signature).is_ok()
            }
        }
    }
}

fn vectors(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn keys() -> TrustedKeys {
    let file = vectors(include_str!("../../tests/vectors/keys.json"));
    let keys = file["keys"].as_object().unwrap().values();
    keys.filter(|key| key["in_trusted_group"] == true)
        .map(|key| {
            let pem = key["public_key_pem"].as_str().unwrap();
            (key["key_pair_id"].as_str().unwrap().to_owned(), PublicKey::from_pem(pem).unwrap())
        })
        .collect()
}

fn nothing_verified() -> VerifiedPolicies {
    VerifiedPolicies::new(100)
}

/// Judges a GET of `url` with `cookies` from `client`.
fn judged(
    verified: &mut VerifiedPolicies,
    now: i64,
    url: &str,
    cookies: Option<&str>,
    client: &str,
) -> Result<(), Refusal> {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (host, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let cookies = cookies.map(|cookies| (header::COOKIE, cookies.parse().unwrap()));
    let headers = HeaderMap::from_iter(cookies);
    let client: IpAddr = client.parse().unwrap();
    let request = SignedRequest { scheme, host, target, headers: &headers, client };
    let now = WallTime::from_unix_secs(now);
    let keys = keys();
    let claim = Claim::read(&keys, KeySeed::new(7), request)?;
    let policy = match verified.get(now, claim.digest()) {
        Some(policy) => policy,
        None => {
            let policy = Arc::new(claim.verify(&Libraries)?);
            verified.insert(now, claim.digest(), Arc::clone(&policy));
            policy
        }
    };
    claim.judge(now, &policy)
}

/// Plays the evaluations of a file of vectors, each twice, so that what is verified already is judged alike.
fn play(text: &str, evaluations: usize) {
    let file = vectors(text);
    let mut played = 0;
    for case in file["cases"].as_array().unwrap() {
        for evaluation in case["evaluate"].as_array().unwrap() {
            let text = |key: &str| evaluation[key].as_str().or_else(|| case[key].as_str());
            let url = text("request_url").or_else(|| text("signed_url")).unwrap();
            let client = text("client_ip").unwrap_or("203.0.113.9");
            let now = evaluation["now_epoch"].as_i64().unwrap();
            let mut verified = nothing_verified();
            for round in ["first", "second"] {
                let outcome = judged(&mut verified, now, url, text("cookie_header"), client);
                let what = format!("{} at {now}, {round}: {outcome:?}", case["id"]);
                match evaluation["expect"].as_str().unwrap() {
                    "allow" => assert!(outcome.is_ok(), "{what}"),
                    _ => {
                        let body = refusal_body(outcome.as_ref().unwrap_err().reason()).unwrap();
                        let word = |key: &str| evaluation["error"][key].as_str().unwrap();
                        let inside = format!("<Code>{}</Code><Message>{}</Message>", word("code"), word("message"));
                        assert!(body.contains(&inside), "{what}");
                    }
                }
            }
            played += 1;
        }
    }
    assert_eq!(played, evaluations);
}

#[test]
fn signed_urls_are_judged_as_the_vectors_say() {
    play(include_str!("../../tests/vectors/signed_url.json"), 23);
}

#[test]
fn signed_cookies_are_judged_as_the_vectors_say() {
    play(include_str!("../../tests/vectors/signed_cookie.json"), 8);
}

fn signed_url(id: &str) -> String {
    let file = vectors(include_str!("../../tests/vectors/signed_url.json"));
    let case = file["cases"].as_array().unwrap().iter().find(|case| case["id"] == id).unwrap().clone();
    case["signed_url"].as_str().unwrap().to_owned()
}

#[test]
fn bodies_have_the_lengths_that_were_observed() {
    let lengths = [
        (Refusal::MissingKey, 146),
        (Refusal::UnknownKey(String::new()), 106),
        (Refusal::MalformedSignature, 131),
        (Refusal::MalformedPolicy(InvalidPolicy::Encoding), 116),
        (Refusal::MissingPolicy, 110),
    ];
    for (refusal, length) in lengths {
        assert_eq!(refusal_body(refusal.reason()).unwrap().len(), length, "{refusal:?}");
    }
}

#[test]
fn a_url_signed_without_the_port_passes_with_one() {
    let url = signed_url("url-canned-sha1").replace(".net/", ".net:4443/");
    assert!(judged(&mut nothing_verified(), 1_893_455_999, &url, None, "203.0.113.9").is_ok());
}

#[test]
fn a_flood_of_bad_signatures_is_not_remembered() {
    let mut verified = nothing_verified();
    let url = signed_url("url-canned-sha1");
    for at in 0..50 {
        let changed = url.replace("/images/", &format!("/images{at}/"));
        assert!(judged(&mut verified, 1_893_455_999, &changed, None, "203.0.113.9").is_err());
    }
    assert!(verified.is_empty());
    assert!(judged(&mut verified, 1_893_455_999, &url, None, "203.0.113.9").is_ok());
    assert_eq!(verified.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_url_with_a_flipped_byte_never_passes(
        id in prop::sample::select(vec!["url-canned-sha1", "url-custom-sha1-all-conditions", "url-canned-ecdsa-sha256"]),
        at in any::<prop::sample::Index>(),
        to in "[!-~]",
    ) {
        let url = signed_url(id);
        let from = url.find("://").unwrap() + 3;
        let mut bytes = url.clone().into_bytes();
        let at = from + at.index(bytes.len() - from);
        prop_assume!(bytes[at] != to.as_bytes()[0]);
        bytes[at] = to.as_bytes()[0];
        let changed = String::from_utf8(bytes).unwrap();
        let outcome = judged(&mut nothing_verified(), 1_893_455_000, &changed, None, "192.0.2.77");
        // A custom policy says itself which hosts and paths it covers; there only what is signed may not change.
        let is_covered = id == "url-custom-sha1-all-conditions" && url.split_once('?').unwrap().0.len() > at;
        prop_assert!(outcome.is_err() || is_covered, "{changed}");
    }
}
