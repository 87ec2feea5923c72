//! Hearing what happened: each message changes the state, once, and nothing else; the next step decides what follows.

use crate::convert::IMAGE;
use crate::pod::{
    backoff::pull_delay,
    decide,
    decide::containers,
    ephemeral::Place,
    ops, probes, resize,
    resize::{Answer, Progress},
    start::{Outcome, StartProblem},
    state::{Condemned, Ended, Phase, Problem, Sandbox, Volumes},
    worker::{Message, SandboxUp, Worker},
};
use base::time::{SignedDuration, Timestamp};
use cri::{ContainerEvent, ContainerEventKind, ContainerState, ContainerStatus};
use k8s_openapi::api::core::v1::{Container as Spec, Pod, ResourceRequirements};
use std::sync::Arc;
use value::{Object, Value};

impl Worker {
    pub(super) async fn take(&mut self, message: Message) {
        let now = self.node.now();
        match message {
            Message::Object(object) => self.take_object(&object),
            Message::Gone => {
                self.state.forgotten = true;
                let grace = self.pod.metadata.deletion_grace_period_seconds.unwrap_or(decide::grace_seconds(&self.pod));
                self.end_by(now + SignedDuration::from_secs(grace), true);
            }
            Message::Shutdown => {
                self.shutdown = true;
                self.end_by(now + SignedDuration::from_secs(decide::grace_seconds(&self.pod)), false);
            }
            Message::Changed => {
                // A container that waits for just this object need not wait any longer.
                for container in self.state.containers.values_mut() {
                    if let Some(problem) =
                        container.problem.as_mut().filter(|p| p.reason == "CreateContainerConfigError")
                    {
                        problem.retry_at = now;
                    }
                }
                match &mut self.state.volumes {
                    Volumes::Failed { retry_at, .. } => *retry_at = now,
                    Volumes::Mounting { .. } => self.refresh_volumes = Some(now),
                    _ => self.refresh_volumes = Some(now),
                }
            }
            Message::Room => self.weigh_resources(),
            Message::Resized(result) => self.take_resized(result, now),
            Message::Runtime(event) => self.take_event(event).await,
            Message::Mounted(result) => self.take_mounted(result, now),
            Message::Unmounted(Ok(())) => self.state.volumes = Volumes::Absent,
            Message::Unmounted(Err(message)) => {
                tracing::warn!(pod = %self.about.name, %message, "cannot unmount");
                self.state.volumes = Volumes::Mounted;
            }
            Message::SandboxUp(result) => self.take_sandbox(result, now),
            Message::SandboxStopped(result) => {
                let id = self.state.sandbox.id().unwrap_or_default().to_string();
                self.state.sandbox =
                    self.after_sandbox(result, Sandbox::Stopped { id: id.clone() }, Sandbox::Ready { id });
            }
            Message::SandboxRemoved(result) => {
                let id = self.state.sandbox.id().unwrap_or_default().to_string();
                let failed = result.is_err();
                self.state.sandbox = self.after_sandbox(result, Sandbox::Absent, Sandbox::Broken { id: id.clone() });
                if !failed {
                    self.node.sandboxes.lock().remove(&id);
                    if self.stop.is_none() {
                        self.state.lose_sandbox();
                    }
                }
            }
            Message::Started { container, attempt, resources, outcome } => {
                self.take_started(&container, attempt, resources, outcome, now).await;
            }
            Message::Hooked { container, id, result } => {
                if let Some(live) = self.live.get_mut(&container).filter(|live| live.id == id) {
                    live.hooked = true;
                    if result.is_err()
                        && let Some(c) = self.state.containers.get_mut(&container)
                    {
                        let message = format!("Container {container} failed postStart hook");
                        c.condemned = Some(Condemned { message, grace: None });
                    }
                }
            }
            Message::Stopped { container, id, status, error } => self.take_stopped(&container, &id, status, error, now),
            Message::Probe(report) => probes::take(self, report),
            Message::Stored { status, result } => self.take_stored(status, result, now),
            Message::Finished(result) => self.take_finished(result, now),
        }
    }

