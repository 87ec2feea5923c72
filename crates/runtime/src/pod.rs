//! What the daemon knows: the runtime, its pods and their containers, and how a record changes them.
//!
//! Everything here can be built again from the pods' directories. A pod's state is a fold over its journal; it is changed in
//! one place only, [`Pod::apply`], which drops what it has seen.

use std::collections::BTreeMap;
use std::sync::Arc;

use cri::{ContainerEvent, ContainerEventKind, ContainerExit, ContainerState, ContainerStatus, PodSandboxState};
use parking_lot::Mutex;
use sandbox::cgroup::Hierarchies;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use crate::Config;
use crate::client::Client;
use crate::journal::Record;
use crate::layout::PodDir;
use crate::protocol::Request;

/// The built-in runtime. Clones share one state.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub config: Config,
    pub hierarchies: Hierarchies,
    /// Capabilities that this node can give.
    pub available_caps: u64,
    pub pods: Mutex<BTreeMap<String, Arc<Pod>>>,
    pub subscribers: Mutex<Vec<mpsc::UnboundedSender<ContainerEvent>>>,
    /// Held as long as this value lives: two daemons on one directory would undo each other's work.
    pub _lock: std::fs::File,
}

/// A sandbox.
pub(crate) struct Pod {
    pub id: String,
    pub dir: PodDir,
    pub saved: SavedPod,
    pub state: Mutex<PodState>,
    /// Counts changes of `state`, for those who wait for one.
    pub changes: watch::Sender<u64>,
    pub client: Mutex<Option<Client>>,
    /// Held while the pod or one of its containers is made or removed.
    pub gate: tokio::sync::Mutex<()>,
}

/// `pod.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct SavedPod {
    pub config: cri::PodSandboxConfig,
    pub created_at: i64,
    /// The pod's cgroup below the hierarchies' roots.
    pub cgroup: String,
}

/// `network.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct SavedNetwork {
    pub ips: Vec<String>,
}

/// `container.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct SavedContainer {
    pub config: cri::ContainerConfig,
    pub created_at: i64,
    pub image_ref: String,
    pub image_id: String,
    pub log_path: String,
    /// What an exec takes over: environment, user, rights.
    pub process: sandbox::Process,
    pub cgroup: String,
    pub resources: cri::LinuxContainerResources,
    pub stop_signal: String,
}

#[derive(Default)]
pub(crate) struct PodState {
    pub ready: bool,
    pub ips: Vec<String>,
    pub containers: BTreeMap<String, Container>,
    /// The last record that was applied.
    pub last: u64,
    pub acknowledged: u64,
    /// The shim has ended and its containers with it.
    pub gone: bool,
    /// Taken out of the runtime; nobody may begin anything.
    pub removed: bool,
}

pub(crate) struct Container {
    pub saved: SavedContainer,
    pub state: ContainerState,
    pub started_at: i64,
    pub finished_at: i64,
    pub exit: Option<ContainerExit>,
}

impl Runtime {
    pub(crate) fn pod(&self, id: &str) -> cri::Result<Arc<Pod>> {
        let found = self.inner.pods.lock().get(id).cloned();
        found.ok_or_else(|| cri::Error::NotFound(format!("pod sandbox {id:?} not found")))
    }

    /// The pod that a container is in.
    pub(crate) fn pod_of(&self, container: &str) -> cri::Result<Arc<Pod>> {
        let pods = self.inner.pods.lock();
        let found = pods.values().find(|p| p.state.lock().containers.contains_key(container)).cloned();
        found.ok_or_else(|| cri::Error::NotFound(format!("container {container:?} not found")))
    }

    /// Applies a record and tells the subscribers, unless it was known.
    pub(crate) fn on_record(&self, pod: &Pod, record: Record) {
        if pod.apply(&record) {
            let event = pod.event(record);
            self.inner.subscribers.lock().retain(|s| s.send(event.clone()).is_ok());
        }
    }
}

impl Pod {
    pub fn new(id: String, dir: PodDir, saved: SavedPod) -> Self {
        Self {
            id,
            dir,
            saved,
            state: Mutex::default(),
            changes: watch::Sender::new(0),
            client: Mutex::default(),
            gate: tokio::sync::Mutex::default(),
        }
    }

    /// Changes the state by a record; false if it was applied before.
    pub fn apply(&self, record: &Record) -> bool {
        {
            let mut state = self.state.lock();
            if record.sequence <= state.last {
                return false;
            }
            state.last = record.sequence;
            if let Some(c) = state.containers.get_mut(&record.container) {
                match record.kind {
                    ContainerEventKind::Created => c.state = ContainerState::Created,
                    ContainerEventKind::Started => {
                        c.state = ContainerState::Running;
                        c.started_at = record.at;
                    }
                    ContainerEventKind::Stopped => {
                        c.state = ContainerState::Exited;
                        c.finished_at = record.at;
                        c.exit.clone_from(&record.exit);
                    }
                    ContainerEventKind::Deleted => {
                        state.containers.remove(&record.container);
                    }
                }
            }
        }
        self.changed();
        true
    }

    /// A record as the seam's event.
    pub fn event(&self, record: Record) -> ContainerEvent {
        ContainerEvent {
            sequence: record.sequence,
            container_id: record.container,
            sandbox_id: self.id.clone(),
            kind: record.kind,
            at: record.at,
            exit: record.exit,
        }
    }

    /// Wakes those who wait for a change.
    pub fn changed(&self) {
        self.changes.send_modify(|n| *n += 1);
    }

    /// Waits until the state is as wanted.
    pub async fn wait_until(&self, wanted: impl Fn(&PodState) -> bool) {
        let mut changes = self.changes.subscribe();
        loop {
            changes.borrow_and_update();
            if wanted(&self.state.lock()) {
                return;
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Sends a request to the shim.
    pub async fn call(&self, request: &Request) -> cri::Result<()> {
        let client = self.client.lock().clone();
        match client {
            Some(client) => client.call(request).await,
            None => Err(cri::Error::Unavailable(format!("pod sandbox {:?} has no shim", self.id))),
        }
    }

    pub fn sandbox_state(&self) -> PodSandboxState {
        if self.state.lock().ready { PodSandboxState::Ready } else { PodSandboxState::NotReady }
    }

    pub fn container_state(&self, id: &str) -> Option<ContainerState> {
        self.state.lock().containers.get(id).map(|c| c.state)
    }
}

impl Container {
    pub fn new(saved: SavedContainer) -> Self {
        Self { saved, state: ContainerState::Unknown, started_at: 0, finished_at: 0, exit: None }
    }

    pub fn status(&self, id: &str, sandbox: &str) -> ContainerStatus {
        let SavedContainer { config, process, .. } = &self.saved;
        let exit = self.exit.clone().unwrap_or_default();
        ContainerStatus {
            id: id.into(),
            pod_sandbox_id: sandbox.into(),
            metadata: config.metadata.clone(),
            state: self.state,
            created_at: self.saved.created_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
            exit_code: exit.exit_code,
            image: config.image.clone(),
            image_ref: self.saved.image_ref.clone(),
            image_id: self.saved.image_id.clone(),
            reason: exit.reason,
            message: exit.message,
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            mounts: config.mounts.clone(),
            log_path: self.saved.log_path.clone(),
            resources: self.saved.resources.clone(),
            user: cri::ContainerUser {
                uid: process.uid,
                gid: process.gid,
                supplemental_groups: process.groups.clone(),
            },
            stop_signal: self.saved.stop_signal.clone(),
        }
    }
}
