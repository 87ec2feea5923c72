//! `ferry server` and `ferry agent` apart, on a host of the test's own.

use super::{
    PATIENCE, Running, archive, client,
    host::{ADDRESS, Host},
    processes,
};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, Client};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// What the node is called.
pub const NODE: &str = "alone";

pub struct Parts {
    pub host: Host,
    server: Option<Running>,
    agent: Option<Running>,
    /// The command that the server printed, without the program.
    pub join: Vec<String>,
    /// What agents of the past said.
    said: Vec<String>,
}

impl Parts {
    /// An empty host; nothing runs.
    pub fn new() -> Self {
        Parts { host: Host::new(), server: None, agent: None, join: Vec::new(), said: Vec::new() }
    }
    /// Both run, the demo image is there, and the node is Ready.
    pub fn up() -> Self {
        let mut parts = Parts::new();
        parts.begin();
        parts
    }
    /// The same on a host that is there.
    pub fn begin(&mut self) {
        self.start_server();
        self.import();
        self.start_agent(self.join.clone());
        self.wait_ready();
    }
    pub fn data(&self) -> PathBuf {
        self.host.path("agent")
    }
    pub fn start_server(&mut self) {
        let mut command = self.host.ferry(&["server", "--advertise-address", ADDRESS]);
        command.arg("--data-dir").arg(self.host.path("server")).arg("--kubeconfig").arg(self.host.path("kubeconfig"));
        let mut running = Running::spawn(&mut command);
        let Some(line) = running.wait_for("ferry agent ") else { panic!("no server: {}", running.words()) };
        let words = line.split_whitespace().skip(1).map(String::from);
        if self.join.is_empty() {
            self.join = words.collect();
        }
        self.server = Some(running);
    }
    /// Brings the demo image to the node.
    pub fn import(&self) {
        let file = self.host.path("toolbox.tar");
        archive(&file);
        let mut command = self.host.ferry(&["image", "import"]);
        let out = command.arg(&file).arg("--data-dir").arg(self.data()).output().expect("it runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        std::fs::remove_file(file).expect("removed");
    }
    /// `ferry agent` with these arguments.
    pub fn start_agent(&mut self, arguments: Vec<String>) {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = self.host.ferry(&arguments);
        command.arg("--data-dir").arg(self.data()).args(["--node-name", NODE]);
        self.agent = Some(Running::spawn(&mut command));
    }
    /// Once more, with the certificate that it has.
    pub fn start_agent_again(&mut self) {
        let token = self.join.iter().position(|a| a == "--token").expect("a token");
        let mut arguments = self.join.clone();
        arguments.drain(token..token + 2);
        self.start_agent(arguments);
    }
    pub fn kill_agent(&mut self) {
        let mut agent = self.agent.take().expect("it runs");
        let said = agent.words();
        // Its standard error is a pipe: no colours.
        assert!(!said.contains('\u{1b}'), "{said:?}");
        self.said.push(said);
        agent.kill();
    }
    pub fn kill_server(&mut self) {
        self.server.take().expect("it runs").kill();
    }
    pub fn stop_agent(&mut self) -> Option<i32> {
        self.agent.take().expect("it runs").terminate()
    }
    pub fn stop_server(&mut self) -> Option<i32> {
        self.server.take().expect("it runs").terminate()
    }
    /// Processes of pods' shims.
    pub fn shims(&self) -> Vec<u32> {
        processes(&self.data(), |args| args.get(1).is_some_and(|a| a == "shim"))
    }
    /// Runs with a client that has all rights.
    pub fn with<T: Send>(&self, work: impl AsyncFnOnce(Client) -> T + Send) -> T {
        let kubeconfig = self.host.path("kubeconfig");
        self.host.run(|| async move { work(client(&kubeconfig).await).await })
    }
    /// Looks until it is there. A server that does not answer is asked again.
    pub fn eventually<T: Send>(&self, what: &str, look: impl AsyncFn(&Client) -> Option<T> + Sync) -> T {
        let until = Instant::now() + PATIENCE;
        let found = self.with(async |client| {
            while Instant::now() < until {
                if let Some(found) = look(&client).await {
                    return Some(found);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            None
        });
        found.unwrap_or_else(|| panic!("{what}: not within {PATIENCE:?}"))
    }
    pub fn wait_ready(&self) {
        self.eventually("the node is Ready", async |client| {
            let node = Api::<Node>::all(client.clone()).get_opt(NODE).await.ok()??;
            let conditions = node.status?.conditions?;
            conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True").then_some(())
        });
    }
    pub async fn pod(client: &Client, name: &str) -> Option<Pod> {
        Api::<Pod>::namespaced(client.clone(), "default").get_opt(name).await.ok()?
    }
    /// Waits until nothing of pods is on the host.
    pub fn nothing_left(&self) {
        let until = Instant::now() + PATIENCE;
        let mut left = self.left_of_pods();
        while !left.is_empty() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(100));
            left = self.left_of_pods();
        }
        assert!(left.is_empty(), "{} things are left of pods that are gone:\n{}", left.len(), left.join("\n"));
    }
    /// What of pods is on the host although there is none.
    pub fn left_of_pods(&self) -> Vec<String> {
        let data = self.data();
        let mut left: Vec<String> = self.shims().iter().map(|pid| format!("shim {pid}")).collect();
        left.extend(self.host.mounts(&data).into_iter().map(|m| format!("mount {m}")));
        // The node's own, which its pods come and go below.
        let kept = ["shims", "kubepods", "kubepods/besteffort", "kubepods/burstable"];
        let of_pods = self.host.cgroups("pods").into_iter().filter(|c| !kept.contains(&c.as_str()));
        left.extend(of_pods.map(|c| format!("cgroup {c}")));
        left.extend(self.host.ports().into_iter().map(|l| format!("link {l}")));
        for directory in ["runtime/pods", "network/attachments", "pods", "logs"] {
            let entries = std::fs::read_dir(data.join(directory)).into_iter().flatten().flatten();
            left.extend(entries.map(|e| format!("file {}", e.path().display())));
        }
        left
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let last = self.agent.as_mut().map(Running::words);
            let said: Vec<String> = self.said.drain(..).chain(last).collect();
            let lines: Vec<&str> = said.iter().flat_map(|s| s.lines()).collect();
            eprintln!("--- agents\n{}", lines[lines.len().saturating_sub(80)..].join("\n"));
            let log = std::fs::read_to_string(self.host.path("server/server.log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- server\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
    }
}
