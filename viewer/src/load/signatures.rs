//! What users of a load show to be let in: a signature of a custom policy for everything that the host has, made anew when
//! half of its life is over, as an app does for its users' sessions.
//!
//! Decides what a bad one looks like. Which request shows which, and how long it is good for, is the workload's to say, and
//! the arithmetic is somebody else's ([`Sign`]).

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use cdn_core::signing::{COOKIES, credentials::PARAMETERS, encoding};
use http::{HeaderMap, HeaderValue, header};
use world::{Signature, scenario::Signing};

use super::lock;

/// Signs with a private key, as CloudFront wants it with SHA-1.
pub trait Sign: fmt::Debug + Send + Sync {
    /// The signature of a policy.
    ///
    /// # Errors
    /// In words.
    fn sign(&self, policy: &[u8]) -> Result<Vec<u8>, String>;
}

/// See the module.
pub(super) struct Signatures {
    signing: Signing,
    signer: Arc<dyn Sign>,
    host: String,
    made: Mutex<Option<Made>>,
}

/// What can be shown at the moment.
struct Made {
    /// When the good one ends, in Unix seconds.
    ends_at: i64,
    good: Parts,
    expired: Parts,
    forged: Parts,
}

/// A policy and its signature, encoded.
#[derive(Clone)]
struct Parts {
    policy: String,
    signature: String,
}

impl Signatures {
    pub(super) fn new(signing: Signing, signer: Arc<dyn Sign>, host: &str) -> Self {
        Self { signing, signer, host: host.to_owned(), made: Mutex::default() }
    }

    /// Lays `signature` over a request: into its path with query, or its headers.
    ///
    /// # Errors
    /// The key cannot sign, in words.
    pub(super) fn lay_over(
        &self,
        signature: Signature,
        path: &mut String,
        headers: &mut HeaderMap,
    ) -> Result<(), String> {
        let Some(Parts { policy, signature }) = self.parts(signature)? else { return Ok(()) };
        let key_id = &self.signing.key_id;
        let names = if self.signing.in_cookies { COOKIES } else { PARAMETERS };
        let [_, of_policy, of_signature, of_key, _] = names;
        let pairs = [(of_policy, &policy), (of_signature, &signature), (of_key, key_id)];
        let pairs = pairs.map(|(name, value)| format!("{name}={value}"));
        if self.signing.in_cookies {
            let line = HeaderValue::try_from(pairs.join("; ")).map_err(|error| error.to_string())?;
            headers.insert(header::COOKIE, line);
        } else {
            path.push(if path.contains('?') { '&' } else { '?' });
            path.push_str(&pairs.join("&"));
        }
        Ok(())
    }

    fn parts(&self, signature: Signature) -> Result<Option<Parts>, String> {
        if matches!(signature, Signature::Unasked | Signature::Missing) {
            return Ok(None);
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let now = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        let ends_at = |signature| self.signing.ends_at(now, signature).unwrap_or(now);
        let mut known = lock(&self.made);
        let made = match known.take().filter(|made| made.ends_at == ends_at(Signature::Good)) {
            Some(made) => made,
            None => {
                let good = self.signed(ends_at(Signature::Good))?;
                let expired = self.signed(ends_at(Signature::Expired))?;
                // Somebody who has seen a signature writes a longer life over it.
                let policy = encoding::encode(self.text(ends_at(Signature::Forged)).as_bytes());
                let forged = Parts { policy, signature: good.signature.clone() };
                Made { ends_at: ends_at(Signature::Good), good, expired, forged }
            }
        };
        let made = known.insert(made);
        Ok(match signature {
            Signature::Good => Some(made.good.clone()),
            Signature::Expired => Some(made.expired.clone()),
            Signature::Forged => Some(made.forged.clone()),
            Signature::Unasked | Signature::Missing => None,
        })
    }

    fn signed(&self, ends_at: i64) -> Result<Parts, String> {
        let policy = self.text(ends_at);
        let signature = encoding::encode(&self.signer.sign(policy.as_bytes())?);
        Ok(Parts { policy: encoding::encode(policy.as_bytes()), signature })
    }

    /// A policy for all that the host has, by either scheme and at any port.
    fn text(&self, ends_at: i64) -> String {
        format!(
            r#"{{"Statement":[{{"Resource":"http*://{}/*","Condition":{{"DateLessThan":{{"AWS:EpochTime":{ends_at}}}}}}}]}}"#,
            self.host
        )
    }
}

#[cfg(test)]
mod tests {
    use cdn_core::signing::{Credentials, Policy, PolicyText};

