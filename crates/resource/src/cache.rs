//! The watch cache of one kind: every object as its shared `Arc`, and a bounded ring of what changed.
//!
//! The state at an older revision is the present state rolled back by the ring, so that a list at `resourceVersion=N`,
//! the next page of a list and the start of a watch need no snapshots kept aside. Once the ring no longer reaches back,
//! the answer is 410. Decided against: a ring of map versions (it pins chunks of memory for readers who never come).

use crate::{
    budget::Budget,
    by_field::ByField,
    event::{Event, EventKind},
    snap_map::SnapMap,
    topics::{Bucket, Found, Topic, Topics},
};
use base::Revision;
use parking_lot::RwLock;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};
use tokio::sync::watch;
use value::{Object, ObjectKey};

/// So many of the newest objects share their trees among the readers in this process.
const NEWS: u64 = 256;

/// Objects and recent events of one kind.
pub struct KindCache {
    state: RwLock<State>,
    /// The position behind the newest event; changes once per batch.
    end: watch::Sender<u64>,
    /// Shared by the rings of all kinds.
    budget: Arc<Budget>,
    /// What the ring has taken of it; changed under the state's lock.
    ring_bytes: AtomicUsize,
}

struct State {
    objects: SnapMap,
    by_field: ByField,
    /// The revision of the newest event, or of the base.
    last: Revision,
    ring: VecDeque<Arc<Event>>,
    topics: Topics,
    /// The position of the ring's first event.
    first: u64,
    /// All events after this revision are in the ring.
    floor: Revision,
    /// Objects of events before this position share no tree any more.
    news: u64,
    /// Where the news ended when it was last aged.
    aged: u64,
}

/// The revision asked for is older than what the ring can reach; carries the oldest one that it can.
#[derive(Debug, PartialEq, Eq)]
pub struct TooOld(pub Revision);

impl KindCache {
    /// `indexed` is the place of a field among the kind's selectable ones.
    pub fn new(budget: Arc<Budget>, indexed: Option<usize>) -> Self {
        let state = State {
            objects: SnapMap::default(),
            by_field: ByField::new(indexed),
            last: Revision::ZERO,
            ring: VecDeque::new(),
            topics: Topics::default(),
            first: 0,
            floor: Revision::ZERO,
            news: 0,
            aged: 0,
        };
        let (end, ring_bytes) = (watch::Sender::new(0), AtomicUsize::new(0));
        KindCache { state: RwLock::new(state), end, budget, ring_bytes }
    }

    pub fn get(&self, key: &ObjectKey) -> Option<Arc<Object>> {
        self.state.read().objects.get(key).cloned()
    }

    /// The objects with a value in the indexed field, of one namespace where given; `None` where there is no index.
    pub fn find(&self, value: &str, namespace: Option<&str>) -> Option<Vec<Arc<Object>>> {
        self.state.read().by_field.find(value, namespace)
    }

    pub fn len(&self) -> usize {
        self.state.read().objects.len()
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
        (state.objects.clone(), state.last, state.end())
    }

    /// Reads the ring from now on: all of it, or the events of a topic.
    pub fn follow(self: &Arc<Self>, topic: Option<Topic>) -> Follower {
        let topic = topic.map(|topic| {
            let mut state = self.state.write();
            let end = state.end();
            let bucket = state.topics.join(&topic, end);
            (topic, bucket)
        });
        let wakes = topic.as_ref().map_or_else(|| self.end.subscribe(), |(_, bucket)| bucket.wakes());
        Follower { cache: self.clone(), topic, wakes }
    }

