//! What an unsafe method changed is forgotten: here, and in the caches between (RFC 9111 section 4.4).
//!
//! A parent is owed each target before anything here forgets it, and told at once. Where it cannot be told it stays owed
//! ([`ParentDebts`](cdn_core::parent_debts::ParentDebts)): no fetch asks a parent for a target that it is owed. Each
//! cache does the same with those behind it before it says that it has forgotten.

use std::sync::{Arc, PoisonError};

use cdn_core::{Counter, distribution::Origin, forward::Purge};

use crate::{
    asked::Asked,
    fetch::{self, left_alone},
    node::Node,
};

/// Forgets targets, or the distributions that they are of, and has those behind do so. Goes on where its caller is
/// dropped.
pub(crate) async fn purge(node: &Arc<Node>, purge: Purge, targets: Vec<Asked>) {
    let mut telling = Vec::new();
    for asked in targets.into_iter().map(Arc::new) {
        let places = owe(node, purge, &asked);
        node.forget(purge, &asked);
        for place in places {
            let (node, asked) = (Arc::clone(node), Arc::clone(&asked));
            telling.push(tokio::spawn(async move { tell(&node, place, &asked).await }));
        }
    }
    for told in telling {
        // A panic in there is printed where it happens, and what was owed stays owed.
        let _ = told.await;
    }
}

/// Whether a parent may be asked for a target: what it is owed of it, it is told first.
pub(crate) async fn settle(node: &Node, place: usize, asked: &Asked, origin: &Origin) -> bool {
    let (Some(parent), Some(debts)) = (node.parents.get(place), node.parent_debts.get(place)) else { return false };
    let debts = || debts.lock().unwrap_or_else(PoisonError::into_inner);
    if debts().is_empty() {
        return true;
    }
    let (distribution, key) = (asked.distribution.id(), asked.head().key(node.store.seed()));
    let Some(debt) = debts().due(distribution, key) else { return true };
    let purge = Asked { method: debt.purge.method(), ..asked.clone() };
    let told = fetch::tell_parent(node, &purge, parent, origin).await;
    if told {
        debts().paid(distribution, key, debt);
    } else {
        node.counters.bump(Counter::EdgePurgesFailed);
    }
    told
}

/// Writes down what the parents of a target are owed; where those are.
fn owe(node: &Node, purge: Purge, asked: &Asked) -> Vec<usize> {
    let origin = asked.origins().next();
    let key = asked.head().key(node.store.seed());
    let mut places = Vec::new();
    for (place, (parent, debts)) in node.parents.iter().zip(&node.parent_debts).enumerate() {
        let mut debts = debts.lock().unwrap_or_else(PoisonError::into_inner);
        match purge {
            Purge::Distribution => debts.owe_all(asked.distribution.id()),
            Purge::Target if !origin.is_some_and(|origin| parent.tier.may_be_asked_for(origin)) => continue,
            Purge::Target => {
                if debts.owe(asked.distribution.id(), key) {
                    node.counters.bump(Counter::EdgePurgesFull);
                }
            }
        }
        places.push(place);
    }
    places
}

async fn tell(node: &Node, place: usize, asked: &Asked) {
    let Some(origin) = asked.origins().next() else { return };
    let began = node.clock.now();
    if !node.is_worth_asking(place, began) {
        node.counters.bump(Counter::EdgePurgesFailed);
        return;
    }
    if !settle(node, place, asked, origin).await {
        left_alone(node, place, origin, began);
    }
}
