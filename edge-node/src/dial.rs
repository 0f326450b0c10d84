//! What a node dials with: a connector that it is handed.
//!
//! The node cannot tell an emulated network from a real one, because this is all it sees of either.

use std::{io, net::SocketAddr};

use http::Uri;
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use tower::{ServiceExt as _, util::BoxCloneSyncService};
use tower_service::Service;

/// A connection, whatever carries it.
pub trait Connection: Read + Write + Send + Unpin + 'static {}

impl<T: Read + Write + Send + Unpin + 'static> Connection for T {}

/// A connection of some connector.
pub type BoxIo = Box<dyn Connection>;

/// The connector that a node is handed: from `http://IP:PORT` to a connection. Errors are told apart by
/// [`io::ErrorKind`]: `ConnectionRefused`, `ConnectionReset`, `TimedOut`, and anything else for "no way there". It may
/// never resolve; whoever dials applies a timeout.
pub type BoxConnect = BoxCloneSyncService<Uri, BoxIo, io::Error>;

/// Boxes any connector into the one type that nodes use.
pub fn boxed<C>(connect: C) -> BoxConnect
where
    C: Service<Uri, Error = io::Error> + Clone + Send + Sync + 'static,
    C::Response: Connection,
    C::Future: Send + 'static,
{
    BoxCloneSyncService::new(connect.map_response(|io| Box::new(io) as BoxIo))
}

/// The connector of a real network: TCP, without Nagle's delay. The host of the URI must be a literal address.
pub fn tcp() -> BoxConnect {
    boxed(tower::service_fn(|uri: Uri| async move {
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let address: SocketAddr = authority.parse().map_err(|_| io::Error::from(io::ErrorKind::NotFound))?;
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok::<_, io::Error>(TokioIo::new(stream))
    }))
}
