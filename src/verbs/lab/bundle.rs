//! What a student hands in: one document, sealed.
//!
//! Without a key the seal is a digest: it shows that the bundle is whole, and nothing else, since whoever changes a bundle
//! can make it anew. With a key that a teacher handed out it is an HMAC, and shows that whoever sealed it had the key. The
//! result inside was made on the student's machine and proves nothing either way, so grading plays everything again.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Context as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::play::Marks;
use crate::talk::VerbError;

/// The largest bundle that is read, in bytes.
const BYTES_MAX: u64 = 1 << 20;

/// See the module.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bundle {
    pub(super) lab: String,
    /// Of `iso`.
    pub(super) version: String,
    pub(super) student: String,
    /// What the result was made with.
    pub(super) seed: u64,
    /// How the router is started.
    pub(super) router: String,
    /// Texts by name.
    pub(super) files: BTreeMap<String, String>,
    /// What it came to on the student's machine.
    pub(super) marks: Marks,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    bundle: Bundle,
    seal: String,
}

/// What bundles are sealed with.
#[derive(Debug)]
pub(super) enum Seal {
    /// Nothing that others do not have.
    Digest,
    /// A key.
    Key(Vec<u8>),
}

impl Seal {
    /// With the key in a file, if there is one.
    pub(super) fn of(file: Option<&Path>) -> Result<Self, VerbError> {
        let Some(file) = file else { return Ok(Self::Digest) };
        let key = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let key = key.trim_ascii().to_vec();
        if key.is_empty() {
            return Err(VerbError::Usage(format!("{} is empty, and a key is not", file.display())));
        }
        Ok(Self::Key(key))
    }

    fn over(&self, text: &[u8]) -> String {
        match self {
            Self::Digest => format!("sha256:{}", data_encoding::HEXLOWER.encode(&Sha256::digest(text))),
            Self::Key(key) => {
                let mut mac =
                    Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| unreachable!("a key of any length"));
                mac.update(text);
                format!("hmac-sha256:{}", data_encoding::HEXLOWER.encode(&mac.finalize().into_bytes()))
            }
        }
    }
}

impl Bundle {
    /// The document, with its seal.
    pub(super) fn sealed(self, seal: &Seal) -> Result<String, VerbError> {
        let seal = seal.over(&serde_json::to_vec(&self)?);
        Ok(serde_json::to_string_pretty(&Sealed { bundle: self, seal })? + "\n")
    }

    /// Reads a bundle, or says why it is refused.
    pub(super) fn read(path: &Path, seal: &Seal) -> Result<Self, String> {
        let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
        if length > BYTES_MAX {
            return Err(format!("refused: {length} bytes, and a bundle has {BYTES_MAX} at most"));
        }
        let text = fs::read(path).map_err(|error| error.to_string())?;
        let Sealed { bundle, seal: said } =
            serde_json::from_slice(&text).map_err(|error| format!("refused: no bundle: {error}"))?;
        let whole = serde_json::to_vec(&bundle).map_err(|error| error.to_string())?;
        if seal.over(&whole) != said {
            let kind = said.split(':').next().unwrap_or_default();
            return Err(match (seal, kind) {
                (Seal::Key(_), "sha256") => "refused: it is not sealed with a key".into(),
                (Seal::Digest, "hmac-sha256") => "refused: it is sealed with a key, which --key names".into(),
                _ => "refused: it was changed after it was sealed".into(),
            });
        }
        for name in bundle.files.keys().chain([&bundle.student]) {
            plain_name(name)?;
        }
        Ok(bundle)
    }
}

/// Refuses names that could be a path, or hidden.
pub(super) fn plain_name(name: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | ' ');
    if name.is_empty() || name.len() > 100 || name.starts_with('.') || !name.chars().all(is_plain) {
        return Err(format!("refused: {name:?} is no plain name"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> Bundle {
        Bundle {
            lab: "cdn-routing".into(),
            version: "0".into(),
            student: "ada".into(),
            seed: 1,
            router: "python3 router.py".into(),
            files: [("router.py".to_owned(), "print(1)".to_owned())].into(),
            marks: Marks {
                score: 71.123_456_789,
                p95_ms: 0.1,
                dead_picks: 0,
                overload_s: 3,
                checks: vec![],
                outcomes: Default::default(),
            },
        }
    }

    #[test]
    fn a_bundle_comes_back_and_one_that_was_changed_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ada.bundle");
        let read = |text: &str, seal: &Seal| {
            fs::write(&path, text).unwrap();
            Bundle::read(&path, seal)
        };
        let key = Seal::Key(b"secret".to_vec());
        for seal in [&Seal::Digest, &key] {
            let text = bundle().sealed(seal).unwrap();
            let back = read(&text, seal).unwrap();
            assert_eq!((back.student, back.files), (bundle().student, bundle().files));
            for (from, to) in [("print(1)", "print(2)"), ("71.1", "99.1"), ("\"ada\"", "\"bob\"")] {
                assert!(text.contains(from));
                let why = read(&text.replace(from, to), seal).unwrap_err();
                assert_eq!(why, "refused: it was changed after it was sealed", "{to}");
            }
        }
        let (plain, keyed) = (bundle().sealed(&Seal::Digest).unwrap(), bundle().sealed(&key).unwrap());
        assert_eq!(read(&plain, &key).unwrap_err(), "refused: it is not sealed with a key");
        assert_eq!(read(&keyed, &Seal::Digest).unwrap_err(), "refused: it is sealed with a key, which --key names");
        assert!(read(&keyed, &Seal::Key(b"other".to_vec())).is_err());
        assert!(read("{}", &key).unwrap_err().starts_with("refused: no bundle"));
    }

    #[test]
    fn a_file_is_unpacked_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("eve.bundle");
        for name in ["../router.py", "/etc/passwd", ".bashrc", "a/b", ""] {
            let bundle = Bundle { files: [(name.to_owned(), String::new())].into(), ..bundle() };
            fs::write(&path, bundle.sealed(&Seal::Digest).unwrap()).unwrap();
            assert!(Bundle::read(&path, &Seal::Digest).unwrap_err().contains("no plain name"), "{name}");
        }
    }
}
