//! The decision of a pod worker: from the pod's spec and what was seen, what to do now and when to look again.
//!
//! Pure, so that every case is a line of a table. Anything under way (a phase that ends in `-ing`) is left alone, but for a
//! stop that must become shorter. Order at the start: volumes and sandbox side by side, init containers one after the
//! other (a sidecar counts as done when it has started), then the others all at once. Order at the end: the others,
//! then sidecars in reverse, then the sandbox, the volumes, and last the object.

use crate::pod::ephemeral::ephemeral;
use crate::pod::resize::Progress;
use crate::pod::state::{Container, Ended, Phase, PodState, Sandbox, Volumes};
use base::time::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container as Spec, Pod};

/// What the pod's end is asked for, by whom and how soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// When the last process must be gone.
    pub deadline: Timestamp,
    /// The object is being deleted: remove everything and then the object.
    pub delete: bool,
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Mount,
    CreateSandbox {
        attempt: u32,
    },
    Start {
        container: String,
        attempt: u32,
    },
    /// Again with an earlier deadline where one runs already.
    Stop {
        container: String,
        deadline: Timestamp,
        message: String,
    },
    /// End the start that is under way.
    CancelStart {
        container: String,
    },
    /// Release network and namespaces, keep the records.
    StopSandbox {
        id: String,
    },
    /// Remove it with all records, and start anew if the pod still runs.
    RemoveSandbox {
        id: String,
    },
    Unmount,
    /// Write to the cgroups what was granted.
    Resize,
    /// The pod as a whole has failed.
    Fail {
        reason: &'static str,
        message: &'static str,
    },
    /// Remove the object from the API.
    Finish,
}

/// What to do now, and when to look again if nothing happens before.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    pub actions: Vec<Action>,
    pub wake: Option<Timestamp>,
}

impl Plan {
    fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |earlier| earlier.min(at)));
    }
}

/// True for an init container that runs beside the others.
pub fn is_sidecar(container: &Spec) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// The containers of a pod, init containers first.
pub fn containers(pod: &Pod) -> impl Iterator<Item = (&Spec, bool)> {
    let spec = pod.spec.as_ref();
    let init = spec.into_iter().flat_map(|s| s.init_containers.iter().flatten()).map(|c| (c, true));
    init.chain(spec.into_iter().flat_map(|s| s.containers.iter()).map(|c| (c, false)))
}

/// True where a container that has ended is to be started again.
pub fn again(pod: &Pod, spec: &Spec, init: bool, container: &Container, ended: &Ended) -> bool {
    // What is to run is not what has ended (upstream's `containerChanged`): no policy and no code speaks about that.
    container.renew || restarts(pod, spec, init, ended.exit_code)
}

/// True where a container that is killed for its probe's sake will be started again; rules about exit codes are not asked,
/// as upstream, because there is no code yet.
pub fn survives_kill(pod: &Pod, spec: &Spec, init: bool) -> bool {
    let of_pod = pod.spec.as_ref().and_then(|s| s.restart_policy.as_deref());
    init && is_sidecar(spec) || spec.restart_policy.as_deref().or(of_pod) != Some("Never")
}

/// What policies and rules say of a container that ended with that code.
pub fn restarts(pod: &Pod, container: &Spec, init: bool, exit_code: i32) -> bool {
    if init && is_sidecar(container) {
        return true;
    }
    // KEP-5307: rules of the container come before its policy, its policy before the pod's.
    for rule in container.restart_policy_rules.iter().flatten() {
        let listed = |codes: &Option<Vec<i32>>| codes.as_ref().is_some_and(|codes| codes.contains(&exit_code));
        let matches = rule.exit_codes.as_ref().is_some_and(|codes| match codes.operator.as_str() {
            "In" => listed(&codes.values),
            "NotIn" => !listed(&codes.values),
            _ => false,
        });
        if matches && rule.action == "Restart" {
            return true;
        }
    }
    let of_pod = pod.spec.as_ref().and_then(|s| s.restart_policy.as_deref());
    match container.restart_policy.as_deref().or(of_pod) {
        Some("Never") => false,
        Some("OnFailure") => exit_code != 0,
        // An init container that succeeded is done under any policy.
        _ => !init || exit_code != 0,
    }
}

