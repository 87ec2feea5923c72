//! Beginning what was decided: each action sets the state to "under way" and starts a task that reports back.

use crate::pod::{
    decide,
    decide::Action,
    ephemeral::{self, Place},
    ops, resize,
    resize::Progress,
    start::Start,
    state::{Phase, Sandbox, Verdict, Volumes},
    status,
    stop::StopContainer,
    worker::{Live, Message, Worker},
};
use crate::resources;
use base::time::Timestamp;
use std::time::Duration;
use tokio::sync::watch;

impl Worker {
    /// Begins one action; false where it has to wait for something else.
    pub(super) fn begin(&mut self, action: Action, now: Timestamp) -> bool {
        let (node, pod) = (self.node.clone(), self.granted.clone());
        match action {
            Action::Fail { reason, message } => {
                self.state.verdict = Some(Verdict { reason: reason.into(), message: message.into() });
                self.node.recorder.warning(&self.about, reason, message);
            }
            Action::Mount => {
                let tries = match self.state.volumes {
                    Volumes::Failed { tries, .. } => tries,
                    _ => 0,
                };
                self.state.volumes = Volumes::Mounting { tries };
                let (ips, inbox) = (self.state.ips.clone(), self.inbox.clone());
                self.spawn(async move { Message::Mounted(ops::mount(node, pod, ips, inbox).await) });
            }
            // The next start of the node finds its pods' data again.
            Action::Unmount if self.shutdown => return false,
            Action::Unmount => {
                self.state.volumes = Volumes::Removing;
                self.refresh_volumes = None;
                self.spawn(async move { Message::Unmounted(settle(ops::unmount(node, pod).await).await) });
            }
            Action::CreateSandbox { attempt } => {
                let tries = match self.state.sandbox {
                    Sandbox::Failed { tries, .. } => tries,
                    _ => 0,
                };
                self.state.sandbox = Sandbox::Creating { tries };
                self.spawn(async move { Message::SandboxUp(ops::create_sandbox(node, pod, attempt).await) });
            }
            Action::StopSandbox { id } => {
                self.state.sandbox = Sandbox::Stopping { id: id.clone() };
                self.spawn(async move {
                    let stopped = node.runtime.stop_pod_sandbox(&id).await.map_err(|e| e.to_string());
                    Message::SandboxStopped(settle(stopped).await)
                });
            }
            Action::RemoveSandbox { id } => {
                self.state.sandbox = Sandbox::Removing { id: id.clone() };
                self.spawn(async move {
                    let stopped = node.runtime.stop_pod_sandbox(&id).await;
                    let removed = match stopped {
                        Ok(()) => node.runtime.remove_pod_sandbox(&id).await,
                        Err(e) => Err(e),
                    };
                    Message::SandboxRemoved(settle(removed.map_err(|e| e.to_string())).await)
                });
            }
            Action::Resize => self.begin_resize(),
            Action::Start { container, attempt } => return self.begin_start(&container, attempt, now),
            Action::Stop { container, deadline, message } => self.begin_stop(&container, deadline, message),
            Action::CancelStart { container } => {
                if let Some(cancel) = self.live.get(&container).and_then(|live| live.cancel.as_ref()) {
                    cancel.send_replace(true);
                }
                return false;
            }
            Action::Finish => return self.begin_finish(now),
        }
        true
    }

    pub(super) fn begin_start(&mut self, name: &str, attempt: u32, now: Timestamp) -> bool {
        let Some((spec, place)) = self.spec(name) else { return false };
        let Sandbox::Ready { id: sandbox } = self.state.sandbox.clone() else { return false };
        if place == Place::Regular {
            self.state.initialized = true;
        }
        let target = ephemeral::target(&self.pod, name).and_then(|name| self.state.containers.get(name));
        let target = target.map(|container| container.id.clone());
        self.state.containers.entry(name.to_string()).or_default().begin_start(now);
        let (cancel, cancelled) = watch::channel(false);
        self.live.insert(name.to_string(), Live { cancel: Some(cancel), ..Live::default() });
        let start = Start {
            node: self.node.clone(),
            pod: self.granted.clone(),
            about: self.about(name, place),
            spec,
            target,
            attempt,
            sandbox,
            ips: self.ips(),
            inbox: self.inbox.clone(),
            cancelled,
        };
        tokio::spawn(start.run());
        true
    }

