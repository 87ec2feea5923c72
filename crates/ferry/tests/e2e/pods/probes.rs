//! Probes, readiness gates, hooks, and the end of a pod.

use crate::scenes::{Scene, always, condition, container, named, once, over, ready, scenarios, sh, wait, with};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, LogParams, Patch, PatchParams};
use serde_json::{Value, json};

scenarios! {
    "[sig-node] Probing container should be restarted with a exec \"cat /tmp/health\" liveness probe [NodeConformance] [Conformance]"
        => liveness_exec,
    "[sig-node] Probing container should be restarted with a /healthz http liveness probe [NodeConformance] [Conformance]"
        => liveness_http,
    "[sig-node] Probing container should *not* be restarted with a tcp:8080 liveness probe [NodeConformance] [Conformance]"
        => liveness_tcp,
    "[sig-node] Probing container with readiness probe that fails should never be ready and never restart [NodeConformance] [Conformance]"
        => never_ready,
    "a readiness probe takes a pod out and puts it back" => readiness_turns,
    "readiness gates hold the Ready condition" => readiness_gates,
    "a startup probe holds the other probes" => startup,
    "[sig-node] Container Lifecycle Hook when create a pod with lifecycle hook should execute poststart exec hook properly [NodeConformance] [Conformance]"
        => post_start,
    "a postStart hook that fails ends the container" => post_start_fails,
    "[sig-node] Container Lifecycle Hook when create a pod with lifecycle hook should execute prestop exec hook properly [NodeConformance] [Conformance]"
        => pre_stop,
    "[sig-node] PreStop should call prestop when killing a pod [Conformance]" => pre_stop_http,
    "a sleeping hook holds the container's start, and its end" => sleeping_hooks,
    "the grace period of a probe comes before the pod's" => grace_of_probe,
    "the grace period is honoured: TERM first, and a container that ends at once is not waited for" => grace,
    "after the grace period comes KILL" => kill,
}

fn exec(command: &[&str]) -> Value {
    json!({"exec": {"command": command}, "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 30})
}

async fn restarted(scene: &Scene, name: &str) -> Value {
    let twice = |pod: &Value| (container(pod, "c")["restartCount"].as_i64() >= Some(1)).then(|| pod.clone());
    scene.until(name, "a restart", twice).await
}

async fn liveness_exec(scene: Scene) {
    let script = "echo ok >/tmp/health; trap 'exit 0' TERM; sleep 1; rm /tmp/health; while :; do sleep 0.1; done";
    let mut spec = always(with(sh(script), json!({"livenessProbe": exec(&["cat", "/tmp/health"])})));
    spec["containers"][0]["livenessProbe"]["initialDelaySeconds"] = 1.into();
    scene.pod("p", spec).await;
    let pod = restarted(&scene, "p").await;
    assert_eq!(
        container(&pod, "c")["lastState"]["terminated"]["exitCode"],
        0,
        "it was asked to end: {}",
        pod["status"]
    );
    wait("events of the probe", async || {
        let events = scene.events().await;
        let probe = events.iter().any(|e| e.starts_with("p Unhealthy: Liveness probe failed: cat: /tmp/health"));
        let kill = events.iter().any(|e| e == "p Killing: Container c failed liveness probe, will be restarted");
        (probe && kill).then_some(())
    })
    .await;
}

async fn liveness_http(scene: Scene) {
    // Nothing answers that path but with 404.
    let probe = json!({"httpGet": {"path": "/no/such/path", "port": "web"}, "periodSeconds": 1, "failureThreshold": 2});
    let startup = json!({"tcpSocket": {"port": "web"}, "periodSeconds": 1, "failureThreshold": 1000});
    let ports = json!([{"name": "web", "containerPort": 8080}]);
    let bad =
        with(sh(""), json!({"command": ["httpd"], "ports": ports, "startupProbe": startup, "livenessProbe": probe}));
    scene.pod("bad", always(bad.clone())).await;
    let mut good = bad;
    good["livenessProbe"]["httpGet"]["path"] = "/healthz".into();
    scene.ready("good", always(good)).await;
    restarted(&scene, "bad").await;
    assert_eq!(container(&scene.get("good").await, "c")["restartCount"], 0);
    let failed = "bad Unhealthy: Liveness probe failed: HTTP probe failed with statuscode: 404";
    wait("an event", async || scene.events().await.iter().any(|e| e == failed).then_some(())).await;
}

async fn liveness_tcp(scene: Scene) {
    // A server takes its time to start.
    let startup = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1, "failureThreshold": 1000});
    let probe = |port: u16| json!({"tcpSocket": {"port": port}, "periodSeconds": 1, "failureThreshold": 2});
    let more = |port| json!({"command": ["httpd"], "startupProbe": startup, "livenessProbe": probe(port)});
    let server = |port| with(sh(""), more(port));
    scene.ready("good", always(server(8080))).await;
    scene.pod("bad", always(server(8081))).await;
    restarted(&scene, "bad").await;
    assert_eq!(container(&scene.get("good").await, "c")["restartCount"], 0);
}

