//! Images that cannot be had, and the status as people and controllers read it.

use crate::scenes::{IMAGE, Scene, always, condition, container, once, ready, scenarios, sh, wait, with};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

scenarios! {
    "an image that is not there: ErrImagePull, then ImagePullBackOff" => no_image,
    "imagePullPolicy Never and no image: ErrImageNeverPull" => never,
    "an image name that is none: InvalidImageName" => invalid_name,
    "[sig-node] Pods should get a host IP [NodeConformance] [Conformance]" => running,
    "the status of a pod that has ended" => ended,
    "[sig-node] Pods Extended Pods Set QOS Class should be set on Pods with matching resource requests and limits for memory and cpu [Conformance]"
        => qos,
    "[sig-node] Pods should be submitted and removed [NodeConformance] [Conformance]" => removed,
    "[sig-node] Pods should be updated [NodeConformance] [Conformance]" => updated,
    "[sig-node] Pods should allow activeDeadlineSeconds to be updated [NodeConformance] [Conformance]" => deadline,
    "a container whose image is changed runs anew" => new_image,
    "a changed image restarts its container under any restart policy" => new_image_never,
    "ports of the node that are taken: the second pod waits" => host_port,
}

/// Waits until the container waits for this reason; returns the message.
async fn waits(scene: &Scene, name: &str, reason: &str) -> String {
    scene
        .until(name, reason, |pod| {
            let waiting = &container(pod, "c")["state"]["waiting"];
            (waiting["reason"] == reason).then(|| waiting["message"].as_str().unwrap_or_default().to_string())
        })
        .await
}

async fn no_image(scene: Scene) {
    // Nobody listens on that port of the loopback.
    let image = "127.0.0.1:1/none:1";
    scene.pod("p", always(with(sh("true"), json!({"image": image})))).await;
    let message = waits(&scene, "p", "ErrImagePull").await;
    assert!(message.starts_with(&format!("failed to pull and unpack image {image:?}: ")), "{message}");
    let again = waits(&scene, "p", "ImagePullBackOff").await;
    assert_eq!(again, format!("Back-off pulling image {image:?}: ErrImagePull: {message}"));
    let pod = scene.get("p").await;
    assert_eq!((&pod["status"]["phase"], &container(&pod, "c")["imageID"]), (&json!("Pending"), &json!("")));
    wait("its events", async || {
        let events = scene.events().await;
        let all = [
            format!("p Pulling: Pulling image {image:?}"),
            format!("p Failed: Failed to pull image {image:?}: "),
            "p Failed: Error: ErrImagePull".to_string(),
            format!("p BackOff: Back-off pulling image {image:?}"),
        ];
        all.iter().all(|want| events.iter().any(|e| e.starts_with(want))).then_some(())
    })
    .await;
    // An image that is there heals it.
    let patch = json!({"spec": {"containers": [with(sh("sleep 1000"), json!({"image": IMAGE}))]}});
    let fix = json!([{"op": "replace", "path": "/spec/containers/0/image", "value": patch["spec"]["containers"][0]["image"]}]);
    let fix = kube::api::Patch::Json::<()>(serde_json::from_value(fix).expect("a patch"));
    scene.api::<Pod>().patch("p", &Default::default(), &fix).await.expect("a patch");
    scene.until("p", "its run", |pod| container(pod, "c")["containerID"].is_string().then_some(())).await;
}

async fn never(scene: Scene) {
    let image = "none.local/none:1";
    scene.pod("p", always(with(sh("true"), json!({"image": image, "imagePullPolicy": "Never"})))).await;
    let message = waits(&scene, "p", "ErrImageNeverPull").await;
    assert_eq!(message, format!("Container image {image:?} is not present with pull policy of Never"));
}

async fn invalid_name(scene: Scene) {
    let image = "Not/An*Image";
    scene.pod("p", always(with(sh("true"), json!({"image": image})))).await;
    let message = waits(&scene, "p", "InvalidImageName").await;
    assert!(message.contains(image), "{message}");
    // Nobody was asked for it.
    let events = wait("its events", async || {
        let events = scene.events().await;
        events.iter().any(|e| e == "p Failed: Error: InvalidImageName").then_some(events)
    })
    .await;
    let inspected = format!("p InspectFailed: Failed to apply default image tag {image:?}: couldn't parse image name");
    assert!(events.iter().any(|e| e.starts_with(&inspected)), "{events:?}");
    assert!(!events.iter().any(|e| e.starts_with("p Pulling")), "{events:?}");
}

