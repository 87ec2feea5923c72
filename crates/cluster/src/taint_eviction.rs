//! Pods leave nodes with NoExecute taints, at once or when their tolerations end. Source: `pkg/controller/tainteviction`.
//!
//! A taint that a person set does not say since when it is there, so a pod's time runs from the moment that it was first seen to
//! have one; a controller that starts anew gives it anew, as upstream's does.

use base::time::{self, SignedDuration, Timestamp};
use client::{Client, DeleteOptions, Patch, kinds};
use control::{Cache, Outcome, Reconciler, Recorder, Reference};
use parking_lot::Mutex;
use std::{collections::HashMap, time::Duration};
use value::{ObjectKey, Value, value};

/// Evicts.
pub(crate) struct Evictions {
    client: Client,
    nodes: Cache,
    pods: Cache,
    recorder: Recorder,
    /// Pods that are to leave some time: their uid, and since when.
    since: Mutex<HashMap<ObjectKey, (String, Timestamp)>>,
}

impl Evictions {
    pub(crate) fn new(client: Client, nodes: Cache, pods: Cache, recorder: Recorder) -> Self {
        Evictions { client, nodes, pods, recorder, since: Mutex::default() }
    }
    /// Since when a pod is to leave: now, if it was not before.
    fn since(&self, key: &ObjectKey, uid: &str, now: Timestamp) -> Timestamp {
        let mut all = self.since.lock();
        let own = all.entry(key.clone()).or_insert_with(|| (uid.into(), now));
        if own.0 != uid {
            *own = (uid.into(), now);
        }
        own.1
    }
}

impl Reconciler for Evictions {
    type Key = ObjectKey;
    /// The uid, when it leaves, and now.
    type Plan = (String, Timestamp, Timestamp);

    fn name(&self) -> &'static str {
        "taint-eviction"
    }

    fn plan(&self, key: &ObjectKey, now: Timestamp) -> Option<Self::Plan> {
        let plan = || {
            let pod = self.pods.get(key).filter(|p| !p.meta.deleting)?;
            let value = pod.tree();
            let node = self.nodes.get(&ObjectKey::cluster(value.str_at(&["spec", "nodeName"])))?.value();
            let taints = node.items_at(&["spec", "taints"]);
            if !taints.iter().any(|t| t.str_at(&["effect"]) == "NoExecute") {
                return None;
            }
            let uid = pod.meta.uid.to_string();
            let at = leaves_at(&value, taints, self.since(key, &uid, now), now)?;
            Some((uid, at, now))
        };
        plan().or_else(|| {
            self.since.lock().remove(key);
            None
        })
    }

    async fn execute(&self, key: &ObjectKey, (uid, at, now): Self::Plan) -> Result<Outcome, client::Error> {
        if let Ok(wait) = Duration::try_from(at.duration_since(now))
            && !wait.is_zero()
        {
            return Ok(Outcome::After(wait));
        }
        let about = Reference {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            uid: uid.as_str().into(),
            ..Reference::default()
        };
        self.recorder.normal(&about, "TaintManagerEviction", format!("Marking for deletion Pod {key}"));
        let api = self.client.api(&kinds::PODS).namespace(key.namespace.clone());
        // KEP-3329: whoever owns the pod sees that it did not fail by itself.
        let condition = value!({"metadata": {"uid": uid.as_str()}, "status": {"conditions": [{
            "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint", "lastTransitionTime": time::seconds(now).as_str(),
        }]}});
        let told = api.patch_status(&key.name, &Patch::Strategic(condition)).await.map(drop);
        let ended = match told {
            Ok(()) => api.delete(&key.name, &DeleteOptions::uid(uid)).await,
            Err(error) => Err(error),
        };
        match ended {
            Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
            _ => Ok(Outcome::Done),
        }
    }
}

/// When a pod has to leave a node with these taints; `None`: it may stay. `since` counts for taints that do not say when they
/// were added.
fn leaves_at(pod: &Value, taints: &[Value], since: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let mut at: Option<Timestamp> = None;
    for taint in taints.iter().filter(|t| t.str_at(&["effect"]) == "NoExecute") {
        let tolerations = pod.items_at(&["spec", "tolerations"]).iter().filter(|t| tolerates(t, taint));
        let mut seconds: Vec<Option<i64>> = tolerations.map(|t| t.at(&["tolerationSeconds"]).as_i64()).collect();
        let added = time::parse(taint.str_at(&["timeAdded"])).unwrap_or(since);
        let until = match seconds.is_empty() {
            true => now,
            // One toleration without an end is enough to stay.
            false if seconds.iter().any(Option::is_none) => continue,
            false => {
                seconds.sort();
                let shortest = seconds[0].unwrap_or(0).max(0);
                added.checked_add(SignedDuration::from_secs(shortest)).unwrap_or(now)
            }
        };
        at = Some(at.map_or(until, |a| a.min(until)));
    }
    at
}

fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let (key, effect) = (toleration.str_at(&["key"]), toleration.str_at(&["effect"]));
    let exists = toleration.str_at(&["operator"]) == "Exists";
    (effect.is_empty() || effect == taint.str_at(&["effect"]))
        && (key == taint.str_at(&["key"]) || (key.is_empty() && exists))
        && (exists || toleration.str_at(&["value"]) == taint.str_at(&["value"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "node.kubernetes.io/unreachable";

    fn at(s: &str) -> Timestamp {
        time::parse(&format!("2026-01-01T00:{s}Z")).unwrap()
    }

    fn leaves(taint: Value, tolerations: Value) -> Option<Timestamp> {
        let mut pod = value!({"spec": {}});
        pod.set(&["spec", "tolerations"], tolerations);
        leaves_at(&pod, &[taint], at("05:30"), at("06:00"))
    }

    #[test]
    fn tolerations_say_how_long() {
        let added = || value!({"key": KEY, "effect": "NoExecute", "timeAdded": "2026-01-01T00:05:00Z"});
        let minutes = || value!([{"key": KEY, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]);
        assert_eq!(leaves(added(), value!([])), Some(at("06:00")));
        assert_eq!(leaves(added(), value!([{"operator": "Exists"}])), None);
        assert_eq!(leaves(added(), minutes()), Some(at("10:00")));
        // Somebody's own taint: the time runs from when it was seen, not from each look.
        assert_eq!(leaves(value!({"key": KEY, "effect": "NoExecute"}), minutes()), Some(at("10:30")));
        assert_eq!(leaves(value!({"key": KEY, "effect": "NoSchedule"}), value!([])), None);
    }
}
