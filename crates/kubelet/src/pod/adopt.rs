//! Taking up a pod that an earlier process of the agent had: from the runtime's records and the API's status to a state.
//!
//! Pure. The runtime is believed before the API: its attempt numbers are the restart counts, its exits are the exits. What
//! only the API remembers (containers of a machine that was restarted) counts as ended for reasons unknown.

use crate::pod::{
    decide::containers,
    ephemeral::{self, Place},
    resize,
    state::{Container, Ended, Phase, PodState, Sandbox, Verdict, Volumes},
    worker::container_name,
};
use base::time::{Timestamp, parse};
use cri::{ContainerState, ContainerStatus, PodSandboxState, PodSandboxStatus};
use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use value::Value;

/// What the runtime remembers of one pod.
#[derive(Debug, Clone, Default)]
pub struct Records {
    /// The latest one.
    pub sandbox: Option<PodSandboxStatus>,
    /// Of that sandbox, with how they ended.
    pub containers: Vec<(ContainerStatus, Option<Ended>)>,
}

/// The state, and containers that were made but never started: they must be removed.
pub fn adopt(pod: &Pod, status: &Value, records: &Records, now: Timestamp) -> (PodState, Vec<String>) {
    let all = ephemeral::all(pod);
    let names = all.iter().map(|(spec, _)| spec.name.clone());
    let start = parse(status.str_at(&["startTime"])).unwrap_or(now);
    let mut state = PodState::new(start, names);
    let mut leftovers = Vec::new();
    if status.str_at(&["phase"]) == "Failed" && !status.str_at(&["reason"]).is_empty() {
        let text = |field| status.str_at(&[field]).to_string();
        state.verdict = Some(Verdict { reason: text("reason"), message: text("message") });
    }
    if let Some(sandbox) = &records.sandbox {
        state.attempt = sandbox.metadata.attempt;
        state.ips = sandbox.ips.clone();
        let id = sandbox.id.clone();
        state.sandbox = match sandbox.state {
            PodSandboxState::Ready => Sandbox::Ready { id },
            PodSandboxState::NotReady => Sandbox::Broken { id },
        };
    }
    if state.ips.is_empty() {
        state.ips = status.items_at(&["podIPs"]).iter().map(|ip| ip.str_at(&["ip"]).to_string()).collect();
    }
    // Directories may be there from before: to be made ready or to be removed, not to be taken for absent.
    if !status.is_null() || records.sandbox.is_some() {
        state.volumes = Volumes::Failed { message: String::new(), tries: 0, retry_at: now };
    }
    state.allocated = resize::wished(pod);
    for (spec, place) in &all {
        let api = status.items_at(&[place.statuses()]).iter().find(|c| c.str_at(&["name"]) == spec.name);
        let mut own: Vec<&(ContainerStatus, Option<Ended>)> =
            records.containers.iter().filter(|(c, _)| container_name(c) == spec.name).collect();
        own.sort_by_key(|(c, _)| c.metadata.attempt);
        own.retain(|(c, _)| {
            let unborn = c.state == ContainerState::Created;
            if unborn {
                leftovers.push(c.id.clone());
            }
            !unborn
        });
        let mut container = match own.last() {
            Some((record, ended)) => of_record(record, ended.as_ref(), now),
            None => api.map(|api| of_status(api, now)).unwrap_or_default(),
        };
        let before = own.len().checked_sub(2).and_then(|i| own.get(i)).and_then(|(_, ended)| ended.clone());
        container.last = before.or(container.last);
        if let Some(api) = api {
            let same = api.str_at(&["containerID"]).ends_with(&container.id) && !container.id.is_empty();
            if same && matches!(container.phase, Phase::Running { .. }) {
                container.started = api.at(&["started"]).as_bool().unwrap_or(false);
                container.ready = api.at(&["ready"]).as_bool().unwrap_or(false);
            }
            if container.last.is_none() {
                container.last = ended_of(api.at(&["lastState", "terminated"]), now);
            }
            if container.image_id.is_empty() {
                container.image_id = api.str_at(&["imageID"]).into();
            }
            if let Some((allocated, applied)) = resources(api) {
                state.allocated.insert(spec.name.clone(), allocated);
                container.applied = Some(applied);
            }
        }
        if container.image.is_empty() {
            container.image = spec.image.clone().unwrap_or_default();
        }
        let lives = matches!(container.phase, Phase::Running { .. }) || own.last().is_some();
        if *place == Place::Regular && lives {
            state.initialized = true;
        }
        state.containers.insert(spec.name.clone(), container);
    }
    // Without init containers there is nothing to wait for; without a sandbox they all have to run again.
    let finished_before = state.verdict.is_some() || matches!(status.str_at(&["phase"]), "Succeeded" | "Failed");
    if records.sandbox.is_none() && !finished_before {
        forget_init(pod, &mut state);
    }
    if finished_before && records.sandbox.is_none() {
        state.initialized = true;
    }
    (state, leftovers)
}

