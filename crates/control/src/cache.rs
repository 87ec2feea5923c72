//! A cache of one resource: what it keeps of each object, by key, with indexes and subscribers.
//!
//! One task per cache writes; readers take a short lock. Subscribers are called by that task, in order, after the cache
//! shows the change; one that subscribes late first hears of everything that is there. Decided against channels per
//! subscriber: a queue of keys is all that anybody makes of an event, and it deduplicates by itself.

use crate::{Queue, source::Update};
use base::Revision;
use parking_lot::{Mutex, RwLock};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    hash::Hash,
    sync::Arc,
};
use tokio::{sync::watch, task::AbortHandle};
use value::{Object, ObjectKey, Str};

/// What a cache may keep of an object.
pub trait Value: Clone + Send + Sync + 'static {}
impl<V: Clone + Send + Sync + 'static> Value for V {}

/// A change: `old` absent for an addition, `new` absent for a removal.
#[derive(Debug)]
pub struct Event<'a, V = Arc<Object>> {
    pub key: &'a ObjectKey,
    pub old: Option<&'a V>,
    pub new: Option<&'a V>,
}

impl<V> Event<'_, V> {
    /// The object as it is, or was last seen.
    pub fn latest(&self) -> &V {
        self.new.or(self.old).expect("an event has one of them")
    }
}

/// A handle on a shared cache; clones are cheap.
pub struct Cache<V = Arc<Object>>(Arc<Shared<V>>);

impl<V> Clone for Cache<V> {
    fn clone(&self) -> Self {
        Cache(self.0.clone())
    }
}

impl<V> std::fmt::Debug for Cache<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("objects", &self.0.state.read().objects.len()).finish()
    }
}

type Subscriber<V> = Box<dyn Fn(&Event<V>) + Send>;
type IndexFn<V> = Box<dyn Fn(&V) -> Vec<Str> + Send + Sync>;

struct Shared<V> {
    state: RwLock<State<V>>,
    /// Held while a change is made and told, so that a late subscriber sees each object once.
    subscribers: Mutex<Vec<Subscriber<V>>>,
    synced: watch::Sender<bool>,
    task: Mutex<Option<AbortHandle>>,
}

impl<V> Drop for Shared<V> {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut() {
            task.abort();
        }
    }
}

/// How many deletions are remembered, so that an answer that was under way meanwhile does not bring an object back.
const TOMBSTONES: usize = 4096;

struct State<V> {
    /// Removed keys and the revision of their removal, oldest first.
    graves: VecDeque<(ObjectKey, Revision)>,
    removed: HashMap<ObjectKey, Revision>,
    objects: BTreeMap<ObjectKey, Entry<V>>,
    indexes: HashMap<&'static str, Index<V>>,
}

#[derive(Clone)]
struct Entry<V> {
    revision: Revision,
    value: V,
}

struct Index<V> {
    function: IndexFn<V>,
    entries: HashMap<Str, BTreeSet<ObjectKey>>,
}

impl<V: Value> Cache<V> {
    /// A cache that nothing fills: for tests of what reads caches, together with [`Cache::put`] and [`Cache::take`].
    pub fn detached() -> Self {
        Cache(Arc::new(Shared {
            state: RwLock::new(State {
                graves: VecDeque::new(),
                removed: HashMap::new(),
                objects: BTreeMap::new(),
                indexes: HashMap::new(),
            }),
            subscribers: Mutex::new(Vec::new()),
            synced: watch::Sender::new(false),
            task: Mutex::new(None),
        }))
    }
    /// Says that the cache holds all there is; sources do so after the first list.
    pub fn mark_synced(&self) {
        self.0.synced.send_if_modified(|synced| !std::mem::replace(synced, true));
    }
    /// The task that fills this cache ends with the last handle. It must hold only a [`WeakCache`].
    pub(crate) fn own(&self, task: AbortHandle) {
        *self.0.task.lock() = Some(task);
    }
    pub(crate) fn weak(&self) -> WeakCache<V> {
        WeakCache(Arc::downgrade(&self.0))
    }

