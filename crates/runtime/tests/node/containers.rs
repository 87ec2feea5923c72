//! Real containers: what runs, what it sees, what it leaves.

use std::time::{Duration, Instant};

use crate::common::{Node, text};
use cri::{ContainerState, RuntimeService};

#[tokio::test(flavor = "multi_thread")]
async fn a_container_runs_logs_exits_and_leaves_nothing() {
    let node = Node::new().await;
    let begin = Instant::now();
    let sandbox = node.rt().run_pod_sandbox(&node.sandbox("a")).await.unwrap();
    let ready = begin.elapsed();
    let config = node.container("main", &["sh", "-c", "echo hello; echo world; exit 3"]);
    let id = node.rt().create_container(&sandbox, &config).await.unwrap();
    let created = begin.elapsed();
    node.rt().start_container(&id).await.unwrap();
    println!("sandbox {ready:?}, container created {:?}, started {:?}", created - ready, begin.elapsed() - created);
    let status = node.exited(&id).await;
    assert_eq!((status.exit_code, &status.reason[..]), (3, "Error"));
    assert!(status.started_at >= status.created_at && status.finished_at >= status.started_at);
    assert_eq!(node.log("a", "main"), "hello\nworld");
    node.rt().stop_pod_sandbox(&sandbox).await.unwrap();
    assert_eq!(node.rt().container_status(&id).await.unwrap().exit_code, 3, "records outlive the sandbox");
    node.rt().remove_pod_sandbox(&sandbox).await.unwrap();
    assert_eq!(node.leftovers(), Vec::<String>::new());
    assert!(node.rt().container_status(&id).await.unwrap_err().is_not_found());
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_sees_the_container() {
    let node = Node::new().await;
    let mut config = node.container("main", &["sleep", "1000"]);
    config.envs = vec![cri::KeyValue { key: "COLOR".into(), value: "blue".into() }];
    let (_, id) = node.run("exec", &config).await;
    let env = text(&node.exec(&id, &["env"]).await.stdout);
    assert!(env.contains("COLOR=blue\n") && env.contains("HOSTNAME=exec\n"), "{env}");
    assert_eq!(text(&node.exec(&id, &["cat", "/etc/hostname"]).await.stdout), "exec\n");
    assert_eq!(text(&node.exec(&id, &["cat", "/proc/1/comm"]).await.stdout), "sleep\n");
    let failed = node.exec(&id, &["sh", "-c", "cat /nope; exit 7"]).await;
    assert_eq!((failed.exit_code, failed.stdout.len()), (7, 0));
    assert!(text(&failed.stderr).contains("/nope"));
    let missing = node.rt().exec_sync(&id, &["nope".into()], Duration::ZERO).await.unwrap_err();
    assert!(missing.to_string().contains("exec: \"nope\": executable file not found in $PATH"), "{missing}");
    let late = node.rt().exec_sync(&id, &crate::common::strings(&["sleep", "100"]), Duration::from_millis(100)).await;
    assert!(matches!(late, Err(cri::Error::DeadlineExceeded(_))), "{late:?}");
    assert_eq!(node.rt().container_status(&id).await.unwrap().state, ContainerState::Running);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_is_polite_first() {
    let node = Node::new().await;
    let (_, id) = node.run("polite", &node.container("main", &["polite", "5"])).await;
    node.log_with("polite", "main", "ready").await;
    node.rt().stop_container(&id, Duration::from_secs(60)).await.unwrap();
    let status = node.rt().container_status(&id).await.unwrap();
    assert_eq!((status.state, status.exit_code), (ContainerState::Exited, 5));
    assert_eq!(node.log("polite", "main"), "ready\nbye");

    let (sandbox, id) = node.run("stubborn", &node.container("main", &["stubborn"])).await;
    node.log_with("stubborn", "main", "ready").await;
    node.rt().stop_container(&id, Duration::from_millis(100)).await.unwrap();
    let status = node.rt().container_status(&id).await.unwrap();
    assert_eq!((status.state, status.exit_code), (ContainerState::Exited, 137));
    node.rt().remove_container(&id).await.unwrap();
    node.rt().remove_container(&id).await.unwrap();
    node.rt().remove_pod_sandbox(&sandbox).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_memory_is_told() {
    let node = Node::new().await;
    let mut config = node.container("main", &["hog"]);
    config.linux.resources.memory_limit_in_bytes = 32 << 20;
    let (_, id) = node.run("oom", &config).await;
    let status = node.exited(&id).await;
    assert_eq!((status.exit_code, &status.reason[..]), (137, "OOMKilled"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_not_there() {
    let node = Node::new().await;
    let sandbox = node.rt().run_pod_sandbox(&node.sandbox("bad")).await.unwrap();
    let id = node.rt().create_container(&sandbox, &node.container("main", &["/nope"])).await.unwrap();
    let error = node.rt().start_container(&id).await.unwrap_err();
    assert_eq!(
        error,
        cri::Error::Start(
            "unable to start container process: exec: \"/nope\": stat /nope: no such file or directory".into()
        )
    );
    let status = node.rt().container_status(&id).await.unwrap();
    assert_eq!((status.state, status.exit_code, &status.reason[..]), (ContainerState::Exited, 128, "StartError"));
}
