//! What a pod says about its node, and gets.

use super::{NODES, asks, labelled, node, placed, refused, stays, taint};
use crate::scenes::{Scene, ready, scenarios};
use serde_json::{Value, json};
use std::collections::BTreeMap;

scenarios! {
    "[sig-scheduling] SchedulerPredicates [Serial] validates that NodeSelector is respected if matching [Conformance]"
        => selector,
    "required node affinity decides, preferred affinity is preferred" => affinity,
    "a toleration opens a tainted node, and nothing else does" => tolerations,
    "topology spread keeps the difference between nodes" => spread,
    "pods spread over nodes by themselves" => balance,
    "a pod with a node of its own needs no scheduler" => by_name,
    "scheduling gates hold a pod back" => gates,
}

async fn selector(scene: Scene) {
    node(&scene, NODES[1], json!({"metadata": {"labels": {"ferry.example/here": "42"}}})).await;
    for name in ["a", "b", "c"] {
        scene.pod(name, stays(json!({"nodeSelector": {"ferry.example/here": "42"}}))).await;
        assert_eq!(placed(&scene, name).await, NODES[1]);
    }
    node(&scene, NODES[1], json!({"metadata": {"labels": {"ferry.example/here": null}}})).await;
    // Who is there stays.
    scene.until("a", "Ready", |pod| ready(pod).then_some(())).await;
}

fn affine(kind: &str, rule: Value) -> Value {
    stays(json!({"affinity": {"nodeAffinity": {kind: rule}}}))
}

async fn affinity(scene: Scene) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    let name = |operator: &str, node: &str| json!({"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": operator, "values": [node]}]});
    let required = |term: Value| affine(REQUIRED, json!({"nodeSelectorTerms": [term]}));
    for (i, (operator, node, want)) in [
        ("In", NODES[0], NODES[0]),
        ("In", NODES[1], NODES[1]),
        ("NotIn", NODES[0], NODES[1]),
        ("NotIn", NODES[1], NODES[0]),
    ]
    .into_iter()
    .enumerate()
    {
        let pod = format!("required-{i}");
        scene.pod(&pod, required(name(operator, node))).await;
        assert_eq!(placed(&scene, &pod).await, want, "{operator} {node}");
    }
    let field = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [NODES[1]]}]});
    scene.pod("field", required(field)).await;
    assert_eq!(placed(&scene, "field").await, NODES[1]);
    for (i, want) in [NODES[0], NODES[1], NODES[0]].into_iter().enumerate() {
        let pod = format!("preferred-{i}");
        scene.pod(&pod, affine(PREFERRED, json!([{"weight": 100, "preference": name("In", want)}]))).await;
        assert_eq!(placed(&scene, &pod).await, want);
    }
    // What is preferred is not demanded.
    scene.pod("elsewhere", affine(PREFERRED, json!([{"weight": 100, "preference": name("In", "node-9")}]))).await;
    placed(&scene, "elsewhere").await;
}

async fn tolerations(scene: Scene) {
    let own = json!([{"key": "ferry.example/own", "value": "red", "effect": "NoSchedule"}]);
    taint(&scene, NODES[0], own.clone()).await;
    let tolerates = |toleration: Value| stays(json!({"tolerations": [toleration]}));
    for (name, spec) in [
        ("none", stays(json!({}))),
        ("value", tolerates(json!({"key": "ferry.example/own", "value": "blue"}))),
        ("effect", tolerates(json!({"key": "ferry.example/own", "operator": "Exists", "effect": "NoExecute"}))),
    ] {
        scene.pod(name, spec).await;
        assert_eq!(placed(&scene, name).await, NODES[1], "{name}");
    }
    taint(&scene, NODES[1], json!([{"key": "ferry.example/other", "effect": "NoSchedule"}])).await;
    for (name, toleration) in [
        ("equal", json!({"key": "ferry.example/own", "value": "red", "effect": "NoSchedule"})),
        ("exists", json!({"key": "ferry.example/own", "operator": "Exists"})),
    ] {
        scene.pod(name, tolerates(toleration)).await;
        assert_eq!(placed(&scene, name).await, NODES[0], "{name}");
    }
    scene.pod("all", tolerates(json!({"operator": "Exists"}))).await;
    placed(&scene, "all").await;
    // Those that were there before stay.
    scene.until("none", "Ready", |pod| ready(pod).then_some(())).await;
    for name in NODES {
        taint(&scene, name, json!(null)).await;
    }
}

