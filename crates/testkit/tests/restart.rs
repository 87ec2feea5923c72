//! What a cluster on disk is after its server went and came back.

use std::path::{Path, PathBuf};
use testkit::{Cluster, Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";

/// A directory of one test.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("ferry-restart-{}-{}", std::process::id(), base::ids::suffix(8)));
        std::fs::create_dir_all(&dir).unwrap();
        Dir(dir)
    }
    /// All bytes of all files below.
    fn bytes(&self) -> Vec<u8> {
        fn walk(dir: &Path, out: &mut Vec<u8>) {
            for entry in std::fs::read_dir(dir).unwrap().flatten() {
                match entry.file_type().unwrap().is_dir() {
                    true => walk(&entry.path(), out),
                    false => out.extend(std::fs::read(entry.path()).unwrap()),
                }
            }
        }
        let mut out = Vec::new();
        walk(&self.0, &mut out);
        out
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn config_map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"plain": "to be found in the file"}})
}

#[tokio::test]
async fn objects_revisions_and_watches_go_on() {
    let dir = Dir::new();
    let cluster = Cluster::on_disk(&dir.0).await;
    let admin = cluster.admin();
    let one = admin.create(MAPS, &config_map("one")).await;
    let start = admin.get(MAPS).await.expect(200)["metadata"]["resourceVersion"].as_str().unwrap().to_string();
    let two = admin.create(MAPS, &config_map("two")).await;
    let changed = admin.patch(&format!("{MAPS}/one"), "merge", &json!({"data": {"more": "x"}})).await.expect(200);
    admin.delete(&format!("{MAPS}/two"), &Value::Null).await.expect(200);
    let page = admin.get("/api/v1/namespaces?limit=2").await.expect(200);
    let before = admin.get("/api/v1/namespaces").await.expect(200);

    let cluster = cluster.restart().await;
    let admin = cluster.admin();
    assert_eq!(admin.get(&format!("{MAPS}/one")).await.expect(200), changed, "the object with its revision and uid");
    admin.get(&format!("{MAPS}/two")).await.refused(404, "NotFound");
    let after = admin.get("/api/v1/namespaces").await.expect(200);
    assert_eq!(after["items"], before["items"], "a second start changes nothing");
    let number = |v: &Value| v["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap();
    assert!(number(&after) >= number(&before), "revisions never go back");

    // A watch from before goes on behind what it has seen.
    let mut watch = admin.watch(&format!("{MAPS}?watch=1&resourceVersion={start}")).await;
    assert_eq!(watch.lines(3).await, ["ADDED two", "MODIFIED one", "DELETED two"]);
    let three = admin.create(MAPS, &config_map("three")).await;
    assert_eq!(watch.lines(1).await, ["ADDED three"]);
    assert!(number(&three) > number(&changed) && number(&changed) > number(&two) && number(&two) > number(&one));
    // A list from before goes on too, or says that it cannot.
    let token = page["metadata"]["continue"].as_str().unwrap();
    let rest = admin.get(&format!("/api/v1/namespaces?limit=2&continue={token}")).await;
    assert!(rest.code == 200 || rest.code == 410, "{}", rest.text());
    // A write against a revision from before is judged by it.
    let mut stale = one.clone();
    stale["data"]["late"] = "x".into();
    admin.put(&format!("{MAPS}/one"), &stale).await.refused(409, "Conflict");
    let mut fresh = changed.clone();
    fresh["data"]["late"] = "x".into();
    admin.put(&format!("{MAPS}/one"), &fresh).await.expect(200);
    cluster.stop().await;
}

#[tokio::test]
async fn custom_kinds_come_back_with_their_objects() {
    let dir = Dir::new();
    let cluster = Cluster::on_disk(&dir.0).await;
    let admin = cluster.admin();
    let definition = json!({
        "metadata": {"name": "things.restart.example.com"},
        "spec": {
            "group": "restart.example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object",
                "properties": {"spec": {"type": "object", "properties": {"n": {"type": "integer", "default": 7}}}}}}}],
        },
    });
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let defined = admin.create(definitions, &definition).await;
    let things = "/apis/restart.example.com/v1/namespaces/default/things";
    let thing = json!({"apiVersion": "restart.example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": {}});
    let made = admin.create(things, &thing).await;
    let cluster = cluster.restart().await;
    let admin = cluster.admin();
    assert_eq!(admin.get(&format!("{things}/a")).await.expect(200), made);
    let path = format!("{definitions}/things.restart.example.com");
    assert_eq!(admin.get(&path).await.expect(200)["metadata"]["uid"], defined["metadata"]["uid"]);
    let mut second = thing.clone();
    second["metadata"]["name"] = "b".into();
    assert_eq!(admin.create(things, &second).await["spec"]["n"], 7, "its schema is at work");
    cluster.stop().await;
}

