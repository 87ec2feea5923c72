//! The revisioned key-value store under the API: bytes, keys and revisions, nothing else.
//!
//! A store is one *keyspace*: an ordered map from key to value with a single revision counter. It offers a conditional,
//! atomic [`Store::commit`] and one way to follow it, [`Store::subscribe`]. There is no `watch(from)`: the engine above
//! keeps the only watch cache, and it is filled by replaying the oldest retained state and everything since, so
//! recovery after a crash and a normal start are the same code. A store that also served watches would keep a second
//! ring with a second set of rules for when a revision is too old.
//!
//! Invariants, held by [`contract`] on every implementation:
//! * an answered commit is durable, and every sink has seen it: a read after a reply needs no disk;
//! * a sink never sees what a crash could take back, and sees every revision in order, without gap or repeat;
//! * no revision is ever given twice, across restarts too, once its commit was answered or a sink has seen it;
//! * nothing here knows a Kubernetes object, JSON or a clock other than the one that expires keys.

mod error;
mod memory;

pub mod contract;

pub use base::{BoxFuture, Revision, time::Timestamp};
pub use bytes::Bytes;
pub use error::{CommitError, OpenError, ReadError};
pub use memory::Memory;

use std::sync::Arc;

/// A key, the revision that wrote it last, and its value.
pub type Item = (Arc<str>, Revision, Bytes);

/// The most that one transaction may hold: keys and values together, in bytes. Values of 3 MiB (the API's limit for a
/// request body) fit twice, which is what a move from one key to another needs.
pub const MAX_TXN_BYTES: usize = 8 << 20;

/// What must be true for a transaction to take place. It is compared with the newest *assigned* state, which includes
/// commits that are not durable yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// No such key.
    Absent { key: Arc<str> },
    /// The key exists, and this revision was the last to write it.
    At { key: Arc<str>, revision: Revision },
}

impl Condition {
    /// The key that the condition is about.
    pub fn key(&self) -> &Arc<str> {
        match self {
            Condition::Absent { key } | Condition::At { key, .. } => key,
        }
    }

    /// Whether it holds for a key that `current` was the last to write (`None`: no such key).
    pub fn holds(&self, current: Option<Revision>) -> bool {
        match self {
            Condition::Absent { .. } => current.is_none(),
            Condition::At { revision, .. } => current == Some(*revision),
        }
    }
}

/// One key's new state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// A path as upstream lays it out: `/registry/pods/default/web`. Any UTF-8 but the empty string.
    pub key: Arc<str>,
    /// `None` deletes. Deleting a key that is not there changes nothing and is no error.
    pub value: Option<Bytes>,
    /// The store deletes the key by itself within about a second after this instant (kept to the millisecond), unless
    /// a later write replaced it: every write says anew when it expires. Ignored by a delete. (On an etcd, where keys
    /// share leases, it is seconds for what expires soon, and up to a minute for the rest.)
    pub expires: Option<Timestamp>,
}

impl Write {
    /// Sets `key` to `value`, for ever.
    pub fn put(key: impl Into<Arc<str>>, value: impl Into<Bytes>) -> Self {
        Write { key: key.into(), value: Some(value.into()), expires: None }
    }

    /// Removes `key`.
    pub fn delete(key: impl Into<Arc<str>>) -> Self {
        Write { key: key.into(), value: None, expires: None }
    }

    /// The same, expiring at `at`.
    pub fn expires(mut self, at: Timestamp) -> Self {
        self.expires = Some(at);
        self
    }
}

/// All or nothing: when every condition holds, all writes take place at one revision. A key may be written once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    pub conditions: Vec<Condition>,
    pub writes: Vec<Write>,
}

impl Txn {
    /// Creates `key`, which must not exist.
    pub fn create(key: impl Into<Arc<str>>, value: impl Into<Bytes>) -> Self {
        let key = key.into();
        Txn { conditions: vec![Condition::Absent { key: key.clone() }], writes: vec![Write::put(key, value)] }
    }

    /// Replaces `key`, which must still be at `revision`.
    pub fn update(key: impl Into<Arc<str>>, revision: Revision, value: impl Into<Bytes>) -> Self {
        let key = key.into();
        Txn { conditions: vec![Condition::At { key: key.clone(), revision }], writes: vec![Write::put(key, value)] }
    }

