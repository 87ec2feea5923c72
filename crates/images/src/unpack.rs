//! A layer archive becomes a directory that overlayfs can take as a lower one.
//!
//! Every path is resolved by the kernel inside the layer's own root (`openat2` with `RESOLVE_IN_ROOT`), so a symbolic link in the
//! layer cannot lead outside, whatever order the entries come in; checking strings instead was decided against, as every
//! runtime that tried it has a CVE. A layer is unpacked by itself, without the layers below it, so that one directory per diff
//! id serves every image. Whiteouts become what overlayfs wants: a character device 0/0, or `trusted.overlay.opaque`.
//! Source: OCI image-spec, layer.md; Documentation/filesystems/overlayfs.rst.

use crate::digest::{Digest, HashingReader};
use crate::error::{Error, Result};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use tar::{Entry, EntryType};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const AUFS: &[u8] = b".wh..wh.";

/// How much one layer may hold. A few kilobytes can unpack to a full disk, and a million empty files to no inode left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of the archive once it is decompressed, and of what its files hold (a sparse file is small in the one and large in
    /// the other).
    pub bytes: u64,
    /// Files, directories, links and whiteouts.
    pub entries: u64,
}

impl Default for Limits {
    /// Above what images in use have: the largest bring some 20 GiB and some 300,000 files in a layer.
    fn default() -> Self {
        Limits { bytes: 64 << 30, entries: 4_000_000 }
    }
}

/// Unpacks a plain tar stream into `dest` (an empty directory) and returns the digest of the stream, the diff id.
/// `object` names the layer in errors.
pub(crate) fn unpack(reader: impl Read, dest: &Path, object: &str, limits: Limits) -> Result<Digest> {
    let spent = Cell::new(false);
    let mut layer = Unpacker::open(dest, object, limits)?;
    let bounded = Bounded { inner: reader, left: limits.bytes, spent: &spent };
    let mut archive = tar::Archive::new(HashingReader::new(bounded));
    let damaged = |error: io::Error| match spent.get() {
        true => too_long(object, limits),
        false => Error::content(object, format!("damaged layer: {error}")),
    };
    for entry in archive.entries().map_err(damaged)? {
        // What breaks off in the middle of a file is the stream's fault as much as what breaks off between files.
        layer
            .entry(entry.map_err(damaged)?)
            .map_err(|error| if spent.get() { too_long(object, limits) } else { error })?;
    }
    layer.finish()?;
    archive.into_inner().finish().map_err(damaged)
}

fn too_long(object: &str, limits: Limits) -> Error {
    Error::content(object, format!("layer is larger than this node's limit of {} bytes", limits.bytes))
}

/// Fails where more than `left` bytes would come, and notes that it did.
struct Bounded<'a, R> {
    inner: R,
    left: u64,
    spent: &'a Cell<bool>,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        match self.left.checked_sub(n as u64) {
            Some(left) => self.left = left,
            None => {
                self.spent.set(true);
                return Err(io::Error::other("the layer is too large"));
            }
        }
        Ok(n)
    }
}

struct Unpacker<'a> {
    root: OwnedFd,
    object: &'a str,
    /// The directory of the last entry, which is mostly that of the next one too.
    last_parent: Option<(PathBuf, OwnedFd)>,
    /// Times of directories, set at the end because every entry inside changes them.
    directories: BTreeMap<PathBuf, Timestamps>,
    buffer: Vec<u8>,
    limits: Limits,
    /// Entries so far, and bytes of their files.
    entries: u64,
    written: u64,
}

/// What a header says besides type and content.
struct Meta {
    mode: Mode,
    uid: Uid,
    gid: Gid,
    times: Timestamps,
    xattrs: Vec<(String, Vec<u8>)>,
}

impl<'a> Unpacker<'a> {
    fn open(dest: &Path, object: &'a str, limits: Limits) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(dest, flags, Mode::empty())
            .map_err(|error| Error::Io { path: dest.to_path_buf(), source: error.into() })?;
        Ok(Unpacker {
            root,
            object,
            last_parent: None,
            directories: BTreeMap::new(),
            buffer: vec![0; 128 * 1024],
            limits,
            entries: 0,
            written: 0,
        })
    }

