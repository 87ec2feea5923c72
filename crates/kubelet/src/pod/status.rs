//! A pod's status as the API shows it, from what was seen; and the patch that brings the API there.
//!
//! Pure. The status builds on the one that the API has, so that conditions of others, the QoS class and transition times
//! stay; when nothing changed it is equal to the old one and nothing is sent. Words are upstream's
//! (`pkg/kubelet/kubelet_pods.go`, `pkg/kubelet/status/generate.go`), because people and controllers match on them.

use crate::pod::{
    backoff::go_duration,
    decide::{Stop, again, containers, finished, is_sidecar},
    ephemeral::ephemeral,
    resize,
    resize::Progress,
    state::{Container, Ended, Phase, PodState, Sandbox},
};
use base::time::{Timestamp, seconds};
use k8s_openapi::api::core::v1::{Container as Spec, Pod, ResourceRequirements};
use value::{Value, value};

/// What the node adds.
#[derive(Debug, Clone, Default)]
pub struct NodeFacts {
    pub host_ips: Vec<String>,
}

/// The whole status. `old` is the one that the API has.
pub fn compute(
    old: &Value,
    pod: &Pod,
    state: &PodState,
    stop: Option<Stop>,
    facts: &NodeFacts,
    now: Timestamp,
) -> Value {
    let mut status = if matches!(old, Value::Object(_)) { old.clone() } else { Value::object() };
    let ending = stop.is_some() || state.verdict.is_some();
    let over = (ending || finished(pod, state)) && !state.containers.values().any(Container::active);
    let phase = phase(pod, state, ending, over);
    let rejected = state.verdict.is_some() && state.attempt == 0 && matches!(state.sandbox, Sandbox::Absent);

    status.set(&["phase"], phase);
    status.set_default(&["startTime"], seconds(state.start_time));
    status.set_default(&["qosClass"], crate::resources::qos(pod).as_str());
    match &state.verdict {
        Some(verdict) => {
            status.set(&["reason"], &verdict.reason);
            status.set(&["message"], &verdict.message);
        }
        None => {
            status.remove(&["reason"]);
            status.remove(&["message"]);
        }
    }
    if let Some(generation) = pod.metadata.generation {
        status.set(&["observedGeneration"], generation);
    }
    addresses(&mut status, pod, state, facts);
    if !rejected {
        let mut regular = Vec::new();
        let mut init = Vec::new();
        for (spec, is_init) in containers(pod) {
            let list = if is_init { &mut init } else { &mut regular };
            list.push(container_status(pod, spec, is_init, state, over && ending, now));
        }
        if !init.is_empty() {
            status.set(&["initContainerStatuses"], init);
        }
        status.set(&["containerStatuses"], regular);
        let added: Vec<Value> = ephemeral(pod)
            .iter()
            .map(|spec| {
                let mut own = container_status(pod, spec, false, state, over && ending, now);
                // Nobody waits for them: upstream's prober never hears of them.
                own.set(&["ready"], false);
                own.remove(&["started"]);
                own.remove(&["resources"]);
                own
            })
            .collect();
        if !added.is_empty() {
            status.set(&["ephemeralContainerStatuses"], added);
        }
    }
    conditions(&mut status, pod, state, phase, now);
    status
}

fn addresses(status: &mut Value, pod: &Pod, state: &PodState, facts: &NodeFacts) {
    let list = |ips: &[String]| ips.iter().map(|ip| value!({"ip": ip})).collect::<Vec<Value>>();
    if let Some(first) = facts.host_ips.first() {
        status.set(&["hostIP"], first);
        status.set(&["hostIPs"], list(&facts.host_ips));
    }
    let host_network = pod.spec.as_ref().and_then(|s| s.host_network).unwrap_or(false);
    // The addresses of a pod that has ended stay, as a record of where it was.
    let ips = if host_network && state.sandbox.id().is_some() { &facts.host_ips } else { &state.ips };
    if let Some(first) = ips.first() {
        status.set(&["podIP"], first);
        status.set(&["podIPs"], list(ips));
    }
}

