//! The tables in the kernel, with real packets: two nodes on a bridge, a host beside them, pods on both.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Mutex;
use std::time::Duration;

use netlink::nft::{Family, Table};
use netlink::{Cidr, LinkChange, Namespace, RouteEntry, Veth, sysctl};
use proxy::{
    Endpoint, EndpointPort, EndpointSlice, Node, Policy, Protocol, Proxy, Ruleset, Service, ServicePort, plan,
};

const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
const NODE_PORT: u16 = 30_080;
const HOST: &str = "172.30.8.1";

fn ip(s: &str) -> Ipv4Addr {
    s.parse().expect(s)
}

fn cidr(s: &str) -> Cidr {
    s.parse().expect(s)
}

/// The host with the cluster's bridge, and two nodes with two pods each: 10.244.N.2 and 10.244.N.3.
struct Cluster {
    host: Namespace,
    nodes: [TestNode; 2],
}

struct TestNode {
    namespace: Namespace,
    pods: [Namespace; 2],
    node: Node,
    proxy: Mutex<Proxy>,
}

fn cluster() -> Cluster {
    let host = Namespace::anonymous().expect("namespace");
    let mut route = host.route().expect("route");
    route.add_bridge("cluster", None).expect("bridge");
    route.add_address("cluster", cidr("172.30.8.1/24")).expect("address");
    route.up("cluster").expect("up");
    let nodes = [1, 2].map(|n| test_node(&host, n));
    for n in [1u8, 2] {
        let to = Cidr { address: Ipv4Addr::new(10, 244, n, 0).into(), prefix: 24 };
        let via = RouteEntry::via(to, Ipv4Addr::new(172, 30, 8, n + 1).into());
        route.replace_route(&via).expect("route");
        nodes[usize::from(2 - n)].namespace.route().expect("route").replace_route(&via).expect("route");
    }
    Cluster { host, nodes }
}

fn test_node(host: &Namespace, n: u8) -> TestNode {
    let namespace = Namespace::anonymous().expect("namespace");
    let settings = || {
        sysctl::write("net/ipv4/ip_forward", "1").expect("forward");
        // As a machine of ours has it; otherwise a pod reaches itself only over a port in hairpin mode.
        sysctl::write_if_present("net/bridge/bridge-nf-call-iptables", "0").expect("bridge");
    };
    namespace.run(settings).expect("run");
    let address = Ipv4Addr::new(172, 30, 8, n + 1);
    attach(host, "cluster", &format!("node{n}"), &namespace, Cidr { address: address.into(), prefix: 24 }, ip(HOST));
    let gateway = Ipv4Addr::new(10, 244, n, 1);
    let mut route = namespace.route().expect("route");
    route.add_bridge("pods", None).expect("bridge");
    route.add_address("pods", Cidr { address: gateway.into(), prefix: 24 }).expect("address");
    route.up("pods").expect("up");
    let pods = [2u8, 3].map(|p| {
        let (pod, own) = (Namespace::anonymous().expect("namespace"), Ipv4Addr::new(10, 244, n, p));
        attach(&namespace, "pods", &format!("pod{p}"), &pod, Cidr::host(own), gateway);
        pod
    });
    let pod_cidr = Some(Cidr { address: gateway.into(), prefix: 24 });
    let proxy = namespace.run(|| Proxy::open(pod_cidr)).expect("run").expect("proxy");
    let node = Node { name: format!("n{n}"), addresses: vec![address], pod_cidr };
    TestNode { namespace, pods, node, proxy: Mutex::new(proxy) }
}

fn attach(to: &Namespace, bridge: &str, port: &str, inner: &Namespace, address: Cidr, gateway: Ipv4Addr) {
    let mut route = to.route().expect("route");
    let near = Veth { name: port, mac: None, namespace: None };
    route.add_veth(near, Veth { name: "eth0", mac: None, namespace: Some(inner.fd()) }, 1500).expect("veth");
    let master = Some(route.index(bridge).expect("index"));
    route.set_link(port, LinkChange { master, up: Some(true), ..Default::default() }).expect("port");
    let mut route = inner.route().expect("route");
    route.add_address("eth0", address).expect("address");
    route.up("eth0").expect("up");
    let link = route.index("eth0").expect("index");
    route.replace_route(&RouteEntry::on_link(Cidr::host(gateway), link)).expect("route");
    route.replace_route(&RouteEntry::via(cidr("0.0.0.0/0"), gateway.into())).expect("default");
}

