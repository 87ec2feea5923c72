//! What objects ask for, and whether it fits: sums over pods, the cost of an object towards a ResourceQuota, the decision
//! over a write, and the count of a namespace.
//!
//! Admission charges a write with it and the quota controller counts again with it, so that both always agree. Everything is
//! pure. Decided against: a table of evaluators with traits (upstream's), because four kinds differ from "one object
//! counts as one". Invariant: no I/O; nothing here knows how objects are read or written.

mod amounts;
mod check;
pub mod pod;
pub mod scope;
mod usage;

pub use amounts::Amounts;
pub use check::{Limited, Refusal, Write, charge, count};
pub use usage::Subject;
