//! `[sig-api-machinery] OrderedNamespaceDeletion`.

use crate::support::{pod, start};
use testkit::{Value, json};

#[tokio::test]
async fn namespace_deletion_should_delete_pod_first() {
    let (cluster, admin) = start().await;
    let shop = "/api/v1/namespaces/shop";
    admin.create("/api/v1/namespaces", &json!({"metadata": {"name": "shop"}})).await;
    admin.until(&format!("{shop}/serviceaccounts"), "default", |account| account.is_some()).await;
    let mut held = pod("held", json!({}));
    held["metadata"]["finalizers"] = json!(["e2e.example.com/finalizer"]);
    admin.create(&format!("{shop}/pods"), &held).await;
    admin.create(&format!("{shop}/configmaps"), &json!({"metadata": {"name": "late"}})).await;
    admin.delete(shop, &Value::Null).await.expect(200);
    let of = |namespace: &Value, kind: &str| {
        let conditions = namespace["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().find(|c| c["type"] == kind)
    };
    let seen = |namespace: &Value| of(namespace, "NamespaceContentRemaining").is_some_and(|c| c["status"] == "True");
    let waiting = admin.until("/api/v1/namespaces", "shop", |n| n.is_some_and(seen)).await.unwrap();
    assert_eq!(
        of(&waiting, "NamespaceContentRemaining").unwrap()["message"],
        "Some resources are remaining: pods. has 1 resource instances"
    );
    assert_eq!(of(&waiting, "NamespaceDeletionContentFailure").unwrap()["status"], "False");
    admin.get(&format!("{shop}/configmaps/late")).await.expect(200);
    let going = admin.get(&format!("{shop}/pods/held")).await.expect(200);
    assert!(going["metadata"]["deletionTimestamp"].is_string(), "{going}");
    let free = json!({"metadata": {"finalizers": null}});
    admin.patch(&format!("{shop}/pods/held"), "merge", &free).await.expect(200);
    admin.until("/api/v1/namespaces", "shop", |namespace| namespace.is_none()).await;
    cluster.stop().await;
}
