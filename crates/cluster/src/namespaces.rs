//! Namespace deletion: empties a terminating namespace, then takes the `kubernetes` finalizer away.
//!
//! Pods go first, and nothing else before the last of them is gone (KEP-5080): what guards a pod, a network policy say, must
//! not go before it. The conditions say what happens; they are upstream's, with its words, and name pods that remain, too,
//! where upstream says nothing yet.

use crate::resources::{Resource, served};
use base::{clock::Clock, time::Timestamp};
use client::{Client, DeleteOptions, ListOptions, kinds};
use control::{Backoff, Cache, Caches, Outcome, Queue, Reconciler};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use value::{ObjectKey, Value, value};

const FINALIZER: &str = "kubernetes";

struct Namespaces {
    client: Client,
    namespaces: Cache,
    clock: Arc<dyn Clock>,
}

/// What is still in a namespace.
#[derive(Debug, Default)]
struct Remaining {
    /// `pods. has 2 resource instances`
    resources: Vec<String>,
    /// How many objects each finalizer holds.
    finalizers: BTreeMap<String, usize>,
    /// Kinds that could not be emptied.
    failures: Vec<String>,
    /// What is served could not be found out.
    undiscovered: Option<String>,
    last_error: Option<client::Error>,
}

/// Runs the controller until its cache ends.
pub async fn run(caches: Caches, clock: Arc<dyn Clock>) {
    // Pods take their grace period: look often at first, then every few seconds.
    let queue: Queue<ObjectKey> = Queue::new(Backoff { first: Duration::from_millis(50), max: Duration::from_secs(5) });
    let namespaces = caches.kind(&kinds::NAMESPACES);
    namespaces.subscribe(&queue, |event| event.new.filter(|o| o.meta.deleting).map(|o| o.key.clone()));
    namespaces.wait_synced().await;
    let controller = Namespaces { client: caches.client().clone(), namespaces, clock: clock.clone() };
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
        let mut remaining = self.empty(&key.name).await;
        let error = remaining.last_error.take();
        if error.is_some() || !remaining.resources.is_empty() {
            self.report(key, &namespace, &remaining).await?;
            return error.map_or(Ok(Outcome::Retry), Err);
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
    /// Deletes everything in a namespace, pods first; answers what is still there.
    async fn empty(&self, namespace: &str) -> Remaining {
        let mut remaining = Remaining::default();
        let mut resources = match served(&self.client).await {
            Ok(resources) => resources,
            Err(error) => {
                remaining.undiscovered = Some(error.to_string());
                remaining.last_error = Some(error);
                return remaining;
            }
        };
        resources.retain(|r| r.namespaced && r.can("delete") && r.can("list"));
        let (pods, others): (Vec<_>, Vec<_>) = resources.into_iter().partition(|r| r.gvr == kinds::PODS);
        for turn in [pods, others] {
            for resource in &turn {
                if let Err(error) = self.empty_of(resource, namespace, &mut remaining).await {
                    remaining.failures.push(error.to_string());
                    remaining.last_error = Some(error);
                }
            }
            if !remaining.resources.is_empty() {
                break;
            }
        }
        remaining.resources.sort();
        remaining.failures.sort();
        remaining
    }

    /// Deletes the objects of one kind.
    async fn empty_of(
        &self,
        resource: &Resource,
        namespace: &str,
        remaining: &mut Remaining,
    ) -> Result<(), client::Error> {
        let all = ListOptions::default();
        let api = self.client.api(&resource.gvr).namespace(namespace);
        let present = api.list(&all).await?.items;
        if present.is_empty() {
            return Ok(());
        }
        let options = DeleteOptions::default().propagation("Background");
        let failed = if resource.can("deletecollection") {
            api.delete_collection(&all, &options).await.err()
        } else {
            let mut failed = None;
            for object in present {
                match api.delete(&object.key.name, &options).await {
                    Err(error) if !error.is_not_found() => failed = Some(error),
                    _ => {}
                }
            }
            failed
        };
        let left = api.list(&all).await?.items;
        if !left.is_empty() {
            let (plural, group) = (&resource.gvr.plural, &resource.gvr.group);
            remaining.resources.push(format!("{plural}.{group} has {} resource instances", left.len()));
        }
        for object in left {
            for finalizer in object.value().items_at(&["metadata", "finalizers"]) {
                *remaining.finalizers.entry(finalizer.as_str().unwrap_or("").into()).or_default() += 1;
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Says in the namespace's conditions what keeps it.
    async fn report(&self, key: &ObjectKey, namespace: &Value, remaining: &Remaining) -> Result<(), client::Error> {
        let now = base::time::seconds(self.clock.now());
        let present = namespace.items_at(&["status", "conditions"]);
        let conditions = conditions(present, remaining, &now);
        if conditions == present {
            return Ok(());
        }
        let mut next = namespace.clone();
        next.set(&["status", "conditions"], conditions);
        match self.client.api(&kinds::NAMESPACES).update_status(&key.name, &next).await {
            Err(error) if error.is_conflict() => Ok(()),
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

/// The conditions with what remains; one whose status stays keeps its time.
fn conditions(present: &[Value], remaining: &Remaining, now: &str) -> Vec<Value> {
    let Remaining { resources, finalizers, failures, undiscovered, last_error: _ } = remaining;
    let held: Vec<String> =
        finalizers.iter().map(|(name, count)| format!("{name} in {count} resource instances")).collect();
    let failed = format!("Failed to delete all resource types, {} remaining: {}", failures.len(), failures.join(", "));
    let left = format!("Some resources are remaining: {}", resources.join(", "));
    let waits = format!("Some content in the namespace has finalizers remaining: {}", held.join(", "));
    let said = [
        (
            "NamespaceDeletionDiscoveryFailure",
            undiscovered.clone().map(|why| ("DiscoveryFailed", why)),
            ("ResourcesDiscovered", "All resources successfully discovered"),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        (
            "NamespaceDeletionContentFailure",
            (!failures.is_empty()).then_some(("ContentDeletionFailed", failed)),
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        ),
        (
            "NamespaceContentRemaining",
            (!resources.is_empty()).then_some(("SomeResourcesRemain", left)),
            ("ContentRemoved", "All content successfully removed"),
        ),
        (
            "NamespaceFinalizersRemaining",
            (!held.is_empty()).then_some(("SomeFinalizersRemain", waits)),
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    ];
    let mut out = present.to_vec();
    for (kind, trouble, (fine, fine_message)) in said {
        let (status, reason, message) = match trouble {
            Some((reason, message)) => ("True", reason, message),
            None => ("False", fine, fine_message.to_string()),
        };
        let known = out.iter().position(|c| c.str_at(&["type"]) == kind);
        let same = known.and_then(|i| out.get(i)).filter(|c| c.str_at(&["status"]) == status);
        let since = same.map_or(now, |c| c.str_at(&["lastTransitionTime"])).to_string();
        let condition = value!({
            "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since,
        });
        match known.and_then(|i| out.get_mut(i)) {
            Some(known) => *known = condition,
            None => out.push(condition),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_say_what_remains_and_keep_their_time() {
        let remaining = || Remaining {
            resources: vec!["pods. has 2 resource instances".into()],
            finalizers: [("example.com/hold".to_string(), 2)].into(),
            ..Remaining::default()
        };
        let said = conditions(&[], &remaining(), "t1");
        let told: Vec<_> = said.iter().map(|c| [c.str_at(&["status"]), c.str_at(&["message"])]).collect();
        assert_eq!(
            told,
            [
                ["False", "All resources successfully discovered"],
                ["False", "All legacy kube types successfully parsed"],
                ["False", "All content successfully deleted, may be waiting on finalization"],
                ["True", "Some resources are remaining: pods. has 2 resource instances"],
                [
                    "True",
                    "Some content in the namespace has finalizers remaining: example.com/hold in 2 resource instances"
                ],
            ]
        );
        assert_eq!(conditions(&said, &remaining(), "t2"), said);
        let fewer = Remaining { finalizers: BTreeMap::new(), failures: vec!["a".into(), "b".into()], ..remaining() };
        let next = conditions(&said, &fewer, "t3");
        assert_eq!(next[2].str_at(&["message"]), "Failed to delete all resource types, 2 remaining: a, b");
        let times: Vec<_> = next.iter().map(|c| c.str_at(&["lastTransitionTime"])).collect();
        assert_eq!(times, ["t1", "t1", "t3", "t1", "t3"]);
    }
}
