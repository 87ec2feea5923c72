//! Taints that end pods.

use super::{NODES, leaves, stays, taint};
use crate::scenes::{Scene, condition, ready, scenarios};
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{WatchEvent, WatchParams};
use serde_json::{Value, json};
use std::pin::pin;

scenarios! {
    "[sig-node] NoExecuteTaintManager Multiple Pods [Serial] evicts pods with minTolerationSeconds [Disruptive] [Conformance]"
        => evicts,
    "[sig-node] NoExecuteTaintManager Single Pod [Serial] removing taint cancels eviction [Disruptive] [Conformance]"
        => cancelled,
}

const KEY: &str = "ferry.example/leave";

/// A pod on a node that tolerates a taint with this key, for so many seconds where there is a number.
async fn begin(scene: &Scene, name: &str, node: &str, tolerations: &[(&str, Option<i64>)]) {
    let toleration = |(key, seconds): &(&str, Option<i64>)| {
        let mut own = json!({"key": key, "operator": "Exists", "effect": "NoExecute"});
        if let Some(seconds) = seconds {
            own["tolerationSeconds"] = (*seconds).into();
        }
        own
    };
    let tolerations: Vec<Value> = tolerations.iter().map(toleration).collect();
    let spec = json!({"nodeSelector": {"kubernetes.io/hostname": node}, "tolerations": tolerations});
    scene.ready(name, stays(spec)).await;
}

fn leave(key: &str) -> Value {
    json!([{"key": key, "value": "now", "effect": "NoExecute"}])
}

async fn evicts(scene: Scene) {
    begin(&scene, "at-once", NODES[0], &[]).await;
    begin(&scene, "soon", NODES[0], &[(KEY, Some(4))]).await;
    begin(&scene, "later", NODES[0], &[(KEY, Some(9))]).await;
    begin(&scene, "never", NODES[0], &[(KEY, None)]).await;
    begin(&scene, "elsewhere", NODES[1], &[]).await;
    // What is said of a pod last is in the event of its end.
    let watched = scene.api::<Pod>();
    let only = WatchParams::default().fields("metadata.name=soon");
    let last = async {
        let mut events = pin!(watched.watch(&only, "0").await.expect("a watch"));
        loop {
            match events.try_next().await.expect("an event") {
                Some(WatchEvent::Deleted(pod)) => return serde_json::to_value(pod).expect("JSON"),
                Some(_) => {}
                None => panic!("the watch ended before the pod did"),
            }
        }
    };
    let evictions = async {
        taint(&scene, NODES[0], leave(KEY)).await;
        leaves(&scene, "at-once", &["soon", "later", "never"]).await;
        leaves(&scene, "soon", &["later", "never"]).await;
        leaves(&scene, "later", &["never"]).await;
    };
    let (last, ()) = futures::future::join(last, evictions).await;
    let told = condition(&last, "DisruptionTarget");
    assert_eq!((&told["status"], &told["reason"]), (&json!("True"), &json!("DeletionByTaintManager")), "{told}");
    for name in ["never", "elsewhere"] {
        assert!(ready(&scene.get(name).await), "{name} stays");
    }
    let events = scene.events().await;
    assert!(events.iter().any(|e| e.contains("TaintManagerEviction")), "{events:?}");
    taint(&scene, NODES[0], json!(null)).await;
}

async fn cancelled(scene: Scene) {
    const OTHER: &str = "ferry.example/clock";
    begin(&scene, "p", NODES[0], &[(KEY, Some(8)), (OTHER, None)]).await;
    begin(&scene, "clock", NODES[0], &[(KEY, None), (OTHER, Some(10))]).await;
    begin(&scene, "first", NODES[0], &[(OTHER, None)]).await;
    taint(&scene, NODES[0], leave(KEY)).await;
    // The taint has been heard of.
    leaves(&scene, "first", &["p", "clock"]).await;
    taint(&scene, NODES[0], leave(OTHER)).await;
    // What ends later than the pod would have shows that the pod's time is over, and it is still there.
    leaves(&scene, "clock", &["p"]).await;
    assert!(ready(&scene.get("p").await));
    taint(&scene, NODES[0], json!(null)).await;
}
