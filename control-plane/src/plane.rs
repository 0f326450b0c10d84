//! The control plane's state, and the order in which it changes.
//!
//! What should be is changed under a short lock; then the [`Hands`] make it so, one change at a time, always with
//! everything that is wanted at that moment: whoever comes last applies the newest state. What cannot be made so is
//! taken back. What caches serve by, which they hear over the links, has an order of its own: a cache that cannot be
//! reached keeps no fault from ending and no PoP from being drained.

mod rollout;

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cdn_core::{Counter, Counters, Instant, NodeId, routing::PolicyKind};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub(crate) use self::rollout::{Described, Rollout, behaviors, check_version, digest_of, etag_of, trusted_key_groups};
use crate::{
    aws::Tags,
    config::{Config, DistributionInfo},
    desired::{Active, Added, Desired, Drain, Fault, Heal, Keys, Policies, Stop},
    events::Events,
    hands::{Hands, HandsError},
    propagation::Propagation,
    registry::{Registry, millis},
    respond::Refusal,
    wire::{
        DistributionRouting, FaultRow, Key, KeyGroup, KeyGroupsReport, Links, LinksReport, NodeOutcome, Routing, Status,
    },
};

/// How long after it failed something is tried again: to start a node whose kill has ended, to apply what should be.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Everything that routes, timers and the [`Handle`](crate::Handle) share.
pub(crate) struct Plane {
    pub(crate) config: Config,
    pub(crate) hands: Arc<dyn Hands>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) events: Events,
    /// Cancelled when streams must end.
    pub(crate) stopping: CancellationToken,
    /// The port of the listener, for the check of `Host`.
    pub(crate) port: u16,
    state: Mutex<State>,
    began: tokio::time::Instant,
    /// Held while the hands act, so that an older wish never lands after a newer one.
    acting: tokio::sync::Mutex<()>,
    /// The same while caches are told what to serve by: configurations and key groups.
    configuring: tokio::sync::Mutex<()>,
    /// Wakes the timer: the next end may have changed, or everything must be applied again.
    changed: Notify,
    /// Wakes whoever tells caches again.
    caches_behind: Notify,
    streams: AtomicUsize,
}

/// What the lock guards.
pub(crate) struct State {
    pub(crate) desired: Desired,
    pub(crate) registry: Registry,
    pub(crate) propagation: Propagation,
    pub(crate) links: Option<LinksReport>,
    pub(crate) rollout: Rollout,
    /// Of distributions.
    pub(crate) tags: Tags,
    /// When everything must be applied again: a node started, or it did not work the last time.
    apply_at: Option<Instant>,
    /// When caches must be told again what to serve by, for the same reasons.
    configure_at: Option<Instant>,
}

/// Which parts of what should be have changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Touched {
    links: bool,
    nodes: bool,
    drained: bool,
    policies: bool,
}

impl Touched {
    const ALL: Self = Self { links: true, nodes: true, drained: true, policies: true };

    fn of<'a>(faults: impl IntoIterator<Item = &'a Fault>) -> Self {
        let mut touched = Self::default();
        for fault in faults {
            match fault {
                Fault::Link(_) => touched.links = true,
                Fault::Node(_) => touched.nodes = true,
                Fault::Stopped(..) => {}
            }
        }
        touched
    }
}

/// A stream that counts as open for as long as this lives.
pub(crate) struct OpenStream(Arc<Plane>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
        self.0.counters.sub(Counter::ControlStreams, 1);
    }
}

