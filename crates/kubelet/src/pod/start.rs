//! Starting one container: image, environment, mounts, the runtime's two calls, and the postStart hook.

use crate::{
    convert::{self, Parts},
    dns, env, hooks, images,
    node::Node,
    objects::{Fetched, Wanted},
    pod::{inbox::Inbox, worker::Message},
};
use control::Reference;
use cri::{ContainerConfig, ContainerStatus, Mount, MountPropagation, NamespaceMode};
use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::watch;

/// Everything that a start needs to know.
pub struct Start {
    pub node: Arc<Node>,
    pub pod: Arc<Pod>,
    pub spec: Container,
    pub attempt: u32,
    /// The container whose processes this one is to see, by its id.
    pub target: Option<String>,
    pub sandbox: String,
    pub ips: Vec<String>,
    pub about: Reference,
    pub inbox: Inbox,
    /// Turns true when the start is not wanted any more.
    pub cancelled: watch::Receiver<bool>,
}

/// Why no container runs: reason and message of the waiting state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartProblem {
    pub reason: &'static str,
    pub message: String,
}

/// How a start ended.
#[derive(Debug)]
pub enum Outcome {
    /// A container was made; it runs, or its process could not be started.
    Made(Box<ContainerStatus>),
    Problem(StartProblem),
    Cancelled,
}

/// Where a container writes its termination message, on the node.
pub fn termination_log(node: &Node, uid: &str, container: &str, attempt: u32) -> PathBuf {
    node.pod_dir(uid).join("containers").join(container).join(attempt.to_string())
}

impl Start {
    /// Starts, reports to the inbox, then runs the postStart hook and reports that.
    pub async fn run(self) {
        let cancelled = cancelled(self.cancelled.clone());
        let prepared = tokio::select! {
            prepared = self.prepare() => Some(prepared),
            // A pull may take long. The runtime's own calls below are never dropped half-way.
            _ = cancelled => None,
        };
        let outcome = match prepared {
            None => Outcome::Cancelled,
            Some(Err(problem)) => Outcome::Problem(problem),
            Some(Ok(config)) => self.start(&config).await,
        };
        let id = match &outcome {
            Outcome::Made(status) if status.state == cri::ContainerState::Running => Some(status.id.clone()),
            _ => None,
        };
        let name = self.spec.name.clone();
        let resources = self.spec.resources.clone().unwrap_or_default();
        let _ =
            self.inbox.send(Message::Started { container: name.clone(), attempt: self.attempt, resources, outcome });
        let Some(id) = id else { return };
        let result = hooks::post_start(&self.node, &self.spec, &id, &self.ips).await;
        if result.is_err() {
            self.node.recorder.warning(&self.about, "FailedPostStartHook", "PostStartHook failed");
        }
        let _ = self.inbox.send(Message::Hooked { container: name, id, result });
    }

    /// Up to the configuration.
    async fn prepare(&self) -> Result<ContainerConfig, StartProblem> {
        let node = self.node.clone();
        let config_error = |message: String| StartProblem { reason: "CreateContainerConfigError", message };
        let (config_maps, mut secrets) = env::needs(&self.spec);
        secrets.extend(images::pull_secrets(&self.pod));
        let wanted = Wanted { config_maps, secrets, ..Wanted::default() };
        let fetched = node.objects.fetch(&self.pod, &wanted, &self.inbox, node.now()).await;
        let fetched = fetched.map_err(|e| self.warn(config_error(e)))?;
        let ensured = images::ensure(&node, &self.pod, &self.spec, &fetched, &self.about).await;
        let (image, reference) = ensured.map_err(|p| StartProblem { reason: p.reason, message: p.message })?;
        let volumes = self.image_volumes(&fetched).await?;
        let env = self.environment(&fetched).map_err(|e| self.warn(config_error(e)))?;
        let parts = Parts {
            attempt: self.attempt,
            image: &reference,
            image_uid: image.uid,
            image_username: &image.username,
            mounts: self.mounts(&env, &volumes).map_err(|e| self.warn(config_error(e)))?,
            env,
            memory: node.memory,
            seccomp: &node.dirs.seccomp,
        };
        let mut config = convert::container(&self.pod, &self.spec, parts).map_err(|e| self.warn(config_error(e)))?;
        let namespaces = &mut config.linux.security_context.namespace_options;
        if let Some(target) = self.target.as_ref().filter(|_| namespaces.pid == NamespaceMode::Container) {
            (namespaces.pid, namespaces.target_id) = (NamespaceMode::Target, target.clone());
        }
        let logs = Path::new(&convert::log_directory(&node.dirs.logs, &self.pod)).join(&self.spec.name);
        let made = fs::create_dir_all(&logs).map_err(|e| format!("{}: {e}", logs.display()));
        made.map_err(|message| self.warn(StartProblem { reason: "CreateContainerError", message }))?;
        Ok(config)
    }

