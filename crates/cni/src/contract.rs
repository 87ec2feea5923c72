//! What every [`Network`] owes its caller, as a suite that panics where one does not keep it. An implementation's tests
//! give a [`Fixture`] and call [`run`]; it needs root and a kernel, nothing else.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use netlink::Namespace;

use crate::{AddRequest, Attachment, Network, Pod, PortMapping, Protocol};

/// A node to test on.
pub trait Fixture {
    type Network: Network;
    /// Opens the network of the same node again, as a daemon does that was killed.
    fn open(&self) -> Self::Network;
    /// The node's network namespace.
    fn node(&self) -> &Namespace;
    /// An address of the node's, for host ports.
    fn node_address(&self) -> IpAddr;
    /// A directory for the sandboxes' namespaces.
    fn directory(&self) -> &Path;
}

/// A sandbox: a pinned namespace and the request that attaches it.
struct Sandbox {
    request: AddRequest,
    namespace: Namespace,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = Namespace::delete(&self.request.netns);
    }
}

fn sandbox(fixture: &impl Fixture, name: &str, port_mappings: Vec<PortMapping>) -> Sandbox {
    let netns: PathBuf = fixture.directory().join(name);
    let namespace = Namespace::create(&netns).expect("namespace");
    let attachment = Attachment { container_id: name.into(), ifname: "eth0".into() };
    let pod = Pod { namespace: "default".into(), name: name.into(), uid: format!("uid-{name}") };
    Sandbox { request: AddRequest { attachment, netns, pod, port_mappings }, namespace }
}

/// Runs every case, one after the other, on the same node.
pub fn run(fixture: &impl Fixture) {
    pods_reach_each_other_and_the_node(fixture);
    attachments_survive_the_daemon(fixture);
    deletion_is_idempotent(fixture);
    garbage_is_collected(fixture);
    damage_is_noticed(fixture);
    host_ports_lead_to_their_pod(fixture);
    failures_leave_nothing(fixture);
}

fn pods_reach_each_other_and_the_node(fixture: &impl Fixture) {
    let network = fixture.open();
    network.status().expect("the network is ready");
    let (a, b) = (sandbox(fixture, "reach-a", vec![]), sandbox(fixture, "reach-b", vec![]));
    let (at_a, at_b) = (network.add(&a.request).expect("add a"), network.add(&b.request).expect("add b"));
    let (ip_a, ip_b) = (at_a.ips[0].address, at_b.ips[0].address);
    assert_ne!(ip_a, ip_b);
    network.check(&a.request).expect("check a");

    serve(&b.namespace, (ip_b, 80).into());
    serve(&b.namespace, ([127, 0, 0, 1], 81).into());
    assert_eq!(ask(&a.namespace, (ip_b, 80).into()).as_deref(), Some(ip_a.to_string().as_str()), "pod to pod");
    assert!(ask(fixture.node(), (ip_b, 80).into()).is_some(), "node to pod");
    assert!(ask(&b.namespace, ([127, 0, 0, 1], 81).into()).is_some(), "a pod has a loopback");
    serve(fixture.node(), (fixture.node_address(), 8181).into());
    let seen = ask(&a.namespace, (fixture.node_address(), 8181).into());
    assert_eq!(seen.as_deref(), Some(ip_a.to_string().as_str()), "pod to node, with its own address");
    for s in [&a, &b] {
        network.del(&s.request.attachment).expect("del");
    }
    assert!(a.namespace.route().expect("route").link("eth0").expect("read").is_none(), "the interface is gone");
}

fn attachments_survive_the_daemon(fixture: &impl Fixture) {
    let (a, b) = (sandbox(fixture, "survive-a", vec![]), sandbox(fixture, "survive-b", vec![]));
    let first = fixture.open().add(&a.request).expect("add a");
    let network = fixture.open();
    network.check(&a.request).expect("still attached");
    let second = network.add(&b.request).expect("add b");
    assert_ne!(first.ips[0].address, second.ips[0].address, "an address in use is not given again");
    serve(&a.namespace, (first.ips[0].address, 80).into());
    assert!(ask(&b.namespace, (first.ips[0].address, 80).into()).is_some());
    assert_eq!(network.add(&a.request).expect("repeated").ips, first.ips, "a repeated ADD gives the same address");
    network.check(&a.request).expect("attached anew");
    network.gc(&[]).expect("gc");
}

fn deletion_is_idempotent(fixture: &impl Fixture) {
    let network = fixture.open();
    let a = sandbox(fixture, "twice", vec![]);
    network.del(&a.request.attachment).expect("never attached");
    network.add(&a.request).expect("add");
    network.del(&a.request.attachment).expect("del");
    network.del(&a.request.attachment).expect("del again");
    network.check(&a.request).expect_err("not attached");
    network.add(&a.request).expect("add again");
    Namespace::delete(&a.request.netns).expect("the sandbox dies first");
    network.del(&a.request.attachment).expect("del without a namespace");
}

