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

/// Waits until a list of a selection holds that many objects, and answers with them.
pub async fn count(admin: &Caller, collection: &str, selector: &str, want: usize) -> Vec<Value> {
    let query = "allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let mut watch = admin.watch(&format!("{collection}?watch=1&labelSelector={selector}&{query}")).await;
    let mut seen = std::collections::BTreeMap::new();
    let mut known = false;
    loop {
        if known && seen.len() == want {
            return seen.into_values().collect();
        }
        let (kind, object) = watch.next().await;
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_string();
        match kind.as_str() {
            "BOOKMARK" => known = true,
            "DELETED" => drop(seen.remove(&name)),
            _ => drop(seen.insert(name, object)),
        }
    }
}
