//! What the plan reads of a Service, an EndpointSlice and this node. Only IPv4 is served; other families are skipped.

use std::net::Ipv4Addr;
use std::time::Duration;

use netlink::Cidr;

pub use netlink::Protocol;

/// `externalTrafficPolicy` and `internalTrafficPolicy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Policy {
    /// Every endpoint of the cluster.
    #[default]
    Cluster,
    /// Only endpoints of this node.
    Local,
}

/// A Service with an address. Headless and ExternalName services have none of the lists filled, and plan to nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    pub namespace: String,
    pub name: String,
    pub cluster_ips: Vec<Ipv4Addr>,
    pub external_ips: Vec<Ipv4Addr>,
    /// `status.loadBalancer.ingress` with `ipMode: VIP`.
    pub load_balancer_ips: Vec<Ipv4Addr>,
    pub ports: Vec<ServicePort>,
    /// `sessionAffinity: ClientIP` with its timeout.
    pub affinity: Option<Duration>,
    pub external_traffic_policy: Policy,
    pub internal_traffic_policy: Policy,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Empty for the only port of a service.
    pub name: String,
    pub protocol: Protocol,
    pub port: u16,
    pub node_port: Option<u16>,
}

/// An EndpointSlice of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointSlice {
    pub namespace: String,
    /// The label `kubernetes.io/service-name`.
    pub service: String,
    pub ports: Vec<EndpointPort>,
    pub endpoints: Vec<Endpoint>,
}

/// A port of all endpoints of a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointPort {
    /// The name of the service's port that it serves.
    pub name: String,
    pub protocol: Protocol,
    pub port: u16,
}

/// An endpoint; conditions with the API's defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Of several addresses only the first is used, as upstream.
    pub address: Ipv4Addr,
    pub ready: bool,
    pub serving: bool,
    pub terminating: bool,
    pub node_name: Option<String>,
}

/// The node that the plan is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    /// Where node ports answer.
    pub addresses: Vec<Ipv4Addr>,
    /// Tells this node's pods from everyone else. Without it every client of a cluster address counts as a pod.
    pub pod_cidr: Option<Cidr>,
}
