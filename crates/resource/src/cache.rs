//! The watch cache of one kind: every object as its shared `Arc`, and a bounded ring of what changed.
//!
//! The state at an older revision is the present state rolled back by the ring, so that a list at `resourceVersion=N`,
//! the next page of a list and the start of a watch need no snapshots kept aside. Once the ring no longer reaches back,
//! the answer is 410. Decided against: a ring of map versions (it pins chunks of memory for readers who never come).

use crate::{
    event::{Event, EventKind},
    snap_map::SnapMap,
};
use base::Revision;
use parking_lot::RwLock;
use std::{collections::VecDeque, sync::Arc};
use tokio::sync::watch;
use value::{Object, ObjectKey};

/// What the ring of one kind may hold, in bytes and in events. The last event always stays.
const RING_BYTES: usize = 48 << 20;
const RING_EVENTS: usize = 100_000;

/// So many of the newest objects share their trees among the readers in this process.
const NEWS: usize = 256;

/// Objects and recent events of one kind.
pub struct KindCache {
    state: RwLock<State>,
    /// The position behind the newest event; changes once per batch.
    end: watch::Sender<u64>,
}

struct State {
    objects: SnapMap,
    /// The revision of the newest event, or of the base.
    last: Revision,
    ring: VecDeque<Arc<Event>>,
    ring_bytes: usize,
    /// The position of the ring's first event.
    first: u64,
    /// All events after this revision are in the ring.
    floor: Revision,
}

/// The revision asked for is older than what the ring can reach; carries the oldest one that it can.
#[derive(Debug, PartialEq, Eq)]
pub struct TooOld(pub Revision);

impl KindCache {
    pub fn new() -> Self {
        let state = State {
            objects: SnapMap::default(),
            last: Revision::ZERO,
            ring: VecDeque::new(),
            ring_bytes: 0,
            first: 0,
            floor: Revision::ZERO,
        };
        KindCache { state: RwLock::new(state), end: watch::Sender::new(0) }
    }

    pub fn get(&self, key: &ObjectKey) -> Option<Arc<Object>> {
        self.state.read().objects.get(key).cloned()
    }

    /// The present state and the revision of its newest change.
    pub fn snapshot(&self) -> (SnapMap, Revision) {
        let state = self.state.read();
        (state.objects.clone(), state.last)
    }

    /// The state as of a revision.
    pub fn snapshot_at(&self, revision: Revision) -> Result<SnapMap, TooOld> {
        let state = self.state.read();
        if revision >= state.last {
            return Ok(state.objects.clone());
        }
        if revision < state.floor {
            return Err(TooOld(state.floor));
        }
        let mut objects = state.objects.clone();
        let from = state.ring.partition_point(|e| e.revision <= revision);
        let undo: Vec<Arc<Event>> = state.ring.range(from..).rev().cloned().collect();
        drop(state);
        for event in undo {
            match &event.previous {
                Some(previous) => drop(objects.insert(previous.clone())),
                None => drop(objects.remove(&event.object.key)),
            }
        }
        Ok(objects)
    }

    /// The position of the first event after a revision.
    pub fn position_after(&self, revision: Revision) -> Result<u64, TooOld> {
        let state = self.state.read();
        if revision < state.floor {
            return Err(TooOld(state.floor));
        }
        Ok(state.first + state.ring.partition_point(|e| e.revision <= revision) as u64)
    }

    /// The present state together with the position behind it.
    pub fn start(&self) -> (SnapMap, Revision, u64) {
        let state = self.state.read();
        (state.objects.clone(), state.last, state.first + state.ring.len() as u64)
    }

    /// Copies up to `limit` events from a position on; the new position is the old one plus their number.
    pub fn read(&self, position: u64, limit: usize, out: &mut Vec<Arc<Event>>) -> Result<(), TooOld> {
        let state = self.state.read();
        if position < state.first {
            return Err(TooOld(state.floor));
        }
        let from = ((position - state.first) as usize).min(state.ring.len());
        let to = state.ring.len().min(from + limit);
        out.extend(state.ring.range(from..to).cloned());
        Ok(())
    }

