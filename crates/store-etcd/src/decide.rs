//! What an attempt at a transaction means, as a table: what etcd said, or that it said nothing, and what is seen then.
//!
//! An attempt without an answer is never guessed about. A fence is raised, behind which no attempt sent before can take
//! place any more ([`crate::fence`]); then the watch is awaited up to the fence. What it has shown took place, what it
//! has not shown did not and never will: only now it is sent again. So every attempt begins with all before it settled,
//! and a conflict is somebody else's.
//!
//! Decided against: sending again at once and leaving it to the comparisons which of two attempts takes place. A creation
//! whose object is deleted in the meantime then rises again when the late one arrives, and a conflict may be one with
//! oneself.

use crate::{
    client,
    proto::{Did, TxnResponse},
    revision,
};
use grpc::{Code, Status, never_sent};
use std::sync::Arc;
use store::Txn;

/// What was heard of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// It took place at this revision.
    Done(i64),
    /// A condition did not hold as of `at`: it did not take place.
    Conflict { key: Arc<str>, current: Option<i64>, at: i64 },
    /// All conditions held, but the fence is another by now: it did not take place.
    Fenced,
    /// It never left, or etcd had too much to do for it: it did not take place, and may at another time.
    Unsent,
    /// The lease that it names is gone: it did not take place.
    LeaseGone,
    /// It is larger than etcd takes.
    TooLarge,
    /// It has more operations than etcd takes.
    TooMany,
    /// etcd does not want it, now or later.
    Refused,
    /// Nothing that says whether it took place, or will.
    Nothing,
}

/// What is done about it.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    Done(i64),
    Conflict {
        key: Arc<str>,
        current: Option<i64>,
        at: i64,
    },
    /// The present fence is found out first.
    AgainBehindFence,
    AgainWithLease,
    /// After a pause.
    Again,
    /// No attempt so far may take place afterwards; then [`after_fence`].
    Fence,
    TooLarge,
    TooMany,
    /// It did not take place.
    GiveUp,
}

