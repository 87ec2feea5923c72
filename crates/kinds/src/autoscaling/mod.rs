//! `autoscaling`: how many pods, by what is measured. (`Scale` is no kind of its own: workloads have it as a subresource.)

mod columns;
mod convert;
mod horizontalpodautoscaler;
mod metrics;

/// All kinds of the group.
pub fn kinds() -> Vec<schema::Kind> {
    vec![horizontalpodautoscaler::kind()]
}
