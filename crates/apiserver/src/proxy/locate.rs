//! What the names of pods, services and nodes in a proxied path stand for.
//!
//! Whoever may write a status or Endpoints says where this leads, and the server goes there from a place in the network
//! that the writer does not have: so only addresses that a pod can have are gone to, and Endpoints only where a pod of
//! the namespace has the address, too.

use base::{Reason, Result, Status};
use schema::View;
use std::net::{IpAddr, SocketAddr};
use value::Value;

/// `name`, `name:port`, `scheme:name:port`; what is not said is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named<'a> {
    pub https: bool,
    pub name: &'a str,
    /// A number or a name.
    pub port: &'a str,
}

impl<'a> Named<'a> {
    /// `kind` is for the error: `invalid pod request "x:y:z:"`.
    pub fn parse(id: &'a str, kind: &str) -> Result<Self> {
        let parts: Vec<&str> = id.split(':').collect();
        let (scheme, name, port) = match parts[..] {
            [name] => ("", name, ""),
            [name, port] => ("", name, port),
            [scheme, name, port] => (scheme, name, port),
            _ => ("", "", ""),
        };
        if name.is_empty() || !matches!(scheme, "" | "http" | "https") {
            return Err(Status::bad_request(format!("invalid {kind} request {}", base::status::quote(id))));
        }
        Ok(Named { https: scheme == "https", name, port })
    }
}

/// Where a pod listens: its address, and the port that was asked for or the first that a container declares.
pub fn pod(pod: &Value, named: &Named<'_>, own: SocketAddr) -> Result<(IpAddr, u16)> {
    let declared = || {
        let ports = pod.items_at(&["spec", "containers"]).iter().flat_map(|c| c.items_at(&["ports"]));
        ports.map(|p| p.at(&["containerPort"]).as_i64()).next().flatten().and_then(|p| u16::try_from(p).ok())
    };
    let port = match named.port {
        "" => Some(declared().unwrap_or(if named.https { 443 } else { 80 })),
        text => text.parse().ok(),
    };
    let first = pod.items_at(&["status", "podIPs"]).first().map_or("", |ip| ip.str_at(&["ip"]));
    let text = if first.is_empty() { pod.str_at(&["status", "podIP"]) } else { first };
    let address = allowed(text)?;
    let port = port.filter(|p| *p > 0).ok_or_else(|| {
        let text = format!("error trying to reach service: dial tcp: lookup tcp/{}: unknown port", named.port);
        Status::new(Reason::ServiceUnavailable, text)
    })?;
    not_own(SocketAddr::new(address, port), own)
}

/// One ready endpoint of a service, the first that is good from `seed` on. Ports are those of the Service where they
/// are numbers, and names otherwise.
pub fn service(
    view: &dyn View,
    namespace: &str,
    id: &str,
    named: &Named<'_>,
    own: SocketAddr,
    seed: usize,
) -> Result<(IpAddr, u16)> {
    let name = named.name;
    let mut port = named.port.to_string();
    let service = view.get("", "services", namespace, name).ok_or_else(|| Status::not_found("", "services", name))?;
    if let Ok(number) = named.port.parse::<i64>() {
        let service = service.value();
        let ports = service.items_at(&["spec", "ports"]);
        let declared = ports.iter().find(|p| p.at(&["port"]).as_i64() == Some(number));
        port = declared.map(|p| p.str_at(&["name"]).to_string()).ok_or_else(|| {
            let text = format!("no service port {number} found for service {}", base::status::quote(name));
            Status::new(Reason::ServiceUnavailable, text)
        })?;
    }
    let endpoints =
        view.get("", "endpoints", namespace, name).ok_or_else(|| Status::not_found("", "endpoints", name))?;
    let endpoints = endpoints.value();
    let subsets = endpoints.items_at(&["subsets"]);
    if subsets.is_empty() {
        return Err(none(name));
    }
    for subset in turned(subsets, seed) {
        let found = subset.items_at(&["ports"]).iter().find(|p| p.str_at(&["name"]) == port);
        let Some(number) = found.and_then(|p| u16::try_from(p.at(&["port"]).as_i64()?).ok()) else { continue };
        for address in turned(subset.items_at(&["addresses"]), seed) {
            if !is_pods(view, namespace, address) {
                continue;
            }
            if let Ok(found) = allowed(address.str_at(&["ip"])).and_then(|ip| not_own(SocketAddr::new(ip, number), own))
            {
                return Ok(found);
            }
        }
    }
    Err(none(id))
}

