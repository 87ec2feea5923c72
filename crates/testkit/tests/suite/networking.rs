//! sig-network: the kinds of its groups whose verbs are asked for; no traffic.

use crate::{
    operations::Operations,
    scene::{Scene, scenarios},
};
use k8s_openapi::api::{
    discovery::v1::EndpointSlice,
    networking::v1::{IPAddress, Ingress, IngressClass, ServiceCIDR},
};
use kube::{ResourceExt, api::ListParams};
use testkit::json;

scenarios! {
    "[sig-network] EndpointSlice should support creating EndpointSlice API operations [Conformance]"
        => slices,
    "[sig-network] Ingress API should support creating Ingress API operations [Conformance]"
        => ingresses,
    "[sig-network] IngressClass API should support creating IngressClass API operations [Conformance]"
        => ingress_classes,
    "[sig-network] ServiceCIDR and IPAddress API should support IPAddress API operations [Conformance]"
        => addresses,
    "[sig-network] ServiceCIDR and IPAddress API should support ServiceCIDR API operations [Conformance]"
        => networks,
}

async fn slices(scene: Scene) {
    let endpoint = |first: &str, second: &str| json!({"addresses": [first, second]});
    let endpoints =
        |n: u8| json!({"endpoints": [endpoint(&format!("1.2.3.{n}"), "5.6.7.8"), endpoint("2.2.3.4", "6.6.7.8")]});
    Operations::<EndpointSlice>::namespaced(
        &scene,
        |_| json!({"addressType": "IPv4", "endpoints": endpoints(4)["endpoints"]}),
    )
    .changing(endpoints(5), endpoints(6))
    .all()
    .await;
}

async fn ingresses(scene: Scene) {
    let backend = |name: &str| json!({"service": {"name": name, "port": {"number": 8080}}});
    let rule = |host: String| {
        let path = json!({"path": "/", "pathType": "ImplementationSpecific", "backend": backend("one")});
        json!({"host": host, "http": {"paths": [path]}})
    };
    let balancer = |ip: &str| json!({"loadBalancer": {"ingress": [{"ip": ip}]}});
    Operations::<Ingress>::namespaced(
        &scene,
        |n| json!({"spec": {"defaultBackend": backend("rest"), "rules": [rule(format!("host{n}.example.com"))]}}),
    )
    .changing(
        json!({"spec": {"defaultBackend": backend("other")}}),
        json!({"spec": {"defaultBackend": backend("third")}}),
    )
    .with_status(balancer("169.1.1.1"), balancer("169.1.1.2"))
    .all()
    .await;
}

async fn ingress_classes(scene: Scene) {
    let parameters = |name: &str| json!({"spec": {"parameters": {"apiGroup": "example.com", "kind": "Lamp", "name": name, "scope": "Cluster"}}});
    Operations::<IngressClass>::cluster(&scene, |_| json!({"spec": {"controller": "example.com/controller"}}))
        .changing(parameters("one"), parameters("other"))
        .all()
        .await;
}

/// Of no Service's network, so that nobody claims them or takes them away.
async fn addresses(scene: Scene) {
    let names = ["255.255.255.255", "fe80::42:1dff:fe84:f9e2", "169.254.7.7"];
    let parent = |name: &str| json!({"group": "mygroup", "resource": "myresources", "namespace": "foo", "name": name});
    Operations::<IPAddress>::cluster(
        &scene,
        |n| json!({"metadata": {"name": names[n]}, "spec": {"parentRef": parent("bar")}}),
    )
    .all()
    .await;
}

/// The network that every cluster has, and others.
async fn networks(scene: Scene) {
    let networks = scene.all::<ServiceCIDR>();
    let first = networks.get("kubernetes").await.expect("the cluster's own");
    let status = scene.admin.get("/apis/networking.k8s.io/v1/servicecidrs/kubernetes/status").await.expect(200);
    assert_eq!((&status["kind"], &status["apiVersion"]), (&json!("ServiceCIDR"), &json!("networking.k8s.io/v1")));
    assert_eq!(status["metadata"]["uid"].as_str(), first.uid().as_deref());
    let list = networks.list(&ListParams::default()).await.expect("a list");
    assert!(list.iter().any(|network| network.uid() == first.uid()), "{list:?}");

    let ready = |status: &str| {
        json!({"conditions": [{"type": "Ready", "status": status, "reason": "Spec", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"}]})
    };
    Operations::<ServiceCIDR>::cluster(&scene, |n| json!({"spec": {"cidrs": [format!("192.168.{n}.0/24")]}}))
        .with_status(ready("True"), ready("False"))
        .all()
        .await;
}
