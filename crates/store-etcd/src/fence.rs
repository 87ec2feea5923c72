//! The fence: after an attempt without an answer, a key that nobody else writes is written, and every transaction of this
//! process compares its last revision. What was sent before and arrives behind the fence fails, however late it comes:
//! after a reconnection, after an election, after hours in the buffers of a machine that was halted.
//!
//! A fence costs nothing until it is needed: a process that never missed an answer compares with the absence of the key.
//! Raising it may be repeated, and may itself arrive late: revisions never come back, so it can only make transactions
//! fail that are then sent again. The key goes with its lease, which is granted anew with each raise: however long a process
//! has been there, its fence stands [`LEASE`] from when it was raised. A process that is still there raises another.
//!
//! Decided against: an epoch that is counted (a raise that arrives late would bring an old number back), a lease per
//! transaction or a mark in each value (both cost every write), a lease that is kept alive (it ends with the connection that
//! renews it, which is when a fence is needed).

use crate::{
    client::Members,
    decide::{Heard, failed},
    proto::{LeaseGrant, LeaseGranted, Op, PutRequest, RequestOp, TxnRequest, TxnResponse},
};
use bytes::Bytes;
use grpc::Status;
use std::{
    sync::atomic::{
        AtomicBool, AtomicI64, AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
    time::Duration,
};
use tokio::{sync::Mutex, time::Instant};

/// Seconds: longer than any request is under way. A fence goes so long after it was raised, a trace up to [`SHARED`]
/// sooner after it was written.
const LEASE: i64 = 7 * 24 * 3600;
/// How long traces are written with one lease.
const SHARED: Duration = Duration::from_secs(24 * 3600);

pub struct Fence {
    key: Bytes,
    trace: Bytes,
    /// What transactions compare the key's last revision with; 0: there is none.
    revision: AtomicI64,
    /// Something sent behind the present fence is without an answer, and no other could be raised yet.
    doubtful: AtomicBool,
    /// Held by who raises one: the others wait for that.
    lease: Mutex<Option<Lease>>,
    traces: AtomicU64,
}

struct Lease {
    id: i64,
    granted: Instant,
}

impl Fence {
    pub fn new() -> Self {
        let id = base::ids::uid();
        Fence {
            key: format!("ferry/fence/{id}").into(),
            trace: format!("ferry/trace/{id}").into(),
            revision: AtomicI64::new(0),
            doubtful: AtomicBool::new(false),
            lease: Mutex::new(None),
            traces: AtomicU64::new(0),
        }
    }

    pub fn key(&self) -> Bytes {
        self.key.clone()
    }

    /// The revision that the next attempt compares. Where another's outcome was left open, a new one first.
    pub async fn now(&self, members: &Members) -> Result<i64, Status> {
        match self.doubtful.load(Acquire) {
            true => self.raise(members, self.revision.load(Acquire)).await,
            false => Ok(self.revision.load(Acquire)),
        }
    }

    /// Raises one above `used`, unless there is one already: what compared `used` took place before the answered revision,
    /// or never will.
    pub async fn raise(&self, members: &Members, used: i64) -> Result<i64, Status> {
        let mut lease = self.lease.lock().await;
        let present = self.revision.load(Acquire);
        if present > used {
            return Ok(present);
        }
        // Until it is known to stand, whoever comes must raise it first.
        self.doubtful.store(true, Release);
        loop {
            // Never one that is there already: the fence would go when that ends, and what is to stay behind it would not.
            let id = grant(&mut lease, members).await?;
            let put = PutRequest { key: self.key(), value: Bytes::new(), lease: id };
            let request = TxnRequest { success: vec![RequestOp { op: Some(Op::Put(put)) }], ..Default::default() };
            match members.read::<_, TxnResponse>("/etcdserverpb.KV/Txn", request).await {
                Ok(answer) => {
                    let at = answer.header.map_or(0, |header| header.revision);
                    // In this order: what is sent behind the new one may leave a doubt of its own.
                    self.doubtful.store(false, Release);
                    self.revision.fetch_max(at, AcqRel);
                    return Ok(at);
                }
                Err(e) if failed(&e) == Heard::LeaseGone => *lease = None,
                Err(e) => return Err(e),
            }
        }
    }

    /// For a transaction that sets nothing by which the watch could tell it from somebody else's: one more write, of a
    /// value that comes once.
    pub async fn trace(&self, members: &Members) -> Result<PutRequest, Status> {
        let mut lease = self.lease.lock().await;
        let lease = match &*lease {
            Some(Lease { id, granted }) if serves_a_trace(granted.elapsed()) => *id,
            _ => grant(&mut lease, members).await?,
        };
        Ok(PutRequest { key: self.trace.clone(), value: Bytes::new(), lease })
    }

    /// A value for it.
    pub fn next_trace(&self) -> Bytes {
        self.traces.fetch_add(1, Relaxed).to_string().into()
    }

    pub fn is_trace(&self, key: &[u8]) -> bool {
        self.trace == key
    }

    /// Nobody knows what became of something that was sent: nothing more is, before a fence stands behind it.
    pub fn leave_doubt(&self) {
        self.doubtful.store(true, Release);
    }

    /// The lease has expired before its time here.
    pub async fn forget(&self) {
        *self.lease.lock().await = None;
    }
}

/// A new lease in the place of the present one, which ends by itself.
async fn grant(lease: &mut Option<Lease>, members: &Members) -> Result<i64, Status> {
    // Before it is asked for: a lease is never taken for younger than it is.
    let granted = Instant::now();
    let answer: LeaseGranted = members.read("/etcdserverpb.Lease/LeaseGrant", LeaseGrant { ttl: LEASE, id: 0 }).await?;
    match answer.error.is_empty() {
        true => Ok(lease.insert(Lease { id: answer.id, granted }).id),
        false => Err(Status::internal(answer.error)),
    }
}

/// Whether a trace may be written with a lease of this age. A fence never is: each has its own.
fn serves_a_trace(age: Duration) -> bool {
    age < SHARED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_stays_six_days_at_least() {
        let hours = |n: u64| Duration::from_secs(n * 3600);
        for (age, expected) in [(hours(0), true), (hours(23), true), (hours(24), false), (hours(7 * 24 - 1), false)] {
            assert_eq!(serves_a_trace(age), expected, "{age:?}");
        }
        assert!(SHARED.as_secs() as i64 <= LEASE - 6 * 24 * 3600);
    }
}
