//! Tables of decisions and statuses over pods in every situation.

use super::{
    decide::{self, Action, Stop, decide},
    state::{Condemned, Container, Ended, Phase, PodState, Problem, Sandbox, Volumes},
    status::{self, NodeFacts},
};
use base::time::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use value::{Value, value};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn pod(spec: serde_json::Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "u1", "generation": 1}, "spec": spec,
    }))
    .unwrap()
}

/// A pod of `containers` (and `init` ones; a name with `*` is a sidecar) under a restart policy.
fn simple(init: &[&str], containers: &[&str], policy: &str) -> Pod {
    let container = |name: &&str| json!({"name": name, "image": "i"});
    let init_container = |name: &&str| match name.strip_suffix('*') {
        Some(name) => json!({"name": name, "image": "i", "restartPolicy": "Always"}),
        None => json!({"name": name, "image": "i"}),
    };
    pod(json!({
        "restartPolicy": policy,
        "initContainers": init.iter().map(init_container).collect::<Vec<_>>(),
        "containers": containers.iter().map(container).collect::<Vec<_>>(),
    }))
}

fn running(second: i64) -> Container {
    Container {
        phase: Phase::Running { since: at(second) },
        created: true,
        started: true,
        ready: true,
        id: "c".into(),
        ..Container::default()
    }
}

fn ended(code: i32, second: i64) -> Container {
    let ended = Ended {
        id: "c".into(),
        exit_code: code,
        reason: if code == 0 { "Completed" } else { "Error" }.into(),
        finished: at(second),
        ..Ended::default()
    };
    Container { phase: Phase::Ended(ended), created: true, id: "c".into(), ..Container::default() }
}

/// A state with a sandbox and volumes, and the given containers.
fn up(containers: &[(&str, Container)]) -> PodState {
    PodState {
        sandbox: Sandbox::Ready { id: "s".into() },
        volumes: Volumes::Mounted,
        ips: vec!["10.1.0.5".into()],
        containers: containers.iter().map(|(n, c)| (n.to_string(), c.clone())).collect(),
        ..PodState::new(at(0), [])
    }
}

/// Actions in short, and the seconds until the next look.
fn words(pod: &Pod, stop: Option<Stop>, state: &PodState, now: i64) -> String {
    let plan = decide(pod, stop, state, at(now));
    let mut words: Vec<String> = plan
        .actions
        .iter()
        .map(|action| match action {
            Action::Mount => "mount".into(),
            Action::CreateSandbox { attempt } => format!("sandbox#{attempt}"),
            Action::Start { container, attempt } => format!("start:{container}#{attempt}"),
            Action::Stop { container, deadline, .. } => {
                format!("stop:{container}@{}", deadline.duration_since(at(now)).as_secs())
            }
            Action::CancelStart { container } => format!("cancel:{container}"),
            Action::StopSandbox { .. } => "stop-sandbox".into(),
            Action::RemoveSandbox { .. } => "remove-sandbox".into(),
            Action::Unmount => "unmount".into(),
            Action::Resize => "resize".into(),
            Action::Fail { reason, .. } => format!("fail:{reason}"),
            Action::Finish => "finish".into(),
        })
        .collect();
    if let Some(wake) = plan.wake {
        words.push(format!("wake:{}", wake.duration_since(at(now)).as_secs()));
    }
    words.join(" ")
}

#[test]
fn a_pod_comes_up() {
    let p = simple(&[], &["a", "b"], "Always");
    let mut state = PodState::new(at(0), ["a".to_string(), "b".into()]);
    assert_eq!(words(&p, None, &state, 0), "mount sandbox#0");
    state.volumes = Volumes::Mounting { tries: 0 };
    state.sandbox = Sandbox::Creating { tries: 0 };
    assert_eq!(words(&p, None, &state, 0), "");
    state.sandbox = Sandbox::Ready { id: "s".into() };
    assert_eq!(words(&p, None, &state, 0), "");
    state.volumes = Volumes::Failed { message: String::new(), tries: 1, retry_at: at(5) };
    assert_eq!(words(&p, None, &state, 0), "wake:5");
    assert_eq!(words(&p, None, &state, 5), "mount");
    state.volumes = Volumes::Mounted;
    assert_eq!(words(&p, None, &state, 5), "start:a#0 start:b#0");
    state.containers.insert("a".into(), running(5));
    assert_eq!(words(&p, None, &state, 5), "start:b#0");
}

