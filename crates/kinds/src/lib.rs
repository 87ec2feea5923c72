//! The built-in kinds: a folder per API group, a file per kind. Each file declares one [`schema::Kind`] and the hooks
//! that say what is special about it; everything else is the engine's, the same for custom resources.
//!
//! Shared by many kinds: [`declare`] (the words of a declaration), [`at`] and [`rules`] (validation), [`cells`]
//! (columns), [`template`] (pod templates). Invariants: no hook does I/O or waits; no hook repeats what the engine does
//! (metadata, generation, status separation, finalizers, preconditions); a message has upstream's wording and path.

mod admissionregistration;
mod apiextensions;
mod apiregistration;
mod apps;
mod at;
mod authentication;
mod authorization;
mod autoscaling;
mod batch;
mod cel;
mod cells;
mod certificates;
mod coordination;
mod core;
mod declare;
mod discovery;
mod flowcontrol;
mod forms;
mod ip;
mod networking;
mod node;
mod policy;
mod rbac;
mod resource;
mod rules;
mod scheduling;
mod storage;
mod template;
#[cfg(test)]
mod testing;
mod webhook;

use schema::{Catalog, Kind};

/// Every built-in kind. Clusters of one process share the result.
pub fn builtin() -> Catalog {
    let groups: [fn() -> Vec<Kind>; 20] = [
        core::kinds,
        apps::kinds,
        batch::kinds,
        autoscaling::kinds,
        policy::kinds,
        storage::kinds,
        rbac::kinds,
        certificates::kinds,
        apiextensions::kinds,
        coordination::kinds,
        discovery::kinds,
        authentication::kinds,
        authorization::kinds,
        scheduling::kinds,
        node::kinds,
        networking::kinds,
        admissionregistration::kinds,
        apiregistration::kinds,
        flowcontrol::kinds,
        resource::kinds,
    ];
    Catalog::new(groups.into_iter().flat_map(|group| group()))
}

#[cfg(test)]
mod catalog_test;