    async fn start(&self, config: &ContainerConfig) -> Outcome {
        let node = &self.node;
        let id = match node.runtime.create_container(&self.sandbox, config).await {
            Ok(id) => id,
            Err(e) => {
                let problem = StartProblem { reason: "CreateContainerError", message: e.to_string() };
                return Outcome::Problem(self.warn(problem));
            }
        };
        node.recorder.normal(&self.about, "Created", "Container created");
        match node.runtime.start_container(&id).await {
            Ok(()) => node.recorder.normal(&self.about, "Started", "Container started"),
            Err(error) => {
                node.recorder.warning(&self.about, "Failed", format!("Error: {error}"));
                if !matches!(error, cri::Error::Start(_)) {
                    let _ = node.runtime.remove_container(&id).await;
                    return Outcome::Problem(StartProblem { reason: "RunContainerError", message: error.to_string() });
                }
            }
        }
        match node.runtime.container_status(&id).await {
            Ok(status) => Outcome::Made(Box::new(status)),
            Err(error) => Outcome::Problem(StartProblem { reason: "RunContainerError", message: error.to_string() }),
        }
    }

    fn warn(&self, problem: StartProblem) -> StartProblem {
        self.node.recorder.warning(&self.about, "Failed", format!("Error: {}", problem.message));
        problem
    }

    fn environment(&self, fetched: &Fetched) -> Result<Vec<(String, String)>, String> {
        let links = self.pod.spec.as_ref().and_then(|s| s.enable_service_links).unwrap_or(true);
        let namespace = self.pod.metadata.namespace.as_deref().unwrap_or_default();
        let services = self.node.services.list();
        let services = env::of_services(services.iter().map(|s| &**s), namespace, links);
        env::make(&self.pod, &self.spec, &self.node.facts(&self.pod, &self.ips), fetched, &services)
    }

    /// The images of the volumes that this container mounts, by the volume's name.
    async fn image_volumes(&self, secrets: &Fetched) -> Result<BTreeMap<String, String>, StartProblem> {
        let mut found = BTreeMap::new();
        for volume in volumes::plan(&self.pod) {
            let volumes::Kind::Image { reference, policy } = volume.kind else { continue };
            if self.spec.volume_mounts.iter().flatten().any(|mount| mount.name == volume.name) {
                let image = Container { image: Some(reference), image_pull_policy: policy, ..Container::default() };
                let ensured = images::ensure(&self.node, &self.pod, &image, secrets, &self.about).await;
                let (_, reference) = ensured.map_err(|p| StartProblem { reason: p.reason, message: p.message })?;
                found.insert(volume.name, reference);
            }
        }
        Ok(found)
    }