impl Cluster {
    /// Applies on every node.
    fn apply(&self, service: &Service, endpoints: &[&str]) {
        for node in &self.nodes {
            let ruleset = plan(std::slice::from_ref(service), &[slice(endpoints)], &node.node);
            node.proxy.lock().expect("lock").apply(ruleset).expect("apply");
        }
    }

    fn pod(&self, address: &str) -> &Namespace {
        let [.., n, p] = ip(address).octets();
        &self.nodes[usize::from(n) - 1].pods[usize::from(p) - 2]
    }

    /// Every pod answers on port 8080, TCP and UDP.
    fn serve(&self) {
        for (n, node) in self.nodes.iter().enumerate() {
            for (p, pod) in node.pods.iter().enumerate() {
                serve(pod, format!("10.244.{}.{}", n + 1, p + 2), 8080);
            }
        }
    }
}

fn service() -> Service {
    let port = |name: &str, protocol| ServicePort { name: name.into(), protocol, port: 80, node_port: Some(NODE_PORT) };
    Service {
        namespace: "default".into(),
        name: "web".into(),
        cluster_ips: vec![SERVICE],
        ports: vec![port("tcp", Protocol::Tcp), port("udp", Protocol::Udp)],
        ..Service::default()
    }
}

fn slice(endpoints: &[&str]) -> EndpointSlice {
    let port = |name: &str, protocol| EndpointPort { name: name.into(), protocol, port: 8080 };
    let endpoint = |address: &&str| Endpoint {
        address: ip(address),
        ready: true,
        serving: true,
        terminating: false,
        node_name: Some(format!("n{}", ip(address).octets()[2])),
    };
    EndpointSlice {
        namespace: "default".into(),
        service: "web".into(),
        ports: vec![port("tcp", Protocol::Tcp), port("udp", Protocol::Udp)],
        endpoints: endpoints.iter().map(endpoint).collect(),
    }
}

/// Answers TCP and UDP with its own name and the client's address.
fn serve(namespace: &Namespace, name: String, port: u16) {
    let bind = || {
        let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        (TcpListener::bind(at).expect("bind"), UdpSocket::bind(at).expect("bind"))
    };
    let (tcp, udp) = namespace.run(bind).expect("run");
    let answer = move |peer: IpAddr| format!("{name} {peer}");
    let again = answer.clone();
    std::thread::spawn(move || {
        while let Ok((mut stream, peer)) = tcp.accept() {
            let _ = stream.write_all(answer(peer.ip()).as_bytes());
        }
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, peer)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(again(peer.ip()).as_bytes(), peer);
        }
    });
}

/// Who answered, and whom it saw; or how the kernel refused.
type Answer = Result<(String, String), ErrorKind>;

fn split(text: &str) -> (String, String) {
    let (name, peer) = text.split_once(' ').expect("name and peer");
    (name.into(), peer.into())
}

fn tcp(from: &Namespace, to: Ipv4Addr, port: u16) -> Answer {
    tcp_within(from, to, port, Duration::from_secs(5))
}

fn tcp_within(from: &Namespace, to: Ipv4Addr, port: u16, limit: Duration) -> Answer {
    let connect = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&(to, port).into(), limit)?;
        let mut text = String::new();
        stream.read_to_string(&mut text).map(|_| text)
    };
    from.run(connect).expect("run").map(|text| split(&text)).map_err(|e| e.kind())
}

fn udp_socket(from: &Namespace, to: Ipv4Addr, port: u16) -> UdpSocket {
    let open = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("bind");
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
        socket.connect((to, port)).expect("connect");
        socket
    };
    from.run(open).expect("run")
}

fn exchange(socket: &UdpSocket) -> Answer {
    let mut buffer = [0; 64];
    let answer = socket.send(b"who").and_then(|_| socket.recv(&mut buffer));
    answer.map(|n| split(&String::from_utf8_lossy(&buffer[..n]))).map_err(|e| e.kind())
}

fn udp(from: &Namespace, to: Ipv4Addr, port: u16) -> Answer {
    exchange(&udp_socket(from, to, port))
}

