//! Removing machines and everything that was made for them, from what lies on disk and from names that follow from the directory's:
//! it works when the maker was killed at any point, and twice.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use netlink::error::allow_missing;
use netlink::nft::{Batch, Nft};
use netlink::{Namespace, Route};

use crate::error::{Result, io_at, kernel};
use crate::{Config, bridge_name, cgroup, machine, mounts, network, ranges, tag};

/// Ends every process in the cluster's machines, and removes their namespaces, mounts, links, cgroups and rules; puts `ip_forward`
/// back if no other cluster is left. Images, volumes and addresses stay, unless `purge`. Success if there is nothing.
pub fn down(config: &Config, purge: bool) -> Result<()> {
    let dir = match config.dir.canonicalize() {
        // Somebody removed the data; links, rules and cgroups are still there, under names that follow from the path.
        Err(error) if error.kind() == ErrorKind::NotFound => std::path::absolute(&config.dir),
        other => other,
    };
    let dir = dir.map_err(io_at(&config.dir))?;
    let tag = tag(&dir);
    cgroup::destroy(&cgroup::cluster_path(&tag))?;
    let machines = dir.join("machines");
    mounts::unmount_below(&machines)?;
    for entry in entries(&machines)? {
        unpin(&entry)?;
    }
    let mut route = Route::open().map_err(kernel("host"))?;
    let bridge = bridge_name(&tag);
    for link in route.links().map_err(kernel("host"))?.iter().filter(|link| link.name.starts_with(&bridge)) {
        // Deleting one end of a veth deletes the other.
        allow_missing(route.delete_link(&link.name)).map_err(kernel("host"))?;
    }
    let mut nft = Nft::open().map_err(kernel("host"))?;
    if nft.has_table(&network::table(&tag)).map_err(kernel("host"))? {
        let mut batch = Batch::new();
        batch.delete_table(&network::table(&tag));
        nft.commit(batch).map_err(kernel("host"))?;
    }
    network::restore_forwarding(&config.host_state, &mut route)?;
    if purge {
        for path in [machines, dir.join("network.json")] {
            remove(&path)?;
        }
        ranges::release(&config.host_state, &dir)?;
    }
    Ok(())
}

/// Removes one machine.
pub(crate) fn machine(dir: &Path, tag: &str, name: &str, host: &mut Route, purge: bool) -> Result<()> {
    let directory = dir.join("machines").join(name);
    let Some((found, _)) = machine::read(&directory)? else { return Ok(()) };
    cgroup::destroy(&cgroup::machine_path(tag, name))?;
    mounts::unmount_below(&directory)?;
    unpin(&directory)?;
    allow_missing(host.delete_link(&machine::port_name(tag, &found))).map_err(kernel(name))?;
    match purge {
        true => remove(&directory),
        false => Ok(()),
    }
}

/// Removes the pins of a machine's namespaces, whichever there are.
pub(crate) fn unpin(directory: &Path) -> Result<()> {
    let pins = directory.join("ns");
    mounts::unmount_below(&pins)?;
    for pin in entries(&pins)? {
        Namespace::delete(&pin).map_err(kernel(pin.display()))?;
    }
    Ok(())
}

fn entries(path: &Path) -> Result<Vec<std::path::PathBuf>> {
    match fs::read_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(io_at(path))?.map(|entry| entry.map(|e| e.path()).map_err(io_at(path))).collect(),
    }
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io_at(path)(error)),
        _ => Ok(()),
    }
}