    /// First the pod's cgroup as wide as before and after, then its containers', then its own as it is to be.
    fn begin_resize(&mut self) {
        let Sandbox::Ready { id: sandbox } = self.state.sandbox.clone() else { return };
        self.state.resize.progress = Progress::Writing;
        let (node, pod) = (self.node.clone(), self.granted.clone());
        let mut before = self.state.allocated.clone();
        for (name, container) in &self.state.containers {
            if let Some(applied) = &container.applied {
                before.insert(name.clone(), applied.clone());
            }
        }
        let (before, after) = (resources::pod(&resize::granted(&pod, &before)), resources::pod(&pod));
        let containers = resize::to_write(&self.state);
        self.spawn(async move {
            let write = async {
                let wide = resize::larger(&before, &after);
                node.runtime.update_pod_sandbox_resources(&sandbox, &wide).await?;
                let mut written = Vec::new();
                for (spec, _) in decide::containers(&pod) {
                    let Some((name, id)) = containers.iter().find(|(name, _)| *name == spec.name) else { continue };
                    let limits = resources::container(&pod, spec, node.memory);
                    node.runtime.update_container_resources(id, &limits).await?;
                    written.push((name.clone(), spec.resources.clone().unwrap_or_default()));
                }
                node.runtime.update_pod_sandbox_resources(&sandbox, &after).await?;
                Ok(written)
            };
            Message::Resized(write.await.map_err(|e: cri::Error| e.to_string()))
        });
    }

    pub(super) fn begin_stop(&mut self, name: &str, deadline: Timestamp, message: String) {
        let Some((spec, place)) = self.spec(name) else { return };
        let (about, ips) = (self.about(name, place), self.ips());
        let Some(container) = self.state.containers.get_mut(name) else { return };
        let live = self.live.entry(name.to_string()).or_default();
        match container.phase {
            Phase::Running { since } => {
                container.phase = Phase::Stopping { since, deadline };
                let (sender, receiver) = watch::channel(deadline);
                live.deadline = Some(sender);
                let stop = StopContainer {
                    node: self.node.clone(),
                    spec,
                    id: container.id.clone(),
                    ips,
                    about,
                    message,
                    deadline: receiver,
                    inbox: self.inbox.clone(),
                };
                tokio::spawn(stop.run());
            }
            Phase::Stopping { since, .. } => {
                container.phase = Phase::Stopping { since, deadline };
                if let Some(sender) = &live.deadline {
                    sender.send_replace(deadline);
                }
            }
            _ => {}
        }
    }

    /// The object goes only after its last status is stored.
    pub(super) fn begin_finish(&mut self, now: Timestamp) -> bool {
        let next = self.next_status(now);
        let clean = status::patch(&self.uid, &self.status, &next).is_none();
        if self.finishing || self.storing || !clean || self.retry_finish.is_some_and(|at| at > now) {
            return false;
        }
        self.finishing = true;
        self.retry_finish = None;
        let api = self.node.pods(&self.pod);
        let options = client::DeleteOptions::uid(self.uid.clone()).grace(0);
        let name = self.about.name.clone();
        self.spawn(async move { Message::Finished(api.delete(&name, &options).await) });
        true
    }

    pub(super) fn remount(&mut self) {
        if self.remounting || self.state.volumes != Volumes::Mounted || self.stop.is_some() {
            return;
        }
        self.remounting = true;
        self.refresh_volumes = None;
        let (node, pod, ips, inbox) =
            (self.node.clone(), self.granted.clone(), self.state.ips.clone(), self.inbox.clone());
        self.spawn(async move { Message::Mounted(ops::mount(node, pod, ips, inbox).await) });
    }
}

/// A failure is reported a little later, so that the next try is not at once.
async fn settle(result: Result<(), String>) -> Result<(), String> {
    if result.is_err() {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    result
}
