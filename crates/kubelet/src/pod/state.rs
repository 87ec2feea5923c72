//! What a pod worker has seen of its pod on this node: plain data, changed only by what was reported.

use crate::pod::{
    backoff::Backoff,
    resize::{Allocation, Resize},
};
use base::time::Timestamp;
use k8s_openapi::api::core::v1::ResourceRequirements;
use std::collections::BTreeMap;

/// Everything known of a pod. [`crate::pod::decide`] reads it, [`crate::pod::status`] shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct PodState {
    /// When this kubelet first took the pod up; `status.startTime`.
    pub start_time: Timestamp,
    pub sandbox: Sandbox,
    /// The number of the next sandbox.
    pub attempt: u32,
    pub ips: Vec<String>,
    pub volumes: Volumes,
    /// Init and regular containers by name.
    pub containers: BTreeMap<String, Container>,
    /// Init containers are done in this sandbox; stays so.
    pub initialized: bool,
    /// The pod has failed for a reason outside its containers.
    pub verdict: Option<Verdict>,
    /// The object is gone from the API, or its deletion was asked for by us and granted.
    pub forgotten: bool,
    /// What the node has granted each container.
    pub allocated: Allocation,
    pub resize: Resize,
}

/// Why a pod as a whole has failed: `status.reason` and `status.message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub reason: String,
    pub message: String,
}

/// The pod's sandbox.
#[derive(Debug, Clone, PartialEq)]
pub enum Sandbox {
    Absent,
    /// An attempt failed; the next one is due then.
    Failed {
        message: String,
        tries: u32,
        retry_at: Timestamp,
    },
    Creating {
        tries: u32,
    },
    Ready {
        id: String,
    },
    /// It exists, but its namespaces are gone: everything starts anew.
    Broken {
        id: String,
    },
    Stopping {
        id: String,
    },
    /// Stopped for good; its records are kept until the pod is deleted.
    Stopped {
        id: String,
    },
    Removing {
        id: String,
    },
}

impl Sandbox {
    /// The id, once there is one.
    pub fn id(&self) -> Option<&str> {
        match self {
            Sandbox::Ready { id }
            | Sandbox::Broken { id }
            | Sandbox::Stopping { id }
            | Sandbox::Stopped { id }
            | Sandbox::Removing { id } => Some(id),
            _ => None,
        }
    }
}

/// The pod's volumes, all together.
#[derive(Debug, Clone, PartialEq)]
pub enum Volumes {
    Absent,
    Failed { message: String, tries: u32, retry_at: Timestamp },
    Mounting { tries: u32 },
    Mounted,
    Removing,
}

/// One container of the pod over all of its restarts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Container {
    pub phase: Phase,
    /// A container was made at least once.
    pub created: bool,
    /// `restartCount`: containers made, minus one.
    pub restarts: u32,
    /// Of the latest container.
    pub id: String,
    pub image: String,
    pub image_id: String,
    /// How the container before the latest one ended.
    pub last: Option<Ended>,
    pub backoff: Option<Backoff>,
    /// Why it could not be started, while it waits.
    pub problem: Option<Problem>,
    /// Past its startup probe and postStart hook.
    pub started: bool,
    /// As the readiness probe says; without one, running and started.
    pub ready: bool,
    /// A probe or a hook says that it must be killed, with the words of the event.
    pub condemned: Option<Condemned>,
    /// It was killed because its definition is another one now: started again whatever the restart policy says.
    pub renew: bool,
    /// The resources that its cgroup has.
    pub applied: Option<ResourceRequirements>,
}

/// Why a running container is killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condemned {
    /// `Container web failed liveness probe`
    pub message: String,
    /// Of the probe, in seconds; else the pod's.
    pub grace: Option<i64>,
}

/// Where the latest container stands.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Phase {
    /// None runs, and none has ended since the last change of sandbox.
    #[default]
    Waiting,
    /// Image and container are being worked on; what ended before shows until the new one runs.
    Starting {
        ended: Option<Ended>,
    },
    Running {
        since: Timestamp,
    },
    Stopping {
        since: Timestamp,
        deadline: Timestamp,
    },
    Ended(Ended),
}

