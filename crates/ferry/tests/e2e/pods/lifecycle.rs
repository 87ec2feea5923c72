//! Init containers, sidecars, restart policies, back-off, exit codes and termination messages.

use crate::scenes::{Scene, always, condition, container, named, once, ready, scenarios, sh, with};
use serde_json::json;

scenarios! {
    "[sig-node] InitContainer [NodeConformance] should invoke init containers on a RestartNever pod [Conformance]"
        => init_in_order,
    "[sig-node] InitContainer [NodeConformance] should not start app containers and fail the pod if init containers fail on a RestartNever pod [Conformance]"
        => init_fails_never,
    "[sig-node] InitContainer [NodeConformance] should not start app containers if init containers fail on a RestartAlways pod [Conformance]"
        => init_fails_always,
    "a sidecar starts before the containers, runs beside them and ends after them" => sidecar,
    "[sig-node] Container Runtime blackbox test when starting a container that exits should run with the expected status [NodeConformance] [Conformance]"
        => expected_status,
    "a container that crashes again waits in CrashLoopBackOff and shows its last state" => crash_loop,
    "[sig-node] Kubelet when scheduling a busybox command that always fails in a pod should have an terminated reason [NodeConformance] [Conformance]"
        => terminated_reason,
    "[sig-node] Kubelet when scheduling a busybox command that always fails in a pod should be possible to delete [NodeConformance] [Conformance]"
        => failing_pod_goes,
    "[sig-node] Container Runtime blackbox test on terminated container should report termination message if TerminationMessagePath is set as non-root user and at a non-default path [NodeConformance] [Conformance]"
        => message_of_non_root,
    "[sig-node] Container Runtime blackbox test on terminated container should report termination message from log output if TerminationMessagePolicy FallbackToLogsOnError is set [NodeConformance] [Conformance]"
        => message_from_log,
    "[sig-node] Container Runtime blackbox test on terminated container should report termination message as empty when pod succeeds and TerminationMessagePolicy FallbackToLogsOnError is set [NodeConformance] [Conformance]"
        => no_message_on_success,
    "[sig-node] Container Runtime blackbox test on terminated container should report termination message from file when pod succeeds and TerminationMessagePolicy FallbackToLogsOnError is set [NodeConformance] [Conformance]"
        => message_from_file,
    "a container over its memory limit is OOMKilled" => out_of_memory,
    "a command that is not there is a StartError" => no_such_command,
    "activeDeadlineSeconds ends a pod with DeadlineExceeded" => deadline,
}

async fn init_in_order(scene: Scene) {
    let mount = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    let mut spec = once(with(sh("cat /v/order"), mount.clone()));
    spec["initContainers"] = json!([
        with(named("one", "sleep 0.3; echo one >>/v/order"), mount.clone()),
        with(named("two", "echo two >>/v/order"), mount),
    ]);
    spec["volumes"] = json!([{"name": "v", "emptyDir": {}}]);
    assert_eq!(scene.output("p", spec).await, "one\ntwo\n");
    let pod = scene.get("p").await;
    assert_eq!(condition(&pod, "Initialized")["status"], "True");
    for name in ["one", "two"] {
        let status = container(&pod, name);
        assert_eq!(status["state"]["terminated"]["reason"], "Completed", "{status}");
        assert_eq!((&status["ready"], &status["restartCount"]), (&json!(true), &json!(0)), "{status}");
    }
}

async fn init_fails_never(scene: Scene) {
    let mut spec = once(sh("echo never"));
    spec["initContainers"] = json!([named("bad", "exit 3"), named("later", "true")]);
    let pod = scene.run("p", spec).await;
    assert_eq!(pod["status"]["phase"], "Failed");
    assert_eq!(condition(&pod, "Initialized")["status"], "False");
    assert_eq!(condition(&pod, "Initialized")["reason"], "ContainersNotInitialized");
    assert_eq!(condition(&pod, "Initialized")["message"], "containers with incomplete status: [bad later]");
    assert_eq!(container(&pod, "bad")["state"]["terminated"]["exitCode"], 3);
    assert_eq!(container(&pod, "later")["state"]["waiting"]["reason"], "PodInitializing");
    let app = container(&pod, "c");
    assert_eq!(app["state"]["waiting"]["reason"], "PodInitializing", "{app}");
    assert_eq!(app.get("containerID"), None, "{app}");
}

