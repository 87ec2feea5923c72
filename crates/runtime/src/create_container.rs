//! `CreateContainer`: the image's layers under a fresh writable one, and the resolved specification handed to the shim.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cri::{ContainerConfig, Error, NamespaceMode, Result};
use images::Image;
use sandbox::{ContainerSpec, Rootfs, devices};

use crate::layout;
use crate::pod::{Container, Pod, Runtime, SavedContainer};
use crate::protocol::{LogTarget, Request};
use crate::spec::{self, Surroundings};

impl Runtime {
    pub(crate) async fn create(&self, sandbox: &str, config: &ContainerConfig) -> Result<String> {
        let pod = self.pod(sandbox)?;
        let (runtime, config) = (self.clone(), config.clone());
        // On a task of its own: a caller who gives up must not leave half a container.
        let making = tokio::spawn(async move { runtime.create_in(&pod, config).await });
        making.await.map_err(|e| Error::internal("create container", e))?
    }

    async fn create_in(&self, pod: &Arc<Pod>, config: ContainerConfig) -> Result<String> {
        let _gate = pod.gate.lock().await;
        {
            let state = pod.state.lock();
            if !state.ready || state.removed {
                return Err(Error::FailedPrecondition(format!("pod sandbox {:?} is not ready", pod.id)));
            }
            if let Some(other) = state.containers.iter().find(|(_, c)| c.saved.config.metadata == config.metadata) {
                let m = &config.metadata;
                return Err(Error::AlreadyExists(format!(
                    "container {:?}, attempt {}, is there already as {:?}",
                    m.name, m.attempt, other.0
                )));
            }
        }
        let images = &self.inner.config.images;
        let image = images
            .get(&config.image)
            .ok_or_else(|| Error::NotFound(format!("image {:?} is not on this node", config.image)))?;
        let mut volumes = BTreeMap::new();
        for mount in config.mounts.iter().filter(|m| !m.image.is_empty()) {
            let image = images.get(&mount.image);
            let image = image.ok_or_else(|| Error::NotFound(format!("image {:?} is not on this node", mount.image)))?;
            volumes.insert(mount.image.clone(), image.layers);
        }
        let id = base::ids::hex(&base::ids::random::<32>());
        // Beside the rest, because it waits for the disk; what counts is that it is there before anybody hears of the id.
        let hold = {
            let (images, owner, mut image) = (images.clone(), id.clone(), image.clone());
            image.layers.extend(volumes.values().flatten().cloned());
            tokio::task::spawn_blocking(move || images.hold(&owner, &image))
        };
        let made = self.make(pod, &id, config, &image, volumes).await;
        let held = hold.await.map_err(|e| Error::internal("image", e))?;
        let made = made.and_then(|()| held.map_err(|e| Error::internal("image", e)));
        if made.is_err() {
            let _ = pod.call(&Request::Remove { id: id.clone() }).await;
            pod.state.lock().containers.remove(&id);
            let _ = std::fs::remove_dir_all(pod.dir.container(&id));
            self.release_image(&id);
        }
        made.map(|()| id)
    }

    async fn make(
        &self,
        pod: &Arc<Pod>,
        id: &str,
        config: ContainerConfig,
        image: &Image,
        image_volumes: BTreeMap<String, Vec<PathBuf>>,
    ) -> Result<()> {
        let dir = pod.dir.container(id);
        let fail = |e: io::Error| Error::internal(format_args!("container {id:?}"), e);
        let rootfs = make_rootfs(&dir, image).map_err(fail)?;
        make_missing_sources(&config)?;
        let mut around =
            surroundings(pod, &config, image, rootfs, format!("{}/{id}", pod.saved.cgroup), self.inner.available_caps)?;
        (around.image_volumes, around.scratch) = (image_volumes, dir.clone());
        let spec = spec::container(&pod.saved.config, &config, image, &around)?;
        for source in spec.mounts.iter().filter_map(|bind| bind.image.as_ref()) {
            std::fs::create_dir(&source.mountpoint).map_err(fail)?;
        }
        let log = self.log_target(pod, &config).map_err(fail)?;
        let saved = saved(&config, image, &spec, &log);
        layout::write_json(&dir.join("container.json"), &saved).map_err(fail)?;
        let stdin_once = config.stdin_once;
        pod.state.lock().containers.insert(id.into(), Container::new(saved));
        pod.call(&Request::Create { id: id.into(), spec: Box::new(spec), log, stdin_once }).await
    }

    fn log_target(&self, pod: &Pod, config: &ContainerConfig) -> io::Result<LogTarget> {
        let mut target = LogTarget {
            path: PathBuf::new(),
            max_size: self.inner.config.log_max_size,
            max_files: self.inner.config.log_max_files,
        };
        if !config.log_path.is_empty() && !pod.saved.config.log_directory.is_empty() {
            target.path = Path::new(&pod.saved.config.log_directory).join(&config.log_path);
            if let Some(parent) = target.path.parent() {
                std::fs::create_dir_all(parent)?;
            }
        }
        Ok(target)
    }

    pub(crate) fn release_image(&self, container: &str) {
        if let Err(e) = self.inner.config.images.release(container) {
            tracing::warn!("release of the image of container {container}: {e}");
        }
    }
}

