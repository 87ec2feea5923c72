//! Tables for the Pod kind.

use super::kind;
use crate::testing::{cells, create, created, defaults, update, update_of, within};
use base::Status;
use expect_test::{Expect, expect};
use schema::{ActOutcome, Operation};
use value::{Value, value};

fn pod() -> Value {
    value!({"spec": {"containers": [{"name": "web", "image": "nginx:1"}]}})
}

fn with(path: &[&str], value: impl Into<Value>) -> Value {
    let mut obj = pod();
    obj.set(path, value);
    obj
}

/// A pod whose container has another member.
fn container(field: &str, value: Value) -> Value {
    let mut obj = pod();
    obj.array_at_mut(&["spec", "containers"]).unwrap()[0].set(&[field], value);
    obj
}

#[test]
fn defaulting() {
    defaults(
        &kind(),
        pod(),
        &["spec"],
        expect![[
            r#"{"containers":[{"image":"nginx:1","imagePullPolicy":"IfNotPresent","name":"web","resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"}],"dnsPolicy":"ClusterFirst","enableServiceLinks":true,"restartPolicy":"Always","schedulerName":"default-scheduler","securityContext":{},"terminationGracePeriodSeconds":30}"#
        ]],
    );
    let probe = value!({"httpGet": {"port": 80}});
    defaults(
        &kind(),
        container("livenessProbe", probe),
        &["spec", "containers"],
        expect![[
            r#"[{"image":"nginx:1","imagePullPolicy":"IfNotPresent","livenessProbe":{"failureThreshold":3,"httpGet":{"path":"/","port":80,"scheme":"HTTP"},"periodSeconds":10,"successThreshold":1,"timeoutSeconds":1},"name":"web","resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"}]"#
        ]],
    );
    let limits = value!({"limits": {"cpu": "1000m", "memory": "1Gi"}, "requests": {"cpu": 0.5}});
    defaults(
        &kind(),
        container("resources", limits),
        &["spec", "containers"],
        expect![[
            r#"[{"image":"nginx:1","imagePullPolicy":"IfNotPresent","name":"web","resources":{"limits":{"cpu":"1","memory":"1Gi"},"requests":{"cpu":"500m","memory":"1Gi"}},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"}]"#
        ]],
    );
    let mut host = container("ports", value!([{"containerPort": 80}]));
    host.set(&["spec", "hostNetwork"], true);
    defaults(
        &kind(),
        host,
        &["spec", "containers"],
        expect![[
            r#"[{"image":"nginx:1","imagePullPolicy":"IfNotPresent","name":"web","ports":[{"containerPort":80,"hostPort":80,"protocol":"TCP"}],"resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"}]"#
        ]],
    );
    let volumes = value!([{"name": "a"}, {"name": "b", "secret": {"secretName": "s"}}, {"name": "c", "hostPath": {"path": "/"}},
        {"name": "d", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}},
            {"downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.name"}}]}}]}}]);
    defaults(
        &kind(),
        with(&["spec", "volumes"], volumes),
        &["spec", "volumes"],
        expect![[
            r#"[{"emptyDir":{},"name":"a"},{"name":"b","secret":{"defaultMode":420,"secretName":"s"}},{"hostPath":{"path":"/","type":""},"name":"c"},{"name":"d","projected":{"defaultMode":420,"sources":[{"serviceAccountToken":{"expirationSeconds":3600,"path":"t"}},{"downwardAPI":{"items":[{"fieldRef":{"apiVersion":"v1","fieldPath":"metadata.name"},"path":"p"}]}}]}}]"#
        ]],
    );
    defaults(
        &kind(),
        with(&["spec", "serviceAccount"], "robot"),
        &["spec", "serviceAccountName"],
        expect![[r#""robot""#]],
    );
}

#[test]
fn creation_writes_the_status() {
    let mut obj = with(&["spec", "schedulingGates"], value!([{"name": "wait"}]));
    obj.set(&["status", "phase"], "Running");
    expect![[r#"{"conditions":[{"lastProbeTime":null,"lastTransitionTime":null,"message":"Scheduling is blocked due to non-empty scheduling gates","reason":"SchedulingGated","status":"False","type":"PodScheduled"}],"phase":"Pending","qosClass":"BestEffort"}"#]].assert_eq(&created(&kind(), obj).at(&["status"]).to_string());
}

#[test]
fn label_keys_become_expressions() {
    let spread = value!([{"topologyKey": "zone", "matchLabelKeys": ["rev", "none"], "labelSelector": {"matchLabels": {"app": "web"}}}]);
    let mut obj = with(&["spec", "topologySpreadConstraints"], spread);
    obj.set(&["metadata", "labels"], value!({"app": "web", "rev": "7"}));
    let made = created(&kind(), obj);
    expect![[r#"{"matchExpressions":[{"key":"rev","operator":"In","values":["7"]}],"matchLabels":{"app":"web"}}"#]]
        .assert_eq(&made.items_at(&["spec", "topologySpreadConstraints"])[0].at(&["labelSelector"]).to_string());
}

#[test]
fn one_address_and_many_are_the_same() {
    defaults(
        &kind(),
        with(&["status", "podIP"], "10.0.0.1"),
        &["status", "podIPs"],
        expect![[r#"[{"ip":"10.0.0.1"}]"#]],
    );
    let mut both = with(&["status", "podIP"], "10.0.0.1");
    both.set(&["status", "podIPs"], value!([{"ip": "10.0.0.2"}, {"ip": "fd00::1"}]));
    defaults(&kind(), both, &["status", "podIPs"], expect![[r#"[{"ip":"10.0.0.1"}]"#]]);
    let list = with(&["status", "podIPs"], value!([{"ip": "10.0.0.2"}]));
    defaults(&kind(), list, &["status", "podIP"], expect![[r#""10.0.0.2""#]]);
}

#[test]
fn names_images_and_ports() {
    create(&kind(), pod(), expect![""]);
    create(&kind(), value!({"spec": {}}), expect!["spec.containers: Required value"]);
    let containers =
        value!([{"name": "a"}, {"name": "a", "image": " x"}, {"name": "A_", "image": "x", "imagePullPolicy": "Often"}]);
    create(
        &kind(),
        with(&["spec", "containers"], containers),
        expect![[r#"
        spec.containers[0].image: Required value
        spec.containers[1].name: Duplicate value: "a"
        spec.containers[2].name: Invalid value: "A_": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
        spec.containers[2].imagePullPolicy: Unsupported value: "Often": supported values: "Always", "IfNotPresent", "Never"
        spec.containers[1].image: Invalid value: " x": must not have leading or trailing whitespace"#]],
    );
    let ports = value!([{"name": "a", "containerPort": 80}, {"name": "a", "containerPort": 0},
        {"containerPort": 65536, "hostPort": 70000, "protocol": "X"}, {"containerPort": 1, "hostPort": 8080},
        {"containerPort": 2, "hostPort": 8080}]);
    create(
        &kind(),
        container("ports", ports),
        expect![[r#"
        spec.containers[0].ports[1].name: Duplicate value: "a"
        spec.containers[0].ports[1].containerPort: Required value
        spec.containers[0].ports[2].containerPort: Invalid value: 65536: must be between 1 and 65535, inclusive
        spec.containers[0].ports[2].hostPort: Invalid value: 70000: must be between 1 and 65535, inclusive
        spec.containers[0].ports[2].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP"
        spec.containers[0].ports[4].hostPort: Duplicate value: "TCP//8080""#]],
    );
}

#[test]
fn init_and_ephemeral_containers() {
    let init = value!([{"name": "web", "image": "x"}, {"name": "i", "image": "x", "livenessProbe": {"exec": {"command": ["a"]}}},
        {"name": "s", "image": "x", "restartPolicy": "Always", "readinessProbe": {}}]);
    create(
        &kind(),
        with(&["spec", "initContainers"], init),
        expect![[r#"
        spec.initContainers[0].name: Duplicate value: "web"
        spec.initContainers[1].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always
        spec.initContainers[2].readinessProbe: Required value: must specify a handler type"#]],
    );
    let debug = value!([{"name": "d", "image": "x", "targetContainerName": "none", "ports": [{"containerPort": 1}]}]);
    create(
        &kind(),
        with(&["spec", "ephemeralContainers"], debug),
        expect![[r#"
        spec.ephemeralContainers[0].targetContainerName: Not found: "none"
        spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container
        spec.ephemeralContainers: Forbidden: cannot be set on create"#]],
    );
}

#[test]
fn environment() {
    let env = value!([{"name": ""}, {"name": "a=b"}, {"name": "c", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "d", "valueFrom": {}}, {"name": "e", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}},
        {"name": "f", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "g", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels"}}},
        {"name": "h", "valueFrom": {"configMapKeyRef": {"name": "C", "key": "a b"}}},
        {"name": "i", "valueFrom": {"resourceFieldRef": {"resource": "limits.disk"}}}]);
    create(
        &kind(),
        container("env", env),
        expect![[r#"
        spec.containers[0].env[0].name: Required value
        spec.containers[0].env[1].name: Invalid value: "a=b": a valid environment variable name must consist only of printable ASCII characters other than '='
        spec.containers[0].env[2].valueFrom: Invalid value: "": may not be specified when `value` is not empty
        spec.containers[0].env[3].valueFrom: Invalid value: "": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`
        spec.containers[0].env[4].valueFrom.fieldRef.fieldPath: Invalid value: "spec.x": error converting fieldPath: field label not supported: spec.x
        spec.containers[0].env[6].valueFrom.fieldRef.fieldPath: Unsupported value: "metadata.labels": supported values: "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"
        spec.containers[0].env[7].valueFrom.configMapKeyRef.name: Invalid value: "C": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        spec.containers[0].env[7].valueFrom.configMapKeyRef.key: Invalid value: "a b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')
        spec.containers[0].env[8].valueFrom.resourceFieldRef.resource: Unsupported value: "limits.disk": supported values: "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory""#]],
    );
    let from = value!([{}, {"configMapRef": {"name": ""}, "secretRef": {"name": "s"}}]);
    create(
        &kind(),
        container("envFrom", from),
        expect![[r#"
        spec.containers[0].envFrom: Invalid value: "": must specify one of: `configMapRef` or `secretRef`
        spec.containers[0].envFrom[1].configMapRef.name: Required value
        spec.containers[0].envFrom: Invalid value: "": may not have more than one field specified at a time"#]],
    );
}

#[test]
fn probes() {
    for (field, probe, want) in [
        (
            "livenessProbe",
            value!({"exec": {}, "tcpSocket": {"port": 0}}),
            expect![[r#"
            spec.containers[0].livenessProbe.exec.command: Required value
            spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type"#]],
        ),
        (
            "livenessProbe",
            value!({"httpGet": {"port": "http-", "scheme": "FTP"}, "successThreshold": 2, "periodSeconds": -1}),
            expect![[r#"
            spec.containers[0].livenessProbe.httpGet.port: Invalid value: "http-": must not begin or end with a hyphen
            spec.containers[0].livenessProbe.httpGet.scheme: Unsupported value: "FTP": supported values: "HTTP", "HTTPS"
            spec.containers[0].livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0
            spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"#]],
        ),
        (
            "readinessProbe",
            value!({"grpc": {"port": 1}, "terminationGracePeriodSeconds": 0}),
            expect![[r#"
            spec.containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 0: must be greater than 0
            spec.containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 0: must not be set for readinessProbes"#]],
        ),
        (
            "lifecycle",
            value!({"preStop": {"sleep": {"seconds": 31}}, "postStart": {}}),
            expect![[r#"
            spec.containers[0].lifecycle.postStart: Required value: must specify a handler type
            spec.containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)"#]],
        ),
    ] {
        create(&kind(), container(field, probe), want);
    }
}

#[test]
fn volumes_and_mounts() {
    let volumes = value!([{"name": "a"}, {"name": "a"}, {"name": "b", "secret": {"defaultMode": 1000}, "emptyDir": {}},
        {"name": "c", "hostPath": {"path": "/a/../b", "type": "Pipe"}},
        {"name": "d", "configMap": {"name": "c", "items": [{"key": "k", "path": "/abs"}, {"key": "", "path": "..x"}]}},
        {"name": "e", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 5}}]}}]);
    create(
        &kind(),
        with(&["spec", "volumes"], volumes),
        expect![[r#"
        spec.volumes[1].name: Duplicate value: "a"
        spec.volumes[2].secret: Forbidden: may not specify more than 1 volume type
        spec.volumes[3].hostPath.path: Invalid value: "/a/../b": must not contain '..'
        spec.volumes[3].hostPath.type: Unsupported value: "Pipe": supported values: "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"
        spec.volumes[4].configMap.items[0].path: Invalid value: "/abs": must be a relative path
        spec.volumes[4].configMap.items[1].key: Required value
        spec.volumes[4].configMap.items[1].path: Invalid value: "..x": must not start with '..'
        spec.volumes[5].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes
        spec.volumes[5].projected.sources[0].serviceAccountToken: Forbidden: must not be specified when serviceAccountName is not set"#]],
    );
    let mut obj = container(
        "volumeMounts",
        value!([{"name": "a", "mountPath": "/a"}, {"name": "none", "mountPath": "/a", "subPath": "../x"},
        {"name": "a", "mountPath": "", "mountPropagation": "Bidirectional"}]),
    );
    obj.set(&["spec", "volumes"], value!([{"name": "a"}]));
    create(
        &kind(),
        obj,
        expect![[r#"
        spec.containers[0].volumeMounts[1].name: Not found: "none"
        spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/a": must be unique
        spec.containers[0].volumeMounts.subPath: Invalid value: "../x": must not contain '..'
        spec.containers[0].volumeMounts[2].mountPath: Required value
        spec.containers[0].volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers"#]],
    );
}

#[test]
fn resources() {
    for (resources, want) in [
        (
            value!({"limits": {"cpu": "-1"}}),
            expect![[r#"
            spec.containers[0].resources.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0
            spec.containers[0].resources.requests[cpu]: Invalid value: "-1": must be greater than or equal to 0"#]],
        ),
        (
            value!({"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}),
            expect![[
                r#"spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1"#
            ]],
        ),
        (
            value!({"limits": {"disk": "1", "example.com/gpu": "0.5"}}),
            expect![[r#"
            spec.containers[0].resources.limits[disk]: Invalid value: "disk": must be a standard resource type or fully qualified
            spec.containers[0].resources.limits[disk]: Invalid value: "disk": must be a standard resource for containers
            spec.containers[0].resources.limits[example.com/gpu]: Invalid value: "500m": must be an integer
            spec.containers[0].resources.requests[disk]: Invalid value: "disk": must be a standard resource type or fully qualified
            spec.containers[0].resources.requests[disk]: Invalid value: "disk": must be a standard resource for containers
            spec.containers[0].resources.requests[example.com/gpu]: Invalid value: "500m": must be an integer"#]],
        ),
        (
            value!({"requests": {"example.com/gpu": "1"}}),
            expect![
                "spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources"
            ],
        ),
        (
            value!({"limits": {"hugepages-2Mi": "2Mi"}}),
            expect!["spec.containers[0].resources: Forbidden: HugePages require cpu or memory"],
        ),
    ] {
        create(&kind(), container("resources", resources), want);
    }
}

#[test]
fn resources_of_the_pod_itself() {
    let mut obj = container("resources", value!({"requests": {"cpu": "1"}, "limits": {"cpu": "3"}}));
    obj.set(
        &["spec", "initContainers"],
        value!([
        {"name": "s", "image": "x", "restartPolicy": "Always", "resources": {"requests": {"cpu": "500m"}}},
        {"name": "i", "image": "x", "resources": {"requests": {"cpu": "1500m"}}}]),
    );
    obj.set(&["spec", "resources"], value!({"limits": {"cpu": "4", "memory": "1Gi"}}));
    defaults(
        &kind(),
        obj.clone(),
        &["spec", "resources"],
        expect![[r#"{"limits":{"cpu":"4","memory":"1Gi"},"requests":{"cpu":"2","memory":"1Gi"}}"#]],
    );
    obj.set(&["spec", "resources"], value!({"limits": {"cpu": "2", "disk": "1"}, "requests": {"cpu": "1"}}));
    create(
        &kind(),
        obj,
        expect![[r#"
        spec.resources.limits[disk]: Invalid value: "disk": must be a standard resource type or fully qualified
        spec.resources.requests[cpu]: Invalid value: "1": must be greater than or equal to aggregate container requests of 2
        spec.resources.containers[0][cpu].limits: Invalid value: "3": must be less than or equal to pod limits of 2"#]],
    );
}

#[test]
fn scheduling() {
    let tolerations = value!([{"operator": "Equal"}, {"key": "a", "operator": "Exists", "value": "x"},
        {"key": "a", "effect": "Never", "tolerationSeconds": 1}, {"key": "a", "operator": "Is"}]);
    create(
        &kind(),
        with(&["spec", "tolerations"], tolerations),
        expect![[r#"
        spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, which means "match all values and all keys"
        spec.tolerations[1].operator: Invalid value: "x": value must be empty when `operator` is 'Exists'
        spec.tolerations[2].effect: Invalid value: "Never": effect must be 'NoExecute' when `tolerationSeconds` is set
        spec.tolerations[2].effect: Unsupported value: "Never": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"
        spec.tolerations[3].operator: Unsupported value: "Is": supported values: "Equal", "Exists""#]],
    );
    let affinity = value!({
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "a", "operator": "In"}, {"key": "b", "operator": "Gt", "values": []}, {"key": "", "operator": "?"}]}]}},
        "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 0, "podAffinityTerm": {"topologyKey": ""}}]},
    });
    create(
        &kind(),
        with(&["spec", "affinity"], affinity),
        expect![[r#"
        spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'
        spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[1].values: Required value: must be specified single value when `operator` is 'Lt' or 'Gt'
        spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[2].operator: Invalid value: "?": not a valid selector operator
        spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[2].key: Invalid value: "": name part must be non-empty; name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: must be in the range 1-100
        spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey: Required value: can not be empty
        spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey: Invalid value: "": name part must be non-empty; name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#]],
    );
    let spread = value!([{"maxSkew": 0, "topologyKey": "zone", "whenUnsatisfiable": "Maybe"},
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "Maybe", "minDomains": 2}]);
    create(
        &kind(),
        with(&["spec", "topologySpreadConstraints"], spread),
        expect![[r#"
        spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero
        spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: "Maybe": supported values: "DoNotSchedule", "ScheduleAnyway"
        spec.topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}: Duplicate value: "{zone, Maybe}"
        spec.topologySpreadConstraints[1].whenUnsatisfiable: Unsupported value: "Maybe": supported values: "DoNotSchedule", "ScheduleAnyway"
        spec.topologySpreadConstraints[1].minDomains: Invalid value: 2: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not Maybe"#]],
    );
}

#[test]
fn the_rest_of_the_spec() {
    for (path, value, want) in [
        (
            "restartPolicy",
            value!("Often"),
            expect![[
                r#"spec.restartPolicy: Unsupported value: "Often": supported values: "Always", "OnFailure", "Never""#
            ]],
        ),
        (
            "dnsPolicy",
            value!("None"),
            expect!["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
        ),
        (
            "dnsConfig",
            value!({"nameservers": ["x"], "searches": ["a..b", "under_score.", ".", "_sip._tcp.abc_d.example.com", "__a", "a_"],
                "options": [{}]}),
            expect![[r#"
            spec.dnsConfig.nameservers[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
            spec.dnsConfig.searches[0]: Invalid value: "a..b": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')
            spec.dnsConfig.searches[4]: Invalid value: "__a": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')
            spec.dnsConfig.searches[5]: Invalid value: "a_": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')
            spec.dnsConfig.options[0]: Required value: must not be empty"#]],
        ),
        (
            "activeDeadlineSeconds",
            value!(0),
            expect!["spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"],
        ),
        ("hostname", value!("a.b"), expect![[r#"spec.hostname: Invalid value: "a.b": must not contain dots"#]]),
        (
            "nodeSelector",
            value!({"a b": "c d"}),
            expect![[r#"
            spec.nodeSelector: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.nodeSelector: Invalid value: "c d": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"#]],
        ),
        (
            "securityContext",
            value!({"runAsUser": -1, "seccompProfile": {"type": "Localhost"}, "sysctls": [{"name": "A"}]}),
            expect![[r#"
            spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive
            spec.securityContext.sysctls[0].name: Invalid value: "A": must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$
            spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost"#]],
        ),
        (
            "hostAliases",
            value!([{"ip": "x", "hostnames": ["B"]}]),
            expect![[r#"
            spec.hostAliases[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
            spec.hostAliases[0].hostnames[0]: Invalid value: "B": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#]],
        ),
    ] {
        create(&kind(), with(&["spec", path], value), want);
    }
}

#[test]
fn updates_change_next_to_nothing() {
    let image = value!([{"name": "web", "image": "nginx:2"}]);
    update(&kind(), pod(), with(&["spec", "containers"], image), expect![""]);
    update(&kind(), pod(), with(&["spec", "hostNetwork"], false), expect![""]);
    update(&kind(), pod(), with(&["spec", "tolerations"], value!([{"operator": "Exists"}])), expect![""]);
    update(&kind(), pod(), with(&["spec", "activeDeadlineSeconds"], 5), expect![""]);
    update(
        &kind(),
        pod(),
        with(&["spec", "nodeName"], "n1"),
        expect![[r#"
        spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)
        + nodeName: "n1""#]],
    );
    let two = value!([{"name": "web", "image": "x"}, {"name": "b", "image": "y"}]);
    update(
        &kind(),
        pod(),
        with(&["spec", "containers"], two),
        expect!["spec.containers: Forbidden: pod updates may not add or remove containers"],
    );
    update(
        &kind(),
        with(&["spec", "activeDeadlineSeconds"], 5),
        with(&["spec", "activeDeadlineSeconds"], 6),
        expect!["spec.activeDeadlineSeconds: Invalid value: 6: must be less than or equal to previous value"],
    );
    update(
        &kind(),
        with(&["spec", "activeDeadlineSeconds"], 5),
        pod(),
        expect![
            "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value"
        ],
    );
    let tolerated = with(&["spec", "tolerations"], value!([{"key": "a", "operator": "Exists"}]));
    update(
        &kind(),
        tolerated,
        pod(),
        expect!["spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"],
    );
    let gated = with(&["spec", "schedulingGates"], value!([{"name": "wait"}]));
    update(&kind(), gated.clone(), pod(), expect![""]);
    update(
        &kind(),
        pod(),
        gated,
        expect![
            "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'wait'"
        ],
    );
}

#[test]
fn status_updates() {
    let ended = value!({"containerStatuses": [{"name": "web", "state": {"terminated": {"exitCode": 0}}}], "qosClass": "BestEffort"});
    let running = value!({"containerStatuses": [{"name": "web", "state": {"running": {}}}], "qosClass": "Burstable"});
    let (mut old, mut new) = (with(&["status"], ended), with(&["status"], running));
    old.set(&["spec", "restartPolicy"], "Never");
    new.set(&["spec", "restartPolicy"], "Never");
    update_of(
        &kind(),
        Some("status"),
        old.clone(),
        new.clone(),
        expect![[r#"
        status.qosClass: Invalid value: "Burstable": field is immutable
        status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"#]],
    );
    old.set(&["spec", "restartPolicy"], "Always");
    new.remove(&["status", "qosClass"]);
    update_of(&kind(), Some("status"), old, new, expect![""]);
}

#[test]
fn ephemeral_containers_stay() {
    let old =
        with(&["spec", "ephemeralContainers"], value!([{"name": "d", "image": "x"}, {"name": "e", "image": "x"}]));
    let new =
        with(&["spec", "ephemeralContainers"], value!([{"name": "d", "image": "y"}, {"name": "f", "image": "x"}]));
    update_of(
        &kind(),
        Some("ephemeralcontainers"),
        old,
        new,
        expect![[r#"
        spec.ephemeralContainers: Forbidden: existing ephemeral containers "d" may not be changed
        - image: "x"
        + image: "y"
        spec.ephemeralContainers: Forbidden: existing ephemeral containers "e" may not be removed
    "#]],
    );
}

#[test]
fn a_resize_keeps_the_class() {
    let sized = |cpu: &str| container("resources", value!({"requests": {"cpu": cpu}}));
    update_of(&kind(), Some("resize"), sized("1"), sized("2"), expect![""]);
    update_of(
        &kind(),
        Some("resize"),
        pod(),
        sized("2"),
        expect![[r#"spec: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing"#]],
    );
}

#[test]
fn grace() {
    let kind = kind();
    let grace = |node: &str, phase: &str, requested| {
        let mut obj = with(&["spec", "nodeName"], node);
        obj.set(&["spec", "terminationGracePeriodSeconds"], 30);
        obj.set(&["status", "phase"], phase);
        kind.hooks.grace(&obj, requested)
    };
    assert_eq!(grace("", "Pending", None), 0);
    assert_eq!(grace("n1", "Running", None), 30);
    assert_eq!(grace("n1", "Running", Some(5)), 5);
    assert_eq!(grace("n1", "Running", Some(-5)), 1);
    assert_eq!(grace("n1", "Succeeded", Some(5)), 0);
}

fn act(subresource: &str, obj: &mut Value, body: Value) -> Result<ActOutcome, Status> {
    within(Operation::Create, Some(subresource), |cx| kind().hooks.act(cx, &body, obj))
}

#[track_caller]
fn refused(obj: Value, body: Value, want: Expect) {
    let mut obj = obj;
    let status = act("binding", &mut obj, body).expect_err("refused");
    want.assert_eq(&format!("{} {}", status.code(), status.message()));
}

#[test]
fn binding_happens_once() {
    let body =
        value!({"metadata": {"name": "web", "annotations": {"a": "1"}}, "target": {"kind": "Node", "name": "n1"}});
    let mut obj = with(&["metadata", "name"], "web");
    obj.set(
        &["status", "conditions"],
        value!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]),
    );
    let outcome = act("binding", &mut obj, body.clone()).expect("bound");
    assert!(matches!(outcome, ActOutcome::Commit(Some(_))));
    assert_eq!(obj.str_at(&["spec", "nodeName"]), "n1");
    assert_eq!(obj.str_at(&["metadata", "annotations", "a"]), "1");
    expect![[
        r#"[{"lastProbeTime":null,"lastTransitionTime":"2026-01-02T03:10:00Z","status":"True","type":"PodScheduled"}]"#
    ]]
    .assert_eq(&obj.at(&["status", "conditions"]).to_string());

    refused(
        obj.clone(),
        body.clone(),
        expect![[
            r#"409 Operation cannot be fulfilled on pods/binding "web": pod web is already assigned to node "n1""#
        ]],
    );
    refused(
        obj.clone(),
        value!({"metadata": {"name": "other"}}),
        expect!["400 name in URL does not match name in Binding object"],
    );
    refused(
        obj.clone(),
        value!({"metadata": {"name": "web"}, "target": {"kind": "Pod"}}),
        expect![[
            r#"500 [target.kind: Unsupported value: "Pod": supported values: "Node", "<empty>", target.name: Required value]"#
        ]],
    );
    obj.remove(&["spec", "nodeName"]);
    obj.set(&["metadata", "uid"], "1");
    refused(
        obj.clone(),
        value!({"metadata": {"name": "web", "uid": "2"}, "target": {"name": "n1"}}),
        expect![[
            r#"409 Operation cannot be fulfilled on pods/binding "web": Precondition failed: UID in precondition: 2, UID in object meta: 1"#
        ]],
    );
    obj.set(&["metadata", "deletionTimestamp"], "2026-01-02T03:04:05Z");
    refused(
        obj,
        body,
        expect![[
            r#"409 Operation cannot be fulfilled on pods/binding "web": pod web is being deleted, cannot be assigned to a host"#
        ]],
    );
}

#[test]
fn eviction_deletes() {
    let body = value!({"metadata": {"name": "web"}, "deleteOptions": {"gracePeriodSeconds": 1}});
    let outcome = act("eviction", &mut with(&["metadata", "name"], "web"), body).expect("evicted");
    assert!(matches!(outcome, ActOutcome::Delete(deletion) if deletion.options == value!({"gracePeriodSeconds": 1})));
}

#[test]
fn a_name_that_is_no_host_name_is_warned_of() {
    let kind = kind();
    let warn = |name: &str| {
        within(Operation::Create, None, |cx| kind.hooks.warnings(cx, &with(&["metadata", "name"], name), None))
    };
    assert!(warn("web").is_empty());
    expect!["metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]"].assert_eq(&warn("a.b").join("\n"));
}

#[test]
fn columns() {
    let status = |status: Value| with(&["status"], status);
    let running = |n: i64| {
        value!({"name": "web", "ready": true, "restartCount": n, "state": {"running": {}},
        "lastState": {"terminated": {"finishedAt": "2026-01-02T03:08:00Z"}}})
    };
    let waiting = |why: &str| value!({"name": "web", "restartCount": 1, "state": {"waiting": {"reason": why}}});
    let ended = |code: i64, why: &str| value!({"name": "web", "restartCount": 0, "state": {"terminated": {"exitCode": code, "reason": why}}});
    let list = |phase: &str, one: Value| {
        let mut v = value!({"phase": phase, "podIPs": [{"ip": "10.0.0.7"}]});
        v.set(&["containerStatuses"], Value::Array(vec![one]));
        status(v)
    };
    cells(
        &kind(),
        status(value!({"phase": "Pending"})),
        expect!["obj | 0/1 | Pending | 0 | 5m || <none> | <none> | <none> | <none>"],
    );
    cells(
        &kind(),
        list("Running", running(0)),
        expect!["obj | 1/1 | Running | 0 | 5m || 10.0.0.7 | <none> | <none> | <none>"],
    );
    cells(
        &kind(),
        list("Running", running(2)),
        expect!["obj | 1/1 | Running | 2 (2m ago) | 5m || 10.0.0.7 | <none> | <none> | <none>"],
    );
    cells(
        &kind(),
        list("Running", waiting("CrashLoopBackOff")),
        expect!["obj | 0/1 | CrashLoopBackOff | 1 | 5m || 10.0.0.7 | <none> | <none> | <none>"],
    );
    cells(
        &kind(),
        list("Succeeded", ended(0, "Completed")),
        expect!["obj | 0/1 | Completed | 0 | 5m || 10.0.0.7 | <none> | <none> | <none>"],
    );
    cells(
        &kind(),
        list("Failed", ended(137, "")),
        expect!["obj | 0/1 | ExitCode:137 | 0 | 5m || 10.0.0.7 | <none> | <none> | <none>"],
    );
    let mut deleting = list("Running", running(0));
    deleting.set(&["metadata", "deletionTimestamp"], "2026-01-02T03:09:00Z");
    cells(&kind(), deleting, expect!["obj | 1/1 | Terminating | 0 | 5m || 10.0.0.7 | <none> | <none> | <none>"]);
    cells(
        &kind(),
        status(value!({"phase": "Failed", "reason": "Evicted"})),
        expect!["obj | 0/1 | Evicted | 0 | 5m || <none> | <none> | <none> | <none>"],
    );
}

#[test]
fn columns_of_pods_that_initialize() {
    let init = |statuses: Value| {
        let mut obj = with(
            &["spec", "initContainers"],
            value!([{"name": "a"}, {"name": "b"}, {"name": "s", "restartPolicy": "Always"}]),
        );
        obj.set(&["status", "phase"], "Pending");
        obj.set(&["status", "initContainerStatuses"], statuses);
        obj
    };
    let done = r#"{"name": "a", "state": {"terminated": {"exitCode": 0}}}"#;
    for (statuses, want) in [
        (
            format!(r#"[{done}, {{"name": "b", "state": {{"running": {{}}}}}}]"#),
            expect!["obj | 0/2 | Init:1/3 | 0 | 5m || <none> | <none> | <none> | <none>"],
        ),
        (
            format!(r#"[{done}, {{"name": "b", "state": {{"waiting": {{"reason": "ImagePullBackOff"}}}}}}]"#),
            expect!["obj | 0/2 | Init:ImagePullBackOff | 0 | 5m || <none> | <none> | <none> | <none>"],
        ),
        (
            r#"[{"name": "a", "restartCount": 3, "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}]"#.into(),
            expect!["obj | 0/2 | Init:Error | 3 | 5m || <none> | <none> | <none> | <none>"],
        ),
        (
            r#"[{"name": "a", "state": {"terminated": {"exitCode": 1, "signal": 9}}}]"#.into(),
            expect!["obj | 0/2 | Init:Signal:9 | 0 | 5m || <none> | <none> | <none> | <none>"],
        ),
        (
            r#"[{"name": "s", "started": true, "ready": true, "restartCount": 1, "state": {"running": {}}}]"#.into(),
            expect!["obj | 1/2 | Pending | 1 | 5m || <none> | <none> | <none> | <none>"],
        ),
    ] {
        cells(&kind(), init(value::parse_lenient(statuses.as_bytes()).unwrap()), want);
    }
}
