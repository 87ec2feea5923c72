//! Node: a machine that runs pods. The kubelet registers it with its status, so a creation keeps the status.

use crate::{at::At, cells::condition, declare::declare, ip, rules::same, template};
use base::FieldErrors;
use schema::{Column, Connector, Context, Hooks, Kind, Listener, Verb};
use std::collections::BTreeSet;
use value::Value;

pub fn kind() -> Kind {
    use Verb::{Create, Delete, Get, Patch, Update};
    declare("", "Node")
        .short(["no"])
        .cluster()
        .version("v1", "io.k8s.api.core.v1.Node", columns())
        .fields("status", [&["status"]])
        .stored_under("minions")
        .server(
            "proxy",
            Connector::Proxy(Listener::Kubelet),
            Some(("", "v1", "NodeProxyOptions")),
            [Create, Delete, Get, Patch, Update],
        )
        .selectable_at("spec.unschedulable", "spec.unschedulable", "false")
        .hooks(Node)
        .build()
}

fn columns() -> Vec<Column> {
    vec![
        Column::object_name(),
        Column::text("Status", |node, _| status(node).into()),
        Column::text("Roles", |node, _| roles(node).into()),
        Column::age(),
        Column::text("Version", |node, _| node.str_at(&["status", "nodeInfo", "kubeletVersion"]).into()),
        Column::text("Internal-IP", |node, _| address(node, "InternalIP").into()).wide(),
        Column::text("External-IP", |node, _| address(node, "ExternalIP").into()).wide(),
        Column::text("OS-Image", |node, _| info(node, "osImage").into()).wide(),
        Column::text("Kernel-Version", |node, _| {
            let machine = node.str_at(&["status", "nodeInfo", "architecture"]);
            let kernel = info(node, "kernelVersion");
            if machine.is_empty() { kernel.into() } else { format!("{kernel} ({machine})").into() }
        })
        .wide(),
        Column::text("Container-Runtime", |node, _| info(node, "containerRuntimeVersion").into()).wide(),
    ]
}

fn status(node: &Value) -> String {
    let ready = match condition(node, "Ready").map(|c| c.str_at(&["status"])) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let cordoned = node.at(&["spec", "unschedulable"]).as_bool() == Some(true);
    format!("{ready}{}", if cordoned { ",SchedulingDisabled" } else { "" })
}

fn roles(node: &Value) -> String {
    let role = |(key, value): (&str, &Value)| match key.strip_prefix("node-role.kubernetes.io/") {
        Some(role) => Some(role.to_string()),
        None if key == "kubernetes.io/role" => value.as_str().map(String::from),
        None => None,
    };
    let labels = node.members_at(&["metadata", "labels"]);
    let roles: BTreeSet<String> = labels.filter_map(role).filter(|r| !r.is_empty()).collect();
    crate::cells::or_none(&roles.into_iter().collect::<Vec<_>>().join(",")).into()
}

fn address<'a>(node: &'a Value, ty: &str) -> &'a str {
    let addresses = node.items_at(&["status", "addresses"]);
    addresses.iter().find(|a| a.str_at(&["type"]) == ty).map_or("<none>", |a| a.str_at(&["address"]))
}

fn info<'a>(node: &'a Value, field: &str) -> &'a str {
    match node.str_at(&["status", "nodeInfo", field]) {
        "" => "<unknown>",
        text => text,
    }
}

#[derive(Debug)]
struct Node;

impl Hooks for Node {
    fn default(&self, obj: &mut Value) {
        let capacity = obj.at(&["status", "capacity"]).clone();
        if !capacity.is_null() {
            obj.set_default(&["status", "allocatable"], capacity);
        }
    }

    fn prepare_update(&self, cx: &Context, obj: &mut Value, old: &Value) {
        if cx.subresource.is_none() {
            match old.at(&["status"]) {
                Value::Null => drop(obj.remove(&["status"])),
                status => obj.set(&["status"], status),
            }
        }
    }

    fn validate(&self, _cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        let (spec, status, metadata) = (root.get("spec"), root.get("status"), root.get("metadata"));
        for list in ["capacity", "allocatable"] {
            for (_, amount) in status.get(list).entries() {
                amount.quantity(errors);
            }
        }
        pod_networks(spec.get("podCIDRs"), old, errors);
        if let Some(old) = old {
            changes(root, old, errors);
        }
        // Upstream's path is below metadata.
        template::taints(At { value: spec.get("taints").value, path: metadata.path.key("taints") }, errors);
    }