    /// Deletes `key`, which must still be at `revision`.
    pub fn delete(key: impl Into<Arc<str>>, revision: Revision) -> Self {
        let key = key.into();
        Txn { conditions: vec![Condition::At { key: key.clone(), revision }], writes: vec![Write::delete(key)] }
    }

    /// What a store refuses whatever its state: too much, a key twice, an empty key. Implementations call it first.
    pub fn check(&self) -> Result<(), CommitError> {
        let bytes: usize = self.writes.iter().map(|w| w.key.len() + w.value.as_ref().map_or(0, Bytes::len)).sum();
        if bytes > MAX_TXN_BYTES {
            return Err(CommitError::TooLarge { bytes });
        }
        for (i, write) in self.writes.iter().enumerate() {
            // Transactions hold one to three writes: comparing beats a set.
            if write.key.is_empty() || self.writes[..i].iter().any(|earlier| earlier.key == write.key) {
                return Err(CommitError::BadKey { key: write.key.clone() });
            }
        }
        Ok(())
    }
}

/// One key's change, as sinks see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub key: Arc<str>,
    /// The revision of the transaction; neighbours in a batch that share it were written together.
    pub revision: Revision,
    /// `None`: deleted.
    pub value: Option<Bytes>,
    /// The revision that wrote the key before; `None`: created. A deleted key that comes back was created again.
    pub previous: Option<Revision>,
}

/// Who follows a store. Called from the store's own threads, one call at a time, in revision order, after durability
/// and before the commit's reply. So a sink must be quick, must not block, and must not wait for the same store.
pub trait Sink: Send + Sync {
    /// The oldest state still held, as of `revision`, in no particular order of keys. Called once, first, also when
    /// there is nothing (revision 0).
    fn base(&self, revision: Revision, items: &mut dyn Iterator<Item = Item>);

    /// What happened after the base: first the retained history, then, with no seam to be seen, what is committed from
    /// now on. A batch is never empty and never splits a transaction.
    fn changes(&self, batch: &[Change]);

    /// The store has come to `revision` without a change that concerns this keyspace (others write beside it).
    fn progress(&self, _revision: Revision) {}

    /// What happened between the last revision seen and `revision` cannot be had any more: `items` is all there is now.
    /// Called only by stores outside of this process, after they could not be reached for longer than they keep history.
    fn reset(&self, revision: Revision, items: &mut dyn Iterator<Item = Item>) {
        self.base(revision, items);
    }
}

/// One keyspace.
pub trait Store: Send + Sync + 'static {
    /// Commits atomically; resolves to the revision once it is durable and every sink has seen it.
    ///
    /// The transaction takes its place when this is called, not when the future is first polled: a later call builds
    /// on it at once. Dropping the future does not undo it. A conflict costs no disk, and its answer waits until the
    /// revision it lost against is published: who reads again after it sees what was in the way. A transaction that
    /// changes nothing takes no revision; it resolves to the newest one when that is durable (an empty one is a barrier).
    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Revision, CommitError>>;

    /// Plays the oldest retained state and everything since into `sink`, and keeps it fed. Resolves to the head that
    /// it has reached. After an error the sink may have seen a part and must be thrown away.
    fn subscribe(&self, sink: Arc<dyn Sink>) -> BoxFuture<'_, Result<Revision, OpenError>>;

    /// Value and last revision of `key` at the head. For tests and tools: the engine reads from its own cache.
    fn get(&self, key: &str) -> BoxFuture<'_, Result<Option<(Revision, Bytes)>, ReadError>>;

    /// Up to `limit` keys that begin with `prefix` and come after `after`, in byte order, at the head.
    fn range(&self, prefix: &str, after: Option<&str>, limit: usize) -> BoxFuture<'_, Result<Vec<Item>, ReadError>>;

    /// Forgets the history before `revision`: the state as of it becomes the base, for subscribers and after a restart.
    /// A revision that is already forgotten changes nothing; one above the head means the head.
    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), CommitError>>;

    /// The newest published revision; 0 before the first write.
    fn head(&self) -> Revision;

    /// Whether other processes write to it as well: what is published here may be older than what is committed.
    fn is_shared(&self) -> bool {
        false
    }

    /// The newest revision that anybody had committed when this was called. It may not be published here yet.
    fn current(&self) -> BoxFuture<'_, Result<Revision, ReadError>> {
        Box::pin(std::future::ready(Ok(self.head())))
    }
}
