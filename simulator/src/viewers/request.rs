//! A viewer's request on its way.

use std::sync::Arc;

use cdn_core::{Instant, prefetch::prefetch};
use world::{client::Race, workload::Intended};

use super::NOBODY;
use crate::{caches::Answer, maybe::Maybe, slab::Key};

/// A request from its meaning to its end.
///
/// Tens of thousands are on their way, and each is looked at again when everything near has been forgotten, so it is two
/// cache lines: what most requests do not need lies elsewhere, and what was meant is not kept in one piece.
#[derive(Debug)]
pub(crate) struct Request {
    /// When it was meant to be made.
    pub(crate) at: Instant,
    object: u64,
    size: Maybe,
    place: u32,
    user: u32,
    load: u16,
    /// What is meant by events, and what has been overtaken.
    pub(crate) serial: u16,
    /// Inside an edge since then.
    pub(crate) since: Maybe,
    pub(crate) answer: Answer,
    pub(super) seldom: Option<Box<Seldom>>,
    pub(crate) conn: Option<Key>,
    /// The fetch that it waits for or leads.
    pub(crate) fetch: Option<Key>,
    pub(crate) entry: u32,
    /// The first node that was tried.
    pub(super) asked: u32,
    pub(crate) node: u32,
    pub(super) attempts: u8,
    pub(super) fell_back: bool,
    pub(super) reused: bool,
    pub(super) timer_set: bool,
    pub(crate) waited: bool,
}

/// What only requests have that wait for a connection, or are made again.
#[derive(Debug)]
pub(super) struct Seldom {
    pub(super) race: Option<Racing>,
    /// Addresses that have not failed for this request, `connected` among them.
    pub(super) addresses: Arc<[u32]>,
    /// The one of them that it has connected to, which is not tried again.
    pub(super) connected: u32,
    /// The first of the answer.
    pub(super) first: u32,
    /// When this attempt began, if later than when it was meant to; when the first address was tried.
    attempt_at: Maybe,
    asked_at: Maybe,
}

impl Seldom {
    /// These are the addresses to be tried from now on.
    pub(super) fn may_try(&mut self, addresses: &Arc<[u32]>) {
        (self.addresses, self.connected) = (Arc::clone(addresses), NOBODY);
    }
}

#[derive(Debug)]
pub(super) struct Racing {
    pub(super) race: Race<u32>,
    /// By attempt: the connection's number, the way, and when the first SYN left.
    pub(super) attempts: Vec<(u32, u32, Instant)>,
}

const _: () = assert!(size_of::<Request>() == 120, "with its place in the slab it has 128");

impl Request {
    /// A request that is meant for now, for an entry of the first catalog if it is known there.
    pub(super) fn new(intended: &Intended, entry: Option<u32>) -> Self {
        let Intended { at, load, place, user, object, size } = *intended;
        Self {
            at,
            object,
            size: size.into(),
            place,
            user,
            load,
            serial: 0,
            since: Maybe::NOTHING,
            answer: Answer::default(),
            seldom: None,
            conn: None,
            fetch: None,
            entry: entry.unwrap_or(NOBODY),
            asked: NOBODY,
            node: NOBODY,
            attempts: 0,
            fell_back: false,
            reused: false,
            timer_set: false,
            waited: false,
        }
    }

    /// What was meant.
    #[inline]
    pub(crate) const fn intended(&self) -> Intended {
        let Self { at, load, place, user, object, size, .. } = *self;
        Intended { at, load, place, user, object, size: size.number() }
    }

    /// Asks memory for both of its lines.
    pub(crate) fn prefetch(&self) {
        prefetch(&self.at);
        prefetch(&self.user);
        prefetch(&self.answer.bytes);
        prefetch(&self.serial);
    }

    /// Addresses to be tried, as far as it knows any.
    pub(super) fn addresses(&self) -> Arc<[u32]> {
        self.seldom.as_ref().map_or_else(Arc::default, |seldom| match seldom.connected {
            NOBODY => Arc::clone(&seldom.addresses),
            connected => seldom.addresses.iter().copied().filter(|node| *node != connected).collect(),
        })
    }

    /// Whether it knows no address to be tried.
    pub(super) fn has_no_address(&self) -> bool {
        self.seldom.as_ref().is_none_or(|seldom| seldom.addresses.iter().all(|node| *node == seldom.connected))
    }

    pub(super) fn seldom(&mut self) -> &mut Seldom {
        self.seldom.get_or_insert_with(|| {
            Box::new(Seldom {
                race: None,
                addresses: Arc::default(),
                connected: NOBODY,
                first: NOBODY,
                attempt_at: Maybe::NOTHING,
                asked_at: Maybe::NOTHING,
            })
        })
    }

    pub(super) fn race(&mut self) -> Option<&mut Racing> {
        self.seldom.as_mut()?.race.as_mut()
    }

    /// An attempt begins.
    pub(super) fn begin(&mut self, now: Instant) {
        self.serial = self.serial.wrapping_add(1);
        self.attempts = self.attempts.saturating_add(1);
        self.timer_set = false;
        self.fell_back = false;
        if let Some(seldom) = &mut self.seldom {
            seldom.may_try(&Arc::default());
        }
        if now != self.at {
            self.seldom().attempt_at = Some(now).into();
        }
    }

    /// When the attempt began.
    pub(super) fn attempt_at(&self) -> Instant {
        self.seldom.as_ref().and_then(|seldom| seldom.attempt_at.instant()).unwrap_or(self.at)
    }

    /// The first node is tried, unless one was before.
    pub(super) fn ask(&mut self, node: u32, now: Instant) {
        if self.asked != NOBODY {
            return;
        }
        self.asked = node;
        if now != self.at {
            self.seldom().asked_at = Some(now).into();
        }
    }

    /// When the first node was tried; when it was meant to be made where none was.
    pub(super) fn asked_at(&self) -> Instant {
        self.seldom.as_ref().and_then(|seldom| seldom.asked_at.instant()).unwrap_or(self.at)
    }
}
