//! The pods of this node: who has a worker, who is taken up from an earlier process, and what nobody owns any more.

use crate::{
    admit::admit,
    convert::POD_UID,
    node::Node,
    pod::{
        adopt::{self, Records},
        inbox::{Inbox, inbox},
        ops,
        worker::{Message, Worker, container_name},
    },
};
use control::Cache;
use cri::{ContainerEvent, ContainerFilter, ContainerState, PodSandboxFilter};
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};
use value::Object;

/// How a kubelet is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ending {
    #[default]
    NotYet,
    /// Pods go on running; the next kubelet takes them up.
    LeavePods,
    /// All pods are stopped first; their objects stay, and the next kubelet starts them again.
    StopPods,
}

/// A change in the node's pods.
#[derive(Debug)]
enum Change {
    Set(Arc<Object>),
    Gone,
}

/// Changes that wait for the manager: of each pod only the latest, so that there are never more than pods. The cache tells
/// its news where it must not wait.
#[derive(Debug, Default)]
struct Changes {
    waiting: Mutex<(VecDeque<String>, HashMap<String, Change>)>,
    news: Notify,
}

impl Changes {
    fn put(&self, uid: String, change: Change) {
        {
            let (order, latest) = &mut *self.waiting.lock();
            if latest.insert(uid.clone(), change).is_none() {
                order.push_back(uid);
            }
        }
        self.news.notify_one();
    }
    fn try_next(&self) -> Option<(String, Change)> {
        let (order, latest) = &mut *self.waiting.lock();
        let uid = order.pop_front()?;
        let change = latest.remove(&uid)?;
        Some((uid, change))
    }
    /// Safe to drop: nothing is taken before it is returned.
    async fn next(&self) -> (String, Change) {
        loop {
            if let Some(change) = self.try_next() {
                return change;
            }
            self.news.notified().await;
        }
    }
}

struct Handle {
    inbox: Inbox,
}

/// Runs the node's pods until told to end.
pub struct Manager {
    node: Arc<Node>,
    workers: HashMap<String, Handle>,
    /// Pods whose worker is done while the cache may still show them.
    done: HashSet<String>,
    records: HashMap<String, Records>,
    running: JoinSet<()>,
    /// Whose worker each task is.
    tasks: HashMap<tokio::task::Id, String>,
}

impl Manager {
    pub fn new(node: Arc<Node>) -> Self {
        Manager {
            node,
            workers: HashMap::new(),
            done: HashSet::new(),
            records: HashMap::new(),
            running: JoinSet::new(),
            tasks: HashMap::new(),
        }
    }

    /// Waits for the first list of pods, takes up what runs, and follows. `ready` turns true when all pods have workers.
    pub async fn run(mut self, pods: Cache, mut ending: watch::Receiver<Ending>, ready: watch::Sender<bool>) {
        let mut events = self.node.runtime.events();
        let changes = Arc::new(Changes::default());
        tokio::select! {
            () = async {
                pods.wait_synced().await;
                self.node.services.wait_synced().await;
                self.node.runtime_classes.wait_synced().await;
            } => {}
            _ = told(&mut ending) => return,
        }
        if let Err(error) = self.read_records().await {
            tracing::error!(%error, "cannot read what the runtime has; pods will be taken for new ones");
        }
        let told_changes = changes.clone();
        pods.on_event(move |event| {
            let replaced = event.old.filter(|old| event.new.is_none_or(|new| new.meta.uid != old.meta.uid));
            if let Some(old) = replaced {
                told_changes.put(old.meta.uid.to_string(), Change::Gone);
            }
            if let Some(new) = event.new {
                told_changes.put(new.meta.uid.to_string(), Change::Set(new.clone()));
            }
        });
        while let Some((uid, change)) = changes.try_next() {
            self.take(uid, change).await;
        }
        self.remove_orphans().await;
        ready.send_replace(true);
        let last = loop {
            tokio::select! {
                (uid, change) = changes.next() => self.take(uid, change).await,
                Some(event) = events.recv() => self.dispatch(event),
                Some(ended) = self.running.join_next_with_id() => {
                    if let Some(uid) = self.ended(ended) {
                        self.take_up_again(&pods, &uid).await;
                    }
                }
                last = told(&mut ending) => break last,
            }
        };
        if last == Ending::StopPods {
            self.stop_all(&mut events).await;
        }
    }