#[test]
fn a_cluster_address_reaches_every_endpoint_and_shows_the_pod() {
    let cluster = cluster();
    cluster.serve();
    let endpoints = ["10.244.1.2", "10.244.1.3", "10.244.2.2"];
    cluster.apply(&service(), &endpoints);
    let client = cluster.pod("10.244.2.3");
    for ask in [tcp, udp] {
        let answers: Vec<_> = (0..60).map(|_| ask(client, SERVICE, 80).expect("answer")).collect();
        let names: BTreeSet<_> = answers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, BTreeSet::from(endpoints), "60 connections at random miss one of three with 1 in 10^10");
        assert!(answers.iter().all(|(_, peer)| peer == "10.244.2.3"), "{answers:?}");
        ask(&cluster.nodes[0].namespace, SERVICE, 80).expect("from the node itself");
    }
}

#[test]
fn a_pod_reaches_itself_through_its_service() {
    let cluster = cluster();
    cluster.serve();
    cluster.apply(&service(), &["10.244.1.2"]);
    for ask in [tcp, udp] {
        let (name, peer) = ask(cluster.pod("10.244.1.2"), SERVICE, 80).expect("answer");
        assert_eq!((name.as_str(), peer.as_str()), ("10.244.1.2", "10.244.1.1"), "its own address would be dropped");
        let neighbour = ask(cluster.pod("10.244.1.3"), SERVICE, 80).expect("answer");
        assert_eq!(neighbour, ("10.244.1.2".into(), "10.244.1.3".into()));
    }
}

#[test]
fn node_ports_answer_on_every_node_from_everywhere() {
    let cluster = cluster();
    cluster.serve();
    cluster.apply(&service(), &["10.244.2.2"]);
    for ask in [tcp, udp] {
        for node in [ip("172.30.8.2"), ip("172.30.8.3")] {
            let from_host = ask(&cluster.host, node, NODE_PORT).expect("host to node port");
            assert_eq!(from_host.0, "10.244.2.2");
            for pod in ["10.244.1.2", "10.244.2.2", "10.244.2.3"] {
                assert_eq!(ask(cluster.pod(pod), node, NODE_PORT).expect("pod to node port").0, "10.244.2.2");
            }
            for from in &cluster.nodes {
                assert_eq!(ask(&from.namespace, node, NODE_PORT).expect("node to node port").0, "10.244.2.2");
            }
        }
    }
}

#[test]
fn external_addresses_answer() {
    let cluster = cluster();
    cluster.serve();
    let external = Service { external_ips: vec![ip("203.0.113.7")], ..service() };
    cluster.apply(&external, &["10.244.2.2"]);
    let via = RouteEntry::via(cidr("203.0.113.7/32"), ip("172.30.8.2").into());
    cluster.host.route().expect("route").replace_route(&via).expect("route");
    let (name, peer) = tcp(&cluster.host, ip("203.0.113.7"), 80).expect("answer");
    assert_eq!((name.as_str(), peer.as_str()), ("10.244.2.2", "172.30.8.2"), "masqueraded by the node it came to");
}

#[test]
fn external_traffic_policy_local_keeps_the_client_and_stays_on_the_node() {
    let cluster = cluster();
    cluster.serve();
    let local = Service { external_traffic_policy: Policy::Local, ..service() };
    cluster.apply(&local, &["10.244.2.2"]);
    let here = tcp(&cluster.host, ip("172.30.8.3"), NODE_PORT).expect("the node with the endpoint");
    assert_eq!(here, ("10.244.2.2".into(), HOST.into()));
    let short = Duration::from_millis(400);
    let elsewhere = tcp_within(&cluster.host, ip("172.30.8.2"), NODE_PORT, short);
    assert_eq!(elsewhere, Err(ErrorKind::TimedOut), "the node without is silent");
    let pod = tcp(cluster.pod("10.244.1.2"), ip("172.30.8.2"), NODE_PORT).expect("a pod of that node");
    assert_eq!(pod, ("10.244.2.2".into(), "10.244.1.2".into()));
    tcp(&cluster.nodes[0].namespace, ip("172.30.8.2"), NODE_PORT).expect("and the node itself");
    assert_eq!(tcp(cluster.pod("10.244.1.2"), SERVICE, 80).expect("cluster address").0, "10.244.2.2");
}

