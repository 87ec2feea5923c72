//! A quota under writers that come at once. What quotas count is told by `suite/quota.rs`.

use crate::support::{DEFAULT, start};
use testkit::{Value, json};

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";

#[tokio::test]
async fn room_for_one_is_given_to_one() {
    let (cluster, admin) = start().await;
    admin.create(QUOTAS, &json!({"metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "4"}}})).await;
    let used = async |count: &str| {
        let same = |quota: &Value| quota["status"]["used"]["configmaps"] == count;
        admin.until(QUOTAS, "q", |quota| quota.is_some_and(same)).await;
    };
    used("1").await;
    let maps = format!("{DEFAULT}/configmaps");
    let tries = (0..12).map(|i| {
        let (admin, maps) = (&admin, &maps);
        async move { admin.post(maps, &json!({"metadata": {"name": format!("m{i}")}})).await.code }
    });
    let mut codes = futures::future::join_all(tries).await;
    codes.sort_unstable();
    assert_eq!(codes, [vec![201; 3], vec![403; 9]].concat());
    used("4").await;
    // A dry run costs nothing, and is refused like any other; so is a write that fails for another reason.
    admin.delete(&format!("{maps}/kube-root-ca.crt"), &Value::Null).await.expect(200);
    used("4").await;
    let dry = admin.post(&format!("{maps}?dryRun=All"), &json!({"metadata": {"name": "dry"}})).await;
    let said = dry.refused(403, "Forbidden");
    assert!(said.contains("exceeded quota: q"), "{said}");
    cluster.stop().await;
}
