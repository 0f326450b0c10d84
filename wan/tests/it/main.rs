//! Links on real sockets, from outside the crate.

mod datagrams;
mod faults;
mod streams;
mod world;
