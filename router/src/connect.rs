//! The connector that probes dial with, and what its errors mean.

use std::{error::Error, io};

use cdn_core::health::ProbeError;
use http::Uri;
use hyper::rt::{Read, Write};
use tower::util::{BoxCloneSyncService, ServiceExt as _};
use tower_service::Service;

/// A byte stream, as hyper knows them.
pub(crate) trait Io: Read + Write + Send + Unpin {}

impl<T: Read + Write + Send + Unpin> Io for T {}

/// Any byte stream.
pub(crate) type BoxIo = Box<dyn Io>;

type BoxError = Box<dyn Error + Send + Sync>;

/// Any connector.
pub(crate) type BoxConnect = BoxCloneSyncService<Uri, BoxIo, BoxError>;

/// Boxes a connector, once.
pub(crate) fn boxed<C>(connect: C) -> BoxConnect
where
    C: Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Read + Write + Send + Unpin + 'static,
    C::Error: Into<BoxError> + 'static,
    C::Future: Send + 'static,
{
    BoxCloneSyncService::new(connect.map_response(|io| Box::new(io) as BoxIo).map_err(Into::into))
}

/// What went wrong, as far as health is concerned: the kind of the `io::Error` at the bottom.
pub(crate) fn probe_error(error: &(dyn Error + 'static)) -> ProbeError {
    let mut source = Some(error);
    while let Some(error) = source {
        match error.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused) => return ProbeError::Refused,
            Some(io::ErrorKind::TimedOut) => return ProbeError::TimedOut,
            Some(
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof,
            ) => return ProbeError::Reset,
            Some(io::ErrorKind::NotFound | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
                return ProbeError::NoRoute;
            }
            _ => {}
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && (error.is_incomplete_message() || error.is_closed() || error.is_canceled())
        {
            return ProbeError::Reset;
        }
        // The source of an io::Error is that of the error inside it, which would be left out.
        source = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    ProbeError::Invalid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_at_the_bottom_counts() {
        for (kind, expected) in [
            (io::ErrorKind::ConnectionRefused, ProbeError::Refused),
            (io::ErrorKind::ConnectionReset, ProbeError::Reset),
            (io::ErrorKind::TimedOut, ProbeError::TimedOut),
            (io::ErrorKind::NotFound, ProbeError::NoRoute),
            (io::ErrorKind::InvalidData, ProbeError::Invalid),
        ] {
            let wrapped = io::Error::other(io::Error::from(kind));
            assert_eq!(probe_error(&io::Error::from(kind)), expected);
            assert_eq!(probe_error(&wrapped), expected, "wrapped");
        }
    }
}
