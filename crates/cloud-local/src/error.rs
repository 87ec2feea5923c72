//! What goes wrong with machines. Nothing here is retried: whoever starts a machine sees why it could not.

use std::path::{Path, PathBuf};
use std::{fmt, io};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed operation on machines.
#[derive(Debug)]
pub enum Error {
    /// A name, address or layout that cannot be.
    Invalid { object: String, reason: String },
    /// A file, mount or cgroup could not be read, written or made.
    Io { path: PathBuf, source: io::Error },
    /// The kernel refused a link, route, namespace or table.
    Kernel { object: String, source: netlink::Error },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Invalid { object, reason } => write!(f, "{object}: {reason}"),
            Error::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Error::Kernel { object, source } => write!(f, "{object}: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Invalid { .. } => None,
            Error::Io { source, .. } => Some(source),
            Error::Kernel { source, .. } => Some(source),
        }
    }
}

pub(crate) fn io_at<E: Into<io::Error>>(path: &Path) -> impl FnOnce(E) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Io { path, source: source.into() }
}

pub(crate) fn kernel(object: impl fmt::Display) -> impl FnOnce(netlink::Error) -> Error {
    let object = object.to_string();
    move |source| Error::Kernel { object, source }
}
