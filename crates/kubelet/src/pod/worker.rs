//! The worker of one pod: an actor that decides after every message and starts what was decided.
//!
//! Nothing in it waits for anything but its inbox and the next look that the plan asks for; every operation that may take
//! time is a task that reports back. So a deletion is noticed during a pull, and a crash during a hook.

use crate::{
    convert::CONTAINER_NAME,
    node::Node,
    pod::{
        backoff::pull_delay,
        decide::{self, Action, Stop, containers, decide},
        ops, probes,
        start::{Outcome, Start, StartProblem},
        state::{Condemned, Ended, Phase, PodState, Problem, Sandbox, Verdict, Volumes},
        status::{self, NodeFacts},
        stop::StopContainer,
    },
    probe,
};
use base::time::{SignedDuration, Timestamp};
use client::Patch;
use control::Reference;
use cri::{ContainerEvent, ContainerEventKind, ContainerState, ContainerStatus};
use k8s_openapi::api::core::v1::{Container as Spec, Pod};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{mpsc, watch};
use value::{Object, Value};

/// Where a worker's messages go.
pub type Inbox = mpsc::UnboundedSender<Message>;

/// What a worker hears.
#[derive(Debug)]
pub enum Message {
    /// The object as the API has it now.
    Object(Arc<Object>),
    /// The object is gone from the API.
    Gone,
    /// A ConfigMap or Secret of the pod has changed.
    Changed,
    Runtime(ContainerEvent),
    Mounted(Result<Option<Timestamp>, String>),
    Unmounted(Result<(), String>),
    SandboxUp(Result<SandboxUp, String>),
    SandboxStopped(Result<(), String>),
    SandboxRemoved(Result<(), String>),
    Started {
        container: String,
        attempt: u32,
        outcome: Outcome,
    },
    /// The postStart hook is over.
    Hooked {
        container: String,
        id: String,
        result: Result<(), String>,
    },
    Stopped {
        container: String,
        id: String,
        status: Option<Box<ContainerStatus>>,
        error: Option<String>,
    },
    Probe(probe::Report),
    Stored {
        status: Value,
        result: Result<Arc<Object>, client::Error>,
    },
    Finished(Result<(), client::Error>),
    /// End all processes but leave the object: the node shuts down.
    Shutdown,
}

/// A sandbox that is ready.
#[derive(Debug, Clone)]
pub struct SandboxUp {
    pub id: String,
    pub ips: Vec<String>,
}

/// What runs beside a container.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) id: String,
    pub(crate) hooked: bool,
    pub(crate) startup_passed: bool,
    pub(crate) readiness: Option<bool>,
    pub(crate) probes: BTreeMap<probe::Kind, Guard>,
    cancel: Option<watch::Sender<bool>>,
    deadline: Option<watch::Sender<Timestamp>>,
}

/// A task that ends with its guard.
#[derive(Debug)]
pub(crate) struct Guard(pub(crate) tokio::task::AbortHandle);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One pod's worker.
pub struct Worker {
    pub(crate) node: Arc<Node>,
    pub(crate) pod: Arc<Pod>,
    pub(crate) uid: String,
    pub(crate) state: PodState,
    pub(crate) live: HashMap<String, Live>,
    pub(crate) inbox: Inbox,
    about: Reference,
    messages: mpsc::UnboundedReceiver<Message>,
    stop: Option<Stop>,
    shutdown: bool,
    /// The status as last stored, in the shape in which it was sent.
    status: Value,
    storing: bool,
    retry_store: Option<(u32, Timestamp)>,
    finishing: bool,
    retry_finish: Option<Timestamp>,
    refresh_volumes: Option<Timestamp>,
    remounting: bool,
    /// The highest event of each sandbox that was dealt with, and the highest that is stored.
    seen: HashMap<String, u64>,
    acknowledged: HashMap<String, u64>,
    /// Containers whose end was told before their start.
    early: HashSet<String>,
}

impl Worker {
    /// `state` is fresh, or adopted from what the runtime and the API remember.
    pub fn new(
        node: Arc<Node>,
        object: &Object,
        pod: Pod,
        state: PodState,
        inbox: Inbox,
        messages: mpsc::UnboundedReceiver<Message>,
    ) -> Self {
        let status = object.value().at(&["status"]).clone();
        let mut worker = Worker {
            about: Reference::to("v1", "Pod", object),
            uid: object.meta.uid.to_string(),
            pod: Arc::new(pod),
            live: HashMap::new(),
            stop: None,
            shutdown: false,
            storing: false,
            retry_store: None,
            finishing: false,
            retry_finish: None,
            refresh_volumes: None,
            remounting: false,
            seen: HashMap::new(),
            acknowledged: HashMap::new(),
            early: HashSet::new(),
            node,
            state,
            inbox,
            messages,
            status,
        };
        worker.adopt_live();
        worker.note_deletion();
        worker
    }

