//! What waits for the disk thread. Whoever adds holds the keyspace's lock, so that the queue is in revision order.

use crate::keyspace::Keyspace;
use parking_lot::{Condvar, Mutex};
use std::{collections::VecDeque, sync::Arc};
use store::{Bytes, CommitError, Revision, Timestamp};
use tokio::sync::oneshot;

/// What a caller waits for.
pub type Answer = Result<Revision, CommitError>;

/// One thing to do in order.
pub struct Op {
    pub what: What,
    pub reply: Option<oneshot::Sender<Answer>>,
}

/// The kinds of it.
pub enum What {
    /// A transaction that has its revision.
    Txn { keyspace: Arc<Keyspace>, revision: Revision, writes: Vec<Staged> },
    /// History up to the revision is forgotten.
    Floor { keyspace: Arc<Keyspace>, revision: Revision },
    /// Nothing: an answer that must not come before what was queued earlier is published.
    Barrier(Answer),
}

/// A write on its way to the disk.
pub struct Staged {
    pub key: Arc<str>,
    pub value: Option<Bytes>,
    pub expires: Option<Timestamp>,
    /// Where the value lies in the file, once written.
    pub offset: u32,
}

#[derive(Default)]
struct Ops {
    waiting: Vec<Op>,
    closed: bool,
}

/// The queue itself. It has no bound: every caller waits for its answer, so it holds no more than there are callers.
#[derive(Default)]
pub struct Queue {
    ops: Mutex<Ops>,
    wake: Condvar,
}

impl Queue {
    /// Adds; after [`Queue::close`] it is an error.
    pub fn push(&self, op: Op) -> Result<(), CommitError> {
        let mut ops = self.ops.lock();
        if ops.closed {
            return Err(CommitError::Closed);
        }
        ops.waiting.push(op);
        drop(ops);
        self.wake.notify_one();
        Ok(())
    }

    /// Moves everything into `backlog`, waiting only when that is empty. False: closed, and nothing is left to do.
    pub fn take(&self, backlog: &mut VecDeque<Op>) -> bool {
        let mut ops = self.ops.lock();
        while backlog.is_empty() && ops.waiting.is_empty() {
            if ops.closed {
                return false;
            }
            self.wake.wait(&mut ops);
        }
        backlog.extend(ops.waiting.drain(..));
        true
    }

    /// Takes nothing more in.
    pub fn close(&self) {
        self.ops.lock().closed = true;
        self.wake.notify_one();
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.ops.lock().closed
    }
}
