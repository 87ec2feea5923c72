//! The executor, for both kinds.

use super::{
    kind::Kind,
    plan::{Plan, plan},
    status::{self, status},
};
use crate::{claim, pod::Pod};
use base::{clock::Clock, time::Timestamp};
use client::{Client, DeleteOptions, Patch, kinds};
use control::{Cache, Caches, Expectations, Outcome, Queue, Reconciler, Recorder};
use futures::future::join_all;
use std::{sync::Arc, time::Duration};
use value::{ObjectKey, Str, Value};

struct Sets {
    kind: &'static Kind,
    client: Client,
    sets: Cache,
    pods: Cache<Arc<Pod>>,
    expectations: Arc<Expectations<ObjectKey>>,
    recorder: Recorder,
    clock: Arc<dyn Clock>,
}

/// Runs the controller of one of the two kinds until its caches end.
pub async fn run(kind: &'static Kind, caches: Caches, recorder: Recorder, clock: Arc<dyn Clock>) {
    let queue: Queue<ObjectKey> = Queue::default();
    let (sets, pods) = (caches.kind(&kind.gvr), caches.projected::<Pod>(&kinds::PODS));
    sets.index("uid", |o| vec![o.meta.uid.clone()]);
    // A look at one set reads its own pods and those that are nobody's, not the whole namespace.
    pods.index(kind.index, |pod| vec![pod.controller.clone().unwrap_or_else(|| orphans(&pod.key.namespace))]);
    let expectations: Arc<Expectations<ObjectKey>> = Arc::default();
    let seen = expectations.clone();
    sets.subscribe(&queue, move |event| {
        if event.new.is_none() {
            seen.forget(event.key);
        }
        Some(event.key.clone())
    });
    let (by_uid, seen) = (sets.clone(), expectations.clone());
    pods.subscribe(&queue, move |event| {
        let pod = event.latest();
        let owner = pod.controller.as_ref().and_then(|uid| by_uid.by_index("uid", uid).pop());
        if let Some(owner) = &owner {
            let was_going = event.old.is_some_and(|p| p.deleting);
            match (event.old, event.new) {
                (None, Some(_)) => seen.created(&owner.key),
                // A deletion counts when it begins: the pod stands no longer for a replica.
                (_, new) if !was_going && new.is_none_or(|p| p.deleting) => seen.deleted(&owner.key),
                _ => {}
            }
        }
        // A pod that is nobody's may be adopted by any set of its namespace.
        let mut keys: Vec<ObjectKey> = owner.map(|o| o.key.clone()).into_iter().collect();
        if pod.controller.is_none() && event.new.is_some() {
            keys.extend(by_uid.list_namespace(&event.key.namespace).iter().map(|o| o.key.clone()));
        }
        keys
    });
    sets.wait_synced().await;
    pods.wait_synced().await;
    let client = caches.client().clone();
    let controller = Sets { kind, client, sets, pods, expectations, recorder, clock: clock.clone() };
    control::run(Arc::new(controller), queue, 4, clock).await;
}

/// The index entry of a namespace's pods that have no controller; no uid looks like it.
fn orphans(namespace: &str) -> Str {
    format!("orphans/{namespace}").into()
}

/// A set and what it lacks.
#[derive(Debug)]
struct Work {
    set: Value,
    plan: Plan,
}

impl Reconciler for Sets {
    type Key = ObjectKey;
    type Plan = Work;

    fn name(&self) -> &'static str {
        self.kind.controller
    }

    fn plan(&self, key: &ObjectKey, now: Timestamp) -> Option<Work> {
        let set = self.sets.get(key)?.value();
        let pending = !self.expectations.satisfied(key, now);
        let mut pods = self.pods.by_index(self.kind.index, set.str_at(&["metadata", "uid"]));
        pods.extend(self.pods.by_index(self.kind.index, &orphans(&key.namespace)));
        let plan = plan(self.kind, &set, &pods, pending, now);
        (!plan.is_empty()).then_some(Work { set, plan })
    }

    async fn execute(&self, key: &ObjectKey, work: Work) -> Result<Outcome, client::Error> {
        let Work { set, plan } = work;
        self.claim(key, &set, &plan).await?;
        let mut failure = None;
        let mut outcome = if plan.pending { status::Outcome::Unknown } else { status::Outcome::Fine };
        if plan.create > 0 || !plan.delete.is_empty() {
            self.expectations.expect(key, plan.create, plan.delete.len(), self.clock.now());
            let created = self.create(key, &set, plan.create).await.err();
            let deleted = self.delete(key, &set, &plan.delete).await.err();
            let reason = if created.is_some() { "FailedCreate" } else { "FailedDelete" };
            failure = created.or(deleted);
            if let Some(error) = &failure {
                let message = error.status().map_or_else(|| error.to_string(), |status| status.message().to_string());
                outcome = status::Outcome::Failed(reason, message);
            }
        }
        if let Some(status) = status(self.kind, &set, &plan.counts, &outcome, self.clock.now()) {
            let api = self.client.api(&self.kind.gvr).namespace(key.namespace.clone());
            let mut next = set.clone();
            next.set(&["status"], status);
            match api.update_status(&key.name, &next).await {
                Ok(made) => self.sets.put(made.key.clone(), made.revision, made),
                // What was refused above comes back by itself; a status of an older state does, too.
                Err(_) if failure.is_some() => {}
                Err(error) => return Err(error),
            }
        }
        match (failure, plan.look_again) {
            (Some(error), _) => Err(error),
            (None, Some(delay)) => Ok(Outcome::After(delay.max(Duration::from_millis(1)))),
            (None, None) => Ok(Outcome::Done),
        }
    }
}

