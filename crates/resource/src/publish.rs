//! From the store to the readers: the sink that turns durable changes into shared objects, per kind.
//!
//! Called by the store in revision order, after durability and before the writer's reply. What the writer already knew
//! about its object (selection metadata, unsealed bytes) waits here under the address of the stored bytes, so that a
//! live write is parsed once in its life, and its tree goes on to the readers; replayed history is parsed here.

use crate::{
    budget::{self, Budget},
    cache::KindCache,
    claims,
    convert::Conversions,
    defaulted::Defaulted,
    encode, respecified,
    seal::{Opened, Sealer},
    unreadable::{One, Unreadable},
    wheel::Wheel,
};
use base::Revision;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use schema::{Catalog, Claim, Kind};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::{Bound, ControlFlow},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use store::{Change, Item, Sink};
use tokio::sync::watch;
use value::{Meta, Object, ObjectKey, Str, Value};
use wire::protobuf;

/// What the writer of an object knows, by the address of the bytes that it gave to the store.
pub(crate) struct Prepared {
    pub meta: Meta,
    /// The unsealed bytes.
    pub plain: Bytes,
    /// What they were made of; `None` for what is no news.
    pub tree: Option<Value>,
}

/// What one object holds alone, by its store key.
type Held = (Arc<str>, Vec<Claim>);

/// Everything that readers see.
pub(crate) struct Published {
    pub catalog: RwLock<Arc<Catalog>>,
    /// Counts up with each change of the catalog.
    pub generation: watch::Sender<u64>,
    /// By prefix of the store keys.
    caches: RwLock<BTreeMap<String, Entry>>,
    /// Objects whose kind is not known (yet): a CustomResourceDefinition may be replayed after its objects.
    orphans: Mutex<BTreeMap<Arc<str>, (Revision, Bytes)>>,
    pub claims: RwLock<HashSet<String>>,
    pub applied: watch::Sender<Revision>,
    /// Lists of an older revision are not gone on with.
    pub compacted: AtomicU64,
    pub prepared: Mutex<HashMap<usize, Prepared>>,
    pub sealer: Arc<dyn Sealer>,
    /// What could not be opened, or is no object.
    pub unreadable: Unreadable,
    defaulted: Defaulted,
    /// What objects that were not written by us hold alone; `None` once it is claimed, which is at opening.
    pub unclaimed: Mutex<Option<Vec<Held>>>,
    /// Held by whoever changes what readers see: the sink, and [`unreadable::follow`](crate::unreadable::follow).
    changing: Mutex<()>,
    budget: Arc<Budget>,
    /// The timers of watchers.
    pub wheel: Arc<Wheel>,
    /// The first object of our own writing that could not be read; opening fails with it.
    pub damage: Mutex<Option<String>>,
    pub conversions: Arc<Conversions>,
}

#[derive(Clone)]
struct Entry {
    kind: Arc<Kind>,
    cache: Arc<KindCache>,
}

impl Published {
    pub fn new(catalog: Catalog, sealer: Arc<dyn Sealer>) -> Self {
        let budget = Arc::new(Budget::new(budget::RINGS));
        let entry = |kind: &Arc<Kind>| Entry { kind: kind.clone(), cache: Arc::new(cache_of(kind, &budget)) };
        let caches = catalog.iter().map(|kind| (kind.prefix(), entry(kind))).collect();
        Published {
            catalog: RwLock::new(Arc::new(catalog)),
            generation: watch::Sender::new(1),
            caches: RwLock::new(caches),
            orphans: Mutex::default(),
            claims: RwLock::default(),
            applied: watch::Sender::new(Revision::ZERO),
            compacted: AtomicU64::new(0),
            prepared: Mutex::default(),
            sealer,
            unreadable: Unreadable::default(),
            defaulted: Defaulted::default(),
            unclaimed: Mutex::new(Some(Vec::new())),
            changing: Mutex::default(),
            budget,
            wheel: Arc::default(),
            damage: Mutex::default(),
            conversions: Arc::default(),
        }
    }

