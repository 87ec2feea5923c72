//! One commit: an etcd transaction that compares revisions, sent until its outcome is known.
//!
//! What each answer, and each missing one, means is decided in [`crate::decide`]; this carries it out. Until the outcome
//! is known, later commits of the same keys wait ([`crate::gates`]). When it cannot be known in time, the caller is told just
//! that, and no other transaction of this process is sent before a fence stands between them.
//!
//! One thing is taken for ours that may be another's: the very same bytes, written over the same revision by another
//! server, while the answer to our own attempt was lost. New objects differ by their uid, and deletions carry a trace; two
//! updates alike in every byte leave what both have asked for.

use crate::{
    Shared, client,
    decide::{self, Next, Seen, Settled, after_attempt, after_fence},
    gates::Turn,
    number,
    pending::Registered,
    proto::{Compare, DeleteRequest, Op, PutRequest, RangeRequest, RequestOp, TxnRequest},
    revision,
};
use base::Revision;
use bytes::Bytes;
use grpc::Status;
use std::{sync::Arc, time::Duration};
use store::{CommitError, Condition, Txn};
use tokio::time::{Instant, sleep, timeout_at};

/// How long a transaction is pursued. Members need a few seconds for an election.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

pub async fn run(shared: Arc<Shared>, txn: Txn, mut turn: Turn) -> Result<Revision, CommitError> {
    turn.come().await;
    if txn.conditions.is_empty() && txn.writes.is_empty() {
        drop(turn);
        let at = shared.current.ask(&shared).await.map_err(|e| unavailable(&e))?;
        shared.published(at).await;
        return Ok(revision(at));
    }
    let trace = wants_trace(&txn).then(|| shared.fence.next_trace());
    let registered = shared.pending.register(&txn.writes, trace);
    let outcome = pursue(&shared, &txn, &registered).await;
    // It has its place: whoever comes behind need not wait for the sinks.
    drop(turn);
    match outcome? {
        Outcome::Done(at) => {
            shared.published(at).await;
            Ok(revision(at))
        }
        Outcome::Conflict { key, current, at } => {
            shared.published(at).await;
            Err(CommitError::Conflict { key, current: current.map(revision) })
        }
    }
}

enum Outcome {
    Done(i64),
    Conflict { key: Arc<str>, current: Option<i64>, at: i64 },
}

async fn pursue(shared: &Shared, txn: &Txn, registered: &Registered) -> Result<Outcome, CommitError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let fence = shared.fence.now(&shared.members).await.map_err(|e| unavailable(&e))?;
        let request = request(shared, txn, registered, fence).await.map_err(|e| unavailable(&e))?;
        let (heard, why) = match shared.members.txn(request).await {
            Ok(answer) => (decide::answered(txn, &answer), None),
            Err(e) => (decide::failed(&e), Some(e)),
        };
        let why = || why.as_ref().map_or("etcd: its fence does not stand still".into(), client::say);
        match after_attempt(heard, Instant::now() < deadline) {
            Next::Done(at) => return Ok(Outcome::Done(at)),
            Next::Conflict { key, current, at } => return Ok(Outcome::Conflict { key, current, at }),
            Next::TooLarge => {
                let bytes = txn.writes.iter().map(|w| w.key.len() + w.value.as_ref().map_or(0, Bytes::len)).sum();
                return Err(CommitError::TooLarge { bytes });
            }
            Next::TooMany => return Err(CommitError::Refused { why: too_many(txn).into() }),
            Next::GiveUp => return Err(CommitError::Unavailable { why: why().into() }),
            Next::AgainBehindFence => {
                shared.fence.raise(&shared.members, fence).await.map_err(|e| unavailable(&e))?;
            }
            Next::AgainWithLease => {
                shared.leases.forget().await;
                shared.fence.forget().await;
            }
            Next::Again => sleep(PAUSE).await,
            Next::Fence => match settle(shared, registered, fence, deadline).await {
                Settled::Done(at) => return Ok(Outcome::Done(at)),
                Settled::InDoubt => return Err(CommitError::InDoubt { why: why().into() }),
                Settled::NotDone if Instant::now() < deadline => sleep(PAUSE).await,
                Settled::NotDone => return Err(CommitError::Unavailable { why: why().into() }),
            },
        }
    }
}

