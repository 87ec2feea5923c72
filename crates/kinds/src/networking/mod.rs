//! `networking.k8s.io`: ways into the cluster, who may speak to whom, and the addresses of Services.

mod ingress;
mod ingressclass;
mod ipaddress;
mod networkpolicy;
mod servicecidr;

/// All kinds of the group.
pub fn kinds() -> Vec<schema::Kind> {
    vec![ingress::kind(), ingressclass::kind(), ipaddress::kind(), networkpolicy::kind(), servicecidr::kind()]
}

const GROUP: &str = "networking.k8s.io";
