//! What workload controllers read of a pod, and which of two pods goes first.

use base::time::{self, SignedDuration, Timestamp};
use std::cmp::{Ordering, Reverse};
use value::{Object, ObjectKey, Str, Value};

/// A pod as a controller sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Pod {
    pub key: ObjectKey,
    pub uid: Str,
    pub labels: Value,
    /// The uid of the owner that is its controller.
    pub controller: Option<Str>,
    pub deleting: bool,
    pub phase: Str,
    pub scheduled: bool,
    /// Since when the Ready condition holds.
    pub ready_since: Option<Timestamp>,
    pub restarts: i64,
    pub created: Option<Timestamp>,
    /// `controller.kubernetes.io/pod-deletion-cost`
    pub cost: i64,
}

impl control::Projection for Pod {
    fn project(object: &Object) -> Option<Self> {
        let v = object.tree();
        let ready = v
            .items_at(&["status", "conditions"])
            .iter()
            .find(|c| c.str_at(&["type"]) == "Ready" && c.str_at(&["status"]) == "True");
        let restarts = v.items_at(&["status", "containerStatuses"]).iter();
        let owners = v.items_at(&["metadata", "ownerReferences"]).iter();
        Some(Pod {
            key: object.key.clone(),
            uid: object.meta.uid.clone(),
            labels: v.at(&["metadata", "labels"]).clone(),
            controller: owners
                .filter(|o| o.at(&["controller"]).as_bool() == Some(true))
                .map(|o| o.str_at(&["uid"]).into())
                .next(),
            deleting: object.meta.deleting,
            phase: v.str_at(&["status", "phase"]).into(),
            scheduled: !v.str_at(&["spec", "nodeName"]).is_empty(),
            ready_since: ready.map(|c| time::parse(c.str_at(&["lastTransitionTime"])).unwrap_or(Timestamp::UNIX_EPOCH)),
            restarts: restarts.filter_map(|c| c.at(&["restartCount"]).as_i64()).sum(),
            created: time::parse(v.str_at(&["metadata", "creationTimestamp"])),
            cost: v
                .str_at(&["metadata", "annotations", "controller.kubernetes.io/pod-deletion-cost"])
                .parse()
                .unwrap_or(0),
        })
    }
}

impl Pod {
    /// Neither finished nor going.
    pub fn active(&self) -> bool {
        !self.deleting && self.phase != "Succeeded" && self.phase != "Failed"
    }
    pub fn ready(&self) -> bool {
        self.ready_since.is_some()
    }
    /// Ready for at least `min_ready`.
    pub fn available(&self, min_ready: SignedDuration, now: Timestamp) -> bool {
        self.available_in(min_ready, now).is_some_and(|left| left <= SignedDuration::ZERO)
    }
    /// How long until a ready pod counts as available; negative or zero when it does.
    pub fn available_in(&self, min_ready: SignedDuration, now: Timestamp) -> Option<SignedDuration> {
        self.ready_since.map(|since| min_ready - now.duration_since(since))
    }
}

/// Which of two pods is deleted first. Source: `ActivePodsWithRanks` of `pkg/controller/controller_utils.go`.
pub fn deletion_order(a: &Pod, b: &Pod) -> Ordering {
    let stage = |p: &Pod| match p.phase.as_str() {
        "Pending" | "" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    let key = |p: &Pod| (p.scheduled, stage(p), p.ready(), p.cost);
    key(a)
        .cmp(&key(b))
        // Ready for a shorter time first, more restarts first, younger first.
        .then_with(|| Reverse(a.ready_since).cmp(&Reverse(b.ready_since)))
        .then_with(|| Reverse(a.restarts).cmp(&Reverse(b.restarts)))
        .then_with(|| Reverse(a.created).cmp(&Reverse(b.created)))
}
