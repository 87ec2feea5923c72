//! Tokens in projected volumes are replaced before they expire.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_projected_token_is_replaced_when_it_is_due() {
    let node = TestNode::start();
    let token = json!({"serviceAccountToken": {"path": "token", "expirationSeconds": 600}});
    node.create(
        "web",
        json!({
            "containers": [{"name": "a", "image": "run", "volumeMounts": [{"name": "t", "mountPath": "/t"}]}],
            "volumes": [{"name": "t", "projected": {"sources": [token]}}],
        }),
    );
    node.until("web", "ready", |pod| condition(pod, "Ready") == "True").await;
    let mounts = node.cri.container("a").unwrap().1.mounts;
    let volume = mounts.iter().find(|m| m.container_path == "/t").unwrap();
    let file = std::path::Path::new(&volume.host_path).join("token");
    let read = || std::fs::read_to_string(&file).unwrap();
    let first = read();
    assert!(first.starts_with("token-"), "{first}");
    // Nothing happens to the pod: the token's own time makes the kubelet look.
    for _ in 0..2000 {
        let now = read();
        if now != first {
            assert_eq!((first.as_str(), now.as_str()), ("token-1", "token-2"));
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("still {first}");
}
