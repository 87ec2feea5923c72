//! Links, addresses, routes and namespaces against the real kernel. Everything happens in namespaces that end with the test.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::PathBuf;

use netlink::{Cidr, LinkChange, Mac, Namespace, Route, RouteEntry, Veth, sysctl};

fn cidr(s: &str) -> Cidr {
    s.parse().expect(s)
}

fn ip(s: &str) -> IpAddr {
    s.parse().expect(s)
}

/// Two namespaces behind a bridge in a third, `10.0.0.0/24`.
fn bridged() -> (Namespace, Namespace, Namespace) {
    let (switch, a, b) = (
        Namespace::anonymous().expect("namespace"),
        Namespace::anonymous().expect("namespace"),
        Namespace::anonymous().expect("namespace"),
    );
    let mut route = switch.route().expect("route handle");
    route.add_bridge("br", Some(Mac([2, 0, 0, 0, 0, 1]))).expect("bridge");
    route.up("br").expect("up");
    let master = Some(route.index("br").expect("index"));
    for (port, namespace, address) in [("pa", &a, "10.0.0.1/24"), ("pb", &b, "10.0.0.2/24")] {
        let near = Veth { name: port, mac: None, namespace: None };
        let far =
            Veth { name: "eth0", mac: Some(Mac([2, 0, 0, 0, 1, port.as_bytes()[1]])), namespace: Some(namespace.fd()) };
        route.add_veth(near, far, 1400).expect("veth");
        route.set_link(port, LinkChange { master, up: Some(true), ..Default::default() }).expect("port");
        let mut inner = namespace.route().expect("route handle");
        inner.add_address("eth0", cidr(address)).expect("address");
        inner.up("eth0").expect("up");
    }
    (switch, a, b)
}

#[test]
fn packets_cross_a_bridge_between_namespaces() {
    let (_switch, a, b) = bridged();
    let listener = b.run(|| TcpListener::bind("10.0.0.2:80").expect("bind")).expect("run");
    let server = std::thread::spawn(move || listener.accept().expect("accept").0.write_all(b"hello").expect("write"));
    let answer = a
        .run(|| {
            let mut answer = String::new();
            TcpStream::connect("10.0.0.2:80").expect("connect").read_to_string(&mut answer).expect("read");
            answer
        })
        .expect("run");
    server.join().expect("server");
    assert_eq!(answer, "hello");
}

#[test]
fn links_show_what_was_set() {
    let (switch, a, _b) = bridged();
    let mut route = switch.route().expect("route handle");
    let bridge = route.link("br").expect("read").expect("exists");
    assert_eq!(bridge.kind.as_deref(), Some("bridge"));
    assert_eq!(bridge.mac, Some(Mac([2, 0, 0, 0, 0, 1])));
    let port = route.link("pa").expect("read").expect("exists");
    assert_eq!((port.master, port.mtu, port.up), (Some(bridge.index), 1400, true));
    let names: Vec<_> = route.links().expect("links").into_iter().map(|l| l.name).collect();
    assert!(names.contains(&"lo".to_string()) && names.contains(&"pb".to_string()), "{names:?}");
    assert!(route.link("lo").expect("read").expect("exists").up);

    let down = LinkChange { up: Some(false), master: Some(0), mtu: Some(1300), name: Some("px"), ..Default::default() };
    route.set_link("pa", down).expect("change");
    let port = route.link("px").expect("read").expect("renamed");
    assert_eq!((port.master, port.mtu, port.up), (None, 1300, false));

    let there = Namespace::anonymous().expect("namespace");
    route.set_link("px", LinkChange { namespace: Some(there.fd()), ..Default::default() }).expect("move");
    assert_eq!(route.link("px").expect("read"), None);
    there.route().expect("route handle").delete_link("px").expect("delete");
    assert_eq!(a.route().expect("route handle").link("eth0").expect("read"), None, "the pair goes together");
}