    /// Containers that were adopted running have their hooks behind them; their probes begin anew.
    fn adopt_live(&mut self) {
        for (name, container) in self.state.containers.iter().filter(|(_, c)| matches!(c.phase, Phase::Running { .. }))
        {
            let live = Live {
                id: container.id.clone(),
                hooked: true,
                startup_passed: container.started,
                readiness: Some(container.ready),
                ..Live::default()
            };
            self.live.insert(name.clone(), live);
        }
    }

    /// Works until the pod is gone for good, or was shut down.
    pub async fn run(mut self) {
        loop {
            let wake = self.step();
            if self.over() {
                break;
            }
            let message = match wake {
                Some(at) => {
                    let wait = at.duration_since(self.node.now()).max(SignedDuration::ZERO).unsigned_abs();
                    tokio::time::timeout(wait, self.messages.recv()).await.ok()
                }
                None => Some(self.messages.recv().await),
            };
            match message {
                Some(None) => break,
                Some(Some(message)) => {
                    self.take(message).await;
                    while let Ok(message) = self.messages.try_recv() {
                        self.take(message).await;
                    }
                }
                None => {}
            }
        }
        self.node.objects.release(&self.uid);
        if self.state.forgotten {
            self.node.sandboxes.lock().retain(|_, uid| *uid != self.uid);
            ops::remove_logs(self.node.clone(), self.pod.clone()).await;
        }
    }

    fn over(&self) -> bool {
        let quiet = !self.state.containers.values().any(|c| c.active());
        if self.shutdown {
            return quiet
                && matches!(self.state.sandbox, Sandbox::Absent | Sandbox::Failed { .. } | Sandbox::Stopped { .. });
        }
        self.state.forgotten
            && quiet
            && matches!(self.state.sandbox, Sandbox::Absent | Sandbox::Failed { .. })
            && self.state.volumes == Volumes::Absent
    }

    /// Decides, begins what was decided, keeps probes and status up; returns when to look again.
    fn step(&mut self) -> Option<Timestamp> {
        let mut wake = None;
        // Each round only begins things, so a few rounds reach the point where nothing more is to be begun.
        for _ in 0..8 {
            let now = self.node.now();
            let plan = decide(&self.pod, self.stop, &self.state, now);
            wake = plan.wake;
            if plan.actions.is_empty() {
                break;
            }
            tracing::debug!(pod = %self.about.name, namespace = %self.about.namespace, actions = ?plan.actions, "plan");
            let begun = plan.actions.into_iter().map(|action| self.begin(action, now)).fold(false, |a, b| a | b);
            if !begun {
                break;
            }
        }
        probes::sync(self);
        let now = self.node.now();
        self.store_status(now);
        let others = [
            self.retry_store.map(|(_, at)| at),
            self.retry_finish,
            self.refresh_volumes.filter(|_| !self.remounting),
            self.pull_error_turns(now),
        ];
        let wake = others.into_iter().chain([wake]).flatten().min();
        if self.refresh_volumes.is_some_and(|at| at <= now) {
            self.remount();
        }
        wake
    }

    /// When the words for a failed pull change.
    fn pull_error_turns(&self, now: Timestamp) -> Option<Timestamp> {
        let problems = self.state.containers.values().filter_map(|c| c.problem.as_ref());
        problems.map(|p| p.since + status::PULL_ERROR_SHOWN).filter(|at| *at > now).min()
    }

