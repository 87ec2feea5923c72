//! cgroups on every kind of host: v1, v2 and hybrid (v1 controllers with an empty v2 tree beside them).
//!
//! A cgroup here is one path that exists below the mount point of every hierarchy that matters; the caller chooses the
//! path. Detection reads mountinfo; what is written where is a pure function ([`settings`]); this file does the I/O.
//! On hybrid hosts processes join the v2 tree as well: its `cgroup.kill` ends a whole cgroup in one write even though
//! it holds no controllers, and joining `name=systemd` keeps a service manager from counting them to its own units.

mod device_filter;
pub mod settings;
mod stats;

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::mountinfo::{self, MountInfo};
use crate::spec::{Device, Resources};
pub use stats::Stats;

/// The v1 controllers that are joined; `cpuset` only when a container asks for it, since an empty one holds no process.
const CONTROLLERS: [&str; 7] = ["cpu", "cpuacct", "memory", "pids", "freezer", "devices", "cpuset"];

/// The v2 controllers that are handed down.
const DELEGATED: [&str; 5] = ["cpu", "memory", "pids", "cpuset", "io"];

/// What one hierarchy is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// v1 with these controllers.
    V1(Vec<String>),
    /// v1 without controllers, as `systemd`.
    Named(String),
    /// v2 with these controllers, none on hybrid hosts.
    V2(Vec<String>),
}

impl Kind {
    fn has(&self, controller: &str) -> bool {
        match self {
            Kind::V1(list) | Kind::V2(list) => list.iter().any(|c| c == controller),
            Kind::Named(_) => false,
        }
    }
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchy {
    pub mountpoint: PathBuf,
    pub kind: Kind,
}

/// The hierarchies of this host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchies {
    pub list: Vec<Hierarchy>,
}

impl Hierarchies {
    /// Reads this process's mounts.
    pub fn detect() -> io::Result<Self> {
        Ok(Self::from_mounts(&mountinfo::read()?, |p| {
            fs::read_to_string(p.join("cgroup.controllers")).unwrap_or_default()
        }))
    }

    /// Picks the hierarchies out of a list of mounts; `v2_controllers` gives the contents of `cgroup.controllers`.
    pub fn from_mounts(mounts: &[MountInfo], v2_controllers: impl Fn(&Path) -> String) -> Self {
        let mut list: Vec<Hierarchy> = Vec::new();
        for m in mounts {
            let kind = match m.fstype.as_str() {
                "cgroup2" => Kind::V2(v2_controllers(&m.mountpoint).split_whitespace().map(str::to_string).collect()),
                "cgroup" => match m.super_options.iter().find_map(|o| o.strip_prefix("name=")) {
                    Some(name) => Kind::Named(name.to_string()),
                    None => {
                        let wanted = |o: &&String| CONTROLLERS.contains(&o.as_str());
                        Kind::V1(m.super_options.iter().filter(wanted).cloned().collect())
                    }
                },
                _ => continue,
            };
            let useful =
                !matches!(&kind, Kind::V1(c) if c.is_empty()) && !matches!(&kind, Kind::Named(n) if n != "systemd");
            // The same hierarchy may be mounted twice; the first mount is the host's usual one.
            if useful && !list.iter().any(|h| h.kind == kind) {
                list.push(Hierarchy { mountpoint: m.mountpoint.clone(), kind });
            }
        }
        Self { list }
    }

    /// The cgroup at `path` (absolute, below every mount point). Nothing is made yet.
    pub fn cgroup(&self, path: &str) -> Cgroup {
        self.cgroup_for(path, &Resources::default())
    }

    /// As [`Self::cgroup`], with the cpuset hierarchy when the limits need it.
    pub fn cgroup_for(&self, path: &str, resources: &Resources) -> Cgroup {
        let relative = path.trim_start_matches('/');
        let dirs = self.joined(resources).into_iter();
        Cgroup { dirs: dirs.map(|h| (h.mountpoint.join(relative), h.mountpoint, h.kind)).collect() }
    }