    /// One object.
    pub fn get(&self, key: &ObjectKey) -> Option<V> {
        self.0.state.read().objects.get(key).map(|e| e.value.clone())
    }
    /// Everything, in order of key.
    pub fn list(&self) -> Vec<V> {
        self.0.state.read().objects.values().map(|e| e.value.clone()).collect()
    }
    /// Everything of one namespace, in order of name.
    pub fn list_namespace(&self, namespace: &str) -> Vec<V> {
        let state = self.0.state.read();
        let from = ObjectKey::new(namespace, "");
        let range = state.objects.range(from..).take_while(|(key, _)| key.namespace == namespace);
        range.map(|(_, e)| e.value.clone()).collect()
    }
    /// All keys, in order.
    pub fn keys(&self) -> Vec<ObjectKey> {
        self.0.state.read().objects.keys().cloned().collect()
    }
    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.0.state.read().objects.len()
    }
    /// True where there is nothing (yet).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The objects that an index files under `value`, in order of key; none where the index was never declared.
    pub fn by_index(&self, index: &str, value: &str) -> Vec<V> {
        let state = self.0.state.read();
        let keys = state.indexes.get(index).and_then(|index| index.entries.get(value));
        let objects = keys.into_iter().flatten().filter_map(|key| state.objects.get(key));
        objects.map(|e| e.value.clone()).collect()
    }
    /// Of several values of an index, the objects of the one that has the fewest: where an object must have all of them,
    /// no others need be looked at.
    pub fn by_rarest(&self, index: &str, values: &[Str]) -> Vec<V> {
        let state = self.0.state.read();
        let Some(index) = state.indexes.get(index) else { return Vec::new() };
        let none = BTreeSet::new();
        let keys = values.iter().map(|value| index.entries.get(value).unwrap_or(&none)).min_by_key(|keys| keys.len());
        let objects = keys.into_iter().flatten().filter_map(|key| state.objects.get(key));
        objects.map(|e| e.value.clone()).collect()
    }
    /// Declares an index: `function` says under which values an object is filed. Declaring it again does nothing.
    pub fn index(&self, name: &'static str, function: impl Fn(&V) -> Vec<Str> + Send + Sync + 'static) {
        let mut state = self.0.state.write();
        let State { objects, indexes, .. } = &mut *state;
        indexes.entry(name).or_insert_with(|| {
            let mut index = Index { function: Box::new(function), entries: HashMap::new() };
            for (key, entry) in objects.iter() {
                index.add(key, &entry.value);
            }
            index
        });
    }

    /// Calls `f` for all that is there and then for each change, in order. It must be quick and must not subscribe.
    pub fn on_event(&self, f: impl Fn(&Event<V>) + Send + 'static) {
        let mut subscribers = self.0.subscribers.lock();
        let present: Vec<(ObjectKey, V)> =
            self.0.state.read().objects.iter().map(|(k, e)| (k.clone(), e.value.clone())).collect();
        for (key, value) in &present {
            f(&Event { key, old: None, new: Some(value) });
        }
        subscribers.push(Box::new(f));
    }
    /// Puts the key that `f` makes of an event into the queue.
    pub fn subscribe<K, I>(&self, queue: &Queue<K>, f: impl Fn(&Event<V>) -> I + Send + 'static)
    where
        K: Clone + Eq + Hash + Send + 'static,
        I: IntoIterator<Item = K>,
    {
        let queue = queue.clone();
        self.on_event(move |event| f(event).into_iter().for_each(|key| queue.add(key)));
    }
    /// Puts the object's own key into the queue.
    pub fn subscribe_keys(&self, queue: &Queue<ObjectKey>) {
        self.subscribe(queue, |event| Some(event.key.clone()));
    }
    /// Waits until the first list is in.
    pub async fn wait_synced(&self) {
        let mut synced = self.0.synced.subscribe();
        // The sender lives in the cache that we hold.
        let _ = synced.wait_for(|synced| *synced).await;
    }
    /// True once the first list is in.
    pub fn is_synced(&self) -> bool {
        *self.0.synced.borrow()
    }

    /// Sets what is kept for a key and tells the subscribers. Sources do so; others only with a detached cache, or to show
    /// their own write before the watch does (an older revision than the cached one changes nothing).
    pub fn put(&self, key: ObjectKey, revision: Revision, value: V) {
        let subscribers = self.0.subscribers.lock();
        let old = {
            let mut state = self.0.state.write();
            if state.objects.get(&key).is_some_and(|e| e.revision > revision)
                || state.removed.get(&key).is_some_and(|removed| *removed >= revision)
            {
                return;
            }
            state.set(&key, Some(Entry { revision, value: value.clone() }))
        };
        tell(&subscribers, &Event { key: &key, old: old.as_ref().map(|e| &e.value), new: Some(&value) });
    }
    /// Removes a key and tells the subscribers.
    pub fn take(&self, key: &ObjectKey) {
        self.take_at(key, Revision::ZERO);
    }
    /// The same, at a revision: what was written before it does not come back.
    fn take_at(&self, key: &ObjectKey, revision: Revision) {
        let subscribers = self.0.subscribers.lock();
        let old = self.0.state.write().bury(key, revision);
        if let Some(old) = old {
            tell(&subscribers, &Event { key, old: Some(&old.value), new: None });
        }
    }
}

