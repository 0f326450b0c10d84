//! A host as far as routing goes: its policy, and which PoPs it may be served from.

use super::{PolicyKind, PriceClass};
use crate::{PopCode, Reason};

/// A distribution as far as routing goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its id.
    pub id: String,
    /// Its own policy; the router's where it has none.
    pub policy: Option<PolicyKind>,
    /// The only PoPs that may serve it; all if `None`.
    pub pops: Option<Vec<PopCode>>,
    /// Only PoPs of this class serve it.
    pub price_class: PriceClass,
}

impl Host {
    /// A host that is routed as the router routes, to any PoP.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), policy: None, pops: None, price_class: PriceClass::All }
    }

    /// Why a PoP, by code and country, may never serve this host; `None` if it may.
    pub fn rejects(&self, pop: PopCode, country: &str) -> Option<Reason> {
        if self.pops.as_ref().is_some_and(|pops| !pops.contains(&pop)) {
            Some(Reason::RejectedNotListed)
        } else if !self.price_class.includes(country) {
            Some(Reason::RejectedPriceClass)
        } else {
            None
        }
    }
}
