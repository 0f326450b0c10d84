//! `iso study mapping`, as typed.

use clap::Args;

use super::{RunsArgs, Switch};
use crate::quantity::Share;

pub(super) const MAPPING_EXAMPLES: &str = "\
Examples:
  iso study mapping                                       whose round trip decides, from 20 to 2560 sites
  iso study mapping --sites 20,2560 --orders 10 --html mapping.html
  iso study mapping --public-share 30% --seeds 5          more users behind public resolvers";

#[derive(Debug, Args)]
pub(crate) struct MappingArgs {
    #[command(flatten)]
    pub(crate) runs: RunsArgs,
    /// Numbers of sites, comma separated.
    #[arg(
        long,
        value_name = "NUMBERS",
        value_delimiter = ',',
        default_values_t = [20, 40, 80, 160, 320, 640, 1280, 2560]
    )]
    pub(crate) sites: Vec<usize>,
    /// Sites that there may be: one in each city, the others by users.
    #[arg(long, value_name = "N", default_value_t = 2642)]
    pub(crate) universe: usize,
    /// Orders of sites by chance, of which the means are taken.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) orders: u32,
    /// Cities, those with the most users first.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) cities: usize,
    /// Blocks of clients: one in each city, the others by users.
    #[arg(long, value_name = "N", default_value_t = 8000)]
    pub(crate) blocks: usize,
    /// Resolvers of providers, likewise; public ones stand in Google's PoPs.
    #[arg(long, value_name = "N", default_value_t = 1250)]
    pub(crate) resolvers: usize,
    /// The share of users behind public resolvers.
    #[arg(long, value_name = "SHARE", default_value = "8%")]
    pub(crate) public_share: Share,
    /// Show the users of public resolvers too, apart by whether these are far from their country: over 1000 miles in the
    /// median.
    #[arg(long, value_enum, default_value_t = Switch::Off)]
    pub(crate) countries: Switch,
    /// How much longer than straight fibre paths are.
    #[arg(long, value_name = "FACTOR", default_value_t = 2.655)]
    pub(crate) stretch: f64,
}
