//! Container messages: configuration, status, statistics and events.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::sandbox::NamespaceOption;

/// Name within the pod, and the number of this attempt (restartCount).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerMetadata {
    pub name: String,
    pub attempt: u32,
}

/// One environment variable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValue {
    pub key: String,
    pub value: String,
}

/// How mounts travel between host and container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MountPropagation {
    #[default]
    Private,
    HostToContainer,
    Bidirectional,
}

/// A host path (file or directory) in the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub container_path: String,
    pub host_path: String,
    pub readonly: bool,
    pub propagation: MountPropagation,
    /// With `readonly`: mounts below are read-only as well.
    pub recursive_read_only: bool,
    /// Instead of a host path: the files of this image, always read-only and without programs that may be run.
    #[serde(default)]
    pub image: String,
    /// A directory of the image instead of its root.
    #[serde(default)]
    pub image_sub_path: String,
}

/// A host device in the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    pub container_path: String,
    pub host_path: String,
    /// Of `r`, `w`, `m`.
    pub permissions: String,
}

/// Limits. Zero or empty means: not set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinuxContainerResources {
    /// Microseconds.
    pub cpu_period: i64,
    /// Microseconds per period; negative means no limit.
    pub cpu_quota: i64,
    pub cpu_shares: i64,
    pub memory_limit_in_bytes: i64,
    /// Memory and swap together.
    pub memory_swap_limit_in_bytes: i64,
    pub oom_score_adj: i64,
    pub cpuset_cpus: String,
    pub cpuset_mems: String,
    /// Processes and threads; an addition to the protocol (upstream's kubelet writes `pids.max` of the pod itself).
    pub pids_limit: i64,
    /// Further cgroup v2 files, as `memory.high`.
    pub unified: BTreeMap<String, String>,
}

/// Capability names with or without `CAP_`, any case; `ALL` is all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    pub add_capabilities: Vec<String>,
    pub drop_capabilities: Vec<String>,
    pub add_ambient_capabilities: Vec<String>,
}

/// A seccomp profile. The absence of one means unconfined, as the kubelet without `seccompDefault` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecurityProfile {
    RuntimeDefault,
    Unconfined,
    /// A file on the node, absolute path.
    Localhost(String),
}

/// Who and with which rights.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinuxContainerSecurityContext {
    pub capabilities: Capability,
    pub privileged: bool,
    pub namespace_options: NamespaceOption,
    /// Wins over `run_as_username` and over the image's user.
    pub run_as_user: Option<i64>,
    pub run_as_group: Option<i64>,
    /// A name (or number) looked up in the image's `/etc/passwd`.
    pub run_as_username: String,
    pub readonly_rootfs: bool,
    pub supplemental_groups: Vec<i64>,
    /// True for `supplementalGroupsPolicy: Strict`: groups of the image's `/etc/group` do not count.
    pub supplemental_groups_strict: bool,
    pub no_new_privs: bool,
    /// Hidden below an empty mount; the kubelet sends upstream's list unless `procMount: Unmasked`.
    pub masked_paths: Vec<String>,
    pub readonly_paths: Vec<String>,
    pub seccomp: Option<SecurityProfile>,
}

/// Linux settings of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinuxContainerConfig {
    pub resources: LinuxContainerResources,
    pub security_context: LinuxContainerSecurityContext,
}

/// Everything needed to make a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerConfig {
    pub metadata: ContainerMetadata,
    /// A reference or an id that [`crate::ImageService::image_status`] knows.
    pub image: String,
    /// Replaces the image's entrypoint (and then its cmd is dropped too) unless empty.
    pub command: Vec<String>,
    /// Replaces the image's cmd unless empty.
    pub args: Vec<String>,
    /// Replaces the image's unless empty.
    pub working_dir: String,
    pub envs: Vec<KeyValue>,
    pub mounts: Vec<Mount>,
    pub devices: Vec<Device>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// Relative to the sandbox's `log_directory`; empty: output is dropped.
    pub log_path: String,
    pub stdin: bool,
    /// Standard input ends when the first attached client leaves.
    pub stdin_once: bool,
    pub tty: bool,
    pub linux: LinuxContainerConfig,
    /// As `SIGUSR1`; `None`: the image's, else SIGTERM.
    pub stop_signal: Option<String>,
}

/// Where a container stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ContainerState {
    Created,
    Running,
    Exited,
    /// Its keeper is gone and nothing is known of it.
    #[default]
    Unknown,
}

/// A container in a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    pub id: String,
    pub pod_sandbox_id: String,
    pub metadata: ContainerMetadata,
    /// The reference as configured.
    pub image: String,
    /// The digest reference (or id) that it was resolved to.
    pub image_ref: String,
    pub state: ContainerState,
    /// Nanoseconds since the epoch.
    pub created_at: i64,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}

/// A container in full.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatus {
    pub id: String,
    pub pod_sandbox_id: String,
    pub metadata: ContainerMetadata,
    pub state: ContainerState,
    /// Nanoseconds since the epoch, zero when it did not happen, as the two after it.
    pub created_at: i64,
    pub started_at: i64,
    pub finished_at: i64,
    /// 128 + signal for a death by signal; 128 with reason `StartError` when it never ran.
    pub exit_code: i32,
    pub image: String,
    pub image_ref: String,
    pub image_id: String,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`, `ContainerStatusUnknown`; empty until it exits.
    pub reason: String,
    pub message: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub mounts: Vec<Mount>,
    /// Absolute.
    pub log_path: String,
    pub resources: LinuxContainerResources,
    pub user: ContainerUser,
    /// As `SIGTERM`.
    pub stop_signal: String,
}

/// The identity of a container's first process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerUser {
    pub uid: u32,
    pub gid: u32,
    pub supplemental_groups: Vec<u32>,
}

/// Which containers to list; the default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerFilter {
    pub id: Option<String>,
    pub state: Option<ContainerState>,
    pub pod_sandbox_id: Option<String>,
    pub label_selector: BTreeMap<String, String>,
}

/// The outcome of [`crate::RuntimeService::exec_sync`]; each output is capped at 16 MiB, the rest is dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecSyncResponse {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exit_code: i32,
}

/// Which streams an exec or attach wants. With `tty`, stderr is part of stdout.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamOptions {
    pub tty: bool,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

/// Usage of one container, read now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStats {
    pub id: String,
    pub pod_sandbox_id: String,
    pub metadata: ContainerMetadata,
    pub labels: BTreeMap<String, String>,
    /// Nanoseconds since the epoch.
    pub timestamp: i64,
    /// Cumulative.
    pub cpu_usage_core_nano_seconds: u64,
    /// Usage without inactive file pages.
    pub memory_working_set_bytes: u64,
    pub memory_usage_bytes: u64,
    pub memory_rss_bytes: u64,
    pub page_faults: u64,
    pub major_page_faults: u64,
    pub process_count: u64,
    /// Of the writable layer.
    pub writable_layer_used_bytes: u64,
    pub writable_layer_inodes_used: u64,
}

/// What happened to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ContainerEventKind {
    Created,
    Started,
    Stopped,
    Deleted,
}

/// How a container ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerExit {
    pub exit_code: i32,
    /// As [`ContainerStatus::reason`].
    pub reason: String,
    pub message: String,
}

/// A change of state, delivered at least once until it is acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerEvent {
    /// Grows by one within a sandbox, never reused: drop what you have seen already.
    pub sequence: u64,
    pub container_id: String,
    pub sandbox_id: String,
    pub kind: ContainerEventKind,
    /// Nanoseconds since the epoch.
    pub at: i64,
    /// With `Stopped` only.
    pub exit: Option<ContainerExit>,
}