async fn running(scene: Scene) {
    let pod = scene.ready("p", always(sh("sleep 1000"))).await;
    let status = &pod["status"];
    assert_eq!((&status["phase"], &status["qosClass"]), (&json!("Running"), &json!("BestEffort")));
    let kinds = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
    for kind in kinds {
        let found = condition(&pod, kind);
        assert_eq!(found["status"], "True", "{kind}: {found}");
        assert!(found["lastTransitionTime"].is_string(), "{kind}: {found}");
        assert_eq!((found.get("reason"), found.get("message")), (None, None), "{kind}");
    }
    assert_eq!(status["conditions"].as_array().map(Vec::len), Some(kinds.len()));
    let ip = |field: &str| status[field].as_str().and_then(|ip| ip.parse::<std::net::IpAddr>().ok());
    assert!(ip("podIP").is_some() && ip("hostIP").is_some(), "{status}");
    assert_eq!((&status["podIPs"][0]["ip"], &status["hostIPs"][0]["ip"]), (&status["podIP"], &status["hostIP"]));
    assert!(status["startTime"].is_string(), "{status}");
    assert_eq!(status["observedGeneration"], 1, "{status}");
    let c = container(&pod, "c");
    assert!(c["containerID"].as_str().is_some_and(|id| id.starts_with("ferry://") && id.len() > 20), "{c}");
    assert_eq!(c["image"], IMAGE, "{c}");
    assert!(c["imageID"].as_str().is_some_and(|id| id.contains("sha256:")), "{c}");
    let seen = (&c["ready"], &c["started"], &c["restartCount"], &c["lastState"]);
    assert_eq!(seen, (&json!(true), &json!(true), &json!(0), &json!({})), "{c}");
    assert!(c["state"]["running"]["startedAt"].is_string(), "{c}");
    wait("its events", async || {
        let events = scene.events().await;
        let all = [
            "Scheduled: Successfully assigned",
            "Pulled: Container image",
            "Created: Container created",
            "Started: Container started",
        ];
        all.iter().all(|want| events.iter().any(|e| e.starts_with(&format!("p {want}")))).then_some(())
    })
    .await;
}

async fn ended(scene: Scene) {
    let pod = scene.run("good", once(sh("exit 0"))).await;
    assert_eq!(pod["status"]["phase"], "Succeeded");
    for (kind, status, reason) in [
        ("Initialized", "True", json!("PodCompleted")),
        ("Ready", "False", json!("PodCompleted")),
        ("ContainersReady", "False", json!("PodCompleted")),
        ("PodScheduled", "True", Value::Null),
    ] {
        let found = condition(&pod, kind);
        assert_eq!((&found["status"], &found["reason"]), (&json!(status), &reason), "{kind}");
    }
    let c = container(&pod, "c");
    let end = &c["state"]["terminated"];
    assert_eq!((&end["reason"], &end["exitCode"]), (&json!("Completed"), &json!(0)), "{c}");
    assert!(end["startedAt"].is_string() && end["finishedAt"].is_string(), "{c}");
    assert_eq!(end["containerID"], c["containerID"], "{c}");
    assert_eq!((&c["ready"], &c["started"]), (&json!(false), &json!(false)), "{c}");
    // The sandbox is gone, its address is remembered.
    let down = |pod: &Value| (condition(pod, "PodReadyToStartContainers")["status"] == "False").then(|| pod.clone());
    let pod = scene.until("good", "the sandbox's end", down).await;
    assert!(pod["status"]["podIP"].is_string());
    let pod = scene.run("bad", once(sh("kill -9 $$; exit 3"))).await;
    assert_eq!(pod["status"]["phase"], "Failed");
    assert_eq!(condition(&pod, "Ready")["reason"], "PodFailed");
    assert_eq!(container(&pod, "c")["state"]["terminated"]["reason"], "Error");
}

async fn qos(scene: Scene) {
    let both = json!({"cpu": "10m", "memory": "20Mi"});
    for (name, resources, want) in [
        ("best", json!({}), "BestEffort"),
        ("burst", json!({"requests": {"cpu": "10m"}}), "Burstable"),
        ("sure", json!({"requests": both, "limits": both}), "Guaranteed"),
        ("limits", json!({"limits": both}), "Guaranteed"),
    ] {
        let spec = once(with(sh("true"), json!({"resources": resources})));
        let pod = json!({"metadata": {"name": name}, "spec": spec});
        let made = serde_json::to_value(scene.make::<Pod>(pod).await).expect("JSON");
        assert_eq!(made["status"]["qosClass"], want, "{name}");
    }
}

