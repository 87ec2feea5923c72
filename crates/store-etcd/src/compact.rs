//! Compaction: every few minutes history is forgotten up to where it was the time before.
//!
//! Several servers on one etcd take turns as upstream's do, by the version of the key `compact_rev_key`: whoever moves it
//! on compacts, the others remember where it is. So a Ferry and a kube-apiserver may even share the work.

use crate::{
    Shared,
    client::{COMPACT_KEY, Members, is_compacted},
    proto::{CompactionRequest, CompactionResponse, Compare, Did, Op, PutRequest, RangeRequest, RequestOp, TxnRequest},
};
use bytes::Bytes;
use grpc::Status;
use std::{sync::Weak, time::Duration};

pub async fn run(shared: Weak<Shared>, every: Duration) {
    let mut place = Place::default();
    loop {
        tokio::time::sleep(every).await;
        let Some(shared) = shared.upgrade().filter(|shared| !*shared.stop.borrow()) else { return };
        match step(&shared.members, place).await {
            Ok(next) => place = next,
            Err(e) => tracing::warn!("etcd: compaction: {}", e.message()),
        }
    }
}

/// What a server knows of the last compaction.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// How often the key has been written.
    version: i64,
    /// The revision at that time; 0: it is not known yet.
    revision: i64,
}

/// One turn: compacts up to `place`, unless somebody else has been here since; what to remember until the next.
async fn step(members: &Members, place: Place) -> Result<Place, Status> {
    let key = || Bytes::from_static(COMPACT_KEY);
    let mark = PutRequest { key: key(), value: place.revision.to_string().into(), lease: 0 };
    let look = RangeRequest { key: key(), ..Default::default() };
    let request = TxnRequest {
        compare: vec![Compare::version(key(), place.version)],
        success: vec![RequestOp { op: Some(Op::Put(mark)) }],
        failure: vec![RequestOp { op: Some(Op::Range(look)) }],
    };
    let answer = members.txn(request).await?;
    let revision = answer.header.map_or(0, |header| header.revision);
    if !answer.succeeded {
        let found = answer.responses.into_iter().find_map(|response| match response.did {
            Some(Did::Range(range)) => range.items.into_iter().next(),
            _ => None,
        });
        return Ok(Place { version: found.map_or(0, |item| item.version), revision });
    }
    if place.revision > 0 {
        to(members, place.revision).await?;
        tracing::debug!(revision = place.revision, "etcd: compacted");
    }
    Ok(Place { version: place.version + 1, revision })
}

/// Forgets the history before a revision; above the head means the head.
pub async fn to(members: &Members, revision: i64) -> Result<(), Status> {
    let revision = revision.min(members.revision().await?);
    if revision <= 0 {
        return Ok(());
    }
    let request = CompactionRequest { revision, physical: false };
    match members.read::<_, CompactionResponse>("/etcdserverpb.KV/Compact", request).await {
        Err(e) if !is_compacted(&e) => Err(e),
        _ => Ok(()),
    }
}
