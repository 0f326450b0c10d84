//! Names to addresses, as a client in some place sees them.
//!
//! A resolver stands in a place, asks the routers from there and keeps what it heard as long as the TTL says. Only this
//! module knows DNS messages; the rest of the crate sees [`Ipv4Addr`](std::net::Ipv4Addr)s and [`DigReply`].

mod cache;
mod dig;
mod exchange;
mod reply;
mod resolver;

pub use self::dig::{DigError, DigOptions, DigRecord, DigReply, DigSubnet};
pub(crate) use self::{
    dig::dig,
    resolver::{Located, ResolveError, Resolver, Resolvers},
};
