//! Tables of cases for the plan: services and endpoints in, ruleset out.

use std::net::Ipv4Addr;
use std::time::Duration;

use expect_test::{Expect, expect};
use netlink::conntrack::{Flow, Tuple};
use proxy::{
    Endpoint, EndpointPort, EndpointSlice, Frontend, Node, Policy, Protocol, Ruleset, Service, ServicePort, plan, stale,
};

fn ip(s: &str) -> Ipv4Addr {
    s.parse().expect(s)
}

fn node() -> Node {
    Node {
        name: "n1".into(),
        addresses: vec![ip("172.30.0.2")],
        pod_cidr: Some("10.244.1.0/24".parse().expect("cidr")),
    }
}

fn service(name: &str) -> Service {
    Service {
        namespace: "default".into(),
        name: name.into(),
        cluster_ips: vec![ip("10.96.0.10")],
        ports: vec![ServicePort { name: "http".into(), protocol: Protocol::Tcp, port: 80, node_port: None }],
        ..Service::default()
    }
}

fn node_port(name: &str) -> Service {
    let mut service = service(name);
    service.ports[0].node_port = Some(30_080);
    service
}

/// Endpoints `address@node`, with `!` in front for one that is not ready, `~` for one that ends but still serves.
fn slice(service: &str, endpoints: &[&str]) -> EndpointSlice {
    let endpoint = |text: &&str| {
        let (rest, ready, ending) = match text.split_at(1) {
            ("!", rest) => (rest, false, false),
            ("~", rest) => (rest, false, true),
            _ => (*text, true, false),
        };
        let (address, node) = rest.split_once('@').expect("address@node");
        Endpoint {
            address: ip(address),
            ready,
            serving: ready || ending,
            terminating: ending,
            node_name: (!node.is_empty()).then(|| node.to_string()),
        }
    };
    EndpointSlice {
        namespace: "default".into(),
        service: service.into(),
        ports: vec![EndpointPort { name: "http".into(), protocol: Protocol::Tcp, port: 8080 }],
        endpoints: endpoints.iter().map(endpoint).collect(),
    }
}

fn check(services: &[Service], slices: &[EndpointSlice], expected: Expect) {
    let planned = plan(services, slices, &node());
    expected.assert_eq(&planned.to_string());
    let (mut services, mut slices) = (services.to_vec(), slices.to_vec());
    services.reverse();
    slices.reverse();
    assert_eq!(plan(&services, &slices, &node()), planned, "the order of the input does not matter");
}

