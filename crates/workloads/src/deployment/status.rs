//! `status` of a Deployment: counts, and the conditions Available and Progressing.

use super::{rolling::Bounds, set::Set};
use base::time::{self, SignedDuration, Timestamp};
use value::{Str, Value, value};

/// What a round of the controller did or found.
pub struct Facts<'a> {
    pub deployment: &'a Value,
    pub new: Option<&'a Set>,
    pub all: &'a [&'a Set],
    pub bounds: Bounds,
    /// The name of a set that this round creates.
    pub creates: Option<&'a str>,
    pub now: Timestamp,
}

/// The status as it should be.
pub fn status(facts: &Facts) -> Value {
    let Facts { deployment, new, all, bounds, .. } = facts;
    let sum = |field: fn(&Set) -> i64| all.iter().map(|s| field(s)).sum::<i64>();
    let available = sum(|s| s.available);
    let mut status = value!({"observedGeneration": deployment.at(&["metadata", "generation"]).as_i64()});
    for (field, n) in [
        ("replicas", sum(|s| s.current)),
        ("updatedReplicas", new.map_or(0, |s| s.current)),
        ("readyReplicas", sum(|s| s.ready)),
        ("availableReplicas", available),
        ("unavailableReplicas", (sum(|s| s.replicas) - available).max(0)),
        ("terminatingReplicas", sum(|s| s.terminating)),
    ] {
        if n > 0 {
            status.set(&[field], n);
        }
    }
    if let Some(count) = deployment.at(&["status", "collisionCount"]).as_i64() {
        status.set(&["collisionCount"], count);
    }
    let mut conditions = deployment.items_at(&["status", "conditions"]).to_vec();
    let (word, reason, text) = match available >= bounds.wanted - bounds.unavailable {
        true => ("True", "MinimumReplicasAvailable", "Deployment has minimum availability."),
        false => ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability."),
    };
    set_condition(&mut conditions, "Available", word, reason, text, facts.now);
    progress(facts, &status, &mut conditions);
    status.set(&["conditions"], conditions);
    status
}

/// True once all replicas are of the new template, available, and nothing else is left.
pub fn complete(deployment: &Value, status: &Value) -> bool {
    let wanted = deployment.at(&["spec", "replicas"]).as_i64().unwrap_or(1);
    let n = |field: &str| status.at(&[field]).as_i64().unwrap_or(0);
    n("updatedReplicas") == wanted && n("replicas") == wanted && n("availableReplicas") == wanted
}

/// When the progress deadline of an unfinished rollout passes.
pub fn deadline(deployment: &Value, status: &Value) -> Option<Timestamp> {
    let seconds = deployment.at(&["spec", "progressDeadlineSeconds"]).as_i64().filter(|s| *s < i64::from(i32::MAX))?;
    let condition = status.items_at(&["conditions"]).iter().find(|c| c.str_at(&["type"]) == "Progressing")?;
    let open = !matches!(
        condition.str_at(&["reason"]),
        "NewReplicaSetAvailable" | "ProgressDeadlineExceeded" | "DeploymentPaused"
    );
    let since = time::parse(condition.str_at(&["lastUpdateTime"]))?;
    if open && !complete(deployment, status) {
        since.checked_add(SignedDuration::from_secs(seconds)).ok()
    } else {
        None
    }
}

fn progress(facts: &Facts, status: &Value, conditions: &mut Vec<Value>) {
    let Facts { deployment, new, now, .. } = facts;
    if deployment.at(&["spec", "progressDeadlineSeconds"]).as_i64() == Some(i64::from(i32::MAX)) {
        return;
    }
    let present = conditions.iter().find(|c| c.str_at(&["type"]) == "Progressing").cloned().unwrap_or_default();
    let reason = present.str_at(&["reason"]);
    let (name, own) = match (new, facts.creates) {
        (Some(set), _) => (set.name.clone(), format!("ReplicaSet \"{}\"", set.name)),
        (None, Some(name)) => (Str::from(name), format!("ReplicaSet \"{name}\"")),
        (None, None) => (deployment.name().into(), format!("Deployment \"{}\"", deployment.name())),
    };
    let late = deadline(deployment, &value_with(conditions, status)).is_some_and(|at| at <= *now);
    let mut say =
        |word: &str, reason: &str, text: String| set_condition(conditions, "Progressing", word, reason, &text, *now);
    let before = deployment.at(&["status"]);
    let n = |v: &Value, field: &str| v.at(&[field]).as_i64().unwrap_or(0);
    let moved = n(status, "updatedReplicas") > n(before, "updatedReplicas")
        || n(status, "replicas") - n(status, "updatedReplicas") < n(before, "replicas") - n(before, "updatedReplicas")
        || n(status, "readyReplicas") > n(before, "readyReplicas")
        || n(status, "availableReplicas") > n(before, "availableReplicas");
    if deployment.at(&["spec", "paused"]).as_bool() == Some(true) {
        if reason != "DeploymentPaused" {
            say("Unknown", "DeploymentPaused", "Deployment is paused".into());
        }
    } else if facts.creates.is_some() {
        say("True", "NewReplicaSetCreated", format!("Created new replica set \"{name}\""));
    } else if complete(deployment, status) {
        if reason != "NewReplicaSetAvailable" || !present.str_at(&["message"]).contains(&*name) {
            say("True", "NewReplicaSetAvailable", format!("{own} has successfully progressed."));
        }
    } else if reason == "DeploymentPaused" {
        say("Unknown", "DeploymentResumed", "Deployment is resumed".into());
    } else if moved
        || present.is_null()
        || (reason == "NewReplicaSetAvailable" && !present.str_at(&["message"]).contains(&*name))
    {
        // A change of progress keeps the transition time but counts against the deadline anew.
        conditions.retain(|c| c.str_at(&["type"]) != "Progressing");
        let mut fresh = present.clone();
        if fresh.str_at(&["status"]) != "True" {
            fresh = value!({"type": "Progressing", "lastTransitionTime": time::seconds(*now)});
        }
        fresh.set(&["status"], "True");
        fresh.set(&["reason"], "ReplicaSetUpdated");
        fresh.set(&["message"], format!("{own} is progressing."));
        fresh.set(&["lastUpdateTime"], time::seconds(*now));
        conditions.push(fresh);
    } else if late {
        say("False", "ProgressDeadlineExceeded", format!("{own} has timed out progressing."));
    }
}

fn value_with(conditions: &[Value], status: &Value) -> Value {
    let mut out = status.clone();
    out.set(&["conditions"], conditions.to_vec());
    out
}

/// Sets a condition; the transition time moves only with the status.
fn set_condition(conditions: &mut Vec<Value>, kind: &str, word: &str, reason: &str, text: &str, now: Timestamp) {
    let at = conditions.iter().position(|c| c.str_at(&["type"]) == kind);
    let old = at.map(|i| conditions[i].clone());
    if let Some(old) = &old
        && old.str_at(&["status"]) == word
        && old.str_at(&["reason"]) == reason
        && old.str_at(&["message"]) == text
    {
        return;
    }
    let now = time::seconds(now);
    let kept = old.filter(|o| o.str_at(&["status"]) == word).map(|o| o.str_at(&["lastTransitionTime"]).to_string());
    let fresh = value!({
        "type": kind, "status": word, "reason": reason, "message": text,
        "lastUpdateTime": now.as_str(), "lastTransitionTime": kept.unwrap_or_else(|| now.clone()),
    });
    match at {
        Some(i) => conditions[i] = fresh,
        None => conditions.push(fresh),
    }
}
