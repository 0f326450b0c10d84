//! `iso chaos swarm`, as typed.

use std::path::PathBuf;

use clap::Args;

use crate::{
    parallel::{MEMORY, cores},
    quantity::ByteCount,
};

pub(super) const SWARM_EXAMPLES: &str = "\
Examples:
  iso chaos swarm                             100 seeds in virtual time, on all cores
  iso chaos swarm --seeds 5000 --out found    what breaks a law is shrunk and kept as found/swarm-N.toml
  iso chaos swarm --first 17 --seeds 1        one seed again
  iso chaos swarm --live --seeds 3            on real processes, one world at a time
  iso chaos swarm --seeds 1000 --json

Each seed draws a world, what breaks in it and heals again, and who asks for what. Whatever happens: no wrong bytes,
nobody let in with a bad signature, nothing that predates a completed invalidation, nothing older than allowed, no request without an end,
nobody unserved while the second origin of a group is whole, requests = hits + misses + passes + errors, bytes in = bytes out, and a minute after the last fault has healed everybody is served and no router calls a node down.

Exit codes: 0 every seed held, 10 one did not, 11 one could not start, 130 interrupted.";

#[derive(Debug, Args)]
pub(crate) struct ChaosSwarmArgs {
    /// How many seeds.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub(crate) seeds: u64,
    /// The first of them.
    #[arg(long, value_name = "SEED", default_value_t = 1, value_parser = clap::value_parser!(u64).range(..1 << 62))]
    pub(crate) first: u64,
    /// In virtual time, which is the default.
    #[arg(long, conflicts_with = "live")]
    pub(crate) sim: bool,
    /// On real processes, one world after the other.
    #[arg(long)]
    pub(crate) live: bool,
    /// Write what breaks a law to this directory, as scenario files, instead of printing it.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Runs that may be spent on making a seed that fails shorter; 0 leaves it as it is. Default 400, live 8.
    #[arg(long, value_name = "RUNS")]
    pub(crate) shrink: Option<u32>,
    #[command(flatten)]
    pub(crate) means: SimArgs,
}

/// What simulations may take.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct SimArgs {
    /// Threads of runs in virtual time. Results do not depend on it. Default: as many as there are cores.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Memory that runs in virtual time may take together; one that needs more is refused before it starts. Default 4GiB.
    #[arg(long, value_name = "BYTES")]
    pub(crate) memory: Option<ByteCount>,
}

impl SimArgs {
    /// How many threads.
    pub(crate) fn threads(&self) -> usize {
        self.threads.map_or_else(cores, usize::from)
    }

    /// How much memory, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.memory.map_or(MEMORY, |memory| memory.0)
    }

    /// Whether nothing was said.
    pub(crate) const fn is_silent(&self) -> bool {
        self.threads.is_none() && self.memory.is_none()
    }
}
