//! Routes to the pods of other nodes: what a cloud's route controller does. Which routes are ours follows from their gateway: an
//! address of the node network, other than the default route.

use std::net::IpAddr;

use netlink::error::allow_missing;
use netlink::{Cidr, Route, RouteEntry};

use crate::error::{Result, kernel};

/// A node and the addresses of its pods (`spec.podCIDRs`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRoute {
    pub node: String,
    pub address: IpAddr,
    pub pod_cidrs: Vec<Cidr>,
}

/// What to change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    pub remove: Vec<RouteEntry>,
    pub set: Vec<RouteEntry>,
}

/// The difference between the routes that exist and those that lead to every node's pods, seen from `own` (or from the host).
pub fn plan(node_network: Cidr, own: Option<&str>, nodes: &[NodeRoute], existing: &[RouteEntry]) -> Changes {
    let mut wanted: Vec<RouteEntry> = nodes
        .iter()
        .filter(|node| own != Some(node.node.as_str()) && node_network.contains(node.address))
        .flat_map(|node| node.pod_cidrs.iter().map(|cidr| RouteEntry::via(cidr.network(), node.address)))
        .filter(|route| route.destination.address.is_ipv4() == node_network.address.is_ipv4())
        .collect();
    wanted.sort_by_key(|route| route.destination);
    let same = |a: &RouteEntry, b: &RouteEntry| (a.destination, a.gateway) == (b.destination, b.gateway);
    let ours = |route: &&RouteEntry| {
        route.destination.prefix > 0 && route.gateway.is_some_and(|gateway| node_network.contains(gateway))
    };
    // A destination that only changes its gateway is replaced in place: packets never find no route.
    let remove = existing
        .iter()
        .filter(ours)
        .filter(|route| !wanted.iter().any(|w| w.destination == route.destination))
        .copied()
        .collect();
    wanted.retain(|route| !existing.iter().any(|e| same(e, route)));
    Changes { remove, set: wanted }
}

/// Performs the difference in the namespace of the handle.
pub fn apply(route: &mut Route, node_network: Cidr, own: Option<&str>, nodes: &[NodeRoute]) -> Result<()> {
    let place = own.unwrap_or("host");
    let existing = route.routes().map_err(kernel(place))?;
    let changes = plan(node_network, own, nodes, &existing);
    for entry in &changes.set {
        route.replace_route(entry).map_err(kernel(place))?;
    }
    for entry in &changes.remove {
        allow_missing(route.delete_route(entry)).map_err(kernel(place))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(s: &str) -> Cidr {
        s.parse().expect(s)
    }

    fn via(destination: &str, gateway: &str) -> RouteEntry {
        RouteEntry { link: Some(7), ..RouteEntry::via(cidr(destination), gateway.parse().expect(gateway)) }
    }

    fn node(name: &str, address: &str, pods: &str) -> NodeRoute {
        NodeRoute { node: name.into(), address: address.parse().expect(address), pod_cidrs: vec![cidr(pods)] }
    }

    #[test]
    fn routes_follow_the_nodes() {
        let network = cidr("172.30.0.0/24");
        let nodes = [
            node("a", "172.30.0.2", "10.244.0.0/24"),
            node("b", "172.30.0.3", "10.244.1.0/24"),
            node("far", "192.0.2.9", "10.244.2.0/24"),
            node("six", "172.30.0.4", "fd00::/64"),
        ];
        let show = |changes: Changes| {
            let list = |routes: &[RouteEntry]| {
                routes.iter().map(|r| format!("{} {}", r.destination, r.gateway.expect("gateway"))).collect::<Vec<_>>()
            };
            (list(&changes.set), list(&changes.remove))
        };
        let strings = |list: &[&str]| list.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        let fresh = show(plan(network, None, &nodes, &[via("0.0.0.0/0", "172.30.0.1")]));
        assert_eq!(fresh, (strings(&["10.244.0.0/24 172.30.0.2", "10.244.1.0/24 172.30.0.3"]), vec![]));
        let own = show(plan(network, Some("a"), &nodes, &[]));
        assert_eq!(own, (strings(&["10.244.1.0/24 172.30.0.3"]), vec![]));

        let existing = [
            via("0.0.0.0/0", "172.30.0.1"),
            via("10.244.0.0/24", "172.30.0.9"),
            via("10.244.1.0/24", "172.30.0.3"),
            via("10.244.7.0/24", "172.30.0.8"),
            via("10.99.0.0/16", "192.0.2.1"),
        ];
        let changed = show(plan(network, None, &nodes, &existing));
        assert_eq!(changed, (strings(&["10.244.0.0/24 172.30.0.2"]), strings(&["10.244.7.0/24 172.30.0.8"])));
        let gone = show(plan(network, None, &[], &existing));
        assert_eq!(gone.1.len(), 3, "never the default route, nor somebody else's");
    }
}