    /// The hierarchies that a process with these limits joins.
    pub fn joined(&self, resources: &Resources) -> Vec<Hierarchy> {
        let pinned = !resources.cpuset_cpus.is_empty() || !resources.cpuset_mems.is_empty();
        let cpuset = Kind::V1(vec!["cpuset".into()]);
        self.list.iter().filter(|h| pinned || h.kind != cpuset).cloned().collect()
    }
}

/// How a child joins a cgroup.
#[derive(Debug, Default)]
pub struct Joins {
    pub v1: Vec<OwnedFd>,
    pub v2: Option<OwnedFd>,
}

/// One path in every hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    /// Directory, mount point, kind.
    dirs: Vec<(PathBuf, PathBuf, Kind)>,
}

impl Cgroup {
    /// Makes the directories, ancestors included. Fine if they are there.
    pub fn create(&self) -> io::Result<()> {
        for (dir, mountpoint, kind) in &self.dirs {
            make(dir, mountpoint, kind).map_err(|e| at(dir, e))?;
            if let Kind::V2(controllers) = kind {
                delegate(dir, mountpoint, controllers).map_err(|e| at(dir, e))?;
            }
        }
        Ok(())
    }

    /// Writes limits and, for containers, the device rules (`None` leaves devices alone).
    pub fn apply(&self, resources: &Resources, devices: Option<&[Device]>) -> io::Result<()> {
        for (dir, _, kind) in &self.dirs {
            for w in settings::writes(kind, resources, devices) {
                let file = dir.join(&w.file);
                match write(&file, &w.value) {
                    Err(e) if w.optional && matches!(e.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {}
                    // With the swap limit below the new limit, the order has to be the other way round.
                    Err(e) if w.file == "memory.limit_in_bytes" && e.kind() == ErrorKind::InvalidInput => {
                        write(&dir.join("memory.memsw.limit_in_bytes"), &w.value).map_err(|e| at(&file, e))?;
                        write(&file, &w.value).map_err(|e| at(&file, e))?;
                    }
                    other => other.map_err(|e| at(&file, e))?,
                }
            }
        }
        match devices.filter(|_| !resources.all_devices) {
            Some(devices) => self.filter_devices(devices),
            None => Ok(()),
        }
    }

    /// v2 has no files for devices; a host with v1's controller needs no second guard.
    fn filter_devices(&self, devices: &[Device]) -> io::Result<()> {
        if self.dirs.iter().any(|(_, _, k)| k.has("devices")) {
            return Ok(());
        }
        let v2 = self.dirs.iter().find(|(_, _, k)| matches!(k, Kind::V2(_)));
        v2.map_or(Ok(()), |(dir, ..)| {
            let open = fs::File::open(dir).map_err(|e| at(dir, e))?;
            device_filter::attach(&open.into(), devices)
                .map_err(|e| io::Error::new(e.kind(), format!("device filter of {}: {e}", dir.display())))
        })
    }

    /// What a child joins by: for v1 the open `tasks` files, into each of which it writes `0`; for v2 the open directory,
    /// for `CLONE_INTO_CGROUP`. Both ways are cheap: a process that is moved by `cgroup.procs` after a quiet while makes the
    /// kernel wait for a grace period (10 ms), with every other change of cgroups on the machine waiting behind it.
    pub fn open(&self) -> io::Result<Joins> {
        let mut joins = Joins::default();
        for (dir, _, kind) in &self.dirs {
            if matches!(kind, Kind::V2(_)) {
                joins.v2 = Some(fs::File::open(dir).map_err(|e| at(dir, e))?.into());
            } else {
                let file = dir.join("tasks");
                let open = fs::OpenOptions::new().write(true).open(&file).map_err(|e| at(&file, e))?;
                joins.v1.push(open.into());
            }
        }
        Ok(joins)
    }

    /// Moves this process, which must have one thread, into the v1 cgroups: cheap.
    pub fn join_v1(&self) -> io::Result<()> {
        let v1 = self.dirs.iter().filter(|(_, _, k)| !matches!(k, Kind::V2(_)));
        v1.map(|(dir, ..)| dir.join("tasks")).try_for_each(|file| write(&file, "0").map_err(|e| at(&file, e)))
    }

    /// Moves this process into the v2 cgroup: not cheap (see [`Self::open`]).
    pub fn join_v2(&self) -> io::Result<()> {
        let v2 = self.dirs.iter().filter(|(_, _, k)| matches!(k, Kind::V2(_)));
        v2.map(|(dir, ..)| dir.join("cgroup.procs")).try_for_each(|file| write(&file, "0").map_err(|e| at(&file, e)))
    }

    /// The processes in it, by any hierarchy.
    pub fn processes(&self) -> Vec<i32> {
        let mut all: Vec<i32> = self
            .dirs
            .iter()
            .filter_map(|(dir, ..)| fs::read_to_string(dir.join("cgroup.procs")).ok())
            .flat_map(|text| text.lines().filter_map(|l| l.parse().ok()).collect::<Vec<i32>>())
            .filter(|pid| *pid > 0)
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// SIGKILL to everything in it, forks in flight included: `cgroup.kill` where v2 is there, else frozen first.
    pub fn kill(&self) {
        for (dir, _, kind) in &self.dirs {
            if matches!(kind, Kind::V2(_)) && write(&dir.join("cgroup.kill"), "1").is_ok() {
                return;
            }
        }
        let freezer = self.dirs.iter().find(|(_, _, k)| matches!(k, Kind::V1(_)) && k.has("freezer"));
        if let Some((dir, ..)) = freezer {
            let _ = write(&dir.join("freezer.state"), "FROZEN");
        }
        for pid in self.processes() {
            // SAFETY: no memory is passed. The pid is of a frozen process of ours, so it cannot have been reused.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        if let Some((dir, ..)) = freezer {
            let _ = write(&dir.join("freezer.state"), "THAWED");
        }
    }

    /// Removes it and what is below it, waiting up to `patience` for dying processes to leave. Fine if it is not there.
    pub fn remove(&self, patience: Duration) -> io::Result<()> {
        let end = std::time::Instant::now() + patience;
        for (dir, ..) in &self.dirs {
            loop {
                match fs::remove_dir(dir) {
                    Ok(()) => break,
                    Err(e) if e.kind() == ErrorKind::NotFound => break,
                    Err(e) if e.raw_os_error() == Some(libc::EBUSY) => {
                        remove_children(dir);
                        if std::time::Instant::now() >= end {
                            return Err(at(dir, e));
                        }
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    Err(e) => return Err(at(dir, e)),
                }
            }
        }
        Ok(())
    }

    /// True while its directory is there in any hierarchy.
    pub fn exists(&self) -> bool {
        self.dirs.iter().any(|(dir, ..)| dir.exists())
    }

    /// How many processes the kernel has killed in it for want of memory.
    pub fn oom_kills(&self) -> u64 {
        self.dirs
            .iter()
            .filter(|(_, _, k)| k.has("memory"))
            .map(|(dir, _, k)| stats::oom_kills(dir, k))
            .max()
            .unwrap_or(0)
    }

    /// Usage now.
    pub fn stats(&self) -> Stats {
        stats::read(self.dirs.iter().map(|(dir, _, kind)| (dir.as_path(), kind)))
    }
}

fn at(path: &Path, e: io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{}: {e}", path.display()))
}

fn write(path: &Path, value: &str) -> io::Result<()> {
    fs::OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}

fn make(dir: &Path, mountpoint: &Path, kind: &Kind) -> io::Result<()> {
    match fs::create_dir(dir) {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::AlreadyExists => return Ok(()),
        Err(e) if e.kind() == ErrorKind::NotFound && dir != mountpoint => {
            let parent = dir.parent().unwrap_or(mountpoint);
            make(parent, mountpoint, kind)?;
            // Somebody may be removing the empty parent at this moment: the second failure is the caller's.
            match fs::create_dir(dir) {
                Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
                _ => {}
            }
        }
        Err(e) => return Err(e),
    }
    match kind {
        Kind::V1(list) if list.iter().any(|c| c == "cpuset") => inherit_cpuset(dir),
        _ => Ok(()),
    }
}

/// v2: every ancestor has to hand its controllers down before the cgroup has their files, and may hold no process itself.
fn delegate(dir: &Path, mountpoint: &Path, controllers: &[String]) -> io::Result<()> {
    let have = fs::read_to_string(dir.join("cgroup.controllers"))?;
    let have: Vec<&str> = have.split_whitespace().collect();
    let missing: Vec<&String> =
        controllers.iter().filter(|c| DELEGATED.contains(&c.as_str()) && !have.contains(&c.as_str())).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut ancestors: Vec<&Path> = dir.ancestors().skip(1).take_while(|a| a.starts_with(mountpoint)).collect();
    ancestors.reverse();
    for ancestor in ancestors {
        let file = ancestor.join("cgroup.subtree_control");
        for controller in &missing {
            match write(&file, &format!("+{controller}")) {
                // It holds processes: nothing below it can ever be limited.
                Err(e) if e.raw_os_error() == Some(libc::EBUSY) => return Err(at(&file, e)),
                // Some controller may be refused for reasons of its own; who asks for its limit will hear of it.
                _ => {}
            }
        }
    }
    Ok(())
}

/// v1: a new cpuset is empty and holds no process until it has cpus and memory nodes.
fn inherit_cpuset(dir: &Path) -> io::Result<()> {
    let parent = dir.parent().unwrap_or(dir);
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let value = fs::read_to_string(parent.join(file))?;
        write(&dir.join(file), value.trim())?;
    }
    Ok(())
}

fn remove_children(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
        remove_children(&entry.path());
        let _ = fs::remove_dir(entry.path());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
        33 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n\
        34 31 0:31 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn hybrid_hosts_join_all_that_matter() {
        let h = Hierarchies::from_mounts(&mountinfo::parse(HYBRID), |_| String::new());
        let dirs = |c: Cgroup| c.dirs.iter().map(|d| d.0.display().to_string()).collect::<Vec<_>>();
        assert_eq!(
            dirs(h.cgroup("/ferry/a")),
            [
                "/sys/fs/cgroup/cpu/ferry/a",
                "/sys/fs/cgroup/memory/ferry/a",
                "/sys/fs/cgroup/systemd/ferry/a",
                "/sys/fs/cgroup/unified/ferry/a"
            ]
        );
        let pinned = Resources { cpuset_cpus: "0".into(), ..Default::default() };
        assert_eq!(dirs(h.cgroup_for("/ferry/a", &pinned))[1], "/sys/fs/cgroup/cpuset/ferry/a");
    }

    #[test]
    fn v2_hosts_have_one() {
        let mounts = mountinfo::parse("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n");
        let h = Hierarchies::from_mounts(&mounts, |_| "cpuset cpu io memory pids\n".into());
        assert_eq!(h.list.len(), 1);
        assert!(h.list[0].kind.has("memory"));
    }

    #[test]
    fn made_joined_killed_and_removed() {
        let path = format!("/ferry-test-sandbox-{}", std::process::id());
        let cgroup = Hierarchies::detect().unwrap().cgroup(&path);
        cgroup.create().unwrap();
        let limits = Resources { memory: Some(64 << 20), pids: Some(10), cpu_shares: Some(512), ..Default::default() };
        let applied = cgroup.apply(&limits, Some(&[]));
        let mut child = std::process::Command::new("/bin/sleep").arg("1000").spawn().unwrap();
        for (dir, ..) in &cgroup.dirs {
            write(&dir.join("cgroup.procs"), &child.id().to_string()).unwrap();
        }
        let seen = cgroup.processes();
        cgroup.kill();
        let status = child.wait().unwrap();
        cgroup.remove(Duration::from_secs(5)).unwrap();
        applied.unwrap();
        assert_eq!(seen, [child.id() as i32]);
        assert!(!status.success() && !cgroup.exists());
    }
}
