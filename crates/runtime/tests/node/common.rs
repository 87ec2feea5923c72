//! A node for one test: its own state directory, cgroup and image, all gone when it is dropped, also by a panic.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cri::{ContainerConfig, ContainerStatus, NamespaceMode, PodSandboxConfig, RuntimeService};
use images::toolbox::{Recipe, make_image};
use runtime::{Config, Runtime, ShimCommand};

#[path = "../../testbox/network.rs"]
mod network;

pub const TESTBOX: &str = env!("CARGO_BIN_EXE_runtime-testbox");
pub const IMAGE: &str = "ferry.local/testbox:latest";

pub struct Node {
    pub root: PathBuf,
    pub cgroup: String,
    pub runtime: Option<Runtime>,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Node {
    pub async fn new() -> Self {
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ferry-runtime-test-{}-{n}", std::process::id());
        let root = PathBuf::from("/tmp").join(&name);
        std::fs::create_dir_all(root.join("logs")).unwrap();
        let mut node = Self { root, cgroup: format!("/{name}"), runtime: None };
        let links = [
            "true", "false", "echo", "env", "cat", "ls", "sleep", "status", "stubborn", "polite", "hog", "spam",
            "serve", "sh",
        ];
        let recipe = Recipe { binary: Path::new(TESTBOX), tag: IMAGE, links: &links, cmd: &["echo", "hello"] };
        make_image(&node.images(), &recipe).unwrap();
        node.open().await;
        node
    }

    pub fn images(&self) -> images::Store {
        images::Store::open(&self.root.join("images")).unwrap()
    }

    pub fn config(&self) -> Config {
        let network = Arc::new(network::Loopback);
        let mut config = Config::new(self.root.join("state"), self.images(), network);
        config.cgroup_root.clone_from(&self.cgroup);
        config.shim = ShimCommand { program: TESTBOX.into(), args: vec!["shim".into()] };
        config
    }

    pub async fn open(&mut self) {
        self.runtime = None;
        self.runtime = Some(Runtime::open(self.config()).await.unwrap());
    }

    pub fn rt(&self) -> &Runtime {
        self.runtime.as_ref().expect("the runtime is open")
    }

    pub fn sandbox(&self, name: &str) -> PodSandboxConfig {
        let mut config = PodSandboxConfig { hostname: name.into(), ..Default::default() };
        config.metadata.name = name.into();
        config.metadata.namespace = "test".into();
        config.metadata.uid = format!("uid-{name}");
        config.log_directory = self.root.join("logs").join(name).display().to_string();
        config.linux.security_context.namespace_options.pid = NamespaceMode::Container;
        config
    }

    pub fn container(&self, name: &str, command: &[&str]) -> ContainerConfig {
        let mut config = ContainerConfig { image: IMAGE.into(), ..Default::default() };
        config.metadata.name = name.into();
        config.command = strings(command);
        config.log_path = format!("{name}/0.log");
        config.linux.security_context.namespace_options.pid = NamespaceMode::Container;
        config
    }

    /// Runs a pod with one container; returns the ids of both.
    pub async fn run(&self, name: &str, config: &ContainerConfig) -> (String, String) {
        let sandbox = self.rt().run_pod_sandbox(&self.sandbox(name)).await.unwrap();
        let container = self.rt().create_container(&sandbox, config).await.unwrap();
        self.rt().start_container(&container).await.unwrap();
        (sandbox, container)
    }

    /// The status once the container has exited.
    pub async fn exited(&self, id: &str) -> ContainerStatus {
        self.until(id, |s| s.state == cri::ContainerState::Exited).await
    }

    pub async fn until(&self, id: &str, wanted: impl Fn(&ContainerStatus) -> bool) -> ContainerStatus {
        for _ in 0..6000 {
            let status = self.rt().container_status(id).await.unwrap();
            if wanted(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("container {id} does not get there: {:?}", self.rt().container_status(id).await);
    }

    /// Messages of the log, without time and tag.
    pub fn log(&self, pod: &str, container: &str) -> String {
        let path = self.root.join("logs").join(pod).join(container).join("0.log");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        text.lines().map(|l| l.splitn(4, ' ').nth(3).unwrap_or("")).collect::<Vec<_>>().join("\n")
    }

    /// The log once it contains some text.
    pub async fn log_with(&self, pod: &str, container: &str, text: &str) -> String {
        for _ in 0..6000 {
            let log = self.log(pod, container);
            if log.contains(text) {
                return log;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{text:?} does not appear in {:?}", self.log(pod, container));
    }

    /// What this node has left on the machine: mounts, cgroups of pods, processes, directories of pods.
    pub fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        let root = self.root.display().to_string();
        for mount in sandbox::mountinfo::read().unwrap() {
            if mount.mountpoint.starts_with(&self.root) {
                left.push(format!("mount {}", mount.mountpoint.display()));
            }
        }
        for h in sandbox::cgroup::Hierarchies::detect().unwrap().list {
            cgroups(&h.mountpoint.join(self.cgroup.trim_start_matches('/')), &mut left);
        }
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let cmdline = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            if cmdline.contains("shim") && cmdline.contains(&root) {
                left.push(format!("process {}", cmdline.replace('\0', " ")));
            }
        }
        for entry in std::fs::read_dir(self.root.join("state/pods")).into_iter().flatten().flatten() {
            left.push(format!("directory {}", entry.path().display()));
        }
        left
    }

    pub async fn exec(&self, id: &str, cmd: &[&str]) -> cri::ExecSyncResponse {
        self.rt().exec_sync(id, &strings(cmd), Duration::from_secs(30)).await.unwrap()
    }
}

fn cgroups(dir: &Path, left: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if entry.file_type().is_ok_and(|t| t.is_dir()) && name != "shims" && name != "pods" && name != "kubepods" {
            left.push(format!("cgroup {}", entry.path().display()));
        }
        if name == "pods" || name == "kubepods" {
            cgroups(&entry.path(), left);
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.runtime = None;
        let status = Command::new(TESTBOX).arg("clean").arg(&self.root).arg(&self.cgroup).status();
        if !std::thread::panicking() {
            assert!(status.is_ok_and(|s| s.success()), "cleaning up failed");
        }
    }
}

pub fn strings(s: &[&str]) -> Vec<String> {
    s.iter().map(|s| s.to_string()).collect()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
