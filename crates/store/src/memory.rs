//! The reference: the contract in its plainest form, for tests and for judging the others.
//!
//! One lock around everything; a commit checks, applies and tells the sinks before it returns, so durability and order
//! are trivially those of the lock. It keeps the same revisions as the durable stores do, so that a test may compare.
//! It was decided against sharing code with the disk store: a shared mistake would be found by neither.

use crate::{
    BoxFuture, Bytes, Change, CommitError, Item, OpenError, ReadError, Revision, Sink, Store, Timestamp, Txn, Write,
};
use parking_lot::{Condvar, Mutex};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    future::ready,
    ops::Bound,
    sync::{Arc, Weak},
    time::Duration,
};

/// History is cut to half of this many changes when it is reached, so that a long test does not eat the machine.
const MAX_HISTORY: usize = 200_000;

/// A keyspace in memory.
pub struct Memory {
    state: Mutex<State>,
    /// Told when an expiry was added that is earlier than those before, and at the end.
    alarm: Condvar,
    me: Weak<Memory>,
}

#[derive(Default)]
struct State {
    head: Revision,
    items: BTreeMap<Arc<str>, (Revision, Bytes)>,
    /// The state as of `floor`; `history` leads from it to `items`.
    base: BTreeMap<Arc<str>, (Revision, Bytes)>,
    floor: Revision,
    history: VecDeque<Change>,
    sinks: Vec<Arc<dyn Sink>>,
    expiries: BinaryHeap<Reverse<(Timestamp, Arc<str>, Revision)>>,
    expirer: bool,
}

impl Memory {
    /// An empty keyspace at revision 0.
    #[allow(clippy::new_ret_no_self)]
    pub fn new() -> Arc<dyn Store> {
        Arc::new_cyclic(|me| Memory { state: Mutex::default(), alarm: Condvar::new(), me: me.clone() })
    }

    fn watch_expiries(&self, state: &mut State) {
        self.alarm.notify_all();
        if std::mem::replace(&mut state.expirer, true) {
            return;
        }
        let me = self.me.clone();
        // A thread, since the reference must not ask for a runtime. It ends with the store.
        std::thread::spawn(move || {
            while let Some(store) = me.upgrade() {
                store.expire_due();
            }
        });
    }

    /// Deletes what is due, then waits a little.
    fn expire_due(&self) {
        let mut state = self.state.lock();
        let now = Timestamp::now();
        while let Some(Reverse((at, _, _))) = state.expiries.peek()
            && *at <= now
        {
            let Some(Reverse((_, key, revision))) = state.expiries.pop() else { break };
            if state.items.get(&key).is_some_and(|(current, _)| *current == revision) {
                state.apply(vec![Write::delete(key)]);
            }
        }
        // Short, because the store can only be dropped between two waits.
        self.alarm.wait_for(&mut state, Duration::from_millis(100));
    }

    fn commit_now(&self, txn: Txn) -> Result<Revision, CommitError> {
        txn.check()?;
        let mut state = self.state.lock();
        for condition in &txn.conditions {
            let current = state.items.get(condition.key()).map(|(revision, _)| *revision);
            if !condition.holds(current) {
                return Err(CommitError::Conflict { key: condition.key().clone(), current });
            }
        }
        let expiring: Vec<_> =
            txn.writes.iter().filter(|w| w.value.is_some()).filter_map(|w| Some((w.expires?, w.key.clone()))).collect();
        let revision = state.apply(txn.writes);
        if !expiring.is_empty() {
            state.expiries.extend(expiring.into_iter().map(|(at, key)| Reverse((at, key, revision))));
            self.watch_expiries(&mut state);
        }
        Ok(revision)
    }
}

impl State {
    /// Writes at the next revision, remembers and tells. Returns the head.
    fn apply(&mut self, writes: Vec<Write>) -> Revision {
        let revision = self.head.next();
        let mut batch = Vec::with_capacity(writes.len());
        for Write { key, value, .. } in writes {
            let before = match &value {
                Some(value) => self.items.insert(key.clone(), (revision, value.clone())),
                None => self.items.remove(&key),
            };
            if value.is_some() || before.is_some() {
                batch.push(Change { key, revision, value, previous: before.map(|(revision, _)| revision) });
            }
        }
        if batch.is_empty() {
            return self.head;
        }
        self.head = revision;
        for sink in &self.sinks {
            sink.changes(&batch);
        }
        self.history.extend(batch);
        if self.history.len() > MAX_HISTORY {
            self.forget(self.history[MAX_HISTORY / 2].revision);
        }
        revision
    }

    fn forget(&mut self, to: Revision) {
        while self.history.front().is_some_and(|change| change.revision <= to) {
            let Some(Change { key, revision, value, .. }) = self.history.pop_front() else { break };
            match value {
                Some(value) => self.base.insert(key, (revision, value)),
                None => self.base.remove(&key),
            };
        }
        self.floor = self.floor.max(to.min(self.head));
    }
}

impl Store for Memory {
    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Revision, CommitError>> {
        Box::pin(ready(self.commit_now(txn)))
    }

    fn subscribe(&self, sink: Arc<dyn Sink>) -> BoxFuture<'_, Result<Revision, OpenError>> {
        let mut state = self.state.lock();
        sink.base(state.floor, &mut state.base.iter().map(|(key, (rev, value))| (key.clone(), *rev, value.clone())));
        let history = state.history.make_contiguous();
        if !history.is_empty() {
            sink.changes(history);
        }
        state.sinks.push(sink);
        Box::pin(ready(Ok(state.head)))
    }

    fn get(&self, key: &str) -> BoxFuture<'_, Result<Option<(Revision, Bytes)>, ReadError>> {
        Box::pin(ready(Ok(self.state.lock().items.get(key).cloned())))
    }

    fn range(&self, prefix: &str, after: Option<&str>, limit: usize) -> BoxFuture<'_, Result<Vec<Item>, ReadError>> {
        let state = self.state.lock();
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let found = state
            .items
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit)
            .map(|(key, (revision, value))| (key.clone(), *revision, value.clone()))
            .collect();
        Box::pin(ready(Ok(found)))
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), CommitError>> {
        self.state.lock().forget(revision);
        Box::pin(ready(Ok(())))
    }

    fn head(&self) -> Revision {
        self.state.lock().head
    }
}
