//! Links, addresses, routes, network namespaces, connection tracking and nftables, spoken to the kernel directly.
//!
//! Everything is synchronous: a request is one system call that the kernel answers before it returns, so a runtime would
//! only add a queue. A [`Route`], [`nft::Nft`] or [`conntrack::Conntrack`] handle belongs to the network namespace in which
//! it was opened, and keeps belonging to it whatever thread uses it later: open it inside [`Namespace::run`] once, then
//! use it from anywhere.
//!
//! Decided against: rtnetlink (async, 47 s of building, and no nftables), the `nft` program (20 times slower for a
//! large map, and a package that a fresh machine lacks), libnftnl (a C library).
//!
//! Invariants: no function here changes the calling thread's namespace, except [`netns::enter`], which says so; no
//! global state; every error names the object and what the kernel answered.

pub mod cidr;
pub mod conntrack;
pub mod error;
mod link;
mod message;
pub mod netns;
pub mod nft;
mod protocol;
mod route;
mod socket;
pub mod sysctl;

pub use cidr::Cidr;
pub use error::{Error, Result};
pub use link::{Link, LinkChange, Mac, Veth};
pub use netns::Namespace;
pub use protocol::Protocol;
pub use route::{Address, Route, RouteEntry};
