//! The built-in kinds: a folder per API group, a file per kind. Each file declares one [`schema::Kind`] and the hooks
//! that say what is special about it; everything else is the engine's, the same for custom resources.
//!
//! Shared by many kinds: [`declare`] (the words of a declaration), [`at`] and [`rules`] (validation), [`cells`]
//! (columns), [`template`] (pod templates). Invariants: no hook does I/O or waits; no hook repeats what the engine does
//! (metadata, generation, status separation, finalizers, preconditions); a message has upstream's wording and path.

mod apiextensions;
mod apps;
mod at;
mod authentication;
mod authorization;
mod cells;
mod certificates;
mod coordination;
mod core;
mod declare;
mod discovery;
mod node;
mod rbac;
mod rules;
mod scheduling;
mod template;
#[cfg(test)]
mod testing;

use schema::{Catalog, Kind};

/// Every built-in kind. Clusters of one process share the result.
pub fn builtin() -> Catalog {
    let groups: [fn() -> Vec<Kind>; 11] = [
        core::kinds,
        apps::kinds,
        rbac::kinds,
        certificates::kinds,
        apiextensions::kinds,
        coordination::kinds,
        discovery::kinds,
        authentication::kinds,
        authorization::kinds,
        scheduling::kinds,
        node::kinds,
    ];
    Catalog::new(groups.into_iter().flat_map(|group| group()))
}

#[cfg(test)]
mod catalog_test;