async fn removed(scene: Scene) {
    let pods = scene.api::<Pod>();
    let labelled = kube::api::ListParams::default().labels("time=now");
    let pod = json!({"metadata": {"name": "p", "labels": {"time": "now"}}, "spec": always(sh("trap 'exit 0' TERM; while :; do sleep 0.1; done"))});
    scene.make::<Pod>(pod).await;
    scene.until("p", "Ready", |pod| ready(pod).then_some(())).await;
    assert_eq!(pods.list(&labelled).await.expect("pods").items.len(), 1);
    scene.delete("p", Default::default()).await;
    scene.gone("p").await;
    assert!(pods.list(&labelled).await.expect("pods").items.is_empty());
    let kill = "p Killing: Stopping container c".to_string();
    wait("an event", async || scene.events().await.contains(&kill).then_some(())).await;
    // The name is free again.
    scene.ready("p", always(sh("sleep 1000"))).await;
}

async fn updated(scene: Scene) {
    let pod = scene.ready("p", always(sh("sleep 1000"))).await;
    scene.merge::<Pod>("p", json!({"metadata": {"labels": {"time": "later"}}})).await;
    let after = scene.get("p").await;
    assert_eq!(after["metadata"]["labels"]["time"], "later");
    assert_eq!(container(&after, "c")["containerID"], container(&pod, "c")["containerID"]);
}

async fn deadline(scene: Scene) {
    scene.ready("p", with(always(sh("sleep 1000")), json!({"activeDeadlineSeconds": 1000}))).await;
    scene.merge::<Pod>("p", json!({"spec": {"activeDeadlineSeconds": 1}})).await;
    scene.until("p", "DeadlineExceeded", |pod| (pod["status"]["reason"] == "DeadlineExceeded").then_some(())).await;
}

async fn new_image(scene: Scene) {
    let pod = scene.ready("p", always(sh("sleep 1000"))).await;
    // The same image by its id is another name: the container is made anew.
    let id = container(&pod, "c")["imageID"].as_str().expect("an id").to_string();
    let other = id.split('@').next_back().unwrap_or(&id).to_string();
    let fix = json!([{"op": "replace", "path": "/spec/containers/0/image", "value": other}]);
    let fix = kube::api::Patch::Json::<()>(serde_json::from_value(fix).expect("a patch"));
    scene.api::<Pod>().patch("p", &Default::default(), &fix).await.expect("a patch");
    let pod = scene
        .until("p", "a new container", |pod| {
            let status = container(pod, "c");
            (status["restartCount"] == 1 && status["image"] == other.as_str() && ready(pod)).then(|| pod.clone())
        })
        .await;
    assert_eq!(pod["metadata"]["generation"], 2, "the binding does not count");
    wait("an event", async || {
        let want = "p Killing: Container c definition changed, will be restarted";
        scene.events().await.iter().any(|e| e == want).then_some(())
    })
    .await;
}

async fn new_image_never(scene: Scene) {
    for policy in ["Never", "OnFailure"] {
        let name = policy.to_lowercase();
        // It ends with 0 when it is asked to.
        let script = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
        let pod = scene.ready(&name, with(always(sh(script)), json!({"restartPolicy": policy}))).await;
        let id = container(&pod, "c")["imageID"].as_str().expect("an id").to_string();
        let other = id.split('@').next_back().unwrap_or(&id).to_string();
        let fix = json!([{"op": "replace", "path": "/spec/containers/0/image", "value": other}]);
        let fix = kube::api::Patch::Json::<()>(serde_json::from_value(fix).expect("a patch"));
        scene.api::<Pod>().patch(&name, &Default::default(), &fix).await.expect("a patch");
        scene
            .until(&name, "a new container", |pod| {
                let status = container(pod, "c");
                (status["restartCount"] == 1 && status["image"] == other.as_str() && ready(pod)).then_some(())
            })
            .await;
    }
}

async fn host_port(scene: Scene) {
    let ports = json!({"ports": [{"containerPort": 8080, "hostPort": 54321}], "command": ["httpd"]});
    let pod = scene.ready("one", always(with(sh(""), ports.clone()))).await;
    let node = pod["status"]["hostIP"].as_str().expect("an address").to_string();
    scene.pod("two", always(with(sh(""), ports))).await;
    let why = scene
        .until("two", "why it waits", |pod| {
            let found = condition(pod, "PodScheduled");
            (found["status"] == "False").then(|| found.clone())
        })
        .await;
    assert_eq!(why["reason"], "Unschedulable");
    let text = why["message"].as_str().unwrap_or_default();
    assert!(
        text.starts_with("0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."),
        "{text}"
    );
    // From the node itself and from a pod the port leads to the container.
    scene.ready("client", always(sh("sleep 1000"))).await;
    wait("the port", async || {
        (scene.exec("client", "c", &format!("wget -qO- http://{node}:54321/hostname")).await.out == "one\n")
            .then_some(())
    })
    .await;
    scene.delete("one", Default::default()).await;
    scene.until("two", "Ready", |pod| ready(pod).then_some(())).await;
}