async fn init_fails_always(scene: Scene) {
    let mut spec = always(sh("echo never"));
    spec["initContainers"] = json!([named("bad", "exit 1")]);
    scene.pod("p", spec).await;
    let pod = scene
        .until("p", "the init container's third run", |pod| {
            let again = container(pod, "bad")["restartCount"].as_i64() >= Some(2);
            again.then(|| pod.clone())
        })
        .await;
    assert_eq!(pod["status"]["phase"], "Pending");
    assert!(!ready(&pod));
    let app = container(&pod, "c");
    assert_eq!(app["state"]["waiting"]["reason"], "PodInitializing", "{app}");
    assert_eq!((&app["restartCount"], &app["lastState"]), (&json!(0), &json!({})), "{app}");
}

async fn sidecar(scene: Scene) {
    let mount = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    // The container goes only when the sidecar has shown that it lives, and ends before it.
    let side = "trap 'echo ended; exit 0' TERM; echo here >/v/side; while :; do sleep 0.1; done";
    let side = with(named("side", side), json!({"restartPolicy": "Always"}));
    // A second is not always enough for a program beside a hundred other pods, and a probe too late would restart it.
    let probe = json!({"exec": {"command": ["cat", "/v/side"]}, "periodSeconds": 1, "timeoutSeconds": 30});
    let startup = json!({"startupProbe": probe});
    let mut spec = once(with(sh("cat /v/side"), mount.clone()));
    spec["terminationGracePeriodSeconds"] = 20.into();
    spec["initContainers"] =
        json!([with(with(side, mount.clone()), startup), with(named("after", "cat /v/side"), mount)]);
    spec["volumes"] = json!([{"name": "v", "emptyDir": {}}]);
    let pod = scene.run("p", spec).await;
    assert_eq!(pod["status"]["phase"], "Succeeded");
    let (side, app) = (container(&pod, "side"), container(&pod, "c"));
    let ended = |status: &serde_json::Value| status["state"]["terminated"]["finishedAt"].as_str().map(String::from);
    assert!(ended(side).expect("an end") >= ended(app).expect("an end"), "{side} {app}");
    assert_eq!((&side["state"]["terminated"]["exitCode"], &side["restartCount"]), (&json!(0), &json!(0)));
    let params = kube::api::LogParams { container: Some("side".into()), ..Default::default() };
    assert_eq!(scene.log("p", params).await, "ended\n");
    let params = kube::api::LogParams { container: Some("c".into()), ..Default::default() };
    assert_eq!(scene.log("p", params).await, "here\n");
}

async fn expected_status(scene: Scene) {
    // Fails once, then succeeds: what was done is remembered in a volume.
    let script = "[ -f /v/again ] && exit 0; touch /v/again; exit 7";
    for (policy, phase, restarts) in [("Never", "Failed", 0), ("OnFailure", "Succeeded", 1), ("Always", "Running", 1)] {
        let name = policy.to_lowercase();
        let spec = json!({
            "restartPolicy": policy,
            "containers": [with(sh(script), json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}))],
            "volumes": [{"name": "v", "emptyDir": {}}],
        });
        scene.pod(&name, spec).await;
        let pod = scene
            .until(&name, "its runs", |pod| {
                let status = container(pod, "c");
                let enough = status["restartCount"].as_i64() >= Some(restarts);
                (enough && pod["status"]["phase"] == phase).then(|| pod.clone())
            })
            .await;
        let status = container(&pod, "c");
        assert_eq!(status["restartCount"], restarts, "{policy}: {status}");
        if policy == "Never" {
            assert_eq!(status["state"]["terminated"]["exitCode"], 7, "{status}");
            assert_eq!(status["lastState"], json!({}), "{status}");
        } else if policy == "OnFailure" {
            assert_eq!(status["state"]["terminated"]["exitCode"], 0, "{status}");
            assert_eq!(status["lastState"]["terminated"]["exitCode"], 7, "{status}");
        }
    }
}

async fn crash_loop(scene: Scene) {
    scene.pod("p", always(sh("echo run; exit 42"))).await;
    let pod = scene
        .until("p", "CrashLoopBackOff", |pod| {
            (container(pod, "c")["state"]["waiting"]["reason"] == "CrashLoopBackOff").then(|| pod.clone())
        })
        .await;
    let status = container(&pod, "c");
    let uid = pod["metadata"]["uid"].as_str().expect("a uid");
    let said = status["state"]["waiting"]["message"].as_str().expect("a message");
    let want = format!("back-off 10s restarting failed container=c pod=p_{}({uid})", scene.namespace);
    assert_eq!(said, want);
    assert_eq!(pod["status"]["phase"], "Running");
    assert_eq!((&status["ready"], &status["started"]), (&json!(false), &json!(false)), "{status}");
    let last = &status["lastState"]["terminated"];
    assert_eq!((&last["exitCode"], &last["reason"]), (&json!(42), &json!("Error")), "{status}");
    assert_eq!(last["containerID"], status["containerID"], "{status}");
    assert_eq!(condition(&pod, "Ready")["reason"], "ContainersNotReady");
    assert_eq!(condition(&pod, "Ready")["message"], "containers with unready status: [c]");
    crate::scenes::wait("an event of the back-off", async || {
        let want = format!("p BackOff: Back-off restarting failed container c in pod p_{}({uid})", scene.namespace);
        scene.events().await.contains(&want).then_some(())
    })
    .await;
    // After the wait it runs again.
    let count = status["restartCount"].as_i64();
    scene.until("p", "another run", |pod| (container(pod, "c")["restartCount"].as_i64() > count).then_some(())).await;
}

