//! Services on a node: what kube-proxy does, as a plan and its execution.
//!
//! [`plan`] turns services and their endpoints, as this node sees them, into a [`Ruleset`]: a plain, printable value. [`Ruleset::diff`] says
//! what changed, and [`Proxy::apply`] performs that as one nftables transaction on a table of our own. All lookups are hash maps,
//! so that a packet costs the same with one service or with ten thousand, and a change costs what changed.
//!
//! The path of a new connection:
//!
//! ```text
//! services:  (protocol, address, port)  -> which rules apply: cluster-ip, external or external-local
//! frontends: (protocol, address, port)  -> the group of endpoints
//! groups:    group                      -> how to choose: one of N, or by client
//! endpoints: (group, index)             -> address and port
//! ```
//!
//! Decided against: a chain per service and endpoint (kube-proxy's own way: time and memory grow with every service); the group
//! in the connection's or packet's mark (marks belong to whoever runs the node, but for the one bit that kube-proxy takes too).
//!
//! Invariants: the plan knows no kernel and no API object; the executor decides nothing about services; only the first packet of a
//! connection is looked up.

mod conntrack;
mod convert;
mod executor;
mod input;
mod plan;
mod ruleset;
mod run;
mod tables;

pub use conntrack::stale;
pub use executor::{Applied, Proxy};
pub use input::{Endpoint, EndpointPort, EndpointSlice, Node, Policy, Protocol, Service, ServicePort};
pub use plan::plan;
pub use ruleset::{Changes, Frontend, Group, GroupId, Pick, Refusal, Ruleset, Scope, Target, Via};
pub use run::{Watched, run};
