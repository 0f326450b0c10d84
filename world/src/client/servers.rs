//! Which name server next? The order in which a resolver asks the servers of a zone.
//!
//! As resolvers on the Internet do (RFC 1034, section 5.3.3; RFC 1035, section 7.2): who answered fastest comes first,
//! who was never asked comes before all so that it is found out, and who was silent is punished for a while. Knows round
//! trips and time; sends nothing.

use std::time::Duration;

use cdn_core::{Instant, math};

/// What a failure adds to a server's smoothed round trip: more than any two places are apart.
const PUNISHMENT: Duration = Duration::from_secs(1);
/// The worst a server can look. With [`AGING_PER_S`] it looks like one 100 ms away after some three minutes.
const SRTT_MAX: Duration = Duration::from_secs(4);
/// A server that is not asked looks better by this factor each second, so that one that was slow or dead is tried again.
const AGING_PER_S: f64 = 0.98;

/// The servers of all zones, as one resolver sees them.
#[derive(Debug)]
pub struct Servers<A> {
    all: Vec<Server<A>>,
}

#[derive(Debug)]
struct Server<A> {
    address: A,
    /// Smoothed round trip (gain 3/10), as of a moment; `None` before it was asked.
    srtt: Option<(Duration, Instant)>,
}

impl<A: Copy + PartialEq> Servers<A> {
    /// Servers that were never asked, in the order in which they will be.
    pub fn new(addresses: &[A]) -> Self {
        Self { all: addresses.iter().map(|&address| Server { address, srtt: None }).collect() }
    }

    /// All servers, the one to ask first in front.
    pub fn in_order(&self, now: Instant) -> Vec<A> {
        let mut servers: Vec<_> = self.all.iter().map(|server| (server.srtt_at(now), server.address)).collect();
        servers.sort_by_key(|&(srtt, _)| srtt);
        servers.into_iter().map(|(_, address)| address).collect()
    }

    /// `server` answered a datagram after `rtt`.
    pub fn handle_answer(&mut self, now: Instant, server: A, rtt: Duration) {
        let Some(server) = self.find(server) else { return };
        let srtt = match server.srtt {
            // Good again after a failure: what it was before says nothing.
            Some((old, _)) if old < PUNISHMENT => old.mul_f64(0.7) + rtt.mul_f64(0.3),
            _ => rtt,
        };
        server.srtt = Some((srtt, now));
    }

    /// `server` was silent, refused, or said that it could not.
    pub fn handle_failure(&mut self, now: Instant, server: A) {
        let Some(server) = self.find(server) else { return };
        server.srtt = Some(((server.srtt_at(now) + PUNISHMENT).min(SRTT_MAX), now));
    }

    fn find(&mut self, address: A) -> Option<&mut Server<A>> {
        self.all.iter_mut().find(|server| server.address == address)
    }
}

impl<A> Server<A> {
    fn srtt_at(&self, now: Instant) -> Duration {
        self.srtt.map_or(Duration::ZERO, |(srtt, at)| {
            srtt.mul_f64(math::powf(AGING_PER_S, now.saturating_since(at).as_secs_f64()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn each_is_asked_once_and_then_the_nearest_until_it_fails() {
        let [far, near] = ['f', 'n'];
        let (mut servers, now) = (Servers::new(&[far, near]), Instant::ZERO);
        assert_eq!(servers.in_order(now), [far, near]);
        servers.handle_answer(now, far, ms(90));
        assert_eq!(servers.in_order(now), [near, far]);
        servers.handle_answer(now, near, ms(5));
        assert_eq!(servers.in_order(now)[0], near);
        servers.handle_failure(now, near);
        assert_eq!(servers.in_order(now)[0], far);
        // Asked again once the punishment has aged below the other's round trip, which others keep fresh.
        let later = now + Duration::from_secs(150);
        servers.handle_answer(later, far, ms(90));
        assert_eq!(servers.in_order(later)[0], near);
        servers.handle_answer(later, near, ms(5));
        assert_eq!(servers.in_order(later)[0], near);
    }

    #[test]
    fn failures_do_not_add_up_without_end() {
        let address = 'a';
        let (mut servers, now) = (Servers::new(&[address]), Instant::ZERO);
        (0..100).for_each(|_| servers.handle_failure(now, address));
        assert_eq!(servers.all[0].srtt_at(now), SRTT_MAX);
    }
}
