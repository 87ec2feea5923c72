//! Kinds of the core group, and leases.

use crate::{
    operations::{Operations, has, version_of},
    scene::{IMAGE, Scene, object, refused, scenarios},
};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{ConfigMap, Endpoints, LimitRange, Node, PodTemplate, Secret, Service},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use std::collections::BTreeMap;
use testkit::{Value, json};

scenarios! {
    "[sig-node] ConfigMap should fail to create ConfigMap with empty key [Conformance]" => a_map_without_a_key,
    "[sig-node] Secrets should fail to create secret due to empty secret key [Conformance]" => a_secret_without_a_key,
    "[sig-node] ConfigMap should update ConfigMap successfully [NodeConformance] [Conformance]" => a_map_is_updated,
    "[sig-node] ConfigMap should run through a ConfigMap lifecycle [Conformance]" => maps,
    "[sig-node] Secrets should patch a secret [Conformance]" => secrets,
    "[sig-node] PodTemplates should run the lifecycle of PodTemplates [Conformance]" => templates,
    "[sig-node] PodTemplates should delete a collection of pod templates [Conformance]" => a_collection_of_templates,
    "[sig-node] PodTemplates should replace a pod template [Conformance]" => a_template_is_replaced,
    "[sig-node] Node Lifecycle should run through the lifecycle of a node [Conformance]" => nodes,
    "[sig-node] Lease lease API should be available [Conformance]" => leases,
    "[sig-network] Endpoints should test the lifecycle of an Endpoint [Conformance]" => endpoints,
    "[sig-network] Services should find a service from listing all namespaces [Conformance]" => the_first_service,
    "[sig-network] Services should complete a service status lifecycle [Conformance]" => services,
    "[sig-network] Services should delete a collection of services [Conformance]" => a_collection_of_services,
    "[sig-scheduling] LimitRange should list, patch and delete a LimitRange by collection [Conformance]" => limits,
}

async fn a_map_without_a_key(scene: Scene) {
    let map: ConfigMap = object(json!({"metadata": {"name": "nothing"}, "data": {"": "value"}}));
    let said = refused(scene.api().create(&PostParams::default(), &map).await, 422, "Invalid");
    assert!(said.contains("data[]: Invalid value: \"\": a valid config key must consist of"), "{said}");
}

async fn a_secret_without_a_key(scene: Scene) {
    let secret: Secret = object(json!({"metadata": {"name": "nothing"}, "data": {"": "dmFsdWU="}}));
    let said = refused(scene.api().create(&PostParams::default(), &secret).await, 422, "Invalid");
    assert!(said.contains("data[]: Invalid value: \"\": a valid config key must consist of"), "{said}");
}

/// Without a word of what it was before.
async fn a_map_is_updated(scene: Scene) {
    let maps = scene.api::<ConfigMap>();
    let mut map: ConfigMap = object(json!({"metadata": {"name": "map"}, "data": {"data-1": "1", "data-2": "2"}}));
    maps.create(&PostParams::default(), &map).await.expect("created");
    map.data = Some(BTreeMap::from([("data".into(), "value".into())]));
    maps.replace("map", &PostParams::default(), &map).await.expect("updated");
    assert_eq!(maps.get("map").await.expect("read").data, map.data);
}

async fn maps(scene: Scene) {
    let data = |value: &str| json!({"data": {"valueName": value}});
    Operations::<ConfigMap>::namespaced(&scene, |_| data("value")).changing(data("value1"), data("value2")).all().await;
}

async fn secrets(scene: Scene) {
    let data = |value: &str| json!({"data": {"key": value}});
    let made = Operations::<Secret>::namespaced(&scene, |_| json!({"type": "Opaque", "data": {"key": "dmFsdWU="}}));
    let made = made.changing(data("dmFsdWUx"), data("dmFsdWUy"));
    made.all().await;
    made.collection().await;
}

async fn templates(scene: Scene) {
    template(&scene).all().await;
}

async fn a_collection_of_templates(scene: Scene) {
    template(&scene).collection().await;
}

async fn a_template_is_replaced(scene: Scene) {
    let name = template(&scene).create(0).await.name_any();
    let replaced = template(&scene).update(&name).await;
    assert_eq!(replaced.annotations()["updated"], "true");
    assert_eq!(scene.api::<PodTemplate>().get(&name).await.expect("read"), replaced);
}

fn template(scene: &Scene) -> Operations<PodTemplate> {
    let labels = |value: &str| json!({"template": {"metadata": {"labels": {"changed": value}}}});
    let container = json!({"name": "c", "image": IMAGE});
    let made = Operations::namespaced(scene, |_| json!({"template": {"spec": {"containers": [container]}}}));
    made.changing(labels("patched"), labels("updated"))
}

/// Ready, but nothing may go there: it is not.
async fn nodes(scene: Scene) {
    let ready = json!({"type": "Ready", "status": "True", "reason": "Spec", "message": "set by a test"});
    Operations::<Node>::cluster(
        &scene,
        |_| json!({"spec": {"unschedulable": true}, "status": {"phase": "Running", "conditions": [ready]}}),
    )
    .all()
    .await;
}

