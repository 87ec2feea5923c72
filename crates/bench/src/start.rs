//! Starts: from the command to /readyz, from the command to a running pod, and what stands idle afterwards.

use crate::{
    connection::{Call, Connection},
    ferry::Server,
    figures::Figures,
    options::Options,
    process,
};
use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::json;
use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

/// How often the server is started; the median counts.
const STARTS: usize = 5;

/// The image that `ferry up` makes of itself.
const IMAGE: &str = "ferry.local/toolbox:latest";

/// `ferry server` on an empty directory, and again on the one it left; then its memory when nothing happens.
pub async fn server(options: &Options, program: &Path, figures: &mut Figures) -> Result<(), String> {
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let dir = options.scratch()?;
        let server = Server::start(program, &dir)?;
        first.push(server.ready().await?);
        server.pause()?;
        let server = Server::start(program, &dir)?;
        again.push(server.ready().await?);
        server.stop()?;
    }
    figures.add("ready-first", median(first), "ms");
    figures.add("ready-again", median(again), "ms");
    let server = Server::start(program, &options.scratch()?)?;
    server.ready().await?;
    tokio::time::sleep(options.idle()).await;
    let mb = process::rss_mb(server.pid()).ok_or("the server's memory cannot be read")?;
    figures.add("rss-control-plane", mb, "MB");
    figures.add("own-control-plane", process::own_mb(server.pid()).unwrap_or_default(), "MB");
    server.stop()
}

/// `ferry up` on an empty directory: until a pod of the built-in image runs; then the agent's memory.
pub async fn first_pod(options: &Options, program: &Path, figures: &mut Figures) -> Result<(), String> {
    let dir = options.scratch()?;
    let server = Server::up(program, &dir)?;
    let outcome = first_pod_of(options, &server, figures).await;
    let said = server.output();
    let data = server.data_dir();
    let stopped = server.pause();
    let down = Command::new(program).args(["down", "--purge", "--data-dir"]).arg(&data).stdout(Stdio::null()).status();
    let _ = std::fs::remove_dir_all(&dir);
    outcome.map_err(|why| format!("{why}\nferry up said:\n{said}"))?;
    stopped?;
    match down {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("ferry down ended with {status}")),
        Err(e) => Err(format!("ferry down: {e}")),
    }
}

async fn first_pod_of(options: &Options, server: &Server, figures: &mut Figures) -> Result<(), String> {
    server.ready().await?;
    let mut connection = Connection::open(&server.target()?).await?;
    let pods = "/api/v1/namespaces/default/pods";
    let watch = format!("{pods}?watch=1&fieldSelector=metadata.name%3Dbench");
    let mut events = connection.send(&Call::get(watch)).await?.into_body();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bench"},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "sleep", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "3600"]}],
        },
    });
    // The namespace's ServiceAccount may not be there yet.
    let call = Call::post(pods, pod.to_string());
    loop {
        match connection.fetch(&call).await? {
            (StatusCode::CREATED, _) => break,
            (StatusCode::FORBIDDEN, _) if server.age() < Duration::from_secs(30) => {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            (status, text) => return Err(format!("the pod: {status}: {}", String::from_utf8_lossy(&text))),
        }
    }
    let running = async {
        let mut line = Vec::new();
        while let Some(frame) = events.frame().await {
            let frame = frame.map_err(|e| format!("watch: {e}"))?;
            for byte in frame.data_ref().into_iter().flatten() {
                if *byte != b'\n' {
                    line.push(*byte);
                    continue;
                }
                let event: serde_json::Value = serde_json::from_slice(&line).map_err(|e| format!("watch: {e}"))?;
                line.clear();
                if event["object"]["status"]["phase"] == "Running" {
                    return Ok(server.age());
                }
            }
        }
        Err("the watch ended before the pod ran".to_string())
    };
    let took = tokio::time::timeout(Duration::from_secs(60), running).await.map_err(|_| "no pod ran in a minute")??;
    figures.add("pod-running", took.as_secs_f64() * 1000.0, "ms");
    tokio::time::sleep(options.idle()).await;
    let agent = *process::children(server.pid(), "agent").first().ok_or("the node's agent was not found")?;
    figures.add("rss-node", process::rss_mb(agent).ok_or("the agent's memory cannot be read")?, "MB");
    figures.add("own-node", process::own_mb(agent).unwrap_or_default(), "MB");
    if let Some(shim) = process::children(agent, "shim").first().copied().and_then(process::rss_mb) {
        figures.add("rss-shim", shim, "MB");
    }
    Ok(())
}

/// In milliseconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, |t| t.as_secs_f64() * 1000.0)
}