fn none(id: &str) -> Status {
    let text = format!("no endpoints available for service {}", base::status::quote(id));
    Status::new(Reason::ServiceUnavailable, text)
}

/// An endpoint that names a pod of this namespace that has its address.
fn is_pods(view: &dyn View, namespace: &str, address: &Value) -> bool {
    let target = address.at(&["targetRef"]);
    if target.str_at(&["namespace"]) != namespace {
        return false;
    }
    let Some(pod) = view.get("", "pods", namespace, target.str_at(&["name"])) else { return false };
    let pod = pod.value();
    pod.items_at(&["status", "podIPs"]).iter().any(|ip| ip.str_at(&["ip"]) == address.str_at(&["ip"]))
}

/// All of a list, from somewhere in it on.
fn turned(list: &[Value], seed: usize) -> impl Iterator<Item = &Value> {
    let (before, after) = list.split_at(seed.checked_rem(list.len()).unwrap_or(0));
    after.iter().chain(before)
}

fn allowed(address: &str) -> Result<IpAddr> {
    let address = address.parse::<IpAddr>().ok().map(|a| a.to_canonical());
    address.filter(|a| global_unicast(*a)).ok_or_else(not_allowed)
}

fn not_own(address: SocketAddr, own: SocketAddr) -> Result<(IpAddr, u16)> {
    if address == own { Err(not_allowed()) } else { Ok((address.ip(), address.port())) }
}

/// An address that one machine in the network has. Loopback is not, and neither is link-local, where clouds keep their
/// metadata.
pub fn global_unicast(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(link_local || address.is_loopback() || address.is_unspecified() || address.is_multicast())
}

