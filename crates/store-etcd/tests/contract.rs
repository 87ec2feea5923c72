//! A store on an etcd passes the contract. A new etcd begins at revision 1 where the others begin at 0; nothing else differs.

use std::sync::Arc;
use store::{
    BoxFuture, Bytes, Change, CommitError, Condition, Item, OpenError, ReadError, Revision, Sink, Store, Txn,
    contract::Harness,
};
use store_etcd::{Etcd, lab::Lab};
use tokio::{runtime::Handle, task::block_in_place};

struct OnEtcd(Lab);

impl Harness for OnEtcd {
    fn open(&mut self) -> Arc<dyn Store> {
        Arc::new(Shifted(block_in_place(|| Handle::current().block_on(self.0.store("/")))))
    }
    fn reopen(&mut self) -> Option<Arc<dyn Store>> {
        self.0.restart(0);
        Some(self.open())
    }
}

store::contract_suite!(|case: &str| OnEtcd(Lab::one(case)));

/// Revisions from 0.
struct Shifted(Arc<Etcd>);

fn down(revision: Revision) -> Revision {
    Revision(revision.0.saturating_sub(1))
}

fn item((key, at, value): Item) -> Item {
    (key, down(at), value)
}

impl Store for Shifted {
    fn commit(&self, mut txn: Txn) -> BoxFuture<'_, Result<Revision, CommitError>> {
        for condition in &mut txn.conditions {
            if let Condition::At { revision, .. } = condition {
                *revision = revision.next();
            }
        }
        let committing = self.0.commit(txn);
        Box::pin(async move {
            committing.await.map(down).map_err(|e| match e {
                CommitError::Conflict { key, current } => CommitError::Conflict { key, current: current.map(down) },
                other => other,
            })
        })
    }
    fn subscribe(&self, sink: Arc<dyn Sink>) -> BoxFuture<'_, Result<Revision, OpenError>> {
        let subscribing = self.0.subscribe(Arc::new(ShiftedSink(sink)));
        Box::pin(async move { subscribing.await.map(down) })
    }
    fn get(&self, key: &str) -> BoxFuture<'_, Result<Option<(Revision, Bytes)>, ReadError>> {
        let getting = self.0.get(key);
        Box::pin(async move { Ok(getting.await?.map(|(at, value)| (down(at), value))) })
    }
    fn range(&self, prefix: &str, after: Option<&str>, limit: usize) -> BoxFuture<'_, Result<Vec<Item>, ReadError>> {
        let ranging = self.0.range(prefix, after, limit);
        Box::pin(async move { Ok(ranging.await?.into_iter().map(item).collect()) })
    }
    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), CommitError>> {
        self.0.compact(revision.next())
    }
    fn head(&self) -> Revision {
        down(self.0.head())
    }
}

struct ShiftedSink(Arc<dyn Sink>);

impl Sink for ShiftedSink {
    fn base(&self, revision: Revision, items: &mut dyn Iterator<Item = Item>) {
        self.0.base(down(revision), &mut items.map(item));
    }
    fn changes(&self, batch: &[Change]) {
        let shift = |c: &Change| Change { revision: down(c.revision), previous: c.previous.map(down), ..c.clone() };
        self.0.changes(&batch.iter().map(shift).collect::<Vec<_>>());
    }
}
