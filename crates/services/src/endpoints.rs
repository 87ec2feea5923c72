//! The older Endpoints object of a Service, which some clients still read.

use crate::plan::Pod;
use std::sync::Arc;
use value::{Value, value};

/// The label that says who writes Endpoints, and our word in it.
pub const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
pub const MANAGER: &str = "endpoint-controller";

/// The Endpoints that a Service with a selector should have: at most 1000 addresses, ready ones apart from others.
pub fn desired(service: &Value, pods: &[Arc<Pod>]) -> Option<Value> {
    const MAX_ADDRESSES: usize = 1000;
    let selector = service.at(&["spec", "selector"]).as_object().filter(|s| !s.is_empty())?;
    let publish = service.at(&["spec", "publishNotReadyAddresses"]).as_bool().unwrap_or(false);
    // Pods that resolve the ports alike share a subset.
    let mut subsets: Vec<(Vec<Value>, Vec<Value>, Vec<Value>)> = Vec::new();
    let chosen = pods.iter().filter(|p| !p.finished && !p.terminating && p.selected_by(selector)).take(MAX_ADDRESSES);
    for pod in chosen {
        let Some(ip) = pod.ips.first() else { continue };
        let ports: Vec<Value> = service.items_at(&["spec", "ports"]).iter().filter_map(|p| port(p, pod)).collect();
        let mut address = value!({
            "ip": ip.as_str(),
            "targetRef": {"kind": "Pod", "namespace": pod.namespace.as_str(), "name": pod.name.as_str(), "uid": pod.uid.as_str()},
        });
        if !pod.node.is_empty() {
            address.set(&["nodeName"], &pod.node);
        }
        if !pod.hostname.is_empty() && pod.subdomain == service.name() {
            address.set(&["hostname"], &pod.hostname);
        }
        let at = subsets.iter().position(|s| s.0 == ports).unwrap_or_else(|| {
            subsets.push((ports, Vec::new(), Vec::new()));
            subsets.len() - 1
        });
        let list = if pod.ready || publish { &mut subsets[at].1 } else { &mut subsets[at].2 };
        list.push(address);
    }
    let subsets = subsets.into_iter().map(|(ports, ready, waiting)| {
        let mut subset = Value::object();
        for (field, list) in [("addresses", ready), ("notReadyAddresses", waiting), ("ports", ports)] {
            if !list.is_empty() {
                subset.set(&[field], list);
            }
        }
        subset
    });
    let mut out = value!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": service.name(), "namespace": service.namespace()},
    });
    let mut labels = service.at(&["metadata", "labels"]).as_object().cloned().unwrap_or_default();
    labels.insert(MANAGED_BY, MANAGER);
    out.set(&["metadata", "labels"], labels);
    let subsets: Vec<Value> = subsets.collect();
    if !subsets.is_empty() {
        out.set(&["subsets"], subsets);
    }
    Some(out)
}

fn port(port: &Value, pod: &Pod) -> Option<Value> {
    let protocol = port.str_at(&["protocol"]);
    let target = port.at(&["targetPort"]);
    let target = if target.is_null() { port.at(&["port"]) } else { target };
    let mut out = value!({"port": pod.port(target, protocol)?, "protocol": protocol});
    if !port.str_at(&["name"]).is_empty() {
        out.set(&["name"], port.at(&["name"]));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_and_waiting_addresses_stand_apart() {
        let service = value!({"metadata": {"name": "s", "namespace": "n"}, "spec": {"selector": {"a": "b"}, "ports": [{"port": 80, "protocol": "TCP"}]}});
        let pod = |name: &str, ready| {
            Arc::new(Pod {
                name: name.into(),
                namespace: "n".into(),
                uid: name.into(),
                labels: vec![("a".into(), "b".into())].into(),
                ips: vec!["10.0.0.1".into()],
                node: "".into(),
                hostname: "".into(),
                subdomain: "".into(),
                ready,
                terminating: false,
                finished: false,
                ports: vec![],
            })
        };
        let out = desired(&service, &[pod("x", true), pod("y", false)]).unwrap();
        let subset = &out.items_at(&["subsets"])[0];
        assert_eq!(subset.items_at(&["addresses"])[0].str_at(&["targetRef", "name"]), "x");
        assert_eq!(subset.items_at(&["notReadyAddresses"])[0].str_at(&["targetRef", "name"]), "y");
        assert_eq!(subset.at(&["ports"]).to_string(), r#"[{"port":80,"protocol":"TCP"}]"#);
        assert!(desired(&value!({"metadata": {"name": "s"}}), &[]).is_none());
    }
}
