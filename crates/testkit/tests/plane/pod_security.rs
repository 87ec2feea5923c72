//! Pod security, as a client meets it.

use crate::support::{pod, start};
use testkit::json;

#[tokio::test]
async fn a_restricted_namespace_refuses_pods_and_warns_of_templates() {
    let (cluster, admin) = start().await;
    let strict = json!({"metadata": {"name": "strict", "labels": {"pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/enforce-version": "v1.35"}}});
    admin.create("/api/v1/namespaces", &strict).await;
    let space = "/api/v1/namespaces/strict";
    admin.until(&format!("{space}/serviceaccounts"), "default", |account| account.is_some()).await;
    let said = admin.post(&format!("{space}/pods"), &pod("web", json!({}))).await.refused(403, "Forbidden");
    let why = "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), \
        unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), \
        runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), \
        seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")";
    assert_eq!(said, format!("pods \"web\" is forbidden: violates PodSecurity \"restricted:v1.35\": {why}"));
    let deployment = json!({"metadata": {"name": "web"}, "spec": {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}},
    }});
    let made = admin.post("/apis/apps/v1/namespaces/strict/deployments", &deployment).await;
    made.expect(201);
    assert_eq!(made.warnings(), [format!("would violate PodSecurity \"restricted:v1.35\": {why}")]);
    // Its set says why there are no pods.
    let sets = "/apis/apps/v1/namespaces/strict/replicasets";
    let set = admin.count(sets, "app%3Dweb", 1).await;
    let name = set[0]["metadata"]["name"].as_str().unwrap();
    let failing =
        admin.until(sets, name, |set| set.is_some_and(|s| s["status"]["conditions"].is_array())).await.unwrap();
    let message = failing["status"]["conditions"][0]["message"].as_str().unwrap();
    assert!(message.contains("violates PodSecurity \"restricted:v1.35\""), "{message}");
    cluster.stop().await;
}

#[tokio::test]
async fn a_namespace_that_becomes_stricter_hears_of_its_pods() {
    let (cluster, admin) = start().await;
    admin.create("/api/v1/namespaces/default/pods", &pod("a", json!({}))).await;
    admin.create("/api/v1/namespaces/default/pods", &pod("b", json!({}))).await;
    let labels = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    let answer = admin.patch("/api/v1/namespaces/default", "merge", &labels).await;
    answer.expect(200);
    assert_eq!(
        answer.warnings(),
        [
            "existing pods in namespace \"default\" violate the new PodSecurity enforce level \"restricted:latest\"",
            "a (and 1 other pod): allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile",
        ]
    );
    let wrong = json!({"metadata": {"labels": {"pod-security.kubernetes.io/warn": "strict"}}});
    let said = admin.patch("/api/v1/namespaces/default", "merge", &wrong).await.refused(422, "Invalid");
    assert!(said.contains("must be one of privileged, baseline, restricted"), "{said}");
    cluster.stop().await;
}
