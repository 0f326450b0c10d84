//! A router over real sockets: questions by UDP, TCP and HTTP, edges that live and die.

mod dns;
mod doh;
mod edns;
mod flood;
mod health;
mod http;
mod ipv6;
mod malformed;
mod policy;
mod program;
mod query_log;
mod quorum;
mod smuggling;
mod world;
mod zones;
