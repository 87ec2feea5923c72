//! After a start: every pod directory becomes a pod again, with its shim if that lives; and what is left of a pod whose
//! shim has died is put into order.

use std::io;
use std::path::Path;
use std::sync::Arc;

use cri::{ContainerEventKind, ContainerExit, ContainerState};
use parking_lot::Mutex;
use sandbox::cgroup::Hierarchies;

use std::time::Duration;

use crate::Config;
use crate::journal;
use crate::layout::{self, PodDir};
use crate::pod::{Container, Inner, Pod, Runtime, SavedContainer, SavedNetwork, SavedPod};

impl Runtime {
    /// Opens the state directory and takes over what runs. Containers are not touched.
    pub async fn open(config: Config) -> io::Result<Self> {
        let pods = config.root.join("pods");
        std::fs::create_dir_all(&pods)?;
        let _lock = lock(&config.root).await?;
        let hierarchies = Hierarchies::detect()?;
        let runtime = Self {
            inner: Arc::new(Inner {
                config,
                hierarchies,
                available_caps: sandbox::process::bounding_set(),
                pods: Mutex::default(),
                subscribers: Mutex::default(),
                _lock,
            }),
        };
        for entry in std::fs::read_dir(&pods)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                runtime.adopt(&entry.file_name().to_string_lossy(), &entry.path()).await;
            }
        }
        runtime.collect_networks().await;
        Ok(runtime)
    }

    async fn adopt(&self, id: &str, path: &Path) {
        let dir = PodDir(path.into());
        let saved: SavedPod = match layout::read_json(&dir.config()) {
            Ok(saved) => saved,
            Err(e) => {
                // Killed before it began: nothing was started, nobody was told of it.
                tracing::warn!(sandbox = id, "removing a sandbox that was never made: {e}");
                // No shim was started before pod.json was there, so there is nothing mounted.
                if let Err(e) = crate::stop_pod_sandbox::remove_dir(path) {
                    tracing::warn!(sandbox = id, "{e}");
                }
                return;
            }
        };
        let pod = Arc::new(Pod::new(id.into(), dir, saved));
        self.replay(&pod);
        self.inner.pods.lock().insert(id.into(), pod.clone());
        match self.connect(&pod).await {
            Ok(()) => {
                let made = pod.dir.network().exists() && !pod.dir.stopped().exists();
                pod.state.lock().ready = made;
                self.forget_unfinished(&pod);
            }
            Err(_) => self.bury(&pod),
        }
    }

    /// Builds the state from the journal and the containers' files.
    fn replay(&self, pod: &Pod) {
        let network: SavedNetwork = layout::read_json(&pod.dir.network()).unwrap_or_default();
        let records = journal::read(&pod.dir.journal()).unwrap_or_else(|e| {
            tracing::error!(sandbox = pod.id, "journal: {e}");
            Vec::new()
        });
        {
            let mut state = pod.state.lock();
            state.ips = network.ips;
            state.acknowledged = pod.dir.acknowledged();
            for entry in std::fs::read_dir(pod.dir.file("containers")).into_iter().flatten().flatten() {
                let id = entry.file_name().to_string_lossy().into_owned();
                match layout::read_json::<SavedContainer>(&entry.path().join("container.json")) {
                    Ok(saved) => drop(state.containers.insert(id, Container::new(saved))),
                    Err(e) => {
                        tracing::warn!(container = id, "removing a container that was never made: {e}");
                        let _ = std::fs::remove_dir_all(entry.path());
                        self.release_image(&id);
                    }
                }
            }
        }
        for record in &records {
            pod.apply(record);
        }
        // Removed, but the directory was not yet.
        for record in records.iter().filter(|r| r.kind == ContainerEventKind::Deleted) {
            let _ = std::fs::remove_dir_all(pod.dir.container(&record.container));
            self.release_image(&record.container);
        }
    }

    /// Containers that no record speaks of were being made when the daemon died.
    fn forget_unfinished(&self, pod: &Pod) {
        let mut state = pod.state.lock();
        let unknown = |c: &Container| c.state == ContainerState::Unknown;
        let ids: Vec<String> = state.containers.iter().filter(|(_, c)| unknown(c)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            state.containers.remove(&id);
            let _ = std::fs::remove_dir_all(pod.dir.container(&id));
            self.release_image(&id);
        }
    }

    /// The shim is gone. Nobody reads the output of its containers any more, so they are ended; how they ended is not
    /// known, and that is what is written down.
    pub(crate) fn bury(&self, pod: &Arc<Pod>) {
        // Unfinished ones have no process.
        self.forget_unfinished(pod);
        let left: Vec<(String, String)> = pod
            .state
            .lock()
            .containers
            .iter()
            .filter(|(_, c)| matches!(c.state, ContainerState::Running | ContainerState::Created))
            .map(|(id, c)| (id.clone(), c.saved.cgroup.clone()))
            .collect();
        pod.state.lock().ready = false;
        // The last words of the journal may not have been heard: it decides, not the connection.
        for record in journal::read(&pod.dir.journal()).unwrap_or_default() {
            self.on_record(pod, record);
        }
        for (id, cgroup) in left {
            self.inner.hierarchies.cgroup(&cgroup).kill();
            if !matches!(pod.container_state(&id), Some(ContainerState::Running | ContainerState::Created)) {
                continue;
            }
            let exit = ContainerExit {
                exit_code: 137,
                reason: "ContainerStatusUnknown".into(),
                message: "The container's keeper died; how the container ended is not known".into(),
            };
            if let Err(e) = self.journal_directly(pod, &id, ContainerEventKind::Stopped, Some(exit)) {
                tracing::error!(container = id, "{e}");
            }
        }
        pod.state.lock().gone = true;
        *pod.client.lock() = None;
        pod.changed();
    }

    /// Gives back addresses of sandboxes that went away while nobody watched. [`Self::open`] does it; who has a network that
    /// opens later calls it again then.
    pub async fn collect_networks(&self) {
        let live: Vec<_> = self.inner.pods.lock().values().map(|p| crate::run_pod_sandbox::attachment(p)).collect();
        let network = self.inner.config.network.clone();
        if let Ok(Err(e)) = tokio::task::spawn_blocking(move || network.gc(&live)).await {
            tracing::warn!("network: {e}");
        }
    }
}

/// A daemon that was killed a moment ago may not be quite gone: waits a little before it says that another one is there.
async fn lock(root: &Path) -> io::Result<std::fs::File> {
    let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(root.join("lock"))?;
    for _ in 0..100 {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(std::fs::TryLockError::Error(e)) => return Err(e),
        }
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, format!("{}: in use by another process", root.display())))
}