fn tell<V>(subscribers: &[Subscriber<V>], event: &Event<V>) {
    for subscriber in subscribers {
        subscriber(event);
    }
}

impl<V: Value> State<V> {
    /// Removes an entry and remembers when; the entry's own revision where nothing later is known.
    fn bury(&mut self, key: &ObjectKey, revision: Revision) -> Option<Entry<V>> {
        let old = self.set(key, None);
        let at = revision.max(old.as_ref().map_or(Revision::ZERO, |e| e.revision));
        if at > Revision::ZERO {
            self.removed.insert(key.clone(), at);
            self.graves.push_back((key.clone(), at));
            if self.graves.len() > TOMBSTONES
                && let Some((key, at)) = self.graves.pop_front()
                && self.removed.get(&key) == Some(&at)
            {
                self.removed.remove(&key);
            }
        }
        old
    }
    /// Sets or removes an entry and keeps the indexes; returns what stood there.
    fn set(&mut self, key: &ObjectKey, entry: Option<Entry<V>>) -> Option<Entry<V>> {
        let new = entry.as_ref().map(|e| e.value.clone());
        let old = match entry {
            Some(entry) => self.objects.insert(key.clone(), entry),
            None => self.objects.remove(key),
        };
        for index in self.indexes.values_mut() {
            if let Some(old) = &old {
                index.remove(key, &old.value);
            }
            if let Some(new) = &new {
                index.add(key, new);
            }
        }
        old
    }
}

impl<V> Index<V> {
    fn add(&mut self, key: &ObjectKey, value: &V) {
        for term in (self.function)(value) {
            self.entries.entry(term).or_default().insert(key.clone());
        }
    }
    fn remove(&mut self, key: &ObjectKey, value: &V) {
        for term in (self.function)(value) {
            if let Some(keys) = self.entries.get_mut(&term) {
                keys.remove(key);
                if keys.is_empty() {
                    self.entries.remove(&term);
                }
            }
        }
    }
}

/// How a cache makes its values of objects.
pub(crate) struct Keep<V> {
    /// `None`: the object is not kept.
    pub(crate) project: fn(&Arc<Object>) -> Option<V>,
    /// True where nobody needs to hear of the difference.
    pub(crate) same: fn(&V, &V) -> bool,
}

/// A cache that its source does not keep alive.
pub(crate) struct WeakCache<V>(std::sync::Weak<Shared<V>>);

impl<V: Value> WeakCache<V> {
    /// Brings the cache to what the source says.
    pub(crate) fn update(&self, update: Update, keep: &Keep<V>) {
        let Some(cache) = self.0.upgrade().map(Cache) else { return };
        match update {
            Update::Apply(object) => cache.apply(&object, keep),
            Update::Delete(object) => cache.take_at(&object.key, object.revision),
            Update::Replace(objects) => {
                let present: BTreeSet<&ObjectKey> = objects.iter().map(|o| &o.key).collect();
                for key in cache.keys() {
                    if !present.contains(&key) {
                        cache.take(&key);
                    }
                }
                for object in &objects {
                    cache.apply(object, keep);
                }
                cache.mark_synced();
            }
        }
    }
}

