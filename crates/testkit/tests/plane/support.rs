//! What the scenarios share.

use testkit::{Caller, Cluster, Value, json};

pub const DEFAULT: &str = "/api/v1/namespaces/default";
pub const PODS: &str = "/api/v1/namespaces/default/pods";
pub const SERVICES: &str = "/api/v1/namespaces/default/services";
pub const CONTROLLERS: &str = "/api/v1/namespaces/default/replicationcontrollers";

/// A control plane whose default namespace is ready.
pub async fn start() -> (Cluster, Caller) {
    let cluster = Cluster::start().await.with_controllers();
    let admin = cluster.admin();
    admin.until(&format!("{DEFAULT}/serviceaccounts"), "default", |account| account.is_some()).await;
    admin.until(&format!("{DEFAULT}/configmaps"), "kube-root-ca.crt", |map| map.is_some()).await;
    (cluster, admin)
}

/// A pod of one container with these resources.
pub fn pod(name: &str, resources: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [
        {"name": "c", "image": "registry.example.com/c:1", "resources": resources},
    ]}})
}

pub fn controller(name: &str, replicas: i64) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "replicas": replicas, "selector": {"app": name},
        "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "c", "image": "registry.example.com/c:1"}]},
        },
    }})
}
