//! Public keys and key groups as CloudFront's API has them: what there is, who may be changed, and who is in use. Pure.
//!
//! What edges trust is [`KeyGroups`]; what else is said of keys and groups stands beside it. Keys and groups of a cluster
//! file, of which nothing else was said, are called by their ids.

use std::collections::BTreeMap;

use cdn_core::Instant;

use super::KeyGroups;

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// What whoever made it called the request.
    pub caller_reference: String,
    /// Its name.
    pub name: String,
    /// The key in PEM.
    pub pem: String,
    /// A comment.
    pub comment: String,
    /// When it was made.
    pub created: Instant,
}

/// A key group, its keys excepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyGroup {
    /// Its name.
    pub name: String,
    /// A comment.
    pub comment: String,
    /// When it was last changed.
    pub modified: Instant,
}

/// Why keys are not changed; each is one of CloudFront's codes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// There is no such key.
    #[error("the specified public key does not exist: {0}")]
    NoSuchPublicKey(String),
    /// There is no such group.
    #[error("the specified key group does not exist: {0}")]
    NoSuchKeyGroup(String),
    /// A group names a key that there is not.
    #[error("one or more of the public keys do not exist: {0}")]
    UnknownKeyInGroup(String),
    /// A group has at least one key.
    #[error("a key group has at least one public key")]
    EmptyGroup,
    /// Another key was made with this reference, or has this name.
    #[error("a public key with this CallerReference or Name exists already: {0}")]
    PublicKeyExists(String),
    /// Another group has this name.
    #[error("a key group with this name exists already: {0}")]
    KeyGroupExists(String),
    /// A key is in a group.
    #[error("the public key is in the key group {0}: take it out first")]
    PublicKeyInUse(String),
    /// Only the comment of a key may change.
    #[error("CallerReference, Name and EncodedKey of a public key cannot change")]
    Immutable,
    /// As many keys as allowed are there.
    #[error("there are {0} public keys, as many as allowed")]
    PublicKeysFull(usize),
    /// As many groups as allowed are there.
    #[error("there are {0} key groups, as many as allowed")]
    KeyGroupsFull(usize),
}

/// Every public key and key group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    trusted: KeyGroups,
    /// Keys of which more is known than that a group has them; also those that no group has.
    keys: BTreeMap<String, PublicKey>,
    /// Likewise.
    groups: BTreeMap<String, KeyGroup>,
}

impl Keys {
    /// What edges trust.
    pub const fn trusted(&self) -> &KeyGroups {
        &self.trusted
    }

    /// The same, to be changed by other means than CloudFront's.
    pub(super) const fn trusted_mut(&mut self) -> &mut KeyGroups {
        &mut self.trusted
    }

    /// Every public key by id, in a group or not.
    pub fn public_keys(&self) -> BTreeMap<String, PublicKey> {
        let in_groups = self.trusted.values().flatten().map(|(id, pem)| {
            let named = PublicKey {
                caller_reference: id.clone(),
                name: id.clone(),
                pem: pem.clone(),
                comment: String::new(),
                created: Instant::ZERO,
            };
            (id.clone(), named)
        });
        let mut all: BTreeMap<String, PublicKey> = in_groups.collect();
        all.extend(self.keys.iter().map(|(id, key)| (id.clone(), key.clone())));
        all
    }

    /// Every group by id, with the ids of its keys.
    pub fn key_groups(&self) -> BTreeMap<String, (KeyGroup, Vec<String>)> {
        let group = |(id, keys): (&String, &BTreeMap<String, String>)| {
            let named = || KeyGroup { name: id.clone(), comment: String::new(), modified: Instant::ZERO };
            let group = self.groups.get(id).cloned().unwrap_or_else(named);
            (id.clone(), (group, keys.keys().cloned().collect()))
        };
        self.trusted.iter().map(group).collect()
    }

