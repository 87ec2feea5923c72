//! RuntimeClasses: the handler by which the runtime knows how a pod wants to be run.

use crate::node::Node;
use client::Gvr;
use k8s_openapi::api::core::v1::Pod;
use value::{Object, ObjectKey};

pub const RUNTIME_CLASSES: Gvr = Gvr::inline("node.k8s.io", "v1", "runtimeclasses");

/// What the kubelet reads of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeClass {
    pub handler: String,
}

impl control::Projection for RuntimeClass {
    fn project(object: &Object) -> Option<Self> {
        Some(RuntimeClass { handler: object.value().str_at(&["handler"]).into() })
    }
}

/// The handler for a pod, empty for the runtime's own choice; the message of a sandbox that cannot be made where the class
/// is not there.
pub fn handler(node: &Node, pod: &Pod) -> Result<String, String> {
    let name = pod.spec.as_ref().and_then(|s| s.runtime_class_name.as_deref()).unwrap_or_default();
    if name.is_empty() {
        return Ok(String::new());
    }
    let class = node.runtime_classes.get(&ObjectKey::new("", name));
    class.map(|class| class.handler.clone()).ok_or_else(|| format!("RuntimeClass {name:?} not found"))
}