/// Decides. `stop` is given once the pod is to end for a reason outside itself.
pub fn decide(pod: &Pod, stop: Option<Stop>, state: &PodState, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let deadline = pod.spec.as_ref().and_then(|s| s.active_deadline_seconds);
    if let Some(seconds) = deadline.filter(|_| stop.is_none() && state.verdict.is_none() && !finished(pod, state)) {
        let deadline = state.start_time + SignedDuration::from_secs(seconds);
        if now >= deadline {
            let message = "Pod was active on the node longer than the specified deadline";
            return Plan { actions: vec![Action::Fail { reason: "DeadlineExceeded", message }], wake: None };
        }
        plan.wake_at(deadline);
    }
    let grace = SignedDuration::from_secs(grace_seconds(pod));
    match (stop, &state.verdict) {
        (Some(stop), _) => end(pod, stop, state, now, &mut plan),
        (None, Some(_)) => end(pod, Stop { deadline: now + grace, delete: false }, state, now, &mut plan),
        (None, None) if finished(pod, state) => {
            // Only sidecars may still run.
            end(pod, Stop { deadline: now + grace, delete: false }, state, now, &mut plan);
        }
        (None, None) => run(pod, state, now, grace, &mut plan),
    }
    plan
}

/// `terminationGracePeriodSeconds`, 30 where the spec says nothing.
pub fn grace_seconds(pod: &Pod) -> i64 {
    pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds).unwrap_or(30)
}

/// True where no container but sidecars runs or will run again.
pub fn finished(pod: &Pod, state: &PodState) -> bool {
    let done = |spec: &Spec, init: bool| {
        let container = state.containers.get(&spec.name);
        match container.map(|c| (c, &c.phase)) {
            Some((container, Phase::Ended(ended))) => !again(pod, spec, init, container, ended),
            _ => false,
        }
    };
    let init_failed = containers(pod).any(|(spec, init)| {
        let code = state.containers.get(&spec.name).and_then(Container::ended).map(|e| e.exit_code);
        init && !is_sidecar(spec) && code.is_some_and(|code| code != 0) && done(spec, true)
    });
    let active = containers(pod)
        .filter(|(spec, init)| !(*init && is_sidecar(spec)))
        .any(|(spec, _)| state.containers.get(&spec.name).is_some_and(Container::active));
    let mut regular = containers(pod).filter(|(_, init)| !init).peekable();
    let all_done = regular.peek().is_some() && regular.all(|(spec, _)| done(spec, false));
    !active && (init_failed || all_done)
}

/// True where what comes next needs a living sandbox: before anything is started again after an end, it is looked after.
/// A pod that is over or ends needs none.
pub fn needs_sandbox(pod: &Pod, stop: Option<Stop>, state: &PodState) -> bool {
    stop.is_none() && state.verdict.is_none() && !finished(pod, state)
}

fn run(pod: &Pod, state: &PodState, now: Timestamp, grace: SignedDuration, plan: &mut Plan) {
    match &state.volumes {
        Volumes::Absent => plan.actions.push(Action::Mount),
        Volumes::Failed { retry_at, .. } if *retry_at <= now => plan.actions.push(Action::Mount),
        Volumes::Failed { retry_at, .. } => plan.wake_at(*retry_at),
        Volumes::Mounting { .. } | Volumes::Mounted | Volumes::Removing => {}
    }
    match &state.sandbox {
        Sandbox::Absent => plan.actions.push(Action::CreateSandbox { attempt: state.attempt }),
        Sandbox::Failed { retry_at, .. } if *retry_at <= now => {
            plan.actions.push(Action::CreateSandbox { attempt: state.attempt });
        }
        Sandbox::Failed { retry_at, .. } => plan.wake_at(*retry_at),
        // A pod that was stopped by a shutdown and found again starts anew.
        Sandbox::Broken { id } | Sandbox::Stopped { id } => {
            if !state.containers.values().any(|c| matches!(c.phase, Phase::Starting { .. })) {
                plan.actions.push(Action::RemoveSandbox { id: id.clone() });
            }
        }
        Sandbox::Creating { .. } | Sandbox::Stopping { .. } | Sandbox::Removing { .. } => {}
        Sandbox::Ready { .. } => {
            match &state.resize.progress {
                Progress::Due => plan.actions.push(Action::Resize),
                Progress::Failed { retry_at, .. } if *retry_at <= now => plan.actions.push(Action::Resize),
                Progress::Failed { retry_at, .. } => plan.wake_at(*retry_at),
                Progress::Done | Progress::Writing => {}
            }
            if state.volumes == Volumes::Mounted {
                run_ephemeral(pod, state, now, plan);
                run_containers(pod, state, now, plan);
            }
        }
    }
    for (spec, _) in containers(pod) {
        let Some(container) = state.containers.get(&spec.name) else { continue };
        if let (Phase::Running { .. }, Some(condemned)) = (&container.phase, &container.condemned) {
            let grace = condemned.grace.map_or(grace, SignedDuration::from_secs);
            plan.actions.push(Action::Stop {
                container: spec.name.clone(),
                deadline: now + grace,
                message: condemned.message.clone(),
            });
        }
    }
}