/// What stands when no attempt can take place any more.
#[derive(Debug, Default, Clone, Copy)]
pub struct Seen {
    /// The revision at which the watch has shown the transaction.
    pub shown: Option<i64>,
    /// The watch has come up to the fence.
    pub came: bool,
    /// It has left something out: what it has not shown may have been there.
    pub gap: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Settled {
    Done(i64),
    /// It did not take place, and never will.
    NotDone,
    /// Nobody can say.
    InDoubt,
}

pub fn after_attempt(heard: Heard, in_time: bool) -> Next {
    match heard {
        Heard::Done(at) => Next::Done(at),
        Heard::Conflict { key, current, at } => Next::Conflict { key, current, at },
        Heard::TooLarge => Next::TooLarge,
        Heard::TooMany => Next::TooMany,
        Heard::Nothing => Next::Fence,
        Heard::Fenced if in_time => Next::AgainBehindFence,
        Heard::LeaseGone if in_time => Next::AgainWithLease,
        Heard::Unsent if in_time => Next::Again,
        Heard::Fenced | Heard::LeaseGone | Heard::Unsent | Heard::Refused => Next::GiveUp,
    }
}

pub fn after_fence(seen: Seen) -> Settled {
    match seen {
        Seen { shown: Some(at), .. } => Settled::Done(at),
        Seen { came: true, gap: false, .. } => Settled::NotDone,
        _ => Settled::InDoubt,
    }
}

/// What etcd's answer says: the first condition that does not hold is the conflict.
pub fn answered(txn: &Txn, answer: &TxnResponse) -> Heard {
    let at = answer.header.as_ref().map_or(0, |header| header.revision);
    if answer.succeeded {
        return Heard::Done(at);
    }
    let found = answer.responses.iter().map(|response| match &response.did {
        Some(Did::Range(range)) => range.items.first().map(|item| item.modified),
        _ => None,
    });
    let mut lost = txn.conditions.iter().zip(found).filter(|(condition, now)| !condition.holds(now.map(revision)));
    match lost.next() {
        Some((condition, current)) => Heard::Conflict { key: condition.key().clone(), current, at },
        // Compared and read at one revision: what is left is the fence.
        None => Heard::Fenced,
    }
}

/// What a failure says. Only what surely had no effect is anything but [`Heard::Nothing`].
pub fn failed(status: &Status) -> Heard {
    let message = status.message();
    // etcd's `--max-request-bytes`, or its limit for a message.
    if message.contains("request is too large") || message.contains("received message larger than max") {
        return Heard::TooLarge;
    }
    // etcd's `--max-txn-ops`: of the conditions, of the writes and of the reads of a conflict, each by themselves.
    if message.contains("too many operations") {
        return Heard::TooMany;
    }
    match status.code() {
        Code::NotFound if message.contains("lease") => Heard::LeaseGone,
        Code::ResourceExhausted if message.contains("too many requests") => Heard::Unsent,
        Code::InvalidArgument
        | Code::NotFound
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::ResourceExhausted => Heard::Refused,
        _ if client::is_refusal(status) => Heard::Refused,
        _ if never_sent(status) => Heard::Unsent,
        _ => Heard::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Header, KeyValue, RangeResponse, ResponseOp};
    use store::{Condition, Revision};

    fn heard(txn: &Txn, succeeded: bool, now: &[i64]) -> Heard {
        let look = |modified: &i64| {
            let items =
                if *modified > 0 { vec![KeyValue { modified: *modified, ..Default::default() }] } else { vec![] };
            ResponseOp { did: Some(Did::Range(RangeResponse { items, ..Default::default() })) }
        };
        let header = Some(Header { revision: 9, ..Default::default() });
        answered(txn, &TxnResponse { header, succeeded, responses: now.iter().map(look).collect() })
    }

    #[test]
    fn the_first_condition_that_fails_is_the_conflict() {
        let absent = |key: &str| Condition::Absent { key: key.into() };
        let at = |key: &str, n| Condition::At { key: key.into(), revision: Revision(n) };
        let txn = Txn { conditions: vec![absent("/a"), at("/b", 4), at("/c", 5)], writes: vec![] };
        let conflict = |key: &str, current| Heard::Conflict { key: key.into(), current, at: 9 };
        for (succeeded, now, expected) in [
            (true, &[][..], Heard::Done(9)),
            (false, &[0, 4, 6], conflict("/c", Some(6))),
            (false, &[0, 0, 6], conflict("/b", None)),
            (false, &[2, 0, 6], conflict("/a", Some(2))),
            // Nothing of ours is in the way, so it is the fence.
            (false, &[0, 4, 5], Heard::Fenced),
        ] {
            assert_eq!(heard(&txn, succeeded, now), expected, "{now:?}");
        }
    }

    #[test]
    fn only_what_surely_had_no_effect_needs_no_fence() {
        let sent = |code, message: &str| failed(&Status::new(code, message));
        for (code, message, expected) in [
            (Code::Unavailable, "the connection broke", Heard::Nothing),
            (Code::Unavailable, "etcdserver: request timed out", Heard::Nothing),
            (Code::DeadlineExceeded, "no answer in 10s", Heard::Nothing),
            (Code::Unknown, "etcdserver: server stopped", Heard::Nothing),
            (Code::Unknown, "something new", Heard::Nothing),
            (Code::Internal, "h2 protocol error", Heard::Nothing),
            (Code::Cancelled, "", Heard::Nothing),
            (Code::DataLoss, "etcdserver: corrupt cluster", Heard::Nothing),
            (Code::ResourceExhausted, "etcdserver: too many requests", Heard::Unsent),
            (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded", Heard::Refused),
            (Code::InvalidArgument, "etcdserver: request is too large", Heard::TooLarge),
            (Code::ResourceExhausted, "grpc: received message larger than max (9 vs. 8)", Heard::TooLarge),
            (Code::InvalidArgument, "etcdserver: too many operations in txn request", Heard::TooMany),
            (Code::InvalidArgument, "etcdserver: key is not provided", Heard::Refused),
            (Code::NotFound, "etcdserver: requested lease not found", Heard::LeaseGone),
            (Code::PermissionDenied, "etcdserver: permission denied", Heard::Refused),
            (Code::Unknown, "etcdserver: user name is empty", Heard::Refused),
        ] {
            assert_eq!(sent(code, message), expected, "{code:?} {message}");
        }
    }

    #[test]
    fn what_follows_an_attempt() {
        let conflict = || Heard::Conflict { key: "/a".into(), current: None, at: 7 };
        let told = || Next::Conflict { key: "/a".into(), current: None, at: 7 };
        for (heard, in_time, late) in [
            (|| Heard::Done(4), Next::Done(4), Next::Done(4)),
            (conflict, told(), told()),
            (|| Heard::Fenced, Next::AgainBehindFence, Next::GiveUp),
            (|| Heard::LeaseGone, Next::AgainWithLease, Next::GiveUp),
            (|| Heard::Unsent, Next::Again, Next::GiveUp),
            (|| Heard::TooLarge, Next::TooLarge, Next::TooLarge),
            (|| Heard::TooMany, Next::TooMany, Next::TooMany),
            (|| Heard::Refused, Next::GiveUp, Next::GiveUp),
            // However late it is: what may have taken place is not given up as if it had not.
            (|| Heard::Nothing, Next::Fence, Next::Fence),
        ] as [(fn() -> Heard, Next, Next); 9]
        {
            assert_eq!((after_attempt(heard(), true), after_attempt(heard(), false)), (in_time, late));
        }
    }

    #[test]
    fn what_stands_behind_the_fence() {
        for (shown, came, gap, expected) in [
            (None, true, false, Settled::NotDone),
            (Some(5), true, false, Settled::Done(5)),
            // Shown is shown, whatever else is not known.
            (Some(5), false, true, Settled::Done(5)),
            // The watch is not there yet, or does not know what was before it came back.
            (None, false, false, Settled::InDoubt),
            (None, true, true, Settled::InDoubt),
        ] {
            assert_eq!(after_fence(Seen { shown, came, gap }), expected, "{shown:?} {came} {gap}");
        }
    }
}