/// What a status says was granted and what was applied; `None` where it says nothing.
fn resources(api: &Value) -> Option<(ResourceRequirements, ResourceRequirements)> {
    let applied: ResourceRequirements = serde_json::from_str(&api.get("resources")?.to_string()).ok()?;
    let requests = api.get("allocatedResources").and_then(|list| serde_json::from_str(&list.to_string()).ok());
    let allocated = ResourceRequirements { requests, ..applied.clone() };
    Some((allocated, applied))
}

/// In a new sandbox the init containers run again; their earlier ends are history.
fn forget_init(pod: &Pod, state: &mut PodState) {
    state.initialized = false;
    for (spec, init) in containers(pod) {
        let Some(container) = state.containers.get_mut(&spec.name) else { continue };
        if init && let Phase::Ended(ended) = std::mem::take(&mut container.phase) {
            container.last = Some(ended);
        }
    }
}

fn of_record(record: &ContainerStatus, ended: Option<&Ended>, now: Timestamp) -> Container {
    let phase = match (record.state, ended) {
        (ContainerState::Running, _) => {
            Phase::Running { since: crate::pod::ops::time(record.started_at).unwrap_or(now) }
        }
        (_, Some(ended)) => Phase::Ended(ended.clone()),
        (_, None) => Phase::Ended(Ended {
            id: record.id.clone(),
            exit_code: 137,
            reason: "ContainerStatusUnknown".into(),
            finished: now,
            ..Ended::default()
        }),
    };
    Container {
        phase,
        created: true,
        restarts: record.metadata.attempt,
        id: record.id.clone(),
        image: record.annotations.get(crate::convert::IMAGE).cloned().unwrap_or_default(),
        image_id: if record.image_ref.is_empty() { record.image_id.clone() } else { record.image_ref.clone() },
        ..Container::default()
    }
}

/// A container that only the API remembers.
fn of_status(api: &Value, now: Timestamp) -> Container {
    let restarts = api.at(&["restartCount"]).as_i64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let id = api.str_at(&["containerID"]).trim_start_matches("ferry://").to_string();
    let mut container = Container { restarts, created: !id.is_empty(), id: id.clone(), ..Container::default() };
    if let Some(ended) = ended_of(api.at(&["state", "terminated"]), now) {
        container.phase = Phase::Ended(ended);
    } else if !api.at(&["state", "running"]).is_null() {
        container.phase = Phase::Ended(Ended {
            id,
            exit_code: 137,
            reason: "ContainerStatusUnknown".into(),
            message: "The container could not be located when the pod was deleted.  The container used to be Running"
                .into(),
            started: parse(api.str_at(&["state", "running", "startedAt"])),
            finished: now,
        });
    }
    container
}