impl Plane {
    pub(crate) fn new(config: Config, port: u16, hands: Arc<dyn Hands>) -> Self {
        let mut desired = Desired::new(config.limits.faults_max);
        desired.set_policies(config.policies.clone());
        desired.set_key_groups(config.key_groups.clone());
        let state = State {
            desired,
            registry: Registry::new(&config),
            propagation: Propagation::new(config.seed, &config.limits),
            links: None,
            rollout: Rollout::default(),
            tags: Tags::new(),
            apply_at: None,
            configure_at: None,
        };
        Self {
            events: Events::new(config.limits.events_kept),
            hands,
            counters: Arc::default(),
            stopping: CancellationToken::new(),
            port,
            state: Mutex::new(state),
            began: tokio::time::Instant::now(),
            acting: tokio::sync::Mutex::new(()),
            configuring: tokio::sync::Mutex::new(()),
            changed: Notify::new(),
            caches_behind: Notify::new(),
            streams: AtomicUsize::new(0),
            config,
        }
    }

    /// The one place where the machine's clock becomes an [`Instant`].
    pub(crate) fn now(&self) -> Instant {
        Instant::ZERO + self.began.elapsed()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes an event.
    pub(crate) fn tell(&self, kind: &str, node: Option<&NodeId>, text: impl Into<String>) {
        let t_ms = millis(self.now().saturating_since(Instant::ZERO));
        self.counters.bump(Counter::ControlEvents);
        self.events.publish(t_ms, kind, node.map(NodeId::to_string), text.into());
    }

    /// Publishes where the health that is shown has changed; to be called after whatever may change it.
    pub(crate) fn tell_health(&self) {
        let mut state = self.state();
        let State { registry, desired, .. } = &mut *state;
        let changes = registry.poll_changes(self.now(), desired);
        self.counters.set(Counter::ControlFaultsActive, desired.active().len() as u64);
        // Under the lock, so that two changes of one node are told in their order.
        for (node, was, is) in changes {
            self.tell("health", Some(&node), format!("{node} {is} (was {was})"));
        }
    }

    pub(crate) fn status(&self) -> Status {
        let now = self.now();
        let state = self.state();
        let config = &self.config;
        let links = Links {
            count: state.links.as_ref().map_or(0, |report| report.links.len() as u64),
            worst_error_ms: state.links.as_ref().and_then(LinksReport::worst_error_ms),
        };
        Status {
            world: config.world.clone(),
            seed: config.seed,
            version: config.version.clone(),
            uptime_ms: millis(now.saturating_since(Instant::ZERO)),
            ready: state.registry.is_healthy() && state.links.is_some(),
            nodes: state.registry.rows(now),
            faults: state.desired.active().map(|active| row(active, now)).collect(),
            drained: state.desired.drained().iter().map(ToString::to_string).collect(),
            routing: routing(config, state.desired.policies()),
            links,
            proxy: config.proxy.clone(),
            dashboard: format!("http://127.0.0.1:{}/", self.port),
        }
    }

    /// The active faults as the API shows them.
    pub(crate) fn fault_rows(&self) -> Vec<FaultRow> {
        let now = self.now();
        self.state().desired.active().map(|active| row(active, now)).collect()
    }

    /// Adds faults of nodes or links, all or none.
    pub(crate) async fn add_faults(
        &self,
        faults: Vec<Fault>,
        lasts: Option<Duration>,
    ) -> Result<Vec<FaultRow>, Refusal> {
        let _acting = self.acting.lock().await;
        let now = self.now();
        let touched = Touched::of(&faults);
        let added = self.want(faults, lasts.map(|span| now + span))?;
        if let Err(error) = self.apply(touched).await {
            self.take_back(&added);
            // Some nodes may have heard of it.
            if let Err(error) = self.apply(touched).await {
                self.apply_later(&error);
            }
            return Err(error.into());
        }
        let rows = self.rows_of(&added, now);
        for row in &rows {
            self.tell("fault", None, describe(row));
        }
        self.faults_changed();
        Ok(rows)
    }

    /// Heals, and starts and resumes what was killed and paused.
    pub(crate) async fn heal(&self, heal: &Heal) -> Result<Vec<FaultRow>, Refusal> {
        let _acting = self.acting.lock().await;
        let now = self.now();
        let ended = self.state().desired.heal(heal);
        let rows = ended.iter().map(|active| row(active, now)).collect();
        self.ended(ended, "healed").await?;
        Ok(rows)
    }

    /// Kills or pauses nodes.
    pub(crate) async fn stop(
        &self,
        nodes: Vec<NodeId>,
        how: Stop,
        lasts: Option<Duration>,
    ) -> Result<Vec<NodeOutcome>, Refusal> {
        let _acting = self.acting.lock().await;
        self.each(nodes, |node| self.stop_one(node, how, lasts)).await
    }

    /// Starts nodes that were killed or have ended; an end of the kill that was planned is forgotten.
    pub(crate) async fn start(&self, nodes: Vec<NodeId>) -> Result<Vec<NodeOutcome>, Refusal> {
        let _acting = self.acting.lock().await;
        self.each(nodes, |node| async move {
            if self.state().desired.stopped(&node) == Some(Stop::Pause) {
                return Err(HandsError::Conflict(format!("{node} is paused: resume it")).into());
            }
            self.start_one(&node).await
        })
        .await
    }

    /// Lets paused nodes go on.
    pub(crate) async fn resume(&self, nodes: Vec<NodeId>) -> Result<Vec<NodeOutcome>, Refusal> {
        let _acting = self.acting.lock().await;
        self.each(nodes, |node| async move {
            if self.state().desired.stopped(&node) == Some(Stop::Kill) {
                return Err(HandsError::Conflict(format!("{node} is stopped: start it")).into());
            }
            self.resume_one(&node).await
        })
        .await
    }

    /// Drains or undrains a PoP; the drained ones after that.
    pub(crate) async fn set_drained(&self, pop: cdn_core::PopCode, drain: Drain) -> Result<Vec<String>, Refusal> {
        let _acting = self.acting.lock().await;
        let touched = Touched { drained: true, ..Touched::default() };
        let changed = self.state().desired.set_drained(pop, drain);
        if let Err(error) = self.apply(touched).await {
            if changed {
                let back = if drain == Drain::Drain { Drain::Undrain } else { Drain::Drain };
                self.state().desired.set_drained(pop, back);
                if let Err(error) = self.apply(touched).await {
                    self.apply_later(&error);
                }
            }
            return Err(error.into());
        }
        if changed {
            let (kind, text) = match drain {
                Drain::Drain => ("drain", format!("{pop} is being drained")),
                Drain::Undrain => ("undrain", format!("{pop} is back in answers")),
            };
            self.tell(kind, None, text);
            self.tell_health();
        }
        Ok(self.state().desired.drained().iter().map(ToString::to_string).collect())
    }

    /// By which policies clients are routed.
    pub(crate) fn routing(&self) -> Routing {
        routing(&self.config, self.state().desired.policies())
    }

    /// Which keys behaviors may trust.
    pub(crate) fn key_groups(&self) -> KeyGroupsReport {
        let state = self.state();
        let group = |(id, keys): (&String, &BTreeMap<String, String>)| KeyGroup {
            id: id.clone(),
            keys: keys.iter().map(|(id, pem)| Key { id: id.clone(), pem: pem.clone() }).collect(),
        };
        KeyGroupsReport { groups: state.desired.key_groups().iter().map(group).collect() }
    }

    /// Puts a key into a group, or with `None` takes it out.
    pub(crate) async fn set_key(&self, group: &str, id: &str, pem: Option<String>) -> Result<KeyGroupsReport, Refusal> {
        let _configuring = self.configuring.lock().await;
        let before = self.state().desired.set_key(group, id, pem);
        if let Err(error) = self.apply_key_groups().await {
            if let Some(before) = before {
                self.state().desired.set_key_groups(before);
                if let Err(error) = self.apply_key_groups().await {
                    self.configure_later(&error);
                }
            }
            return Err(error.into());
        }
        Ok(self.key_groups())
    }

    /// Changes public keys and key groups, all of it or nothing.
    pub(crate) async fn change_keys<T, E: From<Refusal>>(
        &self,
        change: impl FnOnce(&mut Keys, Instant) -> Result<T, E>,
    ) -> Result<T, E> {
        let _configuring = self.configuring.lock().await;
        let mut keys = self.state().desired.keys().clone();
        let done = change(&mut keys, self.now())?;
        let is_trusted_anew = keys.trusted() != self.state().desired.key_groups();
        let before = self.state().desired.set_keys(keys);
        if is_trusted_anew && let Err(error) = self.apply_key_groups().await {
            self.state().desired.set_keys(before);
            if let Err(error) = self.apply_key_groups().await {
                self.configure_later(&error);
            }
            return Err(Refusal::from(error).into());
        }
        Ok(done)
    }

    /// Routes a distribution, or the world, by `policy`; `None` gives a distribution the world's.
    pub(crate) async fn set_policy(
        &self,
        distribution: Option<String>,
        policy: Option<PolicyKind>,
    ) -> Result<Routing, Refusal> {
        let _acting = self.acting.lock().await;
        let touched = Touched { policies: true, ..Touched::default() };
        let before = self.state().desired.set_policy(distribution.as_deref(), policy);
        if let Err(error) = self.apply(touched).await {
            if let Some(before) = before {
                self.state().desired.set_policies(before);
                if let Err(error) = self.apply(touched).await {
                    self.apply_later(&error);
                }
            }
            return Err(error.into());
        }
        if before.is_some() {
            let word = policy.map_or("default", PolicyKind::as_str);
            let whose = distribution.map_or_else(|| "the world".to_owned(), |id| format!("distribution {id}"));
            self.tell("policy", None, format!("{whose} is routed by {word}"));
        }
        Ok(self.routing())
    }

    /// Ends what is due and applies what must be applied again, until `stopping`.
    pub(crate) async fn keep_time(&self) {
        loop {
            let (end, apply_at) = {
                let state = self.state();
                (state.desired.poll_timeout(), state.apply_at)
            };
            let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= self.now());
            if is_due(apply_at) {
                self.state().apply_at = None;
                let _acting = self.acting.lock().await;
                if let Err(error) = self.apply(Touched::ALL).await {
                    self.apply_later(&error);
                }
                continue;
            }
            if is_due(end) {
                let _acting = self.acting.lock().await;
                let ended = self.state().desired.expire(self.now());
                // Told as an event, and tried again.
                let _ = self.ended(ended, "ended").await;
                continue;
            }
            let next = [end, apply_at].into_iter().flatten().min();
            let sleep = async {
                match next {
                    Some(next) => tokio::time::sleep_until(self.began + since_start(next)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => {}
                () = self.changed.notified() => {}
                () = self.stopping.cancelled() => return,
            }
        }
    }

    /// Tells caches again what to serve by where that must be, until `stopping`.
    pub(crate) async fn keep_configured(&self) {
        loop {
            let at = self.state().configure_at;
            let due = async {
                match at {
                    Some(at) => tokio::time::sleep_until(self.began + since_start(at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = self.caches_behind.notified() => continue,
                () = self.stopping.cancelled() => return,
            }
            let _configuring = self.configuring.lock().await;
            self.state().configure_at = None;
            if let Err(error) = self.apply_configs().await {
                self.configure_later(&error);
            }
        }
    }

    /// A node started: everything must reach it.
    pub(crate) fn apply_again(&self) {
        let now = Some(self.now());
        {
            let mut state = self.state();
            (state.apply_at, state.configure_at) = (now, now);
        }
        self.changed.notify_one();
        self.caches_behind.notify_one();
    }

    /// What should be could not be made so.
    fn apply_later(&self, error: &HandsError) {
        self.tell(
            "error",
            None,
            format!("faults, drains and policies could not be applied, to be tried again: {error}"),
        );
        self.state().apply_at = Some(self.now() + AGAIN_AFTER);
        self.changed.notify_one();
    }

    /// A cache could not be told what to serve by.
    fn configure_later(&self, error: &HandsError) {
        self.tell("error", None, format!("not every cache was told what to serve by, to be tried again: {error}"));
        self.state().configure_at = Some(self.now() + AGAIN_AFTER);
        self.caches_behind.notify_one();
    }

    /// Opens a stream, unless as many as allowed are.
    pub(crate) fn open_stream(self: &Arc<Self>) -> Result<OpenStream, Refusal> {
        let max = self.config.limits.streams_max;
        let opened = self
            .streams
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| (open < max).then_some(open + 1))
            .is_ok();
        if !opened {
            self.counters.bump(Counter::ControlStreamsFull);
            return Err(Refusal::StreamsFull);
        }
        self.counters.add(Counter::ControlStreams, 1);
        Ok(OpenStream(self.clone()))
    }

    /// Waits for the hands, but not for ever.
    pub(crate) async fn within<T>(
        &self,
        deadline: Duration,
        doing: impl Future<Output = Result<T, HandsError>>,
    ) -> Result<T, HandsError> {
        let result = tokio::time::timeout(deadline, doing).await.unwrap_or(Err(HandsError::TimedOut));
        if matches!(result, Err(HandsError::TimedOut | HandsError::Failed(_))) {
            self.counters.bump(Counter::ControlHandsFailed);
        }
        result
    }

    /// Has caches serve as another configuration says, or as they were started; all of them where `whole`.
    pub(crate) async fn configure(
        &self,
        nodes: Vec<NodeId>,
        config: Option<serde_json::Value>,
        whole: bool,
    ) -> Result<Vec<NodeOutcome>, Refusal> {
        let _configuring = self.configuring.lock().await;
        let shown = nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let outcomes = self
            .each(nodes, async |node| {
                self.act(self.hands.configure(&node, config.as_ref())).await?;
                // What it has refused it is not told again.
                self.state().desired.set_config(node.clone(), config.clone());
                self.cache_told(&node);
                Ok(())
            })
            .await?;
        if whole {
            let mut state = self.state();
            state.desired.set_whole(&[], config);
            state.rollout.forget();
        }
        self.apply_key_groups().await?;
        self.tell("config", None, format!("configured anew: {shown}"));
        Ok(outcomes)
    }

    /// Waits for the hands as long as one action may take.
    pub(crate) async fn act<T>(&self, doing: impl Future<Output = Result<T, HandsError>>) -> Result<T, HandsError> {
        self.within(self.config.limits.hand_timeout, doing).await
    }

    /// Does `one` for every node at the same time; the first refusal stands for all if none succeeded.
    async fn each<F>(&self, nodes: Vec<NodeId>, one: impl Fn(NodeId) -> F) -> Result<Vec<NodeOutcome>, Refusal>
    where
        F: Future<Output = Result<(), Refusal>>,
    {
        let doing = nodes.into_iter().map(|node| {
            let name = node.to_string();
            let done = one(node);
            async move { (name, done.await) }
        });
        let done = futures_util::future::join_all(doing).await;
        self.faults_changed();
        if let [(_, Err(first)), ..] = done.as_slice()
            && done.iter().all(|(_, result)| result.is_err())
        {
            return Err(first.clone());
        }
        let outcome = |(node, result): (String, Result<(), Refusal>)| NodeOutcome {
            node,
            error: result.err().map(|refusal| refusal.message()),
        };
        Ok(done.into_iter().map(outcome).collect())
    }

    async fn stop_one(&self, node: NodeId, how: Stop, lasts: Option<Duration>) -> Result<(), Refusal> {
        let was = self.state().desired.stopped(&node);
        if was == Some(Stop::Kill) && how == Stop::Pause {
            return Err(HandsError::NotRunning(node.to_string()).into());
        }
        // First the wish, so that the end of the process is seen as asked for.
        let ends_at = lasts.map(|span| self.now() + span);
        let added = self.want(vec![Fault::Stopped(node.clone(), how)], ends_at)?;
        if was == Some(how) {
            return Ok(());
        }
        let done = match how {
            Stop::Kill => self.act(self.hands.kill(&node)).await,
            Stop::Pause => self.act(self.hands.pause(&node)).await,
        };
        match done {
            Ok(()) => {
                let (kind, word) = if how == Stop::Kill { ("kill", "killed") } else { ("pause", "paused") };
                let until = lasts.map(|span| format!(" for {:?}", span)).unwrap_or_default();
                self.tell(kind, Some(&node), format!("{node} {word}{until}"));
                Ok(())
            }
            Err(error) => {
                self.take_back(&added);
                Err(error.into())
            }
        }
    }

    async fn start_one(&self, node: &NodeId) -> Result<(), Refusal> {
        let (ended, running) = {
            let mut state = self.state();
            state.registry.handle_start_asked(node);
            (state.desired.resume(node), state.registry.has_process(node))
        };
        match self.act(self.hands.start(node)).await {
            Ok(()) => {
                self.tell("start", Some(node), format!("{node} started"));
                Ok(())
            }
            // Somebody else, such as a supervisor, was faster: it is as was wanted.
            Err(HandsError::Conflict(_)) if ended.is_some() => Ok(()),
            Err(error) => {
                if let (Some(ended), false) = (ended, running) {
                    let _ = self.state().desired.add(ended.fault, ended.ends_at);
                }
                Err(error.into())
            }
        }
    }

    async fn resume_one(&self, node: &NodeId) -> Result<(), Refusal> {
        let ended = self.state().desired.resume(node);
        match self.act(self.hands.resume(node)).await {
            Ok(()) => {
                self.tell("resume", Some(node), format!("{node} resumed"));
                Ok(())
            }
            Err(error @ (HandsError::NotRunning(_) | HandsError::NotFound { .. })) => Err(error.into()),
            Err(error) => {
                if let Some(ended) = ended {
                    let _ = self.state().desired.add(ended.fault, ended.ends_at);
                }
                Err(error.into())
            }
        }
    }

    /// Makes the end of faults true, and tells it. A node that does not start is tried again later.
    async fn ended(&self, ended: Vec<Active>, how: &str) -> Result<(), Refusal> {
        let touched = Touched::of(ended.iter().map(|active| &active.fault));
        let result = self.apply(touched).await;
        if let Err(error) = &result {
            self.apply_later(error);
        }
        let mut result = result.map_err(Refusal::from);
        let now = self.now();
        for active in &ended {
            let node = match &active.fault {
                Fault::Node(fault) => Some(&fault.node),
                Fault::Stopped(node, _) => Some(node),
                Fault::Link(_) => None,
            };
            self.tell("heal", node, format!("{how}: {}", describe(&row(active, now))));
        }
        let started = ended.into_iter().filter_map(|active| match active.fault {
            Fault::Stopped(node, how) => Some(async move {
                let done = match how {
                    Stop::Kill => self.start_one(&node).await,
                    Stop::Pause => self.resume_one(&node).await,
                };
                (node, how, done)
            }),
            _ => None,
        });
        for (node, how, done) in futures_util::future::join_all(started).await {
            match done {
                Ok(()) | Err(Refusal::Hands(HandsError::NotFound { .. } | HandsError::NotRunning(_))) => {}
                Err(refusal) => {
                    self.tell("error", Some(&node), format!("{node} could not go on: {}", refusal.message()));
                    let again = self.now() + AGAIN_AFTER;
                    let _ = self.state().desired.add(Fault::Stopped(node, how), Some(again));
                    result = Err(refusal);
                }
            }
        }
        self.faults_changed();
        result
    }

    /// Adds faults to what should be, all or none.
    fn want(&self, faults: Vec<Fault>, ends_at: Option<Instant>) -> Result<Vec<Added>, Refusal> {
        let mut state = self.state();
        let mut added = Vec::with_capacity(faults.len());
        for fault in faults {
            match state.desired.add(fault, ends_at) {
                Ok(one) => added.push(one),
                Err(full) => {
                    for one in added.iter().rev() {
                        state.desired.undo(one);
                    }
                    self.counters.bump(Counter::ControlFaultsFull);
                    return Err(full.into());
                }
            }
        }
        Ok(added)
    }

    fn take_back(&self, added: &[Added]) {
        let mut state = self.state();
        for one in added.iter().rev() {
            state.desired.undo(one);
        }
    }

    fn rows_of(&self, added: &[Added], now: Instant) -> Vec<FaultRow> {
        let state = self.state();
        let is_new = |active: &&Active| added.iter().any(|one| one.id == active.id);
        state.desired.active().filter(is_new).map(|active| row(active, now)).collect()
    }

    fn faults_changed(&self) {
        self.tell_health();
        self.changed.notify_one();
    }

    async fn apply(&self, touched: Touched) -> Result<(), HandsError> {
        let (links, nodes, drained, policies) = {
            let state = self.state();
            let desired = &state.desired;
            (
                touched.links.then(|| desired.link_faults()),
                touched.nodes.then(|| desired.node_faults()),
                touched.drained.then(|| desired.drained()),
                touched.policies.then(|| desired.policies().clone()),
            )
        };
        let mut result = Ok(());
        if let Some(links) = links {
            result = result.and(self.act(self.hands.apply_link_faults(&links)).await);
        }
        if let Some(nodes) = nodes {
            result = result.and(self.act(self.hands.apply_node_faults(&nodes)).await);
        }
        if let Some(drained) = drained {
            result = result.and(self.act(self.hands.set_drained(&drained)).await);
        }
        if let Some(policies) = policies {
            result = result.and(self.act(self.hands.set_policies(&policies)).await);
        }
        result
    }

    /// Tells every cache whose configuration is not that of its start, and then which keys behaviors may trust: a
    /// configuration brings those that it was checked with.
    async fn apply_configs(&self) -> Result<(), HandsError> {
        let configs = self.state().desired.configs().clone();
        let told = configs.iter().map(async |(node, config)| self.act(self.hands.configure(node, Some(config))).await);
        let told = futures_util::future::join_all(told).await;
        told.into_iter().collect::<Result<(), _>>().and(self.apply_key_groups().await)
    }

    async fn apply_key_groups(&self) -> Result<(), HandsError> {
        let groups = self.state().desired.key_groups().clone();
        self.act(self.hands.set_key_groups(&groups)).await
    }
}

/// Does a change to its end even if whoever asked for it hangs up.
pub(crate) async fn carry_out<T: Send + 'static>(
    doing: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::spawn(doing).await.unwrap_or(Err(Refusal::Internal))
}

fn since_start(at: Instant) -> Duration {
    at.saturating_since(Instant::ZERO)
}

/// Policies as the API shows them.
fn routing(config: &Config, policies: &Policies) -> Routing {
    let of = |info: &DistributionInfo| DistributionRouting {
        id: info.id.clone(),
        policy: policies.of(&info.id).as_str().to_owned(),
        is_own: policies.of_distributions.contains_key(&info.id),
        pops: info.pops.iter().map(ToString::to_string).collect(),
    };
    let distributions = config.distributions.iter().map(of).collect();
    Routing { policy: policies.world.as_str().to_owned(), distributions }
}

/// A fault as the API shows it. What ends within the millisecond ends in one, never in none.
pub(crate) fn row(active: &Active, now: Instant) -> FaultRow {
    let ends_in = active.ends_in(now);
    FaultRow {
        id: active.id.0,
        target: active.fault.target(),
        kind: active.fault.kind().to_owned(),
        ends_in_ms: ends_in.map(|left| millis(left + Duration::from_nanos(999_999))),
        detail: active.fault.detail(),
    }
}

fn describe(row: &FaultRow) -> String {
    let detail = if row.detail.is_empty() { String::new() } else { format!(" ({})", row.detail) };
    format!("{} {}{detail}", row.target, row.kind)
}