#[test]
fn internal_traffic_policy_local_stays_on_the_node() {
    let cluster = cluster();
    cluster.serve();
    let local = Service { internal_traffic_policy: Policy::Local, ..service() };
    cluster.apply(&local, &["10.244.1.3", "10.244.2.2"]);
    for _ in 0..20 {
        assert_eq!(tcp(cluster.pod("10.244.1.2"), SERVICE, 80).expect("answer").0, "10.244.1.3");
        assert_eq!(tcp(cluster.pod("10.244.2.3"), SERVICE, 80).expect("answer").0, "10.244.2.2");
    }
}

#[test]
fn nobody_there_is_told_at_once() {
    let cluster = cluster();
    cluster.apply(&service(), &[]);
    let refused = Err(ErrorKind::ConnectionRefused);
    for ask in [tcp, udp] {
        assert_eq!(ask(cluster.pod("10.244.1.2"), SERVICE, 80), refused, "pod");
        // A refused datagram of one's own is "not permitted" (the send itself fails), a connection is refused.
        let own = ask(&cluster.nodes[0].namespace, SERVICE, 80);
        assert!(matches!(own, Err(ErrorKind::ConnectionRefused | ErrorKind::PermissionDenied)), "node: {own:?}");
        assert_eq!(ask(&cluster.host, ip("172.30.8.2"), NODE_PORT), refused, "node port from the host");
        assert_eq!(ask(cluster.pod("10.244.1.2"), SERVICE, 81), refused, "a port that the service does not have");
    }
    cluster.serve();
    cluster.apply(&service(), &["10.244.2.2"]);
    tcp(cluster.pod("10.244.1.2"), SERVICE, 80).expect("an endpoint came");
    assert_eq!(tcp(cluster.pod("10.244.1.2"), SERVICE, 81), refused);
    assert_eq!(tcp(&cluster.nodes[1].namespace, SERVICE, 81), refused);
}

#[test]
fn a_client_stays_with_its_endpoint_while_that_exists() {
    let cluster = cluster();
    cluster.serve();
    let sticky = Service { affinity: Some(Duration::from_secs(10_800)), ..service() };
    let endpoints = ["10.244.1.2", "10.244.1.3", "10.244.2.2"];
    cluster.apply(&sticky, &endpoints);
    let client = cluster.pod("10.244.2.3");
    for ask in [tcp, udp] {
        let first = ask(client, SERVICE, 80).expect("answer").0;
        for _ in 0..25 {
            assert_eq!(ask(client, SERVICE, 80).expect("answer").0, first);
        }
    }
    let first = tcp(client, SERVICE, 80).expect("answer").0;

    // The daemon is killed; its successor writes the whole table and keeps what clients rely on.
    let node = &cluster.nodes[1];
    let mut successor = node.namespace.run(|| Proxy::open(node.node.pod_cidr)).expect("run").expect("proxy");
    let ruleset = plan(std::slice::from_ref(&sticky), &[slice(&endpoints)], &node.node);
    assert!(successor.apply(ruleset).expect("apply").replaced);
    *node.proxy.lock().expect("lock") = successor;
    for _ in 0..25 {
        assert_eq!(tcp(client, SERVICE, 80).expect("answer").0, first);
    }

    let rest: Vec<_> = endpoints.into_iter().filter(|e| *e != first).collect();
    cluster.apply(&sticky, &rest);
    let second = tcp(client, SERVICE, 80).expect("answer").0;
    assert_ne!(second, first, "its endpoint is gone");
    cluster.apply(&sticky, &endpoints);
    for _ in 0..25 {
        assert_eq!(tcp(client, SERVICE, 80).expect("answer").0, second, "it does not go back");
    }
}

#[test]
fn udp_flows_follow_a_change_of_endpoints() {
    let cluster = cluster();
    cluster.serve();
    cluster.apply(&service(), &[]);
    let client = udp_socket(cluster.pod("10.244.1.2"), SERVICE, 80);
    assert_eq!(exchange(&client), Err(ErrorKind::ConnectionRefused));
    cluster.apply(&service(), &["10.244.2.2"]);
    assert_eq!(exchange(&client).expect("answer").0, "10.244.2.2");
    cluster.apply(&service(), &["10.244.2.3"]);
    assert_eq!(exchange(&client).expect("the same socket").0, "10.244.2.3");
    cluster.apply(&service(), &["10.244.1.3", "10.244.2.3"]);
    assert_eq!(exchange(&client).expect("answer").0, "10.244.2.3", "a flow that is still right is left alone");
}

