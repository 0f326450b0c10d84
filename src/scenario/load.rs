//! Loads: from what was typed to who asks for what, with the changes of the timeline laid into their ramps.

use std::{path::Path, time::Duration};

use world::scenario::{Connections, Diurnal, From, Load, LoadChange, Resolvers, Retry, Sizes, Transport};

use super::{file::LoadFile, names::Names};
use crate::{diagnose::KeyError, load::paths, quantity::ByteCount};

/// Requests per second where nothing is written.
const RPS: f64 = 100.0;
/// More than any machine makes.
const RPS_MAX: f64 = 1e7;

/// Checks one load. `key` is `load`, or `load.1` of several; traces are looked for from `dir` on.
pub(super) fn load_of(key: &str, file: &LoadFile, names: &Names<'_>, dir: &Path) -> Result<Load, KeyError> {
    let key = |field: &str| format!("{key}.{field}");
    let rps = file.rps.unwrap_or(RPS);
    if !(rps > 0.0 && rps <= RPS_MAX) {
        return Err(KeyError::new(&key("rps"), format!("{rps} is not above 0 and at most {RPS_MAX}")));
    }
    let share = |field: &str, written: Option<f64>, default: f64| match written {
        Some(share) if (0.0..=1.0).contains(&share) => Ok(share),
        Some(share) => Err(KeyError::new(&key(field), format!("{share} is not a share; write 0.3"))),
        None => Ok(default),
    };
    let mut ramp: Vec<(Duration, f64)> = Vec::new();
    for (at, (time, factor)) in file.ramp.iter().enumerate() {
        let key = format!("{}.{at}", key("ramp"));
        if !(0.0..=1e6).contains(factor) {
            return Err(KeyError::new(&key, format!("{factor} multiplies nothing")));
        }
        if ramp.last().is_some_and(|(last, _)| *last > time.0) {
            return Err(KeyError::new(&key, "a ramp goes forward in time"));
        }
        ramp.push((time.0, *factor));
    }
    let pace = file.pace.unwrap_or(1.0);
    if !(pace > 0.0 && pace <= 1e6) {
        return Err(KeyError::new(&key("pace"), format!("{pace:e} is not above 0 and at most 1000000")));
    }
    let trough = share("trough", file.trough, 0.3)?;
    let diurnal = file.utc.map(|utc| Diurnal { utc: utc.0, pace, trough });
    let resolvers = Resolvers::default();
    let client_subnet = if names.cluster.viewer.client_subnet { 1.0 } else { 0.0 };
    let retry = Retry::default();
    let attempts = file.attempts.unwrap_or(retry.attempts);
    if attempts == 0 {
        return Err(KeyError::new(&key("attempts"), "a request is made at least once"));
    }
    let timeout = file.timeout.map_or(retry.timeout, |span| span.0);
    if timeout.is_zero() {
        return Err(KeyError::new(&key("timeout"), "nobody is answered in no time"));
    }
    let connections = Connections::default();
    let per_user = file.connections.unwrap_or(connections.per_user);
    let distribution = match &file.distribution {
        Some(name) => names.distribution(&key("distribution"), name)?,
        None => names.cluster.distributions.first().map(|first| first.id().to_string()).unwrap_or_default(),
    };
    let method = file.method.clone().unwrap_or_else(|| "GET".to_owned());
    if method.parse::<http::Method>().is_err() {
        return Err(KeyError::new(&key("method"), format!("{method:?} is no method")).hint("GET, HEAD or POST"));
    }
    if file.r#for.is_some_and(|span| span.0.is_zero()) {
        return Err(KeyError::new(&key("for"), "it would end at once"));
    }
    let transport = transport_of(&key, file, names, &distribution)?;
    let users = file.users.unwrap_or_else(|| (rps * 10.0).clamp(1.0, 1e7) as u32);
    if per_user == 0 || users == 0 {
        let field = if users == 0 { "users" } else { "connections" };
        return Err(KeyError::new(&key(field), "at least one"));
    }
    Ok(Load {
        from: from_of(&key("from"), file, names)?,
        rps,
        start: file.start.map_or(Duration::ZERO, |span| span.0),
        span: file.r#for.map(|span| span.0),
        paths: paths::parse(file.paths.as_deref().unwrap_or("zipf:1.0:1000"), dir)
            .map_err(|why| KeyError::new(&key("paths"), why))?,
        sizes: file.sizes.as_deref().map_or(Ok(Sizes::Origin), |text| sizes_of(&key("sizes"), text))?,
        ramp,
        diurnal,
        connections: Connections {
            idle: file.idle.map_or(connections.idle, |span| span.0),
            per_user,
            think: file.think.map(|span| span.0),
            transport,
        },
        resolvers: Resolvers {
            client_subnet: share("client_subnet", file.client_subnet, client_subnet)?,
            stretchers: share("stretchers", file.stretchers, resolvers.stretchers)?,
            stretch: file.stretch.map_or(resolvers.stretch, |span| span.0),
        },
        retry: Retry {
            attempts,
            backoff: file.backoff.map_or(retry.backoff, |span| span.0),
            budget: match file.budget {
                Some(budget) if !(0.0..=100.0).contains(&budget) => {
                    return Err(KeyError::new(&key("budget"), format!("{budget} is not a share of requests")));
                }
                budget => budget,
            },
            timeout,
        },
        distribution,
        method,
        users,
        signing: None,
    })
}

