//! Ephemeral containers: what `kubectl debug` adds to a pod that runs.
//!
//! They are started once, whenever the pod has its sandbox, and never again; nothing of the pod's phase or readiness depends
//! on them. To everything that makes or shows containers they are containers whose restart policy is `Never`.

use crate::pod::decide::containers;
use k8s_openapi::api::core::v1::{Container, Pod};

/// Which list of the spec a container stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Init,
    Regular,
    Ephemeral,
}

impl Place {
    /// The list's name in the spec.
    pub fn list(self) -> &'static str {
        match self {
            Place::Init => "initContainers",
            Place::Regular => "containers",
            Place::Ephemeral => "ephemeralContainers",
        }
    }
    /// The list's name in the status.
    pub fn statuses(self) -> &'static str {
        match self {
            Place::Init => "initContainerStatuses",
            Place::Regular => "containerStatuses",
            Place::Ephemeral => "ephemeralContainerStatuses",
        }
    }
}

/// The ephemeral containers of a pod.
pub fn ephemeral(pod: &Pod) -> Vec<Container> {
    let list = pod.spec.iter().flat_map(|s| s.ephemeral_containers.iter().flatten());
    list.map(|e| Container {
        name: e.name.clone(),
        image: e.image.clone(),
        image_pull_policy: e.image_pull_policy.clone(),
        command: e.command.clone(),
        args: e.args.clone(),
        working_dir: e.working_dir.clone(),
        env: e.env.clone(),
        env_from: e.env_from.clone(),
        volume_mounts: e.volume_mounts.clone(),
        security_context: e.security_context.clone(),
        stdin: e.stdin,
        stdin_once: e.stdin_once,
        tty: e.tty,
        termination_message_path: e.termination_message_path.clone(),
        termination_message_policy: e.termination_message_policy.clone(),
        restart_policy: Some("Never".into()),
        ..Container::default()
    })
    .collect()
}

/// The container whose processes an ephemeral one is to see.
pub fn target<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    let list = pod.spec.iter().flat_map(|s| s.ephemeral_containers.iter().flatten());
    let own = list.into_iter().find(|e| e.name == name)?;
    own.target_container_name.as_deref().filter(|target| !target.is_empty())
}

/// All containers of a pod: init, regular, ephemeral.
pub fn all(pod: &Pod) -> Vec<(Container, Place)> {
    let declared = containers(pod).map(|(c, init)| (c.clone(), if init { Place::Init } else { Place::Regular }));
    declared.chain(ephemeral(pod).into_iter().map(|c| (c, Place::Ephemeral))).collect()
}
