//! The two traits. Methods return boxed futures, so that a runtime is an `Arc<dyn RuntimeService>`.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::*;

/// A future that borrows the service and its arguments.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the kubelet asks of a container runtime. All calls are idempotent where CRI says so: stopping what is stopped
/// and removing what is gone succeed.
pub trait RuntimeService: Send + Sync + 'static {
    /// `name version`, as `ferry 0.1.0`; shows as `ferry://0.1.0` in a node's status.
    fn version(&self) -> BoxFuture<'_, Result<Version>>;

    /// Makes namespaces and network; returns the sandbox id once the sandbox is ready.
    fn run_pod_sandbox<'a>(&'a self, config: &'a PodSandboxConfig) -> BoxFuture<'a, Result<String>>;
    /// Kills what still runs in it and gives its network back. Idempotent.
    fn stop_pod_sandbox<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>>;
    /// Removes it with all of its containers, running ones included. Idempotent.
    fn remove_pod_sandbox<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>>;
    /// Writes the limits of the pod as a whole; fields that are zero or empty stay as they are.
    fn update_pod_sandbox_resources<'a>(
        &'a self,
        id: &'a str,
        resources: &'a LinuxContainerResources,
    ) -> BoxFuture<'a, Result<()>>;
    fn pod_sandbox_status<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<PodSandboxStatus>>;
    fn list_pod_sandbox<'a>(&'a self, filter: &'a PodSandboxFilter) -> BoxFuture<'a, Result<Vec<PodSandbox>>>;

    /// Prepares a container and returns its id. The image must be there.
    fn create_container<'a>(&'a self, sandbox: &'a str, config: &'a ContainerConfig) -> BoxFuture<'a, Result<String>>;
    /// Starts its process. On [`Error::Start`] the container is exited with code 128 and reason `StartError`.
    fn start_container<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>>;
    /// Sends the stop signal and, after `timeout`, SIGKILL to every process of the container; returns when it has
    /// exited. Idempotent, and calls may overlap: the shorter timeout wins.
    fn stop_container<'a>(&'a self, id: &'a str, timeout: Duration) -> BoxFuture<'a, Result<()>>;
    /// Removes it, killing it if needed. Its log file stays. Idempotent.
    fn remove_container<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>>;
    fn container_status<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<ContainerStatus>>;
    fn list_containers<'a>(&'a self, filter: &'a ContainerFilter) -> BoxFuture<'a, Result<Vec<Container>>>;
    fn update_container_resources<'a>(
        &'a self,
        id: &'a str,
        resources: &'a LinuxContainerResources,
    ) -> BoxFuture<'a, Result<()>>;
    /// Opens the log file anew after somebody moved it.
    fn reopen_container_log<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Runs a command to its end. A zero `timeout` means none; on [`Error::DeadlineExceeded`] the process is killed.
    fn exec_sync<'a>(
        &'a self,
        id: &'a str,
        cmd: &'a [String],
        timeout: Duration,
    ) -> BoxFuture<'a, Result<ExecSyncResponse>>;
    /// Runs a command with streams.
    fn exec<'a>(&'a self, id: &'a str, cmd: &'a [String], options: StreamOptions)
    -> BoxFuture<'a, Result<ExecStreams>>;
    /// Joins the streams of the container's first process. `options.tty` must be what the container has.
    fn attach<'a>(&'a self, id: &'a str, options: StreamOptions) -> BoxFuture<'a, Result<ExecStreams>>;
    /// Connects to a TCP port on the sandbox's loopback.
    fn port_forward<'a>(&'a self, sandbox: &'a str, port: u16) -> BoxFuture<'a, Result<Box<dyn ByteStream>>>;

    fn container_stats<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<ContainerStats>>;
    /// Of all that run and match.
    fn list_container_stats<'a>(&'a self, filter: &'a ContainerFilter) -> BoxFuture<'a, Result<Vec<ContainerStats>>>;

    /// Subscribes: everything not yet acknowledged, then what happens. Several subscribers each get all of it.
    fn events(&self) -> EventStream;
    /// Says that events of `sandbox` up to and including `sequence` have been dealt with for good (status written).
    /// They are not delivered again, not even after a restart.
    fn acknowledge(&self, sandbox: &str, sequence: u64);

    /// Conditions `RuntimeReady` and `NetworkReady`.
    fn status(&self) -> BoxFuture<'_, Result<Vec<RuntimeCondition>>>;
}

/// What the kubelet asks of an image store.
pub trait ImageService: Send + Sync + 'static {
    fn list_images(&self) -> BoxFuture<'_, Result<Vec<Image>>>;
    /// `None` when it is not there.
    fn image_status<'a>(&'a self, image: &'a str) -> BoxFuture<'a, Result<Option<Image>>>;
    /// Returns the reference by digest (or the id) that the containers' `image_ref` will show.
    fn pull_image<'a>(&'a self, image: &'a str, auth: Option<&'a AuthConfig>) -> BoxFuture<'a, Result<String>>;
    /// Idempotent.
    fn remove_image<'a>(&'a self, image: &'a str) -> BoxFuture<'a, Result<()>>;
    fn image_fs_info(&self) -> BoxFuture<'_, Result<Vec<FilesystemUsage>>>;
}

/// The runtime's name and version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Version {
    pub runtime_name: String,
    pub runtime_version: String,
    pub runtime_api_version: String,
}

/// `RuntimeReady` or `NetworkReady`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuntimeCondition {
    pub kind: String,
    pub status: bool,
    pub reason: String,
    pub message: String,
}