    use super::*;

    /// A signature that is the policy itself, so that one sees what was signed.
    #[derive(Debug)]
    struct Mirror;

    impl Sign for Mirror {
        fn sign(&self, policy: &[u8]) -> Result<Vec<u8>, String> {
            Ok(policy.to_vec())
        }
    }

    fn signatures(in_cookies: bool) -> Signatures {
        let signing = Signing {
            key_id: "K1".into(),
            private_key: world::scenario::PrivatePem(String::new()),
            in_cookies,
            lifetime: Duration::from_secs(600),
            expired: 0.0,
            forged: 0.0,
            unsigned: 0.0,
        };
        Signatures::new(signing, Arc::new(Mirror), "www.demo.test")
    }

    /// The policy that is shown, and what was signed.
    fn shown(in_cookies: bool, signature: Signature) -> Option<(Policy, Policy)> {
        let (mut path, mut headers) = ("/objects/1?a=b".to_owned(), HeaderMap::new());
        signatures(in_cookies).lay_over(signature, &mut path, &mut headers).unwrap();
        assert_eq!(cdn_core::signing::own_target(&path), "/objects/1?a=b");
        let is_shown = signature != Signature::Missing;
        assert_eq!(headers.contains_key(header::COOKIE), is_shown && in_cookies);
        assert_eq!(path != "/objects/1?a=b", is_shown && !in_cookies);
        let credentials = Credentials::of(&path, &headers).ok()?;
        assert_eq!(credentials.key_id, "K1");
        let PolicyText::Custom(policy) = credentials.policy else { panic!("a custom policy") };
        let read = |text: &str| Policy::read(&encoding::decode(text).unwrap()).unwrap();
        Some((read(policy), read(credentials.signature)))
    }

    #[test]
    fn each_kind_of_signature_is_what_it_says() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
        for in_cookies in [false, true] {
            let (policy, signed) = shown(in_cookies, Signature::Good).unwrap();
            assert!(policy == signed && (290..=610).contains(&(policy.ends_at - now)), "{policy:?}");
            let (policy, signed) = shown(in_cookies, Signature::Expired).unwrap();
            assert!(policy == signed && (590..=910).contains(&(now - policy.ends_at)), "{policy:?}");
            let (policy, signed) = shown(in_cookies, Signature::Forged).unwrap();
            assert!(policy.ends_at > signed.ends_at, "it was signed for less");
        }
        assert_eq!(shown(false, Signature::Missing), None);
    }

    #[test]
    fn a_signature_is_made_once_for_half_of_its_life() {
        let signatures = signatures(false);
        let shown = || {
            let mut path = "/a".to_owned();
            signatures.lay_over(Signature::Good, &mut path, &mut HeaderMap::new()).unwrap();
            path
        };
        let made = || lock(&signatures.made).as_ref().map(|made| made.ends_at);
        shown();
        let first = made();
        lock(&signatures.made).as_mut().unwrap().good.signature = "kept".to_owned();
        assert!(shown().contains("Signature=kept") || made() != first, "it is not made again in its first half");
        lock(&signatures.made).as_mut().unwrap().ends_at = 0;
        assert!(!shown().contains("Signature=kept") && made() != Some(0));
    }
}