    /// The cache of a kind; `None` once the kind is gone.
    pub fn cache(&self, kind: &Kind) -> Option<Arc<KindCache>> {
        self.caches.read().get(&kind.prefix()).map(|entry| entry.cache.clone())
    }

    /// The kind that a store key belongs to, and the object's key within it.
    fn route(&self, key: &str) -> Option<(Entry, ObjectKey)> {
        let caches = self.caches.read();
        let (prefix, entry) = caches.range::<str, _>((Bound::Unbounded, Bound::Included(key))).next_back()?;
        let rest = key.strip_prefix(prefix.as_str())?;
        let key = match (entry.kind.namespaced(), rest.split_once('/')) {
            (true, Some((namespace, name))) => ObjectKey::new(namespace, name),
            (false, None) => ObjectKey::cluster(rest),
            _ => return None,
        };
        Some((entry.clone(), key))
    }

    /// Keys of no known kind below a prefix, and their revisions.
    pub fn unknown_below(&self, prefix: &str) -> Vec<(Arc<str>, Revision)> {
        let orphans = self.orphans.lock();
        let from = orphans.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        from.take_while(|(key, _)| key.starts_with(prefix)).map(|(key, (at, _))| (key.clone(), *at)).collect()
    }

    /// Makes the shared object of stored bytes.
    fn object(
        &self,
        kind: &Kind,
        store_key: &str,
        key: ObjectKey,
        revision: Revision,
        stored: &Bytes,
    ) -> Option<Arc<Object>> {
        let prepared = self.prepared.lock().remove(&(stored.as_ptr() as usize));
        let (Prepared { meta, plain, tree }, bare) = match prepared {
            Some(prepared) => (prepared, None),
            None => match self.read(kind, store_key, stored) {
                Ok(read) => read,
                Err(Closed { why, ours }) => {
                    tracing::error!(key = store_key, "an object cannot be read: {why}");
                    if ours {
                        self.damage.lock().get_or_insert_with(|| format!("{store_key}: {why}"));
                    }
                    self.unreadable.insert(store_key, One { revision, stored: stored.clone(), why });
                    return None;
                }
            },
        };
        self.defaulted.note(store_key, revision, bare);
        let json = encode::with_revision(&plain, revision);
        Some(match tree {
            Some(mut tree) => {
                tree.set(&["metadata", "resourceVersion"], revision.to_string());
                Object::with_tree(key, revision, meta, json, tree)
            }
            None => Object::new(key, revision, meta, json),
        })
    }

    /// An object from its stored bytes, and these without a seal where defaults were added to them.
    fn read(&self, kind: &Kind, store_key: &str, stored: &Bytes) -> Result<(Prepared, Option<Bytes>), Closed> {
        let opened = self.sealer.open(kind, store_key, stored);
        let Opened { plain, .. } = opened.map_err(|why| Closed { why, ours: false })?;
        let ours = encode::is_stored(&plain);
        let damaged = |why: String| Closed { why, ours };
        let mut value = match protobuf::is_envelope(&plain) {
            true => enveloped(kind, &plain).map_err(|e| damaged(e.to_string()))?,
            false => value::parse_lenient(&plain).map_err(|e| damaged(format!("not JSON: {e}")))?,
        };
        let plain = match ours {
            true => plain,
            false => {
                self.receive(kind, store_key, &mut value).map_err(damaged)?;
                encode::stored(&value)
            }
        };
        let (plain, bare) = match default_stored(kind, &mut value) {
            true => (encode::stored(&value), Some(plain)),
            false => (plain, None),
        };
        Ok((Prepared { meta: meta_of(kind, &value), plain, tree: None }, bare))
    }

