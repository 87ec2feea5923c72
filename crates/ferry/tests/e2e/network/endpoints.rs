//! What stands behind a Service: ready pods, none at all, or what somebody wrote by hand.

use super::{NODES, begin, client, get, on, server, service, stage, until_answering};
use crate::scenes::{Scene, ready, scenarios, wait, with};
use k8s_openapi::api::{
    core::v1::{Endpoints, Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::api::ListParams;
use serde_json::{Value, json};

scenarios! {
    "endpoints follow readiness" => readiness,
    "a Service without endpoints refuses" => refuses,
    "[sig-network] EndpointSlice should create Endpoints and EndpointSlices for Pods matching a Service [Conformance]"
        => slices,
    "[sig-network] EndpointSlice should support a Service with multiple endpoint IPs specified in multiple EndpointSlices [Conformance]"
        => by_hand,
}

/// A server that is ready while a file is there.
fn moody(node: &str) -> Value {
    let mut spec = on(node, server());
    spec["containers"][0]["readinessProbe"] = json!({"exec": {"command": ["cat", "/tmp/ready"]}, "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 30});
    spec["containers"][0]["command"] = json!(["sh", "-c", "touch /tmp/ready; exec httpd -p 8080 -u 8081"]);
    spec
}

async fn readiness(scene: Scene) {
    begin(&scene, "c2", json!({}), on(NODES[1], client())).await;
    for (node, name) in NODES.iter().zip(["s1", "s2"]) {
        begin(&scene, name, json!({"app": "web"}), moody(node)).await;
    }
    let ip = service(&scene, "web", json!({})).await;
    until_answering(&scene, "c2", &ip, &["s1", "s2"]).await;
    assert_eq!(scene.exec("s1", "c", "rm /tmp/ready").await.code, 0);
    scene.until("s1", "not Ready", |pod| (!ready(pod)).then_some(())).await;
    until_answering(&scene, "c2", &ip, &["s2"]).await;
    assert_eq!(conditions(&scene).await, "s1 ready=false serving=false, s2 ready=true serving=true");
    let endpoints = scene.api::<Endpoints>().get("web").await.expect("Endpoints");
    let subset = serde_json::to_value(&endpoints.subsets.expect("subsets")[0]).expect("JSON");
    assert_eq!(subset["addresses"][0]["targetRef"]["name"], "s2", "{subset}");
    assert_eq!(subset["notReadyAddresses"][0]["targetRef"]["name"], "s1", "{subset}");
    // Who wants pods that are not ready says so.
    let patch = json!({"spec": {"publishNotReadyAddresses": true}});
    scene.merge::<Service>("web", patch).await;
    until_answering(&scene, "c2", &ip, &["s1", "s2"]).await;
    scene.merge::<Service>("web", json!({"spec": {"publishNotReadyAddresses": false}})).await;
    until_answering(&scene, "c2", &ip, &["s2"]).await;
    assert_eq!(scene.exec("s1", "c", "touch /tmp/ready").await.code, 0);
    until_answering(&scene, "c2", &ip, &["s1", "s2"]).await;
}

/// The endpoints of `web` and what is said of each.
async fn conditions(scene: &Scene) -> String {
    let mut found: Vec<String> = endpoints(scene, "web")
        .await
        .iter()
        .map(|e| {
            let name = e["targetRef"]["name"].as_str().unwrap_or_default();
            format!("{name} ready={} serving={}", e["conditions"]["ready"], e["conditions"]["serving"])
        })
        .collect();
    found.sort();
    found.join(", ")
}

/// All endpoints in a Service's slices.
async fn endpoints(scene: &Scene, service: &str) -> Vec<Value> {
    let of = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
    let slices = scene.api::<EndpointSlice>().list(&of).await.expect("slices");
    let endpoints = slices.items.into_iter().filter_map(|s| s.endpoints).flatten();
    endpoints.map(|e| serde_json::to_value(e).expect("JSON")).collect()
}

async fn refuses(scene: Scene) {
    for (node, name) in NODES.iter().zip(["c1", "c2"]) {
        begin(&scene, name, json!({}), on(node, client())).await;
    }
    let host = with(on(NODES[0], client()), json!({"hostNetwork": true}));
    begin(&scene, "h1", json!({}), host).await;
    let ip = service(&scene, "web", json!({})).await;
    let refused = async |client: &str| {
        wait(&format!("{client} is refused"), async || {
            get(&scene, client, &ip).await.err().filter(|why| why.ends_with("Connection refused"))
        })
        .await
    };
    for client in ["c1", "c2", "h1"] {
        refused(client).await;
    }
    begin(&scene, "s1", json!({"app": "web"}), on(NODES[0], server())).await;
    for client in ["c1", "c2", "h1"] {
        until_answering(&scene, client, &ip, &["s1"]).await;
    }
    scene.delete("s1", Default::default()).await;
    for client in ["c1", "c2", "h1"] {
        refused(client).await;
    }
}

async fn slices(scene: Scene) {
    let addresses = stage(&scene).await;
    service(&scene, "web", json!({})).await;
    let found = wait("both endpoints", async || {
        Some(endpoints(&scene, "web").await)
            .filter(|e| e.iter().filter(|e| e["conditions"]["ready"] == true).count() == 2)
    })
    .await;
    for (name, node, address) in [("s1", NODES[0], &addresses[0]), ("s2", NODES[1], &addresses[1])] {
        let own = found.iter().find(|e| e["targetRef"]["name"] == name).expect("an endpoint");
        assert_eq!((&own["addresses"], &own["nodeName"]), (&json!([address]), &json!(node)));
        assert_eq!(own["targetRef"]["uid"], scene.get(name).await["metadata"]["uid"]);
    }
    scene
        .make::<Service>(json!({"metadata": {"name": "one"}, "spec": {
        "selector": {"app": "web", "name": "s2"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}}))
        .await;
    let only = wait("its endpoint", async || Some(endpoints(&scene, "one").await).filter(|e| !e.is_empty())).await;
    assert_eq!((only.len(), &only[0]["targetRef"]["name"]), (1, &json!("s2")));
    // A label that goes takes the endpoint with it.
    scene.merge::<Pod>("s2", json!({"metadata": {"labels": {"app": "other"}}})).await;
    wait("no endpoint", async || endpoints(&scene, "one").await.is_empty().then_some(())).await;
    // The slices go with their Service.
    scene.api::<Service>().delete("web", &Default::default()).await.expect("deleted");
    wait("no slices", async || {
        let of = ListParams::default().labels("kubernetes.io/service-name=web");
        scene.api::<EndpointSlice>().list(&of).await.expect("slices").items.is_empty().then_some(())
    })
    .await;
}

async fn by_hand(scene: Scene) {
    let addresses = stage(&scene).await;
    let ports = json!([{"name": "http", "port": 80, "targetPort": 3000}]);
    let spec = json!({"ports": ports});
    let made = scene.make::<Service>(json!({"metadata": {"name": "own"}, "spec": spec})).await;
    let ip = made.spec.and_then(|s| s.cluster_ip).expect("an address");
    for (name, address) in [("own-1", &addresses[0]), ("own-2", &addresses[1])] {
        let labels = json!({"kubernetes.io/service-name": "own", "endpointslice.kubernetes.io/managed-by": "test"});
        let slice = json!({
            "metadata": {"name": name, "labels": labels}, "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}], "endpoints": [{"addresses": [address]}],
        });
        scene.make::<EndpointSlice>(slice).await;
    }
    for client in ["c1", "c2"] {
        until_answering(&scene, client, &ip, &["s1", "s2"]).await;
    }
    scene.api::<EndpointSlice>().delete("own-1", &Default::default()).await.expect("deleted");
    until_answering(&scene, "c1", &ip, &["s2"]).await;
}
