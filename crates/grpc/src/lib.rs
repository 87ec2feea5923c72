//! gRPC to other people's sockets: etcd over TLS, KMS plugins (and what else speaks it) over a Unix socket.
//!
//! tonic without its transport: framing, codecs and status codes are tonic's, the connection is hyper's HTTP/2 over the
//! streams that [`net`] dials with, which the process links anyway. tonic's own channel would bring a load balancer, a
//! buffer and a second way to set TLS up. Messages are written by hand with prost's derive where they are used, so a
//! build needs no protoc.
//!
//! Invariants: a [`Channel`] has one connection at most, made at the first call and anew after it broke; it retries
//! nothing; whatever ended a connection is [`Code::Unavailable`] to the caller, never another code.

mod call;
mod channel;
mod endpoint;

pub use call::{Answers, duplex, unary};
pub use channel::{Channel, never_sent};
pub use endpoint::{BadEndpoint, Endpoint};
pub use tonic::{Code, Status};
