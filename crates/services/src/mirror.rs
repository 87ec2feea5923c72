//! EndpointSlice mirroring: Endpoints that somebody writes by hand, for a Service without selector, become slices too.
//! Source: `pkg/controller/endpointslicemirroring`, KEP-752.
//!
//! One slice per set of ports and address family. What carries `skip-mirror`, or is a leader election's lock of old, is not
//! mirrored; neither is what the endpoints controller made, because its Service has a selector.

use crate::{
    plan::{MANAGED_BY, Plan, SERVICE_NAME},
    run::apply,
};
use base::{clock::Clock, time::Timestamp};
use client::{Client, kinds};
use control::{Cache, Caches, Outcome, Queue, Reconciler};
use std::{net::IpAddr, sync::Arc};
use value::{Map, ObjectKey, Str, Value, value};

/// Our word in the label that says who writes a slice.
pub const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Annotations that say something about the Endpoints object itself.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
const CHANGED: &str = "endpoints.kubernetes.io/last-change-trigger-time";
const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// `--mirroring-max-endpoints-per-subset`
const MAX_ENDPOINTS: usize = 1000;

/// The index of slices by what they mirror.
const OWN: &str = "mirrored";

struct Mirror {
    client: Client,
    services: Cache,
    endpoints: Cache,
    slices: Cache,
}

/// Runs the controller until its caches end.
pub async fn run(caches: Caches, clock: Arc<dyn Clock>) {
    let queue: Queue<ObjectKey> = Queue::default();
    let controller = Arc::new(Mirror {
        client: caches.client().clone(),
        services: caches.kind(&kinds::SERVICES),
        endpoints: caches.kind(&kinds::ENDPOINTS),
        slices: caches.kind(&kinds::ENDPOINT_SLICES),
    });
    controller.slices.index(OWN, |slice| {
        let name = slice.meta.label(SERVICE_NAME).filter(|_| slice.meta.label(MANAGED_BY) == Some(MANAGER));
        name.map(|name| Str::from(format!("{}/{name}", slice.key.namespace))).into_iter().collect()
    });
    controller.services.subscribe_keys(&queue);
    controller.endpoints.subscribe_keys(&queue);
    controller.slices.subscribe(&queue, |event| {
        let slice = event.latest();
        let name = slice.meta.label(SERVICE_NAME).filter(|_| slice.meta.label(MANAGED_BY) == Some(MANAGER))?;
        Some(ObjectKey::new(event.key.namespace.clone(), name))
    });
    for synced in [&controller.services, &controller.endpoints, &controller.slices] {
        synced.wait_synced().await;
    }
    control::run(controller, queue, 2, clock).await;
}

impl Reconciler for Mirror {
    type Key = ObjectKey;
    type Plan = Plan;

    fn name(&self) -> &'static str {
        "endpointslicemirroring"
    }

    fn plan(&self, key: &ObjectKey, _now: Timestamp) -> Option<Plan> {
        let of = |cache: &Cache| cache.get(key).filter(|o| !o.meta.deleting).map(|o| o.value());
        let slices: Vec<Value> = self.slices.by_index(OWN, &key.to_string()).iter().map(|o| o.value()).collect();
        let plan = plan(of(&self.services).as_ref(), of(&self.endpoints).as_ref(), &slices);
        (!plan.is_empty()).then_some(plan)
    }

    async fn execute(&self, key: &ObjectKey, plan: Plan) -> Result<Outcome, client::Error> {
        apply(&self.client, &self.slices, key, &plan).await?;
        Ok(Outcome::Done)
    }
}

