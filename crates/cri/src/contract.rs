//! What every runtime must do, as code: call [`all`] on an implementation from a test. A case panics with what was expected.
//!
//! The image needs `sh -c` with `echo`, `sleep`, `cat` and `exit`, commands separated by `;`. Every pod's name begins with
//! [`Subject::name`], and a case removes what it made; cleaning up after a failed one is the caller's.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::*;

/// The runtime under test.
#[derive(Clone)]
pub struct Subject {
    pub runtime: Arc<dyn RuntimeService>,
    /// An image that is there.
    pub image: String,
    /// An existing directory for logs.
    pub logs: PathBuf,
    /// Tells the pods of this run from others.
    pub name: String,
}

/// Longest wait for anything; a runtime that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Every case, one after the other.
pub async fn all(s: &Subject) {
    lifecycle(s).await;
    lists(s).await;
    refusals(s).await;
    start_errors(s).await;
    stopping(s).await;
    exec_sync(s).await;
    exec_streams(s).await;
    attach(s).await;
    logs(s).await;
    events(s).await;
    port_forward(s).await;
    statistics(s).await;
}

/// Created, running, exited with its code; records outlive the stop and end with the removal; all of it idempotent.
pub async fn lifecycle(s: &Subject) {
    let sandbox = s.pod("lifecycle").await;
    let status = s.runtime.pod_sandbox_status(&sandbox).await.expect("status of a sandbox");
    assert_eq!(status.state, PodSandboxState::Ready);
    assert_eq!(status.metadata, s.sandbox("lifecycle").metadata);
    let id = s.create(&sandbox, "main", "exit 3").await;
    let created = s.status(&id).await;
    assert_eq!((created.state, created.started_at), (ContainerState::Created, 0));
    assert!(created.created_at > 0, "a container has a time of creation");
    s.runtime.start_container(&id).await.expect("start");
    let exited = s.exited(&id).await;
    assert_eq!((exited.exit_code, exited.reason.as_str()), (3, "Error"));
    assert!(exited.started_at >= exited.created_at && exited.finished_at >= exited.started_at, "times in order");
    for _ in 0..2 {
        s.runtime.stop_container(&id, Duration::ZERO).await.expect("stopping what has ended succeeds");
        s.runtime.stop_pod_sandbox(&sandbox).await.expect("stopping a sandbox again succeeds");
    }
    let stopped = s.runtime.pod_sandbox_status(&sandbox).await.expect("a stopped sandbox is still there");
    assert_eq!(stopped.state, PodSandboxState::NotReady);
    assert_eq!(s.status(&id).await.exit_code, 3, "and so are its containers");
    for _ in 0..2 {
        s.runtime.remove_container(&id).await.expect("removing a container again succeeds");
        s.runtime.remove_pod_sandbox(&sandbox).await.expect("removing a sandbox again succeeds");
    }
    assert!(s.runtime.pod_sandbox_status(&sandbox).await.is_err_and(|e| e.is_not_found()));
    assert!(s.runtime.container_status(&id).await.is_err_and(|e| e.is_not_found()));
}

/// Filters by id, state, sandbox and labels.
pub async fn lists(s: &Subject) {
    let mut config = s.sandbox("lists");
    config.labels.insert("run".into(), s.name.clone());
    let sandbox = s.runtime.run_pod_sandbox(&config).await.expect("run sandbox");
    let id = s.create(&sandbox, "main", "sleep 1000").await;
    let of = |state| ContainerFilter { pod_sandbox_id: Some(sandbox.clone()), state, ..Default::default() };
    let count = async |f: ContainerFilter| s.runtime.list_containers(&f).await.expect("list").len();
    assert_eq!(count(of(None)).await, 1);
    assert_eq!(count(of(Some(ContainerState::Running))).await, 0);
    s.runtime.start_container(&id).await.expect("start");
    assert_eq!(count(of(Some(ContainerState::Running))).await, 1);
    let labelled = |value: &str| PodSandboxFilter {
        label_selector: [("run".to_string(), value.to_string())].into(),
        state: Some(PodSandboxState::Ready),
        ..Default::default()
    };
    let found = s.runtime.list_pod_sandbox(&labelled(&s.name)).await.expect("list");
    assert_eq!(found.iter().map(|p| p.id.as_str()).collect::<Vec<_>>(), [&sandbox]);
    assert!(s.runtime.list_pod_sandbox(&labelled("another")).await.expect("list").is_empty());
    s.runtime.remove_pod_sandbox(&sandbox).await.expect("a running container goes with its sandbox");
    assert_eq!(count(of(None)).await, 0);
}

