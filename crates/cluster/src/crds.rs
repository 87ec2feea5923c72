//! The end of a CustomResourceDefinition: deletes the objects of its kind, then takes its finalizer away.

use base::{clock::Clock, time::Timestamp};
use client::{Client, DeleteOptions, Gvr, ListOptions, Patch, kinds};
use control::{Backoff, Cache, Caches, Outcome, Queue, Reconciler};
use std::{sync::Arc, time::Duration};
use value::{ObjectKey, Value, value};

const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

struct Definitions {
    client: Client,
    definitions: Cache,
}

/// Runs the controller until its cache ends.
pub async fn run(caches: Caches, clock: Arc<dyn Clock>) {
    let queue: Queue<ObjectKey> = Queue::new(Backoff { first: Duration::from_millis(50), max: Duration::from_secs(5) });
    let definitions = caches.kind(&kinds::CRDS);
    definitions.subscribe(&queue, |event| event.new.filter(|o| o.meta.deleting).map(|o| o.key.clone()));
    definitions.wait_synced().await;
    control::run(Arc::new(Definitions { client: caches.client().clone(), definitions }), queue, 1, clock).await;
}

/// Where the objects are, and the finalizers that stay.
#[derive(Debug)]
struct Cleanup {
    gvr: Gvr,
    keep: Vec<Value>,
}

impl Reconciler for Definitions {
    type Key = ObjectKey;
    type Plan = Cleanup;

    fn name(&self) -> &'static str {
        "crd-cleanup"
    }

    fn plan(&self, key: &ObjectKey, _now: Timestamp) -> Option<Cleanup> {
        let crd = self.definitions.get(key).filter(|o| o.meta.deleting)?.value();
        let (ours, keep): (Vec<Value>, Vec<Value>) =
            crd.items_at(&["metadata", "finalizers"]).iter().cloned().partition(|f| *f == FINALIZER);
        let version =
            crd.items_at(&["spec", "versions"]).iter().find(|v| v.at(&["storage"]).as_bool() == Some(true))?;
        let gvr = Gvr::new(
            crd.str_at(&["spec", "group"]),
            version.str_at(&["name"]),
            crd.str_at(&["spec", "names", "plural"]),
        );
        (!ours.is_empty()).then_some(Cleanup { gvr, keep })
    }

    async fn execute(&self, key: &ObjectKey, cleanup: Cleanup) -> Result<Outcome, client::Error> {
        let api = self.client.api(&cleanup.gvr);
        match api.list(&ListOptions::default()).await {
            Ok(list) if !list.items.is_empty() => {
                for object in &list.items {
                    let api = api.namespace(object.key.namespace.clone());
                    match api.delete(object.name(), &DeleteOptions::uid(object.meta.uid.as_str())).await {
                        Err(error) if !error.is_not_found() && !error.is_conflict() => return Err(error),
                        _ => {}
                    }
                }
                return Ok(Outcome::Retry);
            }
            // It was never served: there is nothing to delete.
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
        let patch = value!({"metadata": {"finalizers": Value::Array(cleanup.keep)}});
        match self.client.api(&kinds::CRDS).patch(&key.name, &Patch::Merge(patch)).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(Outcome::Done),
        }
    }
}
