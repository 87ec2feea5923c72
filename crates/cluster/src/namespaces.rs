//! Namespace deletion: empties a terminating namespace, kind by kind, then takes the `kubernetes` finalizer away.

use crate::resources::served;
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
        let remaining = self.empty(&key.name).await?;
        if !remaining.resources.is_empty() {
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
    /// Deletes everything in a namespace; answers what is still there.
    async fn empty(&self, namespace: &str) -> Result<Remaining, client::Error> {
        let mut remaining = Remaining::default();
        let all = ListOptions::default();
        let mut resources = served(&self.client).await?;
        resources.retain(|r| r.namespaced && r.can("delete") && r.can("list"));
        // What pods use must not go before them. Source: KEP-5080.
        resources.sort_by_key(|r| r.gvr != kinds::PODS);
        for resource in &resources {
            let api = self.client.api(&resource.gvr).namespace(namespace);
            if api.list(&all).await?.items.is_empty() {
                continue;
            }
            let options = DeleteOptions::default().propagation("Background");
            if resource.can("deletecollection") {
                api.delete_collection(&all, &options).await?;
            }
            let left = api.list(&all).await?.items;
            if !left.is_empty() {
                let (plural, group) = (&resource.gvr.plural, &resource.gvr.group);
                remaining.resources.push(format!("{plural}.{group} has {} resource instances", left.len()));
            }
            for object in &left {
                for finalizer in object.value().items_at(&["metadata", "finalizers"]) {
                    *remaining.finalizers.entry(finalizer.as_str().unwrap_or("").into()).or_default() += 1;
                }
            }
            if !left.is_empty() && resource.gvr == kinds::PODS {
                break;
            }
        }
        Ok(remaining)
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

/// The conditions with what remains; an unchanged one keeps its time. All that upstream has are there: clients take
/// their presence for a sign that the controller has begun.
fn conditions(present: &[Value], remaining: &Remaining, now: &str) -> Vec<Value> {
    let held = remaining.finalizers.iter().map(|(name, count)| format!("{name} in {count} resource instances"));
    let held = held.collect::<Vec<_>>().join(", ");
    let content = remaining.resources.join(", ");
    let content = (!content.is_empty()).then(|| format!("Some resources are remaining: {content}"));
    let held = (!held.is_empty()).then(|| format!("Some content in the namespace has finalizers remaining: {held}"));
    let deleted = "All content successfully deleted, may be waiting on finalization";
    let said = [
        ("NamespaceDeletionDiscoveryFailure", "", None, "ResourcesDiscovered", "All resources successfully discovered"),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            "",
            None,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        ("NamespaceDeletionContentFailure", "", None, "ContentDeleted", deleted),
        (
            "NamespaceContentRemaining",
            "SomeResourcesRemain",
            content,
            "ContentRemoved",
            "All content successfully removed",
        ),
        (
            "NamespaceFinalizersRemaining",
            "SomeFinalizersRemain",
            held,
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        ),
    ];
    let mut out = present.to_vec();
    for (kind, bad_reason, bad, good_reason, good) in said {
        let (status, reason, message) = match &bad {
            Some(bad) => ("True", bad_reason, bad.as_str()),
            None => ("False", good_reason, good),
        };
        let same = |c: &Value| c.str_at(&["status"]) == status && c.str_at(&["message"]) == message;
        let old = present.iter().find(|c| c.str_at(&["type"]) == kind);
        if old.is_some_and(same) {
            continue;
        }
        out.retain(|c| c.str_at(&["type"]) != kind);
        out.push(value!({
            "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": now,
        }));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_say_what_remains_and_keep_their_time() {
        let remaining = Remaining {
            resources: vec!["pods. has 2 resource instances".into()],
            finalizers: [("example.com/hold".to_string(), 2)].into(),
        };
        let said = conditions(&[], &remaining, "t1");
        let holding = said.iter().filter(|c| c.str_at(&["status"]) == "True");
        let messages: Vec<_> = holding.map(|c| c.str_at(&["message"])).collect();
        assert_eq!(said.len(), 5);
        assert_eq!(
            messages,
            [
                "Some resources are remaining: pods. has 2 resource instances",
                "Some content in the namespace has finalizers remaining: example.com/hold in 2 resource instances",
            ]
        );
        assert_eq!(conditions(&said, &remaining, "t2"), said);
        let fewer = Remaining { finalizers: BTreeMap::new(), ..remaining };
        let fewer = conditions(&said, &fewer, "t3");
        assert_eq!((fewer.len(), &fewer[..4]), (5, &said[..4]));
        assert_eq!((fewer[4].str_at(&["status"]), fewer[4].str_at(&["lastTransitionTime"])), ("False", "t3"));
    }
}