    fn entry<R: Read>(&mut self, mut entry: Entry<'_, R>) -> Result<()> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(self.bad(format!("layer has more entries than this node's limit of {}", self.limits.entries)));
        }
        let raw = PathBuf::from(OsStr::from_bytes(&entry.path_bytes()));
        let path = self.inside(&raw)?;
        let meta = self.meta(&mut entry)?;
        let Some(name) = path.file_name().map(OsStr::to_os_string) else {
            // The root itself.
            self.apply(&PathBuf::new(), &meta).map_err(|e| self.io(&raw, e))?;
            self.directories.insert(PathBuf::new(), meta.times);
            return Ok(());
        };
        let parent_path = path.parent().unwrap_or(Path::new("")).to_path_buf();
        self.enter(&parent_path)?;
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
            return self.whiteout(&parent_path, &name, hidden).map_err(|e| self.io(&raw, e));
        }
        match kind {
            EntryType::Directory => self.directory(&path, &name, &meta).map_err(|e| self.io(&raw, e)),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.regular(&path, &name, &meta, &mut entry)
            }
            EntryType::Link => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                self.hard_link(&path, &name, &target)
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                self.clear(&name)
                    .and_then(|()| {
                        let target = OsStr::from_bytes(&target);
                        rustix::fs::symlinkat(target, self.parent(), &*name).map_err(io::Error::from)
                    })
                    .and_then(|()| self.dress(&name, &meta, true))
                    .map_err(|e| self.io(&raw, e))
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                let major = entry.header().device_major().ok().flatten().unwrap_or(0);
                let minor = entry.header().device_minor().ok().flatten().unwrap_or(0);
                self.clear(&name)
                    .and_then(|()| self.node(&name, kind, (major, minor), &meta))
                    .map_err(|e| self.io(&raw, e))
            }
            other => Err(self.bad(format!("{}: unknown entry type {:?}", raw.display(), other.as_byte() as char))),
        }
    }

    /// Strips the leading slash and `./`; a path with `..` is refused rather than interpreted.
    fn inside(&self, raw: &Path) -> Result<PathBuf> {
        let mut path = PathBuf::new();
        for component in raw.components() {
            match component {
                Component::Normal(part) => path.push(part),
                Component::RootDir | Component::CurDir => {}
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(self.bad(format!("path {:?} leads outside the layer", raw.display().to_string())));
                }
            }
        }
        Ok(path)
    }

    fn meta<R: Read>(&self, entry: &mut Entry<'_, R>) -> Result<Meta> {
        let damaged = |error: io::Error| Error::content(self.object, format!("damaged layer: {error}"));
        let header = entry.header();
        let mode = Mode::from_bits_truncate(header.mode().map_err(damaged)? & 0o7777);
        let id = |value: u64| u32::try_from(value).map_err(|_| self.bad(format!("owner {value} is out of range")));
        let (uid, gid) = (id(header.uid().map_err(damaged)?)?, id(header.gid().map_err(damaged)?)?);
        let mtime = Timespec { tv_sec: header.mtime().map_err(damaged)? as i64, tv_nsec: 0 };
        let mut xattrs = Vec::new();
        if let Some(extensions) = entry.pax_extensions().map_err(damaged)? {
            for extension in extensions.filter_map(|extension| extension.ok()) {
                // Only attributes that mean something inside a container; `trusted.overlay.*` from outside would steer the
                // host's overlayfs.
                let Some(name) = extension.key().ok().and_then(|key| key.strip_prefix("SCHILY.xattr.")) else {
                    continue;
                };
                if name == "security.capability" || name.starts_with("user.") {
                    xattrs.push((name.to_string(), extension.value_bytes().to_vec()));
                }
            }
        }
        let times = Timestamps { last_access: mtime, last_modification: mtime };
        Ok(Meta { mode, uid: Uid::from_raw(uid), gid: Gid::from_raw(gid), times, xattrs })
    }

    /// Makes `path` (below the root, no dots) the current parent, creating what is missing.
    fn enter(&mut self, path: &Path) -> Result<()> {
        if self.last_parent.as_ref().is_some_and(|(last, _)| last == path) {
            return Ok(());
        }
        let fd = self.resolve(path).map_err(|error| self.io(path, error.into()))?;
        self.last_parent = Some((path.to_path_buf(), fd));
        Ok(())
    }

    fn parent(&self) -> &OwnedFd {
        self.last_parent.as_ref().map_or(&self.root, |(_, fd)| fd)
    }

    fn resolve(&self, path: &Path) -> Result<OwnedFd, Errno> {
        match open_in_root(&self.root, path, OFlags::PATH | OFlags::DIRECTORY) {
            Err(Errno::NOENT) => {}
            other => return other,
        }
        let parent = self.resolve(path.parent().unwrap_or(Path::new("")))?;
        let name = path.file_name().unwrap_or(OsStr::new("."));
        rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
        open_in_root(&parent, Path::new(name), OFlags::PATH | OFlags::DIRECTORY)
    }

    fn whiteout(&mut self, parent_path: &Path, name: &OsStr, hidden: &[u8]) -> io::Result<()> {
        if name.as_bytes() == OPAQUE {
            return self.set_opaque(parent_path);
        }
        if name.as_bytes().starts_with(AUFS) || hidden.is_empty() {
            return Ok(());
        }
        let hidden = OsStr::from_bytes(hidden);
        // A whiteout hides what lies below, never what the same layer brings; a directory of both is opaque.
        match rustix::fs::statat(self.parent(), hidden, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                self.set_opaque(&parent_path.join(hidden))
            }
            Ok(_) => Ok(()),
            Err(_) => Ok(rustix::fs::mknodat(self.parent(), hidden, FileType::CharacterDevice, Mode::empty(), 0)?),
        }
    }

    fn set_opaque(&self, path: &Path) -> io::Result<()> {
        let fd = open_in_root(&self.root, path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        Ok(rustix::fs::fsetxattr(fd, "trusted.overlay.opaque", b"y", XattrFlags::empty())?)
    }

    fn directory(&mut self, path: &Path, name: &OsStr, meta: &Meta) -> io::Result<()> {
        let existing = rustix::fs::statat(self.parent(), name, AtFlags::SYMLINK_NOFOLLOW);
        let mut hides = false;
        match existing.map(|stat| (FileType::from_raw_mode(stat.st_mode), stat.st_rdev)) {
            Ok((FileType::Directory, _)) => {}
            found => {
                hides = matches!(found, Ok((FileType::CharacterDevice, 0)));
                self.clear(name)?;
                rustix::fs::mkdirat(self.parent(), name, Mode::from_raw_mode(0o755))?;
            }
        }
        self.apply(path, meta)?;
        if hides {
            self.set_opaque(path)?;
        }
        self.directories.insert(path.to_path_buf(), meta.times.clone());
        Ok(())
    }

    fn regular<R: Read>(&mut self, path: &Path, name: &OsStr, meta: &Meta, entry: &mut Entry<'_, R>) -> Result<()> {
        self.clear(name).map_err(|error| self.io(path, error))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self.parent(), name, flags, Mode::from_raw_mode(0o600))
            .map_err(|error| self.io(path, error.into()))?;
        let mut file = File::from(fd);
        let expected = entry.size();
        let mut written = 0;
        loop {
            let n = match entry.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.bad(format!("{}: damaged layer: {error}", path.display()))),
            };
            self.written += n as u64;
            if self.written > self.limits.bytes {
                return Err(too_long(self.object, self.limits));
            }
            file.write_all(&self.buffer[..n]).map_err(|error| self.io(path, error))?;
            written += n as u64;
        }
        // tar reads a truncated member as a short one.
        if written < expected {
            let short = format!("{}: damaged layer: {written} of {expected} bytes", path.display());
            return Err(self.bad(short));
        }
        dress_file(&file, meta).map_err(|error| self.io(path, error))
    }

    fn hard_link(&mut self, path: &Path, name: &OsStr, target: &[u8]) -> Result<()> {
        let raw = PathBuf::from(OsStr::from_bytes(target));
        let target = self.inside(&raw)?;
        if target == path {
            return Ok(());
        }
        let link = || -> io::Result<()> {
            let (dir, base) = (target.parent().unwrap_or(Path::new("")), target.file_name().ok_or(Errno::ISDIR)?);
            let dir = open_in_root(&self.root, dir, OFlags::PATH | OFlags::DIRECTORY)?;
            self.clear(name)?;
            Ok(rustix::fs::linkat(dir, base, self.parent(), name, AtFlags::empty())?)
        };
        link().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                self.bad(format!("hard link {} to {}, which is not in the layer", path.display(), raw.display()))
            }
            _ => self.io(path, error),
        })
    }

    fn node(&self, name: &OsStr, kind: EntryType, device: (u32, u32), meta: &Meta) -> io::Result<()> {
        let kind = match kind {
            EntryType::Char => FileType::CharacterDevice,
            EntryType::Block => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        rustix::fs::mknodat(self.parent(), name, kind, meta.mode, rustix::fs::makedev(device.0, device.1))?;
        self.dress(name, meta, false)
    }

    /// Makes room for an entry that an earlier one of the same layer has taken.
    fn clear(&self, name: &OsStr) -> io::Result<()> {
        match rustix::fs::unlinkat(self.parent(), name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR) => std::fs::remove_dir_all(self.beside(name)),
            Err(error) => Err(error.into()),
        }
    }

    /// Owner, mode, attributes and times of something that is not opened: links, devices, pipes.
    fn dress(&self, name: &OsStr, meta: &Meta, symlink: bool) -> io::Result<()> {
        let parent = self.parent();
        rustix::fs::chownat(parent, name, Some(meta.uid), Some(meta.gid), AtFlags::SYMLINK_NOFOLLOW)?;
        if !symlink {
            rustix::fs::chmodat(parent, name, meta.mode, AtFlags::empty())?;
        }
        for (key, value) in meta.xattrs.iter().filter(|(key, _)| !key.starts_with("user.")) {
            rustix::fs::lsetxattr(self.beside(name), key.as_str(), value, XattrFlags::empty())?;
        }
        Ok(rustix::fs::utimensat(parent, name, &meta.times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// The same for a directory that exists.
    fn apply(&self, path: &Path, meta: &Meta) -> io::Result<()> {
        let fd = open_in_root(&self.root, path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        dress_file(&File::from(fd), meta)
    }

    /// The name in the current parent as a path, for calls that have no directory argument. `name` is one component, and the
    /// magic link leads to the very directory that was opened.
    fn beside(&self, name: &OsStr) -> PathBuf {
        let mut path = OsString::from(format!("/proc/self/fd/{}/", self.parent().as_raw_fd()));
        path.push(name);
        path.into()
    }

    fn finish(&mut self) -> Result<()> {
        for (path, times) in std::mem::take(&mut self.directories).iter().rev() {
            // A directory may have been replaced by a later entry; then there is no time to set.
            if let Ok(fd) = open_in_root(&self.root, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW) {
                rustix::fs::futimens(fd, times).map_err(|error| self.io(path, error.into()))?;
            }
        }
        Ok(())
    }

    fn bad(&self, what: String) -> Error {
        Error::content(self.object, what)
    }

    fn io(&self, path: &Path, source: io::Error) -> Error {
        match Errno::from_io_error(&source) {
            // The layer's own contradictions, not the machine's trouble.
            Some(Errno::NOTDIR | Errno::LOOP | Errno::ISDIR | Errno::NAMETOOLONG | Errno::INVAL | Errno::XDEV) => {
                self.bad(format!("{}: {source}", path.display()))
            }
            _ => Error::Io { path: path.to_path_buf(), source },
        }
    }
}

fn open_in_root(root: &OwnedFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// Owner first: changing it drops set-user-id bits and capabilities.
fn dress_file(file: &File, meta: &Meta) -> io::Result<()> {
    rustix::fs::fchown(file, Some(meta.uid), Some(meta.gid))?;
    rustix::fs::fchmod(file, meta.mode)?;
    for (key, value) in &meta.xattrs {
        match rustix::fs::fsetxattr(file, key.as_str(), value, XattrFlags::empty()) {
            // A file system without user attributes is no reason to refuse the image; a lost capability is.
            Err(Errno::OPNOTSUPP) if key.starts_with("user.") => {}
            other => other?,
        }
    }
    Ok(rustix::fs::futimens(file, &meta.times)?)
}
