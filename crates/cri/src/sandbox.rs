//! Sandbox messages: what a pod is to the runtime.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::container::{LinuxContainerResources, SecurityProfile};

/// Who the pod is. `attempt` counts sandboxes of one pod uid.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodSandboxMetadata {
    pub name: String,
    pub uid: String,
    pub namespace: String,
    pub attempt: u32,
}

/// The contents of the pod's `/etc/resolv.conf`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsConfig {
    pub servers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

/// A transport protocol of a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

/// A host port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    pub protocol: Protocol,
    pub container_port: u16,
    pub host_port: u16,
    /// Empty: every address of the node.
    pub host_ip: String,
}

/// Whose namespace a container uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NamespaceMode {
    /// The pod's.
    #[default]
    Pod,
    /// The container's own (usual for pid).
    Container,
    /// The node's (hostNetwork, hostPID, hostIPC).
    Node,
    /// Another container's: [`NamespaceOption::target_id`].
    Target,
}

/// Namespaces of a pod. For pid the kubelet sends `Container` unless `shareProcessNamespace` or `hostPID` is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceOption {
    pub network: NamespaceMode,
    pub pid: NamespaceMode,
    pub ipc: NamespaceMode,
    pub target_id: String,
}

/// The pod's part of the security context.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinuxSandboxSecurityContext {
    pub namespace_options: NamespaceOption,
    pub run_as_user: Option<i64>,
    pub run_as_group: Option<i64>,
    pub supplemental_groups: Vec<i64>,
    pub privileged: bool,
    pub seccomp: Option<SecurityProfile>,
}

/// Linux settings of a sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinuxPodSandboxConfig {
    /// The pod's cgroup relative to the runtime's root, as `/kubepods/burstable/pod<uid>`. The runtime makes it, sets
    /// `resources` on it and removes it with the sandbox. Empty: the runtime chooses.
    pub cgroup_parent: String,
    pub security_context: LinuxSandboxSecurityContext,
    /// Namespaced sysctls, as `net.ipv4.ip_unprivileged_port_start`.
    pub sysctls: BTreeMap<String, String>,
    /// Limits of the pod as a whole.
    pub resources: LinuxContainerResources,
}

/// Everything needed to make a sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodSandboxConfig {
    pub metadata: PodSandboxMetadata,
    pub hostname: String,
    /// Absolute; containers' `log_path` is below it.
    pub log_directory: String,
    pub dns_config: DnsConfig,
    pub port_mappings: Vec<PortMapping>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// As the pod's RuntimeClass says; empty: the runtime's own choice. The protocol has it beside the configuration.
    #[serde(default)]
    pub runtime_handler: String,
    pub linux: LinuxPodSandboxConfig,
}

/// Ready: the sandbox has its namespaces and network. NotReady: stopped, or its keeper died.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PodSandboxState {
    Ready,
    #[default]
    NotReady,
}

/// A sandbox in a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodSandbox {
    pub id: String,
    pub metadata: PodSandboxMetadata,
    pub state: PodSandboxState,
    /// Nanoseconds since the epoch.
    pub created_at: i64,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}

/// A sandbox in full.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodSandboxStatus {
    pub id: String,
    pub metadata: PodSandboxMetadata,
    pub state: PodSandboxState,
    /// Nanoseconds since the epoch.
    pub created_at: i64,
    /// The pod's addresses, the primary one first; empty with hostNetwork.
    pub ips: Vec<String>,
    pub namespaces: NamespaceOption,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}

/// Which sandboxes to list; the default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodSandboxFilter {
    pub id: Option<String>,
    pub state: Option<PodSandboxState>,
    pub label_selector: BTreeMap<String, String>,
}