pub fn not_allowed() -> Status {
    Status::bad_request("address not allowed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::HashMap, sync::Arc};
    use value::{Object, value};

    #[test]
    fn names() {
        let of = |id| Named::parse(id, "pod").map(|n| (n.https, n.name.to_string(), n.port.to_string()));
        for (id, want) in [
            ("a", Some((false, "a", ""))),
            ("a:80", Some((false, "a", "80"))),
            ("a:web", Some((false, "a", "web"))),
            ("http:a:80", Some((false, "a", "80"))),
            ("https:a:", Some((true, "a", ""))),
            (":a:1", Some((false, "a", "1"))),
            ("ftp:a:1", None),
            (":80", None),
            ("", None),
            ("a:b:c:d", None),
        ] {
            assert_eq!(of(id).ok(), want.map(|(s, n, p)| (s, n.to_string(), p.to_string())), "{id}");
        }
        assert_eq!(of("a:b:c:d").unwrap_err().message(), "invalid pod request \"a:b:c:d\"");
    }

    const OWN: &str = "192.0.2.1:6443";

    #[test]
    fn where_pods_are() {
        let object = |ip: &str| {
            value!({
                "spec": {"containers": [{"name": "a"}, {"name": "b", "ports": [{"containerPort": 8080}, {"containerPort": 1}]}]},
                "status": {"podIP": ip, "podIPs": [{"ip": ip}]},
            })
        };
        let bare = value!({"spec": {"containers": [{"name": "a"}]}, "status": {"podIP": "10.0.0.7"}});
        for (object, id, want) in [
            (object("10.0.0.7"), "p", "10.0.0.7:8080"),
            (object("10.0.0.7"), "p:81", "10.0.0.7:81"),
            (object("fd00::7"), "https:p:81", "[fd00::7]:81"),
            (bare.clone(), "p", "10.0.0.7:80"),
            (bare.clone(), "https:p:", "10.0.0.7:443"),
            (bare, "p:web", "error trying to reach service: dial tcp: lookup tcp/web: unknown port"),
            (object(""), "p", "address not allowed"),
            (object("127.0.0.1"), "p", "address not allowed"),
            (object("::ffff:127.0.0.1"), "p", "address not allowed"),
            (object("169.254.169.254"), "p", "address not allowed"),
            (object("fe80::1"), "p", "address not allowed"),
            (object("0.0.0.0"), "p", "address not allowed"),
            (object("224.0.0.1"), "p", "address not allowed"),
            (object("node"), "p", "address not allowed"),
            (object("192.0.2.1"), "p:6443", "address not allowed"),
        ] {
            let named = Named::parse(id, "pod").unwrap();
            let got = pod(&object, &named, OWN.parse().unwrap());
            let got = got.map_or_else(|e| e.message().to_string(), |(ip, port)| SocketAddr::new(ip, port).to_string());
            assert_eq!(got, want, "{id} {object}");
        }
    }

    #[derive(Default)]
    struct Objects(HashMap<(&'static str, &'static str), Arc<Object>>);
    impl Objects {
        fn with(mut self, plural: &'static str, name: &'static str, value: Value) -> Self {
            let object = Object::from_json(value.to_json().into()).expect("an object");
            self.0.insert((plural, name), object);
            self
        }
    }
    impl View for Objects {
        fn get(&self, _: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
            assert_eq!(namespace, "d");
            self.0.iter().find(|(key, _)| **key == (plural, name)).map(|(_, object)| object.clone())
        }
        fn list(&self, _: &str, _: &str, _: Option<&str>) -> Vec<Arc<Object>> {
            Vec::new()
        }
    }

    #[test]
    fn where_services_are() {
        let at = |ip: &str| value!({"status": {"podIPs": [{"ip": ip}]}});
        let target = |name: &str, namespace: &str| value!({"kind": "Pod", "name": name, "namespace": namespace});
        let view = Objects::default()
            .with("services", "s", value!({"spec": {"ports": [{"name": "web", "port": 80}, {"name": "tls", "port": 443}]}}))
            .with("pods", "good", at("10.0.0.7"))
            .with("pods", "near", at("127.0.0.1"))
            .with(
                "endpoints",
                "s",
                value!({"subsets": [
                    {"addresses": [], "ports": [{"name": "web", "port": 1}]},
                    {"addresses": [
                        {"ip": "10.0.0.9"},
                        {"ip": "10.0.0.9", "targetRef": (target("gone", "d"))},
                        {"ip": "10.0.0.9", "targetRef": (target("good", "d"))},
                        {"ip": "10.0.0.7", "targetRef": (target("good", "other"))},
                        {"ip": "127.0.0.1", "targetRef": (target("near", "d"))},
                        {"ip": "10.0.0.7", "targetRef": (target("good", "d"))},
                    ], "ports": [{"name": "web", "port": 8080}]},
                    {"addresses": [{"ip": "127.0.0.1", "targetRef": (target("near", "d"))}], "ports": [{"name": "tls", "port": 8443}]},
                ]}),
            )
            .with("services", "empty", value!({}))
            .with("endpoints", "empty", value!({}));
        for (id, want) in [
            ("s:web", "10.0.0.7:8080"),
            ("s:80", "10.0.0.7:8080"),
            ("https:s:80", "10.0.0.7:8080"),
            ("s", "no endpoints available for service \"s\""),
            ("s:tls", "no endpoints available for service \"s:tls\""),
            ("s:443", "no endpoints available for service \"s:443\""),
            ("s:81", "no service port 81 found for service \"s\""),
            ("empty:x", "no endpoints available for service \"empty\""),
            ("none", "services \"none\" not found"),
            ("none:80", "services \"none\" not found"),
        ] {
            for seed in 0..7 {
                let named = Named::parse(id, "service").unwrap();
                let got = service(&view, "d", id, &named, OWN.parse().unwrap(), seed);
                let got =
                    got.map_or_else(|e| e.message().to_string(), |(ip, port)| SocketAddr::new(ip, port).to_string());
                assert_eq!(got, want, "{id} from {seed}");
            }
        }
    }
}
