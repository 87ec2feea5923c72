//! A large cluster's objects in one API server: what they take, and what the first look at them costs.
//!
//! Nodes and pods are written as clients write them, over TLS and with an fsync before each answer, and stay. Memory is
//! read when the writes are over and the server has had a moment to give back what only they needed. A pod's JSON is what
//! the server itself answers: with defaults, managed fields and status.

use crate::{
    connection::{Call, Connection},
    ferry::Server,
    figures::Figures,
    load::{self, Bounds},
    objects,
    options::Options,
    phases, process,
};
use std::{path::Path, time::Duration};

/// What upstream supports in one cluster. Source: kubernetes.io, "Considerations for large clusters".
const NODES: u64 = 5_000;
/// Bytes of a pod as it is sent.
const POD: usize = 4_500;
/// So many pods are listed for the size of one.
const SAMPLE: u64 = 500;
/// Writes are over for so long when memory is read.
const SETTLED: Duration = Duration::from_secs(10);
/// No server takes longer for all of it.
const PATIENCE: Duration = Duration::from_secs(600);

/// 5,000 nodes and `--scale-pods` pods on a server of its own.
pub async fn measure(options: &Options, program: &Path, figures: &mut Figures) -> Result<(), String> {
    let server = Server::start(program, &options.scratch()?)?;
    server.ready().await?;
    let (target, pid) = (server.target()?, server.pid());
    let rss = || process::rss_mb(pid).ok_or("the server's memory cannot be read");
    let mut control = Connection::open(&target).await?;
    for (path, kind, name) in [
        ("/api/v1/namespaces", "Namespace", "bench-scale"),
        ("/api/v1/namespaces/bench-scale/serviceaccounts", "ServiceAccount", "default"),
    ] {
        // The control plane makes the account too, if it is faster.
        control.make(path, objects::named(kind, name)).await?;
    }
    let bounds = |requests| Bounds { requests, time: PATIENCE };
    let node = |_, n| Call::post("/api/v1/nodes", objects::node(&format!("node-{n:05}")));
    load::run(load::handles(&target, options).await?, bounds(NODES), Some(pid), node).await?;
    let before = rss()?;
    let pods = phases::creates("bench-scale", POD);
    let filled = load::run(load::handles(&target, options).await?, bounds(options.scale_pods), Some(pid), pods).await?;
    if filled.count < options.scale_pods {
        return Err(format!("only {} of {} pods were written", filled.count, options.scale_pods));
    }
    tokio::time::sleep(SETTLED).await;
    let after = rss()?;
    let sample = Call::get(format!("/api/v1/namespaces/bench-scale/pods?limit={SAMPLE}"));
    let (_, bytes) = control.exchange(&sample).await?;
    let json = bytes as f64 / SAMPLE as f64;
    figures.add("scale-pods", options.scale_pods as f64, "pods");
    figures.add_load("scale-create", "/s", filled);
    figures.add("scale-rss", after, "MB");
    figures.add("scale-pod-json", json, "bytes");
    figures.add("scale-pod-memory", (after - before) * 1e6 / options.scale_pods as f64 / json, "times its JSON");
    server.stop()
}
