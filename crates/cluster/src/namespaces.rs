//! Namespace deletion: empties a terminating namespace, kind by kind, then takes the `kubernetes` finalizer away.

use crate::resources::served;
use base::{clock::Clock, time::Timestamp};
use client::{Client, DeleteOptions, ListOptions, kinds};
use control::{Backoff, Cache, Caches, Outcome, Queue, Reconciler};
use std::{sync::Arc, time::Duration};
use value::{ObjectKey, Value, value};

const FINALIZER: &str = "kubernetes";

struct Namespaces {
    client: Client,
    namespaces: Cache,
}

/// Runs the controller until its cache ends.
pub async fn run(caches: Caches, clock: Arc<dyn Clock>) {
    // Pods take their grace period: look often at first, then every few seconds.
    let queue: Queue<ObjectKey> = Queue::new(Backoff { first: Duration::from_millis(50), max: Duration::from_secs(5) });
    let namespaces = caches.kind(&kinds::NAMESPACES);
    namespaces.subscribe(&queue, |event| event.new.filter(|o| o.meta.deleting).map(|o| o.key.clone()));
    namespaces.wait_synced().await;
    let controller = Namespaces { client: caches.client().clone(), namespaces };
    control::run(Arc::new(controller), queue, 4, clock).await;
}

/// Empty this namespace: the object as cached.
#[derive(Debug)]
struct Empty(Value);

impl Reconciler for Namespaces {
    type Key = ObjectKey;
    type Plan = Empty;

    fn name(&self) -> &'static str {
        "namespace"
    }

    fn plan(&self, key: &ObjectKey, _now: Timestamp) -> Option<Empty> {
        let object = self.namespaces.get(key).filter(|o| o.meta.deleting)?;
        let value = object.value();
        value.items_at(&["spec", "finalizers"]).iter().any(|f| *f == FINALIZER).then_some(Empty(value))
    }

    async fn execute(&self, key: &ObjectKey, Empty(namespace): Empty) -> Result<Outcome, client::Error> {
        let remaining = self.empty(&key.name).await?;
        if !remaining.is_empty() {
            self.report(key, &namespace, &remaining).await?;
            return Ok(Outcome::Retry);
        }
        let mut next = namespace;
        let finalizers = next.items_at(&["spec", "finalizers"]).iter().filter(|f| **f != FINALIZER).cloned();
        let finalizers: Vec<Value> = finalizers.collect();
        next.set(&["spec", "finalizers"], finalizers);
        match self.client.api(&kinds::NAMESPACES).update_subresource(&key.name, "finalize", &next).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(Outcome::Done),
        }
    }
}

impl Namespaces {
    /// Deletes everything in a namespace; what is still there, as `pods. has 2 resource instances`.
    async fn empty(&self, namespace: &str) -> Result<Vec<String>, client::Error> {
        let mut remaining = Vec::new();
        let all = ListOptions::default();
        for resource in served(&self.client).await?.iter().filter(|r| r.namespaced && r.can("delete") && r.can("list"))
        {
            let api = self.client.api(&resource.gvr).namespace(namespace);
            if api.list(&all).await?.items.is_empty() {
                continue;
            }
            let options = DeleteOptions::default().propagation("Background");
            if resource.can("deletecollection") {
                api.delete_collection(&all, &options).await?;
            }
            let left = api.list(&all).await?.items.len();
            if left > 0 {
                remaining.push(format!("{}.{} has {left} resource instances", resource.gvr.plural, resource.gvr.group));
            }
        }
        Ok(remaining)
    }

    /// Says in the namespace's conditions what keeps it.
    async fn report(&self, key: &ObjectKey, namespace: &Value, remaining: &[String]) -> Result<(), client::Error> {
        let message = format!("Some resources are remaining: {}", remaining.join(", "));
        let present = namespace.items_at(&["status", "conditions"]).iter();
        if present.clone().any(|c| c.str_at(&["message"]) == message) {
            return Ok(());
        }
        let now = base::time::seconds(base::clock::System.now());
        let mut conditions = namespace.items_at(&["status", "conditions"]).to_vec();
        conditions.retain(|c| c.str_at(&["type"]) != "NamespaceContentRemaining");
        conditions.push(value!({
            "type": "NamespaceContentRemaining", "status": "True", "reason": "SomeResourcesRemain",
            "message": message, "lastTransitionTime": now,
        }));
        let mut next = namespace.clone();
        next.set(&["status", "conditions"], conditions);
        match self.client.api(&kinds::NAMESPACES).update_status(&key.name, &next).await {
            Err(error) if error.is_conflict() => Ok(()),
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}
