//! The atomic writer: a reader sees all of the old files or all of the new ones.
//!
//! Files stand in a timestamped directory; `..data` links to it and is switched by a rename; the names that a container
//! sees link through `..data`. The layout is upstream's, because programs watch for the `..data` switch.

use rustix::fs::{AtFlags, CWD, Gid, Uid};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

/// One file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct File {
    pub bytes: Vec<u8>,
    pub mode: u32,
    /// It belongs to the user that the pod's containers run as: tokens only. Everything else stays root's.
    pub owned: bool,
}

/// Files by path inside the volume.
pub type Files = BTreeMap<String, File>;

const DATA: &str = "..data";

/// Brings a directory to hold exactly `files`; true where anything had to change. `group` and `user` come to own them.
pub(crate) fn write(dir: &Path, files: &Files, user: Option<u32>, group: Option<u32>) -> io::Result<bool> {
    if read(dir)?.is_some_and(|old| same(&old, files, group)) {
        return Ok(false);
    }
    let old = fs::read_link(dir.join(DATA)).ok();
    let stamp = base::time::Timestamp::now().strftime("..%Y_%m_%d_%H_%M_%S").to_string();
    let stamp = format!("{stamp}.{}", base::ids::suffix(9));
    let fresh = dir.join(&stamp);
    fs::create_dir(&fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
    for (path, file) in files {
        write_file(&fresh, path, file, user, group)?;
    }
    if let Some(group) = group {
        own_directories(&fresh, group)?;
    }
    let temporary = dir.join("..data_tmp");
    let _ = fs::remove_file(&temporary);
    symlink(&stamp, &temporary)?;
    fs::rename(&temporary, dir.join(DATA))?;
    link_names(dir, files)?;
    if let Some(old) = old {
        // Only what this writer made: the link's own target inside the volume.
        let old: PathBuf = old.file_name().map(|name| dir.join(name)).unwrap_or_default();
        if old.parent() == Some(dir) {
            fs::remove_dir_all(old)?;
        }
    }
    Ok(true)
}

/// The names of the first level link into `..data`; names that are gone go.
fn link_names(dir: &Path, files: &Files) -> io::Result<()> {
    let names: BTreeSet<&str> = files.keys().filter_map(|path| path.split('/').next()).collect();
    for name in &names {
        let link = dir.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), link)?;
        }
    }
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let stale = name.to_str().is_some_and(|name| !name.starts_with("..") && !names.contains(name));
        if stale {
            fs::remove_file(dir.join(name))?;
        }
    }
    Ok(())
}

fn write_file(dir: &Path, path: &str, file: &File, user: Option<u32>, group: Option<u32>) -> io::Result<()> {
    let target = dir.join(path);
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(&target, &file.bytes)?;
    let user = user.filter(|_| file.owned);
    if user.is_some() || group.is_some() {
        rustix::fs::chownat(CWD, &target, user.map(Uid::from_raw), group.map(Gid::from_raw), AtFlags::empty())?;
    }
    fs::set_permissions(&target, fs::Permissions::from_mode(effective(file.mode, group)))
}

/// A group owner can read what the user can (upstream's `SetVolumeOwnership` for read-only volumes).
fn effective(mode: u32, group: Option<u32>) -> u32 {
    if group.is_some() { mode | 0o440 } else { mode }
}

fn own_directories(dir: &Path, group: u32) -> io::Result<()> {
    rustix::fs::chownat(CWD, dir, None, Some(Gid::from_raw(group)), AtFlags::empty())?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o2755))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            own_directories(&entry.path(), group)?;
        }
    }
    Ok(())
}

fn same(old: &Files, new: &Files, group: Option<u32>) -> bool {
    old.len() == new.len()
        && new.iter().all(|(path, file)| {
            old.get(path).is_some_and(|o| o.bytes == file.bytes && o.mode == effective(file.mode, group))
        })
}

/// What `..data` holds now; `None` before the first write.
fn read(dir: &Path) -> io::Result<Option<Files>> {
    let mut files = Files::new();
    match fs::metadata(dir.join(DATA)) {
        Ok(_) => collect(&dir.join(DATA), "", &mut files).map(|()| Some(files)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn collect(dir: &Path, prefix: &str, files: &mut Files) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let meta = entry.metadata()?;
        if meta.is_dir() {
            collect(&entry.path(), &format!("{path}/"), files)?;
        } else {
            let file = File { bytes: fs::read(entry.path())?, mode: meta.permissions().mode() & 0o7777, owned: false };
            files.insert(path, file);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str, u32)]) -> Files {
        list.iter()
            .map(|(path, text, mode)| {
                (path.to_string(), File { bytes: text.as_bytes().to_vec(), mode: *mode, owned: false })
            })
            .collect()
    }

    #[test]
    fn files_are_switched_as_one() {
        let dir = std::env::temp_dir().join(format!("ferry-atomic-{}", base::ids::suffix(8)));
        fs::create_dir(&dir).unwrap();
        assert!(write(&dir, &files(&[("a", "1", 0o644), ("d/b", "2", 0o400)]), None, None).unwrap());
        assert_eq!(fs::read_to_string(dir.join("d/b")).unwrap(), "2");
        assert_eq!(fs::metadata(dir.join("d/b")).unwrap().permissions().mode() & 0o777, 0o400);
        assert_eq!(fs::read_link(dir.join("a")).unwrap(), Path::new("..data/a"));
        let before = fs::read_link(dir.join(DATA)).unwrap();
        assert!(!write(&dir, &files(&[("a", "1", 0o644), ("d/b", "2", 0o400)]), None, None).unwrap());
        assert!(write(&dir, &files(&[("a", "3", 0o644)]), None, None).unwrap());
        assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "3");
        assert!(fs::symlink_metadata(dir.join("d")).is_err() && !dir.join(before).exists());
        assert!(write(&dir, &Files::new(), None, None).unwrap());
        assert!(fs::symlink_metadata(dir.join("a")).is_err());
        fs::remove_dir_all(dir).unwrap();
    }
}
