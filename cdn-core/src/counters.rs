//! Every counter of every node, in one table.
//!
//! `/metrics`, the dashboard, scenarios and the reference page read [`ROWS`], so a test expects only what an operator
//! sees. A node owns one [`Counters`]; counting is one relaxed atomic add, or for a single thread a plain one. What labels
//! tell apart is in [`labelled`].

pub mod labelled;

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
};

/// How a value moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Which value this row describes.
    pub counter: Counter,
    /// The role whose nodes have it, which is also the first word of the name.
    pub role: &'static str,
    /// The name in `/metrics`, without the prefix `iso_`; units last.
    pub name: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// One line for people.
    pub help: &'static str,
}

/// Declares the table: variant, role, name, kind, one line for people.
macro_rules! counters {
    ($($variant:ident, $role:literal, $name:literal, $kind:ident, $help:literal;)*) => {
        /// A value that nodes count.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Counter {
            $(#[doc = $help] $variant,)*
        }

        /// The table, one row per [`Counter`], in its order.
        pub const ROWS: &[Row] = &[
            $(Row { counter: Counter::$variant, role: $role, name: $name, kind: Kind::$kind, help: $help },)*
        ];
    };
}

counters! {
    // edge (and regional cache, and shield)
    EdgeConnections, "edge", "edge_connections", Gauge, "client connections that are open";
    EdgeConnectionsAccepted, "edge", "edge_connections_accepted_total", Counter, "client connections accepted";
    EdgeConnectionsRefused, "edge", "edge_connections_refused_total", Counter, "client connections closed at once because the limit was reached";
    EdgeRequests, "edge", "edge_requests_total", Counter, "requests received";
    EdgeHits, "edge", "edge_hits_total", Counter, "requests answered from the store";
    EdgeRefreshHits, "edge", "edge_refresh_hits_total", Counter, "requests answered from the store after the origin confirmed it";
    EdgeMisses, "edge", "edge_misses_total", Counter, "cacheable requests that the store could not answer";
    EdgePasses, "edge", "edge_passes_total", Counter, "requests that are never cached";
    EdgeErrors, "edge", "edge_errors_total", Counter, "answers with an error status";
    EdgeStoreBytes, "edge", "edge_store_bytes", Gauge, "bytes of bodies, headers and bookkeeping in the store";
    EdgeStoreBytesMax, "edge", "edge_store_bytes_max", Gauge, "bytes that the store may hold";
    EdgeStoreObjects, "edge", "edge_store_objects", Gauge, "responses in the store";
    EdgeBodyBytes, "edge", "edge_body_bytes", Gauge, "bytes of bodies in memory: in the store, arriving, or gone from the store while a client still reads them";
    EdgeFetchesShed, "edge", "edge_fetches_shed_total", Counter, "fetches refused because bodies beside the store had as much memory as allowed";
    EdgeEvictions, "edge", "edge_evictions_total", Counter, "responses that had to go because the store was full";
    EdgeDiskHits, "edge", "edge_disk_hits_total", Counter, "times that a response, or parts of one, came back into the store from its disk tier";
    EdgeDiskWrites, "edge", "edge_disk_writes_total", Counter, "responses, and parts of some, written to the disk tier";
    EdgeDiskBytesWritten, "edge", "edge_disk_bytes_written_total", Counter, "bytes written to the disk tier";
    EdgeDiskBytes, "edge", "edge_disk_bytes", Gauge, "bytes that the disk tier occupies";
    EdgeDiskObjects, "edge", "edge_disk_objects", Gauge, "responses, and parts of some, on the disk tier";
    EdgeDiskEvictions, "edge", "edge_disk_evictions_total", Counter, "responses, and parts of some, that had to go because the disk tier was full";
    EdgeDiskInvalidated, "edge", "edge_disk_invalidated_total", Counter, "responses removed from the disk tier by invalidations";
    EdgeDiskDamaged, "edge", "edge_disk_damaged_total", Counter, "records of the disk tier, or rests of segments, that were torn or damaged and dropped";
    EdgeDiskQueueFull, "edge", "edge_disk_queue_full_total", Counter, "responses not written to the disk tier because too many bytes waited to be written";
    EdgeDiskTooLarge, "edge", "edge_disk_too_large_total", Counter, "responses not written to the disk tier because of their size";
    EdgeDiskBusy, "edge", "edge_disk_busy_total", Counter, "requests that went on to the origin because too many bytes were being read from the disk tier";
    EdgeDiskErrors, "edge", "edge_disk_errors_total", Counter, "reads and writes of the disk tier that the system refused";
    EdgeDiskForgotten, "edge", "edge_disk_forgotten_total", Counter, "invalidations that emptied the disk tier because too many were still being carried out";
    EdgeInvalidated, "edge", "edge_invalidated_total", Counter, "stored responses removed by invalidations";
    EdgeObjectsTooLarge, "edge", "edge_objects_too_large_total", Counter, "responses not stored because of their size";
    EdgePartsFull, "edge", "edge_parts_full_total", Counter, "pieces that had to go because their object had too many";
    EdgeAdmissionsRefused, "edge", "edge_admissions_refused_total", Counter, "responses not kept because nobody else had asked for them";
    EdgeAdmissionsForgotten, "edge", "edge_admissions_forgotten_total", Counter, "times that the older half of the remembered first requests was forgotten because the limit was reached";
    EdgeVariantsFull, "edge", "edge_variants_full_total", Counter, "variants by Vary that had to go because their object had too many";
    EdgeWaitersFull, "edge", "edge_waiters_full_total", Counter, "requests that passed because too many already waited for the object";
    EdgeFetchesOverdue, "edge", "edge_fetches_overdue_total", Counter, "fetches that others waited for until their patience ended";
    EdgeRejected, "edge", "edge_rejected_total", Counter, "requests refused before the store was asked, or whose body was not understood";
    EdgeGeoBlocked, "edge", "edge_geo_blocked_total", Counter, "requests refused because of the country that they came from";
    EdgeErrorPages, "edge", "edge_error_pages_total", Counter, "errors that a custom page took the place of, or was to; the fetch of the page is counted among hits, misses and passes too";
    EdgeTlsHandshakes, "edge", "edge_tls_handshakes_total", Counter, "TLS handshakes with viewers";
    EdgeTlsResumed, "edge", "edge_tls_resumed_total", Counter, "TLS handshakes that resumed an earlier session";
    EdgeTlsFailed, "edge", "edge_tls_failed_total", Counter, "TLS handshakes that came to nothing: no common version or suite, a name without a certificate, or no TLS";
    EdgeTlsTimeouts, "edge", "edge_tls_timeouts_total", Counter, "TLS handshakes that did not end in time";
    EdgeQuicRetries, "edge", "edge_quic_retries_total", Counter, "clients of HTTP/3 that had to show first that they are where they say, because as many handshakes as allowed were under way";
    EdgeSignaturesVerified, "edge", "edge_signatures_verified_total", Counter, "signatures of URLs and cookies that had to be verified, and were not known already";
    EdgeSignaturesRefused, "edge", "edge_signatures_refused_total", Counter, "requests refused because of their signature, or for want of one";
    EdgeVerifiedPoliciesFull, "edge", "edge_verified_policies_full_total", Counter, "verified policies forgotten because there were as many as allowed";
    EdgeFunctionInvocations, "edge", "edge_function_invocations_total", Counter, "calls of viewer functions";
    EdgeFunctionValidationErrors, "edge", "edge_function_validation_errors_total", Counter, "calls of functions that returned what is not valid";
    EdgeFunctionExecutionErrors, "edge", "edge_function_execution_errors_total", Counter, "calls of functions that threw, or reached a limit of time or memory";
    EdgeFunctionThrottles, "edge", "edge_function_throttles_total", Counter, "calls of functions that were not made, because as many as allowed waited";
    EdgeFunctionOriginsFull, "edge", "edge_function_origins_full_total", Counter, "calls of functions that wanted to say more of origins than is allowed, which throws";
    EdgeFunctionCpu, "edge", "edge_function_cpu_microseconds_total", Counter, "processor time of functions that came to an end";
    EdgeOriginTlsFull, "edge", "edge_origin_tls_full_total", Counter, "TLS configurations of origins forgotten, with their sessions, because there were as many as allowed";
    EdgeHeaderTimeouts, "edge", "edge_header_timeouts_total", Counter, "requests whose head did not arrive in time";
    EdgeBodyTimeouts, "edge", "edge_body_timeouts_total", Counter, "requests whose body stopped arriving";
    EdgeIdleTimeouts, "edge", "edge_idle_timeouts_total", Counter, "connections and tunnels closed because nothing happened on them";
    EdgeWriteTimeouts, "edge", "edge_write_timeouts_total", Counter, "connections, and streams of HTTP/3, closed because the client took nothing of its response";
    EdgeCollapsed, "edge", "edge_collapsed_total", Counter, "requests that shared somebody else's fetch";
    EdgeStaleServed, "edge", "edge_stale_served_total", Counter, "requests answered with a stale response";
    EdgeFetchesAbandoned, "edge", "edge_fetches_abandoned_total", Counter, "fetches stopped because nobody wanted them any more";
    EdgeFetchesTruncated, "edge", "edge_fetches_truncated_total", Counter, "responses from behind that ended early";
    EdgeCompressed, "edge", "edge_compressed_total", Counter, "responses compressed while they were stored";
    EdgeCompressedBytesIn, "edge", "edge_compressed_bytes_in_total", Counter, "bytes of bodies that went into compression";
    EdgeCompressedBytesOut, "edge", "edge_compressed_bytes_out_total", Counter, "bytes of bodies that came out of compression";
    EdgeCompressionsFull, "edge", "edge_compressions_full_total", Counter, "responses stored as they came because as many as allowed were being compressed";
    EdgeTunnels, "edge", "edge_tunnels", Gauge, "upgraded connections (WebSocket) that are open";
    EdgeTunnelsHalfOpen, "edge", "edge_tunnels_half_open_total", Counter, "tunnels closed because one side had ended and nothing came from the other";
    EdgeTunnelsCut, "edge", "edge_tunnels_cut_total", Counter, "tunnels closed because the node stopped";
    EdgeBytesSent, "edge", "edge_bytes_sent_total", Counter, "bytes of bodies sent";
    EdgeBytesFromStore, "edge", "edge_bytes_from_store_total", Counter, "bytes of bodies sent that were in the store when they were asked for";
    EdgeRegionalRequests, "edge", "edge_regional_requests_total", Counter, "requests sent to the regional cache";
    EdgeRegionalHits, "edge", "edge_regional_hits_total", Counter, "requests that the regional cache answered from its store";
    EdgeRegionalBypasses, "edge", "edge_regional_bypasses_total", Counter, "requests that went past the regional cache because it was of no use";
    EdgeShieldRequests, "edge", "edge_shield_requests_total", Counter, "requests sent to the shield";
    EdgeShieldHits, "edge", "edge_shield_hits_total", Counter, "requests that the shield answered from its store";
    EdgeShieldBypasses, "edge", "edge_shield_bypasses_total", Counter, "requests that went past the shield because it was of no use";
    EdgePurges, "edge", "edge_purges_total", Counter, "targets that another cache had this one forget, because an unsafe method changed them";
    EdgePurgesFailed, "edge", "edge_purges_failed_total", Counter, "times that a regional cache or shield could not be told what to forget; until it is, requests for it go past it";
    EdgePurgesFull, "edge", "edge_purges_full_total", Counter, "times that a regional cache or shield had to be told of so much that it is told to forget a whole distribution";
    EdgeOriginRequests, "edge", "edge_origin_requests_total", Counter, "requests sent to origins";
    EdgeOriginConnects, "edge", "edge_origin_connects_total", Counter, "connections opened to origins, regional caches and shields";
    EdgeOriginConnectFailures, "edge", "edge_origin_connect_failures_total", Counter, "attempts to connect to an origin that failed";
    EdgeOriginTlsHandshakes, "edge", "edge_origin_tls_handshakes_total", Counter, "TLS handshakes with origins that were completed";
    EdgeOriginTlsResumed, "edge", "edge_origin_tls_resumed_total", Counter, "those that resumed a session";
    EdgeOriginTlsFailures, "edge", "edge_origin_tls_failures_total", Counter, "TLS handshakes with origins that failed, a certificate that was not accepted among the causes";
    EdgeOriginReuses, "edge", "edge_origin_reuses_total", Counter, "requests sent on a connection that was kept";
    EdgeFailovers, "edge", "edge_failovers_total", Counter, "requests that moved to the secondary of an origin group";
    EdgeFailoversForbiddenByCodes, "edge", "edge_failovers_forbidden_by_codes_total", Counter, "transport failures that did not fail over only because of the group's failover codes";
    EdgeDecisionLogLines, "edge", "edge_decision_log_lines_total", Counter, "lines written to the decision log";
    EdgeDecisionLogDropped, "edge", "edge_decision_log_dropped_total", Counter, "lines left out of the decision log because its queue or its file was full, or its file failed";
    // router
    RouterDnsQueriesUdp, "router", "router_dns_queries_udp_total", Counter, "DNS messages received over UDP";
    RouterDnsQueriesTcp, "router", "router_dns_queries_tcp_total", Counter, "DNS messages received over TCP";
    RouterDnsQueriesHttps, "router", "router_dns_queries_https_total", Counter, "DNS messages received over HTTP";
    RouterDnsQueriesSubnet, "router", "router_dns_queries_subnet_total", Counter, "questions that carried a client subnet";
    RouterDnsSubnetsMalformed, "router", "router_dns_subnets_malformed_total", Counter, "questions whose client subnet is malformed";
    RouterDnsSlow, "router", "router_dns_slow_total", Counter, "DNS messages of an unusual shape, read by the complete parser";
    RouterDnsRouted, "router", "router_dns_routed_total", Counter, "answers with addresses of edges, chosen for the client";
    RouterDnsRecords, "router", "router_dns_records_total", Counter, "answers with fixed records";
    RouterDnsReferrals, "router", "router_dns_referrals_total", Counter, "answers that name the servers of a delegated zone";
    RouterDnsNoData, "router", "router_dns_no_data_total", Counter, "answers that the name has no such data";
    RouterDnsNoName, "router", "router_dns_no_name_total", Counter, "answers that there is no such name, or that an alias would make it too long";
    RouterDnsRefused, "router", "router_dns_refused_total", Counter, "questions outside the zones, and transfers, refused";
    RouterDnsMalformed, "router", "router_dns_malformed_total", Counter, "messages answered with a format error";
    RouterDnsNotImplemented, "router", "router_dns_not_implemented_total", Counter, "messages with an operation that is not implemented";
    RouterDnsBadVersion, "router", "router_dns_bad_version_total", Counter, "messages with an unknown version of EDNS";
    RouterDnsBadCookie, "router", "router_dns_bad_cookie_total", Counter, "questions to ask again with the cookie that is sent, where one is required";
    RouterDnsServerFailure, "router", "router_dns_server_failure_total", Counter, "questions that could not be answered, for want of any edge";
    RouterDnsAliasesMax, "router", "router_dns_aliases_max_total", Counter, "answers that leave aliases alone because there were too many";
    RouterDnsTruncated, "router", "router_dns_truncated_total", Counter, "answers that did not fit and ask the client to come by TCP";
    RouterDnsDropped, "router", "router_dns_dropped_total", Counter, "messages left without an answer: too short, or answers themselves";
    RouterDnsCookiesValid, "router", "router_dns_cookies_valid_total", Counter, "questions with a server cookie that was made for their sender";
    RouterDnsCookiesAsked, "router", "router_dns_cookies_asked_total", Counter, "questions that ask for a server cookie and have none";
    RouterDnsCookiesInvalid, "router", "router_dns_cookies_invalid_total", Counter, "questions with a server cookie of another sender, too old, or not of this world";
    RouterDnsCookiesMalformed, "router", "router_dns_cookies_malformed_total", Counter, "questions whose cookie is malformed";
    RouterDnsCookiesMissing, "router", "router_dns_cookies_missing_total", Counter, "answers truncated because a cookie is required and there was none";
    RouterDnsLimitedTruncated, "router", "router_dns_limited_truncated_total", Counter, "answers beyond the rate of their network, truncated so that a true client comes by TCP";
    RouterDnsLimitedDropped, "router", "router_dns_limited_dropped_total", Counter, "answers beyond the rate of their network, not sent";
    RouterQueryLogLines, "router", "router_query_log_lines_total", Counter, "lines written to the query log";
    RouterQueryLogDropped, "router", "router_query_log_dropped_total", Counter, "lines left out of the query log because its queue was full or its file failed";
    RouterDnsSendErrors, "router", "router_dns_send_errors_total", Counter, "answers that the system did not take";
    RouterTcpConnections, "router", "router_tcp_connections", Gauge, "DNS connections that are open";
    RouterTcpConnectionsRefused, "router", "router_tcp_connections_refused_total", Counter, "DNS connections closed at once because the limit was reached";
    RouterTcpConnectionsRefusedClient, "router", "router_tcp_connections_refused_client_total", Counter, "DNS connections closed at once because the client has as many as it may";
    RouterTcpQueriesFull, "router", "router_tcp_queries_full_total", Counter, "DNS connections closed because they had asked as much as they may";
    RouterTcpTimeouts, "router", "router_tcp_timeouts_total", Counter, "DNS connections closed because nothing came or went in time";
    RouterHttpConnections, "router", "router_http_connections", Gauge, "HTTP connections that are open";
    RouterHttpConnectionsRefused, "router", "router_http_connections_refused_total", Counter, "HTTP connections closed at once because the limit was reached";
    RouterHttpRequests, "router", "router_http_requests_total", Counter, "HTTP requests received";
    RouterHttpRedirects, "router", "router_http_redirects_total", Counter, "HTTP requests sent on to an edge";
    RouterHttpLists, "router", "router_http_lists_total", Counter, "HTTP requests answered with a list of edges";
    RouterHttpRejected, "router", "router_http_rejected_total", Counter, "HTTP requests for an unknown host, malformed, or too large";
    RouterBeacons, "router", "router_beacons_total", Counter, "reported round trips taken in";
    RouterBeaconsRefused, "router", "router_beacons_refused_total", Counter, "reported round trips of strangers, absurd, or beyond the limit";
    RouterProbeConnects, "router", "router_probe_connects_total", Counter, "connections opened for health probes";
    RouterHealthChanges, "router", "router_health_changes_total", Counter, "steps of an edge from one state of health to another";
    RouterHttpSticky, "router", "router_http_sticky_total", Counter, "redirects to the edge that the client was sent to before";
    RouterPrefixes, "router", "router_prefixes", Gauge, "client networks in the prefix table";
    RouterPrefixReloads, "router", "router_prefix_reloads_total", Counter, "times that the prefix table was replaced because its file had changed";
    RouterPrefixReloadsFailed, "router", "router_prefix_reloads_failed_total", Counter, "times that its file had changed and could not be used, so that the old table stayed";
    RouterSnapshotAge, "router", "router_snapshot_age_ms", Gauge, "milliseconds since the snapshot was made that answers come from";
    RouterPopsRamping, "router", "router_pops_ramping", Gauge, "PoPs that have not all their clients back since they were down";
    RouterVerdictChanges, "router", "router_verdict_changes_total", Counter, "changes of an edge's health as all observers see it together";
    RouterObservers, "router", "router_observers", Gauge, "routers whose opinion of edges counts at the moment, this one among them";
    RouterOpinionsTold, "router", "router_opinions_told_total", Counter, "times that another router was told this one's opinion of edges";
    RouterOpinionsUntold, "router", "router_opinions_untold_total", Counter, "times that another router could not be told";
    RouterOpinionsHeard, "router", "router_opinions_heard_total", Counter, "times that another router told its opinion of edges";
    RouterEdgesHealthy, "router", "router_edges_healthy", Gauge, "edges that viewers may be sent to";
    RouterProgramRunning, "router", "router_program_running", Gauge, "1 while the policy program runs";
    RouterProgramStarts, "router", "router_program_starts_total", Counter, "times that the policy program was started";
    RouterProgramQuestions, "router", "router_program_questions_total", Counter, "questions put to the policy program";
    RouterProgramAnswers, "router", "router_program_answers_total", Counter, "answers of the policy program that can be used";
    RouterProgramLate, "router", "router_program_late_total", Counter, "answers of the policy program that took longer than the deadline";
    RouterProgramNonsense, "router", "router_program_nonsense_total", Counter, "lines of the policy program that are no answer";
    RouterProgramUnknownPop, "router", "router_program_unknown_pop_total", Counter, "answers of the policy program that name a PoP which is not there";
    RouterProgramHung, "router", "router_program_hung_total", Counter, "times that the policy program was killed because it kept silent";
    RouterProgramDied, "router", "router_program_died_total", Counter, "times that the policy program ended by itself";
    RouterProgramNotStarted, "router", "router_program_not_started_total", Counter, "times that the policy program could not be started";
    RouterProgramNetworksMax, "router", "router_program_networks_max_total", Counter, "client networks that the policy program was not asked about, because there are more than it is asked about";
    RouterFailOpen, "router", "router_fail_open", Gauge, "1 while too few edges are healthy, so that health is ignored";
    RouterPopsSpilling, "router", "router_pops_spilling", Gauge, "PoPs that send a share of their clients on, because of their load";
    RouterEdgesBounded, "router", "router_edges_bounded", Gauge, "edges that send a share of their clients on to others of their PoP, because of their load";
    RouterSnapshotsForgotten, "router", "router_snapshots_forgotten_total", Counter, "snapshots whose decisions can no longer be replayed, because as many newer ones as allowed are kept, or because their client networks were replaced twice";
    RouterSnapshotVersion, "router", "router_snapshot_version", Gauge, "the version of the snapshot that answers come from";
    // origin (simulated, folder, and faults laid over an app)
    OriginConnections, "origin", "origin_connections", Gauge, "connections that are open";
    OriginConnectionsAccepted, "origin", "origin_connections_accepted_total", Counter, "connections accepted";
    OriginConnectionsRefused, "origin", "origin_connections_refused_total", Counter, "connections closed at once because the limit was reached";
    OriginTlsHandshakes, "origin", "origin_tls_handshakes_total", Counter, "TLS handshakes that were completed";
    OriginTlsFailures, "origin", "origin_tls_failures_total", Counter, "connections closed because their TLS handshake failed";
    OriginRequests, "origin", "origin_requests_total", Counter, "requests received";
    OriginActive, "origin", "origin_active", Gauge, "requests that occupy a slot";
    OriginQueued, "origin", "origin_queued", Gauge, "requests that wait for a slot";
    OriginOverloaded, "origin", "origin_overloaded_total", Counter, "requests turned away because slots and queue were full";
    OriginErrors, "origin", "origin_errors_total", Counter, "answers with a status from 500 to 599";
    OriginRejected, "origin", "origin_rejected_total", Counter, "requests refused because they were malformed or too large";
    OriginHeadTimeouts, "origin", "origin_head_timeouts_total", Counter, "connections closed because no request came in time";
    OriginBodyTimeouts, "origin", "origin_body_timeouts_total", Counter, "requests whose body stopped coming";
    OriginSendTimeouts, "origin", "origin_send_timeouts_total", Counter, "connections closed because the client took nothing of its answer";
    OriginBodyBytesSent, "origin", "origin_body_bytes_sent_total", Counter, "bytes of bodies sent";
    OriginPathsOverflowed, "origin", "origin_paths_overflowed_total", Counter, "requests counted under another row because the table of paths was full";
    OriginGateConnections, "origin", "origin_gate_connections_total", Counter, "connections to an app that passed where faults are laid over it";
    OriginGateRequests, "origin", "origin_gate_requests_total", Counter, "requests to an app that passed there";
    OriginGateOpaque, "origin", "origin_gate_opaque_total", Counter, "connections to an app that stopped being HTTP/1.1 messages (upgrades too), passed on untouched";
    OriginFaultStatus, "origin", "origin_fault_status_total", Counter, "requests answered with a status that a fault asked for";
    OriginFaultLatency, "origin", "origin_fault_latency_total", Counter, "requests delayed by a fault";
    OriginFaultTruncate, "origin", "origin_fault_truncate_total", Counter, "answers cut in the middle by a fault";
    OriginFaultStall, "origin", "origin_fault_stall_total", Counter, "answers that a fault let hang in the middle";
    OriginFaultGarbage, "origin", "origin_fault_garbage_total", Counter, "requests answered with bytes that are not HTTP, by a fault";
    OriginFaultThrottle, "origin", "origin_fault_throttle_total", Counter, "answers slowed down by a fault";
    OriginFaultReset, "origin", "origin_fault_reset_total", Counter, "requests answered with a reset of the connection, by a fault";
    OriginFaultBlackhole, "origin", "origin_fault_blackhole_total", Counter, "requests that a fault left without an answer";
    OriginFaultRefuse, "origin", "origin_fault_refuse_total", Counter, "connections and requests reset at once by a fault";
    // viewer
    ViewerConnections, "viewer", "viewer_connections", Gauge, "client connections that are open at the proxy";
    ViewerConnectionsRefused, "viewer", "viewer_connections_refused_total", Counter, "client connections closed at once because the limit was reached";
    ViewerRequests, "viewer", "viewer_requests_total", Counter, "requests that clients sent through the proxy, tunnels included";
    ViewerRejected, "viewer", "viewer_rejected_total", Counter, "requests that the proxy refused: malformed, an unknown place, a host outside the world";
    ViewerErrors, "viewer", "viewer_errors_total", Counter, "requests that failed between the viewer and the edges";
    ViewerConnects, "viewer", "viewer_connects_total", Counter, "connections opened to edges";
    ViewerConnectFailures, "viewer", "viewer_connect_failures_total", Counter, "connection attempts that were refused, reset or timed out";
    ViewerConnectionsReused, "viewer", "viewer_connections_reused_total", Counter, "requests sent on a kept connection";
    ViewerFallbacks, "viewer", "viewer_fallbacks_total", Counter, "requests that another than the first address served";
    ViewerResends, "viewer", "viewer_resends_total", Counter, "requests sent again because a connection failed before it answered";
    ViewerPoolEvictions, "viewer", "viewer_pool_evictions_total", Counter, "unused connections closed because the limit was reached";
    ViewerTunnels, "viewer", "viewer_tunnels", Gauge, "tunnels and upgraded connections that are open";
    ViewerTunnelsCut, "viewer", "viewer_tunnels_cut_total", Counter, "tunnels closed because the node stopped";
    ViewerDnsQueries, "viewer", "viewer_dns_queries_total", Counter, "questions put to the routers";
    ViewerDnsRetransmits, "viewer", "viewer_dns_retransmits_total", Counter, "questions put again after a router was silent or failed";
    ViewerDnsTruncated, "viewer", "viewer_dns_truncated_total", Counter, "truncated answers, asked again over TCP";
    ViewerDnsFailures, "viewer", "viewer_dns_failures_total", Counter, "questions that no router answered";
    ViewerDnsCacheHits, "viewer", "viewer_dns_cache_hits_total", Counter, "questions answered from a resolver's cache";
    ViewerDnsCacheEvictions, "viewer", "viewer_dns_cache_evictions_total", Counter, "kept answers dropped before their TTL because the limit was reached";
    ViewerDnsBusy, "viewer", "viewer_dns_busy_total", Counter, "questions refused because a resolver had too many lookups under way";
    ViewerMeasurements, "viewer", "viewer_measurements_total", Counter, "times that the second address of an answer was measured in the background";
    ViewerBeacons, "viewer", "viewer_beacons_total", Counter, "round trips reported to the routers";
    ViewerBeaconsFailed, "viewer", "viewer_beacons_failed_total", Counter, "reports that no router took";
    ViewerBeaconsDropped, "viewer", "viewer_beacons_dropped_total", Counter, "reports dropped because too many were under way";
    ViewerLoadRequests, "viewer", "viewer_load_requests_total", Counter, "requests that loads meant to make";
    ViewerLoadInFlight, "viewer", "viewer_load_in_flight", Gauge, "requests of loads that are under way";
    ViewerLoadFull, "viewer", "viewer_load_full_total", Counter, "requests of loads that were not made because the limit was reached";
    ViewerLoadRetries, "viewer", "viewer_load_retries_total", Counter, "requests that users of loads made again after a failure";
    ViewerLoadObservationsDropped, "viewer", "viewer_load_observations_dropped_total", Counter, "observations of loads dropped because their reader was too slow";
    ViewerRelayFull, "viewer", "viewer_relay_full_total", Counter, "datagrams of browsers dropped because as many connections as allowed were open";
    ViewerRelayDatagramsDropped, "viewer", "viewer_relay_datagrams_dropped_total", Counter, "datagrams of browsers dropped because too many waited";
    ViewerLedgersDropped, "viewer", "viewer_ledgers_dropped_total", Counter, "ledgers dropped because the limit was reached";
    // wan
    // what every process writes
    LogLinesLost, "log", "log_lines_lost_total", Counter, "lines of a log that could not be written";

    WanConnects, "wan", "wan_connects_total", Counter, "connections opened through links";
    WanDialNoRoute, "wan", "wan_dial_no_route_total", Counter, "dials to an address that no site owns, refused";
    WanConnectsFailed, "wan", "wan_connects_failed_total", Counter, "connects that the target refused";
    WanConnections, "wan", "wan_connections", Gauge, "connections through links, those included whose user has gone while bytes still travel";
    WanBytesUp, "wan", "wan_bytes_up_total", Counter, "bytes written to links by who dialled";
    WanBytesDown, "wan", "wan_bytes_down_total", Counter, "bytes read from links by who dialled";
    WanRetransmissions, "wan", "wan_retransmissions_total", Counter, "bursts of streams that a link dropped, to be sent again";
    WanLingersExpired, "wan", "wan_lingers_expired_total", Counter, "connections whose user had gone and whose last bytes could not be delivered in time";
    WanDatagramsUp, "wan", "wan_datagrams_up_total", Counter, "datagrams sent";
    WanDatagramsDown, "wan", "wan_datagrams_down_total", Counter, "datagrams received";
    WanDropsLoss, "wan", "wan_drops_loss_total", Counter, "datagrams and packets of handshakes lost by chance";
    WanDropsQueueFull, "wan", "wan_drops_queue_full_total", Counter, "datagrams and packets of handshakes that found the queue of a link full";
    WanDropsSilence, "wan", "wan_drops_silence_total", Counter, "datagrams and packets of handshakes swallowed by a partition or a black hole";
    // control plane
    ControlConnections, "control", "control_connections", Gauge, "connections to the control API that are open";
    ControlConnectionsRefused, "control", "control_connections_refused_total", Counter, "connections to the control API closed at once because the limit was reached";
    ControlRequests, "control", "control_requests_total", Counter, "requests to the control API";
    ControlRejected, "control", "control_rejected_total", Counter, "requests to the control API that were malformed, or asked for what is not there or not possible";
    ControlUnauthorized, "control", "control_unauthorized_total", Counter, "requests to the control API without the right token";
    ControlHostRejected, "control", "control_host_rejected_total", Counter, "dashboard pages sent without the token because Host or peer was not the loopback's";
    ControlBodyTooLarge, "control", "control_body_too_large_total", Counter, "requests to the control API whose body exceeded the limit";
    ControlBodyTimeouts, "control", "control_body_timeouts_total", Counter, "requests to the control API whose body did not arrive in time";
    ControlFaultsActive, "control", "control_faults_active", Gauge, "faults, link changes, killed and paused nodes that are active";
    ControlFaultsFull, "control", "control_faults_full_total", Counter, "faults refused because as many as allowed are active";
    ControlEvents, "control", "control_events_total", Counter, "events published";
    ControlEventsLost, "control", "control_events_lost_total", Counter, "events that a subscriber missed because it was slower than the ring is long";
    ControlStreams, "control", "control_streams", Gauge, "event and log streams that are open";
    ControlStreamsFull, "control", "control_streams_full_total", Counter, "streams refused because as many as allowed are open";
    ControlInvalidations, "control", "control_invalidations_total", Counter, "invalidations accepted";
    ControlInvalidationsFull, "control", "control_invalidations_full_total", Counter, "invalidations refused because too many paths are in progress";
    ControlKeysFull, "control", "control_keys_full_total", Counter, "public keys and key groups refused because as many as allowed are there";
    ControlInvalidationRetries, "control", "control_invalidation_retries_total", Counter, "deliveries of an invalidation to a node that were tried again";
    ControlHandsFailed, "control", "control_hands_failed_total", Counter, "actions on nodes that failed";
    ControlMetricsFailed, "control", "control_metrics_failed_total", Counter, "nodes whose metrics could not be read for a roll-up";
    ControlMetricsLinesDropped, "control", "control_metrics_lines_dropped_total", Counter, "lines of nodes' metrics that are not Prometheus text";
}

