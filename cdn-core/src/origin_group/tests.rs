//! The machine of origin groups, one fact per test.

use super::*;

const GET: RequestKind = RequestKind { method: Method::GET, cache_options: false, repeats: true };

fn kind(method: Method) -> RequestKind {
    RequestKind { method, cache_options: false, repeats: true }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn origin(tries: u8, connect: u64, response: u64) -> Origin {
    Origin {
        connection_attempts: tries,
        connection_timeout: secs(connect),
        response_timeout: secs(response),
        ..Origin::new("origin.test")
    }
}

fn group(codes: &[u16], on_transport_error: TransportFailover) -> OriginGroup {
    OriginGroup {
        members: ["primary".into(), "secondary".into()],
        failover_codes: codes.iter().map(|code| StatusCode::from_u16(*code).unwrap()).collect(),
        on_transport_error,
    }
}

fn grouped(request: RequestKind, codes: &[u16]) -> Exchange {
    let (a, b) = (origin(3, 10, 30), origin(3, 10, 30));
    Exchange::with_group(Instant::ZERO, request, &group(codes, TransportFailover::Documented), [&a, &b])
}

/// What each member of a scripted world does.
#[derive(Clone, Copy)]
enum Does {
    Answer(u16),
    Fail(Failure),
    BlackHole,
    Silence,
    Malformed,
}

/// Runs to the end; gives the last step, when it came, and how often each member was connected to.
fn run(exchange: &mut Exchange, does: [Does; 2]) -> (Step, Instant, [u32; 2]) {
    let (mut now, mut connects) = (Instant::ZERO, [0; 2]);
    for _ in 0..100 {
        match exchange.step() {
            Step::Connect { member, deadline, .. } => {
                connects[member] += 1;
                match does[member] {
                    Does::Fail(failure) => exchange.on_failure(now, failure),
                    Does::BlackHole => {
                        now = deadline;
                        exchange.on_timeout(now);
                    }
                    Does::Answer(_) | Does::Silence | Does::Malformed => exchange.on_connected(now, false),
                }
            }
            Step::Send { member, deadline } => match does[member] {
                Does::Answer(status) => exchange.on_response(now, StatusCode::from_u16(status).unwrap()),
                Does::Malformed => exchange.on_failure(now, Failure::Invalid),
                _ => {
                    now = deadline;
                    exchange.on_timeout(now);
                }
            },
            end => return (end, now, connects),
        }
    }
    panic!("the exchange does not end: {exchange:?}");
}

fn outcome(exchange: &mut Exchange, does: [Does; 2]) -> (Step, u64) {
    let (step, at, _) = run(exchange, does);
    (step, at.as_nanos() / 1_000_000_000)
}

const SECONDARY: Step = Step::Serve { member: 1 };

#[test]
fn selected_status_moves_to_the_secondary_and_each_is_asked_once() {
    let mut exchange = grouped(GET, &[503]);
    let (step, _, connects) = run(&mut exchange, [Does::Answer(503), Does::Answer(200)]);
    assert_eq!((step, connects), (SECONDARY, [1, 1]));
    assert_eq!(exchange.failed_over(), Some(FailedOver::Status(StatusCode::SERVICE_UNAVAILABLE)));
}

#[test]
fn each_exchange_begins_at_the_primary() {
    for _ in 0..2 {
        assert!(matches!(grouped(GET, &[503]).step(), Step::Connect { member: 0, .. }));
    }
}

#[test]
fn other_statuses_are_served_as_they_are() {
    for status in [200, 304, 401, 500] {
        let mut exchange = grouped(GET, &[503]);
        let (step, _, connects) = run(&mut exchange, [Does::Answer(status), Does::Answer(200)]);
        assert_eq!((step, connects), (Step::Serve { member: 0 }, [1, 0]), "{status}");
    }
}

#[test]
fn methods_that_change_things_do_not_fail_over() {
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS] {
        let mut exchange = grouped(kind(method.clone()), &[502, 503, 504]);
        let (step, ..) = run(&mut exchange, [Does::Answer(503), Does::Answer(200)]);
        assert_eq!(step, Step::Serve { member: 0 }, "{method}");
        let mut exchange = grouped(kind(method.clone()), &[502, 503, 504]);
        let (step, ..) = run(&mut exchange, [Does::Fail(Failure::Refused), Does::Answer(200)]);
        assert_eq!(step, Step::GiveUp { member: 0, failure: Failure::Refused }, "{method}");
    }
}

