//! `StartContainer`, `StopContainer` and `RemoveContainer`.

use std::time::Duration;

use cri::{ContainerEventKind, ContainerState, Error, Result};

use crate::pod::{Pod, Runtime};
use crate::protocol::Request;

/// How long the kernel may take to end a process after SIGKILL before the call gives up.
const AFTER_KILL: Duration = Duration::from_secs(120);

impl Runtime {
    pub(crate) async fn start(&self, id: &str) -> Result<()> {
        let pod = self.pod_of(id)?;
        match pod.call(&Request::Start { id: id.into() }).await {
            // The shim died in between: the container is known to have ended.
            Err(Error::Unavailable(m)) => Err(Error::Unavailable(format!("start of container {id:?}: {m}"))),
            other => other,
        }
    }

    pub(crate) async fn stop(&self, id: &str, grace: Duration) -> Result<()> {
        let Ok(pod) = self.pod_of(id) else { return Ok(()) };
        if pod.container_state(id) != Some(ContainerState::Running) {
            return Ok(());
        }
        if !grace.is_zero() {
            let name = pod.state.lock().containers.get(id).map(|c| c.saved.stop_signal.clone()).unwrap_or_default();
            let signal = sandbox::process::signal_number(&name).unwrap_or(libc::SIGTERM);
            kill(&pod, id, signal, false).await?;
            if tokio::time::timeout(grace, ended(&pod, id)).await.is_ok() {
                return Ok(());
            }
        }
        kill(&pod, id, libc::SIGKILL, true).await?;
        tokio::time::timeout(AFTER_KILL, ended(&pod, id))
            .await
            .map_err(|_| Error::DeadlineExceeded(format!("container {id:?} does not end after SIGKILL")))
    }

    pub(crate) async fn remove(&self, id: &str) -> Result<()> {
        let Ok(pod) = self.pod_of(id) else { return Ok(()) };
        self.stop(id, Duration::ZERO).await?;
        let _gate = pod.gate.lock().await;
        match pod.call(&Request::Remove { id: id.into() }).await {
            Err(Error::Unavailable(_)) => {
                pod.wait_until(|s| s.gone).await;
                if pod.container_state(id).is_some() {
                    self.journal_directly(&pod, id, ContainerEventKind::Deleted, None)?;
                }
            }
            other => other?,
        }
        let dir = pod.dir.container(id);
        tokio::task::spawn_blocking(move || crate::stop_pod_sandbox::remove_dir(&dir))
            .await
            .map_err(|e| Error::internal("removal", e))?
            .map_err(|e| Error::internal(format_args!("container {id:?}"), e))?;
        self.release_image(id);
        Ok(())
    }
}

async fn kill(pod: &Pod, id: &str, signal: i32, all: bool) -> Result<()> {
    match pod.call(&Request::Kill { id: id.into(), signal, all }).await {
        // The one who waits will see the end that the daemon writes down for it.
        Err(Error::Unavailable(_) | Error::NotFound(_)) => Ok(()),
        other => other,
    }
}

async fn ended(pod: &Pod, id: &str) {
    pod.wait_until(|s| s.containers.get(id).is_none_or(|c| c.state != ContainerState::Running)).await;
}
