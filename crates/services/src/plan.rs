//! Which EndpointSlices a Service should have. Source: KEP-752, `staging/src/k8s.io/endpointslice`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use value::{Map, Object, Str, Value, value};

/// The label that ties a slice to its Service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The label that says who writes a slice, and our word in it.
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub const MANAGER: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";

/// `--max-endpoints-per-slice`
const MAX_ENDPOINTS: usize = 100;

/// What a Service's slices lack.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// Whole objects, with `generateName`.
    pub create: Vec<Value>,
    /// Whole objects, with their names and resource versions.
    pub update: Vec<Value>,
    /// Names.
    pub delete: Vec<Str>,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        *self == Plan::default()
    }
}

/// What is read of a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Pod {
    pub name: Str,
    pub namespace: Str,
    pub uid: Str,
    pub labels: Box<[(Str, Str)]>,
    pub ips: Vec<Str>,
    pub node: Str,
    pub hostname: Str,
    pub subdomain: Str,
    pub ready: bool,
    pub terminating: bool,
    /// Succeeded or failed.
    pub finished: bool,
    /// Container ports with a name: (name, protocol, port).
    pub ports: Vec<(Str, Str, i64)>,
}

impl control::Projection for Pod {
    fn project(object: &Object) -> Option<Self> {
        let v = object.tree();
        let phase = v.str_at(&["status", "phase"]);
        let ready = v
            .items_at(&["status", "conditions"])
            .iter()
            .any(|c| c.str_at(&["type"]) == "Ready" && c.str_at(&["status"]) == "True");
        let containers = v.items_at(&["spec", "initContainers"]).iter().chain(v.items_at(&["spec", "containers"]));
        let ports = containers.flat_map(|c| c.items_at(&["ports"])).filter_map(|p| {
            let protocol = if p.str_at(&["protocol"]).is_empty() { "TCP" } else { p.str_at(&["protocol"]) };
            let name = p.str_at(&["name"]);
            (!name.is_empty()).then(|| Some((name.into(), protocol.into(), p.at(&["containerPort"]).as_i64()?)))?
        });
        Some(Pod {
            name: object.key.name.clone(),
            namespace: object.key.namespace.clone(),
            uid: object.meta.uid.clone(),
            labels: object.meta.labels.clone(),
            ips: v.items_at(&["status", "podIPs"]).iter().map(|ip| ip.str_at(&["ip"]).into()).collect(),
            node: v.str_at(&["spec", "nodeName"]).into(),
            hostname: v.str_at(&["spec", "hostname"]).into(),
            subdomain: v.str_at(&["spec", "subdomain"]).into(),
            ready,
            terminating: object.meta.deleting,
            finished: phase == "Succeeded" || phase == "Failed",
            ports: ports.collect(),
        })
    }
}

impl Pod {
    /// True where a Service's selector takes it.
    pub fn selected_by(&self, selector: &Map) -> bool {
        let label =
            |key: &str| self.labels.binary_search_by(|(k, _)| k.as_str().cmp(key)).ok().map(|i| &self.labels[i].1);
        selector.iter().all(|(k, v)| label(k).map(Str::as_str) == v.as_str())
    }
    /// The number behind a `targetPort`.
    pub fn port(&self, target: &Value, protocol: &str) -> Option<i64> {
        match target {
            Value::Int(n) => Some(*n),
            Value::String(name) => self.ports.iter().find(|p| p.0 == *name && p.1 == protocol).map(|p| p.2),
            _ => None,
        }
    }
}

/// The pods of a Service in one shape, with the endpoints that they make.
struct Wanted {
    address_type: &'static str,
    ports: Vec<Value>,
    /// By pod uid.
    endpoints: BTreeMap<Str, Value>,
}

/// Compares what should be with what is. `slices` are the Service's own (managed by us), as cached; `None` for a Service
/// that is gone or has no selector.
pub fn plan(service: Option<&Value>, pods: &[Arc<Pod>], slices: &[Value], zone_of: &dyn Fn(&str) -> Str) -> Plan {
    let mut plan = Plan::default();
    let mut left: Vec<&Value> = slices.iter().collect();
    let Some(service) = service else {
        plan.delete = slices.iter().map(|s| s.name().into()).collect();
        return plan;
    };
    for wanted in wanted(service, pods, zone_of) {
        let (own, others): (Vec<&Value>, Vec<&Value>) = left
            .into_iter()
            .partition(|s| s.str_at(&["addressType"]) == wanted.address_type && s.items_at(&["ports"]) == wanted.ports);
        left = others;
        fill(&mut plan, service, wanted, &own);
    }
    plan.delete.extend(left.iter().map(|s| Str::from(s.name())));
    plan
}