/// The end of a container.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ended {
    pub id: String,
    pub exit_code: i32,
    pub reason: String,
    pub message: String,
    pub started: Option<Timestamp>,
    pub finished: Timestamp,
}

/// Why a container waits.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// `ErrImagePull`, `CreateContainerConfigError`, …
    pub reason: String,
    pub message: String,
    pub since: Timestamp,
    pub tries: u32,
    pub retry_at: Timestamp,
}

impl PodState {
    /// Nothing has happened yet.
    pub fn new(start_time: Timestamp, names: impl IntoIterator<Item = String>) -> Self {
        PodState {
            start_time,
            sandbox: Sandbox::Absent,
            attempt: 0,
            ips: Vec::new(),
            volumes: Volumes::Absent,
            containers: names.into_iter().map(|name| (name, Container::default())).collect(),
            initialized: false,
            verdict: None,
            forgotten: false,
            allocated: Allocation::new(),
            resize: Resize::default(),
        }
    }
    /// Starts anew in a new sandbox: what ran before counts as the last of each container.
    pub fn lose_sandbox(&mut self) {
        self.sandbox = Sandbox::Absent;
        self.attempt += 1;
        self.initialized = false;
        self.ips.clear();
        for container in self.containers.values_mut() {
            if let Phase::Ended(ended) | Phase::Starting { ended: Some(ended) } = std::mem::take(&mut container.phase) {
                container.last = Some(ended);
            }
            container.started = false;
            container.ready = false;
            container.condemned = None;
            container.renew = false;
        }
    }
}

impl Container {
    /// True while a process of it may run.
    pub fn active(&self) -> bool {
        matches!(self.phase, Phase::Starting { .. } | Phase::Running { .. } | Phase::Stopping { .. })
    }
    /// The latest end, of this container or the one before.
    pub fn ended(&self) -> Option<&Ended> {
        match &self.phase {
            Phase::Ended(ended) => Some(ended),
            _ => None,
        }
    }
    /// The number that the next container gets.
    pub fn next_attempt(&self) -> u32 {
        if self.created { self.restarts + 1 } else { 0 }
    }
    /// Begins a start: what has ended becomes the last, and a restart costs back-off.
    pub fn begin_start(&mut self, now: Timestamp) {
        if self.renew {
            self.backoff = None;
        } else if let Phase::Ended(ended) = &self.phase {
            self.backoff = Some(Backoff::next(self.backoff, ended.finished, now));
        }
        self.started = false;
        self.ready = false;
        self.condemned = None;
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Ended(ended) => Phase::Starting { ended: Some(ended) },
            _ => Phase::Starting { ended: None },
        };
    }
    /// A container was made, and its process runs or has failed to start.
    pub fn made(&mut self, id: String, attempt: u32) {
        if let Phase::Starting { ended: Some(ended) } = &mut self.phase {
            self.last = Some(std::mem::take(ended));
        }
        self.phase = Phase::Starting { ended: None };
        (self.id, self.restarts, self.created, self.renew) = (id, attempt, true, false);
        self.problem = None;
    }
    /// The start came to nothing: back to where it was.
    pub fn not_started(&mut self, problem: Option<Problem>) {
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Starting { ended: Some(ended) } => Phase::Ended(ended),
            Phase::Starting { ended: None } => Phase::Waiting,
            other => other,
        };
        self.problem = problem;
    }
    /// When it may be started, if that is not now; only the wait for a failed start or a crash counts.
    pub fn held_until(&self, now: Timestamp) -> Option<Timestamp> {
        let until = match (&self.phase, &self.problem) {
            (_, Some(problem)) => Some(problem.retry_at),
            (Phase::Ended(_), None) if self.renew => None,
            (Phase::Ended(ended), None) => self.backoff.and_then(|b| b.until(ended.finished)),
            _ => None,
        };
        until.filter(|until| *until > now)
    }
}
