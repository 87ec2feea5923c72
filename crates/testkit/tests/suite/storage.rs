//! sig-storage: the verbs of its kinds, and what `immutable` says. Nothing is provisioned, bound or attached.

use crate::{
    operations::{Kind, Operations},
    scene::{Scene, object, refused, scenarios, until},
};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod, Secret},
        storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment, VolumeAttributesClass},
    },
};
use kube::{
    Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use testkit::{Value, json};

scenarios! {
    "[sig-storage] CSIInlineVolumes should run through the lifecycle of a CSIDriver [Conformance]"
        => drivers,
    "[sig-storage] CSIInlineVolumes should support CSIVolumeSource in Pod API [Conformance]"
        => inline_volumes,
    "[sig-storage] CSINodes CSI Conformance should run through the lifecycle of a csinode [Conformance]"
        => nodes,
    "[sig-storage] CSIStorageCapacity should support CSIStorageCapacities API operations [Conformance]"
        => capacities,
    "[sig-storage] ConfigMap should be immutable if `immutable` field is set [Conformance]"
        => immutable::<ConfigMap>,
    "[sig-storage] Secrets should be immutable if `immutable` field is set [Conformance]"
        => immutable::<Secret>,
    "[sig-storage] PersistentVolumes CSI Conformance should run through the lifecycle of a PV and a PVC [Conformance]"
        => volumes_and_claims,
    "[sig-storage] PersistentVolumes CSI Conformance should apply changes to a pv/pvc status [Conformance]"
        => status_of_volumes_and_claims,
    "[sig-storage] StorageClasses CSI Conformance should run through the lifecycle of a StorageClass [Conformance]"
        => classes,
    "[sig-storage] VolumeAttachment Conformance should run through the lifecycle of a VolumeAttachment [Conformance]"
        => attachments,
    "[sig-storage] VolumeAttachment Conformance should apply changes to a volumeattachment status [Conformance]"
        => status_of_attachments,
    "[sig-storage] VolumeAttributesClass [FeatureGate:VolumeAttributesClass] should run through the lifecycle of a VolumeAttributesClass [Conformance]"
        => attributes,
}

async fn drivers(scene: Scene) {
    let modes = [json!(["Ephemeral"]), json!(["Persistent", "Ephemeral"]), json!(["Persistent"])];
    Operations::<CSIDriver>::cluster(
        &scene,
        |n| json!({"spec": {"volumeLifecycleModes": modes[n], "fsGroupPolicy": "ReadWriteOnceWithFSType"}}),
    )
    .changing(json!({"spec": {"podInfoOnMount": true}}), json!({"spec": {"podInfoOnMount": false}}))
    .all()
    .await;
}

async fn inline_volumes(scene: Scene) {
    let pods = scene.api::<Pod>();
    let volumes = json!([
        {"name": "one", "csi": {"driver": "e2e.example.com"}},
        {"name": "two", "csi": {"driver": "e2e.example.com", "fsType": "ext4", "readOnly": true}},
    ]);
    let mounts = json!([{"name": "one", "mountPath": "/mnt/1"}, {"name": "two", "mountPath": "/mnt/2"}]);
    let container = json!({"name": "c", "image": crate::scene::IMAGE, "volumeMounts": mounts});
    let pod: Pod =
        object(json!({"metadata": {"name": "inline"}, "spec": {"volumes": volumes, "containers": [container]}}));
    let made = pods.create(&PostParams::default(), &pod).await.expect("created");
    refused(pods.create(&PostParams::default(), &pod).await, 409, "AlreadyExists");
    let read = pods.get("inline").await.expect("read");
    assert_eq!(read.uid(), made.uid());
    // The third is the account's token.
    assert_eq!(json!(read)["spec"]["volumes"].as_array().map(|all| json!(all[..2])), Some(volumes));
    assert_eq!(pods.list(&ListParams::default()).await.expect("a list").items.len(), 1);
    let patch = Patch::Merge(json!({"metadata": {"annotations": {"patched": "true"}}}));
    let patched = pods.patch("inline", &PatchParams::default(), &patch).await.expect("patched");
    assert_eq!(patched.annotations()["patched"], "true");
    pods.delete("inline", &DeleteParams::default()).await.expect("deleted");
    until(&pods, "inline", |pod| pod.is_none_or(|pod| pod.meta().deletion_timestamp.is_some())).await;
}

async fn nodes(scene: Scene) {
    let drivers = |id: &str| json!({"spec": {"drivers": [{"name": "csi.example.com", "nodeID": id}]}});
    Operations::<CSINode>::cluster(&scene, |_| json!({"spec": {"drivers": []}}))
        .changing(drivers("one"), json!({}))
        .all()
        .await;
}

async fn capacities(scene: Scene) {
    let room = |size: &str| json!({"capacity": size});
    Operations::<CSIStorageCapacity>::namespaced(&scene, |_| json!({"storageClassName": "e2e.example.com"}))
        .changing(room("1Gi"), room("2Gi"))
        .all()
        .await;
}

/// What says so once keeps its data for good; the rest of it may change, and it may go.
async fn immutable<K>(scene: Scene)
where
    K: Kind + Resource<Scope = NamespaceResourceScope>,
{
    let api = scene.api::<K>();
    let replace = async |with: Value| {
        let mut value = json!(api.get("immutable").await.expect("read"));
        crate::operations::merge(&mut value, &with);
        api.replace("immutable", &PostParams::default(), &object(value)).await
    };
    // Text of a ConfigMap, and base64 of a Secret.
    let made = json!({"metadata": {"name": "immutable"}, "data": {"data-1": "MTEx", "data-2": "MjIy"}});
    api.create(&PostParams::default(), &object(made)).await.expect("created");
    replace(json!({"data": {"data-4": "NDQ0"}})).await.expect("still changing");
    replace(json!({"immutable": true})).await.expect("fixed");
    for more in [json!({"data": {"data-5": "NTU1"}}), json!({"data": {"data-1": null}}), json!({"immutable": false})] {
        let said = refused(replace(more).await, 422, "Invalid");
        assert!(said.contains("field is immutable when `immutable` is set"), "{said}");
    }
    let labelled = replace(json!({"metadata": {"labels": {"label1": "value1"}}})).await.expect("metadata change");
    assert_eq!(json!(labelled)["data"], json!({"data-1": "MTEx", "data-2": "MjIy", "data-4": "NDQ0"}));
    assert_eq!(json!(labelled)["immutable"], true);
    api.delete("immutable", &DeleteParams::default()).await.expect("deleted");
    refused(api.get("immutable").await, 404, "NotFound");
}

async fn volumes_and_claims(scene: Scene) {
    volumes(&scene).lifecycle().await;
    claims(&scene).lifecycle().await;
}

async fn status_of_volumes_and_claims(scene: Scene) {
    let volume = volumes(&scene).create(0).await.status.and_then(|status| status.phase);
    assert!(matches!(volume.as_deref(), Some("Pending" | "Available" | "Bound")), "{volume:?}");
    let claim = claims(&scene).create(0).await.status.and_then(|status| status.phase);
    assert!(matches!(claim.as_deref(), Some("Pending" | "Bound")), "{claim:?}");
    let state = |reason: &str| json!({"message": format!("because of {reason}"), "reason": reason});
    volumes(&scene).with_status(state("Patch"), state("Update")).status().await;
    let condition = |kind: &str| json!({"conditions": [{"type": kind, "status": "True", "reason": "Spec", "message": "by a test"}]});
    claims(&scene).with_status(condition("StatusPatched"), condition("StatusUpdated")).status().await;
}

fn volumes(scene: &Scene) -> Operations<PersistentVolume> {
    Operations::cluster(scene, |_| {
        json!({"spec": {
            "capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": scene.namespace,
            "persistentVolumeReclaimPolicy": "Retain",
            "csi": {"driver": "csi.example.com", "volumeHandle": "e2e-conformance"},
        }})
    })
}

fn claims(scene: &Scene) -> Operations<PersistentVolumeClaim> {
    Operations::namespaced(scene, |_| {
        json!({"spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": scene.namespace,
            "resources": {"requests": {"storage": "2Gi"}},
        }})
    })
}

async fn classes(scene: Scene) {
    let expansion = |allowed: bool| json!({"allowVolumeExpansion": allowed});
    Operations::<StorageClass>::cluster(&scene, |_| json!({"provisioner": "e2e-fake-provisioner"}))
        .changing(expansion(true), expansion(false))
        .all()
        .await;
}

async fn attachments(scene: Scene) {
    attached(&scene).lifecycle().await;
}

async fn status_of_attachments(scene: Scene) {
    let made = attached(&scene).create(0).await;
    assert_eq!(made.status.map(|status| status.attached), Some(false));
    attached(&scene).with_status(json!({"attached": true}), json!({"attached": false})).status().await;
}

fn attached(scene: &Scene) -> Operations<VolumeAttachment> {
    Operations::cluster(scene, |n| {
        json!({"spec": {
            "attacher": "e2e-test.storage.k8s.io", "nodeName": "some-node",
            "source": {"persistentVolumeName": format!("volume-{n}")},
        }})
    })
}

async fn attributes(scene: Scene) {
    Operations::<VolumeAttributesClass>::cluster(
        &scene,
        |_| json!({"driverName": "e2e-fake-csi-driver", "parameters": {"foo": "bar"}}),
    )
    .all()
    .await;
}