    /// What an API server of upstream's has stored, as if it had been written here. It is written as ours when it
    /// changes; what it holds alone is claimed by [`claims::adopt`].
    fn receive(&self, kind: &Kind, store_key: &str, value: &mut Value) -> Result<(), String> {
        kind.hooks.receive(value);
        let (given, api_version) = (value.str_at(&["kind"]), value.str_at(&["apiVersion"]));
        let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
        if given != kind.kind || group != kind.group {
            return Err(format!("it is a {given:?} of {api_version:?}"));
        }
        let name = api_version.rsplit('/').next().unwrap_or_default();
        // What upstream stores in another version than we do has the shape of ours, or the hook has given it that.
        let same = || kind.policy.hashed_as.as_deref().filter(|stored| *stored == name).map(|_| kind.storage);
        let version = kind.version(name).or_else(same);
        let version = version.ok_or_else(|| format!("no version {api_version:?} is known"))?;
        value.set(&["apiVersion"], kind.api_version(version));
        if kind.custom.is_none() {
            schema::apply_defaults(&kind.versions[version].schema, value);
            if version == kind.storage {
                kind.hooks.default(value);
            }
        }
        let claims = kind.hooks.claims(value);
        if !claims.is_empty()
            && let Some(unclaimed) = &mut *self.unclaimed.lock()
        {
            unclaimed.push((store_key.into(), claims));
        }
        Ok(())
    }

    /// One change; the cache that it touched.
    fn apply(&self, change: &Change) -> Option<Arc<KindCache>> {
        if let Some(claim) = change.key.strip_prefix(claims::PREFIX) {
            let mut claims = self.claims.write();
            if change.value.is_some() {
                claims.insert(claim.into())
            } else {
                claims.remove(claim)
            };
            return None;
        }
        let Some((entry, key)) = self.route(&change.key) else {
            let mut orphans = self.orphans.lock();
            match &change.value {
                Some(value) => drop(orphans.insert(change.key.clone(), (change.revision, value.clone()))),
                None => drop(orphans.remove(&change.key)),
            }
            return None;
        };
        let object = match &change.value {
            Some(stored) => Some(self.object(&entry.kind, &change.key, key.clone(), change.revision, stored)?),
            None => {
                self.defaulted.note(&change.key, change.revision, None);
                None
            }
        };
        self.unreadable.remove(&change.key);
        if entry.kind.policy.defines_kinds {
            // First the kind, then its definition: whoever reads that this is there or gone finds all that follows from it.
            let old = entry.cache.get(&key);
            self.redefine(&entry.kind, old.as_deref(), object.as_deref(), change.revision);
        }
        entry.cache.apply(key, change.revision, object)?;
        Some(entry.cache)
    }

    /// An object that defines a kind came, changed or went.
    fn redefine(&self, definer: &Kind, old: Option<&Object>, new: Option<&Object>, revision: Revision) {
        // A status was written: the kind is what it was.
        if let (Some(old), Some(new)) = (old, new) {
            let (old, new) = (old.value(), new.value());
            let conditions = |v: &Value| v.at(&["status", "conditions"]).clone();
            if old.at(&["spec"]) == new.at(&["spec"]) && conditions(&old) == conditions(&new) {
                return;
            }
        }
        let catalog = self.catalog.read().clone();
        let defined = |o: &Object| definer.hooks.defines(&o.value());
        let respecified = match (old, new) {
            (Some(old), Some(new)) => !respecified::alike(&old.value(), &new.value()),
            _ => true,
        };
        let (old, new) = (old.and_then(defined), new.and_then(defined));
        let mut next = (*catalog).clone();
        if let Some(old) = &old
            && new.as_ref().is_none_or(|n| n.prefix() != old.prefix())
        {
            next = next.without(&old.group, &old.plural);
            if let Some(entry) = self.caches.write().remove(&old.prefix()) {
                entry.cache.clear();
                self.defaulted.forget(&old.prefix());
            }
            self.conversions.answers.forget(&old.prefix());
        }
        if let Some(new) = new {
            let kind = Arc::new(new);
            next = next.with(kind.clone());
            let prefix = kind.prefix();
            let known = self.caches.read().get(&prefix).map(|e| e.cache.clone());
            if let (Some(cache), Some(old), true) = (&known, &old, respecified) {
                self.reread(cache, old, &kind);
            }
            let cache = known.unwrap_or_else(|| {
                let cache = Arc::new(cache_of(&kind, &self.budget));
                cache.load(revision, []);
                cache
            });
            self.caches.write().insert(prefix.clone(), Entry { kind, cache });
            self.adopt(&prefix, revision);
        }
        *self.catalog.write() = Arc::new(next);
        self.generation.send_modify(|g| *g += 1);
    }