    /// Sets the state that history starts from; no event is made of it.
    pub fn load(&self, revision: Revision, objects: impl IntoIterator<Item = Arc<Object>>) {
        let mut state = self.state.write();
        for object in objects {
            state.put(object);
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
                let previous = state.put(object.clone());
                let kind = if previous.is_some() { EventKind::Modified } else { EventKind::Added };
                Event::new(kind, revision, object, previous)
            }
            None => {
                let previous = state.take(&key)?;
                let json = crate::encode::replace_revision(previous.json(), revision);
                let object = Object::new(key, revision, previous.meta.clone(), json);
                Event::new(EventKind::Deleted, revision, object, Some(previous))
            }
        };
        let weight = event.weight();
        self.budget.take(weight);
        self.ring_bytes.fetch_add(weight, Relaxed);
        let old = state.push(event.clone());
        drop(state);
        // Freeing a tree is work that nobody should wait for.
        if let Some(old) = old {
            old.object.forget_tree();
        }
        Some(event)
    }

    /// Wakes watchers if anything was applied since the last call.
    pub fn wake(&self) {
        let (end, topics) = {
            let mut state = self.state.write();
            (state.end(), state.topics.touched())
        };
        self.end.send_if_modified(|old| std::mem::replace(old, end) != end);
        for topic in topics {
            topic.wake();
        }
    }

    /// Forgets the trees of what was news already at the last call; whether there is other news.
    pub fn age(&self) -> bool {
        let mut state = self.state.write();
        let end = state.end();
        let until = std::mem::replace(&mut state.aged, end).min(end);
        let (from, to) = (state.news.max(state.first), until.max(state.first));
        let old: Vec<Arc<Event>> = if from < to {
            let first = state.first;
            state.ring.range((from - first) as usize..(to - first) as usize).cloned().collect()
        } else {
            Vec::new()
        };
        state.news = from.max(to);
        let more = state.news < end;
        drop(state);
        old.iter().for_each(|event| event.object.forget_tree());
        more
    }

    /// What its ring holds, in bytes.
    pub fn weight(&self) -> usize {
        self.ring_bytes.load(Relaxed)
    }

    /// Forgets the oldest events, `bytes` of them; the last one always stays. False where there is none to forget.
    pub fn give_way(&self, bytes: usize) -> bool {
        let mut forgotten = Vec::new();
        let mut given = 0;
        {
            let mut state = self.state.write();
            while given < bytes && state.ring.len() > 1 {
                let Some(oldest) = state.ring.pop_front() else { break };
                given += oldest.weight();
                state.first += 1;
                state.floor = oldest.revision;
                forgotten.push(oldest);
            }
        }
        self.give_back(given);
        forgotten.iter().for_each(|event| event.object.forget_tree());
        given > 0
    }

    fn give_back(&self, bytes: usize) {
        self.ring_bytes.fetch_sub(bytes, Relaxed);
        self.budget.give_back(bytes);
    }

    /// Puts objects in the place of those of their names, without events (the kind shows them differently now). Watchers
    /// fall off the ring, and list anew.
    pub fn reload(&self, objects: impl IntoIterator<Item = Arc<Object>>) {
        {
            let mut state = self.state.write();
            for object in objects {
                state.last = state.last.max(object.revision);
                state.put(object);
            }
            self.empty(&mut state);
            state.floor = state.last;
        }
        self.wake();
    }

    /// Sets the state anew where the history between is lost; watchers fall off the ring.
    pub fn replace(&self, revision: Revision, objects: impl IntoIterator<Item = Arc<Object>>) {
        {
            let mut state = self.state.write();
            state.objects = SnapMap::default();
            state.by_field.clear();
            for object in objects {
                state.put(object);
            }
            self.empty(&mut state);
            (state.last, state.floor) = (revision, revision);
        }
        self.wake();
    }

    /// Forgets everything (the kind was removed); watchers fall off the ring.
    pub fn clear(&self) {
        {
            let mut state = self.state.write();
            state.objects = SnapMap::default();
            state.by_field.clear();
            self.empty(&mut state);
            state.floor = state.last.next();
        }
        self.wake();
    }

    /// Ends all that is read from the ring.
    fn empty(&self, state: &mut State) {
        state.first = state.end() + 1;
        state.ring.drain(..).for_each(|event| event.object.forget_tree());
        state.topics.end();
        self.give_back(self.weight());
    }
}

impl Drop for KindCache {
    fn drop(&mut self) {
        self.give_back(self.weight());
    }
}

impl State {
    /// Every change of the objects is one of these two, or forgets all of them.
    fn put(&mut self, object: Arc<Object>) -> Option<Arc<Object>> {
        let previous = self.objects.insert(object.clone());
        self.by_field.put(previous.as_deref(), &object);
        previous
    }
    fn take(&mut self, key: &ObjectKey) -> Option<Arc<Object>> {
        let previous = self.objects.remove(key)?;
        self.by_field.take(&previous);
        Some(previous)
    }
    /// The position behind the newest event.
    fn end(&self) -> u64 {
        self.first + self.ring.len() as u64
    }
    /// Returns the event that is no news any more.
    fn push(&mut self, event: Arc<Event>) -> Option<Arc<Event>> {
        self.last = event.revision;
        self.topics.note(&event, self.end(), self.first);
        event.object.keep_tree();
        self.ring.push_back(event);
        let no_news = self.end().checked_sub(NEWS + 1).filter(|at| *at >= self.news)?;
        self.news = no_news + 1;
        self.ring.get(no_news.checked_sub(self.first)? as usize).cloned()
    }
    /// Copies up to `limit` events of the ring from a position on.
    fn range(&self, position: u64, limit: usize, out: &mut Vec<Arc<Event>>) -> Result<(), TooOld> {
        let from = position.checked_sub(self.first).ok_or(TooOld(self.floor))?;
        let from = (from as usize).min(self.ring.len());
        let to = self.ring.len().min(from.saturating_add(limit));
        out.extend(self.ring.range(from..to).cloned());
        Ok(())
    }
}

