//! Cluster DNS, on every node for the node's pods.
//!
//! [`plan`] is a pure function from services and endpoints to a [`Zone`]; [`Server`] answers from the latest zone over UDP and TCP and
//! forwards everything else to the node's own resolvers; [`run()`] keeps the zone as the caches say, a service at a time. hickory-proto
//! encodes and decodes messages; its server was decided against, because its authority would want names as a tree, while
//! a cluster's names follow from two map look-ups.
//!
//! Source: Kubernetes DNS-Based Service Discovery 1.1.0. Pods are answered by their dashed address without a look whether such a pod
//! exists, as CoreDNS does with `pods insecure`, which kubeadm sets.

mod forward;
mod input;
mod lookup;
#[cfg(test)]
mod lookup_tests;
mod plan;
mod run;
mod server;
mod zone;

pub use forward::{Upstreams, resolv_conf};
pub use input::{Endpoint, EndpointSlice, Kind, Port, Service};
pub use plan::{plan, plan_service};
pub use run::{Watched, run};
pub use server::Server;
pub use zone::{Entry, Srv, Zone};
