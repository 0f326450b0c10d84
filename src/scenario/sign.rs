//! Signatures of a load: with which key its users' requests are signed, and how many show a bad one or none.

use std::path::{Path, PathBuf};

use world::{
    scenario::{Load, Paths, PrivatePem, Signing, Sizes},
    workload::path_of,
};

use super::file::LoadFile;
use crate::{
    diagnose::{KeyError, nearest_or_all},
    private_key::PrivateKey,
    quantity::Span,
    up::{Plan, pem_of},
};

/// How long a signature is good for where nothing is written.
const LIFETIME: Span = Span(std::time::Duration::from_secs(3600));

/// Checks how a load signs; `None` where it does not. `key` is that of the load, and files are looked for from `dir` on.
pub(super) fn signing_of(
    key: &str,
    file: &LoadFile,
    load: &Load,
    plan: &Plan,
    dir: &Path,
) -> Result<Option<Signing>, KeyError> {
    let key = |field: &str| format!("{key}.{field}");
    let shares = [("expired", file.expired), ("forged", file.forged), ("unsigned", file.unsigned)];
    let Some(sign) = &file.sign else {
        let is_written = |(field, share): (&'static str, Option<f64>)| share.map(|_| field);
        let others = [
            file.sign_by.as_ref().map(|_| "sign_by"),
            file.sign_key.as_ref().map(|_| "sign_key"),
            file.expires.map(|_| "expires"),
        ];
        return match shares.into_iter().find_map(is_written).or_else(|| others.into_iter().flatten().next()) {
            None => Ok(None),
            Some(field) => {
                Err(KeyError::new(&key(field), "nothing is signed here").hint("write sign = \"KEY_GROUP/KEY\" too"))
            }
        };
    };
    let (group, id) = sign.split_once('/').ok_or_else(|| {
        KeyError::new(&key("sign"), format!("{sign:?} names no key"))
            .hint("write KEY_GROUP/KEY, as [key_groups] has them")
    })?;
    let groups = &plan.file.key_groups;
    let keys = groups.get(group).ok_or_else(|| {
        let hint = nearest_or_all(group, groups.keys().map(String::as_str));
        KeyError { hint, ..KeyError::new(&key("sign"), format!("this world has no key group {group:?}")) }
    })?;
    let public = keys.get(id).ok_or_else(|| {
        let hint = nearest_or_all(id, keys.keys().map(String::as_str));
        KeyError { hint, ..KeyError::new(&key("sign"), format!("key group {group:?} has no key {id:?}")) }
    })?;
    let (field, path) = match &file.sign_key {
        Some(path) => ("sign_key", dir.join(path)),
        None => ("sign", beside(public)),
    };
    let refuse = |error: &dyn std::fmt::Display| {
        KeyError::new(&key(field), format!("{error}")).hint("sign_key = \"FILE\" names the private key, in PEM")
    };
    let (text, called) = match file.sign_key.as_deref().and_then(pem_of) {
        Some(text) => (text.to_owned(), "sign_key".to_owned()),
        None => {
            let called = path.display().to_string();
            (std::fs::read_to_string(&path).map_err(|error| refuse(&format!("cannot read {called}: {error}")))?, called)
        }
    };
    let private = PrivateKey::parse(&text, &called).map_err(|error| refuse(&error))?;
    let ours = private.public().map_err(|error| refuse(&error))?;
    // An object stands for all of its load: their paths differ in a number alone.
    let size = match (load.sizes, &load.paths) {
        (Sizes::Fixed(bytes), _) => Some(bytes),
        (Sizes::LogNormal { median, .. }, _) => Some(median),
        (Sizes::Origin, Paths::Trace(_)) => Some(1),
        (Sizes::Origin, _) => None,
    };
    let example = path_of(load, 1, size);
    let path = example.split('?').next().unwrap_or_default();
    let served = plan.cluster.distributions.iter().find(|served| **served.id() == *load.distribution);
    let trusted = served.and_then(|served| served.behavior_for(path).trusted_keys()?.get(id));
    match trusted {
        None => {
            let what = format!("the behavior that serves {path} does not ask for signatures of {sign}");
            return Err(KeyError::new(&key("sign"), what).hint(format!("trusted_key_groups = [{group:?}]")));
        }
        Some(trusted) if *trusted != ours => {
            return Err(refuse(&format!("{called} is not the private half of {sign}")));
        }
        Some(_) => {}
    }
    let mut checked = [0.0; 3];
    for ((field, share), checked) in shares.into_iter().zip(&mut checked) {
        *checked = share.unwrap_or(0.0);
        if !(0.0..=1.0).contains(checked) {
            return Err(KeyError::new(&key(field), format!("{checked} is not a share; write 0.1")));
        }
    }
    let [expired, forged, unsigned] = checked;
    if expired + forged + unsigned > 1.0 {
        return Err(KeyError::new(&key("expired"), "expired, forged and unsigned together are more than all requests"));
    }
    let lifetime = file.expires.unwrap_or(LIFETIME).0;
    if lifetime < std::time::Duration::from_secs(2) {
        return Err(KeyError::new(&key("expires"), "a signature ends with a whole second: at least 2s"));
    }
    let in_cookies = match file.sign_by.as_deref() {
        None | Some("url") => false,
        Some("cookies") => true,
        Some(other) => {
            return Err(KeyError::new(&key("sign_by"), format!("{other:?} is neither \"url\" nor \"cookies\"")));
        }
    };
    let (key_id, private_key) = (id.to_owned(), PrivatePem(text));
    Ok(Some(Signing { key_id, private_key, in_cookies, lifetime, expired, forged, unsigned }))
}

/// Where `iso keys new` puts the private half.
fn beside(public: &Path) -> PathBuf {
    let name = public.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.split('.').next().unwrap_or_default();
    public.with_file_name(format!("{stem}.private.pem"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{diagnose::Source, private_key::KeyKind};

    /// What a scenario whose `[load]` says `lines` comes to, beside a key pair in a folder of its own.
    fn staged(lines: &str) -> Result<Signing, String> {
        let dir = tempfile::tempdir().unwrap();
        let key = PrivateKey::generate(KeyKind::Ecdsa).unwrap();
        key.write_new(&dir.path().join("K1.private.pem")).unwrap();
        PrivateKey::generate(KeyKind::Ecdsa).unwrap().write_new(&dir.path().join("other.pem")).unwrap();
        std::fs::write(dir.path().join("K1.public.pem"), key.public_pem().unwrap()).unwrap();
        let text = format!(
            "[load]\nrps = 1\n{lines}\n[key_groups.team]\nK1 = \"K1.public.pem\"\n\
             [[distributions.demo.behaviors]]\npath = \"/objects/*\"\ntrusted_key_groups = [\"team\"]\n"
        );
        let source = Source { name: "t.toml".into(), text };
        let staged = crate::scenario::stage(source, dir.path(), None, None).map_err(|error| error.to_string())?;
        Ok(staged.scenario.loads[0].signing.clone().expect("it signs"))
    }

    #[test]
    fn a_load_signs_with_the_private_half_that_lies_beside_the_public_one() {
        let signing = staged("sign = \"team/K1\"\nsign_by = \"cookies\"\nexpires = \"1m\"\nforged = 0.25").unwrap();
        assert_eq!((signing.key_id.as_str(), signing.in_cookies, signing.forged), ("K1", true, 0.25));
        assert_eq!((signing.lifetime.as_secs(), signing.expired), (60, 0.0));
        assert_eq!(format!("{:?}", signing.private_key), "PrivatePem(..)", "no log has it");
    }

    #[test]
    fn what_cannot_be_signed_is_refused_with_a_word() {
        for (lines, complaint) in [
            ("expired = 0.1", "nothing is signed here"),
            ("sign = \"K1\"", "names no key"),
            ("sign = \"tame/K1\"", "did you mean `team`?"),
            ("sign = \"team/K2\"", "has no key \"K2\""),
            ("sign = \"team/K1\"\nsign_key = \"nobody.pem\"", "cannot read"),
            ("sign = \"team/K1\"\nsign_key = \"other.pem\"", "is not the private half"),
            ("sign = \"team/K1\"\npaths = \"/open\"", "does not ask for signatures"),
            ("sign = \"team/K1\"\nsign_by = \"header\"", "neither"),
            ("sign = \"team/K1\"\nexpired = 0.6\nforged = 0.6", "more than all"),
            ("sign = \"team/K1\"\nexpires = \"1s\"", "at least 2s"),
        ] {
            let error = staged(lines).unwrap_err();
            assert!(error.contains(complaint), "{lines}: {error}");
        }
    }
}
