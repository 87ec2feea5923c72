//! What is said of pods before any node has them.

use crate::scene::{IMAGE, Scene, object, refused, scenarios, until};
use k8s_openapi::api::{core::v1::Pod, node::v1::RuntimeClass};
use kube::api::{DeleteParams, PostParams};
use testkit::{Value, json};

scenarios! {
    "[sig-node] RuntimeClass should reject a Pod requesting a non-existent RuntimeClass [NodeConformance] [Conformance]"
        => of_no_class,
    "[sig-node] RuntimeClass should reject a Pod requesting a deleted RuntimeClass [NodeConformance] [Conformance]"
        => of_a_class_that_is_gone,
    "[sig-node] Sysctls [LinuxOnly] [NodeConformance] should reject invalid sysctls [Conformance]"
        => sysctls,
    "[sig-node] Pods Extended Pods Set QOS Class should be set on Pods with matching resource requests and limits for memory and cpu [Conformance]"
        => quality_of_service,
}

async fn of_no_class(scene: Scene) {
    let class = scene.own("nonexistent");
    let said = refused(classed(&scene, &class).await, 403, "Forbidden");
    assert!(said.ends_with(&format!("pod rejected: RuntimeClass \"{class}\" not found")), "{said}");
}

async fn of_a_class_that_is_gone(scene: Scene) {
    let (classes, class) = (scene.all::<RuntimeClass>(), scene.own("delete-me"));
    let made = object(json!({"metadata": {"name": class}, "handler": "runc"}));
    classes.create(&PostParams::default(), &made).await.expect("created");
    classed(&scene, &class).await.expect("accepted");
    classes.delete(&class, &DeleteParams::default()).await.expect("deleted");
    until(&classes, &class, |class| class.is_none()).await;
    refused(classed(&scene, &class).await, 403, "Forbidden");
}

/// Whether a pod of that class would be accepted.
async fn classed(scene: &Scene, class: &str) -> kube::Result<Pod> {
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    scene.api().create(&dry, &pod(json!({"runtimeClassName": class}), json!({}))).await
}

async fn sysctls(scene: Scene) {
    let sysctls =
        ["foo-", "kernel.shmmax", "safe-and-unsafe", "bar.."].map(|name| json!({"name": name, "value": "42"}));
    let pod = pod(json!({"securityContext": {"sysctls": sysctls}}), json!({}));
    let said = refused(scene.api::<Pod>().create(&PostParams::default(), &pod).await, 422, "Invalid");
    for (name, wrong) in [("foo-", true), ("kernel.shmmax", false), ("safe-and-unsafe", false), ("bar..", true)] {
        assert_eq!(said.contains(&format!("Invalid value: \"{name}\"")), wrong, "{said}");
        assert_eq!(said.contains(name), wrong, "{said}");
    }
}

async fn quality_of_service(scene: Scene) {
    let all = json!({"cpu": "100m", "memory": "100Mi"});
    for (class, resources) in [
        ("Guaranteed", json!({"requests": all, "limits": all})),
        ("Burstable", json!({"requests": {"cpu": "50m", "memory": "100Mi"}, "limits": all})),
        ("BestEffort", json!({})),
    ] {
        let made: Pod = scene.api().create(&PostParams::default(), &pod(json!({}), resources)).await.expect("created");
        let read = scene.api::<Pod>().get(made.metadata.name.as_deref().expect("a name")).await.expect("read");
        assert_eq!(read.status.and_then(|status| status.qos_class).as_deref(), Some(class));
    }
}

fn pod(more: Value, resources: Value) -> Pod {
    let mut spec = json!({"containers": [{"name": "c", "image": IMAGE, "resources": resources}]});
    crate::operations::merge(&mut spec, &more);
    object(json!({"metadata": {"generateName": "pod-"}, "spec": spec}))
}