impl<V: Value> Cache<V> {
    fn apply(&self, object: &Arc<Object>, keep: &Keep<V>) {
        match (keep.project)(object) {
            None => self.take_at(&object.key, object.revision),
            Some(value) => {
                let unchanged = self.0.state.read().objects.get(&object.key).is_some_and(|e| {
                    e.revision == object.revision && e.revision != Revision::ZERO || (keep.same)(&e.value, &value)
                });
                if !unchanged {
                    self.put(object.key.clone(), object.revision, value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn object(name: &str, revision: u64, app: &str) -> Arc<Object> {
        let json = format!(
            r#"{{"metadata":{{"name":"{name}","namespace":"n","resourceVersion":"{revision}","labels":{{"app":"{app}"}}}}}}"#
        );
        Object::from_json(Bytes::from(json)).unwrap()
    }

    const WHOLE: Keep<Arc<Object>> = Keep { project: |o| Some(o.clone()), same: |_, _| false };

    /// Every event as `+name`, `~name`, `-name`.
    fn log(cache: &Cache) -> Arc<Mutex<Vec<String>>> {
        let log = Arc::new(Mutex::new(Vec::new()));
        let sink = log.clone();
        cache.on_event(move |e| {
            let sign = match (e.old, e.new) {
                (None, _) => '+',
                (_, Some(_)) => '~',
                _ => '-',
            };
            sink.lock().push(format!("{sign}{}", e.key.name));
        });
        log
    }

    #[tokio::test]
    async fn a_new_list_shows_what_was_deleted_meanwhile() {
        let cache: Cache = Cache::detached();
        let events = log(&cache);
        let weak = cache.weak();
        weak.update(Update::Replace(vec![object("a", 1, "x"), object("b", 2, "x")]), &WHOLE);
        cache.wait_synced().await;
        weak.update(Update::Replace(vec![object("b", 2, "x"), object("c", 3, "x")]), &WHOLE);
        weak.update(Update::Apply(object("b", 4, "y")), &WHOLE);
        weak.update(Update::Delete(object("c", 5, "x")), &WHOLE);
        assert_eq!(*events.lock(), ["+a", "+b", "-a", "+c", "~b", "-c"]);
        assert_eq!(*log(&cache).lock(), ["+b"]);
    }

    #[test]
    fn indexes_follow_changes() {
        let cache: Cache = Cache::detached();
        let weak = cache.weak();
        weak.update(Update::Apply(object("a", 1, "x")), &WHOLE);
        cache.index("app", |o| o.meta.label("app").map(Str::from).into_iter().collect());
        weak.update(Update::Apply(object("b", 2, "x")), &WHOLE);
        weak.update(Update::Apply(object("a", 3, "y")), &WHOLE);
        let names = |app| cache.by_index("app", app).iter().map(|o| o.name().to_string()).collect::<Vec<_>>();
        assert_eq!((names("x"), names("y")), (vec!["b".to_string()], vec!["a".into()]));
        weak.update(Update::Apply(object("c", 4, "x")), &WHOLE);
        let rarest = |values: &[&str]| {
            let values: Vec<Str> = values.iter().map(|v| Str::from(*v)).collect();
            cache.by_rarest("app", &values).iter().map(|o| o.name().to_string()).collect::<Vec<_>>()
        };
        assert_eq!((rarest(&["x", "y"]), rarest(&["x"])), (vec!["a".to_string()], vec!["b".into(), "c".into()]));
        assert!(rarest(&["x", "z"]).is_empty() && rarest(&[]).is_empty());
        weak.update(Update::Delete(object("b", 4, "x")), &WHOLE);
        weak.update(Update::Delete(object("c", 5, "x")), &WHOLE);
        assert!(names("x").is_empty() && cache.by_index("none", "x").is_empty());
    }

    #[test]
    fn what_was_deleted_does_not_come_back() {
        let cache: Cache = Cache::detached();
        let weak = cache.weak();
        weak.update(Update::Apply(object("a", 5, "x")), &WHOLE);
        weak.update(Update::Delete(object("a", 7, "x")), &WHOLE);
        // The answer to a write that was under way while the watch showed the deletion.
        cache.put(ObjectKey::new("n", "a"), Revision(6), object("a", 6, "x"));
        assert!(cache.is_empty());
        weak.update(Update::Apply(object("a", 9, "x")), &WHOLE);
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn an_older_revision_never_wins() {
        let cache: Cache = Cache::detached();
        cache.put(ObjectKey::new("n", "a"), Revision(5), object("a", 5, "new"));
        cache.put(ObjectKey::new("n", "a"), Revision(3), object("a", 3, "old"));
        assert_eq!(cache.get(&ObjectKey::new("n", "a")).unwrap().revision, Revision(5));
    }
}
