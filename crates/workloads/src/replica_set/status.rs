//! What a set's status says: how many pods there are, and why there are not as many as there should be.

use super::kind::Kind;
use base::time::{self, Timestamp};
use value::{Value, value};

/// How many pods of which sort a set has.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Counts {
    pub replicas: usize,
    pub fully_labeled: usize,
    pub ready: usize,
    pub available: usize,
    pub terminating: usize,
}

/// What became of creating and deleting.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Nothing was tried: earlier requests are not visible yet. What is said of them stays.
    Unknown,
    Fine,
    /// The reason (`FailedCreate`, `FailedDelete`) and the error.
    Failed(&'static str, String),
}

/// The status of a set; `None` where it says so already.
pub fn status(kind: &Kind, set: &Value, counts: &Counts, outcome: &Outcome, now: Timestamp) -> Option<Value> {
    let mut status =
        value!({"replicas": counts.replicas, "observedGeneration": set.at(&["metadata", "generation"]).as_i64()});
    for (field, n) in [
        ("fullyLabeledReplicas", counts.fully_labeled),
        ("readyReplicas", counts.ready),
        ("availableReplicas", counts.available),
        ("terminatingReplicas", if kind.counts_terminating { counts.terminating } else { 0 }),
    ] {
        if n > 0 {
            status.set(&[field], n);
        }
    }
    let present = set.at(&["status"]);
    let said = present.items_at(&["conditions"]);
    let conditions = conditions(said, outcome, now);
    let same = [
        "replicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "terminatingReplicas",
        "observedGeneration",
    ]
    .iter()
    .all(|field| present.at(&[field]).as_i64().unwrap_or(0) == status.at(&[field]).as_i64().unwrap_or(0));
    if same && conditions == said {
        return None;
    }
    if !conditions.is_empty() {
        status.set(&["conditions"], conditions);
    }
    Some(status)
}

/// `ReplicaFailure` stands as long as the failure does, with the words of its first one.
fn conditions(said: &[Value], outcome: &Outcome, now: Timestamp) -> Vec<Value> {
    const FAILURE: &str = "ReplicaFailure";
    let is_failure = |c: &Value| c.str_at(&["type"]) == FAILURE;
    match outcome {
        Outcome::Unknown => said.to_vec(),
        Outcome::Fine => said.iter().filter(|c| !is_failure(c)).cloned().collect(),
        Outcome::Failed(..) if said.iter().any(is_failure) => said.to_vec(),
        Outcome::Failed(reason, message) => {
            let condition = value!({
                "type": FAILURE, "status": "True", "reason": *reason, "message": message.as_str(),
                "lastTransitionTime": time::seconds(now),
            });
            said.iter().cloned().chain([condition]).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica_set::{REPLICA_SET, REPLICATION_CONTROLLER};

    #[test]
    fn a_failure_is_said_once_and_taken_back() {
        let now = time::parse("2026-01-01T00:10:00Z").unwrap();
        let mut set = value!({"metadata": {"name": "web", "generation": 1}, "spec": {}, "status": {}});
        let counts = Counts { replicas: 2, terminating: 1, ..Counts::default() };
        let failed = Outcome::Failed("FailedCreate", "pods \"web-\" is forbidden: exceeded quota: q".into());
        let said = status(&REPLICATION_CONTROLLER, &set, &counts, &failed, now).expect("a status");
        let condition = &said.items_at(&["conditions"])[0];
        assert_eq!(
            ["type", "status", "reason", "message", "lastTransitionTime"].map(|f| condition.str_at(&[f])),
            [
                "ReplicaFailure",
                "True",
                "FailedCreate",
                "pods \"web-\" is forbidden: exceeded quota: q",
                "2026-01-01T00:10:00Z"
            ]
        );
        // A controller has no such counter.
        assert!(said.get("terminatingReplicas").is_none());
        set.set(&["status"], said);
        let again = Outcome::Failed("FailedCreate", "in other words".into());
        assert_eq!(status(&REPLICATION_CONTROLLER, &set, &counts, &again, now), None);
        assert_eq!(status(&REPLICATION_CONTROLLER, &set, &counts, &Outcome::Unknown, now), None);
        let fine = status(&REPLICA_SET, &set, &counts, &Outcome::Fine, now).expect("a status");
        assert_eq!(fine, value!({"replicas": 2, "observedGeneration": 1, "terminatingReplicas": 1}));
    }
}
