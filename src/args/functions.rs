//! What was typed about viewer functions.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::quantity::{ByteCount, Span};

pub(super) const FUNCTIONS_EXAMPLES: &str = "\
Examples:
  iso functions test rewrite.js --event event.json
  iso functions test rewrite.js --event event.json --json | jq .output.request.uri
  iso functions test lookup.js --event event.json --key-values store.json";

#[derive(Debug, Subcommand)]
pub(crate) enum FunctionsVerb {
    /// Call a function with an event, and print what it returns, which origins it chooses, what it logs, and how much of
    /// its time it took.
    #[command(after_help = FUNCTIONS_EXAMPLES)]
    Test(TestFunctionArgs),
}

#[derive(Debug, Args)]
pub(crate) struct TestFunctionArgs {
    /// The function's code.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The event, in JSON, as CloudFront's TestFunction takes it; `-` for stdin.
    #[arg(long, value_name = "FILE")]
    pub(crate) event: PathBuf,
    /// Its key value store, in the format that CloudFront imports.
    #[arg(long, value_name = "FILE")]
    pub(crate) key_values: Option<PathBuf>,
    /// Processor time of the call, of which compute utilization is the share.
    #[arg(long, value_name = "DURATION", default_value = "50ms")]
    pub(crate) time: Span,
    /// Memory of the call.
    #[arg(long, value_name = "BYTES", default_value = "2MiB")]
    pub(crate) memory: ByteCount,
}
