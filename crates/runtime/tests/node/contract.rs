//! The seam's own suite on this implementation.

use std::sync::Arc;

#[tokio::test(flavor = "multi_thread")]
async fn the_runtime_keeps_the_contract() {
    let node = crate::common::Node::new().await;
    let subject = cri::contract::Subject {
        runtime: Arc::new(node.rt().clone()),
        image: crate::common::IMAGE.into(),
        logs: node.root.join("logs"),
        name: "suite".into(),
    };
    cri::contract::all(&subject).await;
    assert_eq!(node.leftovers(), Vec::<String>::new());
}
