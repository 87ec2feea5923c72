//! Our own transactions under way, as the watch will show them.
//!
//! An event of ours carries the bytes that the writer gave (the engine knows them by their address and need not parse
//! them), and tells a writer whose answer was lost that its transaction took place. Where the watch has left something
//! out and the state was read anew, ours is found in that, or its writer is told that nobody knows.

use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};
use store::{Change, Item, Write};

#[derive(Default)]
pub struct Pending(Arc<Mutex<ByKey>>);

type ByKey = HashMap<Arc<str>, Vec<Arc<Underway>>>;

/// One transaction.
pub struct Underway {
    writes: Vec<(Arc<str>, Option<Bytes>)>,
    /// What it writes beside, and nobody else ever: where it is to be told from others by nothing else.
    trace: Option<Bytes>,
    /// Where the watch has shown it; 0: not yet.
    seen: AtomicI64,
    /// The watch has left something out that may have been it.
    gap: AtomicBool,
}

/// A trace, and the revision that wrote it.
pub type Trace = (i64, Bytes);

/// Keeps a transaction findable.
pub struct Registered {
    all: Arc<Mutex<ByKey>>,
    one: Arc<Underway>,
}

impl Pending {
    /// Before it is sent.
    pub fn register(&self, writes: &[Write], trace: Option<Bytes>) -> Registered {
        let writes = writes.iter().map(|w| (w.key.clone(), w.value.clone())).collect();
        let one = Arc::new(Underway { writes, trace, seen: AtomicI64::new(0), gap: AtomicBool::new(false) });
        if let Some((key, _)) = one.writes.first() {
            self.0.lock().entry(key.clone()).or_default().push(one.clone());
        }
        Registered { all: self.0.clone(), one }
    }

    /// Finds ours among changes that the watch brought, and puts our bytes into them.
    pub fn recognise(&self, changes: &mut [Change], traces: &[Trace]) {
        let all = self.0.lock();
        if all.is_empty() {
            return;
        }
        for group in changes.chunk_by_mut(|a, b| a.revision == b.revision) {
            let at = group.first().map_or(0, |change| crate::number(change.revision));
            let trace = traces.iter().find(|(revision, _)| *revision == at).map(|(_, value)| value);
            let mut candidates = group.iter().filter_map(|change| all.get(&change.key)).flatten();
            let ours = candidates.find(|one| one.trace.as_ref() == trace && one.is_shown_by(group)).cloned();
            if let Some(ours) = ours {
                ours.lend(group);
            }
        }
    }

    /// Finds ours in a state that was read instead of what led to it.
    pub fn read_anew(&self, items: &[Item]) {
        let all = self.0.lock();
        if all.is_empty() {
            return;
        }
        let wanted: HashMap<&str, &Item> =
            items.iter().filter(|item| all.values().flatten().any(|one| one.sets(item))).map(|i| (&*i.0, i)).collect();
        for one in all.values().flatten() {
            let sets = one.writes.iter().filter(|(_, value)| value.is_some());
            let found: Option<Vec<i64>> =
                sets.map(|(key, _)| Some(crate::number(wanted.get(&**key).filter(|i| one.sets(i))?.1))).collect();
            match found.as_deref() {
                Some([at, others @ ..]) if others.iter().all(|other| other == at) => one.show(*at),
                _ => one.gap.store(true, Ordering::Release),
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
        self.show(group.first().map_or(0, |change| crate::number(change.revision)));
    }

    fn show(&self, at: i64) {
        let _ = self.seen.compare_exchange(0, at, Ordering::AcqRel, Ordering::Acquire);
    }

    /// What is there is what it sets there.
    fn sets(&self, (key, _, there): &Item) -> bool {
        self.writes.iter().any(|(ours, value)| ours == key && value.as_ref() == Some(there))
    }
}

impl Registered {
    /// The revision at which the watch has shown it, and whether it may have left it out.
    pub fn seen(&self) -> (Option<i64>, bool) {
        let at = Some(self.one.seen.load(Ordering::Acquire)).filter(|at| *at > 0);
        (at, self.one.gap.load(Ordering::Acquire))
    }

    /// What it writes beside.
    pub fn trace(&self) -> Option<&Bytes> {
        self.one.trace.as_ref()
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

    fn seen(registered: &Registered) -> Option<i64> {
        registered.seen().0
    }

    #[test]
    fn ours_is_recognised_and_others_are_not() {
        let pending = Pending::default();
        let register = |writes: &[Write]| pending.register(writes, None);
        let bytes = Bytes::from(b"one".to_vec());
        let ours = register(&[Write::put("/a", bytes.clone()), Write::delete("/gone"), Write::delete("/b")]);
        let theirs = register(&[Write::put("/a", "two")]);
        let mut changes = [change("/a", 4, Some("one")), change("/c", 5, None)];
        // What it deletes is not there twice: as well without.
        pending.recognise(&mut changes, &[]);
        assert_eq!((seen(&ours), seen(&theirs)), (Some(4), None));
        assert_eq!(changes[0].value.as_ref().map(|b| b.as_ptr()), Some(bytes.as_ptr()));
        let again = register(&[Write::put("/a", "one"), Write::put("/b", "x")]);
        // Another's write of the same value, alone or beside what is not ours.
        pending.recognise(&mut [change("/a", 6, Some("one"))], &[]);
        pending.recognise(&mut [change("/a", 7, Some("one")), change("/b", 7, Some("y"))], &[]);
        assert_eq!(seen(&again), None);
        pending.recognise(&mut [change("/b", 8, Some("x")), change("/a", 8, Some("one"))], &[]);
        assert_eq!((seen(&again), seen(&ours)), (Some(8), Some(4)));
        drop((ours, theirs, again));
        assert!(pending.0.lock().is_empty());
    }

    #[test]
    fn a_deletion_is_ours_by_its_trace() {
        let pending = Pending::default();
        let ours = pending.register(&[Write::delete("/a")], Some("7".into()));
        let mut gone = [change("/a", 4, None)];
        pending.recognise(&mut gone, &[]);
        pending.recognise(&mut gone, &[(3, "7".into()), (4, "6".into())]);
        assert_eq!(seen(&ours), None);
        pending.recognise(&mut gone, &[(3, "6".into()), (4, "7".into())]);
        assert_eq!(seen(&ours), Some(4));
    }

    #[test]
    fn ours_is_found_in_a_state_or_nobody_knows() {
        let pending = Pending::default();
        let item = |key: &str, at: u64, value: &'static str| (Arc::from(key), Revision(at), Bytes::from(value));
        let there = pending.register(&[Write::put("/a", "1"), Write::put("/b", "2"), Write::delete("/c")], None);
        let over = pending.register(&[Write::put("/d", "3")], None);
        let apart = pending.register(&[Write::put("/e", "4"), Write::put("/f", "5")], None);
        let gone = pending.register(&[Write::delete("/g")], Some("1".into()));
        let items = [("/a", 7, "1"), ("/b", 7, "2"), ("/d", 8, "other"), ("/e", 8, "4"), ("/f", 9, "5")];
        pending.read_anew(&items.map(|(key, at, value)| item(key, at, value)));
        let all = [there, over, apart, gone].each_ref().map(Registered::seen);
        assert_eq!(all, [(Some(7), false), (None, true), (None, true), (None, true)]);
    }
}