/// Raises a fence behind an attempt, and looks at what stands before it.
async fn settle(shared: &Shared, registered: &Registered, fence: i64, deadline: Instant) -> Settled {
    let looking = async {
        let at = shared.fence.raise(&shared.members, fence).await?;
        // Without a watch nobody can say.
        let watched = !shared.feeds.lock().is_empty();
        shared.published(at).await;
        Ok::<_, Status>(watched)
    };
    // Also when time is up: one try is due to whoever is to be told that it did not take place.
    let came = match timeout_at(deadline.max(Instant::now() + PAUSE), looking).await {
        Ok(Ok(watched)) => watched,
        Ok(Err(e)) => {
            tracing::warn!("etcd: a write is in doubt: {}", e.message());
            false
        }
        Err(_) => false,
    };
    if !came {
        shared.fence.leave_doubt();
    }
    let (shown, gap) = registered.seen();
    after_fence(Seen { shown, came, gap })
}

fn too_many(txn: &Txn) -> String {
    // With the fence's comparison, and the trace.
    let operations = (txn.conditions.len() + 1).max(txn.writes.len() + usize::from(wants_trace(txn)));
    format!(
        "etcd does not take a transaction of {operations} operations: start it with a larger --max-txn-ops (128 by default)"
    )
}

fn unavailable(e: &Status) -> CommitError {
    CommitError::Unavailable { why: client::say(e).into() }
}

/// Whether the watch shows it by nothing but that a key is gone, which may be somebody else's doing. Of deletions that are
/// bound to a revision: others may find nothing to delete, and take no revision.
fn wants_trace(txn: &Txn) -> bool {
    let bound = |key: &str| txn.conditions.iter().any(|c| matches!(c, Condition::At { key: at, .. } if **at == *key));
    txn.writes.iter().all(|w| w.value.is_none()) && txn.writes.iter().any(|w| bound(&w.key))
}

async fn request(shared: &Shared, txn: &Txn, registered: &Registered, fence: i64) -> Result<TxnRequest, Status> {
    let bytes = |key: &Arc<str>| Bytes::copy_from_slice(key.as_bytes());
    let mut compare: Vec<Compare> = Vec::with_capacity(txn.conditions.len() + 1);
    compare.extend(txn.conditions.iter().map(|condition| match condition {
        Condition::Absent { key } => Compare::modified(bytes(key), 0),
        Condition::At { key, revision } => Compare::modified(bytes(key), number(*revision)),
    }));
    compare.push(Compare::modified(shared.fence.key(), fence));
    let look = txn.conditions.iter().map(|condition| {
        let read = RangeRequest { key: bytes(condition.key()), keys_only: true, ..Default::default() };
        RequestOp { op: Some(Op::Range(read)) }
    });
    let mut success = Vec::with_capacity(txn.writes.len() + 1);
    for write in &txn.writes {
        let key = bytes(&write.key);
        let op = match (&write.value, write.expires) {
            (Some(value), expires) => {
                let lease = match expires {
                    Some(at) => shared.leases.until(&shared.members, at).await?,
                    None => 0,
                };
                Op::Put(PutRequest { key, value: value.clone(), lease })
            }
            (None, _) => Op::Delete(DeleteRequest { key, end: Bytes::new() }),
        };
        success.push(RequestOp { op: Some(op) });
    }
    if let Some(value) = registered.trace() {
        let put = PutRequest { value: value.clone(), ..shared.fence.trace(&shared.members).await? };
        success.push(RequestOp { op: Some(Op::Put(put)) });
    }
    Ok(TxnRequest { compare, success, failure: look.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::Write;

    #[test]
    fn deletions_that_take_a_revision_leave_a_trace() {
        let both = |a: Txn, b: Txn| Txn {
            conditions: [a.conditions, b.conditions].concat(),
            writes: [a.writes, b.writes].concat(),
        };
        let free = |write| Txn { conditions: vec![], writes: vec![write] };
        let delete = || Txn::delete("/a", Revision(4));
        for (txn, expected) in [
            (delete(), true),
            (both(delete(), free(Write::delete("/claim"))), true),
            (both(delete(), Txn::create("/b", "1")), false),
            (free(Write::delete("/a")), false),
            (both(Txn { writes: vec![], ..delete() }, free(Write::delete("/b"))), false),
            (Txn::update("/a", Revision(4), "2"), false),
        ] {
            assert_eq!(wants_trace(&txn), expected, "{txn:?}");
        }
    }
}