/// What the slices of Endpoints lack.
pub fn plan(service: Option<&Value>, endpoints: Option<&Value>, slices: &[Value]) -> Plan {
    let mut plan = Plan::default();
    let mut left: Vec<&Value> = slices.iter().collect();
    let mut missing = Vec::new();
    for wanted in endpoints.filter(|endpoints| mirrored(service, endpoints)).map(desired).unwrap_or_default() {
        let shape = |slice: &Value| slice.at(&["addressType"]) == wanted.at(&["addressType"]);
        let ports = |slice: &Value| slice.at(&["ports"]) == wanted.at(&["ports"]);
        match left.iter().position(|slice| shape(slice) && ports(slice)) {
            Some(i) => replace(&mut plan, left.remove(i), wanted),
            None => missing.push(wanted),
        }
    }
    // A slice that nobody wants becomes one that is missing; its address family cannot change.
    for wanted in missing {
        match left.iter().position(|slice| slice.at(&["addressType"]) == wanted.at(&["addressType"])) {
            Some(i) => replace(&mut plan, left.remove(i), wanted),
            None => plan.create.push(wanted),
        }
    }
    plan.delete = left.into_iter().map(|slice| slice.name().into()).collect();
    plan
}

fn replace(plan: &mut Plan, present: &Value, mut wanted: Value) {
    let fields: [&[&str]; 4] = [&["endpoints"], &["ports"], &["metadata", "labels"], &["metadata", "annotations"]];
    if fields.iter().all(|field| present.at(field) == wanted.at(field)) {
        return;
    }
    wanted.remove(&["metadata", "generateName"]);
    for field in ["name", "resourceVersion"] {
        wanted.set(&["metadata", field], present.at(&["metadata", field]));
    }
    plan.update.push(wanted);
}

fn mirrored(service: Option<&Value>, endpoints: &Value) -> bool {
    let selects = service.is_none_or(|s| s.at(&["spec", "selector"]).as_object().is_some_and(|m| !m.is_empty()));
    let skipped = endpoints.str_at(&["metadata", "labels", SKIP]) == "true";
    !selects && !skipped && endpoints.at(&["metadata", "annotations", LEADER]).is_null()
}

/// The slices that mirror Endpoints, with `generateName`.
fn desired(endpoints: &Value) -> Vec<Value> {
    let mut slices: Vec<(&str, Vec<Value>, Vec<Value>)> = Vec::new();
    for subset in endpoints.items_at(&["subsets"]) {
        let ports: Vec<Value> = subset.items_at(&["ports"]).iter().map(port).collect();
        let ready = subset.items_at(&["addresses"]).iter().map(|a| (a, true));
        for (address, ready) in ready.chain(subset.items_at(&["notReadyAddresses"]).iter().map(|a| (a, false))) {
            let Ok(ip) = address.str_at(&["ip"]).parse::<IpAddr>() else { continue };
            let family = if ip.is_ipv6() { "IPv6" } else { "IPv4" };
            let at = slices.iter().position(|s| s.0 == family && s.1 == ports).unwrap_or_else(|| {
                slices.push((family, ports.clone(), Vec::new()));
                slices.len() - 1
            });
            let Some((_, _, found)) = slices.get_mut(at) else { continue };
            let endpoint = endpoint(address, ip, ready);
            let same = |e: &Value| {
                e.at(&["addresses"]) == endpoint.at(&["addresses"])
                    && e.at(&["targetRef"]) == endpoint.at(&["targetRef"])
            };
            if found.len() < MAX_ENDPOINTS && !found.iter().any(same) {
                found.push(endpoint);
            }
        }
    }
    slices.into_iter().map(|(family, ports, found)| slice(endpoints, family, ports, found)).collect()
}

fn port(port: &Value) -> Value {
    let protocol = if port.str_at(&["protocol"]).is_empty() { "TCP" } else { port.str_at(&["protocol"]) };
    let mut out = value!({"name": port.str_at(&["name"]), "protocol": protocol, "port": port.at(&["port"]).clone()});
    if !port.at(&["appProtocol"]).is_null() {
        out.set(&["appProtocol"], port.at(&["appProtocol"]));
    }
    out
}

fn endpoint(address: &Value, ip: IpAddr, ready: bool) -> Value {
    let mut out = value!({"addresses": [ip.to_string()], "conditions": {"ready": ready}});
    for field in ["targetRef", "nodeName", "hostname"] {
        if !address.at(&[field]).is_null() {
            out.set(&[field], address.at(&[field]));
        }
    }
    out
}

