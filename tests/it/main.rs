//! End to end: real processes, real sockets, the system's curl and dig.
//!
//! One test binary, so that the whole is linked once. Every test starts the world it needs on a free block of ports
//! and under its own state directory, so that all of them run side by side.

#![allow(missing_docs, reason = "tests")]

mod app;
mod ask;
mod aws;
mod break_it;
mod browse;
mod chaos;
mod disk;
mod documents;
mod edges;
mod examples;
mod functions;
mod harness;
mod hostile;
mod http3;
mod https;
mod https_origins;
mod import;
mod ipv6;
mod jobs;
mod lab;
mod ledger;
mod links;
mod load;
mod logs;
mod raw;
mod route;
mod routers;
mod sign;
mod stand;
mod start;
mod study;
mod tidy;
mod tiers;
