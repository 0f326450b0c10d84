//! A request's way through an origin group, and what is known of a cache between, written down where there is a decision
//! log.

use std::{ops::Deref, time::Duration};

use cdn_core::{
    Instant,
    distribution::{CheckedBehavior, Distribution},
    origin_group::{Exchange, Failure, RequestKind, Step},
    parent_health::{ParentHealth, Useless},
};
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::{
    DecisionLog,
    wire::{self, Line, LineError, ParentCall, Place, WayLine},
};
use crate::functions::Chosen;

/// An [`Exchange`], told by [`tell`](Self::tell) alone. What was told is written when it ends, or its request does.
#[derive(Debug)]
pub(crate) struct Way {
    exchange: Exchange,
    record: Option<Box<(DecisionLog, WayLine)>>,
}

/// What came of a step. Each is the method of [`Exchange`] of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Accepted,
    Connected { reused: bool },
    BodyBegun,
    BodyProgress,
    Response(StatusCode),
    Timeout,
    Unsent,
    Failed(Failure),
}

impl Told {
    fn tell(self, exchange: &mut Exchange, now: Instant) {
        match self {
            Self::Accepted => exchange.on_accepted(now),
            Self::Connected { reused } => exchange.on_connected(now, reused),
            Self::BodyBegun => exchange.on_body_begun(),
            Self::BodyProgress => exchange.on_body_progress(now),
            Self::Response(status) => exchange.on_response(now, status),
            Self::Timeout => exchange.on_timeout(now),
            Self::Unsent => exchange.on_unsent(now),
            Self::Failed(failure) => exchange.on_failure(now, failure),
        }
    }

    /// Whether that can come of a step.
    const fn can_come_of(self, step: Step) -> bool {
        match (self, step) {
            (Self::BodyBegun | Self::BodyProgress, _) => true,
            (_, Step::Serve { .. } | Step::GiveUp { .. }) => false,
            (Self::Accepted | Self::Connected { .. }, Step::Send { .. }) => false,
            (Self::Response(_) | Self::Unsent, Step::Connect { .. }) => false,
            _ => true,
        }
    }
}

impl Way {
    /// Toward the target of a behavior, or what a function has chosen in its place; `None` where that is nothing.
    pub(crate) fn begin(
        now: Instant,
        method: &Method,
        (distribution, behavior): (&Distribution, &CheckedBehavior),
        chosen: Option<&Chosen>,
        log: Option<&DecisionLog>,
    ) -> Option<Self> {
        let request = RequestKind::of(method, behavior);
        let exchange = match chosen {
            Some(chosen) => chosen.origins.exchange(now, request)?,
            None => Exchange::toward(now, request, distribution, behavior.target())?,
        };
        let record = log.map(|log| {
            let (place, method) = (log.place(distribution, behavior), method.as_str().to_owned());
            let (origins, steps) = (chosen.map(|chosen| chosen.line.clone()), vec![words(exchange.step())]);
            Box::new((log.clone(), WayLine { place, origins, method, began: now.as_nanos(), told: Vec::new(), steps }))
        });
        Some(Self { exchange, record })
    }

    /// Tells the exchange what came of its step.
    pub(crate) fn tell(&mut self, now: Instant, told: Told) {
        told.tell(&mut self.exchange, now);
        if let Some(record) = &mut self.record {
            record.1.told.push(ToldLine::new(now, told));
            record.1.steps.push(words(self.exchange.step()));
        }
    }
}

impl Deref for Way {
    type Target = Exchange;

    fn deref(&self) -> &Exchange {
        &self.exchange
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        if let Some(record) = self.record.take() {
            let (log, line) = *record;
            log.write(Line::Way(line));
        }
    }
}

fn words(step: Step) -> String {
    format!("{step:?}")
}

/// [`Told`], and when.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ToldLine {
    at: u64,
    what: What,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Accepted,
    Connected { reused: bool },
    BodyBegun,
    BodyProgress,
    Response(u16),
    Timeout,
    Unsent,
    Failed(String),
}

impl ToldLine {
    fn new(at: Instant, told: Told) -> Self {
        let what = match told {
            Told::Accepted => What::Accepted,
            Told::Connected { reused } => What::Connected { reused },
            Told::BodyBegun => What::BodyBegun,
            Told::BodyProgress => What::BodyProgress,
            Told::Response(status) => What::Response(status.as_u16()),
            Told::Timeout => What::Timeout,
            Told::Unsent => What::Unsent,
            Told::Failed(failure) => What::Failed(format!("{failure:?}")),
        };
        Self { at: at.as_nanos(), what }
    }

