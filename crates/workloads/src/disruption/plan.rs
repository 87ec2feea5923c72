//! How many of a budget's pods may go. Source: `pkg/controller/disruption`.

use crate::pod::Pod;
use base::time::{self, SignedDuration, Timestamp};
use std::{collections::HashMap, sync::Arc, time::Duration};
use value::{Map, Str, Value, value};

/// An eviction that was agreed to and has not happened after that long will not. Source: `DeletionTimeout`.
const DELETION_TIMEOUT: SignedDuration = SignedDuration::from_secs(2 * 60);
const CONDITION: &str = "DisruptionAllowed";

/// What a budget's status lacks.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// The whole status, where it is not what it should be.
    pub status: Option<Value>,
    /// When an eviction that was agreed to is given up.
    pub look_again: Option<Duration>,
}

/// `pods` are those that the budget selects; `scale` knows the uid of a pod's controller, and how many pods that wants.
pub fn plan(budget: &Value, pods: &[Arc<Pod>], scale: &dyn Fn(&Pod) -> Option<(Str, i64)>, now: Timestamp) -> Plan {
    let present = budget.at(&["status"]);
    let generation = budget.at(&["metadata", "generation"]).as_i64().unwrap_or(0);
    let (expected, desired) = match expected(budget, pods, scale) {
        Ok(counts) => counts,
        Err(why) => {
            let mut next = present.clone();
            let observed = present.at(&["observedGeneration"]).as_i64().unwrap_or(0);
            next.set(&["disruptionsAllowed"], 0);
            next.set(&["conditions"], conditions(present, "False", "SyncFailed", &why, observed, now));
            return Plan { status: (next != *present).then_some(next), look_again: None };
        }
    };
    let (disrupted, look_again) = disrupted(present, pods, now);
    let healthy = |pod: &&Arc<Pod>| pod.ready() && !pod.deleting && disrupted.get(&pod.key.name).is_none();
    let healthy = pods.iter().filter(healthy).count() as i64;
    let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
    let mut next = value!({
        "disruptionsAllowed": allowed, "currentHealthy": healthy, "desiredHealthy": desired, "expectedPods": expected,
        "observedGeneration": generation,
    });
    if !disrupted.is_empty() {
        next.set(&["disruptedPods"], Value::Object(disrupted));
    }
    let (status, reason) = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    next.set(&["conditions"], conditions(present, status, reason, "", generation, now));
    Plan { status: (next != *present).then_some(next), look_again }
}

/// How many pods there should be, and how many of them healthy.
fn expected(
    budget: &Value,
    pods: &[Arc<Pod>],
    scale: &dyn Fn(&Pod) -> Option<(Str, i64)>,
) -> Result<(i64, i64), String> {
    let of_controllers = || -> Result<i64, String> {
        let mut scales: HashMap<Str, i64> = HashMap::new();
        // Pods that nobody controls do not count.
        for pod in pods.iter().filter(|pod| pod.controller.is_some()) {
            let found = scale(pod).ok_or_else(|| format!("found no controllers for pod \"{}\"", pod.key.name))?;
            scales.insert(found.0, found.1);
        }
        Ok(scales.values().sum())
    };
    let (least, most) = (budget.at(&["spec", "minAvailable"]), budget.at(&["spec", "maxUnavailable"]));
    if !most.is_null() {
        let expected = of_controllers()?;
        return Ok((expected, (expected - share(most, expected)).max(0)));
    }
    match least {
        Value::Null => Ok((0, 0)),
        Value::String(_) => {
            let expected = of_controllers()?;
            Ok((expected, share(least, expected)))
        }
        number => Ok((pods.len() as i64, number.as_i64().unwrap_or(0))),
    }
}

/// A number, or a percentage of `total`, rounded up.
fn share(of: &Value, total: i64) -> i64 {
    match of.as_str() {
        Some(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            (total * percent + 99) / 100
        }
        None => of.as_i64().unwrap_or(0),
    }
}

/// Pods whose eviction was agreed to and is still to be seen; when the first of them is given up.
fn disrupted(status: &Value, pods: &[Arc<Pod>], now: Timestamp) -> (Map, Option<Duration>) {
    let mut kept = Map::default();
    let mut soonest: Option<Duration> = None;
    for pod in pods.iter().filter(|pod| !pod.deleting) {
        let agreed = status.at(&["disruptedPods", &pod.key.name]);
        let Some(since) = agreed.as_str().and_then(time::parse) else { continue };
        let left = DELETION_TIMEOUT - now.duration_since(since);
        let Ok(left) = Duration::try_from(left) else { continue };
        if left.is_zero() {
            continue;
        }
        kept.insert(pod.key.name.as_str(), agreed.clone());
        soonest = Some(soonest.map_or(left, |s| s.min(left)));
    }
    (kept, soonest)
}