#[test]
fn options_fail_over_where_they_are_cached() {
    let mut exchange = grouped(RequestKind { method: Method::OPTIONS, cache_options: true, repeats: true }, &[503]);
    assert_eq!(outcome(&mut exchange, [Does::Answer(503), Does::Answer(200)]).0, SECONDARY);
}

#[test]
fn black_hole_with_one_try_of_one_second_takes_one_second() {
    let (a, b) = (origin(1, 1, 30), origin(3, 10, 30));
    let group = group(&[503, 504], TransportFailover::Documented);
    let mut exchange = Exchange::with_group(Instant::ZERO, GET, &group, [&a, &b]);
    assert_eq!(outcome(&mut exchange, [Does::BlackHole, Does::Answer(200)]), (SECONDARY, 1));
}

#[test]
fn the_defaults_mean_thirty_seconds_of_silence() {
    assert_eq!(outcome(&mut grouped(GET, &[504]), [Does::BlackHole, Does::Answer(200)]), (SECONDARY, 30));
    let end = Step::GiveUp { member: 1, failure: Failure::ConnectTimeout };
    assert_eq!(outcome(&mut grouped(GET, &[504]), [Does::BlackHole, Does::BlackHole]), (end, 60));
}

#[test]
fn a_silent_origin_is_asked_again_for_get_and_head_only() {
    for (method, seconds, connects) in
        [(Method::GET, 90, 3), (Method::HEAD, 90, 3), (Method::OPTIONS, 30, 1), (Method::POST, 30, 1)]
    {
        let mut exchange = Exchange::with_origin(Instant::ZERO, kind(method.clone()), "app", &origin(3, 10, 30));
        let (step, at, tries) = run(&mut exchange, [Does::Silence, Does::Silence]);
        assert_eq!(step, Step::GiveUp { member: 0, failure: Failure::ResponseTimeout });
        assert_eq!((at, tries[0]), (Instant::ZERO + secs(seconds), connects), "{method}");
    }
}

#[test]
fn refused_connects_are_tried_again_for_every_method_and_recorded() {
    let mut exchange = Exchange::with_origin(Instant::ZERO, kind(Method::POST), "app", &origin(3, 10, 30));
    let (step, at, connects) = run(&mut exchange, [Does::Fail(Failure::Refused); 2]);
    assert_eq!((step, at), (Step::GiveUp { member: 0, failure: Failure::Refused }, Instant::ZERO));
    assert_eq!((connects[0], exchange.attempts().len(), exchange.origin_id(0)), (3, 3, "app"));
}

#[test]
fn both_down_is_the_secondarys_failure() {
    let mut exchange = grouped(GET, &[502, 504]);
    let end = Step::GiveUp { member: 1, failure: Failure::Refused };
    assert_eq!(run(&mut exchange, [Does::BlackHole, Does::Fail(Failure::Refused)]).0, end);
    assert_eq!(Failure::Refused.status(), 502);
}

#[test]
fn the_secondarys_answer_is_final() {
    for (primary, secondary) in [(404, 404), (503, 503), (503, 404)] {
        let mut exchange = grouped(GET, &[404, 503]);
        let (step, _, connects) = run(&mut exchange, [Does::Answer(primary), Does::Answer(secondary)]);
        assert_eq!((step, connects), (SECONDARY, [1, 1]));
    }
}

