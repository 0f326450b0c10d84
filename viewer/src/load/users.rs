//! How many connections a user has at once.
//!
//! A request waits until its user has one free, as a browser's does. Users without a request under way are not remembered.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::lock;

/// A load, by its index, and a user of it.
type Key = (u16, u32);

/// The users of a run.
pub(super) struct Users {
    /// Of each load.
    per_user: Vec<u16>,
    busy: Mutex<HashMap<Key, Arc<Semaphore>>>,
}

/// A connection's worth of a user; goes back when dropped.
pub(super) struct Turn<'a> {
    users: &'a Users,
    key: Key,
    permit: Option<OwnedSemaphorePermit>,
}

impl Users {
    pub(super) fn new(per_user: Vec<u16>) -> Self {
        Self { per_user, busy: Mutex::default() }
    }

    /// Waits for the user's turn.
    pub(super) async fn turn(&self, load: u16, user: u32) -> Turn<'_> {
        let key = (load, user);
        let room = {
            let mut busy = lock(&self.busy);
            let connections = || usize::from(self.per_user.get(usize::from(load)).copied().unwrap_or(1).max(1));
            Arc::clone(busy.entry(key).or_insert_with(|| Arc::new(Semaphore::new(connections()))))
        };
        // Nobody closes it.
        let permit = room.acquire_owned().await.ok();
        Turn { users: self, key, permit }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut busy = lock(&self.users.busy);
        drop(self.permit.take());
        // Whoever waits holds the semaphore too.
        if busy.get(&self.key).is_some_and(|room| Arc::strong_count(room) == 1) {
            busy.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_user_waits_for_a_free_connection_and_others_do_not() {
        let users = Users::new(vec![2]);
        let (first, _second) = (users.turn(0, 7).await, users.turn(0, 7).await);
        let mut third = Box::pin(users.turn(0, 7));
        assert!(third.as_mut().now_or_never().is_none());
        assert!(users.turn(0, 8).now_or_never().is_some());
        drop(first);
        assert!(third.now_or_never().is_some());
    }

    #[tokio::test]
    async fn idle_users_are_forgotten() {
        let users = Users::new(vec![1]);
        let turn = users.turn(0, 1).await;
        drop(Box::pin(users.turn(0, 1)).now_or_never());
        drop(turn);
        assert!(lock(&users.busy).is_empty());
    }
}
