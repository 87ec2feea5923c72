//! A ServiceAccount `default` in every namespace.

use base::{clock::Clock, time::Timestamp};
use client::{Client, kinds};
use control::{Cache, Caches, Outcome, Queue, Reconciler};
use std::sync::Arc;
use value::{Str, Value, value};

struct ServiceAccounts {
    client: Client,
    namespaces: Cache,
    accounts: Cache,
}

/// Runs the controller until its caches end.
pub async fn run(caches: Caches, clock: Arc<dyn Clock>) {
    let queue: Queue<Str> = Queue::default();
    let (namespaces, accounts) = (caches.kind(&kinds::NAMESPACES), caches.kind(&kinds::SERVICE_ACCOUNTS));
    namespaces.subscribe(&queue, |event| event.new.map(|o| o.key.name.clone()));
    accounts.subscribe(&queue, |event| event.new.is_none().then(|| event.key.namespace.clone()));
    namespaces.wait_synced().await;
    accounts.wait_synced().await;
    let controller = ServiceAccounts { client: caches.client().clone(), namespaces, accounts };
    control::run(Arc::new(controller), queue, 1, clock).await;
}

impl Reconciler for ServiceAccounts {
    type Key = Str;
    type Plan = Value;

    fn name(&self) -> &'static str {
        "serviceaccount"
    }

    fn plan(&self, namespace: &Str, _now: Timestamp) -> Option<Value> {
        self.namespaces.get(&value::ObjectKey::cluster(namespace.clone())).filter(|o| !o.meta.deleting)?;
        let lacks = self.accounts.get(&value::ObjectKey::new(namespace.clone(), "default")).is_none();
        lacks.then(|| value!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}))
    }

    async fn execute(&self, namespace: &Str, account: Value) -> Result<Outcome, client::Error> {
        let api = self.client.api(&kinds::SERVICE_ACCOUNTS).namespace(namespace.clone());
        match api.create(&account).await {
            Err(error) if error.is_already_exists() || error.is_not_found() => Ok(Outcome::Done),
            other => other.map(|_| Outcome::Done),
        }
    }
}
