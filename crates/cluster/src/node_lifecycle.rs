//! Nodes that fall silent: conditions become Unknown, taints follow conditions. Source: `pkg/controller/nodelifecycle`.

use crate::taint_eviction::Evictions;
use base::{
    clock::Clock,
    time::{self, SignedDuration, Timestamp},
};
use client::{Client, Patch, kinds};
use control::{Cache, Caches, Outcome, Queue, Reconciler, Recorder, Reference, Selection};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};
use value::{Object, ObjectKey, Str, Value, value};

/// `--node-monitor-grace-period`
const GRACE: SignedDuration = SignedDuration::from_secs(50);

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// Conditions that turn into NoSchedule taints: (type, status, taint).
const TAINTS: [(&str, &str, &str); 7] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("unschedulable", "True", "node.kubernetes.io/unschedulable"),
];

struct Nodes {
    client: Client,
    nodes: Cache,
    pods: Cache,
    leases: Cache,
    recorder: Recorder,
    /// The nodes that were told of, by name, with their uids.
    known: Mutex<HashMap<Str, Str>>,
}

/// Runs both controllers until their caches end.
pub async fn run(caches: Caches, recorder: Recorder, clock: Arc<dyn Clock>) {
    let (queue, evictions): (Queue<ObjectKey>, Queue<ObjectKey>) = (Queue::default(), Queue::default());
    let (nodes, pods) = (caches.kind(&kinds::NODES), caches.kind(&kinds::PODS));
    let leases = caches.select(&kinds::LEASES, Selection::namespace("kube-node-lease"));
    pods.index(control::index::NODE, control::index::node_name);
    nodes.subscribe_keys(&queue);
    // A lease that is renewed moves the next look; nothing else has to happen.
    leases.subscribe(&queue, |event| event.old.is_none().then(|| ObjectKey::cluster(event.key.name.clone())));
    let (by_node, to) = (pods.clone(), evictions.clone());
    nodes.on_event(move |event| {
        let taints = |o: Option<&Arc<Object>>| o.map(|o| o.value().at(&["spec", "taints"]).clone()).unwrap_or_default();
        if taints(event.old) != taints(event.new) {
            for pod in by_node.by_index(control::index::NODE, &event.key.name) {
                to.add(pod.key.clone());
            }
        }
    });
    pods.subscribe_keys(&evictions);
    for cache in [&nodes, &pods, &leases] {
        cache.wait_synced().await;
    }
    let client = caches.client().clone();
    let evict = Evictions::new(client.clone(), nodes.clone(), pods.clone(), recorder.clone());
    let nodes = Nodes { client, nodes, pods, leases, recorder, known: Mutex::default() };
    let (a, b) =
        (control::run(Arc::new(nodes), queue, 2, clock.clone()), control::run(Arc::new(evict), evictions, 2, clock));
    tokio::join!(a, b);
}

/// What a node needs.
#[derive(Debug, Default, PartialEq)]
struct NodePlan {
    /// Conditions to set.
    conditions: Option<Vec<Value>>,
    /// The whole list of taints as it should be.
    taints: Option<Vec<Value>>,
    /// It became unready just now.
    fell_silent: bool,
    /// Nobody hears from it: its pods are not ready any more. Derived from the state, so that a write that failed is made
    /// up for. A node that says itself that it is not ready (an agent that starts) speaks for its pods, too.
    silent: bool,
    look_again: Option<Duration>,
}

/// Decides about one node; `renewed` is the last renewal of its lease.
fn plan_node(node: &Value, renewed: Option<Timestamp>, now: Timestamp) -> NodePlan {
    let mut plan = NodePlan::default();
    let conditions = node.items_at(&["status", "conditions"]);
    let ready = conditions.iter().find(|c| c.str_at(&["type"]) == "Ready");
    let created = time::parse(node.str_at(&["metadata", "creationTimestamp"]));
    let beat = ready.and_then(|c| time::parse(c.str_at(&["lastHeartbeatTime"])));
    let last = [renewed, beat, created].into_iter().flatten().max().unwrap_or(now);
    let silent_for = now.duration_since(last);
    let mut effective = conditions.to_vec();
    if silent_for >= GRACE {
        if ready.is_none_or(|c| c.str_at(&["status"]) != "Unknown") {
            effective = unknown(conditions, now);
            plan.conditions = Some(effective.clone());
            plan.fell_silent = true;
        }
    } else {
        plan.look_again = Duration::try_from(GRACE - silent_for).ok();
    }
    let silent = |c: &Value| c.str_at(&["type"]) == "Ready" && c.str_at(&["status"]) == "Unknown";
    plan.silent = effective.iter().any(silent);
    let present = node.items_at(&["spec", "taints"]);
    let unschedulable = node.at(&["spec", "unschedulable"]).as_bool() == Some(true);
    let wanted = taints(present, &effective, unschedulable, now);
    plan.taints = (wanted != present).then_some(wanted);
    plan
}

