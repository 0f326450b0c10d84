//! The node over real sockets: a scripted origin behind it, exact bytes before it.

mod caching;
mod compression;
mod disk;
mod disk_parts;
mod error_pages;
mod failover;
mod functions;
mod golden;
mod hostile;
mod http2;
mod https;
mod https_origins;
mod inflight;
mod origin_bytes;
mod passing;
mod purge;
mod ranges;
mod regional;
mod response_headers;
mod shared_cache;
mod shield;
mod signatures;
mod splitting;
mod staging;
mod support;
mod viewers;
