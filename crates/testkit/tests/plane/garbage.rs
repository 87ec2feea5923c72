//! Garbage beyond upstream's conformance specs, which stand in `suite/garbage.rs`.

use crate::support::{CONTROLLERS, PODS, controller, start};
use testkit::json;

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
