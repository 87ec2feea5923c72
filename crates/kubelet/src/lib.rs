//! The node agent: runs the pods that are bound to its node, through a container runtime, and tells the API about them.
//!
//! One worker per pod decides in a pure function what to do next and shows the outcome as the pod's status; everything
//! that takes time is a task that reports back. Beside the workers: the Node object and its lease, certificates, and the
//! node's HTTPS endpoint for logs, exec, attach and port-forward.
//!
//! Invariants: the crate sees containers only through `cri`, never images, mounts of them or namespaces; a container's end
//! is counted once, however often it is told; a runtime event is acknowledged only after the status that shows it is
//! stored; ending the kubelet ends no container unless that is asked for.

mod admit;
pub mod certificates;
pub mod config;
pub mod convert;
pub mod dns;
mod endpoint;
pub mod env;
mod handler;
mod hooks;
mod images;
pub mod logs;
mod manager;
mod node;
mod objects;
pub mod pod;
mod probe;
mod registration;
pub mod resources;
mod run;
mod runtime_class;
mod shares;

pub use config::{Capacity, Dirs, Endpoint, KubeletConfig, Machine};
pub use dns::NodeDns;
pub use manager::Ending;
pub use run::run;

/// `status.nodeInfo.kubeletVersion`
pub const VERSION: &str = "v1.36.2+ferry";
