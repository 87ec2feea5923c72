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
async fn who_is_inside_does_not_hold_up_the_end() {
    let node = Node::new().await;
    let (sandbox, id) = node.run("visited", &node.container("main", &["sleep", "1000"])).await;
    let (rt, inside) = (node.rt().clone(), id.clone());
    let script = crate::common::strings(&["sh", "-c", "echo on >/dev/shm/on; sleep 100"]);
    let visit = tokio::spawn(async move { rt.exec_sync(&inside, &script, Duration::ZERO).await });
    while node.exec(&id, &["cat", "/dev/shm/on"]).await.exit_code != 0 {}
    // The first process of a pid namespace dies only when who came in from outside has been reaped.
    let ended = tokio::time::timeout(Duration::from_secs(60), node.rt().remove_pod_sandbox(&sandbox)).await;
    ended.expect("an end").unwrap();
    visit.abort();
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

#[tokio::test(flavor = "multi_thread")]
async fn long_output_is_rotated_and_none_is_lost() {
    let mut node = Node::new().await;
    node.runtime = None;
    let mut config = node.config();
    (config.log_max_size, config.log_max_files) = (200_000, 3);
    node.runtime = Some(runtime::Runtime::open(config).await.unwrap());
    let (_, id) = node.run("spam", &node.container("main", &["spam", "20000"])).await;
    node.exited(&id).await;
    let dir = node.root.join("logs/spam/main");
    let mut files: Vec<_> = std::fs::read_dir(&dir).unwrap().flatten().map(|e| e.path()).collect();
    files.sort();
    assert_eq!(files.len(), 3, "{files:?}");
    // The current file sorts first and is the last one.
    files.rotate_left(1);
    let lines: Vec<u32> = files
        .iter()
        .flat_map(|f| std::fs::read_to_string(f).unwrap().lines().map(String::from).collect::<Vec<_>>())
        .map(|l| l.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(lines.last(), Some(&19_999));
    assert!(lines.windows(2).all(|w| w[1] == w[0] + 1), "no line is missing between files");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_of_its_own() {
    let node = Node::new().await;
    let mut config = node.container("main", &["sh"]);
    (config.tty, config.stdin) = (true, true);
    let (_, id) = node.run("tty", &config).await;
    let options = cri::StreamOptions { tty: true, stdin: true, stdout: true, stderr: false };
    let mut streams = node.rt().attach(&id, options).await.unwrap();
    streams.resize.send(cri::TerminalSize { width: 90, height: 30 }).await.unwrap();
    streams.stdin.as_ref().unwrap().send("echo on a terminal\nenv\n".into()).await.unwrap();
    let mut seen = String::new();
    while !seen.contains("TERM=xterm") || !seen.contains("\non a terminal\r\n") {
        seen += &text(&streams.stdout.as_mut().unwrap().recv().await.expect("output"));
    }
    // The end of input on a terminal is a character.
    streams.stdin.as_ref().unwrap().send("\u{4}".into()).await.unwrap();
    assert_eq!(streams.exit.await.unwrap().unwrap(), 0);
    assert!(node.log("tty", "main").contains("on a terminal"));
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_reach_the_cgroup_and_usage_comes_back() {
    let node = Node::new().await;
    let mut config = node.container("main", &["sleep", "1000"]);
    config.linux.resources.pids_limit = 7;
    config.linux.resources.oom_score_adj = 500;
    let (_, id) = node.run("limits", &config).await;
    assert_eq!(text(&node.exec(&id, &["cat", "/sys/fs/cgroup/pids/pids.max"]).await.stdout), "7\n");
    assert_eq!(text(&node.exec(&id, &["cat", "/proc/1/oom_score_adj"]).await.stdout), "500\n");
    let stats = node.rt().container_stats(&id).await.unwrap();
    assert_eq!(stats.process_count, 1);
    assert!(stats.cpu_usage_core_nano_seconds > 0 && stats.memory_working_set_bytes > 0, "{stats:?}");
    // Without CAP_SYS_RESOURCE lowering is refused, and the container starts all the same.
    config.metadata.attempt = 1;
    config.linux.resources.oom_score_adj = -900;
    let sandbox = node.rt().container_status(&id).await.unwrap().pod_sandbox_id;
    let id = node.rt().create_container(&sandbox, &config).await.unwrap();
    node.rt().start_container(&id).await.unwrap();
}

/// Not a test of speed (machines differ) but of that the measuring program works; `FERRY_BENCH_PODS` asks for a real one.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_a_pod() {
    let mut node = Node::new().await;
    node.runtime = None;
    let pods = std::env::var("FERRY_BENCH_PODS").unwrap_or("2".into());
    let mut bench = std::process::Command::new(crate::common::TESTBOX);
    bench.args(["bench", &node.root.display().to_string(), &node.cgroup, crate::common::IMAGE, &pods]);
    let out = bench.output().unwrap();
    println!("{}", text(&out.stdout));
    assert!(out.status.success() && text(&out.stdout).contains("together: min"), "{}", text(&out.stderr));
}
