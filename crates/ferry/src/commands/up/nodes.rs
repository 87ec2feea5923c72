//! The nodes of `up`: a machine each, and in it an agent that is this same binary.

use crate::{control_plane::ControlPlane, join, layout::Layout};
use base::time::{self, Timestamp};
use client::{Client, kinds};
use cloud_local::{Config, Machine, Machines, NodeRoute, Spec};
use control::{Caches, Selection};
use netlink::Cidr;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    net::Ipv4Addr,
    path::PathBuf,
    process::Child,
    sync::Arc,
    time::{Duration, Instant},
};
use value::{Object, ObjectKey};

/// How long pods get to end when `up` is stopped, beyond their own grace period.
const PATIENCE: Duration = Duration::from_secs(35);

pub struct Nodes {
    machines: Arc<Machines>,
    layout: Layout,
    pods: Cidr,
    /// What the nodes join with; taken back once they have.
    token: Option<String>,
    running: Vec<(Machine, Child)>,
    /// When the agents of this run were started.
    started: Timestamp,
    routes: Option<tokio::task::JoinHandle<()>>,
}

impl Nodes {
    /// Opens the network of the machines.
    pub fn open(layout: &Layout) -> Result<Self, String> {
        let machines = Machines::open(Config::new(layout.machines())).map_err(|e| e.to_string())?;
        let pods = machines.pod_network(&layout.pod_network()).map_err(|e| e.to_string())?;
        Ok(Nodes {
            machines: Arc::new(machines),
            layout: layout.clone(),
            pods,
            token: None,
            running: Vec::new(),
            started: Timestamp::MAX,
            routes: None,
        })
    }
    /// The host's address in it.
    pub fn gateway(&self) -> Ipv4Addr {
        self.machines.gateway()
    }
    pub fn network(&self) -> String {
        self.machines.node_network().to_string()
    }
    /// The range of all pods.
    pub fn pods(&self) -> Cidr {
        self.pods
    }
    /// The address of a running node.
    pub fn address(&self) -> Option<String> {
        self.running.first().map(|(machine, _)| machine.address.address.to_string())
    }

    /// Makes the machines and starts an agent in each. Agents of an earlier run are ended first; their pods are not.
    pub async fn start(&mut self, plane: &ControlPlane, count: u16) -> Result<(), String> {
        let now = base::clock::Clock::now(&base::clock::System);
        self.started = now;
        let token = join::make_token(&plane.admin(), now).await.map_err(|e| e.to_string())?;
        let server = format!("https://{}:{}", self.gateway(), plane.local.port());
        let program = std::env::current_exe().map_err(|e| format!("this program: {e}"))?;
        for n in 1..=count {
            let machine = self.machines.create(&format!("node-{n}"), &Spec::default()).map_err(|e| e.to_string())?;
            end_agents(&machine, Signal::KILL)?;
            let arguments = self.arguments(&machine, &server);
            let child =
                machine.start(&program, &arguments, [("FERRY_TOKEN", token.as_str())]).map_err(|e| e.to_string())?;
            self.running.push((machine, child));
        }
        self.token = Some(token);
        self.routes = Some(tokio::spawn(keep_routes(self.machines.clone(), Caches::new(plane.admin()))));
        Ok(())
    }

    fn arguments(&self, machine: &Machine, server: &str) -> Vec<String> {
        let path = |p: PathBuf| p.to_string_lossy().into_owned();
        let pairs = [
            ("--machine", path(machine.directory.clone())),
            ("--data-dir", path(machine.storage())),
            ("--image-dir", path(self.layout.images())),
            ("--server", server.to_string()),
            ("--ca-file", path(self.layout.ca())),
            ("--node-name", machine.name.clone()),
            ("--cluster-cidr", self.pods.to_string()),
        ];
        let flags = pairs.into_iter().flat_map(|(flag, value)| [flag.to_string(), value]);
        ["agent".to_string()].into_iter().chain(flags).chain(["--end-pods".to_string()]).collect()
    }

    /// Waits until every node is Ready, and says so in this run: what an earlier one wrote is still there.
    pub async fn wait_ready(&mut self, client: &Client, count: u16) -> Result<(), String> {
        let caches = Caches::new(client.clone());
        let nodes = caches.kind(&kinds::NODES);
        let leases = caches.select(&kinds::LEASES, Selection::namespace("kube-node-lease"));
        let (sender, mut changed) = tokio::sync::mpsc::unbounded_channel();
        for cache in [&nodes, &leases] {
            let sender = sender.clone();
            cache.on_event(move |_| {
                let _ = sender.send(());
            });
        }
        let names: Vec<String> = (1..=count).map(|n| format!("node-{n}")).collect();
        loop {
            let lives = |name: &str| {
                let renewed = leases.get(&ObjectKey::new("kube-node-lease", name))?;
                time::parse(renewed.value().str_at(&["spec", "renewTime"])).filter(|at| *at >= self.started)
            };
            let ready = |name: &&String| {
                nodes.get(&ObjectKey::cluster(name.as_str())).is_some_and(|n| is_ready(&n)) && lives(name).is_some()
            };
            if names.iter().filter(ready).count() == names.len() {
                if let Some(token) = self.token.take()
                    && let Err(error) = join::drop_token(client, &token).await
                {
                    tracing::warn!(%error, "the nodes' bootstrap token could not be taken back; it expires by itself");
                }
                return Ok(());
            }
            tokio::select! {
                _ = changed.recv() => {}
                () = tokio::time::sleep(Duration::from_millis(200)) => self.check_agents()?,
            }
        }
    }

