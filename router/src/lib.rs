//! Authoritative DNS and HTTP routing: tells each client which edges to use.
//!
//! A thin shell around [`cdn_core::routing`]: sockets, threads, wire formats and probes are here, decisions are there.
//! Knows what a real router knows: a table of client networks, the edges and their places, its own probes, and the round
//! trips that viewers report. It cannot tell an emulated network from a real one: it is handed listeners and a connector.
//!
//! Data path of DNS over UDP: one OS thread per socket, `recvmmsg`, a small strict parser for the usual question
//! (`wire`), a search in the current snapshot, `sendmmsg`. What that parser does not recognise is read by
//! hickory-proto (`dns`). TCP, HTTP and probes run on tokio.

mod answer;
mod config;
mod connect;
mod control;
mod decisions;
mod dns;
mod doh;
mod ecs;
mod edns;
mod exchange;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gossip;
mod handle;
mod http_routing;
pub mod json;
mod message;
mod names;
mod node;
mod prefixes;
mod prober;
mod program;
mod query_log;
mod respond;
mod screened;
mod sticky;
mod tally;
mod tcp;
mod udp;
mod walk;
mod why;
mod wire;
pub mod zone_file;

pub use crate::{
    config::{BuildError, Config, Cookies, DistributionNames, Limits, Peer, QueryLogOptions, RedirectTo},
    decisions::ReplayError,
    handle::{Asker, Explained, Handle, UnknownName},
    node::{Router, Sockets},
    prefixes::{PrefixFile, PrefixFileError, Stamp},
    program::{Consultation, Program},
};
