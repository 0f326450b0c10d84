//! What can be broken on purpose, and how it is called: faults of nodes, changes of links, stopped nodes.
//!
//! Plain data whose fields have been checked. Decides which fault takes the place of which; knows no time.

use std::{fmt, time::Duration};

use cdn_core::NodeId;
use world::{Effect, LinkChange, SiteId};

/// A fault of an origin or node. The fields have been checked.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeFault {
    /// Who misbehaves.
    pub node: NodeId,
    /// How.
    pub effect: Effect,
    /// The share of requests or connections that it meets, above 0 and up to 1. Each fault draws for itself.
    pub rate: f64,
    /// Only requests for paths that match this glob.
    pub path: Option<String>,
    /// Only connections from this site.
    pub from: Option<SiteId>,
}

/// A change of a link. The sites differ.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkFault {
    /// One end; the sender if only one direction is meant.
    pub from: SiteId,
    /// The other end.
    pub to: SiteId,
    /// Both directions, or only `from` to `to`.
    pub both_ways: bool,
    /// How.
    pub change: LinkChange,
}

impl LinkFault {
    fn same_direction(&self, other: &Self) -> bool {
        self.from == other.from && self.to == other.to
    }

    pub(super) fn same_ends(&self, other: &Self) -> bool {
        self.same_direction(other) || (self.from == other.to && self.to == other.from)
    }

    /// Whether a person who wrote `text` meant this link: `fra<->iad`, `fra->iad` or `fra-iad`, ends in any order if
    /// both directions are changed.
    pub fn is_called(&self, text: &str) -> bool {
        let (from, to) = (self.from.as_str(), self.to.as_str());
        ["<->", "->", "-"].iter().any(|arrow| {
            text.match_indices(arrow).any(|(at, _)| {
                let (a, b) = (text.get(..at), text.get(at + arrow.len()..));
                let forward = (a, b) == (Some(from), Some(to));
                let backward = (a, b) == (Some(to), Some(from));
                forward || (backward && (self.both_ways || *arrow != "->"))
            })
        })
    }
}

/// Whether a node was ended or frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Its process was ended (SIGKILL).
    Kill,
    /// Its process was frozen (SIGSTOP).
    Pause,
}

/// Anything broken on purpose.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// An origin or node misbehaves.
    Node(NodeFault),
    /// A link is changed.
    Link(LinkFault),
    /// A node does not run.
    Stopped(NodeId, Stop),
}

impl Fault {
    /// The word of the API.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Node(fault) => fault.effect.kind(),
            Self::Link(fault) => fault.change.kind(),
            Self::Stopped(_, Stop::Kill) => "kill",
            Self::Stopped(_, Stop::Pause) => "pause",
        }
    }

    /// The target as the API names it.
    pub fn target(&self) -> String {
        match self {
            Self::Node(fault) => fault.node.to_string(),
            Self::Link(fault) if fault.both_ways => format!("{}<->{}", fault.from, fault.to),
            Self::Link(fault) => format!("{}->{}", fault.from, fault.to),
            Self::Stopped(node, _) => node.to_string(),
        }
    }

    /// The rest in words; empty if there is nothing to add.
    pub fn detail(&self) -> String {
        match self {
            Self::Node(fault) => {
                let mut words = match fault.effect {
                    Effect::Status(status) => vec![status.to_string()],
                    Effect::Latency(by) => vec![format!("+{} ms", millis(by))],
                    Effect::Throttle { bps } => vec![format!("{bps} bit/s")],
                    Effect::Clock { ahead_ns } => {
                        let span = Duration::from_nanos(ahead_ns.unsigned_abs()).as_secs_f64();
                        vec![format!("{span} s {}", if ahead_ns > 0 { "ahead" } else { "behind" })]
                    }
                    _ => Vec::new(),
                };
                if fault.rate < 1.0 {
                    words.push(format!("{} % of requests", percent(fault.rate)));
                }
                words.extend(fault.path.as_ref().map(|path| format!("path {path}")));
                words.extend(fault.from.as_ref().map(|site| format!("from {site}")));
                words.join(", ")
            }
            Self::Link(fault) => match fault.change {
                LinkChange::Delay(by) if fault.both_ways => format!("+{} ms each way", millis(by)),
                LinkChange::Delay(by) => format!("+{} ms", millis(by)),
                LinkChange::Loss(share) => format!("{} % of packets", percent(share)),
                LinkChange::Throttle(bps) => format!("{bps} bit/s"),
                LinkChange::Partition => String::new(),
            },
            Self::Stopped(..) => String::new(),
        }
    }

    /// Whether `self`, added now, takes the place of `older` as a whole.
    pub(super) fn replaces(&self, older: &Self) -> bool {
        match (self, older) {
            (Self::Node(a), Self::Node(b)) => {
                a.node == b.node && a.effect.slot() == b.effect.slot() && a.path == b.path && a.from == b.from
            }
            (Self::Link(a), Self::Link(b)) => {
                let same = if a.both_ways { a.same_ends(b) } else { !b.both_ways && a.same_direction(b) };
                same && a.change.kind() == b.change.kind()
            }
            (Self::Stopped(a, _), Self::Stopped(b, _)) => a == b,
            _ => false,
        }
    }
}

impl fmt::Display for Fault {
    /// `edge.fra latency (+80 ms)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.target(), self.kind())?;
        match self.detail() {
            detail if detail.is_empty() => Ok(()),
            detail => write!(f, " ({detail})"),
        }
    }
}

fn millis(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e3
}

fn percent(share: f64) -> f64 {
    (share * 1e4).round() / 1e2
}