impl Sets {
    async fn claim(&self, key: &ObjectKey, set: &Value, plan: &Plan) -> Result<(), client::Error> {
        let api = self.client.api(&kinds::PODS).namespace(key.namespace.clone());
        let sets = self.client.api(&self.kind.gvr).namespace(key.namespace.clone());
        let adopting = !plan.adopt.is_empty() && claim::may_adopt(&sets, set).await?;
        for (name, uid) in plan.adopt.iter().filter(|_| adopting) {
            let patch = claim::adoption(self.kind.owner_reference(set), uid);
            ignore_gone(api.patch(name, &Patch::Strategic(patch)).await)?;
        }
        for (name, uid) in &plan.release {
            let patch = claim::release(set.str_at(&["metadata", "uid"]), uid);
            ignore_gone(api.patch(name, &Patch::Strategic(patch)).await)?;
        }
        Ok(())
    }

    /// Creates pods in batches of 1, 2, 4 …, so that a template that is refused costs one request, not five hundred.
    async fn create(&self, key: &ObjectKey, set: &Value, count: usize) -> Result<(), client::Error> {
        let pod = from_template(self.kind, set);
        let api = self.client.api(&kinds::PODS).namespace(key.namespace.clone());
        let about = self.kind.event_reference(set);
        let (mut left, mut batch) = (count, 1);
        while left > 0 {
            let now = batch.min(left);
            let results = join_all((0..now).map(|_| api.create(&pod))).await;
            left -= now;
            batch *= 2;
            let mut failure = None;
            for result in results {
                match result {
                    Ok(made) => {
                        self.recorder.normal(&about, "SuccessfulCreate", format!("Created pod: {}", made.name()))
                    }
                    // Nothing can be created where everything is about to go.
                    Err(error) if in_terminating_namespace(&error) => self.expectations.created(key),
                    Err(error) => {
                        self.expectations.created(key);
                        self.recorder.warning(&about, "FailedCreate", format!("Error creating: {error}"));
                        failure = Some(error);
                    }
                }
            }
            if let Some(error) = failure {
                (0..left).for_each(|_| self.expectations.created(key));
                return Err(error);
            }
        }
        Ok(())
    }

    async fn delete(&self, key: &ObjectKey, set: &Value, names: &[Str]) -> Result<(), client::Error> {
        let api = self.client.api(&kinds::PODS).namespace(key.namespace.clone());
        let (about, options) = (self.kind.event_reference(set), DeleteOptions::default());
        let results = join_all(names.iter().map(|name| api.delete(name, &options))).await;
        let mut failure = None;
        for (name, result) in names.iter().zip(results) {
            match result {
                Ok(()) => self.recorder.normal(&about, "SuccessfulDelete", format!("Deleted pod: {name}")),
                Err(error) => {
                    self.expectations.deleted(key);
                    if !error.is_not_found() {
                        self.recorder.warning(&about, "FailedDelete", format!("Error deleting: {error}"));
                        failure = Some(error);
                    }
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }
}

fn from_template(kind: &Kind, set: &Value) -> Value {
    let template = set.at(&["spec", "template"]);
    let mut pod = Value::object();
    for field in ["labels", "annotations", "finalizers"] {
        let found = template.at(&["metadata", field]);
        if !found.is_null() {
            pod.set(&["metadata", field], found);
        }
    }
    // A long name is cut so that the random part fits into a label.
    let prefix: String = set.name().chars().take(57).collect();
    pod.set(&["apiVersion"], "v1");
    pod.set(&["kind"], "Pod");
    pod.set(&["metadata", "generateName"], format!("{prefix}-"));
    pod.set(&["metadata", "namespace"], set.namespace());
    pod.set(&["metadata", "ownerReferences"], vec![kind.owner_reference(set)]);
    pod.set(&["spec"], template.at(&["spec"]));
    pod
}

fn in_terminating_namespace(error: &client::Error) -> bool {
    let tells = |status: &base::Status| {
        let causes = status.to_json()["details"]["causes"].clone();
        causes.as_array().is_some_and(|causes| causes.iter().any(|cause| cause["reason"] == "NamespaceTerminating"))
    };
    error.status().is_some_and(tells)
}

fn ignore_gone<T>(result: Result<T, client::Error>) -> Result<(), client::Error> {
    match result {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}
