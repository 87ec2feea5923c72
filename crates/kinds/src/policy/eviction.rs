//! Eviction: a deletion of a pod that asks the budget first. Source: `pkg/registry/core/pod/storage/eviction.go`.
//!
//! The answer of the budget is written before the pod goes: one disruption fewer is allowed, and the pod's name is noted.
//! Whoever evicts at the same time finds the budget changed and asks again.

use crate::{cells, rules::selects};
use base::{Reason, Result, Status, time};
use schema::{Context, Deletion, Write};
use value::{Value, value};

/// So many evictions may be agreed to before the controller has seen them.
const DISRUPTED_MAX: usize = 2000;
const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
const TOO_MANY: &str =
    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";

/// The deletion that an eviction amounts to, or why it may not be.
pub fn evict(cx: &Context, body: &Value, pod: &Value) -> Result<Deletion> {
    let asked = body.at(&["deleteOptions"]);
    let options = if asked.is_null() { Value::object() } else { asked.clone() };
    let mut deletion = Deletion { options, pinned: false, first: Vec::new() };
    let (phase, leaving) = (pod.str_at(&["status", "phase"]), !pod.at(&["metadata", "deletionTimestamp"]).is_null());
    let ended = ["Succeeded", "Failed"].contains(&phase) || leaving;
    if ended || phase == "Pending" {
        // A pod that has not started may become healthy before it is deleted.
        deletion.pinned = !ended;
    } else if let Some(mut budget) = budget_of(cx, pod)? {
        if unguarded(&budget, pod) {
            deletion.pinned = true;
        } else {
            charge(cx, &mut budget, pod)?;
            deletion.first.push(Write {
                group: "policy",
                plural: "poddisruptionbudgets",
                name: budget.name().into(),
                subresource: "status",
                object: budget,
                patch: false,
            });
        }
    }
    deletion.first.push(Write {
        group: "",
        plural: "pods",
        name: pod.name().into(),
        subresource: "status",
        object: value!({"status": {"conditions": [{"type": "DisruptionTarget", "status": "True",
            "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting", "lastProbeTime": null,
            "lastTransitionTime": time::seconds(cx.now)}]}}),
        patch: true,
    });
    Ok(deletion)
}

/// The budget that selects the pod, with the revision that it was read at.
fn budget_of(cx: &Context, pod: &Value) -> Result<Option<Value>> {
    let all = cx.view.list("policy", "poddisruptionbudgets", Some(pod.namespace()));
    let labels = pod.at(&["metadata", "labels"]);
    let mut budgets = all.iter().map(|budget| budget.value()).filter(|budget| {
        let selector = budget.at(&["spec", "selector"]);
        !selector.is_null() && selects(selector, labels)
    });
    let first = budgets.next();
    if budgets.next().is_some() {
        return Err(Status::new(Reason::InternalError, TOO_MANY));
    }
    Ok(first)
}

