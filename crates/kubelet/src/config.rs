//! What a kubelet is told at its start.

use crate::dns::NodeDns;
use base::clock::Clock;
use client::Client;
use cri::{ImageService, RuntimeService};
use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, sync::Arc};

/// Directories of the node, made where they are missing.
#[derive(Debug, Clone)]
pub struct Dirs {
    /// Volumes and files of pods, as `/var/lib/ferry/pods`; `<uid>` below it.
    pub pods: PathBuf,
    /// Container logs, as `/var/log/pods`.
    pub logs: PathBuf,
    /// Localhost seccomp profiles.
    pub seccomp: PathBuf,
}

/// Size of the machine as the node offers it to pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    /// In thousandths.
    pub cpu_milli: u64,
    pub memory_bytes: u64,
    pub ephemeral_storage_bytes: u64,
    pub pods: u32,
}

impl Capacity {
    /// As `status.capacity` and `status.allocatable` write it; nothing is held back for the system yet.
    pub fn quantities(&self) -> BTreeMap<String, String> {
        let cpu = match self.cpu_milli % 1000 {
            0 => (self.cpu_milli / 1000).to_string(),
            _ => format!("{}m", self.cpu_milli),
        };
        [
            ("cpu", cpu),
            ("memory", format!("{}Ki", self.memory_bytes / 1024)),
            ("ephemeral-storage", format!("{}Ki", self.ephemeral_storage_bytes / 1024)),
            ("hugepages-1Gi", "0".into()),
            ("hugepages-2Mi", "0".into()),
            ("pods", self.pods.to_string()),
        ]
        .map(|(name, quantity)| (name.to_string(), quantity))
        .into()
    }
}

/// Everything that a kubelet needs.
#[derive(Clone)]
pub struct KubeletConfig {
    pub node_name: String,
    /// Acts as `system:node:<name>` in `system:nodes`.
    pub client: Client,
    pub runtime: Arc<dyn RuntimeService>,
    pub images: Arc<dyn ImageService>,
    pub clock: Arc<dyn Clock>,
    pub dirs: Dirs,
    /// `InternalIP` addresses, the primary one first.
    pub addresses: Vec<IpAddr>,
    pub dns: NodeDns,
    pub capacity: Capacity,
    /// Further labels and taints of the Node object, set at its creation.
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<value::Value>,
    /// The node's endpoint; `None` runs without one (tests).
    pub endpoint: Option<Endpoint>,
    /// What stands behind `status.nodeInfo`.
    pub machine: Machine,
}

/// The node's HTTPS endpoint.
#[derive(Clone)]
pub struct Endpoint {
    pub listener: Arc<std::net::TcpListener>,
    /// Filled once the serving certificate is there; see [`crate::certificates`].
    pub certificate: Arc<net::CertificateSlot>,
    /// PEM of the authority that signs client certificates.
    pub client_ca: String,
}

/// Facts for `status.nodeInfo`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    pub machine_id: String,
    pub system_uuid: String,
    pub boot_id: String,
    pub kernel_version: String,
    pub os_image: String,
    /// As Go names it: `amd64`, `arm64`.
    pub architecture: String,
}

impl Machine {
    /// Reads the machine that this process runs on; `machine_id` tells nodes on one machine apart.
    pub fn read(machine_id: &str) -> Self {
        let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_string();
        let release = file("/etc/os-release");
        let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        Machine {
            machine_id: machine_id.into(),
            system_uuid: Some(file("/sys/class/dmi/id/product_uuid"))
                .filter(|id| !id.is_empty())
                .unwrap_or_else(|| machine_id.into()),
            boot_id: file("/proc/sys/kernel/random/boot_id"),
            kernel_version: file("/proc/sys/kernel/osrelease"),
            os_image: pretty.unwrap_or("Linux").trim_matches('"').into(),
            architecture: match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            }
            .into(),
        }
    }
}

impl Capacity {
    /// Reads processors, memory and the filesystem of `dir`.
    pub fn read(dir: &std::path::Path) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
        let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let kib = total.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0);
        let disk = rustix::fs::statvfs(dir).map_or(0, |s| s.f_blocks * s.f_frsize);
        Capacity { cpu_milli: cpus * 1000, memory_bytes: kib * 1024, ephemeral_storage_bytes: disk, pods: 110 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        let capacity = Capacity { cpu_milli: 1500, memory_bytes: 1 << 30, ephemeral_storage_bytes: 1 << 20, pods: 110 };
        let text: Vec<String> = capacity.quantities().iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            text.join(" "),
            "cpu=1500m ephemeral-storage=1024Ki hugepages-1Gi=0 hugepages-2Mi=0 memory=1048576Ki pods=110"
        );
    }
}
