//! The built-in network on a node of its own: the contract, and the way out of the cluster.

use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use cni::{AddRequest, Attachment, Builtin, Config, Network, Pod, contract};
use netlink::{Cidr, Namespace, RouteEntry, Veth, sysctl};

/// A node with one address, `172.30.9.2`, and a neighbour outside, `172.30.9.1`, that knows no way to pods.
struct Node {
    root: PathBuf,
    sandboxes: PathBuf,
    node: Namespace,
    outside: Namespace,
}

fn cidr(s: &str) -> Cidr {
    s.parse().expect(s)
}

impl Node {
    fn new(name: &str) -> Node {
        let root = std::env::temp_dir().join(format!("ferry-cni-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(root.join("netns")).expect("mkdir");
        let (node, outside) = (Namespace::anonymous().expect("namespace"), Namespace::anonymous().expect("namespace"));
        let mut route = node.route().expect("route");
        let near = Veth { name: "uplink", mac: None, namespace: None };
        let far = Veth { name: "node", mac: None, namespace: Some(outside.fd()) };
        route.add_veth(near, far, 1500).expect("veth");
        route.add_address("uplink", cidr("172.30.9.2/24")).expect("address");
        route.up("uplink").expect("up");
        route.replace_route(&RouteEntry::via(cidr("0.0.0.0/0"), "172.30.9.1".parse().expect("ip"))).expect("route");
        let mut route = outside.route().expect("route");
        route.add_address("node", cidr("172.30.9.1/24")).expect("address");
        route.add_address("lo", cidr("198.51.100.1/32")).expect("address");
        route.up("node").expect("up");
        let sandboxes = root.join("netns");
        Node { root, sandboxes, node, outside }
    }

    fn config(&self) -> Config {
        Config::new(self.root.join("state"), cidr("10.244.9.0/27"), vec![cidr("10.244.0.0/16"), cidr("172.30.9.0/24")])
    }

    fn pod(&self, name: &str) -> (AddRequest, Namespace) {
        let netns = self.sandboxes.join(name);
        let namespace = Namespace::create(&netns).expect("namespace");
        let attachment = Attachment { container_id: name.into(), ifname: "eth0".into() };
        let pod = Pod { namespace: "default".into(), name: name.into(), uid: name.into() };
        (AddRequest { attachment, netns, pod, port_mappings: vec![] }, namespace)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Ok(entries) = std::fs::read_dir(&self.sandboxes) {
            entries.flatten().for_each(|entry| drop(Namespace::delete(&entry.path())));
        }
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

impl contract::Fixture for Node {
    type Network = Builtin;

    fn open(&self) -> Builtin {
        self.node.run(|| Builtin::open(self.config())).expect("run").expect("open")
    }

    fn node(&self) -> &Namespace {
        &self.node
    }

    fn node_address(&self) -> IpAddr {
        "172.30.9.2".parse().expect("ip")
    }

    fn directory(&self) -> &Path {
        &self.sandboxes
    }
}

#[test]
fn the_contract_holds() {
    contract::run(&Node::new("contract"));
}

/// The kernel shows bridged frames to netfilter on many hosts, and on many not; both must do.
#[test]
fn the_contract_holds_with_and_without_bridge_netfilter() {
    for value in ["0", "1"] {
        let node = Node::new(&format!("brnf-{value}"));
        let set = || sysctl::write_if_present("net/bridge/bridge-nf-call-iptables", value);
        node.node.run(set).expect("run").expect("write");
        contract::run(&node);
    }
}

#[test]
fn only_what_leaves_the_cluster_is_masqueraded() {
    use contract::Fixture;
    let node = Node::new("masquerade");
    let network = node.open();
    let (request, pod) = node.pod("a");
    let ip = network.add(&request).expect("add").ips[0].address;
    let seen = |to: &str| {
        let listener = node.outside.run(|| TcpListener::bind(to).expect("bind")).expect("run");
        let client = pod.run(|| TcpStream::connect(to)).expect("run");
        let (_, peer) = listener.accept().expect("accept");
        client.expect("connect");
        peer.ip().to_string()
    };
    assert_eq!(seen("198.51.100.1:80"), "172.30.9.2", "outside sees the node");
    let mut route = node.outside.route().expect("route");
    route.replace_route(&RouteEntry::via(cidr("10.244.9.0/24"), node.node_address())).expect("route");
    assert_eq!(seen("172.30.9.1:81"), ip.to_string(), "the node network sees the pod");
}

#[test]
fn another_range_replaces_the_gateway() {
    use contract::Fixture;
    let node = Node::new("range");
    drop(node.open());
    let config = Config { pod_cidr: cidr("10.244.77.0/24"), ..node.config() };
    let network = node.node.run(|| Builtin::open(config)).expect("run").expect("open");
    let (request, _pod) = node.pod("a");
    assert_eq!(network.add(&request).expect("add").ips[0].address, "10.244.77.2".parse::<IpAddr>().expect("ip"));
    let addresses: Vec<_> = node.node.route().expect("route").addresses().expect("addresses");
    let gateways: Vec<_> = addresses.iter().map(|a| a.cidr.to_string()).filter(|a| a.starts_with("10.244.")).collect();
    assert_eq!(gateways, ["10.244.77.1/24"]);
}