/// Puts the wanted endpoints of one shape into the slices of that shape.
fn fill(plan: &mut Plan, service: &Value, mut wanted: Wanted, own: &[&Value]) {
    let mut kept: Vec<(&Value, Vec<Value>)> = Vec::new();
    for slice in own {
        let stay = slice
            .items_at(&["endpoints"])
            .iter()
            .filter_map(|e| wanted.endpoints.remove(e.str_at(&["targetRef", "uid"])));
        kept.push((slice, stay.collect()));
    }
    let mut fresh: Vec<Value> = wanted.endpoints.into_values().collect();
    for (_, endpoints) in &mut kept {
        let room = MAX_ENDPOINTS.saturating_sub(endpoints.len()).min(fresh.len());
        endpoints.extend(fresh.drain(..room));
    }
    // A Service without endpoints keeps one empty slice.
    let all_empty = kept.iter().all(|(_, e)| e.is_empty()) && fresh.is_empty();
    for (i, (slice, endpoints)) in kept.iter().enumerate() {
        if endpoints.is_empty() && !(all_empty && i == 0) {
            plan.delete.push(slice.name().into());
            continue;
        }
        let mut next = (*slice).clone();
        next.set(&["endpoints"], endpoints.clone());
        next.set(&["metadata", "labels"], labels(service));
        if !same(&next, slice) {
            plan.update.push(next);
        }
    }
    while !fresh.is_empty() || (all_empty && kept.is_empty() && plan.create.is_empty()) {
        let room = fresh.len().min(MAX_ENDPOINTS);
        let endpoints: Vec<Value> = fresh.drain(..room).collect();
        plan.create.push(new_slice(service, wanted.address_type, &wanted.ports, endpoints));
        if fresh.is_empty() {
            break;
        }
    }
}

fn same(a: &Value, b: &Value) -> bool {
    a.items_at(&["endpoints"]) == b.items_at(&["endpoints"])
        && a.at(&["metadata", "labels"]) == b.at(&["metadata", "labels"])
}

fn wanted(service: &Value, pods: &[Arc<Pod>], zone_of: &dyn Fn(&str) -> Str) -> Vec<Wanted> {
    let Some(selector) = service.at(&["spec", "selector"]).as_object().filter(|s| !s.is_empty()) else {
        return Vec::new();
    };
    let families = service.items_at(&["spec", "ipFamilies"]);
    let six = families.first().is_some_and(|f| *f == *"IPv6");
    let address_type = if six { "IPv6" } else { "IPv4" };
    let mut shapes: Vec<Wanted> = Vec::new();
    for pod in pods.iter().filter(|p| !p.finished && p.selected_by(selector)) {
        let Some(ip) = pod.ips.iter().find(|ip| ip.contains(':') == six) else { continue };
        let ports = ports(service, pod);
        let endpoint = endpoint(service, pod, ip, &zone_of(&pod.node));
        match shapes.iter_mut().find(|s| s.ports == ports) {
            Some(shape) => drop(shape.endpoints.insert(pod.uid.clone(), endpoint)),
            None => {
                let endpoints = BTreeMap::from([(pod.uid.clone(), endpoint)]);
                shapes.push(Wanted { address_type, ports, endpoints });
            }
        }
    }
    if shapes.is_empty() {
        shapes.push(Wanted { address_type, ports: Vec::new(), endpoints: BTreeMap::new() });
    }
    shapes
}

/// The slice's ports as one pod resolves them.
fn ports(service: &Value, pod: &Pod) -> Vec<Value> {
    let resolved = service.items_at(&["spec", "ports"]).iter().filter_map(|port| {
        let protocol = port.str_at(&["protocol"]);
        let target = port.at(&["targetPort"]);
        let target = if target.is_null() { port.at(&["port"]) } else { target };
        let mut out =
            value!({"name": port.str_at(&["name"]), "protocol": protocol, "port": pod.port(target, protocol)?});
        if !port.at(&["appProtocol"]).is_null() {
            out.set(&["appProtocol"], port.at(&["appProtocol"]));
        }
        Some(out)
    });
    resolved.collect()
}

fn endpoint(service: &Value, pod: &Pod, ip: &str, zone: &str) -> Value {
    let publish = service.at(&["spec", "publishNotReadyAddresses"]).as_bool().unwrap_or(false);
    let mut out = value!({
        "addresses": [ip],
        "conditions": {
            "ready": publish || (pod.ready && !pod.terminating),
            "serving": publish || pod.ready,
            "terminating": pod.terminating,
        },
        "targetRef": {
            "kind": "Pod", "namespace": pod.namespace.as_str(), "name": pod.name.as_str(), "uid": pod.uid.as_str(),
        },
    });
    if !pod.node.is_empty() {
        out.set(&["nodeName"], &pod.node);
    }
    if !zone.is_empty() {
        out.set(&["zone"], zone);
    }
    if !pod.hostname.is_empty() && pod.subdomain == service.name() {
        out.set(&["hostname"], &pod.hostname);
    }
    out
}

