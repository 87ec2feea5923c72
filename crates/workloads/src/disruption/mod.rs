//! PodDisruptionBudget: says in its status how many more pods may be evicted. Evictions read it and take from it.

mod plan;
mod run;

pub use plan::{Plan, plan};
pub use run::run;
