//! Pod: containers that share a node, a network and volumes.
//!
//! The spec's rules are in [`crate::template`], where other kinds find them too. Here: what only a pod has (phase, QoS
//! class, requests from limits, grace), which updates it allows ([`update`]), its actions ([`act`]) and its columns.

mod act;
mod columns;
mod label_keys;
mod qos;
mod update;

use crate::{
    at::At,
    declare::declare,
    template::{self, In},
};
use base::{FieldErrors, Result};
use schema::{ActOutcome, Connector, Context, Hooks, Kind, Listener, Verb};
use value::{Value, value};

pub fn kind() -> Kind {
    use Verb::{Create, Delete, Get, Patch, Update};
    let stream = |kind| Some(("", "v1", kind));
    declare("", "Pod")
        .answers_deleted()
        .short(["po"])
        .categories(["all"])
        .version("v1", "io.k8s.api.core.v1.Pod", columns::columns())
        .generation()
        .graceful()
        .status()
        .fields("ephemeralcontainers", [&["spec", "ephemeralContainers"]])
        .without_metadata()
        .fields("resize", [&["spec", "containers"], &["spec", "initContainers"], &["spec", "resources"]])
        .without_metadata()
        .act("binding", ("", "v1", "Binding"))
        .act("eviction", ("policy", "v1", "Eviction"))
        .server("log", Connector::Log, None, [Get])
        .server("attach", Connector::Stream, stream("PodAttachOptions"), [Create, Get])
        .server("exec", Connector::Stream, stream("PodExecOptions"), [Create, Get])
        .server("portforward", Connector::Stream, stream("PodPortForwardOptions"), [Create, Get])
        .server(
            "proxy",
            Connector::Proxy(Listener::Itself),
            stream("PodProxyOptions"),
            [Create, Delete, Get, Patch, Update],
        )
        .selectable(["spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName"])
        .indexed("spec.nodeName")
        .selectable_at("spec.hostNetwork", "spec.hostNetwork", "false")
        .selectable(["status.phase", "status.podIP", "status.nominatedNodeName"])
        .hooks(Pod)
        .build()
}

#[derive(Debug)]
struct Pod;

impl Hooks for Pod {
    fn default(&self, obj: &mut Value) {
        sync_ips(obj);
        if obj.at(&["spec"]).as_object().is_none() {
            return;
        }
        let spec = obj.at_mut(&["spec"]);
        template::defaults(spec);
        template::default_resources(spec);
        template::default_pod_resources(spec);
        spec.set_default(&["enableServiceLinks"], true);
        if spec.at(&["hostNetwork"]).as_bool() == Some(true) {
            host_ports(spec);
        }
    }