    pub(super) fn after_sandbox(&self, result: Result<(), String>, done: Sandbox, failed: Sandbox) -> Sandbox {
        match result {
            Ok(()) => done,
            Err(message) => {
                self.node.recorder.warning(&self.about, "FailedKillPod", format!("error killing pod: {message}"));
                failed
            }
        }
    }

    pub(super) fn take_object(&mut self, object: &Object) {
        let Ok(pod) = object.decode::<Pod>() else { return };
        self.about.resource_version = object.revision.to_string().into();
        // Conditions of others count (readiness gates); our own fields are as we last stored them.
        let tree = object.value();
        let ours = [
            "PodReadyToStartContainers",
            "Initialized",
            "Ready",
            "ContainersReady",
            "PodScheduled",
            "PodResizePending",
            "PodResizeInProgress",
        ];
        let foreign: Vec<Value> = tree
            .items_at(&["status", "conditions"])
            .iter()
            .filter(|c| !ours.contains(&c.str_at(&["type"])))
            .cloned()
            .collect();
        let mut conditions = foreign;
        // Somebody else wrote our readiness (the node was thought dead): what is stored is that, and we say again what is.
        let overwritten =
            !self.storing && readiness(tree.at(&["status"])).is_some_and(|is| readiness(&self.status) != Some(is));
        let stored = if overwritten { tree.at(&["status"]) } else { &self.status };
        let own = stored.items_at(&["conditions"]).iter().filter(|c| ours.contains(&c.str_at(&["type"])));
        conditions.extend(own.cloned());
        if matches!(self.status, Value::Object(_)) {
            self.status.set(&["conditions"], conditions);
        }
        let metadata_changed = pod.metadata.labels != self.pod.metadata.labels
            || pod.metadata.annotations != self.pod.metadata.annotations;
        self.pod = Arc::new(pod);
        self.granted = resize::share(&self.pod, &self.state.allocated);
        self.condemn_changed();
        self.weigh_resources();
        if metadata_changed {
            // The downward API shows labels and annotations.
            self.refresh_volumes = Some(self.node.now());
        }
        self.note_deletion();
    }

    /// A container whose image is another one now runs anew, whatever the restart policy says of its end. Only regular
    /// ones and sidecars: what an init container did is done.
    pub(super) fn condemn_changed(&mut self) {
        for (spec, init) in containers(&self.pod) {
            let Some(container) = self.state.containers.get_mut(&spec.name) else { continue };
            let changed = spec.image.as_ref().is_some_and(|image| *image != container.image);
            let one_shot = init && !decide::is_sidecar(spec);
            if matches!(container.phase, Phase::Running { .. }) && changed && !container.image.is_empty() && !one_shot {
                container.renew = true;
                let message = format!("Container {} definition changed, will be restarted", spec.name);
                container.condemned = Some(Condemned { message, grace: None });
            }
        }
    }

    /// Looks at what the spec asks for, and grants it where there is room.
    pub(super) fn weigh_resources(&mut self) {
        if self.stop.is_some() || self.state.verdict.is_some() {
            return;
        }
        if resize::unchanged(&self.pod, &self.state.allocated) {
            self.state.resize.pending = None;
            return;
        }
        let others = self.node.shares.others(&self.uid);
        let others: Vec<&Pod> = others.iter().map(|pod| &**pod).collect();
        let answer = resize::answer(&self.pod, &self.state.allocated, &others, &self.node.allocatable);
        let pending = match answer {
            Answer::Same => None,
            Answer::Granted => {
                self.grant();
                None
            }
            Answer::Deferred(why) => {
                self.node.shares.wait(&self.uid, self.inbox.clone());
                Some(("Deferred", why))
            }
            Answer::Infeasible(why) => Some(("Infeasible", why)),
        };
        if let Some((reason, why)) = pending.as_ref().filter(|_| pending != self.state.resize.pending) {
            let text = format!("Pod resize {}: {why}", reason.to_lowercase());
            self.node.recorder.warning(&self.about, &format!("Resize{reason}"), text);
        }
        self.state.resize.pending = pending;
    }

