//! The publishing thread: what is durable becomes visible, in revision order.

use crate::{
    keyspace::Keyspace,
    queue::{Op, What},
    shared::Shared,
};
use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, atomic::Ordering, mpsc::Receiver},
};
use store::{Change, Revision, Sink};

/// As many retained changes may there be in a keyspace, whatever its size; above, more than keys are too many.
const MAX_HISTORY: usize = 200_000;

/// A sink and how far it has come.
pub struct Follower {
    pub sink: Arc<dyn Sink>,
    pub seen: Revision,
}

/// One durable group.
pub struct Batch {
    pub ops: Vec<Op>,
    /// The segment that it lies in.
    pub segment: NonZeroU32,
}

/// Publishes until the disk thread ends.
pub fn run(shared: &Shared, batches: &Receiver<Batch>) {
    while let Ok(batch) = batches.recv() {
        publish(shared, batch);
    }
}

fn publish(shared: &Shared, batch: Batch) {
    let mut groups: Vec<(Arc<Keyspace>, Vec<Change>)> = Vec::new();
    let mut group_of: HashMap<u32, usize> = HashMap::new();
    let mut replies = Vec::with_capacity(batch.ops.len());
    for op in batch.ops {
        let answer = match op.what {
            What::Barrier(answer) => answer,
            What::Floor { revision, .. } => Ok(revision),
            What::Txn { keyspace, revision, writes } => {
                let group = *group_of.entry(keyspace.id).or_insert_with(|| {
                    groups.push((keyspace.clone(), Vec::new()));
                    groups.len() - 1
                });
                let mut inner = keyspace.inner.lock();
                let before = inner.state.live;
                for write in writes {
                    let place = write.value.as_ref().map(|value| (write.offset, value.len() as u32));
                    let previous = inner.state.apply(write.key.clone(), revision, batch.segment, place);
                    inner.published(&write.key, revision);
                    if let Some(at) = write.expires {
                        shared.expiries.add(at, keyspace.id, write.key.clone(), revision);
                    }
                    groups[group].1.push(Change { key: write.key, revision, value: write.value, previous });
                }
                // Wraps on shrinking, and so adds up.
                shared.live_bytes.fetch_add(inner.state.live.wrapping_sub(before), Ordering::Relaxed);
                Ok(revision)
            }
        };
        replies.push((op.reply, answer));
    }
    for (keyspace, changes) in &groups {
        tell(keyspace, changes);
        let inner = keyspace.inner.lock();
        if inner.state.history.len() > MAX_HISTORY.max(2 * inner.state.index.len()) {
            shared.folder.request();
        }
    }
    if shared.log_is_large() {
        shared.folder.request();
    }
    for (reply, answer) in replies {
        if let Some(reply) = reply {
            // Whoever no longer waits does not want to know.
            let _ = reply.send(answer);
        }
    }
}

fn tell(keyspace: &Keyspace, changes: &[Change]) {
    let Some(last) = changes.last() else { return };
    for follower in keyspace.followers.lock().iter_mut() {
        // A sink that has just joined may have been played these already.
        let new = changes.partition_point(|change| change.revision <= follower.seen);
        if new < changes.len() {
            follower.sink.changes(&changes[new..]);
            follower.seen = last.revision;
        }
    }
    keyspace.head.store(last.revision.0, Ordering::Release);
}

/// Whether a keyspace remembers more than it should; the revision to forget up to.
pub fn too_much_history(keyspace: &Keyspace) -> Option<Revision> {
    let state = &keyspace.inner.lock().state;
    let n = state.history.len();
    (n > MAX_HISTORY.max(2 * state.index.len())).then(|| state.history[n / 2].revision)
}
