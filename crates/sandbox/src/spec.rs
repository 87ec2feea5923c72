//! What a container is, fully resolved: no names to look up, no defaults to fill in. The daemon makes it, the shim
//! carries it out, and it is plain data because it travels between the two.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ContainerSpec {
    pub process: Process,
    pub rootfs: Rootfs,
    /// Bind mounts, in the order in which they are made.
    pub mounts: Vec<Bind>,
    pub devices: Vec<Device>,
    pub masked_paths: Vec<String>,
    pub readonly_paths: Vec<String>,
    /// `/sys` and cgroups writable, and its own cgroup namespace left out.
    pub privileged: bool,
    pub pid: PidNamespace,
    /// With [`PidNamespace::Pod`]: that of this container instead of the pod's.
    #[serde(default)]
    pub pid_of: Option<String>,
    /// The directory bound to `/dev/shm`; a private tmpfs without one.
    pub shm: Option<PathBuf>,
    /// The container's cgroup below every hierarchy's root, as `/kubepods/podX/abc`.
    pub cgroup: String,
    pub resources: Resources,
}

/// One process, the first of a container or an exec'd one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Process {
    pub args: Vec<String>,
    /// `KEY=value`.
    pub env: Vec<String>,
    /// Made if it is not there.
    pub cwd: String,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub caps: CapSets,
    pub no_new_privs: bool,
    pub seccomp: Seccomp,
    pub rlimits: Vec<Rlimit>,
    /// Where the kernel refuses to lower it, it stays as it is.
    pub oom_score_adj: Option<i32>,
    pub tty: bool,
    /// Standard input is a pipe instead of `/dev/null`.
    pub stdin: bool,
}

/// Capabilities as bit masks. Effective equals permitted; inheritable is ambient (CVE-2022-24769).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapSets {
    pub bounding: u64,
    pub permitted: u64,
    pub ambient: u64,
}

/// Which filter a process runs under.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum Seccomp {
    #[default]
    Unconfined,
    /// The runtime default for these capabilities.
    Default,
}

/// `setrlimit`; a hard limit above the present one is clamped to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// `libc::RLIMIT_*`.
    pub resource: u32,
    pub soft: u64,
    pub hard: u64,
}

/// The root file system.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Rootfs {
    /// Unpacked layers, lowest first.
    pub layers: Vec<PathBuf>,
    /// On real storage, never on an overlay.
    pub upper: PathBuf,
    pub work: PathBuf,
    /// An empty directory where the container's own mount namespace has its root.
    pub mountpoint: PathBuf,
    pub readonly: bool,
}

/// A host path in the container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Bind {
    pub source: PathBuf,
    pub target: String,
    pub readonly: bool,
    pub recursive_readonly: bool,
    pub propagation: Propagation,
    /// Instead of a source: the files of an image.
    #[serde(default)]
    pub image: Option<ImageSource>,
}

/// The files of an image as a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSource {
    /// Unpacked layers, lowest first.
    pub layers: Vec<PathBuf>,
    /// A directory in it, resolved with the image's own root as `/`; empty for the root.
    pub sub_path: String,
    /// An empty directory where it is put together, in the container's own mount namespace.
    pub mountpoint: PathBuf,
}

/// How mounts travel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    #[default]
    Private,
    HostToContainer,
    Bidirectional,
}

/// A device node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    pub path: String,
    pub block: bool,
    pub major: u32,
    pub minor: u32,
    pub mode: u32,
    /// Of `rwm`.
    pub access: String,
}

/// Which pid namespace the process is born into.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PidNamespace {
    #[default]
    Own,
    /// The pod's, held by its pause process.
    Pod,
    Host,
}

/// cgroup limits. `None` or empty: not set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    pub cpu_shares: Option<u64>,
    /// Microseconds per period; negative: no limit.
    pub cpu_quota: Option<i64>,
    pub cpu_period: Option<u64>,
    /// Bytes; negative: no limit.
    pub memory: Option<i64>,
    /// Memory and swap together.
    pub memory_swap: Option<i64>,
    pub pids: Option<i64>,
    pub cpuset_cpus: String,
    pub cpuset_mems: String,
    /// cgroup v2 files and their values.
    pub unified: Vec<(String, String)>,
    /// Every device allowed (privileged). Otherwise only the spec's own.
    pub all_devices: bool,
}
