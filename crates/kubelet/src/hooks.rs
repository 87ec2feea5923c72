//! Lifecycle hooks: a command in the container, an HTTP GET, a sleep.

use crate::{handler, node::Node};
use k8s_openapi::api::core::v1::{Container, LifecycleHandler};
use std::time::Duration;

/// Runs the postStart hook, if there is one.
pub async fn post_start(node: &Node, spec: &Container, id: &str, ips: &[String]) -> Result<(), String> {
    match spec.lifecycle.as_ref().and_then(|l| l.post_start.as_ref()) {
        Some(hook) => run(node, hook, spec, id, ips).await,
        None => Ok(()),
    }
}

/// Runs one hook to its end; the caller limits the time.
pub async fn run(
    node: &Node,
    hook: &LifecycleHandler,
    spec: &Container,
    id: &str,
    ips: &[String],
) -> Result<(), String> {
    if let Some(exec) = &hook.exec {
        let command = exec.command.clone().unwrap_or_default();
        let done = node.runtime.exec_sync(id, &command, Duration::ZERO).await.map_err(|e| e.to_string())?;
        return match done.exit_code {
            0 => Ok(()),
            code => Err(format!("exited with {code}: {}", handler::tail(&[done.stdout, done.stderr].concat()))),
        };
    }
    if let Some(get) = &hook.http_get {
        let ip = ips.first().or(node.host_ips.first()).cloned().unwrap_or_default();
        let (code, _) = handler::http_get(get, spec, &ip).await?;
        return if code < 400 { Ok(()) } else { Err(format!("HTTP status {code}")) };
    }
    if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
        return Ok(());
    }
    Err("the hook's handler is not supported".into())
}
