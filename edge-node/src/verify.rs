//! The arithmetic of signatures of private content ([`cdn_core::signing`]), by libraries: ring for RSA, which is the fast
//! one, and p256 for ECDSA, because ring knows no ECDSA over SHA-1.

use cdn_core::signing::{Hash, PublicKey, Verifier};
use p256::ecdsa::{DerSignature, VerifyingKey, signature::hazmat::PrehashVerifier as _};
use ring::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, RsaParameters, UnparsedPublicKey,
};
use sha1::{Digest as _, Sha1};
use sha2::Sha256;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct SignatureLibraries;

impl Verifier for SignatureLibraries {
    fn verify(&self, key: &PublicKey, hash: Hash, message: &[u8], signature: &[u8]) -> bool {
        match key {
            PublicKey::Rsa(key) => {
                let parameters: &RsaParameters = match hash {
                    Hash::Sha1 => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
                    Hash::Sha256 => &RSA_PKCS1_2048_8192_SHA256,
                };
                UnparsedPublicKey::new(parameters, key).verify(message, signature).is_ok()
            }
            PublicKey::P256(point) => {
                let (Ok(key), Ok(signature)) =
                    (VerifyingKey::from_sec1_bytes(point), DerSignature::try_from(signature))
                else {
                    return false;
                };
                match hash {
                    // A hash that is shorter than the field is the same number with zeros before it (FIPS 186-5, 6.4.2).
                    Hash::Sha1 => {
                        let mut field = [0; 32];
                        field[12..].copy_from_slice(&Sha1::digest(message));
                        key.verify_prehash(&field, &signature).is_ok()
                    }
                    Hash::Sha256 => key.verify_prehash(&Sha256::digest(message), &signature).is_ok(),
                }
            }
        }
    }
}