    fn grant(&mut self) {
        self.state.allocated = resize::wished(&self.pod);
        self.state.resize.progress = Progress::Due;
        self.granted = self.pod.clone();
        self.node.shares.set(&self.uid, self.granted.clone());
        self.node.recorder.normal(&self.about, "ResizeStarted", "Pod resize started");
        for (spec, _) in containers(&self.pod) {
            let Some(container) = self.state.containers.get_mut(&spec.name) else { continue };
            let Some(applied) = container.applied.as_ref().zip(self.state.allocated.get(&spec.name)) else { continue };
            let restart = resize::needs_restart(spec, applied.0, applied.1);
            if restart && matches!(container.phase, Phase::Running { .. }) {
                container.renew = true;
                let message = format!("Container {} resize requires restart, will be restarted", spec.name);
                container.condemned = Some(Condemned { message, grace: None });
            }
        }
    }

    fn take_resized(&mut self, result: Result<Vec<(String, ResourceRequirements)>, String>, now: Timestamp) {
        match result {
            Ok(applied) => {
                for (name, resources) in applied {
                    if let Some(container) = self.state.containers.get_mut(&name) {
                        container.applied = Some(resources);
                    }
                }
                // Granted anew while the last grant was being written: once more.
                if self.state.resize.progress == Progress::Writing {
                    self.state.resize.progress = Progress::Done;
                    if !resize::in_progress(&self.state) {
                        self.node.recorder.normal(&self.about, "ResizeCompleted", "Pod resize completed");
                    }
                }
            }
            Err(message) => {
                self.node.recorder.warning(&self.about, "ResizeError", &message);
                let retry_at = now + SignedDuration::from_secs(10);
                self.state.resize.progress = Progress::Failed { message, retry_at };
            }
        }
    }

    pub(super) async fn take_event(&mut self, event: ContainerEvent) {
        let seen = self.seen.entry(event.sandbox_id.clone()).or_insert(0);
        if event.sequence <= *seen {
            return;
        }
        *seen = event.sequence;
        if event.kind != ContainerEventKind::Stopped {
            return;
        }
        let known = self.state.containers.iter().find(|(_, c)| c.id == event.container_id);
        let Some(name) = known.map(|(name, _)| name.clone()) else {
            // A short life can be over before the start has reported.
            self.early.insert(event.container_id);
            return;
        };
        let status = self.node.runtime.container_status(&event.container_id).await;
        let status = status.unwrap_or_else(|_| {
            let exit = event.exit.clone().unwrap_or_default();
            ContainerStatus {
                id: event.container_id.clone(),
                state: ContainerState::Exited,
                finished_at: event.at,
                exit_code: exit.exit_code,
                reason: exit.reason,
                message: exit.message,
                ..ContainerStatus::default()
            }
        });
        self.record_end(&name, &status);
        // Its keeper may have died with it; a start in what is left would only cost a failure and its back-off.
        if decide::needs_sandbox(&self.pod, self.stop, &self.state) {
            self.look_after_sandbox().await;
        }
    }

    /// The container's process is gone; counts once, however often it is told.
    pub(super) fn record_end(&mut self, name: &str, status: &ContainerStatus) {
        let spec = self.spec(name).map(|(spec, _)| spec);
        let ended = ops::ended(&self.node, &self.uid, spec.as_ref(), status);
        let Some(container) = self.state.containers.get_mut(name) else { return };
        // It may be told again while the next one is being started.
        if container.id != status.id || matches!(container.phase, Phase::Ended(_) | Phase::Starting { ended: Some(_) })
        {
            return;
        }
        let since = match container.phase {
            Phase::Running { since } | Phase::Stopping { since, .. } => Some(since),
            _ => None,
        };
        container.phase = Phase::Ended(Ended { started: ended.started.or(since), ..ended });
        container.started = false;
        container.ready = false;
        container.condemned = None;
        self.live.remove(name);
        self.tell_back_off(name);
    }

    pub(super) fn tell_back_off(&self, name: &str) {
        let Some(container) = self.state.containers.get(name) else { return };
        let held = container.held_until(self.node.now()).is_some();
        let Some((_, place)) = self.spec(name).filter(|_| held && self.stop.is_none()) else { return };
        let meta = &self.pod.metadata;
        let (namespace, pod) = (meta.namespace.as_deref().unwrap_or_default(), &self.about.name);
        let text = format!("Back-off restarting failed container {name} in pod {pod}_{namespace}({})", self.uid);
        self.node.recorder.warning(&self.about(name, place), "BackOff", text);
    }

