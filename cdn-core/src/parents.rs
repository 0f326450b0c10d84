//! The caches between an edge and its origins: which of them is asked next, and what its answer is worth.
//!
//! A request that may be cached goes to the first that may be asked and is not left alone, on to the next where that one
//! was of no use, and after the last to the origins; any other goes straight to those. Knows of each only its tier and whether it is
//! [worth asking](crate::parent_health::ParentHealth); which one is nearest was settled by whoever put them in order.

use http::StatusCode;

use crate::{
    Counter, Reason, Role,
    distribution::{MethodClass, Origin},
};

/// Which layer of the cache a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Viewers talk to it.
    Edge,
    /// Edges of its region talk to it: CloudFront's regional edge cache.
    Regional,
    /// Edges and regional caches talk to it: CloudFront's Origin Shield.
    Shield,
}

impl Tier {
    /// That of a node; `None` for what is no cache.
    pub const fn of(role: Role) -> Option<Self> {
        match role {
            Role::Edge => Some(Self::Edge),
            Role::Regional => Some(Self::Regional),
            Role::Shield => Some(Self::Shield),
            Role::Router | Role::Origin | Role::Viewer => None,
        }
    }

    /// Its word in `Server-Timing`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Regional => "regional",
            Self::Shield => "shield",
        }
    }

    /// Whether one that stands between may be asked on behalf of an origin: a shield only where the origin is shielded.
    pub const fn may_be_asked_for(self, origin: &Origin) -> bool {
        !matches!(self, Self::Shield) || origin.shield
    }

    /// What counts the requests that are sent to it.
    pub const fn request_counter(self) -> Counter {
        match self {
            Self::Shield => Counter::EdgeShieldRequests,
            Self::Regional | Self::Edge => Counter::EdgeRegionalRequests,
        }
    }

    /// What counts the requests that go past it.
    pub const fn bypass_counter(self) -> Counter {
        match self {
            Self::Shield => Counter::EdgeShieldBypasses,
            Self::Regional | Self::Edge => Counter::EdgeRegionalBypasses,
        }
    }

    /// Whose store a hit was found in where this tier says that it has one, for the reason that it gives.
    pub fn hit_reason(self, said: Option<Reason>) -> Reason {
        if self == Self::Shield || said == Some(Reason::HitShield) { Reason::HitShield } else { Reason::HitRegional }
    }

    /// What counts such a hit; `None` where it was in a cache behind the one that was asked, which has counted it.
    pub const fn hit_counter(self, hit: Reason) -> Option<Counter> {
        match (self, hit) {
            (Self::Shield, _) => Some(Counter::EdgeShieldHits),
            (_, Reason::HitRegional) => Some(Counter::EdgeRegionalHits),
            _ => None,
        }
    }
}

/// One request's way past the caches between. Call [`next`](Self::next) until it says [`Next::Origins`], or one that was
/// asked has answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParentWay {
    /// How many of them are behind it, the one that is asked included.
    seen: usize,
    is_straight: bool,
}

/// Where a request goes next. Places count in the order in which a node knows its parents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// To the parent at this place.
    Ask(usize),
    /// Past the parent at this place, which was silent a moment ago.
    PassBy(usize),
    /// To the origins: no parent is left.
    Origins,
}

impl ParentWay {
    /// Of a request of this [class](crate::distribution::CheckedBehavior::method_class).
    pub const fn of(class: Result<MethodClass, Reason>) -> Self {
        match class {
            Ok(_) => Self { seen: 0, is_straight: false },
            Err(_) => Self::straight(),
        }
    }

    /// Of a request that no cache has a part in: no parent is asked.
    pub const fn straight() -> Self {
        Self { seen: 0, is_straight: true }
    }

    /// Goes on, on behalf of the target's first origin. `tier_at` says what stands at a place, and `is_worth_asking` is
    /// asked about the one place that the answer names.
    pub fn next(
        &mut self,
        origin: &Origin,
        tier_at: impl Fn(usize) -> Option<Tier>,
        is_worth_asking: impl FnOnce(usize) -> bool,
    ) -> Next {
        loop {
            let place = self.seen;
            let Some(tier) = tier_at(place).filter(|_| !self.is_straight) else { return Next::Origins };
            self.seen += 1;
            if tier.may_be_asked_for(origin) {
                return if is_worth_asking(place) { Next::Ask(place) } else { Next::PassBy(place) };
            }
        }
    }

    /// The place that was named last; `None` before the first.
    pub const fn place(self) -> Option<usize> {
        self.seen.checked_sub(1)
    }
}

/// What the answer of a cache between is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// The response.
    Response,
    /// An error page that it made itself about its origins: the fetch has failed for that reason, and whoever asked makes
    /// a page of its own or has something stale.
    Failure(Reason),
    /// Nothing: it is being taken out of service, or has as much to do as it may. Whoever comes next is asked.
    Nothing,
}