#[tokio::test]
async fn secrets_are_sealed_in_the_files() {
    let dir = Dir::new();
    let cluster = Cluster::on_disk(&dir.0).await;
    let admin = cluster.admin();
    admin.create(MAPS, &config_map("plain")).await;
    let secret = json!({"metadata": {"name": "sealed"}, "stringData": {"k": "nobody may read this"}});
    let made = admin.create(SECRETS, &secret).await;
    let encoded = made["data"]["k"].as_str().unwrap().to_string();
    let cluster = cluster.restart().await;
    let admin = cluster.admin();
    assert_eq!(admin.get(&format!("{SECRETS}/sealed")).await.expect(200), made, "the server reads it");
    cluster.stop().await;
    let raw = dir.bytes();
    let found = |text: &str| raw.windows(text.len()).any(|w| w == text.as_bytes());
    assert!(found("to be found in the file"), "the search works");
    for text in ["nobody may read this", encoded.as_str()] {
        assert!(!found(text), "{text:?} stands in the files");
    }
}

#[tokio::test]
async fn service_addresses_stay_taken() {
    let dir = Dir::new();
    let cluster = Cluster::on_disk(&dir.0).await;
    let services = "/api/v1/namespaces/default/services";
    let service = |name: &str, ip: &str| {
        let mut service = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
        if !ip.is_empty() {
            service["spec"]["clusterIP"] = ip.into();
        }
        service
    };
    let first = cluster.admin().create(services, &service("first", "")).await;
    let ip = first["spec"]["clusterIP"].as_str().unwrap().to_string();
    let cluster = cluster.restart().await;
    let admin = cluster.admin();
    let message = admin.post(services, &service("second", &ip)).await.refused(422, "Invalid");
    assert!(message.contains("provided IP is already allocated"), "{message}");
    admin.delete(&format!("{services}/first"), &Value::Null).await.expect(200);
    admin.create(services, &service("second", &ip)).await;
    cluster.stop().await;
}

#[tokio::test]
async fn controllers_take_up_what_they_left() {
    let dir = Dir::new();
    let cluster = Cluster::on_disk(&dir.0).await.with_controllers();
    let admin = cluster.admin();
    let default = "/api/v1/namespaces/default";
    admin.until(&format!("{default}/serviceaccounts"), "default", |account| account.is_some()).await;
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let deployment = json!({"metadata": {"name": "web"}, "spec": {
        "replicas": 2, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    }});
    admin.create(deployments, &deployment).await;
    let settled = |d: Option<&Value>, replicas: i64| {
        d.is_some_and(|d| {
            d["status"]["replicas"] == replicas && d["status"]["observedGeneration"] == d["metadata"]["generation"]
        })
    };
    admin.until(deployments, "web", |d| settled(d, 2)).await;
    let before = admin.names(&format!("{default}/pods")).await;
    assert_eq!(before.len(), 2);

    let cluster = cluster.restart().await;
    let admin = cluster.admin();
    admin.patch(&format!("{deployments}/web/scale"), "merge", &json!({"spec": {"replicas": 3}})).await.expect(200);
    admin.until(deployments, "web", |d| settled(d, 3)).await;
    let after = admin.names(&format!("{default}/pods")).await;
    assert_eq!(after.len(), 3);
    assert!(before.iter().all(|name| after.contains(name)), "{before:?} {after:?}");
    assert_eq!(admin.names("/apis/apps/v1/namespaces/default/replicasets").await.len(), 1);
    cluster.stop().await;
}
