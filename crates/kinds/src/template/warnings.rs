//! What is said about a pod or a pod template that is valid, and will still surprise somebody. Source:
//! `pkg/api/pod/warnings.go`.

use super::node_labels::deprecated;
use crate::{at::At, ip, rules::quantity};
use base::{names, status::quote};
use std::collections::{BTreeMap, BTreeSet};
use value::Value;

/// Volumes that nobody mounts any more.
const OLD_VOLUMES: [(&str, &str); 9] = [
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

const NO_SELECTOR: &str = "a null labelSelector results in matching no pod";
const SECCOMP: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// Something with `metadata` and a pod's `spec`: a pod, or a template wherever it stands.
pub fn warnings(template: At) -> Vec<String> {
    let (spec, metadata) = (template.get("spec"), template.get("metadata"));
    let annotations = metadata.get("annotations");
    let mut out = Vec::new();
    old_labels(spec, &mut out);
    for volume in spec.get("volumes").items() {
        for (field, message) in OLD_VOLUMES.iter().filter(|(field, _)| !volume.get(field).value.is_null()) {
            // Upstream's path is not the field's name here.
            let written = if *field == "storageos" { "storageOS" } else { field };
            out.push(format!("{}: {message}", volume.path.key(written)));
        }
    }
    duplicates(spec, "hostAliases", "ip", &mut out);
    duplicates(spec, "imagePullSecrets", "name", &mut out);
    for secret in spec.get("imagePullSecrets").items().filter(|secret| secret.get("name").is_empty()) {
        out.push(format!("{}: invalid empty name \"\"", secret.path.key("name")));
    }
    fractions(spec.get("overhead"), &mut out);
    let profile = |at: At| at.value.at(&["securityContext", "seccompProfile"]).is_null();
    if profile(spec) && annotations.entry(SECCOMP_POD).is_set() {
        out.push(format!("{}: {SECCOMP}", annotations.entry(SECCOMP_POD).path));
    }
    each_container(spec, &mut |container| {
        let key = || format!("{SECCOMP_CONTAINER}{}", container.get("name").str());
        if annotations.is_set() && profile(container) && annotations.entry(&key()).is_set() {
            let key = key();
            out.push(format!("{}: {SECCOMP}", annotations.entry(&key).path));
        }
        let resources = container.get("resources");
        fractions(resources.get("limits"), &mut out);
        fractions(resources.get("requests"), &mut out);
        hidden_variables(container, &mut out);
    });
    ports(spec, &mut out);
    if spec.get("terminationGracePeriodSeconds").int() < 0 {
        let path = spec.path.key("terminationGracePeriodSeconds");
        out.push(format!("{path}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    affinity_terms(spec, &mut out);
    let dns = spec.get("dnsConfig");
    out.extend(dns.get("nameservers").items().filter_map(|server| ip::ip_warning(server.path, server.str())));
    for alias in spec.get("hostAliases").items() {
        out.extend(ip::ip_warning(alias.get("ip").path, alias.get("ip").str()));
    }
    out
}

fn each_container(spec: At, f: &mut dyn FnMut(At)) {
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        spec.get(list).items().for_each(&mut *f);
    }
}

fn old_labels(spec: At, out: &mut Vec<String>) {
    for (key, entry) in spec.get("nodeSelector").entries() {
        out.extend(deprecated(key).map(|message| format!("{}: {message}", entry.path)));
    }
    let affinity = spec.get("affinity");
    let affinity = affinity.get("nodeAffinity");
    let required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution");
    for term in required.get("nodeSelectorTerms").items() {
        selector_term(term, false, out);
    }
    for term in affinity.get("preferredDuringSchedulingIgnoredDuringExecution").items() {
        selector_term(term.get("preference"), true, out);
    }
    for constraint in spec.get("topologySpreadConstraints").items() {
        let key = constraint.get("topologyKey");
        out.extend(deprecated(key.str()).map(|message| format!("{}: {} is {message}", key.path, key.str())));
        if !constraint.get("labelSelector").is_set() {
            out.push(format!("{}: {NO_SELECTOR}", constraint.path.key("labelSelector")));
        }
    }
}

fn selector_term(term: At, values: bool, out: &mut Vec<String>) {
    for expression in term.get("matchExpressions").items() {
        let key = expression.get("key");
        out.extend(deprecated(key.str()).map(|message| format!("{}: {} is {message}", key.path, key.str())));
        for value in expression.get("values").items().filter(|_| values) {
            if let Err(why) = names::label_value(value.str()) {
                out.push(format!("{}: {} is invalid, {why}", value.path, value.str()));
            }
        }
    }
}

fn duplicates(spec: At, list: &str, field: &str, out: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for item in spec.get(list).items() {
        let text = item.value.str_at(&[field]).to_string();
        if seen.contains(&text) {
            out.push(format!("{}: duplicate {field} {}", item.path.key(field), quote(&text)));
        }
        seen.insert(text);
    }
}

/// There is no half of a byte.
fn fractions(amounts: At, out: &mut Vec<String>) {
    for resource in ["memory", "ephemeral-storage"] {
        let amount = amounts.entry(resource);
        if let Some(amount) = quantity(amount.value).filter(|amount| amount.milli() % 1000 != 0) {
            let value = quote(&amount.to_string());
            let path = amounts.path.map_key(resource);
            out.push(format!("{path}: fractional byte value {value} is invalid, must be an integer"));
        }
    }
}

/// A variable that is set again without use of what it was before.
fn hidden_variables(container: At, out: &mut Vec<String>) {
    // Of nearly every container all names differ, and often they are sorted.
    let variables = container.get("env");
    let mut names: Vec<&str> = variables.items().map(|variable| variable.value.str_at(&["name"])).collect();
    names.sort_unstable();
    if names.is_sorted_by(|a, b| a < b) {
        return;
    }
    let mut seen = BTreeSet::new();
    for variable in container.get("env").items() {
        let (name, value) = (variable.value.str_at(&["name"]), variable.value.str_at(&["value"]));
        if seen.insert(name) {
            continue;
        }
        let reference = format!("$({name})");
        if variable.get("valueFrom").is_set() || value == reference || !value.contains(&reference) {
            let text = format!("hides previous definition of {}, which may be dropped when using apply", quote(name));
            out.push(format!("{}: {text}", variable.path));
        }
    }
}

fn ports(spec: At, out: &mut Vec<String>) {
    let mut all: BTreeMap<String, Vec<(String, Value)>> = BTreeMap::new();
    each_container(spec, &mut |container| {
        for port in container.get("ports").items() {
            let field = |name: &str| port.value.str_at(&[name]).to_string();
            let (host_ip, host_port) = (field("hostIP"), port.get("hostPort").int());
            let number = port.get("containerPort").int();
            if !host_ip.is_empty() && host_port == 0 {
                let printed = format!(
                    "{{Name:{} HostPort:0 ContainerPort:{number} Protocol:{} HostIP:{host_ip}}}",
                    field("name"),
                    field("protocol")
                );
                out.push(format!("{}: hostIP set without hostPort: {printed}", port.path));
            }
            let others = all.entry(format!("{number}/{}", field("protocol"))).or_default();
            for (path, other) in others.iter() {
                let (other_ip, other_port) = (other.str_at(&["hostIP"]), other.at(&["hostPort"]).as_i64().unwrap_or(0));
                let what = if host_ip == other_ip && host_port == other_port {
                    "duplicate"
                } else if host_port == 0 || other_port == 0 {
                    "overlapping"
                } else if host_port == other_port && host_ip.is_empty() != other_ip.is_empty() {
                    "dangerously ambiguous"
                } else {
                    continue;
                };
                out.push(format!("{}: {what} port definition with {path}", port.path));
            }
            others.push((port.path.to_string(), port.value.clone()));
        }
    });
    let mut named: BTreeMap<String, String> = BTreeMap::new();
    each_container(spec, &mut |container| {
        for port in container.get("ports").items().filter(|port| !port.get("name").is_empty()) {
            let name = port.value.str_at(&["name"]).to_string();
            match named.get(&name) {
                Some(first) => out.push(format!(
                    "{}: duplicate port name {} with {first}, services and probes that select ports by name will use {first}",
                    port.path,
                    quote(&name)
                )),
                None => drop(named.insert(name, port.path.to_string())),
            }
        }
    });
}

fn affinity_terms(spec: At, out: &mut Vec<String>) {
    let affinity = spec.get("affinity");
    for kind in ["podAffinity", "podAntiAffinity"] {
        let affinity = affinity.get(kind);
        for term in affinity.get("requiredDuringSchedulingIgnoredDuringExecution").items() {
            null_selector(term, out);
        }
        for term in affinity.get("preferredDuringSchedulingIgnoredDuringExecution").items() {
            null_selector(term.get("podAffinityTerm"), out);
        }
    }
}

fn null_selector(term: At, out: &mut Vec<String>) {
    if !term.get("labelSelector").is_set() {
        out.push(format!("{}: {NO_SELECTOR}", term.path.key("labelSelector")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use value::value;

    fn check(template: Value, want: Expect) {
        want.assert_eq(&warnings(At::root(&template)).join("\n"));
    }

    #[test]
    fn nothing_to_say() {
        check(
            value!({"spec": {"containers": [{"name": "a", "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}]}]}}),
            expect![""],
        );
    }

    #[test]
    fn of_the_pod() {
        check(
            value!({
                "metadata": {"annotations": {"seccomp.security.alpha.kubernetes.io/pod": "x"}},
                "spec": {
                    "nodeSelector": {"beta.kubernetes.io/os": "linux"},
                    "topologySpreadConstraints": [{"topologyKey": "failure-domain.beta.kubernetes.io/zone"}],
                    "affinity": {
                        "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"preference": {"matchExpressions": [
                            {"key": "node-role.kubernetes.io/master", "values": ["a b"]}]}}]},
                        "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "x"}]},
                    },
                    "volumes": [{"name": "a", "gitRepo": {}}, {"name": "b", "storageos": {}}],
                    "hostAliases": [{"ip": "010.0.0.1"}, {"ip": "010.0.0.1"}],
                    "imagePullSecrets": [{}, {}],
                    "overhead": {"memory": "500m"},
                    "terminationGracePeriodSeconds": -1,
                },
            }),
            expect![[r#"
                spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead
                spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].key: node-role.kubernetes.io/master is use "node-role.kubernetes.io/control-plane" instead
                spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].values[0]: a b is invalid, a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
                spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated since v1.17; use "topology.kubernetes.io/zone" instead
                spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod
                spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+
                spec.volumes[1].storageOS: deprecated in v1.22, non-functional in v1.25+
                spec.hostAliases[1].ip: duplicate ip "010.0.0.1"
                spec.imagePullSecrets[1].name: duplicate name ""
                spec.imagePullSecrets[0].name: invalid empty name ""
                spec.imagePullSecrets[1].name: invalid empty name ""
                spec.overhead[memory]: fractional byte value "500m" is invalid, must be an integer
                metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the "seccompProfile" field instead
                spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1
                spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector: a null labelSelector results in matching no pod
                spec.hostAliases[0].ip: non-standard IP address "010.0.0.1" is invalid: use "10.0.0.1"
                spec.hostAliases[1].ip: non-standard IP address "010.0.0.1" is invalid: use "10.0.0.1""#]],
        );
    }

    #[test]
    fn of_its_containers() {
        check(
            value!({"spec": {
                "initContainers": [{"name": "i", "ports": [{"name": "web", "containerPort": 80, "protocol": "TCP", "hostIP": "1.2.3.4"}]}],
                "containers": [
                    {"name": "a", "resources": {"limits": {"memory": "1500m"}}, "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]},
                    {"name": "b", "ports": [{"name": "web", "containerPort": 80, "protocol": "TCP"}, {"containerPort": 81, "protocol": "TCP"},
                        {"containerPort": 81, "protocol": "TCP"}, {"containerPort": 81, "protocol": "TCP", "hostPort": 81},
                        {"containerPort": 81, "protocol": "TCP", "hostPort": 81, "hostIP": "1.2.3.4"}]},
                ],
            }}),
            expect![[r#"
                spec.containers[0].resources.limits[memory]: fractional byte value "1500m" is invalid, must be an integer
                spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply
                spec.initContainers[0].ports[0]: hostIP set without hostPort: {Name:web HostPort:0 ContainerPort:80 Protocol:TCP HostIP:1.2.3.4}
                spec.containers[1].ports[0]: overlapping port definition with spec.initContainers[0].ports[0]
                spec.containers[1].ports[2]: duplicate port definition with spec.containers[1].ports[1]
                spec.containers[1].ports[3]: overlapping port definition with spec.containers[1].ports[1]
                spec.containers[1].ports[3]: overlapping port definition with spec.containers[1].ports[2]
                spec.containers[1].ports[4]: overlapping port definition with spec.containers[1].ports[1]
                spec.containers[1].ports[4]: overlapping port definition with spec.containers[1].ports[2]
                spec.containers[1].ports[4]: dangerously ambiguous port definition with spec.containers[1].ports[3]
                spec.containers[1].ports[0]: duplicate port name "web" with spec.initContainers[0].ports[0], services and probes that select ports by name will use spec.initContainers[0].ports[0]"#]],
        );
    }
}
