//! Where objects stand in the store: upstream's places, so that tools for its etcd find them, and what an older version wrote.

use store::Write;
use testkit::{Cluster, json};

/// Source: upstream's storage tests (`test/integration/etcd/data.go`), which name the place of every kind.
const APART: [(&str, &str, &str); 8] = [
    ("", "services", "/registry/services/specs/"),
    ("", "endpoints", "/registry/services/endpoints/"),
    ("", "nodes", "/registry/minions/"),
    ("", "replicationcontrollers", "/registry/controllers/"),
    ("networking.k8s.io", "ingresses", "/registry/ingress/"),
    ("apiextensions.k8s.io", "customresourcedefinitions", "/registry/apiextensions.k8s.io/customresourcedefinitions/"),
    ("apiregistration.k8s.io", "apiservices", "/registry/apiregistration.k8s.io/apiservices/"),
    ("", "events", "/registry/events/"),
];

#[test]
fn kinds_stand_where_upstream_has_them() {
    for kind in kinds::builtin().iter() {
        let apart = APART.iter().find(|(group, plural, _)| *group == kind.group && *plural == kind.plural);
        let expected =
            apart.map_or_else(|| format!("/registry/{}/", kind.plural), |(.., prefix)| (*prefix).to_string());
        assert_eq!(kind.prefix(), expected, "{}", kind.qualified());
    }
}

#[tokio::test]
async fn what_an_older_version_wrote_is_moved() {
    let dir = std::env::temp_dir().join(format!("ferry-layout-{}", base::ids::suffix(8)));
    let old = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "old", "namespace": "default", "uid": "7f1c", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}});
    {
        let disk = store_disk::Disk::open(dir.join("store"), store_disk::Options::default()).unwrap();
        let writes = vec![Write::put("/registry/ingresses/default/old", old.to_string())];
        disk.keyspace("cluster").commit(store::Txn { conditions: vec![], writes }).await.unwrap();
    }
    let mut cluster = Cluster::on_disk(&dir).await;
    for round in 0..2 {
        let admin = cluster.admin();
        let path = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
        let list = admin.get(path).await.expect(200);
        assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "round {round}");
        let found = admin.get(&format!("{path}/old")).await.expect(200);
        assert_eq!((&found["metadata"]["uid"], &found["spec"]), (&old["metadata"]["uid"], &old["spec"]));
        cluster = cluster.restart().await;
    }
    cluster.stop().await;
    let disk = store_disk::Disk::open(dir.join("store"), store_disk::Options::default()).unwrap();
    let store = disk.keyspace("cluster");
    assert!(store.range("/registry/ingresses/", None, 9).await.unwrap().is_empty());
    assert_eq!(store.range("/registry/ingress/", None, 9).await.unwrap().len(), 1);
    drop((store, disk));
    std::fs::remove_dir_all(&dir).unwrap();
}
