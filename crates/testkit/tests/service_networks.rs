//! ServiceCIDRs: addresses of Services from more than one network, and what keeps a network from going.

use base::time::SignedDuration;
use testkit::{Cluster, ManualClock, Setup, Value, json};

const NETWORKS: &str = "/apis/networking.k8s.io/v1/servicecidrs";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";
const SERVICES: &str = "/api/v1/namespaces/default/services";

fn service(name: &str, ip: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"clusterIP": ip, "ports": [{"port": 80}]}})
}

fn ready(network: &Value) -> Value {
    let conditions = network["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|c| c["type"] == "Ready").unwrap_or_default()
}

#[tokio::test]
async fn a_second_network_gives_addresses_and_stays_while_it_is_needed() {
    let clock = ManualClock::new();
    let cluster = Cluster::open(Setup { clock: clock.clone(), ..Setup::default() }).await.with_controllers();
    let admin = cluster.admin();
    let mismatch = "the provided network does not match the current range";
    let refused = admin.post(SERVICES, &service("early", "10.200.0.1")).await.refused(422, "Invalid");
    assert!(refused.ends_with(mismatch), "{refused}");

    admin.create(NETWORKS, &json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["10.200.0.0/29"]}})).await;
    for name in ["more", "kubernetes"] {
        let holds = |network: Option<&Value>| {
            network.is_some_and(|n| ready(n)["status"] == "True" && n["metadata"]["finalizers"][0].is_string())
        };
        let network = admin.until(NETWORKS, name, holds).await.unwrap();
        assert_eq!(network["metadata"]["finalizers"], json!(["networking.k8s.io/service-cidr-finalizer"]));
        assert_eq!(ready(&network)["message"], "Kubernetes Service CIDR is ready");
    }
    let made = admin.create(SERVICES, &service("a", "10.200.0.1")).await;
    assert_eq!(made["spec"]["clusterIPs"], json!(["10.200.0.1"]));
    let held = admin.until(ADDRESSES, "10.200.0.1", |address| address.is_some()).await.unwrap();
    assert_eq!(held["spec"]["parentRef"]["name"], "a");
    let own = json!({"metadata": {"name": "10.200.0.2"}, "spec": {"parentRef": {"resource": "nets", "namespace": "default", "name": "n"}}});
    admin.create(ADDRESSES, &own).await;
    let refused = admin.post(SERVICES, &service("b", "10.200.0.2")).await.refused(422, "Invalid");
    assert!(refused.ends_with("provided IP is already allocated"), "{refused}");

    // One that is needed goes, says so, and gives no addresses any more.
    let more = format!("{NETWORKS}/more");
    admin.delete(&more, &Value::Null).await.expect(200);
    let stuck = admin.until(NETWORKS, "more", |n| n.is_some_and(|n| ready(n)["status"] == "False")).await.unwrap();
    assert_eq!(ready(&stuck)["reason"], "Terminating");
    assert!(stuck["metadata"]["deletionTimestamp"].is_string());
    let refused = admin.post(SERVICES, &service("b", "10.200.0.3")).await.refused(422, "Invalid");
    assert!(refused.ends_with(mismatch), "{refused}");
    let labels = json!({"metadata": {"labels": {"still": "there"}}});
    admin.patch(&format!("{SERVICES}/a"), "merge", &labels).await.expect(200);

    clock.advance(SignedDuration::from_secs(60));
    admin.delete(&format!("{SERVICES}/a"), &Value::Null).await.expect(200);
    assert_eq!(admin.until(NETWORKS, "more", |network| network.is_none()).await, None);
}
