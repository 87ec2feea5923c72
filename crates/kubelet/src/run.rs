//! A kubelet from its parts.

use crate::{
    config::KubeletConfig,
    endpoint,
    manager::{Ending, Manager},
    node::Node,
    registration,
};
use client::kinds;
use control::{Caches, Reference, Selection};
use tokio::sync::watch;

/// Runs a node until `ending` says how to end, and then returns when it has ended that way. Needs a multi-threaded Tokio
/// runtime. Fails only where the directories cannot be made.
pub async fn run(config: KubeletConfig, ending: watch::Receiver<Ending>) -> std::io::Result<()> {
    for dir in [&config.dirs.pods, &config.dirs.logs] {
        std::fs::create_dir_all(dir).map_err(|e| std::io::Error::new(e.kind(), format!("{}: {e}", dir.display())))?;
    }
    let caches = Caches::new(config.client.clone());
    let node = Node::new(&config, &caches);
    let about = Reference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: config.node_name.as_str().into(),
        ..Reference::default()
    };
    node.recorder.normal(&about, "Starting", "Starting kubelet.");
    let pods = caches.select(&kinds::PODS, Selection::fields(format!("spec.nodeName={}", config.node_name)));
    let (ready, is_ready) = watch::channel(false);
    let stop = watch::Sender::new(false);
    let endpoint = config
        .endpoint
        .clone()
        .map(|endpoint| tokio::spawn(endpoint::serve(endpoint, node.clone(), pods.clone(), stop.subscribe())));
    let registration = tokio::spawn(registration::run(config.clone(), node.clone(), is_ready));
    Manager::new(node).run(pods, ending, ready).await;
    registration.abort();
    stop.send_replace(true);
    if let Some(endpoint) = endpoint {
        let _ = endpoint.await;
    }
    Ok(())
}