fn phase(pod: &Pod, state: &PodState, ending: bool, over: bool) -> &'static str {
    if state.verdict.is_some() {
        return "Failed";
    }
    let all = || containers(pod).map(|(spec, init)| (spec, init, state.containers.get(&spec.name)));
    if over {
        let good = all().filter(|(spec, init, _)| !(*init && is_sidecar(spec))).all(|(_, init, container)| {
            let code = container.and_then(Container::ended).map(|e| e.exit_code);
            code == Some(0) || init && state.initialized
        });
        return if good { "Succeeded" } else { "Failed" };
    }
    let initializing = !state.initialized && all().any(|(_, init, _)| init);
    let seen = |c: &Container| c.last.is_some() || matches!(c.phase, Phase::Starting { ended: Some(_) });
    if initializing && !ending {
        return "Pending";
    }
    let waiting = all().filter(|(_, init, _)| !init).any(|(_, _, container)| match container {
        Some(c) => matches!(c.phase, Phase::Waiting | Phase::Starting { .. }) && !seen(c),
        None => true,
    });
    if waiting { "Pending" } else { "Running" }
}

fn container_status(pod: &Pod, spec: &Spec, init: bool, state: &PodState, gone: bool, now: Timestamp) -> Value {
    let nothing = Container::default();
    let container = state.containers.get(&spec.name).unwrap_or(&nothing);
    let image = if container.image.is_empty() { spec.image.as_deref().unwrap_or_default() } else { &container.image };
    let (now_state, last) = states(pod, spec, init, container, state, gone, now);
    let running = matches!(container.phase, Phase::Running { .. } | Phase::Stopping { .. });
    let ready = match init && !is_sidecar(spec) {
        true => container.ended().is_some_and(|e| e.exit_code == 0),
        false => running && container.ready,
    };
    let mut status = value!({
        "name": spec.name, "image": image, "imageID": container.image_id, "restartCount": container.restarts,
        "ready": ready, "started": running && container.started,
    });
    if container.created {
        status.set(&["containerID"], container_id(&container.id));
    }
    status.set(&["state"], now_state);
    status.set(&["lastState"], last.unwrap_or_else(Value::object));
    let allocated = state.allocated.get(&spec.name).cloned().unwrap_or_default();
    // What does not run shows what it will be given.
    let applied = container.applied.clone().filter(|_| running).unwrap_or_else(|| allocated.clone());
    if allocated.requests.as_ref().is_some_and(|list| !list.is_empty()) {
        status.set(&["allocatedResources"], tree(&allocated).at(&["requests"]).clone());
    }
    status.set(&["resources"], tree(&applied));
    status
}

fn tree(resources: &ResourceRequirements) -> Value {
    let json = serde_json::to_value(resources).unwrap_or_default();
    Value::from(json)
}

