//! One keyspace: the sequencer in front of the log, and what is read from behind it.
//!
//! Everything that decides is done under one lock per keyspace and touches memory only. `pending` holds the keys whose
//! newest revision is assigned but not yet published, so that the next transaction builds on it without waiting.

use crate::{
    publish::Follower,
    queue::{Answer, Op, Staged, What},
    read::{self, Sweep},
    shared::Shared,
    state::{Past, Slot, State},
};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    future::ready,
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use store::{BoxFuture, Bytes, Change, CommitError, Item, OpenError, ReadError, Revision, Sink, Store, Txn};
use tokio::sync::oneshot;

/// As many changes as are read and handed to a new sink at once.
const REPLAY: usize = 4096;

pub struct Keyspace {
    pub id: u32,
    pub name: String,
    pub inner: Mutex<Inner>,
    /// Who is told, and how far each was. Taken before `inner` where both are.
    pub followers: Mutex<Vec<Follower>>,
    /// Held while a new sink is played the history, and by whoever forgets history.
    pub replay: Mutex<()>,
    /// The newest revision that all sinks have seen.
    pub head: AtomicU64,
    shared: Arc<Shared>,
    me: std::sync::Weak<Keyspace>,
}

#[derive(Default)]
pub struct Inner {
    /// As published.
    pub state: State,
    /// The last revision given out.
    assigned: Revision,
    /// Keys written since: revision, and whether the key exists.
    pending: HashMap<Arc<str>, (Revision, bool)>,
}

impl Inner {
    fn current(&self, key: &str) -> Option<Revision> {
        match self.pending.get(key) {
            Some((revision, exists)) => exists.then_some(*revision),
            None => self.state.index.get(key).map(|slot| slot.revision),
        }
    }

    /// The key is published at `revision`; a newer one may still be under way.
    pub fn published(&mut self, key: &str, revision: Revision) {
        if self.pending.get(key).is_some_and(|(pending, _)| *pending == revision) {
            self.pending.remove(key);
        }
    }
}

impl Keyspace {
    pub fn new(id: u32, name: &str, state: State, shared: Arc<Shared>) -> Arc<Self> {
        let head = state.head;
        Arc::new_cyclic(|me| Keyspace {
            id,
            name: name.into(),
            inner: Mutex::new(Inner { assigned: head, state, pending: HashMap::new() }),
            followers: Mutex::default(),
            replay: Mutex::default(),
            head: AtomicU64::new(head.0),
            shared,
            me: me.clone(),
        })
    }

    fn this(&self) -> Result<Arc<Keyspace>, CommitError> {
        self.me.upgrade().ok_or(CommitError::Closed)
    }

    /// Gives the transaction its place. The answer comes when it is published.
    pub fn submit(&self, txn: Txn) -> Result<oneshot::Receiver<Answer>, CommitError> {
        txn.check()?;
        if let Some(failure) = self.shared.failure() {
            return Err(failure);
        }
        let keyspace = self.this()?;
        let (reply, answer) = oneshot::channel();
        let mut inner = self.inner.lock();
        let lost = txn.conditions.iter().find_map(|condition| {
            let current = inner.current(condition.key());
            (!condition.holds(current)).then(|| CommitError::Conflict { key: condition.key().clone(), current })
        });
        let what = match lost {
            // Nothing is under way: whoever lost has seen, or can read, what was in the way.
            Some(conflict) if self.head() == inner.assigned => return Err(conflict),
            Some(conflict) => What::Barrier(Err(conflict)),
            None => self.assign(&mut inner, keyspace, txn),
        };
        self.shared.queue.push(Op { what, reply: Some(reply) })?;
        Ok(answer)
    }

    fn assign(&self, inner: &mut Inner, keyspace: Arc<Keyspace>, txn: Txn) -> What {
        let mut writes = Vec::with_capacity(txn.writes.len());
        for write in txn.writes {
            if write.value.is_none() && inner.current(&write.key).is_none() {
                continue;
            }
            // One copy of the key for index, history and sinks.
            let known = inner.state.index.get_key_value(&write.key).map(|(key, _)| key.clone());
            let key = known.unwrap_or(write.key);
            let expires = write.expires.filter(|_| write.value.is_some());
            writes.push(Staged { key, value: write.value, expires, offset: 0 });
        }
        if writes.is_empty() {
            return What::Barrier(Ok(inner.assigned));
        }
        let revision = inner.assigned.next();
        inner.assigned = revision;
        for write in &writes {
            inner.pending.insert(write.key.clone(), (revision, write.value.is_some()));
        }
        What::Txn { keyspace, revision, writes }
    }

    /// Forgets history up to `revision`, durably. Blocks.
    pub fn forget(&self, revision: Revision) -> Result<(), CommitError> {
        if let Some(failure) = self.shared.failure() {
            return Err(failure);
        }
        let revision = revision.min(self.head());
        let (reply, answer) = oneshot::channel();
        {
            let inner = self.inner.lock();
            if revision <= inner.state.floor {
                return Ok(());
            }
            let what = What::Floor { keyspace: self.this()?, revision };
            self.shared.queue.push(Op { what, reply: Some(reply) })?;
        }
        answer.blocking_recv().unwrap_or(Err(CommitError::Closed))?;
        let _nobody_replays = self.replay.lock();
        self.inner.lock().state.forget(revision);
        Ok(())
    }

