//! The other operations of a worker: volumes, sandbox, and reading how a container ended.

use crate::{
    convert,
    node::Node,
    objects::Wanted,
    pod::{inbox::Inbox, start::termination_log, state::Ended, worker::SandboxUp},
    runtime_class,
};
use base::time::Timestamp;
use cri::{ContainerState, ContainerStatus};
use k8s_openapi::api::core::v1::{Container, Pod};
use std::{
    fs,
    io::{Read, Seek, SeekFrom},
    path::Path,
    sync::Arc,
};
use volumes::Kind;

/// Makes all volumes ready, or brings their content up to date. Returns when tokens in them must be renewed.
pub async fn mount(
    node: Arc<Node>,
    pod: Arc<Pod>,
    ips: Vec<String>,
    inbox: Inbox,
) -> Result<Option<Timestamp>, String> {
    let needs = volumes::needs(&pod);
    let wanted = Wanted { config_maps: needs.config_maps, secrets: needs.secrets, tokens: needs.tokens };
    let fetched = node.objects.fetch(&pod, &wanted, &inbox, node.now()).await?;
    let refresh_at = fetched.refresh_at;
    let work = move || {
        let mounter = node.mounter(&pod);
        let (user, group) = volumes::ownership(&pod);
        let private = user.is_some() || group.is_some();
        let facts = node.facts(&pod, &ips);
        let specs = pod.spec.as_ref().and_then(|s| s.volumes.as_deref()).unwrap_or_default();
        fs::create_dir_all(node.pod_dir(pod.metadata.uid.as_deref().unwrap_or_default())).map_err(|e| e.to_string())?;
        for (volume, spec) in volumes::plan(&pod).iter().zip(specs) {
            let files = match volume.kind {
                Kind::Files { .. } => Some(
                    volumes::content(spec, &pod, &facts, &fetched, private)
                        .map_err(|e| format!("MountVolume.SetUp failed for volume {:?} : {e}", volume.name))?,
                ),
                _ => None,
            };
            mounter.set_up(volume, files.as_ref()).map_err(|e| e.to_string())?;
        }
        Ok(refresh_at)
    };
    blocking(work).await
}

/// Unmounts and removes the pod's directory.
pub async fn unmount(node: Arc<Node>, pod: Arc<Pod>) -> Result<(), String> {
    blocking(move || node.mounter(&pod).tear_down().map_err(|e| e.to_string())).await
}

/// Removes the logs of a pod that is gone.
pub async fn remove_logs(node: Arc<Node>, pod: Arc<Pod>) {
    let dir = convert::log_directory(&node.dirs.logs, &pod);
    let _ = blocking(move || fs::remove_dir_all(dir).map_err(|e| e.to_string())).await;
}

/// Removes a container that two newer ones have followed, and logs that old: one dead container is kept per name, for
/// `kubectl logs --previous`.
pub async fn forget_container(node: Arc<Node>, pod: Arc<Pod>, name: String, id: String, attempt: u32) {
    if let Err(error) = node.runtime.remove_container(&id).await {
        tracing::debug!(container = %name, %error, "cannot remove an old container");
    }
    let dir = Path::new(&convert::log_directory(&node.dirs.logs, &pod)).join(&name);
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    for old in crate::logs::attempts(&dir).into_iter().filter(|old| old + 1 < attempt) {
        crate::logs::remove(&dir.join(format!("{old}.log")));
        let _ = fs::remove_file(termination_log(&node, &uid, &name, old));
    }
}

/// Makes the sandbox and asks for its addresses.
pub async fn create_sandbox(node: Arc<Node>, pod: Arc<Pod>, attempt: u32) -> Result<SandboxUp, String> {
    let mut config = convert::sandbox(&pod, attempt, &node.dirs.logs, &node.dns, &node.name);
    config.runtime_handler = runtime_class::handler(&node, &pod)?;
    fs::create_dir_all(&config.log_directory).map_err(|e| format!("{}: {e}", config.log_directory))?;
    let id = node.runtime.run_pod_sandbox(&config).await.map_err(|e| e.to_string())?;
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    node.sandboxes.lock().insert(id.clone(), uid);
    let status = node.runtime.pod_sandbox_status(&id).await.map_err(|e| e.to_string())?;
    Ok(SandboxUp { id, ips: status.ips })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(e.to_string()))
}

/// A time of the runtime; `None` for one that did not happen.
pub fn time(nanoseconds: i64) -> Option<Timestamp> {
    (nanoseconds > 0).then(|| Timestamp::from_nanosecond(nanoseconds.into()).ok()).flatten()
}

/// How a container ended, with its termination message.
pub fn ended(node: &Node, uid: &str, spec: Option<&Container>, status: &ContainerStatus) -> Ended {
    let unknown = status.state == ContainerState::Unknown;
    let exit_code = if unknown { 137 } else { status.exit_code };
    let reason = match (status.reason.as_str(), unknown) {
        (_, true) => "ContainerStatusUnknown",
        ("", false) if exit_code == 0 => "Completed",
        ("", false) => "Error",
        (reason, false) => reason,
    };
    let mut message = status.message.clone();
    if let Some(spec) = spec {
        let file = termination_log(node, uid, &status.metadata.name, status.metadata.attempt);
        let own = read_tail(&file, 4096);
        if !own.is_empty() {
            message = own;
        } else if exit_code != 0 && spec.termination_message_policy.as_deref() == Some("FallbackToLogsOnError") {
            let log = crate::logs::last_lines(Path::new(&status.log_path), 80, 2048);
            message = if log.is_empty() { message } else { log };
        }
    }
    Ended {
        id: status.id.clone(),
        exit_code,
        reason: reason.into(),
        message,
        started: time(status.started_at),
        finished: time(status.finished_at).unwrap_or_else(|| node.now()),
    }
}

fn read_tail(path: &Path, max: u64) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(max)))?;
        let mut bytes = Vec::new();
        file.take(max).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default()
}
