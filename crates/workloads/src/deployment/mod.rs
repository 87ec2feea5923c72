//! Deployment: one ReplicaSet per pod template, and the way from one to the next.

mod plan;
mod rolling;
mod run;
mod set;
mod status;

pub use plan::{Plan, Scale, plan};
pub use run::run;