/// The four conditions that a kubelet posts, as nobody knows them.
fn unknown(conditions: &[Value], now: Timestamp) -> Vec<Value> {
    let now = time::seconds(now);
    let of = |kind: &str| {
        let old = conditions.iter().find(|c| c.str_at(&["type"]) == kind);
        let mut fresh = old.cloned().unwrap_or_else(|| value!({"type": kind}));
        let (reason, message) = match old {
            Some(_) => ("NodeStatusUnknown", "Kubelet stopped posting node status."),
            None => ("NodeStatusNeverUpdated", "Kubelet never posted node status."),
        };
        fresh.set(&["status"], "Unknown");
        fresh.set(&["reason"], reason);
        fresh.set(&["message"], message);
        fresh.set(&["lastTransitionTime"], now.as_str());
        fresh
    };
    ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"].into_iter().map(of).collect()
}

/// The taints that conditions ask for, beside those that others set.
fn taints(present: &[Value], conditions: &[Value], unschedulable: bool, now: Timestamp) -> Vec<Value> {
    let status = |kind: &str| match kind {
        "unschedulable" if unschedulable => "True",
        _ => conditions.iter().find(|c| c.str_at(&["type"]) == kind).map_or("", |c| c.str_at(&["status"])),
    };
    let wanted = |taint: &Value| {
        let key = taint.str_at(&["key"]);
        match (TAINTS.iter().find(|t| t.2 == key), taint.str_at(&["effect"])) {
            (Some((kind, want, _)), "NoSchedule") => status(kind) == *want,
            (Some((kind, want, key)), "NoExecute") if [NOT_READY, UNREACHABLE].contains(key) => status(kind) == *want,
            _ => true,
        }
    };
    let mut out: Vec<Value> = present.iter().filter(|t| wanted(t)).cloned().collect();
    let mut add = |key: &str, effect: &str| {
        if !out.iter().any(|t| t.str_at(&["key"]) == key && t.str_at(&["effect"]) == effect) {
            let mut taint = value!({"key": key, "effect": effect});
            if effect == "NoExecute" || key == "node.kubernetes.io/unschedulable" {
                taint.set(&["timeAdded"], time::seconds(now));
            }
            out.push(taint);
        }
    };
    for (kind, want, key) in TAINTS {
        if status(kind) == want {
            add(key, "NoSchedule");
            if kind == "Ready" {
                add(key, "NoExecute");
            }
        }
    }
    out
}

impl Reconciler for Nodes {
    type Key = ObjectKey;
    /// The node as cached, what it needs, and when that was decided.
    type Plan = (Arc<Object>, NodePlan, Timestamp);

