//! Mounts: reading the table, and removing what lies below a directory.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::mount::{UnmountFlags, unmount};

use crate::error::{Error, Result, io_at};

/// A line of mountinfo (proc(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) target: PathBuf,
    pub(crate) kind: String,
    /// Options of the file system itself, not of this mount.
    pub(crate) options: Vec<String>,
}

/// The mounts that the calling thread sees, in the order in which they were made.
pub(crate) fn list() -> Result<Vec<Mount>> {
    let path = Path::new("/proc/thread-self/mountinfo");
    Ok(parse(&fs::read_to_string(path).map_err(io_at(path))?))
}

/// Unmounts everything below and at `dir`, last first. Lazily: what still runs inside keeps what it holds.
pub(crate) fn unmount_below(dir: &Path) -> Result<()> {
    for mount in list()?.iter().rev().filter(|mount| mount.target.starts_with(dir)) {
        match unmount(&mount.target, UnmountFlags::DETACH) {
            // Gone with the one above it.
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(io_at(&mount.target)(error)),
        }
    }
    Ok(())
}

/// An overlay refuses another overlay's upper directory on it, which every container needs.
pub(crate) fn check_storage(dir: &Path) -> Result<()> {
    const OVERLAYFS: u64 = 0x794c_7630;
    let found = rustix::fs::statfs(dir).map_err(io_at(dir))?;
    if found.f_type as u64 == OVERLAYFS {
        let reason =
            "is on an overlay file system, where containers cannot keep their files; give a directory on a disk";
        return Err(Error::Invalid { object: dir.display().to_string(), reason: reason.into() });
    }
    Ok(())
}

fn parse(text: &str) -> Vec<Mount> {
    let line = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let kind = right.next()?.to_string();
        let options = right.nth(1).unwrap_or_default().split(',').map(str::to_string).collect();
        let target = base::escape::mountinfo(left.split(' ').nth(4)?).into_owned().into();
        Some(Mount { target, kind, options })
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_is_read() {
        let text = "36 35 98:0 / /mnt/with\\040blank rw,noatime master:1 - ext4 /dev/root rw,errors=continue\n\
                    40 35 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\ngarbage\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].target, Path::new("/mnt/with blank"));
        assert_eq!((mounts[1].kind.as_str(), mounts[1].options.join(" ")), ("cgroup", "rw cpu cpuacct".to_string()));
    }
}