/// What cannot be is refused by the right error.
pub async fn refusals(s: &Subject) {
    let sandbox = s.pod("refusals").await;
    let again = s.runtime.run_pod_sandbox(&s.sandbox("refusals")).await;
    assert!(matches!(again, Err(Error::AlreadyExists(_))), "the same pod and attempt twice: {again:?}");
    let mut config = s.container("main", "sleep 1000");
    let id = s.runtime.create_container(&sandbox, &config).await.expect("create");
    let again = s.runtime.create_container(&sandbox, &config).await;
    assert!(matches!(again, Err(Error::AlreadyExists(_))), "the same name and attempt twice: {again:?}");
    config.metadata.attempt = 1;
    config.image = "nobody.example/nothing:at-all".into();
    let absent = s.runtime.create_container(&sandbox, &config).await;
    assert!(absent.is_err_and(|e| e.is_not_found()), "an image that is not there");
    let nowhere = s.runtime.create_container("nowhere", &config).await;
    assert!(nowhere.is_err_and(|e| e.is_not_found()), "a sandbox that is not there");
    let early = s.runtime.exec_sync(&id, &["echo".into()], PATIENCE).await;
    assert!(early.is_err(), "exec before the start");
    s.runtime.start_container(&id).await.expect("start");
    assert!(s.runtime.start_container(&id).await.is_err(), "a second start");
    let mut bad = s.container("bad", "");
    bad.linux.security_context.run_as_username = "no-such-user".into();
    let unknown = s.runtime.create_container(&sandbox, &bad).await;
    assert!(matches!(unknown, Err(Error::InvalidArgument(_))), "an unknown user: {unknown:?}");
    s.runtime.remove_pod_sandbox(&sandbox).await.expect("remove");
}

/// A program that is not there fails the start and leaves an exited container that says so.
pub async fn start_errors(s: &Subject) {
    let sandbox = s.pod("start-errors").await;
    let mut config = s.container("main", "");
    config.command = vec!["/no/such/program".into()];
    let id = s.runtime.create_container(&sandbox, &config).await.expect("create");
    let error = s.runtime.start_container(&id).await;
    assert!(matches!(&error, Err(Error::Start(m)) if m.contains("/no/such/program")), "{error:?}");
    let status = s.exited(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (128, "StartError"));
    s.runtime.remove_pod_sandbox(&sandbox).await.expect("remove");
}

/// After the grace comes SIGKILL, for calls in flight too.
pub async fn stopping(s: &Subject) {
    let sandbox = s.pod("stopping").await;
    // The first process of a pid namespace is deaf to SIGTERM unless it handles it.
    let id = s.started(&sandbox, "main", "sleep 1000").await;
    let patient = s.runtime.stop_container(&id, Duration::from_secs(1000));
    let hasty = s.runtime.stop_container(&id, Duration::from_millis(100));
    let (patient, hasty) = tokio::join!(patient, hasty);
    patient.and(hasty).expect("the shorter grace wins");
    let status = s.status(&id).await;
    assert_eq!((status.state, status.exit_code), (ContainerState::Exited, 137));
    s.runtime.remove_pod_sandbox(&sandbox).await.expect("remove");
}

/// Output, exit code, timeout.
pub async fn exec_sync(s: &Subject) {
    let sandbox = s.pod("exec-sync").await;
    let id = s.started(&sandbox, "main", "sleep 1000").await;
    let run = async |script: &str, t| s.runtime.exec_sync(&id, &shell(script), t).await;
    let done = run("echo one; exit 5", PATIENCE).await.expect("exec");
    assert_eq!(done, ExecSyncResponse { stdout: b"one\n".to_vec(), stderr: vec![], exit_code: 5 });
    let late = run("sleep 1000", Duration::from_millis(100)).await;
    assert!(matches!(late, Err(Error::DeadlineExceeded(_))), "{late:?}");
    let missing = s.runtime.exec_sync(&id, &["no-such-program".into()], PATIENCE).await;
    assert!(missing.is_err(), "a program that is not there");
    assert_eq!(s.status(&id).await.state, ContainerState::Running, "an exec does not end the container");
    s.runtime.remove_pod_sandbox(&sandbox).await.expect("remove");
}

