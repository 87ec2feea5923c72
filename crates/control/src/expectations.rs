//! Expectations: what a controller has asked for and not yet seen in its cache.
//!
//! A controller that creates pods and looks again before its cache shows them would create them twice. It notes how many
//! creations and deletions it has asked for, counts down as the cache shows them, and waits meanwhile. An expectation
//! that is not met for five minutes is given up (upstream's `ExpectationsTimeout`).

use base::time::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
};
use value::Str;

/// `ExpectationsTimeout` of `pkg/controller/controller_utils.go`.
const TIMEOUT: SignedDuration = SignedDuration::from_mins(5);

/// Counts of creations and deletions, by key of the controller.
#[derive(Debug)]
pub struct Expectations<K>(Mutex<HashMap<K, Counts>>);

#[derive(Debug, Clone, Copy)]
struct Counts {
    creations: i64,
    deletions: i64,
    since: Timestamp,
}

impl<K: Eq + Hash> Default for Expectations<K> {
    fn default() -> Self {
        Expectations(Mutex::default())
    }
}

impl<K: Clone + Eq + Hash> Expectations<K> {
    /// Sets what is asked for now.
    pub fn expect(&self, key: &K, creations: usize, deletions: usize, now: Timestamp) {
        let counts = Counts { creations: creations as i64, deletions: deletions as i64, since: now };
        self.0.lock().insert(key.clone(), counts);
    }
    /// The cache shows a creation, or one that was asked for has failed.
    pub fn created(&self, key: &K) {
        if let Some(counts) = self.0.lock().get_mut(key) {
            counts.creations -= 1;
        }
    }
    /// The cache shows a deletion, or one that was asked for has failed.
    pub fn deleted(&self, key: &K) {
        if let Some(counts) = self.0.lock().get_mut(key) {
            counts.deletions -= 1;
        }
    }
    /// True where the cache shows all that was asked for, or it took too long.
    pub fn satisfied(&self, key: &K, now: Timestamp) -> bool {
        let expected = self.0.lock();
        let Some(counts) = expected.get(key) else { return true };
        counts.creations <= 0 && counts.deletions <= 0 || now.duration_since(counts.since) > TIMEOUT
    }
    /// The key's object is gone.
    pub fn forget(&self, key: &K) {
        self.0.lock().remove(key);
    }
}

/// Deletions by uid: an object that shows its deletion several times counts once.
#[derive(Debug)]
pub struct UidExpectations<K>(Mutex<HashMap<K, HashSet<Str>>>);

impl<K: Eq + Hash> Default for UidExpectations<K> {
    fn default() -> Self {
        UidExpectations(Mutex::default())
    }
}

impl<K: Clone + Eq + Hash> UidExpectations<K> {
    /// Notes the objects whose deletion is asked for.
    pub fn expect(&self, key: &K, uids: impl IntoIterator<Item = Str>) {
        self.0.lock().entry(key.clone()).or_default().extend(uids);
    }
    /// The cache shows the deletion, or it failed. True for the first time.
    pub fn seen(&self, key: &K, uid: &str) -> bool {
        let mut expected = self.0.lock();
        let Some(uids) = expected.get_mut(key) else { return false };
        let first = uids.remove(uid);
        if uids.is_empty() {
            expected.remove(key);
        }
        first
    }
    /// True where none is outstanding.
    pub fn satisfied(&self, key: &K) -> bool {
        !self.0.lock().contains_key(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_down_and_gives_up() {
        let expectations = Expectations::default();
        let now = Timestamp::UNIX_EPOCH;
        assert!(expectations.satisfied(&"rs", now));
        expectations.expect(&"rs", 2, 1, now);
        expectations.created(&"rs");
        expectations.deleted(&"rs");
        assert!(!expectations.satisfied(&"rs", now));
        assert!(expectations.satisfied(&"rs", now + SignedDuration::from_secs(301)));
        expectations.created(&"rs");
        assert!(expectations.satisfied(&"rs", now));
    }

    #[test]
    fn a_deletion_counts_once() {
        let expectations = UidExpectations::default();
        expectations.expect(&"rs", ["1".into(), "2".into()]);
        assert!(expectations.seen(&"rs", "1") && !expectations.seen(&"rs", "1") && !expectations.seen(&"rs", "3"));
        assert!(!expectations.satisfied(&"rs"));
        assert!(expectations.seen(&"rs", "2") && expectations.satisfied(&"rs"));
    }
}
