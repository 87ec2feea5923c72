//! A daemon under churn, made to be killed: it creates, starts and deletes short-lived pods, and writes every exit that it
//! hears of to a ledger before it acknowledges it.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use cri::{ContainerConfig, ContainerEventKind, PodSandboxConfig, RuntimeService};
use tokio::sync::Semaphore;

/// `churn <root> <cgroup> <first> <last> <image>`: makes pods numbered first to last that the ledger does not name yet.
/// A pod's container exits with its number modulo 100. Prints `done` when all pods' exits are in the ledger and all pods are gone.
pub fn run(args: &[String]) {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("tokio");
    let (first, last): (u32, u32) = (args[2].parse().expect("number"), args[3].parse().expect("number"));
    tokio.block_on(churn(args, first, last));
    println!("done");
}

async fn churn(args: &[String], first: u32, last: u32) {
    let runtime = Arc::new(runtime::Runtime::open(crate::config(&args[0], &args[1])).await.expect("runtime"));
    let ledger = format!("{}/ledger", args[0]);
    let heard = Arc::new(tokio::sync::watch::Sender::new(read_ledger(&ledger)));
    tokio::spawn(listen(runtime.clone(), ledger, heard.clone()));

    // What an earlier daemon left: its pods go through the same end as new ones.
    let mut owned = BTreeMap::new();
    for sandbox in runtime.list_pod_sandbox(&Default::default()).await.expect("list") {
        owned.insert(sandbox.metadata.name.clone(), sandbox.id);
    }
    let limit = Arc::new(Semaphore::new(8));
    let mut tasks = Vec::new();
    for n in first..=last {
        let (runtime, heard, limit) = (runtime.clone(), heard.clone(), limit.clone());
        let (existing, image) = (owned.remove(&format!("pod-{n}")), args[4].clone());
        tasks.push(tokio::spawn(async move {
            let _permit = limit.acquire_owned().await.expect("permit");
            one(&runtime, n, existing, &image, &heard).await;
        }));
    }
    for task in tasks {
        task.await.expect("pod");
    }
}

type Heard = tokio::sync::watch::Sender<BTreeMap<String, i32>>;

/// One pod from wherever it stands to its end.
async fn one(runtime: &runtime::Runtime, n: u32, mut existing: Option<String>, image: &str, heard: &Heard) {
    let name = format!("pod-{n}");
    loop {
        let sandbox = match existing.take() {
            Some(id) => id,
            None if heard.borrow().contains_key(&name) => return,
            None => {
                let mut config = PodSandboxConfig { hostname: name.clone(), ..Default::default() };
                config.metadata.name = name.clone();
                config.metadata.uid = format!("uid-{n}");
                config.linux.security_context.namespace_options.pid = cri::NamespaceMode::Container;
                runtime.run_pod_sandbox(&config).await.expect("sandbox")
            }
        };
        if !heard.borrow().contains_key(&name) {
            let filter = cri::ContainerFilter { pod_sandbox_id: Some(sandbox.clone()), ..Default::default() };
            let status = runtime.pod_sandbox_status(&sandbox).await.expect("status");
            let containers = runtime.list_containers(&filter).await.expect("list");
            if status.state == cri::PodSandboxState::Ready {
                to_the_exit(runtime, n, &sandbox, containers, image, heard).await;
            } else {
                // Killed while it was being made: nothing has run in it, and it is made again.
                assert!(containers.is_empty(), "{name} was stopped before its exit was heard of");
            }
        }
        runtime.stop_pod_sandbox(&sandbox).await.expect("stop");
        runtime.remove_pod_sandbox(&sandbox).await.expect("remove");
    }
}

async fn to_the_exit(
    runtime: &runtime::Runtime,
    n: u32,
    sandbox: &str,
    containers: Vec<cri::Container>,
    image: &str,
    heard: &Heard,
) {
    let name = format!("pod-{n}");
    let (id, state) = match containers.first() {
        Some(container) => (container.id.clone(), container.state),
        None => {
            let mut config = ContainerConfig { image: image.into(), ..Default::default() };
            config.metadata.name = name.clone();
            config.command = ["sh", "-c", &format!("sleep 0.02; exit {}", n % 100)].map(String::from).to_vec();
            (runtime.create_container(sandbox, &config).await.expect("create"), cri::ContainerState::Created)
        }
    };
    if state == cri::ContainerState::Created {
        runtime.start_container(&id).await.expect("start");
    }
    let mut changes = heard.subscribe();
    let known = changes.wait_for(|h| h.contains_key(&name));
    tokio::time::timeout(Duration::from_secs(60), known).await.expect("an exit was lost").expect("listener");
}

/// Writes exits down, once each, and only then acknowledges them.
async fn listen(
    runtime: Arc<runtime::Runtime>,
    ledger: String,
    heard: Arc<tokio::sync::watch::Sender<BTreeMap<String, i32>>>,
) {
    let mut file = OpenOptions::new().create(true).append(true).open(&ledger).expect("ledger");
    let mut events = runtime.events();
    while let Some(event) = events.recv().await {
        if let (ContainerEventKind::Stopped, Some(exit)) = (event.kind, &event.exit) {
            let Ok(status) = runtime.container_status(&event.container_id).await else { continue };
            let name = status.metadata.name;
            if !heard.borrow().contains_key(&name) {
                file.write_all(format!("{name} {} {}\n", exit.exit_code, exit.reason).as_bytes()).expect("ledger");
                heard.send_modify(|h| _ = h.insert(name, exit.exit_code));
            }
        }
        runtime.acknowledge(&event.sandbox_id, event.sequence);
    }
}

fn read_ledger(path: &str) -> BTreeMap<String, i32> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|l| {
            let mut words = l.split(' ');
            Some((words.next()?.to_string(), words.next()?.parse().ok()?))
        })
        .collect()
}