/// Standard input goes in, comes out, and its end ends the process; with a terminal as well.
pub async fn exec_streams(s: &Subject) {
    let sandbox = s.pod("exec-streams").await;
    let id = s.started(&sandbox, "main", "sleep 1000").await;
    let options = StreamOptions { stdin: true, stdout: true, stderr: true, tty: false };
    let mut streams = s.runtime.exec(&id, &["cat".to_string()], options).await.expect("exec");
    let stdin = streams.stdin.take().expect("stdin was asked for");
    stdin.send("hello".into()).await.expect("stdin is open");
    drop(stdin);
    assert_eq!(drain(streams.stdout.take()).await, b"hello");
    assert_eq!(streams.exit.await.expect("exit").expect("exit"), 0);

    let options = StreamOptions { stdin: true, stdout: true, stderr: false, tty: true };
    let mut streams = s.runtime.exec(&id, &shell("echo term; exit 4"), options).await.expect("exec with a terminal");
    streams.resize.send(TerminalSize { width: 100, height: 40 }).await.expect("resize");
    assert_eq!(drain(streams.stdout.take()).await, b"term\r\n");
    assert_eq!(streams.exit.await.expect("exit").expect("exit"), 4);
    s.runtime.remove_pod_sandbox(&sandbox).await.expect("remove");
}

/// An attached client talks to the first process and hears how it ends.
pub async fn attach(s: &Subject) {
    let sandbox = s.pod("attach").await;
    let mut config = s.container("main", "");
    config.command = vec!["cat".into()];
    (config.stdin, config.stdin_once) = (true, true);
    let id = s.runtime.create_container(&sandbox, &config).await.expect("create");
    s.runtime.start_container(&id).await.expect("start");
    let options = StreamOptions { stdin: true, stdout: true, stderr: true, tty: false };
    let mut streams = s.runtime.attach(&id, options).await.expect("attach");
    let stdin = streams.stdin.take().expect("stdin was asked for");
    stdin.send("hello\n".into()).await.expect("stdin is open");
    let stdout = streams.stdout.as_mut().expect("stdout was asked for");
    assert_eq!(&stdout.recv().await.expect("output")[..], b"hello\n");
    // With stdin_once the end of the client's input is the end of cat's, while the client goes on listening.
    stdin.send("last\n".into()).await.expect("stdin is open");
    drop(stdin);
    assert_eq!(&stdout.recv().await.expect("output")[..], b"last\n");
    assert_eq!(stdout.recv().await, None);
    assert_eq!(streams.exit.await.expect("an exit"), Ok(0));
    assert_eq!(s.exited(&id).await.exit_code, 0);

    // So is the end of the client itself.
    config.metadata.attempt = 1;
    let id = s.runtime.create_container(&sandbox, &config).await.expect("create");
    s.runtime.start_container(&id).await.expect("start");
    let streams = s.runtime.attach(&id, options).await.expect("attach");
    drop(streams);
    assert_eq!(s.exited(&id).await.exit_code, 0);

    // Without stdin_once the input waits for the next client: the end of one's input is the end of that one alone.
    (config.metadata.attempt, config.stdin_once) = (2, false);
    let id = s.runtime.create_container(&sandbox, &config).await.expect("create");
    s.runtime.start_container(&id).await.expect("start");
    for _ in 0..2 {
        let mut streams = s.runtime.attach(&id, options).await.expect("attach");
        let stdin = streams.stdin.take().expect("stdin was asked for");
        stdin.send("hello\n".into()).await.expect("stdin is open");
        let stdout = streams.stdout.as_mut().expect("stdout was asked for");
        assert_eq!(&stdout.recv().await.expect("output")[..], b"hello\n");
        drop(stdin);
        assert_eq!(stdout.recv().await, None);
        assert_eq!(streams.exit.await.expect("an end"), Ok(0));
    }
    s.runtime.remove_pod_sandbox(&sandbox).await.expect("remove");
}

/// Log entries as the kubelet reads them.
pub async fn logs(s: &Subject) {
    let sandbox = s.pod("logs").await;
    let id = s.started(&sandbox, "main", "echo one; echo two").await;
    let path = s.exited(&id).await.log_path;
    let text = std::fs::read_to_string(&path).expect("log file");
    let entries: Vec<Vec<&str>> = text.lines().map(|l| l.splitn(4, ' ').collect()).collect();
    assert_eq!(entries.len(), 2, "{text:?}");
    for (entry, message) in entries.iter().zip(["one", "two"]) {
        assert!(entry[0].contains('T') && entry[0].len() >= 20, "a time in RFC 3339: {entry:?}");
        assert_eq!(entry[1..], ["stdout", "F", message]);
    }
    s.runtime.remove_pod_sandbox(&sandbox).await.expect("remove");
    assert!(std::path::Path::new(&path).exists(), "the log is the kubelet's to remove");
}

