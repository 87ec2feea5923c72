//! The network of two nodes as pods and the host see it: addresses, Services and names. Names are those of upstream's
//! conformance suite where one checks the same.

mod endpoints;
mod names;
mod pods;
mod ports;
mod services;

use crate::{
    common::{Cluster, http_get},
    scenes::{self, IMAGE, Scene, ready, sh, with},
};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::Api;
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[tokio::test(flavor = "multi_thread")]
async fn pods_and_services_on_two_nodes() {
    let cluster = Cluster::up(&["--nodes", "2"]);
    let table = [pods::table(), services::table(), ports::table(), endpoints::table(), names::table()];
    scenes::play(&cluster, table.concat(), scenes::All::AtOnce).await;
}

/// The nodes of the cluster.
const NODES: [&str; 2] = ["node-1", "node-2"];

/// A pod spec for one node.
fn on(node: &str, spec: Value) -> Value {
    let own = json!({"nodeSelector": {"kubernetes.io/hostname": node}, "terminationGracePeriodSeconds": 1});
    with(spec, own)
}

/// A pod spec of a server: HTTP at 8080 (`http`), datagrams at 8081 (`udp`). It says its name, and the client's address.
fn server() -> Value {
    json!({"containers": [{
        "name": "c", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["httpd", "-p", "8080", "-u", "8081"],
        "ports": [{"name": "http", "containerPort": 8080}, {"name": "udp", "containerPort": 8081, "protocol": "UDP"}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1},
    }]})
}

/// A pod spec of a client: it waits for commands.
fn client() -> Value {
    scenes::always(sh("sleep 100000"))
}

/// Makes a pod with labels and waits until it is Ready; its address.
async fn begin(scene: &Scene, name: &str, labels: Value, spec: Value) -> String {
    scene.make::<Pod>(json!({"metadata": {"name": name, "labels": labels}, "spec": spec})).await;
    let address = |pod: &Value| ready(pod).then(|| pod["status"]["podIP"].as_str().expect("an address").to_string());
    scene.until(name, "Ready", address).await
}

/// On each node a server `s1`, `s2` with the label `app: web`, and a client `c1`, `c2`. Their addresses, in this order.
async fn stage(scene: &Scene) -> Vec<String> {
    let servers = NODES
        .iter()
        .zip(["s1", "s2"])
        .map(|(node, name)| begin(scene, name, json!({"app": "web", "name": name}), on(node, server())));
    let clients = NODES.iter().zip(["c1", "c2"]).map(|(node, name)| begin(scene, name, json!({}), on(node, client())));
    let (servers, clients) = futures::future::join(join_all(servers), join_all(clients)).await;
    [servers, clients].concat()
}

/// Makes a Service for `app: web`, with more in its spec; its address, empty where it has none.
async fn service(scene: &Scene, name: &str, more: Value) -> String {
    let ports = json!([
        {"name": "http", "port": 80, "targetPort": 8080},
        {"name": "udp", "port": 81, "targetPort": 8081, "protocol": "UDP"},
    ]);
    let spec = with(json!({"selector": {"app": "web"}, "ports": ports}), more);
    let made = scene.make::<Service>(json!({"metadata": {"name": name}, "spec": spec})).await;
    made.spec.and_then(|s| s.cluster_ip).unwrap_or_default()
}

/// What a GET from a pod came to, without the line's end; `Err` with the word of wget.
async fn get(scene: &Scene, pod: &str, url: &str) -> Result<String, String> {
    let ran = scene.exec(pod, "c", &format!("wget -qO- -T 5 http://{url}")).await;
    if ran.code == 0 { Ok(ran.out.trim().into()) } else { Err(ran.err.trim().into()) }
}

/// What comes back for a datagram from a pod, without the line's end.
async fn datagram(scene: &Scene, pod: &str, at: &str, port: u16, text: &str) -> String {
    scene.exec(pod, "c", &format!("echo {text} | nc -u -w 1 {at} {port}")).await.out.trim().into()
}

/// Who answers ten GETs of `/hostname`, each on a connection of its own.
async fn answering(scene: &Scene, pod: &str, url: &str) -> BTreeSet<String> {
    let script = format!("for i in 1 2 3 4 5 6 7 8 9 10; do wget -qO- -T 5 http://{url}/hostname; done");
    scene.exec(pod, "c", &script).await.out.lines().map(String::from).collect()
}

/// Asks until these have answered, and nobody else did in the last round.
async fn until_answering(scene: &Scene, pod: &str, url: &str, want: &[&str]) {
    let want: BTreeSet<String> = want.iter().map(ToString::to_string).collect();
    let what = format!("{want:?} answer {pod} at {url}");
    scenes::wait(&what, async || (answering(scene, pod, url).await == want).then_some(())).await;
}

/// A GET from the host: the status and the body; `None` where nobody answers.
async fn host_get(at: &str, path: &'static str) -> Option<(u16, String)> {
    let at = at.to_string();
    tokio::task::spawn_blocking(move || http_get(&at, path)).await.expect("no panic")
}

/// The nodes' addresses.
async fn node_addresses(scene: &Scene) -> Vec<String> {
    let nodes: Api<Node> = Api::all(scene.client.clone());
    let address = async |name: &str| {
        let node = nodes.get(name).await.expect("a node");
        let addresses = node.status.and_then(|s| s.addresses).unwrap_or_default();
        addresses.into_iter().find(|a| a.type_ == "InternalIP").expect("an address").address
    };
    vec![address(NODES[0]).await, address(NODES[1]).await]
}