/// What carries requests for `distribution`.
fn transport_of(
    key: &impl Fn(&str) -> String,
    file: &LoadFile,
    names: &Names<'_>,
    distribution: &str,
) -> Result<Transport, KeyError> {
    let (transport, field) = match (file.http3, file.https) {
        (true, _) => (Transport::Quic, "http3"),
        (false, true) => (Transport::Tls, "https"),
        (false, false) => return Ok(Transport::Tcp),
    };
    if !names.cluster.edge.https {
        return Err(KeyError::new(&key(field), "edges of this world do not speak HTTPS").hint("[edge] https = true"));
    }
    let asked = names.cluster.distributions.iter().find(|one| **one.id() == *distribution);
    if file.http3 && asked.is_some_and(|asked| !asked.http_version().http3()) {
        let what = format!("{distribution} does not speak HTTP/3");
        let hint = format!("[distributions.{distribution}] http_version = \"http2and3\"");
        return Err(KeyError::new(&key(field), what).hint(hint));
    }
    Ok(transport)
}

fn from_of(key: &str, file: &LoadFile, names: &Names<'_>) -> Result<From, KeyError> {
    let written = file.from.as_ref().map(|from| from.0.as_slice()).unwrap_or_default();
    if written.is_empty() || matches!(written, [one] if one == "world") {
        return Ok(From::World);
    }
    let mut places = Vec::new();
    for (at, name) in written.iter().enumerate() {
        let key = if written.len() > 1 { format!("{key}.{at}") } else { key.to_owned() };
        places.extend(names.cities(&key, name)?);
    }
    Ok(From::Places(places))
}

/// `10k`, or `lognormal:MEDIAN:SIGMA`.
fn sizes_of(key: &str, text: &str) -> Result<Sizes, KeyError> {
    let bytes = |text: &str| {
        text.parse::<ByteCount>().map(|bytes| bytes.0).map_err(|error| KeyError::new(key, error.to_string()))
    };
    match text.split_once(':') {
        None => Ok(Sizes::Fixed(bytes(text)?)),
        Some(("lognormal", rest)) => {
            let (median, sigma) = rest.split_once(':').unwrap_or((rest, "1"));
            let median = bytes(median)?.max(1);
            let sigma = sigma.parse::<f64>().ok().filter(|sigma| (0.0..=5.0).contains(sigma));
            let sigma = sigma.ok_or_else(|| KeyError::new(key, "a sigma is between 0 and 5"))?;
            Ok(Sizes::LogNormal { median, sigma, max: median.saturating_mul(1000) })
        }
        Some(_) => Err(KeyError::new(key, format!("{text:?} says no sizes")).hint("10k, or lognormal:20k:1.5")),
    }
}

