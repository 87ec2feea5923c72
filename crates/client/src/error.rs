//! The one error of a call.
//!
//! Nobody retries in here. [`Error::retryable`] says whether the same call may succeed later; queues and caches retry by
//! that, a person's command reports it.

use base::{Reason, Status};
use std::fmt;

/// The result of every call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed.
#[derive(Debug, Clone)]
pub enum Error {
    /// The server answered and refused.
    Status(Status),
    /// The server was not reached, or the connection broke before the answer was whole. A write may have happened.
    Transport(String),
    /// The answer cannot be read, or a body cannot be written, as what it should be.
    Decode(String),
    /// The client cannot be set up: a bad URL, certificate, key or kubeconfig.
    Config(String),
}

impl Error {
    /// The server's Status, where there is one.
    pub fn status(&self) -> Option<&Status> {
        if let Error::Status(status) = self { Some(status) } else { None }
    }
    fn is(&self, reason: Reason) -> bool {
        self.status().is_some_and(|s| s.is(reason))
    }
    /// There is no such object.
    pub fn is_not_found(&self) -> bool {
        self.is(Reason::NotFound)
    }
    /// An object of that name is there already.
    pub fn is_already_exists(&self) -> bool {
        self.is(Reason::AlreadyExists)
    }
    /// A stale resourceVersion, or a precondition that does not hold: read again, decide again.
    pub fn is_conflict(&self) -> bool {
        self.is(Reason::Conflict)
    }
    /// The revision is too old: list again.
    pub fn is_expired(&self) -> bool {
        self.status().is_some_and(|s| s.code() == 410)
    }
    /// True where the same call may succeed later without anybody changing anything.
    pub fn retryable(&self) -> bool {
        match self {
            Error::Transport(_) => true,
            Error::Status(status) => matches!(status.code(), 429 | 500 | 502 | 503 | 504),
            Error::Decode(_) | Error::Config(_) => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Status(status) => status.fmt(f),
            Error::Transport(m) => write!(f, "cannot reach the API server: {m}"),
            Error::Decode(m) => write!(f, "unexpected answer of the API server: {m}"),
            Error::Config(m) => write!(f, "client configuration: {m}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Error::Status(status)
    }
}

/// An error with all of its causes in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        let more = e.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = e.source();
    }
    text
}