    /// Makes cached objects anew where a changed definition shows them differently: with other defaults, or selectable by
    /// other fields.
    fn reread(&self, cache: &KindCache, old: &Kind, kind: &Kind) {
        let other_fields = old.selectable != kind.selectable;
        let mut changed = Vec::new();
        cache.snapshot().0.walk_from(None, |object| {
            let store_key = kind.store_key(&object.key);
            let mut bare = self.defaulted.stored(&store_key, object.revision);
            let stored = bare.as_deref().and_then(|bare| value::parse_lenient(bare).ok());
            let mut value = stored.unwrap_or_else(|| object.value());
            match default_stored(kind, &mut value) {
                true => bare = bare.or_else(|| Some(encode::stored(&object.value()))),
                false => bare = None,
            }
            self.defaulted.note(&store_key, object.revision, bare);
            let json = encode::complete(&value, object.revision);
            if other_fields || json != *object.json() {
                changed.push(Object::new(object.key.clone(), object.revision, meta_of(kind, &value), json));
            }
            ControlFlow::Continue(())
        });
        if !changed.is_empty() || other_fields {
            cache.reload(changed);
        }
    }

    /// The kinds whose stored values may be sealed otherwise than today's.
    pub fn rotating(&self) -> Vec<Arc<Kind>> {
        self.caches.read().values().filter(|e| self.sealer.rotates(&e.kind)).map(|e| e.kind.clone()).collect()
    }

    /// Notes what of a kind's stored values does not open any more, although it was read once.
    pub fn check_again(&self, kind: &Kind, items: &[Item]) {
        for (store_key, revision, stored) in items {
            let Err(why) = self.sealer.open(kind, store_key, stored) else { continue };
            let _changing = self.changing.lock();
            let Some((entry, key)) = self.route(store_key) else { continue };
            if entry.cache.get(&key).is_some_and(|object| object.revision == *revision) {
                tracing::error!(key = &**store_key, "an object cannot be opened any more: {why}");
                self.unreadable.insert(store_key, One { revision: *revision, stored: stored.clone(), why });
            }
        }
    }

    /// Tries again what could not be opened. What opens takes its place without an event; watchers of its kind list anew.
    pub fn open_again(&self) {
        for (store_key, one) in self.unreadable.all() {
            let Some((entry, key)) = self.route(&store_key) else { continue };
            let Ok((prepared, bare)) = self.read(&entry.kind, &store_key, &one.stored) else { continue };
            let _changing = self.changing.lock();
            if !self.unreadable.is(&store_key, one.revision) {
                continue;
            }
            self.defaulted.note(&store_key, one.revision, bare);
            let json = encode::with_revision(&prepared.plain, one.revision);
            let object = Object::new(key, one.revision, prepared.meta, json);
            let previous = entry.cache.get(&object.key);
            entry.cache.reload([object.clone()]);
            self.unreadable.remove(&store_key);
            if entry.kind.policy.defines_kinds {
                self.redefine(&entry.kind, previous.as_deref(), Some(&object), one.revision);
            }
        }
    }

