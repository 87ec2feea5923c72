//! Dynamic resource allocation: the verbs of its kinds; no driver and no device.

use crate::{
    operations::Operations,
    scene::{Scene, scenarios},
};
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice};
use testkit::{Value, json};

scenarios! {
    "[sig-node] [DRA] CRUD Tests resource.k8s.io/v1 DeviceClass [Conformance]" => classes,
    "[sig-node] [DRA] CRUD Tests resource.k8s.io/v1 ResourceClaim [Conformance]" => claims,
    "[sig-node] [DRA] CRUD Tests resource.k8s.io/v1 ResourceClaimTemplate [Conformance]" => templates,
    "[sig-node] [DRA] CRUD Tests resource.k8s.io/v1 ResourceSlice [Conformance]" => slices,
}

async fn classes(scene: Scene) {
    // None of them matches a device.
    let selecting = |expression: &str| json!({"spec": {"selectors": [{"cel": {"expression": expression}}]}});
    Operations::<DeviceClass>::cluster(&scene, |_| selecting("false"))
        .changing(selecting("1 == 0"), selecting("2 == 0"))
        .all()
        .await;
}

/// What is claimed does not change; what was given for it does, and nothing at all may be given.
async fn claims(scene: Scene) {
    Operations::<ResourceClaim>::namespaced(&scene, |_| json!({"spec": claim()}))
        .with_status(json!({"allocation": {}}), json!({"allocation": null}))
        .all()
        .await;
}

async fn templates(scene: Scene) {
    Operations::<ResourceClaimTemplate>::namespaced(&scene, |_| json!({"spec": {"spec": claim()}})).all().await;
}

fn claim() -> Value {
    json!({"devices": {"requests": [{"name": "req-0", "exactly": {"deviceClassName": "dra.example.com"}}]}})
}

async fn slices(scene: Scene) {
    let devices = |name: &str| json!({"spec": {"devices": [{"name": name}]}});
    Operations::<ResourceSlice>::cluster(&scene, |_| {
        let pool = json!({"name": "cluster", "generation": 1, "resourceSliceCount": 1});
        json!({"spec": {"driver": "dra.example.com", "pool": pool, "nodeName": "no-such-node"}})
    })
    .changing(devices("device-0"), devices("device-1"))
    .all()
    .await;
}