    async fn stop_all(&mut self, events: &mut cri::EventStream) {
        for handle in self.workers.values() {
            let _ = handle.inbox.send(Message::Shutdown);
        }
        while !self.running.is_empty() {
            tokio::select! {
                Some(ended) = self.running.join_next_with_id() => drop(self.ended(ended)),
                Some(event) = events.recv() => self.dispatch(event),
            }
        }
    }

    async fn take(&mut self, uid: String, change: Change) {
        match change {
            Change::Gone => {
                self.done.remove(&uid);
                // Deleted by force, it may still be ending; the scheduler counts it no longer, and so nobody does here.
                self.node.shares.remove(&uid);
                if let Some(handle) = self.workers.get(&uid) {
                    let _ = handle.inbox.send(Message::Gone);
                }
            }
            Change::Set(object) => {
                if let Some(handle) = self.workers.get(&uid) {
                    let _ = handle.inbox.send(Message::Object(object));
                } else if !self.done.contains(&uid) {
                    self.take_up(uid, &object).await;
                }
            }
        }
    }

    async fn take_up(&mut self, uid: String, object: &Arc<Object>) {
        let pod: Pod = match object.decode() {
            Ok(pod) => pod,
            Err(error) => return tracing::error!(pod = %object.key, %error, "cannot decode the pod"),
        };
        let known = self.records.remove(&uid);
        let fresh = known.is_none();
        let tree = object.value();
        let status = tree.at(&["status"]);
        let (mut state, leftovers) = adopt::adopt(&pod, status, &known.unwrap_or_default(), self.node.now());
        for id in leftovers {
            let _ = self.node.runtime.remove_container(&id).await;
        }
        let over = matches!(status.str_at(&["phase"]), "Succeeded" | "Failed");
        if fresh && !over && status.at(&["containerStatuses"]).is_null() && !object.meta.deleting {
            let others = self.node.shares.others(&uid);
            let others: Vec<&Pod> = others.iter().map(|pod| &**pod).collect();
            if let Some(verdict) = admit(&pod, &others, &self.node.allocatable) {
                let about = control::Reference::to("v1", "Pod", object);
                self.node.recorder.warning(&about, &verdict.reason, &verdict.message);
                state.verdict = Some(verdict);
                state.volumes = crate::pod::state::Volumes::Absent;
            }
        }
        let (inbox, messages) = inbox();
        let worker = Worker::new(self.node.clone(), object, pod, state, inbox.clone(), messages);
        self.workers.insert(uid.clone(), Handle { inbox });
        let task = self.running.spawn(worker.run());
        self.tasks.insert(task.id(), uid);
    }

    /// Notes that a worker is over; returns the pod's uid where it broke down.
    fn ended(&mut self, ended: Result<(tokio::task::Id, ()), tokio::task::JoinError>) -> Option<String> {
        let (id, broken) = match &ended {
            Ok((id, ())) => (*id, false),
            Err(error) => (error.id(), error.is_panic()),
        };
        let uid = self.tasks.remove(&id)?;
        self.workers.remove(&uid);
        self.node.shares.remove(&uid);
        if broken {
            return Some(uid);
        }
        self.done.insert(uid);
        None
    }

    /// A worker that broke down is a fault of this program, not of the pod: another takes over what is there.
    async fn take_up_again(&mut self, pods: &Cache, uid: &str) {
        tracing::error!(%uid, "the pod's worker panicked; another takes over");
        if let Err(error) = self.read_records().await {
            tracing::error!(%error, "cannot read what the runtime has");
        }
        let object = pods.list().into_iter().find(|object| object.meta.uid == uid);
        match object {
            Some(object) => self.take_up(uid.to_string(), &object).await,
            None => drop(self.done.insert(uid.to_string())),
        }
        self.records.clear();
    }

    fn dispatch(&self, event: ContainerEvent) {
        let owner = self.node.sandboxes.lock().get(&event.sandbox_id).cloned();
        match owner.and_then(|uid| self.workers.get(&uid)) {
            Some(handle) => {
                let _ = handle.inbox.send(Message::Runtime(event));
            }
            // Of a pod that is gone: nobody will ever ask.
            None => self.node.runtime.acknowledge(&event.sandbox_id, event.sequence),
        }
    }