    fn mounts(&self, env: &[(String, String)], images: &BTreeMap<String, String>) -> Result<Vec<Mount>, String> {
        let planned = volumes::plan(&self.pod);
        let mounter = self.node.mounter(&self.pod);
        let mut mounts = Vec::new();
        for (n, mount) in self.spec.volume_mounts.iter().flatten().enumerate() {
            let volume = planned.iter().find(|v| v.name == mount.name);
            let volume = volume.ok_or_else(|| format!("volume {:?} not found", mount.name))?;
            if let Some(reference) = images.get(&volume.name) {
                mounts.push(Mount {
                    container_path: absolute(&mount.mount_path),
                    image: reference.clone(),
                    image_sub_path: Self::sub_path(mount, env)?.unwrap_or_default(),
                    readonly: true,
                    ..Mount::default()
                });
                continue;
            }
            let host = match Self::sub_path(mount, env)? {
                Some(sub) => mounter.sub_path(volume, &self.spec.name, n, &sub).map_err(|e| e.to_string())?,
                None => mounter.path(volume),
            };
            mounts.push(Mount {
                container_path: absolute(&mount.mount_path),
                host_path: host.display().to_string(),
                // What the kubelet writes, and switches under the container's feet, is not the container's to write.
                readonly: mount.read_only.unwrap_or(false) || matches!(volume.kind, volumes::Kind::Files { .. }),
                propagation: match mount.mount_propagation.as_deref() {
                    Some("Bidirectional") => MountPropagation::Bidirectional,
                    Some("HostToContainer") => MountPropagation::HostToContainer,
                    _ => MountPropagation::Private,
                },
                recursive_read_only: matches!(mount.recursive_read_only.as_deref(), Some("Enabled" | "IfPossible")),
                ..Mount::default()
            });
        }
        let own_hosts = mounts.iter().any(|m| m.container_path == "/etc/hosts");
        if !own_hosts {
            mounts.push(self.hosts().map_err(|e| format!("/etc/hosts: {e}"))?);
        }
        mounts.extend(self.termination_message().map_err(|e| format!("termination log: {e}"))?);
        Ok(mounts)
    }

    fn sub_path(mount: &VolumeMount, env: &[(String, String)]) -> Result<Option<String>, String> {
        if let Some(expression) = mount.sub_path_expr.as_deref().filter(|e| !e.is_empty()) {
            let missing = std::cell::Cell::new(false);
            let sub = env::expand(expression, |name| {
                let found = env.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
                missing.set(missing.get() || found.is_none());
                found
            });
            if missing.get() {
                return Err(format!("failed to expand subPathExpr {expression:?}: missing value"));
            }
            if sub.starts_with('/') || sub.split('/').any(|part| part == "..") {
                return Err(format!("subPath {sub:?} must be a relative path without '..'"));
            }
            return Ok(Some(sub));
        }
        Ok(mount.sub_path.clone().filter(|sub| !sub.is_empty()))
    }

    fn hosts(&self) -> std::io::Result<Mount> {
        let uid = self.pod.metadata.uid.as_deref().unwrap_or_default();
        let path = self.node.pod_dir(uid).join("etc-hosts");
        let host_network = self.pod.spec.as_ref().and_then(|s| s.host_network).unwrap_or(false);
        let text = match host_network {
            true => dns::host_network_hosts(&self.pod, &fs::read_to_string("/etc/hosts").unwrap_or_default()),
            false => dns::hosts(&self.pod, &self.ips, &self.node.dns.domain),
        };
        fs::create_dir_all(self.node.pod_dir(uid))?;
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        let read_only = self.spec.security_context.as_ref().and_then(|s| s.read_only_root_filesystem);
        Ok(Mount {
            container_path: "/etc/hosts".into(),
            host_path: path.display().to_string(),
            readonly: read_only.unwrap_or(false),
            ..Mount::default()
        })
    }

    fn termination_message(&self) -> std::io::Result<Option<Mount>> {
        let target = self.spec.termination_message_path.as_deref().unwrap_or("/dev/termination-log");
        if target.is_empty() {
            return Ok(None);
        }
        let uid = self.pod.metadata.uid.as_deref().unwrap_or_default();
        let path = termination_log(&self.node, uid, &self.spec.name, self.attempt);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        fs::File::create(&path)?;
        // Whatever user the container runs as must be able to write it.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
        Ok(Some(Mount { container_path: target.into(), host_path: path.display().to_string(), ..Mount::default() }))
    }
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_string() } else { format!("/{path}") }
}

async fn cancelled(mut signal: watch::Receiver<bool>) {
    if signal.wait_for(|cancelled| *cancelled).await.is_err() {
        std::future::pending::<()>().await;
    }
}
