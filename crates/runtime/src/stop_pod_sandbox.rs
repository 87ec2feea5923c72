//! `StopPodSandbox` and `RemovePodSandbox`: end the shim and its containers, give the network back, take all away.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cri::{ContainerEventKind, Error, Result};
use sandbox::pod::unmount;

use crate::journal::{Journal, Record};
use crate::pod::{Pod, Runtime};
use crate::protocol::Request;
use crate::run_pod_sandbox::{attachment, own_network};

impl Runtime {
    pub(crate) async fn stop_sandbox(&self, id: &str) -> Result<()> {
        let Ok(pod) = self.pod(id) else { return Ok(()) };
        let _gate = pod.gate.lock().await;
        self.stop_locked(&pod).await
    }

    pub(crate) async fn remove_sandbox(&self, id: &str) -> Result<()> {
        let Ok(pod) = self.pod(id) else { return Ok(()) };
        let _gate = pod.gate.lock().await;
        self.stop_locked(&pod).await?;
        pod.state.lock().removed = true;
        let containers: Vec<String> = pod.state.lock().containers.keys().cloned().collect();
        for container in &containers {
            self.journal_directly(&pod, container, ContainerEventKind::Deleted, None)?;
            self.release_image(container);
        }
        let dir = pod.dir.clone();
        tokio::task::spawn_blocking(move || remove_dir(&dir.0))
            .await
            .map_err(|e| Error::internal("removal", e))?
            .map_err(|e| Error::internal(format_args!("pod sandbox {id:?}"), e))?;
        self.inner.pods.lock().remove(id);
        Ok(())
    }

    /// Ends shim, containers and network. The records stay.
    async fn stop_locked(&self, pod: &Arc<Pod>) -> Result<()> {
        if pod.dir.stopped().exists() {
            return Ok(());
        }
        pod.state.lock().ready = false;
        match pod.call(&Request::Shutdown).await {
            Ok(()) | Err(Error::Unavailable(_)) => {}
            Err(e) => return Err(e),
        }
        // Whatever the shim told before its end has been applied when its connection closes.
        let _ = tokio::time::timeout(Duration::from_secs(10), pod.wait_until(|s| s.gone)).await;
        let (runtime, target) = (self.clone(), pod.clone());
        let cleaned = tokio::task::spawn_blocking(move || runtime.take_away(&target)).await;
        cleaned.map_err(|e| Error::internal("stop", e))??;
        std::fs::write(pod.dir.stopped(), []).or_else(not_there).map_err(|e| Error::internal(&pod.id, e))?;
        pod.changed();
        Ok(())
    }

    /// Network, mounts and cgroups of a pod whose shim is gone. Blocking.
    fn take_away(&self, pod: &Pod) -> Result<()> {
        let fail = |e: io::Error| Error::internal(format_args!("pod sandbox {:?}", pod.id), e);
        if own_network(&pod.saved.config) {
            let deleted = self.inner.config.network.del(&attachment(pod));
            deleted.map_err(|e| Error::internal("failed to destroy network for sandbox", e))?;
        }
        unmount(&pod.dir.netns()).map_err(fail)?;
        unmount(&pod.dir.shm()).map_err(fail)?;
        let cgroups: Vec<String> = pod.state.lock().containers.values().map(|c| c.saved.cgroup.clone()).collect();
        for path in cgroups {
            let cgroup = self.inner.hierarchies.cgroup(&path);
            cgroup.kill();
            cgroup.remove(Duration::from_secs(5)).map_err(fail)?;
            // A pinned container has one more; removing what is not there is fine.
            let pinned = sandbox::Resources { cpuset_cpus: "0".into(), ..Default::default() };
            self.inner.hierarchies.cgroup_for(&path, &pinned).remove(Duration::from_secs(1)).map_err(fail)?;
        }
        if let Err(e) = self.inner.hierarchies.cgroup(&pod.saved.cgroup).remove(Duration::from_millis(100)) {
            // Another attempt of the same pod may live in it by now.
            tracing::debug!(sandbox = pod.id, "cgroup of the pod: {e}");
        }
        Ok(())
    }

    /// Appends to the journal of a pod that has no shim, and applies it.
    pub(crate) fn journal_directly(
        &self,
        pod: &Pod,
        container: &str,
        kind: ContainerEventKind,
        exit: Option<cri::ContainerExit>,
    ) -> Result<()> {
        let record = Record { sequence: 0, container: container.into(), kind, at: crate::shim::now(), exit, pid: None };
        if !pod.dir.0.exists() {
            return Ok(());
        }
        let written = Journal::open(&pod.dir.journal()).and_then(|mut j| j.append(record));
        self.on_record(pod, written.map_err(|e| Error::internal(pod.dir.journal().display(), e))?);
        Ok(())
    }
}

fn not_there(e: io::Error) -> io::Result<()> {
    if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) }
}

/// Removes a pod's or container's directory. The two mounts that a pod has are gone before; a container's were never here.
pub(crate) fn remove_dir(dir: &Path) -> io::Result<()> {
    std::fs::remove_dir_all(dir).or_else(not_there)
}