    fn name(&self) -> &'static str {
        "node-lifecycle"
    }

    fn plan(&self, key: &ObjectKey, now: Timestamp) -> Option<Self::Plan> {
        let node = self.nodes.get(key)?;
        let lease = self.leases.get(&ObjectKey::new("kube-node-lease", key.name.clone()));
        let renewed = lease.and_then(|l| time::parse(l.value().str_at(&["spec", "renewTime"])));
        let plan = plan_node(&node.value(), renewed, now);
        Some((node, plan, now))
    }

    async fn execute(&self, key: &ObjectKey, (node, plan, now): Self::Plan) -> Result<Outcome, client::Error> {
        let api = self.client.api(&kinds::NODES);
        let uid = node.meta.uid.as_str();
        let about = Reference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: key.name.clone(),
            uid: uid.into(),
            ..Reference::default()
        };
        if self.meet(&node) {
            let text = format!("Node {0} event: Registered Node {0} in Controller", key.name);
            self.recorder.normal(&about, "RegisteredNode", text);
        }
        if let Some(taints) = plan.taints {
            // The list is written whole: what somebody else set since the cache was read must not go with it.
            let mut patch = value!({"metadata": {"uid": uid, "resourceVersion": node.revision.to_string()}});
            patch.set(&["spec", "taints"], taints);
            api.patch(&key.name, &Patch::Merge(patch)).await?;
        }
        if let Some(conditions) = plan.conditions {
            let mut patch = value!({"metadata": {"uid": uid}});
            patch.set(&["status", "conditions"], conditions);
            api.patch_status(&key.name, &Patch::Strategic(patch)).await?;
        }
        if plan.fell_silent {
            self.recorder.normal(&about, "NodeNotReady", format!("Node {} status is now: NodeNotReady", key.name));
        }
        if plan.silent {
            self.mark_pods(key, now).await?;
        }
        Ok(plan.look_again.map_or(Outcome::Done, Outcome::After))
    }
}

impl Nodes {
    /// True the first time; a node that was made anew under its name is another one.
    fn meet(&self, node: &Object) -> bool {
        let before = self.known.lock().insert(node.key.name.clone(), node.meta.uid.clone());
        before.as_ref() != Some(&node.meta.uid)
    }

    /// Pods of a silent node are not ready any more: Services stop sending to them.
    async fn mark_pods(&self, node: &ObjectKey, now: Timestamp) -> Result<(), client::Error> {
        let now = time::seconds(now);
        for pod in self.pods.by_index(control::index::NODE, &node.name).iter().filter(|p| says_ready(p)) {
            let patch = value!({"metadata": {"uid": pod.meta.uid.as_str()}, "status": {"conditions": [
                {"type": "Ready", "status": "False", "reason": "NodeNotReady", "lastTransitionTime": now.as_str()},
            ]}});
            let api = self.client.api(&kinds::PODS).namespace(pod.key.namespace.clone());
            match api.patch_status(pod.name(), &Patch::Strategic(patch)).await {
                Err(error) if !error.is_not_found() && !error.is_conflict() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

fn says_ready(pod: &Object) -> bool {
    let pod = pod.tree();
    let conditions = pod.items_at(&["status", "conditions"]);
    conditions.iter().any(|c| c.str_at(&["type"]) == "Ready" && c.str_at(&["status"]) == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: &str) -> Timestamp {
        time::parse(&format!("2026-01-01T00:{s}Z")).unwrap()
    }

    fn node(ready: &str) -> Value {
        value!({
            "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"taints": [{"key": NOT_READY, "effect": "NoSchedule"}, {"key": "own", "effect": "NoSchedule"}]},
            "status": {"conditions": [{"type": "Ready", "status": ready, "lastHeartbeatTime": "2026-01-01T00:00:00Z"}]},
        })
    }

    fn keys(taints: &[Value]) -> Vec<String> {
        taints.iter().map(|t| format!("{}:{}", t.str_at(&["key"]), t.str_at(&["effect"]))).collect()
    }

    #[test]
    fn a_ready_node_loses_the_taint_and_keeps_others() {
        let plan = plan_node(&node("True"), Some(at("10:00")), at("10:20"));
        assert_eq!(keys(&plan.taints.unwrap()), ["own:NoSchedule"]);
        assert_eq!((plan.conditions, plan.look_again), (None, Some(Duration::from_secs(30))));
    }

    #[test]
    fn a_silent_node_becomes_unknown_and_unreachable() {
        let plan = plan_node(&node("True"), Some(at("10:00")), at("10:50"));
        assert!(plan.fell_silent);
        assert_eq!(plan.conditions.unwrap()[0].str_at(&["reason"]), "NodeStatusUnknown");
        let want =
            ["own:NoSchedule", "node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"];
        assert_eq!(keys(&plan.taints.unwrap()), want);
    }

    #[test]
    fn an_unready_node_is_tainted_twice() {
        let plan = plan_node(&node("False"), Some(at("10:00")), at("10:01"));
        let want =
            ["node.kubernetes.io/not-ready:NoSchedule", "own:NoSchedule", "node.kubernetes.io/not-ready:NoExecute"];
        assert_eq!(keys(&plan.taints.unwrap()), want);
    }
}
