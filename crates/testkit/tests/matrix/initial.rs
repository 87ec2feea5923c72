//! What every cluster has before anybody asks for anything.

use testkit::{Cluster, json};

#[tokio::test]
async fn there_from_the_start() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    for (path, want) in [
        ("/apis/networking.k8s.io/v1/servicecidrs", "kubernetes"),
        ("/apis/scheduling.k8s.io/v1/priorityclasses", "system-cluster-critical system-node-critical"),
        (
            "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations",
            "catch-all exempt global-default leader-election node-high system workload-high workload-low",
        ),
        (
            "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas",
            "catch-all exempt global-default kube-controller-manager kube-scheduler kube-system-service-accounts probes \
             service-accounts system-leader-election system-node-high system-nodes",
        ),
    ] {
        let list = admin.get(path).await;
        let list = serde_json::from_slice(&list.body).expect("a list");
        assert_eq!(crate::subject::names(&list).join(" "), want, "{path}");
    }
    // Nobody changes what is mandatory.
    let path = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/catch-all";
    let patch = json!({"spec": {"matchingPrecedence": 9000}});
    let answer = admin.send("PATCH", path, "application/merge-patch+json", patch.to_string()).await;
    assert_eq!(answer.code, 422, "{}", answer.text());
}
