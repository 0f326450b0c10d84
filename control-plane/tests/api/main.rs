//! The control API over a real listener, with hands that only remember what they were asked to do.

mod aws;
mod document;
mod routes;
mod streams;
mod support;
