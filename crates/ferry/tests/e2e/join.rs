//! Server and agent apart, on a host of the test's own: joined with the command that the server prints, killed, stopped and
//! taken up again, while the pods run on.

use crate::common::parts::Parts;
use k8s_openapi::api::{certificates::v1::CertificateSigningRequest, core::v1::Pod};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use std::collections::BTreeSet;

fn pod(name: &str) -> Pod {
    let container = serde_json::json!({
        "name": "c", "image": images::toolbox::TOOLBOX, "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", format!("echo this is {name}; exec sleep 1000000")],
    });
    let pod = serde_json::json!({
        "metadata": {"name": name},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
    });
    serde_json::from_value(pod).expect("a pod")
}

/// Makes a pod and waits until it runs.
fn run(parts: &Parts, name: &str) {
    parts.with(async |client| {
        let pods: Api<Pod> = Api::namespaced(client, "default");
        pods.create(&PostParams::default(), &pod(name)).await.expect("created");
    });
    parts.eventually(&format!("{name} runs"), async |client| {
        let status = Parts::pod(client, name).await?.status?;
        (status.phase.as_deref() == Some("Running") && status.pod_ip.is_some()).then_some(())
    });
}

/// Container id and restarts.
fn life(parts: &Parts, name: &str) -> (String, i32) {
    parts.eventually("its status", async |client| {
        let statuses = Parts::pod(client, name).await?.status?.container_statuses?;
        Some((statuses[0].container_id.clone()?, statuses[0].restart_count))
    })
}

fn logs(parts: &Parts, name: &str) -> String {
    parts.eventually("its logs", async |client| {
        let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
        pods.logs(name, &Default::default()).await.ok().filter(|l| !l.is_empty())
    })
}

#[test]
fn a_node_joins_and_its_pods_outlive_everybody() {
    let mut parts = Parts::new();
    let before = parts.host.settings();
    parts.begin();
    let requests = parts.with(async |client| {
        let api: Api<CertificateSigningRequest> = Api::all(client);
        let all = api.list(&Default::default()).await.expect("a list").items;
        let describe = |c: CertificateSigningRequest| {
            let status = c.status.unwrap_or_default();
            let conditions = status.conditions.unwrap_or_default();
            let said: Vec<String> = conditions.into_iter().map(|c| c.type_).collect();
            let by = c.spec.username.unwrap_or_default();
            let by = if by.starts_with("system:bootstrap:") { "system:bootstrap:…".into() } else { by };
            format!("{} for {by}: {}, {}", c.spec.signer_name, said.join(" "), status.certificate.is_some())
        };
        all.into_iter().map(describe).collect::<BTreeSet<_>>()
    });
    expect_test::expect![[r#"
        kubernetes.io/kube-apiserver-client-kubelet for system:bootstrap:…: Approved, true
        kubernetes.io/kubelet-serving for system:node:alone: Approved, true"#]]
    .assert_eq(&requests.into_iter().collect::<Vec<_>>().join("\n"));

    run(&parts, "one");
    let (life_of_one, shims) = (life(&parts, "one"), parts.shims());
    assert_eq!((life_of_one.1, shims.len()), (0, 1));
    assert_eq!(logs(&parts, "one"), "this is one\n");

    // The agent is killed and taken up, with its certificate instead of a token.
    parts.kill_agent();
    assert_eq!(parts.shims(), shims);
    parts.start_agent_again();
    run(&parts, "two");
    assert_eq!(life(&parts, "one"), life_of_one);
    assert!(parts.shims().contains(&shims[0]));

    // The server is killed; the agent finds it again.
    let shims: BTreeSet<u32> = parts.shims().into_iter().collect();
    parts.kill_server();
    assert_eq!(parts.shims().into_iter().collect::<BTreeSet<_>>(), shims);
    parts.start_server();
    run(&parts, "three");
    assert_eq!(life(&parts, "one"), life_of_one);
    assert_eq!(logs(&parts, "one"), "this is one\n");

    // SIGTERM ends both, and no pod.
    let shims: BTreeSet<u32> = parts.shims().into_iter().collect();
    assert_eq!(parts.stop_agent(), Some(0));
    assert_eq!(parts.stop_server(), Some(0));
    assert_eq!(parts.shims().into_iter().collect::<BTreeSet<_>>(), shims);
    parts.start_server();
    parts.start_agent_again();
    run(&parts, "four");
    assert_eq!(life(&parts, "one"), life_of_one);

    // What is deleted while nobody looks after it goes when somebody does.
    parts.kill_agent();
    parts.with(async |client| {
        let pods: Api<Pod> = Api::namespaced(client, "default");
        for name in ["one", "two", "three", "four"] {
            pods.delete(name, &DeleteParams::default()).await.expect("deleted");
        }
    });
    assert_eq!(parts.shims().len(), 4);
    parts.start_agent_again();
    parts.eventually("all pods are gone", async |client| {
        let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
        pods.list(&Default::default()).await.ok()?.items.is_empty().then_some(())
    });
    parts.nothing_left();

    // `down` ends agent and pods, and the host is as it was.
    run(&parts, "five");
    let out = parts.host.ferry(&["down", "--purge", "--data-dir"]).arg(parts.data()).output().expect("it runs");
    let said = [out.stdout, out.stderr].concat();
    assert_eq!((out.status.code(), String::from_utf8_lossy(&said).as_ref()), (Some(0), "down, and its data removed\n"));
    parts.nothing_left();
    assert_eq!(parts.host.cgroups("pods"), Vec::<String>::new());
    assert_eq!(parts.host.settings(), before);
    assert!(!parts.data().exists());
}