#[test]
fn transport_failures_move_the_request_when_their_codes_are_selected() {
    let selecting = |failure: Failure| -> &[u16] {
        match failure {
            Failure::Refused | Failure::Reset | Failure::Unreachable | Failure::Certificate(_) | Failure::Tls => {
                &[502, 503]
            }
            Failure::ConnectTimeout => &[503, 504],
            Failure::ResponseTimeout | Failure::CompletionTimeout => &[504],
            Failure::Invalid | Failure::HeadersTooLarge => &[502],
        }
    };
    for failure in Failure::ALL {
        for code in [400, 403, 404, 416, 429, 500, 502, 503, 504] {
            let selected = selecting(failure).contains(&code);
            let codes = group(&[code], TransportFailover::Documented);
            let failover = Failover { codes: codes.failover_codes, on_transport_error: codes.on_transport_error };
            assert_eq!(failure.moves(&failover), selected, "{failure:?} with {code}");
        }
        let always = Failover { codes: vec![], on_transport_error: TransportFailover::Always };
        assert!(failure.moves(&always), "{failure:?}");
    }
}

#[test]
fn a_failure_that_the_codes_forbid_leaves_a_hint() {
    let mut exchange = grouped(GET, &[500]);
    let (step, ..) = run(&mut exchange, [Does::Fail(Failure::Refused), Does::Answer(200)]);
    assert_eq!(step, Step::GiveUp { member: 0, failure: Failure::Refused });
    assert!(exchange.only_codes_forbade_failover());
    let mut exchange = grouped(kind(Method::POST), &[500]);
    run(&mut exchange, [Does::Fail(Failure::Refused), Does::Answer(200)]);
    assert!(!exchange.only_codes_forbade_failover(), "the method forbade it");
}

#[test]
fn malformed_answers_fail_over_without_a_second_try() {
    let mut exchange = grouped(GET, &[502]);
    let (step, _, connects) = run(&mut exchange, [Does::Malformed, Does::Answer(200)]);
    assert_eq!((step, connects), (SECONDARY, [1, 1]));
}

#[test]
fn a_stale_pooled_connection_costs_no_try_and_no_line() {
    let mut exchange = Exchange::with_origin(Instant::ZERO, GET, "app", &origin(1, 10, 30));
    exchange.on_connected(Instant::ZERO, true);
    exchange.on_failure(Instant::ZERO, Failure::Reset);
    assert!(matches!(exchange.step(), Step::Connect { member: 0, may_reuse: false, .. }));
    exchange.on_connected(Instant::ZERO, false);
    exchange.on_response(Instant::ZERO, StatusCode::OK);
    assert_eq!(exchange.step(), Step::Serve { member: 0 });
    assert_eq!(exchange.attempts().len(), 2, "a connect and a response: {:?}", exchange.attempts());
}

#[test]
fn what_cannot_be_repeated_is_not_repeated_on_a_stale_connection() {
    let mut post = Exchange::with_origin(Instant::ZERO, kind(Method::POST), "app", &origin(3, 10, 30));
    post.on_connected(Instant::ZERO, true);
    post.on_failure(Instant::ZERO, Failure::Reset);
    assert_eq!(post.step(), Step::GiveUp { member: 0, failure: Failure::Reset });
    let mut put = Exchange::with_origin(Instant::ZERO, kind(Method::PUT), "app", &origin(3, 10, 30));
    put.on_connected(Instant::ZERO, true);
    put.on_body_begun();
    put.on_failure(Instant::ZERO, Failure::Reset);
    assert_eq!(put.step(), Step::GiveUp { member: 0, failure: Failure::Reset });
}

#[test]
fn what_was_never_sent_may_be_sent_by_any_method() {
    let mut post = Exchange::with_origin(Instant::ZERO, kind(Method::POST), "app", &origin(1, 10, 30));
    post.on_connected(Instant::ZERO, true);
    post.on_unsent(Instant::ZERO);
    assert!(matches!(post.step(), Step::Connect { may_reuse: false, .. }));
    post.on_connected(Instant::ZERO, false);
    post.on_unsent(Instant::ZERO);
    assert_eq!(post.step(), Step::GiveUp { member: 0, failure: Failure::Reset });
}

