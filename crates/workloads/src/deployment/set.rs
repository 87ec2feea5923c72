//! What the Deployment controller reads of a ReplicaSet, and the annotations that it keeps there.

use base::time::{self, Timestamp};
use value::{Str, Value};

pub const HASH: &str = "pod-template-hash";
pub const REVISION: &str = "deployment.kubernetes.io/revision";
pub const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// A ReplicaSet of a Deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct Set {
    pub object: Value,
    pub name: Str,
    pub replicas: i64,
    /// From its status.
    pub current: i64,
    pub ready: i64,
    pub available: i64,
    pub terminating: i64,
    pub created: Option<Timestamp>,
    pub revision: i64,
}

impl Set {
    pub fn read(object: &Value) -> Set {
        let status = |field: &str| object.at(&["status", field]).as_i64().unwrap_or(0);
        Set {
            name: object.name().into(),
            replicas: object.at(&["spec", "replicas"]).as_i64().unwrap_or(0),
            current: status("replicas"),
            ready: status("readyReplicas"),
            available: status("availableReplicas"),
            terminating: status("terminatingReplicas"),
            created: time::parse(object.str_at(&["metadata", "creationTimestamp"])),
            revision: annotation(object, REVISION).parse().unwrap_or(0),
            object: object.clone(),
        }
    }
    /// True where its template is the given one, but for the hash label.
    pub fn has_template(&self, template: &Value) -> bool {
        let bare = |v: &Value| {
            let mut v = v.clone();
            v.remove(&["metadata", "labels", HASH]);
            v
        };
        bare(self.object.at(&["spec", "template"])) == bare(template)
    }
}

/// An annotation, or `""`.
pub fn annotation<'a>(object: &'a Value, key: &str) -> &'a str {
    object.str_at(&["metadata", "annotations", key])
}

/// Annotations that stay where they are: those that the controller itself or `kubectl apply` keeps.
pub fn is_private(key: &str) -> bool {
    [
        REVISION,
        REVISION_HISTORY,
        DESIRED,
        MAX,
        "kubectl.kubernetes.io/last-applied-configuration",
        "deprecated.deployment.rollback.to",
    ]
    .contains(&key)
}
