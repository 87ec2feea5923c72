//! Pods whose sandbox dies under them.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_started_in_a_dead_sandbox() {
    let node = TestNode::start();
    let container = |name: &str| json!({"name": name, "image": "run", "imagePullPolicy": "IfNotPresent"});
    node.create("web", json!({"containers": [container("a"), container("b")]}));
    node.until("web", "ready", |pod| condition(pod, "Ready") == "True").await;
    node.cri.lose_sandboxes();
    let again = |pod: &Value| {
        let all = pod.items_at(&["status", "containerStatuses"]);
        condition(pod, "Ready") == "True" && all.iter().all(|c| c.at(&["restartCount"]).as_i64() == Some(1))
    };
    node.until("web", "ready again", again).await;
    let reasons: Vec<String> = node
        .api
        .statuses("web")
        .iter()
        .flat_map(|s| s.items_at(&["containerStatuses"]).to_vec())
        .map(|c| c.str_at(&["state", "waiting", "reason"]).to_string())
        .collect();
    assert!(!reasons.iter().any(|r| r == "CreateContainerError"), "{reasons:?}");
    let calls = node.cri.calls();
    let sandboxes: Vec<&String> = calls.iter().filter(|c| c.contains("sandbox")).collect();
    assert_eq!(sandboxes, ["sandbox web#0", "stop-sandbox", "remove-sandbox", "sandbox web#1"]);
    let changed = node.api.all("events").iter().filter(|e| e.str_at(&["reason"]) == "SandboxChanged").count();
    assert_eq!(changed, 1);
}
