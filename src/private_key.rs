//! The private half of a key group's key: made, read, and used to sign as the owner of an app would.
//!
//! Nothing here is on a request's way; edges know public keys alone ([`cdn_core::signing`]).

use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use anyhow::Context as _;
use cdn_core::signing::{Hash, PublicKey};
use clap::ValueEnum;
use p256::ecdsa::{DerSignature, SigningKey, signature::hazmat::PrehashSigner as _};
use rand_chacha::ChaCha8Rng;
use rsa::{
    pkcs1::DecodeRsaPrivateKey as _,
    pkcs1v15,
    pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, EncodePublicKey as _, LineEnding},
    signature::{SignatureEncoding as _, Signer as _},
};
use sha1::{Digest as _, Sha1};
use sha2::Sha256;

/// Kinds of keys that CloudFront takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyKind {
    /// RSA of 2048 bits.
    #[default]
    Rsa,
    /// ECDSA over P-256.
    Ecdsa,
}

/// A private key.
pub(crate) enum PrivateKey {
    Rsa(Box<rsa::PrivateKey>),
    P256(SigningKey),
}

impl PrivateKey {
    /// A new one. Not from the world's seed: whoever knew that could sign.
    pub(crate) fn generate(kind: KeyKind) -> anyhow::Result<Self> {
        let mut random = rand::rng();
        Ok(match kind {
            KeyKind::Rsa => Self::Rsa(Box::new(rsa::PrivateKey::new(&mut random, 2048).context("cannot make a key")?)),
            KeyKind::Ecdsa => Self::P256(p256::elliptic_curve::Generate::generate_from_rng(&mut random)),
        })
    }

    /// One of ECDSA that `random` draws: for scenarios that are to be the same again, and for nothing that is private.
    pub(crate) fn drawn(random: &mut ChaCha8Rng) -> Self {
        Self::P256(p256::elliptic_curve::Generate::generate_from_rng(random))
    }

    /// Reads PEM: PKCS #8, and what openssl writes by itself (PKCS #1 for RSA, SEC 1 for ECDSA).
    ///
    /// # Errors
    /// It is none of these.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text, &path.display().to_string())
    }

    /// The same of a text that is called `name`.
    ///
    /// # Errors
    /// It is none of these.
    pub(crate) fn parse(text: &str, name: &str) -> anyhow::Result<Self> {
        let rsa = || rsa::PrivateKey::from_pkcs8_pem(text).ok().or_else(|| rsa::PrivateKey::from_pkcs1_pem(text).ok());
        let p256 = || {
            let secret = p256::SecretKey::from_pkcs8_pem(text).ok();
            secret.or_else(|| p256::SecretKey::from_sec1_pem(text).ok()).map(SigningKey::from)
        };
        let key = rsa().map(|key| Self::Rsa(Box::new(key))).or_else(|| p256().map(Self::P256));
        key.with_context(|| {
            let what = if text.contains("ENCRYPTED") { "an encrypted key" } else { "no private key of RSA or P-256" };
            format!("{name}: this is {what}; a private key in PEM is needed")
        })
    }

    /// Writes it to a new file, readable by the user alone.
    pub(crate) fn write_new(&self, path: &Path) -> anyhow::Result<()> {
        let pem = self.private_pem()?;
        let file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path);
        let mut file = file.with_context(|| format!("cannot create {}", path.display()))?;
        file.write_all(pem.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
    }

    /// All of it in PEM.
    pub(crate) fn private_pem(&self) -> anyhow::Result<String> {
        let pem = match self {
            Self::Rsa(key) => key.to_pkcs8_pem(LineEnding::LF),
            Self::P256(key) => p256::SecretKey::from(key).to_pkcs8_pem(LineEnding::LF),
        };
        Ok(pem.context("a private key")?.to_string())
    }

    /// The public half in PEM.
    pub(crate) fn public_pem(&self) -> anyhow::Result<String> {
        let pem = match self {
            Self::Rsa(key) => key.to_public_key().to_public_key_pem(LineEnding::LF),
            Self::P256(key) => p256::PublicKey::from(key.verifying_key()).to_public_key_pem(LineEnding::LF),
        };
        pem.context("a public key")
    }

    /// An id for the public half that looks like CloudFront's: `K` and thirteen characters, of which the key is the only
    /// source, so that nobody has to remember it.
    pub(crate) fn id(&self) -> anyhow::Result<String> {
        let digest = Sha256::digest(self.public_pem()?.as_bytes());
        let text = data_encoding::BASE32_NOPAD.encode(&digest);
        Ok(format!("K{}", text.get(..13).unwrap_or_default()))
    }

    /// The public half as edges know it.
    pub(crate) fn public(&self) -> anyhow::Result<PublicKey> {
        Ok(PublicKey::from_pem(&self.public_pem()?)?)
    }

    /// Signs `message` as CloudFront wants it.
    pub(crate) fn sign(&self, hash: Hash, message: &[u8]) -> anyhow::Result<Vec<u8>> {
        Ok(match self {
            Self::Rsa(key) => match hash {
                Hash::Sha1 => pkcs1v15::SigningKey::<Sha1>::new(key.as_ref().clone()).try_sign(message)?.to_vec(),
                Hash::Sha256 => pkcs1v15::SigningKey::<Sha256>::new(key.as_ref().clone()).try_sign(message)?.to_vec(),
            },
            Self::P256(key) => {
                let signature: DerSignature = match hash {
                    // A hash that is shorter than the field is the same number with zeros before it.
                    Hash::Sha1 => key.sign_prehash(&[&[0; 12][..], &Sha1::digest(message)].concat())?,
                    Hash::Sha256 => key.sign_prehash(&Sha256::digest(message))?,
                };
                signature.as_bytes().to_vec()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use cdn_core::signing::Verifier as _;
    use edge_node::SignatureLibraries;

    use super::*;

    #[test]
    fn what_is_signed_verifies_and_what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        for (kind, name) in [(KeyKind::Rsa, "rsa"), (KeyKind::Ecdsa, "ecdsa")] {
            let path = dir.path().join(name);
            let key = PrivateKey::generate(kind).unwrap();
            key.write_new(&path).unwrap();
            assert!(key.write_new(&path).is_err(), "a key is never overwritten");
            let read = PrivateKey::read(&path).unwrap();
            assert_eq!(read.id().unwrap(), key.id().unwrap());
            for hash in [Hash::Sha1, Hash::Sha256] {
                let signature = read.sign(hash, b"policy").unwrap();
                assert!(SignatureLibraries.verify(&key.public().unwrap(), hash, b"policy", &signature));
                assert!(!SignatureLibraries.verify(&key.public().unwrap(), hash, b"other", &signature));
            }
        }
    }
}
