//! From services and endpoints to the ruleset of one node. Pure, and independent of the order of its input.
//!
//! Which endpoints count follows upstream (KEP-1669, KEP-1672, KEP-2086): those that are ready; if none is, those that still serve
//! while they end. The same choice is made separately among this node's endpoints where a policy says Local.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::input::{Endpoint, EndpointSlice, Node, Policy, Protocol, Service, ServicePort};
use crate::ruleset::{Frontend, Group, GroupId, Pick, Refusal, Ruleset, Scope, Target, Via};

/// The ruleset that serves these services on this node. Owned or shared: a cache's own objects need no copies.
pub fn plan<S: Borrow<Service>, E: Borrow<EndpointSlice>>(services: &[S], slices: &[E], node: &Node) -> Ruleset {
    let mut of: HashMap<(&str, &str), Vec<&EndpointSlice>> = HashMap::new();
    for slice in slices.iter().map(Borrow::borrow) {
        of.entry((&slice.namespace, &slice.service)).or_default().push(slice);
    }
    let mut sorted: Vec<&Service> = services.iter().map(Borrow::borrow).collect();
    // Where two services claim one address and port, the first by name has it.
    sorted.sort_by_key(|s| (&s.namespace, &s.name));
    let mut ruleset = Ruleset::default();
    for service in sorted {
        ruleset.cluster_ips.extend(&service.cluster_ips);
        let slices = of.get(&(service.namespace.as_str(), service.name.as_str())).map_or(&[][..], Vec::as_slice);
        for port in &service.ports {
            plan_port(&mut ruleset, service, port, slices, node);
        }
    }
    ruleset
}

/// A port's endpoints.
struct Endpoints {
    cluster: BTreeSet<Target>,
    local: BTreeSet<Target>,
}

fn plan_port(ruleset: &mut Ruleset, service: &Service, port: &ServicePort, slices: &[&EndpointSlice], node: &Node) {
    let endpoints = choose(port, slices, node);
    let has_node_port = port.node_port.is_some() && !node.addresses.is_empty();
    let external = has_node_port || !service.external_ips.is_empty() || !service.load_balancer_ips.is_empty();
    if service.cluster_ips.is_empty() && !external {
        return;
    }
    let name = format!("{}/{}:{}", service.namespace, service.name, label(port));
    let mut group = |scope: Scope, targets: &BTreeSet<Target>| {
        (!targets.is_empty()).then(|| add_group(ruleset, &name, scope, service, targets))
    };
    let local_policy = |policy: Policy| policy == Policy::Local;
    let cluster = group(Scope::Cluster, &endpoints.cluster);
    let internal = match service.internal_traffic_policy {
        Policy::Cluster => cluster,
        Policy::Local => group(Scope::InternalLocal, &endpoints.local),
    };
    let outer_local = local_policy(service.external_traffic_policy) && external;
    let outer = if outer_local { group(Scope::ExternalLocal, &endpoints.local) } else { None };
    let refusal =
        if endpoints.cluster.is_empty() && endpoints.local.is_empty() { Refusal::Reject } else { Refusal::Drop };

    let frontend = |address, port_number| Frontend { protocol: port.protocol, address, port: port_number };
    for address in &service.cluster_ips {
        let at = frontend(*address, port.port);
        match internal {
            Some(group) => add_frontend(ruleset, at, Via::ClusterIp, Some(group), None),
            None => refuse(ruleset, at, refusal),
        }
    }
    let via = if outer_local { Via::ExternalLocal } else { Via::External };
    let addresses = service.external_ips.iter().chain(&service.load_balancer_ips).map(|ip| frontend(*ip, port.port));
    let node_ports = port.node_port.into_iter().flat_map(|n| node.addresses.iter().map(move |ip| frontend(*ip, n)));
    for at in addresses.chain(node_ports) {
        match cluster.or(outer) {
            Some(_) => add_frontend(ruleset, at, via, cluster, outer),
            None => refuse(ruleset, at, refusal),
        }
    }
}

/// The endpoints that take connections: ready ones, or else those that serve until they have ended.
fn choose(port: &ServicePort, slices: &[&EndpointSlice], node: &Node) -> Endpoints {
    let mut ready: BTreeMap<Target, bool> = BTreeMap::new();
    let mut ending: BTreeMap<Target, bool> = BTreeMap::new();
    for slice in slices {
        let Some(at) = slice.ports.iter().find(|p| p.name == port.name && p.protocol == port.protocol) else {
            continue;
        };
        for endpoint in &slice.endpoints {
            let target = Target { address: endpoint.address, port: at.port };
            // An endpoint may appear twice while it moves between slices: the better condition counts.
            match endpoint {
                Endpoint { ready: true, .. } => ready.insert(target, is_local(endpoint, node)),
                Endpoint { serving: true, terminating: true, .. } => ending.insert(target, is_local(endpoint, node)),
                _ => None,
            };
        }
    }
    let or = |local_only: bool| {
        let usable = |from: &BTreeMap<Target, bool>| {
            from.iter().filter(|(_, local)| !local_only || **local).map(|(t, _)| *t).collect::<BTreeSet<_>>()
        };
        let best = usable(&ready);
        if best.is_empty() { usable(&ending) } else { best }
    };
    Endpoints { cluster: or(false), local: or(true) }
}

fn is_local(endpoint: &Endpoint, node: &Node) -> bool {
    endpoint.node_name.as_deref() == Some(node.name.as_str())
}

fn add_group(
    ruleset: &mut Ruleset,
    name: &str,
    scope: Scope,
    service: &Service,
    targets: &BTreeSet<Target>,
) -> GroupId {
    let mut id = GroupId(hash(name, scope));
    while ruleset.groups.get(&id).is_some_and(|other| (other.name.as_str(), other.scope) != (name, scope)) {
        id.0 = id.0.wrapping_add(1);
    }
    let pick =
        Pick { external_local: scope == Scope::ExternalLocal, count: targets.len() as u32, affinity: service.affinity };
    ruleset.groups.insert(id, Group { name: name.to_string(), scope, pick });
    ruleset.endpoints.extend(targets.iter().enumerate().map(|(index, target)| ((id, index as u32), *target)));
    ruleset.hairpin.extend(targets.iter().map(|target| target.address));
    id
}

fn add_frontend(ruleset: &mut Ruleset, at: Frontend, via: Via, group: Option<GroupId>, local: Option<GroupId>) {
    if ruleset.services.contains_key(&at) || ruleset.refused.contains_key(&at) {
        return;
    }
    ruleset.services.insert(at, via);
    ruleset.frontends.extend(group.map(|group| (at, group)));
    ruleset.local_frontends.extend(local.map(|group| (at, group)));
}

fn refuse(ruleset: &mut Ruleset, at: Frontend, refusal: Refusal) {
    if !ruleset.services.contains_key(&at) {
        ruleset.refused.entry(at).or_insert(refusal);
    }
}

fn label(port: &ServicePort) -> String {
    match (port.name.as_str(), port.protocol) {
        ("", Protocol::Tcp) => port.port.to_string(),
        ("", protocol) => format!("{}/{protocol}", port.port),
        (name, _) => name.to_string(),
    }
}

/// FNV-1a: a group keeps its number as long as it keeps its name.
fn hash(name: &str, scope: Scope) -> u32 {
    let bytes = name.bytes().chain([0, scope as u8]);
    bytes.fold(0x811c_9dc5, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193))
}
