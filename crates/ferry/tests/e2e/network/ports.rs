//! Host ports.

use super::{NODES, begin, client, get, host_get, node_addresses, on, server};
use crate::scenes::{Scene, condition, scenarios, wait, with};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

scenarios! {
    "a host port leads to its pod, from everywhere" => host_port,
    "pods with the same host port but another address or protocol share a node" => no_conflict,
    "[sig-scheduling] SchedulerPredicates [Serial] validates that there exists conflict between pods with same hostPort and protocol but one using 0.0.0.0 hostIP [Conformance]"
        => conflict,
}

/// A server with a host port for its HTTP (`TCP`) or its datagrams.
fn with_port(node: &str, port: u16, ip: &str, protocol: &str) -> Value {
    let mut spec = on(node, server());
    let (name, number) = if protocol == "TCP" { ("http", 8080) } else { ("udp", 8081) };
    let mut own = json!({"name": name, "containerPort": number, "protocol": protocol, "hostPort": port});
    if !ip.is_empty() {
        own["hostIP"] = ip.into();
    }
    spec["containers"][0]["ports"] = json!([own]);
    spec["containers"][0]["readinessProbe"]["httpGet"]["port"] = 8080.into();
    spec
}

async fn host_port(scene: Scene) {
    let nodes = node_addresses(&scene).await;
    begin(&scene, "s", json!({}), with_port(NODES[0], 54301, "", "TCP")).await;
    for (node, name) in NODES.iter().zip(["c1", "c2"]) {
        begin(&scene, name, json!({}), on(node, client())).await;
        let answer = get(&scene, name, &format!("{}:54301/hostname", nodes[0])).await;
        assert_eq!(answer.as_deref(), Ok("s"), "from a pod of {node}");
    }
    let on_node = with(on(NODES[0], client()), json!({"hostNetwork": true}));
    begin(&scene, "h1", json!({}), on_node).await;
    let answer = get(&scene, "h1", &format!("{}:54301/hostname", nodes[0])).await;
    assert_eq!(answer.as_deref(), Ok("s"), "from the node itself");
    let at = format!("{}:54301", nodes[0]);
    let answer = host_get(&at, "/hostname").await;
    assert_eq!(answer, Some((200, "s\n".into())), "from the host");
    let other = get(&scene, "c1", &format!("{}:54301/hostname", nodes[1])).await;
    assert!(other.is_err(), "the other node has no such port: {other:?}");
    scene.delete("s", Default::default()).await;
    scene.gone("s").await;
    wait("the port is closed", async || host_get(&at, "/hostname").await.is_none().then_some(())).await;
}

async fn no_conflict(scene: Scene) {
    let nodes = node_addresses(&scene).await;
    begin(&scene, "loopback", json!({}), with_port(NODES[1], 54302, "127.0.0.1", "TCP")).await;
    begin(&scene, "address", json!({}), with_port(NODES[1], 54302, &nodes[1], "TCP")).await;
    begin(&scene, "datagrams", json!({}), with_port(NODES[1], 54302, &nodes[1], "UDP")).await;
    let on_node = with(on(NODES[1], client()), json!({"hostNetwork": true}));
    begin(&scene, "h2", json!({}), on_node).await;
    let answer = get(&scene, "h2", &format!("{}:54302/hostname", nodes[1])).await;
    assert_eq!(answer.as_deref(), Ok("address"));
    wait("datagrams", async || {
        let answer = super::datagram(&scene, "h2", &nodes[1], 54302, "hostname").await;
        (answer == "datagrams").then_some(())
    })
    .await;
}

async fn conflict(scene: Scene) {
    begin(&scene, "first", json!({}), with_port(NODES[0], 54303, "", "TCP")).await;
    let second = with_port(NODES[0], 54303, "127.0.0.1", "TCP");
    scene.make::<Pod>(json!({"metadata": {"name": "second"}, "spec": second})).await;
    let told = |pod: &Value| condition(pod, "PodScheduled")["message"].as_str().map(String::from);
    assert_eq!(
        scene.until("second", "why it waits", told).await,
        "0/2 nodes are available: 1 node(s) didn't have free ports for the requested pod ports, \
         1 node(s) didn't match Pod's node affinity/selector."
    );
    scene.delete("first", Default::default()).await;
    scene.until("second", "Ready", |pod| crate::scenes::ready(pod).then_some(())).await;
}