    fn read(&self) -> Result<(Instant, Told), LineError> {
        let told = match &self.what {
            What::Accepted => Told::Accepted,
            What::Connected { reused } => Told::Connected { reused: *reused },
            What::BodyBegun => Told::BodyBegun,
            What::BodyProgress => Told::BodyProgress,
            What::Response(status) => Told::Response(StatusCode::from_u16(*status).map_err(|_| LineError::Unreadable)?),
            What::Timeout => Told::Timeout,
            What::Unsent => Told::Unsent,
            What::Failed(word) => {
                let failure = Failure::ALL.into_iter().find(|failure| format!("{failure:?}") == *word);
                Told::Failed(failure.ok_or(LineError::Unreadable)?)
            }
        };
        Ok((Instant::from_nanos(self.at), told))
    }
}

impl WayLine {
    /// Goes the way again: its steps. They end where something was told that cannot have come of a step.
    pub(super) fn play(&self, served: &wire::Served) -> Result<Vec<String>, LineError> {
        let distribution = Place::distribution(self.place.as_ref(), served)?;
        let behavior = distribution.behavior_at(self.place.map_or(0, |place| place.behavior));
        let method = Method::from_bytes(self.method.as_bytes()).map_err(|_| LineError::Unreadable)?;
        let began = Instant::from_nanos(self.began);
        let chosen = match &self.origins {
            Some(line) => {
                let chosen = Chosen::from_line(distribution, behavior.target(), line);
                Some(chosen.ok_or(LineError::Unreadable)?)
            }
            None => None,
        };
        let way = Way::begin(began, &method, (distribution, behavior), chosen.as_ref(), None);
        let mut way = way.ok_or(LineError::UnknownDistribution)?;
        let mut steps = vec![words(way.step())];
        for told in &self.told {
            let (at, told) = told.read()?;
            if !told.can_come_of(way.step()) {
                break;
            }
            way.tell(at, told);
            steps.push(words(way.step()));
        }
        Ok(steps)
    }
}

/// [`ParentHealth`], with its methods.
#[derive(Debug, Default)]
pub(crate) struct ParentRecord {
    health: ParentHealth,
    log: Option<ParentLog>,
}

#[derive(Debug)]
struct ParentLog {
    log: DecisionLog,
    /// Its place among the parents.
    parent: usize,
    turn: u64,
}

impl ParentRecord {
    pub(crate) fn new(parent: usize, log: Option<&DecisionLog>) -> Self {
        let log = log.map(|log| ParentLog { log: log.clone(), parent, turn: 0 });
        Self { health: ParentHealth::default(), log }
    }

    pub(crate) fn is_worth_asking(&mut self, now: Instant) -> bool {
        let worth = self.health.is_worth_asking(now);
        self.note(now, ParentCall::WorthAsking, Some(worth));
        worth
    }

    pub(crate) fn on_answer(&mut self) {
        self.health.on_answer();
        self.note(Instant::ZERO, ParentCall::Answered, None);
    }

    pub(crate) fn on_useless(&mut self, useless: Useless) -> bool {
        let left_alone = self.health.on_useless(useless);
        let Useless { began, ended, patience, retry } = useless;
        let call =
            ParentCall::Useless { began: began.as_nanos(), patience: wire::nanos(patience), retry: wire::nanos(retry) };
        self.note(ended, call, Some(left_alone));
        left_alone
    }

    fn note(&mut self, at: Instant, call: ParentCall, said: Option<bool>) {
        let Some(to) = &mut self.log else { return };
        let (parent, turn) = (to.parent, to.turn);
        to.turn += 1;
        to.log.write(Line::Parent { parent, turn, at: at.as_nanos(), call, said });
    }
}

impl ParentCall {
    /// Tells it again.
    pub(super) fn play(self, at: Instant, health: &mut ParentHealth) -> Option<bool> {
        match self {
            Self::WorthAsking => Some(health.is_worth_asking(at)),
            Self::Answered => {
                health.on_answer();
                None
            }
            Self::Useless { began, patience, retry } => Some(health.on_useless(Useless {
                began: Instant::from_nanos(began),
                ended: at,
                patience: Duration::from_nanos(patience),
                retry: Duration::from_nanos(retry),
            })),
        }
    }
}
