//! Bodies that come slowly: nobody may have the server wait for, and keep, very many of them at once.
//!
//! A body that is all there when it is looked at needs no turn. A user's others are read so many at a time, and a turn is kept
//! until the request is done where the body is large, so that what waits in queues is bounded too.

use base::{Reason, Result, Status, User};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};
use telemetry::{Counter, Registry};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bodies of one user that are read at once.
const SHARE: usize = 100;
/// How many may wait for a turn of one user.
const WAITING: usize = 2000;

/// The shares of users that have a body under way, by name.
pub struct Turns {
    shares: Mutex<HashMap<String, Arc<Share>>>,
    refused: Arc<Counter>,
}

struct Share {
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// Held while a body is read.
pub struct Turn<'a> {
    shares: &'a Mutex<HashMap<String, Arc<Share>>>,
    name: &'a str,
    /// `None` while it waits, and once it is given back.
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.permit = None;
        let mut shares = self.shares.lock();
        // Every turn of the user, waiting or not, holds its share's semaphore.
        if shares.get(self.name).is_some_and(|share| Arc::strong_count(&share.turns) == 1) {
            shares.remove(self.name);
        }
    }
}

impl Turns {
    pub fn new(registry: &Registry) -> Self {
        Turns {
            shares: Mutex::default(),
            refused: registry
                .single("ferry_body_turns_refused_total", "Requests refused for their user's slow bodies."),
        }
    }
    /// Waits for a turn of the user; 429 where too many of its requests wait.
    pub async fn take<'a>(&'a self, user: &'a User) -> Result<Turn<'a>> {
        // Dropped last: it looks whether the share is still held.
        let mut turn = Turn { shares: &self.shares, name: &user.name, permit: None };
        let share = {
            let new = || Arc::new(Share { turns: Arc::new(Semaphore::new(SHARE)), waiting: AtomicUsize::new(0) });
            self.shares.lock().entry(user.name.clone()).or_insert_with(new).clone()
        };
        let turns = share.turns.clone();
        let permit = match turns.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _waiting = self.wait(&share.waiting)?;
                turns.acquire_owned().await.map_err(|_| busy())?
            }
        };
        turn.permit = Some(permit);
        Ok(turn)
    }
    fn wait<'a>(&self, waiting: &'a AtomicUsize) -> Result<Waiting<'a>> {
        if waiting.fetch_add(1, Relaxed) >= WAITING {
            waiting.fetch_sub(1, Relaxed);
            self.refused.inc();
            return Err(busy());
        }
        Ok(Waiting(waiting))
    }
}

/// Counts down also where the client goes away while it waits.
struct Waiting<'a>(&'a AtomicUsize);
impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

fn busy() -> Status {
    Status::new(Reason::TooManyRequests, "Too many requests, please try again later.").with_retry_after(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn a_user_has_a_share() {
        let turns = Turns::new(&Registry::default());
        let (alice, bob) = (User::new("alice", []), User::new("bob", []));
        let turn = |user| turns.take(user).now_or_never().map(|turn| turn.expect("no refusal"));
        let mut held: Vec<_> = (0..SHARE).map(|_| turn(&alice).expect("a turn")).collect();
        assert!(turn(&alice).is_none());
        assert!(turn(&bob).is_some());
        held.pop();
        held.extend(turn(&alice));
        assert_eq!(held.len(), SHARE);
        turns.shares.lock()["alice"].waiting.store(WAITING, Relaxed);
        let refused = turns.take(&alice).now_or_never().expect("an answer");
        assert_eq!(refused.err().map(|e| e.code()), Some(429));
        drop(held);
        assert!(turns.shares.lock().is_empty());
    }
}
