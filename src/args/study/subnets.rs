//! `iso study subnets`, as typed.

use clap::Args;

use super::RunsArgs;
use crate::quantity::Span;

pub(super) const SUBNETS_EXAMPLES: &str = "\
Examples:
  iso study subnets                           names from unknown to known everywhere, a TTL of 20 s
  iso study subnets --ttl 60s --rps 10,1000
  iso study subnets --resolvers 584000 --networks 3760000 --seeds 20 --csv subnets.csv";

#[derive(Debug, Args)]
pub(crate) struct SubnetsArgs {
    #[command(flatten)]
    pub(crate) runs: RunsArgs,
    /// Requests per second for a name, of all clients together, comma separated.
    #[arg(
        long,
        value_name = "NUMBERS",
        value_delimiter = ',',
        default_values_t = [1.0, 10.0, 100.0, 1000.0, 10_000.0, 100_000.0]
    )]
    pub(crate) rps: Vec<f64>,
    /// Resolvers.
    #[arg(long, value_name = "N", default_value_t = 58_400)]
    pub(crate) resolvers: usize,
    /// Networks of clients: one behind each resolver, the others by demand.
    #[arg(long, value_name = "N", default_value_t = 376_000)]
    pub(crate) networks: usize,
    /// How long resolvers keep an answer.
    #[arg(long, value_name = "DURATION", default_value = "20s")]
    pub(crate) ttl: Span,
    /// How long questions are counted.
    #[arg(long = "for", value_name = "DURATION", default_value = "5m")]
    pub(crate) span: Span,
}
