//! Expectations: from what was typed to what must hold.

use cdn_core::{Counter, Reason, counters::ROWS};
use world::scenario::{Area, Expectation, Unit, What};

use super::{
    file::{ExpectFile, Figure},
    names::Names,
};
use crate::{
    diagnose::{KeyError, did_you_mean, nearest_or_all},
    quantity::Span,
};

/// What can be looked at, as it is listed.
const WORDS: [&str; 17] = [
    "availability",
    "p50",
    "p95",
    "p99",
    "p99.9",
    "max",
    "hit_ratio",
    "origin_rps",
    "origin_requests",
    "failovers",
    "detect",
    "reroute",
    "recover",
    "wrong_bytes",
    "stale_after_invalidation",
    "laws_broken",
    "errors",
];

/// Checks one expectation of a scenario of `length`. `line` is where it stands.
pub(super) fn expectation_of(
    index: usize,
    file: &ExpectFile,
    line: u32,
    length: Span,
    names: &Names<'_>,
) -> Result<Expectation, KeyError> {
    let key = |field: &str| format!("expect.{index}.{field}");
    let what = what_of(&key("what"), &file.what)?;
    let figure = |field: &str, written: &Option<Figure>| {
        let Some(written) = written else { return Ok(None) };
        let read = match what.unit() {
            Unit::Share => written.share(),
            Unit::Seconds => written.seconds(),
            Unit::Count | Unit::PerSecond => written.count(),
        };
        read.map(Some).map_err(|why| KeyError::new(&key(field), format!("{what}: {why}")))
    };
    let (min, max, equals) = (figure("min", &file.min)?, figure("max", &file.max)?, figure("equals", &file.equals)?);
    if min.is_none() && max.is_none() && equals.is_none() {
        return Err(
            KeyError::new(&key("what"), format!("nothing is said that {what} must be")).hint("add min, max or equals")
        );
    }
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        return Err(KeyError::new(&key("min"), "nothing is at least min and at most max"));
    }
    if let Some(equals) = equals
        && (min.is_some_and(|min| equals < min) || max.is_some_and(|max| equals > max))
    {
        return Err(KeyError::new(&key("equals"), "it cannot be that and hold min and max too"));
    }
    let after = file.after.map_or(Span(std::time::Duration::ZERO), |span| span);
    if after >= length {
        return Err(KeyError::new(&key("after"), format!("the scenario ends at {length}")));
    }
    if let Some(before) = file.before
        && before <= after
    {
        return Err(KeyError::new(&key("before"), format!("{before} is not later than {after}")));
    }
    let (from, served_by) = match &file.from {
        Some(name) => names.area(&key("from"), name)?,
        None => (Area::World, None),
    };
    let pop = match &file.pop {
        Some(name) => Some(names.pop(&key("pop"), name)?),
        None => served_by,
    };
    let node = match &file.node {
        Some(name) => match names.nodes(&key("node"), name)?.as_slice() {
            [one] => Some(one.clone()),
            _ => return Err(KeyError::new(&key("node"), format!("{name:?} is several nodes")).hint("use pop")),
        },
        None => None,
    };
    for (field, is_said) in [("from", from != Area::World), ("pop", pop.is_some()), ("node", node.is_some())] {
        let of_this = narrowed_by(what);
        if is_said && !of_this.contains(&field) {
            // A PoP may have been named by from.
            let written = if field == "pop" && file.pop.is_none() { "from" } else { field };
            let error = KeyError::new(&key(written), format!("{what} is not told apart by {field}"));
            return Err(match of_this {
                [] => error,
                _ => error.hint(format!("it is by {}", of_this.join(", "))),
            });
        }
    }
    Ok(Expectation {
        what,
        from,
        pop,
        node,
        after: after.0,
        before: file.before.map(|before| before.0),
        min,
        max,
        equals,
        line,
    })
}

/// What narrows a figure: requests come from somewhere and are answered by a PoP, and whatever else is counted, nodes do.
const fn narrowed_by(what: What) -> &'static [&'static str] {
    match what {
        What::LawsBroken => &[],
        What::OriginRps | What::OriginRequests => &["node", "after", "before"],
        What::Failovers | What::Detect | What::Counter(_) => &["pop", "node", "after", "before"],
        What::Reroute | What::Recover => &["from", "pop", "node", "after", "before"],
        What::Availability
        | What::Latency(_)
        | What::HitRatio
        | What::WrongBytes
        | What::StaleAfterInvalidation
        | What::Errors
        | What::Requests
        | What::Status(_)
        | What::Reason(_) => &["from", "pop", "after", "before"],
    }
}

fn what_of(key: &str, word: &str) -> Result<What, KeyError> {
    if let Some(name) = word.strip_prefix("counter.") {
        return Counter::called(name).map(What::Counter).ok_or_else(|| {
            let names = ROWS.iter().map(|row| row.name);
            let hint = nearest_or_all(name, names).map(|hint| hint.replacen('`', "`counter.", 1));
            KeyError { hint, ..KeyError::new(key, format!("no node has a counter {name:?}")) }
        });
    }
    if let Some(status) = word.strip_prefix("status.") {
        let status = status.parse().ok().filter(|status| (100..=599).contains(status));
        return status.map(What::Status).ok_or_else(|| KeyError::new(key, format!("{word:?} is no status")));
    }
    if let Some(name) = word.strip_prefix("reason.") {
        return name.parse().map(What::Reason).map_err(|_| {
            let hint = nearest_or_all(name, Reason::ALL.iter().map(|reason| reason.as_str()));
            let hint = hint.map(|hint| hint.replacen('`', "`reason.", 1));
            KeyError { hint, ..KeyError::new(key, format!("there is no reason {name:?}")) }
        });
    }
    let percentile = word.strip_prefix('p').and_then(|number| number.parse::<f64>().ok());
    if let Some(percentile) = percentile {
        return match percentile {
            0.0..=100.0 => Ok(What::Latency(percentile / 100.0)),
            _ => Err(KeyError::new(key, format!("{word} is not between p0 and p100"))),
        };
    }
    Ok(match word {
        "availability" => What::Availability,
        "max" => What::Latency(1.0),
        "hit_ratio" => What::HitRatio,
        "origin_rps" => What::OriginRps,
        "origin_requests" => What::OriginRequests,
        "failovers" => What::Failovers,
        "detect" => What::Detect,
        "reroute" => What::Reroute,
        "recover" => What::Recover,
        "wrong_bytes" => What::WrongBytes,
        "stale_after_invalidation" => What::StaleAfterInvalidation,
        "laws_broken" => What::LawsBroken,
        "errors" => What::Errors,
        "requests" => What::Requests,
        _ => {
            // A counter's own name is what is seen on /metrics.
            let counter = || did_you_mean(word, ROWS.iter().map(|row| row.name));
            let counter = || counter().map(|hint| hint.replacen('`', "`counter.", 1));
            let all =
                || nearest_or_all(word, WORDS).map(|hint| format!("{hint}, counter.NAME, status.CODE, reason.NAME"));
            let hint = did_you_mean(word, WORDS).or_else(counter).or_else(all);
            return Err(KeyError { hint, ..KeyError::new(key, format!("nothing is called {word:?}")) });
        }
    })
}