#[test]
fn established_connections_outlive_changes() {
    let cluster = cluster();
    let pod = cluster.pod("10.244.2.2");
    let listener = pod.run(|| TcpListener::bind("0.0.0.0:8080").expect("bind")).expect("run");
    cluster.apply(&service(), &["10.244.2.2"]);
    let client = cluster.pod("10.244.1.2").run(|| TcpStream::connect((SERVICE, 80))).expect("run");
    let (mut client, (mut server, _)) = (client.expect("connect"), listener.accept().expect("accept"));
    cluster.apply(&service(), &[]);
    for node in &cluster.nodes {
        let mut fresh = node.namespace.run(|| Proxy::open(node.node.pod_cidr)).expect("run").expect("proxy");
        fresh.apply(Ruleset::default()).expect("apply");
    }
    server.write_all(b"still here").expect("write");
    drop(server);
    let mut text = String::new();
    client.read_to_string(&mut text).expect("read");
    assert_eq!(text, "still here");
}

#[test]
fn a_table_that_somebody_broke_is_written_anew() {
    let cluster = cluster();
    cluster.serve();
    cluster.apply(&service(), &["10.244.1.3"]);
    let mut nft = cluster.nodes[0].namespace.nft().expect("nft");
    let mut batch = netlink::nft::Batch::new();
    batch.delete_table(&Table::new(Family::Ip, "ferry"));
    nft.commit(batch).expect("delete");
    cluster.apply(&service(), &["10.244.2.2"]);
    assert_eq!(tcp(cluster.pod("10.244.1.2"), SERVICE, 80).expect("answer").0, "10.244.2.2");
    cluster.nodes[0].proxy.lock().expect("lock").remove().expect("remove");
    cluster.nodes[0].proxy.lock().expect("lock").remove().expect("twice is fine");
    assert!(!nft.has_table(&Table::new(Family::Ip, "ferry")).expect("tables"));
}

/// Rules and chains do not grow with services; elements do.
#[test]
fn a_packet_meets_as_many_rules_with_ten_thousand_services() {
    let cluster = cluster();
    cluster.serve();
    let node = &cluster.nodes[0];
    let t = Table::new(Family::Ip, "ferry");
    cluster.apply(&service(), &["10.244.1.3", "10.244.2.2", "10.244.2.3"]);
    let mut nft = node.namespace.nft().expect("nft");
    let (rules, chains) = (nft.rules(&t).expect("rules"), nft.chains(&t).expect("chains").len());
    let (mut services, mut slices) = (vec![service()], vec![slice(&["10.244.1.3", "10.244.2.2", "10.244.2.3"])]);
    for i in 0..10_000u32 {
        let name = format!("s{i}");
        let mut more = Service { name: name.clone(), cluster_ips: vec![(0x0a61_0000 + i).into()], ..service() };
        more.ports.truncate(1);
        more.ports[0].node_port = None;
        services.push(more);
        slices.push(EndpointSlice { service: name, ..slice(&["10.244.1.3", "10.244.2.2", "10.244.2.3"]) });
    }
    let all = plan(&services, &slices, &node.node);
    let applied = node.proxy.lock().expect("lock").apply(all).expect("apply");
    assert!(!applied.replaced && applied.elements > 60_000, "{applied:?}");
    assert_eq!((nft.rules(&t).expect("rules"), nft.chains(&t).expect("chains").len()), (rules, chains));
    tcp(&node.pods[0], SERVICE, 80).expect("the first");
    tcp(&node.pods[0], (0x0a61_0000 + 9_999).into(), 80).expect("the last");
    services.pop();
    let fewer = plan(&services, &slices, &node.node);
    let applied = node.proxy.lock().expect("lock").apply(fewer).expect("apply");
    assert_eq!(applied.elements, 7, "service, frontend, cluster address, group, three endpoints");
    assert_eq!(tcp(&node.pods[0], ip("10.97.39.14"), 80).map(|_| ()), Ok(()), "its neighbour stays");
}