    pub(super) fn take_mounted(&mut self, result: Result<Option<Timestamp>, String>, now: Timestamp) {
        let first = matches!(self.state.volumes, Volumes::Mounting { .. });
        self.remounting = false;
        match result {
            Ok(refresh_at) => {
                let pending = self.refresh_volumes.filter(|at| *at <= now && !first);
                self.refresh_volumes = pending.or(refresh_at);
                if first {
                    self.state.volumes = Volumes::Mounted;
                }
            }
            Err(message) => {
                self.node.recorder.warning(&self.about, "FailedMount", &message);
                if let Volumes::Mounting { tries } = self.state.volumes {
                    // Upstream's volume manager: half a second, doubling to about two minutes.
                    let delay = SignedDuration::from_millis(500 << tries.min(8));
                    self.state.volumes = Volumes::Failed { message, tries: tries + 1, retry_at: now + delay };
                } else {
                    self.refresh_volumes = Some(now + SignedDuration::from_secs(30));
                }
            }
        }
    }

    pub(super) fn take_sandbox(&mut self, result: Result<SandboxUp, String>, now: Timestamp) {
        match result {
            Ok(up) => {
                self.state.sandbox = Sandbox::Ready { id: up.id };
                self.state.ips = up.ips;
            }
            Err(message) => {
                let text = format!("Failed to create pod sandbox: {message}");
                self.node.recorder.warning(&self.about, "FailedCreatePodSandBox", text);
                let tries = match self.state.sandbox {
                    Sandbox::Creating { tries } => tries + 1,
                    _ => 1,
                };
                let delay = SignedDuration::from_secs(1 << tries.min(5).saturating_sub(1));
                self.state.attempt += 1;
                self.state.sandbox = Sandbox::Failed { message, tries, retry_at: now + delay };
            }
        }
    }

    pub(super) async fn take_started(
        &mut self,
        name: &str,
        attempt: u32,
        resources: ResourceRequirements,
        outcome: Outcome,
        now: Timestamp,
    ) {
        match outcome {
            Outcome::Made(made) => {
                let made = self.latest(made).await;
                let image = made.annotations.get(IMAGE).cloned();
                let image = image.or_else(|| self.spec(name).and_then(|(spec, _)| spec.image)).unwrap_or_default();
                let Some(container) = self.state.containers.get_mut(name) else { return };
                if let Some(last) = container.last.take() {
                    let (node, pod, name) = (self.node.clone(), self.pod.clone(), name.to_string());
                    tokio::spawn(ops::forget_container(node, pod, name, last.id, attempt));
                }
                container.made(made.id.clone(), attempt);
                container.applied = Some(resources);
                container.image = image;
                container.image_id =
                    if made.image_ref.is_empty() { made.image_id.clone() } else { made.image_ref.clone() };
                if made.state == ContainerState::Running {
                    container.phase = Phase::Running { since: ops::time(made.started_at).unwrap_or(now) };
                    let live = self.live.entry(name.to_string()).or_default();
                    live.id = made.id.clone();
                    live.cancel = None;
                } else {
                    self.record_end(name, &made);
                }
                // Spec and grant may have changed during the start.
                self.condemn_changed();
                if !resize::to_write(&self.state).is_empty() {
                    self.state.resize.progress = Progress::Due;
                }
            }
            Outcome::Cancelled => {
                self.live.remove(name);
                if let Some(container) = self.state.containers.get_mut(name) {
                    container.not_started(None);
                }
            }
            Outcome::Problem(problem) => {
                self.live.remove(name);
                self.take_problem(name, problem, now);
                self.look_after_sandbox().await;
            }
        }
    }

    /// The status of a container just made; asked again if its end was told already.
    pub(super) async fn latest(&mut self, made: Box<ContainerStatus>) -> Box<ContainerStatus> {
        match self.early.remove(&made.id) {
            true => self.node.runtime.container_status(&made.id).await.map_or(made, Box::new),
            false => made,
        }
    }

