//! `batch`: work that ends.

mod cronjob;
mod job;

/// All kinds of the group.
pub fn kinds() -> Vec<schema::Kind> {
    vec![cronjob::kind(), job::kind()]
}
