//! What goes wrong between this process and the kernel. Nobody here retries: whether an operation may be repeated is
//! known only to the caller, who has [`Error::errno`] to decide by.

use std::{fmt, io};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed kernel request.
#[derive(Debug)]
pub enum Error {
    /// The kernel refused the operation on the named object.
    Kernel { operation: &'static str, object: String, errno: i32, detail: Option<String> },
    /// A system call around the request failed: a socket, a namespace file, a sysctl.
    System { operation: &'static str, object: String, source: io::Error },
    /// The kernel's answer was not what the protocol promises.
    Protocol { object: String, reason: &'static str },
    /// The request cannot be expressed: a name too long, a malformed address.
    Invalid { object: String, reason: String },
}

impl Error {
    /// The kernel's error number, if there is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Kernel { errno, .. } => Some(*errno),
            Error::System { source, .. } => source.raw_os_error(),
            Error::Protocol { .. } | Error::Invalid { .. } => None,
        }
    }

    /// The object already exists.
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(libc::EEXIST)
    }

    /// The object does not exist (no entry, no device, no route).
    pub fn is_not_found(&self) -> bool {
        matches!(self.errno(), Some(libc::ENOENT | libc::ENODEV | libc::ESRCH | libc::EADDRNOTAVAIL))
    }

    pub(crate) fn last(operation: &'static str, object: impl Into<String>) -> Error {
        Error::System { operation, object: object.into(), source: io::Error::last_os_error() }
    }

    pub(crate) fn system(operation: &'static str, object: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
        let object = object.into();
        move |source| Error::System { operation, object, source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Kernel { operation, object, errno, detail } => {
                write!(f, "{operation} {object}: {}", io::Error::from_raw_os_error(*errno))?;
                match detail {
                    Some(detail) => write!(f, ": {detail}"),
                    None => Ok(()),
                }
            }
            Error::System { operation, object, source } => write!(f, "{operation} {object}: {source}"),
            Error::Protocol { object, reason } => write!(f, "{object}: unexpected answer from the kernel: {reason}"),
            Error::Invalid { object, reason } => write!(f, "{object}: {reason}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::System { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Keeps the kind, so that a caller who speaks `io::Error` can still tell "not found" from "refused".
impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        match error.errno() {
            Some(errno) => io::Error::new(io::Error::from_raw_os_error(errno).kind(), error),
            None => io::Error::other(error),
        }
    }
}

/// Turns "it is already there" into success.
pub fn allow_exists(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.is_exists() => Ok(()),
        other => other,
    }
}

/// Turns "it is not there" into success.
pub fn allow_missing(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}