    fn prepare_create(&self, _cx: &Context, obj: &mut Value) {
        if obj.at(&["spec"]).as_object().is_some() {
            sync_service_account(obj.at_mut(&["spec"]));
        }
        label_keys::merge(obj);
        let mut status = value!({"phase": "Pending", "qosClass": qos::class(obj)});
        if !obj.items_at(&["spec", "schedulingGates"]).is_empty() {
            status.set(
                &["conditions"],
                value!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                    "message": "Scheduling is blocked due to non-empty scheduling gates", "lastProbeTime": null,
                    "lastTransitionTime": null}]),
            );
        }
        obj.set(&["status"], status);
    }

    fn prepare_update(&self, cx: &Context, obj: &mut Value, old: &Value) {
        match cx.subresource {
            None => sync_service_account(obj.at_mut(&["spec"])),
            Some("status") => update::keep_status(obj, old),
            Some("resize") => update::keep_all_but_resources(obj, old),
            _ => {}
        }
    }

    fn validate(&self, cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        let spec = root.get("spec");
        match (cx.subresource, old) {
            (Some("status"), Some(old)) => update::status(root, old, errors),
            (Some("ephemeralcontainers"), Some(old)) => {
                template::validate(spec, In::Pod, errors);
                update::ephemeral_containers(spec, old, errors);
            }
            (Some("resize"), Some(old)) => {
                template::validate(spec, In::Pod, errors);
                update::resize(root, old, errors);
            }
            (_, Some(old)) => {
                template::validate(spec, In::Pod, errors);
                update::spec(spec, old.at(&["spec"]), errors);
            }
            (_, None) => {
                template::validate(spec, In::Pod, errors);
                create(spec, errors);
            }
        }
    }

    /// Only at creation: nobody reads what a kubelet is told.
    fn warnings(&self, cx: &Context, obj: &Value, old: Option<&Value>) -> Vec<String> {
        if old.is_some() || cx.subresource.is_some() {
            return Vec::new();
        }
        let mut warnings = Vec::new();
        if let Err(why) = base::names::label(obj.name()) {
            warnings.push(format!(
                "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; \
                 a DNS label is recommended: [{why}]"
            ));
        }
        warnings.extend(template::warnings(At::root(obj)));
        warnings
    }

    /// A pod that no node knows, or that has ended, goes at once.
    fn grace(&self, obj: &Value, requested: Option<i64>) -> i64 {
        let ended = ["Failed", "Succeeded"].contains(&obj.str_at(&["status", "phase"]));
        if obj.str_at(&["spec", "nodeName"]).is_empty() || ended {
            return 0;
        }
        let own = || obj.at(&["spec", "terminationGracePeriodSeconds"]).as_i64().unwrap_or(0);
        match requested.unwrap_or_else(own) {
            negative if negative < 0 => 1,
            seconds => seconds,
        }
    }

    fn act(&self, cx: &Context, body: &Value, obj: &mut Value) -> Result<ActOutcome> {
        match cx.subresource {
            Some("binding") => act::bind(cx, body, obj),
            Some("eviction") => act::evict(cx, body, obj),
            _ => Err(base::Status::method_not_allowed()),
        }
    }
}

/// `serviceAccount` is the old name of `serviceAccountName`; admission sets the new one only.
fn sync_service_account(spec: &mut Value) {
    let account = spec.str_at(&["serviceAccountName"]).to_string();
    if !account.is_empty() {
        spec.set(&["serviceAccount"], account);
    }
}

/// The old singular address is the first of the list. Clients may write either; where both differ the singular counts.
fn sync_ips(obj: &mut Value) {
    let ip = obj.str_at(&["status", "podIP"]).to_string();
    let first = obj.items_at(&["status", "podIPs"]).first().map_or("", |ip| ip.str_at(&["ip"])).to_string();
    match (ip.as_str(), first.as_str()) {
        ("", "") => {}
        ("", first) => obj.set(&["status", "podIP"], first),
        (ip, first) if ip != first => obj.set(&["status", "podIPs"], value!([{ "ip": ip }])),
        _ => {}
    }
}

/// With the host's network every port of a container is one of the host.
fn host_ports(spec: &mut Value) {
    for list in ["containers", "initContainers"] {
        for container in spec.array_at_mut(&[list]).into_iter().flatten() {
            for port in container.array_at_mut(&["ports"]).into_iter().flatten() {
                if port.at(&["hostPort"]).as_i64().unwrap_or(0) == 0 {
                    let own = port.at(&["containerPort"]).clone();
                    port.set(&["hostPort"], own);
                }
            }
        }
    }
}

fn create(spec: At, errors: &mut FieldErrors) {
    let ephemeral = spec.get("ephemeralContainers");
    if !ephemeral.is_empty() {
        ephemeral.forbidden(errors, "cannot be set on create");
    }
    let node = spec.get("nodeName");
    if !node.is_empty() && !spec.get("schedulingGates").is_empty() {
        node.forbidden(errors, "cannot be set until all schedulingGates have been cleared");
    }
}

#[cfg(test)]
mod tests;