impl Counter {
    /// Its row.
    pub const fn row(self) -> &'static Row {
        // The rows are made from the same list as the variants, in the same order.
        &ROWS[self as usize]
    }

    /// The counter that `/metrics` calls `name`, with or without `iso_` before it.
    pub fn called(name: &str) -> Option<Self> {
        let name = name.strip_prefix("iso_").unwrap_or(name);
        ROWS.iter().find(|row| row.name == name).map(|row| row.counter)
    }
}

/// The values of one node.
#[derive(Debug)]
pub struct Counters {
    values: [AtomicU64; ROWS.len()],
    has_one_writer: bool,
}

impl Default for Counters {
    fn default() -> Self {
        Self { values: std::array::from_fn(|_| AtomicU64::new(0)), has_one_writer: false }
    }
}

impl Counters {
    /// For a node that one thread counts for. An atomic add makes a processor wait for all its reads and writes; here counting
    /// is a read and a write like any other. What other threads counted meanwhile would be lost.
    pub fn of_one_thread() -> Self {
        Self { has_one_writer: true, ..Self::default() }
    }

    /// Adds one.
    #[inline]
    pub fn bump(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Adds `n`.
    #[inline]
    pub fn add(&self, counter: Counter, n: u64) {
        let value = &self.values[counter as usize];
        if self.has_one_writer {
            value.store(value.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
        } else {
            value.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// Takes `n` off a gauge.
    pub fn sub(&self, gauge: Counter, n: u64) {
        self.add(gauge, n.wrapping_neg());
    }

    /// Sets a gauge.
    pub fn set(&self, gauge: Counter, value: u64) {
        self.values[gauge as usize].store(value, Ordering::Relaxed);
    }

    /// Reads a value.
    pub fn value(&self, counter: Counter) -> u64 {
        self.values[counter as usize].load(Ordering::Relaxed)
    }

    /// The rows of `roles` in Prometheus' text format 0.0.4, each with `labels` (already escaped, without braces).
    pub fn prometheus(&self, roles: &[&str], labels: &str) -> String {
        let mut text = String::new();
        for row in ROWS.iter().filter(|row| roles.contains(&row.role)) {
            let (name, kind, help) = (row.name, row.kind.as_str(), row.help);
            let value = self.value(row.counter);
            let _ =
                writeln!(text, "# HELP iso_{name} {help}\n# TYPE iso_{name} {kind}\niso_{name}{{{labels}}} {value}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_the_order_of_the_enum_and_names_are_unique() {
        for (at, row) in ROWS.iter().enumerate() {
            assert_eq!(row.counter as usize, at, "{}", row.name);
            assert!(row.name.starts_with(row.role), "{}", row.name);
            assert_eq!(row.kind == Kind::Counter, row.name.ends_with("_total"), "{}", row.name);
        }
        let mut names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ROWS.len());
    }

    #[test]
    fn one_thread_counts_as_many_threads_do() {
        for counters in [Counters::default(), Counters::of_one_thread()] {
            counters.bump(Counter::EdgeConnections);
            counters.add(Counter::EdgeConnections, 6);
            counters.sub(Counter::EdgeConnections, 3);
            assert_eq!(counters.value(Counter::EdgeConnections), 4);
        }
    }

    #[test]
    fn prometheus_text_has_help_type_and_labels() {
        let counters = Counters::default();
        counters.bump(Counter::WanConnects);
        let text = counters.prometheus(&["wan"], "node=\"edge.iad\"");
        assert!(
            text.contains("# TYPE iso_wan_connects_total counter\niso_wan_connects_total{node=\"edge.iad\"} 1\n"),
            "{text}"
        );
        assert!(!text.contains("edge_requests"));
    }
}
