//! What is said about a Service that is valid: fields that do nothing here, and addresses in old spellings. Source:
//! `pkg/api/service/warnings.go`.

use super::is_headless;
use crate::{at::At, ip};
use value::Value;

const OLD_HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";

/// The main resource.
pub fn service(obj: &Value) -> Vec<String> {
    let root = At::root(obj);
    let spec = root.get("spec");
    let mut out = Vec::new();
    if !obj.at(&["metadata", "annotations", OLD_HINTS]).is_null() {
        out.push(format!("annotation {OLD_HINTS} is deprecated, please use {TOPOLOGY_MODE} instead"));
    }
    let external = spec.get("type").str() == "ExternalName";
    let headless = is_headless(spec.value);
    if !headless {
        addresses(spec.get("clusterIPs"), &mut out);
    }
    let (ips, balancer) = (spec.get("externalIPs"), spec.get("loadBalancerIP"));
    if headless {
        let ignored = [
            ("spec.loadBalancerIP", !balancer.is_empty()),
            ("spec.externalIPs", !ips.is_empty()),
            ("spec.SessionAffinity", spec.get("sessionAffinity").str() != "None"),
        ];
        out.extend(
            ignored.iter().filter(|(_, set)| *set).map(|(f, _)| format!("{f} is ignored for headless services")),
        );
    }
    addresses(ips, &mut out);
    if !ips.is_empty() && !headless && !external {
        out.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".into());
    }
    out.extend(ip::ip_warning(balancer.path, balancer.str()));
    for range in spec.get("loadBalancerSourceRanges").items() {
        out.extend(ip::cidr_warnings(range.path, range.str()));
    }
    if external && !ips.is_empty() {
        out.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".into());
    }
    if !external && !spec.get("externalName").is_empty() {
        out.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".into());
    }
    if spec.get("trafficDistribution").str() == "PreferClose" {
        out.push("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".into());
    }
    out
}

/// The status.
pub fn status(obj: &Value) -> Vec<String> {
    let root = At::root(obj);
    let (status, mut out) = (root.get("status"), Vec::new());
    for point in status.get("loadBalancer").get("ingress").items() {
        // Upstream names the entry, not its address.
        out.extend(ip::ip_warning(point.path, point.get("ip").str()));
    }
    out
}

fn addresses(list: At, out: &mut Vec<String>) {
    out.extend(list.items().filter_map(|address| ip::ip_warning(address.path, address.str())));
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use value::value;

    #[test]
    fn what_is_said() {
        for (spec, want) in [
            (value!({"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]}), expect![""]),
            (
                value!({"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "sessionAffinity": "ClientIP", "externalIPs": ["1.2.3.4"], "loadBalancerIP": "FD00::1"}),
                expect![[r#"
                    spec.loadBalancerIP is ignored for headless services
                    spec.externalIPs is ignored for headless services
                    spec.SessionAffinity is ignored for headless services
                    spec.loadBalancerIP: IPv6 address "FD00::1" should be in RFC 5952 canonical format ("fd00::1")"#]],
            ),
            (
                value!({"type": "LoadBalancer", "clusterIPs": ["010.0.0.1"], "externalIPs": ["1.2.3.4"], "externalName": "x",
                    "loadBalancerSourceRanges": ["10.0.0.1/8"], "trafficDistribution": "PreferClose"}),
                expect![[r#"
                    spec.clusterIPs[0]: non-standard IP address "010.0.0.1" is invalid: use "10.0.0.1"
                    spec.externalIPs is deprecated and may no longer be implemented in some clusters
                    spec.loadBalancerSourceRanges[0]: CIDR value "10.0.0.1/8" is ambiguous in this context (should be "10.0.0.0/8" or "10.0.0.1/32"?)
                    spec.externalName is ignored when spec.type is not "ExternalName"
                    spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone""#]],
            ),
            (
                value!({"type": "ExternalName", "externalName": "x", "externalIPs": ["1.2.3.4"]}),
                expect![[r#"spec.externalIPs is ignored when spec.type is "ExternalName""#]],
            ),
        ] {
            want.assert_eq(&service(&value!({"spec": spec})).join("\n"));
        }
    }
}
