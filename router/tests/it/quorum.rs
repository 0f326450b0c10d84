//! What several routers make of an edge together, and what is counted of it.

use std::time::Duration;

use cdn_core::{Counter, NodeId, Role, health::HealthState};

use crate::world::{World, wait_until, world_with};

impl World {
    /// Another router says what it makes of Frankfurt and Tokyo.
    fn hears(&self, frankfurt: HealthState, tokyo: HealthState) {
        let states = [("FRA", frankfurt), ("NRT", tokyo)];
        let states = states.map(|(code, state)| (NodeId::new(Role::Edge, code), state)).to_vec();
        self.handle.opinions(NodeId::new(Role::Router, "other"), states);
    }

    fn count(&self, counter: Counter) -> u64 {
        self.handle.counters().value(counter)
    }
}

#[test]
fn a_router_that_is_outvoted_counts_steps_of_its_own_and_changes_no_verdict() {
    use HealthState::{Down, Suspect, Up};
    // The other's word stays fresh for the whole test.
    let mut world = world_with(|config| config.routing.quorum.fresh_for = Duration::from_secs(600)).healthy();
    world.hears(Up, Up);
    assert_eq!((world.count(Counter::RouterObservers), world.count(Counter::RouterOpinionsHeard)), (2, 1));
    wait_until("both are up by both", || world.handle.health().iter().all(|edge| edge.state == Up));
    let (steps, verdicts) = (world.count(Counter::RouterHealthChanges), world.count(Counter::RouterVerdictChanges));

    world.edges[0].kill();
    wait_until("this router calls it down", || world.handle.health()[0].own == Down);
    let fra = &world.handle.health()[0];
    assert_eq!((fra.state, fra.observers, fra.down_votes), (Suspect, 2, 1));
    assert_eq!(world.edges_for("198.18.1.0/24"), [0, 1], "one of two takes no edge from anybody");
    // By its own steps it went from up to suspect and on to down; the verdict stopped at the first.
    assert_eq!(world.count(Counter::RouterHealthChanges), steps + 2);
    assert_eq!(world.count(Counter::RouterVerdictChanges), verdicts + 1);

    // The other agrees: that is the verdict, and no step of this router's own.
    world.hears(Down, Up);
    let fra = &world.handle.health()[0];
    assert_eq!((fra.state, fra.observers, fra.down_votes), (Down, 2, 2));
    assert_eq!(world.edges_for("198.18.1.0/24"), [1]);
    assert_eq!(world.count(Counter::RouterHealthChanges), steps + 2);
    assert_eq!(world.count(Counter::RouterVerdictChanges), verdicts + 2);

    // What it says again changes nothing, and is heard.
    world.hears(Down, Up);
    assert_eq!(
        (world.count(Counter::RouterVerdictChanges), world.count(Counter::RouterOpinionsHeard)),
        (verdicts + 2, 3)
    );
    world.hears(Up, Up);
    assert_eq!(world.count(Counter::RouterVerdictChanges), verdicts + 3);
    assert_eq!(world.edges_for("198.18.1.0/24"), [0, 1]);
}