#[test]
fn a_cluster_address_leads_to_ready_endpoints() {
    check(
        &[service("web")],
        &[
            slice("web", &["10.244.1.5@n1", "!10.244.1.6@n1"]),
            slice("web", &["10.244.2.7@n2"]),
            slice("other", &["10.244.1.9@n1"]),
        ],
        expect![[r#"
            tcp 10.96.0.10:80 ClusterIp -> default/web:http Cluster
            default/web:http Cluster: 10.244.1.5:8080 10.244.2.7:8080
            cluster: 10.96.0.10
            hairpin: 10.244.1.5 10.244.2.7
        "#]],
    );
}

#[test]
fn endpoints_that_end_serve_only_when_no_other_is_ready() {
    check(
        &[service("web")],
        &[slice("web", &["~10.244.1.5@n1", "10.244.2.7@n2"])],
        expect![[r#"
        tcp 10.96.0.10:80 ClusterIp -> default/web:http Cluster
        default/web:http Cluster: 10.244.2.7:8080
        cluster: 10.96.0.10
        hairpin: 10.244.2.7
    "#]],
    );
    check(
        &[service("web")],
        &[slice("web", &["~10.244.1.5@n1", "!10.244.2.7@n2"])],
        expect![[r#"
        tcp 10.96.0.10:80 ClusterIp -> default/web:http Cluster
        default/web:http Cluster: 10.244.1.5:8080
        cluster: 10.96.0.10
        hairpin: 10.244.1.5
    "#]],
    );
}

#[test]
fn nobody_answers() {
    check(
        &[node_port("web")],
        &[],
        expect![[r#"
        tcp 10.96.0.10:80 Reject
        tcp 172.30.0.2:30080 Reject
        cluster: 10.96.0.10
        hairpin:
    "#]],
    );
    check(
        &[node_port("web")],
        &[slice("web", &["!10.244.1.5@n1"])],
        expect![[r#"
        tcp 10.96.0.10:80 Reject
        tcp 172.30.0.2:30080 Reject
        cluster: 10.96.0.10
        hairpin:
    "#]],
    );
}

#[test]
fn node_ports_and_external_addresses() {
    let mut web = node_port("web");
    web.external_ips = vec![ip("203.0.113.1")];
    web.load_balancer_ips = vec![ip("203.0.113.2")];
    check(
        &[web],
        &[slice("web", &["10.244.1.5@n1", "10.244.2.7@n2"])],
        expect![[r#"
        tcp 10.96.0.10:80 ClusterIp -> default/web:http Cluster
        tcp 172.30.0.2:30080 External -> default/web:http Cluster
        tcp 203.0.113.1:80 External -> default/web:http Cluster
        tcp 203.0.113.2:80 External -> default/web:http Cluster
        default/web:http Cluster: 10.244.1.5:8080 10.244.2.7:8080
        cluster: 10.96.0.10
        hairpin: 10.244.1.5 10.244.2.7
    "#]],
    );
}

#[test]
fn external_traffic_policy_local() {
    let web = Service { external_traffic_policy: Policy::Local, ..node_port("web") };
    check(
        std::slice::from_ref(&web),
        &[slice("web", &["10.244.1.5@n1", "10.244.2.7@n2"])],
        expect![[r#"
        tcp 10.96.0.10:80 ClusterIp -> default/web:http Cluster
        tcp 172.30.0.2:30080 ExternalLocal -> default/web:http Cluster | default/web:http ExternalLocal
        default/web:http Cluster: 10.244.1.5:8080 10.244.2.7:8080
        default/web:http ExternalLocal: 10.244.1.5:8080
        cluster: 10.96.0.10
        hairpin: 10.244.1.5 10.244.2.7
    "#]],
    );
    check(
        std::slice::from_ref(&web),
        &[slice("web", &["10.244.2.7@n2"])],
        expect![[r#"
        tcp 10.96.0.10:80 ClusterIp -> default/web:http Cluster
        tcp 172.30.0.2:30080 ExternalLocal -> default/web:http Cluster
        default/web:http Cluster: 10.244.2.7:8080
        cluster: 10.96.0.10
        hairpin: 10.244.2.7
    "#]],
    );
    check(
        &[web],
        &[slice("web", &["~10.244.1.5@n1", "10.244.2.7@n2"])],
        expect![[r#"
        tcp 10.96.0.10:80 ClusterIp -> default/web:http Cluster
        tcp 172.30.0.2:30080 ExternalLocal -> default/web:http Cluster | default/web:http ExternalLocal
        default/web:http Cluster: 10.244.2.7:8080
        default/web:http ExternalLocal: 10.244.1.5:8080
        cluster: 10.96.0.10
        hairpin: 10.244.1.5 10.244.2.7
    "#]],
    );
}

#[test]
fn internal_traffic_policy_local() {
    let web = Service { internal_traffic_policy: Policy::Local, ..service("web") };
    check(
        std::slice::from_ref(&web),
        &[slice("web", &["10.244.1.5@n1", "10.244.2.7@n2"])],
        expect![[r#"
        tcp 10.96.0.10:80 ClusterIp -> default/web:http InternalLocal
        default/web:http Cluster: 10.244.1.5:8080 10.244.2.7:8080
        default/web:http InternalLocal: 10.244.1.5:8080
        cluster: 10.96.0.10
        hairpin: 10.244.1.5 10.244.2.7
    "#]],
    );
    check(
        &[web],
        &[slice("web", &["10.244.2.7@n2"])],
        expect![[r#"
        tcp 10.96.0.10:80 Drop
        default/web:http Cluster: 10.244.2.7:8080
        cluster: 10.96.0.10
        hairpin: 10.244.2.7
    "#]],
    );
}

#[test]
fn affinity_and_conflicts() {
    let sticky = Service { affinity: Some(Duration::from_secs(10_800)), ..service("a") };
    check(
        &[service("b"), sticky],
        &[slice("a", &["10.244.1.5@n1"]), slice("b", &["10.244.1.6@"])],
        expect![[r#"
        tcp 10.96.0.10:80 ClusterIp -> default/a:http Cluster
        default/a:http Cluster: 10.244.1.5:8080 (by client for 10800 s)
        default/b:http Cluster: 10.244.1.6:8080
        cluster: 10.96.0.10
        hairpin: 10.244.1.5 10.244.1.6
    "#]],
    );
}

#[test]
fn ports_are_matched_by_name_and_protocol() {
    let mut dns = service("dns");
    let port = |name: &str, protocol| ServicePort { name: name.into(), protocol, port: 53, node_port: None };
    dns.ports = vec![port("dns", Protocol::Udp), port("dns-tcp", Protocol::Tcp), port("metrics", Protocol::Tcp)];
    dns.ports[2].port = 9153;
    let mut endpoints = slice("dns", &["10.244.1.5@n1"]);
    let port = |name: &str, protocol| EndpointPort { name: name.into(), protocol, port: 53 };
    endpoints.ports = vec![port("dns", Protocol::Udp), port("dns-tcp", Protocol::Tcp), port("metrics", Protocol::Udp)];
    check(
        &[dns],
        &[endpoints],
        expect![[r#"
        tcp 10.96.0.10:53 ClusterIp -> default/dns:dns-tcp Cluster
        udp 10.96.0.10:53 ClusterIp -> default/dns:dns Cluster
        tcp 10.96.0.10:9153 Reject
        default/dns:dns Cluster: 10.244.1.5:53
        default/dns:dns-tcp Cluster: 10.244.1.5:53
        cluster: 10.96.0.10
        hairpin: 10.244.1.5
    "#]],
    );
}

#[test]
fn a_headless_service_needs_nothing() {
    let headless = Service { cluster_ips: vec![], ..service("db") };
    check(
        &[headless],
        &[slice("db", &["10.244.1.5@n1"])],
        expect![[r#"
        cluster:
        hairpin:
    "#]],
    );
}

/// An endpoint more changes its group and nothing else.
#[test]
fn a_difference_is_small() {
    let others: Vec<_> = (0..50u8)
        .map(|i| Service { cluster_ips: vec![Ipv4Addr::new(10, 96, 1, i)], ..service(&format!("s{i}")) })
        .collect();
    let slices = |web: &[&str]| {
        let mut slices: Vec<_> =
            (0..50).map(|i| slice(&format!("s{i}"), &["10.244.1.5@n1", "10.244.1.6@n1"])).collect();
        slices.push(slice("web", web));
        slices
    };
    let mut services = others;
    services.push(service("web"));
    let before = plan(&services, &slices(&["10.244.1.7@n1", "10.244.1.8@n1"]), &node());
    let after = plan(&services, &slices(&["10.244.1.7@n1", "10.244.1.8@n1", "10.244.2.9@n2"]), &node());
    let changes = before.diff(&after);
    assert_eq!(changes.new_chains.iter().map(|p| p.count).collect::<Vec<_>>(), [3]);
    assert!(changes.old_chains.is_empty(), "other services still have two endpoints");
    assert_eq!((changes.groups.removed.len(), changes.groups.added.len()), (1, 1));
    assert_eq!((changes.endpoints.removed.len(), changes.endpoints.added.len()), (0, 1));
    assert_eq!((changes.len(), changes.services.added.len()), (4, 0), "and the hairpin entry");
    assert!(after.diff(&after).is_empty());
}

#[test]
fn groups_keep_their_numbers() {
    let services = [service("web"), Service { cluster_ips: vec![ip("10.96.0.11")], ..service("api") }];
    let slices = [slice("web", &["10.244.1.7@n1"]), slice("api", &["10.244.1.8@n1"])];
    let both = plan(&services, &slices, &node());
    let one = plan(&services[..1], &slices[..1], &node());
    let id = |r: &Ruleset| r.groups.iter().find(|(_, g)| g.name == "default/web:http").map(|(id, _)| *id);
    assert_eq!(id(&both), id(&one));
}

#[test]
fn udp_flows_go_stale_with_their_endpoint() {
    let mut dns = service("dns");
    dns.ports[0].protocol = Protocol::Udp;
    let endpoints = |list: &[&str]| {
        let mut slice = slice("dns", list);
        slice.ports[0].protocol = Protocol::Udp;
        plan(std::slice::from_ref(&dns), &[slice], &node())
    };
    let flow = |to: &str, port, from: &str, from_port| {
        let client = (ip("10.244.1.99"), 40_000);
        let original = Tuple { source: client, destination: (ip(to), port) };
        Flow::new(17, original, Tuple { source: (ip(from), from_port), destination: client })
    };
    let flows = [
        flow("10.96.0.10", 80, "10.244.1.5", 8080),
        flow("10.96.0.10", 80, "10.244.1.6", 8080),
        flow("10.96.0.10", 80, "10.96.0.10", 80),
        flow("192.0.2.1", 80, "192.0.2.1", 80),
        flow("10.96.0.10", 81, "10.244.1.5", 8080),
    ];
    let (two, one, none) =
        (endpoints(&["10.244.1.5@n1", "10.244.1.6@n1"]), endpoints(&["10.244.1.6@n1"]), endpoints(&[]));
    let at =
        |found: Vec<Flow>| -> Vec<usize> { found.iter().filter_map(|f| flows.iter().position(|g| g == f)).collect() };
    assert_eq!(
        at(stale(&flows, &two, &one)),
        [0, 2],
        "the endpoint that went, and what was sent before there was a service"
    );
    assert_eq!(at(stale(&flows, &two, &two)), [2]);
    assert_eq!(at(stale(&flows, &two, &none)), [0, 1, 2]);
    assert_eq!(at(stale(&flows, &two, &Ruleset::default())), [0, 1], "without a service what is untranslated stays");
    assert!(none.refused.contains_key(&Frontend { protocol: Protocol::Udp, address: ip("10.96.0.10"), port: 80 }));
}
