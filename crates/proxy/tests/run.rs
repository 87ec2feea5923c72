//! The driver over caches that the test fills, in a namespace of its own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;

use control::{Cache, Projection};
use netlink::nft::{Family, Table};
use netlink::{Cidr, Namespace, RouteEntry};
use proxy::{Applied, Node, Proxy, Watched, run};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use value::Object;

const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

fn put<P: Projection>(cache: &Cache<Arc<P>>, object: &Value) {
    let bytes = serde_json::to_vec(object).expect("json");
    let object = Object::from_json(bytes.into()).expect("object");
    let projected = P::project(&object).expect("of interest");
    cache.put(object.key.clone(), object.revision, Arc::new(projected));
}

fn service() -> Value {
    json!({
        "metadata": {"namespace": "default", "name": "web", "resourceVersion": "1"},
        "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.10", "ports": [{"port": 80}]}
    })
}

fn slice(revision: u32, ports: &[u16]) -> Value {
    json!({
        "metadata": {"namespace": "default", "name": "web-1", "resourceVersion": revision.to_string(),
            "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": ports.iter().map(|port| json!({"port": port})).collect::<Vec<_>>(),
        "endpoints": [{"addresses": ["10.0.0.1"]}]
    })
}

/// A node with an address of its own, a way out, and servers on two ports that say which they are.
fn node() -> Namespace {
    let namespace = Namespace::anonymous().expect("namespace");
    let mut route = namespace.route().expect("route");
    route.add_address("lo", "10.0.0.1/32".parse::<Cidr>().expect("cidr")).expect("address");
    let lo = route.index("lo").expect("index");
    route.replace_route(&RouteEntry::on_link("0.0.0.0/0".parse().expect("cidr"), lo)).expect("route");
    for port in [8081u16, 8082] {
        let listener = namespace.run(|| TcpListener::bind(("10.0.0.1", port))).expect("run").expect("bind");
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let _ = stream.write_all(port.to_string().as_bytes());
            }
        });
    }
    namespace
}

fn ask(namespace: &Namespace) -> Option<String> {
    let connect = || {
        let mut stream = TcpStream::connect((SERVICE, 80)).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok().map(|_| text)
    };
    namespace.run(connect).expect("run")
}

#[tokio::test]
async fn the_tables_follow_the_caches() {
    let namespace = node();
    let watched = Watched { services: Cache::detached(), slices: Cache::detached() };
    let proxy = namespace.run(|| Proxy::open(None)).expect("run").expect("proxy");
    let (sender, mut applied) = mpsc::unbounded_channel::<Applied>();
    let told = move |done: &Applied| sender.send(*done).expect("the test listens");
    let driver = tokio::spawn(run(watched.clone(), Node { name: "n1".into(), ..Node::default() }, proxy, told));

    put(&watched.services, &service());
    watched.services.mark_synced();
    tokio::task::yield_now().await;
    let table = Table::new(Family::Ip, "ferry");
    assert!(!namespace.nft().expect("nft").has_table(&table).expect("tables"), "not before all slices are known");
    put(&watched.slices, &slice(2, &[8081]));
    watched.slices.mark_synced();
    assert!(applied.recv().await.expect("applied").replaced);
    assert_eq!(ask(&namespace).as_deref(), Some("8081"));

    put(&watched.slices, &slice(3, &[8082]));
    // A wake-up that came with the first list may be told of first: it changes nothing.
    while applied.recv().await.expect("applied").elements == 0 {}
    assert_eq!(ask(&namespace).as_deref(), Some("8082"));

    watched.services.take(&value::ObjectKey::new("default", "web"));
    while applied.recv().await.expect("applied").elements == 0 {}
    let mut nft = namespace.nft().expect("nft");
    assert_eq!(nft.elements(&table, "services").expect("dump"), vec![]);

    driver.abort();
    assert!(driver.await.expect_err("aborted").is_cancelled());
    assert!(nft.has_table(&table).expect("tables"), "the tables outlive the driver");
}