    /// Makes a key.
    ///
    /// # Errors
    /// Its reference or name is taken, or there are `max` keys.
    pub fn create_key(&mut self, id: String, key: PublicKey, max: usize) -> Result<(), KeysError> {
        let all = self.public_keys();
        let is_same = |(other_id, other): &(&String, &PublicKey)| {
            **other_id == id || other.caller_reference == key.caller_reference || other.name == key.name
        };
        if let Some((other, _)) = all.iter().find(is_same) {
            return Err(KeysError::PublicKeyExists(other.clone()));
        }
        if all.len() >= max {
            return Err(KeysError::PublicKeysFull(all.len()));
        }
        self.keys.insert(id, key);
        Ok(())
    }

    /// Changes a key's comment.
    ///
    /// # Errors
    /// There is no such key, or something else of it would change.
    pub fn update_key(&mut self, id: &str, key: PublicKey) -> Result<(), KeysError> {
        let mut all = self.public_keys();
        let before = all.remove(id).ok_or_else(|| KeysError::NoSuchPublicKey(id.to_owned()))?;
        let PublicKey { comment, .. } = key.clone();
        // Whitespace around a PEM is no part of the key.
        let same_pem = before.pem.trim() == key.pem.trim();
        if !same_pem || before.caller_reference != key.caller_reference || before.name != key.name {
            return Err(KeysError::Immutable);
        }
        self.keys.insert(id.to_owned(), PublicKey { comment, ..before });
        Ok(())
    }

    /// Removes a key.
    ///
    /// # Errors
    /// There is no such key, or a group has it.
    pub fn delete_key(&mut self, id: &str) -> Result<(), KeysError> {
        if let Some((group, _)) = self.trusted.iter().find(|(_, keys)| keys.contains_key(id)) {
            return Err(KeysError::PublicKeyInUse(group.clone()));
        }
        self.keys.remove(id).map(drop).ok_or_else(|| KeysError::NoSuchPublicKey(id.to_owned()))
    }

    /// Makes a group of keys that are there.
    ///
    /// # Errors
    /// Its name is taken, there are `max` groups, a key is not there, or none is named.
    pub fn create_group(&mut self, id: String, group: KeyGroup, keys: &[String], max: usize) -> Result<(), KeysError> {
        self.check_name(&id, &group.name)?;
        if self.trusted.contains_key(&id) {
            return Err(KeysError::KeyGroupExists(id));
        }
        if self.trusted.len() >= max {
            return Err(KeysError::KeyGroupsFull(self.trusted.len()));
        }
        self.put_group(id, group, keys)
    }

    /// Changes a group as a whole.
    ///
    /// # Errors
    /// There is no such group, its name is another's, a key is not there, or none is named.
    pub fn update_group(&mut self, id: &str, group: KeyGroup, keys: &[String]) -> Result<(), KeysError> {
        if !self.trusted.contains_key(id) {
            return Err(KeysError::NoSuchKeyGroup(id.to_owned()));
        }
        self.check_name(id, &group.name)?;
        self.put_group(id.to_owned(), group, keys)
    }

    /// Removes a group; its keys stay.
    ///
    /// # Errors
    /// There is no such group.
    pub fn delete_group(&mut self, id: &str) -> Result<(), KeysError> {
        let keys = self.public_keys();
        if self.trusted.remove(id).is_none() {
            return Err(KeysError::NoSuchKeyGroup(id.to_owned()));
        }
        self.groups.remove(id);
        self.keys = keys;
        Ok(())
    }

    fn check_name(&self, id: &str, name: &str) -> Result<(), KeysError> {
        let groups = self.key_groups();
        let other = groups.iter().find(|(other, (group, _))| *other != id && group.name == name);
        other.map_or(Ok(()), |_| Err(KeysError::KeyGroupExists(name.to_owned())))
    }

