//! `iso study anycast`, as typed.

use clap::Args;

use super::GroundArgs;
use crate::quantity::Share;

pub(super) const ANYCAST_EXAMPLES: &str = "\
Examples:
  iso study anycast                                    CloudFront's PoPs, as anycast
  iso study anycast --detour-km 0 --remote-share 0%    networks that always come out at the nearest
  iso study anycast --day-sigma 0.3 --seeds 5          paths that differ from day to day";

#[derive(Debug, Args)]
pub(crate) struct AnycastArgs {
    #[command(flatten)]
    pub(crate) ground: GroundArgs,
    /// Blocks of clients: one in each city, the others by users.
    #[arg(long, value_name = "N", default_value_t = 4000)]
    pub(crate) blocks: usize,
    /// Resolvers of providers, likewise; public ones stand in Google's PoPs.
    #[arg(long, value_name = "N", default_value_t = 1250)]
    pub(crate) resolvers: usize,
    /// Beacons of a block in a day, in the mean over blocks; each has as many as it has users.
    #[arg(long, value_name = "N", default_value_t = 200.0)]
    pub(crate) beacons: f64,
    /// The mean detour of networks that hand traffic over nearby.
    #[arg(long, value_name = "KM", default_value_t = 600.0)]
    pub(crate) detour_km: f64,
    /// The share of blocks whose networks hand traffic over far away.
    #[arg(long, value_name = "SHARE", default_value = "25%")]
    pub(crate) remote_share: Share,
    /// What blocks of a city differ by on the way to a site: standard deviation of the logarithm.
    #[arg(long, value_name = "SIGMA", default_value_t = 0.1)]
    pub(crate) block_sigma: f64,
    /// What days differ by on the way from a block to a site, likewise.
    #[arg(long, value_name = "SIGMA", default_value_t = 0.1)]
    pub(crate) day_sigma: f64,
}