async fn never_ready(scene: Scene) {
    scene.pod("p", always(with(sh("sleep 1000"), json!({"readinessProbe": exec(&["false"])})))).await;
    wait("an event of the probe", async || {
        scene.events().await.iter().any(|e| e.starts_with("p Unhealthy: Readiness probe failed")).then_some(())
    })
    .await;
    let pod = scene.get("p").await;
    assert!(!ready(&pod));
    assert_eq!(condition(&pod, "ContainersReady")["reason"], "ContainersNotReady");
    let status = container(&pod, "c");
    let seen = (&status["ready"], &status["started"], &status["restartCount"]);
    assert_eq!(seen, (&json!(false), &json!(true), &json!(0)), "{status}");
}

async fn readiness_turns(scene: Scene) {
    let probe = json!({"readinessProbe": exec(&["cat", "/tmp/ready"])});
    scene.ready("p", always(with(sh("touch /tmp/ready; sleep 1000"), probe))).await;
    assert_eq!(scene.exec("p", "c", "rm /tmp/ready").await.code, 0);
    let pod = scene.until("p", "not Ready", |pod| (!ready(pod)).then(|| pod.clone())).await;
    assert!(container(&pod, "c")["state"]["running"].is_object());
    assert_eq!(scene.exec("p", "c", "touch /tmp/ready").await.code, 0);
    let pod = scene.until("p", "Ready again", |pod| ready(pod).then(|| pod.clone())).await;
    assert_eq!(container(&pod, "c")["restartCount"], 0);
}

async fn readiness_gates(scene: Scene) {
    let gates = json!({"readinessGates": [{"conditionType": "example.com/gate"}]});
    scene.pod("p", with(always(sh("sleep 1000")), gates)).await;
    let up = |pod: &Value| (condition(pod, "ContainersReady")["status"] == "True").then(|| pod.clone());
    let pod = scene.until("p", "ContainersReady", up).await;
    let seen = condition(&pod, "Ready");
    assert_eq!((&seen["status"], &seen["reason"]), (&json!("False"), &json!("ReadinessGatesNotReady")));
    assert_eq!(seen["message"], "corresponding condition of pod readiness gate \"example.com/gate\" does not exist.");
    for (status, want) in [("True", true), ("False", false)] {
        let gate = json!({"status": {"conditions": [{"type": "example.com/gate", "status": status}]}});
        let pods = scene.api::<Pod>();
        pods.patch_status("p", &PatchParams::default(), &Patch::Strategic(gate)).await.expect("a patch of the status");
        scene.until("p", status, |pod| (ready(pod) == want).then_some(())).await;
    }
}

async fn startup(scene: Scene) {
    let more = json!({
        "startupProbe": {"exec": {"command": ["cat", "/tmp/up"]}, "periodSeconds": 1, "failureThreshold": 1000},
        "livenessProbe": exec(&["cat", "/tmp/up"]), "readinessProbe": exec(&["true"]),
    });
    scene.pod("p", always(with(sh("sleep 1000"), more))).await;
    wait("an event of the probe", async || {
        scene.events().await.iter().any(|e| e.starts_with("p Unhealthy: Startup probe failed")).then_some(())
    })
    .await;
    let pod = scene.get("p").await;
    let status = container(&pod, "c");
    let seen = (&status["ready"], &status["started"], &status["restartCount"]);
    assert_eq!(seen, (&json!(false), &json!(false), &json!(0)), "{status}");
    assert_eq!(scene.exec("p", "c", "touch /tmp/up").await.code, 0);
    let pod = scene.until("p", "Ready", |pod| ready(pod).then(|| pod.clone())).await;
    let status = container(&pod, "c");
    assert_eq!((&status["started"], &status["restartCount"]), (&json!(true), &json!(0)), "{status}");
}

async fn post_start(scene: Scene) {
    let hook = json!({"lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", "echo hooked >/tmp/hook"]}}}});
    // Ready only after the hook.
    scene.ready("p", always(with(sh("sleep 1000"), hook))).await;
    assert_eq!(scene.exec("p", "c", "cat /tmp/hook").await.out, "hooked\n");
}

async fn post_start_fails(scene: Scene) {
    let hook = json!({"lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", "exit 9"]}}}});
    scene.pod("p", once(with(sh("sleep 1000"), hook))).await;
    let pod = scene.until("p", "its end", |pod| over(pod).then(|| pod.clone())).await;
    assert_eq!(pod["status"]["phase"], "Failed");
    wait("an event", async || {
        let events = scene.events().await;
        events.iter().any(|e| e.starts_with("p FailedPostStartHook: PostStartHook failed")).then_some(())
    })
    .await;
}

/// Follows a pod's log until the end, while the pod is deleted.
async fn last_words(scene: &Scene, name: &str, params: DeleteParams) -> String {
    let follow = LogParams { follow: true, ..Default::default() };
    let (words, ()) = tokio::join!(scene.log(name, follow), async {
        wait("its first words", async || scene.logs(name).await.contains("up").then_some(())).await;
        scene.delete(name, params).await;
    });
    scene.gone(name).await;
    words
}

