//! Objects that are in the store and cannot be opened: their key is gone, or its service does not answer.
//!
//! Readers are told so, by name, and so is whoever lists what they belong to: a list without them would say that they
//! do not exist, and a garbage collector would believe it. Other objects are not touched by it. When the sealer has
//! news they are tried again, and come back as if they had always been there.

use base::Revision;
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// What could not be opened, by store key. Changed by the sink alone.
#[derive(Default)]
pub(crate) struct Unreadable {
    objects: Mutex<BTreeMap<Arc<str>, One>>,
    /// How many there are, so that asking costs a load where there are none.
    count: AtomicUsize,
}

/// One of them.
#[derive(Clone)]
pub(crate) struct One {
    pub revision: Revision,
    pub stored: Bytes,
    pub why: String,
}

impl Unreadable {
    pub fn is_empty(&self) -> bool {
        self.count.load(Relaxed) == 0
    }
    pub fn insert(&self, key: &str, one: One) {
        let mut objects = self.objects.lock();
        objects.insert(key.into(), one);
        self.count.store(objects.len(), Relaxed);
    }
    pub fn remove(&self, key: &str) {
        if self.is_empty() {
            return;
        }
        let mut objects = self.objects.lock();
        objects.remove(key);
        self.count.store(objects.len(), Relaxed);
    }
    /// All of them.
    pub fn all(&self) -> Vec<(Arc<str>, One)> {
        self.objects.lock().iter().map(|(key, one)| (key.clone(), one.clone())).collect()
    }
    /// True while `key` is still the one of that revision.
    pub fn is(&self, key: &str, revision: Revision) -> bool {
        self.objects.lock().get(key).is_some_and(|one| one.revision == revision)
    }
    /// Why `key` cannot be read.
    pub fn find(&self, key: &str) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        Some(described(key, self.objects.lock().get(key)?))
    }
    /// The first below a prefix, and why it cannot be read.
    pub fn below(&self, prefix: &str) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        let objects = self.objects.lock();
        let (key, one) = objects.range::<str, _>((Bound::Included(prefix), Bound::Unbounded)).next()?;
        key.starts_with(prefix).then(|| described(key, one))
    }
}

/// As upstream's lists say it.
fn described(key: &str, one: &One) -> String {
    format!("unable to transform key {key:?}: {}", one.why)
}
