//! `policy`: what must not happen to too many pods at once.

pub mod eviction;
mod poddisruptionbudget;

/// All kinds of the group.
pub fn kinds() -> Vec<schema::Kind> {
    vec![poddisruptionbudget::kind()]
}
