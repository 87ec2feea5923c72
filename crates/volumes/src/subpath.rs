//! Sub-paths: a part of a volume as a mount of its own, whatever links the volume holds.
//!
//! The path is opened beneath the volume (`openat2` with `RESOLVE_BENEATH`, so that neither a link nor a race leads out)
//! and the opened file itself is bind-mounted at a place of ours; the runtime mounts that place. A check of the name alone
//! would be CVE-2017-1002101.

use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags},
    io::Errno,
    mount::{MountFlags, mount_bind_recursive, unmount},
};
use std::{
    fs, io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Component, Path},
};

/// Bind-mounts `sub` of `volume` at `target` and makes directories that are missing on the way.
pub(crate) fn bind(volume: &Path, sub: &str, target: &Path) -> io::Result<()> {
    let relative = Path::new(sub);
    if !relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("sub-path {sub:?} must stay inside its volume"),
        ));
    }
    let found = match open_beneath(volume, relative) {
        Err(Errno::NOENT) => {
            make_directories(volume, relative)?;
            open_beneath(volume, relative)?
        }
        other => other?,
    };
    let source = format!("/proc/self/fd/{}", found.as_raw_fd());
    // A mount that an earlier start of the container left here is of an older state of the volume.
    remove(target)?;
    if fs::metadata(&source)?.is_dir() {
        fs::create_dir_all(target)?;
    } else {
        fs::create_dir_all(target.parent().unwrap_or(Path::new("/")))?;
        fs::File::create(target)?;
    }
    mount_bind_recursive(&source, target)?;
    Ok(())
}

/// Unmounts and removes what [`bind`] made. Idempotent.
pub(crate) fn remove(target: &Path) -> io::Result<()> {
    match unmount(target, rustix::mount::UnmountFlags::DETACH) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
        Err(e) => return Err(e.into()),
    }
    let removed = match fs::symlink_metadata(target) {
        Ok(meta) if meta.is_dir() => fs::remove_dir(target),
        Ok(_) => fs::remove_file(target),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn open_beneath(volume: &Path, relative: &Path) -> Result<OwnedFd, Errno> {
    let root = rustix::fs::openat(CWD, volume, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(&root, relative, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// Step by step, each directory opened beneath the one before.
fn make_directories(volume: &Path, relative: &Path) -> io::Result<()> {
    let mut dir = rustix::fs::openat(CWD, volume, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    for part in relative.components().filter(|c| matches!(c, Component::Normal(_))) {
        match rustix::fs::mkdirat(&dir, part.as_os_str(), Mode::from_raw_mode(0o750)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        dir = rustix::fs::openat2(&dir, part.as_os_str(), flags, Mode::empty(), resolve)?;
    }
    Ok(())
}

/// A tmpfs of at most `size` bytes (0: half of the memory).
pub(crate) fn tmpfs(target: &Path, mode: u32, group: Option<u32>, size: u64) -> io::Result<()> {
    let mut options = format!("mode={mode:o}");
    if let Some(group) = group {
        options.push_str(&format!(",gid={group}"));
    }
    if size > 0 {
        options.push_str(&format!(",size={size}"));
    }
    let options = std::ffi::CString::new(options)?;
    rustix::mount::mount("tmpfs", target, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(&*options))?;
    Ok(())
}