/// The state and the last one.
fn states(
    pod: &Pod,
    spec: &Spec,
    init: bool,
    container: &Container,
    state: &PodState,
    gone: bool,
    now: Timestamp,
) -> (Value, Option<Value>) {
    let last = container.last.as_ref().map(terminated);
    let waiting = |reason: &str, message: &str| {
        let mut w = value!({"waiting": {"reason": reason}});
        if !message.is_empty() {
            w.set(&["waiting", "message"], message);
        }
        w
    };
    match &container.phase {
        Phase::Running { since } | Phase::Stopping { since, .. } => {
            (value!({"running": {"startedAt": seconds(*since)}}), last)
        }
        // The API lets nothing come back from its end under `Never`: what is replaced has never ended.
        Phase::Ended(ended) | Phase::Starting { ended: Some(ended) } if container.renew && !gone => {
            let (reason, message) = match &container.problem {
                Some(problem) => shown(problem, now),
                None => ("ContainerCreating".into(), String::new()),
            };
            (waiting(&reason, &message), Some(terminated(ended)))
        }
        Phase::Ended(ended) if !gone && again(pod, spec, init, container, ended) && !finished(pod, state) => {
            if let Some(problem) = &container.problem {
                let (reason, message) = shown(problem, now);
                return (waiting(&reason, &message), Some(terminated(ended)));
            }
            match container.backoff.filter(|b| b.until(ended.finished).is_some_and(|until| until > now)) {
                Some(backoff) => {
                    let message = format!(
                        "back-off {} restarting failed container={} pod={}_{}({})",
                        go_duration(backoff.delay),
                        spec.name,
                        pod.metadata.name.as_deref().unwrap_or_default(),
                        pod.metadata.namespace.as_deref().unwrap_or_default(),
                        pod.metadata.uid.as_deref().unwrap_or_default(),
                    );
                    (waiting("CrashLoopBackOff", &message), Some(terminated(ended)))
                }
                None => (terminated(ended), last),
            }
        }
        Phase::Ended(ended) => (terminated(ended), last),
        Phase::Starting { ended: Some(ended) } => (terminated(ended), last),
        Phase::Waiting | Phase::Starting { ended: None } if gone => {
            let unknown = value!({"terminated": {
                "exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": null, "finishedAt": null,
                "message": "The container could not be located when the pod was terminated",
            }});
            (unknown, last)
        }
        Phase::Waiting | Phase::Starting { ended: None } => match &container.problem {
            Some(problem) => {
                let (reason, message) = shown(problem, now);
                (waiting(&reason, &message), last)
            }
            None => {
                let has_init = pod.spec.as_ref().is_some_and(|s| s.init_containers.iter().flatten().next().is_some());
                (waiting(if has_init { "PodInitializing" } else { "ContainerCreating" }, ""), last)
            }
        },
    }
}

/// How long a failed pull shows as such before it shows as waiting for the next try.
pub const PULL_ERROR_SHOWN: base::time::SignedDuration = base::time::SignedDuration::from_secs(2);

/// A failed pull turns into `ImagePullBackOff` while the next one is awaited.
fn shown(problem: &crate::pod::state::Problem, now: Timestamp) -> (String, String) {
    let pull = matches!(problem.reason.as_str(), "ErrImagePull" | "RegistryUnavailable");
    match pull && now.duration_since(problem.since) >= PULL_ERROR_SHOWN {
        true => {
            let image = problem.message.split('"').nth(1).unwrap_or_default();
            let message = format!("Back-off pulling image {image:?}: {}: {}", problem.reason, problem.message);
            ("ImagePullBackOff".into(), message)
        }
        false => (problem.reason.clone(), problem.message.clone()),
    }
}

fn terminated(ended: &Ended) -> Value {
    let mut t = value!({
        "exitCode": ended.exit_code, "reason": ended.reason, "finishedAt": seconds(ended.finished),
        "startedAt": ended.started.map(seconds),
    });
    if !ended.message.is_empty() {
        t.set(&["message"], &ended.message);
    }
    if !ended.id.is_empty() {
        t.set(&["containerID"], container_id(&ended.id));
    }
    let mut out = Value::object();
    out.set(&["terminated"], t);
    out
}

/// The id as the API shows it.
pub fn container_id(id: &str) -> String {
    format!("ferry://{id}")
}

/// A condition without its times.
struct Condition {
    kind: &'static str,
    status: bool,
    reason: &'static str,
    message: String,
}

fn conditions(status: &mut Value, pod: &Pod, state: &PodState, phase: &str, now: Timestamp) {
    let ready_to_start = Condition {
        kind: "PodReadyToStartContainers",
        status: matches!(state.sandbox, Sandbox::Ready { .. }),
        reason: "",
        message: String::new(),
    };
    let containers_ready = containers_ready(pod, state, phase);
    let ready = ready(status, pod, &containers_ready);
    let scheduled = Condition { kind: "PodScheduled", status: true, reason: "", message: String::new() };
    let initialized = initialized(pod, state, phase);
    for condition in [ready_to_start, initialized, ready, containers_ready, scheduled] {
        set_condition(status, &condition, pod.metadata.generation, now);
    }
    for (kind, condition) in resize_conditions(state) {
        match condition {
            Some(condition) => set_condition(status, &condition, pod.metadata.generation, now),
            None => {
                if let Some(list) = status.array_at_mut(&["conditions"]) {
                    list.retain(|c| c.str_at(&["type"]) != kind);
                }
            }
        }
    }
}

