//! From API objects to the plan's input: the projections that the shared caches keep. What a cache keeps is what the plan reads, so a
//! change of anything else (annotations, managed fields, an EndpointSlice's hints) wakes nobody.

use std::net::Ipv4Addr;
use std::time::Duration;

use control::Projection;
use serde::Deserialize;
use value::Object;

use crate::input::{Endpoint, EndpointPort, EndpointSlice, Policy, Protocol, Service, ServicePort};

/// Says that another proxy serves the object.
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
const HEADLESS: &str = "service.kubernetes.io/headless";
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// `sessionAffinityConfig.clientIP.timeoutSeconds` where it is absent.
const AFFINITY_SECONDS: u64 = 10_800;

impl Projection for Service {
    fn project(object: &Object) -> Option<Self> {
        if object.meta.label(PROXY_NAME).is_some() {
            return None;
        }
        let decoded: ApiService = decode(object)?;
        let (spec, status) = (decoded.spec, decoded.status);
        // Headless (`clusterIP: None`) parses to no address, and an ExternalName has none.
        let cluster_ips: Vec<_> =
            spec.cluster_i_ps.iter().chain(spec.cluster_ip.iter().filter(|_| spec.cluster_i_ps.is_empty())).collect();
        let cluster_ips = addresses(cluster_ips);
        if spec.r#type == "ExternalName" || cluster_ips.is_empty() {
            return None;
        }
        let virtual_ips = status.load_balancer.ingress.iter().filter(|i| i.ip_mode.as_deref() != Some("Proxy"));
        let sticky = (spec.session_affinity == "ClientIP").then(|| {
            let seconds = spec.session_affinity_config.and_then(|c| c.client_ip).and_then(|c| c.timeout_seconds);
            Duration::from_secs(seconds.unwrap_or(AFFINITY_SECONDS).max(1))
        });
        Some(Service {
            namespace: object.namespace().to_string(),
            name: object.name().to_string(),
            cluster_ips,
            external_ips: addresses(&spec.external_i_ps),
            load_balancer_ips: addresses(virtual_ips.filter_map(|i| i.ip.as_ref())),
            ports: spec.ports.into_iter().filter_map(service_port).collect(),
            affinity: sticky,
            external_traffic_policy: policy(&spec.external_traffic_policy),
            internal_traffic_policy: policy(&spec.internal_traffic_policy),
        })
    }
}

impl Projection for EndpointSlice {
    fn project(object: &Object) -> Option<Self> {
        let service = object.meta.label(SERVICE_NAME)?.to_string();
        if object.meta.label(PROXY_NAME).is_some() || object.meta.label(HEADLESS).is_some() {
            return None;
        }
        let decoded: ApiSlice = decode(object)?;
        if decoded.address_type != "IPv4" {
            return None;
        }
        Some(EndpointSlice {
            namespace: object.namespace().to_string(),
            service,
            ports: decoded.ports.unwrap_or_default().into_iter().filter_map(endpoint_port).collect(),
            endpoints: decoded.endpoints.unwrap_or_default().into_iter().filter_map(endpoint).collect(),
        })
    }
}

fn decode<T: serde::de::DeserializeOwned>(object: &Object) -> Option<T> {
    object.decode().inspect_err(|error| tracing::warn!(object = %object.key, %error, "cannot decode")).ok()
}

fn addresses<'a>(texts: impl IntoIterator<Item = &'a String>) -> Vec<Ipv4Addr> {
    texts.into_iter().filter_map(|text| text.parse().ok()).collect()
}

fn policy(text: &str) -> Policy {
    if text == "Local" { Policy::Local } else { Policy::Cluster }
}

fn service_port(port: ApiServicePort) -> Option<ServicePort> {
    Some(ServicePort {
        name: port.name,
        protocol: protocol(port.protocol.as_deref())?,
        port: port.port,
        node_port: Some(port.node_port).filter(|n| *n != 0),
    })
}

