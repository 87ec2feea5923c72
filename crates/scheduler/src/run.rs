//! The loop: events keep the snapshot, waiting pods are decided one by one, bindings are written beside it.
//!
//! One task owns the snapshot, so no decision races another; the write of a binding (which waits for a disk) does not
//! hold the next decision up. A binding that fails is taken back and tried again. Pods that fit nowhere wait for a change
//! that may help: a node, or a pod that leaves one.

use crate::{
    decide::{Decision, decide},
    inbox::{Inbox, Input, Of},
    model::{Node, Pod},
    snapshot::Snapshot,
};
use base::{clock::Clock, time};
use client::{Client, Patch, kinds};
use control::{Backoff, Caches, EventKind, Recorder, Reference};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};
use tokio::time::Instant;
use value::{ObjectKey, Str, Value, value};

/// The name that pods ask for by default.
pub const DEFAULT: &str = "default-scheduler";

/// A binding was refused or could not be written.
struct Failed(Arc<Pod>, String);

struct Scheduler {
    client: Client,
    recorder: Recorder,
    clock: Arc<dyn Clock>,
    snapshot: Snapshot,
    /// Pods to be placed, by falling priority and age of arrival.
    waiting: BTreeMap<(Reverse<i64>, u64), Arc<Pod>>,
    places: HashMap<ObjectKey, (Reverse<i64>, u64)>,
    /// Pods that fit nowhere when last looked at.
    parked: HashMap<ObjectKey, Arc<Pod>>,
    /// Bindings under way: the cache may still show the pod as waiting.
    assumed: HashMap<ObjectKey, Str>,
    failures: HashMap<ObjectKey, (u32, Instant)>,
    arrivals: u64,
    inbox: Inbox<Failed>,
}

/// Runs the scheduler until its caches end.
pub async fn run(caches: Caches, recorder: Recorder, clock: Arc<dyn Clock>) {
    let inbox: Inbox<Failed> = Inbox::default();
    let (pods, nodes) = (caches.kind(&kinds::PODS), caches.kind(&kinds::NODES));
    let to = inbox.clone();
    nodes.on_event(move |e| to.changed(Of::Node, e.key.clone(), e.new.cloned()));
    let to = inbox.clone();
    pods.on_event(move |e| to.changed(Of::Pod, e.key.clone(), e.new.cloned()));
    nodes.wait_synced().await;
    pods.wait_synced().await;
    let mut scheduler = Scheduler {
        client: caches.client().clone(),
        recorder,
        clock,
        snapshot: Snapshot::default(),
        waiting: BTreeMap::new(),
        places: HashMap::new(),
        parked: HashMap::new(),
        assumed: HashMap::new(),
        failures: HashMap::new(),
        arrivals: 0,
        inbox: inbox.clone(),
    };
    loop {
        let retry = scheduler.failures.values().map(|f| f.1).min();
        tokio::select! {
            inputs = inbox.take() => inputs.into_iter().for_each(|input| scheduler.take(input)),
            () = sleep_until(retry) => scheduler.retry_failed(),
        }
        scheduler.decide_waiting();
    }
}

impl Scheduler {
    fn take(&mut self, input: Input<Failed>) {
        match input {
            Input::Changed(Of::Node, key, Some(object)) => {
                let node = Node::read(&object);
                // Heartbeats change nothing that a decision reads.
                let old = self.snapshot.nodes.get(&key.name).map(|s| s.node.clone());
                let helps = old.is_none_or(|old| {
                    old.labels.labels != node.labels.labels
                        || old.taints != node.taints
                        || old.unschedulable != node.unschedulable
                        || old.allocatable != node.allocatable
                });
                self.snapshot.set_node(node);
                if helps {
                    self.unpark();
                }
            }
            Input::Changed(Of::Node, key, None) => self.snapshot.remove_node(&key.name),
            Input::Changed(Of::Pod, key, Some(object)) => self.pod(key, Arc::new(Pod::read(&object))),
            Input::Changed(Of::Pod, key, None) => {
                self.forget(&key);
                self.assumed.remove(&key);
                self.snapshot.remove_pod(&key);
                self.unpark();
            }
            Input::Told(Failed(pod, why)) => {
                tracing::debug!(pod = %pod.key, why, "binding failed");
                if self.assumed.remove(&pod.key).is_some() {
                    self.snapshot.remove_pod(&pod.key);
                    let tries = self.failures.get(&pod.key).map_or(0, |f| f.0) + 1;
                    let delay = Backoff {
                        first: std::time::Duration::from_millis(100),
                        max: std::time::Duration::from_secs(10),
                    };
                    self.failures.insert(pod.key.clone(), (tries, Instant::now() + delay.delay(tries)));
                    self.parked.insert(pod.key.clone(), pod);
                }
            }
        }
    }

