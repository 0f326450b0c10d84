//! How one cache of the network tells the next to forget what an unsafe method changed (RFC 9111 section 4.4).
//!
//! The request that changed it went past the caches between, straight to the origin. They are told by a request of their
//! own, with the hop header and a method that only they believe: a viewer's `PURGE` is one more unknown method.

use http::Method;

/// What is to be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purge {
    /// Everything under the key of the request's target.
    Target,
    /// Everything of the distribution.
    Distribution,
}

impl Purge {
    /// Its method.
    pub fn method(self) -> Method {
        Method::from_bytes(self.as_str().as_bytes()).unwrap_or_default()
    }

    /// What a method of another cache says.
    pub fn of(method: &Method) -> Option<Self> {
        [Self::Target, Self::Distribution].into_iter().find(|purge| purge.as_str() == method.as_str())
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Target => "PURGE",
            Self::Distribution => "PURGE-ALL",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_says_what_is_to_be_forgotten() {
        for purge in [Purge::Target, Purge::Distribution] {
            assert_eq!(Purge::of(&purge.method()), Some(purge));
            assert!(crate::unsafe_method::is_unsafe(&purge.method()));
        }
        assert_eq!(Purge::of(&Method::GET), None);
    }
}
