//! Who is let in: signatures, at the edge that a viewer asks. Caches behind trust it.
//!
//! What a request shows is the workload's to say, and whether that is good at the edge's own date is
//! [`cdn_core::signing`]'s, as live. The arithmetic is not done again: a forged signature fails because it is one.

use std::net::{IpAddr, Ipv4Addr};

use cdn_core::{
    Reason,
    signing::{
        Policy, Refusal,
        resource::{Resource, UrlParts},
    },
};
use world::Signature;

use crate::{engine::Sim, slab::Key};

impl Sim<'_> {
    /// Whether a viewer's request is let in by `node`, where only signed ones are.
    ///
    /// # Errors
    /// Why it is not.
    pub(crate) fn admit(&self, node: u32, key: Key) -> Result<(), Reason> {
        let request = self.requests.get(key).ok_or(Reason::Internal)?;
        let meant = request.intended();
        let signature = self.workload.signature(&meant);
        let load = self.scenario.loads.get(usize::from(meant.load));
        let Some(signing) = load.and_then(|load| load.signing.as_ref()) else { return Err(Reason::SignatureMissing) };
        // Viewers' clocks are right.
        let today = self.wall_of_viewers(meant.at);
        let Some(ends_at) = signing.ends_at(today.unix_secs(), signature) else { return Err(Reason::SignatureMissing) };
        if signature == Signature::Forged {
            return Err(Reason::SignatureInvalid);
        }
        let policy = Policy { resource: Resource::Any, ends_at, begins_after: None, network: None };
        let (url, anybody) = (UrlParts::new("http", "", "/"), IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        policy.allows(self.wall(node), &url, anybody).map_err(|refusal: Refusal| refusal.reason())
    }
}