    /// A receiver that is woken once per batch.
    pub fn wakes(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    /// Sets the state that history starts from; no event is made of it.
    pub fn load(&self, revision: Revision, objects: impl IntoIterator<Item = Arc<Object>>) {
        let mut state = self.state.write();
        for object in objects {
            state.objects.insert(object);
        }
        state.last = state.last.max(revision);
        state.floor = state.last;
    }

    /// Applies changes in revision order: `(key, revision, object or None for deleted)`. Watchers are woken by
    /// [`KindCache::wake`], after all kinds of the batch have been applied. Returns the events.
    pub fn apply(&self, key: ObjectKey, revision: Revision, object: Option<Arc<Object>>) -> Option<Arc<Event>> {
        let mut state = self.state.write();
        let event = match object {
            Some(object) => {
                let previous = state.objects.insert(object.clone());
                let kind = if previous.is_some() { EventKind::Modified } else { EventKind::Added };
                Event::new(kind, revision, object, previous)
            }
            None => {
                let previous = state.objects.remove(&key)?;
                let json = crate::encode::replace_revision(previous.json(), revision);
                let object = Object::new(key, revision, previous.meta.clone(), json);
                Event::new(EventKind::Deleted, revision, object, Some(previous))
            }
        };
        state.push(event.clone());
        Some(event)
    }

    /// Wakes watchers if anything was applied since the last call.
    pub fn wake(&self) {
        let end = {
            let state = self.state.read();
            state.first + state.ring.len() as u64
        };
        self.end.send_if_modified(|old| std::mem::replace(old, end) != end);
    }

    /// Puts objects in the place of those of their names, without events (the kind shows them differently now). Watchers
    /// fall off the ring, and list anew.
    pub fn reload(&self, objects: impl IntoIterator<Item = Arc<Object>>) {
        {
            let mut state = self.state.write();
            for object in objects {
                state.objects.insert(object);
            }
            state.first += state.ring.len() as u64 + 1;
            state.ring.drain(..).for_each(|event| event.object.forget_tree());
            state.ring_bytes = 0;
            state.floor = state.last;
        }
        self.wake();
    }

    /// Forgets everything (the kind was removed); watchers fall off the ring.
    pub fn clear(&self) {
        {
            let mut state = self.state.write();
            state.objects = SnapMap::default();
            state.first += state.ring.len() as u64 + 1;
            state.ring.drain(..).for_each(|event| event.object.forget_tree());
            state.ring_bytes = 0;
            state.floor = state.last.next();
        }
        self.wake();
    }
}

impl State {
    fn push(&mut self, event: Arc<Event>) {
        self.last = event.revision;
        self.ring_bytes += event.weight();
        event.object.keep_tree();
        self.ring.push_back(event);
        if let Some(old) = self.ring.len().checked_sub(NEWS + 1).and_then(|i| self.ring.get(i)) {
            old.object.forget_tree();
        }
        while self.ring.len() > 1 && (self.ring_bytes > RING_BYTES || self.ring.len() > RING_EVENTS) {
            let Some(oldest) = self.ring.pop_front() else { break };
            self.ring_bytes = self.ring_bytes.saturating_sub(oldest.weight());
            oldest.object.forget_tree();
            self.first += 1;
            self.floor = oldest.revision;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::Meta;

    fn put(cache: &KindCache, name: &str, revision: u64) {
        let key = ObjectKey::cluster(name);
        let json = format!(r#"{{"apiVersion":"v1","kind":"K","metadata":{{"resourceVersion":"{revision}"}}}}"#);
        let object = Object::new(key.clone(), Revision(revision), Meta::default(), json.into());
        cache.apply(key, Revision(revision), Some(object));
    }

    fn state(map: &SnapMap) -> Vec<(String, u64)> {
        map.iter().map(|o| (o.name().to_string(), o.revision.0)).collect()
    }

    #[test]
    fn any_revision_in_the_ring_can_be_listed() {
        let cache = KindCache::new();
        cache.load(Revision(3), []);
        put(&cache, "a", 4);
        put(&cache, "b", 6);
        put(&cache, "a", 7);
        cache.apply(ObjectKey::cluster("b"), Revision(9), None);
        let at = |r| cache.snapshot_at(Revision(r)).map(|m| state(&m));
        assert_eq!(at(3), Ok(vec![]));
        assert_eq!(at(5), Ok(vec![("a".into(), 4)]));
        assert_eq!(at(6), Ok(vec![("a".into(), 4), ("b".into(), 6)]));
        assert_eq!(at(8), Ok(vec![("a".into(), 7), ("b".into(), 6)]));
        assert_eq!(at(9), Ok(vec![("a".into(), 7)]));
        assert_eq!(at(2), Err(TooOld(Revision(3))));
    }

    #[test]
    fn a_deletion_carries_the_last_state_with_its_own_revision() {
        let cache = KindCache::new();
        put(&cache, "a", 4);
        let event = cache.apply(ObjectKey::cluster("a"), Revision(9), None).unwrap();
        assert_eq!(event.kind, EventKind::Deleted);
        assert_eq!(event.object.value().str_at(&["metadata", "resourceVersion"]), "9");
        assert!(cache.apply(ObjectKey::cluster("a"), Revision(10), None).is_none());
    }
}
