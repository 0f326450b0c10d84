//! A router's policy program: when it is asked. What it is asked and what becomes of its word is the planner's.
//!
//! A live router asks on a thread of its own, so nobody waits for a program there; here nobody does because time stands
//! still meanwhile.

use std::sync::Arc;

use cdn_core::{Counters, Instant};

use crate::{
    engine::{Happening, Sim},
    plan::{Plan, Program},
};

/// A program that runs, and when it is asked next.
#[derive(Debug)]
pub(super) struct Asking {
    program: Box<dyn Program>,
    due: Instant,
}

impl Asking {
    /// The program of a router that begins at `now`, where its world has one.
    pub(super) fn begin(node: u32, plan: &Plan, now: Instant, counters: &Arc<Counters>) -> Option<Self> {
        let spec = plan.program.as_ref()?;
        let id = &plan.nodes.get(node as usize)?.id;
        Some(Self { program: spec.programs.begin(id, Arc::clone(counters)), due: now + spec.first })
    }
}

impl Sim<'_> {
    /// Sees to it that a router's program is asked when it is due.
    pub(crate) fn wake_program(&mut self, router: usize) {
        let Some(asking) = self.routers.get(router).and_then(|host| host.asking.as_ref()) else { return };
        let number = u32::try_from(router).unwrap_or(u32::MAX);
        self.queue.push(asking.due, Happening::Consult(number));
    }

    /// Asks a router's program about every client network, and has the router answer as it says.
    pub(crate) fn handle_consult(&mut self, number: u32) {
        let (now, router) = (self.now, number as usize);
        let Some(spec) = &self.plan.program else { return };
        let Some(host) = self.routers.get_mut(router) else { return };
        // A router that was started anew has another program, with another time.
        let Some(asking) = host.asking.as_mut().filter(|asking| asking.due == now) else { return };
        asking.due = now + spec.interval;
        let is_up = self.nodes.get(host.node as usize).is_some_and(|node| !node.is_dead && !node.is_paused);
        if is_up && host.snapshot.asks_program() {
            let told = asking.program.round(now, &host.snapshot);
            self.tell(router, |planner, now| planner.set_told(now, told));
        }
        self.wake_program(router);
    }
}