    /// Lets trees go that were shared while their objects were news; whether some are still kept.
    fn age(&self) -> bool {
        let caches: Vec<_> = self.caches.read().values().map(|entry| entry.cache.clone()).collect();
        // Each of them ages, also behind one that has more.
        let more: Vec<bool> = caches.iter().map(|cache| cache.age()).collect();
        more.contains(&true)
    }

    /// Keeps the rings within their budget.
    fn trim(&self) {
        while self.budget.is_exceeded() {
            let heaviest = self.caches.read().values().map(|entry| entry.cache.clone()).max_by_key(|c| c.weight());
            if !heaviest.is_some_and(|cache| cache.give_way(self.budget.part())) {
                break;
            }
        }
    }

    /// Gives orphans to the kind that has come.
    fn adopt(&self, prefix: &str, revision: Revision) {
        for (key, _) in self.unknown_below(prefix) {
            let Some((entry, object_key)) = self.route(&key) else { continue };
            let Some((at, bytes)) = self.orphans.lock().remove(&key) else { continue };
            if let Some(object) = self.object(&entry.kind, &key, object_key, at, &bytes) {
                entry.cache.load(revision, [object]);
            }
        }
    }
}

fn cache_of(kind: &Kind, budget: &Arc<Budget>) -> KindCache {
    KindCache::new(budget.clone(), kind.selectable.iter().position(|field| field.indexed))
}

/// Why stored bytes are no object: they do not open, for now, or are none.
struct Closed {
    why: String,
    /// They were written here, by all that shows: somebody has damaged them.
    ours: bool,
}

/// The tree of an object in upstream's envelope. A version that is served no more has no message of its own here: it is
/// read as the one that is stored, and [`Published::receive`] refuses what the kind does not know to be like it.
fn enveloped(kind: &Kind, bytes: &[u8]) -> Result<Value, protobuf::Malformed> {
    let unknown = protobuf::open(bytes)?;
    let known = !unknown.content_type.is_empty() || protobuf::schema_of(&unknown.api_version, &unknown.kind).is_some();
    if known || kind.custom.is_some() || unknown.kind != kind.kind.as_str() {
        return protobuf::decode(bytes);
    }
    let mut value = protobuf::parse_message(&kind.versions[kind.storage].schema, unknown.raw)?;
    value.set(&["apiVersion"], &*unknown.api_version);
    value.set(&["kind"], &*unknown.kind);
    Ok(value)
}

/// For so long what is published is news, or a little longer: a change is read by controllers within milliseconds, and a
/// status is often written again within a second or two.
const NEWS: Duration = Duration::from_secs(3);

/// Ages what is published, until it is dropped. Nothing runs while there is nothing new.
pub(crate) async fn age(published: Weak<Published>) {
    let Some(mut applied) = published.upgrade().map(|published| published.applied.subscribe()) else { return };
    while applied.changed().await.is_ok() {
        loop {
            tokio::time::sleep(NEWS).await;
            if !published.upgrade().is_some_and(|published| published.age()) {
                break;
            }
        }
    }
}

/// What has become of the definitions of kinds in a state that came after a gap; takes them out of it.
fn definitions(entry: &Entry, items: &mut BTreeMap<Arc<str>, (Revision, Bytes)>, now: Revision) -> Vec<Change> {
    let change = |key, revision, value| Change { key, revision, value, previous: None };
    let mut known = BTreeMap::new();
    entry.cache.snapshot().0.walk_from(None, |object| {
        known.insert(entry.kind.store_key(&object.key), object.revision);
        ControlFlow::Continue(())
    });
    let gone = known.keys().filter(|key| !items.contains_key(key.as_str()));
    let mut changes: Vec<Change> = gone.map(|key| change(key.as_str().into(), now, None)).collect();
    let prefix = entry.kind.prefix();
    let here: Vec<Arc<str>> = items
        .range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded))
        .map(|(key, _)| key.clone())
        .take_while(|key| key.starts_with(&prefix))
        .collect();
    for key in here {
        if let Some((at, bytes)) = items.remove(&key)
            && known.get(&*key) != Some(&at)
        {
            changes.push(change(key, at, Some(bytes)));
        }
    }
    changes
}

