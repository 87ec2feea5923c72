//! Where pods are placed, why they are not, and what moves them away, through the API. Scenarios change nodes, so they take turns;
//! each leaves the nodes as they were.

mod eviction;
mod placement;
mod refusals;

use crate::{
    common::{Cluster, PATIENCE},
    scenes::{self, Scene, condition, wait},
};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn pods_find_their_nodes() {
    let cluster = Cluster::up(&["--nodes", "2"]);
    let table = [placement::table(), refusals::table(), eviction::table()];
    scenes::play(&cluster, table.concat(), scenes::All::InTurn).await;
}

const NODES: [&str; 2] = ["node-1", "node-2"];

/// A pod spec of a container that stays, with more in it.
fn stays(more: Value) -> Value {
    let spec = scenes::always(scenes::sh("sleep 100000"));
    scenes::with(scenes::with(spec, json!({"terminationGracePeriodSeconds": 1})), more)
}

/// A pod spec that asks for a quantity.
fn asks(resource: &str, quantity: &str) -> Value {
    let mut spec = stays(json!({}));
    spec["containers"][0]["resources"] = json!({"requests": {resource: quantity}});
    spec
}

/// Makes a pod with labels and does not wait.
async fn labelled(scene: &Scene, name: &str, labels: Value, spec: Value) {
    scene.make::<Pod>(json!({"metadata": {"name": name, "labels": labels}, "spec": spec})).await;
}

/// Waits until a pod has a node; which.
async fn placed(scene: &Scene, name: &str) -> String {
    scene.until(name, "a node", |pod| pod["spec"]["nodeName"].as_str().map(String::from)).await
}

/// Waits until this is why a pod waits, in its condition and in an event.
async fn refused(scene: &Scene, name: &str, message: &str) {
    let told = |pod: &Value| {
        let own = condition(pod, "PodScheduled");
        let so = own["status"] == "False" && own["reason"] == "Unschedulable" && own["message"] == message;
        (so && pod["status"]["phase"] == "Pending" && pod["spec"]["nodeName"].is_null()).then_some(())
    };
    let found = scene.until(name, message, told);
    if tokio::time::timeout(PATIENCE / 3, found).await.is_err() {
        let pod = scene.get(name).await;
        panic!("{name} says {}, not {message:?}", condition(&pod, "PodScheduled"));
    }
    let event = format!("{name} FailedScheduling: {message}");
    wait(&event, async || scene.events().await.contains(&event).then_some(())).await;
}

/// Merges into a node.
async fn node(scene: &Scene, name: &str, patch: Value) {
    let nodes: Api<Node> = Api::all(scene.client.clone());
    let done = nodes.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
    done.unwrap_or_else(|e| panic!("{name}: {patch}: {e}"));
}

/// Sets the taints that are the scenario's own; those that nodes have from elsewhere are none here.
async fn taint(scene: &Scene, name: &str, taints: Value) {
    node(scene, name, json!({"spec": {"taints": taints}})).await;
}

/// Waits until a pod is told to end; fails at once if another one, that must stay for longer, is told before.
async fn leaves(scene: &Scene, name: &str, before: &[&str]) {
    let pods = scene.api::<Pod>();
    let there = async |name: &str| {
        let pod = pods.get_opt(name).await.expect("an answer");
        pod.is_some_and(|p| p.metadata.deletion_timestamp.is_none())
    };
    wait(&format!("{name} is evicted"), async || {
        for stays in before {
            assert!(there(stays).await, "{stays} leaves before {name}");
        }
        (!there(name).await).then_some(())
    })
    .await;
}
