//! Device nodes: the ones that every container has, and the host's for privileged ones.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::spec::Device;

/// null, zero, full, random, urandom and tty.
pub fn default_devices() -> Vec<Device> {
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)]
        .into_iter()
        .map(|(name, major, minor)| Device {
            path: format!("/dev/{name}"),
            block: false,
            major,
            minor,
            mode: 0o666,
            access: "rwm".into(),
        })
        .collect()
}

/// The device behind a host path, to appear at `path`.
pub fn from_host(host: &Path, path: &str, access: &str) -> std::io::Result<Device> {
    let meta = std::fs::metadata(host)?;
    let kind = meta.file_type();
    if !kind.is_char_device() && !kind.is_block_device() {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a device node"));
    }
    Ok(Device {
        path: path.to_string(),
        block: kind.is_block_device(),
        major: libc::major(meta.rdev()),
        minor: libc::minor(meta.rdev()),
        mode: meta.mode() & 0o777,
        access: access.to_string(),
    })
}

/// Every device of the host's `/dev` but terminals, for privileged containers.
pub fn all_host_devices() -> Vec<Device> {
    let mut found = Vec::new();
    walk(Path::new("/dev"), &mut found);
    found
}

fn walk(dir: &Path, found: &mut Vec<Device>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
        let Some(name) = path.to_str() else { continue };
        if kind.is_dir() {
            if !["/dev/pts", "/dev/shm", "/dev/fd", "/dev/mqueue"].contains(&name) {
                walk(&path, found);
            }
        } else if (kind.is_char_device() || kind.is_block_device()) && !["/dev/ptmx", "/dev/console"].contains(&name) {
            found.extend(from_host(&path, name, "rwm"));
        }
    }
}
