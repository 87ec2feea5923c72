//! What goes wrong when a pod is attached. The kubelet retries every one of these with its usual back-off; none is final.

use std::path::PathBuf;
use std::{fmt, io};

use crate::Protocol;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed attachment, detachment or check.
#[derive(Debug)]
pub enum Error {
    /// The request itself is wrong: a malformed id or name.
    Invalid { object: String, reason: String },
    /// Every address of the node's range is taken.
    NoAddress { range: String },
    /// Another pod of this node has the host port.
    PortInUse { protocol: Protocol, port: u16, by: String },
    /// There is no such attachment, or it is not as it was made.
    NotAttached { object: String, reason: String },
    /// The record of attachments could not be read or written.
    State { path: PathBuf, source: io::Error },
    /// The kernel refused.
    Kernel { object: String, source: netlink::Error },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Invalid { object, reason } | Error::NotAttached { object, reason } => {
                write!(f, "{object}: {reason}")
            }
            Error::NoAddress { range } => write!(f, "no address left in the pod range {range}"),
            Error::PortInUse { protocol, port, by } => {
                write!(f, "host port {port}/{protocol:?} is in use by pod {by}")
            }
            Error::State { path, source } => write!(f, "{}: {source}", path.display()),
            Error::Kernel { object, source } => write!(f, "{object}: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::State { source, .. } => Some(source),
            Error::Kernel { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Says which object an error of the kernel is about.
pub(crate) fn kernel(object: impl fmt::Display) -> impl FnOnce(netlink::Error) -> Error {
    move |source| Error::Kernel { object: object.to_string(), source }
}
