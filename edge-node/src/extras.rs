//! What is put on a response beside CloudFront's own headers: the behavior's response headers policy, and cookies of the
//! edge itself, and that HTTP/3 is spoken.
//!
//! Decides nothing: [`cdn_core::response_headers`] does. A request has extras only where something asks for them, so that
//! plain hits pay nothing.

use std::sync::Arc;

use cdn_core::{
    distribution::CheckedBehavior,
    fields::Fields,
    response_headers::{Asking, ResponseHeadersPolicy},
};
use http::{HeaderMap, HeaderValue, Method, header};

/// A number that differs from request to request, by chance: what a request's id is made of.
pub(crate) fn draw_of(request_id: &HeaderValue) -> u64 {
    // FNV-1a. Every bit of an id is drawn, and its first characters have more of them than are needed.
    let characters = request_id.as_bytes().iter().take(16);
    characters.fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extras {
    policy: Option<(Arc<ResponseHeadersPolicy>, Asking)>,
    own: Own,
}

/// What the edge says by itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Own {
    pub(crate) set_cookie: Option<HeaderValue>,
    pub(crate) alt_svc: Option<HeaderValue>,
}

impl Extras {
    /// What responses to a request get that `behavior` serves; `None` for nothing.
    pub(crate) fn of(behavior: &CheckedBehavior, method: &Method, headers: &HeaderMap, own: Own) -> Option<Box<Self>> {
        let policy = behavior.response_headers();
        if policy.is_none() && own.set_cookie.is_none() && own.alt_svc.is_none() {
            return None;
        }
        let policy = policy.map(|policy| (Arc::clone(policy), Asking::of(method, headers)));
        Some(Box::new(Self { policy, own }))
    }

    /// Puts them on a response that has no header of CloudFront's yet.
    pub(crate) fn put_on(&self, fields: &mut impl Fields) {
        if let Some((policy, asking)) = &self.policy {
            policy.apply(asking, fields);
        }
        if let Some(alt_svc) = &self.own.alt_svc {
            fields.insert(header::ALT_SVC, alt_svc.clone());
        }
        if let Some(cookie) = &self.own.set_cookie {
            fields.append(header::SET_COOKIE, cookie.clone());
        }
    }

    /// Whether the response carries CloudFront's `Server-Timing`. Request ids are as good as drawn.
    pub(crate) fn wants_timing(&self, request_id: &HeaderValue) -> bool {
        self.policy.as_ref().is_some_and(|(policy, asking)| policy.samples(asking, draw_of(request_id)))
    }
}
