//! The demo: an image made of this very binary, two replicas of it behind a Service with a node port.

use super::nodes::Nodes;
use crate::layout::Layout;
use client::{Client, kinds};
use std::time::{Duration, Instant};
use value::{Value, value};

/// The image that every node of this machine has.
pub const IMAGE: &str = "ferry.local/toolbox:latest";

const NODE_PORT: u16 = 30080;

/// Puts the image into the nodes' store.
pub fn make_image(layout: &Layout) -> Result<&'static str, String> {
    let store = images::Store::open(&layout.images()).map_err(|e| e.to_string())?;
    let binary = std::env::current_exe().map_err(|e| format!("this program: {e}"))?;
    let links: Vec<&str> = toolbox::names().collect();
    let recipe = images::toolbox::Recipe { binary: &binary, tag: IMAGE, links: &links, cmd: &["httpd"] };
    images::toolbox::make_image(&store, &recipe).map_err(|e| e.to_string())?;
    Ok(IMAGE)
}

/// Applies the objects and waits until the Service answers at a node's address.
pub async fn run(client: &Client, nodes: &Nodes) -> Result<String, String> {
    for (gvr, object) in [(&kinds::DEPLOYMENTS, deployment()), (&kinds::SERVICES, service())] {
        let api = client.api(gvr).namespace("default");
        let failed = |e: client::Error| format!("the demo's objects: {e}");
        if api.get_opt(object.name()).await.map_err(failed)?.is_none() {
            api.create(&object).await.map_err(failed)?;
        }
    }
    let address = nodes.address().ok_or("there is no node")?;
    let url = format!("{address}:{NODE_PORT}");
    let until = Instant::now() + Duration::from_secs(60);
    while !answers(&url).await {
        if Instant::now() > until {
            return Err(format!("the demo did not answer at http://{url} within a minute; see `kubectl get pods`"));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(format!("http://{url}"))
}

async fn answers(url: &str) -> bool {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect(url).await.ok()?;
        stream.write_all(format!("GET / HTTP/1.0\r\nHost: {url}\r\n\r\n").as_bytes()).await.ok()?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.ok()?;
        (&head[9..] == b"200").then_some(())
    };
    matches!(tokio::time::timeout(Duration::from_secs(1), ask).await, Ok(Some(())))
}

fn deployment() -> Value {
    let field = |name: &str, path: &str| value!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let mut deployment = value!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "demo", "labels": {"app": "demo"}},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "demo"}},
            "template": {
                "metadata": {"labels": {"app": "demo"}},
                "spec": {"terminationGracePeriodSeconds": 5, "containers": [{
                    "name": "web", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["httpd", "-p", "8080"],
                    "ports": [{"name": "http", "containerPort": 8080}],
                    "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1},
                }]},
            },
        },
    });
    let env =
        vec![field("POD_NAME", "metadata.name"), field("POD_IP", "status.podIP"), field("NODE_NAME", "spec.nodeName")];
    if let Some(containers) = deployment.array_at_mut(&["spec", "template", "spec", "containers"]) {
        containers[0].set(&["env"], env);
    }
    deployment
}

fn service() -> Value {
    value!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "demo", "labels": {"app": "demo"}},
        "spec": {
            "type": "NodePort", "selector": {"app": "demo"},
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "nodePort": NODE_PORT}],
        },
    })
}