impl Worth {
    /// Of an answer with this status and reason.
    pub fn of(status: StatusCode, reason: Option<Reason>) -> Self {
        match reason {
            Some(Reason::Draining | Reason::ConnectionLimit | Reason::InflightLimit)
                if status == StatusCode::SERVICE_UNAVAILABLE =>
            {
                Self::Nothing
            }
            Some(reason) if reason.is_origin_failure() => Self::Failure(reason),
            _ => Self::Response,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIERS: [Tier; 2] = [Tier::Regional, Tier::Shield];

    fn origin(shield: bool) -> Origin {
        Origin { shield, ..Origin::new("origin.test") }
    }

    /// The way to the origins of a request that may be cached and that nobody is of use to.
    fn whole_way(tiers: &[Tier], shield: bool, worth: &[bool]) -> Vec<Next> {
        let (mut way, mut all) = (ParentWay::of(Ok(MethodClass::Read)), Vec::new());
        loop {
            let next = way.next(&origin(shield), |at| tiers.get(at).copied(), |at| worth[at]);
            all.push(next);
            match next {
                Next::Ask(place) | Next::PassBy(place) => assert_eq!(way.place(), Some(place)),
                Next::Origins => return all,
            }
        }
    }

    #[test]
    fn the_regional_cache_is_asked_before_the_shield_and_that_before_the_origins() {
        assert_eq!(whole_way(&TIERS, true, &[true, true]), [Next::Ask(0), Next::Ask(1), Next::Origins]);
        assert_eq!(whole_way(&TIERS, true, &[false, true]), [Next::PassBy(0), Next::Ask(1), Next::Origins]);
        assert_eq!(whole_way(&[], true, &[]), [Next::Origins]);
    }

    #[test]
    fn a_shield_does_not_stand_between_an_edge_and_an_origin_that_is_not_shielded() {
        assert_eq!(whole_way(&TIERS, false, &[true, true]), [Next::Ask(0), Next::Origins]);
        assert_eq!(whole_way(&TIERS, false, &[false, false]), [Next::PassBy(0), Next::Origins], "nor is it passed by");
    }

    #[test]
    fn what_no_cache_has_a_part_in_goes_straight_to_the_origins() {
        let mut way = ParentWay::of(Err(Reason::PassMethod));
        assert_eq!(way.next(&origin(true), |at| TIERS.get(at).copied(), |_| true), Next::Origins);
    }

    proptest! {
        #[test]
        fn each_parent_is_named_once_in_order_and_asked_if_it_may_be_and_is_worth_it(
            parents in prop::collection::vec((any::<bool>(), any::<bool>()), 0..12),
            shield in any::<bool>(),
        ) {
            let tiers: Vec<_> = parents.iter().map(|&(last, _)| TIERS[usize::from(last)]).collect();
            let worth: Vec<_> = parents.iter().map(|&(_, worth)| worth).collect();
            let mut expected: Vec<_> = (0..tiers.len())
                .filter(|&at| shield || tiers[at] != Tier::Shield)
                .map(|at| if worth[at] { Next::Ask(at) } else { Next::PassBy(at) })
                .collect();
            expected.push(Next::Origins);
            prop_assert_eq!(whole_way(&tiers, shield, &worth), expected);
        }
    }

    #[test]
    fn a_hit_is_counted_by_whoever_asked_the_cache_that_had_it() {
        let hit = |tier: Tier, said| {
            let reason = tier.hit_reason(said);
            (reason, tier.hit_counter(reason))
        };
        assert_eq!(hit(Tier::Shield, Some(Reason::Hit)), (Reason::HitShield, Some(Counter::EdgeShieldHits)));
        assert_eq!(hit(Tier::Regional, Some(Reason::Hit)), (Reason::HitRegional, Some(Counter::EdgeRegionalHits)));
        assert_eq!(hit(Tier::Regional, Some(Reason::HitShield)), (Reason::HitShield, None));
    }

    #[test]
    fn what_a_parent_says_of_itself_is_worth_nothing_and_what_it_says_of_origins_is_a_failure() {
        let (busy, bad) = (StatusCode::SERVICE_UNAVAILABLE, StatusCode::BAD_GATEWAY);
        assert_eq!(Worth::of(busy, Some(Reason::Draining)), Worth::Nothing);
        assert_eq!(Worth::of(bad, Some(Reason::OriginRefused)), Worth::Failure(Reason::OriginRefused));
        assert_eq!(Worth::of(busy, Some(Reason::OriginError)), Worth::Response, "an origin's own error");
        assert_eq!(Worth::of(StatusCode::OK, None), Worth::Response);
    }
}
