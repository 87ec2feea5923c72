//! Our own transactions under way, as the watch will show them.
//!
//! An event of ours carries the bytes that the writer gave (the engine knows them by their address and need not parse
//! them), and tells a writer whose answer was lost that its transaction took place.

use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};
use store::{Change, Write};

#[derive(Default)]
pub struct Pending(Arc<Mutex<ByKey>>);

type ByKey = HashMap<Arc<str>, Vec<Arc<Underway>>>;

/// One transaction.
pub struct Underway {
    writes: Vec<(Arc<str>, Option<Bytes>)>,
    /// Where the watch has shown it; 0: not yet.
    seen: AtomicI64,
}

/// Keeps a transaction findable.
pub struct Registered {
    all: Arc<Mutex<ByKey>>,
    one: Arc<Underway>,
}

impl Pending {
    /// Before it is sent.
    pub fn register(&self, writes: &[Write]) -> Registered {
        let writes = writes.iter().map(|w| (w.key.clone(), w.value.clone())).collect();
        let one = Arc::new(Underway { writes, seen: AtomicI64::new(0) });
        if let Some((key, _)) = one.writes.first() {
            self.0.lock().entry(key.clone()).or_default().push(one.clone());
        }
        Registered { all: self.0.clone(), one }
    }

    /// Finds ours among changes that the watch brought, and puts our bytes into them.
    pub fn recognise(&self, changes: &mut [Change]) {
        let all = self.0.lock();
        if all.is_empty() {
            return;
        }
        for group in changes.chunk_by_mut(|a, b| a.revision == b.revision) {
            let mut candidates = group.iter().filter_map(|change| all.get(&change.key)).flatten();
            let ours = candidates.find(|one| one.is_shown_by(group)).cloned();
            if let Some(ours) = ours {
                ours.lend(group);
            }
        }
    }
}

impl Underway {
    /// All that it sets is there as it sets it, and nothing that it deletes is set.
    fn is_shown_by(&self, group: &[Change]) -> bool {
        let mut shown = 0;
        for (key, value) in &self.writes {
            match (group.iter().find(|change| change.key == *key).map(|change| &change.value), value) {
                (Some(there), value) if there == value => shown += 1,
                // Deleted without having been there.
                (None, None) => {}
                _ => return false,
            }
        }
        shown == group.len()
    }

    fn lend(&self, group: &mut [Change]) {
        for change in group.iter_mut() {
            if let Some((key, value)) = self.writes.iter().find(|(key, _)| *key == change.key) {
                (change.key, change.value) = (key.clone(), value.clone());
            }
        }
        let at = group.first().map_or(0, |change| crate::number(change.revision));
        let _ = self.seen.compare_exchange(0, at, Ordering::AcqRel, Ordering::Acquire);
    }
}

impl Registered {
    /// The revision at which the watch has shown it.
    pub fn seen(&self) -> Option<i64> {
        Some(self.one.seen.load(Ordering::Acquire)).filter(|at| *at > 0)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let Some((key, _)) = self.one.writes.first() else { return };
        let mut all = self.all.lock();
        let Some(same) = all.get_mut(key) else { return };
        same.retain(|other| !Arc::ptr_eq(other, &self.one));
        if same.is_empty() {
            all.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Revision;

    fn change(key: &str, revision: u64, value: Option<&'static str>) -> Change {
        Change { key: key.into(), revision: Revision(revision), value: value.map(Bytes::from), previous: None }
    }

    #[test]
    fn ours_is_recognised_and_others_are_not() {
        let pending = Pending::default();
        let bytes = Bytes::from(b"one".to_vec());
        let ours = pending.register(&[Write::put("/a", bytes.clone()), Write::delete("/gone"), Write::delete("/b")]);
        let theirs = pending.register(&[Write::put("/a", "two")]);
        let mut changes = [change("/a", 4, Some("one")), change("/c", 5, None)];
        // What it deletes is not there twice: as well without.
        pending.recognise(&mut changes);
        assert_eq!((ours.seen(), theirs.seen()), (Some(4), None));
        assert_eq!(changes[0].value.as_ref().map(|b| b.as_ptr()), Some(bytes.as_ptr()));
        let again = pending.register(&[Write::put("/a", "one"), Write::put("/b", "x")]);
        // Another's write of the same value, alone or beside what is not ours.
        pending.recognise(&mut [change("/a", 6, Some("one"))]);
        pending.recognise(&mut [change("/a", 7, Some("one")), change("/b", 7, Some("y"))]);
        assert_eq!(again.seen(), None);
        pending.recognise(&mut [change("/b", 8, Some("x")), change("/a", 8, Some("one"))]);
        assert_eq!((again.seen(), ours.seen()), (Some(8), Some(4)));
        drop((ours, theirs, again));
        assert!(pending.0.lock().is_empty());
    }
}
