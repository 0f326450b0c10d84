//! Where HTTP/1.1 messages begin and end, read so strictly that no other implementation can read them differently.
//!
//! Every node that takes requests puts a [`Screen`] between its socket and its HTTP library, so that request smuggling
//! has one answer everywhere; [`response`] judges what a server sent, and [`Frames`] bounds what HTTP/3 makes a node hold.
//! Knows bytes; what they ask for is for others.

mod chunks;
mod frames;
mod head;
pub mod multiplexed;
mod refused;
mod requests;
pub mod response;
mod screen;
mod stand_in;

pub use self::{
    chunks::{BadChunk, Chunks},
    frames::{BadFrames, Frames},
    head::{Framing, HeadLimits, HeadLines},
    refused::RefusedHead,
    requests::{Part, Requests, Stage},
    screen::{Next, Screen},
    stand_in::StandIn,
};