    /// Plays base and history, then joins the followers where the history ends. Blocks.
    fn replay(&self, sink: Arc<dyn Sink>) -> Result<Revision, OpenError> {
        let _history_stays = self.replay.lock();
        let (mut seen, items, table) = {
            let inner = self.inner.lock();
            let floor = inner.state.floor;
            // The table after the slots: it has at least their segments.
            (floor, inner.state.as_of(floor), self.shared.segments.table())
        };
        let mut sweep = Sweep::new(table);
        let mut failure = None;
        sink.base(
            seen,
            &mut items.into_iter().map_while(|(key, slot)| match sweep.value(slot) {
                Ok(value) => Some((key, slot.revision, value)),
                Err(e) => {
                    failure = Some(e);
                    None
                }
            }),
        );
        if let Some(e) = failure {
            return Err(e);
        }
        loop {
            let full = self.play(&sink, &mut seen, REPLAY)?;
            if !full {
                break;
            }
        }
        // The rest, with publishing held up, so that the next batch is the one after.
        let mut followers = self.followers.lock();
        self.play(&sink, &mut seen, usize::MAX)?;
        followers.push(Follower { sink, seen });
        Ok(seen)
    }

    /// Hands over up to about `limit` changes after `seen`; whether there were as many.
    fn play(&self, sink: &Arc<dyn Sink>, seen: &mut Revision, limit: usize) -> Result<bool, OpenError> {
        let (past, table) = {
            let inner = self.inner.lock();
            (inner.state.since(*seen, limit), self.shared.segments.table())
        };
        let mut sweep = Sweep::new(table);
        let mut batch = Vec::with_capacity(past.len());
        for change in &past {
            let value = change.slot().map(|slot| sweep.value(slot)).transpose()?;
            let Past { key, revision, previous, .. } = change;
            batch.push(Change { key: key.clone(), revision: *revision, value, previous: previous.map(|s| s.revision) });
        }
        if let Some(last) = batch.last() {
            *seen = last.revision;
            sink.changes(&batch);
        }
        Ok(past.len() >= limit)
    }

    /// Slots and the table that they are valid with.
    fn find<T>(&self, look: impl FnOnce(&State) -> T) -> Result<(T, Sweep), ReadError> {
        if self.shared.queue.is_closed() {
            return Err(ReadError::Closed);
        }
        let inner = self.inner.lock();
        Ok((look(&inner.state), Sweep::new(self.shared.segments.table())))
    }

    fn read_range(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Item>, ReadError> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let (found, mut sweep) = self.find(|state| {
            let range = state.index.range::<str, _>((from, Bound::Unbounded));
            let mine = range.take_while(|(key, _)| key.starts_with(prefix)).take(limit);
            mine.map(|(key, slot)| (key.clone(), *slot)).collect::<Vec<(Arc<str>, Slot)>>()
        })?;
        found
            .into_iter()
            .map(|(key, slot)| Ok((key, slot.revision, sweep.value(slot).map_err(read::as_read_error)?)))
            .collect()
    }
}

/// Runs what blocks on a thread of its own: it is rare, and this crate asks for no runtime.
pub fn blocking<T: Send + 'static, E: Send + 'static>(
    closed: E,
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> BoxFuture<'static, Result<T, E>> {
    let (reply, answer) = oneshot::channel();
    // Its panic drops the sender, and the caller hears that the store is closed.
    std::thread::spawn(move || reply.send(work()).ok());
    Box::pin(async move { answer.await.unwrap_or(Err(closed)) })
}

impl Store for Keyspace {
    fn commit(&self, txn: Txn) -> BoxFuture<'_, Answer> {
        match self.submit(txn) {
            Ok(answer) => Box::pin(async { answer.await.unwrap_or(Err(CommitError::Closed)) }),
            Err(e) => Box::pin(ready(Err(e))),
        }
    }

    fn subscribe(&self, sink: Arc<dyn Sink>) -> BoxFuture<'_, Result<Revision, OpenError>> {
        match self.this() {
            Ok(keyspace) if !self.shared.queue.is_closed() => {
                blocking(OpenError::Closed, move || keyspace.replay(sink))
            }
            _ => Box::pin(ready(Err(OpenError::Closed))),
        }
    }

    fn get(&self, key: &str) -> BoxFuture<'_, Result<Option<(Revision, Bytes)>, ReadError>> {
        let read = self.find(|state| state.index.get(key).copied()).and_then(|(slot, mut sweep)| {
            let value = |slot: Slot| sweep.value(slot).map(|value| (slot.revision, value)).map_err(read::as_read_error);
            slot.map(value).transpose()
        });
        Box::pin(ready(read))
    }

    fn range(&self, prefix: &str, after: Option<&str>, limit: usize) -> BoxFuture<'_, Result<Vec<Item>, ReadError>> {
        Box::pin(ready(self.read_range(prefix, after, limit)))
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), CommitError>> {
        match self.this() {
            Ok(keyspace) => blocking(CommitError::Closed, move || keyspace.forget(revision)),
            Err(e) => Box::pin(ready(Err(e))),
        }
    }

    fn head(&self) -> Revision {
        Revision(self.head.load(Ordering::Acquire))
    }
}