#[test]
fn a_request_whose_body_has_begun_does_not_fail_over() {
    let mut exchange =
        grouped(RequestKind { method: Method::OPTIONS, cache_options: true, repeats: true }, &[503, 504]);
    exchange.on_connected(Instant::ZERO, false);
    exchange.on_body_begun();
    exchange.on_response(Instant::ZERO, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(exchange.step(), Step::Serve { member: 0 });
}

#[test]
fn completion_timeout_cuts_every_attempt_short_and_may_fail_over() {
    let primary = Origin { completion_timeout: Some(secs(35)), ..origin(3, 10, 30) };
    let secondary = origin(3, 10, 30);
    let codes = group(&[504], TransportFailover::Documented);
    let mut exchange = Exchange::with_group(Instant::ZERO, GET, &codes, [&primary, &secondary]);
    assert_eq!(outcome(&mut exchange, [Does::Silence, Does::Answer(200)]), (SECONDARY, 35));
    assert_eq!(exchange.failed_over(), Some(FailedOver::Transport(Failure::CompletionTimeout)));
    assert_eq!(exchange.completion_deadline(), None, "the secondary has none");
}

#[test]
fn the_ledger_adds_up_to_the_time_that_passed() {
    let mut exchange = grouped(GET, &[504]);
    let (_, at, _) = run(&mut exchange, [Does::BlackHole, Does::Silence]);
    let sum: Duration = exchange.attempts().iter().map(|attempt| attempt.took).sum();
    assert_eq!(Instant::ZERO + sum, at);
}

#[test]
fn an_uploads_own_time_is_not_the_origins() {
    let at = |secs| Instant::ZERO + Duration::from_secs(secs);
    let deadline = |exchange: &Exchange| match exchange.step() {
        Step::Send { deadline, .. } => deadline,
        other => panic!("{other:?}"),
    };
    let capped = Origin { completion_timeout: Some(secs(70)), ..origin(1, 10, 30) };
    let mut exchange = Exchange::with_origin(at(0), kind(Method::POST), "app", &capped);
    exchange.on_connected(at(1), false);
    assert_eq!(deadline(&exchange), at(31));
    exchange.on_body_progress(at(25));
    exchange.on_body_progress(at(20));
    assert_eq!(deadline(&exchange), at(55));
    exchange.on_body_progress(at(50));
    assert_eq!(deadline(&exchange), at(70), "the whole exchange has its own end");
    exchange.on_timeout(at(70));
    assert!(matches!(exchange.step(), Step::GiveUp { failure: Failure::CompletionTimeout, .. }));
}

#[test]
fn where_nothing_is_repeated_the_first_failure_is_the_last() {
    let kind = RequestKind { repeats: false, ..GET };
    let mut reset = Exchange::with_origin(Instant::ZERO, kind.clone(), "a", &Origin::new("a.test"));
    reset.on_connected(Instant::ZERO, true);
    reset.on_failure(Instant::ZERO, Failure::Reset);
    assert!(matches!(reset.step(), Step::GiveUp { failure: Failure::Reset, .. }));
    let mut silent = Exchange::with_origin(Instant::ZERO, kind, "a", &Origin::new("a.test"));
    silent.on_connected(Instant::ZERO, false);
    silent.on_timeout(Instant::ZERO);
    assert!(matches!(silent.step(), Step::GiveUp { failure: Failure::ResponseTimeout, .. }));
}

#[test]
fn a_tls_handshake_has_a_line_of_its_own_and_shares_the_connection_timeout() {
    let at = |secs_since_start| Instant::ZERO + secs(secs_since_start);
    let mut exchange = Exchange::with_origin(at(0), GET, "app", &origin(2, 2, 30));
    exchange.on_accepted(at(1));
    assert_eq!(exchange.step(), Step::Connect { member: 0, deadline: at(2), may_reuse: true });
    exchange.on_failure(at(1), Failure::Certificate(CertificateFault::Expired));
    exchange.on_accepted(at(2));
    exchange.on_connected(at(3), false);
    let lines: Vec<_> = exchange.attempts().iter().map(|attempt| (attempt.phase, attempt.outcome)).collect();
    let refused = AttemptOutcome::Failed(Failure::Certificate(CertificateFault::Expired));
    assert_eq!(
        lines,
        [
            (Phase::Connect, AttemptOutcome::Connected),
            (Phase::Tls, refused),
            (Phase::Connect, AttemptOutcome::Connected),
            (Phase::Tls, AttemptOutcome::Connected),
        ]
    );
}