    /// Begins one action; false where it has to wait for something else.
    fn begin(&mut self, action: Action, now: Timestamp) -> bool {
        let (node, pod) = (self.node.clone(), self.pod.clone());
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

    fn spawn(&self, work: impl Future<Output = Message> + Send + 'static) {
        let inbox = self.inbox.clone();
        tokio::spawn(async move { inbox.send(work.await) });
    }

    fn spec(&self, name: &str) -> Option<(Spec, bool)> {
        containers(&self.pod).find(|(spec, _)| spec.name == name).map(|(spec, init)| (spec.clone(), init))
    }

    /// The object that events about a container name.
    pub(crate) fn about(&self, name: &str, init: bool) -> Reference {
        let list = if init { "initContainers" } else { "containers" };
        self.about.field(format!("spec.{list}{{{name}}}"))
    }

    fn begin_start(&mut self, name: &str, attempt: u32, now: Timestamp) -> bool {
        let Some((spec, init)) = self.spec(name) else { return false };
        let Sandbox::Ready { id: sandbox } = self.state.sandbox.clone() else { return false };
        if !init {
            self.state.initialized = true;
        }
        self.state.containers.entry(name.to_string()).or_default().begin_start(now);
        let (cancel, cancelled) = watch::channel(false);
        self.live.insert(name.to_string(), Live { cancel: Some(cancel), ..Live::default() });
        let start = Start {
            node: self.node.clone(),
            pod: self.pod.clone(),
            about: self.about(name, init),
            spec,
            attempt,
            sandbox,
            ips: self.ips(),
            inbox: self.inbox.clone(),
            cancelled,
        };
        tokio::spawn(start.run());
        true
    }

    pub(crate) fn ips(&self) -> Vec<String> {
        self.node.facts(&self.pod, &self.state.ips).pod_ips
    }

    fn begin_stop(&mut self, name: &str, deadline: Timestamp, message: String) {
        let Some((spec, init)) = self.spec(name) else { return };
        let (about, ips) = (self.about(name, init), self.ips());
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
    fn begin_finish(&mut self, now: Timestamp) -> bool {
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

    fn remount(&mut self) {
        if self.remounting || self.state.volumes != Volumes::Mounted || self.stop.is_some() {
            return;
        }
        self.remounting = true;
        self.refresh_volumes = None;
        let (node, pod, ips, inbox) = (self.node.clone(), self.pod.clone(), self.state.ips.clone(), self.inbox.clone());
        self.spawn(async move { Message::Mounted(ops::mount(node, pod, ips, inbox).await) });
    }

    fn next_status(&self, now: Timestamp) -> Value {
        let facts = NodeFacts { host_ips: self.node.host_ips.clone() };
        status::compute(&self.status, &self.pod, &self.state, self.stop, &facts, now)
    }

    /// Sends the status where it differs; one write at a time.
    fn store_status(&mut self, now: Timestamp) {
        if self.storing || self.shutdown || self.state.forgotten || self.retry_store.is_some_and(|(_, at)| at > now) {
            return;
        }
        let next = self.next_status(now);
        let Some(patch) = status::patch(&self.uid, &self.status, &next) else {
            self.retry_store = None;
            return self.acknowledge();
        };
        self.storing = true;
        let (api, name) = (self.node.pods(&self.pod), self.about.name.clone());
        self.spawn(async move {
            let result = api.patch_status(&name, &Patch::Strategic(patch)).await;
            Message::Stored { status: next, result }
        });
    }

    /// Everything seen is in the stored status: the runtime need not repeat it.
    fn acknowledge(&mut self) {
        for (sandbox, sequence) in &self.seen {
            let done = self.acknowledged.entry(sandbox.clone()).or_insert(0);
            if *done < *sequence {
                self.node.runtime.acknowledge(sandbox, *sequence);
                *done = *sequence;
            }
        }
    }

    async fn take(&mut self, message: Message) {
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
            Message::Started { container, attempt, outcome } => {
                self.take_started(&container, attempt, outcome, now).await
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

    fn after_sandbox(&self, result: Result<(), String>, done: Sandbox, failed: Sandbox) -> Sandbox {
        match result {
            Ok(()) => done,
            Err(message) => {
                self.node.recorder.warning(&self.about, "FailedKillPod", format!("error killing pod: {message}"));
                failed
            }
        }
    }

    fn take_object(&mut self, object: &Object) {
        let Ok(pod) = object.decode::<Pod>() else { return };
        self.about.resource_version = object.revision.to_string().into();
        // Conditions of others count (readiness gates); our own fields are as we last stored them.
        let tree = object.value();
        let ours = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
        let foreign: Vec<Value> = tree
            .items_at(&["status", "conditions"])
            .iter()
            .filter(|c| !ours.contains(&c.str_at(&["type"])))
            .cloned()
            .collect();
        let mut conditions = foreign;
        let own = self.status.items_at(&["conditions"]).iter().filter(|c| ours.contains(&c.str_at(&["type"])));
        conditions.extend(own.cloned());
        if matches!(self.status, Value::Object(_)) {
            self.status.set(&["conditions"], conditions);
        }
        let metadata_changed = pod.metadata.labels != self.pod.metadata.labels
            || pod.metadata.annotations != self.pod.metadata.annotations;
        self.pod = Arc::new(pod);
        if metadata_changed {
            // The downward API shows labels and annotations.
            self.refresh_volumes = Some(self.node.now());
        }
        self.note_deletion();
    }

    fn note_deletion(&mut self) {
        if self.pod.metadata.deletion_timestamp.is_some() {
            let seconds = self.pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
            // By this node's clock: the server's may differ.
            self.end_by(self.node.now() + SignedDuration::from_secs(seconds), true);
        }
    }

    /// Notes that the pod must end; an earlier deadline wins, and a deletion is never taken back.
    fn end_by(&mut self, deadline: Timestamp, delete: bool) {
        let before = self.stop;
        self.stop = Some(Stop {
            deadline: before.map_or(deadline, |stop| stop.deadline.min(deadline)),
            delete: delete || before.is_some_and(|stop| stop.delete),
        });
    }

    async fn take_event(&mut self, event: ContainerEvent) {
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
    }

    /// The container's process is gone; counts once, however often it is told.
    fn record_end(&mut self, name: &str, status: &ContainerStatus) {
        let spec = self.spec(name).map(|(spec, _)| spec);
        let ended = ops::ended(&self.node, &self.uid, spec.as_ref(), status);
        let Some(container) = self.state.containers.get_mut(name) else { return };
        if container.id != status.id || matches!(container.phase, Phase::Ended(_)) {
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

    fn tell_back_off(&self, name: &str) {
        let Some(container) = self.state.containers.get(name) else { return };
        let held = container.held_until(self.node.now()).is_some();
        let Some((_, init)) = self.spec(name).filter(|_| held && self.stop.is_none()) else { return };
        let meta = &self.pod.metadata;
        let (namespace, pod) = (meta.namespace.as_deref().unwrap_or_default(), &self.about.name);
        let text = format!("Back-off restarting failed container {name} in pod {pod}_{namespace}({})", self.uid);
        self.node.recorder.warning(&self.about(name, init), "BackOff", text);
    }

    fn take_mounted(&mut self, result: Result<Option<Timestamp>, String>, now: Timestamp) {
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

    fn take_sandbox(&mut self, result: Result<SandboxUp, String>, now: Timestamp) {
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

    async fn take_started(&mut self, name: &str, attempt: u32, outcome: Outcome, now: Timestamp) {
        let image = self.spec(name).and_then(|(spec, _)| spec.image).unwrap_or_default();
        match outcome {
            Outcome::Made(made) => {
                let made = self.latest(made).await;
                let Some(container) = self.state.containers.get_mut(name) else { return };
                if let Some(last) = container.last.take() {
                    let (node, pod, name) = (self.node.clone(), self.pod.clone(), name.to_string());
                    tokio::spawn(ops::forget_container(node, pod, name, last.id, attempt));
                }
                container.made(made.id.clone(), attempt);
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
    async fn latest(&mut self, made: Box<ContainerStatus>) -> Box<ContainerStatus> {
        match self.early.remove(&made.id) {
            true => self.node.runtime.container_status(&made.id).await.map_or(made, Box::new),
            false => made,
        }
    }

    fn take_problem(&mut self, name: &str, problem: StartProblem, now: Timestamp) {
        let Some(container) = self.state.containers.get_mut(name) else { return };
        let tries = container.problem.as_ref().filter(|p| p.reason == problem.reason).map_or(1, |p| p.tries + 1);
        let retry_at = now
            + match problem.reason {
                "CreateContainerConfigError" => SignedDuration::from_secs(5),
                _ => pull_delay(tries),
            };
        if matches!(problem.reason, "ErrImagePull" | "RegistryUnavailable") {
            let image = self.pod_image(name);
            let text = format!("Back-off pulling image {image:?}");
            self.node.recorder.normal(&self.about(name, false), "BackOff", text);
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

    fn pod_image(&self, name: &str) -> String {
        self.spec(name).and_then(|(spec, _)| spec.image).unwrap_or_default()
    }

    /// A container that cannot be made may be the sandbox's fault.
    async fn look_after_sandbox(&mut self) {
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

    fn take_stopped(
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

    fn take_stored(&mut self, status: Value, result: Result<Arc<Object>, client::Error>, now: Timestamp) {
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

    fn take_finished(&mut self, result: Result<(), client::Error>, now: Timestamp) {
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

/// A failure is reported a little later, so that the next try is not at once.
async fn settle(result: Result<(), String>) -> Result<(), String> {
    if result.is_err() {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    result
}

/// The container that a record of the runtime belongs to.
pub fn container_name(status: &ContainerStatus) -> &str {
    status.labels.get(CONTAINER_NAME).map_or(status.metadata.name.as_str(), String::as_str)
}
