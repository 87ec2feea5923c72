//! `[sig-apps] ReplicationController`, without nodes.

use crate::support::{CONTROLLERS, PODS, controller, pod, start};
use testkit::{Value, json};

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == kind)
}

#[tokio::test]
async fn should_surface_a_failure_condition_on_a_common_issue_like_exceeded_quota() {
    let (cluster, admin) = start().await;
    let quotas = "/api/v1/namespaces/default/resourcequotas";
    admin.create(quotas, &json!({"metadata": {"name": "condition-test"}, "spec": {"hard": {"pods": "2"}}})).await;
    admin.until(quotas, "condition-test", |q| q.is_some_and(|q| q["status"]["used"]["pods"] == "0")).await;
    admin.create(CONTROLLERS, &controller("condition-test", 3)).await;
    let failing =
        admin.until(CONTROLLERS, "condition-test", |c| c.is_some_and(|c| condition(c, "ReplicaFailure").is_some()));
    let failing = failing.await.unwrap();
    let said = condition(&failing, "ReplicaFailure").unwrap();
    assert_eq!((&said["status"], &said["reason"]), (&json!("True"), &json!("FailedCreate")));
    let message = said["message"].as_str().unwrap();
    assert!(
        message.contains("exceeded quota: condition-test, requested: pods=1, used: pods=2, limited: pods=2"),
        "{message}"
    );
    let fewer = json!({"spec": {"replicas": 2}});
    admin.patch(&format!("{CONTROLLERS}/condition-test/scale"), "merge", &fewer).await.expect(200);
    let fine = |c: &Value| condition(c, "ReplicaFailure").is_none() && c["status"]["replicas"] == 2;
    admin.until(CONTROLLERS, "condition-test", |c| c.is_some_and(fine)).await;
    cluster.stop().await;
}

#[tokio::test]
async fn should_adopt_matching_pods_on_creation_and_release_no_longer_matching_pods() {
    let (cluster, admin) = start().await;
    let mut orphan = pod("orphan", json!({}));
    orphan["metadata"]["labels"] = json!({"app": "web"});
    admin.create(PODS, &orphan).await;
    let made = admin.create(CONTROLLERS, &controller("web", 1)).await;
    let owned = |pod: &Value| pod["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"];
    let adopted = admin.until(PODS, "orphan", |pod| pod.is_some_and(owned)).await.unwrap();
    let reference = &adopted["metadata"]["ownerReferences"][0];
    assert_eq!(
        (&reference["apiVersion"], &reference["kind"], &reference["controller"]),
        (&json!("v1"), &json!("ReplicationController"), &json!(true))
    );
    admin
        .patch(&format!("{PODS}/orphan"), "merge", &json!({"metadata": {"labels": {"app": "other"}}}))
        .await
        .expect(200);
    admin.until(PODS, "orphan", |pod| pod.is_some_and(|p| p["metadata"]["ownerReferences"].is_null())).await;
    let next = admin.count(PODS, "app%3Dweb", 1).await;
    assert!(next[0]["metadata"]["name"].as_str().unwrap().starts_with("web-"), "{}", next[0]);
    cluster.stop().await;
}

#[tokio::test]
async fn status_counts_what_is_ready() {
    let (cluster, admin) = start().await;
    admin.create(CONTROLLERS, &controller("web", 2)).await;
    let pods = admin.count(PODS, "app%3Dweb", 2).await;
    for pod in &pods {
        let path = format!("{PODS}/{}", pod["metadata"]["name"].as_str().unwrap());
        let ready = json!({"status": {"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
        admin.patch(&format!("{path}/status"), "merge", &ready).await.expect(200);
    }
    let all = json!({"replicas": 2, "fullyLabeledReplicas": 2, "readyReplicas": 2, "availableReplicas": 2, "observedGeneration": 1});
    admin.until(CONTROLLERS, "web", |c| c.is_some_and(|c| c["status"] == all)).await;
    admin.patch(&format!("{CONTROLLERS}/web/scale"), "merge", &json!({"spec": {"replicas": 0}})).await.expect(200);
    admin
        .until(CONTROLLERS, "web", |c| {
            c.is_some_and(|c| c["status"] == json!({"replicas": 0, "observedGeneration": 2}))
        })
        .await;
    cluster.stop().await;
}
