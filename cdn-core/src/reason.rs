//! Why an answer is what it is: one row per reason, in one table.
//!
//! Every response carries a reason as `x-iso-reason`, logs and the simulator write the same word, and the reference
//! page is made from [`Reason::ALL`].

/// Declares the reasons: variant, the word on the wire, one line for people.
macro_rules! reasons {
    ($($(#[doc = $section:literal])* $variant:ident = $word:literal, $help:literal;)*) => {
        /// Why an answer is what it is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $(#[doc = $help] $variant,)*
        }

        impl Reason {
            /// Every reason, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// One line for people.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }
        }
    };
}

reasons! {
    // The edge: what the store said.
    Hit = "hit", "a fresh stored response was used";
    HitDisk = "hit_disk", "a fresh response was taken back into the store from its disk tier";
    HitRegional = "hit_regional", "the regional cache had a fresh stored response";
    HitShield = "hit_shield", "the shield had a fresh stored response";
    HitStaleWhileRevalidate = "hit_stale_while_revalidate", "a stale stored response was used while it is refreshed (RFC 5861)";
    HitStaleOnError = "hit_stale_on_error", "a stale stored response was used because the origin failed";
    HitCollapsed = "hit_collapsed", "another request was already fetching the same object";
    HitStaleAccepted = "hit_stale_accepted", "a stale stored response was used because the request accepts one (max-stale)";
    RefreshHit = "refresh_hit", "the origin confirmed the stored response with 304";
    MissAbsent = "miss_absent", "nothing was stored under the cache key";
    MissDiskBusy = "miss_disk_busy", "the disk tier has it, but as many bytes as allowed were being read from there";
    MissDiskDamaged = "miss_disk_damaged", "what the disk tier had of it was damaged";
    MissExpired = "miss_expired", "the stored response was stale and the origin sent a new one";
    MissRequestControl = "miss_request_control", "the request did not accept the fresh stored response (Cache-Control of the request)";
    MissPart = "miss_part", "a part of what was asked for is stored, and the rest was fetched";
    MissUncacheable = "miss_uncacheable", "the response may not be stored";
    PassMethod = "pass_method", "the method is never cached";
    PassNoStore = "pass_no_store", "the request wants nothing to be stored";
    PassBody = "pass_body", "a request with a body is never answered from the store";
    PassDisabled = "pass_disabled", "the cache policy disables caching";
    PassWaitersFull = "pass_waiters_full", "as many requests as allowed already wait for this object";
    PassUpgrade = "pass_upgrade", "the connection was upgraded (WebSocket)";
    Purged = "purged", "what was stored of it is forgotten, because an unsafe method changed it";
    // The edge: what it refused.
    BadRequest = "bad_request", "the request is malformed";
    HeadersTooLarge = "headers_too_large", "the request's headers exceed the limit";
    UriTooLong = "uri_too_long", "the request's URL exceeds the limit";
    UnknownHost = "unknown_host", "no distribution answers to this Host";
    MethodNotAllowed = "method_not_allowed", "the behavior does not allow the method";
    GetWithBody = "get_with_body", "a GET or HEAD request carried a body";
    LoopDetected = "loop_detected", "the request has already passed this cache (CDN-Loop)";
    Draining = "draining", "the node is being taken out of service";
    ConnectionLimit = "connection_limit", "the node has as many connections as its limit allows";
    InflightLimit = "inflight_limit", "bodies beside the store have as much memory as the limit allows";
    HeaderTimeout = "header_timeout", "the client did not finish its headers in time";
    BodyTimeout = "body_timeout", "the client stopped sending its body";
    ClientGone = "client_gone", "the client left before its request was complete";
    Internal = "internal", "a defect of the node; please report it";
    OnlyIfCached = "only_if_cached", "nothing stored is good enough, and the request wants nothing else";
    DistributionDisabled = "distribution_disabled", "the distribution is disabled and serves nobody";
    HttpsOnly = "https_only", "the behavior serves HTTPS alone";
    RedirectedToHttps = "redirected_to_https", "the behavior sends HTTP to HTTPS";
    MisdirectedHost = "misdirected_host", "Host belongs to another distribution than the name of the TLS handshake";
    GeoBlocked = "geo_blocked", "the distribution is not served in the viewer's country";
    SignatureMissing = "signature_missing", "the behavior wants a signed URL or signed cookies, and neither names a key";
    SignatureIncomplete = "signature_incomplete", "the signature or its policy lacks, stands there twice, or names an unknown hash";
    SignatureUnknownKey = "signature_unknown_key", "the behavior does not trust the key that is named";
    SignatureMalformed = "signature_malformed", "the signature cannot be decoded";
    PolicyMalformed = "policy_malformed", "the policy cannot be read";
    SignatureInvalid = "signature_invalid", "the key did not sign this policy";
    SignatureOtherResource = "signature_other_resource", "the signed policy is for other URLs";
    SignatureExpired = "signature_expired", "the signed policy has ended";
    SignatureTooEarly = "signature_too_early", "the signed policy has not begun";
    SignatureOtherAddress = "signature_other_address", "the signed policy is for viewers of another network";
    // The edge: what a function did.
    FunctionGenerated = "function_generated", "the viewer-request function made the response";
    FunctionInvalid = "function_invalid", "what the function returned is not valid";
    FunctionFailed = "function_failed", "the function threw, or is no function";
    FunctionTimeout = "function_timeout", "the function ran for longer than its limit";
    FunctionMemory = "function_memory", "the function wanted more memory than its limit";
    FunctionThrottled = "function_throttled", "as many calls of functions as allowed already wait";
    // The edge: what the origin did.
    OriginRefused = "origin_refused", "the origin refused the connection";
    OriginReset = "origin_reset", "the origin reset the connection";
    OriginConnectTimeout = "origin_connect_timeout", "no connection to the origin within the connection timeout";
    OriginResponseTimeout = "origin_response_timeout", "no response from the origin within the response timeout";
    OriginCompletionTimeout = "origin_completion_timeout", "the exchange with the origin exceeded the completion timeout";
    OriginInvalid = "origin_invalid", "the origin's response is not valid HTTP";
    OriginHeadersTooLarge = "origin_headers_too_large", "the origin's response headers exceed the limit";
    OriginUnreachable = "origin_unreachable", "there is no way to the origin";
    OriginCertificate = "origin_certificate", "the origin's certificate is expired, for another name, of an unknown issuer, or not valid otherwise";
    OriginTls = "origin_tls", "there is no TLS with the origin: it speaks something else, or no version in common";
    OriginError = "origin_error", "the origin answered with an error status";
    ErrorCached = "error_cached", "an error of the origin that was stored";
    // The simulated origin: why it does not answer as asked.
    OriginOverloaded = "origin_overloaded", "the origin serves as many requests as its limit allows, and its queue is full";
    FaultInjected = "fault_injected", "a fault was asked for";
    // The router: why this edge.
    RouteLowestEstimate = "route_lowest_estimate", "the lowest estimate among the eligible";
    RouteExplore = "route_explore", "a small share of answers tries the runner-up, to learn";
    RouteHeldByHysteresis = "route_held_by_hysteresis", "a better estimate exists, but not by the margin that a switch needs";
    RouteFailOpen = "route_fail_open", "too few candidates are healthy, so health was ignored";
    RouteNearest = "route_nearest", "the shortest distance among the eligible";
    RouteNearestBiased = "route_nearest_biased", "the shortest distance among the eligible, bent by the PoPs' biases";
    RouteCatchment = "route_catchment", "the eligible one in whose anycast catchment the client is";
    RouteNotConverged = "route_not_converged", "withdrawn, but the client's network has not heard of it yet (anycast)";
    RouteWeighted = "route_weighted", "a seeded draw by weight among the eligible, always the same for one client network";
    RouteRandom = "route_random", "a seeded draw among the eligible";
    RouteTurn = "route_turn", "the next in turn among the eligible";
    RouteStatic = "route_static", "the first of a stated order that is eligible";
    RouteProgram = "route_program", "the first that the policy program named for this client network and that is eligible";
    RouteProgramSilent = "route_program_silent", "the lowest estimate among the eligible: the policy program was not asked about this client network, or not yet";
    RouteProgramLate = "route_program_late", "the lowest estimate among the eligible: the policy program answered too late";
    RouteProgramNonsense = "route_program_nonsense", "the lowest estimate among the eligible: what the policy program said is no answer";
    RouteProgramUnknownPop = "route_program_unknown_pop", "the lowest estimate among the eligible: the policy program named a PoP that is not there";
    RouteProgramHung = "route_program_hung", "the lowest estimate among the eligible: the policy program hung, and was killed";
    RouteProgramDied = "route_program_died", "the lowest estimate among the eligible: the policy program died";
    RouteProgramNotStarted = "route_program_not_started", "the lowest estimate among the eligible: the policy program cannot be started";
    RouteSpilled = "route_spilled", "better candidates are at their capacity, so this client network's share goes on to the next";
    RouteRamping = "route_ramping", "a better candidate is back from being down, and this client network is not yet among those that it has taken back";
    RouteBounded = "route_bounded", "the edge of the PoP that this client network comes to first has much more load than the mean of the PoP's edges, so its share goes on to the next edge";
    RouteSticky = "route_sticky", "the edge that this client was sent to before, which may still be chosen (HTTP routing)";
    RouteSecondAddress = "route_second_address", "the second address, in another PoP";
    EdgeOnly = "edge_only", "the only edge of its PoP";
    EdgeHashed = "edge_hashed", "the first of its PoP's edges in the order that the host's hash gives them";
    EdgeDispersed = "edge_dispersed", "one of the first of its PoP's edges in the order that the host's hash gives them, over which its client networks are spread";
    EdgeStandsIn = "edge_stands_in", "the next of its PoP's edges in the order that the host's hash gives them, because the one before does not serve";
    DnsAnswer = "dns_answer", "a DNS question was answered over HTTP";
    BeaconTaken = "beacon_taken", "a reported round trip was taken in";
    BeaconRefused = "beacon_refused", "a reported round trip was not taken in";
    NoCandidate = "no_candidate", "there is no edge to choose";
    RejectedDown = "rejected_down", "health checks failed";
    RejectedUnknown = "rejected_unknown", "not yet seen healthy";
    RejectedDraining = "rejected_draining", "being drained";
    RejectedRamping = "rejected_ramping", "back from being down, and taking its client networks back little by little";
    RejectedFull = "rejected_full", "at its capacity, so this client network's share goes elsewhere";
    RejectedNotListed = "rejected_not_listed", "not among the PoPs that the distribution names";
    RejectedPriceClass = "rejected_price_class", "outside the distribution's price class";
    RejectedSlower = "rejected_slower", "a better candidate exists";
    // The viewer: why the proxy itself answered.
    ViewerBadRequest = "viewer_bad_request", "the request is not one that a forward proxy can serve";
    ViewerUnknownPlace = "viewer_unknown_place", "the proxy user names no place of the world";
    ViewerForeignHost = "viewer_foreign_host", "the host is not of this world, and nothing else is ever asked";
    ViewerNoHttps = "viewer_no_https", "the request wants HTTPS, which is switched off in this world";
    ViewerResolveFailed = "viewer_resolve_failed", "no router gave an address for the host";
    ViewerResolverBusy = "viewer_resolver_busy", "the resolver has as many lookups under way as its limit allows";
    ViewerConnectFailed = "viewer_connect_failed", "no address of the host could be connected to";
    ViewerConnectTimeout = "viewer_connect_timeout", "every address of the host was silent";
    ViewerTlsFailed = "viewer_tls_failed", "the TLS handshake with the edge came to nothing";
    ViewerEdgeReset = "viewer_edge_reset", "the connection to the edge ended before it answered";
    ViewerEdgeInvalid = "viewer_edge_invalid", "what the edge sent is not valid HTTP";
    ViewerResponseTimeout = "viewer_response_timeout", "the edge did not answer within the limit";
    ViewerBodyBroken = "viewer_body_broken", "the response broke off in the middle of its body";
    ViewerGaveUp = "viewer_gave_up", "the user of a load had no answer within its patience";
    ViewerLoadFull = "viewer_load_full", "the request of a load was not made because as many as allowed were under way";
}

impl Reason {
    /// Whether origins gave no response. Said by a parent, an edge treats it as its own failure.
    pub const fn is_origin_failure(self) -> bool {
        matches!(
            self,
            Self::OriginRefused
                | Self::OriginReset
                | Self::OriginConnectTimeout
                | Self::OriginResponseTimeout
                | Self::OriginCompletionTimeout
                | Self::OriginInvalid
                | Self::OriginHeadersTooLarge
                | Self::OriginUnreachable
                | Self::OriginCertificate
                | Self::OriginTls
        )
    }

    /// Whether it says what a policy program said, or why it said nothing.
    pub const fn is_of_program(self) -> bool {
        matches!(
            self,
            Self::RouteProgram
                | Self::RouteProgramSilent
                | Self::RouteProgramLate
                | Self::RouteProgramNonsense
                | Self::RouteProgramUnknownPop
                | Self::RouteProgramHung
                | Self::RouteProgramDied
                | Self::RouteProgramNotStarted
        )
    }

    /// Whether an edge's answer came out of its own store; shared fetches and confirmed responses count.
    pub const fn is_from_store(self) -> bool {
        matches!(
            self,
            Self::Hit
                | Self::HitStaleWhileRevalidate
                | Self::HitStaleOnError
                | Self::HitStaleAccepted
                | Self::HitCollapsed
                | Self::RefreshHit
                | Self::ErrorCached
        )
    }
}

impl std::str::FromStr for Reason {
    type Err = UnknownReason;

    /// The word on the wire.
    fn from_str(word: &str) -> Result<Self, UnknownReason> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == word).ok_or(UnknownReason)
    }
}

/// No reason has this word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no reason has this word")]
pub struct UnknownReason;

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_and_helps_are_given() {
        let mut words: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Reason::ALL.len());
        assert!(Reason::ALL.iter().all(|reason| !reason.help().is_empty()));
    }
}
