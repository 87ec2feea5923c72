//! Two servers, each a process of its own, on one etcd, and `kill -9`.

use crate::{
    common::{eventually, server::Server},
    soak::{State, Told, Watcher, Writer, object, revision, state},
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    coordination::v1::Lease,
    core::v1::{ConfigMap, Pod},
};
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};
use store_etcd::lab::Lab;
use tokio::task::JoinHandle;

/// Of each server.
const WRITERS: u64 = 12;

fn writer(number: u64) -> Writer {
    Writer { number, known: HashMap::new(), counter: 0 }
}

async fn holder(leases: &Api<Lease>) -> Option<String> {
    leases.get_opt("ferry-controllers").await.ok()??.spec?.holder_identity.filter(|holder| !holder.is_empty())
}

/// Until `wanted` answers something.
async fn wait<T>(what: &str, mut wanted: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..1800 {
        if let Some(found) = wanted().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}: not in time");
}

async fn end(tasks: Vec<JoinHandle<Writer>>) -> Vec<Writer> {
    let mut writers = Vec::new();
    for task in tasks {
        writers.push(task.await.expect("a writer"));
    }
    writers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_servers_on_one_etcd_one_is_killed_under_load() {
    let lab = Lab::one("processes");
    let (mut a, mut b) = (Server::new(), Server::new());
    let pki = a.dir.0.join("pki").display().to_string();
    for server in [&mut a, &mut b] {
        server.args = ["--store", &format!("etcd={}", lab.url(0)), "--pki-dir", &pki].map(String::from).to_vec();
    }
    a.start();
    let leases = Api::<Lease>::namespaced(a.client().await, "kube-system");
    let first = wait("a leader", async || holder(&leases).await).await;
    b.start();
    let (to_a, to_b) = (a.client().await, b.client().await);
    let told = Arc::new(Mutex::new(Told::default()));
    let acknowledged = || told.lock().expect("told").writes.len();
    let run = |number, client: &kube::Client| tokio::spawn(writer(number).run(client.clone(), told.clone()));
    let watching = tokio::spawn(Watcher::default().run(to_b.clone(), None));
    let through_a: Vec<_> = (0..WRITERS).map(|n| run(n, &to_a)).collect();
    let mut through_b: Vec<_> = (WRITERS..2 * WRITERS).map(|n| run(n, &to_b)).collect();
    let reached = |count| eventually("writes", || (acknowledged() >= count).then_some(()));
    tokio::task::block_in_place(|| reached(400));
    a.kill();
    let mut writers = end(through_a).await;
    // What they wrote is looked at in the end: nobody knows yet what of it etcd still takes.
    let before = acknowledged();
    through_b.extend((2 * WRITERS..3 * WRITERS).map(|n| run(n, &to_b)));
    tokio::task::block_in_place(|| reached(before + 400));
    // The other takes the controllers over.
    let leases = Api::<Lease>::namespaced(to_b.clone(), "kube-system");
    wait("another leader", async || holder(&leases).await.filter(|now| *now != first)).await;
    let deployment = serde_json::json!({
        "metadata": {"name": "late"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "late"}},
                 "template": {"metadata": {"labels": {"app": "late"}},
                              "spec": {"containers": [{"name": "c", "image": "i"}]}}},
    });
    let deployment: Deployment = serde_json::from_value(deployment).expect("a Deployment");
    let deployments = Api::<Deployment>::namespaced(to_b.clone(), "default");
    deployments.create(&PostParams::default(), &deployment).await.expect("created");
    let pods = Api::<Pod>::namespaced(to_b, "default");
    let late = ListParams::default().labels("app=late");
    wait("pods", async || pods.list(&late).await.ok().filter(|list| list.items.len() == 2)).await;
    // The one that was killed comes back, and the other goes.
    a.start();
    b.kill();
    writers.extend(end(through_b).await);
    let mut watcher = watching.await.expect("a watcher");
    let client = a.client().await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let last = maps.create(&PostParams::default(), &object("last", "last", None)).await.expect("created");
    let list = maps.list(&ListParams::default().labels("soak=yes")).await.expect("a list");
    let have: BTreeMap<String, State> =
        list.items.iter().map(|m| (m.metadata.name.clone().expect("a name"), state(m))).collect();
    watcher = watcher.run(client, Some(revision(last.metadata.resource_version.as_deref()))).await;
    assert_eq!(watcher.state, have, "what was heard, at one server and then at the other, leads to what there is");
    for (key, known) in writers.iter_mut().flat_map(|writer| &mut writer.known) {
        known.settle(key, have.get(key).cloned());
    }
    let told = std::mem::take(&mut *told.lock().expect("told"));
    for (at, (key, state)) in &told.writes {
        assert!(
            watcher.skipped(*at) || watcher.heard.get(at) == Some(&(key.clone(), Some(state.clone()))),
            "{key}, acknowledged at {at}"
        );
    }
    assert!(watcher.expired == 0 && told.deletions.iter().all(|uid| watcher.deleted.contains(uid)));
}
