//! `ferry down`: ends every pod of a state directory and removes what the runtime made on this machine.

use std::io;
use std::time::Duration;

use sandbox::cgroup::Hierarchies;

use crate::{Config, Runtime};

/// Stops and removes all pods and the runtime's cgroups. Errors are collected, not fatal: as much as possible goes.
pub async fn cleanup(config: Config) -> io::Result<Vec<String>> {
    let cgroup_root = config.cgroup_root.clone();
    let runtime = Runtime::open(config).await?;
    let mut failures = Vec::new();
    let ids: Vec<String> = runtime.inner.pods.lock().keys().cloned().collect();
    for id in ids {
        if let Err(e) = runtime.remove_sandbox(&id).await {
            failures.push(format!("pod sandbox {id}: {e}"));
        }
    }
    if cgroup_root.trim_matches('/').is_empty() {
        return Ok(failures);
    }
    let removed = tokio::task::spawn_blocking(move || {
        // Shims that have just ended may still be on their way out of their cgroup.
        let hierarchies = Hierarchies::detect()?;
        hierarchies.cgroup(&cgroup_root).remove(Duration::from_secs(5))
    })
    .await
    .map_err(io::Error::other)?;
    if let Err(e) = removed {
        failures.push(format!("cgroups: {e}"));
    }
    Ok(failures)
}