/// The conditions that are there only while a resize is under way.
fn resize_conditions(state: &PodState) -> [(&'static str, Option<Condition>); 2] {
    const PENDING: &str = "PodResizePending";
    const PROGRESS: &str = "PodResizeInProgress";
    let over = state.verdict.is_some();
    let pending = state.resize.pending.as_ref().filter(|_| !over);
    let pending = pending.map(|(reason, why)| Condition { kind: PENDING, status: true, reason, message: why.clone() });
    let (reason, message) = match &state.resize.progress {
        Progress::Failed { message, .. } => ("Error", message.clone()),
        _ => ("", String::new()),
    };
    let progress = Condition { kind: PROGRESS, status: true, reason, message };
    [(PENDING, pending), (PROGRESS, (!over && resize::in_progress(state)).then_some(progress))]
}

fn set_condition(status: &mut Value, condition: &Condition, generation: Option<i64>, now: Timestamp) {
    let word = if condition.status { "True" } else { "False" };
    let mut fresh = value!({"type": condition.kind, "status": word, "lastProbeTime": null});
    if !condition.reason.is_empty() {
        fresh.set(&["reason"], condition.reason);
    }
    if !condition.message.is_empty() {
        fresh.set(&["message"], &condition.message);
    }
    if let Some(generation) = generation {
        fresh.set(&["observedGeneration"], generation);
    }
    if status.at(&["conditions"]).as_array().is_none() {
        status.set(&["conditions"], Vec::new());
    }
    let Some(list) = status.array_at_mut(&["conditions"]) else { return };
    let place = list.iter().position(|c| c.str_at(&["type"]) == condition.kind);
    let since = place.map(|i| &list[i]).filter(|old| old.str_at(&["status"]) == word);
    let since = since.map(|old| old.at(&["lastTransitionTime"]).clone()).filter(|t| !t.is_null());
    fresh.set(&["lastTransitionTime"], since.unwrap_or_else(|| seconds(now).into()));
    match place {
        // A null that the server does not keep must not look like a change.
        Some(i) if list[i].at(&["lastProbeTime"]).is_null() && list[i].get("lastProbeTime").is_none() => {
            fresh.remove(&["lastProbeTime"]);
            list[i] = fresh;
        }
        Some(i) => list[i] = fresh,
        None => list.push(fresh),
    }
}

fn terminal(phase: &str) -> Option<&'static str> {
    match phase {
        "Succeeded" => Some("PodCompleted"),
        "Failed" => Some("PodFailed"),
        _ => None,
    }
}

fn containers_ready(pod: &Pod, state: &PodState, phase: &str) -> Condition {
    if let Some(reason) = terminal(phase) {
        return Condition { kind: "ContainersReady", status: false, reason, message: String::new() };
    }
    let unready: Vec<&str> = containers(pod)
        .filter(|(spec, init)| !init || is_sidecar(spec))
        .filter(|(spec, _)| {
            let container = state.containers.get(&spec.name);
            !container.is_some_and(|c| c.ready && matches!(c.phase, Phase::Running { .. } | Phase::Stopping { .. }))
        })
        .map(|(spec, _)| spec.name.as_str())
        .collect();
    let message = match unready.is_empty() {
        true => String::new(),
        false => format!("containers with unready status: [{}]", unready.join(" ")),
    };
    let reason = if unready.is_empty() { "" } else { "ContainersNotReady" };
    Condition { kind: "ContainersReady", status: unready.is_empty(), reason, message }
}

