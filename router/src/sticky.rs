//! Keeps a client of HTTP routing on the edge that it was sent to before, for as long as that edge may be chosen.
//!
//! The client carries the edge's name in a cookie. It is a wish and no secret: who makes one up gets an edge that it
//! could have dialled anyway, and never one that is down, drained or not for that host.

use std::time::Duration;

use cdn_core::{
    NodeId, Reason,
    health::HealthState,
    routing::{ChosenEdge, Explanation, Pop, PopIndex},
};
use http::{HeaderMap, HeaderValue, header};

/// The cookie's name.
const COOKIE: &str = "iso-edge";

/// The edge that the client names.
pub(crate) fn wanted(headers: &HeaderMap) -> Option<NodeId> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE)?.1.parse().ok()
}

/// What binds the client to `edge` for `span` from now on.
pub(crate) fn cookie(edge: &NodeId, span: Duration) -> Option<HeaderValue> {
    let seconds = span.as_secs();
    HeaderValue::from_str(&format!("{COOKIE}={edge}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Lax")).ok()
}

/// Puts `edge` first in the answer, if it could have been there; says where it is among `pops`.
pub(crate) fn hold(explanation: &mut Explanation, pops: &[Pop], edge: &NodeId) -> Option<(PopIndex, u16)> {
    let is_eligible = explanation.candidates.iter().any(|candidate| {
        let health =
            candidate.edges.iter().find(|known| known.edge == *edge).map_or(HealthState::Down, |known| known.health);
        let passed_over = [Reason::RejectedSlower, Reason::RejectedFull, Reason::RejectedRamping];
        let was_an_option = candidate.chosen.is_some() || passed_over.contains(&candidate.reason);
        was_an_option && !candidate.draining && health.is_healthy()
    });
    if !is_eligible {
        return None;
    }
    let sites =
        (0..).zip(pops).flat_map(|(at, pop)| (0..).zip(&pop.edges).map(move |(nth, site)| (at, pop, nth, site)));
    let (at, pop, nth, site) = sites.into_iter().find(|(.., site)| site.id == *edge)?;
    explanation.chosen.retain(|chosen| chosen.pop != pop.code);
    let (pop, edge, reason) = (pop.code, edge.clone(), Reason::RouteSticky);
    let (address, address6) = (site.address, site.address6);
    explanation.chosen.insert(0, ChosenEdge { pop, edge, address, address6, reason, edge_reason: reason });
    Some((PopIndex::new(at), nth))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        assert_eq!(wanted(&headers), None);
        headers.append(header::COOKIE, HeaderValue::from_static("a=b; theme=dark"));
        headers.append(header::COOKIE, HeaderValue::from_static("iso-edge=edge.fra;c=d"));
        assert_eq!(wanted(&headers).unwrap().to_string(), "edge.fra");
        let set = cookie(&wanted(&headers).unwrap(), Duration::from_secs(300)).unwrap();
        assert_eq!(set, "iso-edge=edge.fra; Max-Age=300; Path=/; HttpOnly; SameSite=Lax");
        headers.insert(header::COOKIE, HeaderValue::from_static("iso-edge=nonsense"));
        assert_eq!(wanted(&headers), None);
    }
}
