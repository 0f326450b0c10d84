//! Isochrone: a global CDN on one machine.
//!
//! This package is the command line, the supervision of node processes and everything that composes the other crates;
//! decisions live in `cdn-core`, the world's physics in `world` and `wan`. Only this package knows TOML, terminals,
//! processes and the state directory.

mod args;
mod authority;
mod chaos;
mod cloudfront;
mod cluster;
mod cluster_file;
mod diagnose;
mod hands;
mod ipv6;
mod lines;
mod links;
mod load;
mod node;
mod parallel;
mod picture;
mod policy_program;
mod ports;
mod private_key;
mod quantity;
mod scenario;
mod state;
mod supervisor;
mod talk;
mod trace_file;
mod up;
mod verbs;
mod wasm;

/// The door by which fuzz targets (`fuzz/`) reach what is private here. Compiled for them alone.
#[cfg(fuzzing)]
pub mod fuzzing {
    /// Imports a distribution in CloudFront's own format, exports it and imports that.
    ///
    /// # Panics
    /// What was taken does not come back, or a refusal is about bytes that are not there.
    pub fn import(text: &str) {
        crate::cloudfront::fuzzing::survives(text);
    }

    /// Reads a text as CloudFront's XML, and imports it.
    ///
    /// # Panics
    /// A value or a refusal is about bytes that are not there.
    pub fn xml(text: &str) {
        crate::cloudfront::fuzzing::reads_xml(text);
    }
}

use std::process::ExitCode;

/// Parses the command line, runs the verb and returns its exit code.
///
/// 0 done, 1 failed, 2 wrong usage or configuration, 3 no such world is running, 10 an expectation of a scenario was
/// missed, 11 a scenario could not start, 130 interrupted.
pub fn run() -> ExitCode {
    verbs::run(args::parse())
}