    pub(super) fn take_problem(&mut self, name: &str, problem: StartProblem, now: Timestamp) {
        let Some(container) = self.state.containers.get_mut(name) else { return };
        let tries = container.problem.as_ref().filter(|p| p.reason == problem.reason).map_or(1, |p| p.tries + 1);
        let retry_at = now
            + match problem.reason {
                "CreateContainerConfigError" => SignedDuration::from_secs(5),
                _ => pull_delay(tries),
            };
        if matches!(problem.reason, "ErrImagePull" | "RegistryUnavailable") {
            let (spec, place) = self.spec(name).unwrap_or_else(|| (Spec::default(), Place::Regular));
            let text = format!("Back-off pulling image {:?}", spec.image.unwrap_or_default());
            self.node.recorder.normal(&self.about(name, place), "BackOff", text);
        }
        let Some(container) = self.state.containers.get_mut(name) else { return };
        container.not_started(Some(Problem {
            reason: problem.reason.into(),
            message: problem.message,
            since: now,
            tries,
            retry_at,
        }));
    }

    /// A container that ended, or cannot be made, may be the sandbox's fault.
    pub(super) async fn look_after_sandbox(&mut self) {
        let Sandbox::Ready { id } = &self.state.sandbox else { return };
        let id = id.clone();
        let gone = match self.node.runtime.pod_sandbox_status(&id).await {
            Ok(status) => status.state != cri::PodSandboxState::Ready,
            Err(e) => e.is_not_found(),
        };
        if gone {
            self.node.recorder.normal(
                &self.about,
                "SandboxChanged",
                "Pod sandbox changed, it will be killed and re-created.",
            );
            self.state.sandbox = Sandbox::Broken { id };
        }
    }

    pub(super) fn take_stopped(
        &mut self,
        name: &str,
        id: &str,
        status: Option<Box<ContainerStatus>>,
        error: Option<String>,
        now: Timestamp,
    ) {
        let over = |s: &ContainerStatus| matches!(s.state, ContainerState::Exited | ContainerState::Unknown);
        match status {
            Some(status) if over(&status) => self.record_end(name, &status),
            Some(_) => {
                // It still runs: the decision asks for another stop.
                tracing::warn!(pod = %self.about.name, container = name, error = error.unwrap_or_default(), "not stopped");
                if let Some(container) = self.state.containers.get_mut(name).filter(|c| c.id == id)
                    && let Phase::Stopping { since, .. } = container.phase
                {
                    container.phase = Phase::Running { since };
                }
            }
            None => {
                let unknown = ContainerStatus {
                    id: id.into(),
                    state: ContainerState::Unknown,
                    finished_at: i64::try_from(now.as_nanosecond()).unwrap_or(0),
                    message: "The container could not be located when the pod was terminated".into(),
                    ..ContainerStatus::default()
                };
                self.record_end(name, &unknown);
            }
        }
    }

    pub(super) fn take_stored(&mut self, status: Value, result: Result<Arc<Object>, client::Error>, now: Timestamp) {
        self.storing = false;
        match result {
            Ok(_) => {
                self.status = status;
                self.retry_store = None;
            }
            // Another pod has the name by now, or none has: the watch will say so.
            Err(error) if error.is_not_found() || error.is_conflict() => {
                self.retry_store = Some((0, now + SignedDuration::from_secs(1)));
            }
            Err(error) => {
                let tries = self.retry_store.map_or(0, |(tries, _)| tries + 1);
                tracing::warn!(pod = %self.about.name, namespace = %self.about.namespace, %error, "cannot store the status");
                let delay = SignedDuration::from_millis(100 << tries.min(6));
                self.retry_store = Some((tries, now + delay));
            }
        }
    }

    pub(super) fn take_finished(&mut self, result: Result<(), client::Error>, now: Timestamp) {
        self.finishing = false;
        match result {
            Ok(()) => self.state.forgotten = true,
            Err(error) if error.is_not_found() || error.is_conflict() => self.state.forgotten = true,
            Err(error) => {
                tracing::warn!(pod = %self.about.name, %error, "cannot delete the pod's object");
                self.retry_finish = Some(now + SignedDuration::from_millis(500));
            }
        }
    }
}

/// The status of the Ready condition.
fn readiness(status: &Value) -> Option<&str> {
    let conditions = status.items_at(&["conditions"]);
    conditions.iter().find(|c| c.str_at(&["type"]) == "Ready").map(|c| c.str_at(&["status"]))
}
