//! The seam's trait over the verbs, which have a file each.

use std::time::Duration;

use cri::*;

use crate::journal;
use crate::pod::Runtime;
use crate::protocol::Request;

impl RuntimeService for Runtime {
    fn version(&self) -> BoxFuture<'_, Result<Version>> {
        Box::pin(async {
            Ok(Version {
                runtime_name: "ferry".into(),
                runtime_version: env!("CARGO_PKG_VERSION").into(),
                runtime_api_version: "v1".into(),
            })
        })
    }

    fn run_pod_sandbox<'a>(&'a self, config: &'a PodSandboxConfig) -> BoxFuture<'a, Result<String>> {
        Box::pin(self.run_sandbox(config))
    }
    fn stop_pod_sandbox<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.stop_sandbox(id))
    }
    fn remove_pod_sandbox<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.remove_sandbox(id))
    }
    fn pod_sandbox_status<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<PodSandboxStatus>> {
        Box::pin(async { self.sandbox_status(id) })
    }
    fn list_pod_sandbox<'a>(&'a self, filter: &'a PodSandboxFilter) -> BoxFuture<'a, Result<Vec<PodSandbox>>> {
        Box::pin(async { Ok(self.sandboxes(filter)) })
    }

    fn create_container<'a>(&'a self, sandbox: &'a str, config: &'a ContainerConfig) -> BoxFuture<'a, Result<String>> {
        Box::pin(self.create(sandbox, config))
    }
    fn start_container<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.start(id))
    }
    fn stop_container<'a>(&'a self, id: &'a str, timeout: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.stop(id, timeout))
    }
    fn remove_container<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.remove(id))
    }
    fn container_status<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<ContainerStatus>> {
        Box::pin(async { self.status_of(id) })
    }
    fn list_containers<'a>(&'a self, filter: &'a ContainerFilter) -> BoxFuture<'a, Result<Vec<Container>>> {
        Box::pin(async { Ok(self.containers(filter)) })
    }
    fn update_pod_sandbox_resources<'a>(
        &'a self,
        id: &'a str,
        resources: &'a LinuxContainerResources,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.update_sandbox_resources(id, resources))
    }
    fn update_container_resources<'a>(
        &'a self,
        id: &'a str,
        resources: &'a LinuxContainerResources,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.update_resources(id, resources))
    }
    fn reopen_container_log<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { self.pod_of(id)?.call(&Request::ReopenLog { id: id.into() }).await })
    }

    fn exec_sync<'a>(
        &'a self,
        id: &'a str,
        cmd: &'a [String],
        timeout: Duration,
    ) -> BoxFuture<'a, Result<ExecSyncResponse>> {
        Box::pin(self.run_exec_sync(id, cmd, timeout))
    }
    fn exec<'a>(
        &'a self,
        id: &'a str,
        cmd: &'a [String],
        options: StreamOptions,
    ) -> BoxFuture<'a, Result<ExecStreams>> {
        Box::pin(self.run_exec(id, cmd, options))
    }
    fn attach<'a>(&'a self, id: &'a str, options: StreamOptions) -> BoxFuture<'a, Result<ExecStreams>> {
        Box::pin(self.run_attach(id, options))
    }
    fn port_forward<'a>(&'a self, sandbox: &'a str, port: u16) -> BoxFuture<'a, Result<Box<dyn ByteStream>>> {
        Box::pin(async move { Ok(Box::new(self.forward(sandbox, port).await?) as Box<dyn ByteStream>) })
    }

    fn container_stats<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<ContainerStats>> {
        Box::pin(self.stats_of(id))
    }
    fn list_container_stats<'a>(&'a self, filter: &'a ContainerFilter) -> BoxFuture<'a, Result<Vec<ContainerStats>>> {
        Box::pin(self.all_stats(filter))
    }

    fn events(&self) -> EventStream {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        let pods: Vec<_> = self.inner.pods.lock().values().cloned().collect();
        // Under this lock nothing is delivered, so nothing falls between what is replayed and what follows.
        let mut subscribers = self.inner.subscribers.lock();
        for pod in pods {
            let acknowledged = pod.state.lock().acknowledged;
            for record in journal::read(&pod.dir.journal()).unwrap_or_default() {
                if record.sequence > acknowledged {
                    let _ = sender.send(pod.event(record));
                }
            }
        }
        subscribers.push(sender);
        receiver
    }

    fn acknowledge(&self, sandbox: &str, sequence: u64) {
        let Ok(pod) = self.pod(sandbox) else { return };
        let mut state = pod.state.lock();
        // Under the lock, so that no file appears in a directory that is being removed.
        if sequence > state.acknowledged && !state.removed {
            state.acknowledged = sequence;
            // Lost, it means one more delivery.
            if let Err(e) = pod.dir.acknowledge(sequence) {
                tracing::warn!(sandbox, "acknowledgement: {e}");
            }
        }
    }

    fn status(&self) -> BoxFuture<'_, Result<Vec<RuntimeCondition>>> {
        Box::pin(async {
            let network = self.inner.config.network.clone();
            let state = tokio::task::spawn_blocking(move || network.status().map_err(|e| e.to_string())).await;
            let state = state.unwrap_or_else(|e| Err(e.to_string()));
            let ready = RuntimeCondition { kind: "RuntimeReady".into(), status: true, ..Default::default() };
            let network = RuntimeCondition {
                kind: "NetworkReady".into(),
                status: state.is_ok(),
                reason: if state.is_ok() { String::new() } else { "NetworkPluginNotReady".into() },
                message: state.err().unwrap_or_default(),
            };
            Ok(vec![ready, network])
        })
    }
}
