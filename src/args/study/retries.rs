//! `iso study retries`.

use clap::Args;

use super::RunsArgs;
use crate::quantity::Span;

pub(super) const RETRIES_EXAMPLES: &str = "\
Examples:
  iso study retries                                    up to three retries, with and without a budget and a limit
  iso study retries --retries 1 --budget off,5%,10%,20% --shed off
  iso study retries --retries 3 --backoff 0s,100ms,1s --budget off --shed off";

#[derive(Debug, Args)]
pub(crate) struct RetriesArgs {
    #[command(flatten)]
    pub(crate) runs: RunsArgs,
    /// Requests per second that the server can serve.
    #[arg(long, value_name = "N", default_value_t = 300.0)]
    pub(crate) service_rps: f64,
    /// How long a client waits for an answer.
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    pub(crate) timeout: Span,
    /// How often a request that failed is made again, comma separated.
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_values_t = [0, 1, 2, 3])]
    pub(crate) retries: Vec<u8>,
    /// How long a client waits before the first retry, twice as long before each further one, comma separated.
    #[arg(long, value_name = "DURATIONS", value_delimiter = ',', default_value = "0s")]
    pub(crate) backoff: Vec<Span>,
    /// Retries at most, as a share of first requests, or off, comma separated.
    #[arg(long, value_name = "SHARES", value_delimiter = ',', default_values_t = ["off", "10%"].map(str::to_owned))]
    pub(crate) budget: Vec<String>,
    /// Requests that may be at the server, more being refused, or off, comma separated.
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_values_t = ["off", "150"].map(str::to_owned))]
    pub(crate) shed: Vec<String>,
    /// How long nothing gets through.
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub(crate) cut: Span,
    /// Before the cut.
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    pub(crate) warmup: Span,
    /// After the cut; recovered is who answers 99 % of the requests of its last tenth.
    #[arg(long = "for", value_name = "DURATION", default_value = "2000s")]
    pub(crate) span: Span,
    /// How finely the load is searched for, in requests per second.
    #[arg(long, value_name = "N", default_value_t = 5.0)]
    pub(crate) step: f64,
}
