//! World's links on real tokio streams and datagrams.
//!
//! The side that dials makes the distance: [`Dialer::connect`] takes a round trip, what is written travels before it
//! reaches the socket, what the socket yields travels before it is shown, and faults lie over both. All decisions are
//! `world`'s; this crate keeps the bytes, the clock and the sockets. It refuses to know what the bytes mean, which
//! roles its users play, and any address that [`Paths`] does not place: nothing bypasses the links.

mod conn;
mod datagram;
mod dial;
mod measure;
mod pump;
mod queue;
mod raw;
mod route;
mod stream;
mod timer;

pub use crate::{
    datagram::WanUdp,
    dial::Dialer,
    measure::{Measurement, Probe},
    raw::{BoxRaw, RawDial, RawStream, TcpDial},
    route::{Paths, Wan, WanOptions},
    stream::WanStream,
};
