//! Signed URLs, and what it costs to verify one for the first time.

use std::{path::Path, process::Command, time::Instant};

use cdn_core::signing::{Hash, PublicKey, TrustedKeys, Verifier as _, encoding};
use edge_node::SignatureLibraries;
use p256::ecdsa::{DerSignature, SigningKey, signature::Signer as _};

use crate::load::HOST;

const KEY_ID: &str = "K2BENCH";

fn key() -> SigningKey {
    SigningKey::from_slice(&[7; 32]).expect("a key")
}

/// Who may sign.
pub(crate) fn keys() -> TrustedKeys {
    let public = PublicKey::P256(key().verifying_key().to_sec1_point(false).as_bytes().into());
    TrustedKeys::from([(KEY_ID.to_owned(), public)])
}

/// `path` with the parameters of a signature under a canned policy that ends in 2038.
pub(crate) fn target(path: &str) -> String {
    let resource = format!("http://{HOST}{path}");
    let policy = policy(&resource);
    let signature: DerSignature = key().sign(policy.as_bytes());
    let signature = encoding::encode(signature.as_bytes());
    format!("{path}?Expires=2147483647&Signature={signature}&Key-Pair-Id={KEY_ID}&Hash-Algorithm=SHA256")
}

fn policy(resource: &str) -> String {
    format!(
        r#"{{"Statement":[{{"Resource":"{resource}","Condition":{{"DateLessThan":{{"AWS:EpochTime":2147483647}}}}}}]}}"#
    )
}

/// Prints what verifying a signature with a new key of RSA-2048 takes, SHA-1 as CloudFront's by default.
pub(crate) fn measure_verification() {
    const TIMES: usize = 2_000;
    println!("\nRSA-2048 over SHA-1, one verification");
    let Some((key, message, signature)) = rsa_signature() else {
        println!("openssl is not installed");
        return;
    };
    let mut all: Vec<f64> = (0..TIMES)
        .map(|_| {
            let began = Instant::now();
            assert!(SignatureLibraries.verify(&key, Hash::Sha1, &message, &signature), "it is a good one");
            began.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    all.sort_by(f64::total_cmp);
    println!("P50 {:.1} us, P99 {:.1} us", all[TIMES / 2], all[TIMES * 99 / 100]);
}

/// A public key, a policy, and the signature of openssl.
fn rsa_signature() -> Option<(PublicKey, Vec<u8>, Vec<u8>)> {
    let folder = tempfile::tempdir().ok()?;
    let openssl = |args: &[&str]| {
        let status = Command::new("openssl").current_dir(folder.path()).args(args).output().ok()?.status;
        status.success().then_some(())
    };
    let read = |name: &str| std::fs::read(Path::new(folder.path()).join(name)).ok();
    let message = policy(&format!("http://{HOST}/private/*"));
    std::fs::write(folder.path().join("policy"), &message).ok()?;
    openssl(&["genrsa", "-out", "key.pem", "2048"])?;
    openssl(&["rsa", "-in", "key.pem", "-pubout", "-out", "public.pem"])?;
    openssl(&["dgst", "-sha1", "-sign", "key.pem", "-out", "signature", "policy"])?;
    let public = PublicKey::from_pem(&String::from_utf8(read("public.pem")?).ok()?).ok()?;
    Some((public, message.into_bytes(), read("signature")?))
}
