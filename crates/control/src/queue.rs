//! The work queue: a key stands in it once, is worked on by one worker at a time, and can be put back for later.
//!
//! A key that is added while somebody works on it comes back when that work is done. Delays hold no timer of their own:
//! a waiting worker sleeps until the earliest one, and without any it sleeps until a key is added.

use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    hash::Hash,
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// Delays after failures. The defaults are upstream's: 5 ms doubling to 1000 s.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    pub first: Duration,
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { first: Duration::from_millis(5), max: Duration::from_secs(1000) }
    }
}

impl Backoff {
    /// The delay after `failures` earlier failures in a row.
    pub fn delay(self, failures: u32) -> Duration {
        let factor = 1u32.checked_shl(failures.min(31)).unwrap_or(u32::MAX);
        self.first.checked_mul(factor).unwrap_or(self.max).min(self.max)
    }
}

/// A handle on a queue; clones are the same queue.
pub struct Queue<K>(Arc<Inner<K>>);

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Queue(self.0.clone())
    }
}

impl<K> std::fmt::Debug for Queue<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.0.state.lock();
        f.debug_struct("Queue").field("ready", &state.ready.len()).field("delayed", &state.delayed.len()).finish()
    }
}

struct Inner<K> {
    state: Mutex<State<K>>,
    backoff: Backoff,
    changed: Notify,
}

struct State<K> {
    ready: VecDeque<K>,
    /// In `ready`, or due again when its present work is done.
    wanted: HashSet<K>,
    working: HashSet<K>,
    /// The number tells equal instants apart.
    delayed: BTreeMap<(Instant, u64), K>,
    due: HashMap<K, (Instant, u64)>,
    failures: HashMap<K, u32>,
    count: u64,
    closed: bool,
}

impl<K: Clone + Eq + Hash> Default for Queue<K> {
    fn default() -> Self {
        Queue::new(Backoff::default())
    }
}

impl<K: Clone + Eq + Hash> Queue<K> {
    pub fn new(backoff: Backoff) -> Self {
        let state = State {
            ready: VecDeque::new(),
            wanted: HashSet::new(),
            working: HashSet::new(),
            delayed: BTreeMap::new(),
            due: HashMap::new(),
            failures: HashMap::new(),
            count: 0,
            closed: false,
        };
        Queue(Arc::new(Inner { state: Mutex::new(state), backoff, changed: Notify::new() }))
    }
    /// Wants the key worked on, as soon as a worker is free.
    pub fn add(&self, key: K) {
        if self.0.state.lock().add(key) {
            self.0.changed.notify_one();
        }
    }
    /// Wants it after a delay; of several delays the earliest counts.
    pub fn add_after(&self, key: K, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let mut state = self.0.state.lock();
        let at = Instant::now() + delay;
        if state.closed || state.due.get(&key).is_some_and(|(due, _)| *due <= at) {
            return;
        }
        state.count += 1;
        let place = (at, state.count);
        if let Some(earlier) = state.due.insert(key.clone(), place) {
            state.delayed.remove(&earlier);
        }
        state.delayed.insert(place, key);
        drop(state);
        self.0.changed.notify_one();
    }
    /// Wants it again after a failure; each failure in a row doubles the delay.
    pub fn add_rate_limited(&self, key: K) {
        let delay = {
            let mut state = self.0.state.lock();
            let failures = state.failures.entry(key.clone()).or_insert(0);
            let delay = self.0.backoff.delay(*failures);
            *failures += 1;
            delay
        };
        self.add_after(key, delay);
    }
    /// Forgets the failures of a key.
    pub fn forget(&self, key: &K) {
        self.0.state.lock().failures.remove(key);
    }
    /// How often in a row the key has failed.
    pub fn failures(&self, key: &K) -> u32 {
        self.0.state.lock().failures.get(key).copied().unwrap_or(0)
    }
    /// Ends the queue: workers get what is ready and then `None`.
    pub fn close(&self) {
        self.0.state.lock().closed = true;
        self.0.changed.notify_waiters();
        self.0.changed.notify_one();
    }
    /// The next key to work on; give it back with [`Queue::done`]. `None` once the queue is closed and empty.
    pub async fn next(&self) -> Option<K> {
        loop {
            // Registered before looking, so that nothing added in between is missed.
            let mut changed = std::pin::pin!(self.0.changed.notified());
            changed.as_mut().enable();
            let earliest = {
                let mut state = self.0.state.lock();
                state.promote(Instant::now());
                if let Some(key) = state.ready.pop_front() {
                    state.wanted.remove(&key);
                    state.working.insert(key.clone());
                    // One notification may stand for several keys: wake the next worker.
                    let more = !state.ready.is_empty() || !state.delayed.is_empty();
                    drop(state);
                    if more {
                        self.0.changed.notify_one();
                    }
                    return Some(key);
                }
                if state.closed {
                    drop(state);
                    self.0.changed.notify_one();
                    return None;
                }
                state.delayed.keys().next().map(|(at, _)| *at)
            };
            match earliest {
                Some(at) => drop(tokio::time::timeout_at(at, changed).await),
                None => changed.await,
            }
        }
    }
    /// Ends the work on a key.
    pub fn done(&self, key: &K) {
        let mut state = self.0.state.lock();
        state.working.remove(key);
        if state.wanted.contains(key) {
            state.ready.push_back(key.clone());
            drop(state);
            self.0.changed.notify_one();
        }
    }
    /// How many keys wait or are worked on, delayed ones not counted.
    pub fn pending(&self) -> usize {
        let state = self.0.state.lock();
        state.ready.len() + state.working.len()
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    /// True where a worker should look.
    fn add(&mut self, key: K) -> bool {
        if self.closed || !self.wanted.insert(key.clone()) {
            return false;
        }
        if self.working.contains(&key) {
            return false;
        }
        self.ready.push_back(key);
        true
    }
    fn promote(&mut self, now: Instant) {
        while let Some(entry) = self.delayed.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let key = entry.remove();
            self.due.remove(&key);
            self.add(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_is_worked_on_once_at_a_time() {
        let queue = Queue::default();
        queue.add("a");
        queue.add("a");
        queue.add("b");
        assert_eq!(queue.next().await, Some("a"));
        queue.add("a"); // while worked on
        assert_eq!(queue.next().await, Some("b"));
        queue.done(&"b");
        assert_eq!(queue.pending(), 1);
        queue.done(&"a");
        assert_eq!(queue.next().await, Some("a"));
        queue.done(&"a");
        assert_eq!(queue.pending(), 0);
        queue.close();
        assert_eq!(queue.next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_delay_counts() {
        let queue = Queue::default();
        let start = Instant::now();
        queue.add_after("a", Duration::from_secs(60));
        queue.add_after("b", Duration::from_secs(30));
        queue.add_after("a", Duration::from_secs(10));
        queue.add_after("a", Duration::from_secs(20));
        assert_eq!(queue.next().await, Some("a"));
        assert_eq!(start.elapsed().as_secs(), 10);
        assert_eq!(queue.next().await, Some("b"));
        assert_eq!(start.elapsed().as_secs(), 30);
        queue.done(&"a");
        assert!(tokio::time::timeout(Duration::from_secs(100), queue.next()).await.is_err());
    }

    #[test]
    fn failures_double_the_delay() {
        let backoff = Backoff::default();
        let delays: Vec<u128> = [0, 1, 2, 10, 17, 18, 40].map(|n| backoff.delay(n).as_millis()).to_vec();
        assert_eq!(delays, [5, 10, 20, 5120, 655_360, 1_000_000, 1_000_000]);
    }
}