/// Reads the ring of one kind. A position belongs to the reader: it is where the next event is looked for.
pub struct Follower {
    cache: Arc<KindCache>,
    topic: Option<(Topic, Arc<Bucket>)>,
    /// Changes when there is something to read, once per batch.
    pub wakes: watch::Receiver<u64>,
}

impl Follower {
    /// Copies up to `limit` events from a position on, of a topic at least those that belong to it; the new position.
    pub fn read(&self, position: u64, limit: usize, out: &mut Vec<Arc<Event>>) -> Result<u64, TooOld> {
        let state = self.cache.state.read();
        let before = out.len();
        let limit = match self.topic.as_ref().map(|(_, bucket)| bucket.behind(position, limit)) {
            None => limit,
            Some(Found::Ended) => return Err(TooOld(state.floor)),
            Some(Found::Scan(until)) => limit.min((until - position) as usize),
            Some(Found::Noted(positions, all)) => {
                for at in &positions {
                    state.range(*at, 1, out)?;
                }
                // What lies between has nothing of the topic.
                return Ok(if all {
                    state.end().max(position)
                } else {
                    positions.last().map_or(position, |at| at + 1)
                });
            }
        };
        state.range(position, limit, out)?;
        Ok(position + (out.len() - before) as u64)
    }

    /// The revision of the newest event, where everything up to it has been read.
    pub fn caught_up(&self, position: u64) -> Option<Revision> {
        let state = self.cache.state.read();
        let unread = match self.topic.as_ref().map(|(_, bucket)| bucket.behind(position, 1)) {
            None => position < state.end(),
            Some(Found::Noted(positions, _)) => !positions.is_empty(),
            // The end of what has to be scanned is the position behind it.
            Some(Found::Scan(_) | Found::Ended) => true,
        };
        (!unread).then_some(state.last)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Some((topic, bucket)) = &self.topic {
            self.cache.state.write().topics.leave(topic, bucket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::Meta;

    fn budget() -> Arc<Budget> {
        Arc::new(Budget::new(1 << 30))
    }

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
        let cache = KindCache::new(budget(), None);
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
        let cache = KindCache::new(budget(), None);
        put(&cache, "a", 4);
        let event = cache.apply(ObjectKey::cluster("a"), Revision(9), None).unwrap();
        assert_eq!(event.kind, EventKind::Deleted);
        assert_eq!(event.object.value().str_at(&["metadata", "resourceVersion"]), "9");
        assert!(cache.apply(ObjectKey::cluster("a"), Revision(10), None).is_none());
    }

    fn pod(cache: &KindCache, name: &str, node: &str, revision: u64) {
        let key = ObjectKey::cluster(name);
        let meta = Meta { fields: [node.into()].into(), ..Meta::default() };
        let object = Object::new(key.clone(), Revision(revision), meta, "{}".into());
        cache.apply(key, Revision(revision), Some(object));
    }

    /// All that a follower finds from a position on, a few at a time; and its position afterwards.
    fn drain(follower: &Follower, mut position: u64) -> (Vec<u64>, u64) {
        let mut out = Vec::new();
        loop {
            let next = follower.read(position, 3, &mut out).unwrap();
            if std::mem::replace(&mut position, next) == next {
                return (out.iter().map(|e| e.revision.0).collect(), position);
            }
        }
    }

    #[test]
    fn a_topic_has_its_events_and_no_others() {
        let cache = Arc::new(KindCache::new(budget(), None));
        for revision in 1..=10 {
            pod(&cache, &format!("p{revision}"), if revision % 2 == 0 { "a" } else { "b" }, revision);
        }
        let of = |topic| cache.follow(Some(topic));
        let mut a = of(Topic::Field(0, "a".into()));
        let (one, none) = (of(Topic::Object(ObjectKey::cluster("p3"))), of(Topic::Field(0, "z".into())));
        // What was there before the topic was followed is not told apart.
        let (found, at) = drain(&a, 4);
        assert_eq!((found, at), ((5..=10).collect(), 10));
        a.wakes.mark_unchanged();
        for revision in 11..=40 {
            pod(&cache, &format!("p{revision}"), if revision % 10 == 0 { "a" } else { "b" }, revision);
        }
        cache.wake();
        assert!(a.wakes.has_changed().unwrap());
        assert_eq!(drain(&a, at), (vec![20, 30, 40], 40));
        assert_eq!((drain(&one, 10), drain(&none, 10)), ((vec![], 40), (vec![], 40)));
        assert!(!one.wakes.has_changed().unwrap() && !none.wakes.has_changed().unwrap());
        // It leaves one value and enters another; it is changed; it goes.
        pod(&cache, "p3", "a", 41);
        pod(&cache, "p3", "a", 42);
        cache.apply(ObjectKey::cluster("p3"), Revision(43), None);
        assert_eq!((drain(&a, 40).0, drain(&one, 40).0), (vec![41, 42, 43], vec![41, 42, 43]));
        assert_eq!(a.caught_up(42), None);
        assert_eq!(a.caught_up(43), Some(Revision(43)));
        drop((a, one, none));
        assert_eq!(cache.state.read().topics.len(), 0);
    }

    #[test]
    fn a_follower_falls_off_the_ring_only_with_what_it_had_to_read() {
        let cache = Arc::new(KindCache::new(budget(), None));
        let (a, b) = (cache.follow(Some(Topic::Field(0, "a".into()))), cache.follow(Some(Topic::Field(0, "b".into()))));
        pod(&cache, "b", "b", 1);
        for revision in 2..=100 {
            pod(&cache, "n", "z", revision);
        }
        while cache.state.read().ring.len() > 1 {
            assert!(cache.give_way(1));
        }
        assert!(!cache.give_way(1));
        assert_eq!(drain(&a, 0), (vec![], 100));
        assert_eq!(b.read(0, 3, &mut Vec::new()), Err(TooOld(Revision(99))));
        pod(&cache, "b", "b", 101);
        assert_eq!(b.read(0, 3, &mut Vec::new()), Err(TooOld(Revision(99))));
        assert_eq!(drain(&b, 100).0, [101]);
        cache.clear();
        assert!(a.read(100, 3, &mut Vec::new()).is_err() && b.read(101, 3, &mut Vec::new()).is_err());
        assert!(b.wakes.has_changed().unwrap());
        let again = cache.follow(Some(Topic::Field(0, "b".into())));
        let (_, _, end) = cache.start();
        pod(&cache, "b", "b", 103);
        assert_eq!(drain(&again, end).0, [103]);
        drop((a, b));
        assert_eq!(cache.state.read().topics.len(), 1);
    }

    #[test]
    fn rings_give_back_what_they_took() {
        let budget = budget();
        let cache = Arc::new(KindCache::new(budget.clone(), None));
        (1..=50).for_each(|revision| put(&cache, "a", revision));
        assert_eq!(budget.used(), cache.weight());
        let before = budget.used();
        assert!(cache.give_way(before / 2) && budget.used() <= before / 2 + 1000 && budget.used() > before / 4);
        cache.clear();
        assert_eq!(budget.used(), 0);
        put(&cache, "a", 60);
        drop(cache);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn only_news_shares_trees() {
        let cache = Arc::new(KindCache::new(budget(), None));
        let shares = |name: &str| {
            let object = cache.get(&ObjectKey::cluster(name)).unwrap();
            Arc::ptr_eq(&object.tree(), &object.tree())
        };
        (1..=1 + NEWS).for_each(|revision| put(&cache, &format!("n{revision}"), revision));
        assert!(!shares("n1") && shares("n2") && shares("n257"));
        assert!(cache.age());
        put(&cache, "last", 1000);
        assert!(shares("n257"));
        assert!(cache.age());
        assert!(!shares("n257") && shares("last"));
        assert!(!cache.age() && !shares("last"));
        cache.give_way(usize::MAX);
        put(&cache, "another", 1001);
        assert!(cache.age() && shares("another"));
        cache.clear();
        assert!(!cache.age());
        put(&cache, "fresh", 1002);
        assert!(cache.age() && shares("fresh"));
    }
}