#[test]
fn init_containers_go_one_by_one() {
    let p = simple(&["i1", "s*", "i2"], &["a"], "Always");
    let mut starting = running(1);
    starting.started = false;
    for (containers, want) in [
        (vec![], "start:i1#0"),
        (vec![("i1", running(1))], ""),
        (vec![("i1", ended(1, 1))], "start:i1#1"),
        (vec![("i1", ended(0, 1))], "start:s#0"),
        (vec![("i1", ended(0, 1)), ("s", starting)], ""),
        (vec![("i1", ended(0, 1)), ("s", running(1))], "start:i2#0"),
        (vec![("i1", ended(0, 1)), ("s", ended(0, 2)), ("i2", ended(0, 1))], "start:s#1"),
        (vec![("i1", ended(0, 1)), ("s", running(1)), ("i2", ended(0, 1))], "start:a#0"),
    ] {
        assert_eq!(words(&p, None, &up(&containers), 2), want, "{containers:?}");
    }
    let mut state = up(&[("i1", ended(0, 1)), ("s", ended(1, 1)), ("i2", ended(0, 1)), ("a", running(1))]);
    state.initialized = true;
    assert_eq!(words(&p, None, &state, 2), "start:s#1");
    let never = simple(&["i1"], &["a"], "Never");
    assert_eq!(words(&never, None, &up(&[("i1", ended(1, 1))]), 2), "stop-sandbox");
}

#[test]
fn restart_policies() {
    for (policy, code, want) in [
        ("Always", 0, "start:a#1"),
        ("Always", 1, "start:a#1"),
        ("OnFailure", 0, "stop-sandbox"),
        ("OnFailure", 1, "start:a#1"),
        ("Never", 0, "stop-sandbox"),
        ("Never", 1, "stop-sandbox"),
    ] {
        let state = up(&[("a", ended(code, 1))]);
        assert_eq!(words(&simple(&[], &["a"], policy), None, &state, 2), want, "{policy} {code}");
    }
    let rules = pod(json!({"restartPolicy": "Never", "containers": [{"name": "a", "restartPolicyRules": [
        {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}], "restartPolicy": "Never"}]}));
    assert_eq!(words(&rules, None, &up(&[("a", ended(42, 1))]), 2), "start:a#1");
    assert_eq!(words(&rules, None, &up(&[("a", ended(41, 1))]), 2), "stop-sandbox");
    let two = simple(&[], &["a", "b"], "Never");
    assert_eq!(words(&two, None, &up(&[("a", ended(1, 1)), ("b", running(1))]), 2), "");
}

#[test]
fn what_was_killed_for_its_definition_runs_again() {
    for (policy, code) in [("Never", 137), ("Never", 0), ("OnFailure", 0), ("Always", 0)] {
        let p = simple(&[], &["a"], policy);
        let renewed = Container { renew: true, ..ended(code, 1) };
        // At once: it has not crashed.
        assert_eq!(words(&p, None, &up(&[("a", renewed.clone())]), 2), "start:a#1", "{policy} {code}");
        let mut next = renewed;
        next.begin_start(at(2));
        assert!(next.backoff.is_none());
        // Nothing comes back from its end under `Never`, so it is not told as one.
        let shown =
            status::compute(&Value::object(), &p, &up(&[("a", next.clone())]), None, &NodeFacts::default(), at(2));
        let told = &shown.items_at(&["containerStatuses"])[0];
        assert_eq!(told.str_at(&["state", "waiting", "reason"]), "ContainerCreating");
        assert_eq!(told.at(&["lastState", "terminated", "exitCode"]).as_i64(), Some(code.into()));
        next.made("c2".into(), 1);
        assert!(!next.renew);
        // A pod that is to end does not come back for it.
        let stop = Stop { deadline: at(9), delete: false };
        let stopped = up(&[("a", Container { renew: true, ..ended(code, 1) })]);
        assert_eq!(words(&p, Some(stop), &stopped, 2), "stop-sandbox", "{policy} {code}");
    }
}

