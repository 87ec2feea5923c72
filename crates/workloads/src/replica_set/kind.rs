//! The two kinds that this controller keeps: a ReplicaSet, and the ReplicationController that it grew out of.
//!
//! They differ in names, in how the selector is written and in one counter. Upstream converts controllers into sets and back
//! around the same code; here the few differences are read where they matter.

use crate::claim;
use client::{Gvr, kinds};
use control::Reference;
use select::LabelSelector;
use value::{Value, value};

/// A kind of objects that stand for a number of equal pods.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    pub gvr: Gvr,
    pub api_version: &'static str,
    pub kind: &'static str,
    /// The controller's name in logs.
    pub controller: &'static str,
    /// The name of its index over pods.
    pub index: &'static str,
    /// `spec.selector` is a plain map of labels.
    plain_selector: bool,
    /// `status.terminatingReplicas` exists.
    pub counts_terminating: bool,
}

pub static REPLICA_SET: Kind = Kind {
    gvr: kinds::REPLICA_SETS,
    api_version: "apps/v1",
    kind: "ReplicaSet",
    controller: "replicaset",
    index: "replicaset-owner",
    plain_selector: false,
    counts_terminating: true,
};

pub static REPLICATION_CONTROLLER: Kind = Kind {
    gvr: Gvr::inline("", "v1", "replicationcontrollers"),
    api_version: "v1",
    kind: "ReplicationController",
    controller: "replicationcontroller",
    index: "replicationcontroller-owner",
    plain_selector: true,
    counts_terminating: false,
};

impl Kind {
    /// Which pods are an object's; `None` where that cannot be read.
    pub fn selector(&self, set: &Value) -> Option<LabelSelector> {
        let selector = set.at(&["spec", "selector"]);
        if !self.plain_selector {
            return LabelSelector::from_object(selector).ok();
        }
        let mut whole = value!({"matchLabels": {}});
        whole.set(&["matchLabels"], selector.clone());
        LabelSelector::from_object(&whole).ok()
    }
    /// The entry in a pod's `ownerReferences`.
    pub fn owner_reference(&self, set: &Value) -> Value {
        claim::reference(self.api_version, self.kind, set)
    }
    /// What events are about.
    pub fn event_reference(&self, set: &Value) -> Reference {
        Reference {
            api_version: self.api_version.into(),
            kind: self.kind.into(),
            namespace: set.namespace().into(),
            name: set.name().into(),
            uid: set.str_at(&["metadata", "uid"]).into(),
            resource_version: set.str_at(&["metadata", "resourceVersion"]).into(),
            ..Reference::default()
        }
    }
}
