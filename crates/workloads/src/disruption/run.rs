//! The disruption controller's executor: one key per budget.

use super::plan::{Plan, plan};
use crate::pod::Pod;
use base::{clock::Clock, time::Timestamp};
use client::{Client, Gvr, kinds};
use control::{Cache, Caches, Outcome, Queue, Reconciler};
use select::LabelSelector;
use std::sync::Arc;
use value::{Object, ObjectKey, Str, Value};

const BUDGETS: Gvr = Gvr::inline("policy", "v1", "poddisruptionbudgets");
const CONTROLLERS: Gvr = Gvr::inline("", "v1", "replicationcontrollers");
const STATEFUL_SETS: Gvr = Gvr::inline("apps", "v1", "statefulsets");
const UID: &str = "uid";

struct Budgets {
    client: Client,
    budgets: Cache,
    pods: Cache<Arc<Pod>>,
    deployments: Cache,
    sets: Cache,
    /// Controllers that are nobody's: their scale is their own.
    others: [Cache; 2],
}

/// Runs the controller until its caches end.
pub async fn run(caches: Caches, clock: Arc<dyn Clock>) {
    let queue: Queue<ObjectKey> = Queue::default();
    let controller = Arc::new(Budgets {
        client: caches.client().clone(),
        budgets: caches.kind(&BUDGETS),
        pods: caches.projected(&kinds::PODS),
        deployments: caches.kind(&kinds::DEPLOYMENTS),
        sets: caches.kind(&kinds::REPLICA_SETS),
        others: [caches.kind(&CONTROLLERS), caches.kind(&STATEFUL_SETS)],
    });
    controller.budgets.subscribe_keys(&queue);
    let budgets = controller.budgets.clone();
    controller.pods.subscribe(&queue, move |event| {
        let states: Vec<&Value> = [event.old, event.new].into_iter().flatten().map(|pod| &pod.labels).collect();
        let of_namespace = budgets.list_namespace(&event.key.namespace).into_iter();
        let concerned = of_namespace.filter(|budget| {
            selector(&budget.tree()).is_some_and(|selector| states.iter().any(|labels| selector.matches_map(labels)))
        });
        concerned.map(|budget| budget.key.clone()).collect::<Vec<_>>()
    });
    // How many pods a controller wants may be known later than its pods.
    for cache in [&controller.deployments, &controller.sets].into_iter().chain(&controller.others) {
        cache.index(UID, |o| vec![o.meta.uid.clone()]);
        let budgets = controller.budgets.clone();
        cache.subscribe(&queue, move |event| {
            budgets.list_namespace(&event.key.namespace).iter().map(|budget| budget.key.clone()).collect::<Vec<_>>()
        });
    }
    for cache in [&controller.budgets, &controller.deployments, &controller.sets].into_iter().chain(&controller.others)
    {
        cache.wait_synced().await;
    }
    controller.pods.wait_synced().await;
    control::run(controller, queue, 2, clock).await;
}

/// Which pods a budget guards; `None`: none.
fn selector(budget: &Value) -> Option<LabelSelector> {
    let selector = budget.at(&["spec", "selector"]);
    if selector.is_null() {
        return None;
    }
    LabelSelector::from_object(selector).ok()
}

impl Budgets {
    /// The controller that decides how many such pods there are, and how many that is.
    fn scale(&self, pod: &Pod) -> Option<(Str, i64)> {
        let uid = pod.controller.as_deref()?;
        let replicas = |o: &Arc<Object>| (o.meta.uid.clone(), o.tree().at(&["spec", "replicas"]).as_i64().unwrap_or(1));
        if let Some(set) = self.sets.by_index(UID, uid).pop() {
            // A set of a deployment follows that.
            let owner = control::index::controller_uid(&set).into_iter().next();
            let deployment = owner.and_then(|uid| self.deployments.by_index(UID, &uid).pop());
            return Some(replicas(deployment.as_ref().unwrap_or(&set)));
        }
        self.others.iter().find_map(|cache| cache.by_index(UID, uid).pop()).as_ref().map(replicas)
    }
}

impl Reconciler for Budgets {
    type Key = ObjectKey;
    type Plan = (Value, Plan);

    fn name(&self) -> &'static str {
        "disruption"
    }

    fn plan(&self, key: &ObjectKey, now: Timestamp) -> Option<(Value, Plan)> {
        let budget = self.budgets.get(key)?.value();
        let selector = selector(&budget);
        let mut pods = self.pods.list_namespace(&key.namespace);
        pods.retain(|pod| selector.as_ref().is_some_and(|selector| selector.matches_map(&pod.labels)));
        let plan = plan(&budget, &pods, &|pod| self.scale(pod), now);
        (plan != Plan::default()).then_some((budget, plan))
    }

    async fn execute(&self, key: &ObjectKey, (mut budget, plan): (Value, Plan)) -> Result<Outcome, client::Error> {
        if let Some(status) = plan.status {
            budget.set(&["status"], status);
            let api = self.client.api(&BUDGETS).namespace(key.namespace.clone());
            match api.update_status(&key.name, &budget).await {
                Ok(made) => self.budgets.put(made.key.clone(), made.revision, made),
                Err(error) if error.is_not_found() => return Ok(Outcome::Done),
                // An eviction took from the budget meanwhile: its event brings the key back.
                Err(error) => return Err(error),
            }
        }
        Ok(plan.look_again.map_or(Outcome::Done, Outcome::After))
    }
}