    /// Reads sandboxes and containers that an earlier process left; the latest sandbox of a pod counts, older ones go.
    async fn read_records(&mut self) -> cri::Result<()> {
        let runtime = self.node.runtime.clone();
        let mut sandboxes = runtime.list_pod_sandbox(&PodSandboxFilter::default()).await?;
        sandboxes.sort_by_key(|s| (s.created_at, s.metadata.attempt));
        let mut latest: HashMap<String, String> = HashMap::new();
        for sandbox in &sandboxes {
            let uid = sandbox.labels.get(POD_UID).unwrap_or(&sandbox.metadata.uid).clone();
            self.node.sandboxes.lock().insert(sandbox.id.clone(), uid.clone());
            if let Some(older) = latest.insert(uid, sandbox.id.clone()) {
                remove_sandbox(&self.node, &older).await;
            }
        }
        for (uid, id) in &latest {
            let status = runtime.pod_sandbox_status(id).await?;
            self.records.insert(uid.clone(), Records { sandbox: Some(status), containers: Vec::new() });
        }
        for container in runtime.list_containers(&ContainerFilter::default()).await? {
            let owner = self.node.sandboxes.lock().get(&container.pod_sandbox_id).cloned();
            let Some(records) = owner.and_then(|uid| self.records.get_mut(&uid)) else { continue };
            let of_latest = records.sandbox.as_ref().is_some_and(|s| s.id == container.pod_sandbox_id);
            if of_latest {
                let status = runtime.container_status(&container.id).await?;
                records.containers.push((status, None));
            }
        }
        for (uid, records) in &mut self.records {
            for (status, ended) in &mut records.containers {
                if matches!(status.state, ContainerState::Exited | ContainerState::Unknown) {
                    let spec = k8s_openapi::api::core::v1::Container {
                        name: container_name(status).into(),
                        ..Default::default()
                    };
                    *ended = Some(ops::ended(&self.node, uid, Some(&spec), status));
                }
            }
        }
        Ok(())
    }

    /// What the runtime or the disk has of pods that the API does not know.
    async fn remove_orphans(&mut self) {
        for (uid, records) in std::mem::take(&mut self.records) {
            tracing::info!(%uid, "removing what is left of a pod that is gone");
            if let Some(sandbox) = records.sandbox {
                remove_sandbox(&self.node, &sandbox.id).await;
            }
        }
        self.remove_orphaned_logs();
        let Ok(entries) = std::fs::read_dir(&self.node.dirs.pods) else { return };
        for entry in entries.flatten() {
            let uid = entry.file_name().to_string_lossy().into_owned();
            if self.workers.contains_key(&uid) || !entry.path().is_dir() {
                continue;
            }
            let mounter = volumes::Mounter::new(entry.path(), volumes::Ownership::default());
            let removed = tokio::task::spawn_blocking(move || mounter.tear_down()).await;
            if let Ok(Err(error)) = removed {
                tracing::warn!(%uid, %error, "cannot remove the directory of a pod that is gone");
            }
        }
    }
}

impl Manager {
    /// Log directories are named `<namespace>_<name>_<uid>`.
    fn remove_orphaned_logs(&self) {
        let entries = std::fs::read_dir(&self.node.dirs.logs).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            let uid = name.splitn(3, '_').nth(2);
            if uid.is_some_and(|uid| !self.workers.contains_key(uid)) && entry.path().is_dir() {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// Waits for the end; an owner that is gone without a word leaves the pods.
async fn told(ending: &mut watch::Receiver<Ending>) -> Ending {
    ending.wait_for(|e| *e != Ending::NotYet).await.map_or(Ending::LeavePods, |ending| *ending)
}

async fn remove_sandbox(node: &Node, id: &str) {
    let result = match node.runtime.stop_pod_sandbox(id).await {
        Ok(()) => node.runtime.remove_pod_sandbox(id).await,
        Err(e) => Err(e),
    };
    match result {
        Ok(()) => drop(node.sandboxes.lock().remove(id)),
        Err(error) => tracing::warn!(sandbox = id, %error, "cannot remove"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_each_pod_the_latest_change_waits() {
        let changes = Changes::default();
        for _ in 0..1000 {
            changes.put("a".into(), Change::Gone);
            changes.put("b".into(), Change::Gone);
        }
        assert_eq!(changes.waiting.lock().0.len(), 2);
        assert_eq!((changes.next().await.0, changes.next().await.0), ("a".into(), "b".into()));
        assert!(changes.try_next().is_none());
    }
}