#[test]
fn addresses_and_routes_read_back() {
    let (_switch, a, _b) = bridged();
    let mut route = a.route().expect("route handle");
    let link = route.index("eth0").expect("index");
    let addresses = route.addresses().expect("addresses");
    assert!(addresses.iter().any(|x| x.link == link && x.cidr == cidr("10.0.0.1/24")), "{addresses:?}");

    route.replace_route(&RouteEntry::via(cidr("10.244.1.7/24"), ip("10.0.0.2"))).expect("route");
    route.replace_route(&RouteEntry::via(cidr("0.0.0.0/0"), ip("10.0.0.2"))).expect("default");
    route.replace_route(&RouteEntry::on_link(cidr("169.254.1.1/32"), link)).expect("on link");
    let find = |route: &mut Route, destination: &str| {
        route.routes().expect("routes").into_iter().find(|r| r.destination == cidr(destination))
    };
    assert_eq!(find(&mut route, "10.244.1.0/24").and_then(|r| r.gateway), Some(ip("10.0.0.2")));
    assert_eq!(find(&mut route, "0.0.0.0/0").and_then(|r| r.gateway), Some(ip("10.0.0.2")));
    assert_eq!(find(&mut route, "169.254.1.1/32").map(|r| (r.gateway, r.link)), Some((None, Some(link))));

    route.replace_route(&RouteEntry::via(cidr("10.244.1.0/24"), ip("10.0.0.3"))).expect("replace");
    assert_eq!(find(&mut route, "10.244.1.0/24").and_then(|r| r.gateway), Some(ip("10.0.0.3")));
    route.delete_route(&RouteEntry::via(cidr("10.244.1.0/24"), ip("10.0.0.3"))).expect("delete");
    assert_eq!(find(&mut route, "10.244.1.0/24"), None);
    route.delete_address("eth0", cidr("10.0.0.1/24")).expect("delete address");
    assert!(!route.addresses().expect("addresses").iter().any(|x| x.cidr == cidr("10.0.0.1/24")));
}

#[test]
fn errors_name_the_object_and_the_reason() {
    let namespace = Namespace::anonymous().expect("namespace");
    let mut route = namespace.route().expect("route handle");
    let missing = route.up("nothing0").expect_err("no such link");
    assert!(missing.is_not_found());
    assert!(missing.to_string().contains("nothing0: No such device"), "{missing}");
    route.add_bridge("br", None).expect("bridge");
    let twice = route.add_bridge("br", None).expect_err("exists");
    assert!(twice.is_exists() && twice.to_string().starts_with("create bridge br"), "{twice}");
    let unreachable = RouteEntry::via(cidr("10.9.0.0/16"), ip("10.0.0.9"));
    let refused = route.replace_route(&unreachable).expect_err("no way to the gateway").to_string();
    assert!(refused.starts_with("set route 10.9.0.0/16 via 10.0.0.9: "), "{refused}");
    let long = route.add_bridge("sixteen-bytes-xx", None).expect_err("too long").to_string();
    assert!(long.contains("sixteen-bytes-xx"), "{long}");
}

/// A pin under the temporary directory, removed whatever happens.
struct Pin(PathBuf);

impl Drop for Pin {
    fn drop(&mut self) {
        let _ = Namespace::delete(&self.0);
    }
}

#[test]
fn a_pinned_namespace_outlives_its_maker() {
    let pin = Pin(std::env::temp_dir().join(format!("ferry-netlink-{}-pin", std::process::id())));
    drop(Namespace::create(&pin.0).expect("create"));
    let opened = Namespace::open(&pin.0).expect("open");
    opened.route().expect("route handle").add_bridge("kept", None).expect("bridge");
    drop(opened);
    let again = Namespace::open(&pin.0).expect("open again");
    assert!(again.route().expect("route handle").link("kept").expect("read").is_some());
    assert!(Namespace::create(&pin.0).expect_err("exists").is_exists());

    Namespace::delete(&pin.0).expect("delete");
    Namespace::delete(&pin.0).expect("deleting twice is fine");
    std::fs::write(&pin.0, "").expect("write");
    assert!(Namespace::open(&pin.0).is_err(), "a plain file is no namespace");
    Namespace::delete(&pin.0).expect("a file without a mount is removed too");
    assert!(!pin.0.exists());
}

#[test]
fn settings_belong_to_the_namespace() {
    let (a, b) = (Namespace::anonymous().expect("namespace"), Namespace::anonymous().expect("namespace"));
    a.run(|| sysctl::write("net/ipv4/ip_forward", "1").expect("write")).expect("run");
    b.run(|| sysctl::write("net/ipv4/ip_forward", "0").expect("write")).expect("run");
    let read = |n: &Namespace| n.run(|| sysctl::read("net/ipv4/ip_forward").expect("read")).expect("run");
    assert_eq!((read(&a).as_deref(), read(&b).as_deref()), (Some("1"), Some("0")));
    assert_eq!(sysctl::read("net/ipv4/no_such_setting").expect("read"), None);
}