fn ready(status: &Value, pod: &Pod, containers_ready: &Condition) -> Condition {
    let mut ready = Condition {
        kind: "Ready",
        status: containers_ready.status,
        reason: containers_ready.reason,
        message: containers_ready.message.clone(),
    };
    if !ready.status {
        return ready;
    }
    let gates = pod.spec.as_ref().and_then(|s| s.readiness_gates.as_deref()).unwrap_or_default();
    let mut missing = Vec::new();
    for gate in gates.iter().map(|g| g.condition_type.as_str()) {
        let condition = status.items_at(&["conditions"]).iter().find(|c| c.str_at(&["type"]) == gate);
        match condition.map(|c| c.str_at(&["status"])) {
            None => missing.push(format!("corresponding condition of pod readiness gate {gate:?} does not exist.")),
            Some("True") => {}
            Some(other) => {
                missing.push(format!("the status of pod readiness gate {gate:?} is not \"True\", but {other}"));
            }
        }
    }
    if !missing.is_empty() {
        ready.status = false;
        ready.reason = "ReadinessGatesNotReady";
        ready.message = missing.join(", ");
    }
    ready
}

fn initialized(pod: &Pod, state: &PodState, phase: &str) -> Condition {
    let mut condition = Condition { kind: "Initialized", status: true, reason: "", message: String::new() };
    if phase == "Succeeded" {
        condition.reason = "PodCompleted";
        return condition;
    }
    if state.initialized {
        return condition;
    }
    let incomplete: Vec<&str> = containers(pod)
        .filter(|(_, init)| *init)
        .filter(|(spec, _)| match state.containers.get(&spec.name) {
            Some(c) if is_sidecar(spec) => !(c.started && matches!(c.phase, Phase::Running { .. })),
            Some(c) => c.ended().is_none_or(|e| e.exit_code != 0),
            None => true,
        })
        .map(|(spec, _)| spec.name.as_str())
        .collect();
    if !incomplete.is_empty() {
        condition.status = false;
        condition.reason = "ContainersNotInitialized";
        condition.message = format!("containers with incomplete status: [{}]", incomplete.join(" "));
    }
    condition
}

/// The strategic merge patch of `status` that leads from `old` to `new`; `None` where they are equal. The uid in it makes
/// sure that it meets the same pod.
pub fn patch(uid: &str, old: &Value, new: &Value) -> Option<Value> {
    let mut changes = Value::object();
    for (key, fresh) in new.members_at(&[]) {
        let before = old.at(&[key]);
        if fresh == before {
            continue;
        }
        let change = match key {
            "conditions" => changed_items(before, fresh, "type"),
            // Lists with merge keys would otherwise keep what is gone.
            "podIPs" | "hostIPs" if !before.is_null() => {
                let mut items = vec![value!({"$patch": "replace"})];
                items.extend(fresh.as_array().into_iter().flatten().cloned());
                items.into()
            }
            _ => fresh.clone(),
        };
        changes.set(&[key], change);
    }
    for (key, _) in old.members_at(&[]).filter(|(key, _)| new.get(key).is_none()) {
        changes.set(&[key], Value::Null);
    }
    if changes.as_object().is_none_or(value::Map::is_empty) {
        return None;
    }
    let mut patch = value!({"metadata": {"uid": uid}});
    patch.set(&["status"], changes);
    Some(patch)
}

fn changed_items(before: &Value, fresh: &Value, key: &str) -> Value {
    let old = before.as_array().map(Vec::as_slice).unwrap_or_default();
    let gone = old.iter().filter(|o| {
        let kept = fresh.as_array().into_iter().flatten().any(|item| item.str_at(&[key]) == o.str_at(&[key]));
        !kept
    });
    let gone = gone.map(|o| value!({"$patch": "delete", key: o.str_at(&[key])}));
    let changed = fresh.as_array().into_iter().flatten().filter(|item| !old.contains(item)).map(|item| {
        let mut item = item.clone();
        // What an older condition of that type said and this one does not must go.
        if let Some(previous) = old.iter().find(|o| o.str_at(&[key]) == item.str_at(&[key])) {
            for (field, _) in previous.members_at(&[]) {
                if item.get(field).is_none() {
                    item.set(&[field], Value::Null);
                }
            }
        }
        item
    });
    changed.chain(gone).collect::<Vec<Value>>().into()
}
