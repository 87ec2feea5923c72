//! `[sig-scheduling] LimitRange`.

use crate::support::{DEFAULT, PODS, pod, start};
use testkit::{Value, json};

fn list(cpu: &str, memory: &str, storage: &str) -> Value {
    let mut all = json!({});
    for (name, amount) in [("cpu", cpu), ("memory", memory), ("ephemeral-storage", storage)] {
        if !amount.is_empty() {
            all[name] = json!(amount);
        }
    }
    all
}

#[tokio::test]
async fn should_create_a_limit_range_with_defaults_and_ensure_pod_has_those_defaults_applied() {
    let (cluster, admin) = start().await;
    let ranges = format!("{DEFAULT}/limitranges");
    let most = list("500m", "500Mi", "500Gi");
    let range = json!({"metadata": {"name": "range"}, "spec": {"limits": [{
        "type": "Container", "min": list("50m", "100Mi", "100Gi"), "max": most,
        "default": most, "defaultRequest": list("100m", "200Mi", "200Gi"),
    }]}});
    admin.create(&ranges, &range).await;
    let resources = |pod: &Value| pod["spec"]["containers"][0]["resources"].clone();
    let bare = admin.create(PODS, &pod("bare", json!({}))).await;
    assert_eq!(resources(&bare), json!({"requests": list("100m", "200Mi", "200Gi"), "limits": most}));
    let partial = json!({"requests": list("", "150Mi", "150Gi"), "limits": list("300m", "", "")});
    let partial = admin.create(PODS, &pod("partial", partial)).await;
    let want = json!({"requests": list("300m", "150Mi", "150Gi"), "limits": list("300m", "500Mi", "500Gi")});
    assert_eq!(resources(&partial), want);
    let little = pod("little", json!({"requests": list("10m", "50Mi", "50Gi")}));
    let said = admin.post(PODS, &little).await.refused(403, "Forbidden");
    assert!(said.contains("minimum cpu usage per Container is 50m, but request is 10m"), "{said}");
    let much = pod("much", json!({"requests": list("600m", "600Mi", "600Gi")}));
    assert_eq!(admin.post(PODS, &much).await.code, 422, "a request beyond the default limit");
    let lower = json!([{"op": "replace", "path": "/spec/limits/0/min", "value": list("9m", "49Mi", "49Gi")}]);
    admin.patch(&format!("{ranges}/range"), "json", &lower).await.expect(200);
    admin.create(PODS, &little).await;
    admin.delete(&format!("{ranges}/range"), &json!({"gracePeriodSeconds": 30})).await.expect(200);
    admin.create(PODS, &much).await;
    cluster.stop().await;
}
