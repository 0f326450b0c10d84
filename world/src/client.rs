//! What clients do to reach one of several servers: which is tried, when the next one, and which are left for last.
//!
//! Pure: whoever opens the connections and sends the questions, on sockets or in virtual time, asks here and tells what
//! came of it. Knows no address family, no DNS message and no HTTP.

mod race;
mod servers;

pub use self::{
    race::{DeadAddresses, Race, RaceOptions},
    servers::Servers,
};
