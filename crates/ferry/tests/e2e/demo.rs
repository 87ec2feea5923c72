//! The demo as a new user runs it, and what becomes of it when processes die.

use crate::common::{Cluster, PATIENCE, eventually, http_get, leftovers, signal};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};
use rustix::process::Signal;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

async fn restarts(cluster: &Cluster) -> BTreeMap<String, i32> {
    let pods: Api<Pod> = Api::namespaced(cluster.client().await, "default");
    let pods = pods.list(&ListParams::default().labels("app=demo")).await.expect("pods");
    let count = |p: &Pod| {
        let statuses = p.status.as_ref().and_then(|s| s.container_statuses.as_ref());
        statuses.into_iter().flatten().map(|c| c.restart_count).sum()
    };
    pods.items.iter().map(|p| (p.metadata.name.clone().unwrap_or_default(), count(p))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_answers_survives_and_leaves_nothing() {
    let mut cluster = Cluster::up(&["--nodes", "2", "--demo"]);
    let line = cluster.wait_for("demo answers at ");
    let address = line.rsplit(' ').next().expect("an address").to_string();
    let (code, page) = http_get(&address, "/").expect("an answer");
    assert_eq!(code, 200);
    assert!(page.contains("node-") && page.contains("demo-"), "the page names pod and node: {page}");
    let both = eventually("both replicas answer", || {
        let pods: std::collections::BTreeSet<String> =
            (0..40).filter_map(|_| http_get(&address, "/hostname")).map(|(_, name)| name).collect();
        (pods.len() == 2).then_some(pods)
    });
    assert_eq!(both.len(), 2);
    let before = eventually_restarts(&cluster).await;

    // kill -9 of everything but the shims: the pods go on answering all the while.
    let (asking, failed) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let (go_on, lost, target) = (asking.clone(), failed.clone(), address.clone());
    let client = std::thread::spawn(move || {
        let mut answers = 0;
        while go_on.load(Relaxed) {
            match http_get(&target, "/healthz") {
                Some((200, _)) => answers += 1,
                _ => lost.store(true, Relaxed),
            }
        }
        answers
    });
    let (agents, shims) = (cluster.agents(), cluster.shims());
    assert_eq!((agents.len(), shims.len()), (2, 2));
    cluster.kill();
    agents.iter().for_each(|pid| signal(*pid, Signal::KILL));
    cluster.start(&["--nodes", "2", "--demo"]);
    cluster.wait_for("demo answers at ");
    assert_eq!(cluster.shims(), shims, "no pod was started again");
    assert_eq!(eventually_restarts(&cluster).await, before, "restartCount stays");
    asking.store(false, Relaxed);
    assert!(client.join().expect("the client") > 10);
    assert!(!failed.load(Relaxed), "a request failed while server and agents were dead");

    // Ctrl-C ends pods and control plane; the state stays, and the next run takes it up.
    assert_eq!(cluster.terminate(), Some(0));
    assert!(cluster.shims().is_empty(), "pods end with `up`");
    cluster.start(&["--nodes", "2"]);
    cluster.wait_for("ready");
    eventually("the demo answers again", || http_get(&address, "/healthz").filter(|a| a.0 == 200));
    assert_eq!(eventually_restarts(&cluster).await.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());

    // down ends what runs and removes all of it.
    cluster.kill();
    cluster.down();
    assert_eq!(leftovers(&cluster), Vec::<String>::new());
    assert!(!cluster.data().exists());
}

/// The restart counts once both pods are there.
async fn eventually_restarts(cluster: &Cluster) -> BTreeMap<String, i32> {
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        let found = restarts(cluster).await;
        if found.len() == 2 {
            return found;
        }
        assert!(std::time::Instant::now() < until, "{found:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
