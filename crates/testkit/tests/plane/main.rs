//! Quotas, limits, garbage and replication through a whole control plane without nodes: the conformance specs of these areas, as
//! scenarios. One binary, because each would link the whole server.

mod disruption;
mod garbage;
mod limits;
mod mirroring;
mod namespaces;
mod pod_security;
mod quota;
mod replication;
mod support;
