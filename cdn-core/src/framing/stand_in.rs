//! A harmless request in the place of one that was refused, so that the service gives the answer, in its turn and its form.
//!
//! The side that reads refuses ([`StandIn::refuse_head`]) and gives the HTTP library [`StandIn::HEAD`]; the service asks of
//! each request whether it is the one ([`StandIn::on_request`]). Requests are told apart by their place on the connection,
//! which no client can forge.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use super::refused::RefusedHead;
use crate::Reason;

/// What both sides of one connection know of what was refused on it.
#[derive(Debug, Default)]
pub struct StandIn {
    /// The place among the heads of the connection, nothing in a body, and why.
    refused: OnceLock<(Option<u64>, Reason)>,
    /// What the refused head says, where one was.
    head: OnceLock<Box<RefusedHead>>,
    /// Heads that went on to the library.
    heads: AtomicU64,
    /// Heads that reached the service.
    served: AtomicU64,
}

impl StandIn {
    /// What the library reads in place of a refused head. It ends the connection.
    pub const HEAD: &'static [u8] = b"GET / HTTP/1.1\r\nhost: refused.invalid\r\nconnection: close\r\n\r\n";

    /// A head goes on to the library.
    pub fn on_head(&self) {
        self.heads.fetch_add(1, Relaxed);
    }

    /// The next head, of which `bytes` have come, does not go on: [`Self::HEAD`] does instead.
    pub fn refuse_head(&self, bytes: &[u8], reason: Reason) {
        self.head.get_or_init(|| Box::new(RefusedHead::of(bytes)));
        let _ = self.refused.set((Some(self.heads.fetch_add(1, Relaxed)), reason));
    }

    /// The body of a request that has gone on breaks off; the service learns it from the error of the body.
    pub fn refuse_body(&self, reason: Reason) {
        let _ = self.refused.set((None, reason));
    }

    /// A request has reached the service: why it was refused, where it stands for one that was.
    pub fn on_request(&self) -> Option<Reason> {
        let place = self.served.fetch_add(1, Relaxed);
        self.refused.get().filter(|(at, _)| *at == Some(place)).map(|(_, reason)| *reason)
    }

    /// Why something on this connection was refused, if anything was.
    pub fn reason(&self) -> Option<Reason> {
        self.refused.get().map(|(_, reason)| *reason)
    }

    /// What the refused head says of itself, for logs; `None` where none was refused.
    pub fn refused_head(&self) -> Option<&RefusedHead> {
        self.head.get().map(|head| &**head)
    }

    /// Whether every head that went on has reached the service.
    pub fn is_served(&self) -> bool {
        self.served.load(Relaxed) == self.heads.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_in_the_place_of_the_refused_one_is_known_and_no_other() {
        let stand_in = StandIn::default();
        stand_in.on_head();
        assert!(stand_in.refused_head().is_none());
        stand_in.refuse_head(b"GET /a HTTP/1.1\r\n", Reason::UriTooLong);
        assert_eq!(stand_in.refused_head().unwrap().target, "/a");
        assert!(!stand_in.is_served());
        assert_eq!([stand_in.on_request(), stand_in.on_request()], [None, Some(Reason::UriTooLong)]);
        assert!(stand_in.is_served());
    }

    #[test]
    fn a_body_that_breaks_off_has_a_reason_and_no_place() {
        let stand_in = StandIn::default();
        stand_in.on_head();
        stand_in.refuse_body(Reason::BadRequest);
        assert_eq!((stand_in.on_request(), stand_in.reason()), (None, Some(Reason::BadRequest)));
    }
}