/// A list can be gone on with for so long, and for twice as long at most. Source: upstream compacts etcd every five
/// minutes to where it was five minutes before.
const COMPACTION: Duration = Duration::from_secs(300);

/// Lets lists expire, until it is dropped: clients rely on being told, and a consistent list of an hour ago helps nobody.
pub(crate) async fn compact(published: Weak<Published>) {
    let mut before = Revision::ZERO;
    loop {
        tokio::time::sleep(COMPACTION).await;
        let Some(published) = published.upgrade() else { return };
        published.compacted.store(before.0, Relaxed);
        before = *published.applied.borrow();
    }
}

/// Sets the defaults of a custom kind on an object from the store, which may be older than they are; true where there
/// were any to set. Built-in defaults do not change under objects.
fn default_stored(kind: &Kind, value: &mut Value) -> bool {
    if kind.custom.is_none() {
        return false;
    }
    let before = value.clone();
    let version = value.str_at(&["apiVersion"]).rsplit('/').next().and_then(|name| kind.version(name));
    schema::apply_defaults(&kind.versions[version.unwrap_or(kind.storage)].schema, value);
    *value != before
}

/// What selection needs of an object.
pub(crate) fn meta_of(kind: &Kind, value: &Value) -> Meta {
    let fields = kind.selectable.iter().map(|field| {
        let at = |path: &[Str]| path.iter().try_fold(value, |v, key| v.get(key)).filter(|v| !v.is_null());
        let content = |v: &&Value| v.as_str() != Some("");
        match at(&field.path).filter(content).or_else(|| at(field.or.as_deref()?)) {
            Some(Value::String(s)) => s.clone(),
            None => field.absent.clone(),
            Some(other) => Str::from(other.to_string()),
        }
    });
    Meta::of(value, fields.collect())
}

impl Sink for Published {
    fn base(&self, revision: Revision, items: &mut dyn Iterator<Item = Item>) {
        let (mut by_kind, mut definitions) = (HashMap::<String, Vec<Arc<Object>>>::new(), Vec::new());
        for (key, at, bytes) in items {
            if let Some(claim) = key.strip_prefix(claims::PREFIX) {
                self.claims.write().insert(claim.into());
                continue;
            }
            match self.route(&key) {
                Some((entry, object_key)) => {
                    let Some(object) = self.object(&entry.kind, &key, object_key, at, &bytes) else { continue };
                    if entry.kind.policy.defines_kinds {
                        definitions.push((entry.kind.clone(), object.clone()));
                    }
                    by_kind.entry(entry.kind.prefix()).or_default().push(object);
                }
                None => drop(self.orphans.lock().insert(key, (at, bytes))),
            }
        }
        let caches: Vec<(String, Entry)> = self.caches.read().iter().map(|(p, e)| (p.clone(), e.clone())).collect();
        for (prefix, entry) in caches {
            entry.cache.load(revision, by_kind.remove(&prefix).unwrap_or_default());
        }
        for (definer, definition) in definitions {
            self.redefine(&definer, None, Some(&definition), revision);
        }
        self.applied.send_replace(revision);
    }

    fn progress(&self, revision: Revision) {
        self.applied.send_if_modified(|applied| {
            let news = revision > *applied;
            *applied = revision.max(*applied);
            news
        });
    }