    fn warnings(&self, _cx: &Context, obj: &Value, _old: Option<&Value>) -> Vec<String> {
        let root = At::root(obj);
        let (spec, mut warnings) = (root.get("spec"), Vec::new());
        if spec.get("configSource").is_set() {
            warnings.push("spec.configSource: the feature is removed".into());
        }
        if !spec.get("externalID").is_empty() {
            warnings.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".into());
        }
        for cidr in spec.get("podCIDRs").items() {
            warnings.extend(ip::cidr_warnings(cidr.path, cidr.str()));
        }
        warnings
    }
}

/// One network for pods, or one of each family.
fn pod_networks(cidrs: At, old: Option<&Value>, errors: &mut FieldErrors) {
    let kept = old.map(|old| old.items_at(&["spec", "podCIDRs"])).unwrap_or_default();
    let kept: Vec<&str> = kept.iter().filter_map(Value::as_str).collect();
    let families: Vec<bool> =
        cidrs.items().filter_map(|cidr| cidr.any_cidr(errors, &kept)).map(|(network, _)| network.is_ipv4()).collect();
    if cidrs.len() > 1 && (cidrs.len() > 2 || families.len() == 2 && families[0] == families[1]) {
        cidrs.invalid(errors, "may specify no more than one CIDR for each IP family");
    }
}

fn changes(root: At, old: &Value, errors: &mut FieldErrors) {
    let (spec, status) = (root.get("spec"), root.get("status"));
    let mut seen = Vec::new();
    for address in status.get("addresses").items() {
        if seen.contains(address.value) {
            address.duplicate(errors);
        }
        seen.push(address.value.clone());
    }
    let cidrs = old.at(&["spec", "podCIDRs"]);
    if cidrs.as_array().is_some_and(|c| !c.is_empty()) && !same(cidrs, spec.get("podCIDRs").value) {
        spec.get("podCIDRs").forbidden(errors, "node updates may not change podCIDR except from \"\" to valid");
    }
    if spec.get("externalID").str() != old.str_at(&["spec", "externalID"]) {
        spec.get("externalID").forbidden(errors, "may not be updated");
    }
    let provider = old.str_at(&["spec", "providerID"]);
    if !provider.is_empty() && spec.get("providerID").str() != provider {
        spec.get("providerID").forbidden(errors, "node updates may not change providerID except from \"\" to valid");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cells, create, update};
    use expect_test::expect;
    use value::value;

    #[test]
    fn validation() {
        create(
            &kind(),
            value!({"spec": {"podCIDRs": ["10.0.0/8"], "taints": [
                {"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoSchedule"}, {"key": "b", "effect": "No"}]}}),
            expect![[r#"
                spec.podCIDRs[0]: Invalid value: "10.0.0/8": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)
                metadata.taints[1]: Duplicate value: {"effect":"NoSchedule","key":"a"}: taints must be unique by key and effect pair
                metadata.taints[2].effect: Unsupported value: "No": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute""#]],
        );
    }

    #[test]
    fn what_a_node_keeps() {
        update(
            &kind(),
            value!({"spec": {"podCIDRs": ["10.0.0.0/8"], "providerID": "a"}}),
            value!({"spec": {"podCIDRs": ["10.1.0.0/16"], "providerID": "b"}}),
            expect![[r#"
                spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid
                spec.providerID: Forbidden: node updates may not change providerID except from "" to valid"#]],
        );
    }

    #[test]
    fn columns() {
        cells(
            &kind(),
            value!({
                "metadata": {"labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "x"}},
                "spec": {"unschedulable": true},
                "status": {
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "addresses": [{"type": "InternalIP", "address": "10.0.0.2"}],
                    "nodeInfo": {"kubeletVersion": "v1.36.2", "kernelVersion": "6.18", "architecture": "amd64"},
                },
            }),
            expect![
                "obj | Ready,SchedulingDisabled | control-plane,x | 5m | v1.36.2 || 10.0.0.2 | <none> | <unknown> | 6.18 (amd64) | <unknown>"
            ],
        );
    }
}
