//! The node agent: runs the pods that are bound to its node, through a container runtime, and tells the API about them.
pub mod convert;
pub mod dns;
pub mod env;
pub mod pod;
pub mod resources;
