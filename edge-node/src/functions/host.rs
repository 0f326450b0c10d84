//! The thread on which functions run.
//!
//! The engine can be told to stop at most of what a function does, and not at all of it: sorting an array of four
//! thousand million holes asks nobody. A thread that does not come back is given up, and another takes its place; only so
//! many are given up before calls are refused until one has ended.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, SyncSender, TrySendError},
    },
    thread,
    time::{Duration, Instant},
};

use cdn_core::{Counter, Counters, functions::Function};
use tokio::sync::oneshot;

use super::{
    engine::{FunctionError, FunctionLimits, FunctionRun, Instance},
    origins::OriginChanges,
};

/// Threads that may be alive, those that were given up included.
const THREADS_MAX: usize = 4;

/// Functions of which an engine is kept ready.
const READY_MAX: usize = 16;

/// The stack of the thread: the engine's own, and what is below it.
const STACK_BYTES: usize = 1 << 20;

/// What calls may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) limits: FunctionLimits,
    /// Calls that may wait.
    pub(crate) waiting_max: usize,
    /// From a call to its result, waiting included.
    pub(crate) wait_max: Duration,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Functions {
    settings: Settings,
    counters: Arc<Counters>,
    worker: Mutex<Option<Worker>>,
    threads: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Worker {
    calls: SyncSender<Call>,
    /// When the call began that it is at.
    busy_since: Arc<Mutex<Option<Instant>>>,
}

struct Call {
    function: Arc<Function>,
    event: String,
    /// Milliseconds since 1970.
    now: f64,
    done: oneshot::Sender<FunctionRun>,
}

impl Functions {
    pub(crate) fn new(settings: Settings, counters: Arc<Counters>) -> Self {
        Self { settings, counters, worker: Mutex::default(), threads: Arc::default() }
    }

    /// Calls a function. It waits for its turn.
    pub(crate) async fn call(&self, function: &Arc<Function>, event: String, now: f64) -> FunctionRun {
        self.counters.bump(Counter::EdgeFunctionInvocations);
        let (done, result) = oneshot::channel();
        let call = Call { function: Arc::clone(function), event, now, done };
        let run = if self.send(call) {
            match tokio::time::timeout(self.settings.wait_max, result).await {
                Ok(Ok(run)) => run,
                Ok(Err(_)) => nothing(FunctionError::Failed("the engine ended".into())),
                Err(_) => nothing(self.on_overdue()),
            }
        } else {
            nothing(FunctionError::Throttled)
        };
        if run.origins.is_full() {
            self.counters.bump(Counter::EdgeFunctionOriginsFull);
        }
        self.counters.add(Counter::EdgeFunctionCpu, u64::try_from(run.took.as_micros()).unwrap_or(u64::MAX));
        run
    }

    /// Whether the call has found a place.
    fn send(&self, call: Call) -> bool {
        let mut worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        let call = match &*worker {
            Some(worker) => match worker.calls.try_send(call) {
                Ok(()) => return true,
                Err(TrySendError::Full(_)) => return false,
                Err(TrySendError::Disconnected(call)) => call,
            },
            None => call,
        };
        *worker = self.start();
        worker.as_ref().is_some_and(|worker| worker.calls.try_send(call).is_ok())
    }

    /// What it means that a result did not come: the thread is given up where it is at one call for as long.
    fn on_overdue(&self) -> FunctionError {
        let mut worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        let is_stuck = worker.as_ref().is_some_and(|worker| {
            let since = *worker.busy_since.lock().unwrap_or_else(PoisonError::into_inner);
            since.is_some_and(|since| since.elapsed() >= self.settings.wait_max / 2)
        });
        if is_stuck {
            tracing::warn!(target: "function", "a function does not end; its thread is given up");
            // Calls that wait behind it have nobody to run them any more, and fail.
            *worker = None;
            FunctionError::OutOfTime
        } else {
            FunctionError::Throttled
        }
    }

    fn start(&self) -> Option<Worker> {
        if self.threads.fetch_add(1, Ordering::Relaxed) >= THREADS_MAX {
            self.threads.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let alive = Alive(Arc::clone(&self.threads));
        let (calls, queue) = mpsc::sync_channel(self.settings.waiting_max);
        let busy_since = Arc::<Mutex<Option<Instant>>>::default();
        let (limits, busy) = (self.settings.limits, Arc::clone(&busy_since));
        let begin = move || {
            let _alive = alive;
            serve(&queue, &busy, limits);
        };
        thread::Builder::new().name("functions".into()).stack_size(STACK_BYTES).spawn(begin).ok()?;
        Some(Worker { calls, busy_since })
    }
}

/// Counts a thread for as long as it lives.
struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers calls until nobody can make any.
fn serve(queue: &mpsc::Receiver<Call>, busy_since: &Mutex<Option<Instant>>, limits: FunctionLimits) {
    let mut ready: VecDeque<(Arc<Function>, Instance)> = VecDeque::new();
    let set_busy = |since| *busy_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    while let Ok(Call { function, event, now, done }) = queue.recv() {
        // Whoever left while it waited wants nothing any more.
        if done.is_closed() {
            continue;
        }
        set_busy(Some(Instant::now()));
        let at = ready.iter().position(|(known, _)| Arc::ptr_eq(known, &function));
        let instance = match at.and_then(|at| ready.remove(at)) {
            Some((_, instance)) => Ok(instance),
            None => Instance::new(&function, limits),
        };
        let is_sound = instance.is_ok();
        let _ = done.send(run(instance, &event, now, limits));
        // The next call will want one as well; a code that failed once is read again when it is called again.
        if is_sound && let Ok(next) = Instance::new(&function, limits) {
            ready.push_back((function, next));
            if ready.len() > READY_MAX {
                ready.pop_front();
            }
        }
        set_busy(None);
    }
}

/// Calls what was made ready, if it could be.
pub(super) fn run(
    instance: Result<Instance, FunctionError>,
    event: &str,
    now: f64,
    limits: FunctionLimits,
) -> FunctionRun {
    match instance {
        Ok(instance) => instance.call(event, now, limits),
        Err(error) => nothing(error),
    }
}

fn nothing(error: FunctionError) -> FunctionRun {
    FunctionRun { returned: Err(error), origins: OriginChanges::default(), log: Vec::new(), took: Duration::ZERO }
}
