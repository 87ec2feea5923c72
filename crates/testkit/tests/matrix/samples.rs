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
        "APIService" => format!("v1.{plain}.matrix.example.com"),
        "IPAddress" => address(plain),
        _ => plain.into(),
    }
}

/// Object, change and status; null for none.
type Parts = (Value, Value, Value);

pub fn sample(kind: &str, api_version: &str, plain: &str, namespace: &str) -> Option<Sample> {
    let parts = core(kind, api_version, namespace)
        .or_else(|| workloads(kind, plain))
        .or_else(|| storage_and_rights(kind))
        .or_else(|| network_and_admission(kind, namespace))
        .or_else(|| serving_and_devices(kind, plain));
    parts.map(|(object, change, status)| Sample { object, change, status })
}

fn spec() -> Value {
    json!({"containers": [{"name": "c", "image": "registry.example.com/c:1"}]})
}

fn template() -> Value {
    json!({"metadata": {"labels": {"app": "matrix"}}, "spec": spec()})
}

fn condition() -> Value {
    json!({"type": "Tested", "status": "True", "reason": "Matrix", "message": "m", "lastTransitionTime": "2026-01-02T03:04:05Z"})
}

/// Of the legacy group, but for what is counted and kept.
fn core(kind: &str, api_version: &str, namespace: &str) -> Option<Parts> {
    let about = json!({"kind": "Pod", "namespace": namespace, "name": "web"});
    Some(match kind {
        "ConfigMap" => (json!({"data": {"k": "1"}}), json!({"data": {"k": "2"}}), Value::Null),
        "Secret" => (json!({"data": {"k": "MQ=="}}), json!({"data": {"k": "Mg=="}}), Value::Null),
        "Endpoints" => (
            json!({"subsets": [{"addresses": [{"ip": "10.1.2.3"}], "ports": [{"port": 80, "protocol": "TCP"}]}]}),
            json!({"subsets": [{"addresses": [{"ip": "10.1.2.4"}], "ports": [{"port": 80}]}]}),
            Value::Null,
        ),
        "Event" if api_version == "v1" => (
            json!({"involvedObject": about, "reason": "Started", "message": "m", "type": "Normal"}),
            json!({"message": "n"}),
            Value::Null,
        ),
        "Event" => (
            json!({"regarding": about, "reason": "Started", "note": "m", "type": "Normal", "action": "Start",
                "eventTime": "2026-01-02T03:04:05.000000Z", "reportingController": "example.com/c", "reportingInstance": "c-1"}),
            json!({"series": {"count": 2, "lastObservedTime": "2026-01-02T03:04:06.000000Z"}}),
            Value::Null,
        ),
        "Namespace" => (json!({}), Value::Null, json!({"conditions": [condition()]})),
        "Node" => (json!({}), json!({"spec": {"unschedulable": true}}), json!({"capacity": {"cpu": "2"}})),
        "Pod" => (
            json!({"spec": spec()}),
            json!({"spec": {"activeDeadlineSeconds": 100}}),
            json!({"phase": "Running", "conditions": [condition()]}),
        ),
        "PodTemplate" => {
            (json!({"template": template()}), json!({"template": {"metadata": {"labels": {"more": "x"}}}}), Value::Null)
        }
        "ServiceAccount" => (json!({}), json!({"automountServiceAccountToken": false}), Value::Null),
        "Service" => (
            json!({"spec": {"selector": {"app": "matrix"}, "ports": [{"port": 80}]}}),
            json!({"spec": {"sessionAffinity": "ClientIP"}}),
            json!({"conditions": [condition()]}),
        ),
        _ => return None,
    })
}