fn garbage_is_collected(fixture: &impl Fixture) {
    let network = fixture.open();
    let (kept, dead) = (sandbox(fixture, "kept", vec![]), sandbox(fixture, "dead", vec![]));
    network.add(&kept.request).expect("add");
    network.add(&dead.request).expect("add");
    network.gc(std::slice::from_ref(&kept.request.attachment)).expect("gc");
    network.check(&kept.request).expect("kept");
    network.check(&dead.request).expect_err("collected");
    // Churn far beyond the size of a small range: nothing leaks.
    let mut seen = BTreeSet::new();
    for i in 0..40 {
        let s = sandbox(fixture, &format!("churn-{i}"), vec![]);
        seen.insert(network.add(&s.request).expect("add").ips[0].address);
        network.del(&s.request.attachment).expect("del");
    }
    assert!(seen.len() > 1, "an address rests after use");
    network.gc(&[]).expect("gc");
}

fn damage_is_noticed(fixture: &impl Fixture) {
    let network = fixture.open();
    let a = sandbox(fixture, "damaged", vec![]);
    network.add(&a.request).expect("add");
    a.namespace.route().expect("route").delete_link("eth0").expect("delete");
    network.check(&a.request).expect_err("the interface is gone");
    network.del(&a.request.attachment).expect("del");
}

fn host_ports_lead_to_their_pod(fixture: &impl Fixture) {
    let network = fixture.open();
    let mapping = |host_port| PortMapping { protocol: Protocol::Tcp, host_port, container_port: 80, host_ip: None };
    let only = PortMapping { host_ip: Some(fixture.node_address()), ..mapping(8083) };
    let a = sandbox(fixture, "ports-a", vec![mapping(8082), only]);
    let b = sandbox(fixture, "ports-b", vec![]);
    let ip = network.add(&a.request).expect("add").ips[0].address;
    let ip_b = network.add(&b.request).expect("add").ips[0].address;
    serve(&a.namespace, (ip, 80).into());
    for port in [8082, 8083] {
        let at: SocketAddr = (fixture.node_address(), port).into();
        assert!(ask(fixture.node(), at).is_some(), "node to its own host port {port}");
        assert_eq!(ask(&b.namespace, at), Some(ip_b.to_string()), "pod to host port {port}");
        assert!(ask(&a.namespace, at).is_some(), "a pod to itself by its host port {port}");
    }
    let c = sandbox(fixture, "ports-c", vec![mapping(8082)]);
    network.add(&c.request).expect_err("the port is in use");
    drop(network);
    let network = fixture.open();
    let at: SocketAddr = (fixture.node_address(), 8082).into();
    assert!(ask(fixture.node(), at).is_some(), "host ports survive the daemon");
    network.del(&a.request.attachment).expect("del");
    assert!(ask(fixture.node(), at).is_none(), "the port is closed with its pod");
    let mapped = network.add(&c.request).expect("the port is free again").ips[0].address;
    serve(&c.namespace, (mapped, 80).into());
    assert!(ask(&b.namespace, at).is_some());
    network.gc(&[]).expect("gc");
}

fn failures_leave_nothing(fixture: &impl Fixture) {
    let network = fixture.open();
    let mut a = sandbox(fixture, "fails", vec![]);
    let netns = std::mem::replace(&mut a.request.netns, fixture.directory().join("absent"));
    let error = network.add(&a.request).expect_err("no such namespace").to_string();
    assert!(error.contains("default/fails") && error.contains("absent"), "{error}");
    network.check(&a.request).expect_err("nothing was attached");
    a.request.netns = netns;
    network.add(&a.request).expect("add");
    network.del(&a.request.attachment).expect("del");
    let mut bad = a.request.clone();
    bad.attachment.container_id = "../escape".into();
    network.add(&bad).expect_err("malformed id");
}

/// Answers every connection with the peer's address, on a thread that ends with the process.
fn serve(namespace: &Namespace, at: SocketAddr) {
    let listener = namespace.run(|| TcpListener::bind(at)).expect("run").expect("bind");
    std::thread::spawn(move || {
        while let Ok((mut stream, peer)) = listener.accept() {
            let _ = stream.write_all(peer.ip().to_string().as_bytes());
        }
    });
}

/// What a server at that address says; `None` if it is not reached.
fn ask(namespace: &Namespace, at: SocketAddr) -> Option<String> {
    let connect = || {
        let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(5)).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    };
    namespace.run(connect).expect("run")
}
