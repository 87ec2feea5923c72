//! What a zone is made of, read from Services and EndpointSlices; equal projections wake nobody.

use control::Projection;
use std::net::IpAddr;
use value::{Object, Value};

/// A Service as DNS sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    pub namespace: String,
    pub name: String,
    pub kind: Kind,
    pub ports: Vec<Port>,
    pub publish_not_ready: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    ClusterIp(Vec<IpAddr>),
    Headless,
    ExternalName(String),
}

/// A port with the name that SRV records need.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// Empty for the only port of a service; it has no SRV record.
    pub name: String,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    pub number: u16,
}

/// One EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSlice {
    pub namespace: String,
    /// The service it belongs to.
    pub service: String,
    pub ports: Vec<Port>,
    pub endpoints: Vec<Endpoint>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub addresses: Vec<IpAddr>,
    pub hostname: Option<String>,
    pub ready: bool,
}

/// The label by which a slice names its service (`discovery/v1.LabelServiceName`).
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

impl Projection for Service {
    fn project(object: &Object) -> Option<Self> {
        let spec = object.value();
        let kind = match spec.str_at(&["spec", "type"]) {
            "ExternalName" => Kind::ExternalName(spec.str_at(&["spec", "externalName"]).to_string()),
            _ => {
                let mut addresses: Vec<&str> =
                    spec.items_at(&["spec", "clusterIPs"]).iter().filter_map(Value::as_str).collect();
                if addresses.is_empty() {
                    addresses.push(spec.str_at(&["spec", "clusterIP"]));
                }
                match addresses.first() {
                    Some(&"None") => Kind::Headless,
                    // Not allocated yet: no record rather than a wrong one.
                    _ => Kind::ClusterIp(addresses.iter().filter_map(|address| address.parse().ok()).collect()),
                }
            }
        };
        Some(Service {
            namespace: object.namespace().to_string(),
            name: object.name().to_string(),
            kind,
            ports: ports(spec.items_at(&["spec", "ports"])),
            publish_not_ready: spec.at(&["spec", "publishNotReadyAddresses"]).as_bool().unwrap_or(false),
        })
    }
}

impl Projection for EndpointSlice {
    fn project(object: &Object) -> Option<Self> {
        let service = object.meta.label(SERVICE_LABEL)?.to_string();
        let slice = object.value();
        let endpoints = slice.items_at(&["endpoints"]).iter().map(|endpoint| Endpoint {
            addresses: endpoint.items_at(&["addresses"]).iter().filter_map(|a| a.as_str()?.parse().ok()).collect(),
            hostname: Some(endpoint.str_at(&["hostname"])).filter(|name| !name.is_empty()).map(str::to_string),
            // Absent means unknown, which consumers take for ready.
            ready: endpoint.at(&["conditions", "ready"]).as_bool().unwrap_or(true),
        });
        Some(EndpointSlice {
            namespace: object.namespace().to_string(),
            service,
            ports: ports(slice.items_at(&["ports"])),
            endpoints: endpoints.collect(),
        })
    }
}

fn ports(items: &[Value]) -> Vec<Port> {
    let port = |item: &Value| {
        let protocol = match item.str_at(&["protocol"]) {
            "" => "tcp".to_string(),
            protocol => protocol.to_lowercase(),
        };
        let number = u16::try_from(item.at(&["port"]).as_i64()?).ok()?;
        Some(Port { name: item.str_at(&["name"]).to_lowercase(), protocol, number })
    };
    items.iter().filter_map(port).collect()
}
