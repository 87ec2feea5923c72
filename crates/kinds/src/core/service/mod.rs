//! Service: one stable address for a set of pods.
//!
//! Cluster addresses and node ports are claims: [`addresses`] looks for free ones and the engine commits them with the
//! object. [`validate`] has the rules; here stand declaration, defaults and columns.

mod addresses;
mod columns;
mod validate;
mod warnings;

use crate::declare::declare;
use base::{FieldErrors, Result};
use schema::{Claim, Connector, Context, Hooks, Kind, Listener, NameRule, Pool, Verb};
use value::{Value, value};

const THREE_HOURS: i64 = 10_800;

pub fn kind() -> Kind {
    use Verb::{Create, Delete, Get, Patch, Update};
    declare("", "Service")
        .answers_deleted()
        .short(["svc"])
        .categories(["all"])
        .names(NameRule::Label)
        .version("v1", "io.k8s.api.core.v1.Service", columns::columns())
        .status()
        .stored_under("services/specs")
        .server(
            "proxy",
            Connector::Proxy(Listener::Endpoint),
            Some(("", "v1", "ServiceProxyOptions")),
            [Create, Delete, Get, Patch, Update],
        )
        .create_on_update()
        .selectable(["spec.clusterIP", "spec.type"])
        .hooks(Service)
        .build()
}

#[derive(Debug)]
struct Service;

impl Hooks for Service {
    fn default(&self, obj: &mut Value) {
        if obj.at(&["spec"]).as_object().is_none() {
            return;
        }
        let spec = obj.at_mut(&["spec"]);
        match spec.str_at(&["sessionAffinity"]) {
            "None" => drop(spec.remove(&["sessionAffinityConfig"])),
            "ClientIP" => spec.set_default(&["sessionAffinityConfig", "clientIP", "timeoutSeconds"], THREE_HOURS),
            _ => {}
        }
        if externally_accessible(spec) {
            spec.set_default(&["externalTrafficPolicy"], "Cluster");
        }
        if ["ClusterIP", "NodePort", "LoadBalancer"].contains(&spec.str_at(&["type"])) {
            spec.set_default(&["internalTrafficPolicy"], "Cluster");
        }
        if spec.str_at(&["type"]) == "LoadBalancer" {
            spec.set_default(&["allocateLoadBalancerNodePorts"], true);
            for ingress in obj.array_at_mut(&["status", "loadBalancer", "ingress"]).into_iter().flatten() {
                if !ingress.str_at(&["ip"]).is_empty() {
                    ingress.set_default(&["ipMode"], "VIP");
                }
            }
        }
    }

    fn prepare_create(&self, _cx: &Context, obj: &mut Value) {
        obj.set(&["status"], value!({"loadBalancer": {}}));
        addresses::mirror(obj, None);
    }

    fn prepare_update(&self, cx: &Context, obj: &mut Value, old: &Value) {
        if cx.subresource.is_none() {
            addresses::release(obj, old);
            addresses::keep(obj, old);
            addresses::mirror(obj, Some(old));
        }
    }

    fn allocate(&self, cx: &Context, obj: &mut Value, old: Option<&Value>, pool: &dyn Pool) -> Result<()> {
        if cx.subresource.is_none() { addresses::allocate(cx, obj, old, pool) } else { Ok(()) }
    }

    fn allocates(&self) -> bool {
        true
    }

    fn claims(&self, obj: &Value) -> Vec<Claim> {
        addresses::claims(obj)
    }

    fn validate(&self, cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        match cx.subresource {
            None => validate::service(obj, old, errors),
            Some(_) => validate::status(obj, old, errors),
        }
    }

    fn warnings(&self, cx: &Context, obj: &Value, _old: Option<&Value>) -> Vec<String> {
        match cx.subresource {
            None => warnings::service(obj),
            Some(_) => warnings::status(obj),
        }
    }
}

/// Reached from outside the cluster by the node's or other addresses.
fn externally_accessible(spec: &Value) -> bool {
    ["NodePort", "LoadBalancer"].contains(&spec.str_at(&["type"]))
        || spec.str_at(&["type"]) == "ClusterIP" && !spec.items_at(&["externalIPs"]).is_empty()
}

fn is_headless(spec: &Value) -> bool {
    spec.items_at(&["clusterIPs"]).first().is_some_and(|ip| *ip == "None") || spec.str_at(&["clusterIP"]) == "None"
}

fn needs_node_ports(spec: &Value) -> bool {
    ["NodePort", "LoadBalancer"].contains(&spec.str_at(&["type"]))
}

/// A port of its own for health checks of a load balancer that must not cross nodes.
fn needs_health_port(spec: &Value) -> bool {
    spec.str_at(&["type"]) == "LoadBalancer" && spec.str_at(&["externalTrafficPolicy"]) == "Local"
}

#[cfg(test)]
mod tests;
