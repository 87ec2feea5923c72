//! The nodes of `up`: a machine each, and in it an agent that is this same binary.

use crate::{control_plane::ControlPlane, join, layout::Layout, steps::say};
use base::time::{self, Timestamp};
use client::{Client, kinds};
use cloud_local::{Config, Machine, Machines, NodeRoute, Spec};
use control::{Caches, Selection};
use netlink::Cidr;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    pin::pin,
    process::Child,
    sync::Arc,
    time::{Duration, Instant},
};
use value::{Object, ObjectKey, Value};

/// How long pods get to end when `up` is stopped, beyond their own grace period.
const PATIENCE: Duration = Duration::from_secs(35);

/// Nodes are Ready within a second or two; after this long somebody wants to know why they are not.
const SILENCE: Duration = Duration::from_secs(30);

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

    /// Waits until every node is Ready, and says so in this run: what an earlier one wrote is still there. Where that takes
    /// long, says once what is known of those that are not; at the end, which of them take no pods.
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
        let (mut late, mut told) = (pin!(tokio::time::sleep(SILENCE)), false);
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
                for name in &names {
                    let node = nodes.get(&ObjectKey::cluster(name.as_str()));
                    node.and_then(|n| pressed(name, &n.value())).iter().for_each(tell);
                }
                return Ok(());
            }
            tokio::select! {
                () = &mut late, if !told => {
                    told = true;
                    for (machine, _) in &self.running {
                        let node = nodes.get(&ObjectKey::cluster(machine.name.as_str()));
                        let node = node.map(|n| n.value());
                        let log = machine.directory.join("agent.log");
                        unready(&machine.name, node.as_ref(), lives(&machine.name).is_some(), &log).iter().for_each(tell);
                    }
                }
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
    condition(&node.value(), "Ready").is_some_and(|c| c.str_at(&["status"]) == "True")
}

fn condition<'a>(node: &'a Value, kind: &str) -> Option<&'a Value> {
    node.items_at(&["status", "conditions"]).iter().find(|c| c.str_at(&["type"]) == kind)
}

/// A line below the steps.
fn tell(line: &String) {
    say(format_args!("{:>8}  {line}", ""));
}

/// Why a node is not Ready, as far as its object says, and where its agent says more. `lives`: it has renewed its lease in
/// this run.
fn unready(name: &str, node: Option<&Value>, lives: bool, log: &Path) -> Option<String> {
    let why = match node {
        None => "has not registered".to_string(),
        Some(node) if condition(node, "Ready").is_none_or(|c| c.str_at(&["status"]) != "True") => {
            // All that is not as it should be: a condition of trouble is no trouble where it is False.
            let wrong = |c: &&Value| {
                let (kind, status) = (c.str_at(&["type"]), c.str_at(&["status"]));
                status != if kind == "Ready" { "True" } else { "False" }
            };
            let conditions = node.items_at(&["status", "conditions"]).iter().filter(wrong);
            let words: Vec<&str> = conditions.map(|c| c.str_at(&["message"])).filter(|text| !text.is_empty()).collect();
            match words.is_empty() {
                true => "is not Ready, and does not say why".to_string(),
                false => format!("is not Ready: {}", words.join("; ")),
            }
        }
        Some(_) if !lives => "has not reported in this run".to_string(),
        Some(_) => return None,
    };
    Some(format!("{name} {why}; see {}", log.display()))
}

/// That a node is Ready and yet takes no pods, because its disk is full.
fn pressed(name: &str, node: &Value) -> Option<String> {
    let disk = condition(node, "DiskPressure").filter(|c| c.str_at(&["status"]) == "True")?;
    let why = disk.str_at(&["message"]);
    Some(format!("{name} reports DiskPressure ({why}): it takes no pods, and may end some, until its disk has room"))
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

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    fn node(ready: &str, disk: &str) -> Value {
        value!({"status": {"conditions": [
            {"type": "MemoryPressure", "status": "False", "message": "kubelet has sufficient memory available"},
            {"type": "DiskPressure", "status": disk, "message": "kubelet has disk pressure"},
            {"type": "Ready", "status": ready, "message": "container runtime network not ready"},
        ]}})
    }

    #[test]
    fn why_nodes_are_not_ready() {
        let see = "; see /m/agent.log";
        for (node, lives, want) in [
            (None, false, Some("node-1 has not registered")),
            (Some(value!({})), true, Some("node-1 is not Ready, and does not say why")),
            (Some(node("False", "False")), true, Some("node-1 is not Ready: container runtime network not ready")),
            (
                Some(node("Unknown", "True")),
                false,
                Some("node-1 is not Ready: kubelet has disk pressure; container runtime network not ready"),
            ),
            // What an earlier run wrote.
            (Some(node("True", "False")), false, Some("node-1 has not reported in this run")),
            (Some(node("True", "True")), true, None),
        ] {
            let said = unready("node-1", node.as_ref(), lives, Path::new("/m/agent.log"));
            assert_eq!(said, want.map(|text| format!("{text}{see}")), "{node:?}");
        }
    }

    #[test]
    fn a_full_disk_is_named() {
        let said = pressed("node-1", &node("True", "True"));
        assert!(said.is_some_and(|text| text.starts_with("node-1 reports DiskPressure (kubelet has disk pressure)")));
        assert_eq!(pressed("node-1", &node("True", "False")), None);
        assert_eq!(pressed("node-1", &value!({})), None);
    }
}
