//! Addresses of the service network, as objects.

use crate::support::{SERVICES, start};
use testkit::{Value, json};

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