/// The conditions with ours; its time is that of its last change.
fn conditions(
    present: &Value,
    status: &str,
    reason: &str,
    message: &str,
    generation: i64,
    now: Timestamp,
) -> Vec<Value> {
    let mut all = present.items_at(&["conditions"]).to_vec();
    let known = all.iter().position(|c| c.str_at(&["type"]) == CONDITION);
    let since = known.and_then(|i| all.get(i)).filter(|c| c.str_at(&["status"]) == status);
    let since = since.map_or_else(|| time::seconds(now), |c| c.str_at(&["lastTransitionTime"]).to_string());
    let condition = value!({
        "type": CONDITION, "status": status, "observedGeneration": generation, "lastTransitionTime": since,
        "reason": reason, "message": message,
    });
    match known.and_then(|i| all.get_mut(i)) {
        Some(known) => *known = condition,
        None => all.push(condition),
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::ObjectKey;

    fn now() -> Timestamp {
        time::parse("2026-01-01T00:10:00Z").unwrap()
    }

    fn pod(name: &str, ready: bool) -> Arc<Pod> {
        Arc::new(Pod {
            key: ObjectKey::new("n", name),
            uid: name.into(),
            labels: value!({"a": "b"}),
            controller: Some("rs".into()),
            deleting: false,
            phase: "Running".into(),
            scheduled: true,
            ready_since: ready.then(now),
            restarts: 0,
            created: None,
            cost: 0,
        })
    }

    /// allowed, healthy, desired, expected
    #[track_caller]
    fn check(spec: Value, wanted: i64, ready: &[bool], want: [i64; 4]) {
        let mut budget = value!({"metadata": {"generation": 3}});
        budget.set(&["spec"], spec);
        let pods: Vec<_> = ready.iter().enumerate().map(|(i, ready)| pod(&format!("p{i}"), *ready)).collect();
        let status = plan(&budget, &pods, &|_| Some(("rs".into(), wanted)), now()).status.expect("a status");
        let fields = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
        assert_eq!(fields.map(|f| status.at(&[f]).as_i64().unwrap()), want, "{budget}");
        budget.set(&["status"], status);
        assert_eq!(plan(&budget, &pods, &|_| Some(("rs".into(), wanted)), now()).status, None);
    }

    #[test]
    fn how_many_may_go() {
        check(value!({"minAvailable": 1}), 3, &[true, true, false], [1, 2, 1, 3]);
        check(value!({"minAvailable": 2}), 3, &[true, true], [0, 2, 2, 2]);
        check(value!({"minAvailable": "50%"}), 3, &[true, true, true], [1, 3, 2, 3]);
        check(value!({"maxUnavailable": 1}), 3, &[true, true, true], [1, 3, 2, 3]);
        check(value!({"maxUnavailable": "34%"}), 3, &[true, true, true], [2, 3, 1, 3]);
        check(value!({"maxUnavailable": 5}), 3, &[true], [1, 1, 0, 3]);
        check(value!({"maxUnavailable": 1}), 3, &[], [0, 0, 0, 0]);
        check(value!({"minAvailable": 0}), 3, &[], [0, 0, 0, 0]);
    }

    #[test]
    fn an_agreed_eviction_counts_until_it_is_given_up() {
        let mut budget = value!({"metadata": {"generation": 1}, "spec": {"minAvailable": 1}});
        budget.set(
            &["status", "disruptedPods"],
            value!({"p0": "2026-01-01T00:09:00Z", "p1": "2026-01-01T00:01:00Z", "gone": "2026-01-01T00:09:59Z"}),
        );
        let pods = [pod("p0", true), pod("p1", true), pod("p2", true)];
        let got = plan(&budget, &pods, &|_| None, now());
        let status = got.status.unwrap();
        assert_eq!(status.at(&["disruptedPods"]).to_string(), r#"{"p0":"2026-01-01T00:09:00Z"}"#);
        assert_eq!(status.at(&["disruptionsAllowed"]).as_i64(), Some(1));
        assert_eq!(got.look_again, Some(Duration::from_secs(60)));
    }

    #[test]
    fn a_controller_that_nobody_knows_allows_nothing() {
        let budget = value!({"metadata": {"generation": 2}, "spec": {"maxUnavailable": 1}, "status": {"disruptionsAllowed": 1, "observedGeneration": 1}});
        let status = plan(&budget, &[pod("p", true)], &|_| None, now()).status.unwrap();
        assert_eq!(
            status.to_string(),
            r#"{"conditions":[{"lastTransitionTime":"2026-01-01T00:10:00Z","message":"found no controllers for pod \"p\"","observedGeneration":1,"reason":"SyncFailed","status":"False","type":"DisruptionAllowed"}],"disruptionsAllowed":0,"observedGeneration":1}"#
        );
    }
}
