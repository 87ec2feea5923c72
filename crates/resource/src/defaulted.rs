//! Custom objects that show defaults which they were not stored with. Another schema begins with what is stored: a default
//! that is no more must not show either, and whoever starts anew would not see it.

use base::Revision;
use bytes::Bytes;
use parking_lot::Mutex;
use std::{collections::BTreeMap, ops::Bound, sync::Arc};

/// What is stored of them, by store key. Changed by the sink alone.
#[derive(Default)]
pub(crate) struct Defaulted(Mutex<BTreeMap<Arc<str>, (Revision, Bytes)>>);

impl Defaulted {
    /// Notes what is stored of an object of this revision; `None`: it shows as it is stored.
    pub fn note(&self, key: &str, revision: Revision, stored: Option<Bytes>) {
        let mut objects = self.0.lock();
        match stored {
            Some(stored) => drop(objects.insert(key.into(), (revision, stored))),
            None if objects.is_empty() => {}
            None => drop(objects.remove(key)),
        }
    }
    /// What is stored of one that was noted at this revision.
    pub fn stored(&self, key: &str, revision: Revision) -> Option<Bytes> {
        self.0.lock().get(key).filter(|(at, _)| *at == revision).map(|(_, stored)| stored.clone())
    }
    /// Forgets those below a prefix of the store's keys.
    pub fn forget(&self, prefix: &str) {
        let mut objects = self.0.lock();
        let from = objects.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        let keys: Vec<Arc<str>> = from.map(|(key, _)| key.clone()).take_while(|key| key.starts_with(prefix)).collect();
        for key in keys {
            objects.remove(&key);
        }
    }
}
