//! The scheduler: filter and score as separate, pure steps over a snapshot; a small loop binds what was decided.
//!
//! Invariants: a decision reads only the [`Snapshot`]; what was decided is assumed in it before the binding is written,
//! so that the next decision sees it; a pod that no node takes says why, in upstream's words. There is no preemption.

pub mod decide;
pub mod filter;
mod inbox;
pub mod model;
pub mod run;
pub mod score;
pub mod snapshot;
pub mod spread;

pub use decide::{Decision, decide};
pub use run::run;
pub use snapshot::Snapshot;
