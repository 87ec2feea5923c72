//! `[sig-apps] DisruptionController`, without nodes: the status of budgets, and what evictions make of it.

use crate::support::{CONTROLLERS, PODS, controller, start};
use testkit::{Caller, Value, json};

const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

async fn ready(admin: &Caller, pods: &[Value]) {
    for pod in pods {
        let path = format!("{PODS}/{}/status", pod["metadata"]["name"].as_str().unwrap());
        let ready = json!({"status": {"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
        admin.patch(&path, "merge", &ready).await.expect(200);
    }
}

/// Waits for these counts: allowed, healthy, desired, expected.
async fn counts(admin: &Caller, want: [i64; 4]) -> Value {
    let fields = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
    let same = |budget: &Value| {
        let status = &budget["status"];
        let observed = status["observedGeneration"] == budget["metadata"]["generation"];
        observed && fields.map(|field| status[field].as_i64().unwrap_or(-1)) == want
    };
    admin.until(BUDGETS, "web", |budget| budget.is_some_and(same)).await.unwrap()
}

#[tokio::test]
async fn evictions_take_what_the_budget_has() {
    let (cluster, admin) = start().await;
    let budget = json!({"metadata": {"name": "web"}, "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
    admin.create(BUDGETS, &budget).await;
    let none = counts(&admin, [0, 0, 0, 0]).await;
    let condition = &none["status"]["conditions"][0];
    assert_eq!((&condition["type"], &condition["reason"]), (&json!("DisruptionAllowed"), &json!("InsufficientPods")));
    admin.create(CONTROLLERS, &controller("web", 3)).await;
    let pods = admin.count(PODS, "app%3Dweb", 3).await;
    counts(&admin, [0, 0, 2, 3]).await;
    ready(&admin, &pods).await;
    let sound = counts(&admin, [1, 3, 2, 3]).await;
    assert_eq!(sound["status"]["conditions"][0]["status"], "True");
    let evict = async |pod: &Value| {
        let name = pod["metadata"]["name"].as_str().unwrap();
        let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
        admin.post(&format!("{PODS}/{name}/eviction"), &body).await
    };
    assert_eq!(evict(&pods[0]).await.code, 201);
    let said = evict(&pods[1]).await.expect(429);
    assert_eq!(said["message"], "Cannot evict pod as it would violate the pod's disruption budget.");
    // The controller makes another; when that is ready, the next may go.
    counts(&admin, [0, 2, 2, 3]).await;
    let pods = admin.count(PODS, "app%3Dweb", 3).await;
    ready(&admin, &pods).await;
    counts(&admin, [1, 3, 2, 3]).await;
    let share = json!({"spec": {"maxUnavailable": null, "minAvailable": "100%"}});
    admin.patch(&format!("{BUDGETS}/web"), "merge", &share).await.expect(200);
    counts(&admin, [0, 3, 3, 3]).await;
    cluster.stop().await;
}
