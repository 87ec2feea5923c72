//! Pods and pod templates: what Pod, PodTemplate, Deployment, ReplicaSet and the workloads to come share.
//!
//! [`defaults`] and [`validate`] take a pod *spec*, wherever it stands. What only a pod has (requests from limits,
//! enableServiceLinks, QoS) is with the Pod kind. Fields are gone through in the order of upstream's validation, so that
//! the errors of one object come in the same order.

mod containers;
mod defaults;
mod env;
pub mod node_labels;
mod probes;
mod resources;
mod scheduling;
mod security;
mod spec;
mod volumes;
mod warnings;
mod whole;

pub use defaults::{
    default_resources, fill as defaults, pod_template as default_template, pod_template_at as default_template_at,
};
pub use resources::{
    amount_of as amount, container_resource, default_pod as default_pod_resources, is_standard as is_standard_resource,
    overcommit, quota_amount, resource_name,
};
pub use scheduling::{node_selector, taints, tolerations};
pub use spec::{In, template as validate_template, validate};
pub use volumes::{host_path, no_backsteps};
pub use warnings::warnings;
