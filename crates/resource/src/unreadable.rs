//! Objects that are in the store and cannot be opened: their key is gone, or its service does not answer. Or they are no
//! objects that anybody here can read: somebody else wrote them.
//!
//! Readers are told so, by name, and so is whoever lists what they belong to: a list without them would say that they
//! do not exist, and a garbage collector would believe it. Other objects are not touched by it. When the sealer has
//! news they are tried again, and come back as if they had always been there; and what can no longer be opened is found
//! then, not at the next start, when its key may be lost for good.

use crate::publish::Published;
use base::Revision;
use bytes::Bytes;
use parking_lot::Mutex;
use schema::Kind;
use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};
use store::Store;

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

/// How many stored values are looked at together.
const PAGE: usize = 500;

/// Looks at everything again whenever the sealer has news: first at what could not be opened, then at what is stored of
/// kinds whose keys can change. The engine's only other reads of its store.
pub(crate) async fn follow(
    published: Weak<Published>,
    store: Weak<dyn Store>,
    mut news: tokio::sync::watch::Receiver<u64>,
) {
    // Kinds whose keys could change before, too: a rule may be gone, and what it sealed still be there.
    let mut kinds: BTreeMap<String, Arc<Kind>> = BTreeMap::new();
    let mut note = |published: &Published| {
        kinds.extend(published.rotating().into_iter().map(|kind| (kind.prefix(), kind)));
        kinds.clone()
    };
    match published.upgrade() {
        Some(published) => drop(note(&published)),
        None => return,
    }
    while news.changed().await.is_ok() {
        let (Some(published), Some(store)) = (published.upgrade(), store.upgrade()) else { return };
        // A key service may have to be asked, which takes its time.
        let own = published.clone();
        if tokio::task::spawn_blocking(move || own.open_again()).await.is_err() {
            return;
        }
        for (prefix, kind) in note(&published) {
            let mut after = None::<Arc<str>>;
            while let Ok(items) = store.range(&prefix, after.as_deref(), PAGE).await
                && let Some((last, ..)) = items.last()
            {
                after = Some(last.clone());
                let (own, kind) = (published.clone(), kind.clone());
                if tokio::task::spawn_blocking(move || own.check_again(&kind, &items)).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// As upstream's lists say it.
fn described(key: &str, one: &One) -> String {
    format!("unable to transform key {key:?}: {}", one.why)
}
