//! Public keys of key groups: RSA of 2048 bits with PKCS#1 v1.5, and ECDSA over P-256 with signatures in DER, each with
//! SHA-1 or SHA-256. SHA-1 is CloudFront's default.
//!
//! Whether a number is a signature is arithmetic that libraries do best, and those that do it fast come with sources of
//! randomness; so it is an argument here ([`Verifier`]), as time and seeds are.

use std::fmt;

use data_encoding::BASE64;
use spki::{
    ObjectIdentifier, SubjectPublicKeyInfoRef,
    der::{Decode as _, Reader as _, SliceReader, asn1::UintRef},
};

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
/// A point of P-256 with both its coordinates (SEC 1, section 2.3.3).
const POINT_BYTES: usize = 65;

/// How the policy is hashed before it is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hash {
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

impl Hash {
    /// The hash of this name in `Hash-Algorithm`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "SHA1" => Some(Self::Sha1),
            "SHA256" => Some(Self::Sha256),
            _ => None,
        }
    }

    /// Its name in `Hash-Algorithm`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A public key.
#[derive(Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// RSA: `RSAPublicKey` in DER (RFC 8017, appendix A.1.1).
    Rsa(Box<[u8]>),
    /// ECDSA over P-256: the point (SEC 1, section 2.3.3).
    P256(Box<[u8]>),
}

/// Does the arithmetic of signatures.
pub trait Verifier {
    /// Whether `signature` is that of `key` over `message`: PKCS#1 v1.5 for RSA, DER for ECDSA.
    fn verify(&self, key: &PublicKey, hash: Hash, message: &[u8], signature: &[u8]) -> bool;
}

/// Why a text is no public key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// It is no PEM of a public key.
    #[error("it is no PEM with -----BEGIN PUBLIC KEY-----")]
    Pem,
    /// What is inside is no public key.
    #[error("it is no SubjectPublicKeyInfo (RFC 5280)")]
    Der,
    /// It is a key of another kind.
    #[error("it is neither an RSA key of 2048 bits nor an ECDSA key over P-256")]
    Kind,
}

impl PublicKey {
    /// Reads a public key in PEM (RFC 7468, section 13).
    ///
    /// # Errors
    /// It is none, or one of a kind that CloudFront does not take.
    pub fn from_pem(text: &str) -> Result<Self, InvalidKey> {
        const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
        const END: &str = "-----END PUBLIC KEY-----";
        let (_, body) = text.split_once(BEGIN).ok_or(InvalidKey::Pem)?;
        let (body, _) = body.split_once(END).ok_or(InvalidKey::Pem)?;
        let body: String = body.split_ascii_whitespace().collect();
        let der = BASE64.decode(body.as_bytes()).map_err(|_| InvalidKey::Pem)?;
        let info = SubjectPublicKeyInfoRef::from_der(&der).map_err(|_| InvalidKey::Der)?;
        let bits = info.subject_public_key.as_bytes().ok_or(InvalidKey::Der)?;
        match info.algorithm.oid {
            RSA_ENCRYPTION if modulus_bits(bits) == Some(2048) => Ok(Self::Rsa(bits.into())),
            EC_PUBLIC_KEY if bits.len() == POINT_BYTES && info.algorithm.parameters_oid() == Ok(P256) => {
                Ok(Self::P256(bits.into()))
            }
            _ => Err(InvalidKey::Kind),
        }
    }

    /// `RSA 2048` or `ECDSA P-256`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RSA 2048",
            Self::P256(_) => "ECDSA P-256",
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

/// How many bits the modulus of an `RSAPublicKey` has.
fn modulus_bits(der: &[u8]) -> Option<usize> {
    let mut reader = SliceReader::new(der).ok()?;
    let read = |reader: &mut SliceReader<'_>| -> spki::der::Result<usize> {
        let modulus = UintRef::decode(reader)?;
        let _exponent = UintRef::decode(reader)?;
        let zeros = modulus.as_bytes().first().map_or(0, |first| first.leading_zeros());
        Ok(modulus.as_bytes().len() * 8 - zeros as usize)
    };
    reader.sequence(read).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EC: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEe2LZ26W2Awsng4tJp9lv9sow/czf\ncpiifmsNOAt8PHWggXfJGV6vDQaifLre4XF2kB0085n1SsOEDrqE/qoEww==\n-----END PUBLIC KEY-----\n";

    #[test]
    fn only_keys_that_cloudfront_takes_are_read() {
        assert_eq!(PublicKey::from_pem(EC).unwrap().kind(), "ECDSA P-256");
        assert_eq!(PublicKey::from_pem(&EC.replace("PUBLIC", "PRIVATE")), Err(InvalidKey::Pem));
        assert_eq!(PublicKey::from_pem(&EC.replace("cpii", "!!!!")), Err(InvalidKey::Pem));
        assert_eq!(PublicKey::from_pem(&EC.replace("MFkw", "AAAA")), Err(InvalidKey::Der));
        // Ed25519 (RFC 8410, section 10.1).
        let ed25519 = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----";
        assert_eq!(PublicKey::from_pem(ed25519), Err(InvalidKey::Kind));
    }
}
