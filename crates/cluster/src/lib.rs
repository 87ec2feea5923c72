//! Controllers of the cluster itself: namespaces, service accounts, garbage, nodes, certificates, custom resources.
//!
//! Each file is one controller: what it is for, a pure decision, an executor. Invariants: a controller asks the API only
//! for what its identity may do; anything that deletes checks first that it deletes the object it looked at (uid).

pub mod certificates;
pub mod crds;
pub mod garbage;
pub mod namespaces;
pub mod node_cidr;
pub mod node_lifecycle;
pub mod pod_gc;
pub mod resource_quota;
mod resources;
pub mod root_ca;
pub mod service_accounts;
pub mod service_addresses;
pub mod service_cidrs;
mod taint_eviction;
