//! Controllers through a whole control plane without nodes, beyond what upstream's specs ask (those are in `suite`). One binary,
//! because each would link the whole server.

mod addresses;
mod disruption;
mod garbage;
mod namespaces;
mod pod_security;
mod quota;
mod replication;
mod support;