/// What runs pods, and what bounds them.
fn workloads(kind: &str, plain: &str) -> Option<Parts> {
    let workload = json!({"replicas": 1, "selector": {"matchLabels": {"app": "matrix"}}, "template": template()});
    Some(match kind {
        "CustomResourceDefinition" => {
            (defined(plain), json!({"spec": {"names": {"shortNames": [plain.replace('-', "")]}}}), Value::Null)
        }
        "Deployment" => (json!({"spec": workload}), json!({"spec": {"replicas": 2}}), json!({"observedGeneration": 1})),
        "ReplicaSet" => (json!({"spec": workload}), json!({"spec": {"replicas": 2}}), json!({"replicas": 1})),
        "ReplicationController" => (
            json!({"spec": {"replicas": 1, "template": template()}}),
            json!({"spec": {"replicas": 2}}),
            json!({"replicas": 1}),
        ),
        "StatefulSet" => (
            json!({"spec": workload}),
            json!({"spec": {"replicas": 2}}),
            json!({"replicas": 1, "observedGeneration": 1}),
        ),
        "DaemonSet" => (
            json!({"spec": {"selector": {"matchLabels": {"app": "matrix"}}, "template": template()}}),
            json!({"spec": {"minReadySeconds": 2}}),
            json!({"numberReady": 1}),
        ),
        "ControllerRevision" => (json!({"revision": 1, "data": {"spec": {}}}), json!({"revision": 2}), Value::Null),
        "Job" => (job(), json!({"spec": {"parallelism": 2}}), json!({"active": 1, "conditions": [condition()]})),
        "CronJob" => (
            json!({"spec": {"schedule": "*/5 * * * *", "jobTemplate": job()}}),
            json!({"spec": {"suspend": true}}),
            json!({"lastScheduleTime": "2026-01-02T03:04:05Z"}),
        ),
        "HorizontalPodAutoscaler" => (
            json!({"spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}}),
            json!({"spec": {"maxReplicas": 4}}),
            json!({"currentReplicas": 2, "desiredReplicas": 3}),
        ),
        "PodDisruptionBudget" => (
            json!({"spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "matrix"}}}}),
            json!({"spec": {"minAvailable": 2}}),
            json!({"disruptionsAllowed": 1, "conditions": [condition()]}),
        ),
        "LimitRange" => (
            json!({"spec": {"limits": [{"type": "Pod", "max": {"cpu": "2"}}]}}),
            json!({"spec": {"limits": [{"type": "Pod", "max": {"cpu": "3"}}]}}),
            Value::Null,
        ),
        "ResourceQuota" => (
            json!({"spec": {"hard": {"services": "5"}}}),
            json!({"spec": {"hard": {"services": "6"}}}),
            json!({"hard": {"services": "5"}, "used": {"services": "0"}}),
        ),
        _ => return None,
    })
}

/// Volumes, certificates, leases and roles.
fn storage_and_rights(kind: &str) -> Option<Parts> {
    let rules = |verb: &str| json!([{"apiGroups": [""], "resources": ["pods"], "verbs": [verb]}]);
    let subjects = |user: &str| json!([{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}]);
    let role = |kind: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "view"});
    Some(match kind {
        "PersistentVolume" => (
            json!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/data"}}}),
            json!({"spec": {"persistentVolumeReclaimPolicy": "Delete"}}),
            json!({"phase": "Available"}),
        ),
        "PersistentVolumeClaim" => (
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
            json!({"spec": {"volumeName": "none"}}),
            json!({"phase": "Lost"}),
        ),
        "StorageClass" => (json!({"provisioner": "example.com/p"}), json!({"allowVolumeExpansion": true}), Value::Null),
        "VolumeAttributesClass" => {
            (json!({"driverName": "csi.example.com", "parameters": {"iops": "5"}}), Value::Null, Value::Null)
        }
        "VolumeAttachment" => (
            json!({"spec": {"attacher": "csi.example.com", "nodeName": "n", "source": {"persistentVolumeName": "none"}}}),
            Value::Null,
            json!({"attached": true}),
        ),
        "CSIDriver" => (json!({"spec": {}}), json!({"spec": {"podInfoOnMount": true}}), Value::Null),
        "CSINode" => (
            json!({"spec": {"drivers": []}}),
            json!({"spec": {"drivers": [{"name": "csi.example.com", "nodeID": "n", "topologyKeys": ["zone"]}]}}),
            Value::Null,
        ),
        "CSIStorageCapacity" => (json!({"storageClassName": "fast"}), json!({"capacity": "1Gi"}), Value::Null),
        "CertificateSigningRequest" => (
            json!({"spec": {"request": csr(), "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}}),
            Value::Null,
            json!({"conditions": [{"type": "Failed", "status": "True", "reason": "Matrix"}]}),
        ),
        "Lease" => (json!({"spec": {"holderIdentity": "a"}}), json!({"spec": {"holderIdentity": "b"}}), Value::Null),
        "EndpointSlice" => (
            json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.1.2.3"], "conditions": {}}],
                "ports": [{"name": "", "port": 80, "protocol": "TCP"}]}),
            json!({"endpoints": [{"addresses": ["10.1.2.4"]}]}),
            Value::Null,
        ),
        "RuntimeClass" => {
            (json!({"handler": "runc"}), json!({"scheduling": {"nodeSelector": {"runtime": "runc"}}}), Value::Null)
        }
        "Role" | "ClusterRole" => (json!({"rules": rules("get")}), json!({"rules": rules("list")}), Value::Null),
        "RoleBinding" | "ClusterRoleBinding" => (
            json!({"roleRef": role("ClusterRole"), "subjects": subjects("jane")}),
            json!({"subjects": subjects("joe")}),
            Value::Null,
        ),
        "PriorityClass" => (json!({"value": 7}), json!({"description": "d"}), Value::Null),
        _ => return None,
    })
}

/// What is reached, and what may be written.
fn network_and_admission(kind: &str, namespace: &str) -> Option<Parts> {
    Some(match kind {
        "Ingress" => (
            json!({"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}}),
            json!({"spec": {"ingressClassName": "c"}}),
            json!({"loadBalancer": {"ingress": [{"ip": "10.1.2.3"}]}}),
        ),
        "IngressClass" => (
            json!({"spec": {"controller": "example.com/c"}}),
            json!({"spec": {"parameters": {"kind": "K", "name": "n"}}}),
            Value::Null,
        ),
        "NetworkPolicy" => (
            json!({"spec": {"podSelector": {}}}),
            json!({"spec": {"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]}}),
            Value::Null,
        ),
        "IPAddress" => (
            json!({"spec": {"parentRef": {"resource": "services", "namespace": namespace, "name": "none"}}}),
            Value::Null,
            Value::Null,
        ),
        "ServiceCIDR" => {
            (json!({"spec": {"cidrs": ["10.200.0.0/16"]}}), Value::Null, json!({"conditions": [condition()]}))
        }
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
            (json!({"webhooks": [webhook(10)]}), json!({"webhooks": [webhook(5)]}), Value::Null)
        }
        "ValidatingAdmissionPolicy" => (
            json!({"spec": {"matchConstraints": constraints(), "validations": [{"expression": "true"}]}}),
            json!({"spec": {"failurePolicy": "Ignore"}}),
            json!({"observedGeneration": 1, "conditions": [condition()]}),
        ),
        "MutatingAdmissionPolicy" => (
            json!({"spec": {"matchConstraints": constraints(), "reinvocationPolicy": "Never",
                "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'remove', path: '/spec'}]"}}]}}),
            json!({"spec": {"failurePolicy": "Ignore"}}),
            Value::Null,
        ),
        "ValidatingAdmissionPolicyBinding" => (
            json!({"spec": {"policyName": "none", "validationActions": ["Deny"]}}),
            json!({"spec": {"validationActions": ["Audit"]}}),
            Value::Null,
        ),
        "MutatingAdmissionPolicyBinding" => {
            (json!({"spec": {"policyName": "none"}}), json!({"spec": {"policyName": "other"}}), Value::Null)
        }
        _ => return None,
    })
}

/// Other servers, flow control, devices, and the custom kind.
fn serving_and_devices(kind: &str, plain: &str) -> Option<Parts> {
    Some(match kind {
        "APIService" => (
            json!({"spec": {"group": format!("{plain}.{CUSTOM_GROUP}"), "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10}}),
            json!({"spec": {"versionPriority": 20}}),
            json!({"conditions": [condition()]}),
        ),
        "FlowSchema" => (
            json!({"spec": {"priorityLevelConfiguration": {"name": "global-default"}, "matchingPrecedence": 9999}}),
            json!({"spec": {"matchingPrecedence": 9998}}),
            // The server puts back what it says by itself; this is what it says.
            json!({"conditions": [{"type": "Dangling", "status": "False", "reason": "Found", "lastTransitionTime": "2026-01-02T03:04:05Z",
                "message": "This FlowSchema references the PriorityLevelConfiguration object named \"global-default\" and it exists"}]}),
        ),
        "PriorityLevelConfiguration" => (
            json!({"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 1, "limitResponse": {"type": "Reject"}}}}),
            json!({"spec": {"limited": {"nominalConcurrencyShares": 2}}}),
            json!({"conditions": [condition()]}),
        ),
        "DeviceClass" => (
            json!({"spec": {"selectors": [{"cel": {"expression": "true"}}]}}),
            json!({"spec": {"extendedResourceName": "example.com/device"}}),
            Value::Null,
        ),
        "ResourceClaim" => (
            devices(),
            Value::Null,
            json!({"allocation": {"devices": {"results": [{"request": "r", "driver": "d.example.com", "pool": "p", "device": "d"}]}}}),
        ),
        "ResourceClaimTemplate" => (json!({"spec": devices()}), Value::Null, Value::Null),
        "ResourceSlice" => (
            json!({"spec": {"driver": "d.example.com", "nodeName": "n", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
                "devices": [{"name": "d", "attributes": {"model": {"string": "m"}}, "capacity": {"memory": {"value": "1Gi"}}}]}}),
            json!({"spec": {"pool": {"generation": 2}}}),
            Value::Null,
        ),
        "Widget" => (json!({"spec": {"size": 3}}), json!({"spec": {"size": 4}}), json!({"ready": 1})),
        _ => return None,
    })
}

/// All but the metadata of a job.
fn job() -> Value {
    let pod = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "registry.example.com/c:1"}]});
    json!({"spec": {"template": {"spec": pod}}})
}

/// An address that follows from the name.
fn address(plain: &str) -> String {
    let sum = plain.bytes().fold(7_u16, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    format!("10.250.{}.{}", sum >> 8, sum & 255)
}

/// A claim for one device.
fn devices() -> Value {
    json!({"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c", "allocationMode": "ExactCount", "count": 1}}]}}})
}

/// A rule for what no server has.
fn nothing() -> Value {
    json!({"operations": ["CREATE"], "apiGroups": ["nothing.example.com"], "apiVersions": ["v1"], "resources": ["nothings"], "scope": "*"})
}

/// Constraints that no request meets. Whole, because what is left out of an atomic field is not what is stored.
fn constraints() -> Value {
    json!({"resourceRules": [nothing()], "matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {}})
}

/// A webhook that nobody calls.
fn webhook(timeout: u8) -> Value {
    json!({
        "name": "nothing.matrix.example.com", "rules": [nothing()], "sideEffects": "None", "timeoutSeconds": timeout,
        "admissionReviewVersions": ["v1"], "clientConfig": {"url": "https://127.0.0.1:1/nothing"},
    })
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

/// A certificate request for `jane`, base64 of PEM; always the same one.
fn csr() -> String {
    use base64::Engine;
    static REQUEST: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
        let request = pki::CertificateRequest::new("jane", None, &[]).expect("a request");
        base64::engine::general_purpose::STANDARD.encode(request.request_pem)
    });
    REQUEST.clone()
}
