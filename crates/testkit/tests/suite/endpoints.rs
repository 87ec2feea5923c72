//! Who stands behind a Service: the API server, nobody, or whom somebody wrote down.

use crate::scene::{Scene, object, scenarios, until};
use k8s_openapi::api::{
    core::v1::{Endpoints, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
};
use std::collections::BTreeSet;
use testkit::{Value, json};

scenarios! {
    "[sig-network] API Server should have Endpoints and EndpointSlices pointing to API Server [Conformance]"
        => of_the_api_server,
    "[sig-network] API Server should provide secure master service [Conformance]" => the_api_servers_service,
    "[sig-network] EndpointSlice should create and delete EndpointSlices for a Service with a selector that matches no pods [Conformance]"
        => slices_of_nobody,
    "[sig-network] EndpointSliceMirroring should mirror a custom Endpoints resource through create update and delete [Conformance]"
        => mirrored,
    "[sig-network] EndpointsController should create and delete Endpoints for a Service with a selector that matches no pods [Conformance]"
        => endpoints_of_nobody,
}

const SERVICE: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

/// Addresses and ports.
type Behind = (BTreeSet<String>, BTreeSet<i32>);

fn of_endpoints(endpoints: &Endpoints) -> Behind {
    let subsets = || endpoints.subsets.iter().flatten();
    let addresses = subsets().flat_map(|s| s.addresses.iter().flatten().chain(s.not_ready_addresses.iter().flatten()));
    let ports = subsets().flat_map(|subset| subset.ports.iter().flatten());
    (addresses.map(|address| address.ip.clone()).collect(), ports.map(|port| port.port).collect())
}

fn of_slices(slices: &[EndpointSlice]) -> Behind {
    let addresses = slices
        .iter()
        .flat_map(|slice| slice.endpoints.iter().flatten())
        .flat_map(|endpoint| endpoint.addresses.clone());
    let ports = slices.iter().flat_map(|slice| slice.ports.iter().flatten()).filter_map(|port| port.port);
    (addresses.collect(), ports.collect())
}

async fn service(scene: &Scene, name: &str, selector: Value) -> Service {
    let mut service = json!({"metadata": {"name": name}, "spec": {
        "ports": [{"name": "example", "port": 80, "protocol": "TCP"}]}});
    if selector.is_object() {
        service["spec"]["selector"] = selector;
    }
    scene.api().create(&PostParams::default(), &object(service)).await.expect("a service")
}

async fn the_api_servers_service(scene: Scene) {
    let services = Api::<Service>::namespaced(scene.client(), "default");
    let spec = services.get("kubernetes").await.expect("there").spec.expect("a spec");
    let ports = json!(spec.ports);
    assert_eq!((&ports[0]["name"], &ports[0]["port"]), (&json!("https"), &json!(443)));
}

async fn of_the_api_server(scene: Scene) {
    let endpoints = Api::<Endpoints>::namespaced(scene.client(), "default").get("kubernetes").await.expect("there");
    let slices = Api::<EndpointSlice>::namespaced(scene.client(), "default");
    let slices = slices.list(&ListParams::default().labels(&format!("{SERVICE}=kubernetes"))).await.expect("a list");
    // Where testkit's clusters say that they are.
    let server: Behind = ([String::from("192.0.2.1")].into(), [6443].into());
    assert_eq!(of_endpoints(&endpoints), server);
    assert_eq!(of_slices(&slices.items), server);
}

async fn slices_of_nobody(scene: Scene) {
    service(&scene, "empty", json!({"matches": "nothing"})).await;
    let label = format!("{SERVICE}=empty");
    let slice = scene.count::<EndpointSlice>(&label, 1).await.swap_remove(0);
    assert_eq!(slice.labels()[MANAGED_BY], "endpointslice-controller.k8s.io");
    assert_eq!(slice.endpoints.unwrap_or_default(), []);
    scene.api::<Service>().delete("empty", &DeleteParams::default()).await.expect("deleted");
    scene.count::<EndpointSlice>(&label, 0).await;
}

async fn endpoints_of_nobody(scene: Scene) {
    service(&scene, "empty", json!({"matches": "nothing"})).await;
    let endpoints = scene.api::<Endpoints>();
    let made = until(&endpoints, "empty", |endpoints| endpoints.is_some()).await.expect("there");
    assert_eq!(of_endpoints(&made), Behind::default());
    scene.api::<Service>().delete("empty", &DeleteParams::default()).await.expect("deleted");
    until(&endpoints, "empty", |endpoints| endpoints.is_none()).await;
}

async fn mirrored(scene: Scene) {
    service(&scene, "custom", Value::Null).await;
    let label = format!("{SERVICE}=custom");
    let api = scene.api::<Endpoints>();
    let endpoints =
        |subsets: Value| -> Endpoints { object(json!({"metadata": {"name": "custom"}, "subsets": subsets})) };
    let subset = |port: i32, ip: &str| json!({"ports": [{"port": port}], "addresses": [{"ip": ip}]});
    let behind = |port: i32, ip: &str| -> Behind { ([ip.to_string()].into(), [port].into()) };

    api.create(&PostParams::default(), &endpoints(json!([subset(80, "10.1.2.3")]))).await.expect("created");
    let slices = scene.count::<EndpointSlice>(&label, 1).await;
    assert_eq!(slices[0].labels()[MANAGED_BY], "endpointslicemirroring-controller.k8s.io");
    assert_eq!(of_slices(&slices), behind(80, "10.1.2.3"));

    let replace = async |subsets: Value| {
        api.replace("custom", &PostParams::default(), &endpoints(subsets)).await.expect("replaced")
    };
    replace(json!([subset(81, "10.2.3.4")])).await;
    let moved = |slice: &EndpointSlice| of_slices(std::slice::from_ref(slice)) == behind(81, "10.2.3.4");
    let slices_api = scene.api::<EndpointSlice>();
    until(&slices_api, &slices[0].name_any(), |slice| slice.is_some_and(moved)).await;
    assert_eq!(scene.count::<EndpointSlice>(&label, 1).await.len(), 1);
    // Two sets of ports of one address are two slices.
    let named =
        |name: &str, port: i32| json!({"ports": [{"name": name, "port": port}], "addresses": [{"ip": "10.2.3.4"}]});
    replace(json!([named("a", 81), named("b", 82)])).await;
    scene.count::<EndpointSlice>(&label, 2).await;

    api.delete("custom", &DeleteParams::default()).await.expect("deleted");
    scene.count::<EndpointSlice>(&label, 0).await;
}