fn slice(of: &Value, family: &str, ports: Vec<Value>, found: Vec<Value>) -> Value {
    let mut slice = value!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "generateName": format!("{}-", of.name()), "namespace": of.namespace(),
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Endpoints", "name": of.name(), "uid": of.str_at(&["metadata", "uid"]),
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "addressType": family,
    });
    let mut labels: Map = of.at(&["metadata", "labels"]).as_object().cloned().unwrap_or_default();
    labels.insert(SERVICE_NAME, of.name());
    labels.insert(MANAGED_BY, MANAGER);
    slice.set(&["metadata", "labels"], Value::Object(labels));
    let mut annotations: Map = of.at(&["metadata", "annotations"]).as_object().cloned().unwrap_or_default();
    annotations.remove(CHANGED);
    annotations.remove(APPLIED);
    if !annotations.is_empty() {
        slice.set(&["metadata", "annotations"], Value::Object(annotations));
    }
    slice.set(&["ports"], ports);
    slice.set(&["endpoints"], found);
    slice
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> Value {
        value!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}})
    }

    fn endpoints() -> Value {
        value!({"metadata": {"name": "web", "namespace": "ns", "uid": "e", "labels": {"team": "a"}}, "subsets": [{
            "addresses": [{"ip": "10.1.2.3"}, {"ip": "fd00::1"}], "notReadyAddresses": [{"ip": "10.1.2.4", "nodeName": "n"}],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        }]})
    }

    fn named(mut slice: Value, name: &str) -> Value {
        slice.set(&["metadata", "name"], name);
        slice.set(&["metadata", "resourceVersion"], "7");
        slice
    }

    #[test]
    fn a_slice_for_each_family_and_set_of_ports() {
        let made = plan(Some(&service()), Some(&endpoints()), &[]).create;
        assert_eq!(made.len(), 2);
        assert_eq!(
            made[0].at(&["endpoints"]).to_string(),
            r#"[{"addresses":["10.1.2.3"],"conditions":{"ready":true}},{"addresses":["10.1.2.4"],"conditions":{"ready":false},"nodeName":"n"}]"#
        );
        assert_eq!(made[1].str_at(&["addressType"]), "IPv6");
        assert_eq!(made[0].str_at(&["metadata", "labels", MANAGED_BY]), MANAGER);
        assert_eq!(made[0].str_at(&["metadata", "labels", "team"]), "a");
        let present = [named(made[0].clone(), "web-1"), named(made[1].clone(), "web-2")];
        assert!(plan(Some(&service()), Some(&endpoints()), &present).is_empty());
    }

    #[test]
    fn what_changes_is_written_in_place() {
        let made = plan(Some(&service()), Some(&endpoints()), &[]).create;
        let present = [named(made[0].clone(), "web-1"), named(made[1].clone(), "web-2")];
        let mut next = endpoints();
        next.set(&["subsets"], value!([{"addresses": [{"ip": "10.1.2.9"}], "ports": [{"name": "web", "port": 81}]}]));
        let changes = plan(Some(&service()), Some(&next), &present);
        assert_eq!((changes.create.len(), changes.update.len()), (0, 1));
        assert_eq!((changes.update[0].name(), changes.delete), ("web-1", vec![Str::from("web-2")]));
    }

    #[test]
    fn what_is_not_mirrored() {
        let (mut selecting, mut skipped, mut lock) = (service(), endpoints(), endpoints());
        selecting.set(&["spec", "selector"], value!({"a": "b"}));
        skipped.set(&["metadata", "labels", SKIP], "true");
        lock.set(&["metadata", "annotations", LEADER], "{}");
        let present = [named(plan(Some(&service()), Some(&endpoints()), &[]).create[0].clone(), "web-1")];
        for (service, endpoints) in [
            (None, Some(&endpoints())),
            (Some(&service()), None),
            (Some(&selecting), Some(&endpoints())),
            (Some(&service()), Some(&skipped)),
            (Some(&service()), Some(&lock)),
        ] {
            let got = plan(service, endpoints, &present);
            assert_eq!(got, Plan { delete: vec!["web-1".into()], ..Plan::default() });
        }
    }
}
