//! Services: cluster addresses and node ports, to endpoints on both nodes.

use super::{answering, begin, datagram, get, host_get, node_addresses, on, server, service, stage, until_answering};
use crate::scenes::{Scene, scenarios, wait};
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};
use std::{collections::BTreeSet, net::UdpSocket, time::Duration};

scenarios! {
    "[sig-network] Services should serve a basic endpoint from pods [Conformance]" => cluster_address,
    "[sig-network] Services should serve endpoints on same port and different protocols [Conformance]" => protocols,
    "[sig-network] Services should serve multiport endpoints from pods [Conformance]" => named_ports,
    "[sig-network] Services should be able to create a functioning NodePort service [Conformance]" => node_ports,
    "a node port with externalTrafficPolicy Local keeps the client's address and its node" => local_traffic,
    "[sig-network] Services should have session affinity work for service with type clusterIP [LinuxOnly] [Conformance]"
        => affinity,
    "[sig-network] Services should be able to switch session affinity for service with type clusterIP [LinuxOnly] [Conformance]"
        => affinity_switched,
    "a pod reaches itself through its Service" => hairpin,
}

async fn cluster_address(scene: Scene) {
    let addresses = stage(&scene).await;
    let ip = service(&scene, "web", json!({})).await;
    for (client, own) in [("c1", &addresses[2]), ("c2", &addresses[3])] {
        until_answering(&scene, client, &ip, &["s1", "s2"]).await;
        // Nobody in between puts an address of its own into the packets.
        for _ in 0..4 {
            assert_eq!(get(&scene, client, &format!("{ip}/clientip")).await.as_ref(), Ok(own));
        }
        datagrams_from_both(&scene, client, &ip, 81).await;
    }
    // Who leaves is not asked any more, and the other goes on.
    scene.delete("s1", Default::default()).await;
    scene.gone("s1").await;
    for client in ["c1", "c2"] {
        until_answering(&scene, client, &ip, &["s2"]).await;
    }
}

/// Asks by datagrams until both servers have answered.
async fn datagrams_from_both(scene: &Scene, client: &str, at: &str, port: u16) {
    let seen = std::cell::RefCell::new(BTreeSet::new());
    wait(&format!("both answer {client} at {at}:{port}/udp"), async || {
        let name = datagram(scene, client, at, port, "hostname").await;
        seen.borrow_mut().insert(name);
        let seen = seen.borrow();
        (seen.contains("s1") && seen.contains("s2")).then_some(())
    })
    .await;
}

async fn protocols(scene: Scene) {
    stage(&scene).await;
    let ports = json!([
        {"name": "tcp", "port": 80, "targetPort": 8080}, {"name": "udp", "port": 80, "targetPort": 8081, "protocol": "UDP"},
    ]);
    let ip = service(&scene, "web", json!({"ports": ports})).await;
    until_answering(&scene, "c1", &ip, &["s1", "s2"]).await;
    datagrams_from_both(&scene, "c1", &ip, 80).await;
    // Without its TCP port it is one for datagrams alone.
    let ports = json!([{"name": "udp", "port": 80, "targetPort": 8081, "protocol": "UDP"}]);
    scene.merge::<Service>("web", json!({"spec": {"ports": ports}})).await;
    wait("the TCP port is gone", async || get(&scene, "c1", &format!("{ip}/hostname")).await.err()).await;
    datagrams_from_both(&scene, "c1", &ip, 80).await;
}

/// A target port by name is each pod's own number.
async fn named_ports(scene: Scene) {
    begin(&scene, "c1", json!({}), on("node-2", super::client())).await;
    begin(&scene, "s1", json!({"app": "web"}), on("node-1", server())).await;
    let mut other = on("node-2", server());
    other["containers"][0]["command"] = json!(["httpd", "-p", "9090"]);
    other["containers"][0]["ports"] = json!([{"name": "http", "containerPort": 9090}]);
    begin(&scene, "s2", json!({"app": "web"}), other).await;
    let ports = json!([
        {"name": "a", "port": 80, "targetPort": "http"}, {"name": "b", "port": 9090},
        {"name": "c", "port": 82, "targetPort": "udp", "protocol": "UDP"},
    ]);
    let ip = service(&scene, "web", json!({"ports": ports})).await;
    until_answering(&scene, "c1", &ip, &["s1", "s2"]).await;
    // Without a target it is the same number, which only one of them has.
    wait("the port of the second", async || {
        (get(&scene, "c1", &format!("{ip}:9090/hostname")).await.as_deref() == Ok("s2")).then_some(())
    })
    .await;
    // A pod without a port of that name is no endpoint for it.
    for _ in 0..3 {
        wait("the first answers datagrams", async || {
            (datagram(&scene, "c1", &ip, 82, "hostname").await == "s1").then_some(())
        })
        .await;
    }
}

/// The node port of a port, and its address.
async fn node_port(scene: &Scene, name: &str, port: &str) -> u16 {
    let service = scene.api::<Service>().get(name).await.expect("a Service");
    let ports = service.spec.and_then(|s| s.ports).unwrap_or_default();
    let own = ports.into_iter().find(|p| p.name.as_deref() == Some(port));
    u16::try_from(own.and_then(|p| p.node_port).expect("a node port")).expect("a port")
}

