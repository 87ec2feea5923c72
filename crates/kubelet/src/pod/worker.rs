//! The worker of one pod: an actor that decides after every message and starts what was decided.
//!
//! Nothing in it waits for anything but its inbox and the next look that the plan asks for; every operation that may take
//! time is a task that reports back. So a deletion is noticed during a pull, and a crash during a hook. What is begun
//! stands in `begin.rs`, what is heard in `hear.rs`.

use crate::{
    convert::CONTAINER_NAME,
    node::Node,
    pod::{
        decide::{Stop, decide, finished},
        ephemeral::{self, Place},
        inbox::{Inbox, Messages},
        ops, probes, resize,
        start::Outcome,
        state::{Phase, PodState, Sandbox, Volumes},
        status::{self, NodeFacts},
    },
    probe,
};
use base::time::{SignedDuration, Timestamp};
use client::Patch;
use control::Reference;
use cri::{ContainerEvent, ContainerStatus};
use k8s_openapi::api::core::v1::{Container as Spec, Pod, ResourceRequirements};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};
use tokio::sync::watch;
use value::{Object, Value};

/// What a worker hears.
#[derive(Debug)]
pub enum Message {
    /// The object as the API has it now.
    Object(Arc<Object>),
    /// The object is gone from the API.
    Gone,
    /// A ConfigMap or Secret of the pod has changed.
    Changed,
    /// Another pod has left or takes less of the node.
    Room,
    /// What was granted is in the cgroups: of these containers, or as far as the kernel let it be.
    Resized(Result<Vec<(String, ResourceRequirements)>, String>),
    Runtime(ContainerEvent),
    Mounted(Result<Option<Timestamp>, String>),
    Unmounted(Result<(), String>),
    SandboxUp(Result<SandboxUp, String>),
    SandboxStopped(Result<(), String>),
    SandboxRemoved(Result<(), String>),
    Started {
        container: String,
        attempt: u32,
        /// What it was made with.
        resources: ResourceRequirements,
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
    pub(super) cancel: Option<watch::Sender<bool>>,
    pub(super) deadline: Option<watch::Sender<Timestamp>>,
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
    /// The same with the resources that the node has granted: what sandbox and containers are made of.
    pub(super) granted: Arc<Pod>,
    pub(crate) uid: String,
    pub(crate) state: PodState,
    pub(crate) live: HashMap<String, Live>,
    pub(crate) inbox: Inbox,
    pub(super) about: Reference,
    pub(super) messages: Messages,
    pub(super) stop: Option<Stop>,
    pub(super) shutdown: bool,
    /// The status as last stored, in the shape in which it was sent.
    pub(super) status: Value,
    pub(super) storing: bool,
    pub(super) retry_store: Option<(u32, Timestamp)>,
    pub(super) finishing: bool,
    pub(super) retry_finish: Option<Timestamp>,
    pub(super) refresh_volumes: Option<Timestamp>,
    pub(super) remounting: bool,
    /// The highest event of each sandbox that was dealt with, and the highest that is stored.
    pub(super) seen: HashMap<String, u64>,
    pub(super) acknowledged: HashMap<String, u64>,
    /// Containers whose end was told before their start.
    pub(super) early: HashSet<String>,
}

impl Worker {
    /// `state` is fresh, or adopted from what the runtime and the API remember.
    pub fn new(node: Arc<Node>, object: &Object, pod: Pod, state: PodState, inbox: Inbox, messages: Messages) -> Self {
        let pod = Arc::new(pod);
        let status = object.value().at(&["status"]).clone();
        let ended = matches!(status.str_at(&["phase"]), "Succeeded" | "Failed");
        let mut worker = Worker {
            about: Reference::to("v1", "Pod", object),
            uid: object.meta.uid.to_string(),
            granted: resize::share(&pod, &state.allocated),
            pod,
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
        worker.node.shares.set(&worker.uid, worker.granted.clone());
        worker.node.shares.end(&worker.uid, ended || worker.state.verdict.is_some());
        worker.adopt_live();
        worker.condemn_changed();
        if !ended && worker.state.verdict.is_none() {
            worker.weigh_resources();
        }
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
            if let Some(message) = message {
                self.take(message).await;
                while let Some(message) = self.messages.try_recv() {
                    self.take(message).await;
                }
            }
        }
        self.node.objects.release(&self.uid);
        self.node.shares.remove(&self.uid);
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
        let ending = self.stop.is_some() || self.state.verdict.is_some() || finished(&self.pod, &self.state);
        self.node.shares.end(&self.uid, ending && !self.state.containers.values().any(|c| c.active()));
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

    pub(super) fn spawn(&self, work: impl Future<Output = Message> + Send + 'static) {
        let inbox = self.inbox.clone();
        // A worker that is over has no use for the outcome.
        tokio::spawn(async move {
            let _ = inbox.send(work.await);
        });
    }

    /// A container as it is to run: with what the node has granted it.
    pub(super) fn spec(&self, name: &str) -> Option<(Spec, Place)> {
        ephemeral::all(&self.granted).into_iter().find(|(spec, _)| spec.name == name)
    }

    /// The object that events about a container name.
    pub(crate) fn about(&self, name: &str, place: Place) -> Reference {
        self.about.field(format!("spec.{}{{{name}}}", place.list()))
    }

    pub(crate) fn ips(&self) -> Vec<String> {
        self.node.facts(&self.pod, &self.state.ips).pod_ips
    }

    pub(super) fn next_status(&self, now: Timestamp) -> Value {
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

    pub(super) fn note_deletion(&mut self) {
        if self.pod.metadata.deletion_timestamp.is_some() {
            let seconds = self.pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
            // By this node's clock: the server's may differ.
            self.end_by(self.node.now() + SignedDuration::from_secs(seconds), true);
        }
    }

    /// Notes that the pod must end; an earlier deadline wins, and a deletion is never taken back.
    pub(super) fn end_by(&mut self, deadline: Timestamp, delete: bool) {
        let before = self.stop;
        self.stop = Some(Stop {
            deadline: before.map_or(deadline, |stop| stop.deadline.min(deadline)),
            delete: delete || before.is_some_and(|stop| stop.delete),
        });
    }
}

/// The container that a record of the runtime belongs to.
pub fn container_name(status: &ContainerStatus) -> &str {
    status.labels.get(CONTAINER_NAME).map_or(status.metadata.name.as_str(), String::as_str)
}
