//! Where Services are, for calls out of the server: at their ready endpoints, which is where a service proxy would bring a
//! connection, but needs no proxy on the server's host.
//!
//! Source: `apiserver/pkg/util/proxy` (`ResolveEndpoint`), whose sentences these are.

use net::outgoing;
use schema::View;
use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use value::{Object, Value};

/// Services by the caches of the engine.
pub struct Services {
    view: Arc<dyn View>,
    /// Endpoints are taken in turn.
    turn: AtomicUsize,
}

impl Services {
    pub fn new(view: Arc<dyn View>) -> Self {
        Services { view, turn: AtomicUsize::new(0) }
    }
}

impl outgoing::Services for Services {
    fn endpoint(&self, namespace: &str, name: &str, port: u16) -> Result<SocketAddr, String> {
        let service = self.view.get("", "services", namespace, name);
        let service = service.ok_or_else(|| format!("service {name:?} not found"))?.value();
        let slices = self.view.list("discovery.k8s.io", "endpointslices", Some(namespace));
        let own = |slice: &&Arc<Object>| slice.meta.label("kubernetes.io/service-name") == Some(name);
        let slices: Vec<Value> = slices.iter().filter(own).map(|slice| slice.value()).collect();
        resolve(&service, &slices, port, self.turn.fetch_add(1, Ordering::Relaxed))
    }
}

/// One ready endpoint of a Service's port; `turn` says where the search begins.
fn resolve(service: &Value, slices: &[Value], port: u16, turn: usize) -> Result<SocketAddr, String> {
    let name = service.name();
    let kind = service.str_at(&["spec", "type"]);
    if !matches!(kind, "" | "ClusterIP" | "LoadBalancer" | "NodePort") {
        return Err(format!("unsupported service type {kind:?}"));
    }
    let ports = service.items_at(&["spec", "ports"]);
    let port_name = ports
        .iter()
        .find(|p| p.at(&["port"]).as_i64() == Some(port.into()))
        .map(|p| p.str_at(&["name"]))
        .ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
    let family = service.items_at(&["spec", "ipFamilies"]).first().and_then(Value::as_str).unwrap_or("");
    // The first family of the Service before the other.
    let (own, other): (Vec<&Value>, Vec<&Value>) =
        slices.iter().partition(|s| family.is_empty() || s.str_at(&["addressType"]) == family);
    let of_slice = |slice: &&Value| {
        let found = slice.items_at(&["ports"]).iter().find(|p| p.str_at(&["name"]) == port_name)?;
        let port = u16::try_from(found.at(&["port"]).as_i64()?).ok()?;
        let ready = |e: &&Value| e.at(&["conditions", "ready"]).as_bool().unwrap_or(true);
        let address = |e: &Value| e.items_at(&["addresses"]).first()?.as_str()?.parse::<IpAddr>().ok();
        let ready: Vec<IpAddr> = slice.items_at(&["endpoints"]).iter().filter(ready).filter_map(address).collect();
        let at = turn.checked_rem(ready.len())?;
        Some(SocketAddr::new(*ready.get(at)?, port))
    };
    let found = own.iter().chain(&other).find_map(of_slice);
    found.ok_or_else(|| format!("no endpoints available for service {name:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    fn slice(kind: &str, port: (&str, i64), endpoints: Value) -> Value {
        value!({"addressType": kind, "ports": [{"name": (port.0), "port": (port.1)}], "endpoints": endpoints})
    }

    #[test]
    fn endpoints() {
        let service = value!({"metadata": {"name": "hook"}, "spec": {
            "type": "ClusterIP", "ipFamilies": ["IPv4"], "ports": [{"name": "https", "port": 443, "targetPort": "tls"}]}});
        let ready = slice(
            "IPv4",
            ("https", 8443),
            value!([
            {"addresses": ["10.0.0.1"], "conditions": {"ready": false}}, {"addresses": ["10.0.0.2"]},
            {"addresses": ["10.0.0.3"], "conditions": {"ready": true}}]),
        );
        let six = slice("IPv6", ("https", 8443), value!([{"addresses": ["fd00::1"]}]));
        let other = slice("IPv4", ("http", 80), value!([{"addresses": ["10.0.0.9"]}]));
        let none = "no endpoints available for service \"hook\"";
        for (slices, port, turn, want) in [
            (vec![ready.clone()], 443, 0, "10.0.0.2:8443"),
            (vec![ready.clone()], 443, 1, "10.0.0.3:8443"),
            (vec![six.clone(), other.clone(), ready], 443, 0, "10.0.0.2:8443"),
            (vec![six], 443, 7, "[fd00::1]:8443"),
            (vec![other], 443, 0, none),
            (vec![], 443, 0, none),
            (vec![], 444, 0, "no service port 444 found for service \"hook\""),
        ] {
            let found = resolve(&service, &slices, port, turn).map_or_else(|why| why, |address| address.to_string());
            assert_eq!(found, want);
        }
        let elsewhere = value!({"metadata": {"name": "x"}, "spec": {"type": "ExternalName"}});
        assert_eq!(resolve(&elsewhere, &[], 443, 0).unwrap_err(), "unsupported service type \"ExternalName\"");
    }
}
