//! The objects that are written: pods as applications have them (4.5 KB, mostly structure), and ConfigMaps.

use serde_json::{Value, json};

/// A scheduler that does not exist: pods stay as they were written, so that the writes of the load are the only ones.
const NOBODY: &str = "bench-none";

/// A pod of about `size` bytes as JSON.
pub fn pod(name: &str, size: usize) -> Vec<u8> {
    let text =
        |settings: usize, padding: usize| serde_json::to_vec(&pod_tree(name, settings, padding)).unwrap_or_default();
    let per_setting = (text(10, 0).len() - text(0, 0).len()).div_ceil(10);
    let settings = size.saturating_sub(text(0, 0).len()) / per_setting;
    let mut settings = settings;
    while settings > 0 && text(settings, 0).len() > size {
        settings -= 1;
    }
    let padding = size.saturating_sub(text(settings, 0).len());
    text(settings, padding)
}

fn pod_tree(name: &str, settings: usize, padding: usize) -> Value {
    let env: Vec<Value> = (0..settings)
        .map(|i| json!({"name": format!("SETTING_{i:02}"), "value": format!("value-{i:02}")}))
        .chain([json!({"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})])
        .collect();
    let probe = json!({"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {"app.kubernetes.io/name": "web", "app.kubernetes.io/instance": "web-1", "tier": "front"},
            "annotations": {"example.com/note": "x".repeat(padding), "example.com/owner": "team-a"},
        },
        "spec": {
            "schedulerName": NOBODY,
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "containers": [
                {
                    "name": "app", "image": "registry.example.com/team/app:1.2.3", "args": ["--port=8080", "--verbose"],
                    "ports": [{"name": "http", "containerPort": 8080}],
                    "env": env,
                    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
                    "readinessProbe": probe,
                    "livenessProbe": probe,
                    "volumeMounts": [{"name": "config", "mountPath": "/etc/app"}, {"name": "tmp", "mountPath": "/tmp"}],
                },
                {
                    "name": "sidecar", "image": "registry.example.com/team/sidecar:4.5.6",
                    "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
                    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                },
            ],
            "volumes": [
                {"name": "config", "configMap": {"name": "app", "items": [{"key": "app.yaml", "path": "app.yaml"}]}},
                {"name": "tmp", "emptyDir": {}},
            ],
        },
    })
}

/// A strategic merge patch with a merge key: a new image for one container, and an annotation.
pub fn pod_patch(n: u64) -> Vec<u8> {
    format!(
        r#"{{"metadata":{{"annotations":{{"example.com/owner":"team-{n}"}}}},"spec":{{"containers":[{{"name":"app","image":"registry.example.com/team/app:1.2.{n}"}}]}}}}"#
    )
    .into_bytes()
}

/// A ConfigMap of about `size` bytes as JSON.
pub fn config_map(name: &str, size: usize) -> Vec<u8> {
    let tree = |padding: usize| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "web"}},
            "data": {"app.properties": "p".repeat(padding), "mode": "fast"},
        })
        .to_string()
    };
    tree(size.saturating_sub(tree(0).len())).into_bytes()
}

/// `metadata.name` only.
pub fn named(kind: &str, name: &str) -> Vec<u8> {
    json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}}).to_string().into_bytes()
}

/// A node as a kubelet registers it.
pub fn node(name: &str) -> Vec<u8> {
    let resources = json!({"cpu": "8", "memory": "32Gi", "pods": "110", "ephemeral-storage": "100Gi"});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
            "topology.kubernetes.io/zone": "zone-1", "node.kubernetes.io/instance-type": "bench",
        }},
        "spec": {"unschedulable": true},
        "status": {
            "capacity": resources, "allocatable": resources,
            "addresses": [{"type": "InternalIP", "address": "192.0.2.10"}, {"type": "Hostname", "address": name}],
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "bench"}],
            "nodeInfo": {
                "architecture": "amd64", "bootID": "b", "containerRuntimeVersion": "ferry://0.1.0",
                "kernelVersion": "6.18.0", "kubeProxyVersion": "", "kubeletVersion": "v1.36.2", "machineID": "m",
                "operatingSystem": "linux", "osImage": "Debian GNU/Linux 12", "systemUUID": "s",
            },
        },
    })
    .to_string()
    .into_bytes()
}

/// A lease that somebody holds.
pub fn lease(namespace: &str, name: &str) -> Vec<u8> {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"namespace": namespace, "name": name},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": "2026-01-02T03:04:05.000000Z"},
    })
    .to_string()
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_as_asked() {
        for size in [3000, 4000, 4500] {
            assert_eq!(pod("pod-00017", size).len(), size);
        }
        assert_eq!(config_map("map-7", 1500).len(), 1500);
        // Mostly structure: what a parser has to do is in it.
        let pod: Value = serde_json::from_slice(&pod("p", 4500)).unwrap();
        assert!(pod["metadata"]["annotations"]["example.com/note"].as_str().unwrap().len() < 60);
        assert!(serde_json::from_slice::<Value>(&pod_patch(3)).is_ok());
    }
}