fn spreading() -> Value {
    stays(json!({"topologySpreadConstraints": [{
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "spread"}},
    }]}))
}

async fn spread(scene: Scene) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for i in 0..4 {
        let name = format!("p{i}");
        labelled(&scene, &name, json!({"app": "spread"}), spreading()).await;
        *seen.entry(placed(&scene, &name).await).or_default() += 1;
        let (least, most) = (seen.get(NODES[0]).unwrap_or(&0), seen.get(NODES[1]).unwrap_or(&0));
        assert!(least.abs_diff(*most) <= 1, "{seen:?}");
    }
    // One more on node 1 is within the skew, two are not.
    let pinned = |mut spec: Value| {
        let node = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [NODES[0]]}]});
        let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [node]}});
        spec["affinity"] = json!({"nodeAffinity": required});
        spec["topologySpreadConstraints"][0]["nodeAffinityPolicy"] = "Ignore".into();
        spec
    };
    labelled(&scene, "fifth", json!({"app": "spread"}), pinned(spreading())).await;
    assert_eq!(placed(&scene, "fifth").await, NODES[0]);
    labelled(&scene, "sixth", json!({"app": "spread"}), pinned(spreading())).await;
    refused(
        &scene,
        "sixth",
        "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, \
         1 node(s) didn't match pod topology spread constraints.",
    )
    .await;
    scene.delete("fifth", Default::default()).await;
    assert_eq!(placed(&scene, "sixth").await, NODES[0]);
}

async fn balance(scene: Scene) {
    for i in 0..6 {
        scene.pod(&format!("p{i}"), asks("cpu", "100m")).await;
    }
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for i in 0..6 {
        *seen.entry(placed(&scene, &format!("p{i}")).await).or_default() += 1;
    }
    assert_eq!(seen, NODES.map(|n| (n.to_string(), 3)).into(), "the same load on both");
}

async fn by_name(scene: Scene) {
    taint(&scene, NODES[1], json!([{"key": "ferry.example/own", "effect": "NoSchedule"}])).await;
    scene.ready("p", stays(json!({"nodeName": NODES[1], "schedulerName": "nobody"}))).await;
    scene.pod("q", stays(json!({"schedulerName": "nobody"}))).await;
    placed(&scene, "p").await;
    scene.ready("other", stays(json!({}))).await;
    // Made before that one, and left to the scheduler that it names.
    assert!(scene.get("q").await["spec"]["nodeName"].is_null());
    taint(&scene, NODES[1], json!(null)).await;
}

async fn gates(scene: Scene) {
    scene.pod("p", stays(json!({"schedulingGates": [{"name": "example.com/a"}, {"name": "example.com/b"}]}))).await;
    let gated = |pod: &Value| {
        let own = crate::scenes::condition(pod, "PodScheduled");
        (own["reason"] == "SchedulingGated").then(|| own["message"].clone())
    };
    let message = scene.until("p", "gated", gated).await;
    assert_eq!(message, "Scheduling is blocked due to non-empty scheduling gates");
    let gates = |left: Value| json!({"spec": {"schedulingGates": left}});
    scene.merge::<k8s_openapi::api::core::v1::Pod>("p", gates(json!([{"name": "example.com/b"}]))).await;
    scene.ready("other", stays(json!({}))).await;
    assert!(scene.get("p").await["spec"]["nodeName"].is_null(), "one gate is still closed");
    scene.merge::<k8s_openapi::api::core::v1::Pod>("p", gates(json!([]))).await;
    placed(&scene, "p").await;
}
