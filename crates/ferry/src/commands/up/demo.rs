//! The demo: an image made of this very binary, two replicas of it behind a Service with a node port.

use super::nodes::Nodes;
use crate::layout::Layout;
use client::{Client, ListOptions, kinds};
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
pub async fn run(client: &Client, nodes: &Nodes, layout: &Layout) -> Result<String, String> {
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
    let mut look = Instant::now() + Duration::from_secs(1);
    while !answers(&url).await {
        let now = Instant::now();
        if now > until {
            return Err(format!("the demo did not answer at http://{url} within a minute; see `kubectl get pods`"));
        }
        if now > look {
            let nodes = client.api(&kinds::NODES).list(&ListOptions::default()).await.map_err(|e| e.to_string())?;
            if let Some(why) = pressure(&nodes.items.iter().map(|n| n.value()).collect::<Vec<_>>()) {
                let place = layout.root().display();
                return Err(format!(
                    "the demo cannot run: {why}; make room on the filesystem of {place}, or choose another --data-dir"
                ));
            }
            look = now + Duration::from_secs(1);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(format!("http://{url}"))
}

/// Which nodes have no room on their disk, where that is all of them: no pod is placed then, however long one waits.
fn pressure(nodes: &[Value]) -> Option<String> {
    let full = |node: &Value| {
        let conditions = node.items_at(&["status", "conditions"]);
        conditions.iter().any(|c| c.str_at(&["type"]) == "DiskPressure" && c.str_at(&["status"]) == "True")
    };
    let (full, free): (Vec<&Value>, Vec<&Value>) = nodes.iter().partition(|node| full(node));
    let names: Vec<&str> = full.iter().map(|n| n.str_at(&["metadata", "name"])).collect();
    let verb = if names.len() == 1 { "reports" } else { "report" };
    (free.is_empty() && !names.is_empty()).then(|| format!("{} {verb} DiskPressure", names.join(", ")))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disks_are_named_where_no_node_has_room() {
        let node = |name: &str, status: &str| {
            value!({"metadata": {"name": name}, "status": {"conditions": [
                {"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": status},
            ]}})
        };
        let told = pressure;
        assert_eq!(told(&[node("a", "True")]).as_deref(), Some("a reports DiskPressure"));
        assert_eq!(told(&[node("a", "True"), node("b", "True")]).as_deref(), Some("a, b report DiskPressure"));
        for roomy in [vec![], vec![node("a", "False")], vec![node("a", "True"), node("b", "False")]] {
            assert_eq!(told(&roomy), None);
        }
    }
}
