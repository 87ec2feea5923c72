//! One minimal valid object per kind, what an update may change in it, and what its status may say. A kind without an
//! entry fails every test of the matrix by its name.

use testkit::{Value, json};

pub const CUSTOM_GROUP: &str = "matrix.example.com";

/// What the matrix knows of a kind.
pub struct Sample {
    /// All but apiVersion, kind and metadata.
    pub object: Value,
    /// A merge patch that an update may make; null where nothing but metadata may change.
    pub change: Value,
    /// A merge patch of the status; null where there is none to write.
    pub status: Value,
}

/// The name that an object of the kind has for a plain one: definitions are named after what they define.
pub fn name(kind: &str, plain: &str) -> String {
    match kind {
        "CustomResourceDefinition" => format!("{plain}s.defined.example.com"),
        _ => plain.into(),
    }
}

pub fn sample(kind: &str, api_version: &str, plain: &str, namespace: &str) -> Option<Sample> {
    let spec = json!({"containers": [{"name": "c", "image": "registry.example.com/c:1"}]});
    let template = json!({"metadata": {"labels": {"app": "matrix"}}, "spec": spec});
    let workload = json!({"replicas": 1, "selector": {"matchLabels": {"app": "matrix"}}, "template": template});
    let rules = |verb: &str| json!([{"apiGroups": [""], "resources": ["pods"], "verbs": [verb]}]);
    let subjects = |user: &str| json!([{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}]);
    let role = |kind: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "view"});
    let about = json!({"kind": "Pod", "namespace": namespace, "name": "web"});
    let condition = json!({"type": "Tested", "status": "True", "reason": "Matrix", "message": "m", "lastTransitionTime": "2026-01-02T03:04:05Z"});
    let none = Value::Null;
    let (object, change, status) = match kind {
        "ConfigMap" => (json!({"data": {"k": "1"}}), json!({"data": {"k": "2"}}), none),
        "Secret" => (json!({"data": {"k": "MQ=="}}), json!({"data": {"k": "Mg=="}}), none),
        "Endpoints" => (
            json!({"subsets": [{"addresses": [{"ip": "10.1.2.3"}], "ports": [{"port": 80}]}]}),
            json!({"subsets": [{"addresses": [{"ip": "10.1.2.4"}], "ports": [{"port": 80}]}]}),
            none,
        ),
        "Event" if api_version == "v1" => (
            json!({"involvedObject": about, "reason": "Started", "message": "m", "type": "Normal"}),
            json!({"message": "n"}),
            none,
        ),
        "Event" => (
            json!({"regarding": about, "reason": "Started", "note": "m", "type": "Normal", "action": "Start",
                "eventTime": "2026-01-02T03:04:05.000000Z", "reportingController": "example.com/c", "reportingInstance": "c-1"}),
            json!({"series": {"count": 2, "lastObservedTime": "2026-01-02T03:04:06.000000Z"}}),
            none,
        ),
        "Namespace" => (json!({}), none, json!({"conditions": [condition]})),
        "Node" => (json!({}), json!({"spec": {"unschedulable": true}}), json!({"capacity": {"cpu": "2"}})),
        "Pod" => (
            json!({"spec": spec}),
            json!({"spec": {"activeDeadlineSeconds": 100}}),
            json!({"phase": "Running", "conditions": [condition]}),
        ),
        "PodTemplate" => {
            (json!({"template": template}), json!({"template": {"metadata": {"labels": {"more": "x"}}}}), none)
        }
        "ServiceAccount" => (json!({}), json!({"automountServiceAccountToken": false}), none),
        "Service" => (
            json!({"spec": {"selector": {"app": "matrix"}, "ports": [{"port": 80}]}}),
            json!({"spec": {"sessionAffinity": "ClientIP"}}),
            json!({"conditions": [condition]}),
        ),
        "CustomResourceDefinition" => {
            (defined(plain), json!({"spec": {"names": {"shortNames": [plain.replace('-', "")]}}}), none)
        }
        "Deployment" => (json!({"spec": workload}), json!({"spec": {"replicas": 2}}), json!({"observedGeneration": 1})),
        "ReplicaSet" => (json!({"spec": workload}), json!({"spec": {"replicas": 2}}), json!({"replicas": 1})),
        "CertificateSigningRequest" => (
            json!({"spec": {"request": csr(), "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}}),
            none,
            json!({"conditions": [{"type": "Failed", "status": "True", "reason": "Matrix"}]}),
        ),
        "Lease" => (json!({"spec": {"holderIdentity": "a"}}), json!({"spec": {"holderIdentity": "b"}}), none),
        "EndpointSlice" => (
            json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.1.2.3"]}], "ports": [{"port": 80}]}),
            json!({"endpoints": [{"addresses": ["10.1.2.4"]}]}),
            none,
        ),
        "RuntimeClass" => {
            (json!({"handler": "runc"}), json!({"scheduling": {"nodeSelector": {"runtime": "runc"}}}), none)
        }
        "Role" | "ClusterRole" => (json!({"rules": rules("get")}), json!({"rules": rules("list")}), none),
        "RoleBinding" | "ClusterRoleBinding" => (
            json!({"roleRef": role("ClusterRole"), "subjects": subjects("jane")}),
            json!({"subjects": subjects("joe")}),
            none,
        ),
        "PriorityClass" => (json!({"value": 7}), json!({"description": "d"}), none),
        "Widget" => (json!({"spec": {"size": 3}}), json!({"spec": {"size": 4}}), json!({"ready": 1})),
        _ => return None,
    };
    Some(Sample { object, change, status })
}

/// A definition of its own kind per name.
fn defined(plain: &str) -> Value {
    let kind: String = plain.split('-').map(|w| format!("{}{}", w[..1].to_uppercase(), &w[1..])).collect();
    json!({"spec": {
        "group": "defined.example.com", "scope": "Namespaced",
        "names": {"plural": format!("{plain}s"), "singular": plain, "kind": kind},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
    }})
}

/// The custom kind of the matrix: two versions, status, scale, defaults, columns, a selectable field.
pub fn widgets() -> Value {
    let spec = json!({"type": "object", "properties": {
        "size": {"type": "integer", "minimum": 0, "maximum": 100},
        "color": {"type": "string", "default": "red"},
        "replicas": {"type": "integer", "default": 1},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }});
    let status =
        json!({"type": "object", "properties": {"ready": {"type": "integer"}, "replicas": {"type": "integer"}}});
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}});
    let version = |name: &str, storage: bool| {
        json!({
            "name": name, "served": true, "storage": storage, "schema": schema,
            "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
            "additionalPrinterColumns": [
                {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                {"name": "Color", "type": "string", "jsonPath": ".spec.color", "priority": 1},
            ],
            "selectableFields": [{"jsonPath": ".spec.color"}],
        })
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("widgets.{CUSTOM_GROUP}")},
        "spec": {
            "group": CUSTOM_GROUP, "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "shortNames": ["wd"], "categories": ["all"]},
            "versions": [version("v1", true), version("v1beta1", false)],
        },
    })
}

/// A certificate request for `jane`, base64 of PEM.
fn csr() -> String {
    use base64::Engine;
    let request = pki::CertificateRequest::new("jane", None, &[]).expect("a request");
    base64::engine::general_purpose::STANDARD.encode(request.request_pem)
}