fn endpoint_port(port: ApiEndpointPort) -> Option<EndpointPort> {
    Some(EndpointPort {
        name: port.name.unwrap_or_default(),
        protocol: protocol(port.protocol.as_deref())?,
        port: port.port?,
    })
}

fn endpoint(endpoint: ApiEndpoint) -> Option<Endpoint> {
    // An absent `ready` means ready, an absent `serving` the same as ready (EndpointConditions).
    let ready = endpoint.conditions.ready.unwrap_or(true);
    Some(Endpoint {
        address: endpoint.addresses.first()?.parse().ok()?,
        ready,
        serving: endpoint.conditions.serving.unwrap_or(ready),
        terminating: endpoint.conditions.terminating.unwrap_or(false),
        node_name: endpoint.node_name,
    })
}

fn protocol(text: Option<&str>) -> Option<Protocol> {
    Protocol::parse(text.unwrap_or("TCP"))
}

#[derive(Deserialize)]
struct ApiService {
    spec: ApiServiceSpec,
    #[serde(default)]
    status: ApiServiceStatus,
}

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[derive(Default)]
struct ApiServiceSpec {
    r#type: String,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    cluster_i_ps: Vec<String>,
    #[serde(rename = "externalIPs")]
    external_i_ps: Vec<String>,
    ports: Vec<ApiServicePort>,
    session_affinity: String,
    session_affinity_config: Option<ApiAffinityConfig>,
    external_traffic_policy: String,
    internal_traffic_policy: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiServicePort {
    #[serde(default)]
    name: String,
    protocol: Option<String>,
    port: u16,
    #[serde(default)]
    node_port: u16,
}

#[derive(Deserialize)]
struct ApiAffinityConfig {
    #[serde(rename = "clientIP")]
    client_ip: Option<ApiClientIp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiClientIp {
    timeout_seconds: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ApiServiceStatus {
    load_balancer: ApiLoadBalancer,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ApiLoadBalancer {
    ingress: Vec<ApiIngress>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiIngress {
    ip: Option<String>,
    ip_mode: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiSlice {
    address_type: String,
    /// Lists are null where a writer left them out.
    ports: Option<Vec<ApiEndpointPort>>,
    endpoints: Option<Vec<ApiEndpoint>>,
}

#[derive(Deserialize)]
struct ApiEndpointPort {
    name: Option<String>,
    protocol: Option<String>,
    port: Option<u16>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiEndpoint {
    addresses: Vec<String>,
    #[serde(default)]
    conditions: ApiConditions,
    node_name: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ApiConditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use serde_json::{Value, json};

    fn check<P: Projection + std::fmt::Debug>(object: Value, expected: Expect) {
        let bytes = serde_json::to_vec(&object).expect("json");
        let object = Object::from_json(bytes.into()).expect("object");
        expected.assert_debug_eq(&P::project(&object));
    }

    fn meta(labels: Value) -> Value {
        json!({"namespace": "default", "name": "web", "labels": labels})
    }

    #[test]
    fn services() {
        let spec = json!({
            "type": "LoadBalancer", "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10", "fd00::10"],
            "ports": [{"name": "http", "port": 80, "targetPort": "web", "nodePort": 30080}, {"name": "x", "protocol": "NEW", "port": 1}],
            "sessionAffinity": "ClientIP", "externalIPs": ["203.0.113.1"], "externalTrafficPolicy": "Local",
            "internalTrafficPolicy": "Cluster"
        });
        let status = json!({"loadBalancer": {"ingress": [
            {"ip": "203.0.113.2", "ipMode": "VIP"}, {"ip": "203.0.113.3", "ipMode": "Proxy"}, {"hostname": "example"}]}});
        check::<Service>(
            json!({"metadata": meta(json!({})), "spec": spec, "status": status}),
            expect![[r#"
            Some(
                Service {
                    namespace: "default",
                    name: "web",
                    cluster_ips: [
                        10.96.0.10,
                    ],
                    external_ips: [
                        203.0.113.1,
                    ],
                    load_balancer_ips: [
                        203.0.113.2,
                    ],
                    ports: [
                        ServicePort {
                            name: "http",
                            protocol: Tcp,
                            port: 80,
                            node_port: Some(
                                30080,
                            ),
                        },
                    ],
                    affinity: Some(
                        10800s,
                    ),
                    external_traffic_policy: Local,
                    internal_traffic_policy: Cluster,
                },
            )
        "#]],
        );
        let mut other = spec.clone();
        other["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": 60}});
        let bytes = serde_json::to_vec(&json!({"metadata": meta(json!({})), "spec": other})).expect("json");
        let service = Service::project(&Object::from_json(bytes.into()).expect("object")).expect("projected");
        assert_eq!(service.affinity, Some(Duration::from_secs(60)));
    }

    #[test]
    fn services_of_others() {
        let none = || {
            expect![[r#"
            None
        "#]]
        };
        check::<Service>(
            json!({"metadata": meta(json!({})), "spec": {"clusterIP": "None", "clusterIPs": ["None"]}}),
            none(),
        );
        let external = json!({"type": "ExternalName", "externalName": "example"});
        check::<Service>(json!({"metadata": meta(json!({})), "spec": external}), none());
        let labelled = meta(json!({PROXY_NAME: "other"}));
        check::<Service>(json!({"metadata": labelled, "spec": {"clusterIP": "10.96.0.1"}}), none());
        check::<Service>(json!({"metadata": meta(json!({})), "spec": {"ports": 7}}), none());
    }

    #[test]
    fn slices() {
        let ours = meta(json!({SERVICE_NAME: "web"}));
        let endpoints = json!([
            {"addresses": ["10.244.0.5", "10.244.0.6"], "nodeName": "n1"},
            {"addresses": ["10.244.0.7"], "conditions": {"ready": false, "serving": true, "terminating": true}},
            {"addresses": []}
        ]);
        let ports = json!([{"name": "http", "protocol": "TCP", "port": 8080}, {"name": "none"}, {"port": 1}]);
        let slice = json!({"metadata": ours, "addressType": "IPv4", "ports": ports, "endpoints": endpoints});
        check::<EndpointSlice>(
            slice,
            expect![[r#"
            Some(
                EndpointSlice {
                    namespace: "default",
                    service: "web",
                    ports: [
                        EndpointPort {
                            name: "http",
                            protocol: Tcp,
                            port: 8080,
                        },
                        EndpointPort {
                            name: "",
                            protocol: Tcp,
                            port: 1,
                        },
                    ],
                    endpoints: [
                        Endpoint {
                            address: 10.244.0.5,
                            ready: true,
                            serving: true,
                            terminating: false,
                            node_name: Some(
                                "n1",
                            ),
                        },
                        Endpoint {
                            address: 10.244.0.7,
                            ready: false,
                            serving: true,
                            terminating: true,
                            node_name: None,
                        },
                    ],
                },
            )
        "#]],
        );
        let empty = json!({"metadata": ours, "addressType": "IPv4", "ports": null, "endpoints": null});
        check::<EndpointSlice>(
            empty,
            expect![[r#"
            Some(
                EndpointSlice {
                    namespace: "default",
                    service: "web",
                    ports: [],
                    endpoints: [],
                },
            )
        "#]],
        );
        let none = || {
            expect![[r#"
            None
        "#]]
        };
        check::<EndpointSlice>(json!({"metadata": ours, "addressType": "IPv6", "endpoints": []}), none());
        check::<EndpointSlice>(json!({"metadata": meta(json!({})), "addressType": "IPv4", "endpoints": []}), none());
        let headless = meta(json!({SERVICE_NAME: "web", HEADLESS: ""}));
        check::<EndpointSlice>(json!({"metadata": headless, "addressType": "IPv4", "endpoints": []}), none());
    }
}
