//! What an agent of this host itself left: its pods, and the network that they had. (Agents of machines go with their
//! machines.)

use crate::{Outcome, layout::POD_CGROUP};
use cni::{AddRequest, AddResult, Attachment, Network};
use rustix::{
    mount::{UnmountFlags, unmount},
    process::{Pid, Signal, kill_process},
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// Ends the agent whose directory this is, if there is one, and its pods, and removes what it made on this host.
pub fn down(directory: &Path) -> Outcome {
    let root = directory.join("runtime");
    if !root.exists() {
        return Ok(());
    }
    end_agent(&root.join("lock"))?;
    let images = images::Store::open(&directory.join("images")).map_err(|e| e.to_string())?;
    let mut config = runtime::Config::new(root, images, Arc::new(Going));
    config.cgroup_root = POD_CGROUP.into();
    crate::block_on(async {
        let failures = runtime::cleanup(config).await.map_err(|e| format!("container runtime: {e}"))?;
        if failures.is_empty() { Ok(()) } else { Err(failures.join("; ")) }
    })?;
    cni::remove(&directory.join("network"), cni::BRIDGE).map_err(|e| e.to_string())?;
    proxy::Proxy::open(None).and_then(|mut tables| tables.remove()).map_err(|e| format!("service tables: {e}"))?;
    unmount_below(directory)
}

/// The agent holds this file open as long as it lives. Pods do not end with it, so it is not asked to take its time.
fn end_agent(lock: &Path) -> Outcome {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let holders: Vec<Pid> = processes().filter(|pid| super::holds_open(*pid, lock)).collect();
        if holders.is_empty() {
            return Ok(());
        }
        let signal = if Instant::now() < until { Signal::TERM } else { Signal::KILL };
        for pid in holders {
            // It may have ended by itself.
            let _ = kill_process(pid, signal);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|e| Pid::from_raw(e.file_name().to_str()?.parse().ok()?))
}

/// Volumes of pods.
fn unmount_below(directory: &Path) -> Outcome {
    let directory = directory.canonicalize().map_err(|e| format!("{}: {e}", directory.display()))?;
    let text = fs::read_to_string("/proc/self/mountinfo").map_err(|e| format!("/proc/self/mountinfo: {e}"))?;
    let points = text.lines().filter_map(|l| l.split(' ').nth(4));
    let points: Vec<PathBuf> = points.map(|p| base::escape::mountinfo(p).into_owned().into()).collect();
    // Those that lie deepest were made last.
    for point in points.iter().rev().filter(|p| p.starts_with(&directory)) {
        unmount(point, UnmountFlags::DETACH).map_err(|e| format!("{}: {e}", point.display()))?;
    }
    Ok(())
}

/// A network that is removed as a whole once the last pod is gone.
struct Going;

impl Network for Going {
    fn add(&self, _: &AddRequest) -> cni::Result<AddResult> {
        Err(going())
    }
    fn del(&self, _: &Attachment) -> cni::Result<()> {
        Ok(())
    }
    fn check(&self, _: &AddRequest) -> cni::Result<()> {
        Err(going())
    }
    fn gc(&self, _: &[Attachment]) -> cni::Result<()> {
        Ok(())
    }
    fn status(&self) -> cni::Result<()> {
        Err(going())
    }
}

fn going() -> cni::Error {
    cni::Error::Invalid { object: "network".into(), reason: "the node is being taken down".into() }
}
