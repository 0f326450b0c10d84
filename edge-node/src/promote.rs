//! From the disk tier back into memory: a fetch that need not leave the node.
//!
//! Whoever leads a fetch looks on the disk first. What is found there is stored as if it had just arrived, with the age
//! it has; then everybody who waits asks the store again. So are parts that memory lacks: what is on neither is asked of
//! the origin. It runs as a task of its own, so that a viewer who leaves lets
//! nobody wait.

use std::{sync::Arc, time::Duration};

use cdn_core::{
    Counter, Reason,
    cache_key::CacheKey,
    disk::{aged, record::RecordHead},
    freshness::Lifetime,
    range::ContentRange,
    store::{Growth, Outcome, RestoredParts, Storable},
};
use tokio::sync::oneshot;

use crate::{
    asked::Asked,
    disk::{OnDisk, Restored},
    node::Node,
    store::Lead,
};

/// What came of looking on the disk.
#[derive(Debug)]
pub(crate) enum Promotion {
    /// There is nothing: the fetch is to be carried out.
    Nothing(Lead),
    /// There is something that cannot be had, and this is why; the fetch is to be carried out.
    Failed(Lead, Reason),
    /// The fetch is resolved: ask the store again.
    Done,
    /// It ended without a word, which is a defect.
    Lost,
}

/// Looks for a response of which memory knows nothing, or for parts that it lacks.
pub(crate) async fn promote(node: &Arc<Node>, asked: &Arc<Asked>, key: CacheKey, lead: Lead) -> Promotion {
    if !matches!(lead.begun.reason, Reason::MissAbsent | Reason::MissPart) {
        return Promotion::Nothing(lead);
    }
    let lacking = lead.begun.lacking.as_ref().map(|lacking| lacking.range);
    let found = match node.disk.as_ref().and_then(|disk| disk.find(key, &asked.head(), lacking)) {
        None => return Promotion::Nothing(lead),
        Some(Err(reason)) => return Promotion::Failed(lead, reason),
        Some(Ok(found)) => found,
    };
    let (tell, told) = oneshot::channel();
    let (node, asked) = (Arc::clone(node), Arc::clone(asked));
    tokio::spawn(async move {
        let promotion = carry_out(&node, &asked, lead, found).await;
        if let Err(Promotion::Failed(lead, _)) = tell.send(promotion) {
            // The viewer has left. Whoever waits asks again, and one of them fetches.
            node.store.released(lead.fetch());
        }
    });
    told.await.unwrap_or(Promotion::Lost)
}

async fn carry_out(node: &Node, asked: &Asked, lead: Lead, found: OnDisk) -> Promotion {
    let restored = match &node.disk {
        Some(disk) => disk.read(found).await,
        None => None,
    };
    // A response that never was fresh is fetched by each request for itself. One that was is stale a moment from now, so
    // that those who ask for it wait for one another as they would had it stayed in memory.
    const MOMENT: Duration = Duration::from_nanos(1);
    let since = node.clock.now() - MOMENT;
    let lifetime = |record: &RecordHead| {
        let left = aged(record.lifetime, record.stored_at, node.wall.now());
        Lifetime { fresh_for: left.fresh_for.max(record.lifetime.fresh_for.min(MOMENT)), ..left }
    };
    let kept = match restored {
        None => return Promotion::Failed(lead, Reason::MissDiskDamaged),
        Some(Restored::Whole(record, object)) => {
            let lifetime = lifetime(&record);
            let storable = Storable {
                head: record.head,
                bytes: object.body.len(),
                body: object,
                complete: true,
                lifetime,
                vary: record.vary,
                request: &asked.headers,
            };
            matches!(node.store.restored(since, lead.fetch(), storable), Outcome::Stored(_))
        }
        Some(Restored::Parts(record, pieces)) => {
            let lifetime = lifetime(&record);
            let Some(ContentRange { total, .. }) = record.part else {
                return Promotion::Failed(lead, Reason::MissDiskDamaged);
            };
            let (head, vary, request) = (record.head, record.vary, &asked.headers);
            let restored = RestoredParts { head, total, pieces, lifetime, since, vary, request };
            node.store.parts_restored(node.clock.now(), lead.fetch(), restored) == Growth::Kept
        }
    };
    if kept {
        node.counters.bump(Counter::EdgeDiskHits);
    }
    Promotion::Done
}