fn labels(service: &Value) -> Value {
    let mut labels: Map = service.at(&["metadata", "labels"]).as_object().cloned().unwrap_or_default();
    labels.remove(HEADLESS);
    if service.str_at(&["spec", "clusterIP"]) == "None" {
        labels.insert(HEADLESS, "");
    }
    labels.insert(SERVICE_NAME, service.name());
    labels.insert(MANAGED_BY, MANAGER);
    Value::Object(labels)
}

fn new_slice(service: &Value, address_type: &str, ports: &[Value], endpoints: Vec<Value>) -> Value {
    let mut slice = value!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "generateName": format!("{}-", service.name()), "namespace": service.namespace(),
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Service", "name": service.name(), "uid": service.str_at(&["metadata", "uid"]),
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "addressType": address_type,
    });
    slice.set(&["metadata", "labels"], labels(service));
    slice.set(&["ports"], ports.to_vec());
    slice.set(&["endpoints"], endpoints);
    slice
}

/// Keys of the Services that a pod's labels may concern, among those given.
pub fn services_of<'a>(labels: &[&Pod], services: impl Iterator<Item = &'a (Str, Map)>) -> BTreeSet<Str> {
    let selected =
        services.filter(|(_, selector)| !selector.is_empty() && labels.iter().any(|p| p.selected_by(selector)));
    selected.map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> Value {
        value!({
            "metadata": {"name": "web", "namespace": "ns", "uid": "s", "labels": {"team": "a"}},
            "spec": {"selector": {"app": "web"}, "clusterIP": "10.96.0.5",
                     "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "h"}]},
        })
    }

    fn pod(name: &str, ready: bool) -> Arc<Pod> {
        Arc::new(Pod {
            name: name.into(),
            namespace: "ns".into(),
            uid: name.into(),
            labels: vec![("app".into(), "web".into())].into(),
            ips: vec![format!("10.244.0.{}", name.len()).into()],
            node: "n1".into(),
            hostname: "".into(),
            subdomain: "".into(),
            ready,
            terminating: false,
            finished: false,
            ports: vec![("h".into(), "TCP".into(), 8080)],
        })
    }

    fn run(service: Option<&Value>, pods: &[Arc<Pod>], slices: &[Value]) -> Plan {
        plan(service, pods, slices, &|_| "".into())
    }

    fn named(mut slice: Value, name: &str) -> Value {
        slice.set(&["metadata", "name"], name);
        slice
    }

    #[test]
    fn a_service_gets_a_slice_and_keeps_it() {
        let first = run(Some(&service()), &[pod("a", true)], &[]);
        assert_eq!(first.create.len(), 1);
        let slice = named(first.create[0].clone(), "web-x");
        assert_eq!(slice.at(&["ports"]).to_string(), r#"[{"name":"http","port":8080,"protocol":"TCP"}]"#);
        assert_eq!(slice.str_at(&["metadata", "labels", SERVICE_NAME]), "web");
        assert_eq!(slice.str_at(&["metadata", "labels", "team"]), "a");
        assert!(run(Some(&service()), &[pod("a", true)], std::slice::from_ref(&slice)).is_empty());
        let second = run(Some(&service()), &[pod("a", false), pod("bb", true)], std::slice::from_ref(&slice));
        assert_eq!((second.create.len(), second.update.len(), second.delete.len()), (0, 1, 0));
        let endpoints = second.update[0].items_at(&["endpoints"]);
        assert_eq!(endpoints[0].at(&["conditions", "ready"]).as_bool(), Some(false));
        assert_eq!(endpoints.len(), 2);
        assert_eq!(run(None, &[], &[slice]).delete, ["web-x"]);
    }

    #[test]
    fn without_pods_one_empty_slice_stays() {
        let empty = run(Some(&service()), &[], &[]);
        assert_eq!(empty.create.len(), 1);
        let slice = named(empty.create[0].clone(), "web-x");
        assert!(run(Some(&service()), &[], std::slice::from_ref(&slice)).is_empty());
        // A pod's ports make another shape: the empty slice goes.
        let next = run(Some(&service()), &[pod("a", true)], &[slice]);
        assert_eq!((next.create.len(), next.delete.len()), (1, 1));
    }

    #[test]
    fn a_hundred_to_a_slice() {
        let pods: Vec<_> = (0..250)
            .map(|i| {
                let mut p = (*pod("a", true)).clone();
                p.uid = format!("u{i}").into();
                Arc::new(p)
            })
            .collect();
        let plan = run(Some(&service()), &pods, &[]);
        let sizes: Vec<usize> = plan.create.iter().map(|s| s.items_at(&["endpoints"]).len()).collect();
        assert_eq!(sizes, [100, 100, 50]);
    }

    #[test]
    fn what_selects_nothing_has_no_slices() {
        let mut s = service();
        s.remove(&["spec", "selector"]);
        assert!(run(Some(&s), &[pod("a", true)], &[]).is_empty());
    }
}
