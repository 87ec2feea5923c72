//! Pods and pod templates: what Pod, PodTemplate, Deployment, ReplicaSet and the workloads to come share.
//!
//! [`defaults`] and [`validate`] take a pod *spec*, wherever it stands. What only a pod has (requests from limits,
//! enableServiceLinks, QoS) is with the Pod kind. Fields are gone through in the order of upstream's validation, so that
//! the errors of one object come in the same order.

mod containers;
mod defaults;
mod env;
mod probes;
mod resources;
mod scheduling;
mod security;
mod spec;
mod volumes;

pub use defaults::{default_resources, fill as defaults, pod_template as default_template};
pub use resources::default_pod as default_pod_resources;
pub use scheduling::{taints, tolerations};
pub use spec::{In, template as validate_template, validate};
