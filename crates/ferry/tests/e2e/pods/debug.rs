//! What joins a pod that runs, or comes beside it: ephemeral containers, images as volumes, and what a class asks for.

use crate::scenes::{IMAGE, Scene, always, condition, container, named, once, ready, scenarios, sh, wait, with};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{LogParams, Patch, PatchParams};
use serde_json::{Value, json};

scenarios! {
    "[sig-node] Ephemeral Containers [NodeConformance] will start an ephemeral container in an existing pod [Conformance]"
        => ephemeral,
    "[sig-node] Ephemeral Containers [NodeConformance] should update the ephemeral containers in an existing pod [Conformance]"
        => another,
    "an ephemeral container with a target sees that container's processes" => target,
    "[sig-node] ImageVolume should succeed with pod and pull policy of Always [LinuxOnly] [MinimumKubeletVersion:1.35] [Conformance]"
        => image_volume,
    "a RuntimeClass whose handler is not there keeps its pod from starting" => handler,
    "a setting of the kernel that is not safe is refused by the node" => unsafe_sysctl,
}

/// Adds ephemeral containers.
async fn debug(scene: &Scene, pod: &str, containers: Value) {
    let patch = json!({"spec": {"ephemeralContainers": containers}});
    let patched = scene
        .api::<Pod>()
        .patch_subresource("ephemeralcontainers", pod, &PatchParams::default(), &Patch::Strategic(&patch))
        .await;
    patched.unwrap_or_else(|e| panic!("{patch}: {e}"));
}

/// The status of an ephemeral container.
fn added<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let all = pod["status"]["ephemeralContainerStatuses"].as_array().into_iter().flatten();
    all.into_iter().find(|c| c["name"] == name).unwrap_or(&Value::Null)
}

async fn runs(scene: &Scene, pod: &str, name: &str) -> Value {
    scene.until(pod, "a debugger", |pod| added(pod, name)["state"].get("running").map(|_| pod.clone())).await
}

async fn ephemeral(scene: Scene) {
    let pod = scene.ready("p", always(sh("sleep 10000"))).await;
    assert_eq!(pod["metadata"]["generation"], 1);
    let polo = with(named("debugger", "while true; do echo polo; sleep 2; done"), json!({"stdin": true, "tty": true}));
    debug(&scene, "p", json!([polo])).await;
    let pod = runs(&scene, "p", "debugger").await;
    assert_eq!(pod["metadata"]["generation"], 2);
    assert_eq!(scene.exec("p", "debugger", "echo marco").await.out, "marco\n");
    let params = LogParams { container: Some("debugger".into()), ..Default::default() };
    wait("the log", async || scene.log("p", params.clone()).await.contains("polo").then_some(())).await;
    // The pod is what it was.
    let pod = scene.get("p").await;
    assert!(ready(&pod) && container(&pod, "c")["restartCount"] == 0, "{pod}");
    assert_eq!(added(&pod, "debugger").get("ready"), Some(&json!(false)));
}

async fn another(scene: Scene) {
    scene.ready("p", always(sh("sleep 10000"))).await;
    debug(&scene, "p", json!([named("one", "exit 7")])).await;
    scene.until("p", "its end", |pod| (added(pod, "one")["state"]["terminated"]["exitCode"] == 7).then_some(())).await;
    debug(&scene, "p", json!([named("two", "sleep 1000")])).await;
    let pod = runs(&scene, "p", "two").await;
    assert_eq!(pod["spec"]["ephemeralContainers"].as_array().map(Vec::len), Some(2));
    // The first one has run once.
    assert_eq!(added(&pod, "one")["restartCount"], 0);
    assert_eq!(pod["status"]["phase"], "Running");
}

async fn target(scene: Scene) {
    scene.ready("p", always(sh("sleep 4321"))).await;
    let plain = named("plain", "sleep 1000");
    debug(&scene, "p", json!([with(named("inside", "sleep 1000"), json!({"targetContainerName": "c"})), plain])).await;
    runs(&scene, "p", "inside").await;
    runs(&scene, "p", "plain").await;
    // The kernel ends every argument with a zero.
    let list = "cat /proc/[0-9]*/cmdline";
    assert!(scene.exec("p", "inside", list).await.out.contains("sleep\x004321"));
    assert!(!scene.exec("p", "plain", list).await.out.contains("sleep\x004321"));
}

async fn image_volume(scene: Scene) {
    let volume = json!({"volumes": [{"name": "i", "image": {"reference": IMAGE, "pullPolicy": "Always"}}]});
    let mounts = json!({"volumeMounts": [
        {"name": "i", "mountPath": "/image"}, {"name": "i", "mountPath": "/part", "subPath": "bin"}]});
    let script = "ls /image/bin | grep -c '^sh$'; ls /part | grep -c '^sh$'; \
        echo x 2>/dev/null >/image/x || echo read-only; /image/bin/true 2>/dev/null || echo no programs";
    let said = scene.output("p", with(once(with(sh(script), mounts)), volume)).await;
    assert_eq!(said, "1\n1\nread-only\nno programs\n");
    // An image that is not there keeps the container from starting, and says so.
    let none = json!({"volumes": [{"name": "i", "image": {"reference": "none.local/none:1", "pullPolicy": "Never"}}]});
    let mount = json!({"volumeMounts": [{"name": "i", "mountPath": "/image"}]});
    scene.pod("none", with(once(with(sh("true"), mount)), none)).await;
    let waits = |pod: &Value| (container(pod, "c")["state"]["waiting"]["reason"] == "ErrImageNeverPull").then_some(());
    scene.until("none", "why it waits", waits).await;
}

async fn handler(scene: Scene) {
    let classes: kube::Api<k8s_openapi::api::node::v1::RuntimeClass> = kube::Api::all(scene.client.clone());
    let name = format!("{}-class", scene.namespace);
    let class = json!({"metadata": {"name": name}, "handler": "test-handler"});
    let class = serde_json::from_value(class).expect("a class");
    classes.create(&Default::default(), &class).await.expect("a class");
    scene.pod("p", with(once(sh("true")), json!({"runtimeClassName": name}))).await;
    wait("an event", async || {
        let want =
            "p FailedCreatePodSandBox: Failed to create pod sandbox: no runtime for \"test-handler\" is configured";
        scene.events().await.iter().any(|e| e == want).then_some(())
    })
    .await;
    let pod = scene.get("p").await;
    assert_eq!(pod["status"]["phase"], "Pending");
    assert_eq!(condition(&pod, "PodScheduled")["status"], "True");
    classes.delete(&name, &Default::default()).await.expect("no class");
}

async fn unsafe_sysctl(scene: Scene) {
    let security = json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "65536"}]}});
    let pod = scene.run("p", with(once(sh("true")), security)).await;
    assert_eq!((&pod["status"]["phase"], &pod["status"]["reason"]), (&json!("Failed"), &json!("SysctlForbidden")));
    assert_eq!(pod["status"]["message"], "Pod was rejected: forbidden sysctl: \"kernel.msgmax\" not allowlisted");
    // Its log is not awaited: there will be none. The node may hear of the pod's end, which it told, after its client does.
    wait("that there is no log", async || {
        let refused = scene.api::<Pod>().logs("p", &LogParams::default()).await.expect_err("no log").to_string();
        refused.contains("container \"c\" in pod \"p\" is not available").then_some(())
    })
    .await;
}
