//! CloudFront's rules: its TTL table over RFC 9111, its table of cached errors, and RFC 5861's two directives.
//!
//! The AWS pages are "Manage how long content stays in the cache" and
//! "How CloudFront caches errors".

use std::time::Duration;

use super::{Arrival, LIFETIME_MAX, Lifetime, Refusal, Storing, asked_lifetime, initial_age};

/// Decides by CloudFront's tables.
pub(super) fn assess(arrival: &Arrival<'_>) -> Storing {
    let directives = &arrival.said.directives;
    let public = directives.public || directives.s_maxage.is_some() || directives.must_revalidate;
    if arrival.authorized && !public {
        return Storing::Refuse(Refusal::Authorization);
    }
    let asked = asked_lifetime(arrival);
    match arrival.status.as_u16() {
        200 | 203 | 300 | 301 | 302 | 303 | 307 | 308 | 410 => assess_success(arrival, asked),
        // Storable by RFC 9111 section 3 with an explicit lifetime, and in no list of CloudFront's.
        204 if asked.is_some() => assess_success(arrival, asked),
        404 | 414 | 501 if directives.no_store => Storing::Refuse(Refusal::NoStore),
        404 | 414 | 501 if directives.private => Storing::Refuse(Refusal::Private),
        404 | 414 | 501 if directives.no_cache => Storing::Refuse(Refusal::NoCache),
        404 | 414 | 500..=504 => store_error(arrival, asked),
        400 | 403 | 405 | 412 | 415 if directives.shared_max_age().is_some() => store_error(arrival, asked),
        206 | 304 | 412 | 416 => Storing::Refuse(Refusal::Partial),
        _ => Storing::Refuse(Refusal::Status),
    }
}

/// CloudFront's TTL table for what is no error.
fn assess_success(arrival: &Arrival<'_>, asked: Option<Duration>) -> Storing {
    let (policy, directives) = (arrival.policy, &arrival.said.directives);
    let (min, max) = (policy.min_ttl, policy.max_ttl.min(LIFETIME_MAX));
    let withdrawn = directives.no_store || directives.private || directives.no_cache;
    if min.is_zero() {
        if directives.no_store {
            return Storing::Refuse(Refusal::NoStore);
        }
        if directives.private {
            return Storing::Refuse(Refusal::Private);
        }
    }
    let ttl = match asked {
        _ if withdrawn => min,
        Some(asked) => asked.max(min).min(max),
        None => policy.default_ttl.max(min).min(max),
    };
    let initial_age = initial_age(arrival.said, arrival.requested_at, arrival.responded_at, arrival.date);
    // What is old on arrival still gets the minimum: the policy overrides the origin there.
    let fresh_for = ttl.saturating_sub(initial_age).max(min);
    let rest = max.saturating_sub(fresh_for);
    let while_revalidate = if withdrawn { None } else { directives.stale_while_revalidate };
    let stale_on_error = match directives.stale_if_error {
        Some(span) => span.min(max),
        // Nobody asked for it: what its origin withdrew from caches does not outlive its lifetime.
        None if withdrawn => Duration::ZERO,
        None => rest,
    };
    let lifetime = Lifetime {
        initial_age,
        fresh_for,
        while_revalidate: while_revalidate.unwrap_or_default().min(rest),
        if_error: stale_on_error,
        if_gone: stale_on_error,
        retry_after: arrival.error_ttl_min,
    };
    let explicit =
        directives.stale_if_error.is_some_and(|span| !span.is_zero()) || !lifetime.while_revalidate.is_zero();
    if fresh_for.is_zero() && !explicit && !arrival.said.has_validator {
        return Storing::Refuse(Refusal::Unusable);
    }
    Storing::Store(lifetime)
}

/// Errors are stored for the longer of the minimum and what the origin asks; they are never used stale. Only an `Age`
/// that the error came with is taken off: the time that a failing origin took is not time in a cache.
fn store_error(arrival: &Arrival<'_>, asked: Option<Duration>) -> Storing {
    let ttl = asked.unwrap_or_default().min(arrival.policy.max_ttl).max(arrival.error_ttl_min);
    let age = arrival.said.age;
    let fresh_for = ttl.saturating_sub(age);
    if fresh_for.is_zero() {
        return Storing::Refuse(Refusal::Unusable);
    }
    Storing::Store(Lifetime { initial_age: age, fresh_for, ..Lifetime::default() })
}