/// Lays a change of load at `at` into the ramp of `load`: from then on it is multiplied, and after its span it is what
/// it was.
pub(super) fn lay_in(load: &mut Load, at: Duration, change: &LoadChange) {
    let moment = Duration::from_nanos(1);
    let full = at + change.over.max(moment);
    let mut knees = vec![at, full];
    if let Some(span) = change.span {
        let end = full + span;
        knees.extend([end, end + change.over.max(moment)]);
    }
    let factor = |time: Duration| {
        let part = |from: Duration, to: Duration| {
            (time.saturating_sub(from).as_secs_f64() / (to - from).as_secs_f64()).clamp(0.0, 1.0)
        };
        let up = part(at, full);
        let down = match knees.as_slice() {
            [_, _, end, back] => part(*end, *back),
            _ => 0.0,
        };
        1.0 + (change.factor - 1.0) * (up - down)
    };
    let mut times: Vec<Duration> = load.ramp.iter().map(|(time, _)| *time).chain(knees.iter().copied()).collect();
    times.sort_unstable();
    times.dedup();
    load.ramp = times.into_iter().map(|time| (time, level(&load.ramp, time) * factor(time))).collect();
}

/// The multiplier of a ramp at a time.
fn level(ramp: &[(Duration, f64)], at: Duration) -> f64 {
    let next = ramp.iter().position(|(time, _)| *time >= at);
    match next {
        None => ramp.last().map_or(1.0, |(_, factor)| *factor),
        Some(0) => ramp.first().map_or(1.0, |(_, factor)| *factor),
        Some(next) => match (ramp.get(next - 1), ramp.get(next)) {
            (Some((from, low)), Some((to, high))) => {
                let part = (at - *from).as_secs_f64() / (*to - *from).as_secs_f64().max(1e-12);
                low + (high - low) * part
            }
            _ => 1.0,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn sizes_are_fixed_or_drawn() {
        let lognormal = Sizes::LogNormal { median: 20_000, sigma: 1.5, max: 20_000_000 };
        assert_eq!(sizes_of("p", "lognormal:20k:1.5"), Ok(lognormal));
        assert_eq!(sizes_of("p", "1MiB"), Ok(Sizes::Fixed(1 << 20)));
        assert!(sizes_of("p", "large").is_err() && sizes_of("p", "uniform:1:2").is_err());
    }

    #[test]
    fn a_change_of_load_rises_stays_and_goes_back() {
        let mut ramp = vec![(secs(0), 1.0), (secs(100), 2.0)];
        let change = LoadChange { load: None, factor: 10.0, over: secs(10), span: Some(secs(20)) };
        let mut load = Load {
            from: From::World,
            rps: 1.0,
            start: Duration::ZERO,
            span: None,
            paths: world::scenario::Paths::One("/".into()),
            sizes: Sizes::Origin,
            ramp: std::mem::take(&mut ramp),
            diurnal: None,
            connections: Connections::default(),
            resolvers: Resolvers::default(),
            retry: Retry::default(),
            distribution: "demo".into(),
            method: "GET".into(),
            users: 1,
            signing: None,
        };
        lay_in(&mut load, secs(20), &change);
        for (at, expected) in [(0, 1.0), (20, 1.2), (30, 13.0), (50, 15.0), (60, 1.6), (100, 2.0), (200, 2.0)] {
            let got = level(&load.ramp, secs(at));
            assert!((got - expected).abs() < 1e-6, "at {at}: {got}, not {expected}");
        }
    }
}
