//! Files that hold keys: mode 0600, written beside and renamed, so that a crash leaves the old file or the new one.

use crate::{Error, Result};
use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// The text of a file; `None` where it does not exist.
pub fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Io { path: path.into(), source }),
    }
}

/// Replaces a file atomically; missing directories are made with mode 0700.
pub fn write(path: &Path, content: &[u8]) -> Result<()> {
    let at = |source| Error::Io { path: path.into(), source };
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = dir.join(format!(".{name}.{}", base::ids::suffix(8)));
    let done = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path))
        .and_then(|()| fs::File::open(dir)?.sync_all());
    done.map_err(|source| {
        let _ = fs::remove_file(&beside);
        at(source)
    })
}
