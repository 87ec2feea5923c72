//! EndpointSlices and Endpoints of Services.
//!
//! Pure functions say which slices a Service should have, given its pods and the slices it has; a small executor writes
//! the difference. Invariants: a slice changes only when an endpoint in it does; endpoints stay in the slice they are in.

pub mod endpoints;
pub mod mirror;
pub mod plan;
mod run;

pub use run::run;
