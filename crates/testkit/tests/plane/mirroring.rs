//! `[sig-network] EndpointSliceMirroring`.

use crate::support::{DEFAULT, SERVICES, start};
use testkit::{Value, json};

const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
const OF_WEB: &str = "kubernetes.io/service-name%3Dweb";

#[tokio::test]
async fn should_mirror_a_custom_endpoints_resource_through_create_update_and_delete() {
    let (cluster, admin) = start().await;
    let endpoints = format!("{DEFAULT}/endpoints");
    admin
        .create(SERVICES, &json!({"metadata": {"name": "web"}, "spec": {"ports": [{"name": "web", "port": 80}]}}))
        .await;
    let custom = json!({"metadata": {"name": "web"}, "subsets": [
        {"ports": [{"name": "web", "port": 80}], "addresses": [{"ip": "10.1.2.3"}]}]});
    admin.create(&endpoints, &custom).await;
    let slice = &admin.count(SLICES, OF_WEB, 1).await[0];
    assert_eq!(slice["ports"][0]["port"], 80);
    assert_eq!(slice["endpoints"][0]["addresses"], json!(["10.1.2.3"]));
    let by = &slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"];
    assert_eq!(by, "endpointslicemirroring-controller.k8s.io");
    let name = slice["metadata"]["name"].as_str().unwrap();
    let moved = json!({"subsets": [{"ports": [{"name": "web", "port": 81}], "addresses": [{"ip": "10.2.3.4"}]}]});
    admin.patch(&format!("{endpoints}/web"), "merge", &moved).await.expect(200);
    let there = |slice: &Value| slice["ports"][0]["port"] == 81 && slice["endpoints"][0]["addresses"][0] == "10.2.3.4";
    admin.until(SLICES, name, |slice| slice.is_some_and(there)).await;
    // Two sets of ports of one address are two slices.
    let two = json!({"subsets": [
        {"ports": [{"name": "a", "port": 81}], "addresses": [{"ip": "10.2.3.4"}]},
        {"ports": [{"name": "b", "port": 82}], "addresses": [{"ip": "10.2.3.4"}]}]});
    admin.patch(&format!("{endpoints}/web"), "merge", &two).await.expect(200);
    admin.count(SLICES, OF_WEB, 2).await;
    admin.delete(&format!("{endpoints}/web"), &Value::Null).await.expect(200);
    admin.count(SLICES, OF_WEB, 0).await;
    cluster.stop().await;
}

#[tokio::test]
async fn an_address_of_the_service_network_says_who_holds_it() {
    let (cluster, admin) = start().await;
    let addresses = "/apis/networking.k8s.io/v1/ipaddresses";
    let made = admin.create(SERVICES, &json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}})).await;
    let ip = made["spec"]["clusterIP"].as_str().unwrap();
    let address = admin.until(addresses, ip, |address| address.is_some()).await.unwrap();
    let parent = json!({"group": "", "resource": "services", "namespace": "default", "name": "web"});
    let said = &address["spec"]["parentRef"];
    assert_eq!(
        (&said["resource"], &said["namespace"], &said["name"]),
        (&parent["resource"], &parent["namespace"], &parent["name"])
    );
    admin.delete(&format!("{SERVICES}/web"), &Value::Null).await.expect(200);
    admin.until(addresses, ip, |address| address.is_none()).await;
    cluster.stop().await;
}