async fn node_ports(scene: Scene) {
    stage(&scene).await;
    let nodes = node_addresses(&scene).await;
    let ip = service(&scene, "web", json!({"type": "NodePort"})).await;
    let (tcp, udp) = (node_port(&scene, "web", "http").await, node_port(&scene, "web", "udp").await);
    assert!((30000..=32767).contains(&tcp) && (30000..=32767).contains(&udp) && tcp != udp, "{tcp} {udp}");
    until_answering(&scene, "c1", &ip, &["s1", "s2"]).await;
    for node in &nodes {
        let at = format!("{node}:{tcp}");
        for client in ["c1", "c2"] {
            until_answering(&scene, client, &at, &["s1", "s2"]).await;
            datagrams_from_both(&scene, client, node, udp).await;
        }
        // And from outside of the nodes, which is the host here.
        let seen = std::cell::RefCell::new(BTreeSet::new());
        wait("both answer the host", async || {
            let answer = host_get(&at, "/hostname").await;
            seen.borrow_mut().extend(answer.map(|(_, name)| name.trim().to_string()));
            (seen.borrow().len() == 2).then_some(())
        })
        .await;
        wait("datagrams of the host are answered", async || {
            let at = node.clone();
            let said = tokio::task::spawn_blocking(move || host_datagram(&at, udp)).await.expect("no panic");
            said.filter(|name| name == "s1" || name == "s2")
        })
        .await;
    }
    // Taken away, nobody listens on the nodes.
    scene.merge::<Service>("web", json!({"spec": {"type": "ClusterIP"}})).await;
    for node in &nodes {
        let at = format!("{node}:{tcp}");
        wait("the node port is closed", async || host_get(&at, "/").await.is_none().then_some(())).await;
    }
    until_answering(&scene, "c1", &ip, &["s1", "s2"]).await;
}

fn host_datagram(at: &str, port: u16) -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    socket.connect((at, port)).ok()?;
    socket.send(b"hostname\n").ok()?;
    let mut buffer = [0; 100];
    let n = socket.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..n]).trim().to_string())
}

async fn local_traffic(scene: Scene) {
    begin(&scene, "s1", json!({"app": "web"}), on("node-1", server())).await;
    begin(&scene, "c2", json!({}), on("node-2", super::client())).await;
    let nodes = node_addresses(&scene).await;
    service(&scene, "web", json!({"type": "NodePort"})).await;
    let port = node_port(&scene, "web", "http").await;
    let seen = |node: &str| {
        let at = format!("{node}:{port}");
        async move {
            let answer = host_get(&at, "/clientip").await;
            answer.map(|(_, address)| address.trim().to_string())
        }
    };
    // Sent on by the nodes: the server sees a node.
    wait("node 2 sends on", async || seen(&nodes[1]).await.filter(|address| *address == nodes[1])).await;
    scene.merge::<Service>("web", json!({"spec": {"externalTrafficPolicy": "Local"}})).await;
    let gateway = nodes[0].rsplit_once('.').map(|(net, _)| format!("{net}.1")).expect("an address");
    wait("node 1 keeps the host's address", async || seen(&nodes[0]).await.filter(|address| *address == gateway)).await;
    wait("node 2 has no endpoint", async || seen(&nodes[1]).await.is_none().then_some(())).await;
    let from_pod = get(&scene, "c2", &format!("{}:{port}/hostname", nodes[0])).await;
    assert_eq!(from_pod.as_deref(), Ok("s1"));
}

async fn affinity(scene: Scene) {
    stage(&scene).await;
    let ip = service(&scene, "web", json!({"sessionAffinity": "ClientIP"})).await;
    for client in ["c1", "c2"] {
        wait("it answers", async || get(&scene, client, &format!("{ip}/hostname")).await.ok()).await;
        let first = answering(&scene, client, &ip).await;
        assert_eq!(first.len(), 1, "{client} stays with one: {first:?}");
        assert_eq!(answering(&scene, client, &ip).await, first);
        // The endpoint goes, and with it what binds the client.
        if client == "c2" {
            let name = first.first().expect("one").clone();
            scene.delete(&name, Default::default()).await;
            scene.gone(&name).await;
            let other = if name == "s1" { "s2" } else { "s1" };
            until_answering(&scene, client, &ip, &[other]).await;
        }
    }
}

async fn affinity_switched(scene: Scene) {
    stage(&scene).await;
    let ip = service(&scene, "web", json!({})).await;
    until_answering(&scene, "c1", &ip, &["s1", "s2"]).await;
    let switch = async |to: &str| scene.merge::<Service>("web", json!({"spec": {"sessionAffinity": to}})).await;
    switch("ClientIP").await;
    wait("one of them answers", async || (answering(&scene, "c1", &ip).await.len() == 1).then_some(())).await;
    let first = answering(&scene, "c1", &ip).await;
    assert_eq!(answering(&scene, "c1", &ip).await, first);
    switch("None").await;
    until_answering(&scene, "c1", &ip, &["s1", "s2"]).await;
}

async fn hairpin(scene: Scene) {
    begin(&scene, "s1", json!({"app": "web"}), on("node-1", server())).await;
    let ip = service(&scene, "web", json!({})).await;
    until_answering(&scene, "s1", &ip, &["s1"]).await;
    let answer: Value = scene.get("s1").await;
    let own = answer["status"]["podIP"].as_str().expect("an address").to_string();
    let seen = get(&scene, "s1", &format!("{ip}/clientip")).await.expect("an answer");
    assert_ne!(seen, own, "a packet from oneself to oneself would never come back through the Service");
}
