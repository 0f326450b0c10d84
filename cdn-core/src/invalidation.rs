//! What an invalidation removes.
//!
//! Decides whether a cached path with its keyed query string is covered by a pattern (`/a*`), and in which order caches
//! that ask each other are told. Knows neither the store nor how anybody is told. Follows the AWS page "Specify the objects
//! to invalidate".

use std::collections::BTreeSet;

use crate::Role;

/// Longest pattern, in bytes (CloudFront's quota).
pub const INVALIDATION_LENGTH_MAX: usize = 4_000;

/// A checked invalidation path: `*` is a wildcard only as the last character, elsewhere a literal. Case-sensitive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidationPattern {
    /// As written.
    text: Box<str>,
    /// One more object that it stands for.
    also: Option<Box<str>>,
}

/// Why a text is no invalidation path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidationError {
    /// It does not begin with a slash.
    #[error("an invalidation path starts with `/`, {0:?} does not")]
    NoLeadingSlash(String),
    /// It exceeds [`INVALIDATION_LENGTH_MAX`].
    #[error("an invalidation path has at most {INVALIDATION_LENGTH_MAX} characters, this one has {0}")]
    TooLong(usize),
    /// It has a character that must be escaped, or `~`, which CloudFront does not accept.
    #[error("{0:?} is not allowed in an invalidation path; escape it as in a URL")]
    Character(char),
}

/// Which caches are told in which round; one begins when everybody of the round before has heard.
///
/// At first all are, so that nothing is served for longer than it must be. But one that has heard may fetch again, from a
/// cache behind it that has not, what it has just forgotten. So when all have heard, those that ask other caches are told
/// once more, from behind to front: what they have by then came from caches that had forgotten.
pub fn rounds(caches: impl IntoIterator<Item = Role>) -> Vec<Vec<Role>> {
    let present: BTreeSet<Role> = caches.into_iter().collect();
    let tiers = [Role::Shield, Role::Regional, Role::Edge].into_iter().filter(|tier| present.contains(tier));
    let all: Vec<Role> = tiers.collect();
    let again: Vec<Vec<Role>> = all.iter().skip(1).map(|tier| vec![*tier]).collect();
    std::iter::once(all).chain(again).collect()
}

impl InvalidationPattern {
    /// Checks a path.
    pub fn parse(text: &str) -> Result<Self, InvalidationError> {
        if !text.starts_with('/') {
            return Err(InvalidationError::NoLeadingSlash(text.chars().take(100).collect()));
        }
        if text.len() > INVALIDATION_LENGTH_MAX {
            return Err(InvalidationError::TooLong(text.len()));
        }
        match text.chars().find(|&c| !c.is_ascii_graphic() || "~\"<>\\^`{|}".contains(c)) {
            Some(c) => Err(InvalidationError::Character(c)),
            None => Ok(Self { text: text.into(), also: None }),
        }
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it removes beside what its text covers.
    pub fn also(&self) -> Option<&str> {
        self.also.as_deref()
    }

    /// Whether it removes what is cached under `uri`: the path and, where the query string is keyed, `?` and the keyed
    /// part of it.
    pub fn matches(&self, uri: &str) -> bool {
        let covered = match self.text.strip_suffix('*') {
            Some(prefix) => uri.starts_with(prefix),
            None => uri == &*self.text,
        };
        covered || self.also.as_deref() == Some(uri)
    }

    /// The same pattern, which removes `uri` too.
    #[must_use]
    pub fn or_exactly(self, uri: &str) -> Self {
        Self { also: Some(uri.into()), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_ask_other_caches_are_told_again_from_behind_to_front() {
        use Role::{Edge, Regional, Shield};
        assert_eq!(rounds([Edge, Edge]), [vec![Edge]]);
        assert_eq!(rounds([Edge, Edge, Shield]), [vec![Shield, Edge], vec![Edge]]);
        let all = [vec![Shield, Regional, Edge], vec![Regional], vec![Edge]];
        assert_eq!(rounds([Edge, Regional, Shield, Regional]), all);
    }

    #[test]
    fn patterns_match_as_the_published_vectors_say() {
        let rows = [
            ("/index.html", "/index.html", true),
            ("/index.html", "/index.html?x=1", false),
            ("/index.html*", "/index.html?x=1", true),
            ("/*", "/any/thing?x", true),
            ("/images/*", "/images/a/b.png", true),
            ("/images/*", "/Images/a.png", false),
            ("/images/*.png", "/images/a.png", false),
            ("/images/*.png", "/images/*.png", true),
            ("/a*", "/abc", true),
            ("/a*", "/b", false),
            ("/images", "/images/x", false),
        ];
        for (pattern, uri, expected) in rows {
            assert_eq!(InvalidationPattern::parse(pattern).unwrap().matches(uri), expected, "{pattern} on {uri}");
        }
    }

    #[test]
    fn illegal_paths_are_refused() {
        let error = |text: &str| InvalidationPattern::parse(text).unwrap_err();
        assert_eq!(error("a"), InvalidationError::NoLeadingSlash("a".to_owned()));
        assert_eq!(error(""), InvalidationError::NoLeadingSlash(String::new()));
        assert_eq!(error("/a b"), InvalidationError::Character(' '));
        assert_eq!(error("/~x"), InvalidationError::Character('~'));
        assert_eq!(error("/é"), InvalidationError::Character('é'));
        assert_eq!(error(&format!("/{}", "a".repeat(4_000))), InvalidationError::TooLong(4_001));
    }
}