async fn pre_stop(scene: Scene) {
    // The hook runs to its end before TERM comes.
    let script = "trap 'cat /tmp/hook; echo term; exit 0' TERM; echo up; while :; do sleep 0.1; done";
    let hook =
        json!({"lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", "sleep 0.5; echo hook >/tmp/hook"]}}}});
    let spec = with(always(with(sh(script), hook)), json!({"terminationGracePeriodSeconds": 30}));
    scene.ready("p", spec).await;
    assert_eq!(last_words(&scene, "p", DeleteParams::default()).await, "up\nhook\nterm\n");
}

async fn pre_stop_http(scene: Scene) {
    scene.ready("server", always(with(sh(""), json!({"command": ["httpd", "-v"]})))).await;
    let host = scene.get("server").await["status"]["podIP"].as_str().expect("an address").to_string();
    let get = json!({"host": host, "port": 8080, "path": "/echo?from=prestop"});
    let spec = always(with(sh("sleep 1000"), json!({"lifecycle": {"preStop": {"httpGet": get}}})));
    scene.ready("p", with(spec, json!({"terminationGracePeriodSeconds": 30}))).await;
    scene.delete("p", DeleteParams::default().grace_period(3)).await;
    wait("the hook's request", async || scene.logs("server").await.contains("from=prestop").then_some(())).await;
    scene.gone("p").await;
}

async fn sleeping_hooks(scene: Scene) {
    let hooks = json!({"lifecycle": {"postStart": {"sleep": {"seconds": 2}}, "preStop": {"sleep": {"seconds": 2}}}});
    let pod =
        scene.ready("p", with(always(with(sh("sleep 1000"), hooks)), json!({"terminationGracePeriodSeconds": 30})));
    let pod = pod.await;
    let time = |value: &serde_json::Value| value.as_str().and_then(base::time::parse).expect("a time").as_second();
    let started = time(&container(&pod, "c")["state"]["running"]["startedAt"]);
    let ready_at = time(&crate::scenes::condition(&pod, "Ready")["lastTransitionTime"]);
    // Times are told in whole seconds.
    assert!(ready_at - started >= 1, "{}", pod["status"]);
    let before = std::time::Instant::now();
    scene.delete("p", DeleteParams::default().grace_period(30)).await;
    scene.gone("p").await;
    assert!(before.elapsed() >= std::time::Duration::from_secs(1));
}

async fn grace_of_probe(scene: Scene) {
    // It hears no TERM; only a short grace ends it in time.
    let probe = json!({"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1,
        "terminationGracePeriodSeconds": 1});
    let spec = always(with(sh("trap '' TERM; while :; do sleep 0.1; done"), json!({"livenessProbe": probe})));
    scene.pod("p", with(spec, json!({"terminationGracePeriodSeconds": 3600}))).await;
    let pod = restarted(&scene, "p").await;
    assert_eq!(container(&pod, "c")["lastState"]["terminated"]["exitCode"], 137, "{}", pod["status"]);
    scene.delete("p", DeleteParams::default().grace_period(0)).await;
}

async fn grace(scene: Scene) {
    // An hour of grace: only the container's own end can end it in time.
    let script = "trap 'echo term; sleep 0.5; echo bye; exit 0' TERM; echo up; >/tmp/up; while :; do sleep 0.1; done";
    let two = named("two", "trap 'exit 0' TERM; >/tmp/up; while :; do sleep 0.1; done");
    // A first process that has not set its trap yet hears no TERM at all.
    let trapped = json!({"readinessProbe": exec(&["cat", "/tmp/up"])});
    let containers = [with(sh(script), trapped.clone()), with(two, trapped)];
    let spec = json!({"terminationGracePeriodSeconds": 3600, "containers": containers});
    scene.ready("p", spec).await;
    let pods = scene.api::<Pod>();
    let follow = LogParams { follow: true, container: Some("c".into()), ..Default::default() };
    let (words, ()) = tokio::join!(scene.log("p", follow), async {
        scene.delete("p", DeleteParams::default()).await;
        let marked = pods.get_opt("p").await.expect("an answer");
        let grace = marked.map(|pod| (pod.metadata.deletion_grace_period_seconds, pod.metadata.deletion_timestamp));
        assert!(grace.is_none_or(|(seconds, at)| seconds == Some(3600) && at.is_some()));
    });
    assert_eq!(words, "up\nterm\nbye\n");
    scene.gone("p").await;
}

async fn kill(scene: Scene) {
    // TERM is ignored, so only KILL ends it.
    let script = "trap 'echo term' TERM; echo up; while :; do sleep 0.1; done";
    scene.ready("p", with(always(sh(script)), json!({"terminationGracePeriodSeconds": 2}))).await;
    assert_eq!(last_words(&scene, "p", DeleteParams::default()).await, "up\nterm\n");
    // Grace can be shortened to nothing.
    scene.ready("q", with(always(sh("sleep 1000")), json!({"terminationGracePeriodSeconds": 3600}))).await;
    scene.delete("q", DeleteParams::default()).await;
    scene.delete("q", DeleteParams::default().grace_period(0)).await;
    scene.gone("q").await;
}