    /// Resolves when an agent has ended by itself.
    pub async fn watch(&mut self) -> String {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if let Err(why) = self.check_agents() {
                return why;
            }
        }
    }

    fn check_agents(&mut self) -> Result<(), String> {
        for (machine, child) in &mut self.running {
            if let Ok(Some(status)) = child.try_wait() {
                let log = machine.directory.join("agent.log");
                let text = std::fs::read_to_string(&log).unwrap_or_default();
                let last = text.lines().last().unwrap_or("it left no word");
                return Err(format!("the agent of {} ended ({status}): {last}; see {}", machine.name, log.display()));
            }
        }
        Ok(())
    }

    /// Ends the pods and the agents.
    pub async fn stop(mut self, _client: &Client) -> Result<(), String> {
        if let Some(routes) = self.routes.take() {
            routes.abort();
        }
        let machines: Vec<Machine> = self.running.iter().map(|(m, _)| m.clone()).collect();
        let ended = tokio::task::spawn_blocking(move || {
            for (_, child) in &mut self.running {
                if let Some(pid) = Pid::from_raw(child.id() as i32) {
                    let _ = kill_process(pid, Signal::TERM);
                }
            }
            let until = Instant::now() + PATIENCE;
            for (machine, child) in &mut self.running {
                while child.try_wait().ok().flatten().is_none() {
                    if Instant::now() > until {
                        let _ = child.kill();
                        return Err(format!(
                            "the pods of {} did not end in time; `ferry down` ends them",
                            machine.name
                        ));
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            Ok(())
        });
        let outcome = ended.await.map_err(|e| e.to_string())?;
        tracing::info!(machines = machines.len(), "nodes ended");
        outcome
    }

    /// Ends agents that were started before something failed.
    pub async fn stop_started(layout: &Layout) -> Result<(), String> {
        let nodes = Nodes::open(layout)?;
        for machine in nodes.machines.list().map_err(|e| e.to_string())? {
            end_agents(&machine, Signal::TERM)?;
        }
        Ok(())
    }
}

/// Ends the agents of a machine and waits until they are gone. With `KILL` their pods live on.
fn end_agents(machine: &Machine, signal: Signal) -> Result<(), String> {
    let until = Instant::now() + PATIENCE;
    let mut told = Vec::new();
    loop {
        let agents = machine.agents().map_err(|e| e.to_string())?;
        if agents.is_empty() {
            return Ok(());
        }
        for pid in &agents {
            let late = Instant::now() > until;
            if let Some(pid) = Pid::from_raw(*pid as i32).filter(|p| late || !told.contains(p)) {
                let _ = kill_process(pid, if late { Signal::KILL } else { signal });
                told.push(pid);
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_ready(node: &Object) -> bool {
    let conditions = node.value();
    let conditions = conditions.items_at(&["status", "conditions"]);
    conditions.iter().any(|c| c.str_at(&["type"]) == "Ready" && c.str_at(&["status"]) == "True")
}

/// Keeps the routes to the nodes' pods, on the host and in every machine.
async fn keep_routes(machines: Arc<Machines>, caches: Caches) {
    let cache = caches.kind(&kinds::NODES);
    let (sender, mut changed) = tokio::sync::mpsc::unbounded_channel();
    cache.on_event(move |event| {
        let range = |o: Option<&Arc<Object>>| o.and_then(|o| route_of(o));
        if range(event.old) != range(event.new) {
            let _ = sender.send(());
        }
    });
    while changed.recv().await.is_some() {
        while changed.try_recv().is_ok() {}
        let routes: Vec<NodeRoute> = cache.list().iter().filter_map(|n| route_of(n)).collect();
        let machines = machines.clone();
        let set = tokio::task::spawn_blocking(move || machines.set_routes(&routes).map_err(|e| e.to_string()));
        if let Ok(Err(error)) = set.await {
            tracing::error!(%error, "routes to pods could not be set");
        }
    }
}

fn route_of(node: &Object) -> Option<NodeRoute> {
    let value = node.value();
    let addresses = value.items_at(&["status", "addresses"]);
    let address = addresses.iter().find(|a| a.str_at(&["type"]) == "InternalIP")?.str_at(&["address"]).parse().ok()?;
    let pod_cidrs = value.items_at(&["spec", "podCIDRs"]).iter().filter_map(|c| c.as_str()?.parse().ok()).collect();
    Some(NodeRoute { node: node.name().into(), address, pod_cidrs })
}
