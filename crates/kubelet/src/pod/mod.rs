//! A pod on this node: what was seen of it, what to do next, how its status reads, and the worker that does it.

pub mod backoff;
pub mod decide;
pub mod state;
pub mod status;
#[cfg(test)]
mod tests;

pub use decide::{Action, Plan, Stop, decide};
pub use state::PodState;