    fn put_group(&mut self, id: String, group: KeyGroup, keys: &[String]) -> Result<(), KeysError> {
        let all = self.public_keys();
        let pem = |id: &String| {
            let key = all.get(id).ok_or_else(|| KeysError::UnknownKeyInGroup(id.clone()))?;
            Ok((id.clone(), key.pem.clone()))
        };
        let keys = keys.iter().map(pem).collect::<Result<BTreeMap<_, _>, _>>()?;
        if keys.is_empty() {
            return Err(KeysError::EmptyGroup);
        }
        // Those that leave a group are keys still.
        self.keys = all;
        self.trusted.insert(id.clone(), keys);
        self.groups.insert(id, group);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> PublicKey {
        let (caller_reference, pem) = (format!("ref-{name}"), format!("pem of {name}\n"));
        PublicKey { caller_reference, name: name.into(), pem, comment: String::new(), created: Instant::ZERO }
    }

    fn group(name: &str) -> KeyGroup {
        KeyGroup { name: name.into(), comment: String::new(), modified: Instant::ZERO }
    }

    /// A group `team` of a cluster file with the key `K1`.
    fn keys() -> Keys {
        let mut keys = Keys::default();
        keys.trusted_mut().insert("team".into(), [("K1".to_owned(), "pem of K1".to_owned())].into());
        keys
    }

    #[test]
    fn keys_of_a_cluster_file_are_called_by_their_ids() {
        let mut keys = keys();
        assert_eq!(keys.public_keys()["K1"].name, "K1");
        assert_eq!(keys.key_groups()["team"], (group("team"), vec!["K1".to_owned()]));
        assert_eq!(keys.delete_key("K1"), Err(KeysError::PublicKeyInUse("team".into())));
        keys.create_key("K2".into(), key("two"), 10).unwrap();
        keys.update_group("team", group("team"), &["K2".into()]).unwrap();
        assert_eq!(keys.trusted()["team"].keys().collect::<Vec<_>>(), ["K2"]);
        assert_eq!(keys.public_keys()["K1"].pem, "pem of K1", "what leaves a group is a key still");
        keys.delete_key("K1").unwrap();
        keys.delete_group("team").unwrap();
        assert_eq!(keys.public_keys().keys().collect::<Vec<_>>(), ["K2"]);
        assert_eq!(keys.delete_group("team"), Err(KeysError::NoSuchKeyGroup("team".into())));
    }

    #[test]
    fn what_there_is_already_and_what_there_is_not_is_refused_and_changes_nothing() {
        let mut keys = keys();
        keys.create_key("K2".into(), key("two"), 10).unwrap();
        let before = keys.clone();
        let exists = |id: &str| Err(KeysError::PublicKeyExists(id.into()));
        assert_eq!(keys.create_key("K2".into(), key("three"), 10), exists("K2"));
        assert_eq!(keys.create_key("K3".into(), key("two"), 10), exists("K2"));
        assert_eq!(keys.create_key("K3".into(), key("three"), 2), Err(KeysError::PublicKeysFull(2)));
        assert_eq!(keys.update_key("K9", key("two")), Err(KeysError::NoSuchPublicKey("K9".into())));
        assert_eq!(keys.update_key("K2", key("other")), Err(KeysError::Immutable));
        let none = || Err(KeysError::UnknownKeyInGroup("K9".into()));
        assert_eq!(keys.create_group("g".into(), group("g"), &["K2".into(), "K9".into()], 10), none());
        assert_eq!(keys.create_group("g".into(), group("g"), &[], 10), Err(KeysError::EmptyGroup));
        let exists = |name: &str| Err(KeysError::KeyGroupExists(name.into()));
        assert_eq!(keys.create_group("g".into(), group("team"), &["K2".into()], 10), exists("team"));
        assert_eq!(keys.create_group("team".into(), group("g"), &["K2".into()], 10), exists("team"));
        assert_eq!(keys.create_group("g".into(), group("g"), &["K2".into()], 1), Err(KeysError::KeyGroupsFull(1)));
        assert_eq!(keys, before);
        keys.update_key("K2", PublicKey { comment: "new".into(), pem: "pem of two".into(), ..key("two") }).unwrap();
        assert_eq!((keys.public_keys()["K2"].comment.as_str(), keys.public_keys().len()), ("new", 2));
    }
}