#[test]
fn ephemeral_containers_run_once() {
    let p = pod(json!({
        "restartPolicy": "Always",
        "initContainers": [{"name": "i", "image": "i"}],
        "containers": [{"name": "a", "image": "i"}],
        "ephemeralContainers": [{"name": "e", "image": "i", "targetContainerName": "a"}],
    }));
    // Also while the init containers are at work.
    assert_eq!(words(&p, None, &up(&[("i", running(1))]), 2), "start:e#0");
    let both = |e: Container| PodState { initialized: true, ..up(&[("i", ended(0, 1)), ("a", running(1)), ("e", e)]) };
    assert_eq!(words(&p, None, &both(running(2)), 3), "");
    assert_eq!(words(&p, None, &both(ended(1, 2)), 3), "");
    // In a new sandbox it does not come back.
    let mut state = both(ended(1, 2));
    state.lose_sandbox();
    state.sandbox = Sandbox::Ready { id: "s2".into() };
    assert_eq!(words(&p, None, &state, 3), "start:i#1");
    // It ends with the pod.
    let stop = Stop { deadline: at(9), delete: true };
    assert_eq!(words(&p, Some(stop), &both(running(2)), 3), "stop:a@6 stop:e@6");

    let status = |state: &PodState| status::compute(&Value::object(), &p, state, None, &NodeFacts::default(), at(3));
    let shown = status(&both(running(2)));
    let list = shown.items_at(&["ephemeralContainerStatuses"]);
    assert_eq!((list.len(), list[0].str_at(&["name"])), (1, "e"));
    assert!(!list[0].at(&["state", "running"]).is_null() && list[0].get("started").is_none());
    // Its end is nothing to the pod.
    assert_eq!(status(&both(ended(1, 2))).str_at(&["phase"]), "Running");
}

