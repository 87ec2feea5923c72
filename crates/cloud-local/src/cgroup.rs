//! A machine's cgroups: the path `ferry/<cluster>/<machine>` in every hierarchy of the host, v1 and v2.
//!
//! The machine's own cgroup holds no process: the agent sits in the child `agent`, because on v2 a cgroup that passes controllers
//! on to its children must be empty itself.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::error::{Error, Result, io_at};
use crate::mounts::{self, Mount};

const FERRY: &str = "ferry";
/// Beside the pods' cgroups.
pub(crate) const AGENT: &str = "agent";

/// The hierarchies that are mounted here.
pub(crate) fn hierarchies() -> Result<Vec<Mount>> {
    let mut found: Vec<Mount> = Vec::new();
    for mount in mounts::list()? {
        if matches!(mount.kind.as_str(), "cgroup" | "cgroup2") {
            // A mount over another one hides it.
            found.retain(|other| other.target != mount.target);
            found.push(mount);
        }
    }
    Ok(found)
}

/// The options that choose a hierarchy when it is mounted again: its controllers or its name.
pub(crate) fn mount_options(mount: &Mount) -> String {
    let other = ["rw", "ro", "xattr", "clone_children", "noprefix", "cpuset_v2_mode"];
    let chosen = |o: &&String| !other.contains(&o.as_str()) && !o.starts_with("release_agent=");
    mount.options.iter().filter(chosen).cloned().collect::<Vec<_>>().join(",")
}

pub(crate) fn cluster_path(tag: &str) -> PathBuf {
    Path::new(FERRY).join(tag)
}

pub(crate) fn machine_path(tag: &str, name: &str) -> PathBuf {
    cluster_path(tag).join(name)
}

/// Makes the path in a hierarchy, usable: a cpuset of the parent's, controllers passed on.
pub(crate) fn make(mount: &Mount, path: &Path) -> Result<PathBuf> {
    for _ in 0..20 {
        match try_make(mount, path) {
            // Another cluster of this host has just removed the common parent.
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {}
            other => return other,
        }
    }
    try_make(mount, path)
}

fn try_make(mount: &Mount, path: &Path) -> Result<PathBuf> {
    let mut at = mount.target.clone();
    for part in path.components() {
        pass_controllers_on(&at);
        let parent = at.clone();
        at.push(part);
        match fs::create_dir(&at) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(io_at(&at)(error)),
            _ => {}
        }
        for file in ["cpuset.cpus", "cpuset.mems"].iter().filter(|_| mount.kind == "cgroup") {
            // A v1 cpuset starts empty, and an empty one takes no process.
            let own = fs::read_to_string(at.join(file));
            if own.is_ok_and(|value| value.trim().is_empty()) {
                let inherited = fs::read_to_string(parent.join(file)).map_err(io_at(&parent.join(file)))?;
                fs::write(at.join(file), inherited).map_err(io_at(&at.join(file)))?;
            }
        }
    }
    Ok(at)
}

/// Moves the calling process into the path of every hierarchy.
pub(crate) fn join(path: &Path) -> Result<()> {
    for mount in hierarchies()? {
        let procs = make(&mount, path)?.join("cgroup.procs");
        fs::write(&procs, "0").map_err(io_at(&procs))?;
    }
    Ok(())
}

/// Lets the children of the path use every controller that the path has.
pub(crate) fn pass_on(path: &Path) -> Result<()> {
    hierarchies()?.iter().for_each(|mount| pass_controllers_on(&mount.target.join(path)));
    Ok(())
}

/// Kills every process below the path, and removes it, in every hierarchy.
pub(crate) fn destroy(path: &Path) -> Result<()> {
    let roots: Vec<PathBuf> =
        hierarchies()?.into_iter().map(|mount| mount.target.join(path)).filter(|root| root.exists()).collect();
    let myself = std::process::id();
    // A process that forks faster than it is killed is caught by the repetition; what is stuck in the kernel ends it.
    for attempt in 0..500 {
        let mut running: Vec<u32> = roots.iter().flat_map(|root| processes(root)).filter(|p| *p != myself).collect();
        running.sort_unstable();
        running.dedup();
        if running.is_empty() {
            break;
        }
        for pid in running {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                // It may have ended by itself.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        thread::sleep(Duration::from_millis(if attempt < 10 { 1 } else { 10 }));
    }
    for root in &roots {
        remove(root)?;
        // The parent is common to all clusters: it goes with the last one, and is busy before.
        if let Some(parent) = root.parent().filter(|parent| parent.ends_with(FERRY)) {
            let _ = fs::remove_dir(parent);
        }
    }
    Ok(())
}

/// Every process at and below a cgroup.
pub(crate) fn processes(root: &Path) -> Vec<u32> {
    let own = fs::read_to_string(root.join("cgroup.procs")).unwrap_or_default();
    let mut found: Vec<u32> = own.lines().filter_map(|line| line.parse().ok()).collect();
    for child in children(root) {
        found.extend(processes(&child));
    }
    found
}

fn children(root: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(root) else { return Vec::new() };
    entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

/// A cgroup is removed from the leaves up; for a moment after its last process died it may still be busy.
fn remove(root: &Path) -> Result<()> {
    for child in children(root) {
        remove(&child)?;
    }
    let mut last: Option<io::Error> = None;
    for _ in 0..200 {
        match fs::remove_dir(root) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ResourceBusy => last = Some(error),
            Err(error) => return Err(io_at(root)(error)),
        }
        thread::sleep(Duration::from_millis(5));
    }
    let source = last.unwrap_or_else(|| ErrorKind::ResourceBusy.into());
    Err(Error::Io { path: root.to_path_buf(), source })
}

/// v2 only: children may use a controller that their parent passes on. Not all can be, and none must.
fn pass_controllers_on(parent: &Path) {
    let Ok(available) = fs::read_to_string(parent.join("cgroup.controllers")) else { return };
    for controller in available.split_whitespace() {
        if let Err(error) = fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}")) {
            tracing::debug!(cgroup = %parent.display(), controller, %error, "controller not passed on");
        }
    }
}
