//! A flood: thousands of connections, each with a watch of its own, and clients that list all pods in a loop, while a node
//! renews its lease and a leader its own. What counts is the slowest renewal, from the first connection of the flood on.
//!
//! Everybody comes by impersonation through the administrator's certificate, so that authorization and priority and fairness see
//! whom they would see: a user who may look at everything, `system:node:…` and `system:kube-controller-manager`.

use crate::{
    connection::{Call, Connection},
    ferry::Server,
    figures::Figures,
    load::{self, Bounds},
    objects,
    options::Options,
    phases, process,
    target::{Acting, Target},
};
use http::{Method, StatusCode};
use serde_json::json;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

const NODE: &str = "bench-node";
/// A lease that its role lets the controller manager renew.
const LEADER: &str = "kube-controller-manager";
const USER: &str = "bench-flood";
/// Pods that the lists read (4.5 KB each).
const PODS: u64 = 5_000;
/// Clients that list without pause.
const LISTS: usize = 16;
/// Connections that are opened at the same time.
const OPENING: usize = 64;
/// Both leases are renewed this often; a kubelet does it every ten seconds, a leader every two.
const PACE: Duration = Duration::from_millis(100);
/// How long the flood goes on once all connections stand.
const FLOOD: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_secs(300);

/// On a server of its own.
pub async fn measure(options: &Options, program: &Path, figures: &mut Figures) -> Result<(), String> {
    let server = Server::start(program, &options.scratch()?)?;
    server.ready().await?;
    let admin = server.target()?;
    prepare(options, &admin).await?;
    let user = admin.acting(Acting { user: USER, groups: &["system:authenticated"] });
    let (over, lists) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut renewals = JoinSet::new();
    let node = Acting { user: "system:node:bench-node", groups: &["system:nodes", "system:authenticated"] };
    let leader = Acting { user: "system:kube-controller-manager", groups: &["system:authenticated"] };
    for (who, namespace, name) in [(node, "kube-node-lease", NODE), (leader, "kube-system", LEADER)] {
        let connection = Connection::open(&admin.acting(who)).await?;
        renewals.spawn(renew(connection, namespace, name, over.clone()));
    }
    let mut listing = JoinSet::new();
    for _ in 0..LISTS {
        listing.spawn(list(Connection::open(&user).await?, over.clone(), lists.clone()));
    }
    let began = Instant::now();
    let held = connect(&user, options.flood).await?;
    figures.add("flood-open", began.elapsed().as_secs_f64(), "s");
    tokio::time::sleep(FLOOD).await;
    if let Some(mb) = process::rss_mb(server.pid()) {
        figures.add("flood-rss", mb, "MB");
    }
    over.store(true, Relaxed);
    let (mut took, seconds) = (Vec::new(), began.elapsed().as_secs_f64());
    while let Some(done) = renewals.join_next().await {
        took.extend(done.map_err(|e| e.to_string())??);
    }
    while let Some(done) = listing.join_next().await {
        done.map_err(|e| e.to_string())??;
    }
    let worst = took.iter().max().copied().unwrap_or_default();
    figures.add("flood-connections", held.len() as f64, "connections");
    figures.add("flood-lists", lists.load(Relaxed) as f64 / seconds, "lists/s");
    figures.add("flood-renewals", took.len() as f64, "renewals");
    figures.add("flood-worst", f64::from(worst) / 1000.0, "ms");
    drop(held);
    server.stop()
}

/// Pods, a node, both leases, and the right to look.
async fn prepare(options: &Options, admin: &Target) -> Result<(), String> {
    let mut control = Connection::open(admin).await?;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": USER},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}],
    });
    let account = "/api/v1/namespaces/bench-flood/serviceaccounts";
    let lease = |namespace: &str| format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
    for (path, body) in [
        ("/api/v1/namespaces".to_string(), objects::named("Namespace", "bench-flood")),
        (account.into(), objects::named("ServiceAccount", "default")),
        ("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings".into(), binding.to_string().into_bytes()),
        ("/api/v1/nodes".into(), objects::node(NODE)),
        (lease("kube-node-lease"), objects::lease("kube-node-lease", NODE)),
        (lease("kube-system"), objects::lease("kube-system", LEADER)),
    ] {
        control.make(&path, body).await?;
    }
    let bounds = Bounds { requests: PODS, time: PATIENCE };
    load::run(load::handles(admin, options).await?, bounds, None, phases::creates("bench-flood", 4_500)).await?;
    Ok(())
}

/// Renews until it is over, each time what the last answer said; the microseconds of each.
async fn renew(
    mut connection: Connection,
    namespace: &'static str,
    name: &'static str,
    over: Arc<AtomicBool>,
) -> Result<Vec<u32>, String> {
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}");
    let (_, mut body) = connection.fetch(&Call::get(path.as_str())).await?;
    let mut took = Vec::new();
    while !over.load(Relaxed) {
        let call = Call { method: Method::PUT, path: path.clone(), content_type: "application/json", body };
        let sent = Instant::now();
        let (status, answer) = connection.fetch(&call).await?;
        if !status.is_success() {
            return Err(format!("{path}: {status}: {}", String::from_utf8_lossy(&answer)));
        }
        took.push(sent.elapsed().as_micros() as u32);
        body = answer;
        tokio::time::sleep_until((sent + PACE).into()).await;
    }
    Ok(took)
}

/// Lists all pods again and again; being told to come later counts as an answer.
async fn list(mut connection: Connection, over: Arc<AtomicBool>, lists: Arc<AtomicU64>) -> Result<(), String> {
    let call = Call::get("/api/v1/pods");
    while !over.load(Relaxed) {
        match connection.fetch(&call).await? {
            (status, _) if status.is_success() => drop(lists.fetch_add(1, Relaxed)),
            (StatusCode::TOO_MANY_REQUESTS, _) => tokio::time::sleep(PACE).await,
            (status, answer) => return Err(format!("list: {status}: {}", String::from_utf8_lossy(&answer))),
        }
    }
    Ok(())
}

/// Opens connections, each with a watch that stays; they end when they are dropped.
async fn connect(user: &Target, count: usize) -> Result<Vec<(Connection, hyper::body::Incoming)>, String> {
    let left = Arc::new(AtomicU64::new(count as u64));
    let mut opening = JoinSet::new();
    for _ in 0..OPENING {
        let (user, left) = (user.clone(), left.clone());
        opening.spawn(async move {
            let call = Call::get("/api/v1/namespaces/bench-flood/configmaps?watch=1");
            let mut held = Vec::new();
            while left.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1)).is_ok() {
                let mut connection = Connection::open(&user).await?;
                loop {
                    let response = connection.send(&call).await?;
                    match response.status() {
                        status if status.is_success() => {
                            held.push((connection, response.into_body()));
                            break;
                        }
                        StatusCode::TOO_MANY_REQUESTS => tokio::time::sleep(PACE).await,
                        status => return Err(format!("watch: {status}")),
                    }
                }
            }
            Ok::<_, String>(held)
        });
    }
    let mut held = Vec::new();
    while let Some(done) = opening.join_next().await {
        held.extend(done.map_err(|e| e.to_string())??);
    }
    Ok(held)
}
