//! A pod on this node: what was seen of it, what to do next, how its status reads, and the worker that does it.

pub mod adopt;
pub mod backoff;
mod begin;
pub mod decide;
pub mod ephemeral;
mod hear;
pub mod inbox;
pub mod ops;
mod probes;
pub mod resize;
pub mod start;
pub mod state;
pub mod status;
pub mod stop;
#[cfg(test)]
mod tests;
pub mod worker;

pub use decide::{Action, Plan, Stop, decide};
pub use state::PodState;
