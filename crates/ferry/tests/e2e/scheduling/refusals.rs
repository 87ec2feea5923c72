//! Why a pod has no node, in upstream's words, and what gives it one.

use super::{NODES, asks, node, placed, refused, stays, taint};
use crate::scenes::{Scene, ready, scenarios, wait};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use serde_json::{Value, json};

scenarios! {
    "[sig-scheduling] SchedulerPredicates [Serial] validates resource limits of pods that are allowed to run [Conformance]"
        => resources,
    "[sig-scheduling] SchedulerPredicates [Serial] validates that NodeSelector is respected if not matching [Conformance]"
        => selector,
    "taints refuse, until they go" => taints,
    "a host port is for one pod of a node" => host_ports,
    "a cordoned node takes no new pods and keeps its own" => cordon,
    "reasons are counted" => reasons,
}

/// What a node can give of a resource, in thousandths.
async fn allocatable(scene: &Scene, name: &str, resource: &str) -> i64 {
    let node = Api::<Node>::all(scene.client.clone()).get(name).await.expect("a node");
    let all = node.status.and_then(|s| s.allocatable).unwrap_or_default();
    base::quantity::Quantity::parse(&all[resource].0).expect("a quantity").milli_i64()
}

async fn resources(scene: Scene) {
    scene.pod("cpu", asks("cpu", "1000")).await;
    refused(&scene, "cpu", "0/2 nodes are available: 2 Insufficient cpu.").await;
    scene.pod("memory", asks("memory", "100Ti")).await;
    refused(&scene, "memory", "0/2 nodes are available: 2 Insufficient memory.").await;
    let mut both = asks("cpu", "1000");
    both["containers"][0]["resources"]["requests"]["memory"] = "100Ti".into();
    scene.pod("both", both).await;
    refused(&scene, "both", "0/2 nodes are available: 2 Insufficient cpu, 2 Insufficient memory.").await;
    // Two thirds of each node: a third pod of the kind waits until one of them goes.
    let most = allocatable(&scene, NODES[0], "cpu").await * 2 / 3;
    for name in ["first", "second"] {
        scene.ready(name, asks("cpu", &format!("{most}m"))).await;
    }
    assert_ne!(placed(&scene, "first").await, placed(&scene, "second").await);
    scene.pod("third", asks("cpu", &format!("{most}m"))).await;
    refused(&scene, "third", "0/2 nodes are available: 2 Insufficient cpu.").await;
    let freed = placed(&scene, "second").await;
    scene.delete("second", Default::default()).await;
    assert_eq!(placed(&scene, "third").await, freed);
    // An extended resource that no node has.
    let mut device = asks("example.com/device", "1");
    device["containers"][0]["resources"]["limits"] = json!({"example.com/device": "1"});
    scene.pod("device", device).await;
    refused(&scene, "device", "0/2 nodes are available: 2 Insufficient example.com/device.").await;
}

async fn selector(scene: Scene) {
    scene.pod("p", stays(json!({"nodeSelector": {"ferry.example/colour": "green"}}))).await;
    refused(&scene, "p", "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.").await;
    node(&scene, NODES[1], json!({"metadata": {"labels": {"ferry.example/colour": "green"}}})).await;
    assert_eq!(placed(&scene, "p").await, NODES[1]);
    node(&scene, NODES[1], json!({"metadata": {"labels": {"ferry.example/colour": null}}})).await;
}

async fn taints(scene: Scene) {
    for name in NODES {
        taint(&scene, name, json!([{"key": "ferry.example/own", "value": "x", "effect": "NoSchedule"}])).await;
    }
    scene.pod("p", stays(json!({}))).await;
    refused(&scene, "p", "0/2 nodes are available: 2 node(s) had untolerated taint(s).").await;
    taint(&scene, NODES[0], json!(null)).await;
    assert_eq!(placed(&scene, "p").await, NODES[0]);
    // One that is only preferred to be left alone takes what fits nowhere else.
    taint(&scene, NODES[0], json!([{"key": "ferry.example/own", "effect": "NoSchedule"}])).await;
    taint(&scene, NODES[1], json!([{"key": "ferry.example/own", "effect": "PreferNoSchedule"}])).await;
    scene.pod("q", stays(json!({}))).await;
    assert_eq!(placed(&scene, "q").await, NODES[1]);
    for name in NODES {
        taint(&scene, name, json!(null)).await;
    }
}

fn port(number: u16) -> Value {
    let mut spec = stays(json!({}));
    spec["containers"][0]["ports"] = json!([{"containerPort": 80, "hostPort": number}]);
    spec
}

async fn host_ports(scene: Scene) {
    for name in ["a", "b"] {
        scene.ready(name, port(54311)).await;
    }
    let (a, b) = (placed(&scene, "a").await, placed(&scene, "b").await);
    assert_ne!(a, b);
    scene.pod("c", port(54311)).await;
    let message = "0/2 nodes are available: 2 node(s) didn't have free ports for the requested pod ports.";
    refused(&scene, "c", message).await;
    scene.ready("d", port(54312)).await;
    scene.delete("b", Default::default()).await;
    assert_eq!(placed(&scene, "c").await, b);
    scene.until("c", "Ready", |pod| ready(pod).then_some(())).await;
}

async fn cordon(scene: Scene) {
    scene.ready("before", stays(json!({"nodeSelector": {"kubernetes.io/hostname": NODES[0]}}))).await;
    for name in NODES {
        node(&scene, name, json!({"spec": {"unschedulable": true}})).await;
    }
    scene.pod("p", stays(json!({}))).await;
    refused(&scene, "p", "0/2 nodes are available: 2 node(s) were unschedulable.").await;
    // The taint that says so comes from the node controller.
    let nodes: Api<Node> = Api::all(scene.client.clone());
    let tainted = async |name: &str| {
        let node = nodes.get(name).await.expect("a node");
        let taints = node.spec.and_then(|s| s.taints).unwrap_or_default();
        taints.iter().any(|t| t.key == "node.kubernetes.io/unschedulable" && t.effect == "NoSchedule")
    };
    wait("the taint", async || tainted(NODES[0]).await.then_some(())).await;
    scene
        .pod("bold", stays(json!({"tolerations": [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]})))
        .await;
    placed(&scene, "bold").await;
    node(&scene, NODES[1], json!({"spec": {"unschedulable": null}})).await;
    assert_eq!(placed(&scene, "p").await, NODES[1]);
    assert!(ready(&scene.get("before").await), "a pod that was there stays");
    node(&scene, NODES[0], json!({"spec": {"unschedulable": null}})).await;
    wait("no taint", async || (!tainted(NODES[0]).await && !tainted(NODES[1]).await).then_some(())).await;
}

async fn reasons(scene: Scene) {
    taint(&scene, NODES[0], json!([{"key": "ferry.example/own", "effect": "NoSchedule"}])).await;
    scene.pod("p", asks("cpu", "1000")).await;
    let message = "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s).";
    refused(&scene, "p", message).await;
    taint(&scene, NODES[0], json!(null)).await;
    refused(&scene, "p", "0/2 nodes are available: 2 Insufficient cpu.").await;
}