/// Started once, whatever the init containers do.
fn run_ephemeral(pod: &Pod, state: &PodState, now: Timestamp, plan: &mut Plan) {
    let nothing = Container::default();
    for spec in ephemeral(pod) {
        let container = state.containers.get(&spec.name).unwrap_or(&nothing);
        if container.phase != Phase::Waiting || container.created {
            continue;
        }
        match container.held_until(now) {
            Some(until) => plan.wake_at(until),
            None => plan.actions.push(Action::Start { container: spec.name, attempt: 0 }),
        }
    }
}

fn run_containers(pod: &Pod, state: &PodState, now: Timestamp, plan: &mut Plan) {
    let nothing = Container::default();
    let mut ready_for_next = true;
    for (spec, init) in containers(pod) {
        let container = state.containers.get(&spec.name).unwrap_or(&nothing);
        let sidecar = init && is_sidecar(spec);
        if init && !sidecar && state.initialized {
            continue;
        }
        if init && !ready_for_next && !state.initialized {
            break;
        }
        if !init && !ready_for_next && !state.initialized {
            break;
        }
        let wants_start = match &container.phase {
            Phase::Waiting => true,
            Phase::Ended(ended) => again(pod, spec, init, container, ended),
            Phase::Starting { .. } | Phase::Running { .. } | Phase::Stopping { .. } => false,
        };
        if wants_start {
            match container.held_until(now) {
                Some(until) => plan.wake_at(until),
                None => {
                    plan.actions.push(Action::Start { container: spec.name.clone(), attempt: container.next_attempt() })
                }
            }
        }
        if init {
            ready_for_next = match &container.phase {
                Phase::Ended(ended) => !sidecar && ended.exit_code == 0,
                Phase::Running { .. } => sidecar && container.started,
                _ => false,
            };
        }
    }
}

fn end(pod: &Pod, stop: Stop, state: &PodState, now: Timestamp, plan: &mut Plan) {
    let nothing = Container::default();
    let mut active = false;
    let (sidecars, others): (Vec<_>, Vec<_>) = containers(pod).partition(|(spec, init)| *init && is_sidecar(spec));
    let added = ephemeral(pod);
    for spec in others.into_iter().map(|(spec, _)| spec).chain(&added) {
        let container = state.containers.get(&spec.name).unwrap_or(&nothing);
        active |= container.active();
        stop_container(spec, container, stop.deadline, plan);
    }
    if !active {
        for (spec, _) in sidecars.iter().rev() {
            let container = state.containers.get(&spec.name).unwrap_or(&nothing);
            if container.active() {
                active = true;
                // Even late, a sidecar gets two seconds (`minimumGracePeriodInSeconds`).
                let deadline = stop.deadline.max(now + SignedDuration::from_secs(2));
                let asked = matches!(container.phase, Phase::Stopping { .. });
                stop_container(spec, container, if asked { stop.deadline } else { deadline }, plan);
                break;
            }
        }
    }
    if active {
        return;
    }
    match &state.sandbox {
        Sandbox::Creating { .. } | Sandbox::Stopping { .. } | Sandbox::Removing { .. } => return,
        Sandbox::Ready { id } | Sandbox::Broken { id } if !stop.delete => {
            return plan.actions.push(Action::StopSandbox { id: id.clone() });
        }
        Sandbox::Ready { id } | Sandbox::Broken { id } | Sandbox::Stopped { id } if stop.delete => {
            return plan.actions.push(Action::RemoveSandbox { id: id.clone() });
        }
        _ => {}
    }
    match &state.volumes {
        Volumes::Mounting { .. } | Volumes::Removing => {}
        Volumes::Mounted | Volumes::Failed { .. } => plan.actions.push(Action::Unmount),
        Volumes::Absent if stop.delete && !state.forgotten => plan.actions.push(Action::Finish),
        Volumes::Absent => {}
    }
}

fn stop_container(spec: &Spec, container: &Container, deadline: Timestamp, plan: &mut Plan) {
    let name = spec.name.clone();
    match &container.phase {
        Phase::Starting { .. } => plan.actions.push(Action::CancelStart { container: name }),
        Phase::Running { .. } => {
            plan.actions.push(Action::Stop { message: format!("Stopping container {name}"), container: name, deadline })
        }
        Phase::Stopping { deadline: present, .. } if deadline < *present => {
            plan.actions.push(Action::Stop { container: name, deadline, message: String::new() });
        }
        _ => {}
    }
}
