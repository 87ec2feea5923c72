//! Watches: where they begin, what they tell, and in which order.

use crate::scene::{Scene, Watching, object, scenarios};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, WatchParams};
use testkit::json;

scenarios! {
    "[sig-api-machinery] Watchers should be able to start watching from a specific resource version [Conformance]"
        => from_a_version,
}

async fn from_a_version(scene: Scene) {
    let maps = scene.api::<ConfigMap>();
    let map: ConfigMap = object(json!({"metadata": {"name": "watched", "labels": {"watch": "this"}}}));
    maps.create(&PostParams::default(), &map).await.expect("created");
    let patched = async |n: i64| {
        let patch = json!({"data": {"mutation": n.to_string()}});
        maps.patch("watched", &PatchParams::default(), &Patch::Merge(patch)).await.expect("patched")
    };
    let (first, second) = (patched(1).await, patched(2).await);
    maps.delete("watched", &DeleteParams::default()).await.expect("deleted");

    let from = first.metadata.resource_version.expect("a version");
    let mut watch = Watching::open(&maps, &WatchParams::default().labels("watch=this"), &from).await;
    assert_eq!(watch.expect("MODIFIED").await, second);
    assert_eq!(watch.expect("DELETED").await.data, second.data);
}