/// Created, started, stopped: in order, numbered, to late subscribers too, until acknowledged.
pub async fn events(s: &Subject) {
    let sandbox = s.pod("events").await;
    let mut early = s.runtime.events();
    let id = s.started(&sandbox, "main", "exit 6").await;
    s.exited(&id).await;
    for stream in [&mut early, &mut s.runtime.events()] {
        let mut seen = Vec::new();
        while seen.len() < 3 {
            let event = tokio::time::timeout(PATIENCE, stream.recv()).await.expect("an event").expect("an open stream");
            if event.container_id == id && seen.iter().all(|e: &ContainerEvent| e.sequence < event.sequence) {
                seen.push(event);
            }
        }
        let kinds: Vec<_> = seen.iter().map(|e| e.kind).collect();
        assert_eq!(kinds, [ContainerEventKind::Created, ContainerEventKind::Started, ContainerEventKind::Stopped]);
        assert!(seen.windows(2).all(|w| w[1].sequence == w[0].sequence + 1), "sequences grow by one");
        assert_eq!(seen[2].exit.as_ref().map(|e| e.exit_code), Some(6));
        assert_eq!(seen[2].sandbox_id, sandbox);
        s.runtime.acknowledge(&sandbox, seen[1].sequence);
    }
    let mut rest = s.runtime.events();
    let mut kinds = Vec::new();
    while let Ok(event) = rest.try_recv() {
        if event.container_id == id {
            kinds.push(event.kind);
        }
    }
    assert_eq!(kinds, [ContainerEventKind::Stopped], "what is acknowledged does not come again");
    s.runtime.remove_pod_sandbox(&sandbox).await.expect("remove");
}

/// A port on which nobody listens is refused.
pub async fn port_forward(s: &Subject) {
    let sandbox = s.pod("port-forward").await;
    assert!(s.runtime.port_forward(&sandbox, 9).await.is_err(), "nobody listens there");
    s.runtime.remove_pod_sandbox(&sandbox).await.expect("remove");
}

/// Limits can be changed, usage can be read.
pub async fn statistics(s: &Subject) {
    let sandbox = s.pod("statistics").await;
    let id = s.started(&sandbox, "main", "sleep 1000").await;
    let stats = s.runtime.container_stats(&id).await.expect("stats");
    assert!(stats.memory_usage_bytes > 0 && stats.process_count > 0, "{stats:?}");
    let limits = LinuxContainerResources { memory_limit_in_bytes: 64 << 20, cpu_shares: 512, ..Default::default() };
    s.runtime.update_container_resources(&id, &limits).await.expect("update");
    let resources = s.status(&id).await.resources;
    assert_eq!((resources.memory_limit_in_bytes, resources.cpu_shares), (64 << 20, 512));
    s.runtime.remove_pod_sandbox(&sandbox).await.expect("remove");
}

fn shell(script: &str) -> Vec<String> {
    vec!["sh".into(), "-c".into(), script.into()]
}

async fn drain(stream: Option<mpsc::Receiver<bytes::Bytes>>) -> Vec<u8> {
    let mut stream = stream.expect("a stream that was asked for");
    let mut all = Vec::new();
    while let Some(bytes) = tokio::time::timeout(PATIENCE, stream.recv()).await.expect("an end of the stream") {
        all.extend_from_slice(&bytes);
    }
    all
}

impl Subject {
    fn sandbox(&self, name: &str) -> PodSandboxConfig {
        let name = format!("{}-{name}", self.name);
        let mut config = PodSandboxConfig { hostname: name.clone(), ..Default::default() };
        config.metadata.name.clone_from(&name);
        config.metadata.namespace = "contract".into();
        config.metadata.uid = format!("uid-{name}");
        config.log_directory = self.logs.join(&name).display().to_string();
        config.linux.security_context.namespace_options.pid = NamespaceMode::Container;
        config
    }

    fn container(&self, name: &str, script: &str) -> ContainerConfig {
        let mut config = ContainerConfig { image: self.image.clone(), command: shell(script), ..Default::default() };
        config.metadata.name = name.into();
        config.log_path = format!("{name}/0.log");
        config.linux.security_context.namespace_options.pid = NamespaceMode::Container;
        config
    }

    async fn pod(&self, name: &str) -> String {
        self.runtime.run_pod_sandbox(&self.sandbox(name)).await.expect("run sandbox")
    }

    async fn create(&self, sandbox: &str, name: &str, script: &str) -> String {
        self.runtime.create_container(sandbox, &self.container(name, script)).await.expect("create")
    }

    async fn started(&self, sandbox: &str, name: &str, script: &str) -> String {
        let id = self.create(sandbox, name, script).await;
        self.runtime.start_container(&id).await.expect("start");
        id
    }

    async fn status(&self, id: &str) -> ContainerStatus {
        self.runtime.container_status(id).await.expect("status")
    }

    async fn exited(&self, id: &str) -> ContainerStatus {
        let exited = async {
            loop {
                let status = self.status(id).await;
                if status.state == ContainerState::Exited {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, exited).await.expect("the container exits")
    }
}
