//! The container network seam: who gives a pod its interface, address and routes. In the words of the CNI specification
//! 1.1 (ADD, DEL, CHECK, GC, STATUS), so that a network of somebody else's plugins is one more implementation.
//!
//! Here: the trait [`Network`], the contract suite that any implementation passes ([`contract`]), and the network that
//! Ferry brings along ([`Builtin`]).
//!
//! Invariants: DEL and GC succeed for what is not there; an address is written to disk before the kernel hears of it, so a
//! killed daemon never hands it out twice; nothing here knows services ([`Builtin`] has a table of its own beside the
//! proxy's).

mod builtin;
pub mod contract;
mod error;
mod ipam;
mod remove;
mod tables;

pub use builtin::{BRIDGE, Builtin, Config};
pub use error::{Error, Result};
pub use netlink::Protocol;
pub use remove::remove;

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A network that pods are attached to. Calls block (a few milliseconds for [`Builtin`]; a plugin may take seconds): run
/// them on a blocking thread. Calls for different containers may run at the same time.
pub trait Network: Send + Sync {
    /// Attaches a container. Repeating it for an attachment that exists (after a crash) makes the interface anew with the
    /// same addresses. After an error nothing is left behind.
    fn add(&self, request: &AddRequest) -> Result<AddResult>;
    /// Detaches a container. Succeeds if there is nothing to detach, also when its namespace is gone.
    fn del(&self, request: &Attachment) -> Result<()>;
    /// Fails if the attachment is no longer as `add` made it.
    fn check(&self, request: &AddRequest) -> Result<()>;
    /// Detaches everything but these: what remained of containers that ended while nobody watched.
    fn gc(&self, live: &[Attachment]) -> Result<()>;
    /// Whether `add` can work now; the reason if not.
    fn status(&self) -> Result<()>;
}

/// An attachment's identity: one interface of one container (of a pod's sandbox, for Kubernetes).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Attachment {
    /// The sandbox's id: letters, digits, `.`, `_`, `-`.
    pub container_id: String,
    /// The interface's name inside, usually `eth0`.
    pub ifname: String,
}

/// What ADD needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddRequest {
    pub attachment: Attachment,
    /// The pinned network namespace of the sandbox.
    pub netns: PathBuf,
    /// For messages, and for plugins that ask for it (`K8S_POD_NAMESPACE` and the like).
    pub pod: Pod,
    /// `hostPort`s of the pod's containers.
    pub port_mappings: Vec<PortMapping>,
}

/// The pod that a sandbox belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// A port of the node that leads to a port of the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortMapping {
    pub protocol: Protocol,
    pub host_port: u16,
    pub container_port: u16,
    /// Only on this address of the node; on all of them if absent or `0.0.0.0`.
    pub host_ip: Option<IpAddr>,
}

/// What ADD made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddResult {
    /// The first one of each family is the pod's.
    pub ips: Vec<IpConfig>,
    pub routes: Vec<RouteConfig>,
    /// Hardware address of the interface inside, as text.
    pub mac: String,
    /// Name of the interface on the node's side, if there is one.
    pub host_interface: Option<String>,
}

/// An address of the interface inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpConfig {
    pub address: IpAddr,
    pub prefix: u8,
    pub gateway: Option<IpAddr>,
}

/// A route inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteConfig {
    pub destination: IpAddr,
    pub prefix: u8,
    /// On the link itself if absent.
    pub gateway: Option<IpAddr>,
}