fn ended_of(terminated: &Value, now: Timestamp) -> Option<Ended> {
    if terminated.is_null() {
        return None;
    }
    Some(Ended {
        id: terminated.str_at(&["containerID"]).trim_start_matches("ferry://").into(),
        exit_code: terminated.at(&["exitCode"]).as_i64().and_then(|n| i32::try_from(n).ok()).unwrap_or(0),
        reason: terminated.str_at(&["reason"]).into(),
        message: terminated.str_at(&["message"]).into(),
        started: parse(terminated.str_at(&["startedAt"])),
        finished: parse(terminated.str_at(&["finishedAt"])).unwrap_or(now),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use value::value;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "uid": "u"},
            "spec": {"initContainers": [{"name": "i"}], "containers": [{"name": "a", "image": "img"}]}
        }))
        .unwrap()
    }

    fn record(name: &str, attempt: u32, state: ContainerState) -> (ContainerStatus, Option<Ended>) {
        let status = ContainerStatus {
            id: format!("{name}{attempt}"),
            metadata: cri::ContainerMetadata { name: name.into(), attempt },
            state,
            started_at: 5_000_000_000,
            ..ContainerStatus::default()
        };
        let ended = (state == ContainerState::Exited).then(|| Ended { id: status.id.clone(), ..Ended::default() });
        (status, ended)
    }

    fn sandbox(state: PodSandboxState) -> Option<PodSandboxStatus> {
        Some(PodSandboxStatus { id: "s".into(), state, ips: vec!["10.0.0.3".into()], ..PodSandboxStatus::default() })
    }

    #[test]
    fn running_containers_keep_their_count() {
        let records = Records {
            sandbox: sandbox(PodSandboxState::Ready),
            containers: vec![
                record("i", 0, ContainerState::Exited),
                record("a", 2, ContainerState::Running),
                record("a", 1, ContainerState::Exited),
                record("a", 3, ContainerState::Created),
            ],
        };
        let status = value!({"containerStatuses": [
            {"name": "a", "containerID": "ferry://a2", "ready": true, "started": true, "restartCount": 2}]});
        let (state, leftovers) = adopt(&pod(), &status, &records, Timestamp::UNIX_EPOCH);
        let a = &state.containers["a"];
        assert_eq!((a.restarts, a.ready, a.started, a.id.as_str()), (2, true, true, "a2"));
        assert_eq!(a.last.as_ref().unwrap().id, "a1");
        assert!(matches!(a.phase, Phase::Running { since } if since.as_second() == 5));
        assert!(state.initialized && state.sandbox == Sandbox::Ready { id: "s".into() });
        assert_eq!(leftovers, ["a3"]);
    }

    #[test]
    fn after_a_restart_of_the_machine_everything_runs_again() {
        let status = value!({"phase": "Running", "startTime": "2026-01-01T00:00:00Z",
            "initContainerStatuses": [{"name": "i", "restartCount": 0, "containerID": "ferry://i0", "state": {"terminated": {"exitCode": 0}}}],
            "containerStatuses": [{"name": "a", "restartCount": 4, "containerID": "ferry://a4", "state": {"running": {}}}]});
        let (state, _) = adopt(&pod(), &status, &Records::default(), Timestamp::UNIX_EPOCH);
        assert_eq!(state.sandbox, Sandbox::Absent);
        assert!(!state.initialized && state.containers["i"].phase == Phase::Waiting);
        let a = &state.containers["a"];
        assert_eq!((a.next_attempt(), a.ended().unwrap().exit_code), (5, 137));
    }

    #[test]
    fn what_was_over_stays_over() {
        let status = value!({"phase": "Succeeded", "podIPs": [{"ip": "10.0.0.9"}],
            "initContainerStatuses": [{"name": "i", "containerID": "ferry://i0", "state": {"terminated": {"exitCode": 0}}}],
            "containerStatuses": [{"name": "a", "containerID": "ferry://a0", "state": {"terminated": {"exitCode": 0}}}]});
        let mut pod = pod();
        pod.spec.as_mut().unwrap().restart_policy = Some("Never".into());
        let (state, _) = adopt(&pod, &status, &Records::default(), Timestamp::UNIX_EPOCH);
        assert!(crate::pod::decide::finished(&pod, &state));
        assert_eq!(state.ips, ["10.0.0.9"]);
        let failed = value!({"phase": "Failed", "reason": "Evicted", "message": "m"});
        let (state, _) = adopt(&pod, &failed, &Records::default(), Timestamp::UNIX_EPOCH);
        assert_eq!(state.verdict.unwrap().reason, "Evicted");
    }
}
