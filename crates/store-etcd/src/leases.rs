//! Leases for keys that expire, shared: each lease costs etcd memory and a round of its log, and a cluster writes
//! thousands of events that live for an hour. Keys that expire within the same minute share one (within the same second
//! where that is soon), so a key lives up to a minute longer than asked, as with upstream.
//!
//! etcd gives leases their whole time again when its leader changes, and none less than about two seconds.

use crate::{
    client::Members,
    proto::{LeaseGrant, LeaseGranted},
};
use grpc::Status;
use std::collections::HashMap;
use store::Timestamp;
use tokio::sync::Mutex;

/// What expires sooner than this, in seconds, is not gathered by the minute.
const SOON: i64 = 120;
/// Keys of one lease go in one transaction; upstream's limit.
const MAX_KEYS: usize = 1000;

#[derive(Default)]
pub struct Leases(Mutex<HashMap<i64, Lease>>);

struct Lease {
    id: i64,
    keys: usize,
}

impl Leases {
    /// A lease that lasts at least until `at`.
    pub async fn until(&self, members: &Members, at: Timestamp) -> Result<i64, Status> {
        let now = Timestamp::now().as_second();
        let end = end(now, at);
        // Held while one is granted: the others of the same minute wait for it.
        let mut leases = self.0.lock().await;
        if let Some(lease) = leases.get_mut(&end).filter(|lease| lease.keys < MAX_KEYS) {
            lease.keys += 1;
            return Ok(lease.id);
        }
        let granted: LeaseGranted =
            members.read("/etcdserverpb.Lease/LeaseGrant", LeaseGrant { ttl: (end - now).max(1), id: 0 }).await?;
        if !granted.error.is_empty() {
            return Err(Status::internal(granted.error));
        }
        leases.retain(|end, _| *end > now);
        leases.insert(end, Lease { id: granted.id, keys: 1 });
        Ok(granted.id)
    }

    /// Uses none of them any more: one has expired before its time here.
    pub async fn forget(&self) {
        self.0.lock().await.clear();
    }
}

/// When the lease of a key that expires at `at` ends, in seconds.
fn end(now: i64, at: Timestamp) -> i64 {
    let at = at.as_second() + i64::from(at.subsec_nanosecond() > 0);
    match at - now {
        soon if soon <= SOON => at.max(now + 1),
        _ => (at + 59).div_euclid(60) * 60,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_are_shared_by_second_and_by_minute() {
        let at = |millis| Timestamp::from_millisecond(millis).expect("a time");
        for (now, expires, expected) in [
            (1000, 999_000, 1001),
            (1000, 1_000_050, 1001),
            (1000, 1_001_050, 1002),
            (1000, 1_120_000, 1120),
            (1000, 1_121_000, 1140),
            (1000, 4_600_000, 4620),
            (1000, 4_620_000, 4620),
            (1000, 4_620_001, 4680),
        ] {
            assert_eq!(end(now, at(expires)), expected, "{expires}");
        }
    }
}
