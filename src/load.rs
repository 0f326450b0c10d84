//! A load on a running world: asked for, and told of request by request.
//!
//! The viewer node makes the requests, because it has the links, the resolvers and the faults. It is asked at its admin
//! port: a second hop for every observation would cost the machine more than it is worth.

pub(crate) mod paths;
pub(crate) mod tally;

use std::{
    collections::VecDeque,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use world::{Observation, scenario::Load};

use crate::{
    node::load_wire::{LoadAsk, LoadEnd, LoadLine},
    talk::{Api, VerbError},
    up::{ViewerNode, wait_viewer},
};

/// A load that is played; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct LoadRun {
    response: reqwest::Response,
    rest: BytesMut,
    waiting: VecDeque<Observation>,
    began: Instant,
    end: Option<LoadEnd>,
}

/// How long to play.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadSpan {
    /// Before time zero.
    pub(crate) warmup: Duration,
    /// From time zero on.
    pub(crate) length: Duration,
}

impl LoadRun {
    /// Has the viewers of the world of `api` play `loads`.
    ///
    /// # Errors
    /// There is no viewer, or it refuses.
    pub(crate) async fn start(api: &Api, loads: &[Load], span: LoadSpan, seed: u64) -> Result<Self, VerbError> {
        let ViewerNode { admin, .. } = wait_viewer(api).await?;
        let LoadSpan { warmup, length } = span;
        let ask = LoadAsk { loads: loads.iter().map(Into::into).collect(), warmup, length, seed };
        let response = api.post_to(&format!("http://{admin}/load"), &ask).await?;
        let (rest, waiting, began) = (BytesMut::new(), VecDeque::new(), Instant::now());
        let mut run = Self { response, rest, waiting, began, end: None };
        match run.line().await? {
            Some(LoadLine::Begin { unix_nanos }) => {
                // Both ends are on one machine, and so is the clock.
                let begins = UNIX_EPOCH + Duration::from_nanos(unix_nanos);
                run.began = Instant::now() + begins.duration_since(SystemTime::now()).unwrap_or_default();
                Ok(run)
            }
            _ => Err(VerbError::Failed(anyhow::anyhow!("the viewer did not begin"))),
        }
    }

    /// When the run's own time, in which observations are dated, began or will begin.
    pub(crate) const fn began(&self) -> Instant {
        self.began
    }

    /// The next request that is over, with its place as an index of [`Atlas::places`](world::Atlas::places); `None` after
    /// the last. May be dropped while it waits, and called again.
    ///
    /// # Errors
    /// The viewer went away.
    pub(crate) async fn next(&mut self) -> Result<Option<Observation>, VerbError> {
        loop {
            if let Some(observation) = self.waiting.pop_front() {
                return Ok(Some(observation));
            }
            if self.end.is_some() {
                return Ok(None);
            }
            match self.line().await? {
                Some(LoadLine::Seen(seen)) => {
                    self.waiting =
                        seen.into_iter().map(TryInto::try_into).collect::<Result<_, String>>().map_err(|what| {
                            VerbError::Failed(anyhow::anyhow!("the viewer said what nobody understands: {what}"))
                        })?;
                }
                Some(LoadLine::End(end)) => self.end = Some(end),
                Some(LoadLine::Begin { .. }) => {}
                None => return Err(VerbError::Failed(anyhow::anyhow!("the viewer ended in the middle of the load"))),
            }
        }
    }

    /// What the generator says of itself, once it has ended.
    pub(crate) const fn end(&self) -> Option<LoadEnd> {
        self.end
    }

    async fn line(&mut self) -> Result<Option<LoadLine>, VerbError> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Bytes = self.rest.split_to(end + 1).freeze();
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            match self.response.chunk().await.context("the viewer went away")? {
                Some(chunk) => self.rest.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}
