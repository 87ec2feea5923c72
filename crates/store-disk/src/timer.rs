//! Expiry: a heap of what is due when, and the thread that deletes it.
//!
//! The deletion is an ordinary conditional commit, so a key that was written again meanwhile is left alone and an entry
//! of the heap may be stale. Stale ones are dropped when they are due, or when they have become half of the heap.

use crate::shared::Shared;
use parking_lot::{Condvar, Mutex};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    sync::Arc,
    time::Duration,
};
use store::{Revision, Timestamp, Txn};

/// When, keyspace, key, the revision that set it.
pub type Due = (Timestamp, u32, Arc<str>, Revision);

/// The wait is cut into pieces of this length, so that a clock that jumps is noticed.
const NAP: Duration = Duration::from_secs(30);
/// As many are deleted at a time.
const AT_ONCE: usize = 1000;

struct Heap {
    due: BinaryHeap<Reverse<Due>>,
    prune_at: usize,
    closed: bool,
}

/// What will expire.
pub struct Expiries {
    heap: Mutex<Heap>,
    wake: Condvar,
}

impl Expiries {
    pub fn new(due: Vec<Due>) -> Self {
        let prune_at = 2 * due.len() + 1024;
        let heap = Heap { due: due.into_iter().map(Reverse).collect(), prune_at, closed: false };
        Expiries { heap: Mutex::new(heap), wake: Condvar::new() }
    }

    /// Remembers that the key, as written at `revision`, ends at `at`.
    pub fn add(&self, at: Timestamp, keyspace: u32, key: Arc<str>, revision: Revision) {
        let mut heap = self.heap.lock();
        let first = heap.due.peek().is_none_or(|Reverse((next, ..))| at < *next);
        heap.due.push(Reverse((at, keyspace, key, revision)));
        if first || heap.due.len() >= heap.prune_at {
            self.wake.notify_one();
        }
    }

    pub fn close(&self) {
        self.heap.lock().closed = true;
        self.wake.notify_one();
    }

    /// Waits until something is due, and takes it. `None`: closed.
    fn next(&self, shared: &Shared) -> Option<Vec<Due>> {
        let mut heap = self.heap.lock();
        loop {
            if heap.closed {
                return None;
            }
            if heap.due.len() >= heap.prune_at {
                let all = std::mem::take(&mut heap.due).into_vec();
                // Publishing adds to the heap under a keyspace's lock, so this one must not be held while taking that.
                let all = parking_lot::MutexGuard::unlocked(&mut heap, || still_set(shared, all));
                heap.due.extend(all);
                heap.prune_at = 2 * heap.due.len() + 1024;
            }
            let now = Timestamp::now();
            match heap.due.peek() {
                None => self.wake.wait(&mut heap),
                Some(Reverse((at, ..))) if *at > now => {
                    let left = Duration::try_from(at.duration_since(now)).unwrap_or_default();
                    self.wake.wait_for(&mut heap, left.min(NAP).max(Duration::from_millis(1)));
                }
                Some(_) => {
                    let mut due = Vec::new();
                    while due.len() < AT_ONCE
                        && heap.due.peek().is_some_and(|Reverse((at, ..))| *at <= now)
                        && let Some(Reverse(next)) = heap.due.pop()
                    {
                        due.push(next);
                    }
                    return Some(due);
                }
            }
        }
    }
}

fn still_set(shared: &Shared, all: Vec<Reverse<Due>>) -> Vec<Reverse<Due>> {
    let keyspaces: HashMap<u32, _> = shared.keyspaces().into_iter().map(|keyspace| (keyspace.id, keyspace)).collect();
    let set = |(_, keyspace, key, revision): &Due| {
        let inner = keyspaces.get(keyspace)?.inner.lock();
        // What is not there yet may be about to be.
        Some(inner.state.head < *revision || inner.state.index.get(key)?.revision == *revision)
    };
    all.into_iter().filter(|Reverse(due)| set(due).unwrap_or(false)).collect()
}

/// Deletes what is due until the store is closed.
pub fn run(shared: &Shared) {
    while let Some(due) = shared.expiries.next(shared) {
        let mut answers = Vec::with_capacity(due.len());
        for (_, keyspace, key, revision) in due {
            if let Some(keyspace) = shared.keyspace_by_id(keyspace) {
                answers.extend(keyspace.submit(Txn::delete(key, revision)));
            }
        }
        for answer in answers {
            // A conflict: written again meanwhile. A disk that failed is told to those who write.
            let _ = answer.blocking_recv();
        }
    }
}
