//! Policy programs of scenarios: how one is asked in virtual time, and what a verdict says of those that were asked,
//! whichever way the scenario was played.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use cdn_core::{
    Counters, Instant, NodeId, Reason,
    routing::{ProgramOptions, Snapshot, Told},
};
use router::{Consultation, Program};
use serde_json::{Value, json};
use simulator::{ProgramSpec, Programs};
use world::Judgement;

use crate::{
    cluster::ProgramPlan,
    policy_program::{self, Outcomes, Rations, never_answers},
};

/// Of each kind of fault the first, over all programs of a run.
type Faults = Arc<Mutex<BTreeMap<Reason, String>>>;

/// Starts a world's policy program for each of its routers.
#[derive(Debug)]
pub(super) struct Started {
    program: Program,
    faults: Faults,
}

/// The program of one router.
#[derive(Debug)]
struct Asked {
    consultation: Consultation,
    counters: Arc<Counters>,
    faults: Faults,
}

impl Started {
    /// The program that `plan` says, with the limits that it has live. Time stands still while it thinks, so late answers
    /// are counted and used.
    pub(super) fn new(plan: &ProgramPlan) -> Arc<Self> {
        let ProgramPlan { line, dir, options, wasm } = plan;
        let rations = Rations { wasm: *wasm, ..Rations::default() };
        let options = ProgramOptions { uses_late: true, ..options.clone() };
        let command = policy_program::command(line, dir.as_deref(), &rations);
        Arc::new(Self { program: Program { command, options }, faults: Faults::default() })
    }

    /// As the simulator wants it.
    pub(super) fn spec(self: &Arc<Self>) -> ProgramSpec {
        let options = &self.program.options;
        let programs: Arc<dyn Programs> = Arc::<Self>::clone(self);
        ProgramSpec { first: options.first(), interval: options.interval, programs }
    }

    /// What went wrong, and of each kind the first.
    pub(super) fn faults(&self) -> BTreeMap<Reason, String> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Programs for Started {
    fn begin(&self, _router: &NodeId, counters: Arc<Counters>) -> Box<dyn simulator::Program> {
        let consultation = Consultation::new(self.program.clone(), Arc::clone(&counters));
        Box::new(Asked { consultation, counters, faults: Arc::clone(&self.faults) })
    }
}

impl simulator::Program for Asked {
    fn round(&mut self, now: Instant, snapshot: &Snapshot) -> Told {
        if never_answers(&self.counters) {
            return Told { otherwise: Reason::RouteProgramHung, ..Told::default() };
        }
        let told = self.consultation.round(now, snapshot, || false);
        if !self.consultation.faults().is_empty() {
            let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
            for (reason, why) in self.consultation.faults() {
                faults.entry(*reason).or_insert_with(|| why.clone());
            }
        }
        told
    }
}

/// What came of the programs that routers asked, where they have some.
pub(super) fn outcomes(judgement: &Judgement) -> Option<Outcomes> {
    (!judgement.told.is_empty()).then(|| Outcomes::counted(&judgement.told))
}

/// One line of a verdict.
pub(super) fn text(judgement: &Judgement) -> Option<String> {
    let outcomes = outcomes(judgement)?;
    let mut text = outcomes.text("program");
    if outcomes.late > 0 {
        text.push_str(&format!("; {} late ({})", outcomes.late, Reason::RouteProgramLate));
    }
    Some(text)
}

/// The same for documents.
pub(super) fn document(judgement: &Judgement) -> Option<Value> {
    let outcomes = outcomes(judgement)?;
    let mut document = json!(outcomes);
    if let Some(object) = document.as_object_mut() {
        // Of the reasons a node's log tells, where there is one.
        object.remove("first");
        object.insert("late".to_owned(), outcomes.late.into());
        object.insert("good".to_owned(), outcomes.is_good().into());
    }
    Some(document)
}
