//! Settings under `/proc/sys`. Those below `net` are the calling thread's namespace's own: use them inside
//! [`crate::Namespace::run`].

use std::{fs, io};

use crate::{Error, Result};

/// Reads a setting; `None` if this kernel does not have it. The name is a path below `/proc/sys`.
pub fn read(name: &str) -> Result<Option<String>> {
    match fs::read_to_string(format!("/proc/sys/{name}")) {
        Ok(value) => Ok(Some(value.trim().to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::system("read setting", name)(error)),
    }
}

/// Sets a setting, unless it has that value already (a read-only `/proc/sys` is no obstacle then).
pub fn write(name: &str, value: &str) -> Result<()> {
    if read(name)?.as_deref() == Some(value) {
        return Ok(());
    }
    fs::write(format!("/proc/sys/{name}"), value).map_err(Error::system("write setting", name))
}

/// Sets a setting where the kernel has it.
pub fn write_if_present(name: &str, value: &str) -> Result<()> {
    match read(name)? {
        Some(_) => write(name, value),
        None => Ok(()),
    }
}
