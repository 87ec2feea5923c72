//! Pods that nobody will end any more: on nodes that are gone, or deleted before they were placed.

use base::{clock::Clock, time::Timestamp};
use client::{Client, DeleteOptions, kinds};
use control::{Cache, Caches, Outcome, Queue, Reconciler};
use std::{sync::Arc, time::Duration};
use value::{Object, ObjectKey};

/// How long a node must be gone. Source: upstream's quarantine of `pkg/controller/podgc`.
const QUARANTINE: Duration = Duration::from_secs(40);

struct PodGc {
    client: Client,
    pods: Cache,
    nodes: Cache,
}

/// Runs the controller until its caches end.
pub async fn run(caches: Caches, clock: Arc<dyn Clock>) {
    let queue: Queue<ObjectKey> = Queue::default();
    let (pods, nodes) = (caches.kind(&kinds::PODS), caches.kind(&kinds::NODES));
    pods.index(control::index::NODE, control::index::node_name);
    nodes.wait_synced().await;
    pods.subscribe(&queue, |event| event.new.filter(|o| o.meta.deleting).map(|o| o.key.clone()));
    let (by_node, late) = (pods.clone(), queue.clone());
    nodes.on_event(move |event| {
        if event.new.is_none() {
            for pod in by_node.by_index(control::index::NODE, &event.key.name) {
                late.add_after(pod.key.clone(), QUARANTINE);
            }
        }
    });
    pods.wait_synced().await;
    // Nodes may have gone while nobody looked.
    for pod in pods.list() {
        queue.add_after(pod.key.clone(), QUARANTINE);
    }
    control::run(Arc::new(PodGc { client: caches.client().clone(), pods, nodes }), queue, 2, clock).await;
}

/// True for a pod that has no kubelet to end it.
fn forsaken(pod: &Object, node_exists: impl Fn(&str) -> bool) -> bool {
    let value = pod.tree();
    match value.str_at(&["spec", "nodeName"]) {
        "" => pod.meta.deleting,
        node => !node_exists(node),
    }
}

impl Reconciler for PodGc {
    type Key = ObjectKey;
    /// The uid of the pod to delete at once.
    type Plan = String;

    fn name(&self) -> &'static str {
        "pod-garbage-collector"
    }

    fn plan(&self, key: &ObjectKey, _now: Timestamp) -> Option<String> {
        let pod = self.pods.get(key)?;
        let gone = forsaken(&pod, |node| self.nodes.get(&ObjectKey::cluster(node)).is_some());
        gone.then(|| pod.meta.uid.to_string())
    }

    async fn execute(&self, key: &ObjectKey, uid: String) -> Result<Outcome, client::Error> {
        let api = self.client.api(&kinds::PODS).namespace(key.namespace.clone());
        match api.delete(&key.name, &DeleteOptions::uid(uid).grace(0)).await {
            Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
            _ => Ok(Outcome::Done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(node: &str, deleting: bool) -> Arc<Object> {
        let stamp = if deleting { r#","deletionTimestamp":"2026-01-01T00:00:00Z""# } else { "" };
        let json = format!(r#"{{"metadata":{{"name":"p","namespace":"n"{stamp}}},"spec":{{"nodeName":"{node}"}}}}"#);
        Object::from_json(json.into()).unwrap()
    }

    #[test]
    fn who_is_forsaken() {
        let exists = |n: &str| n == "here";
        for (node, deleting, want) in
            [("here", true, false), ("gone", false, true), ("", true, true), ("", false, false)]
        {
            assert_eq!(forsaken(&pod(node, deleting), exists), want, "{node:?} {deleting}");
        }
    }
}