/// Their times are of the first year, which is where upstream's zero is.
async fn leases(scene: Scene) {
    let spec = |holder: &str, seconds: i64, transitions: i64| {
        let time = |second: i64| format!("0001-01-01T00:00:{second:02}.000000Z");
        json!({"spec": {
            "holderIdentity": holder, "leaseDurationSeconds": 30 + transitions, "acquireTime": time(seconds),
            "renewTime": time(seconds + 3), "leaseTransitions": transitions,
        }})
    };
    let made = Operations::<Lease>::namespaced(&scene, |_| spec("holder", 2, 0));
    let made = made.changing(spec("holder2", 20, 1), spec("holder3", 50, 2));
    made.all().await;
    made.collection().await;
}

async fn endpoints(scene: Scene) {
    let subsets = |ip: &str, name: &str, port: i64| json!({"subsets": [{"addresses": [{"ip": ip}], "ports": [{"name": name, "port": port, "protocol": "TCP"}]}]});
    let made = Operations::<Endpoints>::namespaced(&scene, |_| subsets("10.0.0.24", "http", 80));
    made.changing(subsets("10.0.0.25", "http-test", 8080), subsets("10.0.0.26", "http", 81)).all().await;
}

/// Everybody finds the API server.
async fn the_first_service(scene: Scene) {
    let services = scene.all::<Service>().list(&ListParams::default()).await.expect("a list");
    let first =
        |service: &&Service| service.name_any() == "kubernetes" && service.namespace().as_deref() == Some("default");
    let found = services.iter().find(first).expect("the API server's");
    has(found, &json!({"spec": {"type": "ClusterIP", "ports": [{"name": "https", "port": 443, "targetPort": 6443}]}}));
}

/// Of a class that nobody serves here.
async fn services(scene: Scene) {
    let updated = json!({"type": "StatusUpdate", "status": "True", "reason": "Spec", "message": "set by a test",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let port =
        |port: i64| json!({"spec": {"ports": [{"name": "http", "port": port, "targetPort": 80, "protocol": "TCP"}]}});
    let balancer = |ip: &str| json!({"loadBalancer": {"ingress": [{"ip": ip}]}});
    Operations::<Service>::namespaced(&scene, |_| {
        let mut service = port(80);
        service["spec"]["type"] = "LoadBalancer".into();
        service["spec"]["loadBalancerClass"] = "example.com/internal-vip".into();
        service
    })
    .changing(
        json!({"spec": {"sessionAffinity": "ClientIP"}}),
        json!({"spec": {"sessionAffinity": "None", "sessionAffinityConfig": null}}),
    )
    .with_status(
        balancer("203.0.113.1"),
        json!({"loadBalancer": balancer("203.0.113.2")["loadBalancer"], "conditions": [updated]}),
    )
    .all()
    .await;
}

async fn a_collection_of_services(scene: Scene) {
    let made = Operations::<Service>::namespaced(
        &scene,
        |n| json!({"spec": {"type": "ClusterIP", "ports": [{"name": "http", "port": 8001 + n, "targetPort": 8001 + n}]}}),
    );
    made.collection().await;
}

async fn limits(scene: Scene) {
    let list = |cpu: &str, memory: &str, disk: &str| json!({"cpu": cpu, "memory": memory, "ephemeral-storage": disk});
    let limit = |min: Value| {
        json!({"limits": [{"type": "Container", "min": min, "max": list("500m", "500Mi", "500Gi"),
            "default": list("500m", "500Mi", "500Gi"), "defaultRequest": list("100m", "200Mi", "200Gi")}]})
    };
    let name = scene.own("limits");
    let range: LimitRange = object(json!({"spec": limit(list("50m", "100Mi", "100Gi")),
        "metadata": {"name": name, "labels": {"both": name, &name: "created"}}}));
    let (here, everywhere) = (scene.api::<LimitRange>(), scene.all::<LimitRange>());
    let there = Api::<LimitRange>::namespaced(scene.client(), &scene.namespace("other").await.name_any());
    let made = here.create(&PostParams::default(), &range).await.expect("created");
    there.create(&PostParams::default(), &range).await.expect("created");
    let both = ListParams::default().labels(&format!("both={name}"));
    assert_eq!(everywhere.list(&both).await.expect("a list").items.len(), 2);

    let patch = json!({"metadata": {"labels": {&name: "patched"}}, "spec": limit(list("9m", "49Mi", "49Gi"))});
    let patched = here.patch(&name, &PatchParams::default(), &Patch::Strategic(&patch)).await.expect("patched");
    has(&patched, &patch);
    assert!(version_of(&patched) > version_of(&made));
    let selected = ListParams::default().labels(&format!("{name}=patched"));
    here.delete_collection(&DeleteParams::default(), &selected).await.expect("deleted");
    assert!(here.list(&selected).await.expect("a list").items.is_empty());
    let left = everywhere.list(&both).await.expect("a list");
    assert_eq!(left.iter().map(|range| range.namespace()).collect::<Vec<_>>(), [Some(scene.own("other"))]);
}
