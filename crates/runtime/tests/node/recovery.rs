//! What survives: the daemon killed, the shim killed, both under churn.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::{IMAGE, Node, TESTBOX};
use cri::{ContainerEventKind, ContainerState, PodSandboxState, RuntimeService};

/// A daemon of its own that starts one pod with the given command and then waits to be killed.
struct Daemon(Child, String, String);

impl Daemon {
    fn start(node: &mut Node, command: &[&str]) -> Self {
        node.runtime = None;
        let mut child = Command::new(TESTBOX)
            .args(["start", &node.root.display().to_string(), &node.cgroup, IMAGE])
            .args(command)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (sandbox, container) = line.trim().split_once(' ').expect("two ids");
        Self(child, sandbox.into(), container.into())
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn processes(node: &Node, sandbox: &str, container: &str) -> Vec<i32> {
    let hierarchies = sandbox::cgroup::Hierarchies::detect().unwrap();
    hierarchies.cgroup(&format!("{}/pods/{sandbox}/{container}", node.cgroup)).processes()
}

async fn gone(pid: i32) {
    while std::path::Path::new(&format!("/proc/{pid}")).exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_outlive_the_daemon() {
    let mut node = Node::new().await;
    let mut daemon = Daemon::start(&mut node, &["polite", "9"]);
    let (sandbox, container) = (daemon.1.clone(), daemon.2.clone());
    let before = processes(&node, &sandbox, &container);
    daemon.kill();
    node.open().await;
    assert_eq!(processes(&node, &sandbox, &container), before);
    let status = node.rt().container_status(&container).await.unwrap();
    assert_eq!((status.state, status.metadata.attempt), (ContainerState::Running, 0));
    assert_eq!(node.rt().pod_sandbox_status(&sandbox).await.unwrap().state, PodSandboxState::Ready);
    assert_eq!(node.exec(&container, &["echo", "alive"]).await.stdout, b"alive\n");
    node.log_with("one", "main", "ready").await;
    node.rt().stop_container(&container, Duration::from_secs(60)).await.unwrap();
    assert_eq!(node.rt().container_status(&container).await.unwrap().exit_code, 9);
    node.rt().remove_pod_sandbox(&sandbox).await.unwrap();
    assert_eq!(node.leftovers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn exits_without_a_daemon_are_delivered_until_acknowledged() {
    let mut node = Node::new().await;
    let mut daemon = Daemon::start(&mut node, &["polite", "9"]);
    node.log_with("one", "main", "ready").await;
    daemon.kill();
    let init = processes(&node, &daemon.1, &daemon.2)[0];
    Command::new("/bin/kill").arg("-TERM").arg(init.to_string()).status().unwrap();
    gone(init).await;
    for _ in 0..2 {
        node.open().await;
        // The shim reaps when it gets to it; the record is there at once or comes as an event.
        let mut events = node.rt().events();
        let exit = loop {
            let event = events.recv().await.unwrap();
            if event.kind == ContainerEventKind::Stopped {
                break event;
            }
        };
        assert_eq!((exit.container_id.as_str(), exit.exit.as_ref().unwrap().exit_code), (&daemon.2[..], 9));
        assert_eq!(exit.sequence, 3, "created, started, stopped");
    }
    node.rt().acknowledge(&daemon.1, 3);
    node.open().await;
    assert!(node.rt().events().try_recv().is_err(), "acknowledged for good");
    assert_eq!(node.rt().container_status(&daemon.2).await.unwrap().exit_code, 9, "the status stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_shim_is_told_honestly() {
    let mut node = Node::new().await;
    for restart in [false, true] {
        let name = format!("dead-{restart}");
        let (sandbox, id) = node.run(&name, &node.container("main", &["stubborn"])).await;
        node.log_with(&name, "main", "ready").await;
        let init = processes(&node, &sandbox, &id)[0];
        let shim = std::fs::read_to_string(format!("/proc/{init}/status")).unwrap();
        let shim = shim.lines().find_map(|l| l.strip_prefix("PPid:")).unwrap().trim().to_string();
        if restart {
            node.runtime = None;
        }
        Command::new("/bin/kill").arg("-KILL").arg(&shim).status().unwrap();
        if restart {
            node.open().await;
        }
        let status = node.exited(&id).await;
        assert_eq!((status.exit_code, &status.reason[..]), (137, "ContainerStatusUnknown"));
        gone(init).await;
        assert_eq!(node.rt().pod_sandbox_status(&sandbox).await.unwrap().state, PodSandboxState::NotReady);
        node.rt().stop_pod_sandbox(&sandbox).await.unwrap();
        node.rt().remove_container(&id).await.unwrap();
        node.rt().remove_pod_sandbox(&sandbox).await.unwrap();
        assert_eq!(node.leftovers(), Vec::<String>::new());
    }
}

/// Pods are made and deleted while the daemon is killed again and again; in the end every exit has been heard of, once, with
/// the right code, and nothing is left. `FERRY_SOAK_PODS` makes it longer.
#[tokio::test(flavor = "multi_thread")]
async fn no_exit_is_lost_under_kills() {
    let mut node = Node::new().await;
    node.runtime = None;
    let pods: u32 = std::env::var("FERRY_SOAK_PODS").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    let start = || {
        Command::new(TESTBOX)
            .args(["churn", &node.root.display().to_string(), &node.cgroup, "1", &pods.to_string(), IMAGE])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut kills = 0;
    loop {
        let mut child = start();
        let delay = 30 + u64::from(base::ids::random::<1>()[0]) * 2;
        // Grows, so that it ends on any machine.
        tokio::time::sleep(Duration::from_millis(delay + kills * 2)).await;
        match child.try_wait().unwrap() {
            Some(status) => {
                assert!(status.success(), "the churning daemon failed: {status}");
                break;
            }
            None => {
                child.kill().unwrap();
                child.wait().unwrap();
                kills += 1;
            }
        }
    }
    println!("{pods} pods, {kills} kills");
    let ledger = std::fs::read_to_string(node.root.join("ledger")).unwrap();
    let mut lines: Vec<&str> = ledger.lines().collect();
    lines.sort_unstable();
    let mut expected: Vec<String> = (1..=pods)
        .map(|n| format!("pod-{n} {} {}", n % 100, if n % 100 == 0 { "Completed" } else { "Error" }))
        .collect();
    expected.sort_unstable();
    assert_eq!(lines, expected);
    node.open().await;
    assert_eq!(node.leftovers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_daemon_at_a_time() {
    let node = Node::new().await;
    let second = runtime::Runtime::open(node.config()).await.err().expect("the directory is in use");
    assert!(second.to_string().ends_with("in use by another process"), "{second}");
}
