//! What events say of the node, and of images that are none.

use super::*;

/// Waits until an event with that reason is stored; returns all of them as `Reason: message`.
async fn events_with(node: &TestNode, reason: &str) -> Vec<String> {
    for _ in 0..1500 {
        let events = node.api.all("events");
        if events.iter().any(|e| e.str_at(&["reason"]) == reason) {
            return events.iter().map(|e| format!("{}: {}", e.str_at(&["reason"]), e.str_at(&["message"]))).collect();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("no {reason}: {:?}", node.api.all("events"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_name_is_not_pulled() {
    let node = TestNode::start();
    for policy in ["Always", "IfNotPresent"] {
        let image = json!({"name": "a", "image": "Not/An*Image", "imagePullPolicy": policy});
        node.create(&policy.to_lowercase(), json!({"containers": [image]}));
        let pod = node
            .until(&policy.to_lowercase(), "invalid", |pod| {
                container(pod).str_at(&["state", "waiting", "reason"]) == "InvalidImageName"
            })
            .await;
        let why = "Failed to apply default image tag \"Not/An*Image\": couldn't parse image name \"Not/An*Image\": \
                   invalid reference format";
        assert_eq!(container(&pod).str_at(&["state", "waiting", "message"]), why);
        let events = events_with(&node, "Failed").await;
        assert!(events.contains(&format!("InspectFailed: {why}")), "{events:?}");
        assert!(events.contains(&"Failed: Error: InvalidImageName".to_string()), "{events:?}");
        assert!(!events.iter().any(|e| e.starts_with("Pulling")), "{events:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kubelet_says_that_it_starts() {
    let node = TestNode::start();
    let events = events_with(&node, "Starting").await;
    assert!(events.contains(&"Starting: Starting kubelet.".to_string()), "{events:?}");
    let event = node.api.all("events").into_iter().find(|e| e.str_at(&["reason"]) == "Starting").unwrap();
    assert_eq!(event.at(&["involvedObject"]).to_string(), r#"{"apiVersion":"v1","kind":"Node","name":"n1"}"#);
    assert_eq!((event.str_at(&["source", "component"]), event.str_at(&["type"])), ("kubelet", "Normal"));
}