#[test]
fn resizes_are_written_and_told() {
    use super::resize::Progress;
    let container = |cpu: &str| json!({"name": "a", "image": "i", "resources": {"requests": {"cpu": cpu}}});
    let resources = |cpu: &str| serde_json::from_value(json!({"requests": {"cpu": cpu}})).unwrap();
    let p = pod(json!({"restartPolicy": "Always", "containers": [container("2")]}));
    let mut state = up(&[("a", Container { applied: Some(resources("1")), ..running(1) })]);
    state.allocated.insert("a".into(), resources("2"));
    state.resize.progress = Progress::Due;
    assert_eq!(words(&p, None, &state, 2), "resize");
    state.resize.progress = Progress::Writing;
    assert_eq!(words(&p, None, &state, 2), "");
    let show = |old: &Value, state: &PodState| status::compute(old, &p, state, None, &NodeFacts::default(), at(3));
    let kinds = |status: &Value| -> Vec<String> {
        let all = status.items_at(&["conditions"]).iter().map(|c| c.str_at(&["type"]).to_string());
        all.filter(|kind| kind.starts_with("PodResize")).collect()
    };
    let under_way = show(&Value::object(), &state);
    let of = |status: &Value, path: &[&str]| status.items_at(&["containerStatuses"])[0].at(path).to_string();
    assert_eq!(kinds(&under_way), ["PodResizeInProgress"]);
    assert_eq!(of(&under_way, &["allocatedResources"]), r#"{"cpu":"2"}"#);
    assert_eq!(of(&under_way, &["resources"]), r#"{"requests":{"cpu":"1"}}"#);
    state.resize.progress = Progress::Done;
    state.containers.get_mut("a").unwrap().applied = Some(resources("2"));
    let done = show(&under_way, &state);
    assert!(kinds(&done).is_empty(), "{done}");
    assert_eq!(of(&done, &["resources"]), r#"{"requests":{"cpu":"2"}}"#);
    // The condition has to be taken out of a list that is merged by type.
    let patch = status::patch("u1", &under_way, &done).unwrap();
    let conditions = patch.items_at(&["status", "conditions"]);
    assert_eq!(conditions[0].to_string(), r#"{"$patch":"delete","type":"PodResizeInProgress"}"#);
}

#[test]
fn crashes_wait_longer_each_time() {
    let p = simple(&[], &["a"], "Always");
    let mut container = ended(1, 0);
    container.begin_start(at(0));
    assert!(matches!(container.phase, Phase::Starting { ended: Some(_) }));
    container.made("c2".into(), 1);
    assert_eq!((container.restarts, container.last.as_ref().unwrap().exit_code), (1, 1));
    container.phase = ended(1, 3).phase;
    assert_eq!(words(&p, None, &up(&[("a", container.clone())]), 4), "wake:9");
    assert_eq!(words(&p, None, &up(&[("a", container.clone())]), 13), "start:a#2");
    container.problem = Some(Problem {
        reason: "ErrImagePull".into(),
        message: String::new(),
        since: at(13),
        tries: 1,
        retry_at: at(23),
    });
    assert_eq!(words(&p, None, &up(&[("a", container)]), 13), "wake:10");
}

#[test]
fn a_condemned_container_is_stopped() {
    let mut container = running(1);
    container.condemned = Some(Condemned { message: "m".into(), grace: None });
    assert_eq!(words(&simple(&[], &["a"], "Always"), None, &up(&[("a", container.clone())]), 2), "stop:a@30");
    container.condemned = Some(Condemned { message: "m".into(), grace: Some(3) });
    assert_eq!(words(&simple(&[], &["a"], "Always"), None, &up(&[("a", container.clone())]), 2), "stop:a@3");
    container.phase = Phase::Stopping { since: at(1), deadline: at(5) };
    assert_eq!(words(&simple(&[], &["a"], "Always"), None, &up(&[("a", container)]), 2), "");
}

#[test]
fn deletion_in_order() {
    let p = simple(&["s1*", "s2*"], &["a", "b"], "Always");
    let stop = Some(Stop { deadline: at(30), delete: true });
    let mut state = up(&[("s1", running(1)), ("s2", running(1)), ("a", running(1)), ("b", running(1))]);
    state.initialized = true;
    assert_eq!(words(&p, stop, &state, 0), "stop:a@30 stop:b@30");
    state.containers.insert("a".into(), ended(143, 1));
    state.containers.get_mut("b").unwrap().phase = Phase::Stopping { since: at(1), deadline: at(30) };
    assert_eq!(words(&p, stop, &state, 0), "");
    let sooner = Some(Stop { deadline: at(1), delete: true });
    assert_eq!(words(&p, sooner, &state, 0), "stop:b@1");
    state.containers.insert("b".into(), ended(143, 1));
    assert_eq!(words(&p, stop, &state, 29), "stop:s2@2");
    state.containers.insert("s2".into(), ended(0, 1));
    assert_eq!(words(&p, stop, &state, 5), "stop:s1@25");
    state.containers.insert("s1".into(), ended(0, 1));
    assert_eq!(words(&p, stop, &state, 5), "remove-sandbox");
    state.sandbox = Sandbox::Absent;
    assert_eq!(words(&p, stop, &state, 5), "unmount");
    state.volumes = Volumes::Absent;
    assert_eq!(words(&p, stop, &state, 5), "finish");
    state.forgotten = true;
    assert_eq!(words(&p, stop, &state, 5), "");
}

#[test]
fn deletion_before_anything_ran() {
    let p = simple(&[], &["a"], "Always");
    let stop = Some(Stop { deadline: at(30), delete: true });
    let mut state = PodState::new(at(0), ["a".to_string()]);
    assert_eq!(words(&p, stop, &state, 0), "finish");
    state.sandbox = Sandbox::Creating { tries: 0 };
    assert_eq!(words(&p, stop, &state, 0), "");
    let mut state = up(&[("a", Container { phase: Phase::Starting { ended: None }, ..Container::default() })]);
    assert_eq!(words(&p, stop, &state, 0), "cancel:a");
    state.containers.insert("a".into(), Container::default());
    assert_eq!(words(&p, stop, &state, 0), "remove-sandbox");
}

#[test]
fn deadlines_and_lost_sandboxes() {
    let mut p = simple(&[], &["a"], "Always");
    p.spec.as_mut().unwrap().active_deadline_seconds = Some(10);
    let mut state = up(&[("a", running(1))]);
    assert_eq!(words(&p, None, &state, 3), "wake:7");
    assert_eq!(words(&p, None, &state, 10), "fail:DeadlineExceeded");
    state.verdict = Some(super::state::Verdict { reason: "DeadlineExceeded".into(), message: String::new() });
    assert_eq!(words(&p, None, &state, 10), "stop:a@30");
    p.spec.as_mut().unwrap().restart_policy = Some("Never".into());
    assert_eq!(words(&p, None, &up(&[("a", ended(0, 5))]), 99), "stop-sandbox", "what has succeeded stays so");

    let p = simple(&["i"], &["a"], "Always");
    let mut state = up(&[("i", ended(0, 1)), ("a", ended(137, 2))]);
    state.initialized = true;
    state.sandbox = Sandbox::Broken { id: "s".into() };
    assert_eq!(words(&p, None, &state, 3), "remove-sandbox", "and nothing is started in it");
    state.lose_sandbox();
    assert_eq!(words(&p, None, &state, 3), "sandbox#1");
    state.sandbox = Sandbox::Ready { id: "s2".into() };
    assert_eq!(words(&p, None, &state, 3), "start:i#1");
    assert_eq!(state.containers["a"].last.as_ref().unwrap().exit_code, 137);
}

#[test]
fn who_needs_a_sandbox() {
    let stop = Some(Stop { deadline: at(9), delete: true });
    for (policy, container, stop, want) in [
        ("Always", ended(137, 2), None, true),
        ("Always", ended(0, 2), None, true),
        ("OnFailure", ended(137, 2), None, true),
        ("OnFailure", ended(0, 2), None, false),
        ("Never", ended(137, 2), None, false),
        ("Never", running(1), None, true),
        ("Always", ended(137, 2), stop, false),
    ] {
        let p = simple(&[], &["a"], policy);
        let mut state = up(&[("a", container.clone())]);
        assert_eq!(decide::needs_sandbox(&p, stop, &state), want, "{policy} {container:?}");
        state.verdict = Some(super::state::Verdict { reason: "Evicted".into(), message: String::new() });
        assert!(!decide::needs_sandbox(&p, stop, &state));
        // In one that is broken nothing is started, back-off or not, while another container is thought to run.
        state.verdict = None;
        state.sandbox = Sandbox::Broken { id: "s".into() };
        if want {
            assert_eq!(words(&p, None, &state, 30), "remove-sandbox", "{policy} {container:?}");
        }
    }
}

fn facts() -> NodeFacts {
    NodeFacts { host_ips: vec!["192.168.0.2".into()] }
}

/// Phase, the ready condition, and the state of each container.
fn summary(pod: &Pod, state: &PodState, stop: Option<Stop>, now: i64) -> String {
    let status = status::compute(&Value::Null, pod, state, stop, &facts(), at(now));
    let ready = status.items_at(&["conditions"]).iter().find(|c| c.str_at(&["type"]) == "Ready").unwrap();
    let mut out = format!("{} ready={}", status.str_at(&["phase"]), ready.str_at(&["status"]));
    for key in ["initContainerStatuses", "containerStatuses"] {
        for c in status.items_at(&[key]) {
            let (kind, state) = c.members_at(&["state"]).next().unwrap();
            let what = match kind {
                "running" => String::new(),
                "waiting" => state.str_at(&["reason"]).into(),
                _ => state.at(&["exitCode"]).to_string(),
            };
            out += &format!(" {}:{kind}({what})", c.str_at(&["name"]));
        }
    }
    out
}

#[test]
fn phases() {
    let one = |policy| simple(&[], &["a"], policy);
    let stop = Some(Stop { deadline: at(9), delete: true });
    let fresh = PodState::new(at(0), ["a".to_string()]);
    for (pod, state, stop, want) in [
        (one("Always"), fresh.clone(), None, "Pending ready=False a:waiting(ContainerCreating)"),
        (one("Always"), up(&[("a", running(1))]), None, "Running ready=True a:running()"),
        (one("Always"), up(&[("a", ended(1, 1))]), None, "Running ready=False a:terminated(1)"),
        (one("Never"), up(&[("a", ended(1, 1))]), None, "Failed ready=False a:terminated(1)"),
        (one("Never"), up(&[("a", ended(0, 1))]), None, "Succeeded ready=False a:terminated(0)"),
        (one("OnFailure"), up(&[("a", ended(0, 1))]), None, "Succeeded ready=False a:terminated(0)"),
        (one("Always"), up(&[("a", running(1))]), stop, "Running ready=True a:running()"),
        (one("Always"), up(&[("a", ended(0, 1))]), stop, "Succeeded ready=False a:terminated(0)"),
        (one("Always"), up(&[("a", ended(143, 1))]), stop, "Failed ready=False a:terminated(143)"),
        (one("Always"), fresh, stop, "Failed ready=False a:terminated(137)"),
    ] {
        assert_eq!(summary(&pod, &state, stop, 2), want);
    }
    let init = simple(&["i", "s*"], &["a"], "Always");
    let mut state = up(&[("i", running(1))]);
    assert_eq!(
        summary(&init, &state, None, 2),
        "Pending ready=False i:running() s:waiting(PodInitializing) a:waiting(PodInitializing)"
    );
    state = up(&[("i", ended(0, 1)), ("s", running(1)), ("a", running(1))]);
    state.initialized = true;
    assert_eq!(summary(&init, &state, None, 2), "Running ready=True i:terminated(0) s:running() a:running()");
}

#[test]
fn waiting_says_why() {
    let p = simple(&[], &["a"], "Always");
    let mut container = ended(1, 0);
    container.begin_start(at(0));
    container.made("c2".into(), 1);
    container.phase = ended(1, 3).phase;
    let status = status::compute(&Value::Null, &p, &up(&[("a", container)]), None, &facts(), at(4));
    let c = &status.items_at(&["containerStatuses"])[0];
    assert_eq!(
        c.at(&["state"]).to_string(),
        r#"{"waiting":{"message":"back-off 10s restarting failed container=a pod=web_default(u1)","reason":"CrashLoopBackOff"}}"#
    );
    assert_eq!(c.at(&["lastState", "terminated", "exitCode"]).as_i64(), Some(1));
    assert_eq!(c.at(&["restartCount"]).as_i64(), Some(1));

    let problem = Problem {
        reason: "ErrImagePull".into(),
        message: "failed to pull \"nope\"".into(),
        since: at(0),
        tries: 1,
        retry_at: at(10),
    };
    let state = up(&[("a", Container { problem: Some(problem), ..Container::default() })]);
    assert_eq!(summary(&p, &state, None, 1), "Pending ready=False a:waiting(ErrImagePull)");
    assert_eq!(summary(&p, &state, None, 2), "Pending ready=False a:waiting(ImagePullBackOff)");
}

#[test]
fn a_running_pod_in_full() {
    let p = simple(&[], &["a"], "Always");
    let old = value!({"qosClass": "BestEffort", "conditions": [
        {"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": "2020-01-01T00:00:00Z"}]});
    let state = up(&[("a", running(1))]);
    let status = status::compute(&old, &p, &state, None, &facts(), at(2));
    expect_test::expect![[r#"{"conditions":[{"lastProbeTime":null,"lastTransitionTime":"2020-01-01T00:00:00Z","observedGeneration":1,"status":"True","type":"PodScheduled"},{"lastProbeTime":null,"lastTransitionTime":"1970-01-12T13:46:42Z","observedGeneration":1,"status":"True","type":"PodReadyToStartContainers"},{"lastProbeTime":null,"lastTransitionTime":"1970-01-12T13:46:42Z","observedGeneration":1,"status":"True","type":"Initialized"},{"lastProbeTime":null,"lastTransitionTime":"1970-01-12T13:46:42Z","observedGeneration":1,"status":"True","type":"Ready"},{"lastProbeTime":null,"lastTransitionTime":"1970-01-12T13:46:42Z","observedGeneration":1,"status":"True","type":"ContainersReady"}],"containerStatuses":[{"containerID":"ferry://c","image":"i","imageID":"","lastState":{},"name":"a","ready":true,"resources":{},"restartCount":0,"started":true,"state":{"running":{"startedAt":"1970-01-12T13:46:41Z"}}}],"hostIP":"192.168.0.2","hostIPs":[{"ip":"192.168.0.2"}],"observedGeneration":1,"phase":"Running","podIP":"10.1.0.5","podIPs":[{"ip":"10.1.0.5"}],"qosClass":"BestEffort","startTime":"1970-01-12T13:46:40Z"}"#]].assert_eq(&status.to_string());
    let again = status::compute(&status, &p, &state, None, &facts(), at(100));
    assert_eq!(status::patch("u1", &status, &again), None);
}

#[test]
fn patches_hold_only_changes() {
    let p = simple(&[], &["a"], "Always");
    let mut state = up(&[("a", running(1))]);
    let old = status::compute(&Value::Null, &p, &state, None, &facts(), at(2));
    state.containers.get_mut("a").unwrap().ready = false;
    state.ips = vec!["10.1.0.6".into()];
    let new = status::compute(&old, &p, &state, None, &facts(), at(3));
    let patch = status::patch("u1", &old, &new).unwrap();
    let keys: Vec<&str> = patch.members_at(&["status"]).map(|(k, _)| k).collect();
    assert_eq!(keys, ["conditions", "containerStatuses", "podIP", "podIPs"]);
    assert_eq!(patch.at(&["status", "podIPs"]).to_string(), r#"[{"$patch":"replace"},{"ip":"10.1.0.6"}]"#);
    let kinds: Vec<&str> = patch.items_at(&["status", "conditions"]).iter().map(|c| c.str_at(&["type"])).collect();
    assert_eq!(kinds, ["Ready", "ContainersReady"]);
    state.containers.get_mut("a").unwrap().ready = true;
    let back = status::compute(&new, &p, &state, None, &facts(), at(4));
    let patch = status::patch("u1", &new, &back).unwrap();
    // Words of the failure are taken back.
    assert!(patch.items_at(&["status", "conditions"])[0].get("reason").is_some_and(Value::is_null));
}
