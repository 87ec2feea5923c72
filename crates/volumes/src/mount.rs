//! The executor: directories, tmpfs mounts and files of one pod's volumes, below one directory of the node.
//!
//! `<pods>/<uid>/volumes/<name>` holds a volume, `<pods>/<uid>/volume-subpaths/<name>/<container>/<n>` its sub-paths. Every
//! step may be repeated: after a restart of the agent the same calls find their work done.

use crate::{
    atomic::{self, Files},
    plan::{HostPathKind, Kind, Planned},
    subpath,
};
use rustix::fs::{AtFlags, CWD, Gid};
use std::{
    fmt, fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Who owns the files: `runAsUser` common to all containers, and `fsGroup`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ownership {
    pub user: Option<u32>,
    pub group: Option<u32>,
}

/// A volume could not be made or removed: `volume "x": …`. The caller tries again later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountError(pub String);

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for MountError {}

/// The volumes of one pod.
#[derive(Debug, Clone)]
pub struct Mounter {
    dir: PathBuf,
    owner: Ownership,
}

impl Mounter {
    /// `dir` is the pod's own directory, `<pods>/<uid>`.
    pub fn new(dir: PathBuf, owner: Ownership) -> Self {
        Mounter { dir, owner }
    }
    /// Where a volume is on the node.
    pub fn path(&self, volume: &Planned) -> PathBuf {
        match &volume.kind {
            Kind::HostPath { path, .. } => PathBuf::from(path),
            _ => self.dir.join("volumes").join(&volume.name),
        }
    }
    /// Makes a volume ready. For [`Kind::Files`], `files` is its content; calling it again with other files switches them.
    /// True where something changed.
    pub fn set_up(&self, volume: &Planned, files: Option<&Files>) -> Result<bool, MountError> {
        let path = self.path(volume);
        let result = match &volume.kind {
            Kind::Files { secret } => self.files(&path, *secret, files.unwrap_or(&Files::new())),
            Kind::EmptyDir { memory, size } => self.empty_dir(&path, *memory, size.unwrap_or(0)),
            Kind::HostPath { kind, .. } => host_path(&path, *kind).map(|()| false),
            // Nothing on the node: the runtime mounts the image into the container.
            Kind::Image { .. } => Ok(false),
            Kind::Unsupported(why) => Err(io::Error::other(why.clone())),
        };
        result.map_err(|e| MountError(format!("MountVolume.SetUp failed for volume {:?} : {e}", volume.name)))
    }
    /// A sub-path of a volume as a path of its own, for the `n`th mount of a container.
    pub fn sub_path(&self, volume: &Planned, container: &str, n: usize, sub: &str) -> Result<PathBuf, MountError> {
        let target = self.dir.join("volume-subpaths").join(&volume.name).join(container).join(n.to_string());
        subpath::bind(&self.path(volume), sub, &target).map_err(|e| {
            MountError(format!(
                "failed to prepare subPath for volumeMount {:?} of container {container:?}: {e}",
                volume.name
            ))
        })?;
        Ok(target)
    }
    /// Unmounts and removes everything below the pod's directory. Idempotent; refuses to delete while something is mounted.
    pub fn tear_down(&self) -> Result<(), MountError> {
        let fail = |e: io::Error| MountError(format!("{}: {e}", self.dir.display()));
        // The deepest first; several mounts may lie on one place.
        for target in mounts_below(&self.dir).map_err(fail)?.into_iter().rev() {
            match rustix::mount::unmount(&target, rustix::mount::UnmountFlags::empty()) {
                Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
                Err(_) => {
                    rustix::mount::unmount(&target, rustix::mount::UnmountFlags::DETACH).map_err(|e| fail(e.into()))?
                }
            }
        }
        if let Some(left) = mounts_below(&self.dir).map_err(fail)?.first() {
            return Err(MountError(format!("{}: still mounted", left.display())));
        }
        match fs::remove_dir_all(&self.dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(fail(e)),
            _ => Ok(()),
        }
    }

    fn files(&self, path: &Path, secret: bool, files: &Files) -> io::Result<bool> {
        fs::create_dir_all(path)?;
        if secret && !is_mounted(path)? {
            subpath::tmpfs(path, 0o1777, None, 0)?;
        }
        let mut mode = 0o1777;
        if let Some(group) = self.owner.group {
            rustix::fs::chownat(CWD, path, None, Some(Gid::from_raw(group)), AtFlags::empty())?;
            mode |= 0o2000;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        atomic::write(path, files, self.owner.user, self.owner.group)
    }

    fn empty_dir(&self, path: &Path, memory: bool, size: u64) -> io::Result<bool> {
        if memory {
            return self.memory_dir(path, size);
        }
        if path.exists() {
            return Ok(false);
        }
        // Made beside its place and moved there when it is as it should be: whoever dies in between leaves nothing that the
        // next one takes for done, and what containers have changed since stays theirs.
        let parent = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let fresh = parent.join(format!(".{name}.new"));
        match fs::create_dir(&fresh) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => self.dress(&fresh)?,
        }
        fs::rename(&fresh, path)?;
        Ok(true)
    }

    /// On tmpfs mode and group are options of the mount, so that there is no time in which they are wrong.
    fn memory_dir(&self, path: &Path, size: u64) -> io::Result<bool> {
        fs::create_dir_all(path)?;
        if is_mounted(path)? {
            return Ok(false);
        }
        let mode = if self.owner.group.is_some() { 0o2777 } else { 0o777 };
        subpath::tmpfs(path, mode, self.owner.group, size)?;
        Ok(true)
    }

    /// Mode and group of a directory that everybody may write into.
    fn dress(&self, path: &Path) -> io::Result<()> {
        let mut mode = 0o777;
        if let Some(group) = self.owner.group {
            rustix::fs::chownat(CWD, path, None, Some(Gid::from_raw(group)), AtFlags::empty())?;
            mode |= 0o2000;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    }
}

fn host_path(path: &Path, kind: HostPathKind) -> io::Result<()> {
    let mismatch =
        |what: &str| io::Error::other(format!("hostPath type check failed: {} is not {what}", path.display()));
    let meta = fs::metadata(path).ok();
    let is = |test: fn(&fs::Metadata) -> bool| meta.as_ref().is_some_and(test);
    match kind {
        HostPathKind::Unset => Ok(()),
        HostPathKind::DirectoryOrCreate if meta.is_none() => {
            fs::create_dir_all(path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        }
        HostPathKind::DirectoryOrCreate | HostPathKind::Directory => {
            if is(fs::Metadata::is_dir) {
                Ok(())
            } else {
                Err(mismatch("a directory"))
            }
        }
        HostPathKind::FileOrCreate if meta.is_none() => {
            fs::File::create(path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o644))
        }
        HostPathKind::FileOrCreate | HostPathKind::File => {
            if is(fs::Metadata::is_file) {
                Ok(())
            } else {
                Err(mismatch("a file"))
            }
        }
        HostPathKind::Socket => {
            if is(|m| m.file_type().is_socket()) {
                Ok(())
            } else {
                Err(mismatch("a socket file"))
            }
        }
        HostPathKind::CharDevice => {
            if is(|m| m.file_type().is_char_device()) {
                Ok(())
            } else {
                Err(mismatch("a character device"))
            }
        }
        HostPathKind::BlockDevice => {
            if is(|m| m.file_type().is_block_device()) {
                Ok(())
            } else {
                Err(mismatch("a block device"))
            }
        }
        HostPathKind::Unknown => Err(mismatch("of a valid volume type")),
    }
}

fn is_mounted(path: &Path) -> io::Result<bool> {
    Ok(mounts_below(path)?.iter().any(|mount| mount == path))
}

/// Mount points at or below a directory, in the order in which they were mounted.
fn mounts_below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    // The kernel shows resolved paths; a directory that is not there has no mounts.
    let Ok(dir) = fs::canonicalize(dir) else { return Ok(Vec::new()) };
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    let points = points.map(|p| PathBuf::from(base::escape::mountinfo(p).as_ref()));
    Ok(points.filter(|point| point.starts_with(&dir)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::File;
    use std::os::unix::fs::symlink;

    fn mounter() -> (Mounter, PathBuf) {
        let dir = std::env::temp_dir().join(format!("ferry-volumes-{}", base::ids::suffix(8)));
        (Mounter::new(dir.clone(), Ownership { user: None, group: Some(77) }), dir)
    }

    fn planned(name: &str, kind: Kind) -> Planned {
        Planned { name: name.into(), kind }
    }

    #[test]
    fn set_up_and_tear_down() {
        let (mounter, dir) = mounter();
        let secret = planned("s", Kind::Files { secret: true });
        let memory = planned("m", Kind::EmptyDir { memory: true, size: Some(1 << 20) });
        let files: Files = [("k".to_string(), File { bytes: b"v".to_vec(), mode: 0o400, owned: false })].into();
        assert!(mounter.set_up(&secret, Some(&files)).unwrap());
        assert!(!mounter.set_up(&secret, Some(&files)).unwrap());
        assert!(mounter.set_up(&memory, None).unwrap());
        fs::write(mounter.path(&memory).join("kept"), "x").unwrap();
        assert!(!mounter.set_up(&memory, None).unwrap());
        assert!(mounter.path(&memory).join("kept").exists());
        assert!(is_mounted(&mounter.path(&secret)).unwrap());
        let mode = fs::metadata(mounter.path(&secret).join("k")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o440);
        use std::os::unix::fs::MetadataExt;
        assert_eq!(fs::metadata(mounter.path(&secret)).unwrap().gid(), 77);

        let sub = mounter.sub_path(&secret, "c", 0, "k").unwrap();
        assert_eq!(fs::read_to_string(&sub).unwrap(), "v");
        mounter.tear_down().unwrap();
        mounter.tear_down().unwrap();
        assert!(!dir.exists());
    }

    /// An agent that died after the `mkdir` of an emptyDir left a directory with the mode of its umask.
    #[test]
    fn an_interrupted_empty_dir_is_finished() {
        let (mounter, dir) = mounter();
        for memory in [false, true] {
            let volume = planned("e", Kind::EmptyDir { memory, size: None });
            let path = mounter.path(&volume);
            // Whatever stands half-made where the work begins.
            fs::create_dir_all(if memory { path.clone() } else { path.with_file_name(".e.new") }).unwrap();
            assert!(mounter.set_up(&volume, None).unwrap());
            use std::os::unix::fs::MetadataExt;
            let meta = fs::metadata(&path).unwrap();
            assert_eq!((meta.mode() & 0o7777, meta.gid()), (0o2777, 77), "memory: {memory}");
            // What a container made of it is left alone.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
            assert!(!mounter.set_up(&volume, None).unwrap());
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
            mounter.tear_down().unwrap();
        }
        assert!(!dir.exists());
    }

    #[test]
    fn a_sub_path_stays_inside() {
        let (mounter, dir) = mounter();
        let volume = planned("e", Kind::EmptyDir { memory: false, size: None });
        mounter.set_up(&volume, None).unwrap();
        let made = mounter.sub_path(&volume, "c", 0, "a/b").unwrap();
        fs::write(made.join("f"), "x").unwrap();
        assert!(mounter.path(&volume).join("a/b/f").exists());
        symlink("/etc", mounter.path(&volume).join("out")).unwrap();
        for sub in ["out", "out/ssh", "../x", "/etc", "a/../../x"] {
            assert!(mounter.sub_path(&volume, "c", 1, sub).is_err(), "{sub}");
        }
        mounter.tear_down().unwrap();
        assert!(!dir.exists() && Path::new("/etc").exists());
    }

    #[test]
    fn host_paths_are_checked() {
        let (_, dir) = mounter();
        fs::create_dir_all(&dir).unwrap();
        let file = dir.join("f");
        host_path(&file, HostPathKind::FileOrCreate).unwrap();
        host_path(&file, HostPathKind::File).unwrap();
        host_path(&dir.join("d/e"), HostPathKind::DirectoryOrCreate).unwrap();
        let error = host_path(&file, HostPathKind::Directory).unwrap_err().to_string();
        assert_eq!(error, format!("hostPath type check failed: {} is not a directory", file.display()));
        assert!(host_path(&dir, HostPathKind::Socket).is_err());
        fs::remove_dir_all(dir).unwrap();
    }
}
