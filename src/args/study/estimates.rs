//! `iso study estimates`, as typed.

use clap::Args;

use super::RunsArgs;
use crate::quantity::Span;

pub(super) const ESTIMATES_EXAMPLES: &str = "\
Examples:
  iso study estimates                              40 ms more on one path for 18 hours
  iso study estimates --added 10ms --for 2h        less than routing takes notice of
  iso study estimates --beacon-interval 60s --measure-interval 2m --seeds 5";

#[derive(Debug, Args)]
pub(crate) struct EstimatesArgs {
    #[command(flatten)]
    pub(crate) runs: RunsArgs,
    /// The set of PoPs: world-6, world-18, world-36, or a footprint.
    #[arg(long, value_name = "NAME", default_value = "world-36")]
    pub(crate) preset: String,
    /// Cities whose clients report, those with the most users first. The path of one of them becomes slower.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) cities: usize,
    /// What is added to the round trip of that path.
    #[arg(long, value_name = "DURATION", default_value = "40ms")]
    pub(crate) added: Span,
    /// How long it is added.
    #[arg(long = "for", value_name = "DURATION", default_value = "18h")]
    pub(crate) span: Span,
    /// How long all is well before that, and again after.
    #[arg(long, value_name = "DURATION", default_value = "2h")]
    pub(crate) around: Span,
    /// How long a window is, at the end of which the estimate is looked at.
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    pub(crate) window: Span,
    /// Time between two reports of a city on the first address of its answer.
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub(crate) beacon_interval: Span,
    /// Time between two measurements of the second.
    #[arg(long, value_name = "DURATION", default_value = "20s")]
    pub(crate) measure_interval: Span,
}
