//! Entering a machine: the first thing that `ferry agent --machine` does, before it starts any thread.

use std::fs;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use netlink::{Cidr, Namespace, netns};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::cgroup::AGENT;
use crate::error::{Error, Result, io_at, kernel};
use crate::mounts::Mount;
use crate::{Machine, cgroup, machine};

const CGROUPS: &str = "/sys/fs/cgroup";

/// Where the process is now.
#[derive(Debug)]
pub struct Entered {
    pub name: String,
    /// The machine's address, with the prefix of the node network.
    pub address: Cidr,
    /// The host's address: where its control plane is reached.
    pub gateway: IpAddr,
    /// Real storage for containers, images and volumes.
    pub storage: PathBuf,
    /// The network that was left: for what the host reaches and the machine does not (a registry on the host's loopback).
    pub host_network: Namespace,
}

/// Moves this process into the machine whose directory that is: its cgroups, host name, network and mounts. The cgroups are the
/// roots of what it sees under `/sys/fs/cgroup`, and the process itself sits in the child `agent`. The working directory
/// becomes `/`. The process must have one thread, because the kernel moves threads, not processes.
pub fn enter(directory: &Path) -> Result<Entered> {
    let object = format!("machine {}", directory.display());
    let invalid = |reason: &str| Error::Invalid { object: object.clone(), reason: reason.into() };
    let tasks = fs::read_dir("/proc/self/task").map_err(io_at(Path::new("/proc/self/task")))?.count();
    if tasks != 1 {
        return Err(invalid("can only be entered by a process with one thread"));
    }
    let (machine, kept) = machine::read(directory)?.ok_or_else(|| invalid("no such machine"))?;
    if !machine.is_up() {
        return Err(invalid("is not up; create it again"));
    }
    let host_network = Namespace::current().map_err(kernel(&object))?;
    let pins = [
        ("net", LinkNameSpaceType::Network),
        ("uts", LinkNameSpaceType::HostNameAndNISDomainName),
        ("mnt", LinkNameSpaceType::Mount),
    ];
    let path = cgroup::machine_path(&kept.cluster, &machine.name);
    let hierarchies = cgroup::hierarchies()?;
    enter_cgroups(&machine, &path)?;
    let roots = hierarchies.iter().map(|h| inode(&h.target.join(&path))).collect::<Result<Vec<_>>>()?;
    let mut opened = Vec::new();
    for (kind, namespace) in pins {
        let pin = machine.pin(kind);
        opened.push((fs::File::open(&pin).map_err(io_at(&pin))?, pin, namespace));
    }
    for (file, pin, kind) in &opened {
        move_into_link_name_space(file.as_fd(), Some(*kind)).map_err(io_at(pin))?;
    }
    std::env::set_current_dir("/").map_err(io_at(Path::new("/")))?;
    show_cgroups(&hierarchies, &roots)?;
    let storage = machine.storage();
    Ok(Entered { name: machine.name, address: machine.address, gateway: machine.gateway, storage, host_network })
}

/// Moves the process into the machine's cgroup `agent`, and into its cgroup namespace. The first process makes that: it has to be in
/// the machine's own cgroup for a moment, which on v2 is possible only until controllers are passed on from there. So the namespace
/// is pinned like the others, after everything else.
fn enter_cgroups(machine: &Machine, path: &Path) -> Result<()> {
    let pin = machine.pin("cgroup");
    if !machine::is_nsfs(&pin) {
        cgroup::join(path)?;
        netns::isolate_cgroups().map_err(kernel(format!("machine {}", machine.name)))?;
        fs::File::create(&pin).map_err(io_at(&pin))?;
        mount_bind("/proc/self/ns/cgroup", &pin).map_err(io_at(&pin))?;
        return cgroup::join(&path.join(AGENT)).and_then(|()| cgroup::pass_on(path));
    }
    cgroup::join(&path.join(AGENT))?;
    cgroup::pass_on(path)?;
    let file = fs::File::open(&pin).map_err(io_at(&pin))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::ControlGroup)).map_err(io_at(&pin))
}

/// Mounts the machine's cgroups in place of the host's, unless they are there: pods that run since an earlier agent use them.
fn show_cgroups(hierarchies: &[Mount], roots: &[(u64, u64)]) -> Result<()> {
    let shown = |(hierarchy, root): (&Mount, &(u64, u64))| inode(&hierarchy.target).is_ok_and(|found| found == *root);
    if hierarchies.iter().zip(roots).all(shown) {
        return Ok(());
    }
    let top = Path::new(CGROUPS);
    for hierarchy in hierarchies.iter().rev().filter(|h| h.target != top) {
        unmount(&hierarchy.target, UnmountFlags::DETACH).map_err(io_at(&hierarchy.target))?;
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    if hierarchies.iter().any(|h| h.target == top) {
        unmount(top, UnmountFlags::DETACH).map_err(io_at(top))?;
    } else {
        // The host's own directory of mount points may be read-only.
        mount("ferry-cgroup", top, "tmpfs", flags, c"mode=755").map_err(io_at(top))?;
    }
    for hierarchy in hierarchies {
        if hierarchy.target != top {
            fs::create_dir_all(&hierarchy.target).map_err(io_at(&hierarchy.target))?;
        }
        let options = std::ffi::CString::new(cgroup::mount_options(hierarchy)).unwrap_or_default();
        let data = if hierarchy.kind == "cgroup" { Some(options.as_c_str()) } else { None };
        mount("cgroup", &hierarchy.target, hierarchy.kind.as_str(), flags, data).map_err(io_at(&hierarchy.target))?;
    }
    Ok(())
}

/// Which file it is, wherever it is mounted.
fn inode(path: &Path) -> Result<(u64, u64)> {
    let found = fs::metadata(path).map_err(io_at(path))?;
    Ok((found.dev(), found.ino()))
}
