//! One commit: an etcd transaction that compares revisions, sent until its outcome is known.
//!
//! When an answer is lost (a member died, an election), the transaction may have taken place. Nothing is guessed: a
//! linearizable read tells how far etcd is, our watch is awaited up to there, and it either has shown the writes
//! (`pending`) or the transaction is sent again. Should the first one still arrive, its comparisons fail, because one of
//! the two has moved the keys; a conflict after an attempt of unknown outcome is therefore looked for in the watch, too.

use crate::{
    Shared, client,
    gates::Turn,
    number,
    pending::Registered,
    proto::{Compare, DeleteRequest, Did, Op, PutRequest, RangeRequest, RequestOp, TxnRequest, TxnResponse},
    revision,
};
use base::Revision;
use bytes::Bytes;
use grpc::{Code, Status, never_sent};
use std::{sync::Arc, time::Duration};
use store::{CommitError, Condition, Txn};
use tokio::time::{Instant, sleep, timeout};

/// How long a transaction is pursued. Members need a few seconds for an election.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

enum Outcome {
    Done(i64),
    /// A condition did not hold, as of `at`.
    Lost {
        key: Arc<str>,
        current: Option<i64>,
        at: i64,
    },
}

pub async fn run(shared: Arc<Shared>, txn: Txn, mut turn: Turn) -> Result<Revision, CommitError> {
    turn.come().await;
    let registered = shared.pending.register(&txn.writes);
    let outcome = pursue(&shared, &txn, &registered).await;
    // It has its place: whoever comes behind need not wait for the sinks.
    drop(turn);
    match outcome? {
        Outcome::Done(at) => {
            shared.published(at).await;
            Ok(revision(at))
        }
        Outcome::Lost { key, current, at } => {
            shared.published(at).await;
            Err(CommitError::Conflict { key, current: current.map(revision) })
        }
    }
}

async fn pursue(shared: &Arc<Shared>, txn: &Txn, registered: &Registered) -> Result<Outcome, CommitError> {
    let unavailable = |e: Status| CommitError::Unavailable { why: client::say(&e).into() };
    if txn.conditions.is_empty() && txn.writes.is_empty() {
        return shared.current.ask(shared).await.map(Outcome::Done).map_err(unavailable);
    }
    let deadline = Instant::now() + PATIENCE;
    let mut doubtful = false;
    loop {
        let request = request(shared, txn).await.map_err(unavailable)?;
        let error = match shared.members.txn(request).await {
            Ok(answer) => match outcome(txn, &answer) {
                Outcome::Lost { at, .. } if doubtful && shown(shared, registered, at).await.is_some() => {
                    return Ok(Outcome::Done(registered.seen().unwrap_or(at)));
                }
                outcome => return Ok(outcome),
            },
            Err(error) => error,
        };
        if is_too_large(&error) {
            let bytes = txn.writes.iter().map(|w| w.key.len() + w.value.as_ref().map_or(0, Bytes::len)).sum();
            return Err(CommitError::TooLarge { bytes });
        }
        let lease_gone = error.code() == Code::NotFound && error.message().contains("lease");
        if lease_gone {
            shared.leases.forget().await;
        }
        if !(lease_gone || client::is_transient(&error)) || Instant::now() > deadline {
            return Err(unavailable(error));
        }
        if !lease_gone && !never_sent(&error) {
            doubtful = true;
            let now = shared.members.revision().await.map_err(unavailable)?;
            if let Some(at) = shown(shared, registered, now).await {
                return Ok(Outcome::Done(at));
            }
            // Without a watch nobody can say.
            if shared.feeds.lock().is_empty() {
                return Err(unavailable(error));
            }
        }
        sleep(PAUSE).await;
    }
}

/// Whether the watch has shown the transaction, once it has come to `at`.
async fn shown(shared: &Shared, registered: &Registered, at: i64) -> Option<i64> {
    // One that does not come makes the attempt fail like any other.
    let _ = timeout(PATIENCE, shared.published(at)).await;
    registered.seen()
}

async fn request(shared: &Shared, txn: &Txn) -> Result<TxnRequest, Status> {
    let bytes = |key: &Arc<str>| Bytes::copy_from_slice(key.as_bytes());
    let compare = txn.conditions.iter().map(|condition| match condition {
        Condition::Absent { key } => Compare::modified(bytes(key), 0),
        Condition::At { key, revision } => Compare::modified(bytes(key), number(*revision)),
    });
    let look = txn.conditions.iter().map(|condition| {
        let read = RangeRequest { key: bytes(condition.key()), keys_only: true, ..Default::default() };
        RequestOp { op: Some(Op::Range(read)) }
    });
    let mut success = Vec::with_capacity(txn.writes.len());
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
    Ok(TxnRequest { compare: compare.collect(), success, failure: look.collect() })
}

/// What etcd's answer means: the first condition that does not hold is the conflict.
fn outcome(txn: &Txn, answer: &TxnResponse) -> Outcome {
    let at = answer.header.as_ref().map_or(0, |header| header.revision);
    if answer.succeeded {
        return Outcome::Done(at);
    }
    let found = answer.responses.iter().map(|response| match &response.did {
        Some(Did::Range(range)) => range.items.first().map(|item| item.modified),
        _ => None,
    });
    let mut lost = txn.conditions.iter().zip(found).filter(|(condition, now)| !condition.holds(now.map(revision)));
    match lost.next() {
        Some((condition, current)) => Outcome::Lost { key: condition.key().clone(), current, at },
        // Compared and read at one revision, so there is always one.
        None => Outcome::Lost { key: "".into(), current: None, at },
    }
}

/// etcd's `--max-request-bytes`, or its limit for a message.
fn is_too_large(status: &Status) -> bool {
    let message = status.message();
    message.contains("request is too large") || message.contains("received message larger than max")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Header, KeyValue, RangeResponse, ResponseOp};

    fn check(txn: &Txn, succeeded: bool, now: &[i64]) -> String {
        let look = |modified: &i64| {
            let items =
                if *modified > 0 { vec![KeyValue { modified: *modified, ..Default::default() }] } else { vec![] };
            ResponseOp { did: Some(Did::Range(RangeResponse { items, ..Default::default() })) }
        };
        let header = Some(Header { revision: 9, ..Default::default() });
        match outcome(txn, &TxnResponse { header, succeeded, responses: now.iter().map(look).collect() }) {
            Outcome::Done(at) => format!("done {at}"),
            Outcome::Lost { key, current, at } => format!("{key} at {} as of {at}", current.unwrap_or_default()),
        }
    }

    #[test]
    fn the_first_condition_that_fails_is_the_conflict() {
        let absent = |key: &str| Condition::Absent { key: key.into() };
        let at = |key: &str, n| Condition::At { key: key.into(), revision: Revision(n) };
        let txn = Txn { conditions: vec![absent("/a"), at("/b", 4), at("/c", 5)], writes: vec![] };
        assert_eq!(check(&txn, true, &[]), "done 9");
        assert_eq!(check(&txn, false, &[0, 4, 6]), "/c at 6 as of 9");
        assert_eq!(check(&txn, false, &[0, 0, 6]), "/b at 0 as of 9");
        assert_eq!(check(&txn, false, &[2, 0, 6]), "/a at 2 as of 9");
    }
}