/// True for a pod that is not healthy, where the budget does not hold for such pods or has healthy ones enough.
fn unguarded(budget: &Value, pod: &Value) -> bool {
    if cells::condition(pod, "Ready").is_some_and(|c| c.str_at(&["status"]) == "True") {
        return false;
    }
    let (healthy, desired) = (number(budget, "currentHealthy"), number(budget, "desiredHealthy"));
    budget.str_at(&["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow" || healthy >= desired && desired > 0
}

fn number(budget: &Value, field: &str) -> i64 {
    budget.at(&["status", field]).as_i64().unwrap_or(0)
}

/// Takes one disruption from the budget.
fn charge(cx: &Context, budget: &mut Value, pod: &Value) -> Result<()> {
    let name = budget.name().to_string();
    let forbidden = |why| Err(Status::forbidden("policy", "poddisruptionbudget", &name, why));
    let generation = budget.at(&["metadata", "generation"]).as_i64().unwrap_or(0);
    if number(budget, "observedGeneration") < generation {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(refused(&why).with_retry_after(10));
    }
    let allowed = number(budget, "disruptionsAllowed");
    if allowed < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    if budget.members_at(&["status", "disruptedPods"]).count() > DISRUPTED_MAX {
        return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    if allowed == 0 {
        return Err(refused(&why_not(budget)));
    }
    budget.set(&["status", "disruptionsAllowed"], allowed - 1);
    budget.set(&["status", "disruptedPods", pod.name()], time::seconds(cx.now));
    if allowed == 1 {
        exhausted(cx, budget);
    }
    Ok(())
}

fn refused(why: &str) -> Status {
    Status::new(Reason::TooManyRequests, REFUSED).with_cause("DisruptionBudget", why)
}

fn why_not(budget: &Value) -> String {
    let name = budget.name();
    let (healthy, desired) = (number(budget, "currentHealthy"), number(budget, "desiredHealthy"));
    let condition = cells::condition(budget, "DisruptionAllowed")
        .filter(|c| c.str_at(&["status"]) == "False" && !c.str_at(&["message"]).is_empty());
    let says = condition.map(|c| (c.str_at(&["reason"]), c.str_at(&["message"])));
    match says {
        Some(("SyncFailed", message)) => {
            format!(
                "The disruption budget {name} does not allow evicting pods currently because it failed sync: {message}"
            )
        }
        _ if healthy <= desired => {
            format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently")
        }
        Some((reason, message)) => {
            format!("The disruption budget {name} does not allow evicting pods currently ({reason}): {message}")
        }
        None => format!("The disruption budget {name} does not allow evicting pods currently"),
    }
}

/// Nothing more is allowed: the condition says so.
fn exhausted(cx: &Context, budget: &mut Value) {
    let mut condition = value!({"type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods",
        "message": "", "observedGeneration": number(budget, "observedGeneration"),
        "lastTransitionTime": time::seconds(cx.now)});
    let conditions = budget.at_mut(&["status", "conditions"]);
    if conditions.as_array().is_none() {
        *conditions = Value::Array(Vec::new());
    }
    let Some(list) = conditions.as_array_mut() else { return };
    match list.iter_mut().find(|c| c.str_at(&["type"]) == "DisruptionAllowed") {
        Some(known) => {
            if known.str_at(&["status"]) == "False" {
                condition.set(&["lastTransitionTime"], known.at(&["lastTransitionTime"]));
            }
            *known = condition;
        }
        None => list.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Holding, within_view};
    use expect_test::{Expect, expect};
    use schema::Operation;

    fn pod() -> Value {
        value!({"metadata": {"name": "web", "namespace": "d", "labels": {"app": "web"}},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}})
    }
    fn budget(status: Value) -> Value {
        let mut budget = value!({"metadata": {"name": "b", "namespace": "d", "generation": 1},
            "spec": {"selector": {"matchLabels": {"app": "web"}}}, "status": {"observedGeneration": 1}});
        for (key, value) in status.members_at(&[]) {
            budget.set(&["status", key], value);
        }
        budget
    }

    #[track_caller]
    fn check(pod: Value, budgets: &[Value], want: Expect) {
        let view = Holding::new("policy", "poddisruptionbudgets", budgets);
        let body = value!({"metadata": {"name": "web"}});
        let text = match within_view(Operation::Create, Some("eviction"), &view, |cx| evict(cx, &body, &pod)) {
            Ok(deletion) => {
                let writes =
                    deletion.first.iter().map(|w| format!("{} {} {}", w.plural, w.name, w.object.at(&["status"])));
                format!("pinned: {}\n{}", deletion.pinned, writes.collect::<Vec<_>>().join("\n"))
            }
            Err(status) => status.to_json().to_string(),
        };
        want.assert_eq(&text);
    }

    #[test]
    fn budgets_agree_or_not() {
        check(
            pod(),
            &[],
            expect![[r#"
            pinned: false
            pods web {"conditions":[{"lastProbeTime":null,"lastTransitionTime":"2026-01-02T03:10:00Z","message":"Eviction API: evicting","reason":"EvictionByEvictionAPI","status":"True","type":"DisruptionTarget"}]}"#]],
        );
        check(
            pod(),
            &[budget(value!({"disruptionsAllowed": 2}))],
            expect![[r#"
            pinned: false
            poddisruptionbudgets b {"disruptedPods":{"web":"2026-01-02T03:10:00Z"},"disruptionsAllowed":1,"observedGeneration":1}
            pods web {"conditions":[{"lastProbeTime":null,"lastTransitionTime":"2026-01-02T03:10:00Z","message":"Eviction API: evicting","reason":"EvictionByEvictionAPI","status":"True","type":"DisruptionTarget"}]}"#]],
        );
        check(
            pod(),
            &[budget(value!({"disruptionsAllowed": 1}))],
            expect![[r#"
            pinned: false
            poddisruptionbudgets b {"conditions":[{"lastTransitionTime":"2026-01-02T03:10:00Z","message":"","observedGeneration":1,"reason":"InsufficientPods","status":"False","type":"DisruptionAllowed"}],"disruptedPods":{"web":"2026-01-02T03:10:00Z"},"disruptionsAllowed":0,"observedGeneration":1}
            pods web {"conditions":[{"lastProbeTime":null,"lastTransitionTime":"2026-01-02T03:10:00Z","message":"Eviction API: evicting","reason":"EvictionByEvictionAPI","status":"True","type":"DisruptionTarget"}]}"#]],
        );
        check(
            pod(),
            &[budget(value!({"disruptionsAllowed": 0, "desiredHealthy": 3, "currentHealthy": 3}))],
            expect![[
                r#"{"apiVersion":"v1","code":429,"details":{"causes":[{"message":"The disruption budget b needs 3 healthy pods and has 3 currently","reason":"DisruptionBudget"}]},"kind":"Status","message":"Cannot evict pod as it would violate the pod's disruption budget.","metadata":{},"reason":"TooManyRequests","status":"Failure"}"#
            ]],
        );
        check(
            pod(),
            &[budget(value!({"disruptionsAllowed": 0, "conditions": [
                {"type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed", "message": "no controller"}]}))],
            expect![[
                r#"{"apiVersion":"v1","code":429,"details":{"causes":[{"message":"The disruption budget b does not allow evicting pods currently because it failed sync: no controller","reason":"DisruptionBudget"}]},"kind":"Status","message":"Cannot evict pod as it would violate the pod's disruption budget.","metadata":{},"reason":"TooManyRequests","status":"Failure"}"#
            ]],
        );
        check(
            pod(),
            &[budget(value!({"observedGeneration": 0, "disruptionsAllowed": 2}))],
            expect![[
                r#"{"apiVersion":"v1","code":429,"details":{"causes":[{"message":"The disruption budget b is still being processed by the server.","reason":"DisruptionBudget"}],"retryAfterSeconds":10},"kind":"Status","message":"Cannot evict pod as it would violate the pod's disruption budget.","metadata":{},"reason":"TooManyRequests","status":"Failure"}"#
            ]],
        );
        check(
            pod(),
            &[budget(value!({"disruptionsAllowed": -1}))],
            expect![[
                r#"{"apiVersion":"v1","code":403,"details":{"group":"policy","kind":"poddisruptionbudget","name":"b"},"kind":"Status","message":"poddisruptionbudget.policy \"b\" is forbidden: pdb disruptions allowed is negative","metadata":{},"reason":"Forbidden","status":"Failure"}"#
            ]],
        );
        check(
            pod(),
            &[budget(value!({})), budget(value!({}))],
            expect![[
                r#"{"apiVersion":"v1","code":500,"kind":"Status","message":"This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.","metadata":{},"reason":"InternalError","status":"Failure"}"#
            ]],
        );
    }

    #[test]
    fn some_pods_are_not_guarded() {
        let none = [budget(value!({"disruptionsAllowed": 0}))];
        let mut pending = pod();
        pending.set(&["status", "phase"], "Pending");
        check(
            pending,
            &none,
            expect![[r#"
            pinned: true
            pods web {"conditions":[{"lastProbeTime":null,"lastTransitionTime":"2026-01-02T03:10:00Z","message":"Eviction API: evicting","reason":"EvictionByEvictionAPI","status":"True","type":"DisruptionTarget"}]}"#]],
        );
        let mut ended = pod();
        ended.set(&["status", "phase"], "Failed");
        check(
            ended,
            &none,
            expect![[r#"
            pinned: false
            pods web {"conditions":[{"lastProbeTime":null,"lastTransitionTime":"2026-01-02T03:10:00Z","message":"Eviction API: evicting","reason":"EvictionByEvictionAPI","status":"True","type":"DisruptionTarget"}]}"#]],
        );
        let mut unready = pod();
        unready.set(&["status", "conditions"], value!([]));
        check(
            unready.clone(),
            &none,
            expect![[
                r#"{"apiVersion":"v1","code":429,"details":{"causes":[{"message":"The disruption budget b needs 0 healthy pods and has 0 currently","reason":"DisruptionBudget"}]},"kind":"Status","message":"Cannot evict pod as it would violate the pod's disruption budget.","metadata":{},"reason":"TooManyRequests","status":"Failure"}"#
            ]],
        );
        check(
            unready.clone(),
            &[budget(value!({"currentHealthy": 2, "desiredHealthy": 2}))],
            expect![[r#"
            pinned: true
            pods web {"conditions":[{"lastProbeTime":null,"lastTransitionTime":"2026-01-02T03:10:00Z","message":"Eviction API: evicting","reason":"EvictionByEvictionAPI","status":"True","type":"DisruptionTarget"}]}"#]],
        );
        let mut lax = none[0].clone();
        lax.set(&["spec", "unhealthyPodEvictionPolicy"], "AlwaysAllow");
        check(
            unready,
            &[lax],
            expect![[r#"
            pinned: true
            pods web {"conditions":[{"lastProbeTime":null,"lastTransitionTime":"2026-01-02T03:10:00Z","message":"Eviction API: evicting","reason":"EvictionByEvictionAPI","status":"True","type":"DisruptionTarget"}]}"#]],
        );
    }
}
