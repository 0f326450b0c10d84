//! `iso study balance`.

use clap::{Args, ValueEnum};

use super::RunsArgs;
use crate::quantity::{Share, Span};

pub(super) const BALANCE_EXAMPLES: &str = "\
Examples:
  iso study balance                                  six policies from below to far above the allocation
  iso study balance --policies prequal --load 1.5 --probes 1 --probe-pool 4
  iso study balance --policies random,two-choices,three-choices --load 0.7,0.9 --clients 1 --work 1s \\
    --work-shape exponential --spare 0 --deadline off --for 1000s      the power of two choices";

#[derive(Debug, Args)]
pub(crate) struct BalanceArgs {
    #[command(flatten)]
    pub(crate) runs: RunsArgs,
    /// Policies, comma separated, or all.
    #[arg(
        long,
        value_name = "POLICIES",
        value_delimiter = ',',
        default_values_t = ["random", "round-robin", "weighted-round-robin", "two-choices", "least-loaded", "prequal"]
            .map(str::to_owned)
    )]
    pub(crate) policies: Vec<String>,
    /// Queries that come, in units of what the servers' allocations can do, comma separated.
    #[arg(long, value_name = "LOADS", value_delimiter = ',', default_values_t = [0.75, 1.0, 1.25, 1.5])]
    pub(crate) load: Vec<f64>,
    /// Clients, each with knowledge of its own; one alone knows everything.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) clients: u32,
    /// Servers, with an allocation of one core each.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) servers: u32,
    /// The mean time of a query on one core.
    #[arg(long, value_name = "DURATION", default_value = "80ms")]
    pub(crate) work: Span,
    /// How work is distributed: normal has a deviation as large as its mean, and nothing below zero.
    #[arg(long, value_enum, default_value_t = Shape::Normal)]
    pub(crate) work_shape: Shape,
    /// What antagonists leave beyond the allocation: from nothing to so many times the allocation, evenly; 0 for none.
    #[arg(long, value_name = "X", default_value_t = 2.0)]
    pub(crate) spare: f64,
    /// The share of time in which an antagonist leaves nothing beyond the allocation.
    #[arg(long, value_name = "SHARE", default_value = "20%")]
    pub(crate) contended: Share,
    /// How long an antagonist stays as it is, in the mean.
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub(crate) hold: Span,
    /// When a query is given up, by client and server, or off.
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    pub(crate) deadline: String,
    /// prequal: answers to probes that a client keeps.
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(crate) probe_pool: usize,
    /// prequal: probes per query.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) probes: usize,
    /// prequal: for how long an answer is used.
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    pub(crate) probe_age: Span,
    /// prequal: hot is who has more in flight than this share of the servers that were probed.
    #[arg(long, value_name = "SHARE", default_value = "0.84")]
    pub(crate) hot_quantile: Share,
    /// Time from a query to the answers to its probes.
    #[arg(long, value_name = "DURATION", default_value = "1ms")]
    pub(crate) probe_rtt: Span,
    /// Before queries are counted.
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub(crate) warmup: Span,
    /// How long queries are counted.
    #[arg(long = "for", value_name = "DURATION", default_value = "20s")]
    pub(crate) span: Span,
    /// Warm up and count for at least N relaxation times, in which queues forget how they began: the work over
    /// (1 - sqrt(load))^2, and so many times shorter as there are servers where one client looks at several.
    #[arg(long, value_name = "N", default_value_t = 0.0)]
    pub(crate) settle: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    Normal,
    Exponential,
}