fn saved(config: &ContainerConfig, image: &Image, spec: &ContainerSpec, log: &LogTarget) -> SavedContainer {
    let stop_signal = config.stop_signal.clone().filter(|s| !s.is_empty()).unwrap_or(image.config.stop_signal.clone());
    SavedContainer {
        config: config.clone(),
        created_at: crate::shim::now(),
        image_ref: image.repo_digests.first().unwrap_or(&image.id).clone(),
        image_id: image.id.clone(),
        log_path: log.path.display().to_string(),
        process: spec.process.clone(),
        cgroup: spec.cgroup.clone(),
        resources: config.linux.resources.clone(),
        stop_signal: if stop_signal.is_empty() { "SIGTERM".into() } else { stop_signal },
    }
}

fn make_rootfs(dir: &Path, image: &Image) -> io::Result<Rootfs> {
    let rootfs = Rootfs {
        layers: image.layers.clone(),
        upper: dir.join("upper"),
        work: dir.join("work"),
        mountpoint: dir.join("root"),
        readonly: false,
    };
    std::fs::create_dir(dir)?;
    for path in [&rootfs.upper, &rootfs.work, &rootfs.mountpoint] {
        std::fs::create_dir(path)?;
    }
    // The root of the container is the upper directory's own: it takes the mode of the image's topmost layer.
    if let Some(top) = image.layers.last() {
        std::fs::set_permissions(&rootfs.upper, std::fs::metadata(top)?.permissions())?;
    }
    // An overlay needs something below; an image without layers gets nothing.
    let layers = if rootfs.layers.is_empty() { vec![rootfs.mountpoint.clone()] } else { rootfs.layers.clone() };
    Ok(Rootfs { layers, ..rootfs })
}

/// As containerd does: a host path that is not there becomes a directory.
fn make_missing_sources(config: &ContainerConfig) -> Result<()> {
    for mount in config.mounts.iter().filter(|m| m.image.is_empty()) {
        if !Path::new(&mount.host_path).exists() {
            std::fs::create_dir_all(&mount.host_path)
                .map_err(|e| Error::InvalidArgument(format!("mount source {:?}: {e}", mount.host_path)))?;
        }
    }
    Ok(())
}

fn surroundings(
    pod: &Pod,
    config: &ContainerConfig,
    image: &Image,
    rootfs: Rootfs,
    cgroup: String,
    available_caps: u64,
) -> Result<Surroundings> {
    let namespaces = &pod.saved.config.linux.security_context.namespace_options;
    let mut nodes = devices::default_devices();
    if config.linux.security_context.privileged {
        nodes.extend(devices::all_host_devices().into_iter().filter(|d| !nodes_have(&devices::default_devices(), d)));
    }
    for device in &config.devices {
        let access = if device.permissions.is_empty() { "rwm" } else { &device.permissions };
        let node = devices::from_host(Path::new(&device.host_path), &device.container_path, access);
        nodes.push(node.map_err(|e| Error::InvalidArgument(format!("device {:?}: {e}", device.host_path)))?);
    }
    let files = ["hosts", "hostname", "resolv.conf"].map(|f| (format!("/etc/{f}"), pod.dir.file(f)));
    Ok(Surroundings {
        passwd: image_file(&image.layers, "etc/passwd"),
        group: image_file(&image.layers, "etc/group"),
        available_caps,
        max_files: sandbox::process::hard_limit(libc::RLIMIT_NOFILE).min(1 << 20),
        rootfs,
        shm: Some(if namespaces.ipc == NamespaceMode::Node { "/dev/shm".into() } else { pod.dir.shm() }),
        files: files.to_vec(),
        devices: nodes,
        cgroup,
        ..Surroundings::default()
    })
}

fn nodes_have(list: &[sandbox::Device], device: &sandbox::Device) -> bool {
    list.iter().any(|d| d.path == device.path)
}

/// The text of a file of the image, from the topmost layer that has it or has removed it; empty without one. Links are not
/// followed: they would be resolved on the host.
fn image_file(layers: &[PathBuf], path: &str) -> String {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    const LIMIT: u64 = 1 << 20;
    for layer in layers.iter().rev() {
        let mut at = layer.clone();
        for part in path.split('/') {
            at.push(part);
            let Ok(meta) = std::fs::symlink_metadata(&at) else { break };
            let kind = meta.file_type();
            if kind.is_char_device() && meta.rdev() == 0 {
                // A whiteout: removed in this layer.
                return String::new();
            }
            if kind.is_file() && meta.len() <= LIMIT {
                return std::fs::read_to_string(&at).unwrap_or_default();
            }
            if !kind.is_dir() {
                break;
            }
        }
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topmost_layer_wins() {
        let root = std::env::temp_dir().join(format!("ferry-layers-{}", std::process::id()));
        let layers = vec![root.join("a"), root.join("b"), root.join("c")];
        for (layer, text) in layers.iter().zip([Some("low"), Some("high"), None]) {
            std::fs::create_dir_all(layer.join("etc")).unwrap();
            if let Some(text) = text {
                std::fs::write(layer.join("etc/passwd"), text).unwrap();
            }
        }
        std::os::unix::fs::symlink("/etc/hostname", layers[2].join("etc/group")).unwrap();
        let (passwd, group) = (image_file(&layers, "etc/passwd"), image_file(&layers, "etc/group"));
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!((&passwd[..], &group[..]), ("high", ""));
    }
}