    fn pod(&mut self, key: ObjectKey, pod: Arc<Pod>) {
        if !pod.waits(DEFAULT) {
            self.forget(&key);
            self.assumed.remove(&key);
            let left = pod.finished || pod.node.is_empty();
            self.snapshot.set_pod(pod);
            if left {
                self.unpark();
            }
            return;
        }
        if self.assumed.contains_key(&key) {
            return;
        }
        let changed = self.parked.get(&key).is_none_or(|old| !same_demand(old, &pod));
        if changed {
            self.forget(&key);
            self.enqueue(pod);
        } else {
            self.parked.insert(key, pod);
        }
    }

    fn enqueue(&mut self, pod: Arc<Pod>) {
        self.arrivals += 1;
        let place = (Reverse(pod.priority), self.arrivals);
        if let Some(old) = self.places.insert(pod.key.clone(), place) {
            self.waiting.remove(&old);
        }
        self.waiting.insert(place, pod);
    }

    fn forget(&mut self, key: &ObjectKey) {
        if let Some(place) = self.places.remove(key) {
            self.waiting.remove(&place);
        }
        self.parked.remove(key);
        self.failures.remove(key);
    }

    /// Something changed that may help those who fit nowhere.
    fn unpark(&mut self) {
        let ready: Vec<ObjectKey> = self.parked.keys().filter(|k| !self.failures.contains_key(*k)).cloned().collect();
        for pod in ready.iter().filter_map(|key| self.parked.remove(key)).collect::<Vec<_>>() {
            self.enqueue(pod);
        }
    }

    fn retry_failed(&mut self) {
        let now = Instant::now();
        let due: Vec<ObjectKey> = self.failures.iter().filter(|(_, f)| f.1 <= now).map(|(k, _)| k.clone()).collect();
        for key in due {
            // The count stays with a pod that is tried again at once.
            let tries = self.failures.remove(&key).map_or(0, |f| f.0);
            if let Some(pod) = self.parked.remove(&key) {
                tracing::debug!(pod = %key, tries, "binding again");
                self.enqueue(pod);
            }
        }
    }

    fn decide_waiting(&mut self) {
        while let Some((_, pod)) = self.waiting.pop_first() {
            self.places.remove(&pod.key);
            let decision = decide(&pod, &self.snapshot);
            tracing::debug!(pod = %pod.key, ?decision, "decided");
            match decision {
                Decision::Bind(node) => self.bind(pod, node),
                Decision::Unschedulable(why) => self.park(pod, "Unschedulable", why),
                Decision::Gated => {
                    self.park(pod, "SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates".into());
                }
            }
        }
    }

    fn bind(&mut self, pod: Arc<Pod>, node: Str) {
        self.assumed.insert(pod.key.clone(), node.clone());
        self.snapshot.set_pod(Arc::new(Pod { node: node.clone(), ..(*pod).clone() }));
        let (api, inbox) = (self.client.api(&kinds::PODS).namespace(pod.key.namespace.clone()), self.inbox.clone());
        let recorder = self.recorder.clone();
        let binding = value!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": pod.key.name.as_str(), "namespace": pod.key.namespace.as_str(), "uid": pod.uid.as_str()},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node.as_str()},
        });
        tokio::spawn(async move {
            match api.post_subresource(&pod.key.name, "binding", &binding).await {
                Ok(_) => {
                    let text = format!("Successfully assigned {} to {node}", pod.key);
                    recorder.event(&about(&pod), EventKind::Normal, "Scheduled", text);
                }
                Err(error) => inbox.tell(Failed(pod, error.to_string())),
            }
        });
    }

    fn park(&mut self, pod: Arc<Pod>, reason: &str, message: String) {
        let told = pod.told.as_ref().is_some_and(|(status, text)| status == "False" && *text == message);
        if !told {
            if reason == "Unschedulable" {
                self.recorder.event(&about(&pod), EventKind::Warning, "FailedScheduling", message.clone());
            }
            let patch = Patch::Strategic(condition(reason, &message, time::seconds(self.clock.now())));
            let (api, name) =
                (self.client.api(&kinds::PODS).namespace(pod.key.namespace.clone()), pod.key.name.clone());
            tokio::spawn(async move {
                if let Err(error) = api.patch_status(&name, &patch).await {
                    tracing::debug!(pod = %name, %error, "the PodScheduled condition was not written");
                }
            });
        }
        self.parked.insert(pod.key.clone(), pod);
    }
}

/// True where nothing changed that a decision reads: a status was written.
fn same_demand(a: &Pod, b: &Pod) -> bool {
    a.requests == b.requests
        && a.selector == b.selector
        && a.required == b.required
        && a.tolerations == b.tolerations
        && a.gates == b.gates
        && a.meta.labels == b.meta.labels
        && a.priority == b.priority
}

fn about(pod: &Pod) -> Reference {
    Reference {
        api_version: "v1".into(),
        kind: "Pod".into(),
        namespace: pod.key.namespace.clone(),
        name: pod.key.name.clone(),
        uid: pod.uid.clone(),
        ..Reference::default()
    }
}

fn condition(reason: &str, message: &str, now: String) -> Value {
    value!({"status": {"conditions": [{
        "type": "PodScheduled", "status": "False", "reason": reason, "message": message, "lastTransitionTime": now,
    }]}})
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
