//! Lives of pods, from binding to the last trace.

use super::*;

fn one(image: &str) -> serde_json::Value {
    json!({"containers": [{"name": "a", "image": image, "imagePullPolicy": "IfNotPresent"}]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_runs_and_is_deleted() {
    let node = TestNode::start();
    node.create("web", one("run"));
    let pod = node.until("web", "ready", |pod| condition(pod, "Ready") == "True").await;
    assert_eq!(pod.str_at(&["status", "phase"]), "Running");
    assert_eq!(pod.str_at(&["status", "podIP"]), "127.0.0.1");
    assert_eq!(pod.str_at(&["status", "hostIP"]), "192.168.0.7");
    assert_eq!(container(&pod).str_at(&["imageID"]), "run@sha256:0");
    let phases: Vec<String> = node.api.statuses("web").iter().map(|s| s.str_at(&["phase"]).to_string()).collect();
    assert!(phases.len() <= 3, "few writes: {phases:?}");
    let (_, config) = node.cri.container("a").unwrap();
    assert!(config.mounts.iter().any(|m| m.container_path == "/etc/hosts"));

    node.api.delete_pod("default", "web", 30);
    node.until("web", "gone", Value::is_null).await;
    let last = node.api.statuses("web").pop().unwrap();
    assert_eq!(last.str_at(&["phase"]), "Failed");
    assert_eq!(last.items_at(&["containerStatuses"])[0].at(&["state", "terminated", "exitCode"]).as_i64(), Some(143));
    assert_eq!(node.cri.left(), (0, 0));
    assert_eq!(node.cri.unacknowledged(), 0);
    assert!(!node.dir.join("pods/uid-web").exists());
    let calls = node.cri.calls().join(", ");
    assert_eq!(calls, "sandbox web#0, create a#0, stop a 30s, stop-sandbox, remove-sandbox");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_registers_and_leases() {
    let node = TestNode::start();
    for _ in 0..400 {
        let object = node.api.get("nodes", "", "n1").unwrap_or_default();
        let ready = object.items_at(&["status", "conditions"]).iter().find(|c| c.str_at(&["type"]) == "Ready");
        if ready.is_some_and(|c| c.str_at(&["status"]) == "True")
            && node.api.get("leases", "kube-node-lease", "n1").is_some()
        {
            assert_eq!(object.str_at(&["metadata", "labels", "kubernetes.io/hostname"]), "n1");
            assert_eq!(object.str_at(&["status", "nodeInfo", "kubeletVersion"]), "v1.36.2+ferry");
            assert_eq!(object.str_at(&["status", "capacity", "cpu"]), "2");
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{:?}", node.api.get("nodes", "", "n1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_end_and_stay_ended() {
    let mut node = TestNode::start();
    let never = |image: &str| {
        let mut spec = one(image);
        spec["restartPolicy"] = "Never".into();
        spec
    };
    node.create("good", never("exit-0"));
    node.create("poor", never("exit-3"));
    node.create("bad", never("bad"));
    node.until_phase("good", "Succeeded").await;
    let poor = node.until_phase("poor", "Failed").await;
    assert_eq!(container(&poor).at(&["state", "terminated", "exitCode"]).as_i64(), Some(3));
    let bad = node.until_phase("bad", "Failed").await;
    assert_eq!(container(&bad).at(&["state", "terminated", "exitCode"]).as_i64(), Some(128));
    node.end(Ending::LeavePods).await;
    let calls = node.cri.calls().len();
    node.begin();
    node.create("other", one("run"));
    node.until_phase("other", "Running").await;
    let new = node.cri.calls()[calls..].iter().filter(|c| c.starts_with("create")).cloned().collect::<Vec<_>>();
    assert_eq!(new, ["create a#0"]);
    node.api.delete_pod("default", "good", 0);
    node.until("good", "gone", Value::is_null).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_are_counted_once_and_backed_off() {
    let node = TestNode::start();
    node.create("web", one("run"));
    node.until_phase("web", "Running").await;
    let first = node.cri.container("a").unwrap().0.id;
    node.cri.exit(&first, 1);
    let pod = node.until("web", "restarted", |pod| container(pod).at(&["restartCount"]).as_i64() == Some(1)).await;
    assert_eq!(container(&pod).at(&["lastState", "terminated", "exitCode"]).as_i64(), Some(1));
    node.cri.repeat_events();
    let second = node.cri.container("a").unwrap().0.id;
    node.cri.exit(&second, 2);
    let pod = node
        .until("web", "backed off", |pod| container(pod).str_at(&["state", "waiting", "reason"]) == "CrashLoopBackOff")
        .await;
    assert_eq!(container(&pod).at(&["restartCount"]).as_i64(), Some(1));
    assert_eq!(
        container(&pod).str_at(&["state", "waiting", "message"]),
        "back-off 10s restarting failed container=a pod=web_default(uid-web)"
    );
    assert_eq!(node.cri.unacknowledged(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_kubelet_takes_pods_up() {
    let mut node = TestNode::start();
    node.create("web", one("run"));
    node.create("gone", one("run"));
    node.until("web", "ready", |pod| condition(pod, "Ready") == "True").await;
    node.until("gone", "ready", |pod| condition(pod, "Ready") == "True").await;
    node.end(Ending::LeavePods).await;
    let calls = node.cri.calls().len();
    let writes = node.api.statuses("web").len();

    let id = node.cri.container("a").unwrap().0.id;
    node.api
        .client()
        .resource("", "v1", "pods")
        .namespace("default")
        .delete("gone", &Default::default())
        .await
        .unwrap();
    node.begin();
    node.create("new", one("run"));
    node.until_phase("new", "Running").await;
    let new = node.cri.calls()[calls..].join(", ");
    assert!(new.contains("stop-sandbox, remove-sandbox") && !new.contains("create a#1"), "{new}");
    let web = node.pod("web").unwrap();
    assert_eq!((container(&web).at(&["restartCount"]).as_i64(), condition(&web, "Ready")), (Some(0), "True"));
    assert!(node.api.statuses("web").len() <= writes + 1);
    assert!(node.cri.container("a").is_some() && !id.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exit_while_nobody_watched_counts_once() {
    let mut node = TestNode::start();
    node.create("web", one("run"));
    node.until_phase("web", "Running").await;
    node.end(Ending::LeavePods).await;
    node.cri.exit(&node.cri.container("a").unwrap().0.id, 7);
    node.begin();
    let pod = node.until("web", "restarted", |pod| container(pod).at(&["restartCount"]).as_i64() == Some(1)).await;
    assert_eq!(container(&pod).at(&["lastState", "terminated", "exitCode"]).as_i64(), Some(7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_stops_and_the_next_start_resumes() {
    let mut node = TestNode::start();
    node.create("web", one("run"));
    node.until_phase("web", "Running").await;
    node.end(Ending::StopPods).await;
    assert_eq!(node.pod("web").unwrap().str_at(&["status", "phase"]), "Running");
    assert_eq!(node.cri.container("a").unwrap().0.exit_code, 143);
    node.begin();
    let pod = node
        .until("web", "running again", |pod| {
            container(pod).at(&["restartCount"]).as_i64() == Some(1) && condition(pod, "Ready") == "True"
        })
        .await;
    assert_eq!(pod.str_at(&["status", "phase"]), "Running");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_what_is_missing() {
    let node = TestNode::start();
    let mut spec = one("run");
    spec["containers"][0]["env"] = json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]);
    spec["volumes"] = json!([{"name": "v", "configMap": {"name": "c"}}]);
    spec["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
    node.create("web", spec);
    node.create("none", one("absent"));
    let reason = |pod: &Value| container(pod).str_at(&["state", "waiting", "reason"]).to_string();
    node.until("none", "failing", |pod| reason(pod) == "ErrImagePull").await;
    node.until("web", "waiting", |pod| reason(pod) == "ContainerCreating").await;
    let map = |k: &str| json!({"metadata": {"name": "c", "namespace": "default"}, "data": {"k": k}}).into();
    node.api.put("configmaps", map("one"));
    node.until_phase("web", "Running").await;
    let config = node.cri.container("a").unwrap().1;
    assert!(config.envs.iter().any(|e| e.key == "A" && e.value == "one"));
    let mount = config.mounts.iter().find(|m| m.container_path == "/v").unwrap();
    let file = PathBuf::from(&mount.host_path).join("k");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "one");
    node.api.put("configmaps", map("two"));
    for _ in 0..400 {
        if std::fs::read_to_string(&file).unwrap() == "two" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the volume did not follow its ConfigMap");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn init_containers_and_sidecars() {
    let node = TestNode::start();
    node.create(
        "web",
        json!({
            "initContainers": [
                {"name": "i", "image": "exit-0", "imagePullPolicy": "Never"},
                {"name": "s", "image": "run", "restartPolicy": "Always", "imagePullPolicy": "Never"},
            ],
            "containers": [{"name": "a", "image": "run", "imagePullPolicy": "Never"}],
        }),
    );
    let pod = node.until("web", "ready", |pod| condition(pod, "Ready") == "True").await;
    assert_eq!(condition(&pod, "Initialized"), "True");
    node.api.delete_pod("default", "web", 30);
    node.until("web", "gone", Value::is_null).await;
    let calls: Vec<String> =
        node.cri.calls().iter().map(|c| c.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        calls,
        [
            "sandbox web#0",
            "create i#0",
            "create s#0",
            "create a#0",
            "stop a",
            "stop s",
            "stop-sandbox",
            "remove-sandbox"
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_decide_readiness_and_life() {
    let node = TestNode::start();
    node.cri.set_exec_code(1);
    let probe = |name: &str| json!({"exec": {"command": [name]}, "periodSeconds": 1, "failureThreshold": 1});
    let mut spec = one("run");
    spec["containers"][0]["readinessProbe"] = probe("ready");
    spec["containers"][0]["livenessProbe"] = probe("alive");
    spec["containers"][0]["livenessProbe"]["initialDelaySeconds"] = 2.into();
    node.create("web", spec);
    let pod = node.until_phase("web", "Running").await;
    assert_eq!(condition(&pod, "Ready"), "False");
    node.until("web", "killed for its liveness", |pod| container(pod).at(&["restartCount"]).as_i64() == Some(1)).await;
    node.cri.set_exec_code(0);
    node.until("web", "ready", |pod| condition(pod, "Ready") == "True").await;
    assert!(node.cri.calls().iter().any(|c| c == "stop a 30s"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_deletion_shortens_the_grace() {
    let node = TestNode::start();
    let mut spec = one("stubborn");
    spec["containers"][0]["lifecycle"] = json!({"preStop": {"exec": {"command": ["bye"]}}});
    node.create("web", spec);
    node.until_phase("web", "Running").await;
    node.api.delete_pod("default", "web", 600);
    for _ in 0..400 {
        if node.cri.calls().iter().any(|c| c == "stop a 600s") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(node.cri.calls().contains(&"exec bye".to_string()));
    node.api.delete_pod("default", "web", 0);
    node.until("web", "gone", Value::is_null).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_is_refused() {
    let node = TestNode::start();
    let mut spec = one("run");
    spec["containers"][0]["resources"] = json!({"requests": {"cpu": "3"}});
    node.create("big", spec);
    let pod = node.until_phase("big", "Failed").await;
    assert_eq!(pod.str_at(&["status", "reason"]), "OutOfcpu");
    assert!(node.cri.calls().is_empty());
    node.api.delete_pod("default", "big", 0);
    node.until("big", "gone", Value::is_null).await;
}

/// The pod with another spec, as an update of it arrives.
fn change(node: &TestNode, name: &str, edit: impl Fn(&mut Value)) {
    node.api.edit("pods", "default", name, |pod| {
        let generation = pod.at(&["metadata", "generation"]).as_i64().unwrap_or(1);
        pod.set(&["metadata", "generation"], generation + 1);
        edit(pod);
    });
}

fn set_image(pod: &mut Value, image: &str) {
    let list = pod.array_at_mut(&["spec", "containers"]).unwrap();
    list[0].set(&["image"], image);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_image_restarts_under_any_policy() {
    let mut node = TestNode::start();
    for (name, policy) in [("never", "Never"), ("failure", "OnFailure")] {
        let mut spec = one("run");
        spec["restartPolicy"] = policy.into();
        node.create(name, spec);
        node.until(name, "ready", |pod| condition(pod, "Ready") == "True").await;
        change(&node, name, |pod| set_image(pod, "other"));
        let pod = node
            .until(name, "again", |pod| {
                container(pod).at(&["restartCount"]).as_i64() == Some(1) && condition(pod, "Ready") == "True"
            })
            .await;
        assert_eq!(container(&pod).str_at(&["image"]), "other");
        assert_eq!(pod.str_at(&["status", "phase"]), "Running");
    }
    // A change that nobody was there to see counts as well.
    node.end(Ending::LeavePods).await;
    change(&node, "never", |pod| set_image(pod, "third"));
    node.begin();
    node.until("never", "third", |pod| {
        container(pod).str_at(&["image"]) == "third" && condition(pod, "Ready") == "True"
    })
    .await;
}

fn sized(cpu: &str, policy: &str) -> serde_json::Value {
    let mut spec = one("run");
    spec["containers"][0]["resources"] = json!({"requests": {"cpu": cpu}});
    spec["containers"][0]["resizePolicy"] = json!([{"resourceName": "cpu", "restartPolicy": policy}]);
    spec
}

fn set_cpu(pod: &mut Value, cpu: &str) {
    let list = pod.array_at_mut(&["spec", "containers"]).unwrap();
    list[0].set(&["resources", "requests", "cpu"], cpu);
}

/// Generation and resources as the node reports them, once no resize is under way.
fn resized(pod: &Value, generation: i64, cpu: &str) -> bool {
    let under_way = condition(pod, "PodResizeInProgress").len() + condition(pod, "PodResizePending").len() > 0;
    pod.at(&["status", "observedGeneration"]).as_i64() == Some(generation)
        && !under_way
        && container(pod).str_at(&["resources", "requests", "cpu"]) == cpu
        && container(pod).str_at(&["allocatedResources", "cpu"]) == cpu
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_are_resized_in_place() {
    let mut node = TestNode::start();
    node.create("web", sized("500m", "NotRequired"));
    node.until("web", "ready", |pod| condition(pod, "Ready") == "True" && resized(pod, 1, "500m")).await;
    change(&node, "web", |pod| set_cpu(pod, "1"));
    let pod = node.until("web", "resized", |pod| resized(pod, 2, "1")).await;
    assert_eq!(container(&pod).at(&["restartCount"]).as_i64(), Some(0));
    let calls: Vec<String> = node.cri.calls().into_iter().filter(|c| c.starts_with("resize")).collect();
    assert_eq!(calls, ["resize pod 1024", "resize a 1024", "resize pod 1024"]);
    // The new size was never told before the kernel had it.
    for status in node.api.statuses("web") {
        let told = status.at(&["observedGeneration"]).as_i64() == Some(2);
        let small = status.items_at(&["containerStatuses"])[0].str_at(&["resources", "requests", "cpu"]) != "1";
        let waits = status.items_at(&["conditions"]).iter().any(|c| c.str_at(&["type"]) == "PodResizeInProgress");
        assert!(!told || !small || waits, "{status}");
    }
    // Another agent knows what was granted.
    node.end(Ending::LeavePods).await;
    node.begin();
    change(&node, "web", |pod| set_cpu(pod, "1500m"));
    node.until("web", "resized again", |pod| resized(pod, 3, "1500m")).await;

    // What does not fit waits for room; what never fits says so.
    node.create("small", sized("400m", "RestartContainer"));
    node.until("small", "ready", |pod| condition(pod, "Ready") == "True").await;
    let reason = |pod: &Value| {
        let all = pod.items_at(&["status", "conditions"]).iter();
        let found = all.filter(|c| c.str_at(&["type"]) == "PodResizePending").map(|c| c.str_at(&["reason"]));
        found.map(String::from).next().unwrap_or_default()
    };
    change(&node, "small", |pod| set_cpu(pod, "3"));
    node.until("small", "infeasible", |pod| reason(pod) == "Infeasible").await;
    change(&node, "small", |pod| set_cpu(pod, "600m"));
    let pod = node.until("small", "deferred", |pod| reason(pod) == "Deferred").await;
    assert_eq!(container(&pod).str_at(&["resources", "requests", "cpu"]), "400m");
    node.api.delete_pod("default", "web", 1);
    let pod = node.until("small", "resized", |pod| resized(pod, 3, "600m") && condition(pod, "Ready") == "True").await;
    // By a restart, as its policy has it.
    assert_eq!(container(&pod).at(&["restartCount"]).as_i64(), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_debugger_joins_a_pod() {
    let node = TestNode::start();
    node.create("web", one("run"));
    node.until("web", "ready", |pod| condition(pod, "Ready") == "True").await;
    change(&node, "web", |pod| {
        let debugger = json!([{"name": "d", "image": "run", "targetContainerName": "a"}]);
        pod.set(&["spec", "ephemeralContainers"], Value::from(debugger));
    });
    let pod = node
        .until("web", "debugged", |pod| {
            let list = pod.items_at(&["status", "ephemeralContainerStatuses"]);
            list.first().is_some_and(|c| !c.at(&["state", "running"]).is_null())
        })
        .await;
    let (_, config) = node.cri.container("d").unwrap();
    let namespaces = &config.linux.security_context.namespace_options;
    assert_eq!(namespaces.pid, cri::NamespaceMode::Target);
    assert_eq!(format!("ferry://{}", namespaces.target_id), container(&pod).str_at(&["containerID"]));
    node.cri.exit(&node.cri.container("d").unwrap().0.id, 3);
    let pod = node
        .until("web", "over", |pod| {
            let list = pod.items_at(&["status", "ephemeralContainerStatuses"]);
            list[0].at(&["state", "terminated", "exitCode"]).as_i64() == Some(3)
        })
        .await;
    assert_eq!(pod.str_at(&["status", "phase"]), "Running");
    node.api.delete_pod("default", "web", 1);
    node.until("web", "gone", Value::is_null).await;
    assert_eq!(node.cri.left(), (0, 0));
}
