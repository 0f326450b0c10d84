//! What others may ask of a running router, and tell it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use cdn_core::{
    Counters, Instant, NodeId, PopCode,
    estimate::BeaconRefused,
    geo::GeoMap,
    health::HealthState,
    routing::{AskedBy, DecisionId, EdgeHealth, ExplainOptions, Explanation, PolicyKind, Pop, Subject},
    zone::Name,
};
use ipnet::IpNet;

use crate::{
    answer,
    config::BuildError,
    control::Control,
    decisions::{self, ReplayError},
    exchange::Transport,
    respond::Responder,
};

/// A running router, from outside. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) control: Arc<Control>,
}

/// Who asks, in an explanation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The address that the question comes from: a resolver, or the client itself.
    pub peer: IpAddr,
    /// The client's network, if the resolver passes it on; a prefix length of 0 is an opt-out.
    pub subnet: Option<IpNet>,
}

/// An explanation, and the id under which it can be told again.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// The decision's id.
    pub id: String,
    /// Why it was decided so.
    pub explanation: Explanation,
}

/// Not the name of a distribution.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a name that is routed")]
pub struct UnknownName(String);

impl Handle {
    /// What the router counts.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.control.counters
    }

    /// What it counts, in Prometheus' text format 0.0.4, each value with `labels` (already escaped, without braces). There
    /// are values here that only labels tell apart.
    pub fn prometheus(&self, labels: &str) -> String {
        self.control.prometheus(labels)
    }

    /// Time since the router was built: the clock of everything it reports.
    pub fn now(&self) -> Instant {
        self.control.now()
    }

    /// Replaces the set of drained PoPs. When this returns, no answer names them any more.
    pub fn set_drained(&self, drained: Vec<PopCode>) {
        self.control.set_drained(drained);
    }

    /// Makes its clock go wrong by `ahead_s` seconds, or right with 0: DNS cookies are dated by it, and held against it.
    pub fn set_clock(&self, ahead_s: i64) {
        self.control.set_clock(ahead_s);
    }

    /// Replaces the policies: that of distributions which have none of their own, and those of distributions by id. When
    /// this returns, answers are theirs.
    pub fn set_policies(&self, policy: PolicyKind, of_distributions: &BTreeMap<String, PolicyKind>) {
        self.control.set_policies(policy, of_distributions);
    }

    /// Replaces the candidates. Edges that stay keep their health.
    ///
    /// # Errors
    /// [`BuildError`] where a name cannot be; then nothing changes.
    pub fn set_pops(&self, pops: Vec<Pop>) -> Result<(), BuildError> {
        self.control.set_pops(pops)
    }

    /// Makes room for other client networks, before they are read: decisions over those that were replaced before can no
    /// longer be told again. A router holds two maps at most that way, and not what it kept besides.
    pub fn make_room_for_geo(&self) {
        self.control.make_room_for_geo();
    }

    /// Replaces the client networks. Takes some seconds per million of places and blocks for it; answers go on meanwhile,
    /// from the old ones.
    pub fn set_geo(&self, geo: GeoMap) {
        self.control.set_geo(geo);
    }

    /// A viewer in `client` saw the round trip `rtt` to the edge at `edge`.
    ///
    /// # Errors
    /// [`BeaconRefused`] where client or edge is unknown, the value absurd, or the memory full.
    pub fn beacon(&self, client: IpNet, edge: IpAddr, rtt: Duration) -> Result<(), BeaconRefused> {
        self.control.handle_beacon(client.addr(), edge, rtt)
    }

    /// Another router says what it makes of every edge. Who says so, and that it may, is for the caller to check.
    pub fn opinions(&self, observer: NodeId, states: Vec<(NodeId, HealthState)>) {
        self.control.handle_opinions(observer, states);
    }

    /// Why `asker` gets the answer it gets for `name`. Changes no answer;
    /// [`replay`](Self::replay) can tell it again by its id.
    ///
    /// # Errors
    /// [`UnknownName`] where the router does not choose edges for `name`.
    pub fn explain(&self, asker: Asker, name: &str, options: &ExplainOptions) -> Result<Explained, UnknownName> {
        let unknown = || UnknownName(name.to_owned());
        let canonical: Name = name.parse().map_err(|_| unknown())?;
        let published = self.control.published();
        let host = published.zones.host(canonical.as_bytes()).ok_or_else(unknown)?;
        let peer = answer::translated(self.control.source_nat.as_ref(), asker.peer);
        let (client, asked_by) = match asker.subnet {
            Some(subnet) if subnet.prefix_len() == 0 => (peer, AskedBy::OptOut),
            Some(subnet) => (subnet.network(), AskedBy::Subnet { source_len: subnet.prefix_len() }),
            None => (peer, AskedBy::Peer),
        };
        let snapshot = &published.snapshot;
        let subject = Subject { host, client, asked_by, turn: snapshot.turn(host, options.turn) };
        let id = DecisionId {
            assume_drained: options.assume_drained.clone(),
            name: canonical.to_string(),
            ..self.control.namer.id(snapshot.version(), subject)
        };
        let explanation = decisions::explain(snapshot, &id).ok_or_else(unknown)?;
        Ok(Explained { id: id.to_string(), explanation })
    }

    /// Tells the decision `id` again, from the snapshot it was made from: one of [`explain`](Self::explain), or of an answer
    /// by DNS or HTTP.
    ///
    /// # Errors
    /// [`ReplayError`] where there was none, or its snapshot is no longer kept.
    pub fn replay(&self, id: &str) -> Result<Explained, ReplayError> {
        let replay = self.control.decisions().find(id)?;
        Ok(Explained { id: id.to_owned(), explanation: replay.explain()? })
    }

    /// The health of every edge, PoP by PoP.
    pub fn health(&self) -> Vec<EdgeHealth> {
        self.control.health()
    }

    /// The version of the snapshot that answers come from.
    pub fn snapshot_version(&self) -> u64 {
        self.control.published().snapshot.version()
    }

    /// Answers one DNS message as if it came from `peer` by UDP and within the rate, into `out`; `false` if it deserves no answer.
    pub fn answer(&self, message: &[u8], peer: SocketAddr, out: &mut Vec<u8>) -> bool {
        let published = self.control.published();
        let mut responder = Responder::new(Arc::clone(&self.control));
        responder.handle_message(&published, message, peer.ip(), Transport::Udp, out)
    }
}
