//! What one container may use, and uses where it does not say.

use crate::{
    quota::{create, exceeded, pod},
    scene::{Scene, Watching, object, refused, scenarios},
};
use k8s_openapi::api::core::v1::{LimitRange, Pod, ResourceRequirements};
use kube::api::{DeleteParams, ListParams, PostParams, WatchParams};
use testkit::{Value, json};

scenarios! {
    "[sig-scheduling] LimitRange should create a LimitRange with defaults and ensure pod has those defaults applied. [Conformance]"
        => limits,
}

async fn limits(scene: Scene) {
    let list = |cpu: &str, memory: &str, storage: &str| -> Value {
        let named = [("cpu", cpu), ("memory", memory), ("ephemeral-storage", storage)];
        named
            .into_iter()
            .filter(|(_, amount)| !amount.is_empty())
            .map(|(name, amount)| (name.to_string(), json!(amount)))
            .collect()
    };
    let ranges = scene.api::<LimitRange>();
    let mut watch = Watching::open(&ranges, &WatchParams::default().labels("limits=these"), "").await;
    let (most, usual) = (list("500m", "500Mi", "500Gi"), list("100m", "200Mi", "200Gi"));
    let range = json!({"metadata": {"name": "range", "labels": {"limits": "these"}}, "spec": {"limits": [{
        "type": "Container", "min": list("50m", "100Mi", "100Gi"), "max": most, "default": most, "defaultRequest": usual,
    }]}});
    let made = create::<LimitRange>(&scene, range).await.expect("a range");
    assert_eq!(watch.expect("ADDED").await, made);
    let mut there = ranges.get("range").await.expect("there");
    let said = json!(there.spec.as_ref().expect("a spec").limits[0]);
    assert_eq!((&said["default"], &said["defaultRequest"]), (&most, &usual));

    // Whether a pod was accepted, and what its container may use then.
    let pods = scene.api::<Pod>();
    let resources = async |name: &str, asked: Value| {
        create::<Pod>(&scene, pod(name, asked)).await.expect("a pod");
        let spec = pods.get(name).await.expect("there").spec.expect("a spec");
        json!(spec.containers[0].resources.as_ref().map(|r: &ResourceRequirements| json!([r.requests, r.limits])))
    };
    assert_eq!(resources("bare", json!({})).await, json!([usual, most]));
    // Where a limit is given, it is the request; defaults fill what is left.
    let partial = json!({"requests": list("", "150Mi", "150Gi"), "limits": list("300m", "", "")});
    let want = json!([list("300m", "150Mi", "150Gi"), list("300m", "500Mi", "500Gi")]);
    assert_eq!(resources("partial", partial).await, want);

    let little = json!({"requests": list("10m", "50Mi", "50Gi")});
    exceeded(
        create::<Pod>(&scene, pod("little", little.clone())).await,
        "minimum cpu usage per Container is 50m, but request is 10m",
    );
    let much = json!({"requests": list("600m", "600Mi", "600Gi")});
    refused(create::<Pod>(&scene, pod("much", much.clone())).await, 422, "Invalid");

    let lower = list("9m", "49Mi", "49Gi");
    there.spec.as_mut().expect("a spec").limits[0].min = Some(object(lower.clone()));
    ranges.replace("range", &PostParams::default(), &there).await.expect("replaced");
    assert_eq!(json!(ranges.get("range").await.expect("there").spec)["limits"][0]["min"], lower);
    assert_eq!(resources("little", little).await[0], list("10m", "50Mi", "50Gi"));
    refused(create::<Pod>(&scene, pod("much", much.clone())).await, 422, "Invalid");

    ranges.delete("range", &DeleteParams::default().grace_period(30)).await.expect("deleted");
    assert!(ranges.list(&ListParams::default()).await.expect("a list").items.is_empty());
    assert_eq!(resources("much", much).await[0], list("600m", "600Mi", "600Gi"));
}
