//! `[sig-api-machinery] Garbage collector`, with replication controllers and their pods.

use crate::support::{CONTROLLERS, PODS, controller, start};
use testkit::json;

#[tokio::test]
async fn should_orphan_pods_created_by_rc_if_delete_options_say_so() {
    let (cluster, admin) = start().await;
    admin.create(CONTROLLERS, &controller("rc", 20)).await;
    admin.count(PODS, "app%3Drc", 20).await;
    admin.until(CONTROLLERS, "rc", |c| c.is_some_and(|c| c["status"]["replicas"] == 20)).await;
    admin.delete(&format!("{CONTROLLERS}/rc"), &json!({"propagationPolicy": "Orphan"})).await.expect(200);
    admin.until(CONTROLLERS, "rc", |c| c.is_none()).await;
    let left = admin.count(PODS, "app%3Drc", 20).await;
    assert!(left.iter().all(|pod| pod["metadata"]["ownerReferences"].is_null()), "{left:?}");
    cluster.stop().await;
}

#[tokio::test]
async fn should_orphan_pods_created_by_rc_if_delete_options_orphan_dependents_is_nil() {
    let (cluster, admin) = start().await;
    admin.create(CONTROLLERS, &controller("rc", 2)).await;
    let made = admin.count(PODS, "app%3Drc", 2).await;
    admin.until(CONTROLLERS, "rc", |c| c.is_some_and(|c| c["status"]["replicas"] == 2)).await;
    let uid = admin.get(&format!("{CONTROLLERS}/rc")).await.expect(200)["metadata"]["uid"].clone();
    admin.delete(&format!("{CONTROLLERS}/rc"), &json!({"preconditions": {"uid": uid}})).await.expect(200);
    admin.until(CONTROLLERS, "rc", |c| c.is_none()).await;
    let left = admin.count(PODS, "app%3Drc", 2).await;
    assert!(left.iter().all(|pod| pod["metadata"]["ownerReferences"].is_null()), "{left:?}");
    let names = |pods: &[testkit::Value]| pods.iter().map(|p| p["metadata"]["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names(&left), names(&made));
    cluster.stop().await;
}

#[tokio::test]
async fn should_delete_pods_created_by_rc_when_not_orphaning() {
    let (cluster, admin) = start().await;
    admin.create(CONTROLLERS, &controller("rc", 5)).await;
    admin.count(PODS, "app%3Drc", 5).await;
    admin.delete(&format!("{CONTROLLERS}/rc"), &json!({"propagationPolicy": "Background"})).await.expect(200);
    admin.count(PODS, "app%3Drc", 0).await;
    cluster.stop().await;
}

#[tokio::test]
async fn should_keep_the_rc_around_until_all_its_pods_are_deleted_if_the_delete_options_says_so() {
    let (cluster, admin) = start().await;
    admin.create(CONTROLLERS, &controller("rc", 10)).await;
    let pods = admin.count(PODS, "app%3Drc", 10).await;
    let held = format!("{PODS}/{}", pods[0]["metadata"]["name"].as_str().unwrap());
    admin.patch(&held, "merge", &json!({"metadata": {"finalizers": ["example.com/hold"]}})).await.expect(200);
    admin.delete(&format!("{CONTROLLERS}/rc"), &json!({"propagationPolicy": "Foreground"})).await.expect(200);
    admin.count(PODS, "app%3Drc", 1).await;
    let waiting = admin.get(&format!("{CONTROLLERS}/rc")).await.expect(200);
    assert_eq!(waiting["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    admin.patch(&held, "merge", &json!({"metadata": {"finalizers": null}})).await.expect(200);
    admin.until(CONTROLLERS, "rc", |c| c.is_none()).await;
    admin.count(PODS, "app%3Drc", 0).await;
    cluster.stop().await;
}

#[tokio::test]
async fn should_not_delete_dependents_that_have_both_valid_owner_and_owner_waiting_for_dependents_to_be_deleted() {
    let (cluster, admin) = start().await;
    admin.create(CONTROLLERS, &controller("going", 10)).await;
    let staying = admin.create(CONTROLLERS, &controller("staying", 0)).await;
    let pods = admin.count(PODS, "app%3Dgoing", 10).await;
    admin.until(CONTROLLERS, "going", |c| c.is_some_and(|c| c["status"]["replicas"] == 10)).await;
    for pod in &pods[..5] {
        let path = format!("{PODS}/{}", pod["metadata"]["name"].as_str().unwrap());
        let second = json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ReplicationController",
            "name": "staying", "uid": staying["metadata"]["uid"]}]}});
        admin.patch(&path, "strategic-merge", &second).await.expect(200);
    }
    admin.delete(&format!("{CONTROLLERS}/going"), &json!({"propagationPolicy": "Foreground"})).await.expect(200);
    admin.until(CONTROLLERS, "going", |c| c.is_none()).await;
    let left = admin.count(PODS, "app%3Dgoing", 5).await;
    for pod in &left {
        let owners = pod["metadata"]["ownerReferences"].as_array().expect("owners");
        assert_eq!((owners.len(), &owners[0]["name"]), (1, &json!("staying")));
    }
    cluster.stop().await;
}
