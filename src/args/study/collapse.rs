//! `iso study collapse`.

use clap::Args;

use super::RunsArgs;
use crate::quantity::Span;

pub(super) const COLLAPSE_EXAMPLES: &str = "\
Examples:
  iso study collapse                                   fetches of a life, with collapsing and early expiry or without
  iso study collapse --collapse off --early 0.5,1,2 --rps 100
  iso study collapse --collapse on --early off --stale 1m   stale-while-revalidate";

#[derive(Debug, Args)]
pub(crate) struct CollapseArgs {
    #[command(flatten)]
    pub(crate) runs: RunsArgs,
    /// Requests per second for the object, comma separated.
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_values_t = [1.0, 3.0, 10.0, 30.0, 100.0])]
    pub(crate) rps: Vec<f64>,
    /// Whether requests wait for a fetch that is under way, comma separated: on, off.
    #[arg(long, value_enum, value_name = "ON|OFF", value_delimiter = ',', default_values = ["on", "off"])]
    pub(crate) collapse: Vec<super::Switch>,
    /// How far ahead of its end the object is fetched, in units of the rebuild (beta of XFetch), or off, comma separated.
    #[arg(long, value_name = "BETAS", value_delimiter = ',', default_values_t = ["off", "1"].map(str::to_owned))]
    pub(crate) early: Vec<String>,
    /// For how long what is stale is served while somebody fetches (stale-while-revalidate).
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    pub(crate) stale: Span,
    /// For how long the object is fresh.
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    pub(crate) ttl: Span,
    /// How long a fetch takes.
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    pub(crate) rebuild: Span,
    /// How many lives of the object are played.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) lives: u32,
}
