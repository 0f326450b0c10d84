//! What a run counts.
//!
//! Nodes of virtual time are the decisions of nodes and the links between them. They have no sockets, disks, functions or
//! administration, so of the counters of `/metrics` some never move here, and nothing may be concluded from that they did
//! not.

use cdn_core::Counter;

/// Whether a run counts this, where it happens.
pub const fn counts(counter: Counter) -> bool {
    matches!(
        counter,
        Counter::EdgeAdmissionsForgotten
            | Counter::EdgeAdmissionsRefused
            | Counter::EdgeCollapsed
            | Counter::EdgeErrors
            | Counter::EdgeEvictions
            | Counter::EdgeFailovers
            | Counter::EdgeFailoversForbiddenByCodes
            | Counter::EdgeFetchesAbandoned
            | Counter::EdgeFetchesOverdue
            | Counter::EdgeFetchesTruncated
            | Counter::EdgeHits
            | Counter::EdgeInvalidated
            | Counter::EdgeMisses
            | Counter::EdgeObjectsTooLarge
            | Counter::EdgeOriginConnectFailures
            | Counter::EdgeOriginConnects
            | Counter::EdgeOriginRequests
            | Counter::EdgeOriginReuses
            | Counter::EdgePasses
            | Counter::EdgeRefreshHits
            | Counter::EdgeRegionalBypasses
            | Counter::EdgeRegionalHits
            | Counter::EdgeRegionalRequests
            | Counter::EdgeRequests
            | Counter::EdgeShieldBypasses
            | Counter::EdgeShieldHits
            | Counter::EdgeShieldRequests
            | Counter::EdgeSignaturesRefused
            | Counter::EdgeStaleServed
            | Counter::EdgeStoreBytes
            | Counter::EdgeStoreObjects
            | Counter::EdgeWaitersFull
            | Counter::LogLinesLost
            | Counter::OriginOverloaded
            | Counter::OriginRequests
            | Counter::RouterBeacons
            | Counter::RouterBeaconsRefused
            | Counter::RouterDnsQueriesUdp
            | Counter::RouterDnsRouted
            | Counter::RouterDnsServerFailure
            | Counter::RouterEdgesBounded
            | Counter::RouterFailOpen
            | Counter::RouterHealthChanges
            | Counter::RouterOpinionsHeard
            | Counter::RouterProbeConnects
            | Counter::RouterProgramAnswers
            | Counter::RouterProgramDied
            | Counter::RouterProgramHung
            | Counter::RouterProgramLate
            | Counter::RouterProgramNetworksMax
            | Counter::RouterProgramNotStarted
            | Counter::RouterProgramNonsense
            | Counter::RouterProgramQuestions
            | Counter::RouterProgramRunning
            | Counter::RouterProgramStarts
            | Counter::RouterProgramUnknownPop
            | Counter::RouterVerdictChanges
    )
}
