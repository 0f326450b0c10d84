//! An origin that serves deterministic content and misbehaves on demand.
//!
//! Three faces, one set of faults. [`OriginSim`] is a node: it answers every path with content that anyone can check
//! byte by byte ([`fill`]), or, given a folder, serves its files. [`gate`] lays the same faults over somebody's own app.
//! This crate knows nothing of links, distances and sites: it is handed a listener, or a stream, and the addresses of
//! its peers. Refusals and black holes of connections before a byte is read are the network's, and made there.
//!
//! # What a simulated answer looks like
//!
//! Every path answers `200` with 1 KiB, an `ETag`, `Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT`,
//! `Cache-Control: max-age=60`, `Accept-Ranges: bytes` and a content type by extension, and `x-origin` names the origin.
//! Conditional requests, ranges (several as `multipart/byteranges`), HEAD and OPTIONS work; POST, PUT, PATCH and DELETE
//! are read to the end and answered like GET. The query changes that, and so do [`Rule`]s of the config, which are
//! written the same way; the query comes last. Names that are not in this table are nobody's business in a query, and an
//! error in a rule; a value that makes no sense is answered `400`.
//!
//! | parameter | means | default |
//! |---|---|---|
//! | `size=10k` | length of the body; `k`, `m`, `g`, `t` are powers of 1024 | `1k` |
//! | `seed=7` | another body under the same path: a new version of it | the origin's |
//! | `status=404` | status, 200 to 599 | `200` |
//! | `type=text/html` | `Content-Type` | by extension, else text |
//! | `max-age=60` | `Cache-Control: max-age=60` | `60` |
//! | `cc=no-store` | the whole of `Cache-Control`; `cc=none` sends none | `max-age=60` |
//! | `expires=60` | `Expires` so many seconds from now, may be negative | none |
//! | `etag=weak` | `strong`, `weak`, `none`, or a tag of your own (without quotes) | `strong` |
//! | `last-modified=none` | `none`, seconds since 1970, or an HTTP date | 2024-01-01 |
//! | `ranges=off` | whether ranges are served | `on` |
//! | `chunked=on` | chunks instead of `Content-Length` | `off` |
//! | `chunk=4k` | bytes in a piece of the body, 1 to 1 MiB | 64 KiB |
//! | `delay=200ms` | wait before the answer, up to 1 h | `0` |
//! | `drip=10ms` | wait between pieces of the body, up to 1 h | `0` |
//! | `h.Vary=Accept` | a header; repeat it for several values | |
//! | `header=Vary:Accept` | the same | |
//!
//! Headers replace what the answer had under their name. Those that frame the message (`Content-Length`,
//! `Transfer-Encoding`, `Connection`, `Upgrade`, `TE`) cannot be set.
//!
//! `/bytes/10k`, and every path below it, answers 10 KiB: the size is part of the path, and so of every cache key.
//!
//! The demo site has `/`, `/app.js`, `/style.css`, `/big.bin` (16 MiB), `/api/time` (never cached) and `/echo` (the
//! request as JSON, with the length and SHA-256 of its body).
//!
//! With an [`Identity`] it answers HTTPS (TLS 1.2 and 1.3) at the port of HTTP as well.
//!
//! A request occupies one of [`Limits::concurrency_max`] slots for as long as it is served, delays included; beyond that
//! and [`Limits::queue_max`] it is answered `503` with `x-origin-overload: 1`. `x-origin-reason` says why an answer is
//! not what was asked for.

mod answer;
mod body;
mod demo;
mod directory;
mod faults;
mod framing;
mod gate;
mod glob;
mod json;
mod pace;
mod parameters;
mod precondition;
mod range;
mod serve;
mod simulated;
mod slots;
mod tally;
mod tls;
mod wire;

pub use cdn_core::content::{Content, byte_at, fill};

pub use crate::{
    faults::{FaultKind, FaultRule, SharedFaults},
    gate::{GateStream, gate},
    glob::PathGlob,
    json::{FaultSpec, InvalidFault},
    parameters::{CHUNK_BYTES_MAX, DELAY_MAX, InvalidParameter, Parameters, Rule, TagChoice},
    serve::{Config, Handle, Limits, OriginSim},
    simulated::{Described, describe},
    tally::{OTHER_PATHS, PathCounters},
    tls::Identity,
};