async fn terminated_reason(scene: Scene) {
    scene.pod("p", always(sh("exit 1"))).await;
    let reason = |pod: &serde_json::Value| {
        let status = container(pod, "c");
        let states = [&status["state"]["terminated"]["reason"], &status["lastState"]["terminated"]["reason"]];
        states.into_iter().find_map(|r| r.as_str().map(String::from))
    };
    assert_eq!(scene.until("p", "a reason", reason).await, "Error");
}

async fn failing_pod_goes(scene: Scene) {
    scene.pod("p", always(sh("exit 1"))).await;
    scene.until("p", "an end", |pod| container(pod, "c")["lastState"]["terminated"]["reason"].as_str().map(drop)).await;
    scene.delete("p", Default::default()).await;
    scene.gone("p").await;
}

/// The message of a pod's one container that has ended.
fn message(pod: &serde_json::Value) -> &serde_json::Value {
    &container(pod, "c")["state"]["terminated"]["message"]
}

async fn message_of_non_root(scene: Scene) {
    let place =
        json!({"terminationMessagePath": "/dev/termination-custom-log", "securityContext": {"runAsUser": 1000}});
    let pod = scene.run("p", once(with(sh("printf DONE >/dev/termination-custom-log"), place))).await;
    assert_eq!(message(&pod), "DONE");
}

async fn message_from_log(scene: Scene) {
    let policy = json!({"terminationMessagePolicy": "FallbackToLogsOnError"});
    let pod = scene.run("p", once(with(sh("echo to the log; printf DONE >&2; exit 1"), policy))).await;
    assert_eq!(message(&pod), "to the log\nDONE");
}

async fn no_message_on_success(scene: Scene) {
    let policy = json!({"terminationMessagePolicy": "FallbackToLogsOnError"});
    let pod = scene.run("p", once(with(sh("echo said"), policy))).await;
    assert_eq!((&pod["status"]["phase"], message(&pod)), (&json!("Succeeded"), &json!(null)));
}

async fn message_from_file(scene: Scene) {
    let policy = json!({"terminationMessagePolicy": "FallbackToLogsOnError"});
    let pod = scene.run("p", once(with(sh("echo said; printf OK >/dev/termination-log"), policy))).await;
    assert_eq!(message(&pod), "OK");
    // 4096 bytes of a file are kept.
    let long = "while [ ${#x} -lt 5000 ]; do x=${x}0123456789; done; printf $x >/dev/termination-log; exit 2";
    let pod = scene.run("long", once(sh(long))).await;
    assert_eq!(message(&pod).as_str().map(str::len), Some(4096));
}

async fn out_of_memory(scene: Scene) {
    let limit = json!({"resources": {"limits": {"memory": "40Mi"}}});
    // A variable that doubles until it does not fit.
    let pod = scene.run("p", once(with(sh("x=0123456789; while :; do x=$x$x; done"), limit))).await;
    let ended = &container(&pod, "c")["state"]["terminated"];
    assert_eq!((&ended["reason"], &ended["exitCode"]), (&json!("OOMKilled"), &json!(137)), "{ended}");
    assert_eq!(pod["status"]["phase"], "Failed");
}

async fn no_such_command(scene: Scene) {
    let pod = scene.run("p", once(with(sh(""), json!({"command": ["/not/there"]})))).await;
    let ended = &container(&pod, "c")["state"]["terminated"];
    assert_eq!(ended["reason"], "StartError", "{ended}");
    assert_eq!(ended["exitCode"], 128, "{ended}");
    assert!(ended["message"].as_str().is_some_and(|m| m.contains("/not/there")), "{ended}");
}

async fn deadline(scene: Scene) {
    let pod = scene.run("p", with(once(sh("sleep 1000")), json!({"activeDeadlineSeconds": 1}))).await;
    assert_eq!((&pod["status"]["phase"], &pod["status"]["reason"]), (&json!("Failed"), &json!("DeadlineExceeded")));
    assert_eq!(pod["status"]["message"], "Pod was active on the node longer than the specified deadline");
}