    fn reset(&self, revision: Revision, items: &mut dyn Iterator<Item = Item>) {
        let _changing = self.changing.lock();
        self.claims.write().clear();
        self.orphans.lock().clear();
        self.defaulted.forget("");
        for (key, _) in self.unreadable.all() {
            self.unreadable.remove(&key);
        }
        let mut items: BTreeMap<Arc<str>, (Revision, Bytes)> =
            items.map(|(key, at, bytes)| (key, (at, bytes))).collect();
        // Kinds first, as changes of what defines them.
        let entries: Vec<Entry> = self.caches.read().values().cloned().collect();
        for entry in entries.iter().filter(|entry| entry.kind.policy.defines_kinds) {
            for change in definitions(entry, &mut items, revision) {
                self.apply(&change);
            }
        }
        let mut by_kind = HashMap::<String, Vec<Arc<Object>>>::new();
        for (key, (at, bytes)) in items {
            if let Some(claim) = key.strip_prefix(claims::PREFIX) {
                self.claims.write().insert(claim.into());
            } else if let Some((entry, object_key)) = self.route(&key) {
                let object = self.object(&entry.kind, &key, object_key, at, &bytes);
                by_kind.entry(entry.kind.prefix()).or_default().extend(object);
            } else {
                self.orphans.lock().insert(key, (at, bytes));
            }
        }
        let caches: Vec<(String, Entry)> = self.caches.read().iter().map(|(p, e)| (p.clone(), e.clone())).collect();
        for (prefix, Entry { kind, cache }) in caches {
            let objects = match kind.policy.defines_kinds {
                true => cache.snapshot().0.iter().cloned().collect(),
                false => by_kind.remove(&prefix).unwrap_or_default(),
            };
            cache.replace(revision, objects);
        }
        // Who waits for the revision reads the caches then.
        self.progress(revision);
    }

    fn changes(&self, batch: &[Change]) {
        let _changing = self.changing.lock();
        let mut touched: Vec<Arc<KindCache>> = Vec::new();
        for change in batch {
            if let Some(cache) = self.apply(change)
                && !touched.iter().any(|c| Arc::ptr_eq(c, &cache))
            {
                touched.push(cache);
            }
            self.trim();
        }
        if let Some(last) = batch.last() {
            self.applied.send_replace(last.revision);
        }
        for cache in touched {
            cache.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Unsealed;
    use schema::{NoHooks, Policy, Scope, Version, builtin};

    fn config_maps() -> Kind {
        let schema = builtin::of("", "v1", "ConfigMap").expect("built in");
        Kind {
            group: "".into(),
            kind: "ConfigMap".into(),
            list_kind: "ConfigMapList".into(),
            plural: "configmaps".into(),
            singular: "configmap".into(),
            short_names: vec![],
            categories: vec![],
            scope: Scope::Namespaced,
            versions: vec![Version { name: "v1".into(), served: true, deprecated: None, schema, columns: vec![] }],
            storage: 0,
            verbs: vec![],
            subresources: vec![],
            selectable: vec![],
            policy: Policy::default(),
            hooks: Arc::new(NoHooks),
            custom: None,
        }
    }

    /// A store that has lost the history between gives its whole state anew.
    #[test]
    fn what_is_no_object_after_a_gap_is_told_of() {
        let published = Published::new(Catalog::new([config_maps()]), Arc::new(Unsealed::default()));
        let item = |name: &str, at, bytes: &str| {
            (format!("/registry/configmaps/ns/{name}").into(), Revision(at), Bytes::copy_from_slice(bytes.as_bytes()))
        };
        let good = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","namespace":"ns"}}"#;
        published.base(Revision(2), &mut [item("a", 1, good), item("b", 2, good)].into_iter());
        assert!(published.unreadable.is_empty());
        published.reset(Revision(4), &mut [item("a", 3, "no object"), item("b", 4, good)].into_iter());
        let told = published.unreadable.below("/registry/configmaps/").unwrap_or_default();
        assert!(told.starts_with(r#"unable to transform key "/registry/configmaps/ns/a": not JSON"#), "{told}");
        published.reset(Revision(5), &mut [item("a", 5, good), item("b", 4, good)].into_iter());
        assert!(published.unreadable.is_empty());
    }
}
