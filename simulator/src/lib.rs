//! Virtual time: the machines of `cdn-core` and the links of `world`, driven without sockets and clocks.
//!
//! What decides is not written here a second time: the simulator calls what the live nodes call, says what time it is and
//! counts what comes out. Pure and single-threaded, the same to the byte wherever it runs.
//!
//! [`run`] plays a [`Scenario`] over a [`Plan`] of its world; [`studies`] ask smaller questions of the same code. Refuses to know sockets, clocks, files and ambient
//! randomness: time and seeds are arguments.

mod admission;
mod ahead;
mod bodies;
mod caches;
mod catalog;
pub mod choices;
mod counted;
mod default_world;
mod engine;
mod fetches;
mod hash;
mod ledger;
mod maybe;
mod memory;
mod network;
mod origins;
mod plan;
mod player;
pub mod queue;
pub mod replay;
mod resolvers;
mod routers;
mod slab;
pub mod studies;
mod timers;
mod viewers;

use cdn_core::Instant;
use world::{
    Scenario,
    workload::{Workload, WorkloadError},
};

pub use crate::{
    counted::counts,
    default_world::{PlainAnswers, default_world, distribution},
    engine::Witness,
    ledger::{Flow, Ledger, Station},
    memory::estimate,
    plan::{Answers, NodeSpec, OriginAnswer, OriginSpec, Plan, Program, ProgramSpec, Programs, ViewerSpec},
};

/// A run that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A load cannot be played.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// It would need more memory than it may have.
    #[error("the run needs about {} MiB of memory, and may have {} MiB", needed >> 20, allowed >> 20)]
    Memory {
        /// Bytes that it would need, roughly.
        needed: u64,
        /// Bytes that it may have.
        allowed: u64,
    },
    /// More nodes than there are numbers for.
    #[error("the world has {nodes} nodes, and may have {NODES_MAX}")]
    Nodes {
        /// Nodes of the plan.
        nodes: usize,
    },
}

/// Nodes of one plan.
pub const NODES_MAX: usize = u16::MAX as usize;

/// Plays a scenario in virtual time, tells `witness` what is seen, and returns when it ended and what it came to.
///
/// # Errors
/// [`RunError`], before anything has happened.
pub fn run(plan: &Plan, scenario: &Scenario, witness: &mut dyn Witness) -> Result<(Instant, Ledger), RunError> {
    check_nodes(plan.nodes.len())?;
    let needed = estimate(plan, scenario);
    if needed > plan.memory_max {
        return Err(RunError::Memory { needed, allowed: plan.memory_max });
    }
    let workload = Workload::of_scenario(scenario, plan.world.atlas())?;
    Ok(engine::Sim::new(plan, scenario, workload, witness).run())
}

/// Whether there is a number for each of so many nodes.
const fn check_nodes(nodes: usize) -> Result<(), RunError> {
    if nodes > NODES_MAX { Err(RunError::Nodes { nodes }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_of_more_nodes_than_there_are_numbers_for_is_refused() {
        assert!(check_nodes(NODES_MAX).is_ok());
        let refused = check_nodes(NODES_MAX + 1).unwrap_err();
        assert_eq!(refused.to_string(), "the world has 65536 nodes, and may have 65535");
    }
}
